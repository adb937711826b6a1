//! Faults of the lines between nodes.

use std::time::{Duration, Instant};

use super::{
    cluster::Cluster,
    faults::{FaultResult, counted},
};
use crate::network::Line;

impl Cluster {
    /// Returns the directions from and to a node.
    pub(super) fn around(&self, node: usize, from: bool, to: bool) -> Vec<(usize, usize)> {
        let others = self.ensemble.others(node);
        let from = others.iter().filter(|_| from).map(|other| (node, *other));
        from.chain(others.iter().filter(|_| to).map(|other| (*other, node))).collect()
    }

    /// Cuts lines until writes are acknowledged again: a majority needs no healing. The lines are
    /// cut one by one and healed in another order, half of the time with pauses.
    pub(super) async fn cut(&mut self, cuts: &[(usize, usize)]) -> FaultResult {
        let time = self.lasting();
        let gap = if self.random.percent(50) { self.millis(1, 200) } else { Duration::ZERO };
        let mut order = cuts.to_vec();
        for place in (1..order.len()).rev() {
            order.swap(place, self.random.below(place as u64 + 1) as usize);
        }
        let network = self.ensemble.network();
        let before = network.seen().held;
        let struck = Instant::now();
        for (from, to) in cuts {
            network.cut(*from, *to);
            self.hold(gap).await;
        }
        let (served, ()) = tokio::join!(self.serves_again(struck), self.hold(time));
        let held = network.seen().held - before;
        for (from, to) in order {
            network.set(from, to, Line::default());
            self.hold(gap).await;
        }
        let what = format!("{cuts:?} for {time:.1?}, {held} packets held or lost");
        let effect = counted("packets on cut lines", held);
        FaultResult { what, processes: 1, effect, served, outcome: None }
    }

    /// Makes the connections between a leader and a follower, or among all nodes, half-open.
    pub(super) async fn half_open(&mut self, leader: usize, follower: usize) -> FaultResult {
        let (gone, kept) = if self.random.percent(50) { (leader, follower) } else { (follower, leader) };
        let network = self.ensemble.network();
        let before = network.seen().broken;
        let struck = Instant::now();
        network.half_open(gone, kept);
        if self.random.percent(30) {
            self.ensemble.others(kept).into_iter().for_each(|other| network.half_open(other, kept));
        }
        let time = self.millis(300, 3_000);
        let (served, ()) = tokio::join!(self.serves_again(struck), self.hold(time));
        let broken = self.ensemble.network().seen().broken - before;
        let what = format!("{broken} connections of node {kept} ended elsewhere, node {gone} among them");
        let effect = counted("connections broken", broken);
        FaultResult { what, processes: 2, effect, served, outcome: None }
    }

    /// Resets the leader's connections, or all, several times.
    pub(super) async fn reset(&mut self, leader: usize) -> FaultResult {
        let (times, all) = (1 + self.random.below(10), self.random.percent(50));
        let before = self.ensemble.network().seen().broken;
        let mut struck = Instant::now();
        for _ in 0..times {
            struck = Instant::now();
            for one in self.ensemble.all() {
                for other in self.ensemble.others(one).into_iter().filter(|other| all || *other == leader) {
                    self.ensemble.network().reset(one, other);
                }
            }
            let gap = self.millis(1, 300);
            self.hold(gap).await;
        }
        let served = self.serves_again(struck).await;
        let broken = self.ensemble.network().seen().broken - before;
        let what = format!("{broken} of {}, {times} times", if all { "all nodes" } else { "the leader" });
        let effect = counted("connections broken", broken);
        FaultResult { what, processes: 3, effect, served, outcome: None }
    }

    pub(super) async fn delay(&mut self, jitter: bool) -> FaultResult {
        let time = self.millis(500, 3_000);
        let before = self.ensemble.network().seen();
        let struck = Instant::now();
        for from in self.ensemble.all() {
            for to in self.ensemble.others(from) {
                let delay = self.millis(1, 80);
                let jitter = if jitter { self.millis(10, 150) } else { Duration::ZERO };
                self.ensemble.network().set(from, to, Line { delay, jitter, ..Line::default() });
            }
        }
        let (served, ()) = tokio::join!(self.serves_again(struck), self.hold(time));
        let delayed = self.ensemble.network().seen().delayed - before.delayed;
        self.ensemble.network().heal();
        let what = format!("for {time:.0?}, {delayed} packets delayed");
        FaultResult { what, processes: 3, effect: counted("packets delayed", delayed), served, outcome: None }
    }

    pub(super) async fn lose(&mut self, leader: usize) -> FaultResult {
        let loss_percent = 20 + self.random.below(30) as u8;
        let before = self.ensemble.network().seen().lost;
        self.ensemble.network().set_all(Line { loss_percent, ..Line::default() });
        let killed = self.kill(&[leader]).await;
        let lost = self.ensemble.network().seen().lost - before;
        self.ensemble.network().heal();
        let what = format!("{loss_percent} %, {lost} datagrams; {}", killed.what);
        FaultResult { what, effect: counted("datagrams lost", lost), ..killed }
    }

    pub(super) async fn jumble(&mut self, leader: usize) -> FaultResult {
        let (double_percent, overtake_percent) =
            (30 + self.random.below(70) as u8, 30 + self.random.below(40) as u8);
        let loss_percent = self.random.below(30) as u8;
        let before = self.ensemble.network().seen();
        let line = Line { loss_percent, double_percent, overtake_percent, ..Line::default() };
        self.ensemble.network().set_all(line);
        let killed = self.kill(&[leader]).await;
        let after = self.ensemble.network().seen();
        self.ensemble.network().heal();
        let (doubled, overtaken) = (after.doubled - before.doubled, after.overtaken - before.overtaken);
        let what = format!("{doubled} datagrams doubled, {overtaken} overtaken; {}", killed.what);
        let effect = counted("datagrams doubled", doubled).and(counted("datagrams overtaken", overtaken));
        FaultResult { what, effect, ..killed }
    }
}
