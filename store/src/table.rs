//! The table: the durable storage of the store's records. Lookups are answered from memory; the caller reads what is
//! not there, and writes atomic batches later.

use bytes::Bytes;

use crate::change::Change;

/// A key space of a table; the same key in two spaces names two records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// From a client's key to an encoded `KeyRecord`.
    Data,
    /// From a session's id (8 bytes, big endian) to an encoded `SessionRecord`.
    Session,
    /// One record: the configuration of the ensemble, as its log entry has it. None while the genesis is in force.
    Configuration,
    /// One record: the horizon of the history and the sum of its changes. None while nothing was changed.
    History,
    /// One record: the settings of the ensemble that are not the default. None while all are.
    Settings,
}

impl Space {
    /// All spaces.
    pub const ALL: [Space; 5] =
        [Space::Data, Space::Session, Space::Configuration, Space::History, Space::Settings];
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
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    /// The table's checkpoint after this batch.
    pub checkpoint: Checkpoint,
    /// The new record for each changed (space, key); `None` deletes the record. Each (space, key) occurs at most once.
    pub writes: Vec<(Space, Bytes, Option<Bytes>)>,
    /// What each revision has changed, ascending. Batches of other nodes end elsewhere; these records are the same there.
    pub changes: Vec<Change>,
    /// The horizon, if it was raised: changes of this revision and of lower ones, and the versions that they superseded, are
    /// deleted, those of this batch included.
    pub horizon: Option<u64>,
}

impl Batch {
    /// Approximate memory of the batch, in bytes.
    pub fn size(&self) -> usize {
        let writes =
            self.writes.iter().map(|(_, key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 64);
        writes.sum::<usize>() + self.changes.iter().map(Change::size).sum::<usize>()
    }

    /// The changes that stay in the history.
    pub fn kept_changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| self.horizon.is_none_or(|horizon| change.revision > horizon))
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
    /// Calls `visit(revision, record)` for the record of every change, ascending. Called to verify a table only.
    fn scan_changes(&self, visit: &mut dyn FnMut(u64, &[u8]));
}
