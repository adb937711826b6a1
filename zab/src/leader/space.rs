//! Disk space: what a leader may propose, and when it hands over (protocol.md 6.11).

use super::Leader;
use crate::{
    effect::Notice, message::Voter, progress::Progress, space::DiskSpace, state::Core, types::NodeId,
};

/// The interval between two handovers of one node, in election timeouts.
const HANDOVER_INTERVAL: u64 = 10;

impl Leader {
    /// What may be proposed: no more than this node has space for, and than a quorum of connected voters has. With it the
    /// node whose disk decides that.
    pub(crate) fn writable(&self, core: &Core) -> (DiskSpace, NodeId) {
        let space_of = |voter: &Voter| {
            if voter.node == core.me() && core.votes() {
                return Some(core.space);
            }
            self.followers.values().filter(|progress| progress.is(voter)).map(|progress| progress.space).min()
        };
        let quorum_with = |space: DiskSpace| {
            core.configuration().has_quorum(|voter| space_of(voter).is_some_and(|other| other <= space))
        };
        // Without a connected quorum nothing is committed, and the disks are not the reason.
        let quorum = if quorum_with(DiskSpace::Ample) || !quorum_with(DiskSpace::Critical) {
            DiskSpace::Ample
        } else if quorum_with(DiskSpace::Low) {
            DiskSpace::Low
        } else {
            DiskSpace::Critical
        };
        if core.space >= quorum {
            return (core.space, core.me());
        }
        probe!("space.quorum-decides");
        let voters = core.configuration().voters().iter();
        let scarcest = voters.filter_map(|voter| Some((space_of(voter)?, voter.node))).max();
        (quorum, scarcest.map_or(core.me(), |(_, node)| node))
    }

    /// Reports what may be proposed, when it changes.
    pub(super) fn report_writable(&mut self, core: &mut Core) {
        let (space, node) = self.writable(core);
        if space != self.writable {
            self.writable = space;
            core.notice(Notice::DiskSpace { space, node });
        }
    }

    /// Whether another node should lead: this node's disk is short of space, and a voter whose disk is not holds the
    /// whole log. Rarely, in case that voter is not elected.
    pub(super) fn hands_over(&self, core: &Core) -> bool {
        let short = core.space > DiskSpace::Ample;
        if !short || Self::handed_over_recently(core) || self.established().is_none() {
            return false;
        }
        let hands_over = self.has_successor(core, |progress| progress.space == DiskSpace::Ample);
        probe!("space.hands-over", hands_over);
        hands_over
    }

    /// Whether this node has handed over so recently that it should not do so again.
    pub(super) fn handed_over_recently(core: &Core) -> bool {
        let interval = core.config.timeouts.election * HANDOVER_INTERVAL;
        core.handed_over.is_some_and(|at| core.now.since(at) < interval)
    }

    /// Whether a voter that satisfies `suits` holds the whole log.
    pub(super) fn has_successor(&self, core: &Core, suits: impl Fn(&Progress) -> bool) -> bool {
        let last = core.history.last().counter;
        self.followers.values().any(|progress| {
            progress.is_voter(core.configuration())
                && progress.is_serving()
                && progress.acked >= last
                && suits(progress)
        })
    }
}
