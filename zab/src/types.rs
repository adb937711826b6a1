//! The words of the protocol: node ids, epochs, zxids, rounds, time.

use core::fmt;

/// Identity of a node within its ensemble; stable for the node's life.
///
/// Zero is nobody. People are shown the node's message address instead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

/// One leadership. At most one leader is ever established in an epoch.
///
/// Zero is the time before the first leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Epochs at or above this are nonsense: no ensemble lives through so many leaderships.
    pub const MAX: Epoch = Epoch(1 << 62);
}

/// One numbered attempt to elect a leader. Volatile, and a hint only (rule 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Round(pub u64);

/// Identity and place of a log entry: (epoch, counter), ordered lexicographically.
///
/// Unlike in every published Zab, the counter does not restart with a new epoch: it goes on from the initial
/// history, so it is the entry's dense position in the log, and what clients see as *revision*. The genesis,
/// the base of every log, is at (0, 0); the first entry has counter 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid {
    /// The leadership that proposed the entry.
    pub epoch: Epoch,
    /// The entry's position in the log.
    pub counter: u64,
}

impl Zxid {
    /// The genesis, base of every log.
    pub const ZERO: Zxid = Zxid { epoch: Epoch(0), counter: 0 };

    /// The zxid (epoch, counter).
    pub const fn new(epoch: u64, counter: u64) -> Zxid {
        Zxid { epoch: Epoch(epoch), counter }
    }
}

/// Monotonic time in microseconds since an arbitrary start; never the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Ticks(pub u64);

impl Ticks {
    /// This time, `micros` microseconds later.
    pub const fn plus(self, micros: u64) -> Ticks {
        Ticks(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this time; zero if `earlier` is later.
    pub const fn since(self, earlier: Ticks) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Which data directory a node runs on: 128 random bits, drawn when the directory was made.
///
/// A voter whose incarnation is not the recorded one has lost what it promised, and is counted in no quorum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u128);

/// Identity of an ensemble: 128 random bits drawn at its formation, and which of its histories.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EnsembleId {
    /// Random, drawn at formation.
    pub id: u128,
    /// Changes when the ensemble is founded anew after losing its quorum or from a backup.
    pub history: u64,
}

/// One connection between two nodes, in one of its lives: numbers are never used again in a process, so that
/// nothing from an old connection is taken for something from its successor (rules 21, 24).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names a storage write. Tokens rise in the order in which writes are issued.
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
