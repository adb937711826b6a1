//! 17. **State equality**: nodes that have applied equally far have the same state hash, session table included;
//!     and it is the hash of the committed log applied, entry by entry, to an empty store.
//!
//! Beside that store runs the naive model: every outcome of the two must agree, and at the end every record.

use bytes::Bytes;
use gometa_proto::v1::{KeyRecord, SessionRecord};
use gometa_store::{Decoded, Found, Space, Store, Table};
use gometa_zab::{Kind, LogEntry};
use prost::Message;

use super::{Check, Violation, ensure, model::Model};
use crate::disk::{Disk, TableView};

const NAME: &str = "17 state equality";

/// The committed log, replayed.
pub(super) struct State {
    view: TableView,
    store: Store<TableView>,
    /// Hash after the entry with counter c, at index c.
    hashes: Vec<u128>,
    model: Model,
}

impl State {
    pub(super) fn new() -> State {
        let view = TableView::default();
        let store = match Store::open(view.clone()) {
            Ok(store) => store,
            Err(error) => panic!("an empty table opens: {error}"),
        };
        State { view, store, hashes: vec![0], model: Model::default() }
    }

    /// The state that a log makes.
    pub(super) fn of_log(log: &[LogEntry]) -> Result<State, Violation> {
        let mut state = State::new();
        for entry in log {
            state.commit(entry.zxid.counter, entry.kind, &entry.payload)?;
        }
        Ok(state)
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// The next entry is committed; says which write happened by it.
    pub(super) fn commit(
        &mut self,
        counter: u64,
        kind: Kind,
        payload: &Bytes,
    ) -> Result<Option<(u64, u64)>, Violation> {
        let applied = if kind == Kind::Membership {
            self.store.configure(counter, payload.clone());
            None
        } else {
            let mut command = Decoded::new(payload.clone());
            if let Some(query) = command.missing_ranges() {
                match self.view.query(&query) {
                    Ok(Found::Ranges(ranges)) => command.set_ranges(ranges),
                    other => panic!("ranges of the present are answered with {other:?}"),
                }
            }
            let applied = self.store.apply(counter, &command);
            Some(applied.expect("all of this table is in memory"))
        };
        if let Some(batch) = self.store.take_batch() {
            self.view.write(&batch);
            self.store.batch_written();
        }
        self.hashes.push(self.store.hash());
        let Some(applied) = applied else { return Ok(None) };
        let step = self.model.apply(counter, payload);
        ensure!(
            applied.outcome == step.outcome,
            NAME,
            "the store says {:?} to the entry at {counter}, it ought to be {:?}",
            applied.outcome,
            step.outcome
        );
        Ok(step.executed)
    }

    /// The hash after the entry with this counter.
    pub(super) fn hash_at(&self, counter: u64) -> Option<u128> {
        self.hashes.get(counter as usize).copied()
    }

    /// A node has applied through a counter and has this hash.
    pub(super) fn compare(&self, node: usize, applied: u64, hash: u128) -> Check {
        let ours = self.hashes.get(applied as usize).copied();
        ensure!(
            ours == Some(hash),
            NAME,
            "n{node} has the hash {hash:032x} at {applied}, it ought to be {ours:x?}"
        );
        Ok(())
    }

    /// A node that has applied everything holds what the model holds.
    pub(super) fn compare_tables(&self, node: usize, disk: &Disk) -> Check {
        let mut keys: Vec<(Bytes, KeyRecord)> = Vec::new();
        disk.table.scan(Space::Data, &mut |key, stored| {
            keys.extend(KeyRecord::decode(stored).ok().map(|record| (Bytes::copy_from_slice(key), record)));
        });
        let ours: Vec<_> = self.model.keys().map(|(key, record)| (key.clone(), record.clone())).collect();
        ensure!(keys == ours, NAME, "n{node} ends with {keys:?}, it ought to be {ours:?}");
        let mut sessions: Vec<(u64, u64, Vec<u64>)> = Vec::new();
        disk.table.scan(Space::Session, &mut |key, stored| {
            let id = <[u8; 8]>::try_from(key).map_or(0, u64::from_be_bytes);
            sessions.extend(SessionRecord::decode(stored).ok().map(|record| {
                (id, record.floor, record.recorded.iter().map(|recorded| recorded.seq).collect())
            }));
        });
        let live = self.model.sessions.iter();
        let ours: Vec<_> = live
            .map(|(id, session)| (*id, session.floor, session.recorded.iter().copied().collect()))
            .collect();
        ensure!(
            sessions == ours,
            NAME,
            "n{node} ends with the sessions {sessions:?}, they ought to be {ours:?}"
        );
        Ok(())
    }
}
