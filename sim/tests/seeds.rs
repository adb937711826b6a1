//! Thousands of runs: no violated invariant, convergence at the end, and every kind of fault was injected.

use gometa_sim::{
    changes::Changes,
    runner::{Plan, fields, run, run_many},
};

#[test]
fn two_thousand_seeds_violate_no_invariant() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan { start: 0, seeds: 2_000, threads, all: false, changes: Changes::default() };
    let summary = run_many(&plan, |_, _| ());
    if let Some(failure) = summary.failures.first() {
        panic!("seed {}: {:?}", failure.seed, failure.violation);
    }
    assert_eq!(summary.seeds, 2_000);
    assert_eq!(summary.twice, 20);
    assert_eq!(summary.missing(), Vec::<&str>::new(), "{:?}", fields(&summary.counts));
    let (judged, left) = (summary.counts.verified, summary.counts.unverified);
    assert!(left * 100 < judged, "{left} histories could not be checked, {judged} could");
}

#[test]
fn a_seed_has_the_same_trace_with_and_without_an_observer() {
    let quiet = run(11, None);
    let watched = run(11, Some(Box::new(|line| assert!(!line.is_empty()))));
    assert_eq!(quiet.trace_hash, watched.trace_hash);
    assert_ne!(quiet.trace_hash, run(12, None).trace_hash);
}
