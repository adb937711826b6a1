//! Divergence: which node is at fault, and when it is told to go into quarantine (protocol.md 5.10).

use alloc::{boxed::Box, vec::Vec};

use super::Leader;
use crate::{
    comparison::Ordered,
    configuration::DesiredRole,
    effect::Notice,
    integrity::{Fault, IntegrityNotice, StateHash, StateHashes},
    message::{Message, Voter},
    progress::Progress,
    state::Core,
    types::{LinkId, NodeId},
};

/// The time that a node is given to come back from quarantine before another one is told to go, in election timeouts.
const RETURN_TIME: u64 = 600;

/// The interval between two notices of what this leader can do nothing about, in microseconds.
const NOTICE_INTERVAL: u64 = 60_000_000;

impl Leader {
    /// Compares the states once per heartbeat interval. Tells at most one node at a time to go into quarantine, and hands
    /// over if this node itself is at fault: it goes when the next leader tells it.
    pub(super) fn compare_states(&mut self, core: &mut Core) {
        if self.established().is_none() || core.now < self.comparison.next {
            return;
        }
        self.comparison.next = core.now.plus(core.config.timeouts.heartbeat);
        if core.integrity.fault.is_none() {
            core.integrity.fault = self.divergence(core, &core.integrity.hashes);
        }
        if let Some(fault) = core.integrity.fault {
            if self.defer(core, "its state is damaged") {
                probe!("integrity.hands-over");
                core.notice(Notice::Integrity(IntegrityNotice::AtFault { node: core.me(), fault }));
                return;
            }
            self.notice_rarely(core, IntegrityNotice::Waits { node: core.me(), fault });
        }
        self.forget_returned(core);
        let followers = self.followers();
        let faults: Vec<(LinkId, NodeId, Fault)> = followers
            .filter_map(|(link, progress)| Some((link, progress, self.fault_of(core, progress)?)))
            // The order is repeated only when another fault of the follower is known.
            .filter(|(_, progress, fault)| progress.unconfirmed != Some(*fault))
            .map(|(link, progress, fault)| (link, progress.node, fault))
            .collect();
        for (link, node, fault) in faults {
            if self.may_leave(core, node) {
                self.order_quarantine(core, link, fault);
            } else if !self.is_ordered(link) {
                probe!("integrity.waits");
                self.notice_rarely(core, IntegrityNotice::Waits { node, fault });
            }
        }
        if let Some(counter) = self.undecided(core) {
            probe!("integrity.no-majority");
            self.notice_rarely(core, IntegrityNotice::StatesDiffer { counter });
        }
    }

    fn order_quarantine(&mut self, core: &mut Core, link: LinkId, fault: Fault) {
        let Some(progress) = self.followers.get(&link) else { return };
        let (node, incarnation) = (progress.node, progress.incarnation());
        probe!("integrity.quarantines-learner", !core.configuration().is_voter(node, incarnation));
        let (at, heartbeat) = (core.now, self.heartbeat);
        self.comparison.ordered = Some(Box::new(Ordered { node, incarnation, link, at, fault, heartbeat }));
        core.notice(Notice::Integrity(IntegrityNotice::AtFault { node, fault }));
        core.send(link, Message::Quarantine { epoch: self.epoch, fault });
    }

    fn notice_rarely(&mut self, core: &mut Core, notice: IntegrityNotice) {
        if self.comparison.noticed.is_none_or(|at| core.now.since(at) >= NOTICE_INTERVAL) {
            self.comparison.noticed = Some(core.now);
            core.notice(Notice::Integrity(notice));
        }
    }

    // ---- Comparison

    /// The state hash of a voter at a counter, if it has reported it.
    fn hash_of(&self, core: &Core, voter: &Voter, counter: u64) -> Option<u128> {
        if voter.node == core.me() && core.votes() {
            return core.integrity.hashes.at(counter);
        }
        let is_voter = |progress: &&Progress| {
            planted!(
                progress.is(voter),
                compares_hashes_without_incarnation => progress.node == voter.node
            )
        };
        self.followers.values().filter(is_voter).find_map(|progress| progress.hashes.at(counter))
    }

    /// The state hash that a majority of all voters has at a counter.
    fn majority(&self, core: &Core, counter: u64) -> Option<u128> {
        let voters = core.configuration().voters();
        let known: Vec<u128> = voters.iter().filter_map(|voter| self.hash_of(core, voter, counter)).collect();
        known.iter().copied().find(|hash| {
            let count = known.iter().filter(|other| *other == hash).count();
            planted!(
                crate::quorum::is_quorum(count, voters.len()),
                compares_connected_voters_only => crate::quorum::is_quorum(count, known.len())
            )
        })
    }

    /// The fault of a node with these state hashes, if a majority of all voters differs from one of them.
    fn divergence(&self, core: &Core, hashes: &StateHashes) -> Option<Fault> {
        hashes.latest_first().find_map(|own| {
            let hash = self.majority(core, own.counter)?;
            (hash != own.hash).then_some(Fault::Diverged(StateHash { hash, ..own }))
        })
    }

    /// The fault of a follower. A follower that has not acknowledged NewLeader may receive another state.
    pub(super) fn fault_of(&self, core: &Core, progress: &Progress) -> Option<Fault> {
        if let Some(acknowledged) = progress.outdated {
            // It follows this leader from Diff on.
            return progress.is_streamed().then_some(Fault::Outdated { acknowledged });
        }
        if !progress.is_counted() {
            return None;
        }
        if progress.damaged {
            return Some(Fault::Damaged);
        }
        self.divergence(core, &progress.hashes)
    }

    /// The last counter at which this node differs from a voter, all connected voters have reported their hashes, and no
    /// majority of all voters has the same one.
    fn undecided(&self, core: &Core) -> Option<u64> {
        let voters = core.configuration().voters();
        core.integrity.hashes.latest_first().map(|own| own.counter).find(|&counter| {
            let missing = self.followers.values().any(|progress| {
                progress.is_voter(core.configuration())
                    && progress.is_serving()
                    && progress.hashes.at(counter).is_none()
            });
            let mut hashes = voters.iter().filter_map(|voter| self.hash_of(core, voter, counter));
            let first = hashes.next();
            !missing && hashes.any(|hash| Some(hash) != first) && self.majority(core, counter).is_none()
        })
    }

    // ---- One node at a time

    /// Whether this follower was told to go into quarantine on this connection.
    fn is_ordered(&self, link: LinkId) -> bool {
        self.comparison.ordered.as_ref().is_some_and(|ordered| ordered.link == link)
    }

    /// Forgets the node that was ordered into quarantine: when it has not confirmed the fault and goes on, when it is back,
    /// when it has connected again as it was, or when it is not expected any more.
    fn forget_returned(&mut self, core: &Core) {
        let Some(ordered) = &self.comparison.ordered else { return };
        if let Some(progress) = self.followers.get_mut(&ordered.link)
            && progress.heartbeat_acked > ordered.heartbeat
        {
            progress.unconfirmed = Some(ordered.fault);
            self.comparison.ordered = None;
            return;
        }
        let is_back = |link: LinkId, progress: &Progress| {
            let same = progress.incarnation() == ordered.incarnation;
            if same { link != ordered.link } else { progress.is_serving() }
        };
        let returned =
            self.followers().any(|(link, progress)| progress.node == ordered.node && is_back(link, progress));
        if returned || core.now.since(ordered.at) > core.config.timeouts.election * RETURN_TIME {
            self.comparison.ordered = None;
        }
    }

    /// Whether a node may be told to go now: no other one is on its way back from quarantine, and a majority of all voters
    /// is connected and up to date without it.
    fn may_leave(&self, core: &Core, node: NodeId) -> bool {
        let configuration = core.configuration();
        let to_vote = |node| {
            configuration.voter_with_id(node).is_some()
                || configuration.learner(node).is_some_and(|learner| learner.desired != DesiredRole::Learner)
        };
        // While a change is not committed, voters of two configurations may be needed.
        let returning = self.comparison.ordered.is_some()
            || !core.configurations.is_committed(core.commit)
            || self.followers.values().any(|progress| {
                progress.node != node
                    && to_vote(progress.node)
                    && !progress.is_voter(configuration)
                    && !progress.is_serving()
            });
        let majority = core.configuration().has_quorum(|voter| {
            voter.node != node
                && ((voter.node == core.me() && core.votes())
                    || self.followers.values().any(|progress| progress.is(voter) && progress.is_serving()))
        });
        planted!(!returning, quarantines_two_nodes_at_once => true)
            && planted!(majority, quarantines_without_majority => true)
    }
}
