//! Nodes with a damaged log or state come back by themselves, without a vote, if the others have a copy.

use std::{fs, path::Path, time::Duration};

use gometa_tests::{
    data_directory::{self, flip},
    ensemble::Ensemble,
    random, say,
    wait::until,
};

use crate::behind::write;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of calls that must fail: several election timeouts.
const SHORT: Duration = Duration::from_secs(3);
const KEYS: usize = 200;
/// More entries than a log keeps.
const LOG_ENTRIES: u64 = 120_000;
const QUARANTINED: &str = "data directory damaged, the node comes back without a vote";

/// Damages the first batch of the first segment that has one (the layout is in `log/src/layout.rs`).
fn damage_log(data: &Path) {
    let segment = data.join("log-1").join(format!("{:016x}", 2));
    let bytes = fs::read(&segment).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    flip(&segment, u64::from(number(16).next_multiple_of(number(20))));
}

/// Kills a node and starts it again: its log then needs an older segment, and has the list of members in a newer one.
async fn begin_segment(ensemble: &mut Ensemble, node: usize) {
    ensemble.kill(node);
    ensemble.restart(node).await;
}

/// Cuts all segments, so that nothing can be read of them.
fn cut_log(data: &Path) {
    for item in fs::read_dir(data.join("log-1")).unwrap() {
        fs::OpenOptions::new().write(true).open(item.unwrap().path()).unwrap().set_len(10).unwrap();
    }
}

fn names(ensemble: &Ensemble, node: usize, prefix: &str) -> Vec<String> {
    let names = fs::read_dir(ensemble.data(node)).unwrap();
    let names = names.map(|item| item.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

async fn fill(ensemble: &Ensemble) {
    let client = ensemble.client(TIMEOUT);
    for key in 0..KEYS {
        client.set(format!("k/{key:03}"), format!("value {key}")).await.unwrap();
    }
}

/// Waits until a node in quarantine has what the others have, and has removed what it kept.
async fn comes_back(ensemble: &Ensemble, node: usize) {
    ensemble.client(TIMEOUT).set("after", "x").await.unwrap();
    ensemble.status_when(node, "is a voter again", |status| status.votes).await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    let status = &statuses[node];
    assert!(status.keys >= KEYS as u64, "{status:?}");
    for other in ensemble.others(node) {
        assert_eq!(statuses[other].state_hash, status.state_hash);
    }
    until("what was kept is removed", TIMEOUT, || async {
        let kept = names(ensemble, node, "damaged-");
        if kept.is_empty() { Ok(()) } else { Err(format!("{kept:?}")) }
    })
    .await;
    ensemble.logged(node, &["node complete again, damaged files removed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_flipped_bit_in_its_log_comes_back_without_a_vote() {
    let mut random = random::of_this_run("quarantined log");
    let mut ensemble = Ensemble::start(3).await;
    let (_, node) = ensemble.leader_and_other(&mut random).await;
    fill(&ensemble).await;
    ensemble.converged(&ensemble.all()).await;
    begin_segment(&mut ensemble, node).await;
    ensemble.kill(node);
    damage_log(&ensemble.data(node));
    ensemble.spawn(node);
    ensemble.logged(node, &[QUARANTINED, "damaged-log-1, damaged-state-1"]).await;
    comes_back(&ensemble, node).await;
    // It stays so.
    ensemble.kill(node);
    let line = ensemble.restart(node).await;
    assert_eq!(line["role"], "follower", "{line}");
    assert!(!ensemble.log(node).contains(QUARANTINED));
    // A second time, and then it has lost the list of members.
    ensemble.kill(node);
    fs::remove_dir_all(ensemble.data(node).join(&names(&ensemble, node, "log-")[0])).unwrap();
    ensemble.spawn(node);
    ensemble.logged(node, &["record of the ensemble lost"]).await;
    comes_back(&ensemble, node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_flipped_bit_in_its_state_comes_back_without_a_vote() {
    let mut random = random::of_this_run("quarantined state");
    let mut ensemble = Ensemble::start(3).await;
    let (_, node) = ensemble.leader_and_other(&mut random).await;
    fill(&ensemble).await;
    ensemble.converged(&ensemble.all()).await;
    // An orderly end writes the state to table files.
    assert!(ensemble.terminate(node).await.success());
    // The first block of data of a table is read when its first key is.
    let tables = data_directory::tables_with(&ensemble.data(node), b"k/000");
    assert!(!tables.is_empty());
    tables.iter().for_each(|table| flip(table, data_directory::DATA_BLOCK));
    ensemble.spawn(node);
    let client = ensemble.client_of(node, TIMEOUT);
    let read = tokio::select! {
        read = client.get_local("k/000") => Some(read),
        _ = ensemble.process(node).end(2 * TIMEOUT) => None,
    };
    if !ensemble.log(node).contains(QUARANTINED) {
        say(&format!("found later, {read:?}"));
        let (status, last) = ensemble.end(node).await;
        assert!(!status.success(), "{last}");
        assert!(last.contains("is damaged: ") && last.contains("start the node again"), "{last}");
        ensemble.spawn(node);
        ensemble.logged(node, &[QUARANTINED]).await;
    }
    comes_back(&ensemble, node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_finds_its_damage_when_a_follower_refuses_its_snapshot() {
    let mut random = random::of_this_run("refused snapshot");
    // Two nodes lose their votes.
    let mut ensemble = Ensemble::start(5).await;
    fill(&ensemble).await;
    write(&ensemble.client(TIMEOUT), "more", LOG_ENTRIES, 16).await;
    ensemble.converged(&ensemble.all()).await;
    // An orderly end writes the state to table files, and nothing reads the keys afterwards.
    for node in ensemble.all() {
        assert!(ensemble.terminate(node).await.success());
    }
    ensemble.start_all().await;
    let (leader, follower) = ensemble.leader_and_other(&mut random).await;
    let tables = data_directory::tables_with(&ensemble.data(leader), b"k/000");
    tables.iter().for_each(|table| flip(table, data_directory::DATA_BLOCK));
    assert!(!tables.is_empty());

    ensemble.kill(follower);
    ensemble.wipe(follower);
    ensemble.spawn(follower);
    ensemble.logged(follower, &["snapshot damaged, another one is requested"]).await;
    let refused = "snapshot refused by its receiver, the state of this node is damaged";
    ensemble.logged(leader, &[refused]).await;
    ensemble.logged(leader, &[QUARANTINED]).await;
    // All converge: the next leader's snapshot is sound.
    comes_back(&ensemble, leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_all_damaged_found_no_new_ensemble() {
    for damage in [damage_log, cut_log] {
        let mut ensemble = Ensemble::start(3).await;
        fill(&ensemble).await;
        ensemble.converged(&ensemble.all()).await;
        for node in ensemble.all() {
            begin_segment(&mut ensemble, node).await;
        }
        for node in ensemble.all() {
            ensemble.kill(node);
            damage(&ensemble.data(node));
        }
        for node in ensemble.all() {
            ensemble.spawn(node);
        }
        for node in ensemble.all() {
            ensemble.logged(node, &[QUARANTINED]).await;
        }
        ensemble.client(SHORT).set("lost", "x").await.expect_err("damaged nodes have formed an ensemble");
        for node in ensemble.all() {
            let status = ensemble.status(node).await.unwrap();
            assert_eq!((status.leader, status.last_revision), (None, 0), "{status:?}");
            assert_eq!(names(&ensemble, node, "damaged-"), ["damaged-log-1", "damaged-state-1"]);
        }
        // Nor with a new start.
        for node in ensemble.all() {
            ensemble.kill(node);
            ensemble.spawn(node);
        }
        ensemble.client(SHORT).set("lost", "x").await.expect_err("damaged nodes have formed an ensemble");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_of_one_with_damage_refuses_to_start() {
    let mut ensemble = Ensemble::start(1).await;
    fill(&ensemble).await;
    ensemble.kill(0);
    damage_log(&ensemble.data(0));
    let before = names(&ensemble, 0, "");
    for _ in 0..2 {
        ensemble.spawn(0);
        let (status, last) = ensemble.end(0).await;
        assert!(!status.success(), "{last}");
        assert!(last.contains("is damaged: ") && last.contains("move it away"), "{last}");
        assert_eq!(names(&ensemble, 0, ""), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_an_older_copy_of_its_directory_comes_back_without_a_vote() {
    let mut random = random::of_this_run("older copy");
    let mut ensemble = Ensemble::start(3).await;
    let (leader, node) = ensemble.leader_and_other(&mut random).await;
    fill(&ensemble).await;
    ensemble.converged(&ensemble.all()).await;
    ensemble.kill(node);
    let older = ensemble.scratch().join("older");
    data_directory::copy(&ensemble.data(node), &older);
    ensemble.restart(node).await;
    fill(&ensemble).await;
    ensemble.converged(&ensemble.all()).await;
    ensemble.kill(node);
    ensemble.wipe(node);
    data_directory::copy(&older, &ensemble.data(node));
    ensemble.spawn(node);
    ensemble.logged(leader, &["an older copy of its data directory"]).await;
    ensemble.logged(node, &[QUARANTINED]).await;
    comes_back(&ensemble, node).await;
}
