//! The long loads of `gometa-endurance`, short: they measure, and directories stay small.

use std::time::Duration;

use gometa_tests::{
    endurance::{Absence, Disk, UnderLoad, growth, joins, returns},
    say,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sets_of_few_keys_are_measured_every_second() {
    let grown = growth(60_000, 1_000).await.unwrap();
    say(&grown.text());
    let picture = grown.svg();
    assert!(picture.starts_with("<svg ") && picture.matches("<polyline").count() == 5, "{picture}");
    assert!(grown.directory_bytes() < 200 << 20, "{grown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_under_load_and_replaces_the_leader() {
    let joined = joins(UnderLoad { keys: 10_000, rate: 200, before: Duration::from_secs(1) }).await;
    say(&joined.text());
    // Latencies are not judged beside other tests.
    assert!(joined.failures.is_empty() && joined.steps.len() == 5, "{joined:?}");
    assert!(joined.steps.iter().all(|step| step.sets > 0), "{joined:?}");
}

async fn comes_back_by_a_snapshot(disk: Disk) {
    let absence = Absence { keys: 1_000, missed: 120_000, disk, rate: 200, before: Duration::from_secs(1) };
    let back = returns(absence).await;
    say(&format!("{back:?}"));
    assert!(back.snapshot && back.sets > 0, "{back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_follower_comes_back_by_a_snapshot_under_load() {
    comes_back_by_a_snapshot(Disk::Wiped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_flipped_bits_comes_back_by_a_snapshot_under_load() {
    comes_back_by_a_snapshot(Disk::Damaged).await;
}
