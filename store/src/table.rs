//! The table that holds the store's records. Reads are synchronous; writes are batches, carried out later.

use std::collections::BTreeMap;

use bytes::Bytes;

/// One of the two sets of records of a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Keys: the client's key → an encoded `KeyRecord`.
    Data,
    /// Sessions: the id, 8 bytes big endian → an encoded `SessionRecord`.
    Session,
}

/// The position of a table in the log; written in the same atomic batch as the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Counter of the last entry applied; 0 before the first.
    pub applied: u64,
    /// Hash of everything in the table.
    pub hash: u128,
    /// Number of keys.
    pub keys: u64,
}

/// The changes of some commands, written atomically, in the order in which batches are made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// The table's checkpoint after this batch.
    pub checkpoint: Checkpoint,
    /// The records to put, or without a value to remove. No (space, key) occurs twice.
    pub writes: Vec<(Space, Bytes, Option<Bytes>)>,
}

impl Batch {
    /// The approximate memory of the batch, in bytes.
    pub fn size(&self) -> usize {
        self.writes.iter().map(|(_, key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 64).sum()
    }
}

/// Read access to the table. An implementation whose storage fails ends the process instead of returning.
pub trait Table {
    /// The checkpoint of the last batch written.
    fn checkpoint(&self) -> Checkpoint;
    /// Reads a record.
    fn get(&self, space: Space, key: &[u8]) -> Option<Bytes>;
    /// Visits every record of a space, ascending by key.
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
