//! The durability contract that zab and the store rely on, as one test suite for every storage: the simulated disk
//! and the server's data directory pass the same suite.
//!
//! # The contract
//!
//! Writes to the log form one FIFO, batches for the table another. After a crash, log, hard state and founding record are
//! the result of *some prefix* of the first, and the table that of some prefix of the second. The prefix of the log
//! contains every reported write. The other one may end anywhere, since lost batches are repeated from the log.
//! [`Invariant`] lists the consequences; [`Violation`] names the one that a storage has violated.
//!
//! # Parts
//!
//! - [`Storage`] is an open storage under test; the suite uses only this interface.
//! - [`Plan`] generates the writes of one opening from a seed and the state of the storage: only valid ones, as a node
//!   issues them, since the behaviour for others is unspecified. It does not depend on timing, so a process that will
//!   be killed and the one that kills it generate the same plan.
//! - [`Model`] is the reference model. It receives submitted writes and reports, and checks the recovered state.
//! - [`run()`] executes a plan on a storage and on the model.
//!
//! The caller causes the crash: `sim/tests/storage_contract` crashes the simulated disk at every step of every plan;
//! `server/tests/disk/contract` kills processes and simulates a power failure of a file system.
//!
//! # Omissions
//!
//! Damage: a disk that loses or changes synced data violates its own contract. How a storage reports that is tested for
//! each storage.

mod model;
mod plan;
mod session;

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use gometa_store::{Batch, Checkpoint, Space, Table};
use gometa_zab::{Founding, HardState, Incarnation, LogEntry, Recovered, Token, Zxid};

pub use self::{
    model::{Model, Outcome},
    plan::{Plan, Shape, Step},
    session::{Ended, Event, drain, run},
};

/// An open storage under test.
///
/// The first write after each opening has token 1, each later one the next number.
pub trait Storage {
    /// Queues a write to the log, with the counter through which entries are released. Does not wait for it.
    fn submit(&mut self, token: Token, write: gometa_zab::Write, released: u64);
    /// Queues a batch for the table. Does not wait for it. The first after each opening has number 1, each later one the
    /// next number.
    fn store(&mut self, number: u64, batch: Batch);
    /// Returns the next report. Waits for it if `wait` is set and writes are in flight.
    fn report(&mut self, wait: bool) -> Report;
    /// The table, as a node reads it.
    fn table(&self) -> &dyn Table;
    /// Returns the records of keys, each once, as specified by [`gometa_node::Effect::Fetch`].
    fn fetch(&mut self, keys: Vec<Bytes>) -> Vec<(Bytes, Option<Bytes>)>;
    /// Returns log entries, as specified by [`gometa_node::Effect::Read`].
    fn read(&mut self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry>;
}

/// A report of an open storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// Every write to the log through this token is durable.
    Persisted(Token),
    /// Every batch through this number is readable.
    Stored(u64),
    /// The storage has failed, for this reason; a server process would end.
    Failed(String),
    /// There is no new report.
    Nothing,
}

/// The result of opening a storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// The incarnation of the data directory.
    pub incarnation: Incarnation,
    /// The number of openings of the data directory, including this one.
    pub boot: u64,
    /// The recovered state for the node.
    pub recovered: Recovered,
}

/// A property that the protocol requires of a storage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// Reported tokens ascend, and are tokens of submitted writes.
    Order,
    /// Reported writes to the log survive a crash. So does the state at the previous opening.
    Durable,
    /// The hard state is not older than the last one reported: promises to leaders are kept.
    HardState,
    /// Log and table are each the result of a prefix of their writes: no later write without all earlier ones, no
    /// truncated entries, no part of a batch, nothing that was never written.
    Prefix,
    /// The log is contiguous, its epochs do not fall, and it contains all entries applied to the table.
    Whole,
    /// The state reported at the opening agrees with the log and table that can be read.
    Report,
    /// The table contains all reported writes. A read of the log returns the requested entries, up to the requested
    /// size, and at least one.
    Readable,
    /// The incarnation of the data directory is constant, and the boot count rises at each opening.
    Identity,
    /// The storage opens after every crash, and completes writes while no fault is injected.
    Opens,
}

/// A violated invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// The observation.
    pub what: String,
}

impl Violation {
    /// Returns a violation of this invariant.
    pub fn new(invariant: Invariant, what: impl Into<String>) -> Violation {
        Violation { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is violated: {}", self.invariant, self.what)
    }
}

impl std::error::Error for Violation {}

/// A write to a storage.
#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// To the log.
    Log(gometa_zab::Write),
    /// To the table.
    Table(Batch),
}

/// The state of a storage after some writes.
///
/// It resembles the simulated disk's `Image`, but shares no code with it, so that one fault cannot affect both.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The promised and current epochs.
    pub hard_state: HardState,
    /// The founding record.
    pub founding: Option<Founding>,
    /// The checkpoint of the table.
    pub checkpoint: Checkpoint,
    /// The records of the table.
    pub records: BTreeMap<(Space, Bytes), Bytes>,
    /// The log; the entry with counter c is at index c - 1.
    pub log: Vec<LogEntry>,
    /// The counter through which entries are released: no truncation goes below it.
    pub released: u64,
}

impl State {
    /// The zxid of the last entry; zero if the log is empty.
    pub fn last(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |entry| entry.zxid)
    }

    /// Reads the whole state of a storage that was just opened, and checks that it is consistent.
    pub fn found<S: Storage>(storage: &mut S, opening: &Opening) -> Result<State, Violation> {
        let Recovered { hard_state, founding, oldest, boundaries, applied, released, .. } =
            opening.recovered.clone();
        let misreported = |what: String| Err(Violation::new(Invariant::Report, what));
        let whole = |what: String| Err(Violation::new(Invariant::Whole, what));
        let last = boundaries.last().copied().unwrap_or(Zxid::ZERO);
        let mut log = Vec::new();
        if last.counter > 0 {
            log = storage.read(1, last.counter, usize::MAX);
        }
        let checkpoint = storage.table().checkpoint();
        let state =
            State { hard_state, founding, checkpoint, records: records_of(storage.table()), log, released };
        let mut previous = Zxid::ZERO;
        let mut ends: Vec<Zxid> = Vec::new();
        for entry in &state.log {
            let zxid = entry.zxid;
            if zxid.counter != previous.counter + 1 || zxid.epoch < previous.epoch || zxid.epoch.0 == 0 {
                return whole(format!("the log has {zxid} behind {previous}"));
            }
            if zxid.epoch == previous.epoch {
                ends.pop();
            }
            ends.push(zxid);
            previous = zxid;
        }
        if checkpoint.applied > previous.counter {
            return whole(format!("{} is applied, and the log ends at {previous}", checkpoint.applied));
        }
        if oldest != Zxid::ZERO || boundaries != ends {
            return misreported(format!(
                "the log is said to have {boundaries:?} above {oldest}, and has {ends:?}"
            ));
        }
        if applied != checkpoint.applied {
            return misreported(format!("{applied} is said to be applied, and {} is", checkpoint.applied));
        }
        if released < applied || released > previous.counter {
            return misreported(format!(
                "{released} is released, {applied} applied, the log ends at {previous}"
            ));
        }
        Ok(state)
    }

    /// Applies a write.
    pub fn write(&mut self, write: &Write) {
        match write {
            Write::Table(Batch { checkpoint, writes, .. }) => {
                self.checkpoint = *checkpoint;
                self.released = self.released.max(checkpoint.applied);
                for (space, key, value) in writes {
                    let key = (*space, key.clone());
                    match value {
                        Some(value) => drop(self.records.insert(key, value.clone())),
                        None => drop(self.records.remove(&key)),
                    }
                }
            }
            Write::Log(gometa_zab::Write::Append(entries)) => self.log.extend_from_slice(entries),
            Write::Log(gometa_zab::Write::Truncate(to)) => {
                self.log.retain(|entry| entry.zxid.counter <= to.counter);
            }
            Write::Log(gometa_zab::Write::HardState(hard_state)) => self.hard_state = *hard_state,
            Write::Log(gometa_zab::Write::Founding(founding)) => self.founding = Some(founding.clone()),
            Write::Log(gometa_zab::Write::Compact(_) | gometa_zab::Write::Install(_)) => {
                unreachable!("plans have none")
            }
        }
    }

    /// Whether hard state, founding record and log are those of another.
    fn has_log_of(&self, other: &State) -> bool {
        (&self.hard_state, &self.founding, &self.log) == (&other.hard_state, &other.founding, &other.log)
    }

    /// Whether the table is that of another.
    fn has_table_of(&self, other: &State) -> bool {
        (&self.checkpoint, &self.records) == (&other.checkpoint, &other.records)
    }

    /// A summary in one line, for error messages.
    fn summary(&self) -> String {
        let HardState { accepted_epoch, current_epoch, .. } = self.hard_state;
        let founding = match &self.founding {
            None => "not founded".to_owned(),
            Some(founding) => {
                let sealed = if founding.sealed { "sealed" } else { "prepared" };
                format!("{sealed} {}", founding.genesis.ensemble.id)
            }
        };
        format!(
            "epochs {accepted_epoch} and {current_epoch}, {founding}, log to {}, applied {} (hash {:x}), {} records",
            self.last(),
            self.checkpoint.applied,
            self.checkpoint.hash,
            self.records.len()
        )
    }
}

/// All records of the table.
fn records_of(table: &dyn Table) -> BTreeMap<(Space, Bytes), Bytes> {
    let mut records = BTreeMap::new();
    for space in Space::ALL {
        table.scan(space, &mut |key, value| {
            records.insert((space, Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value));
        });
    }
    records
}

/// The identity of a data directory over all openings.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    known: Option<(Incarnation, u64)>,
}

impl Directory {
    /// Records an opening, and checks incarnation and boot count.
    pub fn opened(&mut self, incarnation: Incarnation, boot: u64) -> Result<(), Violation> {
        if let Some((known, last)) = self.known
            && (known != incarnation || boot <= last)
        {
            let what = format!("{known:?} at boot {last} became {incarnation:?} at boot {boot}");
            return Err(Violation::new(Invariant::Identity, what));
        }
        self.known = Some((incarnation, boot));
        Ok(())
    }
}
