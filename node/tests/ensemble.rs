//! What clients of an ensemble may rely on when nothing but a crash goes wrong.

mod applying;
mod foreign;
mod members;
mod reads;
mod records;
mod sessions;

use gometa_proto::v1::{self, ErrorKind, response::Result as Answer};
use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, Storage, context, get, get_local, set},
};

#[test]
fn three_nodes_form_elect_and_serve_on_every_node() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let session = ensemble.open_session((leader + 1) % 3, 1);
    for (seq, node) in (0..3).enumerate() {
        let written = ensemble.call(node, context(session, seq as u64 + 1), set("k", &format!("v{node}")));
        assert!(matches!(written, Some(Answer::Written(_))), "node {node}: {written:?}");
        for reader in 0..3 {
            match ensemble.call(reader, None, get("k")) {
                Some(Answer::Entry(entry)) => assert_eq!(entry.value, format!("v{node}")),
                other => panic!("node {reader}: {other:?}"),
            }
        }
    }
    let hashes: Vec<_> = (0..3).map(|node| ensemble.status(node).state_hash).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn one_node_alone_serves() {
    let mut ensemble = Nodes::new(1);
    ensemble.run(50);
    let session = ensemble.open_session(0, 1);
    assert!(matches!(ensemble.call(0, context(session, 1), set("k", "v")), Some(Answer::Written(_))));
    assert!(matches!(ensemble.call(0, None, get("k")), Some(Answer::Entry(_))));
    ensemble.kill(0);
    ensemble.start(0);
    ensemble.run(50);
    assert!(matches!(ensemble.call(0, None, get("k")), Some(Answer::Entry(_))));
}

#[test]
fn a_write_waits_out_the_crash_of_the_leader_and_happens_once() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let session = ensemble.open_session(one, 1);
    ensemble.kill(leader);
    let id = ensemble.ask(one, context(session, 1), set("k", "v"));
    ensemble.run(600);
    let first = ensemble.answer(one, id);
    let Some(Answer::Written(written)) = first else { panic!("{first:?}") };
    // The same write again, through the other node: the recorded answer.
    let again = ensemble.call(other, context(session, 1), set("k", "v"));
    assert_eq!(again, Some(Answer::Written(written)));
    ensemble.start(leader);
    ensemble.run(500);
    let status = ensemble.status(leader);
    assert_eq!(status.state_hash, ensemble.status(one).state_hash);
}

#[test]
fn a_node_without_a_quorum_answers_nothing_that_needs_one() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let session = ensemble.open_session(leader, 1);
    assert!(ensemble.call(leader, context(session, 1), set("k", "old")).is_some());
    ensemble.isolate(leader, true);
    let read = ensemble.ask(leader, None, get("k"));
    let write = ensemble.ask(leader, context(session, 2), set("k", "new"));
    ensemble.run(200);
    assert_eq!((ensemble.answer(leader, read), ensemble.answer(leader, write)), (None, None));
    ensemble.run(6_000);
    let kind = |answer: Option<Answer>| match answer {
        Some(Answer::Error(error)) => error.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(ensemble.answer(leader, read)), ErrorKind::Unavailable as u32);
    assert_eq!(kind(ensemble.answer(leader, write)), ErrorKind::Unavailable as u32);
    // The others went on, and the isolated node's tail is cut when it is back.
    let one = (leader + 1) % 3;
    assert!(matches!(ensemble.call(one, context(session, 3), set("k", "newer")), Some(Answer::Written(_))));
    ensemble.isolate(leader, false);
    ensemble.run(3_000);
    match ensemble.call(leader, None, get("k")) {
        Some(Answer::Entry(entry)) => assert_eq!(entry.value, "newer"),
        other => panic!("{other:?}"),
    }
    assert_eq!(ensemble.status(leader).state_hash, ensemble.status(one).state_hash);
}

#[test]
fn a_node_alone_answers_local_reads_once_it_has_been_up_to_date() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let alone = (leader + 1) % 3;
    let session = ensemble.open_session(leader, 1);
    assert!(ensemble.call(leader, context(session, 1), set("k", "v")).is_some());
    ensemble.run(500);
    let is_v = |answer: Option<Answer>| matches!(answer, Some(Answer::Entry(entry)) if entry.value == "v");
    let kind = |answer: Option<Answer>| match answer {
        Some(Answer::Error(error)) => error.kind,
        other => panic!("{other:?}"),
    };
    assert!(is_v(ensemble.call(alone, None, get_local("k", 0))));
    ensemble.isolate(alone, true);
    // From before it noticed, and from after.
    ensemble.run(1_000);
    let far = ensemble.ask(alone, None, get_local("k", 1 << 40));
    ensemble.run(2_000);
    assert_eq!(ensemble.status(alone).role(), v1::Role::Looking);
    assert!(is_v(ensemble.call(alone, None, get_local("k", 0))));
    assert_eq!(kind(ensemble.call(alone, None, get("k"))), ErrorKind::Unavailable as u32);
    let later = ensemble.ask(alone, None, get_local("k", 1 << 40));
    ensemble.run(1_000);
    for id in [far, later] {
        // What this node has not applied needs a leader.
        assert_eq!(kind(ensemble.answer(alone, id)), ErrorKind::Unavailable as u32);
    }
    // After a start it has to follow a leader first.
    ensemble.kill(alone);
    ensemble.start(alone);
    let early = ensemble.ask(alone, None, get_local("k", 0));
    ensemble.run(500);
    assert_eq!(ensemble.answer(alone, early), None);
    ensemble.run(1_500);
    assert_eq!(kind(ensemble.answer(alone, early)), ErrorKind::Unavailable as u32);
    assert_eq!(kind(ensemble.call(alone, None, get_local("k", 0))), ErrorKind::Unavailable as u32);
    ensemble.isolate(alone, false);
    ensemble.run(2_000);
    assert!(is_v(ensemble.call(alone, None, get_local("k", 0))));
}

/// An ensemble of three, its leader, and another node with an empty directory, which serves and does not vote yet.
fn with_wiped_voter() -> (Nodes, usize, usize) {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let session = ensemble.open_session(leader, 1);
    for seq in 1..=20 {
        assert!(ensemble.call(leader, context(session, seq), set(&format!("k{seq}"), "v")).is_some());
    }
    let wiped = (leader + 1) % 3;
    ensemble.kill(wiped);
    ensemble.members[wiped].storage = Storage::default();
    ensemble.members[wiped].incarnation = 900;
    ensemble.start(wiped);
    ensemble.run(300);
    let status = ensemble.status(wiped);
    assert_eq!((status.role(), status.votes), (v1::Role::Learning, false));
    assert_eq!(status.state_hash, ensemble.status(leader).state_hash);
    (ensemble, leader, wiped)
}

#[test]
fn a_wiped_voter_is_served_and_not_counted() {
    let (mut ensemble, leader, _) = with_wiped_voter();
    // With the other voter gone the leader has no quorum, whatever the wiped node acknowledges.
    ensemble.kill((leader + 2) % 3);
    ensemble.run(5_000);
    assert_eq!(ensemble.leader(), None);
}

#[test]
fn a_wiped_voter_is_a_voter_again_and_counts() {
    let (mut ensemble, leader, wiped) = with_wiped_voter();
    ensemble.run(3_000);
    let status = ensemble.status(wiped);
    assert_eq!((status.role(), status.votes), (v1::Role::Following, true));
    assert_eq!(status.peers.iter().filter(|peer| peer.votes).count(), 2);
    ensemble.kill((leader + 2) % 3);
    ensemble.run(5_000);
    assert!(ensemble.leader().is_some(), "it is half of the quorum");
}
