//! Changes of the configuration: which of them a leader proposes (protocol.md 5.1 to 5.4).

use alloc::vec::Vec;

use super::Leader;
use crate::{
    configuration::Configuration,
    effect::{ChangeRejection, Notice},
    membership::Change,
    message::{Kind, Voter},
    state::Core,
    types::NodeId,
};

/// The maximum number of entries that a learner may be behind when it is promoted.
const BEHIND_MAX: u64 = 1_000;

impl Leader {
    /// Proposes a change of the configuration, or rejects it.
    pub(super) fn propose_change(&mut self, core: &mut Core, change: &Change) {
        match self.configuration_after(core, change) {
            Ok(next) => {
                let version = self.propose(core, Kind::Membership, next.encode());
                assert_eq!(version, next.version(), "the version is the zxid of the entry");
                core.notice(Notice::ChangeProposed { change: change.clone(), version });
            }
            Err(why) => {
                probe!("members.change-pending", matches!(why, ChangeRejection::Pending(_)));
                probe!("members.transferring", why == ChangeRejection::Transferring);
                probe!("members.own-vote", why == ChangeRejection::OwnVote);
                probe!("members.learner-behind", matches!(why, ChangeRejection::LearnerBehind(_)));
                probe!("members.no-quorum", matches!(why, ChangeRejection::NoQuorum(_)));
                core.notice(Notice::ChangeRejected { change: change.clone(), why });
            }
        }
    }

    /// The configuration after a change, which this leader may propose: it is established, so that the configurations of
    /// its initial history are committed, as is a later one; it keeps its vote; and of the new voters a majority is
    /// connected and up to date, so that the change does not stop the ensemble.
    fn configuration_after(&self, core: &Core, change: &Change) -> Result<Configuration, ChangeRejection> {
        if self.established().is_none() {
            return Err(ChangeRejection::NotLeader);
        }
        if self.is_transferring() {
            return Err(ChangeRejection::Transferring);
        }
        let committed = core.configurations.is_committed(core.commit);
        if !planted!(committed, changes_before_previous_change_is_committed => true) {
            return Err(ChangeRejection::Pending(core.configuration().version()));
        }
        let next = core.configuration().after(change, self.next_zxid(core));
        let next = next.map_err(ChangeRejection::Impossible)?;
        let keeps_vote = next.is_voter(core.me(), core.config.incarnation);
        if !planted!(keeps_vote, proposes_own_removal => true) {
            return Err(ChangeRejection::OwnVote);
        }
        if let Change::Promote(node) = change {
            self.check_learner(core, *node)?;
        }
        let ready = |voter: &Voter| {
            voter.is(core.me(), core.config.incarnation)
                || self.followers.values().any(|progress| progress.is(voter) && progress.is_serving())
        };
        if !next.has_quorum(ready) {
            let missing = next.voters().iter().filter(|voter| !ready(voter));
            let missing: Vec<NodeId> = missing.map(|voter| voter.node).collect();
            return Err(ChangeRejection::NoQuorum(missing));
        }
        Ok(next)
    }

    /// Checks that a learner that is to be promoted is up to date.
    fn check_learner(&self, core: &Core, node: NodeId) -> Result<(), ChangeRejection> {
        let last = core.history.last().counter;
        let recorded = core.configuration().learner(node).map(|learner| learner.incarnation);
        let learner = self.followers.values().find(|progress| {
            progress.node == node && Some(progress.incarnation()) == recorded && progress.is_serving()
        });
        let behind = last - learner.map_or(0, |progress| progress.acked.min(last));
        if learner.is_none() || behind > BEHIND_MAX {
            return Err(ChangeRejection::LearnerBehind(behind));
        }
        Ok(())
    }
}
