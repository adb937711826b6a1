//! What can happen in a run, and the order in which it does.

use bytes::Bytes;
use gometa_store::{Found, Query};
use gometa_zab::{LinkId, LogEntry};

use crate::{client_links::ClientTransit, network::Transit};

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Action {
    /// In the network between nodes.
    Network(Transit),
    /// Between clients and nodes.
    Client(ClientTransit),
    /// A client checks its timers.
    Poll { client: usize },
    /// A node takes in what has arrived.
    Wake { node: usize, life: u64 },
    /// Time has passed at a node.
    Tick { node: usize, life: u64 },
    /// A disk has finished a group.
    DiskDone { node: usize, life: u64, group: u64, fails: bool },
    /// A table has written a group of batches.
    TableDone { node: usize, life: u64, fails: bool },
    /// A table has read records; of some it is known what it has seen, of the others it sees them now.
    Fetched { node: usize, life: u64, id: u64, seen: Vec<(Bytes, Option<Option<Bytes>>)> },
    /// A table has read a page, as it was seen when the read began, or as it is now.
    Queried { node: usize, life: u64, id: u64, query: Box<Query>, seen: Option<Result<Found, u64>> },
    /// A disk has read some of the log.
    ReadDone { node: usize, life: u64, id: u64, entries: Vec<LogEntry> },
    /// A node's storage makes a snapshot, to be sent on this connection.
    Checkpoint { node: usize, life: u64, link: LinkId },
    /// A node's storage has verified a snapshot that it has received, and reports it on this connection.
    Verified { node: usize, life: u64, id: u64, link: LinkId },
    /// A node starts.
    Start { node: usize },
    /// A pause ends.
    Resume { node: usize, life: u64 },
    /// A machine loses power.
    PowerCut { node: usize },
    /// A node that has stopped gets an empty directory.
    Replace { node: usize },
    /// The free space of a disk crosses a level of its reserve.
    Space,
    /// A disk is full.
    Fill,
    /// There is space again.
    Free { node: usize },
    /// A disk violates an invariant.
    Damage,
    /// A record of a table is altered.
    Alter,
    /// A node scrubs its table.
    Scrub { node: usize },
    /// A partition begins.
    Partition,
    /// Further links of a partition stop.
    Cut { pairs: Vec<(usize, usize)> },
    /// Some of a partition ends.
    Heal { pairs: Vec<(usize, usize)> },
    /// A node, or all, crash.
    Crash,
    /// The same, if the ensemble is not formed yet.
    EarlyCrash,
    /// A node is paused.
    Pause,
    /// A change of the members is asked for.
    Change,
    /// A transfer of the leadership is requested.
    Transfer,
    /// The target of a transfer crashes.
    CrashTarget { node: usize },
    /// A majority is lost, or the operator does something then; of this recovery, by its number.
    Recovery { number: u32, step: Recovering },
    /// A leader is deposed on purpose.
    Depose,
    /// The next step of a deposition.
    Deposing,
    /// The faults end.
    EndFaults,
    /// The liveness check.
    CheckLiveness,
}

/// A step of a recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recovering {
    /// A majority of the voters is lost.
    Lose,
    /// The operator compares the survivors, and founds the ensemble anew on the best one.
    Refound,
    /// A node starts with what it has.
    Start(usize),
    /// A node gets an empty directory, and joins.
    Rejoin(usize),
    /// The operator looks whether those that join are voters.
    Look,
}

/// An action and its place in the order of the run.
#[derive(Debug)]
pub(crate) struct Scheduled {
    pub(crate) at: u64,
    pub(crate) sequence: u64,
    pub(crate) action: Action,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// What is done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Messages to the leader get later until this moment.
    Stretching { until: u64 },
    /// The leader is not heard, or separated with its minority, until another leads, and for so long after that.
    Deposing { hold: u64 },
    /// Another leads; the cut ends at this moment.
    Holding { until: u64 },
    /// The cut has healed: the old leader is to follow the new one.
    Rejoining { new: usize },
}

/// A deposition in flight.
#[derive(Debug)]
pub(crate) struct Deposition {
    pub(crate) leader: usize,
    pub(crate) with_minority: bool,
    pub(crate) stage: Stage,
    /// Links that are stopped, or will be.
    pub(crate) pairs: Vec<(usize, usize)>,
    pub(crate) give_up_at: u64,
}
