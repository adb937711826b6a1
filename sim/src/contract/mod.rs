//! What zab and the store rely on when they say "durable", as one suite for every storage: the simulated disk and
//! the server's data directory pass the very same.
//!
//! # The contract
//!
//! Writes to the log are one FIFO, batches for the table are another. What a crash leaves is the result of *some prefix* of
//! each, whole: of the first, log, hard state and founding record; of the second, the table. [`Promise`] lists what
//! follows, one variant each; [`Broken`] names the one that a storage broke. The prefix of the log contains every write
//! that was reported. That of the table may end anywhere, since the log makes the lost batches again.
//!
//! # Its parts
//!
//! - [`Storage`] is a storage under test, open. The suite knows nothing else of it.
//! - [`Plan`] makes the writes of one opening from a seed and from what the storage held: legal ones only, as a
//!   node would issue them, for what a storage does with others is its own affair. It depends on no timing, so a
//!   process that is about to be killed and the one that kills it make the same plan.
//! - [`Model`] is the naive twin. It receives what was submitted and reported, and checks what is found afterwards.
//! - [`run()`] takes a storage through a plan, with the model beside it.
//!
//! How the crash is made is up to the user of the suite: `sim/tests/storage_contract` calls the simulated disk's at
//! every step of every plan; `server/tests/disk/contract` kills processes and cuts the power of a file system.
//!
//! # Left out
//!
//! Damage: a disk that lies, breaks or flips what it has synced breaks its own promise, and what a storage says
//! about it is tested storage by storage.

mod model;
mod plan;
mod session;

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use gometa_store::{Batch, Checkpoint, Space, Table};
use gometa_zab::{Founding, HardState, Incarnation, LogEntry, Recovered, Token, Zxid};

pub use self::{
    model::{Model, Verdict},
    plan::{Plan, Shape, Step},
    session::{Ended, Event, drain, run},
};

/// One storage under test, open.
///
/// Its first write after each opening has token 1, and each one after that the next number.
pub trait Storage {
    /// Queues a write to the log, with the counter through which entries are released. Does not wait for it.
    fn submit(&mut self, token: Token, write: gometa_zab::Write, released: u64);
    /// Queues a batch for the table. Does not wait for it. The first after each opening has number 1, and each one after
    /// that the next.
    fn store(&mut self, number: u64, batch: Batch);
    /// The next of its reports; waits for one if asked to, and if there is anything to wait for.
    fn report(&mut self, wait: bool) -> Report;
    /// The table as a node reads it.
    fn table(&self) -> &dyn Table;
    /// Log entries, as [`gometa_node::Effect::Read`] wants them.
    fn read(&mut self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry>;
}

/// What a storage says while it works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// Every write to the log through this token is durable.
    Persisted(Token),
    /// Every batch through this number is readable.
    Stored(u64),
    /// It cannot go on, for this reason; the process would end now.
    Failed(String),
    /// Nothing new.
    Nothing,
}

/// What a storage says when it is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Which data directory this is.
    pub incarnation: Incarnation,
    /// Which opening of it.
    pub boot: u64,
    /// What a node starts with.
    pub recovered: Recovered,
}

/// What a storage must provide to the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    /// Reports rise, and name only what was submitted.
    Order,
    /// Every write to the log that was reported is there after a crash. What was there when the storage was opened is there at the next opening.
    Durable,
    /// No promise to a leader is ever taken back: the hard state is none older than the last one reported.
    HardState,
    /// What is found is what some prefix of the writes to the log and some prefix of the batches make: nothing of a later write without all earlier ones,
    /// nothing that was cut, no half of a batch, nothing that was never written.
    Prefix,
    /// The log is contiguous from its base, epochs do not fall in it, and it reaches at least as far as the table.
    Whole,
    /// What is reported at the start agrees with what can be read.
    Report,
    /// The table shows what was reported, all of it; a read of the log gives the entries asked for, up to the
    /// size asked for, and at least one.
    Readable,
    /// The data directory keeps its incarnation, and the boot count rises at each opening.
    Identity,
    /// After any crash the storage opens, and while nothing is amiss it goes on.
    Opens,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The invariant.
    pub promise: Promise,
    /// How it shows.
    pub what: String,
}

impl Broken {
    /// This one.
    pub fn new(promise: Promise, what: impl Into<String>) -> Broken {
        Broken { promise, what: what.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: {}", self.promise, self.what)
    }
}

impl std::error::Error for Broken {}

/// A write to a storage.
#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// To the log.
    Log(gometa_zab::Write),
    /// To the table.
    Table(Batch),
}

/// Everything that a storage holds after some writes.
///
/// Not the simulated disk's `Image`, though it looks alike: the judge shares nothing with the accused.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// Promises.
    pub hard_state: HardState,
    /// The genesis.
    pub founding: Option<Founding>,
    /// How far the table has come.
    pub checkpoint: Checkpoint,
    /// The table.
    pub records: BTreeMap<(Space, Bytes), Bytes>,
    /// The log; the entry with counter c stands at c - 1.
    pub log: Vec<LogEntry>,
    /// The counter through which entries are released: no truncation goes below it.
    pub released: u64,
}

impl State {
    /// The last entry's zxid.
    pub fn last(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |entry| entry.zxid)
    }

    /// Reads all that a storage holds, directly after it was opened, and whether it is of one piece.
    pub fn found<S: Storage>(storage: &mut S, opening: &Opening) -> Result<State, Broken> {
        let Recovered { hard_state, founding, oldest, boundaries, applied, released } =
            opening.recovered.clone();
        let misreported = |what: String| Err(Broken::new(Promise::Report, what));
        let whole = |what: String| Err(Broken::new(Promise::Whole, what));
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

    /// One write more.
    pub fn write(&mut self, write: &Write) {
        match write {
            Write::Table(Batch { checkpoint, writes }) => {
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

    /// In a line, for a person to compare two of them.
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

/// The whole table.
fn records_of(table: &dyn Table) -> BTreeMap<(Space, Bytes), Bytes> {
    let mut records = BTreeMap::new();
    for space in [Space::Data, Space::Session] {
        table.scan(space, &mut |key, value| {
            records.insert((space, Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value));
        });
    }
    records
}

/// Which directory it is, over all of its openings.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    known: Option<(Incarnation, u64)>,
}

impl Directory {
    /// It was opened, and this is what it said of itself.
    pub fn opened(&mut self, incarnation: Incarnation, boot: u64) -> Result<(), Broken> {
        if let Some((known, last)) = self.known
            && (known != incarnation || boot <= last)
        {
            let what = format!("{known:?} at boot {last} became {incarnation:?} at boot {boot}");
            return Err(Broken::new(Promise::Identity, what));
        }
        self.known = Some((incarnation, boot));
        Ok(())
    }
}
