//! Writes with group commit: one thread takes all queued writes and writes them as one batch with one sync.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
};

use bytes::{Bytes, BytesMut};
use gometa_codec::storage;
use gometa_store::Batch;
use gometa_zab::{LogEntry, Token, Write, Zxid};
use rocksdb::WriteBatch;

use super::{
    DiskError,
    boundaries::Boundaries,
    database::{CHECKPOINT_KEY, Database, FOUNDING_KEY, HARD_STATE_KEY, LOG, META, write_options},
    error::one_line,
    records,
    synced::{Mark, SyncMark},
};
use crate::process::threads;

const THREAD: &str = "gometa-write";
/// The size after which a batch takes no further write. Larger ones are not faster, and delay their first write.
const BATCH_BYTES: usize = 4 << 20;

/// Accepts writes. Dropping it waits until all are written.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Bounded by the protocol's writes in flight.
    writes: VecDeque<Queued>,
    closing: bool,
    /// After a failure, writes are discarded.
    failed: bool,
}

impl Writer {
    pub(super) fn start(
        database: Arc<Database>,
        mark: SyncMark,
        boundaries: Boundaries,
        applied: u64,
    ) -> Result<Writer, DiskError> {
        let mut worker = Worker::new(database, mark, boundaries, applied);
        let shared = worker.shared.clone();
        // Everything recovered is in synced files.
        worker.raise_mark()?;
        worker.mark.sync()?;
        let thread = threads::spawn(THREAD, move || worker.run());
        let thread = thread.map_err(|source| DiskError::Thread { name: THREAD, source })?;
        Ok(Writer { shared, thread: Some(thread) })
    }

    /// Queues a write to the log. Tokens rise. Never blocks.
    pub fn submit(&self, token: Token, write: Write) {
        self.queue(Queued::Log(token, write));
    }

    /// Queues a batch for the table. Numbers rise by one. Never blocks.
    pub fn store(&self, number: u64, batch: Batch) {
        self.queue(Queued::Table(number, batch));
    }

    fn queue(&self, write: Queued) {
        let mut queue = self.shared.lock();
        if queue.failed {
            return;
        }
        queue.writes.push_back(write);
        let first = queue.writes.len() == 1;
        drop(queue);
        if first {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Writer {
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
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write on its way.
enum Queued {
    Log(Token, Write),
    Table(u64, Batch),
}

/// The state of the writing thread.
struct Worker {
    shared: Arc<Shared>,
    database: Arc<Database>,
    mark: SyncMark,
    /// The log after all writes that were put into a batch.
    boundaries: Boundaries,
    /// The last counter that was applied.
    applied: u64,
    last_token: Option<Token>,
    pending: VecDeque<Queued>,
    /// A buffer for encoding records, reused.
    record: BytesMut,
}

/// Writes of one batch.
struct Group {
    batch: WriteBatch,
    /// The token of the last write to the log; the batch must be synced before it is reported.
    token: Option<Token>,
    /// The number of the last batch of the table.
    stored: Option<u64>,
    truncates: bool,
}

impl Worker {
    fn new(database: Arc<Database>, mark: SyncMark, boundaries: Boundaries, applied: u64) -> Worker {
        Worker {
            shared: Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new() }),
            database,
            mark,
            boundaries,
            applied,
            last_token: None,
            pending: VecDeque::new(),
            record: BytesMut::new(),
        }
    }

    fn run(mut self) {
        match self.work() {
            Ok(()) => {}
            Err(reason) => {
                let mut queue = self.shared.lock();
                queue.failed = true;
                queue.writes.clear();
                drop(queue);
                self.database.fail("write to", &reason);
            }
        }
    }

    fn work(&mut self) -> Result<(), String> {
        while self.wait_for_writes()? {
            while let Some(group) = self.next_group()? {
                self.write(group)?;
            }
        }
        self.mark.sync().map_err(|error| error.to_string())
    }

    /// Takes all queued writes; false at the end. Syncs the mark while idle.
    fn wait_for_writes(&mut self) -> Result<bool, String> {
        let shared = self.shared.clone();
        let mut queue = shared.lock();
        while queue.writes.is_empty() {
            if queue.closing {
                return Ok(false);
            }
            queue = match self.mark.sync_due_in() {
                None => shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(wait) if wait.is_zero() => {
                    drop(queue);
                    self.mark.sync().map_err(|error| error.to_string())?;
                    shared.lock()
                }
                Some(wait) => shared.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        mem::swap(&mut queue.writes, &mut self.pending);
        Ok(true)
    }

    fn next_group(&mut self) -> Result<Option<Group>, String> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        let mut group = Group { batch: WriteBatch::default(), token: None, stored: None, truncates: false };
        while let Some(write) = self.pending.pop_front() {
            // A truncation begins a new group: it lowers the mark, which writes before it must not raise again.
            let truncates = matches!(&write, Queued::Log(_, Write::Truncate(_)));
            if group.batch.size_in_bytes() >= BATCH_BYTES || (truncates && !group.batch.is_empty()) {
                self.pending.push_front(write);
                break;
            }
            match write {
                Queued::Table(number, batch) => {
                    self.apply(&mut group, &batch)?;
                    group.stored = Some(number);
                }
                Queued::Log(token, write) => {
                    assert!(self.last_token < Some(token), "token {token} follows {:?}", self.last_token);
                    self.last_token = Some(token);
                    group.token = Some(token);
                    self.log(&mut group, write)?;
                }
            }
        }
        Ok(Some(group))
    }

    fn apply(&mut self, group: &mut Group, batch: &Batch) -> Result<(), String> {
        let (applied, last) = (batch.checkpoint.applied, self.boundaries.last());
        if applied < self.applied || applied > last.counter {
            return Err(format!(
                "{applied} cannot be applied after {}, the log ends at {last}",
                self.applied
            ));
        }
        self.applied = applied;
        for (space, key, value) in &batch.writes {
            let family = self.database.space(*space);
            match value {
                Some(value) => group.batch.put_cf(family, key, value),
                None => group.batch.delete_cf(family, key),
            }
        }
        let checkpoint = records::encode_checkpoint(&batch.checkpoint);
        group.batch.put_cf(self.database.family(META), CHECKPOINT_KEY, checkpoint);
        Ok(())
    }

    fn log(&mut self, group: &mut Group, write: Write) -> Result<(), String> {
        let meta = self.database.family(META);
        match write {
            Write::Append(entries) => self.append(group, &entries)?,
            Write::Truncate(to) => self.truncate(group, to)?,
            // `Config::log_kept` is unbounded, and no snapshot is sent or received.
            Write::Compact(_) | Write::Install(_) => return Err("snapshots are not supported yet".to_owned()),
            Write::HardState(hard_state) => {
                group.batch.put_cf(meta, HARD_STATE_KEY, storage::encode_hard_state(&hard_state));
            }
            Write::Founding(founding) => {
                group.batch.put_cf(meta, FOUNDING_KEY, storage::encode_founding(&founding));
            }
        }
        Ok(())
    }

    fn append(&mut self, group: &mut Group, entries: &[LogEntry]) -> Result<(), String> {
        let database = self.database.clone();
        let log = database.family(LOG);
        for entry in entries {
            let previous = self.boundaries.last();
            if !self.boundaries.append(entry.zxid) {
                return Err(format!("log entry {} cannot follow {previous}", entry.zxid));
            }
            self.record.clear();
            storage::encode_log_entry_into(previous, entry, &mut self.record);
            group.batch.put_cf(log, storage::log_key(entry.zxid.counter), &self.record);
        }
        Ok(())
    }

    fn truncate(&mut self, group: &mut Group, to: Zxid) -> Result<(), String> {
        let last = self.boundaries.last();
        if to.counter < self.applied || !self.boundaries.truncate(to) {
            let applied = self.applied;
            return Err(format!(
                "the log, which ends at {last}, cannot be truncated to {to}; {applied} is applied"
            ));
        }
        if to == last {
            return Ok(());
        }
        let mark = Mark { sequence: self.mark.known().sequence, last: self.mark.known().last.min(to) };
        self.mark.lower(mark).map_err(|error| error.to_string())?;
        self.database.truncations.fetch_add(1, Ordering::SeqCst);
        // Only up to the end of the log: a longer range deletion would cover later entries, and be compacted with them.
        let (from, end) = (storage::log_key(to.counter + 1), storage::log_key(last.counter + 1));
        group.batch.delete_range_cf(self.database.family(LOG), from, end);
        group.truncates = true;
        Ok(())
    }

    fn write(&mut self, group: Group) -> Result<(), String> {
        if !group.batch.is_empty() {
            let written = self.database.rocks.write_opt(group.batch, &write_options(group.token.is_some()));
            written.map_err(|error| one_line(&error))?;
        } else if group.token.is_some() {
            // A truncation to the end of the log writes nothing, but the table's writes before it must be durable when it is
            // reported, and the mark counts them.
            self.database.rocks.flush_wal(true).map_err(|error| one_line(&error))?;
        }
        if group.truncates {
            self.verify_end()?;
        }
        if group.token.is_some() {
            self.raise_mark().map_err(|error| error.to_string())?;
        }
        if !self.database.has_failed() {
            group.token.iter().for_each(|token| (self.database.hooks.persisted)(*token));
            group.stored.iter().for_each(|number| (self.database.hooks.stored)(*number));
        }
        Ok(())
    }

    /// Reads the end of the log: exactly the truncated entries must be gone.
    fn verify_end(&self) -> Result<(), String> {
        let mut stored = self.database.rocks.raw_iterator_cf(self.database.family(LOG));
        stored.seek_to_last();
        let found = match stored.item() {
            Some((key, value)) => {
                let record = storage::decode_log_key(key)
                    .and_then(|counter| storage::decode_log_entry(counter, Bytes::copy_from_slice(value)));
                record.map_err(|error| format!("the end of the log: {error}"))?.entry.zxid
            }
            None => Zxid::ZERO,
        };
        stored.status().map_err(|error| one_line(&error))?;
        let last = self.boundaries.last();
        if found == last {
            Ok(())
        } else {
            Err(format!("the log was cut to end at {last}, and ends at {found}"))
        }
    }

    fn raise_mark(&mut self) -> Result<(), DiskError> {
        let sequence = self.database.rocks.latest_sequence_number();
        self.mark.raise(Mark { sequence, last: self.boundaries.last() })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt, path::Path};

    use gometa_zab::{Epoch, Founding, Genesis, HardState, Kind, NodeId};

    use super::{super::*, *};

    fn hooks() -> Hooks {
        Hooks {
            persisted: Box::new(|_| {}),
            stored: Box::new(|_| {}),
            failed: Box::new(|reason| panic!("{reason}")),
            read: Box::new(|_, _| {}),
        }
    }

    /// A writer without its thread, on a new directory.
    fn worker(dir: &Path) -> Worker {
        let directory = Directory::open(dir, NodeId(1)).unwrap();
        let rocks = database::open(dir, &directory.database()).unwrap();
        let mark = SyncMark::open(dir, &directory.synced()).unwrap();
        let (recovered, boundaries) = recovery::recover(dir, &rocks, mark.known()).unwrap();
        Worker::new(Arc::new(Database::new(rocks, directory, hooks())), mark, boundaries, recovered.applied)
    }

    fn queue(worker: &mut Worker, write: Write) {
        let mut queued = worker.pending.iter().filter_map(|queued| match queued {
            Queued::Log(token, _) => Some(*token),
            Queued::Table(..) => None,
        });
        let before = queued.next_back().or(worker.last_token);
        let token = Token(before.map_or(1, |token| token.0 + 1));
        worker.pending.push_back(Queued::Log(token, write));
    }

    /// The end of the log after a crash now, with either slot of the mark lost.
    fn after_a_crash(dir: &Path) -> Zxid {
        let mut ends = Vec::new();
        for lost in [None, Some(0), Some(4_096)] {
            let copied = tempfile::tempdir().unwrap();
            copy(dir, copied.path());
            if let Some(slot) = lost {
                let synced =
                    fs::OpenOptions::new().write(true).open(copied.path().join("gen-1/SYNCED")).unwrap();
                synced.write_all_at(&[0xff; 36], slot).unwrap();
            }
            let disk = Disk::open(copied.path(), NodeId(1), hooks()).unwrap();
            ends.push(disk.recovered.boundaries.last().copied().unwrap());
        }
        assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
        ends[0]
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for item in fs::read_dir(from).unwrap() {
            let item = item.unwrap();
            let target = to.join(item.file_name());
            if item.path().is_dir() {
                copy(&item.path(), &target);
            } else {
                fs::copy(item.path(), target).unwrap();
            }
        }
    }

    #[test]
    fn a_crash_at_any_step_of_a_truncation_is_no_alarm() {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = worker(dir.path());
        let genesis = Genesis {
            ensemble: gometa_zab::EnsembleId { id: 1, history: 1 },
            voters: vec![gometa_zab::Voter {
                node: NodeId(1),
                incarnation: Some(gometa_zab::Incarnation(7)),
                addresses: gometa_zab::Addresses::default(),
            }],
        };
        queue(&mut worker, Write::Founding(Founding { genesis, sealed: true }));
        let (accepted_epoch, accepted_leader) = (Epoch(1), Some(NodeId(1)));
        let promised = HardState { accepted_epoch, accepted_leader, current_epoch: Epoch(1) };
        queue(&mut worker, Write::HardState(promised));
        let entries = (1..=5).map(|counter| LogEntry {
            zxid: Zxid::new(1, counter),
            kind: Kind::Command,
            level: 1,
            payload: Bytes::from_static(b"payload"),
        });
        queue(&mut worker, Write::Append(entries.collect()));
        let group = worker.next_group().unwrap().unwrap();
        worker.write(group).unwrap();
        assert_eq!(worker.mark.known().last, Zxid::new(1, 5));
        assert_eq!(after_a_crash(dir.path()), Zxid::new(1, 5));

        queue(&mut worker, Write::Truncate(Zxid::new(1, 3)));
        let group = worker.next_group().unwrap().unwrap();
        assert_eq!(worker.mark.known().last, Zxid::new(1, 3), "lowered before the batch is written");
        assert_eq!(worker.mark.sync_due_in(), None, "and synced");
        assert_eq!(after_a_crash(dir.path()), Zxid::new(1, 5));
        worker.database.rocks.write_opt(group.batch, &write_options(true)).unwrap();
        assert_eq!(after_a_crash(dir.path()), Zxid::new(1, 3));
    }
}
