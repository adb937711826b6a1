//! A follower that was away comes back under load.

use std::time::{Duration, Instant};

use gometa_client::{NodeStatus, Role};

use super::load::{self, Meter, Steady};
use crate::{data_directory, ensemble::Ensemble, random, wait::until};

/// The longest time until the follower is complete.
const PATIENCE: Duration = Duration::from_secs(300);
/// How far behind the leader a node may be that counts as complete: less than a second of load.
const BEHIND_MAX: u64 = 1_000;
/// Logged by a node that has installed a snapshot.
const INSTALLED: &str = "snapshot installed";

/// What happened to the follower's data directory while it was away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disk {
    /// Nothing.
    Kept,
    /// It is empty.
    Wiped,
    /// In each table file of its state, bits of the first block are flipped; it is found when a record there is read.
    Damaged,
}

/// How the follower was away.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    /// The keys before it goes.
    pub keys: u64,
    /// The sets that it misses.
    pub missed: u64,
    /// What it comes back with.
    pub disk: Disk,
    /// The load while it comes back, in sets a second.
    pub rate: u64,
    /// The time for which the load is measured before.
    pub before: Duration,
}

/// How it came back.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    /// The time from its start until it was complete.
    pub time: Duration,
    /// Whether it was sent a snapshot.
    pub snapshot: bool,
    /// The 99th percentile of the sets before, and meanwhile.
    pub p99_before: Duration,
    /// See `p99_before`.
    pub p99: Duration,
    /// The slowest set meanwhile.
    pub worst: Duration,
    /// The number of sets meanwhile.
    pub sets: usize,
}

/// Lets a follower miss sets, and measures its way back.
pub async fn returns(absence: Absence) -> Return {
    let Absence { keys, missed, disk, rate, before } = absence;
    let mut random = random::of_this_run("return");
    let mut ensemble = Ensemble::start(3).await;
    let meter = Meter::default();
    load::fast(&ensemble, keys, keys, &meter).await;
    let (leader, follower) = ensemble.leader_and_other(&mut random).await;
    ensemble.converged(&ensemble.all()).await;
    ensemble.kill(follower);
    load::fast(&ensemble, missed, keys, &meter).await;
    match disk {
        Disk::Kept => {}
        Disk::Wiped => ensemble.wipe(follower),
        Disk::Damaged => {
            let tables = data_directory::tables(&ensemble.data(follower));
            assert!(!tables.is_empty(), "so few sets are in no table file");
            tables.iter().for_each(|table| data_directory::flip(table, data_directory::DATA_BLOCK));
        }
    }
    let load = Steady::start(&ensemble, rate, keys);
    tokio::time::sleep(before).await;
    let p99_before = load.meter.take().percentile(99);
    let begun = Instant::now();
    ensemble.spawn(follower);
    until("the follower is complete", PATIENCE, || async {
        let of = |status: gometa_client::Result<NodeStatus>| status.map_err(|error| error.to_string());
        let (theirs, ours) = (of(ensemble.status(leader).await)?, of(ensemble.status(follower).await)?);
        let level = ours.applied_revision + BEHIND_MAX >= theirs.applied_revision;
        let serves = matches!(ours.role, Role::Following | Role::Learning);
        // Its damage is found when it has served already.
        let whole = disk != Disk::Damaged || ensemble.log(follower).contains(INSTALLED);
        if level && serves && whole { Ok(()) } else { Err(format!("{ours:?}")) }
    })
    .await;
    let time = begun.elapsed();
    let latencies = load.meter.take();
    let failures = load.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert!(statuses.iter().all(|status| status.state_hash == statuses[0].state_hash), "{statuses:#?}");
    let snapshot = ensemble.log(follower).contains(INSTALLED);
    Return {
        time,
        snapshot,
        p99_before,
        p99: latencies.percentile(99),
        worst: latencies.percentile(100),
        sets: latencies.count(),
    }
}
