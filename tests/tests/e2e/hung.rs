//! A node whose driver hangs: only its sockets still work.

use std::time::{Duration, Instant};

use gometa_tests::{chaos::preload::Preload, say};

/// The time within which each call must succeed: three seconds more than a client waits for a silent node.
const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_leaves_a_leader_whose_driver_hangs() {
    let (ensemble, preload) = Preload::start(3).await;
    let leader = ensemble.leader().await;
    let client = ensemble.client(TIMEOUT);
    client.set("in use", "x").await.unwrap();
    preload.hang_driver(leader, true).unwrap();
    let hung = Instant::now();
    let mut longest = Duration::ZERO;
    for call in 0..15 {
        let called = Instant::now();
        let written = client.set("in use", call.to_string()).await;
        assert!(written.is_ok(), "call {call}, {:?} after the driver hung: {written:?}", hung.elapsed());
        longest = longest.max(called.elapsed());
    }
    say(&format!(
        "15 writes in {:.1?} beside a leader that hangs, the longest {longest:.1?}",
        hung.elapsed()
    ));
    ensemble.leader_among(&ensemble.others(leader)).await;
    preload.hang_driver(leader, false).unwrap();
    ensemble.converged(&ensemble.all()).await;
}
