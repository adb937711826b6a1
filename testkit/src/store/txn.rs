//! Transactions for random histories, and what they must come to, in the plainest form.

use std::collections::BTreeMap;

use bytes::Bytes;
use gometa_proto::v1::{
    CommandOutcome, Compare, Delete, DeleteRange, Deleted, DeletedRange, Entry, ErrorKind, Get, Range,
    RangeState, Relation, Set, Txn, TxnAnswer, TxnOperation, TxnOutcome, TxnResult, Written, command_outcome,
    compare::Operand, request, txn_operation::Operation, txn_result,
};
use gometa_store::{Found, MemoryTable, Query, compacted_answer};

use super::{
    failed,
    model::{ModelKey, Revision, entries, key},
};

/// A transaction; revisions are picked from what the history has come to.
#[derive(Clone, Debug)]
pub struct TxnStep {
    pub when: Vec<Comparing>,
    pub then: Vec<Acting>,
    pub otherwise: Vec<Acting>,
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Comparing {
    pub key: u8,
    pub fact: Fact,
    /// 0 to 3.
    pub relation: i32,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub enum Fact {
    CreateRevision(u64),
    ModRevision(Revision),
    Value(u8),
    /// The state of the range of keys that begin with the key: with so many keys more than it has, and as of the revision, or
    /// of the newest key.
    Range {
        more: u64,
        revision: Revision,
    },
}

/// An operation.
#[derive(Clone, Copy, Debug)]
pub struct Acting {
    pub kind: ActKind,
    pub key: u8,
    pub value: u8,
}

#[derive(Clone, Copy, Debug)]
pub enum ActKind {
    Set,
    Delete,
    Get,
    Range,
    DeleteRange,
}

impl TxnStep {
    pub(super) fn txn(&self, keys: &BTreeMap<Bytes, ModelKey>) -> Txn {
        let operations = |acts: &[Acting]| acts.iter().map(Acting::operation).collect();
        Txn {
            when: self.when.iter().map(|comparing| comparing.compare(keys)).collect(),
            then: operations(&self.then),
            otherwise: operations(&self.otherwise),
            ..Txn::default()
        }
    }
}

impl Comparing {
    fn compare(&self, keys: &BTreeMap<Bytes, ModelKey>) -> Compare {
        let key = key(self.key);
        let operand = match self.fact {
            Fact::CreateRevision(revision) => Operand::CreateRevision(revision),
            Fact::ModRevision(Revision::Any(revision)) => Operand::ModRevision(revision),
            Fact::ModRevision(Revision::Actual) => {
                Operand::ModRevision(keys.get(&key).map_or(0, |known| known.modified))
            }
            Fact::Value(value) => Operand::Value(Bytes::copy_from_slice(&[value])),
            Fact::Range { more, revision } => {
                let there = || keys.iter().filter(|(other, _)| other.starts_with(&key));
                let revision = match revision {
                    Revision::Any(revision) => revision,
                    Revision::Actual => there().map(|(_, known)| known.modified).max().unwrap_or_default(),
                };
                let count = there().count() as u64 + more;
                let state = RangeState { prefix: key, count, revision, ..RangeState::default() };
                return Compare { operand: Some(Operand::Range(state)), ..Compare::default() };
            }
        };
        Compare { key, relation: self.relation, operand: Some(operand) }
    }
}

impl Acting {
    fn operation(&self) -> TxnOperation {
        let key = key(self.key);
        let operation = match self.kind {
            ActKind::Set => Operation::Set(Set { key, value: Bytes::copy_from_slice(&[self.value]) }),
            ActKind::Delete => Operation::Delete(Delete { key, revision: None }),
            ActKind::Get => Operation::Get(Get { key, ..Get::default() }),
            ActKind::DeleteRange => {
                Operation::DeleteRange(DeleteRange { prefix: key, ..DeleteRange::default() })
            }
            ActKind::Range => Operation::Range(Range {
                prefix: key,
                limit: u64::from(self.value % 3),
                reverse: self.value.is_multiple_of(2),
                ..Range::default()
            }),
        };
        TxnOperation { operation: Some(operation) }
    }
}

/// Executes a transaction at a revision. Returns its answer if it is valid.
pub(super) fn transact(
    keys: &mut BTreeMap<Bytes, ModelKey>,
    revision: u64,
    txn: &Txn,
) -> (CommandOutcome, Option<TxnAnswer>) {
    let operation = request::Operation::Txn(txn.clone());
    if let Err(error) = operation.check() {
        let kind = ErrorKind::try_from(error.kind as i32).unwrap_or_default();
        return (failed(kind, 0), None);
    }
    if !operation.is_write() {
        return (failed(ErrorKind::Unsupported, 0), None);
    }
    let succeeded = txn.when.iter().all(|compare| match &compare.operand {
        Some(Operand::Range(state)) => is_in_state(keys, state),
        _ => holds(compare, keys.get(&compare.key)),
    });
    let results = execute(keys, revision, if succeeded { &txn.then } else { &txn.otherwise });
    let outcome = command_outcome::Result::Txn(TxnOutcome { revision, succeeded });
    let answer = TxnAnswer { revision, succeeded, results };
    (CommandOutcome { result: Some(outcome) }, Some(answer))
}

fn is_in_state(keys: &BTreeMap<Bytes, ModelKey>, state: &RangeState) -> bool {
    let there = || keys.iter().filter(|(key, _)| key.starts_with(&state.prefix)).map(|(_, known)| known);
    there().count() as u64 == state.count && there().all(|known| known.modified <= state.revision)
}

fn holds(compare: &Compare, found: Option<&ModelKey>) -> bool {
    let relation = |order: std::cmp::Ordering| match compare.relation() {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::Greater => order.is_gt(),
    };
    match (&compare.operand, found) {
        (Some(Operand::CreateRevision(operand)), found) => {
            relation(found.map_or(0, |key| key.created).cmp(operand))
        }
        (Some(Operand::ModRevision(operand)), found) => {
            relation(found.map_or(0, |key| key.modified).cmp(operand))
        }
        (Some(Operand::Value(operand)), Some(key)) => relation(key.value.cmp(operand)),
        (Some(Operand::Value(_)), None) | (Some(Operand::Range(_)) | None, _) => false,
    }
}

/// Executes operations in order; a read, which has no revision of its own, sees what is there at that moment.
fn execute(
    keys: &mut BTreeMap<Bytes, ModelKey>,
    revision: u64,
    operations: &[TxnOperation],
) -> Vec<TxnResult> {
    let mut result = |operation: &TxnOperation| match &operation.operation {
        Some(Operation::Set(set)) => {
            let (version, created) =
                keys.get(&set.key).map_or((1, revision), |old| (old.version + 1, old.created));
            let known = ModelKey { value: set.value.clone(), version, created, modified: revision };
            keys.insert(set.key.clone(), known);
            txn_result::Result::Written(Written { revision, version })
        }
        Some(Operation::Delete(delete)) => {
            let existed = keys.remove(&delete.key).is_some();
            txn_result::Result::Deleted(Deleted { revision: if existed { revision } else { 0 }, existed })
        }
        Some(Operation::DeleteRange(range)) => {
            let before = keys.len();
            keys.retain(|key, _| !key.starts_with(&range.prefix));
            let count = (before - keys.len()) as u64;
            txn_result::Result::DeletedRange(DeletedRange {
                revision: if count > 0 { revision } else { 0 },
                count,
            })
        }
        Some(Operation::Get(get)) => match keys.get(&get.key) {
            Some(known) => txn_result::Result::Entry(known.entry(&get.key)),
            None => not_found(),
        },
        Some(Operation::Range(range)) => txn_result::Result::Page(page(keys, range)),
        None => panic!("the script makes whole operations only"),
    };
    operations.iter().map(|operation| TxnResult { result: Some(result(operation)) }).collect()
}

/// The first entries of a range. Where the next page begins and at which revision it was read is compared by [`without_place`].
fn page(keys: &BTreeMap<Bytes, ModelKey>, range: &Range) -> gometa_proto::v1::Page {
    let mut entries: Vec<Entry> = entries(keys, range);
    if range.limit > 0 {
        entries.truncate(range.limit as usize);
    }
    gometa_proto::v1::Page { count: entries.len() as u64, entries, ..Default::default() }
}

fn not_found() -> txn_result::Result {
    let error =
        gometa_proto::v1::Error::not_applied(gometa_proto::ErrorKind::NotFound, "there is no such key");
    txn_result::Result::Error(error)
}

/// Compares what a table tells of the results of transactions, by their answers, with the answers.
pub(super) fn check_results(table: &MemoryTable, horizon: u64, answers: &[(Txn, TxnAnswer)]) {
    for (txn, answer) in answers {
        let TxnAnswer { revision, succeeded, .. } = *answer;
        let outcome = TxnOutcome { revision, succeeded };
        let found = table.read(&Query::Results(txn.clone(), outcome));
        if revision - 1 < horizon {
            assert_eq!(found, Err(horizon), "{txn:?}");
            let compacted = compacted_answer(txn, outcome, horizon);
            assert_eq!(compacted.results.len(), answer.results.len());
            continue;
        }
        let Ok(Found::Txn(read)) = found else { panic!("{txn:?} is answered with {found:?}") };
        assert_eq!(without_place(read), *answer, "{txn:?}");
    }
}

/// An answer without where the next pages begin, and when they were read.
fn without_place(mut answer: TxnAnswer) -> TxnAnswer {
    for result in &mut answer.results {
        if let Some(txn_result::Result::Page(page)) = &mut result.result {
            (page.next, page.revision) = (Bytes::new(), 0);
        }
    }
    answer
}
