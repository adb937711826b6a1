//! Snapshots from the leader (protocol.md 7).

use alloc::{format, string::String};

use super::{Follower, Stage};
use crate::{
    configuration::Configuration,
    effect::{Effect, Notice},
    state::{Core, Next},
    types::{Epoch, Zxid},
};

impl Follower {
    /// A snapshot from the leader is complete: installs it, unless this log ends at or above it. If the log holds the
    /// snapshot's zxid, its entries above may be acknowledged. If it does not, the snapshot is of an older state than this
    /// log: a committed zxid is above the last one of every log that does not hold it.
    pub(crate) fn on_snapshot_received(
        &mut self,
        core: &mut Core,
        at: Zxid,
        configuration: Option<&Configuration>,
    ) -> Next {
        let Stage::Acknowledged { epoch } = self.stage else {
            probe!("install.unexpected");
            core.effects.push(Effect::DiscardSnapshot);
            return Next::Stay;
        };
        if at.epoch > epoch || at.counter == 0 || configuration.is_some_and(|own| own.version() > at) {
            core.effects.push(Effect::DiscardSnapshot);
            return Next::Look("the leader's snapshot has an invalid position");
        }
        let last = core.history.last();
        let released = core.history.released();
        let differs = core.history.epochs().at(at.counter).is_some_and(|own| own != at);
        if at.counter <= released && (at > last || differs) {
            core.effects.push(Effect::DiscardSnapshot);
            core.stop(self.diverged(epoch, format_args!("sends a snapshot at {at}"), released));
        } else if planted!(at > last, replaces_log_that_holds_snapshot => true) {
            probe!("install.replaces-tail", last.counter > at.counter);
            probe!("install.of-empty-node", last == Zxid::ZERO);
            let token = core.install(at, configuration.cloned());
            planted!(installs_senders_hard_state => {
                let hard = crate::effect::HardState { current_epoch: epoch, ..core.hard };
                core.write(crate::effect::Write::HardState(hard));
            });
            self.stage = Stage::Installing { epoch, token };
        } else {
            probe!("install.refused");
            core.effects.push(Effect::DiscardSnapshot);
            core.notice(Notice::SnapshotDiscarded { at, last });
            self.acknowledge(core, epoch);
        }
        Next::Stay
    }

    /// The reason to stop because of what the leader sends, while this node has applied through `released`.
    pub(super) fn diverged(&self, epoch: Epoch, what: core::fmt::Arguments<'_>, released: u64) -> String {
        format!(
            "histories diverged: leader {} of epoch {epoch} {what}, but this node has applied through {released}; keep \
             this data directory and compare it with the others first",
            self.leader
        )
    }
}
