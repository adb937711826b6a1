//! Leadership transfer: when a leader hands over, and to which voter (protocol.md 6.10).

use alloc::vec::Vec;

use super::Leader;
use crate::{
    effect::{Effect, Notice, Rejection, TransferRejection},
    message::{Candidate, Kind, Message, Voter},
    plans::Transfer,
    progress::Progress,
    space::DiskSpace,
    state::{Core, Next},
    types::{LinkId, NodeId},
};

/// The interval between two transfers that a node begins on its own, in election timeouts.
const INTERVAL: u64 = 10;

/// The time for which a leader's disk is slow before it hands over, in election timeouts.
const SLOW_TIME: u64 = 10;

/// The reason of a transfer because of a slow disk.
const SLOW_DISK: &str = "its disk is slow, those of a quorum are not";

/// The interval between two transfers because of a slow disk, in election timeouts.
const SLOW_INTERVAL: u64 = 600;

/// How many times as fast the disks of a quorum are, at least, if a leader hands over because of its slow disk.
const SLOW_FACTOR: u64 = 5;

impl Leader {
    /// Begins a requested transfer, or rejects it.
    pub(super) fn request_transfer(&mut self, core: &mut Core, to: Option<NodeId>) {
        if let Err(why) = self.begin_transfer(core, to, "its leadership is transferred") {
            probe!("transfer.no-target", why == TransferRejection::NoTarget);
            core.notice(Notice::TransferRejected { to, why });
        }
    }

    /// Begins a transfer because another node should lead; at most once in ten election timeouts, in case that node does not
    /// come to lead. Returns whether it has begun.
    pub(super) fn defer(&mut self, core: &mut Core, why: &'static str) -> bool {
        self.defer_rarely(core, why, INTERVAL)
    }

    fn defer_rarely(&mut self, core: &mut Core, why: &'static str, interval: u64) -> bool {
        let interval = core.config.timeouts.election * interval;
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
        probe!("transfer.slow-disk", why == SLOW_DISK);
        self.transfer = Some(Transfer { to, why, began: core.now });
        core.notice(Notice::TransferBegun { to, why });
        Ok(())
    }

    /// Hands over if this node's disk has been slow for a while, and those of a quorum of others are much faster: then every
    /// write through this node would wait for its disk.
    pub(super) fn check_own_latency(&mut self, core: &mut Core) {
        let own = core.slow_latency();
        let latency = |link: &LinkId| core.links.get(link).map_or(0, |link| link.write_latency);
        let quick = |voter: &Voter| {
            self.followers.iter().any(|(link, progress)| {
                progress.is(voter) && progress.is_serving() && latency(link) * SLOW_FACTOR <= own
            })
        };
        if own == 0 || self.established().is_none() || !core.configuration().has_quorum(quick) {
            self.slow_since = None;
            return;
        }
        let since = *self.slow_since.get_or_insert(core.now);
        let long = core.now.since(since) >= core.config.timeouts.election * SLOW_TIME;
        if planted!(long, leads_on_with_slow_disk => false) {
            self.defer_rarely(core, SLOW_DISK, SLOW_INTERVAL);
        }
    }

    /// Whether proposals wait for the end of a transfer.
    pub(super) fn is_transferring(&self) -> bool {
        planted!(self.transfer.is_some(), proposes_during_transfer => false)
    }

    /// The voter to hand over to: the requested one, or of those whose disks are not slow the one that has acknowledged most,
    /// if it is up to date, has ample disk space and no fault.
    fn target(&self, core: &Core, to: Option<NodeId>) -> Option<&Progress> {
        let is_quick = |link: &LinkId| core.links.get(link).is_some_and(|link| link.write_latency == 0);
        let suits = |(_, progress): &(&LinkId, &Progress)| {
            to.is_none_or(|to| to == progress.node)
                && progress.is_voter(core.configuration())
                && progress.is_serving()
                && progress.space == DiskSpace::Ample
                && self.fault_of(core, progress).is_none()
        };
        let suitable = self.followers.iter().filter(suits);
        let best = suitable.max_by_key(|(link, progress)| (is_quick(link), progress.acked, progress.node));
        best.map(|(_, progress)| progress)
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
        for (id, level, payload) in self.proposals.take_waiting() {
            probe!("transfer.resumes-with-proposals");
            let zxid = self.propose(core, Kind::Command, level, payload);
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
        for (id, ..) in self.proposals.take_waiting() {
            probe!("transfer.rejects-waiting");
            core.effects.push(Effect::Rejected { id, why: Rejection::NotLeader });
        }
    }
}
