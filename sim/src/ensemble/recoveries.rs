//! Losses of a majority, and how an operator founds the ensemble anew (docs/operations.md, *Losing a majority*).
//!
//! A majority of the voters stops, and with it every other node but the survivors. The operator compares these, founds the
//! ensemble anew on the best one, with the code of `gometa-server -recover`, and starts it. Sometimes the program ends in the
//! midst of that, and is run again. Every other node joins with an empty directory, now or later; some start with their old
//! one before, but never so many that they could go on with the earlier history; some never come back.
//!
//! All of it is drawn from a stream of its own, so that a run without recoveries is what it was before there were any.

use gometa_node::OpenSessions;
use gometa_proto::v1::{self, request::Operation};
use gometa_store::{Space, Table as _};
use gometa_zab::{HardState, NotRefounded, Recovered, Write, next_history, position, refound};

use super::{Ensemble, violation};
use crate::{
    actions::{Action, Recovering},
    checkers::{Check, Violation, node_id},
    disk::{End, Image},
    recoveries::Records,
    settings::{MILLISECOND, SECOND},
};

/// The time between two looks of the operator at the nodes that join, in microseconds.
const LOOK_EVERY: u64 = 200 * MILLISECOND;
/// The deadline of the operator's requests, in milliseconds.
const DEADLINE_MS: u32 = 2_000;

impl Ensemble {
    /// The history that a node belongs to, while its process runs.
    pub(super) fn history_of(&self, node: usize) -> Option<u64> {
        self.processes[node].node.as_ref()?.ensemble().map(|ensemble| ensemble.history)
    }

    /// Whether a client uses a node of this history: not if it knows a later one.
    pub(super) fn may_use(&self, client: usize, history: Option<u64>) -> bool {
        self.settings.process.recoveries == 0 || self.workload.history_of(client) <= history
    }

    /// Whether a node joins an ensemble that was founded anew, whatever its configuration lists.
    pub(super) fn joins_anew(&self, node: usize) -> bool {
        self.oracle.recoveries() > 0 && !self.oracle.is_left_behind(node)
    }

    /// Whether the operator is not done with what a node or the ensemble needs.
    pub(super) fn is_recovering(&self) -> bool {
        !self.recoveries.survivors.is_empty() || self.recoveries.due > 0
    }

    /// A node that joins, and is no voter yet.
    pub(super) fn joining(&self) -> Option<usize> {
        self.recoveries.joining.first().copied()
    }

    /// The first loss, if there is to be one.
    pub(super) fn schedule_loss(&mut self) {
        if self.recoveries.left > 0 {
            let wait = self.recoveries.random.between(2 * SECOND, self.settings.fault_time / 2);
            self.step_after(wait, Recovering::Lose);
        }
    }

    fn step_after(&mut self, wait: u64, step: Recovering) {
        self.recoveries.due += usize::from(matches!(step, Recovering::Start(_) | Recovering::Rejoin(_)));
        let number = self.recoveries.number;
        self.schedule(self.now + wait, Action::Recovery { number, step });
    }

    fn step_within(&mut self, wait_max: u64, step: Recovering) {
        let wait = self.recoveries.random.below(wait_max);
        self.step_after(wait, step);
    }

    /// The next step of a recovery.
    ///
    /// # Errors
    /// A violation.
    pub(crate) fn recover_from_loss(&mut self, number: u32, step: Recovering) -> Check {
        if number != self.recoveries.number {
            return Ok(());
        }
        match step {
            Recovering::Lose => self.lose_majority(),
            Recovering::Refound => self.found_anew(),
            Recovering::Start(node) => {
                self.recoveries.due -= 1;
                self.processes[node].stopped = false;
                self.counts.faults.left_behind += u64::from(self.oracle.is_left_behind(node));
                self.start(node)
            }
            Recovering::Rejoin(node) => {
                self.recoveries.due -= 1;
                self.rejoin(node)
            }
            Recovering::Look => {
                self.look_after_joining();
                Ok(())
            }
        }
    }

    // ---- The loss

    fn lose_majority(&mut self) -> Check {
        if self.faults_ended {
            return Ok(());
        }
        let Some(survivors) = self.choose_survivors() else {
            self.step_within(500 * MILLISECOND, Recovering::Lose);
            return Ok(());
        };
        self.trace.line(self.now, None, || format!("all but {survivors:?} are lost for good"));
        self.counts.faults.lost_majorities += 1;
        let recoveries = &mut self.recoveries;
        (recoveries.left, recoveries.number) = (recoveries.left - 1, recoveries.number + 1);
        (recoveries.due, recoveries.survivors) = (0, survivors);
        recoveries.joining.clear();
        recoveries.revived.clear();
        let power_lost = recoveries.random.one_in(2);
        for node in 0..self.processes.len() {
            if !self.recoveries.survivors.contains(&node) {
                self.crash(node, power_lost)?;
                self.processes[node].stopped = true;
            }
        }
        self.step_within(2 * SECOND, Recovering::Refound);
        Ok(())
    }

    /// Voters that are no majority, by no configuration that may be in force.
    fn choose_survivors(&mut self) -> Option<Vec<usize>> {
        let (mut present, voters) = self.oracle.present_voters();
        present.retain(|node| !self.processes[*node].stopped);
        let quorum = voters / 2 + 1;
        if !self.formed || present.len() < quorum || voters < 2 {
            return None;
        }
        let random = &mut self.recoveries.random;
        random.shuffle(&mut present);
        let count = if random.one_in(4) { random.between(1, quorum as u64 - 1) as usize } else { quorum - 1 };
        present.truncate(count);
        (!self.oracle.can_elect(&present, false)).then_some(present)
    }

    // ---- The operator

    /// The operator stops the survivors, compares them, and founds the ensemble anew on the best one.
    fn found_anew(&mut self) -> Check {
        let survivors = std::mem::take(&mut self.recoveries.survivors);
        let mut compared: Vec<(usize, Image)> = Vec::new();
        let mut candidates = Vec::new();
        for &node in &survivors {
            self.crash(node, false)?;
            let process = &mut self.processes[node];
            process.stopped = true;
            process.disk.set_full(false);
            let recovered = self.open(node)?;
            let disk = &mut self.processes[node].disk;
            if refound(&recovered, (node_id(node), disk.incarnation), 0).is_ok() {
                candidates.push((position(&recovered), node));
            }
            compared.push((node, disk.durable.clone()));
            disk.close();
            self.oracle.of(node).hardened(node, &compared[compared.len() - 1].1)?;
        }
        let Some((_, node)) = candidates.into_iter().max() else {
            // None of them is a voter as far as it knows. The others are not lost after all.
            for node in 0..self.processes.len() {
                self.step_within(SECOND, Recovering::Start(node));
            }
            return Ok(());
        };
        let before = compared.iter().find(|(other, _)| *other == node).map(|(_, image)| image.clone());
        let before = before.unwrap_or_default();
        self.oracle.chooses((node, &before), &compared)?;
        self.trace.line(self.now, Some(node), || format!("is founded anew, at {}", before.last()));
        self.write_recovery(node)?;
        self.counts.faults.recoveries += 1;
        self.begin_history(node, before.log.len(), before.hard_state)?;
        self.step_within(500 * MILLISECOND, Recovering::Start(node));
        self.decide_about_others(node);
        self.step_after(LOOK_EVERY, Recovering::Look);
        if self.recoveries.left > 0 {
            let wait = self.recoveries.random.between(500 * MILLISECOND, 4 * SECOND);
            self.step_after(wait, Recovering::Lose);
        }
        Ok(())
    }

    /// A program opens the directory of a stopped node.
    fn open(&mut self, node: usize) -> Result<Recovered, Violation> {
        let opened = self.processes[node].disk.recover();
        opened.map_err(|refused| Violation {
            invariant: "27 recovery",
            detail: format!("the disk of n{node} has kept its promises, and cannot be opened: {refused:?}"),
        })
    }

    /// Writes what founds the ensemble anew; sometimes the first attempts end in the midst of it.
    fn write_recovery(&mut self, node: usize) -> Check {
        let random = &mut self.recoveries.random;
        let interruptions = if random.one_in(3) { random.between(1, 3) } else { 0 };
        for attempt in 0..=interruptions {
            let recovered = self.open(node)?;
            let disk = &mut self.processes[node].disk;
            let history = recovered.founding.as_ref().map_or(0, |founding| founding.genesis.ensemble.history);
            let history = next_history(history, self.recoveries.random.word() as u32);
            let records = match refound(&recovered, (node_id(node), disk.incarnation), history) {
                Ok(records) => records,
                // An earlier attempt has written all of it.
                Err(NotRefounded::Alone) if attempt > 0 => {
                    disk.close();
                    break;
                }
                Err(why) => return violation("27 recovery", format!("n{node} is a survivor, and {why:?}")),
            };
            let mut sessions = OpenSessions::default();
            let mut wrong = None;
            disk.table.scan(Space::Session, &mut |key, _| {
                wrong = wrong.or(sessions.add_recorded(key).err());
            });
            let logged = disk.durable.log.iter().skip(recovered.applied as usize);
            logged.cloned().for_each(|entry| sessions.add_logged(entry));
            let mut entries = records.entries;
            let end = records.hard_state.current_epoch;
            let end = entries
                .last()
                .map_or(gometa_zab::Zxid { epoch: end, counter: disk.durable.log.len() as u64 }, |entry| {
                    entry.zxid
                });
            entries.extend(sessions.end_behind(end, gometa_zab::FIRST_LEVEL));
            let mut writes = vec![Write::HardState(records.hard_state), Write::Founding(records.founding)];
            writes.extend((!entries.is_empty()).then_some(Write::Append(entries)));
            let interrupted = (attempt < interruptions)
                .then(|| if self.recoveries.random.one_in(2) { End::PowerLost } else { End::Killed });
            self.counts.faults.interrupted_recoveries += u64::from(interrupted.is_some());
            let written = disk.write_once(writes, interrupted);
            let torn = disk.is_torn();
            self.trace.line(self.now, Some(node), || {
                format!("recovery to history {history}, interrupted: {interrupted:?}, {written:?}")
            });
            if let Err(failed) = written {
                return violation("27 recovery", format!("n{node} has a sound disk, and: {failed:?}"));
            }
            if torn || wrong.is_some() {
                let detail = format!("n{node} holds a part of what founds the ensemble anew: {wrong:?}");
                return violation("27 recovery", detail);
            }
        }
        Ok(())
    }

    /// The oracle and the judge of the clients' histories learn what the new history begins with.
    fn begin_history(&mut self, node: usize, old: usize, before: HardState) -> Check {
        let image = self.processes[node].disk.durable.clone();
        self.oracle.refounds(node, &image, old, before)?;
        let records = self.workload.keys().map(|key| {
            let (value, revision) = self.oracle.record(&key)?;
            Some((<[u8; 8]>::try_from(&value[..]).map_or(0, u64::from_be_bytes), revision))
        });
        let records: Records = records.collect();
        if let Some(founding) = &image.founding {
            self.recoveries.first.insert(founding.genesis.ensemble.history, records);
        }
        Ok(())
    }

    /// Decides about all other nodes.
    fn decide_about_others(&mut self, founder: usize) {
        let mut others: Vec<usize> = (0..self.processes.len()).filter(|node| *node != founder).collect();
        self.recoveries.random.shuffle(&mut others);
        for node in others {
            let founding = self.processes[node].disk.durable.founding.as_ref();
            let has_data = founding.is_some_and(|founding| founding.sealed);
            let mut wait = self.recoveries.random.below(2 * SECOND);
            if has_data && self.recoveries.random.one_in(2) && self.may_be_revived(node) {
                self.recoveries.revived.push(node);
                self.step_within(SECOND, Recovering::Start(node));
                wait += SECOND;
            } else if self.recoveries.random.one_in(10) {
                // It never comes back.
                continue;
            }
            self.step_after(wait, Recovering::Rejoin(node));
        }
    }

    /// Whether a node may start with the data of an earlier history: it must not make a majority with others that do.
    fn may_be_revived(&self, node: usize) -> bool {
        let oracle = self.oracle.at(node);
        let same = |other: &usize| std::ptr::eq(self.oracle.at(*other), oracle);
        let with: Vec<usize> = self.recoveries.revived.iter().copied().filter(same).chain([node]).collect();
        self.oracle.is_left_behind(node) && !oracle.can_elect(&with, true)
    }

    /// A node gets an empty directory, and joins.
    fn rejoin(&mut self, node: usize) -> Check {
        let power_lost = self.recoveries.random.one_in(2);
        self.crash(node, power_lost)?;
        self.processes[node].disk.set_full(false);
        self.wipe(node);
        let process = &mut self.processes[node];
        (process.counted_as_lost, process.replaced) = (false, false);
        self.recoveries.revived.retain(|other| *other != node);
        if node < self.voters().len() || self.recoveries.random.one_in(2) {
            self.recoveries.joining.insert(node);
        }
        self.start(node)
    }

    /// What the nodes that join need: a request at the leader, and addresses of members.
    fn look_after_joining(&mut self) {
        for node in self.recoveries.joining.clone() {
            if self.oracle.is_counted(node) {
                self.recoveries.joining.remove(&node);
                self.counts.faults.rejoined += 1;
                continue;
            }
            let mut nodes = 0..self.processes.len();
            let leader = nodes.find(|other| {
                self.processes[*other].is_up()
                    && !self.oracle.is_left_behind(*other)
                    && self.serves(*other) == Some(node_id(*other))
            });
            if let Some(leader) = leader {
                if !self.oracle.is_member(node) {
                    self.ask_for(leader, self.request_to_join(node), DEADLINE_MS);
                } else if self.oracle.stays_learner(node) {
                    let promote = v1::PromoteMember { node: node_id(node).0, follows: None };
                    self.ask_for(leader, Operation::PromoteMember(promote), DEADLINE_MS);
                }
            }
            self.hint(node);
        }
        if self.is_recovering() || self.joining().is_some() {
            self.step_after(LOOK_EVERY, Recovering::Look);
        }
    }
}
