//! Reads log entries for peers that are behind, on a thread of its own.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread::JoinHandle,
};

use bytes::Bytes;
use gometa_codec::storage;
use gometa_zab::LogEntry;
use rocksdb::ReadOptions;

use super::{
    DiskError,
    database::{Database, LOG},
    error::one_line,
};
use crate::process::threads;

const THREAD: &str = "gometa-log-read";

/// Reads log entries for peers. Dropping it waits for the reads that were submitted.
pub struct LogReader {
    database: Arc<Database>,
    /// Bounded: the protocol has at most one read in flight per connection, and bounds connections. `None` while this is
    /// dropped.
    requests: Option<mpsc::Sender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

struct Asked {
    id: u64,
    from: u64,
    to: u64,
    bytes_max: usize,
    /// The number of truncations when this was submitted.
    truncations: u64,
}

impl LogReader {
    pub(super) fn start(database: Arc<Database>) -> Result<LogReader, DiskError> {
        let (requests, asked) = mpsc::channel::<Asked>();
        let thread = threads::spawn(THREAD, {
            let database = database.clone();
            move || {
                for asked in asked {
                    match read(&database, &asked) {
                        Ok(entries) => (database.hooks.read)(asked.id, entries),
                        Err(reason) => return database.fail("read from", &reason),
                    }
                }
            }
        });
        let thread = thread.map_err(|source| DiskError::Thread { name: THREAD, source })?;
        Ok(LogReader { database, requests: Some(requests), thread: Some(thread) })
    }

    /// Requests the entries with counters `from` to `to`, all of which must be durable; answered through
    /// [`Hooks::read`](super::Hooks). At least one entry is read, and at most `bytes_max` as the sum of [`LogEntry::size`] of
    /// more than one. Never blocks.
    pub fn submit(&self, id: u64, from: u64, to: u64, bytes_max: usize) {
        let truncations = self.database.truncations.load(Ordering::SeqCst);
        let asked = Asked { id, from, to, bytes_max, truncations };
        // After a failure nothing is read any more.
        let _ = self.requests.as_ref().map(|requests| requests.send(asked));
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.requests = None;
        threads::join(self.thread.take());
    }
}

fn read(database: &Database, asked: &Asked) -> Result<Vec<LogEntry>, String> {
    let mut options = ReadOptions::default();
    // Each entry is read once per peer that is behind; the cache is for the table.
    options.fill_cache(false);
    options.set_readahead_size(asked.bytes_max.clamp(64 << 10, 1 << 20));
    let mut stored = database.rocks.raw_iterator_cf_opt(database.family(LOG), options);
    stored.seek(storage::log_key(asked.from));
    let mut entries = Vec::new();
    let mut size = 0_usize;
    let mut wanted = asked.from;
    while wanted <= asked.to {
        let Some((key, value)) = stored.item() else { break };
        if key != storage::log_key(wanted) {
            break;
        }
        let record = storage::decode_log_entry(wanted, Bytes::copy_from_slice(value));
        let entry = record.map_err(|reason| format!("log entry {wanted} is damaged: {reason}"))?.entry;
        size = size.saturating_add(entry.size());
        if size > asked.bytes_max && !entries.is_empty() {
            return Ok(entries);
        }
        entries.push(entry);
        wanted += 1;
        stored.next();
    }
    stored.status().map_err(|error| one_line(&error))?;
    // Requested entries exist, unless a truncation has removed them since.
    let truncated = database.truncations.load(Ordering::SeqCst) != asked.truncations;
    if wanted <= asked.to && !truncated {
        return Err(format!("log entry {wanted} is missing"));
    }
    Ok(entries)
}
