//! Nodes that have lost their data directory: they return without a vote, and count in no quorum.

use std::{process::Command, time::Duration};

use gometa_client::{Client, Role};
use gometa_tests::{ensemble::Ensemble, program::program, random};

const TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of calls that must fail: several election timeouts.
const SHORT: Duration = Duration::from_secs(3);

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_brought_up_to_date_and_counted_in_no_quorum() {
    const WRITES: usize = 100;
    let mut random = random::of_this_run("wiped");
    let mut ensemble = Ensemble::start(3).await;
    let everyone = ensemble.all();
    let client = ensemble.client(TIMEOUT);
    for number in 0..WRITES {
        client.set(format!("k/{number}"), "kept").await.unwrap();
    }
    let (leader, wiped) = ensemble.leader_and_other(&mut random).await;
    let voter = everyone.iter().copied().find(|node| ![leader, wiped].contains(node)).unwrap();
    ensemble.kill(wiped);
    ensemble.wipe(wiped);
    let line = ensemble.restart(wiped).await;
    assert_eq!(line["role"], "learner", "{line}");

    // All nodes report it.
    ensemble.logged(wiped, &["member of the ensemble, without a vote"]).await;
    ensemble.logged(leader, &["peer without a vote: its data directory was replaced"]).await;
    let statuses = ensemble.converged(&everyone).await;
    let status = &statuses[wiped];
    assert_eq!((status.role, status.votes), (Role::Learning, false), "{status:?}");
    assert!(status.detail.contains("counted in no quorum"), "{status:?}");
    assert!(status.keys >= WRITES as u64, "{status:?}");
    let seen = statuses[leader].peers.iter();
    let seen = seen.filter(|peer| peer.member.node == status.node);
    let seen: Vec<_> = seen.collect();
    assert!(seen.len() == 1 && !seen[0].votes && seen[0].connected, "{seen:?}");
    let shown = shown(&ensemble, &everyone);
    assert!(shown.contains("counted in no quorum"), "{shown}");

    // It serves reads, and forwards writes.
    let through = client_of(&ensemble, &[wiped], TIMEOUT);
    through.set("through", "x").await.unwrap();
    assert_eq!(through.get("k/0").await.unwrap().value, "kept");

    // Two are running, and only one of them counts.
    ensemble.kill(voter);
    let both = client_of(&ensemble, &[leader, wiped], SHORT);
    both.set("lost", "x").await.expect_err("a write was acknowledged by one voter of three");
    both.get("k/0").await.expect_err("a read was confirmed by one voter of three");
    for node in [leader, wiped] {
        ensemble.status_when(node, "has no leader", |status| status.leader.is_none()).await;
    }
    // It is no quorum with the other voter either, after the leader's death.
    ensemble.kill(leader);
    ensemble.spawn(voter);
    let both = client_of(&ensemble, &[voter, wiped], SHORT);
    both.set("lost", "x").await.expect_err("a write was acknowledged by one voter of three");
    assert_eq!(ensemble.status(voter).await.unwrap().leader, None);

    ensemble.spawn(leader);
    ensemble.all_ready().await;
    // No write is lost, and the node is still a learner.
    client.set("after", "x").await.unwrap();
    let statuses = ensemble.converged(&everyone).await;
    assert_eq!((statuses[wiped].role, statuses[wiped].votes), (Role::Learning, false));
    for node in everyone {
        let client = ensemble.client_of(node, TIMEOUT);
        for number in 0..WRITES {
            assert_eq!(client.get(format!("k/{number}")).await.unwrap().value, "kept");
        }
        assert_eq!(client.get("through").await.unwrap().value, "x");
    }
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
