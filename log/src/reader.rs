//! Reading entries while the log is being written.

use std::{
    ops::Range,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::{Bytes, BytesMut};
use gometa_codec::storage;
use gometa_zab::LogEntry;

use crate::{
    error::{Damage, ReadError},
    file::{Directory, File},
    index::{Index, Part},
    layout::{ENTRY, RECORD, record, segment_name},
};

/// The most bytes that are read at once, unless one entry is longer. The payloads of entries that were read together
/// share their memory.
const READ_BYTES: usize = 1 << 20;

/// The index, shared by the log and its readers.
pub(crate) struct SharedIndex<F>(RwLock<Index<F>>);

impl<F> SharedIndex<F> {
    pub(crate) fn new(index: Index<F>) -> Arc<SharedIndex<F>> {
        Arc::new(SharedIndex(RwLock::new(index)))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index<F>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Index<F>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads entries; clones read the same log, on any thread.
pub struct Reader<D: Directory> {
    pub(crate) directory: D,
    pub(crate) index: Arc<SharedIndex<D::File>>,
}

impl<D: Directory> Clone for Reader<D> {
    fn clone(&self) -> Reader<D> {
        Reader { directory: self.directory.clone(), index: self.index.clone() }
    }
}

impl<D: Directory> Reader<D> {
    /// Reads durable entries from the counter `from`, at most through `to`: contiguous, as many as fit into `bytes_max`
    /// (the sum of [`LogEntry::size`]) but at least one. There may be fewer. Empty if the log does not have `from`: it is
    /// not above the base, not written yet, or was truncated.
    ///
    /// An entry that is truncated at the same time may still be returned.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogEntry>, ReadError> {
        let mut entries = Vec::new();
        let (mut next, mut size) = (from, 0_usize);
        while size < bytes_max || entries.is_empty() {
            let budget = (bytes_max - size).min(READ_BYTES);
            let Some(part) = self.index.read().part(next, to, budget) else { break };
            next += part.offsets.len() as u64;
            for entry in self.read_part(&part)? {
                size = size.saturating_add(entry.size());
                if size > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// The place of a durable entry's record: the name of the file, and the range of bytes in it. For tests that damage it.
    pub fn place(&self, counter: u64) -> Option<(String, Range<u64>)> {
        let part = self.index.read().part(counter, counter, 0)?;
        let start = u64::from(*part.offsets.first()?);
        let mut head = [0; RECORD];
        part.handle.file.read_at(start, &mut head).ok()?;
        let [_, length @ ..] = head;
        let end = start + (RECORD as u64) + u64::from(u32::from_be_bytes(length));
        Some((segment_name(part.handle.number), start..end))
    }

    /// The counter above which the readable entries take at most this many bytes; the base if all do.
    pub fn counter_above(&self, bytes: u64) -> u64 {
        self.index.read().counter_above(bytes)
    }

    fn read_part(&self, part: &Part<D::File>) -> Result<Vec<LogEntry>, ReadError> {
        let file = || self.directory.describe(&segment_name(part.handle.number));
        let start = part.offsets[0];
        let mut bytes = BytesMut::zeroed((part.end - start) as usize);
        let read = part.handle.file.read_at(start.into(), &mut bytes);
        read.map_err(|source| ReadError::Io { file: file(), source })?;
        let bytes = bytes.freeze();
        let mut entries = Vec::with_capacity(part.offsets.len());
        for (counter, offset) in (part.first..).zip(&part.offsets) {
            let entry = decode(counter, &bytes, (offset - start) as usize);
            entries.push(entry.map_err(|what| ReadError::Damaged {
                counter,
                damage: Damage { file: file(), offset: (*offset).into(), what },
            })?);
        }
        Ok(entries)
    }
}

fn decode(counter: u64, bytes: &Bytes, at: usize) -> Result<LogEntry, String> {
    let Some((ENTRY, range)) = record(bytes, at) else {
        return Err("there is no record of an entry".to_owned());
    };
    match storage::decode_log_entry(counter, bytes.slice(range)) {
        Ok(record) => Ok(record.entry),
        Err(error) => Err(error.to_string()),
    }
}
