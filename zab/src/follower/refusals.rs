//! A leader that cannot be reached, or refuses this node.

use super::{ATTEMPTS_MAX, Follower, Stage};
use crate::{
    effect::Notice,
    message::Reason,
    state::{Core, Next},
    types::NodeId,
};

impl Follower {
    pub(crate) fn on_connect_failed(&mut self, core: &mut Core, peer: NodeId) -> Next {
        if peer != self.leader || self.link.is_some() {
            return Next::Stay;
        }
        if let Stage::Connecting { attempts, retry_at } = &mut self.stage {
            *attempts += 1;
            if *attempts >= ATTEMPTS_MAX {
                probe!("follow.leader-unreachable");
                return Next::Look("the leader is unreachable");
            }
            *retry_at = Some(core.now.plus(core.config.timeouts.reconnect));
        }
        Next::Stay
    }

    pub(super) fn on_refuse(&mut self, core: &mut Core, reason: Reason) -> Next {
        core.notice(Notice::RefusedBy { peer: self.leader, reason });
        match reason {
            Reason::NotLeading => self.on_not_leading(core),
            Reason::TooSoon => Next::Look("the leader requests a later retry"),
            Reason::SnapshotNeeded
            | Reason::NoCommonPoint
            | Reason::WrongNode
            | Reason::OtherEnsemble
            | Reason::NotAMember
            | Reason::Configuration
            | Reason::Version
            | Reason::NeverFounds
            | Reason::FoundsWithAll
            | Reason::Level => Next::Look("the leader refuses this node"),
        }
    }
}
