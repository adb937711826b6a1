//! Followers that are so far behind that the others' logs do not reach back to them: they get a snapshot.

use std::{fs, time::Duration};

use gometa_tests::{ensemble::Ensemble, random, say};

use crate::behind::write;

const TIMEOUT: Duration = Duration::from_secs(20);
/// More entries than a log keeps.
const WRITES: u64 = 130_000;
const VALUE_BYTES: usize = 512;

/// The names of the logs and states in a node's data directory, sorted.
fn stores(ensemble: &Ensemble, node: usize) -> Vec<String> {
    let names = fs::read_dir(ensemble.data(node)).unwrap();
    let names = names.map(|item| item.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.contains('-')).collect();
    names.sort();
    names
}

/// Waits until a node's data directory has these logs and states, and nothing else with a number.
async fn has_stores(ensemble: &Ensemble, node: usize, expected: &[&str]) {
    gometa_tests::wait::until("what was replaced is removed", TIMEOUT, || async {
        let found = stores(ensemble, node);
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_below_the_log_and_a_wiped_one_get_a_snapshot_whoever_is_killed_meanwhile() {
    let mut random = random::of_this_run("snapshots");
    let mut ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    let (leader, behind) = ensemble.leader_and_other(&mut random).await;
    write(&client, "before", 1_000, 16).await;
    ensemble.kill(behind);
    write(&client, "missed", WRITES, VALUE_BYTES).await;

    // Killed while it receives: the transfer begins again.
    ensemble.spawn(behind);
    ensemble.logged(behind, &["receiving a snapshot"]).await;
    ensemble.kill(behind);
    ensemble.spawn(behind);
    ensemble.logged(behind, &["snapshot installed"]).await;
    ensemble.logged(leader, &["follower needs a snapshot", "base_revision"]).await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert!(statuses[behind].keys >= WRITES && statuses[behind].votes, "{:?}", statuses[behind]);
    has_stores(&ensemble, behind, &["log-2", "state-2"]).await;

    // It serves what it was sent, and survives a crash with it.
    let read = ensemble.client_of(behind, TIMEOUT).get_local(format!("missed/{}", WRITES - 1)).await;
    assert_eq!(read.unwrap().value.len(), VALUE_BYTES);
    client.set("after", "x").await.unwrap();
    ensemble.kill(behind);
    ensemble.restart(behind).await;
    ensemble.converged(&ensemble.all()).await;

    // A wiped node takes the same path, also when its leader is killed meanwhile.
    let wiped = behind;
    ensemble.kill(wiped);
    ensemble.wipe(wiped);
    let leader = ensemble.leader_among(&ensemble.others(wiped)).await;
    ensemble.spawn(wiped);
    ensemble.logged(wiped, &["receiving a snapshot"]).await;
    ensemble.kill(leader);
    ensemble.restart(leader).await;
    ensemble.logged(wiped, &["snapshot installed"]).await;
    ensemble.status_when(wiped, "is a voter again", |status| status.votes).await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert_eq!(statuses[wiped].state_hash, statuses[leader].state_hash);
    let sizes: Vec<u64> = (0..3).map(|node| bytes_of(&ensemble.data(node))).collect();
    say(&format!("{} keys; data directories of {sizes:?} bytes", statuses[wiped].keys));
}

fn bytes_of(directory: &std::path::Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { bytes_of(&entry.path()) } else { metadata.len() }
        })
        .sum()
}
