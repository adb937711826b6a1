//! The data directory: everything this node has promised, on one RocksDB.
//!
//! The driver submits [`Write`](gometa_node::Write)s to a [`Writer`] and learns through [`Hooks`] how far they have
//! come; it reads applied records through a [`RocksTable`] and log entries for peers through a [`LogReader`].
//! Nothing else in the server touches the directory.
//!
//! # The directory
//!
//! | name | holds | changes |
//! |---|---|---|
//! | `LOCK` | nothing; locked for as long as a process uses the directory | never |
//! | `FORMAT` | the version of this layout | never |
//! | `IDENTITY` | node id and incarnation | never |
//! | `BOOT` | how often the directory was opened | replaced at each open |
//! | `GENERATION` | which of the `gen-…` directories is the live one | replaced when a snapshot is installed |
//! | `gen-1/db/` | RocksDB: column families `meta`, `log`, `data`, `session` | always |
//! | `gen-1/SYNCED` | how far this generation is known to be synced | after each sync |
//! | `CREATING` | nothing; stands only while the directory is being made | once |
//!
//! A file that is replaced is written beside, synced, renamed, and the directory synced. `IDENTITY` is the last
//! one to be made: while `CREATING` stands without it, the node has told nobody anything, and the directory is
//! made anew. In every other case a directory that is not whole is refused, never repaired by guesswork.
//!
//! # Invariants
//!
//! - `persisted(t)` is called after every write through t is in the database, in order, and all but table
//!   writes are synced; never before, never beside (rules 24 and 26, section 1.5).
//! - The log is contiguous from its base, and each record names its predecessor. Opening proves it for every
//!   record, with its checksum, or fails.
//! - What was synced is there after any crash, or opening fails. RocksDB cuts its write-ahead log at the first
//!   record that is not whole, which after a loss of power is right for what was never synced, and wrong for
//!   anything else. `SYNCED` tells the two apart: it names the database's sequence number and the log's end
//!   after each sync.
//! - The log reaches at least as far as the table.
//! - After the first error of storage nothing more is written, and nothing is retried.
//!
//! It deliberately omits snapshots and the deletion of old log entries; `GENERATION` is their place.

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

/// Who this data directory makes the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The node's id, as it was when the directory was made.
    pub node: NodeId,
    /// Random, drawn when the directory was made.
    pub incarnation: Incarnation,
    /// Which opening of the directory this is; the first is 1. Durable.
    pub boot: u64,
}

/// What the disk tells. Called from the disk's own threads; must not block for long.
pub struct Hooks {
    /// Every write through this token is in the database and readable; all but table writes are synced.
    pub persisted: Box<dyn Fn(Token) + Send + Sync>,
    /// Storage failed, for this reason: the process must end. Called once; nothing is written afterwards.
    pub failed: Box<dyn Fn(String) + Send + Sync>,
    /// The answer to a [`LogReader::submit`] with this id: entries without a gap from the counter asked for.
    /// Empty only if a truncation removed that counter in the meantime.
    pub read: Box<dyn Fn(u64, Vec<LogEntry>) + Send + Sync>,
}

/// An open data directory. It stays locked until all parts are dropped.
pub struct Disk {
    /// Who this node is.
    pub identity: Identity,
    /// What the directory held. All of it is synced.
    pub recovered: gometa_zab::Recovered,
    /// The applied records.
    pub table: RocksTable,
    /// Takes writes.
    pub writer: Writer,
    /// Reads the log for peers.
    pub log: LogReader,
}

impl Disk {
    /// Opens the directory, or creates it where there is none or an empty one. `node` is the id from the
    /// configuration: it goes into a new directory; afterwards the id in the directory wins.
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
