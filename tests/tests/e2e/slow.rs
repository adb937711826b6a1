//! Slow disks and slow lines: timeouts do not end what makes progress.

use std::time::{Duration, Instant};

use gometa_client::Client;
use gometa_tests::{chaos::preload::Preload, ensemble::Ensemble, network::Line, random, say};

const TIMEOUT: Duration = Duration::from_secs(60);
const SYNC_MS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_on_slow_disks_forms_and_has_a_new_leader_soon() {
    let mut ensemble = Ensemble::prepare(3);
    let everyone = ensemble.all();
    let preload = Preload::compile(ensemble.scratch(), everyone.len()).unwrap();
    let started = Instant::now();
    for node in &everyone {
        preload.slow_syncs(*node, SYNC_MS).unwrap();
        ensemble.spawn_with(*node, preload.server(*node));
    }
    ensemble.all_ready().await;
    let formed = started.elapsed();
    assert!(formed < Duration::from_secs(60), "formed after {formed:?}");
    let client = ensemble.client(TIMEOUT);
    client.set("k", "one").await.unwrap();

    // Each names the slow disk.
    let leader = ensemble.leader().await;
    ensemble.logged(leader, &["slow disk", "disk_of=", "write_ms="]).await;
    let status = ensemble.status_when(leader, "names slow disks", |status| {
        let slow = status.peers.iter().filter(|peer| peer.detail.contains("its disk is slow"));
        status.detail.contains("its own disk is slow") && slow.count() == 2
    });
    status.await;

    let killed = Instant::now();
    ensemble.kill(leader);
    let left: Vec<String> = ensemble.others(leader).iter().map(|node| ensemble.request(*node)).collect();
    let client = Client::builder().timeout(TIMEOUT).build(left).unwrap();
    client.set("k", "two").await.unwrap();
    let written = killed.elapsed();
    say(&format!(
        "{SYNC_MS} ms for each sync: formed after {:.1} s, the next write {:.1} s after the leader's death",
        formed.as_secs_f64(),
        written.as_secs_f64()
    ));
    assert!(written < Duration::from_secs(15), "written after {written:?}");
    for node in &everyone {
        assert!(*node == leader || preload.heal_syncs(*node) > 0, "node {node} was not slow");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_becomes_slow_hands_over_to_a_node_with_a_quick_one() {
    const SLOW_MS: u64 = 700;
    const SETS: usize = 20;
    let mut ensemble = Ensemble::prepare(3);
    let everyone = ensemble.all();
    let preload = Preload::compile(ensemble.scratch(), everyone.len()).unwrap();
    for node in &everyone {
        ensemble.spawn_with(*node, preload.server(*node));
    }
    ensemble.all_ready().await;
    let slow = ensemble.leader().await;
    let quick = ensemble.others(slow);
    let addresses = quick.iter().map(|node| ensemble.request(*node));
    let client = Client::builder().timeout(TIMEOUT).pinned(true).build(addresses).unwrap();
    preload.slow_syncs(slow, SLOW_MS).unwrap();
    let began = Instant::now();
    while !ensemble.log(slow).contains("leadership handed over") {
        assert!(began.elapsed() < Duration::from_secs(30), "the node with the slow disk leads still");
        client.set("k", "x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensemble.leader_among(&quick).await;
    let handed_over = began.elapsed();
    let mut times = Vec::new();
    for _ in 0..SETS {
        let set = Instant::now();
        client.set("k", "x").await.unwrap();
        times.push(set.elapsed());
    }
    times.sort_unstable();
    let median = times[SETS / 2];
    say(&format!(
        "{SLOW_MS} ms for each sync of the leader: another one after {handed_over:.1?}, then median of sets {median:.1?}"
    ));
    assert!(median < Duration::from_millis(150), "{times:?}");
    ensemble.logged(slow, &["transfer of the leadership begun", "its disk is slow"]).await;
    assert!(preload.heal_syncs(slow) > 0, "the disk was not slow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_on_which_one_message_takes_longer_than_the_election_time_out_brings_a_node_up() {
    const WRITES: usize = 40;
    const VALUE_BYTES: usize = 64 << 10;
    /// A message of 1 MiB takes four election time-outs.
    const RATE: u64 = 256 << 10;
    let mut random = random::of_this_run("slow line");
    let mut ensemble = Ensemble::start_on_network(3, &mut random).await;
    let client = ensemble.client(TIMEOUT);
    for number in 0..WRITES {
        client.set(format!("k/{number}"), vec![b'x'; VALUE_BYTES]).await.unwrap();
    }
    let (leader, node) = ensemble.leader_and_other(&mut random).await;
    ensemble.kill(node);
    ensemble.wipe(node);
    ensemble.network().set(leader, node, Line { bytes_per_second: RATE, ..Line::default() });
    let started = Instant::now();
    ensemble.spawn(node);
    ensemble.ready(node).await;
    say(&format!(
        "{} KiB of log over {} KiB/s: ready after {:.1} s",
        (WRITES * VALUE_BYTES) >> 10,
        RATE >> 10,
        started.elapsed().as_secs_f64()
    ));
    let last = ensemble.client_of(node, TIMEOUT).get_local(format!("k/{}", WRITES - 1)).await;
    assert_eq!(last.unwrap().value.len(), VALUE_BYTES);
    assert_eq!(ensemble.leader_among(&ensemble.others(node)).await, leader, "no other node led");
}
