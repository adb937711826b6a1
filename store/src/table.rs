//! The table: the durable storage of the store's records. Lookups are answered from memory; the caller reads what is
//! not there, and writes atomic batches later.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A key space of a table; the same key in two spaces names two records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// From a client's key to an encoded `KeyRecord`.
    Data,
    /// From a session's id (8 bytes, big endian) to an encoded `SessionRecord`.
    Session,
    /// One record: the configuration of the ensemble, as its log entry has it. None while the genesis is in force.
    Configuration,
}

impl Space {
    /// All spaces.
    pub const ALL: [Space; 3] = [Space::Data, Space::Session, Space::Configuration];
}

/// The last applied log entry, with the state hash and the number of keys at that point. Every batch includes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Counter of the last applied log entry; 0 at the start (0 is the genesis).
    pub applied: u64,
    /// State hash of the table: the sum of the hashes of all records.
    pub hash: u128,
    /// Number of keys.
    pub keys: u64,
}

/// The changes of several commands. Batches are written atomically, in the order taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// The table's checkpoint after this batch.
    pub checkpoint: Checkpoint,
    /// The new record for each changed (space, key); `None` deletes the record. Each (space, key) occurs at most once.
    pub writes: Vec<(Space, Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Approximate memory of the batch, in bytes.
    pub fn size(&self) -> usize {
        self.writes.iter().map(|(_, key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 64).sum()
    }
}

/// The result of a lookup that does not wait for storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup<T = Bytes> {
    /// It exists, and this is it.
    Found(T),
    /// It does not exist.
    Absent,
    /// Unknown: it must be read from storage.
    NotInMemory,
}

impl<T> Lookup<T> {
    /// What was found; `None` if it does not exist.
    ///
    /// # Panics
    /// If it is not in memory.
    pub fn in_memory(self) -> Option<T> {
        match self {
            Lookup::Found(found) => Some(found),
            Lookup::Absent => None,
            Lookup::NotInMemory => panic!("the record is in memory"),
        }
    }
}

impl<T> From<Option<T>> for Lookup<T> {
    fn from(found: Option<T>) -> Lookup<T> {
        found.map_or(Lookup::Absent, Lookup::Found)
    }
}

/// Read access to a table. Methods cannot report errors: on a storage failure the implementation must end the process.
pub trait Table {
    /// The checkpoint of the last written batch. Called at the start only.
    fn checkpoint(&self) -> Checkpoint;
    /// Looks a record up as of the last written batch or a later one. Never waits for storage.
    fn lookup(&self, space: Space, key: &[u8]) -> Lookup;
    /// Calls `visit(key, record)` for every record of a space, ascending by key. Called at the start only.
    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8]));
}

/// A table in memory, for tests and the simulator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryTable {
    checkpoint: Checkpoint,
    records: BTreeMap<(Space, Bytes), Bytes>,
}

impl MemoryTable {
    /// Reads a record; `None` if it does not exist.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Bytes> {
        self.records.get(&(space, Bytes::copy_from_slice(key))).cloned()
    }

    /// Writes a batch.
    pub fn write(&mut self, batch: &Batch) {
        self.checkpoint = batch.checkpoint;
        for (space, key, value) in &batch.writes {
            match value {
                Some(value) => self.records.insert((*space, key.clone()), value.clone()),
                None => self.records.remove(&(*space, key.clone())),
            };
        }
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
        let from = (space, Bytes::new());
        for ((at, key), value) in self.records.range(from..) {
            if *at != space {
                break;
            }
            visit(key, value);
        }
    }
}
