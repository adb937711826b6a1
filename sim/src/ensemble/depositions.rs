//! Leaders deposed on purpose, in the ways in which an old leadership, or an earlier one of the same node, could do
//! harm (rules 21 to 23, section 6.2 of docs/protocol.md). Each is a sequence of faults that is rare by chance:
//!
//! - *Late*: messages to the leader take longer and longer, then messages from it are lost. The followers elect
//!   another, while the old leader still receives what they sent before, across the beginnings of its barrier rounds.
//! - *Abandoned*: all followers lose their connections to the leader at once, and the leader does not learn of it.
//! - *With a minority* (five nodes): the leader is separated with a minority, to which it goes on proposing. When the
//!   others have another leader, the partition heals; when the old leader follows the new one, so that the tail that it
//!   and its minority held is truncated, the new one crashes. So the old one can lead again, without a restart,
//!   followers that hold less than they acknowledged to it before.

use gometa_zab::{NodeId, Role};

use super::Ensemble;
use crate::{
    actions::{Action, Deposition, Stage},
    checkers::{Check, node_id},
    settings::MILLISECOND,
};

/// The time between two checks of a deposition's progress, in microseconds.
const LOOK_EVERY: u64 = 2 * MILLISECOND;
/// The factor by which a sequence of messages is stretched: sent within 1 µs, it arrives within 3.
const STRETCH: u64 = 3;

impl Ensemble {
    /// A leader is deposed, if there is one.
    pub(crate) fn depose(&mut self) {
        if self.faults_ended {
            return;
        }
        self.next(self.settings.process.depose_every, Action::Depose);
        if self.deposition.is_some() {
            return;
        }
        let nodes = self.processes.len();
        let Some(leader) = (0..nodes).find(|node| self.serves(*node) == Some(node_id(*node))) else { return };
        let election = self.settings.election_ms * MILLISECOND;
        let mut others: Vec<usize> = (0..nodes).filter(|node| *node != leader).collect();
        self.machine.shuffle(&mut others);
        if others.is_empty() {
            return;
        }
        let kinds = if nodes >= 5 { 5 } else { 2 };
        let kind = self.machine.below(kinds);
        let lag = election / 2 + self.machine.below(3 * election);
        let (stage, pairs) = match kind {
            0 => {
                for &other in &others {
                    self.network.stretch(self.now, other, leader, STRETCH, lag);
                }
                let until = self.now + lag / (STRETCH - 1);
                (Stage::Stretching { until }, others.iter().map(|other| (leader, *other)).collect())
            }
            1 => {
                self.network.abandon(self.now, leader);
                let leader_hears = self.machine.one_in(2);
                let pairs = if leader_hears {
                    Vec::new()
                } else {
                    others.iter().map(|other| (leader, *other)).collect()
                };
                (Stage::Deposing { hold: self.machine.below(2 * election) }, pairs)
            }
            _ => {
                let minority: Vec<usize> = others.split_off(others.len() - (nodes - 1) / 2 + 1);
                let with_leader = minority.into_iter().chain([leader]);
                let pairs = with_leader
                    .flat_map(|one| others.iter().flat_map(move |other| [(one, *other), (*other, one)]))
                    .collect();
                (Stage::Deposing { hold: 0 }, pairs)
            }
        };
        match kind {
            0 => self.counts.faults.late_depositions += 1,
            1 => self.counts.faults.abandoned_leaders += 1,
            _ => {}
        }
        let what = ["late", "abandoned"].get(kind as usize).copied().unwrap_or("with a minority");
        self.trace.line(self.now, Some(leader), || format!("is deposed: {what}"));
        if let Stage::Deposing { .. } = stage {
            self.cut(&pairs);
        }
        let give_up_at = self.now + lag + 6 * election;
        self.deposition = Some(Deposition { leader, with_minority: kind > 1, stage, pairs, give_up_at });
        self.schedule(self.now + LOOK_EVERY, Action::Deposing);
    }

    /// The next step of a deposition, if it is time for it.
    ///
    /// # Errors
    /// A violation.
    pub(crate) fn deposing(&mut self) -> Check {
        let Some(mut deposition) = self.deposition.take() else { return Ok(()) };
        if self.faults_ended || self.now >= deposition.give_up_at {
            self.end_deposition(&deposition);
            return Ok(());
        }
        let leader = deposition.leader;
        let election = self.settings.election_ms * MILLISECOND;
        match deposition.stage {
            Stage::Stretching { until } if self.now >= until => {
                self.cut(&deposition.pairs);
                // The last of what was sent to the old leader arrives that much later.
                let hold = self.machine.below(3 * election);
                deposition.stage = Stage::Deposing { hold };
            }
            Stage::Deposing { hold } => {
                let new_leader = (0..self.processes.len())
                    .find(|node| *node != leader && self.serves(*node) == Some(node_id(*node)));
                match new_leader {
                    Some(new) if deposition.with_minority => {
                        self.end_deposition(&deposition);
                        deposition.stage = Stage::Rejoining { new };
                        deposition.give_up_at = self.now + 4 * election;
                    }
                    Some(_) => deposition.stage = Stage::Holding { until: self.now + hold },
                    None => {}
                }
            }
            Stage::Holding { until } if self.now >= until => {
                self.end_deposition(&deposition);
                return Ok(());
            }
            Stage::Rejoining { new } => {
                if self.serves(leader) == Some(node_id(new)) {
                    self.counts.faults.deposed_minorities += 1;
                    self.crash(new, false)?;
                    self.start_later(new);
                    return Ok(());
                }
            }
            Stage::Stretching { .. } | Stage::Holding { .. } => {}
        }
        self.deposition = Some(deposition);
        self.schedule(self.now + LOOK_EVERY, Action::Deposing);
        Ok(())
    }

    fn end_deposition(&mut self, deposition: &Deposition) {
        for &(from, to) in &deposition.pairs {
            self.network.unblock(self.now, from, to);
            self.network.unstretch(to, from);
        }
    }

    /// The leader that a node is established with: itself, if it leads.
    pub(super) fn serves(&self, node: usize) -> Option<NodeId> {
        match self.processes[node].role {
            Role::Leading { established: Some(_) } => Some(node_id(node)),
            Role::Following { leader, established: Some(_) } => Some(leader),
            Role::Forming | Role::Looking | Role::Following { .. } | Role::Leading { .. } => None,
        }
    }
}
