//! Random transactions. They write keys of their own, whose history is judged against the log only; they compare and read all
//! keys.

use bytes::Bytes;
use gometa_proto::v1::{
    Compare, Delete, DeleteRange, Get, Guard, RangeState, Set, Txn, TxnAnswer, TxnOperation,
    compare::Operand, txn_operation::Operation, txn_result,
};

use super::keys::key_name;
use crate::random::Random;

/// The number of keys that transactions write.
const KEYS: usize = 4;
/// How these begin, and no others.
const KEYS_PREFIX: &str = "txn-";

/// What a client has last received of the keys that transactions write.
#[derive(Clone, Default, Debug)]
pub(super) struct Known([KnownKey; KEYS]);

/// The revisions of a key; 0 if it does not exist.
#[derive(Clone, Copy, Default, Debug)]
struct KnownKey {
    created: u64,
    modified: u64,
}

impl Known {
    /// Learns from an answer.
    pub(super) fn learn(&mut self, txn: &Txn, answer: &TxnAnswer) {
        for (operation, result) in txn.branch(answer.succeeded).iter().zip(&answer.results) {
            let (created, modified) = match &result.result {
                Some(txn_result::Result::Written(written)) => {
                    ((written.version == 1).then_some(written.revision), written.revision)
                }
                Some(txn_result::Result::Entry(entry)) => (Some(entry.create_revision), entry.mod_revision),
                Some(txn_result::Result::Deleted(_) | txn_result::Result::Error(_)) => (Some(0), 0),
                Some(txn_result::Result::DeletedRange(_)) => {
                    self.0 = [KnownKey::default(); KEYS];
                    continue;
                }
                Some(txn_result::Result::Page(_)) | None => continue,
            };
            let key = match &operation.operation {
                Some(Operation::Get(get)) => Some(&get.key),
                _ => operation.written_key(),
            };
            if let Some(at) = (0..KEYS).find(|at| key == Some(&written_key(*at))) {
                let known = &mut self.0[at];
                *known = KnownKey { created: created.unwrap_or(known.created), modified };
            }
        }
    }

    /// Learns when the key of a guard that failed was created.
    pub(super) fn learn_created(&mut self, guard: &Guard, created: u64) {
        if let Some(at) = (0..KEYS).find(|at| guard.key == written_key(*at)) {
            self.0[at].created = created;
        }
    }
}

fn written_key(key: usize) -> Bytes {
    Bytes::from(format!("{KEYS_PREFIX}{key}"))
}

/// A guard; mostly one that does not fail.
pub(super) fn guard(random: &mut Random, known: &Known, seen: u64) -> Guard {
    let own = random.index(KEYS);
    let created = if random.one_in(4) { random.below(seen + 2) } else { known.0[own].created };
    Guard { key: written_key(own), create_revision: created.max(1) }
}

/// A transaction; `keys` is the number of the other keys, `value` is what it writes.
pub(super) fn transaction(random: &mut Random, keys: usize, known: &Known, seen: u64, value: u64) -> Txn {
    let writes = !random.one_in(4);
    let when = (0..random.index(3)).map(|_| compare(random, keys, known, seen)).collect();
    let mut branch = |most: usize| -> Vec<TxnOperation> {
        let mut left: Vec<usize> = (0..KEYS).collect();
        let count = random.index(most + 1);
        (0..count).map(|_| operation(random, keys, &mut left, writes, value)).collect()
    };
    let (then, otherwise) = (branch(4), branch(2));
    Txn {
        when,
        then,
        otherwise,
        consistency: random.index(2) as i32,
        min_revision: if random.one_in(2) { seen } else { 0 },
    }
}

fn compare(random: &mut Random, keys: usize, known: &Known, seen: u64) -> Compare {
    let own = random.index(KEYS);
    let mut key = written_key(own);
    if random.one_in(8) {
        return compare_range(random, known, seen);
    }
    // Mostly one that holds.
    let (relation, operand) = match random.index(8) {
        0 => (3, Operand::CreateRevision(0)),
        1 => {
            key = key_name(random.index(keys));
            (random.index(4) as i32, Operand::CreateRevision(random.below(seen + 2)))
        }
        // Not of the other keys: their values may be altered on a node, which then executes another branch.
        2 => {
            let value = Bytes::copy_from_slice(&random.below(seen + 2).to_be_bytes());
            (random.index(4) as i32, Operand::Value(value))
        }
        _ => (0, Operand::ModRevision(known.0[own].modified)),
    };
    Compare { key, relation, operand: Some(operand) }
}

/// A comparison of the range of all keys that transactions write, or of some of them; mostly one that holds.
fn compare_range(random: &mut Random, known: &Known, seen: u64) -> Compare {
    let own = random.index(KEYS);
    let (start, there) = match random.index(3) {
        0 => (Bytes::new(), &known.0[..]),
        _ => (written_key(own), &known.0[own..]),
    };
    let count = there.iter().filter(|key| key.modified > 0).count() as u64;
    let newest = there.iter().map(|key| key.modified).max().unwrap_or_default();
    let state = RangeState {
        start,
        prefix: KEYS_PREFIX.into(),
        count: if random.one_in(4) { random.below(KEYS as u64 + 1) } else { count },
        revision: if random.one_in(4) { random.below(seen + 2) } else { newest },
        ..RangeState::default()
    };
    Compare { operand: Some(Operand::Range(state)), ..Compare::default() }
}

/// An operation; `left` are the keys that the branch has not written.
fn operation(
    random: &mut Random,
    keys: usize,
    left: &mut Vec<usize>,
    writes: bool,
    value: u64,
) -> TxnOperation {
    // It leaves no key to be written.
    if writes && random.one_in(12) && left.len() == KEYS {
        left.clear();
        let range = DeleteRange { prefix: KEYS_PREFIX.into(), ..DeleteRange::default() };
        return TxnOperation { operation: Some(Operation::DeleteRange(range)) };
    }
    let operation = match random.index(4) {
        kind @ 0..=2 if writes && !left.is_empty() => {
            let key = written_key(left.swap_remove(random.index(left.len())));
            match kind {
                0 => Operation::Delete(Delete { key, revision: None }),
                _ => Operation::Set(Set { key, value: Bytes::copy_from_slice(&value.to_be_bytes()) }),
            }
        }
        _ => {
            let own = random.index(KEYS);
            let key = if random.one_in(3) { key_name(random.index(keys)) } else { written_key(own) };
            Operation::Get(Get { key, ..Get::default() })
        }
    };
    TxnOperation { operation: Some(operation) }
}
