//! Reads of the table beside apply: pages, histories of keys, and what transactions read.
//!
//! What a transaction wrote and read is not recorded with its outcome. It is read from the history at its revision: keys
//! that its branch had written before at that revision, all else at the one before. So every answer to it is the same.

use bytes::Bytes;
use gometa_proto::{
    Bounds, ErrorKind,
    v1::{
        Deleted, DeletedRange, Error, GetHistory, KeyHistory, Page, Range, Txn, TxnAnswer, TxnOperation,
        TxnOutcome, TxnResult, Written, txn_operation::Operation, txn_result::Result as Answer,
    },
};

use crate::{
    history::deleted_by,
    range::{Cursor, Room, entry, read_key, read_page, read_page_within},
    ranges::{RangesFound, compare_ranges},
    session::Corrupt,
    txn::compare_holds,
    versions::read_history,
};

/// A read of the table. All of it sees one moment.
#[derive(Clone, PartialEq, Debug)]
pub enum Query {
    /// A page.
    Range(Range),
    /// A page of the history of a key.
    History(GetHistory),
    /// A transaction that is a read.
    Txn(Txn),
    /// The results of a transaction that was executed.
    Results(Txn, TxnOutcome),
    /// The ranges of a transaction that is about to be applied. The table has all that was applied before.
    Ranges(Txn),
}

/// The answer to a [`Query`].
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    /// To a range.
    Page(Page),
    /// To the history of a key.
    History(KeyHistory),
    /// To a transaction.
    Txn(TxnAnswer),
    /// To a transaction that is a read: the ranges that it compares are too large.
    TooLarge,
    /// To the ranges of a transaction.
    Ranges(RangesFound),
}

impl Query {
    /// The revision that the table must have; 0 for the present one.
    pub fn revision(&self) -> u64 {
        match self {
            Query::Range(range) => range.at_revision,
            Query::History(_) | Query::Txn(_) | Query::Ranges(_) => 0,
            Query::Results(_, outcome) => outcome.revision,
        }
    }

    /// The lowest revision that is read, if the table has applied `applied`.
    pub fn lowest(&self, applied: u64) -> u64 {
        match self {
            Query::Results(_, outcome) => {
                planted!(outcome.revision.saturating_sub(1), reads_results_at_present => applied)
            }
            Query::Range(range) if range.at_revision > 0 => range.at_revision,
            // The history of a key shows what is kept.
            Query::Range(_) | Query::History(_) | Query::Txn(_) | Query::Ranges(_) => applied,
        }
    }

    /// Bounds of all keys that are read; `None` if there are none.
    pub fn bounds(&self) -> Option<Bounds> {
        match self {
            Query::Range(range) => Some(range.bounds()),
            Query::History(get) => Some(Bounds::of_key(&get.key)),
            Query::Txn(txn) | Query::Results(txn, _) | Query::Ranges(txn) => txn.bounds(),
        }
    }

    /// Whether superseded records are read, if the table has applied `applied`. At the present revision every key has its
    /// latest record.
    pub fn reads_past(&self, applied: u64) -> bool {
        matches!(self, Query::History(_)) || self.lowest(applied) < applied
    }

    /// The revision whose record of changes is to be read too.
    pub fn change(&self) -> Option<u64> {
        match self {
            Query::Results(txn, outcome) => {
                let mut branch = txn.branch(outcome.succeeded).iter();
                branch.any(|operation| operation.deleted_range().is_some()).then_some(outcome.revision)
            }
            Query::Range(_) | Query::History(_) | Query::Txn(_) | Query::Ranges(_) => None,
        }
    }

    /// Reads from a table that has applied `applied`. [`Query::lowest`] is not below its horizon. `data` has the latest
    /// records, `past` the superseded ones, `change` is the record of the changes of [`Query::change`], `None` if
    /// there is none; all of one moment of the table; `past` may be `None` unless
    /// [`Query::reads_past`].
    ///
    /// # Errors
    /// [`Corrupt`] if a record cannot be decoded.
    pub fn read<C: Cursor>(
        &self,
        (horizon, applied): (u64, u64),
        data: &mut C,
        past: Option<&mut C>,
        change: Option<&[u8]>,
    ) -> Result<Found, Corrupt> {
        let lowest = self.lowest(applied);
        match self {
            Query::Range(range) => read_page(range, lowest, data, past).map(Found::Page),
            Query::History(get) => {
                let past = past.ok_or_else(|| Corrupt::new("no superseded records to read".to_owned()))?;
                read_history(get, (horizon, lowest), data, past).map(Found::History)
            }
            Query::Txn(txn) => {
                let Some(holding) = compare_ranges(txn, lowest, data)? else {
                    return Ok(Found::TooLarge);
                };
                let mut succeeded = holding.into_iter().all(|holds| holds);
                let mut records = Records { data, past, deleted: Vec::new() };
                for compare in txn.when.iter().filter(|compare| compare.range_state().is_none()) {
                    let record = read_key(&compare.key, lowest, records.data, records.past.as_deref_mut())?;
                    succeeded &= compare_holds(compare, record.as_ref());
                }
                let outcome = TxnOutcome { revision: lowest, succeeded };
                records.answer(txn, outcome, lowest).map(Found::Txn)
            }
            Query::Results(txn, outcome) => {
                let deleted = change.map(|record| deleted_by(outcome.revision, record)).transpose()?;
                let mut records = Records { data, past, deleted: deleted.unwrap_or_default() };
                records.answer(txn, *outcome, lowest).map(Found::Txn)
            }
            Query::Ranges(txn) => RangesFound::read(txn, lowest, data).map(Found::Ranges),
        }
    }
}

/// The answer to an executed transaction whose results are not in the history any more.
pub fn compacted_answer(txn: &Txn, outcome: TxnOutcome, horizon: u64) -> TxnAnswer {
    let TxnOutcome { revision, succeeded } = outcome;
    let error = error(ErrorKind::Compacted, "the history begins behind the transaction", horizon);
    let result = TxnResult { result: Some(Answer::Error(error)) };
    TxnAnswer { revision, succeeded, results: vec![result; txn.branch(succeeded).len()] }
}

struct Records<'a, C> {
    data: &'a mut C,
    past: Option<&'a mut C>,
    /// The keys that the transaction has deleted, if it deletes ranges.
    deleted: Vec<Bytes>,
}

impl<C: Cursor> Records<'_, C> {
    /// Reads the results of the executed branch; `before` is the revision that its first operation sees.
    fn answer(&mut self, txn: &Txn, outcome: TxnOutcome, before: u64) -> Result<TxnAnswer, Corrupt> {
        let TxnOutcome { revision, succeeded } = outcome;
        let branch = txn.branch(succeeded);
        let mut room = Room::of_page();
        let mut results = Vec::with_capacity(branch.len());
        for (index, operation) in branch.iter().enumerate() {
            let earlier = &branch[..index];
            let result = self.result(operation, earlier, (before, revision), &mut room)?;
            results.push(TxnResult { result: Some(result) });
        }
        Ok(TxnAnswer { revision, succeeded, results })
    }

    /// Reads the result of an operation, behind `earlier` ones, of a transaction that led from one revision to another.
    fn result(
        &mut self,
        operation: &TxnOperation,
        earlier: &[TxnOperation],
        (before, after): (u64, u64),
        room: &mut Room,
    ) -> Result<Answer, Corrupt> {
        let (data, past) = (&mut *self.data, self.past.as_deref_mut());
        Ok(match &operation.operation {
            Some(Operation::Set(set)) => {
                let record = read_key(&set.key, after, data, past)?;
                let version = record.map_or(0, |record| record.version);
                Answer::Written(Written { revision: after, version })
            }
            Some(Operation::Delete(delete)) => {
                let existed = read_key(&delete.key, before, data, past)?.is_some();
                Answer::Deleted(Deleted { revision: if existed { after } else { 0 }, existed })
            }
            Some(Operation::DeleteRange(range)) => {
                // No other operation of the branch writes these keys.
                let bounds = range.bounds();
                let count = self.deleted.iter().filter(|key| bounds.contains(key)).count() as u64;
                Answer::DeletedRange(DeletedRange { revision: if count > 0 { after } else { 0 }, count })
            }
            Some(Operation::Get(get)) => {
                let is_written = earlier.iter().any(|operation| operation.may_write(&get.key));
                let at = planted!(if is_written { after } else { before }, reads_before_own_writes => before);
                match read_key(&get.key, at, data, past)? {
                    None => Answer::Error(error(ErrorKind::NotFound, "there is no such key", 0)),
                    Some(record) if room.take(get.key.len() + record.value.len()) => {
                        Answer::Entry(entry(get.key.clone(), record))
                    }
                    Some(_) => full(at),
                }
            }
            Some(Operation::Range(range)) => {
                let bounds = range.bounds();
                let is_written = earlier.iter().any(|operation| operation.writes_into(&bounds));
                let at = if is_written { after } else { before };
                if room.entries == 0 || room.bytes == 0 || room.keys == 0 {
                    return Ok(full(at));
                }
                let page = read_page_within(room, range, at, data, past)?;
                // It is part of the answer.
                room.bytes -= page.next.len().min(room.bytes);
                Answer::Page(page)
            }
            None => Answer::Error(error(ErrorKind::Unsupported, "an unknown operation", 0)),
        })
    }
}

fn full(revision: u64) -> Answer {
    Answer::Error(error(ErrorKind::TooLarge, "the answer is full", revision))
}

fn error(kind: ErrorKind, message: &str, actual_revision: u64) -> Error {
    Error::not_applied(kind, message).with_actual_revision(actual_revision)
}
