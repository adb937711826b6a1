//! The end of a leadership that is handed over (protocol.md 6.10).

use super::{ATTEMPTS_MAX, Follower, Stage};
use crate::{
    effect::Notice,
    message::Candidate,
    state::{Core, Next},
    types::{Epoch, NodeId, Zxid},
};

impl Follower {
    /// Follows the node that the leader was handed over to, which may not know of it yet.
    pub(crate) fn of_successor(core: &mut Core, successor: Candidate) -> Follower {
        Follower { refusals_left: ATTEMPTS_MAX, ..Follower::new(core, successor) }
    }

    /// The leader has stepped down. The target leads, the others follow it, without an election: its result would be a hint
    /// too (rule 1). A node that ignored the target as a candidate follows it as well: the leader was connected to it a
    /// moment ago. A node that does not know the target, or holds another history than the one that is handed over, looks for
    /// a leader.
    pub(super) fn on_handoff(&mut self, core: &mut Core, epoch: Epoch, target: NodeId, last: Zxid) -> Next {
        if self.epoch() != Some(epoch) {
            return Next::Stay;
        }
        self.excused = true;
        let known = core.configurations.contains(target);
        let durable = core.candidate().last;
        let fits = if target == core.me() {
            durable == last && core.votes() && !core.may_not_lead()
        } else {
            durable <= last
        };
        probe!("transfer.unknown-target", !known);
        probe!("transfer.does-not-fit", known && !fits);
        if !known || !fits {
            return Next::Look("the leader hands over");
        }
        core.notice(Notice::Handoff { epoch, target });
        Next::Succeed(Candidate { epoch, last, node: target })
    }

    /// The chosen leader does not lead. If the leadership was handed over to it, it may learn of that next.
    pub(super) fn on_not_leading(&mut self, core: &mut Core) -> Next {
        self.excused = true;
        if self.refusals_left == 0 {
            probe!("follow.leader-does-not-lead");
            return Next::Look("the chosen leader does not lead");
        }
        probe!("transfer.follows-early");
        self.refusals_left -= 1;
        if let Some(link) = self.link.take() {
            core.close(link);
        }
        let retry_at = Some(core.now.plus(core.config.timeouts.reconnect));
        self.stage = Stage::Connecting { attempts: 0, retry_at };
        Next::Stay
    }
}
