//! A node whose driver hangs in a read of its disk: only its sockets still work.

use std::time::{Duration, Instant};

use gometa_tests::{chaos::preload::Preload, ensemble::Ensemble, say, wait::PATIENCE, wait::until};

const KEYS: usize = 2_000;
/// The time within which each call must succeed: three seconds more than a client waits for a silent node.
const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_leaves_a_leader_whose_driver_hangs() {
    let mut ensemble = Ensemble::prepare(3);
    let everyone = ensemble.all();
    let preload = Preload::compile(ensemble.scratch(), everyone.len()).unwrap();
    for node in &everyone {
        ensemble.spawn_with(*node, preload.server(*node));
    }
    ensemble.all_ready().await;
    let client = ensemble.client(TIMEOUT);
    let value = vec![b'v'; 512];
    for key in 0..KEYS {
        client.set(format!("k/{key}"), &value).await.unwrap();
    }
    // A start moves data to tables, so that reads go to the disk.
    for node in &everyone {
        ensemble.terminate(*node).await;
        ensemble.spawn_with(*node, preload.server(*node));
        ensemble.ready(*node).await;
    }
    let leader = ensemble.leader().await;
    client.set("in use", "x").await.unwrap();
    preload.hang_reads(leader).unwrap();
    // Reads of keys that are in no cache, until one hangs.
    let hung = until("the leader's driver hangs", PATIENCE, || async {
        for key in 0..KEYS {
            if preload.hung_reads(leader) > 0 {
                return Ok(Instant::now());
            }
            let called = ensemble.client_of(leader, Duration::from_millis(200));
            drop(called.get(format!("k/{key}")).await);
        }
        Err("no read hangs".to_owned())
    })
    .await;
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
    assert!(preload.hung_reads(leader) > 0);
    preload.heal_reads(leader).unwrap();
    ensemble.converged(&everyone).await;
}
