//! Chaos: real processes under one fault after the other, and the simulator's checkers as judges.
//!
//! Three `gometa-server`s with the network of [`network`](crate::network) between them, each on a disk image of its
//! own; four to eight clients that write, read and retry all the time; faults from a shuffled deck. A fault lasts,
//! is taken away, and the ensemble has to be whole again before the next one. In the end the clients stop and
//! everything is compared: every acknowledged write is on every node, all nodes have the same state, every shared
//! key's history is linearizable, nothing happened twice. The seed determines the order of the faults and their
//! sizes, not what the processes make of them.
//!
//! Honest counting: a fault that had no observable effect (a partition at which no packet was held, a sync that
//! nobody asked for) or that met too little work is *invalid*, a history that is too hard to check *unverified*;
//! both are printed. Kinds of faults that a machine does not allow (disk images need root) are named as not tried.
//!
//! An ensemble that fails before its verdict adds its violation and its finished faults, but no operations.
//!
//! A run lasts for a time, or until so many faults of each kind were valid. The last fault of an ensemble damages the
//! files of one node until it refuses to start; then it gets an empty directory and comes back as a learner.
//!
//! With blocked outputs, standard output and standard error of every node are full pipes that are not read, in every
//! start: nothing here then depends on what a node prints, and no last line is looked at.
//!
//! Whether the judge would notice anything is shown by [`teeth`]; [`failover`] measures how long the ensemble is
//! without a leader when the leader is killed, and [`plot`] draws that.
//!
//! Left out: partitions below TCP (a cut line holds bytes back, but the proxies' kernel acknowledges them), more than
//! one kind of fault at a time, nodes on different machines.
//!
//! Reading order: `arena` (one ensemble from start to verdict), `kinds`, `faults`, `network_faults`, `disk_faults`,
//! `workload`, `judge`, then the means: `images`, `preload`, `tally`.

mod arena;
mod disk_faults;
pub mod failover;
mod faults;
mod images;
mod judge;
mod kinds;
mod network_faults;
pub mod plot;
pub mod preload;
mod tally;
pub mod teeth;
mod workload;

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::random::Random;
use arena::{Arena, JUDGED, SharedTally, lock};
pub use kinds::{Counts, Group, Kind, Outputs, Plan};
pub use tally::{Struck, Tally};

/// How long one ensemble is used; then another takes its place, so that a long run forms many, and its histories
/// and logs stay small.
const ENSEMBLE_TIME: Duration = Duration::from_secs(120);
/// A run ends early after so many ensembles with violations: each keeps its disks.
const FAILURES_MAX: usize = 5;
/// A run for counts gives up once there were this many more invalid faults of a kind than were asked for.
const INVALID_MAX: u64 = 100;

/// Runs faults as the plan says, and gives what was counted. Whatever fails is a violation.
///
/// A run whose future is dropped ends its processes and unmounts its disks.
pub async fn run(seed: u64, plan: Plan, outputs: Outputs) -> Tally {
    clear_leftovers();
    let tally = SharedTally::default();
    let begun = Instant::now();
    let mut random = Random::new(seed);
    let mut failures = 0;
    while failures < FAILURES_MAX {
        let left = match &plan {
            Plan::Time(time) => time.saturating_sub(begun.elapsed()),
            Plan::Counts(counts) => {
                let tally = lock(&tally);
                let hopeless =
                    counts.each().any(|(group, count)| tally.group(group).invalid > count + INVALID_MAX);
                if hopeless || counts.missing(&tally).next().is_none() {
                    Duration::ZERO
                } else {
                    ENSEMBLE_TIME
                }
            }
        };
        if left.is_zero() {
            break;
        }
        let before = lock(&tally).struck();
        let seed = random.number();
        let (shared, planned) = (Arc::clone(&tally), plan.clone());
        let ended = caught(async move {
            lock(&shared).ensembles += 1;
            let mut arena = Arena::start(seed, outputs, &shared).await;
            tell(&format!("ensemble of seed {seed}, {} clients", arena.clients()));
            lock(&shared).skipped.iter().for_each(|skipped| tell(&format!("not tried: {skipped}")));
            arena.run(left.min(ENSEMBLE_TIME), &planned, &shared).await;
        });
        if let Err(text) = ended.await {
            failures += 1;
            if !text.starts_with(JUDGED) {
                lock(&tally).violations.push(text);
            }
        } else if lock(&tally).struck() == before {
            // What is missing is not possible here.
            break;
        }
    }
    let tally = lock(&tally);
    tally.clone()
}

/// Says what a run that was killed has left behind, and clears it away.
fn clear_leftovers() {
    let (processes, mounts, directories) = images::clear_leftovers();
    if processes + mounts + directories > 0 {
        tell(&format!(
            "left over from a run that was killed: {processes} processes, {mounts} mounts, {directories} directories"
        ));
    }
}

/// Runs a task of its own, so that a failed expectation ends that only, and gives what it said. It ends with the
/// future.
async fn caught<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(task);
    match tasks.join_next().await {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(match error.try_into_panic() {
            Ok(payload) => panic_text(payload.as_ref()),
            Err(error) => error.to_string(),
        }),
        None => unreachable!("a task was spawned"),
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a failure without a word".to_owned())
}

/// A line for those who watch.
pub fn tell(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}
