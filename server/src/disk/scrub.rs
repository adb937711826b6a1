//! Scrubbing: one slow pass over log and state now and then, which finds damage before the other copies of it are gone.
//!
//! A thread of its own reads every entry of the log and every block of the state, a few megabytes a second, without filling
//! caches. It takes no lock that another thread waits for. A large state is read in pieces, since a long iterator pins files;
//! of a small one all records are read at one moment, and their sum must be the state hash.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gometa_log::ReadError;
use gometa_store::{Checkpoint, Lookup, Space, Table, recompute_checkpoint, verify_changes};
use parking_lot::{Condvar, Mutex};
use rocksdb::{ReadOptions, Snapshot, properties};
use tracing::{info, warn};

use super::{
    DiskError, Snapshots,
    database::{
        CHANGES, CHECKPOINT_KEY, Database, FAMILIES, META, PAST, is_record, name_of, parse_revision_key,
    },
    error::one_line,
    failure::is_damage,
    records,
};
use crate::process::threads;

const THREAD: &str = "gometa-scrub";
/// The bytes that are read each second.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// The bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;
/// The size of a state whose records are read at one moment: a pass over it takes some seconds.
const WHOLE_BYTES_MAX: u64 = 32 << 20;
/// The first pass begins after this part of the interval.
const FIRST: u32 = 24;
/// How long a damaged segment of the log may take to be deleted.
const CURE_TIME: Duration = Duration::from_secs(60);
const CURE_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The state that is live.
pub(super) type LiveState = Arc<Mutex<Weak<Database>>>;

/// What a pass has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Log and state are sound.
    Sound,
    /// Log or state are damaged.
    Damaged,
    /// The log through this counter is not needed, and a part of it is damaged: it is to be deleted.
    DeleteLog(u64),
}

/// Scrubs log and state. Dropping it ends the pass.
pub struct Scrubber {
    closing: Arc<Closing>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Closing {
    requested: Mutex<bool>,
    wake: Condvar,
}

impl Closing {
    /// Waits; returns whether the process closes.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut requested = self.requested.lock();
        while !*requested && !self.wake.wait_until(&mut requested, until).timed_out() {}
        *requested
    }
}

impl Snapshots {
    /// Begins a pass over log and state at this interval; never if it is zero.
    pub fn scrub(
        &self,
        interval: Duration,
        report: impl Fn(Finding) + Send + 'static,
    ) -> Result<Scrubber, DiskError> {
        let closing = Arc::new(Closing::default());
        let mut scrubber = Scrubber { closing: closing.clone(), thread: None };
        if interval > Duration::ZERO {
            let scrub = Scrub { files: self.clone(), closing, report: Box::new(report), bytes: Cell::new(0) };
            let thread = threads::spawn(THREAD, move || scrub.run(interval));
            scrubber.thread = Some(thread.map_err(|source| DiskError::Thread { name: THREAD, source })?);
        }
        Ok(scrubber)
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        *self.closing.requested.lock() = true;
        self.closing.wake.notify_one();
        self.thread.take().into_iter().for_each(threads::join);
    }
}

struct Scrub {
    files: Snapshots,
    closing: Arc<Closing>,
    report: Box<dyn Fn(Finding) + Send>,
    /// The bytes read since the last pause.
    bytes: Cell<usize>,
}

/// Why a pass ends early.
enum Ended {
    Closing,
    Damage(String),
}

impl Scrub {
    fn run(&self, interval: Duration) {
        let mut wait = interval / FIRST;
        while !self.closing.wait(wait) {
            let begun = Instant::now();
            info!("scrub starts");
            match self.pass() {
                Ok(()) => {
                    info!(seconds = begun.elapsed().as_secs(), "scrub done");
                    (self.report)(Finding::Sound);
                }
                Err(Ended::Closing) => return,
                Err(Ended::Damage(damage)) => {
                    warn!(damage, "scrub has found damage");
                    (self.report)(Finding::Damaged);
                }
            }
            wait = interval.saturating_sub(begun.elapsed());
        }
    }

    fn pass(&self) -> Result<(), Ended> {
        self.log()?;
        self.state()
    }

    /// Accounts for bytes that were read, and waits so that no more than a few megabytes a second are.
    fn pace(&self, bytes: usize) -> Result<(), Ended> {
        let read = self.bytes.get() + bytes;
        if read < PIECE_BYTES {
            self.bytes.set(read);
            return Ok(());
        }
        self.bytes.set(0);
        let time = Duration::from_micros(read as u64 * 1_000_000 / BYTES_PER_SECOND);
        if self.closing.wait(time) { Err(Ended::Closing) } else { Ok(()) }
    }

    // ---- The log

    fn log(&self) -> Result<(), Ended> {
        let mut next = self.files.live.lock().counter_above(u64::MAX) + 1;
        loop {
            let reader = self.files.live.lock().clone();
            match reader.read(next, u64::MAX, PIECE_BYTES) {
                Ok(entries) => {
                    let Some(last) = entries.last() else {
                        // The end, unless entries were deleted meanwhile.
                        let base = reader.counter_above(u64::MAX);
                        if base < next {
                            return Ok(());
                        }
                        next = base + 1;
                        continue;
                    };
                    next = last.zxid.counter + 1;
                    self.pace(entries.iter().map(gometa_zab::LogEntry::size).sum())?;
                }
                Err(ReadError::Damaged { counter, damage }) => {
                    let what = format!("log entry {counter}: {damage}");
                    self.cure(counter, &damage.file, what)?;
                    next = self.files.live.lock().counter_above(u64::MAX) + 1;
                }
                Err(error) => return self.fails(&error.to_string()),
            }
        }
    }

    /// A damaged segment that is not needed, since the state is durable beyond it, is deleted with those before it.
    fn cure(&self, counter: u64, file: &str, what: String) -> Result<(), Ended> {
        let flushed = self.files.last_flush.counter();
        if flushed < counter {
            return Err(Ended::Damage(what));
        }
        (self.report)(Finding::DeleteLog(flushed));
        let until = Instant::now() + CURE_TIME;
        while Path::new(file).exists() {
            if Instant::now() >= until {
                return Err(Ended::Damage(what));
            }
            if self.closing.wait(CURE_CHECK_INTERVAL) {
                return Err(Ended::Closing);
            }
        }
        warn!(damage = what, "damaged segment of the log deleted, it was not needed");
        Ok(())
    }

    // ---- The state

    fn database(&self) -> Option<Arc<Database>> {
        self.files.state.lock().upgrade()
    }

    fn state(&self) -> Result<(), Ended> {
        let Some(database) = self.database() else { return Ok(()) };
        let size = size(&database);
        if size <= WHOLE_BYTES_MAX {
            let sum = self.sum(&database);
            return self.judge(&database, sum);
        }
        drop(database);
        for family in FAMILIES {
            let mut from = Some(Vec::new());
            while let Some(start) = from {
                // Another state may be live by now; its records are read as well from here on.
                let Some(database) = self.database() else { return Ok(()) };
                let piece = read_piece(&database, family, &start);
                let (bytes, next) = match piece {
                    Ok(piece) => piece,
                    Err(what) => return self.judge(&database, Err(what)),
                };
                drop(database);
                from = next;
                self.pace(bytes)?;
            }
        }
        Ok(())
    }

    /// Compares the sum of all records with the state hash, at one moment.
    fn sum(&self, database: &Database) -> Result<(), String> {
        let view =
            View { database, snapshot: database.rocks.snapshot(), scrub: self, failed: RefCell::default() };
        let computed = recompute_checkpoint(&view);
        let recorded = view.checkpoint();
        let changes = verify_changes(&view);
        view.read(PAST, |_, _| {});
        if let Some(what) = view.failed.take() {
            return Err(what);
        }
        changes.map_err(|error| error.to_string())?;
        if computed != recorded {
            return Err(format!(
                "the state is damaged: its {} records make the hash {:032x} at {}; {} records and {:032x} are recorded",
                computed.keys, computed.hash, computed.applied, recorded.keys, recorded.hash
            ));
        }
        Ok(())
    }

    /// An error of a state that is not live any more says nothing: its files are being removed.
    fn judge(&self, database: &Arc<Database>, result: Result<(), String>) -> Result<(), Ended> {
        let Err(what) = result else { return Ok(()) };
        if !self.database().is_some_and(|live| Arc::ptr_eq(&live, database)) {
            return Ok(());
        }
        if is_damage(&what) { Err(Ended::Damage(what)) } else { self.fails(&what) }
    }

    /// An error of the file system ends the process, as everywhere.
    fn fails(&self, what: &str) -> Result<(), Ended> {
        self.files.failure.fail("read from", &what);
        Err(Ended::Closing)
    }
}

/// The approximate size of a state, in bytes.
fn size(database: &Database) -> u64 {
    let families = FAMILIES.map(|name| database.family(name));
    let names = [properties::ESTIMATE_LIVE_DATA_SIZE, properties::CUR_SIZE_ALL_MEM_TABLES];
    let sizes = families.iter().flat_map(|family| {
        names.map(|name| database.rocks.property_int_value_cf(family, name).ok().flatten().unwrap_or(0))
    });
    sizes.sum()
}

fn options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_verify_checksums(true);
    options
}

/// Reads records from a key on; returns their size, and the key to go on from.
fn read_piece(database: &Database, family: &str, from: &[u8]) -> Result<(usize, Option<Vec<u8>>), String> {
    let mut records = database.rocks.raw_iterator_cf_opt(database.family(family), options());
    records.seek(from);
    let mut bytes = 0;
    while let Some((key, value)) = records.item() {
        if bytes >= PIECE_BYTES {
            return Ok((bytes, Some(key.to_vec())));
        }
        bytes += key.len() + value.len();
        records.next();
    }
    records.status().map_err(|error| one_line(&error))?;
    Ok((bytes, None))
}

/// The state at one moment.
struct View<'a> {
    database: &'a Database,
    snapshot: Snapshot<'a>,
    scrub: &'a Scrub,
    /// The first error.
    failed: RefCell<Option<String>>,
}

impl View<'_> {
    fn fail(&self, what: String) {
        self.failed.borrow_mut().get_or_insert(what);
    }

    /// Reads all records of a column family.
    fn read(&self, family: &str, mut visit: impl FnMut(&[u8], &[u8])) {
        let mut records = self.snapshot.raw_iterator_cf_opt(self.database.family(family), options());
        records.seek_to_first();
        while let Some((key, value)) = records.item() {
            visit(key, value);
            // At the end of the process the rest is read at once.
            let _ = self.scrub.pace(key.len() + value.len());
            records.next();
        }
        if let Err(error) = records.status() {
            self.fail(one_line(&error));
        }
    }
}

impl Table for View<'_> {
    fn checkpoint(&self) -> Checkpoint {
        let stored = self.snapshot.get_pinned_cf(self.database.family(META), CHECKPOINT_KEY);
        let stored = stored.map_err(|error| self.fail(one_line(&error))).ok().flatten();
        stored.and_then(|bytes| records::decode_checkpoint(&bytes)).unwrap_or_else(|| {
            self.fail("the state's checkpoint is missing or damaged".to_owned());
            Checkpoint::default()
        })
    }

    fn lookup(&self, _: Space, _: &[u8]) -> Lookup {
        Lookup::NotInMemory
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.read(name_of(space), |key, value| {
            if is_record(space, key) {
                visit(key, value);
            }
        });
    }

    fn scan_changes(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        self.read(CHANGES, |key, record| match parse_revision_key(key) {
            Ok(revision) => visit(revision, record),
            Err(what) => self.fail(what),
        });
    }
}
