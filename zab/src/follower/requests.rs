//! Requests of the upper half on a node that follows.

use super::Follower;
use crate::{
    effect::{ChangeRejection, Effect, Notice, Rejection, TransferRejection},
    event::Event,
    message::Message,
    state::Core,
};

impl Follower {
    /// Answers a request of the upper half that only a leader can serve.
    pub(crate) fn on_request(&mut self, core: &mut Core, event: Event) {
        if let Event::Propose { id, .. } = event {
            core.effects.push(Effect::Rejected { id, why: Rejection::NotLeader });
        } else if let Event::ChangeConfiguration(change) = event {
            core.notice(Notice::ChangeRejected { change, why: ChangeRejection::NotLeader });
        } else if let Event::TransferLeadership { to } = event {
            core.notice(Notice::TransferRejected { to, why: TransferRejection::NotLeader });
        } else if let Event::Barrier { id } = event {
            core.effects.push(Effect::BarrierFailed { id });
        } else if let Event::RelayToLeader(payload) = event {
            probe!("forward.leader-lost", self.established().is_none());
            if self.established().is_some() {
                self.send(core, Message::Relay(payload));
            }
        }
    }
}
