//! The injection of each fault, the proof that it had an effect, and its removal. This module has the common part
//! and the faults of processes and clocks; the others are in `network_faults` and `disk_faults`.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{cluster::Cluster, kinds::Kind};
use crate::wait::until;

/// The longest usual duration of a fault; one in `LONG_ONE_IN` is longer.
const LONG: Duration = Duration::from_secs(5);
const LONG_ONE_IN: u64 = 10;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// The maximum error of a wall clock in either direction: ten years.
const JUMP_MAX_MS: u64 = 10 * 365 * 24 * 3_600 * 1_000;

/// The result of a fault.
pub(super) struct FaultResult {
    /// A description of the fault.
    pub(super) what: String,
    /// The number of affected processes; one that was affected twice counts twice.
    pub(super) processes: usize,
    /// The reason as an error if it had no effect.
    pub(super) effect: Result<(), String>,
    /// The time until the next acknowledged write, from the moment at which a majority could continue.
    pub(super) served: Duration,
    /// The outcome, for faults that may have several.
    pub(super) outcome: Option<&'static str>,
}

/// Returns an error if nothing was counted.
pub(super) fn counted(what: &str, count: u64) -> Result<(), String> {
    if count > 0 { Ok(()) } else { Err(format!("{what}: none")) }
}

impl Cluster {
    /// Injects a fault, waits for the next acknowledged write, and removes the fault.
    pub(super) async fn inject(&mut self, kind: Kind) -> FaultResult {
        let leader = self.ensemble.leader().await;
        self.all_nodes_run();
        let any = self.random.below(self.ensemble.size() as u64) as usize;
        let follower = {
            let others = self.ensemble.others(leader);
            others[self.random.below(others.len() as u64) as usize]
        };
        let either = if self.random.percent(50) { leader } else { any };
        match kind {
            Kind::Kill => self.kill(&[any]).await,
            Kind::KillLeader => self.kill(&[leader]).await,
            Kind::KillAll => self.kill(&self.ensemble.all()).await,
            Kind::KillStorm => self.kill_many_times().await,
            Kind::Pause => self.pause(&[follower]).await,
            Kind::PauseLeader => self.pause(&[leader]).await,
            Kind::PauseAll => self.pause(&self.ensemble.all()).await,
            Kind::Isolate => self.cut(&self.around(follower, true, true)).await,
            Kind::IsolateLeader => self.cut(&self.around(leader, true, true)).await,
            Kind::OneWay => {
                let cuts = match self.random.below(4) {
                    0 => self.around(leader, true, false),
                    1 => self.around(leader, false, true),
                    2 => vec![(leader, follower)],
                    _ => vec![(follower, leader)],
                };
                self.cut(&cuts).await
            }
            Kind::Bridge => {
                // Two followers exchange no messages.
                self.cut(&[(follower, leader), (leader, follower)]).await
            }
            Kind::HalfOpen => self.half_open(leader, follower).await,
            Kind::Reset => self.reset(leader).await,
            Kind::Delay => self.delay(false).await,
            Kind::Jitter => self.delay(true).await,
            Kind::Loss => self.lose(leader).await,
            Kind::Jumble => self.jumble(leader).await,
            Kind::DiskFull => self.fill(either).await,
            Kind::SyncFails => self.fail_syncs(either).await,
            Kind::SyncSlow => self.slow_syncs(any).await,
            Kind::PowerCut => self.cut_power(&[either]).await,
            Kind::PowerCutAll => self.cut_power(&self.ensemble.all()).await,
            Kind::Clock => self.jump_clocks(any).await,
            Kind::Flip => self.flip(any, false).await,
            Kind::Transfer => self.transfer(follower).await,
            Kind::Remove => self.removes(follower).await,
            Kind::RemoveLeader => self.removes(leader).await,
            Kind::Replace => self.replaces(any, follower).await,
            Kind::Wipe => self.wipes(any).await,
            Kind::Move => self.moves(any).await,
        }
    }

    /// Lets a fault last. The duration is part of the fault, so this waits for no condition.
    pub(super) async fn hold(&self, time: Duration) {
        sleep(time).await;
    }

    /// Returns a random duration between the two, with a logarithmic distribution.
    pub(super) fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let share = self.random.below(1 << 20) as f64 / f64::from(1 << 20);
        let ratio = most.as_secs_f64() / least.as_secs_f64();
        least.mul_f64(ratio.powf(share))
    }

    /// The same in milliseconds.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.time(Duration::from_millis(least), Duration::from_millis(most))
    }

    /// Returns the duration of a pause or a partition: 0.1 s to 30 s, long ones are rare.
    pub(super) fn lasting(&mut self) -> Duration {
        if self.random.below(LONG_ONE_IN) == 0 { self.time(LONG, LONGEST) } else { self.time(SHORTEST, LONG) }
    }

    /// Checks that no node has exited by itself, which is expected of disk faults only.
    fn all_nodes_run(&self) {
        for node in self.ensemble.all() {
            if let Some(status) = self.ensemble.process(node).ended() {
                let log = self.ensemble.log(node);
                panic!(
                    "node {node} had ended by itself, {status}: {}",
                    log.lines().last().unwrap_or_default()
                );
            }
        }
    }

    pub(super) async fn restart(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.spawn(*node);
        }
        for node in nodes {
            self.ensemble.ready(*node).await;
        }
    }

    pub(super) async fn kill(&mut self, victims: &[usize]) -> FaultResult {
        let mut struck = Instant::now();
        victims.iter().for_each(|node| self.ensemble.kill(*node));
        let served = if victims.len() < self.ensemble.size() {
            let served = self.serves_again(struck).await;
            // Half of the time the others go on for a while before the restart.
            if self.random.percent(50) {
                let time = self.millis(50, 1_000);
                self.hold(time).await;
            }
            self.restart(victims).await;
            served
        } else {
            struck = Instant::now();
            self.restart(victims).await;
            self.serves_again(struck).await
        };
        let what = format!("nodes {victims:?}");
        FaultResult { what, processes: victims.len(), effect: Ok(()), served, outcome: None }
    }

    async fn kill_many_times(&mut self) -> FaultResult {
        let (begun, time) = (Instant::now(), self.millis(500, 3_000));
        let mut kills = 0;
        while begun.elapsed() < time {
            let node = self.random.below(self.ensemble.size() as u64) as usize;
            self.all_nodes_run();
            self.ensemble.kill(node);
            self.spawn(node);
            kills += 1;
            let gap = self.millis(5, 400);
            self.hold(gap).await;
        }
        let struck = Instant::now();
        self.ensemble.all_ready().await;
        let served = self.serves_again(struck).await;
        let what = format!("{kills} kills in {time:.0?}");
        FaultResult { what, processes: kills, effect: Ok(()), served, outcome: None }
    }

    /// Waits until every thread of a node is stopped.
    pub(super) async fn stopped(&self, node: usize) {
        let id = self.ensemble.process(node).id();
        until(&format!("node {node} stands still"), Duration::from_secs(5), || async {
            let tasks = fs::read_dir(format!("/proc/{id}/task")).map_err(|error| error.to_string())?;
            for task in tasks.flatten() {
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or_default();
                if !state.contains("T (") {
                    return Err(format!("thread {}: {state}", task.file_name().display()));
                }
            }
            Ok(())
        })
        .await;
    }

    async fn pause(&mut self, victims: &[usize]) -> FaultResult {
        let time = self.lasting();
        let struck = Instant::now();
        victims.iter().for_each(|node| self.ensemble.pause(*node));
        for node in victims {
            self.stopped(*node).await;
        }
        let pausing = async {
            self.hold(time).await;
            for node in victims {
                self.stopped(*node).await;
                self.ensemble.resume(*node);
            }
        };
        let served = if victims.len() < self.ensemble.size() {
            tokio::join!(self.serves_again(struck), pausing).0
        } else {
            pausing.await;
            self.serves_again(Instant::now()).await
        };
        let what = format!("nodes {victims:?} for {time:.1?}");
        FaultResult { what, processes: victims.len(), effect: Ok(()), served, outcome: None }
    }

    /// Changes one wall clock, or all by different amounts. Mostly a node is restarted meanwhile, for a running
    /// node seldom reads the clock.
    async fn jump_clocks(&mut self, any: usize) -> FaultResult {
        let victims = if self.random.percent(50) { vec![any] } else { self.ensemble.all() };
        let jumps: Vec<(usize, i64)> = victims
            .iter()
            .map(|node| {
                let size = self.millis(100, JUMP_MAX_MS).as_nanos() as i64;
                (*node, if self.random.percent(50) { size } else { -size })
            })
            .collect();
        let (time, killed) = (self.millis(200, 3_000), self.random.percent(80));
        let before = self.wrong_reads(&victims);
        for (node, jump) in &jumps {
            let jumped = self.library().jump(*node, *jump);
            jumped.unwrap_or_else(|error| panic!("the clock of node {node}: {error}"));
        }
        let struck = Instant::now();
        let (mut served, ()) = tokio::join!(self.serves_again(struck), self.hold(time));
        if killed {
            served = served.max(self.kill(&victims[..1]).await.served);
        }
        for (node, _) in &jumps {
            let jumped = self.library().jump(*node, 0);
            jumped.unwrap_or_else(|error| panic!("the clock of node {node}: {error}"));
        }
        let reads: Vec<u64> =
            self.wrong_reads(&victims).iter().zip(before).map(|(after, before)| after - before).collect();
        let said: Vec<String> = jumps
            .iter()
            .zip(&reads)
            .map(|((node, jump), reads)| format!("node {node} by {} s, {reads} reads", jump / 1_000_000_000))
            .collect();
        let then = if killed { ", one killed meanwhile" } else { "" };
        // A clock that was not read had no effect.
        let hit = reads.iter().filter(|reads| **reads > 0).count();
        let (what, effect) =
            (format!("{}{then}", said.join("; ")), counted("reads of a wrong clock", hit as u64));
        FaultResult { what, processes: hit, effect, served, outcome: None }
    }

    fn wrong_reads(&self, nodes: &[usize]) -> Vec<u64> {
        let reads = nodes.iter().map(|node| self.library().wrong_reads(*node));
        reads.map(|reads| reads.unwrap_or_else(|error| panic!("a clock's file: {error}"))).collect()
    }

    /// Returns all nodes but these.
    pub(super) fn without(&self, nodes: &BTreeSet<usize>) -> Vec<usize> {
        self.ensemble.all().into_iter().filter(|node| !nodes.contains(node)).collect()
    }
}
