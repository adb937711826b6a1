//! How sessions end, and how many of them one connection may open.

use gometa_proto::{
    limits::CONNECTION_SESSIONS_MAX,
    v1::{self, ErrorKind, request::Operation, response::Result as Answer},
};

use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, context, set},
};

fn end(session: u64) -> Operation {
    Operation::EndSession(v1::EndSession { session })
}

fn open(nonce: u8) -> Operation {
    Operation::OpenSession(v1::OpenSession { nonce: vec![nonce; 16].into() })
}

fn ended(existed: bool) -> Option<Answer> {
    Some(Answer::SessionEnded(v1::SessionEnded { existed }))
}

fn failed(answer: Option<Answer>) -> v1::Error {
    match answer {
        Some(Answer::Error(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn formed() -> (Nodes, usize) {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    (ensemble, leader)
}

#[test]
fn a_silent_session_ends_and_one_that_is_heard_of_does_not() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let follower = (leader + 1) % 3;
    let (silent, alive) = (ensemble.open_session(follower, 1), ensemble.open_session(follower, 2));
    for seq in 1..=8 {
        ensemble.run(2_000);
        assert!(matches!(
            ensemble.call(follower, context(alive, seq), set("k", "v")),
            Some(Answer::Written(_))
        ));
    }
    match ensemble.call(follower, context(silent, 1), set("k", "v")) {
        Some(Answer::Error(error)) => assert_eq!(error.kind, ErrorKind::SessionExpired as u32),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_ends_its_session_through_any_node() {
    let (mut ensemble, leader) = formed();
    for node in 0..3 {
        let session = ensemble.open_session(node, node as u8 + 1);
        assert_eq!(ensemble.status(leader).sessions, 1);
        assert_eq!(ensemble.call((node + 1) % 3, None, end(session)), ended(true));
        assert_eq!(ensemble.status(leader).sessions, 0);
        let error = failed(ensemble.call(node, context(session, 1), set("k", "v")));
        assert_eq!(error.kind, ErrorKind::SessionExpired as u32);
        // Its nonce opens another one.
        let next = ensemble.open_session(node, node as u8 + 1);
        assert!(next > session);
        assert_eq!(ensemble.call(node, None, end(next)), ended(true));
    }
}

#[test]
fn the_end_of_a_session_that_is_not_there_is_success() {
    let (mut ensemble, leader) = formed();
    let session = ensemble.open_session(leader, 1);
    assert_eq!(ensemble.call(leader, None, end(session)), ended(true));
    // What has ended is known, and takes no entry of the log.
    let last = ensemble.status(leader).last_revision;
    for node in 0..3 {
        for gone in [session, 0, 1] {
            assert_eq!(ensemble.call(node, None, end(gone)), ended(false), "node {node}, session {gone}");
        }
    }
    assert_eq!(ensemble.status(leader).last_revision, last);
    // One that this node has not heard of may exist.
    assert_eq!(ensemble.call(leader, None, end(u64::MAX)), ended(false));
    assert_eq!(ensemble.status(leader).last_revision, last + 1);
}

#[test]
fn two_requests_to_end_one_session_are_both_answered() {
    let (mut ensemble, leader) = formed();
    let session = ensemble.open_session(leader, 1);
    let follower = (leader + 1) % 3;
    let first = ensemble.ask(follower, None, end(session));
    let second = ensemble.ask(follower, None, end(session));
    let elsewhere = ensemble.ask(leader, None, end(session));
    ensemble.run(50);
    assert_eq!(ensemble.answer(follower, first), ended(true));
    assert_eq!(ensemble.answer(follower, second), ended(true));
    assert!(matches!(ensemble.answer(leader, elsewhere), Some(Answer::SessionEnded(_))));
}

#[test]
fn without_a_leader_no_session_is_ended() {
    let (mut ensemble, leader) = formed();
    let session = ensemble.open_session(leader, 1);
    ensemble.isolate(leader, true);
    let id = ensemble.ask(leader, None, end(session));
    ensemble.run(6_000);
    let error = failed(ensemble.answer(leader, id));
    assert_eq!(error.kind, ErrorKind::Unavailable as u32);
    let error = failed(ensemble.call(leader, None, end(session)));
    let not_applied = v1::Outcome::NotApplied as i32;
    assert_eq!((error.kind, error.outcome), (ErrorKind::Unavailable as u32, not_applied));
}

#[test]
fn the_seventeenth_session_of_one_connection_is_refused() {
    let (mut ensemble, leader) = formed();
    for node in [leader, (leader + 1) % 3] {
        let first = 100 * u8::from(node == leader);
        // Some of them at once, before any of them is open.
        let last = CONNECTION_SESSIONS_MAX as u8;
        let asked: Vec<u64> = (1..=last + 1).map(|n| ensemble.ask(node, None, open(first + n))).collect();
        ensemble.run(50);
        let mut answers: Vec<_> = asked.iter().map(|id| ensemble.answer(node, *id)).collect();
        let error = failed(answers.pop().flatten());
        let not_applied = v1::Outcome::NotApplied as i32;
        assert_eq!((error.kind, error.outcome), (ErrorKind::ResourceExhausted as u32, not_applied));
        assert!(error.message.contains("16 sessions"), "{}", error.message);
        let sessions: Vec<u64> = answers
            .into_iter()
            .map(|answer| match answer {
                Some(Answer::SessionOpened(opened)) => opened.session,
                other => panic!("{other:?}"),
            })
            .collect();
        // A repetition, and another connection, need no room here.
        assert_eq!(ensemble.open_session(node, first + 1), sessions[0]);
        let elsewhere = ensemble.ask_as(node, 50 + node as u64, 0, None, open(first + 90));
        ensemble.run(50);
        let answer = ensemble.answer(50 + node, elsewhere);
        assert!(matches!(answer, Some(Answer::SessionOpened(_))), "{answer:?}");
        // The end of one makes room for one.
        assert_eq!(ensemble.call(node, None, end(sessions[3])), ended(true));
        ensemble.open_session(node, first + 91);
        let error = failed(ensemble.call(node, None, open(first + 92)));
        assert_eq!(error.kind, ErrorKind::ResourceExhausted as u32);
    }
}

#[test]
fn cancelled_openings_count_as_long_as_they_may_come_to_something() {
    let (mut ensemble, leader) = formed();
    for nonce in 1..=CONNECTION_SESSIONS_MAX as u8 {
        let id = ensemble.ask(leader, None, open(nonce));
        ensemble.step(leader);
        let client = gometa_node::ClientId(leader as u64);
        ensemble.tell(leader, gometa_node::Event::Cancel { client, id });
    }
    let error = failed(ensemble.call(leader, None, open(99)));
    assert_eq!(error.kind, ErrorKind::ResourceExhausted as u32);
    assert_eq!(ensemble.status(leader).sessions, CONNECTION_SESSIONS_MAX as u64);
    // Without a leader nothing comes of them.
    ensemble.isolate(leader, true);
    ensemble.run(3_000);
    let client = 77;
    for nonce in 100..100 + 2 * CONNECTION_SESSIONS_MAX as u8 {
        let id = ensemble.ask_as(leader, client, 0, None, open(nonce));
        ensemble.run(5);
        let error = failed(ensemble.answer(77, id));
        assert_eq!(error.kind, ErrorKind::Unavailable as u32);
    }
}

#[test]
fn a_pause_longer_than_the_time_out_ends_no_session() {
    for (nodes, contact) in [(1, false), (1, true), (3, false)] {
        let mut ensemble = Nodes::new(nodes);
        ensemble.run(500);
        let leader = ensemble.leader().expect("a leader");
        let session = ensemble.open_session(leader, 1);
        // All are stopped for six timeouts; what the client sends meanwhile is seen a moment after they go on.
        ensemble.skip(60_000);
        if contact {
            ensemble.tell(leader, gometa_node::Event::Contact { session });
        }
        ensemble.run(2_000);
        let written = ensemble.call(leader, context(session, 1), set("k", "v"));
        assert!(matches!(written, Some(Answer::Written(_))), "{nodes} nodes: {written:?}");
        // Its clock goes on all the same.
        ensemble.run(12_000);
        let error = failed(ensemble.call(leader, context(session, 2), set("k", "v")));
        assert_eq!(error.kind, ErrorKind::SessionExpired as u32);
    }
}

#[test]
fn a_write_tried_again_while_there_is_no_leader_is_sent_to_the_next_one_once() {
    let (mut ensemble, leader) = formed();
    let follower = (leader + 1) % 3;
    let session = ensemble.open_session(follower, 1);
    // There is no other leader before the third node is in reach again.
    let third = (leader + 2) % 3;
    ensemble.isolate(third, true);
    ensemble.kill(leader);
    ensemble.run(10);
    for deadline_ms in [20, 20, 5_000] {
        let id = ensemble.ask_as(follower, follower as u64, deadline_ms, context(session, 1), set("k", "v"));
        ensemble.run(40);
        if deadline_ms == 20 {
            let error = failed(ensemble.answer(follower, id));
            let not_applied = v1::Outcome::NotApplied as i32;
            assert_eq!((error.kind, error.outcome), (ErrorKind::DeadlineExceeded as u32, not_applied));
        } else {
            ensemble.isolate(third, false);
            ensemble.run(2_000);
            let answer = ensemble.answer(follower, id);
            assert!(matches!(answer, Some(Answer::Written(_))), "{answer:?}");
        }
    }
    let is_write = |payload: bytes::Bytes| {
        let command = gometa_store::decode_command(payload).ok();
        matches!(command.and_then(|command| command.body), Some(v1::command::Body::Write(_)))
    };
    let log = ensemble.members[follower].storage.log();
    assert_eq!(log.into_iter().filter(|entry| is_write(entry.payload.clone())).count(), 1);
}
