//! The data directory: all durable state of a node, in one RocksDB.
//!
//! The driver submits writes to the log and batches for the table to a [`Writer`] and receives their completion through [`Hooks`]. It
//! reads applied records through a [`RocksTable`], and log entries for peers through a [`LogReader`]. No other module
//! accesses the directory.
//!
//! # The directory
//!
//! | name | content | changes |
//! |---|---|---|
//! | `LOCK` | nothing; locked for as long as a process uses the directory | never |
//! | `FORMAT` | the version of this layout | never |
//! | `IDENTITY` | node id and incarnation | never |
//! | `BOOT` | the number of times the directory was opened | replaced at each open |
//! | `GENERATION` | the name of the live `gen-…` directory | replaced when a snapshot is installed |
//! | `gen-1/db/` | RocksDB: column families `meta`, `log`, `data`, `session` | always |
//! | `gen-1/SYNCED` | the synced position of this generation | after each sync |
//! | `CREATING` | nothing; exists while the directory is being created | once |
//!
//! A file is replaced by writing and syncing a new one, renaming it, and syncing the directory. `IDENTITY` is created last:
//! while `CREATING` exists without it, the node has sent nothing, and the directory is created again. In every other case
//! an incomplete directory is refused, and never repaired by guessing.
//!
//! # Invariants
//!
//! - `persisted(t)` is called in order, after every write to the log through t is synced (rules 24 and 26, section 1.5),
//!   `stored(n)` in order, after every batch of the table through n is in the database.
//! - The log is contiguous from its base, and each record names its predecessor. Opening verifies every record and its
//!   checksum, or fails.
//! - Synced writes are present after any crash, or opening fails. RocksDB truncates its write-ahead log at the first
//!   incomplete record, which after a power loss is correct for unsynced writes only. `SYNCED` distinguishes the two: it
//!   records the database's sequence number and the end of the log after each sync.
//! - The log reaches at least as far as the table.
//! - After the first storage error nothing more is written, and nothing is retried.
//!
//! Snapshots and the deletion of old log entries are not supported yet; `GENERATION` is reserved for them.

mod boundaries;
mod database;
mod directory;
mod error;
mod log_reader;
mod records;
mod recovery;
mod synced;
mod table;
mod writer;

use std::{path::Path, sync::Arc};

use gometa_zab::{Incarnation, LogEntry, NodeId, Token};

use self::{database::Database, directory::Directory};
pub use self::{error::DiskError, log_reader::LogReader, table::RocksTable, writer::Writer};

/// The identity of the node in the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The node's id at the creation of the directory.
    pub node: NodeId,
    /// Random, chosen at the creation of the directory.
    pub incarnation: Incarnation,
    /// The number of times the directory was opened, this time included. Durable.
    pub boot: u64,
}

/// The disk's callbacks. Called on the disk's own threads; must not block for long.
pub struct Hooks {
    /// Every write to the log through this token is synced.
    pub persisted: Box<dyn Fn(Token) + Send + Sync>,
    /// Every batch of the table through this number is readable.
    pub stored: Box<dyn Fn(u64) + Send + Sync>,
    /// Storage failed for this reason, and the process must end. Called once; nothing is written afterwards.
    pub failed: Box<dyn Fn(String) + Send + Sync>,
    /// The answer to a [`LogReader::submit`] with this id: contiguous entries from the requested counter. Empty only if a
    /// truncation has removed that counter since.
    pub read: Box<dyn Fn(u64, Vec<LogEntry>) + Send + Sync>,
}

/// An open data directory. It stays locked until all parts are dropped.
pub struct Disk {
    /// The node's identity.
    pub identity: Identity,
    /// The recovered state. All of it is synced.
    pub recovered: gometa_zab::Recovered,
    /// The applied records.
    pub table: RocksTable,
    /// Accepts writes.
    pub writer: Writer,
    /// Reads the log for peers.
    pub log: LogReader,
}

impl Disk {
    /// Opens the directory, or creates it if it is missing or empty. `node` is the id from the configuration, for a new
    /// directory; the id in an existing one takes precedence.
    pub fn open(dir: &Path, node: NodeId, hooks: Hooks) -> Result<Disk, DiskError> {
        let directory = Directory::open(dir, node)?;
        let rocks = database::open(dir, &directory.database())?;
        let mark = synced::SyncMark::open(dir, &directory.synced())?;
        let (recovered, boundaries) = recovery::recover(dir, &rocks, mark.known())?;
        let applied = recovered.applied;
        let identity = directory.raise_boot()?;
        let database = Arc::new(Database::new(rocks, directory, hooks));
        Ok(Disk {
            identity,
            recovered,
            table: RocksTable::new(database.clone()),
            writer: Writer::start(database.clone(), mark, boundaries, applied)?,
            log: LogReader::start(database)?,
        })
    }
}
