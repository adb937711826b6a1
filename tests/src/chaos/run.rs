//! Runs of ensembles under faults, from the start to the final check.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    cluster::{Cluster, Outputs},
    faults::FaultResult,
    images,
    kinds::{Group, Kind},
    schedule::{Plan, Schedule},
    tally::{RATE_MIN, SHOWN_MAX, SharedTally, Tally},
    task::caught,
};
use crate::{lock, print_line, random};

/// The start of a panic's text whose violations are in the tally already.
const JUDGED: &str = "the verdict";
/// The maximum number of attempts to damage the node that is wiped in the end.
const WIPING_MAX: usize = 5;
/// How long one ensemble is used. Then it is replaced, so that a long run forms many, and its histories
/// and logs stay small.
const ENSEMBLE_TIME: Duration = Duration::from_secs(120);
/// The number of ensembles with violations after which a run ends: each keeps its disks.
const FAILURES_MAX: usize = 5;
/// A run for counts ends once there are this many more invalid faults of a kind than wanted ones.
const INVALID_MAX: u64 = 100;

/// Runs faults by a plan, and counts them in `tally`. Every failure is a violation.
///
/// After `limit` no further fault begins, and what was done is checked. Dropping the future kills the processes and
/// unmounts the disks; the last ensemble is not checked then.
pub async fn run(seed: u64, plan: Plan, outputs: Outputs, limit: Option<Duration>, tally: &SharedTally) {
    images::report_leftovers();
    let begun = Instant::now();
    let mut random = random::seeded(seed);
    let mut failures = 0;
    while failures < FAILURES_MAX {
        let left = match &plan {
            Plan::Time(time) => time.saturating_sub(begun.elapsed()),
            Plan::Counts(counts) => {
                let tally = lock(tally);
                let hopeless =
                    counts.each().any(|(group, count)| tally.group(group).invalid > count + INVALID_MAX);
                if hopeless || counts.missing(&tally).next().is_none() {
                    Duration::ZERO
                } else {
                    ENSEMBLE_TIME
                }
            }
        };
        let left = limit.map_or(left, |limit| left.min(limit.saturating_sub(begun.elapsed())));
        if left.is_zero() {
            break;
        }
        let (before, judged) = {
            let tally = lock(tally);
            (tally.fault_counts(), tally.judged)
        };
        let seed = random.word();
        let (shared, planned) = (Arc::clone(tally), plan.clone());
        let ended = caught(async move {
            lock(&shared).ensembles += 1;
            let mut cluster = Cluster::start(seed, outputs, &shared).await;
            print_line(&format!("ensemble of seed {seed}, {} clients", cluster.clients()));
            lock(&shared).skipped.iter().for_each(|skipped| print_line(&format!("not tried: {skipped}")));
            cluster.run(left.min(ENSEMBLE_TIME), &planned, &shared).await;
        });
        let ended = ended.await;
        let mut tally = lock(tally);
        let after = tally.fault_counts();
        if tally.judged > judged {
            tally.faults_judged += after.0 - before.0;
        }
        if let Err(text) = ended {
            failures += 1;
            if !text.starts_with(JUDGED) {
                tally.violations.push(text);
            }
        } else if after == before {
            // The missing kinds are not possible on this machine.
            break;
        }
    }
}

impl Cluster {
    /// Injects faults until the time is over or the plan is carried out, then checks everything.
    pub(super) async fn run(&mut self, time: Duration, plan: &Plan, tally: &Mutex<Tally>) {
        let begun = Instant::now();
        let mut schedule = Schedule::of(|kind| self.allows(kind));
        while begun.elapsed() < time && self.wiped.is_none() {
            let drawn = schedule.next(plan, &lock(tally), &mut self.random);
            let Some(kind) = drawn else { break };
            let rate = self.calm().await;
            let result = self.inject(kind).await;
            self.whole().await;
            record(begun, kind, rate, result, tally);
        }
        self.wipe_one(begun, &schedule, plan, tally).await;
        self.calm().await;
        self.judged(tally).await;
    }

    /// Injects the last fault: damages the files of a node until it refuses to start, and gives it an empty directory.
    async fn wipe_one(&mut self, begun: Instant, schedule: &Schedule, plan: &Plan, tally: &Mutex<Tally>) {
        let wanted = match plan {
            Plan::Time(_) => schedule.has(Kind::Flip),
            Plan::Counts(counts) => counts.each().any(|(group, _)| group == Group::FlippedBit),
        };
        for _ in 0..WIPING_MAX {
            // Damage without an effect so far stays until the final check.
            let whole = self.without(&self.damaged);
            if !wanted || self.wiped.is_some() || whole.is_empty() {
                return;
            }
            let node = whole[self.random.below(whole.len() as u64) as usize];
            let rate = self.calm().await;
            let result = self.flip(node, true).await;
            self.whole().await;
            record(begun, Kind::Flip, rate, result, tally);
        }
    }

    /// Checks everything, and adds the result to the tally.
    ///
    /// # Panics
    /// If there is a violation, so that directories, images and logs are kept as after any failure.
    async fn judged(&mut self, tally: &Mutex<Tally>) {
        let evidence = self.stop().await;
        let mut verdict = self.verdict(&evidence).await;
        let failed = !verdict.is_clean();
        let shown = verdict.violations.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
        {
            let shared = &self.workload.shared;
            let mut tally = lock(tally);
            tally.operations += shared.operations.load(Relaxed);
            tally.acknowledged += shared.acknowledged.load(Relaxed);
            tally.refused += shared.refused.load(Relaxed);
            tally.unknown += shared.unknown.load(Relaxed);
            tally.judged += 1;
            tally.looked_for += verdict.looked_for;
            tally.lost += verdict.lost;
            tally.histories += verdict.histories;
            tally.illegal += verdict.illegal;
            tally.unverified += verdict.unverified;
            tally.violations.append(&mut verdict.violations);
        }
        assert!(!failed, "{JUDGED}:\n{shown}");
    }
}

/// Prints and counts a fault.
fn record(begun: Instant, kind: Kind, rate: f64, result: FaultResult, tally: &Mutex<Tally>) {
    let FaultResult { what, processes, mut effect, served, outcome } = result;
    if rate < RATE_MIN {
        effect = effect.and(Err(format!("fewer than {RATE_MIN:.0} operations a second before the fault")));
    }
    let said = match &effect {
        Ok(()) => String::new(),
        Err(reason) => format!("; INVALID: {reason}"),
    };
    let at = begun.elapsed().as_secs_f64();
    let name = kind.name();
    print_line(&format!(
        "{at:>7.1} s  {name:<32} {rate:>6.0}/s before, served after {served:>7.0?}  {what}{said}"
    ));
    let mut tally = lock(tally);
    tally.rate(rate);
    if let (Ok(()), Some(outcome)) = (&effect, outcome) {
        *tally.outcomes.entry(format!("{name}: {outcome}")).or_default() += 1;
    }
    tally.fault(kind, processes, effect, served);
}
