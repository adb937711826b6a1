//! What a transaction comes to, by the keys at any revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use gometa_proto::v1::{
    Compare, Deleted, DeletedRange, Entry, ErrorKind, KeyRecord, RangeState, Relation, Txn, TxnOperation,
    TxnOutcome, TxnResult, Written, compare::Operand, txn_operation::Operation,
    txn_result::Result as Outcome,
};

/// The keys at any revision.
pub(super) trait Keys {
    /// The record of a key at a revision.
    fn key_at(&self, key: &[u8], revision: u64) -> Option<&KeyRecord>;
    /// Every key that is there at a revision, ascending.
    fn keys_at(&self, revision: u64) -> impl Iterator<Item = (&Bytes, &KeyRecord)>;
}

/// Executes a transaction at a revision that nothing else has written at.
pub(super) fn execute(
    model: &impl Keys,
    txn: &Txn,
    revision: u64,
) -> (TxnOutcome, BTreeMap<Bytes, Option<KeyRecord>>) {
    let succeeded = hold(model, txn, revision);
    let mut written = BTreeMap::new();
    for operation in txn.branch(succeeded) {
        act(model, operation, revision - 1, revision, &mut written);
    }
    (TxnOutcome { revision, succeeded }, written)
}

pub(super) fn hold(model: &impl Keys, txn: &Txn, revision: u64) -> bool {
    txn.when.iter().all(|compare| match &compare.operand {
        Some(Operand::Range(state)) => is_in_state(model, state, revision),
        _ => holds(compare, model.key_at(&compare.key, revision)),
    })
}

fn is_in_state(model: &impl Keys, state: &RangeState, revision: u64) -> bool {
    let bounds = state.bounds();
    let modified: Vec<u64> = model
        .keys_at(revision)
        .filter(|(key, _)| bounds.contains(key))
        .map(|(_, record)| record.mod_revision)
        .collect();
    modified.len() as u64 == state.count && modified.iter().all(|revision| *revision <= state.revision)
}

fn holds(compare: &Compare, record: Option<&KeyRecord>) -> bool {
    let order = match (&compare.operand, record) {
        (Some(Operand::CreateRevision(operand)), record) => {
            record.map_or(0, |record| record.create_revision).cmp(operand)
        }
        (Some(Operand::ModRevision(operand)), record) => {
            record.map_or(0, |record| record.mod_revision).cmp(operand)
        }
        (Some(Operand::Value(operand)), Some(record)) => record.value.cmp(operand),
        (Some(Operand::Value(_)), None) | (Some(Operand::Range(_)) | None, _) => return false,
    };
    match compare.relation {
        relation if relation == Relation::Equal as i32 => order.is_eq(),
        relation if relation == Relation::NotEqual as i32 => order.is_ne(),
        relation if relation == Relation::Less as i32 => order.is_lt(),
        _ => order.is_gt(),
    }
}

pub(super) fn results_of(
    model: &impl Keys,
    branch: &[TxnOperation],
    before: u64,
    revision: u64,
) -> Vec<TxnResult> {
    let mut written = BTreeMap::new();
    let result = |operation| TxnResult { result: act(model, operation, before, revision, &mut written) };
    branch.iter().map(result).collect()
}

/// Executes one operation, behind those that have written `written`.
fn act(
    model: &impl Keys,
    operation: &TxnOperation,
    before: u64,
    revision: u64,
    written: &mut BTreeMap<Bytes, Option<KeyRecord>>,
) -> Option<Outcome> {
    let now = |key: &Bytes, written: &BTreeMap<Bytes, Option<KeyRecord>>| match written.get(key) {
        Some(record) => record.clone(),
        None => model.key_at(key, before).cloned(),
    };
    Some(match operation.operation.as_ref()? {
        Operation::Set(set) => {
            let old = now(&set.key, written);
            let (create_revision, version) =
                old.map_or((revision, 1), |old| (old.create_revision, old.version + 1));
            let value = set.value.clone();
            let record = KeyRecord { create_revision, mod_revision: revision, version, value };
            written.insert(set.key.clone(), Some(record));
            Outcome::Written(Written { revision, version })
        }
        Operation::Delete(delete) => {
            let existed = now(&delete.key, written).is_some();
            if existed {
                written.insert(delete.key.clone(), None);
            }
            Outcome::Deleted(Deleted { revision: if existed { revision } else { 0 }, existed })
        }
        Operation::DeleteRange(range) => {
            let bounds = range.bounds();
            let there: Vec<Bytes> = model
                .keys_at(before)
                .map(|(key, _)| key)
                .filter(|key| bounds.contains(key))
                .cloned()
                .collect();
            let count = there.len() as u64;
            written.extend(there.into_iter().map(|key| (key, None)));
            Outcome::DeletedRange(DeletedRange { revision: if count > 0 { revision } else { 0 }, count })
        }
        Operation::Get(get) => match now(&get.key, written) {
            Some(record) => Outcome::Entry(Entry {
                key: get.key.clone(),
                value: record.value,
                version: record.version,
                create_revision: record.create_revision,
                mod_revision: record.mod_revision,
                is_group: false,
            }),
            None => Outcome::Error(gometa_proto::v1::Error {
                kind: ErrorKind::NotFound as u32,
                ..Default::default()
            }),
        },
        // The workload has none; the store's own tests have.
        Operation::Range(_) => return None,
    })
}
