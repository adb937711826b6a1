//! A node serves only after it has applied all entries that were committed when it joined.

use std::time::{Duration, Instant};

use gometa_client::{Client, ErrorKind, Role};
use gometa_tests::{ensemble::Ensemble, random, say};

use crate::behind::write;

const TIMEOUT: Duration = Duration::from_secs(60);
/// More than a node keeps of its log in memory, so that it reads the log for applying.
const WRITES: u64 = 1_600;
const VALUE_BYTES: usize = 64 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_emptied_directory_is_ready_when_it_has_applied_the_log() {
    let mut random = random::of_this_run("serving");
    let mut ensemble = Ensemble::start(3).await;
    write(&ensemble.client(TIMEOUT), "old", WRITES, VALUE_BYTES).await;
    let (_, node) = ensemble.leader_and_other(&mut random).await;
    ensemble.kill(node);
    ensemble.wipe(node);
    ensemble.spawn(node);

    // It is read repeatedly from its start on; before READY it must not answer from its store.
    let started = Instant::now();
    let short = Client::builder().timeout(Duration::from_millis(500)).pinned(true);
    let reader = short.build([ensemble.request(node)]).unwrap();
    let mut early = 0;
    let mut details = Vec::new();
    loop {
        let ready = ensemble.process(node).out().contains("GOMETA READY");
        let local = reader.get_local("old/0").await;
        let status = ensemble.status(node).await.ok();
        match &local {
            Ok(entry) => assert_eq!(entry.value.len(), VALUE_BYTES),
            Err(error) => assert_ne!(error.kind(), ErrorKind::NotFound, "ready: {ready}, {status:?}"),
        }
        if let Some(status) = &status {
            let serves = matches!(status.role, Role::Following | Role::Leading | Role::Learning);
            let applied = status.applied_revision >= WRITES;
            assert!(applied || !serves, "it says that it serves: {status:?}");
            assert!(applied || !ready, "READY: {status:?}");
            assert!(applied || local.is_err(), "it has answered: {status:?}");
            if status.detail.contains("applied") {
                details.push(status.detail.clone());
            }
        }
        if ready && local.is_ok() {
            break;
        }
        early += u32::from(!ready);
        assert!(started.elapsed() < TIMEOUT, "not ready: {status:?}");
    }
    say(&format!(
        "{} MiB of log are applied and served {:.1} s after the start; asked {early} times before, details: {:?}",
        (WRITES * VALUE_BYTES as u64) >> 20,
        started.elapsed().as_secs_f64(),
        details.last()
    ));
    assert!(early > 0, "the node was not asked before it was ready");
    let linearizable = ensemble.client_of(node, TIMEOUT);
    for number in [0, WRITES / 2, WRITES - 1] {
        assert_eq!(linearizable.get(format!("old/{number}")).await.unwrap().value.len(), VALUE_BYTES);
    }
}
