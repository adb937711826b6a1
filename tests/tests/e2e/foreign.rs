//! Nodes of different ensembles, and disks that fail.

use std::{fs, time::Duration};

use gometa_client::ReadOptions;
use gometa_tests::{ensemble::Ensemble, random};

const TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of calls that must fail.
const SHORT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_that_disagree_say_how_and_form_nothing() {
    let mut ensemble = Ensemble::prepare(3);
    // The first one's configuration lacks the third.
    let mut shorter = ensemble.configuration(0);
    shorter["Peer"].as_array_mut().unwrap().pop();
    ensemble.configure(0, &shorter);
    ensemble.spawn(0);
    ensemble.spawn(1);
    let third = ensemble.addresses(2).message.to_string();
    let second = ensemble.addresses(1).message.to_string();
    let first = ensemble.addresses(0).message.to_string();
    let line = format!("the configuration of {second} lists voter {third}, ours does not");
    ensemble.logged(0, &[&line]).await;
    let line = format!("our configuration lists voter {third}, that of {first} does not");
    ensemble.logged(1, &[&line]).await;
    for node in [0, 1] {
        let status = ensemble.status(node).await.unwrap();
        assert!(status.ensemble.is_none(), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_ensemble_is_refused_and_has_no_effect() {
    let mut ensemble = Ensemble::start(3).await;
    let everyone = ensemble.all();
    ensemble.client(TIMEOUT).set("k", "theirs").await.unwrap();
    let theirs = ensemble.converged(&everyone).await.remove(0).ensemble;
    everyone.iter().for_each(|node| ensemble.kill(*node));
    // The same three nodes form another ensemble; then one of them, which does not lead, is started with its old
    // directory.
    for node in &everyone {
        fs::rename(ensemble.data(*node), ensemble.directory(*node).join("kept")).unwrap();
    }
    ensemble.start_all().await;
    let client = ensemble.client(TIMEOUT);
    client.set("k", "ours").await.unwrap();
    let epoch = ensemble.converged(&everyone).await[0].epoch;
    let leader = ensemble.leader().await;
    let [foreign, other] = ensemble.others(leader)[..] else { unreachable!("three nodes") };
    ensemble.kill(foreign);
    ensemble.wipe(foreign);
    fs::rename(ensemble.directory(foreign).join("kept"), ensemble.data(foreign)).unwrap();
    ensemble.spawn(foreign);
    ensemble.logged(foreign, &["looking for a leader"]).await;
    // For several election timeouts it finds no peers, and has no effect.
    let alone = ensemble.client_of(foreign, SHORT);
    let (refused, kept_on) = tokio::join!(alone.set("k", "mixed"), client.set("k", "still ours"));
    refused.expect_err("a write was acknowledged across ensembles");
    kept_on.unwrap();
    let statuses = ensemble.converged(&[leader, other]).await;
    assert_eq!(statuses[0].epoch, epoch, "there was an election");
    assert_ne!(statuses[0].ensemble, theirs);
    let status = ensemble.status(foreign).await.unwrap();
    assert_eq!((status.leader, &status.ensemble), (None, &theirs), "{status:?}");
    let entry = ensemble.client_of(foreign, SHORT).get_with("k", ReadOptions::local()).await;
    assert!(entry.is_err() || entry.unwrap().value == "theirs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_refuses_a_write_ends_with_the_cause_and_comes_back_whole() {
    let mut random = random::of_this_run("short files");
    let mut ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    let victim = random.below(3) as usize;
    ensemble.kill(victim);
    ensemble.restart(victim).await;
    ensemble.limit_files(victim, 64 << 10);
    let mut acknowledged = 0;
    while ensemble.process(victim).ended().is_none() {
        client.set(format!("k/{acknowledged}"), vec![b'v'; 16 << 10]).await.unwrap();
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the limit has no effect");
    }
    let (status, line) = ensemble.end(victim).await;
    assert!(!status.success(), "{line}");
    assert!(line.starts_with("gometa-server: ") && line.contains("large"), "it names no cause: {line}");
    assert!(line.contains("raise the limit on the size of files"), "it names no remedy: {line}");

    ensemble.restart(victim).await;
    ensemble.converged(&ensemble.all()).await;
    let reader = ensemble.client_of(victim, TIMEOUT);
    for number in 0..acknowledged {
        assert_eq!(reader.get(format!("k/{number}")).await.unwrap().version, 1);
    }
}
