//! Followers that are behind: stopped for a while, or paused with open connections.

use std::time::Duration;

use gometa_client::Client;
use gometa_tests::{ensemble::Ensemble, random, say};
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The number of concurrent writes.
const TOGETHER: u64 = 64;

/// Writes keys `{name}/0` to `{name}/{count - 1}` with values of the given size in bytes.
pub(crate) async fn write(client: &Client, name: &'static str, count: u64, value_bytes: usize) {
    let mut flying = JoinSet::new();
    for lane in 0..TOGETHER {
        let client = client.clone();
        flying.spawn(async move {
            for number in (lane..count).step_by(TOGETHER as usize) {
                let value = vec![b'x'; value_bytes];
                let written = client.set(format!("{name}/{number}"), value).await;
                written.unwrap_or_else(|error| panic!("{error}"));
            }
        });
    }
    flying.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_down_for_ten_thousand_writes_catches_up() {
    const WRITES: u64 = 10_000;
    let mut random = random::of_this_run("catching up");
    let mut ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    let (_, follower) = ensemble.leader_and_other(&mut random).await;
    assert!(ensemble.terminate(follower).await.success(), "SIGTERM ends a node in order");
    write(&client, "missed", WRITES, 128).await;
    ensemble.restart(follower).await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert!(statuses[follower].keys >= WRITES, "{:?}", statuses[follower]);
    let last = ensemble.client_of(follower, TIMEOUT).get_local(format!("missed/{}", WRITES - 1)).await;
    assert_eq!(last.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_follower_leaves_the_leaders_memory_flat() {
    const WARM_UP: u64 = 60_000;
    const WRITES: u64 = 100_000;
    const VALUE_BYTES: usize = 512;
    /// Less than an unbounded queue would grow: the values alone are 50 MiB.
    const GROWTH_MAX_KIB: u64 = 40 << 10;
    let mut random = random::of_this_run("standing still");
    let ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    let (leader, follower) = ensemble.leader_and_other(&mut random).await;
    // Fills bounded caches and memtables first.
    write(&client, "warm", WARM_UP, VALUE_BYTES).await;
    let before = ensemble.process(leader).resident_kib();

    ensemble.pause(follower);
    let peak = {
        let writing = write(&client, "still", WRITES, VALUE_BYTES);
        tokio::pin!(writing);
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let mut peak = 0;
        loop {
            tokio::select! {
                () = &mut writing => break peak.max(ensemble.process(leader).resident_kib()),
                _ = looks.tick() => peak = peak.max(ensemble.process(leader).resident_kib()),
            }
        }
    };
    say(&format!(
        "{WRITES} writes of {VALUE_BYTES} bytes past a follower that stands still: the leader's memory went from {} \
         to at most {} MiB",
        before >> 10,
        peak >> 10
    ));
    assert_eq!(ensemble.leader_among(&ensemble.others(follower)).await, leader, "it never lost its quorum");
    assert!(peak < before + GROWTH_MAX_KIB, "{before} KiB grew to {peak} KiB");

    ensemble.resume(follower);
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert!(statuses[follower].keys >= WARM_UP + WRITES, "{:?}", statuses[follower]);
}
