//! The keys: the execution of operations, and the overlay of changes that are not in the table yet.

use std::collections::{HashMap, VecDeque, hash_map::Entry as Slot};

use bytes::Bytes;
use gometa_proto::{
    ErrorKind,
    v1::{self, CommandOutcome, Deleted, KeyRecord, Written, command_outcome, request::Operation},
};
use prost::Message;

use crate::{
    failure,
    hash::record_hash,
    table::{Space, Table},
};

/// The memory of a changed key in overlay and batch, in bytes, key and value not counted.
const CHANGE_COST: usize = 256;

/// All keys: the overlay over the table.
pub(crate) struct Keys {
    /// The newest state of every key in a batch that is not written yet, or in the next batch. Never iterated: a map's
    /// order differs from node to node.
    overlay: HashMap<Bytes, Overlaid>,
    /// The keys changed since the last batch, in the order of their first change, each once.
    changed: Vec<Bytes>,
    /// An upper bound of the memory of `changed` and of its batch, in bytes.
    pending: usize,
    /// The keys of each outstanding batch, oldest first.
    outstanding: VecDeque<Vec<Bytes>>,
    /// The number of batches taken.
    taken: u64,
    /// The number of batches written.
    written: u64,
    /// The sum of the hashes of all records except the changed ones.
    settled_hash: u128,
    /// Number of keys.
    count: u64,
}

/// The newest state of a key.
struct Overlaid {
    /// `None` for a deleted key.
    record: Option<KeyRecord>,
    /// The record's part of `settled_hash`, 0 for a deleted key; `None` while the key is in `changed`.
    settled: Option<u128>,
    /// The number of the last batch with this key; 0 before the first.
    batch: u64,
}

/// The state of a key before an operation.
enum Found {
    /// In the overlay.
    Overlaid(Option<KeyRecord>),
    /// In the table, with the stored bytes.
    Stored(Option<(KeyRecord, Bytes)>),
}

impl Found {
    fn record(&self) -> Option<&KeyRecord> {
        match self {
            Found::Overlaid(record) => record.as_ref(),
            Found::Stored(record) => record.as_ref().map(|(record, _)| record),
        }
    }

    /// The key's mod_revision, 0 if it is absent.
    fn revision(&self) -> u64 {
        self.record().map_or(0, |record| record.mod_revision)
    }
}

impl Keys {
    /// The `count` keys of a table; `hash` is the hash of their records.
    pub(crate) fn new(count: u64, hash: u128) -> Keys {
        Keys {
            overlay: HashMap::new(),
            changed: Vec::new(),
            pending: 0,
            outstanding: VecDeque::new(),
            taken: 0,
            written: 0,
            settled_hash: hash,
            count,
        }
    }

    /// Number of keys.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// An upper bound of the memory of the changes since the last batch and of their batch, in bytes.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// The hash of all records. Encodes every record changed since the last batch.
    pub(crate) fn hash(&self) -> u128 {
        let changed = self.changed.iter().filter_map(|key| {
            let record = self.overlay[key].record.as_ref()?;
            Some(record_hash(Space::Data, key, &record.encode_to_vec()))
        });
        changed.fold(self.settled_hash, u128::wrapping_add)
    }

    /// The entry of a key.
    pub(crate) fn get(&self, table: &impl Table, key: &[u8]) -> Option<v1::Entry> {
        let record = match self.overlay.get(key) {
            Some(overlaid) => overlaid.record.clone()?,
            None => decode(key, table.get(Space::Data, key)?),
        };
        Some(v1::Entry {
            key: Bytes::copy_from_slice(key),
            value: record.value,
            version: record.version,
            create_revision: record.create_revision,
            mod_revision: record.mod_revision,
        })
    }

    /// Executes an operation as the entry at `revision`.
    pub(crate) fn execute(
        &mut self,
        table: &impl Table,
        revision: u64,
        operation: Operation,
    ) -> CommandOutcome {
        if let Err(error) = operation.check() {
            return failure(error.error_kind(), 0);
        }
        match operation {
            Operation::Add(add) => {
                let found = self.find(table, &add.key);
                match found.record() {
                    Some(record) => failure(ErrorKind::AlreadyExists, record.mod_revision),
                    None => self.put(revision, add.key, add.value, found),
                }
            }
            Operation::Set(set) => {
                let found = self.find(table, &set.key);
                self.put(revision, set.key, set.value, found)
            }
            Operation::Cas(cas) => {
                let found = self.find(table, &cas.key);
                if planted!(found.revision() != cas.revision, cas_ignores_revision => false) {
                    return failure(ErrorKind::CasMismatch, found.revision());
                }
                self.put(revision, cas.key, cas.value, found)
            }
            Operation::Delete(delete) => {
                let found = self.find(table, &delete.key);
                if delete.revision.is_some_and(|expected| expected != found.revision()) {
                    return failure(ErrorKind::CasMismatch, found.revision());
                }
                let existed = found.record().is_some();
                probe!("keys.delete-absent", !existed);
                if existed {
                    self.count -= 1;
                    self.change(delete.key, None, found);
                }
                let deleted = Deleted { revision: if existed { revision } else { 0 }, existed };
                CommandOutcome { result: Some(command_outcome::Result::Deleted(deleted)) }
            }
            Operation::OpenSession(_)
            | Operation::EndSession(_)
            | Operation::Get(_)
            | Operation::Status(_) => failure(ErrorKind::Unsupported, 0),
        }
    }

    fn find(&self, table: &impl Table, key: &[u8]) -> Found {
        match self.overlay.get(key) {
            Some(overlaid) => {
                probe!("table.tombstone", overlaid.record.is_none());
                Found::Overlaid(overlaid.record.clone())
            }
            None => {
                Found::Stored(table.get(Space::Data, key).map(|stored| (decode(key, stored.clone()), stored)))
            }
        }
    }

    fn put(&mut self, revision: u64, key: Bytes, value: Bytes, found: Found) -> CommandOutcome {
        let (create_revision, version) = match found.record() {
            Some(record) => (record.create_revision, record.version + 1),
            None => {
                self.count += 1;
                (revision, 1)
            }
        };
        let record = KeyRecord { create_revision, mod_revision: revision, version, value };
        self.change(key, Some(record), found);
        CommandOutcome { result: Some(command_outcome::Result::Written(Written { revision, version })) }
    }

    /// Sets a key's state; `found` is the previous one.
    fn change(&mut self, key: Bytes, record: Option<KeyRecord>, found: Found) {
        // Key and value are in the overlay and in the batch.
        let value = record.as_ref().map_or(0, |record| record.value.len());
        self.pending += CHANGE_COST + 2 * (key.len() + value);
        match self.overlay.entry(key) {
            Slot::Occupied(mut slot) => {
                if let Some(settled) = slot.get_mut().settled.take() {
                    self.settled_hash = self.settled_hash.wrapping_sub(settled);
                    self.changed.push(slot.key().clone());
                }
                slot.get_mut().record = record;
            }
            Slot::Vacant(slot) => {
                if let Found::Stored(Some((_, stored))) = found {
                    let settled = record_hash(Space::Data, slot.key(), &stored);
                    self.settled_hash = self.settled_hash.wrapping_sub(settled);
                }
                self.changed.push(slot.key().clone());
                slot.insert(Overlaid { record, settled: None, batch: 0 });
            }
        }
    }

    /// Moves the changes since the last batch into the next one.
    pub(crate) fn take(&mut self, writes: &mut Vec<(Space, Bytes, Option<Bytes>)>) {
        self.taken += 1;
        self.pending = 0;
        let keys = std::mem::take(&mut self.changed);
        writes.reserve(keys.len());
        for key in &keys {
            let overlaid =
                self.overlay.get_mut(key).expect("a changed key stays in the overlay until it is written");
            let stored = overlaid.record.as_ref().map(|record| Bytes::from(record.encode_to_vec()));
            let settled = stored.as_ref().map_or(0, |stored| record_hash(Space::Data, key, stored));
            overlaid.settled = Some(settled);
            overlaid.batch = self.taken;
            self.settled_hash = self.settled_hash.wrapping_add(settled);
            writes.push((Space::Data, key.clone(), stored));
        }
        self.outstanding.push_back(keys);
    }

    /// Removes the keys of the oldest outstanding batch from the overlay, except those changed since.
    pub(crate) fn batch_written(&mut self) {
        let keys =
            self.outstanding.pop_front().expect("a batch was reported as written that was never taken");
        self.written += 1;
        for key in keys {
            probe!(
                "table.behind-overlay",
                self.overlay.get(&key).is_some_and(|overlaid| overlaid.batch > self.written)
            );
            if let Slot::Occupied(slot) = self.overlay.entry(key)
                && slot.get().settled.is_some()
                && slot.get().batch == self.written
            {
                slot.remove();
            }
        }
    }
}

/// Decodes a record of the table.
fn decode(key: &[u8], stored: Bytes) -> KeyRecord {
    // A node that continued with a damaged record would differ from the others.
    KeyRecord::decode(stored).unwrap_or_else(|error| {
        panic!("the table is damaged: record of key {:?}: {error}", Bytes::copy_from_slice(key))
    })
}
