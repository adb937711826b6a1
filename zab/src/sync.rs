//! The choice of how to synchronise a follower: a pure function (rule 16).
//!
//! The leader compares the two logs by their epochs. Diff names their highest common point: the follower truncates to
//! it, if it has more, then receives everything above it in one stream. If the common point lies below the base of
//! either log, the follower needs a snapshot, whose position then is the common point.

use crate::{history::Epochs, types::Zxid};

/// A way to synchronise a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Truncate to `base`, then append the leader's log above it.
    Diff {
        /// The common point.
        base: Zxid,
    },
    /// The common point, if any, lies below the base of a log.
    Snapshot,
}

/// Chooses by the whole log of the leader, durable or not (rule 16), and the durable log of the follower.
pub fn plan(leader: &Epochs, follower: &Epochs) -> Plan {
    match leader.common_point(follower) {
        Some(base) => Plan::Diff { base },
        None => Plan::Snapshot,
    }
}
