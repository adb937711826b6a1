//! Whether so many data directories are lost that the others are no quorum, by what was heard lately: for the status.

use alloc::vec::Vec;

use super::Core;
use crate::{
    configuration::Configuration,
    message::Voter,
    types::{Incarnation, NodeId, Ticks},
};

/// The time for which a node that is not heard again counts as heard, in election timeouts. A node without a leader sends
/// its votes, and dials, at least once in an election timeout.
const HEARD_TIMEOUT: u64 = 3;

impl Core {
    fn is_recent(&self, at: Ticks) -> bool {
        self.now.since(at) <= self.config.timeouts.election * HEARD_TIMEOUT
    }

    /// The incarnations with which a member was heard lately.
    fn incarnations_heard(&self, node: NodeId) -> impl Iterator<Item = Incarnation> + '_ {
        let heard = self.heard.members.get(&node).into_iter().flatten().flatten();
        heard.filter(|(_, at)| self.is_recent(*at)).map(|(incarnation, _)| *incarnation)
    }

    /// Whether the voter, this node or another one, was heard lately with the recorded incarnation.
    pub(crate) fn has_heard(&self, voter: &Voter) -> bool {
        if voter.node == self.me() {
            return voter.incarnation == Some(self.config.incarnation);
        }
        self.incarnations_heard(voter.node).any(|incarnation| voter.incarnation == Some(incarnation))
    }

    /// Whether the recorded data directory of a voter is replaced: the voter was heard lately with other ones only.
    fn is_replaced(&self, voter: &Voter) -> bool {
        let heard = voter.node == self.me() || self.incarnations_heard(voter.node).next().is_some();
        heard && voter.incarnation.is_some() && !self.has_heard(voter)
    }

    /// The voters whose data directories are replaced, if the others are no quorum: no leader can be elected. Empty if they
    /// are a quorum, or if another node was heard lately with a later configuration, which may list other voters.
    pub(crate) fn lost_quorum(&self) -> Vec<NodeId> {
        let configuration: &Configuration = self.configuration();
        let outdated = self
            .heard
            .later
            .is_some_and(|(version, at)| version > configuration.version() && self.is_recent(at));
        let replaced: Vec<&Voter> =
            configuration.voters().iter().filter(|voter| self.is_replaced(voter)).collect();
        let remains = |voter: &Voter| {
            voter.incarnation.is_some() && replaced.iter().all(|other| other.node != voter.node)
        };
        // A node whose own directory is replaced knows the genesis only: another voter must confirm that it is in force.
        let confirmed = configuration.voters().iter().any(|voter| self.has_heard(voter));
        if outdated || !confirmed || self.ensemble().is_none() || configuration.has_quorum(remains) {
            return Vec::new();
        }
        replaced.iter().map(|voter| voter.node).collect()
    }
}
