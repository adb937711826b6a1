//! Keys: executes operations, and keeps an overlay of the changes that are not yet in the table.

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

/// Upper bound, in bytes, of the memory of one change in overlay and batch, besides its key and value.
const CHANGE_BYTES_MAX: usize = 256;

/// All keys. Reads consult the overlay first, then the table.
pub(crate) struct Keys {
    /// Latest state of every key whose change is not yet in the table. Never iterated: the order of a `HashMap` is not
    /// deterministic.
    overlay: HashMap<Bytes, KeyState>,
    /// Keys changed since the last `take`, in the order of their first change, without duplicates.
    changed: Vec<Bytes>,
    /// Upper bound, in bytes, of the memory used by the changes since the last `take` and by their batch.
    pending_bytes: usize,
    /// Keys of each batch that was taken but is not yet written, oldest first.
    outstanding: VecDeque<Vec<Bytes>>,
    /// Number of batches taken.
    taken: u64,
    /// Number of batches written to the table.
    written: u64,
    /// Sum of the hashes of all records not changed since the last `take`.
    unchanged_hash: u128,
    /// Number of keys.
    count: u64,
}

/// The latest state of a key in the overlay.
struct KeyState {
    /// `None` is a tombstone: the key is deleted.
    record: Option<KeyRecord>,
    /// The record's hash as added to `unchanged_hash`, 0 for a tombstone; `None` while the key is in `changed`.
    counted_hash: Option<u128>,
    /// Number of the last batch with this key, counted from 1; 0 if there is none.
    batch: u64,
}

/// The state of a key before an operation, and where it was found.
enum Found {
    /// In the overlay; `None` is a tombstone.
    InOverlay(Option<KeyRecord>),
    /// In the table, with its encoded record; `None` if the table does not hold the key.
    InTable(Option<(KeyRecord, Bytes)>),
}

impl Found {
    fn record(&self) -> Option<&KeyRecord> {
        match self {
            Found::InOverlay(record) => record.as_ref(),
            Found::InTable(record) => record.as_ref().map(|(record, _)| record),
        }
    }

    /// The key's `mod_revision`; 0 if the key does not exist.
    fn revision(&self) -> u64 {
        self.record().map_or(0, |record| record.mod_revision)
    }
}

impl Keys {
    /// Creates the state for a table with `count` keys; `hash` is the sum of their records' hashes.
    pub(crate) fn new(count: u64, hash: u128) -> Keys {
        Keys {
            overlay: HashMap::new(),
            changed: Vec::new(),
            pending_bytes: 0,
            outstanding: VecDeque::new(),
            taken: 0,
            written: 0,
            unchanged_hash: hash,
            count,
        }
    }

    /// Number of keys.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Upper bound, in bytes, of the memory used by the changes since the last `take` and by their batch.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Sum of the hashes of all records. Encodes every record changed since the last `take`.
    pub(crate) fn hash(&self) -> u128 {
        let changed = self.changed.iter().filter_map(|key| {
            let record = self.overlay[key].record.as_ref()?;
            Some(record_hash(Space::Data, key, &record.encode_to_vec()))
        });
        changed.fold(self.unchanged_hash, u128::wrapping_add)
    }

    /// Returns a key's value, version and revisions.
    ///
    /// # Panics
    /// If the table's record of the key cannot be decoded.
    pub(crate) fn get(&self, table: &impl Table, key: &[u8]) -> Option<v1::Entry> {
        let record = match self.overlay.get(key) {
            Some(state) => state.record.clone()?,
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

    /// Executes an operation of the log entry at `revision`.
    ///
    /// # Panics
    /// If the table's record of the key cannot be decoded.
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
            // Not in a write: `node` makes the commands CreateSession and EndSessions of them; reads are not logged.
            Operation::OpenSession(_)
            | Operation::EndSession(_)
            | Operation::Get(_)
            | Operation::Status(_) => failure(ErrorKind::Unsupported, 0),
        }
    }

    fn find(&self, table: &impl Table, key: &[u8]) -> Found {
        match self.overlay.get(key) {
            Some(state) => {
                probe!("table.tombstone", state.record.is_none());
                Found::InOverlay(state.record.clone())
            }
            None => Found::InTable(
                table.get(Space::Data, key).map(|stored| (decode(key, stored.clone()), stored)),
            ),
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

    /// Sets a key's state; `found` is its state before.
    fn change(&mut self, key: Bytes, record: Option<KeyRecord>, found: Found) {
        // Key and value are held twice: in the overlay and in the batch.
        let value = record.as_ref().map_or(0, |record| record.value.len());
        self.pending_bytes += CHANGE_BYTES_MAX + 2 * (key.len() + value);
        match self.overlay.entry(key) {
            Slot::Occupied(mut slot) => {
                if let Some(hash) = slot.get_mut().counted_hash.take() {
                    self.unchanged_hash = self.unchanged_hash.wrapping_sub(hash);
                    self.changed.push(slot.key().clone());
                }
                slot.get_mut().record = record;
            }
            Slot::Vacant(slot) => {
                if let Found::InTable(Some((_, stored))) = found {
                    let hash = record_hash(Space::Data, slot.key(), &stored);
                    self.unchanged_hash = self.unchanged_hash.wrapping_sub(hash);
                }
                self.changed.push(slot.key().clone());
                slot.insert(KeyState { record, counted_hash: None, batch: 0 });
            }
        }
    }

    /// Appends to `writes` the changes since the last call: one new outstanding batch.
    pub(crate) fn take(&mut self, writes: &mut Vec<(Space, Bytes, Option<Bytes>)>) {
        self.taken += 1;
        self.pending_bytes = 0;
        let keys = std::mem::take(&mut self.changed);
        writes.reserve(keys.len());
        for key in &keys {
            let state = self.overlay.get_mut(key).expect("a changed key is in the overlay");
            let stored = state.record.as_ref().map(|record| Bytes::from(record.encode_to_vec()));
            let hash = stored.as_ref().map_or(0, |stored| record_hash(Space::Data, key, stored));
            state.counted_hash = Some(hash);
            state.batch = self.taken;
            self.unchanged_hash = self.unchanged_hash.wrapping_add(hash);
            writes.push((Space::Data, key.clone(), stored));
        }
        self.outstanding.push_back(keys);
    }

    /// Reports that the oldest outstanding batch is in the table. Removes its keys from the overlay unless they changed
    /// again.
    ///
    /// # Panics
    /// If no batch is outstanding.
    pub(crate) fn batch_written(&mut self) {
        let keys = self.outstanding.pop_front().expect("a batch is outstanding");
        self.written += 1;
        for key in keys {
            probe!(
                "table.behind-overlay",
                self.overlay.get(&key).is_some_and(|state| state.batch > self.written)
            );
            if let Slot::Occupied(slot) = self.overlay.entry(key)
                && slot.get().counted_hash.is_some()
                && slot.get().batch == self.written
            {
                slot.remove();
            }
        }
    }
}

/// Decodes a key's record from the table.
///
/// # Panics
/// If it cannot be decoded: a node that continued would diverge from the others.
fn decode(key: &[u8], stored: Bytes) -> KeyRecord {
    KeyRecord::decode(stored).unwrap_or_else(|error| {
        panic!("the table is damaged: record of key {:?}: {error}", Bytes::copy_from_slice(key))
    })
}
