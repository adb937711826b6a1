//! Transactions: their checks, and what they read and write.

use bytes::Bytes;
use prost::Message;

use crate::{
    ErrorKind,
    limits::{KEY_MAX, TXN_BYTES_MAX, TXN_COMPARED_KEYS_MAX, TXN_OPERATIONS_MAX, VALUE_MAX},
    range::{Bounds, check_consistency, check_delete_range, check_range, check_range_state, invalid},
    v1::{
        self, Compare, Error, Range, RangeState, Txn, TxnOperation,
        compare::Operand,
        txn_operation::Operation::{Delete, DeleteRange, Get, Range as Read, Set},
    },
};

impl Txn {
    /// Checks everything.
    ///
    /// # Errors
    /// A kind and a message.
    pub fn check(&self) -> Result<(), Error> {
        check_txn(self)
    }

    /// Whether one of its branches writes; if none does, it is a read.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.branches().any(TxnOperation::writes)
    }

    /// The branch that is executed if all comparisons hold, or the other one.
    #[must_use]
    pub fn branch(&self, succeeded: bool) -> &[TxnOperation] {
        if succeeded { &self.then } else { &self.otherwise }
    }

    /// The keys that decide what executing it does: those of its comparisons, and those that it may write. A key may occur
    /// more than once. Keys of ranges are left out.
    pub fn decisive_keys(&self) -> impl Iterator<Item = &Bytes> {
        let compared = self.when.iter().filter(|compare| compare.range_state().is_none());
        let compared = compared.map(|compare| &compare.key);
        compared.chain(self.branches().filter_map(TxnOperation::written_key))
    }

    /// The comparisons of ranges, in their order.
    pub fn compared_ranges(&self) -> impl Iterator<Item = &RangeState> {
        self.when.iter().filter_map(Compare::range_state)
    }

    /// Bounds of all keys that it compares, reads or writes; `None` if there are none.
    #[must_use]
    pub fn bounds(&self) -> Option<Bounds> {
        let compared = self.when.iter().map(|compare| match compare.range_state() {
            Some(state) => state.bounds(),
            None => Bounds::of_key(&compare.key),
        });
        compared.chain(self.branches().filter_map(TxnOperation::bounds)).reduce(Bounds::cover)
    }

    /// Whether what executing it does depends on the keys of a range.
    #[must_use]
    pub fn needs_ranges(&self) -> bool {
        let mut deleted = self.branches().filter_map(TxnOperation::deleted_range);
        self.compared_ranges().next().is_some() || deleted.next().is_some()
    }

    /// Whether it only makes the state smaller: it deletes, and neither branch sets a key.
    #[must_use]
    pub fn frees_space(&self) -> bool {
        self.writes() && !self.branches().any(|operation| matches!(operation.operation, Some(Set(_))))
    }

    fn branches(&self) -> impl Iterator<Item = &TxnOperation> {
        self.then.iter().chain(&self.otherwise)
    }
}

impl Compare {
    /// The state of a range that it asks for, instead of that of a key.
    #[must_use]
    pub fn range_state(&self) -> Option<&RangeState> {
        match &self.operand {
            Some(Operand::Range(state)) => Some(state),
            Some(Operand::CreateRevision(_) | Operand::ModRevision(_) | Operand::Value(_)) | None => None,
        }
    }
}

impl TxnOperation {
    /// Whether it is a write.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.written_key().is_some() || self.deleted_range().is_some()
    }

    /// The keys that it reads or writes.
    fn bounds(&self) -> Option<Bounds> {
        Some(match self.operation.as_ref()? {
            Set(set) => Bounds::of_key(&set.key),
            Delete(delete) => Bounds::of_key(&delete.key),
            Get(get) => Bounds::of_key(&get.key),
            Read(range) => range.bounds(),
            DeleteRange(range) => range.bounds(),
        })
    }

    /// The one key that it writes.
    #[must_use]
    pub fn written_key(&self) -> Option<&Bytes> {
        match &self.operation {
            Some(Set(set)) => Some(&set.key),
            Some(Delete(delete)) => Some(&delete.key),
            Some(Get(_) | Read(_) | DeleteRange(_)) | None => None,
        }
    }

    /// The range that it deletes.
    #[must_use]
    pub fn deleted_range(&self) -> Option<&v1::DeleteRange> {
        match &self.operation {
            Some(DeleteRange(range)) => Some(range),
            Some(Set(_) | Delete(_) | Get(_) | Read(_)) | None => None,
        }
    }

    /// Whether it may write one of these keys.
    #[must_use]
    pub fn writes_into(&self, bounds: &Bounds) -> bool {
        self.written_key().is_some_and(|key| bounds.contains(key))
            || self.deleted_range().is_some_and(|range| bounds.overlap(&range.bounds()))
    }

    /// Whether it may write this key.
    #[must_use]
    pub fn may_write(&self, key: &[u8]) -> bool {
        self.written_key().is_some_and(|written| written == key)
            || self.deleted_range().is_some_and(|range| range.bounds().contains(key))
    }
}

/// All its fields of type `bytes`.
pub(crate) fn txn_bytes(txn: &mut Txn) -> Vec<&mut Bytes> {
    let mut all = Vec::new();
    for compare in &mut txn.when {
        all.push(&mut compare.key);
        match &mut compare.operand {
            Some(Operand::Value(value)) => all.push(value),
            Some(Operand::Range(RangeState { start, end, prefix, .. })) => all.extend([start, end, prefix]),
            Some(Operand::CreateRevision(_) | Operand::ModRevision(_)) | None => {}
        }
    }
    for operation in txn.then.iter_mut().chain(&mut txn.otherwise) {
        match &mut operation.operation {
            Some(Set(set)) => all.extend([&mut set.key, &mut set.value]),
            Some(Delete(delete)) => all.push(&mut delete.key),
            Some(Get(get)) => all.push(&mut get.key),
            Some(Read(range)) => {
                let Range { start, end, prefix, delimiter, .. } = range;
                all.extend([start, end, prefix, delimiter]);
            }
            Some(DeleteRange(v1::DeleteRange { start, end, prefix })) => all.extend([start, end, prefix]),
            None => {}
        }
    }
    all
}

/// About the memory that it takes, in bytes.
pub(crate) fn txn_size(txn: &Txn) -> usize {
    let operations = txn.then.len() + txn.otherwise.len();
    txn.encoded_len() + txn.when.len() * size_of::<v1::Compare>() + operations * size_of::<TxnOperation>()
}

pub(crate) fn check_txn(txn: &Txn) -> Result<(), Error> {
    check_consistency(txn.consistency)?;
    for (what, count) in [
        ("comparisons", txn.when.len()),
        ("operations in `then`", txn.then.len()),
        ("operations in `otherwise`", txn.otherwise.len()),
    ] {
        if count > TXN_OPERATIONS_MAX {
            let message =
                format!("a transaction of {count} {what} exceeds the limit of {TXN_OPERATIONS_MAX}");
            return Err(too_large(message));
        }
    }
    txn.when.iter().try_for_each(check_compare)?;
    let compared = txn.compared_ranges().fold(0_u64, |sum, state| sum.saturating_add(state.count));
    if compared > TXN_COMPARED_KEYS_MAX as u64 {
        let message = format!(
            "the ranges that a transaction compares have {compared} keys, which exceeds the limit of {TXN_COMPARED_KEYS_MAX}"
        );
        return Err(too_large(message));
    }
    for branch in [&txn.then, &txn.otherwise] {
        branch.iter().try_for_each(check_operation)?;
        check_writes(branch)?;
    }
    let size = txn.encoded_len();
    if size > TXN_BYTES_MAX {
        let message = format!("a transaction of {size} bytes exceeds the limit of {TXN_BYTES_MAX} bytes");
        return Err(too_large(message));
    }
    Ok(())
}

fn check_compare(compare: &Compare) -> Result<(), Error> {
    if let Some(state) = compare.range_state() {
        if !compare.key.is_empty() || compare.relation != v1::Relation::Equal as i32 {
            return Err(invalid("a comparison of a range has no key, and the relation EQUAL"));
        }
        return check_range_state(state);
    }
    check_key(&compare.key)?;
    if v1::Relation::try_from(compare.relation).is_err() {
        return Err(unsupported(&format!("relation {} is not known", compare.relation)));
    }
    match &compare.operand {
        Some(Operand::Value(value)) => check_value(value),
        Some(Operand::CreateRevision(_) | Operand::ModRevision(_) | Operand::Range(_)) => Ok(()),
        None => Err(unsupported("a comparison with an operand of an unknown kind, or without one")),
    }
}

fn check_operation(operation: &TxnOperation) -> Result<(), Error> {
    match &operation.operation {
        Some(Set(set)) => {
            check_key(&set.key)?;
            check_value(&set.value)
        }
        Some(Delete(delete)) if delete.revision.is_some() => {
            Err(invalid("a delete in a transaction has no revision; compare the key's instead"))
        }
        Some(Delete(delete)) => check_key(&delete.key),
        Some(Get(get)) if get.consistency != 0 || get.min_revision != 0 => Err(invalid(
            "a get in a transaction has no consistency and no minimum revision; the transaction has them",
        )),
        Some(Get(get)) => check_key(&get.key),
        Some(Read(range)) if range.at_revision != 0 || range.consistency != 0 || range.min_revision != 0 => {
            Err(invalid(
                "a range in a transaction has no revision and no consistency; the transaction has them",
            ))
        }
        Some(Read(range)) => check_range(range),
        Some(DeleteRange(range)) => check_delete_range(range),
        None => Err(unsupported("an operation of a kind that this node does not know")),
    }
}

/// What an operation writes.
enum Target<'a> {
    Key(&'a Bytes),
    Range(Bounds),
}

impl Target<'_> {
    fn is_in(&self, bounds: &Bounds) -> bool {
        match self {
            Target::Key(key) => bounds.contains(key),
            Target::Range(range) => bounds.overlap(range),
        }
    }
}

/// Checks that a branch writes no key twice, and that each of its ranges is read at one revision. The bounds of each range are
/// made once: a branch has up to 128, of up to 8 KiB each.
fn check_writes(branch: &[TxnOperation]) -> Result<(), Error> {
    let targets: Vec<Option<Target<'_>>> = branch
        .iter()
        .map(|operation| {
            let range = operation.deleted_range().map(|range| Target::Range(range.bounds()));
            operation.written_key().map(Target::Key).or(range)
        })
        .collect();
    let mut keys: Vec<&Bytes> = branch.iter().filter_map(TxnOperation::written_key).collect();
    keys.sort();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        let key = pair[0].escape_ascii();
        return Err(invalid(&format!("a branch of the transaction writes the key {key} twice")));
    }
    let mut deleted: Vec<&Bounds> = targets
        .iter()
        .filter_map(|target| match target {
            Some(Target::Range(bounds)) if !bounds.is_empty() => Some(bounds),
            _ => None,
        })
        .collect();
    deleted.sort_by(|one, other| one.start.cmp(&other.start));
    let writes_a_key = |bounds: &&Bounds| {
        let first = keys.partition_point(|key| **key < bounds.start);
        keys.get(first).is_some_and(|key| bounds.contains(key))
    };
    if deleted.windows(2).any(|pair| pair[0].overlap(pair[1])) || deleted.iter().any(writes_a_key) {
        let message = "a branch of the transaction deletes a range and writes one of its keys, or deletes two ranges that overlap";
        return Err(invalid(message));
    }
    for (index, operation) in branch.iter().enumerate() {
        let Some(Read(range)) = &operation.operation else { continue };
        let bounds = range.bounds();
        let write_into =
            |targets: &[Option<Target<'_>>]| targets.iter().flatten().any(|target| target.is_in(&bounds));
        if write_into(&targets[..index]) && write_into(&targets[index..]) {
            let message = "a range of the transaction stands between two writes to its keys: put it before or behind both";
            return Err(invalid(message));
        }
    }
    Ok(())
}

pub(crate) fn check_key(key: &Bytes) -> Result<(), Error> {
    match key.len() {
        0 => Err(invalid("the key is empty; keys have at least 1 byte")),
        size if size > KEY_MAX => {
            Err(too_large(format!("a key of {size} bytes exceeds the limit of {KEY_MAX} bytes")))
        }
        _ => Ok(()),
    }
}

fn check_value(value: &Bytes) -> Result<(), Error> {
    let size = value.len();
    if size > VALUE_MAX {
        return Err(too_large(format!("a value of {size} bytes exceeds the limit of {VALUE_MAX} bytes")));
    }
    Ok(())
}

fn too_large(message: String) -> Error {
    Error::not_applied(ErrorKind::TooLarge, message)
}

fn unsupported(message: &str) -> Error {
    Error::not_applied(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &'static str) -> TxnOperation {
        let set = v1::Set { key: key.into(), value: "v".into() };
        TxnOperation { operation: Some(Set(set)) }
    }

    fn range(prefix: &'static str) -> TxnOperation {
        let range = Range { prefix: prefix.into(), ..Range::default() };
        TxnOperation { operation: Some(Read(range)) }
    }

    fn refused(txn: &Txn) -> ErrorKind {
        check_txn(txn).expect_err("refused").error_kind()
    }

    #[test]
    fn a_branch_writes_no_key_twice() {
        let delete = v1::Delete { key: "a".into(), revision: None };
        let delete = TxnOperation { operation: Some(Delete(delete)) };
        let twice = Txn { otherwise: vec![set("a"), set("b"), delete.clone()], ..Txn::default() };
        assert_eq!(refused(&twice), ErrorKind::InvalidArgument);
        // Only one branch is executed.
        let once = Txn { then: vec![set("a")], otherwise: vec![delete], ..Txn::default() };
        assert!(check_txn(&once).is_ok());
    }

    #[test]
    fn a_range_is_read_before_or_behind_all_writes_to_it() {
        let branch = |then| Txn { then, ..Txn::default() };
        assert!(check_txn(&branch(vec![range("a"), set("a1"), set("a2"), range("a")])).is_ok());
        assert!(check_txn(&branch(vec![set("a1"), range("a"), set("b")])).is_ok());
        let between = branch(vec![set("a1"), range("a"), set("a2")]);
        assert_eq!(refused(&between), ErrorKind::InvalidArgument);
    }

    fn delete_range(prefix: &'static str) -> TxnOperation {
        let range = v1::DeleteRange { prefix: prefix.into(), ..v1::DeleteRange::default() };
        TxnOperation { operation: Some(DeleteRange(range)) }
    }

    #[test]
    fn what_a_branch_deletes_it_does_not_write() {
        let branch = |then| Txn { then, ..Txn::default() };
        assert!(check_txn(&branch(vec![delete_range("a"), set("b"), range("a"), delete_range("c")])).is_ok());
        for twice in [
            vec![delete_range("a"), set("a1")],
            vec![set("a1"), delete_range("a")],
            vec![delete_range("a"), delete_range("ab")],
            vec![set("ab1"), range("ab"), delete_range("a"), set("b")],
            vec![delete_range("")],
        ] {
            assert_eq!(refused(&branch(twice.clone())), ErrorKind::InvalidArgument, "{twice:?}");
        }
        let other = Txn { then: vec![set("a1")], otherwise: vec![delete_range("a")], ..Txn::default() };
        assert!(check_txn(&other).is_ok() && other.writes() && other.needs_ranges());
    }

    #[test]
    fn a_compared_range_is_bounded_and_has_no_key() {
        let state = |count| RangeState { prefix: "a".into(), count, ..RangeState::default() };
        let compared = |count| Compare { operand: Some(Operand::Range(state(count))), ..Compare::default() };
        let when = |when| Txn { when, ..Txn::default() };
        assert!(check_txn(&when(vec![compared(500), compared(500)])).is_ok());
        assert_eq!(refused(&when(vec![compared(500), compared(501)])), ErrorKind::TooLarge);
        assert_eq!(refused(&when(vec![compared(1), compared(u64::MAX)])), ErrorKind::TooLarge);
        for changed in [
            Compare { key: "k".into(), ..compared(1) },
            Compare { relation: v1::Relation::Less.into(), ..compared(1) },
        ] {
            assert_eq!(refused(&when(vec![changed])), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn what_a_transaction_has_is_bounded() {
        let many =
            |count| Txn { when: vec![compare(Some(Operand::ModRevision(1))); count], ..Txn::default() };
        assert!(check_txn(&many(TXN_OPERATIONS_MAX)).is_ok());
        assert_eq!(refused(&many(TXN_OPERATIONS_MAX + 1)), ErrorKind::TooLarge);
        let value = Bytes::from(vec![0; VALUE_MAX]);
        let large =
            |count| Txn { when: vec![compare(Some(Operand::Value(value.clone()))); count], ..Txn::default() };
        assert!(check_txn(&large(1)).is_ok());
        assert_eq!(refused(&large(2)), ErrorKind::TooLarge);
        assert_eq!(refused(&Txn { when: vec![compare(None)], ..Txn::default() }), ErrorKind::Unsupported);
    }

    fn compare(operand: Option<Operand>) -> Compare {
        Compare { key: "k".into(), relation: 0, operand }
    }

    #[test]
    fn a_transaction_without_writes_is_a_read() {
        let read = Txn {
            when: vec![compare(Some(Operand::ModRevision(1)))],
            then: vec![range("")],
            ..Txn::default()
        };
        assert!(!v1::request::Operation::Txn(read.clone()).is_write());
        let written = Txn { otherwise: vec![set("a")], ..read };
        assert!(v1::request::Operation::Txn(written.clone()).is_write());
        assert_eq!(written.decisive_keys().collect::<Vec<_>>(), ["k", "a"]);
    }
}
