//! Quarantine, as the leader tells it (protocol.md 5.10).

use super::Follower;
use crate::{
    effect::{Effect, Notice},
    integrity::{Fault, IntegrityNotice},
    state::{Core, Next},
    types::Epoch,
};

impl Follower {
    /// The leader says that this node is at fault. Only the leader that this node follows now knows that the ensemble can
    /// do without it, and only this node knows that the fault is still there.
    pub(super) fn on_quarantine(&mut self, core: &mut Core, epoch: Epoch, fault: Fault) -> Next {
        if self.epoch() != Some(epoch) || !self.is_prefix() {
            return Next::Stay;
        }
        if core.integrity.confirms(fault) {
            core.stopped = true;
            core.effects.push(Effect::Quarantine(fault));
        } else {
            core.notice(Notice::Integrity(IntegrityNotice::Refused { fault }));
        }
        Next::Stay
    }
}
