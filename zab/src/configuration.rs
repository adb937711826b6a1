//! The configuration of the ensemble: who votes, and what a quorum is.
//!
//! Every quorum decision reads the latest configuration of [`Configurations`](crate::Configurations) (protocol.md 5.3).
//!
//! A voter is a node id *and* an incarnation. A node that arrives with another incarnation than the recorded one may
//! have lost its promises, so it is served like a learner and never counted (protocol.md 5.8).

use alloc::vec::Vec;

use crate::{
    levels::FIRST_LEVEL,
    message::{Addresses, Genesis, Kind, LogEntry, Voter},
    quorum,
    types::{Incarnation, NodeId, Zxid},
};

mod encoding;

/// The maximum number of voters.
pub const VOTERS_MAX: usize = 7;

/// The maximum number of learners.
pub const LEARNERS_MAX: usize = 100;

/// The role that a learner is to have. It stands in the configuration, so that a new leader continues with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DesiredRole {
    /// It stays a learner.
    Learner,
    /// It is promoted as soon as it may be.
    Voter,
}

/// A member that takes the place of another one: it becomes a voter, and the other one is removed. It stands in the
/// configuration until one of the two is no member any more, so that a new leader continues with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Replacement {
    /// The member that is removed.
    pub old: NodeId,
    /// The member that becomes a voter.
    pub new: NodeId,
}

/// A member that is counted in no quorum.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Learner {
    /// The id.
    pub node: NodeId,
    /// The data directory.
    pub incarnation: Incarnation,
    /// The addresses.
    pub addresses: Addresses,
    /// The role that it is to have.
    pub desired: DesiredRole,
}

/// The members of an ensemble.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Configuration {
    pub(crate) version: Zxid,
    pub(crate) asked_by: Option<NodeId>,
    pub(crate) level: u32,
    pub(crate) voters: Vec<Voter>,
    pub(crate) learners: Vec<Learner>,
    pub(crate) replacements: Vec<Replacement>,
}

impl Configuration {
    /// The first configuration, of these voters, at the first feature level.
    ///
    /// # Panics
    /// If they do not ascend by id.
    pub fn new(voters: Vec<Voter>) -> Configuration {
        assert!(voters.is_sorted_by(|a, b| a.node < b.node), "voters ascend by id");
        Configuration {
            version: Zxid::ZERO,
            asked_by: None,
            level: FIRST_LEVEL,
            voters,
            learners: Vec::new(),
            replacements: Vec::new(),
        }
    }

    /// The configuration of a genesis.
    ///
    /// # Panics
    /// If its voters do not ascend by id.
    pub fn of_genesis(genesis: &Genesis) -> Configuration {
        Configuration { level: genesis.level, ..Configuration::new(genesis.voters.clone()) }
    }

    /// The feature level of the ensemble.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// The zxid of the log entry that contains this configuration; (0, 0) for the genesis. Counters alone do not identify
    /// a configuration: a leader that was deposed may have logged another one at the same counter.
    pub fn version(&self) -> Zxid {
        self.version
    }

    /// The node whose client asked for the change that this configuration is the result of; `None` if a leader made it by
    /// itself, and for the genesis.
    pub fn asked_by(&self) -> Option<NodeId> {
        self.asked_by
    }

    /// The replacements under way, ascending by the id of the new member.
    pub fn replacements(&self) -> &[Replacement] {
        &self.replacements
    }

    /// The member whose place this one takes.
    pub fn replaced_by(&self, new: NodeId) -> Option<NodeId> {
        self.replacements.iter().find(|replacement| replacement.new == new).map(|replacement| replacement.old)
    }

    /// The member that takes the place of this one.
    pub(crate) fn replacement_of(&self, old: NodeId) -> Option<NodeId> {
        self.replacements.iter().find(|replacement| replacement.old == old).map(|replacement| replacement.new)
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

    /// The members, voters and learners, ascending by id.
    pub fn members(&self) -> Vec<Voter> {
        let learner = |learner: &Learner| Voter {
            node: learner.node,
            incarnation: Some(learner.incarnation),
            addresses: learner.addresses.clone(),
        };
        let mut members: Vec<Voter> =
            self.voters.iter().cloned().chain(self.learners.iter().map(learner)).collect();
        members.sort_by_key(|member| member.node);
        members
    }

    /// The recorded addresses of the member with this id and this incarnation.
    pub(crate) fn addresses(&self, node: NodeId, incarnation: Incarnation) -> Option<&Addresses> {
        let learner = self.learner(node).filter(|it| it.incarnation == incarnation).map(|it| &it.addresses);
        self.voter(node, incarnation).map(|voter| &voter.addresses).or(learner)
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
        self.voters.iter().find(|voter| voter.is(node, incarnation))
    }

    /// The recorded incarnation of the voter with this id.
    pub(crate) fn voter_with_id(&self, node: NodeId) -> Option<&Voter> {
        self.voters.iter().find(|voter| voter.node == node)
    }

    /// Whether the node with this incarnation is counted in quorums.
    pub fn is_voter(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.voter(node, incarnation).is_some()
    }

    /// Whether it has a voter, its ids ascend and are not zero, no id is listed twice, and its replacements are of
    /// members, none of which takes part in two.
    pub(crate) fn is_valid(&self) -> bool {
        let twice = |learner: &Learner| self.voter_with_id(learner.node).is_some();
        let zero = NodeId(0);
        self.voters.is_sorted_by(|a, b| a.node < b.node)
            && self.learners.is_sorted_by(|a, b| a.node < b.node)
            && self.voters.first().is_some_and(|first| first.node > zero)
            && self.learners.first().is_none_or(|first| first.node > zero)
            && !self.learners.iter().any(twice)
            && self.replacements.is_sorted_by(|a, b| a.new < b.new)
            && self.replacements.iter().all(|it| {
                let other = |other: &&Replacement| other.old == it.old || other.old == it.new;
                it.old != it.new
                    && self.contains(it.old)
                    && self.contains(it.new)
                    && self.replacements.iter().filter(other).count() == 1
            })
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

impl LogEntry {
    /// The configuration that the entry contains; `None` if it is of another kind, or contains none of its own version.
    pub fn configuration(&self) -> Option<Configuration> {
        let configuration = (self.kind == Kind::Membership).then(|| Configuration::decode(&self.payload))?;
        configuration.filter(|configuration| configuration.version() == self.zxid)
    }
}
