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
//! Left out for now: jumps of the wall clock, bits flipped in a stopped node's files.
//!
//! Reading order: `arena` (one ensemble from start to verdict), `faults`, `workload`, `judge`, then the means:
//! `images`, `sync_fault`, `tally`.

mod arena;
mod faults;
mod images;
mod judge;
mod sync_fault;
mod tally;
mod workload;

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::random::Random;
use arena::{Arena, JUDGED, SharedTally, lock};
pub use faults::Kind;
pub use tally::{Struck, Tally};

/// How long one ensemble is used; then another takes its place, so that a long run forms many, and its histories
/// and logs stay small.
const ENSEMBLE_TIME: Duration = Duration::from_secs(120);
/// A run ends early after so many ensembles with violations: each keeps its disks.
const FAILURES_MAX: usize = 5;

/// Runs faults for as long as `time` says, and gives what was counted. Whatever fails is a violation.
///
/// A run whose future is dropped ends its processes and unmounts its disks.
///
/// With `lying` disks every sync is a lie and all power is cut: such a run must find violations. Mostly it is the
/// nodes that find their directories damaged and refuse to start, so it says little about the verdict.
pub async fn run(seed: u64, time: Duration, lying: bool) -> Tally {
    let (processes, mounts, directories) = images::clear_leftovers();
    if processes + mounts + directories > 0 {
        tell(&format!(
            "left over from a run that was killed: {processes} processes, {mounts} mounts, {directories} directories"
        ));
    }
    let tally = SharedTally::default();
    let begun = Instant::now();
    let mut random = Random::new(seed);
    let (mut failures, failures_max) = (0, if lying { 1 } else { FAILURES_MAX });
    while begun.elapsed() < time && failures < failures_max {
        let left = time.saturating_sub(begun.elapsed()).min(ENSEMBLE_TIME);
        let seed = random.number();
        let shared = Arc::clone(&tally);
        // A task of its own, so that a failed expectation ends this ensemble only. It ends with the set.
        let mut ensembles = tokio::task::JoinSet::new();
        ensembles.spawn(async move {
            lock(&shared).ensembles += 1;
            let mut arena = Arena::start(seed, lying, &shared).await;
            tell(&format!("ensemble of seed {seed}, {} clients", arena.clients()));
            lock(&shared).skipped.iter().for_each(|skipped| tell(&format!("not tried: {skipped}")));
            arena.run(left, &shared).await;
        });
        if let Some(Err(error)) = ensembles.join_next().await {
            failures += 1;
            let text = match error.try_into_panic() {
                Ok(payload) => panic_text(payload.as_ref()),
                Err(error) => error.to_string(),
            };
            if !text.starts_with(JUDGED) {
                lock(&tally).violations.push(text);
            }
        }
    }
    let tally = lock(&tally);
    tally.clone()
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
