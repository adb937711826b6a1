//! The configuration of the ensemble: who votes, and what a quorum is.
//!
//! Every quorum decision reads a [`Configuration`], and every place that assumes that the genesis is in force for
//! ever is in this file (protocol.md 5.3): membership changes will replace [`Configuration::in_force`] by the latest
//! configuration of [`Configurations`](crate::Configurations).
//!
//! A voter is a node id *and* an incarnation. A node that arrives with another incarnation than the recorded one may
//! have lost its promises, so it is served like a learner and never counted (protocol.md 5.8).

use alloc::vec::Vec;

use crate::{
    effect::Founding,
    membership::Learner,
    message::Voter,
    quorum,
    types::{Incarnation, NodeId, Zxid},
};

/// The members of an ensemble.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Configuration {
    pub(crate) version: Zxid,
    pub(crate) voters: Vec<Voter>,
    pub(crate) learners: Vec<Learner>,
}

impl Configuration {
    /// The first configuration, of these voters.
    ///
    /// # Panics
    /// If they do not ascend by id.
    pub fn new(voters: Vec<Voter>) -> Configuration {
        assert!(voters.is_sorted_by(|a, b| a.node < b.node), "voters ascend by id");
        Configuration { version: Zxid::ZERO, voters, learners: Vec::new() }
    }

    /// The configuration in force: the sealed genesis, or the configured voters before formation.
    pub(crate) fn in_force(configured: &[Voter], founding: Option<&Founding>) -> Configuration {
        let sealed = founding.filter(|founding| founding.sealed);
        Configuration::new(sealed.map_or(configured, |founding| &founding.genesis.voters).to_vec())
    }

    /// The zxid of the log entry that contains this configuration; (0, 0) for the genesis. Counters alone do not identify
    /// a configuration: a leader that was deposed may have logged another one at the same counter.
    pub fn version(&self) -> Zxid {
        self.version
    }

    /// The learners, ascending by id.
    pub fn learners(&self) -> &[Learner] {
        &self.learners
    }

    /// The learner with this id, with any incarnation.
    pub fn learner(&self, node: NodeId) -> Option<&Learner> {
        self.learners.iter().find(|learner| learner.node == node)
    }

    /// The voters, ascending by id.
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// The voter that coordinates formation: the one with the lowest id.
    pub(crate) fn coordinator(&self) -> Option<NodeId> {
        self.voters.first().map(|voter| voter.node)
    }

    /// Whether a node with this id is a member, with any incarnation.
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.iter().any(|voter| voter.node == node) || self.learner(node).is_some()
    }

    /// The voter with this id and this incarnation.
    pub fn voter(&self, node: NodeId, incarnation: Incarnation) -> Option<&Voter> {
        self.voters.iter().find(|voter| voter.node == node && voter.incarnation == Some(incarnation))
    }

    /// Whether the node with this incarnation is counted in quorums.
    pub fn is_voter(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.voter(node, incarnation).is_some()
    }

    /// Whether the voters that satisfy `holds` are a quorum.
    pub fn has_quorum(&self, holds: impl Fn(&Voter) -> bool) -> bool {
        let count = self.voters.iter().filter(|voter| holds(voter)).count();
        quorum::is_quorum(count, self.voters.len())
    }

    /// The largest value that a quorum has reached, from the value that `reached` returns for each voter.
    pub fn quorum_value(&self, reached: impl Fn(&Voter) -> u64) -> u64 {
        quorum::quorum_value(self.voters.iter().map(reached).collect())
    }
}
