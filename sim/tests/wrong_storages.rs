//! Storages that are wrong in what a crash or a damage makes of them: the simulator must notice, or its faults of the
//! disk show nothing. (The storage contract tells of what is wrong without damage.)

use std::panic::{self, AssertUnwindSafe};

use gometa_sim::{Ensemble, Settings, settings::MILLISECOND};

const SEEDS_MAX: u64 = 200;

/// The first seed whose run notices, and by what.
fn noticed(change: impl Fn(&mut Settings)) -> Option<(u64, String)> {
    (0..SEEDS_MAX).find_map(|seed| {
        let mut settings = Settings::of_seed(seed);
        settings.disk.error = settings.disk.error.max(500);
        settings.disk.damage_every = 1_000 * MILLISECOND;
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
fn a_storage_that_keeps_its_promises_raises_nothing() {
    assert_eq!(noticed(|_| ()), None);
}

#[test]
fn a_start_that_does_not_ask_how_far_the_disk_was_synced_is_noticed() {
    let (seed, why) =
        noticed(|settings| settings.disk.ignores_mark = true).expect("losses that stop no node");
    println!("seed {seed}: {why}");
}

#[test]
fn a_start_that_believes_the_page_cache_is_noticed() {
    let (seed, why) =
        noticed(|settings| settings.disk.skips_start_sync = true).expect("losses of what was found");
    println!("seed {seed}: {why}");
}
