//! The data directory: all durable state of a node, in two stores.
//!
//! The **log** has everything that is acknowledged: log entries, hard state, founding record. It is an append-only log of our
//! own ([`gometa_log`]). The **state** has everything that applying the log makes: keys, their history and sessions, in a RocksDB without a
//! write-ahead log. A crash leaves an earlier moment of the state, whole, and the log carries it forward.
//!
//! The driver submits writes to a [`LogWriter`], and batches to a [`StateWriter`]; it receives their completion through
//! [`Hooks`]. It looks applied records up in memory through a [`RocksTable`], reads others through a [`RecordReader`], pages through a
//! [`QueryReader`], and log entries for peers through a [`LogReader`]. No other module accesses the directory.
//!
//! # The directory
//!
//! | name | content | changes |
//! |---|---|---|
//! | `LOCK` | nothing; locked for as long as a process uses the directory | never |
//! | `FORMAT` | the version of this layout | never |
//! | `IDENTITY` | node id and incarnation | never |
//! | `BOOT` | the number of times the directory was opened | replaced at each open |
//! | `GENERATION` | the numbers of the live log and state | replaced when a snapshot is installed |
//! | `log-1/` | the log: segments, and the mark of what is synced | always |
//! | `state-1/` | RocksDB: column families `meta`, `data`, `session`, `past`, `changes` | always |
//! | `state-2/` | a state that is being received; with `log-2/`, the next live pair | while it is received |
//! | `checkpoint-1/` | links to the files of a state that is being sent | while it is sent |
//! | `DAMAGED` | the damage of a live pair, found while it was in use or at the start | at damage |
//! | `damaged-log-1/`, `damaged-state-1/` | a damaged pair, kept until the node is complete again | at damage |
//! | `QUARANTINED` | the time of the last quarantine that a leader has ordered | at each |
//! | `CREATING` | nothing; exists while the directory is being created | once |
//! | `RESTORING` | nothing; exists while a backup is being restored | once |
//!
//! A file is replaced by writing and syncing a new one, renaming it, and syncing the directory. `IDENTITY` is created last:
//! while `CREATING` exists without it, the node has sent nothing, and the directory is created again. In every other case
//! an incomplete directory is refused, and never repaired by guessing: so is one with `RESTORING`, until the restore has succeeded. A damaged log or state is replaced by an empty one,
//! under another incarnation (`quarantine.rs`).
//!
//! # Invariants
//!
//! - `persisted(t)` is called in order, after every write to the log through t is synced (rules 24 and 26, section 1.5),
//!   `stored(n)` in order, after every batch through n is readable, `flushed(c)` after the state through c is durable.
//! - Synced writes are present after any crash, or opening fails.
//! - The log reaches from the flushed state to the last synced entry: base <= flushed <= end.
//! - After the first storage error nothing more is written, and nothing is retried.
//!
//! The deletion of old log entries is not supported yet.

mod compaction;
mod copies;
mod database;
mod directory;
mod error;
mod failure;
mod inspection;
mod log_reader;
mod log_writer;
mod quarantine;
mod query_reader;
mod record_reader;
mod records;
mod recovery;
mod refounding;
mod restoring;
mod scrub;
mod sealed;
mod snapshot;
mod space;
mod state;
mod table;
mod usage;

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;
use gometa_store::Found;
use gometa_zab::{Incarnation, LogEntry, NodeId, Token};
use parking_lot::Mutex;

use self::{
    database::Database, directory::Directory, failure::Failure, log_reader::LiveLog, log_writer::LogFiles,
    scrub::LiveState, usage::LastFlush,
};
pub use self::{
    error::DiskError,
    log_reader::LogReader,
    log_writer::LogWriter,
    quarantine::Quarantine,
    query_reader::QueryReader,
    record_reader::RecordReader,
    scrub::{Finding, Scrubber},
    snapshot::Snapshots,
    space::SpaceWatch,
    state::{StateCheckpoints, StateWriter},
    table::RocksTable,
};
pub(crate) use self::{
    inspection::{Damage, Inspection, Position, Report},
    refounding::{Refounded, Survivor},
    restoring::{Checked, Restored, check as check_backup, restore},
    snapshot::{Incoming, Outgoing, Received},
    usage::Usage,
};

/// The identity of the node in the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The node's id at the creation of the directory.
    pub node: NodeId,
    /// Random, chosen at the creation of the directory.
    pub incarnation: Incarnation,
    /// The number of times the directory was opened, this time included. Durable.
    pub boot: u64,
    /// Whether the record of the node's ensemble is lost: it may learn of the ensemble, and never found one.
    pub never_founds: bool,
}

/// The disk's callbacks. Called on the disk's own threads; must not block for long.
pub struct Hooks {
    /// Every write to the log through this token is synced.
    pub persisted: Box<dyn Fn(Token) + Send + Sync>,
    /// Every batch through this number is readable in the table.
    pub stored: Box<dyn Fn(u64) + Send + Sync>,
    /// The state is durable through a counter.
    pub flushed: Box<dyn Fn(Flushed) + Send + Sync>,
    /// Storage failed for this reason, and the process must end. Called once; nothing is written afterwards.
    pub failed: Box<dyn Fn(String) + Send + Sync>,
    /// The answer to a [`LogReader::submit`] with this id: contiguous entries from the requested counter. Empty only if a
    /// truncation has removed that counter since.
    pub read: Box<dyn Fn(u64, Vec<LogEntry>) + Send + Sync>,
    /// The answer for one key of a [`RecordReader::submit`] with this id: its record, `None` if the table has none. May
    /// block until earlier answers have been taken.
    pub fetched: Box<dyn Fn(u64, Bytes, Option<Bytes>, bool) + Send + Sync>,
    /// The answer to a [`QueryReader::submit`] with this id: what was found, or the horizon if a revision below it is to be read.
    pub queried: Box<dyn Fn(u64, Result<Found, u64>) + Send + Sync>,
}

/// A flush of the state, and what may be deleted of the log after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushed {
    /// The state is durable through this counter.
    pub counter: u64,
    /// The log above this counter is within 256 MiB and a quarter of the free space.
    pub kept_above: u64,
    /// The log above this counter is within 1 GiB and half of the free space.
    pub held_above: u64,
}

/// The bytes of the log that are kept for followers that will come back. A start reads all of them.
const LOG_KEPT_BYTES_MAX: u64 = 256 << 20;
/// The bytes of the log that are kept while a follower reads them, or receives a snapshot.
const LOG_HELD_BYTES_MAX: u64 = 1 << 30;

/// An open data directory. It stays locked until all parts are dropped.
pub struct Disk {
    /// The node's identity.
    pub identity: Identity,
    /// What this opening has put into quarantine.
    pub quarantined: Option<Quarantine>,
    /// The recovered state. All of it is synced.
    pub recovered: gometa_zab::Recovered,
    /// The applied records.
    pub table: RocksTable,
    /// Accepts writes to the log.
    pub log: LogWriter,
    /// Accepts batches for the state.
    pub state: StateWriter,
    /// Reads the log for peers.
    pub log_reader: LogReader,
    /// Reads applied records that are not in memory.
    pub record_reader: RecordReader,
    /// Reads pages.
    pub query_reader: QueryReader,
    /// Makes and receives snapshots.
    pub snapshots: Snapshots,
}

impl Disk {
    /// Opens the directory, or creates it if it is missing or empty. `node` is the id from the configuration, for a new
    /// directory; the id in an existing one takes precedence. `has_peers`: the configuration lists other nodes.
    ///
    /// If log or state are damaged and other nodes have a copy, the node comes back with empty ones, as another incarnation.
    pub fn open(
        dir: &Path,
        node: NodeId,
        has_peers: bool,
        cache_bytes: usize,
        hooks: Hooks,
    ) -> Result<Disk, DiskError> {
        let mut directory = Directory::open(dir, node, cache_bytes)?;
        let mut quarantined = None;
        let opened = recovery::open(&directory).or_else(|error| {
            quarantined = Some(quarantine::begin(&mut directory, has_peers, error)?);
            recovery::open(&directory)
        });
        let recovery::Opened { rocks, log, recovered, flush_soon } = opened?;
        let founding = recovered.founding.as_ref();
        *directory.copied.get_mut() = copies::is_copied(&directory, founding, has_peers);
        let identity = directory.raise_boot()?;
        let directory = Arc::new(directory);
        let Hooks { persisted, stored, flushed, failed, read, fetched, queried } = hooks;
        let failure = Arc::new(Failure::new(directory.clone(), failed));
        let database = Arc::new(Database::new(rocks, failure.clone(), directory.clone()));
        let live = Arc::new(Mutex::new(log.reader()));
        let last_flush = LastFlush::new();
        let snapshots = Snapshots {
            directory: directory.clone(),
            failure: failure.clone(),
            // As if so much had been written: the first batch is followed by a flush.
            log_bytes: Arc::new(AtomicU64::new(if flush_soon { state::LOG_BYTES_PER_FLUSH } else { 0 })),
            stored: stored.into(),
            flushed: report_flushed(&directory, &live, last_flush.clone(), flushed),
            last_flush,
            live: live.clone(),
            state: LiveState::default(),
            checkpoints: Arc::default(),
        };
        let log_reader = LogReader::start(live.clone(), directory.clone(), failure.clone(), read)?;
        let files = LogFiles { directory, live, bytes: snapshots.log_bytes.clone() };
        Ok(Disk {
            identity,
            quarantined,
            table: RocksTable::new(database.clone()),
            log_reader,
            record_reader: RecordReader::start(&database, fetched)?,
            query_reader: QueryReader::start(&database, queried)?,
            log: LogWriter::start(log, &recovered, files, failure, persisted)?,
            state: snapshots.start(database, recovered.applied)?,
            snapshots,
            recovered,
        })
    }
}

/// Adds the bounds of the log to the report of a flush.
fn report_flushed(
    directory: &Arc<Directory>,
    live: &LiveLog,
    last_flush: LastFlush,
    flushed: Box<dyn Fn(Flushed) + Send + Sync>,
) -> Arc<dyn Fn(u64) + Send + Sync> {
    let (directory, live) = (directory.clone(), live.clone());
    Arc::new(move |counter| {
        last_flush.set(counter);
        let log = live.lock().clone();
        let free = directory.free_bytes();
        flushed(Flushed {
            counter,
            kept_above: log.counter_above(LOG_KEPT_BYTES_MAX.min(free / 4)),
            held_above: log.counter_above(LOG_HELD_BYTES_MAX.min(free / 2)),
        });
    })
}
