//! Runs seeds: one, or many on all cores.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{changes::Changes, checkers::Violation, counts::Counts, ensemble::Ensemble, trace::Sink};

/// One of this many seeds is run twice.
const TWICE_EVERY: u64 = 100;

/// The counts that count faults.
const FAULTS: [&str; 6] = ["restarts", "pauses", "wipes", "partitions", "broken_links", "faulty_datagrams"];

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What it went through.
    pub counts: Counts,
    /// Hash of everything that happened.
    pub trace_hash: u64,
    /// What went wrong.
    pub violation: Option<Violation>,
}

/// One run. A panic of the nodes' code is a violation like any other.
pub fn run(seed: u64, sink: Option<Sink>) -> Outcome {
    run_changed(seed, &Changes::default(), sink)
}

/// A run from which something was left out.
pub fn run_changed(seed: u64, changes: &Changes, sink: Option<Sink>) -> Outcome {
    let mut ensemble = Ensemble::new(changes.settings(seed), sink);
    let result = panic::catch_unwind(AssertUnwindSafe(|| ensemble.run()));
    let violation = match result {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => Some(Violation { invariant: "no panic", detail: message(panic.as_ref()) }),
    };
    Outcome { seed, counts: ensemble.counts(), trace_hash: ensemble.trace_hash(), violation }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
}

/// Many runs together.
#[derive(Clone, Default, Debug)]
pub struct Summary {
    /// Runs done.
    pub seeds: u64,
    /// Runs made a second time.
    pub twice: u64,
    /// All they went through.
    pub counts: Counts,
    /// The runs that violated an invariant, ascending by seed.
    pub failures: Vec<Outcome>,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        let (sum, one) = (&mut self.counts, &outcome.counts);
        for ((_, sum), (_, one)) in fields_mut(sum).into_iter().zip(fields(one)) {
            *sum += one;
        }
        if outcome.violation.is_some() {
            let at = self.failures.partition_point(|failure| failure.seed < outcome.seed);
            self.failures.insert(at, outcome);
        }
    }

    /// Faults of all kinds.
    pub fn faults(&self) -> u64 {
        let counted = fields(&self.counts).into_iter().filter(|(name, _)| FAULTS.contains(name));
        counted.map(|(_, count)| count).sum()
    }

    /// Virtual time, in seconds.
    pub fn simulated_seconds(&self) -> f64 {
        self.counts.time as f64 / 1e6
    }

    /// The counts that are zero and must not be in a large number of runs.
    pub fn missing(&self) -> Vec<&'static str> {
        let counts = &self.counts;
        [
            ("truncations", counts.truncations),
            ("leader changes", counts.established.saturating_sub(self.seeds)),
            ("lost tails", counts.lost_tails),
            ("barriers", counts.barriers),
            ("retried writes", counts.retried),
            ("suppressed duplicates", counts.suppressed),
            ("restarts", counts.restarts),
            ("wipes", counts.wipes),
            ("formations", counts.formations),
            ("crashes before formation", counts.early_crashes),
            ("sync_crashes", counts.sync_crashes),
        ]
        .into_iter()
        .chain(counts.faults.clone().fields_mut().into_iter().map(|(name, count)| (name, *count)))
        .filter_map(|(name, count)| (count == 0).then_some(name))
        .collect()
    }
}

/// Every count and its name, for people and for JSON.
pub fn fields(counts: &Counts) -> Vec<(&'static str, u64)> {
    let mut counts = *counts;
    fields_mut(&mut counts).into_iter().map(|(name, value)| (name, *value)).collect()
}

fn fields_mut(counts: &mut Counts) -> Vec<(&'static str, &mut u64)> {
    let Counts {
        truncations,
        established,
        lost_tails,
        surviving_tails,
        barriers,
        local_reads,
        pages,
        histories,
        txns,
        writes,
        retried,
        suppressed,
        unknown,
        restarts,
        pauses,
        wipes,
        formations,
        early_crashes,
        sync_crashes,
        partitions,
        broken_links,
        faulty_datagrams,
        unverified,
        verified,
        committed,
        time,
        events,
        faults,
    } = counts;
    let mut fields = vec![
        ("truncations", truncations),
        ("established_epochs", established),
        ("lost_tails", lost_tails),
        ("surviving_tails", surviving_tails),
        ("barriers", barriers),
        ("local_reads", local_reads),
        ("pages", pages),
        ("histories_of_keys", histories),
        ("transactions", txns),
        ("writes", writes),
        ("retried_writes", retried),
        ("suppressed_duplicates", suppressed),
        ("unknown_writes", unknown),
        ("restarts", restarts),
        ("pauses", pauses),
        ("wipes", wipes),
        ("formations", formations),
        ("crashes_before_formation", early_crashes),
        ("sync_crashes", sync_crashes),
        ("partitions", partitions),
        ("broken_links", broken_links),
        ("faulty_datagrams", faulty_datagrams),
        ("unverified_histories", unverified),
        ("verified_histories", verified),
        ("committed_entries", committed),
        ("virtual_time_us", time),
        ("events", events),
    ];
    fields.extend(faults.fields_mut());
    fields
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first seed.
    pub start: u64,
    /// How many.
    pub seeds: u64,
    /// The number of threads.
    pub threads: usize,
    /// Go on after a violation.
    pub all: bool,
    /// What is left out of every run.
    pub changes: Changes,
}

/// Runs many seeds; `progress` is called regularly.
pub fn run_many(plan: &Plan, mut progress: impl FnMut(&Summary, Duration)) -> Summary {
    let began = Instant::now();
    let next = AtomicU64::new(plan.start);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    let end = plan.start.saturating_add(plan.seeds);
    let locked = || summary.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    break;
                }
                let mut outcome = run_changed(seed, &plan.changes, None);
                let twice = seed.is_multiple_of(TWICE_EVERY) && outcome.violation.is_none();
                if twice {
                    let again = run_changed(seed, &plan.changes, None).trace_hash;
                    if again != outcome.trace_hash {
                        let detail = format!(
                            "two runs have the trace hashes {:016x} and {again:016x}",
                            outcome.trace_hash
                        );
                        outcome.violation = Some(Violation { invariant: "determinism", detail });
                    }
                }
                if outcome.violation.is_some() && !plan.all {
                    stop.store(true, Ordering::Relaxed);
                }
                let mut summary = locked();
                summary.twice += u64::from(twice);
                summary.add(outcome);
            }
        };
        let workers: Vec<_> = (0..plan.threads.max(1)).map(|_| scope.spawn(work)).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::park_timeout(Duration::from_millis(200));
            let snapshot = locked().clone();
            progress(&snapshot, began.elapsed());
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}
