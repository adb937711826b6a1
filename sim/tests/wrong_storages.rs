//! Storages that handle crashes or damage incorrectly: the simulator must detect them, or its disk faults are too weak.
//! (The storage contract covers faults without damage.)

use std::panic::{self, AssertUnwindSafe};

use gometa_sim::{Ensemble, Settings, settings::MILLISECOND};

const SEEDS_MAX: u64 = 200;

/// The first seed whose run detects the fault, and the violation.
fn detected(change: impl Fn(&mut Settings)) -> Option<(u64, String)> {
    (0..SEEDS_MAX).find_map(|seed| {
        let mut settings = Settings::of_seed(seed);
        settings.disk.error = settings.disk.error.max(500);
        settings.disk.damage_every = 1_000 * MILLISECOND;
        // Runs with changes of the members, or with a lost majority, have no lost disks.
        (settings.process.change_every, settings.process.recoveries, settings.spares) = (0, 0, 0);
        change(&mut settings);
        let mut ensemble = Ensemble::new(settings, None);
        match panic::catch_unwind(AssertUnwindSafe(|| ensemble.run())) {
            Ok(Ok(())) => None,
            Ok(Err(violation)) => Some((seed, violation.to_string())),
            Err(_) => Some((seed, "a panic".to_owned())),
        }
    })
}

#[test]
fn a_correct_storage_violates_no_invariant() {
    assert_eq!(detected(|_| ()), None);
}

#[test]
fn a_start_that_ignores_the_sync_mark_is_detected() {
    let (seed, why) = detected(|settings| settings.disk.ignores_mark = true)
        .expect("lost entries are not detected by the node");
    println!("seed {seed}: {why}");
}
