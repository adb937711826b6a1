//! Partitions: an isolated node acknowledges nothing, and its uncommitted entries are truncated.

use std::time::{Duration, Instant};

use gometa_client::{Client, ErrorKind, Outcome, ReadOptions, Role};
use gometa_proto::v1::{self, WriteContext, response};
use gometa_tests::{
    ensemble::Ensemble,
    network::{Line, Seen},
    random, say,
};
use tokio::task::JoinSet;

use crate::wire::Wire;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of calls to an isolated node: three times what a leader takes to step down.
const ALONE_TIMEOUT: Duration = Duration::from_secs(3);

/// Calls an isolated node repeatedly until it has stepped down; no write and no linearizable read may succeed.
async fn refuses_everything(ensemble: &Ensemble, alone: usize) {
    let client = ensemble.client_of(alone, ALONE_TIMEOUT);
    let mut calls = JoinSet::new();
    for number in 0..8 {
        let client = client.clone();
        calls.spawn(async move {
            let read = client.get("k").await;
            let error = read.expect_err("a node that is alone answered a linearizable read");
            assert!(error.is_retryable(), "{error}");
            let written = client.set(format!("alone/{number}"), "x").await;
            let error = written.expect_err("a node that is alone acknowledged a write");
            assert!(error.is_retryable(), "{error}");
        });
    }
    calls.join_all().await;
    ensemble.status_when(alone, "has no leader", |status| status.leader.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_node_answers_no_linearizable_read_and_acknowledges_no_write() {
    let mut random = random::of_this_run("alone");
    let ensemble = Ensemble::start_on_network(3, &mut random).await;
    for isolate_leader in [true, false] {
        let leader = ensemble.leader().await;
        let alone = if isolate_leader { leader } else { ensemble.others(leader)[random.below(2) as usize] };
        ensemble.client_of(alone, TIMEOUT).set("k", "old").await.unwrap();
        ensemble.converged(&ensemble.all()).await;

        ensemble.network().isolate(alone);
        // The others go on meanwhile, or as soon as they have elected one of them.
        let others = ensemble.others(alone);
        let majority = Client::builder().timeout(TIMEOUT);
        let majority = majority.build(others.iter().map(|node| ensemble.request(*node))).unwrap();
        let going_on = async { majority.set("k", "new").await.unwrap() };
        tokio::join!(refuses_everything(&ensemble, alone), going_on);
        refuses_everything(&ensemble, alone).await;

        ensemble.network().heal();
        ensemble.converged(&ensemble.all()).await;
        let entry = ensemble.client_of(alone, TIMEOUT).get("k").await.unwrap();
        assert_eq!(entry.value, "new");
        // The refused writes were not retried, and the isolated leader's entries are truncated.
        for number in 0..8 {
            let read = ensemble.client_of(alone, TIMEOUT).get(format!("alone/{number}")).await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::NotFound);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_node_answers_local_reads() {
    let mut ensemble = Ensemble::start(3).await;
    // Kept until the end: the end of its session would be the next log entry.
    let writer = ensemble.client(TIMEOUT);
    let old = writer.set("k", "old").await.unwrap();
    ensemble.converged(&ensemble.all()).await;
    ensemble.kill(1);
    ensemble.kill(2);
    ensemble.status_when(0, "has no leader", |status| status.leader.is_none()).await;
    let client = ensemble.client_of(0, ALONE_TIMEOUT);
    client.get("k").await.expect_err("a node that is alone answered a linearizable read");
    let entry = client.get_local("k").await.unwrap();
    assert_eq!((entry.value.as_ref(), entry.mod_revision), (&b"old"[..], old.revision));
    // Except for a revision that it has not applied.
    let newer = ReadOptions::local().with_min_revision(old.revision + 1);
    client.get_with("k", newer).await.expect_err("it cannot have this revision");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_at_the_new_leader_of_a_write_in_its_inherited_tail_is_executed_once() {
    let mut random = random::of_this_run("inherited tail");
    let mut ensemble = Ensemble::start_on_network(3, &mut random).await;
    for round in 1..=3 {
        ensemble.converged(&ensemble.all()).await;
        let leader = ensemble.leader().await;
        let [heir, third] = ensemble.others(leader)[..] else { unreachable!("three nodes") };
        let key = format!("tail/{round}");
        let mut wire = Wire::connect(&ensemble.request(leader)).await;
        let session = wire.open_session(random.bytes(16).try_into().unwrap()).await;
        let first = wire.set(WriteContext { session, seq: 1, lowest: 1 }, &key, "first").await;
        assert_eq!(first.version, 1);
        let before = ensemble.converged(&ensemble.all()).await[heir].last_revision;

        // The next leader receives from the leader and cannot send to it; the third is cut off from the leader. So the write is in
        // two logs, and the leader has the ack of its own only.
        let network = ensemble.network();
        network.cut(heir, leader);
        network.cut(leader, third);
        network.cut(third, leader);
        let context = WriteContext { session, seq: 2, lowest: 2 };
        wire.ask_to_set(context, &key, "second").await;
        ensemble.status_when(heir, "has the write", |status| status.last_revision > before).await;
        ensemble.kill(leader);

        // The retry arrives before the end of the election.
        let mut wire = Wire::connect(&ensemble.request(heir)).await;
        let again = wire.set(context, &key, "second").await;
        assert_eq!(ensemble.leader_among(&[heir, third]).await, heir, "the longer log leads");
        assert_eq!(again.version, 2, "the write happened once");
        assert_eq!(again.revision, before + 1, "the retry was answered with the original's revision");
        // And once more after it was applied.
        assert_eq!(wire.set(context, &key, "second").await, again);
        let entry = ensemble.client_of(third, TIMEOUT).get(&key).await.unwrap();
        assert_eq!((entry.value.as_ref(), entry.version), (&b"second"[..], 2));

        ensemble.network().heal();
        ensemble.restart(leader).await;
    }
    ensemble.converged(&ensemble.all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_sent_through_all_nodes_at_once_is_in_the_log_more_than_once_and_is_executed_once() {
    let mut random = random::of_this_run("sent thrice");
    let ensemble = Ensemble::start_on_network(3, &mut random).await;
    let mut wires = Vec::new();
    for node in ensemble.all() {
        wires.push(Wire::connect(&ensemble.request(node)).await);
    }
    let session = wires[0].open_session(random.bytes(16).try_into().unwrap()).await;
    wires[0].set(WriteContext { session, seq: 1, lowest: 1 }, "k", "first").await;
    let before = ensemble.converged(&ensemble.all()).await[0].last_revision;
    // Slow enough that no node has applied the write before the others have forwarded it.
    ensemble.network().set_all(Line { delay: Duration::from_millis(50), ..Line::default() });
    let context = WriteContext { session, seq: 2, lowest: 2 };
    let mut asked = Vec::new();
    for wire in &mut wires {
        asked.push(wire.ask_to_set(context, "k", "second").await);
    }
    let mut answers = Vec::new();
    for (wire, id) in wires.iter_mut().zip(asked) {
        answers.push(wire.answer(id).await);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    ensemble.network().heal();
    let after = ensemble.converged(&ensemble.all()).await[0].last_revision;
    assert!(after >= before + 2, "it was proposed only once: the test shows nothing");
    let entry = ensemble.client(TIMEOUT).get("k").await.unwrap();
    assert_eq!((entry.version, entry.mod_revision), (2, before + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_leaders_tail_is_cut_when_it_returns_and_stays_cut_after_a_kill() {
    const TAIL: u64 = 50;
    const MEANWHILE: u64 = 7;
    let mut random = random::of_this_run("cut tail");
    let mut ensemble = Ensemble::start_on_network(3, &mut random).await;
    let everyone = ensemble.all();
    let client = ensemble.client(TIMEOUT);
    client.set("k", "old").await.unwrap();
    // With a session and a connection from before the cut, so that only sets follow.
    let leader = ensemble.leader().await;
    let mut wire = Wire::connect(&ensemble.request(leader)).await;
    let session = wire.open_session(random.bytes(16).try_into().unwrap()).await;
    let base = ensemble.converged(&everyone).await[leader].last_revision;

    ensemble.network().isolate(leader);
    // They end before the network heals; until its deadline the node would have a write proposed by the new leader.
    wire.deadline_ms = 2_000;
    let mut asked = Vec::new();
    for seq in 1..=TAIL {
        let context = WriteContext { session, seq, lowest: 1 };
        asked.push(wire.ask_to_set(context, &format!("tail/{seq}"), "lost").await);
    }
    let what = "has the whole tail in its log";
    ensemble.status_when(leader, what, |status| status.last_revision == base + TAIL).await;
    let others = ensemble.others(leader);
    // Pinned, or a node that has not missed the leader yet could point it there, and its session be a part of the tail.
    let majority = Client::builder().timeout(TIMEOUT).pinned(true);
    let majority = majority.build(others.iter().map(|node| ensemble.request(*node))).unwrap();
    for number in 0..MEANWHILE {
        majority.set(format!("meanwhile/{number}"), "kept").await.unwrap();
    }
    let statuses = ensemble.converged(&others).await;
    let end = statuses[0].last_revision;
    assert!(end < base + TAIL, "the tail is the longer one");
    for id in asked {
        match wire.answer(id).await {
            response::Result::Error(error) => assert_eq!(error.outcome(), v1::Outcome::Unknown, "{error:?}"),
            other => panic!("a write of an isolated leader is answered: {other:?}"),
        }
    }

    ensemble.network().heal();
    let line = ensemble.logged(leader, &["log truncated"]).await;
    let (from, to) = (format!("from_revision={} ", base + TAIL), format!("to_revision={base}"));
    assert!(line.contains(&from) && line.contains(&to), "{line}");
    let statuses = ensemble.converged(&everyone).await;
    assert_eq!(statuses[0].applied_revision, end, "nothing was written since");

    // At its start a node reads its whole log, and refuses one with a gap or an entry that does not follow the
    // previous one; alone, it reports the end of that log.
    everyone.iter().for_each(|node| ensemble.kill(*node));
    ensemble.spawn(leader);
    let status = ensemble.status_when(leader, "has started", |status| status.role == Role::Looking).await;
    assert_eq!(status.last_revision, end, "the tail is back: {status:?}");
    others.iter().for_each(|node| ensemble.spawn(*node));
    for node in &everyone {
        ensemble.ready(*node).await;
    }
    ensemble.converged(&everyone).await;
    for node in &everyone {
        let client = ensemble.client_of(*node, TIMEOUT);
        for seq in 1..=TAIL {
            let read = client.get(format!("tail/{seq}")).await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::NotFound, "tail/{seq} on node {node}");
        }
        for number in 0..MEANWHILE {
            assert_eq!(client.get(format!("meanwhile/{number}")).await.unwrap().value, "kept");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_succeed_while_a_third_of_the_datagrams_is_lost() {
    const KILLS: usize = 10;
    let mut random = random::of_this_run("datagram loss");
    let mut ensemble = Ensemble::prepare_on_network(3, &mut random).await;
    ensemble.network().set_all(Line { loss_percent: 30, ..Line::default() });
    ensemble.start_all().await;
    let client = ensemble.client(TIMEOUT);
    client.set("k", "before").await.unwrap();
    let mut times = Vec::new();
    for kill in 0..KILLS {
        let leader = ensemble.leader().await;
        ensemble.kill(leader);
        let killed = Instant::now();
        client.set("k", kill.to_string()).await.unwrap();
        times.push(killed.elapsed());
        ensemble.restart(leader).await;
        ensemble.converged(&ensemble.all()).await;
    }
    let Seen { passed, lost, .. } = ensemble.network().seen();
    assert!(lost * 5 > passed + lost, "{lost} of {} datagrams were lost: that is not 30 %", passed + lost);
    times.sort();
    let (p50, max) = (times[KILLS / 2], times[KILLS - 1]);
    say(&format!(
        "leader killed {KILLS} times, {lost} of {} datagrams lost: next write after p50 {p50:.0?}, max {max:.0?}",
        passed + lost
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_cut_one_way_and_slow_ones_do_not_stop_a_majority() {
    let mut random = random::of_this_run("one way");
    let ensemble = Ensemble::start_on_network(3, &mut random).await;
    let client = ensemble.client(TIMEOUT);
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)] {
        ensemble.network().cut(from, to);
        let written = client.set("k", format!("{from}-{to}")).await;
        written.unwrap_or_else(|error| panic!("with the link from {from} to {to} cut: {error}"));
        // Long enough for timeouts of the isolated nodes and for the others to go on.
        let cut = Instant::now();
        while cut.elapsed() < Duration::from_millis(1_500) {
            client.set("k", "on").await.unwrap_or_else(|error| panic!("{from} to {to} cut: {error}"));
        }
        ensemble.network().heal();
        ensemble.converged(&ensemble.all()).await;
    }
    let slow = Duration::from_millis(20);
    ensemble.network().set_all(Line { delay: slow, ..Line::default() });
    let sent = Instant::now();
    client.set("k", "slow").await.unwrap();
    assert!(sent.elapsed() >= 2 * slow, "a write takes a round trip to a follower");
    assert_eq!(client.get("k").await.unwrap().value, "slow");
    ensemble.network().heal();
    ensemble.converged(&ensemble.all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_on_a_leader_that_loses_its_followers_has_an_unknown_outcome() {
    let mut random = random::of_this_run("unknown");
    let ensemble = Ensemble::start_on_network(3, &mut random).await;
    let leader = ensemble.leader().await;
    let client = ensemble.client_of(leader, ALONE_TIMEOUT);
    client.set("k", "before").await.unwrap();
    ensemble.network().isolate(leader);
    let error = client.set("k", "after").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    ensemble.network().heal();
    ensemble.converged(&ensemble.all()).await;
}
