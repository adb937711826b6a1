//! A fourth node joins under load, becomes a voter, and others are removed, the leader last.

use std::time::{Duration, Instant};

use gometa_client::{Client, NodeStatus, Role};

use super::load::{self, Steady, UnderLoad};
use crate::{ensemble::Ensemble, members, wait::until};

/// The longest time until the node is complete before the run is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How far behind the leader a node may be that counts as complete: less than a second of load.
const BEHIND_MAX: u64 = 1_000;
/// The time for which the load is measured after a change of the voters.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// The timeout of a change of the members.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The bound of the time until the node is complete.
const COMPLETE_MAX: Duration = Duration::from_secs(60);
/// The bound of the 99th percentile meanwhile: this, or twice that of the time before if that is more.
const P99_MAX: Duration = Duration::from_millis(25);
/// The bound of the longest set while voters change: what a failover takes at most, in 99 of 100 cases.
const FAILOVER_MAX: Duration = Duration::from_secs(1);

const BEFORE: &str = "before";
const JOINS: &str = "a fourth node joins, until it is complete";
const PROMOTED: &str = "it becomes a voter";
const FOLLOWER_REMOVED: &str = "a follower is removed";
const LEADER_REMOVED: &str = "the leader is removed";

/// The load during one step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The change.
    pub what: &'static str,
    /// The time of the change; the load is measured for longer if the change is short.
    pub time: Duration,
    /// The number of sets meanwhile.
    pub sets: usize,
    /// The 99th percentile of their latencies.
    pub p99: Duration,
    /// The slowest one.
    pub worst: Duration,
}

/// What a run has measured.
#[derive(Clone, Default, Debug)]
pub struct Joined {
    /// The steps: before, the node joins, it is promoted, a follower is removed, the leader is removed.
    pub steps: Vec<Step>,
    /// The sets that failed.
    pub failures: Vec<String>,
}

/// Lets a fourth node join three, and replaces two of these, the leader last. The states of all nodes are compared when
/// the node has joined, and in the end.
///
/// # Panics
/// If a change fails, the node is not complete after five minutes, or two nodes have different states.
pub async fn joins(joining: UnderLoad) -> Joined {
    let UnderLoad { keys, rate, before } = joining;
    let mut ensemble = members::prepare(4, 3);
    (0..3).for_each(|node| ensemble.spawn(node));
    for node in 0..3 {
        ensemble.ready(node).await;
    }
    load::fast(&ensemble, keys, keys, &load::Meter::default()).await;
    ensemble.converged(&[0, 1, 2]).await;
    let mut joined = Joined::default();

    let load = Steady::start(&ensemble, rate, keys);
    tokio::time::sleep(before).await;
    joined.measured(BEFORE, before, &load);
    let (leader, begun) = (ensemble.leader_among(&[0, 1, 2]).await, Instant::now());
    ensemble.spawn(3);
    until("the fourth node is complete", PATIENCE, || async {
        let of = |status: gometa_client::Result<NodeStatus>| status.map_err(|error| error.to_string());
        let (theirs, ours) = (of(ensemble.status(leader).await)?, of(ensemble.status(3).await)?);
        let level = ours.applied_revision + BEHIND_MAX >= theirs.applied_revision;
        if level && ours.role == Role::Learning { Ok(()) } else { Err(format!("{ours:?}")) }
    })
    .await;
    joined.measured(JOINS, begun.elapsed(), &load);
    joined.failures.append(&mut load.stop().await);
    same_state(&ensemble, &[0, 1, 2, 3]).await;

    let load = Steady::start(&ensemble, rate, keys);
    let client = ensemble.client(TIMEOUT);
    let mut voters = vec![0, 1, 2];
    joined.changes(&ensemble, &client, PROMOTED, 3, &load).await;
    voters.push(3);
    for what in [FOLLOWER_REMOVED, LEADER_REMOVED] {
        let leader = ensemble.leader_among(&voters).await;
        let first = voters.iter().copied().find(|node| *node != leader);
        let node = if what == LEADER_REMOVED { leader } else { first.expect("two voters") };
        joined.changes(&ensemble, &client, what, node, &load).await;
        voters.retain(|voter| *voter != node);
    }
    joined.failures.append(&mut load.stop().await);
    let statuses = same_state(&ensemble, &voters).await;
    assert!(statuses.iter().all(|status| status.votes), "{statuses:#?}");
    joined
}

/// Waits until these nodes have applied the same, and compares their states.
async fn same_state(ensemble: &Ensemble, nodes: &[usize]) -> Vec<NodeStatus> {
    let statuses = ensemble.converged(nodes).await;
    let first = &statuses[0].state_hash;
    assert!(!first.is_empty() && statuses.iter().all(|status| status.state_hash == *first), "{statuses:#?}");
    statuses
}

impl Joined {
    fn measured(&mut self, what: &'static str, time: Duration, load: &Steady) {
        let latencies = load.meter.take();
        let (p99, worst) = (latencies.percentile(99), latencies.percentile(100));
        self.steps.push(Step { what, time, sets: latencies.count(), p99, worst });
    }

    /// Promotes or removes a node, and measures the load meanwhile and for a while after.
    async fn changes(
        &mut self,
        ensemble: &Ensemble,
        client: &Client,
        what: &'static str,
        node: usize,
        load: &Steady,
    ) {
        let id = members::id(ensemble, client, node).await;
        let id = id.unwrap_or_else(|error| panic!("{what}: {error}"));
        let begun = Instant::now();
        let changed = match what {
            PROMOTED => client.promote_member(id, None).await,
            _ => client.remove_member(id, None).await,
        };
        let changed = changed.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(changed.changed, "{what}: it was so already");
        let time = begun.elapsed();
        tokio::time::sleep(AFTERWARDS).await;
        self.measured(what, time, load);
    }

    fn step(&self, what: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.what == what)
    }

    /// Returns the bounds that are broken, with the figures.
    pub fn broken(&self) -> Vec<String> {
        let (Some(before), Some(joins)) = (self.step(BEFORE), self.step(JOINS)) else {
            return vec!["no node has joined".to_owned()];
        };
        let mut broken = Vec::new();
        if joins.time > COMPLETE_MAX {
            broken.push(format!("complete after {:.1?}, bound {COMPLETE_MAX:.0?}", joins.time));
        }
        let bound = P99_MAX.max(2 * before.p99);
        if joins.p99 > bound {
            broken.push(format!("p99 while the node joins {:.1?}, bound {bound:.1?}", joins.p99));
        }
        for step in self.steps.iter().filter(|step| ![BEFORE, JOINS].contains(&step.what)) {
            if step.worst > FAILOVER_MAX {
                let Step { what, worst, .. } = step;
                broken.push(format!("{what}: the longest set took {worst:.1?}, bound {FAILOVER_MAX:.0?}"));
            }
        }
        if let Some(first) = self.failures.first() {
            broken.push(format!("{} sets failed, the first one: {first}", self.failures.len()));
        }
        broken
    }

    /// Returns the figures and the verdict, in lines.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Step { what, time, sets, p99, worst } in &self.steps {
            let seconds = time.as_secs_f64();
            text += &format!("{what}: {seconds:.2} s; {sets} sets, p99 {p99:.1?}, longest {worst:.1?}\n");
        }
        let longest = self.steps.iter().map(|step| step.worst).max().unwrap_or_default();
        let (failed, broken) = (self.failures.len(), self.broken());
        text +=
            &format!("the longest set took {longest:.1?}, {failed} failed; the nodes' states were equal\n");
        broken.iter().for_each(|bound| text += &format!("BROKEN: {bound}\n"));
        text + if broken.is_empty() { "every bound holds" } else { "bounds are broken" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(complete: u64, p99_before: u64, p99: u64, worst: u64) -> Joined {
        let step = |what, seconds, p99, worst| {
            let (p99, worst) = (Duration::from_millis(p99), Duration::from_millis(worst));
            Step { what, time: Duration::from_secs(seconds), sets: 1, p99, worst }
        };
        let steps = vec![
            step(BEFORE, 60, p99_before, 1_500),
            step(JOINS, complete, p99, 1_500),
            step(PROMOTED, 1, 1, 1),
            step(FOLLOWER_REMOVED, 1, 1, 1),
            step(LEADER_REMOVED, 1, 1, worst),
        ];
        Joined { steps, failures: Vec::new() }
    }

    #[test]
    fn each_broken_bound_is_named() {
        assert!(measured(60, 5, 25, 1_000).broken().is_empty());
        assert!(measured(60, 20, 40, 1_000).text().ends_with("every bound holds"));
        for (joined, word) in [
            (measured(61, 5, 25, 1_000), "complete after"),
            (measured(60, 5, 26, 1_000), "p99 while"),
            (measured(60, 20, 41, 1_000), "p99 while"),
            (measured(60, 5, 25, 1_001), "the leader is removed: the longest set"),
            (Joined { failures: vec!["set 7".to_owned()], ..measured(60, 5, 25, 1) }, "1 sets failed"),
            (Joined::default(), "no node has joined"),
        ] {
            let broken = joined.broken();
            assert!(broken.len() == 1 && broken[0].contains(word), "{broken:?}");
            assert!(joined.text().ends_with("bounds are broken"), "{}", joined.text());
        }
    }
}
