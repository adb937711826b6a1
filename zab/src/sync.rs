//! How a follower is brought to its leader's history: a pure choice (table 1.3, rule 16).
//!
//! The leader compares the two logs by their epochs and names the common point. The follower first goes back
//! to it, which is empty work for one that is merely behind, then takes everything above it in one stream.
//! DIFF and TRUNC of the table are so one mode. A snapshot is needed where the common point lies below the
//! log of either side; until snapshots exist the follower is refused.

use crate::{history::Epochs, types::Zxid};

/// How to synchronise a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Go back to this zxid, then take the leader's log from there.
    Diff {
        /// The common point.
        base: Zxid,
    },
    /// The common point, if any, is not in the logs any more.
    Snapshot,
}

/// Chooses from what the leader and the follower hold, durable or not at the leader (rule 16), durable at the
/// follower.
pub fn plan(leader: &Epochs, follower: &Epochs) -> Plan {
    match leader.common_point(follower) {
        Some(base) => Plan::Diff { base },
        None => Plan::Snapshot,
    }
}
