//! Reads log entries for peers that are behind, on a thread of its own.

use std::{sync::Arc, thread::JoinHandle};

use gometa_log::{OsDirectory, Reader};
use gometa_zab::LogEntry;
use parking_lot::Mutex;

use super::{DiskError, directory::Directory, failure::Failure};
use crate::process::{queue::Queue, threads};

const THREAD: &str = "gometa-log-read";

/// The reader of the live log.
pub(super) type LiveLog = Arc<Mutex<Reader<OsDirectory>>>;

/// Reads log entries for peers. Dropping it waits for the reads that were submitted.
pub struct LogReader {
    /// Bounded: the protocol has at most one read in flight per connection, and bounds connections.
    queue: Arc<Queue<Read>>,
    thread: Option<JoinHandle<()>>,
}

struct Read {
    id: u64,
    from: u64,
    to: u64,
    bytes_max: usize,
}

impl LogReader {
    /// Reads the live log of this directory, which stays locked.
    pub(super) fn start(
        log: LiveLog,
        directory: Arc<Directory>,
        failure: Arc<Failure>,
        answer: Box<dyn Fn(u64, Vec<LogEntry>) + Send + Sync>,
    ) -> Result<LogReader, DiskError> {
        let queue = Arc::new(Queue::<Read>::new());
        let thread = threads::spawn(THREAD, {
            let queue = queue.clone();
            move || {
                let _locked = directory;
                while let Some(Read { id, from, to, bytes_max }) = queue.pop() {
                    let reader = log.lock().clone();
                    match reader.read(from, to, bytes_max) {
                        Ok(entries) => answer(id, entries),
                        Err(error) => return failure.fail("read from", &error),
                    }
                }
            }
        });
        let thread = thread.map_err(|source| DiskError::Thread { name: THREAD, source })?;
        Ok(LogReader { queue, thread: Some(thread) })
    }

    /// Requests the entries with counters `from` to `to`, all of which must be durable; answered through
    /// [`Hooks::read`](super::Hooks). At least one entry is read, and at most `bytes_max` as the sum of [`LogEntry::size`] of
    /// more than one; none if the log does not have the first any more. Never blocks.
    pub fn submit(&self, id: u64, from: u64, to: u64, bytes_max: usize) {
        self.queue.put(Read { id, from, to, bytes_max });
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.queue.close();
        self.thread.take().into_iter().for_each(threads::join);
    }
}
