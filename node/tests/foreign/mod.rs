//! What another member's upper half may say, and how much of it is carried out.

use bytes::Bytes;
use gometa_node::Event;
use gometa_proto::{
    ErrorKind,
    limits::PAYLOAD_MAX,
    v1::{self, NodeMessage, node_message::Body, response::Result as Answer},
};
use gometa_zab::Message;
use prost::Message as _;

use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, context, get, set},
};

/// Lets a node's upper half say something to another's.
fn say(ensemble: &mut Nodes, from: usize, to: usize, body: Body) {
    let link = ensemble.link(to, from).expect("a connection");
    let message = Message::Relay(NodeMessage { body: Some(body) }.encode_to_vec().into());
    ensemble.tell(to, Event::Zab(gometa_zab::Event::Message { link, message }));
}

#[test]
fn a_forwarded_command_that_no_node_could_log_is_refused_where_it_enters() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let follower = (leader + 1) % 3;
    let last = ensemble.status(leader).last_revision;
    let sizes = [PAYLOAD_MAX + 1, 10, PAYLOAD_MAX, 4 * PAYLOAD_MAX];
    let commands = sizes.map(|size| Bytes::from(vec![0xff; size])).to_vec();
    say(&mut ensemble, follower, leader, Body::Forward(v1::Forward { id: 7, commands, level: 1 }));
    ensemble.run(50);
    // The harness looks at what is logged. The two that fit are entries like others, to no effect.
    for node in 0..3 {
        let status = ensemble.status(node);
        assert_eq!((status.last_revision, status.applied_revision), (last + 2, last + 2), "node {node}");
    }
    let session = ensemble.open_session(follower, 1);
    let written = ensemble.call(follower, context(session, 1), set("k", "v"));
    assert!(matches!(written, Some(Answer::Written(_))), "{written:?}");
}

#[test]
fn a_write_that_the_leader_refuses_for_its_size_fails() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let follower = (leader + 1) % 3;
    let session = ensemble.open_session(follower, 1);
    // The refusal comes in place of the write, which is on its way.
    let id = ensemble.ask(follower, context(session, 1), set("k", "v"));
    ensemble.step(follower);
    let kind = ErrorKind::TooLarge.number();
    for forward in 0..10 {
        let rejected = v1::ForwardRejected {
            id: forward,
            rejected: vec![0, 0, 9, u32::MAX],
            kind,
            ..Default::default()
        };
        say(&mut ensemble, leader, follower, Body::ForwardRejected(rejected));
    }
    ensemble.step(follower);
    match ensemble.answer(follower, id) {
        Some(Answer::Error(error)) => {
            assert_eq!(
                (error.error_kind(), error.outcome),
                (ErrorKind::TooLarge, v1::Outcome::NotApplied as i32)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_follower_that_asks_for_barriers_without_end_delays_no_other() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let follower = (leader + 1) % 3;
    // No round ends any more: as many as there may be are in flight.
    for node in (0..3).filter(|node| *node != leader) {
        ensemble.isolate(node, true);
    }
    let barrier = |id| Body::BarrierRequest(v1::BarrierRequest { id });
    for id in 0..20 {
        say(&mut ensemble, follower, leader, barrier(id));
        ensemble.step(leader);
    }
    for id in 20..70_000 {
        say(&mut ensemble, follower, leader, barrier(id));
    }
    ensemble.members[leader].relays = 0;
    ensemble.step(leader);
    assert_eq!(ensemble.members[leader].relays, 70_000 - 20, "all further ones are refused at once");
    let read = ensemble.ask(leader, None, get("k"));
    ensemble.step(leader);
    ensemble.step(leader);
    for node in 0..3 {
        ensemble.isolate(node, false);
    }
    ensemble.run(3_000);
    assert!(ensemble.answer(leader, read).is_some());
    assert_eq!(ensemble.members[leader].stopped, None);
}
