//! Leadership transfer: when a leader hands over, and to which voter (protocol.md 6.10).

use alloc::vec::Vec;

use super::Leader;
use crate::{
    effect::{Effect, Notice, Rejection, TransferRejection},
    message::{Candidate, Kind, Message},
    progress::Progress,
    space::DiskSpace,
    state::{Core, Next},
    types::{LinkId, NodeId, Ticks},
};

/// The interval between two transfers that a node begins on its own, in election timeouts.
const INTERVAL: u64 = 10;

/// A transfer under way: proposals wait until the target has the whole log.
#[derive(Clone, Hash)]
pub(super) struct Transfer {
    /// The requested target; `None` for the best one.
    to: Option<NodeId>,
    /// The reason, as a fixed phrase.
    why: &'static str,
    began: Ticks,
}

impl Leader {
    /// Begins a requested transfer, or rejects it.
    pub(super) fn request_transfer(&mut self, core: &mut Core, to: Option<NodeId>) {
        if let Err(why) = self.begin_transfer(core, to, "its leadership is transferred") {
            probe!("transfer.no-target", why == TransferRejection::NoTarget);
            core.notice(Notice::TransferRejected { to, why });
        }
    }

    /// Begins a transfer because another node should lead; at most once in ten election timeouts, in case that node is not
    /// elected. Returns whether it has begun.
    pub(super) fn defer(&mut self, core: &mut Core, why: &'static str) -> bool {
        let interval = core.config.timeouts.election * INTERVAL;
        let recent = core.handed_over.is_some_and(|at| core.now.since(at) < interval);
        let begun = !recent && self.transfer.is_none() && self.begin_transfer(core, None, why).is_ok();
        if begun {
            core.handed_over = Some(core.now);
        }
        begun
    }

    fn begin_transfer(
        &mut self,
        core: &mut Core,
        to: Option<NodeId>,
        why: &'static str,
    ) -> Result<(), TransferRejection> {
        if self.established().is_none() {
            return Err(TransferRejection::NotLeader);
        }
        if let Some(transfer) = &self.transfer {
            probe!("transfer.requested-twice");
            let same = to.is_none() || to == transfer.to;
            return if same { Ok(()) } else { Err(TransferRejection::UnderWay) };
        }
        if self.target(core, to).is_none() {
            return Err(TransferRejection::NoTarget);
        }
        probe!("transfer.during-change", !core.configurations.is_committed(core.commit));
        self.transfer = Some(Transfer { to, why, began: core.now });
        core.notice(Notice::TransferBegun { to, why });
        Ok(())
    }

    /// Whether proposals wait for the end of a transfer.
    pub(super) fn is_transferring(&self) -> bool {
        planted!(self.transfer.is_some(), proposes_during_transfer => false)
    }

    /// The voter to hand over to: the requested one, or the one that has acknowledged most, if it is up to date, has ample
    /// disk space and no fault.
    fn target(&self, core: &Core, to: Option<NodeId>) -> Option<&Progress> {
        let suits = |progress: &&Progress| {
            to.is_none_or(|to| to == progress.node)
                && progress.is_voter(core.configuration())
                && progress.is_serving()
                && progress.space == DiskSpace::Ample
                && self.fault_of(core, progress).is_none()
        };
        self.followers.values().filter(suits).max_by_key(|progress| (progress.acked, progress.node))
    }

    /// Takes a transfer back that has no target any more, or has taken an election timeout: what waits is proposed.
    pub(super) fn check_transfer(&mut self, core: &mut Core) {
        let Some(transfer) = &self.transfer else { return };
        let late = core.now.since(transfer.began) >= core.config.timeouts.election;
        let why = if planted!(late, never_takes_transfer_back => false) {
            probe!("transfer.too-slow");
            "it takes too long"
        } else if self.target(core, transfer.to).is_none() {
            probe!("transfer.target-lost");
            "no suitable voter is connected"
        } else {
            return;
        };
        self.transfer = None;
        core.notice(Notice::TransferTakenBack { why });
        for (id, payload) in self.proposals.take_waiting() {
            probe!("transfer.resumes-with-proposals");
            let zxid = self.propose(core, Kind::Command, payload);
            core.effects.push(Effect::Proposed { id, zxid });
        }
    }

    /// Hands over if everything is committed and the target has all of it.
    pub(super) fn hand_over(&self, core: &mut Core) -> Next {
        let Some(transfer) = &self.transfer else { return Next::Stay };
        let Some(target) = self.target(core, transfer.to) else { return Next::Stay };
        let (last, node) = (core.history.last(), target.node);
        let complete = core.commit >= last.counter && target.acked >= last.counter;
        if !planted!(complete, hands_over_before_target_has_all => true) {
            probe!("transfer.waits-for-target");
            return Next::Stay;
        }
        let mut told: Vec<(LinkId, NodeId)> = self
            .followers()
            .filter(|(_, progress)| progress.has_promised())
            .map(|(link, it)| (link, it.node))
            .collect();
        told.sort_by_key(|(_, follower)| *follower != node); // The others will connect to the target.
        for (link, _) in told {
            core.send(link, Message::Handoff { epoch: self.epoch, target: node, last });
        }
        core.notice(Notice::HandedOver { epoch: self.epoch, target: node, last });
        let successor = Candidate { epoch: self.epoch, last, node };
        planted!(Next::Succeed(successor), leads_on_after_handoff => Next::Stay)
    }

    /// Rejects the proposals that wait for the end of a transfer: another leader may propose them.
    pub(super) fn reject_waiting(&mut self, core: &mut Core) {
        for (id, _) in self.proposals.take_waiting() {
            probe!("transfer.rejects-waiting");
            core.effects.push(Effect::Rejected { id, why: Rejection::NotLeader });
        }
    }
}
