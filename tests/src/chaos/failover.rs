//! Measures the time from the death of a leader to the next acknowledged write, under light load.
//!
//! There are no proxies and no other faults, except that all disks may be slow. A trial begins when all nodes vote and
//! have applied everything.
//! A write counts if it was called after the kill, also on the connection to the dead leader.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gometa_client::Client;
use tokio::{task::JoinSet, time::sleep};

use super::{cluster::whole, preload::Preload, tally::percentile};
use crate::{ensemble::Ensemble, lock, print_line, random, wait::until};

/// The number of clients that write.
pub const CLIENTS: usize = 4;
/// The pause of a client between two writes.
const PACE: Duration = Duration::from_millis(5);
/// The timeout of a call, and the deadline of a trial.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum of a random pause between recovery and the next kill, which then falls into any phase of the heartbeats.
const GAP_MAX_MS: u64 = 300;
/// The number of trials between two lines of progress.
const REPORT_INTERVAL: usize = 20;

/// The measured times.
#[derive(Clone, Default, Debug)]
pub struct Failovers {
    /// The time from each kill to the first acknowledgement of a later write of any client.
    pub first: Vec<Duration>,
    /// The time from each kill until every client had such an acknowledgement.
    pub every: Vec<Duration>,
    /// The number of acknowledged writes.
    pub acknowledged: u64,
    /// The total time.
    pub time: Duration,
    /// The time from the start of three nodes with empty directories until all were ready.
    pub formed: Duration,
}

/// The progress of one client.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// The time of the first acknowledgement of a write called after the latest kill.
    answered: Option<Instant>,
    /// The number of acknowledged writes.
    writes: u64,
}

struct Watch {
    stop: AtomicBool,
    /// The time of the latest kill.
    killed: Mutex<Option<Instant>>,
    progress: Vec<Mutex<Progress>>,
}

impl Watch {
    fn progress(&self, client: usize) -> MutexGuard<'_, Progress> {
        lock(&self.progress[client])
    }

    fn answered(&self) -> Vec<Instant> {
        (0..CLIENTS).filter_map(|client| self.progress(client).answered).collect()
    }
}

/// The nodes, and the preloaded library if their disks are slow.
struct Nodes {
    ensemble: Ensemble,
    preload: Option<Preload>,
}

impl Nodes {
    /// Starts three nodes with empty directories, and waits until they are ready. With `sync_ms`, each sync takes
    /// that many milliseconds longer, from the first one on.
    async fn start(sync_ms: Option<u64>) -> Nodes {
        let ensemble = Ensemble::prepare(3);
        let preload = sync_ms.map(|milliseconds| {
            let preload = Preload::compile(ensemble.scratch(), ensemble.size());
            let preload = preload.unwrap_or_else(|error| panic!("no library for slow syncs: {error}"));
            for node in ensemble.all() {
                let slowed = preload.slow_syncs(node, milliseconds);
                slowed.unwrap_or_else(|error| panic!("cannot slow down the syncs of node {node}: {error}"));
            }
            preload
        });
        let mut nodes = Nodes { ensemble, preload };
        nodes.ensemble.all().into_iter().for_each(|node| nodes.spawn(node));
        nodes.ensemble.all_ready().await;
        nodes
    }

    /// Starts a node without waiting for it.
    fn spawn(&mut self, node: usize) {
        match &self.preload {
            Some(preload) => self.ensemble.spawn_with(node, preload.server(node)),
            None => self.ensemble.spawn(node),
        }
    }

    /// The number of syncs that were slowed down.
    fn slowed(&self) -> u64 {
        let of_node = |node| self.preload.as_ref().map_or(0, |preload| preload.heal_syncs(node));
        self.ensemble.all().into_iter().map(of_node).sum()
    }
}

/// Kills the leader `count` times. With `sync_ms`, all disks are slow: each sync takes that many milliseconds longer.
///
/// # Panics
/// If an acknowledged write is lost, or the ensemble does not form or recover; if `sync_ms` had no effect.
pub async fn failovers(seed: u64, count: usize, sync_ms: Option<u64>) -> Failovers {
    let mut random = random::seeded(seed);
    let formed = Instant::now();
    let mut nodes = Nodes::start(sync_ms).await;
    let formed = formed.elapsed();
    let ensemble = &nodes.ensemble;
    let probe = ensemble.client(TIMEOUT);
    let watch = Arc::new(Watch {
        stop: AtomicBool::default(),
        killed: Mutex::default(),
        progress: (0..CLIENTS).map(|_| Mutex::default()).collect(),
    });
    let mut clients = JoinSet::new();
    for name in 0..CLIENTS {
        let client = ensemble.client_from(name % ensemble.size(), TIMEOUT);
        clients.spawn(write(name, client, watch.clone()));
    }
    let begun = Instant::now();
    let mut measured = Failovers { formed, ..Failovers::default() };
    for trial in 1..=count {
        let ensemble = &mut nodes.ensemble;
        whole(ensemble, &probe).await;
        let gap = Duration::from_millis(random.below(GAP_MAX_MS));
        sleep(gap).await;
        let leader = ensemble.leader().await;
        let killed = {
            let mut noted = lock(&watch.killed);
            (0..CLIENTS).for_each(|client| watch.progress(client).answered = None);
            let killed = Instant::now();
            *noted = Some(killed);
            ensemble.process(leader).signal(rustix::process::Signal::KILL);
            killed
        };
        let answered = until("every client's next write", TIMEOUT, || async {
            let answered = watch.answered();
            if answered.len() == CLIENTS { Ok(answered) } else { Err(format!("{} have one", answered.len())) }
        })
        .await;
        let times: Vec<Duration> = answered.iter().map(|at| at.saturating_duration_since(killed)).collect();
        measured.first.extend(times.iter().min());
        measured.every.extend(times.iter().max());
        if trial % REPORT_INTERVAL == 0 {
            let p50 = percentile(&measured.first, 50).unwrap_or_default();
            print_line(&format!("{trial} of {count} kills, p50 so far {p50:.0?}"));
        }
        ensemble.kill(leader);
        nodes.spawn(leader);
        nodes.ensemble.ready(leader).await;
    }
    measured.time = begun.elapsed();
    watch.stop.store(true, Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap_or_else(|error| panic!("a client failed: {error}"));
    }
    nodes.ensemble.converged(&nodes.ensemble.all()).await;
    let slowed = nodes.slowed();
    assert!(sync_ms.is_none() || slowed > 0, "no sync was slowed down");
    for client in 0..CLIENTS {
        let Progress { writes, .. } = *watch.progress(client);
        let entry = probe.get(key(client)).await;
        let version =
            entry.unwrap_or_else(|error| panic!("what client {client} has written: {error}")).version;
        assert!(
            version >= writes,
            "client {client} had {writes} writes acknowledged, and {version} are there"
        );
        measured.acknowledged += writes;
    }
    measured
}

fn key(client: usize) -> String {
    format!("failover/{client}")
}

/// Writes one key repeatedly, and checks that each acknowledged write has a higher version.
async fn write(name: usize, client: Client, watch: Arc<Watch>) {
    let mut version = 0;
    while !watch.stop.load(Relaxed) {
        let called = Instant::now();
        let written = client.set(key(name), "x").await;
        let answered = Instant::now();
        let written = written.unwrap_or_else(|error| panic!("a write within {TIMEOUT:?}: {error}"));
        assert!(written.version > version, "version {} after version {version}", written.version);
        version = written.version;
        let after = lock(&watch.killed).is_some_and(|killed| called >= killed);
        {
            let mut progress = watch.progress(name);
            progress.writes += 1;
            if after {
                progress.answered.get_or_insert(answered);
            }
        }
        sleep(PACE).await;
    }
}

/// Formats a time with a precision of milliseconds below a second, of tenths above.
fn shown(time: Duration) -> String {
    if time < Duration::from_secs(1) { format!("{time:.0?}") } else { format!("{time:.1?}") }
}

impl Failovers {
    /// Returns the summary as a table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "formed in {:.1?}; {} kills of the leader in {:.0?}, {CLIENTS} clients, {} acknowledged writes, none lost\n\n{:<28} {:>8} {:>8} {:>8} {:>8}\n",
            self.formed,
            self.first.len(),
            self.time,
            self.acknowledged,
            "next acknowledged write",
            "p50",
            "p90",
            "p99",
            "max"
        );
        for (name, times) in [("of any client", &self.first), ("of every client", &self.every)] {
            let at = |percent| shown(percentile(times, percent).unwrap_or_default());
            text += &format!("{name:<28} {:>8} {:>8} {:>8} {:>8}\n", at(50), at(90), at(99), at(100));
        }
        for (name, times) in [("any client", &self.first), ("every client", &self.every)] {
            text += &format!("\nms to the next acknowledged write of {name}\n{}", super::plot::text(times));
        }
        text
    }
}
