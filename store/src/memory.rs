//! A table in memory.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;

use crate::{
    history::{HISTORY_KEY, check_horizon, horizon_of, superseded_by},
    query::{Found, Query},
    range::Cursor,
    table::{Batch, Checkpoint, Lookup, Space, Table},
};

/// A table in memory, for tests and the simulator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryTable {
    checkpoint: Checkpoint,
    /// By space.
    records: [BTreeMap<Bytes, Bytes>; Space::ALL.len()],
    /// The records of changes, by revision.
    changes: BTreeMap<u64, Bytes>,
    /// The superseded versions of keys, by key and revision.
    past: BTreeMap<Bytes, Bytes>,
}

impl MemoryTable {
    /// Reads a record; `None` if it does not exist.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Bytes> {
        self.records[space as usize].get(key).cloned()
    }

    /// Writes a batch.
    ///
    /// # Panics
    /// If a record of the history cannot be decoded.
    pub fn write(&mut self, batch: &Batch) {
        self.checkpoint = batch.checkpoint;
        for (space, key, value) in &batch.writes {
            let records = &mut self.records[*space as usize];
            match value {
                Some(value) => records.insert(key.clone(), value.clone()),
                None => records.remove(key),
            };
        }
        if let Some(horizon) = batch.horizon {
            let kept = self.changes.split_off(&(horizon + 1));
            for (revision, record) in std::mem::replace(&mut self.changes, kept) {
                for key in superseded_by(revision, &record).unwrap_or_else(|error| panic!("{error}")) {
                    self.past.remove(&key);
                }
            }
        }
        for change in batch.kept_changes() {
            self.changes.insert(change.revision, change.record());
            self.past.extend(change.superseded());
        }
    }

    /// Reads at one moment.
    ///
    /// # Errors
    /// The horizon, if a revision below it is to be read.
    ///
    /// # Panics
    /// If a record cannot be decoded.
    pub fn read(&self, query: &Query) -> Result<Found, u64> {
        let record = self.get(Space::History, HISTORY_KEY);
        let horizon =
            record.map_or(Ok(0), |record| horizon_of(&record)).unwrap_or_else(|error| panic!("{error}"));
        let applied = self.checkpoint.applied;
        check_horizon(query.lowest(applied), horizon)?;
        let [mut data, mut past] = [&self.records[Space::Data as usize], &self.past].map(MapCursor::new);
        let past = query.reads_past(applied).then_some(&mut past);
        let change = query.change().and_then(|revision| self.changes.get(&revision));
        let found = query.read((horizon, applied), &mut data, past, change.map(|record| &record[..]));
        Ok(found.unwrap_or_else(|error| panic!("{error}")))
    }

    /// The number of superseded versions, and of revisions whose changes are kept.
    pub fn history_len(&self) -> (usize, usize) {
        (self.past.len(), self.changes.len())
    }
}

impl Table for MemoryTable {
    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    fn lookup(&self, space: Space, key: &[u8]) -> Lookup {
        self.get(space, key).into()
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.records[space as usize].iter().for_each(|(key, record)| visit(key, record));
    }

    fn scan_changes(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        self.changes.iter().for_each(|(revision, record)| visit(*revision, record));
    }
}

/// A place in a map.
struct MapCursor<'a> {
    records: &'a BTreeMap<Bytes, Bytes>,
    item: Option<(&'a Bytes, &'a Bytes)>,
}

impl<'a> MapCursor<'a> {
    fn new(records: &'a BTreeMap<Bytes, Bytes>) -> MapCursor<'a> {
        MapCursor { records, item: None }
    }
}

impl Cursor for MapCursor<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.item = self.records.range::<[u8], _>((Bound::Included(key), Bound::Unbounded)).next();
    }

    fn seek_before(&mut self, key: &[u8]) {
        self.item = self.records.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key))).next_back();
    }

    fn seek_to_last(&mut self) {
        self.item = self.records.last_key_value();
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.item.map(|(key, record)| (&key[..], &record[..]))
    }
}
