//! Nodes that have lost their data directory: they return without a vote, and the others give it back.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use gometa_client::{Client, Role};
use gometa_tests::{ensemble::Ensemble, program::program, random, say};
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of calls that must fail: several election timeouts.
const SHORT: Duration = Duration::from_secs(3);
/// The number of writes in flight while keys are loaded.
const WRITERS: usize = 64;

fn client_of(ensemble: &Ensemble, nodes: &[usize], timeout: Duration) -> Client {
    let addresses = nodes.iter().map(|node| ensemble.request(*node));
    Client::builder().timeout(timeout).pinned(true).build(addresses).unwrap()
}

/// Returns the output of `gometa status` for these nodes.
fn shown(ensemble: &Ensemble, nodes: &[usize]) -> String {
    let peers: Vec<String> = nodes.iter().map(|node| ensemble.request(*node)).collect();
    let output =
        Command::new(program("gometa")).args(["--peers", &peers.join(","), "status"]).output().unwrap();
    assert!(output.status.success(), "gometa status: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The data directory of a node of this many is removed, and the node started again.
async fn comes_back(nodes: usize) {
    const KEYS: usize = 10_000;
    let mut random = random::of_this_run("wiped");
    let mut ensemble = Ensemble::start(nodes).await;
    let all = ensemble.all();
    let client = ensemble.client(TIMEOUT);
    load(&client, KEYS).await;
    let (leader, wiped) = ensemble.leader_and_other(&mut random).await;
    ensemble.kill(wiped);
    ensemble.wipe(wiped);
    let began = Instant::now();
    ensemble.restart(wiped).await;
    let status = ensemble.status_when(wiped, "is a voter again", |status| status.votes).await;
    let time = began.elapsed();
    say(&format!("one of {nodes} nodes, wiped with {KEYS} keys: a voter again after {time:.1?}"));
    assert!(time < Duration::from_secs(10), "{time:?}");
    assert_eq!(status.role, Role::Following, "{status:?}");
    ensemble.logged(leader, &["change of the members proposed", "make a learner a voter"]).await;
    let shown = shown(&ensemble, &all);
    assert!(!shown.contains("counted in no quorum"), "{shown}");

    // It counts: as many others are killed as may be lost.
    let others = all.iter().copied().filter(|node| ![leader, wiped].contains(node));
    for node in others.take((nodes - 1) / 2) {
        ensemble.kill(node);
    }
    let left = client_of(&ensemble, &[leader, wiped], TIMEOUT);
    left.set("after", "x").await.unwrap();
    // It has promised nothing before, and keeps what it promises now.
    ensemble.kill(wiped);
    ensemble.restart(wiped).await;
    ensemble.status_when(wiped, "is still a voter", |status| status.votes).await;
    let local = ensemble.client_of(wiped, TIMEOUT);
    for number in (0..KEYS).step_by(100) {
        assert_eq!(local.get(format!("k/{number}")).await.unwrap().value, "kept");
    }
    assert_eq!(local.get("after").await.unwrap().value, "x");
}

async fn load(client: &Client, keys: usize) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = client.clone();
        writers.spawn(async move {
            for number in (writer..keys).step_by(WRITERS) {
                client.set(format!("k/{number}"), "kept").await.unwrap();
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_of_three_is_a_voter_again_without_a_command() {
    comes_back(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_of_four_is_a_voter_again_without_a_command() {
    comes_back(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_of_five_is_a_voter_again_without_a_command() {
    comes_back(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_counts_in_no_quorum_until_the_others_have_given_it_its_vote_back() {
    let mut random = random::of_this_run("wiped");
    let mut ensemble = Ensemble::start(3).await;
    let all = ensemble.all();
    let client = ensemble.client(TIMEOUT);
    load(&client, 100).await;
    let (kept, wiped) = ensemble.leader_and_other(&mut random).await;
    let voter = all.iter().copied().find(|node| ![kept, wiped].contains(node)).unwrap();
    ensemble.kill(wiped);
    ensemble.kill(voter);
    ensemble.wipe(wiped);
    ensemble.spawn(wiped);

    // Two are running, and only one of them counts.
    ensemble.logged(wiped, &["member of the ensemble, without a vote"]).await;
    let both = client_of(&ensemble, &[kept, wiped], SHORT);
    both.set("lost", "x").await.expect_err("a write was acknowledged by one voter of three");
    both.get("k/0").await.expect_err("a read was confirmed by one voter of three");
    for node in [kept, wiped] {
        ensemble.status_when(node, "has no leader", |status| status.leader.is_none()).await;
    }
    assert!(!ensemble.status(wiped).await.unwrap().votes);
    let waits = ["no leader found", "votes_needed"];
    for node in [kept, wiped] {
        ensemble.logged(node, &waits).await;
        // The third may come back, and the other two are a quorum then.
        let detail = ensemble.status(node).await.unwrap().detail;
        assert!(detail.contains("looks for a leader"), "{detail}");
        let log = ensemble.log(node);
        assert!(!log.contains("have lost their data directories") && !log.contains("Losing"), "{log}");
    }

    // It is done when the third returns.
    ensemble.spawn(voter);
    ensemble.all_ready().await;
    ensemble.status_when(wiped, "is a voter again", |status| status.votes).await;
    let statuses = ensemble.converged(&all).await;
    assert!(statuses.iter().all(|status| status.votes && status.keys >= 100), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_one_wiped_is_one_too_many_and_both_say_so() {
    let mut ensemble = Ensemble::start(2).await;
    ensemble.client(TIMEOUT).set("k", "kept").await.unwrap();
    let all = ensemble.all();
    ensemble.converged(&all).await;
    all.iter().for_each(|node| ensemble.kill(*node));
    ensemble.wipe(0);
    all.iter().for_each(|node| ensemble.spawn(*node));
    let lost = ["no leader found", "1 of 2 voters have lost their data directories", "docs/recovery.md"];
    for node in &all {
        ensemble.logged(*node, &lost).await;
        // Each of them, the one that has its directory and the other one.
        let wiped = ensemble.addresses(0).message.to_string();
        let says = |detail: &str| {
            let words = ["1 of 2 voters have lost their data directories", &wiped, "docs/recovery.md"];
            words.iter().all(|word| detail.contains(word))
        };
        ensemble.status_when(*node, "says that a quorum is lost", |status| says(&status.detail)).await;
    }
    let both = client_of(&ensemble, &all, SHORT);
    both.set("lost", "x").await.expect_err("a write was acknowledged by one voter of two");
    let status = ensemble.status(1).await.unwrap();
    assert!(status.leader.is_none() && status.votes && status.last_revision >= 1, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_wiped_nodes_form_no_ensemble_with_or_without_the_third() {
    let mut random = random::of_this_run("two wiped");
    let mut ensemble = Ensemble::start(3).await;
    let everyone = ensemble.all();
    ensemble.client(TIMEOUT).set("k", "kept").await.unwrap();
    ensemble.converged(&everyone).await;
    let kept = random.below(3) as usize;
    let wiped = ensemble.others(kept);
    everyone.iter().for_each(|node| ensemble.kill(*node));
    for node in &wiped {
        ensemble.wipe(*node);
        ensemble.spawn(*node);
    }
    let missing = ensemble.addresses(kept).message.to_string();
    for node in &wiped {
        ensemble.logged(*node, &["waiting for voters", &missing]).await;
    }
    let two = client_of(&ensemble, &wiped, SHORT);
    two.set("lost", "x").await.expect_err("two wiped nodes have formed an ensemble");
    for node in &wiped {
        let status = ensemble.status(*node).await.unwrap();
        assert_eq!(
            (status.role, status.leader, status.last_revision),
            (Role::Forming, None, 0),
            "{status:?}"
        );
    }
    // From the third they learn their former ensemble, of which they are not members.
    ensemble.spawn(kept);
    for node in &wiped {
        ensemble.logged(*node, &["member of the ensemble, without a vote"]).await;
    }
    let all = client_of(&ensemble, &everyone, SHORT);
    all.set("lost", "x").await.expect_err("a write was acknowledged by one voter of three");
    for node in &everyone {
        let status = ensemble.status(*node).await.unwrap();
        assert_eq!(status.leader, None, "{status:?}");
        assert_eq!(status.votes, *node == kept, "{status:?}");
    }
    let local = ensemble.status(kept).await.unwrap();
    // In its log: without the others it cannot know that this is committed.
    assert!(local.last_revision >= 2, "what the third holds is still there: {local:?}");
}
