//! A record that is altered in one node's memory is found by comparison, and the node repairs itself.
//!
//! Needs the server with planted faults, which `make e2e` builds below the target directory. Without it there is nothing to
//! test.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use gometa_tests::{ensemble::Ensemble, program::program, random, say, wait::until};

const TIMEOUT: Duration = Duration::from_secs(20);
/// Time between two sets: 200 a second.
const PACE: Duration = Duration::from_millis(5);
/// The time in which the altered record must be found.
const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// The key whose records are altered (`alters_record` in `store/src/overlay.rs`).
const ALTERED: &str = "altered-1";

/// The server with planted faults.
fn instrumented() -> Option<PathBuf> {
    let normal = program("gometa-server");
    let target = normal.parent()?.parent()?;
    Some(target.join("instrumented").join("release").join("gometa-server")).filter(|path| path.exists())
}

/// Sets keys at a fixed rate, the altered one among them, until `done`.
async fn set_until(ensemble: &Ensemble, node: usize, done: impl Fn() -> bool) -> u64 {
    let client = ensemble.client_of(node, TIMEOUT);
    let mut pace = tokio::time::interval(PACE);
    let mut count = 0;
    while !done() {
        pace.tick().await;
        count += 1;
        let key = if count % 20 == 0 { ALTERED.to_owned() } else { format!("k/{:03}", count % 500) };
        client.set(key, format!("value {count}")).await.unwrap();
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_altered_in_memory_is_found_and_repaired_without_an_operator() {
    let Some(server) = instrumented() else {
        say("not tested: the server with planted faults is not built (make e2e)");
        return;
    };
    let mut random = random::of_this_run("altered record");
    let mut ensemble = Ensemble::start(3).await;
    let (_, node) = ensemble.leader_and_other(&mut random).await;
    ensemble.kill(node);
    let planted = ensemble.data(node).with_file_name("planted");
    fs::write(&planted, "alters_record").unwrap();
    let mut command = Command::new(server);
    command.env("GOMETA_PLANTED", &planted);
    ensemble.spawn_with(node, command);
    ensemble.converged(&ensemble.all()).await;
    assert!(!planted.exists(), "the fault is not planted");

    let begun = Instant::now();
    let id = ensemble.process(node).id();
    let writer = ensemble.others(node)[0];
    let found = || ensemble.log(node).contains("starting again");
    let sets = set_until(&ensemble, writer, || found() || begun.elapsed() > FOUND_WITHIN).await;
    let took = begun.elapsed();
    assert!(found(), "not found within {took:?} and {sets} sets");
    ensemble.logged(node, &["data directory damaged, the node comes back without a vote"]).await;
    assert_eq!((ensemble.process(node).id(), ensemble.process(node).ended()), (id, None));

    ensemble.client_of(writer, TIMEOUT).set("after", "x").await.unwrap();
    ensemble.status_when(node, "is a voter again", |status| status.votes).await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    let status = &statuses[node];
    assert!(ensemble.others(node).iter().all(|other| statuses[*other].state_hash == status.state_hash));
    say(&format!("found after {took:?} and {sets} sets, repaired after {:?}", begun.elapsed()));
    // It stays so: what it has is right, and is compared again.
    let until_compared = Instant::now();
    set_until(&ensemble, writer, || until_compared.elapsed() > 2 * FOUND_WITHIN / 5).await;
    until("all nodes have the same state", TIMEOUT, || async {
        let statuses = ensemble.converged(&ensemble.all()).await;
        let equal = statuses.iter().all(|status| status.state_hash == statuses[0].state_hash);
        if equal { Ok(()) } else { Err(format!("{statuses:?}")) }
    })
    .await;
    assert_eq!(ensemble.log(node).matches("starting again").count(), 1);
}
