//! Majorities: the arithmetic of quorums, without knowledge of nodes or configurations.

use alloc::vec::Vec;

/// Whether `count` of `voters` voters are a quorum.
pub(crate) fn is_quorum(count: usize, voters: usize) -> bool {
    count > voters / 2
}

/// The largest value that a quorum has reached, from the value of each voter. Zero if there are no voters.
pub(crate) fn quorum_value(mut reached: Vec<u64>) -> u64 {
    reached.sort_unstable_by(|a, b| b.cmp(a));
    reached.get(reached.len() / 2).copied().unwrap_or(0)
}
