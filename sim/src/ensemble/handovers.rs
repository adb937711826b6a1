//! Leadership transfers: requested at leaders among the faults, with targets that crash; and one after the faults, which must
//! be quick.

use gometa_node::Event;
use gometa_zab::{Epoch, Event as Zab, NodeId, Voter, Zxid};

use super::{Ensemble, violation};
use crate::{
    actions::Action,
    checkers::{Check, node_id},
    settings::MILLISECOND,
};

/// The reason of a transfer that was requested.
const REQUESTED: &str = "its leadership is transferred";

/// The reason of a transfer because of a slow disk.
const SLOW: &str = "its disk is slow, those of a quorum are not";

/// How many times as fast the disks of a quorum must be.
const SLOW_FACTOR: u64 = 5;

impl Ensemble {
    /// A transfer is requested, mostly at a leader.
    pub(crate) fn transfer(&mut self) {
        if self.faults_ended {
            return;
        }
        self.next(self.settings.process.transfer_every, Action::Transfer);
        let mut asked: Vec<usize> =
            (0..self.processes.len()).filter(|node| self.processes[*node].is_up()).collect();
        if !self.machine.one_in(16) {
            asked.retain(|node| self.processes[*node].leads);
        }
        if asked.is_empty() || !self.formed {
            return;
        }
        let node = asked[self.machine.index(asked.len())];
        for _ in 0..if self.machine.one_in(8) { 2 } else { 1 } {
            let to = self.machine.one_in(2).then(|| node_id(self.machine.index(self.processes.len())));
            self.request_transfer(node, to);
        }
    }

    fn request_transfer(&mut self, node: usize, to: Option<NodeId>) {
        self.trace.line(self.now, Some(node), || format!("is to hand over to {to:?}"));
        self.deliver(node, Event::Zab(Zab::TransferLeadership { to }));
    }

    /// A leader begins to hand over for this reason.
    pub(super) fn defers(&mut self, node: usize, why: &str) {
        self.processes[node].deferred |= why != REQUESTED;
        self.counts.faults.slow_leaders += u64::from(why == SLOW);
    }

    /// Whether a node leads although its disk is slow, and knows that those of a quorum are not. It hands over once in a long
    /// time, so one that has done so may lead again.
    pub(super) fn leads_with_slow_disk(&self, node: usize) -> bool {
        let process = &self.processes[node];
        let Some(state) = process.node.as_ref().filter(|_| self.serves(node) == Some(node_id(node))) else {
            return false;
        };
        let own = state.write_latency_of(node_id(node));
        let follows = |voter: &Voter| {
            let index = self.index(voter.node).filter(|index| self.processes[*index].is_up());
            index.and_then(|index| self.serves(index)) == Some(node_id(node))
        };
        let quick = |voter: &Voter| {
            voter.node != node_id(node)
                && follows(voter)
                && state.write_latency_of(voter.node) * SLOW_FACTOR <= own
        };
        own > 0 && !process.deferred && state.configuration().has_quorum(quick)
    }

    /// A leader has handed over.
    pub(super) fn handed_over(&mut self, node: usize, epoch: Epoch, target: NodeId, last: Zxid) -> Check {
        self.counts.faults.handovers += 1;
        let clock = self.processes[node].clock.at(self.now);
        let target = self.index(target);
        // A directory that was lost since does not hold what was acknowledged.
        let judged = target.filter(|target| {
            self.settings.disk.damage_every == 0
                && self.oracle.is_counted(*target)
                && !self.processes[*target].counted_as_lost
        });
        let holds = judged.map(|target| self.processes[target].disk.durable.last() >= last);
        let election = self.settings.election_ms * MILLISECOND;
        self.oracle.of(node).hands_over(node, (epoch, last), (clock, election), holds)?;
        if self.final_transfer.is_some() {
            self.final_transfer = Some(self.now);
        }
        if let Some(node) = target
            && !self.faults_ended
            && self.settings.process.transfer_every > 0
            && self.machine.one_in(4)
        {
            let at = self.now + self.machine.below(5 * MILLISECOND);
            self.schedule(at, Action::CrashTarget { node });
        }
        Ok(())
    }

    /// The target of a transfer crashes.
    pub(crate) fn crash_target(&mut self, node: usize) -> Check {
        if self.faults_ended || !self.processes[node].is_up() {
            return Ok(());
        }
        self.counts.faults.crashed_targets += 1;
        self.crash(node, false)?;
        self.start_later(node);
        Ok(())
    }

    /// Whether a disk is slow all the time.
    pub(super) fn has_slow_disk(&self) -> bool {
        self.settings.disk.slow_disk.max(self.settings.disk.one_slow_disk) > 0
    }

    /// When everything has come to rest after the faults: one more transfer, in some runs. Returns whether it has begun.
    pub(super) fn begin_final_transfer(&mut self) -> bool {
        if self.settings.process.transfer_every == 0 || self.final_transfer_done || self.has_slow_disk() {
            return false;
        }
        self.final_transfer_done = true;
        let leads =
            |node: &usize| self.processes[*node].is_up() && self.serves(*node) == Some(node_id(*node));
        let Some(node) = (0..self.processes.len()).find(leads) else { return false };
        self.final_transfer = Some(self.now);
        self.request_transfer(node, None);
        true
    }

    /// A leader is established, or none is yet: not too late after the last transfer.
    pub(super) fn check_final_transfer(&mut self, established: bool) -> Check {
        let Some(begun) = self.final_transfer else { return Ok(()) };
        let waited = self.now - begun;
        if waited >= self.settings.election_ms * MILLISECOND {
            return violation("23 transfer", format!("no leader {waited} µs after an undisturbed transfer"));
        }
        if established {
            self.final_transfer = None;
        }
        Ok(())
    }

    /// The last transfer was rejected or taken back.
    pub(super) fn end_final_transfer(&mut self) {
        self.final_transfer = None;
    }
}
