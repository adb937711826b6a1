//! Reads log entries for peers that are behind, on a thread of its own.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
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
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    database: Arc<Database>,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Bounded: the protocol has at most one read in flight per connection, and bounds connections.
    asked: VecDeque<Asked>,
    closing: bool,
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
        let shared = Arc::new(Shared { database, queue: Mutex::default(), wake: Condvar::new() });
        let thread = threads::spawn(THREAD, {
            let shared = shared.clone();
            move || shared.run()
        });
        let thread = thread.map_err(|source| DiskError::Thread { name: THREAD, source })?;
        Ok(LogReader { shared, thread: Some(thread) })
    }

    /// Requests the entries with counters `from` to `to`, all of which must be durable; answered through
    /// [`Hooks::read`](super::Hooks). At least one entry is read, and at most `bytes_max` as the sum of [`LogEntry::size`] of
    /// more than one. Never blocks.
    pub fn submit(&self, id: u64, from: u64, to: u64, bytes_max: usize) {
        let truncations = self.shared.database.truncations.load(Ordering::SeqCst);
        self.shared.lock().asked.push_back(Asked { id, from, to, bytes_max, truncations });
        self.shared.wake.notify_one();
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // The panic was logged by its thread.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Asked> {
        let mut queue = self.lock();
        loop {
            if let Some(asked) = queue.asked.pop_front() {
                return Some(asked);
            }
            if queue.closing {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self) {
        while let Some(asked) = self.next() {
            match self.read(&asked) {
                Ok(entries) => (self.database.hooks.read)(asked.id, entries),
                Err(reason) => {
                    self.database.fail("read from", &reason);
                    return;
                }
            }
        }
    }

    fn read(&self, asked: &Asked) -> Result<Vec<LogEntry>, String> {
        let mut options = ReadOptions::default();
        // Each entry is read once per peer that is behind; the cache is for the table.
        options.fill_cache(false);
        options.set_readahead_size(asked.bytes_max.clamp(64 << 10, 1 << 20));
        let mut stored = self.database.rocks.raw_iterator_cf_opt(self.database.family(LOG), options);
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
        let truncated = self.database.truncations.load(Ordering::SeqCst) != asked.truncations;
        if wanted <= asked.to && !truncated {
            return Err(format!("log entry {wanted} is missing"));
        }
        Ok(entries)
    }
}
