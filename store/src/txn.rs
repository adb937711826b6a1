//! Transactions: comparisons, and the execution of a branch.

use bytes::Bytes;
use gometa_proto::{
    ErrorKind,
    v1::{
        CommandOutcome, Compare, DeletedRange, KeyRecord, Relation, Txn, TxnAnswer, TxnOperation, TxnOutcome,
        TxnResult, command_outcome, compare::Operand, txn_operation::Operation, txn_result,
    },
};

use crate::{
    failure,
    history::History,
    keys::Keys,
    overlay::{Found, decode},
    ranges::RangesFound,
};

impl Keys {
    /// Executes a transaction of the log entry at `revision`; `found` are the states of its
    /// [decisive keys](Txn::decisive_keys), in their order, `ranges` what was read of its ranges, if it
    /// [needs them](Txn::needs_ranges). What it changes is added to the history. Returns the answer too if the executed branch
    /// reads nothing.
    ///
    /// # Panics
    /// If the transaction is valid and the record of one of these keys is not in memory.
    pub(crate) fn transact(
        &mut self,
        history: &mut History,
        revision: u64,
        txn: &Txn,
        found: Vec<Found>,
        ranges: Option<&RangesFound>,
    ) -> (CommandOutcome, Option<TxnAnswer>) {
        if let Err(error) = txn.check() {
            return (failure(error.error_kind(), 0), None);
        }
        if !txn.writes() {
            return (failure(ErrorKind::Unsupported, 0), None);
        }
        let Some(mut holding) = ranges.map_or(Some(&[][..]), |ranges| ranges.holding.as_deref()) else {
            return (failure(ErrorKind::TooLarge, 0), None);
        };
        let mut found = found.into_iter();
        let mut holds = |compare: &Compare| match compare.range_state() {
            Some(_) => {
                let holds = *holding.split_off_first().expect("a compared range was read");
                probe!("txn.range-changed", !holds);
                holds
            }
            None => {
                let found = found.next().expect("a compared key has a state");
                compare_holds(compare, found.record())
            }
        };
        let holding = txn.when.iter().filter(|compare| holds(compare)).count();
        let succeeded = planted!(holding == txn.when.len(), one_comparison_is_enough => holding > 0);
        probe!("txn.succeeded", succeeded);
        probe!("txn.failed", !succeeded);
        // The states of the keys of the other branch are left out.
        let skipped = if succeeded { 0 } else { written_keys(&txn.then) };
        let mut found = found.skip(skipped);
        let branch = txn.branch(succeeded);
        let Some(mut deleted) = ranges.map_or(Some(&[][..]), |ranges| ranges.deleted(succeeded)) else {
            return (failure(ErrorKind::TooLarge, 0), None);
        };
        let mut results = Vec::with_capacity(branch.len());
        for operation in branch {
            let mut found = || found.next().expect("a written key has a state");
            let result = match &operation.operation {
                Some(Operation::Set(set)) => {
                    txn_result::Result::Written(self.put(history, revision, &set.key, &set.value, found()))
                }
                Some(Operation::Delete(delete)) => {
                    txn_result::Result::Deleted(self.remove(history, revision, &delete.key, found()))
                }
                Some(Operation::DeleteRange(_)) => {
                    let records = deleted.split_off_first().expect("a deleted range was read");
                    txn_result::Result::DeletedRange(self.remove_all(history, revision, records))
                }
                Some(Operation::Get(_) | Operation::Range(_)) | None => continue,
            };
            results.push(TxnResult { result: Some(result) });
            planted!(executes_first_write_only => break);
        }
        let outcome = TxnOutcome { revision, succeeded };
        let only_writes = results.len() == branch.len();
        let answer = only_writes.then_some(TxnAnswer { revision, succeeded, results });
        (CommandOutcome { result: Some(command_outcome::Result::Txn(outcome)) }, answer)
    }

    /// Removes keys with these records, which are the latest ones.
    fn remove_all(
        &mut self,
        history: &mut History,
        revision: u64,
        records: &[(Bytes, Bytes)],
    ) -> DeletedRange {
        for (key, stored) in records {
            let found = Found::InTable(Some((decode(key, stored.clone()), stored.clone())));
            self.remove(history, revision, key, found);
        }
        let count = records.len() as u64;
        probe!("txn.range-deleted", count > 0);
        DeletedRange { revision: if count > 0 { revision } else { 0 }, count }
    }
}

fn written_keys(branch: &[TxnOperation]) -> usize {
    branch.iter().filter(|operation| operation.written_key().is_some()).count()
}

/// Whether a comparison holds for a key; `None` if the key does not exist.
pub(crate) fn compare_holds(compare: &Compare, record: Option<&KeyRecord>) -> bool {
    let order = match (&compare.operand, record) {
        (Some(Operand::CreateRevision(operand)), record) => {
            record.map_or(0, |record| record.create_revision).cmp(operand)
        }
        (Some(Operand::ModRevision(operand)), record) => {
            record.map_or(0, |record| record.mod_revision).cmp(operand)
        }
        (Some(Operand::Value(operand)), Some(record)) => record.value.cmp(operand),
        (Some(Operand::Value(_)), None) | (None, _) => return false,
        // No comparison of a key: see `ranges`.
        (Some(Operand::Range(_)), _) => return false,
    };
    match compare.relation() {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::Greater => order.is_gt(),
    }
}
