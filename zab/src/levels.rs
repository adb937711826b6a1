//! Feature levels: what makes a rolling upgrade possible (protocol.md 5.14).
//!
//! An ensemble runs at one level, which its configuration records. Requests, records and limits are those of this level,
//! whatever more a node's program supports: so nodes of two versions hold the same state, and going back to the earlier
//! version is possible until the level is raised.

use core::fmt;

/// The level of an ensemble that was founded before there was another one.
pub const FIRST_LEVEL: u32 = 1;

/// The feature levels that a program supports: all from `min` to `max`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Levels {
    /// The lowest one, at least 1.
    pub min: u32,
    /// The highest one, at least `min`.
    pub max: u32,
}

impl Levels {
    /// The levels of this program. A test build has one more.
    pub const SUPPORTED: Levels =
        Levels { min: FIRST_LEVEL, max: if cfg!(gometa_next_level) { 2 } else { 1 } };

    /// Whether `level`, that of an ensemble, is among these.
    #[must_use]
    pub const fn contains(self, level: u32) -> bool {
        self.min <= level && level <= self.max
    }

    /// The levels that both support; [empty](Levels::is_empty) if there is none.
    pub(crate) fn and(self, other: Levels) -> Levels {
        Levels { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    /// Whether it contains no level: the two ranges that it was made of have none in common.
    pub(crate) fn is_empty(self) -> bool {
        self.min > self.max
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "feature level {}", self.min)
        } else {
            write!(f, "feature levels {} to {}", self.min, self.max)
        }
    }
}
