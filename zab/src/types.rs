//! The basic types of the protocol: node ids, epochs, zxids, rounds, time.

use core::fmt;

/// The id of a node, stable for its life. Zero is no node. Logs for people show the message address instead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

/// The number of a leadership: at most one leader is ever established in an epoch. Zero is the time before the first
/// leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The bound of epochs: no ensemble reaches it, so a received epoch at or above it is invalid.
    pub const MAX: Epoch = Epoch(1 << 62);
}

/// The number of an attempt to elect a leader. Volatile, and only a hint (rule 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Round(pub u64);

/// The identity and position of a log entry: (epoch, counter), ordered lexicographically.
///
/// Unlike in published Zab, the counter does not restart with a new epoch. It is the position in the log, without
/// gaps, which clients see as *revision*. The genesis, the base of every log, is at (0, 0); the first entry has
/// counter 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid {
    /// The epoch of the leader that proposed the entry.
    pub epoch: Epoch,
    /// The position in the log.
    pub counter: u64,
}

impl Zxid {
    /// The zxid of the genesis.
    pub const ZERO: Zxid = Zxid { epoch: Epoch(0), counter: 0 };

    /// The zxid (epoch, counter).
    pub const fn new(epoch: u64, counter: u64) -> Zxid {
        Zxid { epoch: Epoch(epoch), counter }
    }
}

/// Monotonic time, in microseconds since an arbitrary start; not the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Ticks(pub u64);

impl Ticks {
    /// Returns the time `micros` microseconds later.
    pub const fn plus(self, micros: u64) -> Ticks {
        Ticks(self.0.saturating_add(micros))
    }

    /// Returns the microseconds from `earlier` to this time; zero if `earlier` is later.
    pub const fn since(self, earlier: Ticks) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The identity of a data directory: 128 random bits from when it was created.
///
/// A node whose incarnation differs from the recorded one may have lost its promises, and is counted in no quorum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u128);

/// The identity of an ensemble and of its history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EnsembleId {
    /// 128 random bits from formation.
    pub id: u128,
    /// The number of the history: it changes when the ensemble is founded anew after losing its quorum or from a backup.
    pub history: u64,
}

/// The id of one connection between two nodes. Ids are never reused in a process, so a message of a closed connection
/// is never attributed to a later one (rules 21, 24).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The id of a storage write. Tokens ascend in the order in which writes are issued.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Token(pub u64);

macro_rules! debug_as {
    ($($type:ty, $format:literal;)*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    )*};
}

debug_as! {
    NodeId, "{:016x}";
    Epoch, "{}";
    Round, "{}";
    Incarnation, "{:032x}";
    LinkId, "link{}";
    Token, "t{}";
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.epoch, self.counter)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for EnsembleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}", self.id, self.history)
    }
}
