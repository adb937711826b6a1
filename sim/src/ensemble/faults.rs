//! When which fault happens, and the faults themselves.

use gometa_zab::{DiskSpace, Incarnation};

use super::Ensemble;
use crate::{
    actions::Action,
    checkers::Check,
    disk::{End, Lost},
    settings::MILLISECOND,
    transfers::Transfers,
};

impl Ensemble {
    /// The first fault of each kind.
    pub(crate) fn schedule_faults(&mut self) {
        self.next_partition();
        let (process, disk) = (self.settings.process.clone(), self.settings.disk.clone());
        self.next(process.crash_every, Action::Crash);
        self.next(process.pause_every, Action::Pause);
        self.next(disk.full_every, Action::Fill);
        self.next(disk.space_every, Action::Space);
        self.next(disk.damage_every, Action::Damage);
        self.next(disk.alter_every, Action::Alter);
        for node in 0..self.processes.len() {
            self.next(disk.scrub_every, Action::Scrub { node });
        }
        self.next(process.depose_every, Action::Depose);
        self.next(process.change_every, Action::Change);
        self.next(process.transfer_every, Action::Transfer);
        self.schedule_loss();
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
        if every > 0 && !self.faults_ended {
            let at = self.now + self.network.random().jittered(every);
            self.schedule(at, Action::Partition);
        }
    }

    /// Schedules the next of the faults of machines that recur.
    pub(crate) fn next(&mut self, every: u64, action: Action) {
        if every > 0 && !self.faults_ended {
            let at = self.now + self.machine.jittered(every);
            self.schedule(at, action);
        }
    }

    /// Whether a node may be lost for good: a quorum of others, whose disks keep their promises, must remain.
    pub(super) fn may_be_lost(&mut self, node: usize) -> bool {
        for (node, process) in self.processes.iter_mut().enumerate() {
            if process.replaced && !process.stopped && self.oracle.is_counted(node) {
                (process.counted_as_lost, process.replaced) = (false, false);
                self.counts.faults.returned_voters += 1;
            }
        }
        if !self.formed || self.processes[node].counted_as_lost {
            return self.formed;
        }
        let lost = |other: usize| other == node || self.processes[other].counted_as_lost;
        // Founders that have lost everything found another ensemble.
        let lost_founders = (0..self.voters.len()).filter(|node| lost(*node)).count();
        let unchanged = self.settings.process.change_every == 0;
        lost_founders <= self.settings.lost_max() && (unchanged || self.oracle.survives(lost))
    }

    /// Cuts some links, and lets them heal in another order.
    pub(crate) fn partition(&mut self) {
        if self.faults_ended {
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
        let mut kind = random.below(8);
        if kind >= 6 {
            kind = 6;
            // The leader comes first, if there is one.
            let leader = order.iter().position(|node| self.processes[*node].leads).unwrap_or(0);
            order.swap(0, leader);
        }
        let random = self.network.random();
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
                    // One way: nothing from one node arrives.
                    3 => i == 0 && j != 0,
                    // One way: nothing reaches one node.
                    4 => i != 0 && j == 0,
                    // Any links.
                    5 => i != j && random.one_in(3),
                    // The leader reaches only a quorum, and the others reach all nodes.
                    _ => (i == 0 && j > nodes / 2) || (j == 0 && i > nodes / 2),
                };
                if between {
                    pairs.push((one, other));
                }
            }
        }
        if pairs.is_empty() {
            return;
        }
        let faults = &mut self.counts.faults;
        *match kind {
            0 => &mut faults.partitions_one,
            1 => &mut faults.partitions_halves,
            2 => &mut faults.partitions_bridge,
            3 => &mut faults.partitions_outbound,
            4 => &mut faults.partitions_inbound,
            5 => &mut faults.partitions_any,
            _ => &mut faults.partitions_quorum,
        } += 1;
        self.counts.partitions += 1;
        self.trace.line(self.now, None, || format!("partition: {pairs:?} are cut"));
        let max = self.settings.network.partition_max;
        let random = self.network.random();
        let until = self.now + random.jittered(max / 2);
        if random.one_in(4) {
            // One by one, all of them before the first heals.
            for &pair in &pairs {
                let at = self.now + self.network.random().below(max / 8);
                self.schedule(at, Action::Cut { pairs: vec![pair] });
            }
            self.counts.faults.partitions_gradual += 1;
        } else {
            self.cut(&pairs);
        }
        let random = self.network.random();
        let together = random.one_in(2);
        random.shuffle(&mut pairs);
        let mut ends: Vec<u64> = pairs.iter().map(|_| until + random.below(max / 2 + 1)).collect();
        ends.sort_unstable();
        if together {
            self.schedule(until, Action::Heal { pairs });
        } else {
            for (pair, end) in pairs.into_iter().zip(ends) {
                self.schedule(end, Action::Heal { pairs: vec![pair] });
            }
        }
    }

    /// Stops some links.
    pub(crate) fn cut(&mut self, pairs: &[(usize, usize)]) {
        if !self.faults_ended {
            for &(from, to) in pairs {
                self.network.block(from, to);
            }
        }
    }

    /// Some disk has more space or less than before, compared with its reserve.
    pub(crate) fn change_space(&mut self) {
        if self.faults_ended {
            return;
        }
        self.next(self.settings.disk.space_every, Action::Space);
        let node = self.machine.index(self.processes.len());
        let space = self.machine.pick(&[DiskSpace::Ample, DiskSpace::Low, DiskSpace::Critical]);
        self.set_space(node, space);
    }

    pub(crate) fn set_space(&mut self, node: usize, space: DiskSpace) {
        self.processes[node].space = space;
        self.trace.line(self.now, Some(node), || format!("has {space:?} disk space"));
        self.report_space(node);
    }

    /// A process learns the space of its disk, if it runs.
    pub(crate) fn report_space(&mut self, node: usize) {
        if self.processes[node].is_up() {
            let space = self.processes[node].space;
            self.deliver(node, gometa_node::Event::Zab(gometa_zab::Event::DiskSpace(space)));
        }
    }

    /// Some disk has no space left, for a while.
    pub(crate) fn fill(&mut self) {
        if self.faults_ended {
            return;
        }
        self.next(self.settings.disk.full_every, Action::Fill);
        let node = self.machine.index(self.processes.len());
        if self.processes[node].disk.is_full() {
            return;
        }
        self.processes[node].disk.set_full(true);
        self.trace.line(self.now, Some(node), || "has a full disk".to_owned());
        let at = self.now + self.machine.below(self.settings.disk.full_max);
        self.schedule(at, Action::Free { node });
    }

    /// There is space again.
    pub(crate) fn free(&mut self, node: usize) {
        self.processes[node].disk.set_full(false);
        self.trace.line(self.now, Some(node), || "has space on its disk".to_owned());
    }

    /// A disk breaks what it has promised, in a way that a later start or read detects.
    pub(crate) fn damage(&mut self) -> Check {
        if self.faults_ended {
            return Ok(());
        }
        self.next(self.settings.disk.damage_every, Action::Damage);
        let node = self.machine.index(self.processes.len());
        if !self.may_be_lost(node) || self.processes[node].stopped {
            return Ok(());
        }
        let kind = self.machine.below(4);
        let up = self.processes[node].is_up();
        let crash = if kind == 1 { self.machine.one_in(2) } else { kind > 1 };
        match kind {
            0 if up => {
                self.processes[node].count_as_lost();
                self.processes[node].disk.drop_next_sync();
                self.trace.line(self.now, Some(node), || "will have a sync dropped".to_owned());
                let at = self.now + self.machine.between(500, 4_000) * MILLISECOND;
                self.schedule(at, Action::PowerCut { node });
            }
            0 => {}
            1 => {
                self.processes[node].count_as_lost();
                self.counts.faults.flipped_bits += 1;
                let flipped = self.processes[node].disk.flip(None);
                self.trace.line(self.now, Some(node), || format!("has a flipped bit: {flipped:?}"));
            }
            _ => {}
        }
        if crash && up {
            let power_lost = self.machine.one_in(2);
            self.crash(node, power_lost)?;
            self.start_later(node);
        }
        if kind > 1 {
            let disk = &mut self.processes[node].disk;
            let (struck, what, count) = if kind == 2 {
                (disk.spoil(), "a log that seems to end early", &mut self.counts.faults.early_log_ends)
            } else {
                (disk.roll_back(), "an older log", &mut self.counts.faults.old_images)
            };
            if struck {
                *count += 1;
                self.processes[node].count_as_lost();
                self.trace.line(self.now, Some(node), || format!("has {what}"));
            }
        }
        Ok(())
    }

    /// A node is about to read entries for another one: perhaps a bit of one of them flips before that.
    pub(crate) fn damage_read(&mut self, node: usize, from: u64, to: u64) {
        let chance = if self.settings.disk.damage_every > 0 && !self.faults_ended { 20_000 } else { 0 };
        if self.machine.chance(chance) && self.may_be_lost(node) {
            self.processes[node].count_as_lost();
            self.counts.faults.flipped_bits += 1;
            let counter = self.machine.between(from, to);
            let flipped = self.processes[node].disk.flip(Some(counter));
            self.trace.line(self.now, Some(node), || format!("has a flipped bit: {flipped:?}"));
        }
    }

    /// A machine loses power.
    pub(crate) fn power_cut(&mut self, node: usize) -> Check {
        if self.faults_ended || self.processes[node].stopped {
            return Ok(());
        }
        if self.processes[node].is_up() {
            self.crash(node, true)?;
            self.start_later(node);
        } else {
            let lost = self.processes[node].disk.lose_power();
            self.lost(node, lost);
        }
        Ok(())
    }

    /// Schedules a node's next start.
    pub(crate) fn start_later(&mut self, node: usize) {
        let at = self.now + self.machine.below(self.settings.process.down_max.max(1));
        self.schedule(at, Action::Start { node });
    }

    /// A node that has stopped gets an empty directory.
    pub(crate) fn replace(&mut self, node: usize) -> Check {
        self.counts.faults.replaced_disks += 1;
        self.wipe(node);
        self.start(node)
    }

    /// One node crashes, or all.
    pub(crate) fn random_crash(&mut self) -> Check {
        if self.faults_ended {
            return Ok(());
        }
        self.next(self.settings.process.crash_every, Action::Crash);
        self.crash_some()
    }

    /// One node crashes, or all, if there is no ensemble yet.
    pub(crate) fn early_crash(&mut self) -> Check {
        if self.formed { Ok(()) } else { self.crash_some() }
    }

    fn crash_some(&mut self) -> Check {
        let nodes = self.processes.len();
        let crash_all = self.machine.chance(self.settings.process.crash_all);
        let chosen = self.machine.index(nodes);
        let power_lost = self.machine.one_in(2);
        for node in 0..nodes {
            if !(crash_all || node == chosen) || !self.processes[node].is_up() {
                continue;
            }
            let down = match self.machine.below(3) {
                0 => self.machine.below(5 * MILLISECOND),
                _ => self.machine.below(self.settings.process.down_max.max(1)),
            };
            let wipe = !crash_all && self.machine.chance(self.settings.process.wipe);
            if !wipe && self.machine.one_in(3) {
                // In the midst of a step's effects, soon.
                let effects = self.machine.below(12) as u32;
                self.processes[node].crashes_after = Some(effects);
                continue;
            }
            self.crash(node, power_lost)?;
            if wipe && self.may_be_lost(node) {
                self.wipe(node);
            } else if self.may_be_lost(node) && self.machine.chance(self.settings.process.no_return) {
                self.counts.faults.abandoned_nodes += 1;
                self.processes[node].count_as_lost();
                self.processes[node].stopped = true;
                self.trace.line(self.now, Some(node), || "never comes back".to_owned());
            }
            let at = self.now + down;
            self.schedule(at, Action::Start { node });
        }
        Ok(())
    }

    /// A node is about to send a message of discovery or synchronisation: perhaps it crashes before that, or soon
    /// after. Nodes that were paused go on then, among them perhaps a leader that others have given up already; and
    /// sometimes this was the last of all faults, so that nothing else covers what it has left behind.
    pub(crate) fn sync_crash(&mut self, node: usize) {
        let share = self.settings.process.sync_crash;
        if share == 0
            || self.faults_ended
            || self.processes[node].crashes_after.is_some()
            || !self.machine.chance(share)
        {
            return;
        }
        self.counts.sync_crashes += 1;
        let effects = self.machine.below(3) as u32;
        self.processes[node].crashes_after = Some(effects);
        for node in 0..self.processes.len() {
            if self.processes[node].is_up() && self.processes[node].paused_until > self.now {
                let life = self.processes[node].life;
                let at = self.now + self.machine.below(20 * MILLISECOND);
                self.schedule(at, Action::Resume { node, life });
            }
        }
        if self.formed && self.now > self.settings.fault_time / 2 && self.machine.one_in(4) {
            let at = self.now + MILLISECOND + self.machine.below(50 * MILLISECOND);
            self.schedule(at, Action::EndFaults);
        }
    }

    /// One node is paused.
    pub(crate) fn random_pause(&mut self) {
        if self.faults_ended {
            return;
        }
        self.next(self.settings.process.pause_every, Action::Pause);
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
        process.paused_since = self.now;
        let life = process.life;
        self.counts.pauses += 1;
        self.trace.line(self.now, Some(node), || format!("is paused for {time} µs"));
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
        let planned = process.crashes_after.take().is_some();
        process.node = None;
        process.inbox.clear();
        process.installed = None;
        process.transfers = Transfers::default();
        process.waking = false;
        let end = if power_lost { End::PowerLost } else { End::Killed };
        let lost = process.disk.crash(self.now, end, &mut self.machine);
        self.counts.early_crashes += u64::from(!self.formed);
        self.trace.line(self.now, Some(node), || format!("crashes (power lost: {power_lost}), {lost:?}"));
        self.lost(node, lost);
        self.network.host_down(self.now, node, power_lost);
        let gone = self.links.node_down(self.now, self.workload.random(), node, power_lost);
        for client in gone {
            self.oracle.of(node).unasked(client, None);
        }
        if planned {
            self.start_later(node);
        }
        Ok(())
    }

    /// Counts what a crash has lost.
    pub(crate) fn lost(&mut self, node: usize, lost: Lost) {
        self.trace.mix(lost.writes as u64);
        self.counts.lost_tails += u64::from(lost.entries > 0);
        self.counts.surviving_tails += u64::from(lost.kept > 0);
        self.counts.faults.torn_records += u64::from(lost.torn);
        self.counts.faults.dropped_syncs_lost += u64::from(lost.dropped);
        if lost.dropped {
            self.trace.line(self.now, Some(node), || "has lost what it had synced".to_owned());
        }
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
        assert!(!self.processes[node].is_up(), "a directory is replaced while no process uses it");
        let incarnation = Incarnation(self.machine.wide());
        let process = &mut self.processes[node];
        process.disk.wipe(incarnation);
        (process.counted_as_lost, process.replaced) = (true, true);
        process.stopped = false;
        self.oracle.wiped(node, incarnation);
        self.counts.wipes += 1;
        self.trace.line(self.now, Some(node), || "has lost its directory".to_owned());
    }
}
