//! Who belongs to the ensemble, and what counts as a quorum of it.
//!
//! Membership comes from the log alone (protocol.md 5.3); as long as no membership entries are made, that is the
//! genesis. A voter is its id *and* its data directory: one that comes with another incarnation than the
//! recorded one may have forgotten what it promised, so it is served like a learner and counted nowhere
//! (protocol.md 5.8).

use alloc::vec::Vec;

use crate::{
    message::Voter,
    types::{Incarnation, NodeId},
};

/// The members of an ensemble.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Members {
    voters: Vec<Voter>,
}

impl Members {
    /// Members from a list of voters, ascending by id.
    pub fn new(voters: Vec<Voter>) -> Members {
        assert!(voters.is_sorted_by(|a, b| a.node < b.node), "voters ascend by id");
        Members { voters }
    }

    /// The voters, ascending by id.
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// Whether a node of this id belongs to the ensemble, whatever its data directory.
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.iter().any(|voter| voter.node == node)
    }

    /// Whether this node, with this data directory, is counted in quorums.
    pub fn is_voter(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.voters.iter().any(|voter| voter.node == node && voter.incarnation == Some(incarnation))
    }

    /// Whether a majority of the voters satisfies `holds`.
    pub fn quorum(&self, holds: impl Fn(NodeId) -> bool) -> bool {
        let count = self.voters.iter().filter(|voter| holds(voter.node)).count();
        count > self.voters.len() / 2
    }

    /// The largest value that a majority has reached, where `reached` says how far each voter is.
    pub fn quorum_value(&self, reached: impl Fn(NodeId) -> u64) -> u64 {
        let mut values: Vec<u64> = self.voters.iter().map(|voter| reached(voter.node)).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(self.voters.len() / 2).copied().unwrap_or(0)
    }
}
