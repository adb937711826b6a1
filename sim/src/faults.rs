//! When which fault happens, and the faults themselves.

use gometa_zab::Incarnation;

use crate::{
    checkers::Check,
    ensemble::{Action, Ensemble},
    settings::MILLISECOND,
};

impl Ensemble {
    /// The first fault of each kind.
    pub(crate) fn schedule_faults(&mut self) {
        self.next_partition();
        self.next_crash();
        self.next_pause();
        if self.settings.process.early_crashes {
            // While the ensemble forms, which takes a moment only.
            for _ in 0..4 {
                let at = self.now + self.machine.below(400 * MILLISECOND);
                self.schedule(at, Action::EarlyCrash);
            }
        }
    }

    fn next_partition(&mut self) {
        let every = self.settings.network.partition_every;
        if every > 0 && !self.calm {
            let at = self.now + self.network.random().around(every);
            self.schedule(at, Action::Partition);
        }
    }

    fn next_crash(&mut self) {
        let every = self.settings.process.crash_every;
        if every > 0 && !self.calm {
            let at = self.now + self.machine.around(every);
            self.schedule(at, Action::Crash);
        }
    }

    fn next_pause(&mut self) {
        let every = self.settings.process.pause_every;
        if every > 0 && !self.calm {
            let at = self.now + self.machine.around(every);
            self.schedule(at, Action::Pause);
        }
    }

    /// Cuts some links, and lets them heal in another order.
    pub(crate) fn partition(&mut self) {
        if self.calm {
            return;
        }
        self.next_partition();
        let nodes = self.processes.len();
        if nodes < 2 {
            return;
        }
        let random = self.network.random();
        let mut order: Vec<usize> = (0..nodes).collect();
        random.shuffle(&mut order);
        let kind = random.below(6);
        let cut = random.between(1, nodes as u64 - 1) as usize;
        let mut pairs = Vec::new();
        for (i, &one) in order.iter().enumerate() {
            for (j, &other) in order.iter().enumerate() {
                let between = match kind {
                    // One node alone.
                    0 => i != j && (i == 0 || j == 0),
                    // Two halves.
                    1 => (i < cut) != (j < cut),
                    // Two halves, and one node that reaches both.
                    2 => i != 0 && j != 0 && i != j && (i <= cut) != (j <= cut),
                    // One way: one node is not heard.
                    3 => i == 0 && j != 0,
                    // One way: one node does not hear.
                    4 => i != 0 && j == 0,
                    // Any links.
                    _ => i != j && random.one_in(3),
                };
                if between {
                    pairs.push((one, other));
                }
            }
        }
        if pairs.is_empty() {
            return;
        }
        self.counts.partitions += 1;
        self.trace.say(self.now, None, || format!("partition: {pairs:?} are cut"));
        let max = self.settings.network.partition_max;
        let random = self.network.random();
        let until = self.now + random.around(max / 2);
        let together = random.one_in(2);
        random.shuffle(&mut pairs);
        let mut ends: Vec<u64> = pairs.iter().map(|_| until + random.below(max / 2 + 1)).collect();
        ends.sort_unstable();
        for &(from, to) in &pairs {
            self.network.block(from, to);
        }
        if together {
            self.schedule(until, Action::Heal { pairs });
        } else {
            for (pair, end) in pairs.into_iter().zip(ends) {
                self.schedule(end, Action::Heal { pairs: vec![pair] });
            }
        }
    }

    /// One node crashes, or all.
    pub(crate) fn random_crash(&mut self) -> Check {
        if self.calm {
            return Ok(());
        }
        self.next_crash();
        self.crash_some()
    }

    /// One node crashes, or all, if there is no ensemble yet.
    pub(crate) fn early_crash(&mut self) -> Check {
        if self.formed { Ok(()) } else { self.crash_some() }
    }

    fn crash_some(&mut self) -> Check {
        let nodes = self.processes.len();
        let blackout = self.machine.chance(self.settings.process.blackout);
        let chosen = self.machine.index(nodes);
        let power_lost = self.machine.one_in(2);
        for node in 0..nodes {
            if !(blackout || node == chosen) || !self.processes[node].is_up() {
                continue;
            }
            let down = match self.machine.below(3) {
                0 => self.machine.below(5 * MILLISECOND),
                _ => self.machine.below(self.settings.process.down_max.max(1)),
            };
            let wipe = !blackout && self.machine.chance(self.settings.process.wipe);
            if !wipe && self.machine.one_in(3) {
                // In the midst of a step's effects, soon.
                let effects = self.machine.below(12) as u32;
                self.processes[node].dies_after = Some(effects);
                continue;
            }
            self.crash(node, power_lost)?;
            if wipe && self.formed && (self.counts.wipes as usize) < self.settings.wipes_max() {
                self.wipe(node);
            }
            let at = self.now + down;
            self.schedule(at, Action::Start { node });
        }
        Ok(())
    }

    /// A node is about to send a message of discovery or synchronisation: perhaps it crashes before that, or soon
    /// after. Nodes that were paused go on then, among them perhaps a leader that others have given up already; and
    /// sometimes this was the last of all faults, so that nothing else covers what it has left behind.
    pub(crate) fn ambush(&mut self, node: usize) {
        let share = self.settings.process.ambush;
        if share == 0 || self.calm || self.processes[node].dies_after.is_some() || !self.machine.chance(share)
        {
            return;
        }
        self.counts.ambushes += 1;
        let effects = self.machine.below(3) as u32;
        self.processes[node].dies_after = Some(effects);
        for node in 0..self.processes.len() {
            if self.processes[node].is_up() && self.processes[node].paused_until > self.now {
                let life = self.processes[node].life;
                let at = self.now + self.machine.below(20 * MILLISECOND);
                self.schedule(at, Action::Resume { node, life });
            }
        }
        if self.formed && self.now > self.settings.fault_time / 2 && self.machine.one_in(4) {
            let at = self.now + MILLISECOND + self.machine.below(50 * MILLISECOND);
            self.schedule(at, Action::Calm);
        }
    }

    /// One node is paused.
    pub(crate) fn random_pause(&mut self) {
        if self.calm {
            return;
        }
        self.next_pause();
        let node = self.machine.index(self.processes.len());
        let time = self.machine.below(self.settings.process.pause_max.max(1));
        self.pause(node, time);
    }

    /// Stops a node's process for a while, as SIGSTOP does.
    pub fn pause(&mut self, node: usize, time: u64) {
        let process = &mut self.processes[node];
        if !process.is_up() || process.paused_until > self.now {
            return;
        }
        process.paused_until = self.now + time;
        let life = process.life;
        self.counts.pauses += 1;
        self.trace.say(self.now, Some(node), || format!("is paused for {time} µs"));
        self.schedule(self.now + time, Action::Resume { node, life });
    }

    /// Ends a node's process. What was not durable is lost, from some write on.
    ///
    /// # Errors
    /// A violation.
    pub fn crash(&mut self, node: usize, power_lost: bool) -> Check {
        let process = &mut self.processes[node];
        if !process.is_up() {
            return Ok(());
        }
        let planned = process.dies_after.take().is_some();
        process.node = None;
        process.inbox.clear();
        process.waking = false;
        let lost = process.disk.crash(&mut self.machine);
        self.counts.lost_tails += u64::from(lost.entries > 0);
        self.counts.lucky_tails += u64::from(lost.kept > 0);
        self.counts.early_crashes += u64::from(!self.formed);
        self.trace.mix(lost.writes as u64);
        self.trace.say(self.now, Some(node), || format!("crashes (power lost: {power_lost}), {lost:?}"));
        self.network.host_down(self.now, node, power_lost);
        let gone = self.links.node_down(self.now, self.workload.random(), node, power_lost);
        for client in gone {
            self.oracle.unasked(client, None);
        }
        if planned {
            let at = self.now + self.machine.below(self.settings.process.down_max.max(1));
            self.schedule(at, Action::Start { node });
        }
        Ok(())
    }

    /// Makes every sync of a node's disk fail, which ends its process, or none; a process that has ended so is
    /// started again after a while, as by its supervisor.
    pub fn set_disk_failing(&mut self, node: usize, failing: bool) {
        self.processes[node].disk.set_failing(failing);
    }

    /// Replaces the directory of a node whose process does not run.
    ///
    /// # Panics
    /// If it runs.
    pub fn wipe(&mut self, node: usize) {
        assert!(!self.processes[node].is_up(), "a directory is replaced while nobody uses it");
        let incarnation = Incarnation(self.machine.wide());
        self.processes[node].disk.wipe(incarnation);
        self.oracle.wiped(node);
        self.counts.wipes += 1;
        self.trace.say(self.now, Some(node), || "has lost its directory".to_owned());
    }
}
