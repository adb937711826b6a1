//! Ranges that decide what a transaction does: which comparisons of ranges hold, and which keys its deletions of ranges
//! remove.
//!
//! They are read from the table just before the transaction is applied, when the table has all that was applied before. So apply
//! needs no order of the keys in memory.

use bytes::Bytes;
use gometa_proto::{
    limits::{TXN_CHANGED_KEYS_MAX, TXN_DELETED_BYTES_MAX, TXN_VALUES_MAX},
    v1::{RangeState, Txn, TxnOperation},
};

use crate::{
    range::{Cursor, Reader},
    record::RecordView,
    session::Corrupt,
};

/// The keys of one range, with their records.
type Records = Vec<(Bytes, Bytes)>;

/// What was read of the ranges of a transaction, at the revision before it.
#[derive(Clone, PartialEq, Debug)]
pub struct RangesFound {
    /// The revision that was read at.
    pub(crate) revision: u64,
    /// Whether each comparison of a range holds, in their order; `None` if their records are too large.
    pub(crate) holding: Option<Vec<bool>>,
    then: Option<Vec<Records>>,
    otherwise: Option<Vec<Records>>,
}

impl RangesFound {
    /// Reads the ranges of a transaction from a table that has applied `revision`.
    pub(crate) fn read<C: Cursor>(txn: &Txn, revision: u64, data: &mut C) -> Result<RangesFound, Corrupt> {
        let holding = compare_ranges(txn, revision, data)?;
        let mut room = Some(TXN_VALUES_MAX);
        let mut branches = [None, None];
        for (deleted, branch) in branches.iter_mut().zip([&txn.then, &txn.otherwise]) {
            *deleted = read_deleted(branch, revision, data, &mut room)?;
        }
        // The records of both branches count, whichever is executed: both are held.
        let [then, otherwise] = if room.is_some() { branches } else { [None, None] };
        Ok(RangesFound { revision, holding, then, otherwise })
    }

    /// The number of keys that may be removed.
    pub(crate) fn len(&self) -> usize {
        [&self.then, &self.otherwise].into_iter().flatten().flatten().map(Vec::len).sum()
    }

    /// What the deletions of ranges in a branch remove, in their order; `None` if that is too much.
    pub(crate) fn deleted(&self, succeeded: bool) -> Option<&[Records]> {
        if succeeded { self.then.as_deref() } else { self.otherwise.as_deref() }
    }
}

/// Whether each comparison of a range holds at the revision of the table, in their order; `None` if their records have more
/// bytes than is allowed.
pub(crate) fn compare_ranges<C: Cursor>(
    txn: &Txn,
    revision: u64,
    data: &mut C,
) -> Result<Option<Vec<bool>>, Corrupt> {
    let mut room = TXN_VALUES_MAX;
    let mut holding = Vec::new();
    for state in txn.compared_ranges() {
        match holds(state, revision, data, &mut room)? {
            Some(holds) => holding.push(holds),
            None => return Ok(None),
        }
    }
    Ok(Some(holding))
}

/// Whether a range is in this state; `None` if the room is too small for the records that were looked at.
fn holds<C: Cursor>(
    state: &RangeState,
    revision: u64,
    data: &mut C,
    room: &mut usize,
) -> Result<Option<bool>, Corrupt> {
    let mut reader = Reader::of_table(state.bounds(), revision, data);
    let (mut place, mut key, mut count) = (reader.begin(), Vec::new(), 0);
    while reader.next_key(&place, &mut key)? {
        let record = reader.latest();
        let Some(left) = room.checked_sub(record.len()) else { return Ok(None) };
        *room = left;
        count += 1;
        let RecordView { mod_revision, .. } = RecordView::new(&key, record)?;
        let newer = planted!(mod_revision > state.revision, compares_only_the_count => false);
        if count > state.count || newer {
            return Ok(Some(false));
        }
        place.pass(&key, false);
    }
    Ok(Some(count == state.count))
}

/// The keys that the deletions of ranges in a branch remove, for each; `None` if they are more than is allowed, together with
/// the keys that the branch writes otherwise, or if the room is too small for their records: then it is `None` behind.
fn read_deleted<C: Cursor>(
    branch: &[TxnOperation],
    revision: u64,
    data: &mut C,
    room: &mut Option<usize>,
) -> Result<Option<Vec<Records>>, Corrupt> {
    let written = branch.iter().filter(|operation| operation.written_key().is_some()).count();
    let mut keys = TXN_CHANGED_KEYS_MAX - written;
    let mut key_bytes = TXN_DELETED_BYTES_MAX;
    let mut all = Vec::new();
    for range in branch.iter().filter_map(TxnOperation::deleted_range) {
        let mut reader = Reader::of_table(range.bounds(), revision, data);
        let mut records = Records::new();
        let (mut place, mut key) = (reader.begin(), Vec::new());
        while reader.next_key(&place, &mut key)? {
            let record = Bytes::copy_from_slice(reader.latest());
            *room = room.and_then(|room| room.checked_sub(record.len()));
            let left = (keys.checked_sub(1), key_bytes.checked_sub(key.len()), &room);
            let (Some(keys_left), Some(key_bytes_left), Some(_)) = left else { return Ok(None) };
            (keys, key_bytes) = (keys_left, key_bytes_left);
            place.pass(&key, false);
            records.push((Bytes::copy_from_slice(&key), record));
        }
        planted!(deletes_range_without_its_last_key => drop(records.pop()));
        all.push(records);
    }
    Ok(Some(all))
}
