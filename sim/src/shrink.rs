//! Makes a failing run smaller: fewer kinds of faults, less time, fewer clients, keys and nodes, for as long as it
//! fails in the same way.
//!
//! What remains is a [`Changes`], and so a command that a person can read, repeat and go on with. The search is
//! greedy: kinds of faults first, all of them at once, then halves, then one by one; the time last, for a short run
//! meets too few accidents to do without any of them. A run from which something was taken meets other accidents than
//! before, and so may miss a failure that is still there; therefore each attempt is made with a few runs of the same
//! settings ([`Changes::variant`]). All of it is bounded by a [`Budget`].

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    changes::{Changes, KNOBS, Knob, time},
    checkers::Violation,
    runner,
    settings::{MILLISECOND, SECOND},
};

/// Runs of the same settings that are tried before they are taken not to fail.
const VARIANTS: u64 = 12;

/// The shortest time for faults that is tried.
const UNTIL_MIN: u64 = 250 * MILLISECOND;

/// How much work shrinking may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Runs.
    pub runs: u64,
    /// Real time.
    pub time: Duration,
}

impl Budget {
    /// For a failure that is being investigated.
    pub const FULL: Budget = Budget { runs: 10_000, time: Duration::from_secs(300) };
    /// For the first failure of many seeds, by default.
    pub const SHORT: Budget = Budget { runs: 1_000, time: Duration::from_secs(30) };
}

/// The failure of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The violated invariant.
    pub violation: Violation,
    /// When, in microseconds of virtual time.
    pub time: u64,
}

impl Failure {
    /// Whether both violated the same invariant. Panics are distinguished by their message without numbers.
    fn is_like(&self, other: &Failure) -> bool {
        let (one, other) = (&self.violation, &other.violation);
        let said = |violation: &Violation| -> String {
            let line = violation.detail.lines().next().unwrap_or_default();
            line.chars().filter(|character| !character.is_ascii_digit()).collect()
        };
        one.invariant == other.invariant && (one.invariant != "no panic" || said(one) == said(other))
    }
}

/// The size of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Kinds of faults.
    pub kinds: usize,
    /// How long faults go on, in microseconds.
    pub until: u64,
    /// Nodes.
    pub nodes: usize,
    /// Clients.
    pub clients: usize,
}

impl Size {
    /// The size of a changed seed.
    pub fn of(seed: u64, changes: &Changes) -> Size {
        let settings = changes.settings(seed);
        Size {
            kinds: KNOBS.iter().filter(|knob| knob.is_on(&settings)).count(),
            until: settings.fault_time,
            nodes: settings.nodes,
            clients: settings.workload.clients,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { kinds, until, nodes, clients } = self;
        let until = time(*until);
        write!(f, "{kinds} kinds of trouble, {until} of faults, {nodes} nodes, {clients} clients")
    }
}

/// What a failing run was shrunk to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The seed.
    pub seed: u64,
    /// What is left out of it.
    pub changes: Changes,
    /// How it still fails.
    pub failure: Failure,
    /// How large it was, and is.
    pub sizes: (Size, Size),
    /// Runs that it took.
    pub runs: u64,
}

/// Shrinks a run that fails; None if it does not fail when it is run again.
pub fn shrink(seed: u64, changes: &Changes, budget: Budget) -> Option<Shrunk> {
    shrink_by(seed, changes, budget, |changes| {
        let outcome = runner::run_changed(seed, changes, None);
        outcome.violation.map(|violation| Failure { violation, time: outcome.counts.time })
    })
}

/// The same, where `run` says how a run fails.
fn shrink_by(
    seed: u64,
    changes: &Changes,
    budget: Budget,
    mut run: impl FnMut(&Changes) -> Option<Failure>,
) -> Option<Shrunk> {
    let failure = run(changes)?;
    let before = Size::of(seed, changes);
    let mut search = Search {
        seed,
        best: changes.clone(),
        failure,
        runs: 1,
        runs_max: budget.runs,
        end: Instant::now() + budget.time,
        run,
    };
    loop {
        let known = search.best.clone();
        search.leave_out();
        search.reduce();
        search.shorten();
        if search.best == known || search.is_over() {
            break;
        }
    }
    let Search { best, failure, runs, .. } = search;
    let sizes = (before, Size::of(seed, &best));
    Some(Shrunk { seed, changes: best, failure, sizes, runs })
}

struct Search<R> {
    seed: u64,
    /// The smallest that is known to fail, and how.
    best: Changes,
    failure: Failure,
    runs: u64,
    runs_max: u64,
    end: Instant,
    run: R,
}

impl<R: FnMut(&Changes) -> Option<Failure>> Search<R> {
    fn is_over(&self) -> bool {
        self.runs >= self.runs_max || Instant::now() >= self.end
    }

    /// Whether it still fails with another change; then that is kept.
    fn attempt(&mut self, change: impl FnOnce(&mut Changes)) -> bool {
        let mut changes = self.best.clone();
        change(&mut changes);
        // First the run as it was, then others like it.
        let own = changes.variant;
        for variant in (0..VARIANTS).map(|more| own + more) {
            if self.is_over() {
                return false;
            }
            self.runs += 1;
            changes.variant = variant;
            match (self.run)(&changes) {
                Some(failure) if failure.is_like(&self.failure) => {
                    self.best = changes;
                    self.failure = failure;
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// Less time. What comes after the failure goes at once: nothing before it changes.
    fn shorten(&mut self) {
        let until = |search: &Search<R>| search.best.settings(search.seed).fault_time;
        let needed = self.failure.time.next_multiple_of(SECOND / 10) + SECOND / 10;
        if needed < until(self) {
            self.attempt(|changes| changes.until = Some(needed));
        }
        for (times, parts) in [(1, 2), (3, 4)] {
            loop {
                let tenths = until(self) * times / parts / (50 * MILLISECOND);
                let shorter = tenths * 50 * MILLISECOND;
                if shorter < UNTIL_MIN || !self.attempt(|changes| changes.until = Some(shorter)) {
                    break;
                }
            }
        }
    }

    /// Fewer kinds of faults.
    fn leave_out(&mut self) {
        let settings = self.best.settings(self.seed);
        let mut on: Vec<&Knob> = KNOBS.iter().filter(|knob| knob.is_on(&settings)).collect();
        let mut size = on.len();
        while size > 0 {
            let mut at = 0;
            while at < on.len() {
                let part = at..on.len().min(at + size);
                let gone = self.attempt(|changes| {
                    for knob in &on[part.clone()] {
                        changes.leave_out(knob);
                    }
                });
                if gone {
                    on.drain(part);
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    /// Fewer nodes, clients, keys, operations in flight.
    fn reduce(&mut self) {
        let settings = self.best.settings(self.seed);
        let workload = &settings.workload;
        for nodes in [1, 3].into_iter().filter(|nodes| *nodes < settings.nodes) {
            if self.attempt(|changes| changes.nodes = Some(nodes)) {
                break;
            }
        }
        for clients in 1..workload.clients {
            if self.attempt(|changes| changes.clients = Some(clients)) {
                break;
            }
        }
        if workload.keys > 1 {
            self.attempt(|changes| changes.keys = Some(1));
        }
        if workload.in_flight_max > 1 {
            self.attempt(|changes| changes.in_flight = Some(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn failure(invariant: &'static str, detail: &str, time: u64) -> Failure {
        Failure { violation: Violation { invariant, detail: detail.to_owned() }, time }
    }

    /// A seed with enough in it to leave something out.
    fn rich() -> u64 {
        let of = |seed: &u64| Size::of(*seed, &Changes::default());
        let wanted = |settings: &Settings| settings.process.crash_every > 0 && settings.network.loss > 0;
        (0..1_000)
            .find(|seed| of(seed).kinds > 15 && of(seed).nodes == 5 && wanted(&Settings::of_seed(*seed)))
            .expect("some seed has much in it")
    }

    #[test]
    fn what_does_not_matter_is_left_out_and_what_does_is_kept() {
        let seed = rich();
        // Crashes and lost datagrams, two clients, three nodes, and a time of two seconds.
        let run = |changes: &Changes| {
            let settings = changes.settings(seed);
            let fails = settings.process.crash_every > 0
                && settings.network.loss > 0
                && settings.workload.clients >= 2
                && settings.nodes >= 3
                && settings.fault_time >= 2 * SECOND;
            fails.then(|| failure("a promise", "broken", 9 * SECOND))
        };
        let shrunk = shrink_by(seed, &Changes::default(), Budget::FULL, run).expect("it fails");
        let (before, after) = shrunk.sizes;
        assert_eq!((after.kinds, after.nodes, after.clients), (2, 3, 2), "{}", shrunk.changes);
        assert!((2 * SECOND..3 * SECOND).contains(&after.until), "{}", shrunk.changes);
        assert!(before.kinds > 15 && before.until > 9 * SECOND);
        let left = shrunk.changes.settings(seed);
        assert_eq!((left.workload.keys, left.workload.in_flight_max), (1, 1));
        assert_eq!(run(&shrunk.changes), Some(shrunk.failure));
    }

    #[test]
    fn another_failure_is_no_success() {
        let seed = rich();
        // Without partitions it fails as well, in another way; and other panics are other failures.
        for (one, other) in [
            (failure("a promise", "x", SECOND), failure("another", "x", SECOND)),
            (failure("no panic", "3 is odd", SECOND), failure("no panic", "4 is even", SECOND)),
        ] {
            let run = |changes: &Changes| {
                let crashes = changes.settings(seed).process.crash_every > 0;
                Some(if crashes { one.clone() } else { other.clone() })
            };
            let shrunk = shrink_by(seed, &Changes::default(), Budget::FULL, run).expect("it fails");
            assert_eq!(shrunk.failure, one);
            assert!(shrunk.changes.settings(seed).process.crash_every > 0);
            assert_eq!(shrunk.sizes.1.kinds, 1);
        }
        let (five, six) = (failure("no panic", "5 after 4", 1), failure("no panic", "6 after 5", 1));
        assert!(five.is_like(&six));
    }

    #[test]
    fn a_failure_that_needs_luck_is_looked_for_in_other_runs() {
        let seed = rich();
        let run = |changes: &Changes| {
            let lucky = changes.is_none() || changes.variant % 3 == 2;
            lucky.then(|| failure("a promise", "broken", SECOND))
        };
        let shrunk = shrink_by(seed, &Changes::default(), Budget::FULL, run).expect("it fails");
        assert_eq!(shrunk.sizes.1.kinds, 0);
        assert_eq!(shrunk.changes.variant, 2);
    }

    #[test]
    fn the_budget_is_kept_and_what_does_not_fail_is_not_shrunk() {
        let seed = rich();
        let mut runs = 0;
        let budget = Budget { runs: 20, time: Duration::from_secs(60) };
        let shrunk = shrink_by(seed, &Changes::default(), budget, |changes| {
            runs += 1;
            changes.is_none().then(|| failure("a promise", "broken", 20 * SECOND))
        });
        assert_eq!(shrunk.map(|shrunk| shrunk.runs), Some(20));
        assert_eq!(runs, 20);
        assert!(shrink_by(seed, &Changes::default(), budget, |_| None).is_none());
    }
}
