//! Writes to the log with group commit: one thread makes all queued writes durable with one write and one sync.

use std::{
    collections::VecDeque,
    mem,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gometa_log::{Log, Maintenance, Options, OsDirectory, Start};
use gometa_zab::{Founding, HardState, Recovered, Token, Write, Zxid};
use parking_lot::{Condvar, Mutex};
use tracing::info;

use super::{DiskError, directory::Directory, failure::Failure, log_reader::LiveLog};
use crate::process::{
    queue::{Queue, Taken},
    threads,
};

const WRITE_THREAD: &str = "gometa-log";
const FILES_THREAD: &str = "gometa-log-files";
/// The bytes after which a batch takes no further write. Larger ones are not faster, and delay their first write.
const BATCH_BYTES: usize = 4 << 20;
/// The shortest time between two log lines about deleted segments.
const COMPACTION_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The interval at which the mark is synced while it changes.
const MARK_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Accepts writes. Dropping it waits until all are written.
pub struct LogWriter {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the writer shares with others.
pub(super) struct LogFiles {
    pub(super) directory: Arc<Directory>,
    /// The writer replaces it when it installs a snapshot.
    pub(super) live: LiveLog,
    /// The bytes of entries written since the directory was opened.
    pub(super) bytes: Arc<AtomicU64>,
}

struct Shared {
    failure: Arc<Failure>,
    persisted: Box<dyn Fn(Token) + Send + Sync>,
    /// The bytes of entries written since the log was opened.
    bytes: Arc<AtomicU64>,
    /// Bounded by the protocol's writes in flight.
    queue: Queue<Queued>,
    directory: Arc<Directory>,
    live: LiveLog,
    maintenance: Mutex<Maintenance<OsDirectory>>,
    files: Mutex<Files>,
    wake_files: Condvar,
}

struct Queued {
    token: Token,
    write: Write,
    released: u64,
}

/// The work of the thread for files.
#[derive(Default)]
struct Files {
    due: bool,
    closing: bool,
}

/// Creates an empty log, durably except for the name of its directory.
pub(super) fn create(path: &Path, founding: Option<Founding>) -> Result<(), DiskError> {
    let start = Start {
        base: Zxid::ZERO,
        hard_state: HardState::default(),
        founding,
        configuration: Default::default(),
        released: 0,
    };
    create_log(path, start).map(|_| ())
}

/// Creates a log, durably except for the name of its directory.
pub(super) fn create_log(path: &Path, start: Start) -> Result<Log<OsDirectory>, DiskError> {
    let directory = OsDirectory::create(path).map_err(DiskError::file("create", path))?;
    Log::create(directory, options(path)?, start).map_err(|error| DiskError::log(path, error))
}

/// The options for a log at this path.
pub(super) fn options(path: &Path) -> Result<Options, DiskError> {
    let space = rustix::fs::statvfs(path).map_err(DiskError::file("look at", path))?;
    let mut salt = [0; 16];
    if let Err(error) = getrandom::fill(&mut salt) {
        return Err(DiskError::file("draw a salt for", path)(std::io::Error::other(error)));
    }
    Ok(Options::for_file_system(space.f_blocks.saturating_mul(space.f_frsize), u128::from_be_bytes(salt)))
}

impl LogWriter {
    pub(super) fn start(
        log: Log<OsDirectory>,
        recovered: &Recovered,
        files: LogFiles,
        failure: Arc<Failure>,
        persisted: Box<dyn Fn(Token) + Send + Sync>,
    ) -> Result<LogWriter, DiskError> {
        let LogFiles { directory, live, bytes } = files;
        let shared = Arc::new(Shared {
            failure,
            persisted,
            bytes,
            queue: Queue::new(),
            directory,
            live,
            maintenance: Mutex::new(log.maintenance()),
            files: Mutex::new(Files { due: true, closing: false }),
            wake_files: Condvar::new(),
        });
        let mut writer = LogWriter { shared: shared.clone(), threads: Vec::new() };
        let worker = Worker {
            shared: shared.clone(),
            log,
            hard_state: recovered.hard_state,
            founding: recovered.founding.clone(),
            last_token: None,
            mark_written: None,
            compactions: Compactions::default(),
        };
        writer.spawn(WRITE_THREAD, move || worker.run())?;
        writer.spawn(FILES_THREAD, move || shared.maintain())?;
        Ok(writer)
    }

    fn spawn(&mut self, name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<(), DiskError> {
        let thread = threads::spawn(name, body).map_err(|source| DiskError::Thread { name, source })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Queues a write. Tokens rise. `released` is the counter through which entries are released to be applied; it is
    /// recorded with the write. Never blocks.
    pub fn submit(&self, token: Token, write: Write, released: u64) {
        self.shared.queue.put(Queued { token, write, released });
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.queue.close();
        for thread in self.threads.drain(..) {
            threads::join(thread);
            self.shared.files.lock().closing = true;
            self.shared.wake_files.notify_one();
        }
    }
}

impl Shared {
    /// Prepares and deletes segments, beside the writes.
    fn maintain(&self) {
        loop {
            {
                let mut files = self.files.lock();
                while !files.due && !files.closing {
                    self.wake_files.wait(&mut files);
                }
                if files.closing {
                    return;
                }
                files.due = false;
            }
            let maintenance = self.maintenance.lock().clone();
            if let Err(error) = maintenance.run() {
                return self.failure.fail("write to", &error);
            }
        }
    }

    fn wake_maintenance(&self) {
        self.files.lock().due = true;
        self.wake_files.notify_one();
    }
}

/// The state of the writing thread.
struct Worker {
    shared: Arc<Shared>,
    log: Log<OsDirectory>,
    hard_state: HardState,
    founding: Option<Founding>,
    last_token: Option<Token>,
    /// The time of the first mark that is not synced.
    mark_written: Option<Instant>,
    compactions: Compactions,
}

/// The deletions of segments, logged once a minute at most.
#[derive(Default)]
struct Compactions {
    /// Those that were not logged yet.
    bytes: u64,
    logged: Option<Instant>,
}

impl Compactions {
    fn add(&mut self, base: Zxid, bytes: u64, now: Instant) {
        self.bytes += bytes;
        let due = self.logged.is_none_or(|logged| now.duration_since(logged) >= COMPACTION_LOG_INTERVAL);
        if self.bytes > 0 && due {
            self.logged = Some(now);
            info!(base = base.counter, bytes = mem::take(&mut self.bytes), "old segments of the log deleted");
        }
    }
}

impl Worker {
    fn run(mut self) {
        if let Err(error) = self.work() {
            self.shared.failure.fail("write to", &error);
        }
    }

    fn work(&mut self) -> Result<(), String> {
        let mut writes = VecDeque::new();
        loop {
            let mark_due = self.mark_written.map(|written| written + MARK_SYNC_INTERVAL);
            match self.shared.queue.take(&mut writes, mark_due) {
                Taken::Items => {}
                Taken::Nothing => self.sync_mark()?,
                Taken::Closed => return self.sync_mark(),
            }
            while !writes.is_empty() {
                if self.shared.failure.has_failed() {
                    return Ok(());
                }
                let token = self.write_some(&mut writes)?;
                (self.shared.persisted)(token);
                self.mark_written.get_or_insert_with(Instant::now);
                if self.shared.maintenance.lock().is_due() {
                    self.shared.wake_maintenance();
                }
            }
            if mark_due.is_some_and(|due| due <= Instant::now()) {
                self.sync_mark()?;
            }
        }
    }

    fn sync_mark(&mut self) -> Result<(), String> {
        self.mark_written = None;
        self.log.sync_mark().map_err(text)
    }

    /// Replaces log and state by the received ones: the log by an empty one above the snapshot's zxid, with this node's own
    /// hard state and founding.
    fn install(&mut self, base: Zxid) -> Result<(), String> {
        let shared = &self.shared;
        let path = shared.directory.next_log();
        let start = Start {
            base,
            hard_state: self.hard_state,
            founding: self.founding.clone(),
            configuration: Default::default(),
            released: base.counter,
        };
        self.log = create_log(&path, start).map_err(text)?;
        shared.directory.switch().map_err(text)?;
        *shared.live.lock() = self.log.reader();
        *shared.maintenance.lock() = self.log.maintenance();
        Ok(())
    }

    fn compact(&mut self, base: Zxid) -> Result<(), String> {
        let before = self.log.status().bytes;
        self.log.compact(base).map_err(text)?;
        self.compactions.add(base, before - self.log.status().bytes, Instant::now());
        Ok(())
    }

    /// Makes the first writes durable; returns the token of the last.
    fn write_some(&mut self, writes: &mut VecDeque<Queued>) -> Result<Token, String> {
        let mut bytes = 0;
        let (mut last, mut compact_to) = (None, None);
        while self.log.staged_bytes() < BATCH_BYTES
            && let Some(Queued { token, write, released }) = writes.pop_front()
        {
            assert!(self.last_token < Some(token), "token {token} follows {:?}", self.last_token);
            self.last_token = Some(token);
            last = Some(token);
            match write {
                Write::Append(entries) => {
                    bytes += entries.iter().map(|entry| entry.size()).sum::<usize>();
                    self.log.append(released, &entries).map_err(text)?;
                }
                Write::HardState(hard_state) => {
                    self.hard_state = hard_state;
                    self.log.hard_state(released, hard_state).map_err(text)?;
                }
                Write::Founding(founding) => {
                    self.founding = Some(founding.clone());
                    self.log.founding(released, founding).map_err(text)?;
                }
                Write::Truncate(to) => self.log.truncate(released, to).map_err(text)?,
                Write::Compact(base) => compact_to = Some(base),
                Write::Install(base) => {
                    self.log.commit().map_err(text)?;
                    compact_to = None;
                    self.install(base)?;
                }
            }
        }
        self.log.commit().map_err(text)?;
        if let Some(base) = compact_to {
            self.compact(base)?;
        }
        self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(last.expect("there is a write"))
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
