//! The faults: how each strikes, by what it is seen to have struck, and how it is taken away again.

use std::{
    fs,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::arena::Arena;
use crate::{network::Line, wait::until};

/// What a node may take to end by itself once its disk fails it.
const ENDING_MAX: Duration = Duration::from_secs(15);

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// kill -9 of one node, whatever it is.
    Kill,
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of all nodes.
    KillAll,
    /// SIGSTOP of a node that does not lead, SIGCONT later.
    Pause,
    /// The same with the leader.
    PauseLeader,
    /// A node that does not lead is cut off from the others.
    Isolate,
    /// The leader is: it has the minority.
    IsolateLeader,
    /// One direction between two nodes, or to or from one of them, is cut.
    OneWay,
    /// The leader and a follower are cut off from each other, the third has both.
    Bridge,
    /// Every direction has a delay of its own.
    Delay,
    /// Datagrams are lost while the leader is killed.
    Loss,
    /// A disk is full.
    DiskFull,
    /// Every sync of a node fails; half of the time the power is cut afterwards.
    SyncFails,
    /// Every sync of a node is slow.
    SyncSlow,
    /// The power of one node.
    PowerCut,
    /// The power of all nodes, at one moment.
    PowerCutAll,
}

/// Each kind, and how often it is in a deck. Decks are shuffled, and played to their ends.
pub(super) const DECK: [(Kind, usize); 16] = [
    (Kind::Kill, 3),
    (Kind::KillLeader, 3),
    (Kind::KillAll, 1),
    (Kind::Pause, 2),
    (Kind::PauseLeader, 2),
    (Kind::Isolate, 1),
    (Kind::IsolateLeader, 1),
    (Kind::OneWay, 1),
    (Kind::Bridge, 1),
    (Kind::Delay, 1),
    (Kind::Loss, 1),
    (Kind::DiskFull, 1),
    (Kind::SyncFails, 1),
    (Kind::SyncSlow, 1),
    (Kind::PowerCut, 2),
    (Kind::PowerCutAll, 1),
];

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill -9 of one",
            Kind::KillLeader => "kill -9 of the leader",
            Kind::KillAll => "kill -9 of all",
            Kind::Pause => "pause",
            Kind::PauseLeader => "pause of the leader",
            Kind::Isolate => "partition, one alone",
            Kind::IsolateLeader => "partition, leader alone",
            Kind::OneWay => "partition, one way",
            Kind::Bridge => "partition, bridge",
            Kind::Delay => "delay",
            Kind::Loss => "datagram loss, leader killed",
            Kind::DiskFull => "disk full",
            Kind::SyncFails => "failing sync",
            Kind::SyncSlow => "slow sync",
            Kind::PowerCut => "power cut of one",
            Kind::PowerCutAll => "power cut of all",
        }
    }

    /// Whether it needs disk images.
    pub(super) fn needs_images(self) -> bool {
        matches!(self, Kind::DiskFull | Kind::PowerCut | Kind::PowerCutAll)
    }

    /// Whether it needs the library between server and system.
    pub(super) fn needs_library(self) -> bool {
        matches!(self, Kind::SyncFails | Kind::SyncSlow)
    }
}

/// What came of a fault.
pub(super) struct Blow {
    /// What was hit, and how.
    pub(super) what: String,
    /// Processes that were hit.
    pub(super) processes: usize,
    /// An error says why it had no effect.
    pub(super) effect: Result<(), String>,
    /// From the moment at which a majority could go on to the next acknowledged write.
    pub(super) served: Duration,
}

/// An effect that was counted.
fn counted(what: &str, count: u64) -> Result<(), String> {
    if count > 0 { Ok(()) } else { Err(format!("{what}: none")) }
}

impl Arena {
    /// Strikes, waits for the next acknowledged write, and takes the fault away.
    pub(super) async fn strike(&mut self, kind: Kind) -> Blow {
        let leader = self.ensemble.leader().await;
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
            Kind::Pause => self.pause(follower).await,
            Kind::PauseLeader => self.pause(leader).await,
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
                // Two followers have nothing to say to each other.
                self.cut(&[(follower, leader), (leader, follower)]).await
            }
            Kind::Delay => self.delay().await,
            Kind::Loss => self.lose(leader).await,
            Kind::DiskFull => self.fill(either).await,
            Kind::SyncFails => self.fail_syncs(either).await,
            Kind::SyncSlow => self.slow_syncs(any).await,
            Kind::PowerCut => self.cut_power(&[either]).await,
            Kind::PowerCutAll => self.cut_power(&self.ensemble.all()).await,
        }
    }

    /// Lets a fault last. A fault is a length of time: this is no wait for a condition.
    async fn hold(&self, time: Duration) {
        sleep(time).await;
    }

    /// A time between the two, all orders of magnitude alike.
    fn time(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        let share = self.random.below(1 << 20) as f64 / f64::from(1 << 20);
        let (least, most) = (least_ms as f64, most_ms as f64);
        Duration::from_millis((least * (most / least).powf(share)) as u64)
    }

    /// Whether a node runs, for faults that would be none otherwise.
    fn runs(&self, node: usize) -> Result<(), String> {
        match self.ensemble.process(node).ended() {
            None => Ok(()),
            Some(status) => Err(format!("node {node} had ended by itself, {status}")),
        }
    }

    async fn restart(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.spawn(*node);
        }
        for node in nodes {
            self.ensemble.ready(*node).await;
        }
    }

    async fn kill(&mut self, victims: &[usize]) -> Blow {
        let effect = victims.iter().try_for_each(|node| self.runs(*node));
        let mut struck = Instant::now();
        victims.iter().for_each(|node| self.ensemble.kill(*node));
        let served = if victims.len() < self.ensemble.size() {
            let served = self.serves_again(struck).await;
            // Half of the time the others go on for a while before it is back.
            if self.random.percent(50) {
                let time = self.time(50, 1_500);
                self.hold(time).await;
            }
            self.restart(victims).await;
            served
        } else {
            struck = Instant::now();
            self.restart(victims).await;
            self.serves_again(struck).await
        };
        Blow { what: format!("nodes {victims:?}"), processes: victims.len(), effect, served }
    }

    /// Waits until every thread of a node stands still.
    async fn stopped(&self, node: usize) {
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

    async fn pause(&mut self, node: usize) -> Blow {
        let time = self.time(100, 10_000);
        let effect = self.runs(node);
        let struck = Instant::now();
        self.ensemble.pause(node);
        self.stopped(node).await;
        let pausing = async {
            self.hold(time).await;
            self.stopped(node).await;
            self.ensemble.resume(node);
        };
        let (served, ()) = tokio::join!(self.serves_again(struck), pausing);
        Blow { what: format!("node {node} for {time:.0?}"), processes: 1, effect, served }
    }

    /// The directions from and to a node.
    fn around(&self, node: usize, from: bool, to: bool) -> Vec<(usize, usize)> {
        let others = self.ensemble.others(node);
        let from = others.iter().filter(|_| from).map(|other| (node, *other));
        from.chain(others.iter().filter(|_| to).map(|other| (*other, node))).collect()
    }

    /// Cuts stay until the others serve, however long that takes: a majority needs nobody to heal it.
    async fn cut(&mut self, cuts: &[(usize, usize)]) -> Blow {
        let time = self.time(500, 5_000);
        let network = self.ensemble.network();
        let before = network.held();
        let struck = Instant::now();
        cuts.iter().for_each(|(from, to)| network.cut(*from, *to));
        let (served, ()) = tokio::join!(self.serves_again(struck), self.hold(time));
        let held = network.held() - before;
        network.heal();
        let what = format!("{cuts:?} for {time:.0?}, {held} packets held or lost");
        Blow { what, processes: 1, effect: counted("packets on cut lines", held), served }
    }

    async fn delay(&mut self) -> Blow {
        let time = self.time(500, 3_000);
        let before = self.ensemble.network().delayed();
        let struck = Instant::now();
        for from in self.ensemble.all() {
            for to in self.ensemble.others(from) {
                let delay = self.time(1, 80);
                self.ensemble.network().set(from, to, Line { delay, ..Line::default() });
            }
        }
        let (served, ()) = tokio::join!(self.serves_again(struck), self.hold(time));
        let delayed = self.ensemble.network().delayed() - before;
        self.ensemble.network().heal();
        let what = format!("for {time:.0?}, {delayed} packets delayed");
        Blow { what, processes: 3, effect: counted("packets delayed", delayed), served }
    }

    async fn lose(&mut self, leader: usize) -> Blow {
        let loss_percent = 20 + self.random.below(30) as u8;
        let (_, before) = self.ensemble.network().datagrams();
        self.ensemble.network().set_all(Line { loss_percent, ..Line::default() });
        let killed = self.kill(&[leader]).await;
        let (_, after) = self.ensemble.network().datagrams();
        self.ensemble.network().heal();
        let effect = killed.effect.and(counted("datagrams lost", after - before));
        let what = format!("{loss_percent} %, {} datagrams; {}", after - before, killed.what);
        Blow { what, effect, ..killed }
    }

    /// Waits until a node has ended by itself, and gives its last line; None if it goes on.
    async fn ends(&self, node: usize) -> Option<String> {
        let process = self.ensemble.process(node);
        let ended = tokio::time::timeout(ENDING_MAX, process.end(2 * ENDING_MAX)).await.ok()?;
        let log = self.ensemble.log(node);
        assert!(!ended.success(), "node {node} ended with status 0 although nobody asked: {log}");
        Some(log.lines().last().unwrap_or("without a word").to_owned())
    }

    async fn fill(&mut self, node: usize) -> Blow {
        let Some(images) = &self.images else { unreachable!("kinds that need images are not in the deck") };
        // So that nothing grows between what is given back and what is taken.
        self.ensemble.pause(node);
        self.stopped(node).await;
        images.fill(node).unwrap_or_else(|error| panic!("the disk of node {node}: {error}"));
        self.ensemble.resume(node);
        let ended = self.ends(node).await;
        let served = self.serves_again(Instant::now()).await;
        self.ensemble.kill(node);
        images.free(node).unwrap_or_else(|error| panic!("the disk of node {node}: {error}"));
        self.restart(&[node]).await;
        let effect = match &ended {
            Some(line) if line.contains("No space left") => Ok(()),
            Some(line) => Err(format!("a node with a full disk ended for another reason: {line}")),
            None => Err("a node with a full disk went on".to_owned()),
        };
        Blow { what: format!("node {node}: {ended:?}"), processes: 1, effect, served }
    }

    async fn fail_syncs(&mut self, node: usize) -> Blow {
        let Some(syncs) = &self.syncs else {
            unreachable!("kinds that need the library are not in the deck")
        };
        syncs.fail(node).unwrap_or_else(|error| panic!("failing syncs: {error}"));
        let ended = self.ends(node).await;
        let served = self.serves_again(Instant::now()).await;
        let hits = syncs.heal(node);
        let log = self.ensemble.log(node);
        assert!(hits == 0 || ended.is_some(), "node {node} went on after {hits} failed syncs: {log}");
        self.ensemble.kill(node);
        // What was not synced is still in memory, and a restart sees it; after a power cut it does not.
        let mut then = "restarted";
        if self.random.percent(50)
            && let Some(images) = &self.images
        {
            then = "power cut";
            let cut = images.cut_power(&[node]).and_then(|()| images.repair(node));
            cut.unwrap_or_else(|error| panic!("the disk of node {node}: {error}"));
        }
        self.restart(&[node]).await;
        let what = format!("node {node}, {hits} syncs, then {then}: {ended:?}");
        Blow { what, processes: 1, effect: counted("failed syncs", hits), served }
    }

    async fn slow_syncs(&mut self, node: usize) -> Blow {
        let (time, each) = (self.time(500, 4_000), self.time(20, 1_500));
        let Some(syncs) = &self.syncs else {
            unreachable!("kinds that need the library are not in the deck")
        };
        let millis = each.as_millis() as u64;
        syncs.slow(node, millis).unwrap_or_else(|error| panic!("slow syncs: {error}"));
        let (served, ()) = tokio::join!(self.serves_again(Instant::now()), self.hold(time));
        let hits = syncs.heal(node);
        let what = format!("node {node} for {time:.0?}, {hits} syncs slower by {each:.0?}");
        Blow { what, processes: 1, effect: counted("slow syncs", hits), served }
    }

    async fn cut_power(&mut self, victims: &[usize]) -> Blow {
        let Some(images) = &self.images else { unreachable!("kinds that need images are not in the deck") };
        let mut effect = victims.iter().try_for_each(|node| self.runs(*node));
        images.cut_power(victims).unwrap_or_else(|error| panic!("the power cut: {error}"));
        let mut struck = Instant::now();
        victims.iter().for_each(|node| self.ensemble.kill(*node));
        let majority = victims.len() < self.ensemble.size();
        let mut served = Duration::ZERO;
        if majority {
            served = self.serves_again(struck).await;
        }
        for node in victims {
            effect = effect.and(images.repair(*node));
        }
        if !majority {
            struck = Instant::now();
        }
        self.restart(victims).await;
        if !majority {
            served = self.serves_again(struck).await;
        }
        Blow { what: format!("nodes {victims:?}"), processes: victims.len(), effect, served }
    }
}
