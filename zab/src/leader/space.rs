//! Disk space: what a leader may propose, and when it hands over (protocol.md 6.11).

use super::Leader;
use crate::{effect::Notice, message::Voter, space::DiskSpace, state::Core, types::NodeId};

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

    /// Hands over if this node's disk is short of space and that of another voter is not.
    pub(super) fn check_own_space(&mut self, core: &mut Core) {
        let short = core.space > DiskSpace::Ample && self.established().is_some();
        if short && self.defer(core, "its disk is short of space, that of another voter is not") {
            probe!("space.hands-over");
        }
    }
}
