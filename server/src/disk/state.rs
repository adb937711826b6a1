//! Writing the state: one thread writes batches in the order of apply, another one flushes them.
//!
//! A batch is readable as soon as it is written, and durable with the next flush. A crash leaves an earlier moment of the
//! state, and the log carries it forward: the flush is due before replaying the log takes long.

use std::{
    collections::VecDeque,
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gometa_store::{Batch, revision_key};
use parking_lot::{Condvar, Mutex};
use rocksdb::WriteBatch;
use tracing::debug;

use super::{
    DiskError,
    database::{CHANGES, CHECKPOINT_KEY, Database, META, PAST, write_options},
    error::one_line,
    records,
};
use crate::process::{
    queue::{Queue, Taken},
    threads,
};

const APPLY_THREAD: &str = "gometa-apply";
const FLUSH_THREAD: &str = "gometa-flush";
const COMPACT_THREAD: &str = "gometa-compact";
/// The size after which one write to the database takes no further batch.
const WRITE_BYTES: usize = 4 << 20;
/// The growth of the log after which the state is flushed. Replaying that much takes about a second.
pub(super) const LOG_BYTES_PER_FLUSH: u64 = 64 << 20;
/// The bytes of batches between two looks at the memory of the memtables.
const MEMTABLE_CHECK_BYTES: usize = 256 << 10;
/// The interval at which background errors are looked for.
const ERROR_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two times that the space of dropped history is freed, ...
const RECLAIM_INTERVAL: Duration = Duration::from_secs(5);
/// ... and as a multiple of the time that a compaction takes.
const COMPACTION_PART: u32 = 20;

/// Accepts batches. Dropping it waits until all are written and flushed.
pub struct StateWriter {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    database: Arc<Database>,
    stored: Arc<dyn Fn(u64) + Send + Sync>,
    flushed: Arc<dyn Fn(u64) + Send + Sync>,
    /// The bytes written to the log since the directory was opened.
    log_bytes: Arc<AtomicU64>,
    /// Bounded: the node applies no further while too many bytes are here.
    queue: Queue<Work>,
    flush: Mutex<Flush>,
    wake_flush: Condvar,
    wake_compact: Condvar,
}

enum Work {
    Batch(u64, Batch),
    /// A checkpoint, and who is called when it is made.
    Checkpoint(PathBuf, Box<dyn FnOnce() + Send>),
}

/// The work of the flushing thread.
struct Flush {
    wanted: bool,
    /// Space is to be freed after the flush.
    reclaim: bool,
    /// The state is to be compacted.
    compact: bool,
    /// How long the last compaction has taken.
    compaction: Duration,
    /// A part of the history was dropped, whose space was not freed since.
    history_dropped: bool,
    closing: bool,
    /// Nothing is flushed any more: the state is replaced.
    discarded: bool,
    /// The last applied counter in the database.
    written: u64,
    /// The last applied counter that is flushed.
    flushed: u64,
}

impl StateWriter {
    pub(super) fn start(
        database: Arc<Database>,
        applied: u64,
        log_bytes: Arc<AtomicU64>,
        stored: Arc<dyn Fn(u64) + Send + Sync>,
        flushed: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<StateWriter, DiskError> {
        let shared = Arc::new(Shared {
            database,
            stored,
            flushed,
            log_bytes,
            queue: Queue::new(),
            flush: Mutex::new(Flush {
                wanted: false,
                reclaim: false,
                compact: false,
                compaction: Duration::ZERO,
                history_dropped: false,
                closing: false,
                discarded: false,
                written: applied,
                flushed: applied,
            }),
            wake_flush: Condvar::new(),
            wake_compact: Condvar::new(),
        });
        let mut writer = StateWriter { shared: shared.clone(), threads: Vec::new() };
        writer.spawn(APPLY_THREAD, Shared::write_batches)?;
        writer.spawn(FLUSH_THREAD, Shared::flush_when_due)?;
        writer.spawn(COMPACT_THREAD, Shared::compact_when_due)?;
        Ok(writer)
    }

    fn spawn(&mut self, name: &'static str, body: fn(&Shared)) -> Result<(), DiskError> {
        let shared = self.shared.clone();
        let thread = threads::spawn(name, move || body(&shared));
        self.threads.push(thread.map_err(|source| DiskError::Thread { name, source })?);
        Ok(())
    }

    /// Queues a batch. Numbers rise by one. Never blocks.
    pub fn submit(&self, number: u64, batch: Batch) {
        self.shared.queue.put(Work::Batch(number, batch));
    }

    /// Frees space: flushes the state, so that more of the log may be deleted, and compacts it, which removes what was
    /// deleted or replaced. Never blocks.
    pub fn reclaim(&self) {
        let mut flush = self.shared.flush.lock();
        (flush.wanted, flush.reclaim) = (true, true);
        drop(flush);
        self.shared.wake_flush.notify_one();
    }

    /// A handle for checkpoints of this state.
    pub fn checkpoints(&self) -> StateCheckpoints {
        StateCheckpoints { shared: self.shared.clone() }
    }

    /// Discards what is queued, and ends without a flush: another state takes the place of this one.
    pub fn discard(self) {
        self.shared.queue.clear();
        self.shared.flush.lock().discarded = true;
    }
}

/// Makes checkpoints of one state.
pub struct StateCheckpoints {
    shared: Arc<Shared>,
}

impl StateCheckpoints {
    /// Makes a checkpoint: a directory with the state's files, as of the batches queued so far or later. Then calls `done`,
    /// unless storage fails or the state is discarded before. Never blocks.
    pub fn make(&self, path: PathBuf, done: impl FnOnce() + Send + 'static) {
        self.shared.queue.put(Work::Checkpoint(path, Box::new(done)));
    }

    /// Whether both are of the same state.
    pub fn is_same(&self, other: &StateCheckpoints) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        self.shared.queue.close();
        for thread in self.threads.drain(..) {
            threads::join(thread);
            // After the first thread: everything is written, and the last flush is due.
            self.shared.flush.lock().closing = true;
            self.shared.wake_flush.notify_one();
            self.shared.wake_compact.notify_one();
        }
    }
}

impl Shared {
    fn write_batches(&self) {
        let mut work = VecDeque::new();
        let mut unchecked = 0;
        let mut log_bytes_flushed = 0;
        while self.queue.take(&mut work, None) == Taken::Items {
            while let Some(next) = work.pop_front() {
                let written = match next {
                    Work::Checkpoint(path, done) => self.make_checkpoint(&path).map(|()| {
                        done();
                        0
                    }),
                    batch @ Work::Batch(..) => {
                        work.push_front(batch);
                        self.write_some(&mut work)
                    }
                };
                let Some(bytes) = written else { return };
                unchecked += bytes;
            }
            let log_bytes = self.log_bytes.load(Ordering::Relaxed);
            let log_grown = log_bytes - log_bytes_flushed >= LOG_BYTES_PER_FLUSH;
            let mut memory_full = false;
            if unchecked >= MEMTABLE_CHECK_BYTES {
                unchecked = 0;
                memory_full = self.database.memtable_bytes() >= self.database.flush_bytes();
            }
            if log_grown || memory_full {
                log_bytes_flushed = log_bytes;
                self.flush.lock().wanted = true;
                self.wake_flush.notify_one();
            }
        }
    }

    /// Makes a checkpoint; `None` after a failure.
    fn make_checkpoint(&self, path: &Path) -> Option<()> {
        let result = self.database.checkpoint(path);
        result.map_err(|error| self.database.failure.fail("write to", &one_line(&error))).ok()
    }

    /// Writes the first batches as one, and returns their size; `None` after a failure.
    fn write_some(&self, work: &mut VecDeque<Work>) -> Option<usize> {
        let database = &*self.database;
        if database.failure.has_failed() {
            return None;
        }
        let mut write = WriteBatch::default();
        let (mut last, mut drops_history) = (None, false);
        while write.size_in_bytes() < WRITE_BYTES
            && let Some(Work::Batch(number, batch)) = work.front()
        {
            // What a horizon deletes must be readable.
            if batch.horizon.is_some() && last.is_some() {
                break;
            }
            for (space, key, value) in &batch.writes {
                let family = database.space(*space);
                match value {
                    Some(value) => write.put_cf(family, key, value),
                    None => write.delete_cf(family, key),
                }
            }
            for change in batch.kept_changes() {
                write.put_cf(database.family(CHANGES), revision_key(change.revision), change.record());
                for (key, record) in change.superseded() {
                    write.put_cf(database.family(PAST), key, record);
                }
            }
            if let Some(horizon) = batch.horizon {
                drops_history = true;
                database
                    .drop_history(horizon, &mut write)
                    .map_err(|what| database.failure.fail("read from", &what))
                    .ok()?;
            }
            last = Some((*number, batch.checkpoint));
            work.pop_front();
        }
        let (number, checkpoint) = last?;
        write.put_cf(database.family(META), CHECKPOINT_KEY, records::encode_checkpoint(&checkpoint));
        let bytes = write.size_in_bytes();
        if let Err(error) = database.rocks.write_opt(write, &write_options()) {
            database.failure.fail("write to", &one_line(&error));
            return None;
        }
        let mut flush = self.flush.lock();
        flush.written = checkpoint.applied;
        flush.history_dropped |= drops_history;
        drop(flush);
        (self.stored)(number);
        Some(bytes)
    }

    /// Compacts the state when that is wanted, beside flushes.
    fn compact_when_due(&self) {
        let mut compacted = None;
        loop {
            let flushed = {
                let mut flush = self.flush.lock();
                while !flush.compact && !flush.closing {
                    self.wake_compact.wait(&mut flush);
                }
                if flush.closing || flush.discarded {
                    return;
                }
                flush.compact = false;
                flush.flushed
            };
            // Errors are background errors, which the other thread looks for.
            let begin = Instant::now();
            if compacted != Some(flushed) && self.database.compact() {
                compacted = Some(flushed);
                self.flush.lock().compaction = begin.elapsed();
            }
        }
    }

    fn flush_when_due(&self) {
        let mut next_check = Instant::now() + ERROR_CHECK_INTERVAL;
        let mut next_reclaim = Instant::now();
        loop {
            let reclaim;
            let (closing, due) = {
                let mut flush = self.flush.lock();
                while !flush.wanted && !flush.closing && Instant::now() < next_check {
                    self.wake_flush.wait_until(&mut flush, next_check);
                }
                let due = (mem::take(&mut flush.wanted) || flush.closing) && !flush.discarded;
                reclaim = mem::take(&mut flush.reclaim);
                (flush.closing, due.then_some(flush.written).filter(|written| *written > flush.flushed))
            };
            if self.database.failure.has_failed() {
                return;
            }
            if let Some(written) = due {
                let begin = Instant::now();
                if let Err(error) = self.database.flush() {
                    return self.database.failure.fail("write to", &one_line(&error));
                }
                debug!(
                    revision = written,
                    milliseconds = begin.elapsed().as_millis() as u64,
                    "state flushed"
                );
                self.flush.lock().flushed = written;
            }
            // Nothing else reports that a flush or a compaction in the background has failed.
            next_check = Instant::now() + ERROR_CHECK_INTERVAL;
            if self.database.background_errors() > 0 {
                let cause = self.database.stopped_by().map_or_else(String::new, |cause| format!(": {cause}"));
                let reason = format!("RocksDB could not write a table file in the background{cause}");
                return self.database.failure.fail("write to", &reason);
            }
            if due.is_some() || reclaim {
                // The free space, by which more of the log may be deleted, may have fallen without a flush.
                let mut flush = self.flush.lock();
                flush.compact |= reclaim;
                let flushed = flush.flushed;
                drop(flush);
                (self.flushed)(flushed);
            }
            if let Err(error) = self.database.bound_compactions() {
                return self.database.failure.fail("configure", &one_line(&error));
            }
            self.wake_compact.notify_one();
            if closing {
                return;
            }
            let now = Instant::now();
            if now >= next_reclaim && self.flush.lock().history_dropped && self.database.history_is_large() {
                let mut flush = self.flush.lock();
                flush.history_dropped = false;
                (flush.wanted, flush.reclaim) = (true, true);
                next_reclaim = now + RECLAIM_INTERVAL.max(flush.compaction * COMPACTION_PART);
            }
        }
    }
}
