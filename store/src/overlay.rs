//! The overlay: the records of keys in memory. It holds the changes that are not in the table yet, and the records that
//! log entries and reads under way need.
//!
//! The table answers from memory only, so a record that it does not have there is read elsewhere and entered here. Such
//! an answer may be older than the table and the overlay. Two rules make it harmless: an answer changes nothing for a
//! key that is known, and a key that is being read stays. So a key that the overlay does not know has not changed since
//! its read began.

use std::collections::{HashMap, VecDeque, hash_map::Entry as Slot};

use bytes::Bytes;
use gometa_proto::v1::KeyRecord;
use prost::Message;

use crate::{
    hash::record_hash,
    table::{Lookup, Space, Table},
};

/// Upper bound, in bytes, of the memory of one record in overlay and batch, besides its key and value.
const RECORD_BYTES_MAX: usize = 256;

/// What a record is read for. A key may be read for both at the same time, by two reads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// A log entry that is about to be applied.
    Apply,
    /// A client's read.
    Get,
}

/// The records in memory.
pub(crate) struct Overlay {
    /// Never iterated: the order of a `HashMap` is not deterministic.
    states: HashMap<Bytes, State>,
    /// Keys changed since the last `take`, in the order of their first change, without duplicates.
    changed: Vec<Bytes>,
    /// Keys of each batch that was taken but is not yet written, oldest first.
    outstanding: VecDeque<Vec<Bytes>>,
    /// Number of batches taken.
    taken: u64,
    /// Number of batches written to the table.
    written: u64,
    /// Sum of the hashes of all records, in memory or not, that have not changed since the last `take`.
    unchanged_hash: u128,
    /// Upper bound, in bytes, of the memory used by the changes since the last `take` and by their batch.
    pending_bytes: usize,
    /// Upper bound, in bytes, of the memory used by records that are as in the table.
    held_bytes: usize,
}

/// A key in the overlay.
struct State {
    value: Value,
    /// Number of the last batch with this key, counted from 1; 0 if there is none.
    batch: u64,
    /// Number of holds.
    holds: u32,
    /// Whether the key is being read, by purpose.
    reading: [bool; 2],
}

/// The record of a key; `None` if the key does not exist.
enum Value {
    /// Being read.
    Unknown,
    /// Changed since the last `take`.
    Changed(Option<KeyRecord>),
    /// Not changed since the last `take`.
    Unchanged(Option<KeyRecord>, Counted),
}

/// How a record is counted in `unchanged_hash`.
enum Counted {
    /// By this hash; 0 if the key does not exist.
    Hash(u128),
    /// By the hash of this encoded record.
    Encoded(Bytes),
}

/// The result of looking up a key.
pub(crate) enum Found {
    /// In the overlay; `None` if the key does not exist.
    InOverlay(Option<KeyRecord>),
    /// In the table, with the encoded record; `None` if the key does not exist.
    InTable(Option<(KeyRecord, Bytes)>),
    /// In neither: it must be read.
    NotInMemory,
}

impl Found {
    /// The record.
    ///
    /// # Panics
    /// If it is not in memory.
    pub(crate) fn record(&self) -> Option<&KeyRecord> {
        match self {
            Found::InOverlay(record) => record.as_ref(),
            Found::InTable(record) => record.as_ref().map(|(record, _)| record),
            Found::NotInMemory => panic!("the record is in memory"),
        }
    }

    /// The size of the value; 0 if the key does not exist, or its record is not in memory.
    pub(crate) fn value_bytes(&self) -> usize {
        match self {
            Found::InOverlay(Some(record)) | Found::InTable(Some((record, _))) => record.value.len(),
            Found::InOverlay(None) | Found::InTable(None) | Found::NotInMemory => 0,
        }
    }

    /// The key's `mod_revision`; 0 if the key does not exist.
    pub(crate) fn revision(&self) -> u64 {
        self.record().map_or(0, |record| record.mod_revision)
    }
}

impl State {
    fn new(value: Value) -> State {
        State { value, batch: 0, holds: 0, reading: [false; 2] }
    }

    fn is_held(&self) -> bool {
        self.holds > 0 || planted!(self.reading != [false; 2], drops_record_while_read => false)
    }

    /// The memory of a record that is as in the table, counted in `held_bytes`; 0 of any other.
    fn held_bytes(&self, key: &[u8], written: u64) -> usize {
        match &self.value {
            Value::Unchanged(record, _) if self.batch <= written => {
                RECORD_BYTES_MAX + key.len() + record.as_ref().map_or(0, |record| record.value.len())
            }
            Value::Unknown | Value::Changed(_) | Value::Unchanged(..) => 0,
        }
    }
}

impl Overlay {
    /// Creates the overlay of a table; `hash` is the sum of the hashes of its records of keys.
    pub(crate) fn new(hash: u128) -> Overlay {
        Overlay {
            states: HashMap::new(),
            changed: Vec::new(),
            outstanding: VecDeque::new(),
            taken: 0,
            written: 0,
            unchanged_hash: hash,
            pending_bytes: 0,
            held_bytes: 0,
        }
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Sum of the hashes of all records. Encodes every record changed since the last `take`.
    pub(crate) fn hash(&self) -> u128 {
        let changed = self.changed.iter().filter_map(|key| match &self.states[key].value {
            Value::Changed(record) | Value::Unchanged(record, _) => {
                Some(record_hash(Space::Data, key, &record.as_ref()?.encode_to_vec()))
            }
            Value::Unknown => None,
        });
        changed.fold(self.unchanged_hash, u128::wrapping_add)
    }

    /// Looks up a key, in the overlay and then in the table.
    ///
    /// # Panics
    /// If the table's record of the key cannot be decoded.
    pub(crate) fn find(&self, table: &impl Table, key: &[u8]) -> Found {
        match self.states.get(key).map(|state| &state.value) {
            Some(Value::Changed(record) | Value::Unchanged(record, _)) => {
                probe!("table.tombstone", record.is_none());
                Found::InOverlay(record.clone())
            }
            Some(Value::Unknown) | None => match table.lookup(Space::Data, key) {
                Lookup::Found(stored) => Found::InTable(Some((decode(key, stored.clone()), stored))),
                Lookup::Absent => Found::InTable(None),
                Lookup::NotInMemory => Found::NotInMemory,
            },
        }
    }

    /// Sets a key's record; `found` is its state before.
    ///
    /// # Panics
    /// If the state before is not in memory.
    pub(crate) fn change(&mut self, key: Bytes, record: Option<KeyRecord>, found: Found) {
        // Key and value are held twice: in the overlay and in the batch.
        let value = record.as_ref().map_or(0, |record| record.value.len());
        self.pending_bytes += RECORD_BYTES_MAX + 2 * (key.len() + value);
        let state = match self.states.entry(key) {
            Slot::Occupied(slot) => {
                if matches!(slot.get().value, Value::Changed(_)) {
                    slot.into_mut().value = Value::Changed(record);
                    return;
                }
                self.changed.push(slot.key().clone());
                self.held_bytes -= slot.get().held_bytes(slot.key(), self.written);
                probe!("table.changed-while-read", slot.get().reading != [false; 2] && record.is_some());
                probe!("table.deleted-while-read", slot.get().reading != [false; 2] && record.is_none());
                slot.into_mut()
            }
            Slot::Vacant(slot) => {
                self.changed.push(slot.key().clone());
                slot.insert(State::new(Value::Unknown))
            }
        };
        let key = self.changed.last().map_or(&[][..], |key| key);
        let counted = match (std::mem::replace(&mut state.value, Value::Changed(record)), found) {
            (Value::Unchanged(_, Counted::Hash(hash)), _) => hash,
            (Value::Unchanged(_, Counted::Encoded(stored)), _) | (_, Found::InTable(Some((_, stored)))) => {
                record_hash(Space::Data, key, &stored)
            }
            (_, Found::InTable(None) | Found::InOverlay(_)) => 0,
            (_, Found::NotInMemory) => panic!("the record before the change is in memory"),
        };
        self.unchanged_hash = self.unchanged_hash.wrapping_sub(counted);
    }

    /// Appends to `writes` the changes since the last call: one new outstanding batch.
    pub(crate) fn take(&mut self, writes: &mut Vec<(Space, Bytes, Option<Bytes>)>) {
        self.taken += 1;
        self.pending_bytes = 0;
        let keys = std::mem::take(&mut self.changed);
        writes.reserve(keys.len());
        for key in &keys {
            let state = self.states.get_mut(key).expect("a changed key is in the overlay");
            let record = match std::mem::replace(&mut state.value, Value::Unknown) {
                Value::Changed(record) | Value::Unchanged(record, _) => record,
                Value::Unknown => panic!("a changed key is known"),
            };
            let stored = record.as_ref().map(|record| Bytes::from(record.encode_to_vec()));
            let hash = stored.as_ref().map_or(0, |stored| record_hash(Space::Data, key, stored));
            state.value = Value::Unchanged(record, Counted::Hash(hash));
            state.batch = self.taken;
            self.unchanged_hash = self.unchanged_hash.wrapping_add(hash);
            let stored = planted!(stored, alters_record => altered(key, stored));
            writes.push((Space::Data, key.clone(), stored));
        }
        self.outstanding.push_back(keys);
    }

    /// Reports that the oldest outstanding batch is in the table. Removes its keys unless they have changed again or are
    /// held.
    ///
    /// # Panics
    /// If no batch is outstanding.
    pub(crate) fn batch_written(&mut self) {
        let keys = self.outstanding.pop_front().expect("a batch is outstanding");
        self.written += 1;
        for key in keys {
            let Slot::Occupied(slot) = self.states.entry(key) else { continue };
            let state = slot.get();
            probe!("table.behind-overlay", state.batch > self.written);
            if matches!(state.value, Value::Changed(_)) || state.batch != self.written {
                continue;
            }
            if state.is_held() {
                probe!("table.written-while-read", state.reading != [false; 2]);
                self.held_bytes += state.held_bytes(slot.key(), self.written);
            } else {
                slot.remove();
            }
        }
    }

    /// Adds a hold: the key's record, once it is in memory, stays there. Returns whether it is in memory; it is looked
    /// for in the table too.
    ///
    /// # Panics
    /// If the table's record of the key cannot be decoded.
    pub(crate) fn hold(&mut self, table: &impl Table, key: &Bytes) -> bool {
        let state = self.states.entry(key.clone()).or_insert_with(|| State::new(Value::Unknown));
        state.holds += 1;
        if matches!(state.value, Value::Unknown) && !state.reading[Purpose::Apply as usize] {
            state.value = match table.lookup(Space::Data, key) {
                Lookup::Found(stored) => known(key, Some(stored)),
                Lookup::Absent => known(key, None),
                Lookup::NotInMemory => Value::Unknown,
            };
            self.held_bytes += state.held_bytes(key, self.written);
        }
        !matches!(state.value, Value::Unknown)
    }

    /// Ends a hold.
    ///
    /// # Panics
    /// If the key is not held.
    pub(crate) fn release(&mut self, key: &Bytes) {
        let state = self.states.get_mut(key).filter(|state| state.holds > 0);
        state.expect("a key that is released was held").holds -= 1;
        self.remove_unless_needed(key);
    }

    /// Notes that a read of the key's record begins. Returns false if there is no need: the record is known, or a read
    /// for this purpose, or a more urgent one, is under way.
    pub(crate) fn begin_read(&mut self, key: &Bytes, purpose: Purpose) -> bool {
        let state = self.states.entry(key.clone()).or_insert_with(|| State::new(Value::Unknown));
        let reading = state.reading[Purpose::Apply as usize] || state.reading[purpose as usize];
        let begins = matches!(state.value, Value::Unknown) && !reading;
        state.reading[purpose as usize] |= begins;
        begins
    }

    /// Whether a read of the key's record is under way.
    pub(crate) fn is_being_read(&self, key: &[u8]) -> bool {
        self.states.get(key).is_some_and(|state| state.reading != [false; 2])
    }

    /// Enters the answer of a read as the key's record, unless the record is known. `stored` is `None` if the key does
    /// not exist. It stays until `end_read` at least.
    ///
    /// # Panics
    /// If the record cannot be decoded.
    pub(crate) fn enter(&mut self, key: &Bytes, stored: Option<Bytes>) {
        let state = self.states.entry(key.clone()).or_insert_with(|| State::new(Value::Unknown));
        let unknown = matches!(state.value, Value::Unknown);
        probe!("table.answer-superseded", !unknown);
        if planted!(unknown, answer_replaces_newer_record => true) {
            self.held_bytes -= state.held_bytes(key, self.written);
            state.value = known(key, stored);
            self.held_bytes += state.held_bytes(key, self.written);
        }
    }

    /// Notes that the read for this purpose is over, with or without an answer.
    pub(crate) fn end_read(&mut self, key: &Bytes, purpose: Purpose) {
        if let Some(state) = self.states.get_mut(key) {
            state.reading[purpose as usize] = false;
            self.remove_unless_needed(key);
        }
    }

    /// Removes a key that nothing needs and whose record, if it is known, is in the table.
    fn remove_unless_needed(&mut self, key: &Bytes) {
        let Some(state) = self.states.get(key) else { return };
        let stored = !matches!(state.value, Value::Changed(_)) && state.batch <= self.written;
        if stored && !state.is_held() {
            self.held_bytes -= state.held_bytes(key, self.written);
            self.states.remove(key);
        }
    }
}

/// Another record than the one whose hash is counted, for keys of this form.
#[cfg(gometa_instrumented)]
fn altered(key: &[u8], stored: Option<Bytes>) -> Option<Bytes> {
    if !key.ends_with(b"-1") {
        return stored;
    }
    let mut record = decode(key, stored?);
    record.value = [&record.value[..], b"!"].concat().into();
    Some(record.encode_to_vec().into())
}

/// The state of a record as read from the table.
fn known(key: &[u8], stored: Option<Bytes>) -> Value {
    match stored {
        Some(stored) => Value::Unchanged(Some(decode(key, stored.clone())), Counted::Encoded(stored)),
        None => Value::Unchanged(None, Counted::Hash(0)),
    }
}

/// Decodes a key's record from the table.
///
/// # Panics
/// If it cannot be decoded: a node that continued would diverge from the others.
pub(crate) fn decode(key: &[u8], stored: Bytes) -> KeyRecord {
    KeyRecord::decode(stored).unwrap_or_else(|error| {
        panic!("the table is damaged: record of key {:?}: {error}", Bytes::copy_from_slice(key))
    })
}
