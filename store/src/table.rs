//! Where the store keeps its records: a table that can be read at once and is written in batches, later.

use std::collections::BTreeMap;

use bytes::Bytes;

/// One of the table's two name spaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Keys: the client's key → an encoded `KeyRecord`.
    Data,
    /// Sessions: the id, 8 bytes big endian → an encoded `SessionRecord`.
    Session,
}

/// How far the table has come; stored with it, in the same atomic batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Counter of the last entry applied; 0 before the first.
    pub applied: u64,
    /// Hash of everything in the table.
    pub hash: u128,
    /// Number of keys.
    pub keys: u64,
}

/// What applying some commands changed: written as one, in the order in which batches are made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// How far the table has come with this batch.
    pub checkpoint: Checkpoint,
    /// The records: put, or removed where there is no value. No (space, key) stands here twice.
    pub writes: Vec<(Space, Bytes, Option<Bytes>)>,
}

impl Batch {
    /// What the batch costs in memory, in bytes, roughly.
    pub fn size(&self) -> usize {
        self.writes.iter().map(|(_, key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 64).sum()
    }
}

/// Read access to the table. An implementation whose storage fails ends the process; it does not return.
pub trait Table {
    /// How far the table has come.
    fn checkpoint(&self) -> Checkpoint;
    /// One record.
    fn get(&self, space: Space, key: &[u8]) -> Option<Bytes>;
    /// Every record of a space, ascending by key.
    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8]));
}

/// A table in memory: for tests and the simulator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryTable {
    checkpoint: Checkpoint,
    records: BTreeMap<(Space, Bytes), Bytes>,
}

impl MemoryTable {
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

    fn get(&self, space: Space, key: &[u8]) -> Option<Bytes> {
        self.records.get(&(space, Bytes::copy_from_slice(key))).cloned()
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
