//! Connections of a member: which are accepted, and after which idle time they are closed.

use gometa_zab::{
    Bounds, Effect, EnsembleId, Epoch, Event, Hello, Incarnation, LinkId, Message, NodeId, Notice, Reason,
    Role, Zxid,
};

use super::solo::{
    ELECTION, HOME, Solo, closes, genesis, hard_states, heartbeat_ack, leads, looking, member, promised,
    refuses, rounds, sent, vote,
};

/// Node 3 of three: a member in the role Looking.
fn node() -> Solo {
    Solo::new(3, 3, member(3, &[]), Bounds::default())
}

#[test]
fn an_accepted_connection_needs_the_hello_of_a_member_to_this_node() {
    // Rule 21.
    let good = node().hello(1);
    let other = Some(EnsembleId { id: 8, history: 1 });
    let later = Some(EnsembleId { history: 2, ..HOME });
    let cases = [
        (Hello { expected: None, ..good.clone() }, Some(Reason::WrongNode)),
        (Hello { expected: Some(NodeId(2)), ..good.clone() }, Some(Reason::WrongNode)),
        (Hello { node: NodeId(3), ..good.clone() }, Some(Reason::WrongNode)),
        (Hello { ensemble: other, ..good.clone() }, Some(Reason::OtherEnsemble)),
        (Hello { ensemble: later, ..good.clone() }, Some(Reason::OtherEnsemble)),
        (Hello { node: NodeId(7), ..good.clone() }, Some(Reason::NotAMember)),
        (Hello { node: NodeId(7), ensemble: None, ..good.clone() }, Some(Reason::NotAMember)),
        (Hello { incarnation: Incarnation(99), ..good.clone() }, None),
        (good, None),
    ];
    for (hello, reason) in cases {
        let mut solo = node();
        let (link, effects) = solo.accept_as(hello.clone());
        match reason {
            Some(reason) => assert!(refuses(&effects, link, reason), "{hello:?}: {effects:?}"),
            None => assert_eq!(effects, [], "{hello:?}"),
        }
    }
}

#[test]
fn a_dialled_connection_needs_the_hello_of_the_dialled_node() {
    for (answers, reason) in [(1, None), (2, Some(Reason::WrongNode)), (3, Some(Reason::WrongNode))] {
        let mut solo = node();
        solo.receive_vote(leads(1, 4, 1));
        let link = solo.connected(1);
        let effects = solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(answers) }));
        assert_eq!(
            reason.is_some_and(|reason| refuses(&effects, link, reason)),
            reason.is_some(),
            "{answers}"
        );
        assert_eq!(looking(&effects).is_some(), reason.is_some());
    }
}

#[test]
fn hello_is_the_first_message_and_sent_once() {
    let mut solo = node();
    let link = solo.accept(1);
    let hello = Message::Hello(solo.hello(1));
    assert!(refuses(&solo.receive(link, hello), link, Reason::Version));

    let mut solo = node();
    let link = LinkId(50);
    let effects = solo.step(vec![Event::Accepted { link }]);
    let Some(Message::Hello(own)) = sent(&effects, link).into_iter().next() else { panic!("{effects:?}") };
    assert_eq!((own.node, own.expected, own.ensemble), (NodeId(3), None, Some(HOME)));
    assert_eq!((own.incarnation, own.boot, own.voters.len()), (Incarnation(3), 1, 0));
    assert!(refuses(&solo.receive(link, promised(0)), link, Reason::Version));
    assert_eq!(solo.receive(link, promised(0)), [], "messages of a closed connection are ignored");

    // A follower whose leader sends another message before Hello looks for a leader again.
    let mut solo = node();
    solo.receive_vote(leads(1, 4, 1));
    let link = solo.connected(1);
    let effects = solo.receive(link, Message::NewEpoch(Epoch(5)));
    assert!(refuses(&effects, link, Reason::Version));
    assert!(looking(&effects).is_some());

    // Refuse is valid before Hello, and is not answered with Refuse.
    let mut solo = node();
    solo.receive_vote(leads(1, 4, 1));
    let link = solo.connected(1);
    let effects = solo.receive(link, Message::Refuse(Reason::WrongNode));
    assert_eq!(sent(&effects, link), []);
    assert!(closes(&effects, link));
    assert_eq!(looking(&effects), Some("the leader refuses this node"));
}

#[test]
fn accepted_connections_are_bounded_and_dialled_ones_are_not() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds { links_max: 2, ..Bounds::default() });
    solo.accept(1);
    solo.accept(2);
    let third = LinkId(50);
    assert_eq!(solo.step(vec![Event::Accepted { link: third }]), [Effect::Close { link: third }]);
    solo.receive_vote(leads(1, 4, 1));
    let link = solo.connected(1);
    let effects = solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(1) }));
    assert_eq!(sent(&effects, link), [promised(0)]);
}

#[test]
fn an_unused_connection_is_closed_after_an_election_timeout() {
    let mut solo = node();
    let silent = LinkId(50);
    solo.step(vec![Event::Accepted { link: silent }]);
    let with_hello = solo.accept(1);
    let effects = solo.after(ELECTION);
    assert!(!closes(&effects, silent) && !closes(&effects, with_hello));
    let effects = solo.after(1);
    assert!(closes(&effects, silent) && closes(&effects, with_hello));

    // Connections in use are kept.
    let mut solo = node();
    let own = solo.serves(1, 4);
    let idle = solo.accept(2);
    solo.after(ELECTION - 1);
    solo.receive(own, Message::Heartbeat { epoch: Epoch(4), id: 1, commit: 0 });
    let effects = solo.after(2);
    assert!(closes(&effects, idle) && !closes(&effects, own));
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let idle = solo.accept(1);
    solo.after(ELECTION - 1);
    for link in &links {
        solo.receive(*link, heartbeat_ack(solo.epoch(), 1));
    }
    let effects = solo.after(2);
    assert!(closes(&effects, idle) && !closes(&effects, links[0]) && !closes(&effects, links[1]));
}

#[test]
fn a_looking_node_that_a_quorum_follows_leads_in_whatever_round() {
    let mut solo = Solo::new(3, 5, member(5, &[]), Bounds::default());
    let links: Vec<LinkId> = [1, 2].iter().map(|node| solo.accept(*node)).collect();
    solo.receive(links[0], promised(6));
    assert_eq!(solo.role(), Role::Looking);
    let effects = solo.receive(links[1], promised(0));
    assert_eq!(solo.role(), Role::Leading { established: None });
    assert_eq!(hard_states(&effects)[0].accepted_epoch, Epoch(7));
    // A connection that is closed meanwhile does not count.
    let mut solo = Solo::new(3, 5, member(5, &[]), Bounds::default());
    let link = solo.accept(1);
    solo.receive(link, promised(6));
    solo.step(vec![Event::Closed { link }]);
    let link = solo.accept(2);
    solo.receive(link, promised(6));
    assert_eq!(solo.role(), Role::Looking);
}

#[test]
fn a_promise_received_before_this_node_is_elected_is_kept() {
    // Rule 9: it is answered or refused promptly; here this node is elected and answers.
    let mut solo = Solo::new(3, 5, member(5, &[]), Bounds::default());
    let link = solo.accept(1);
    solo.after(ELECTION / 2);
    assert_eq!(solo.receive(link, promised(6)), []);
    let effects = solo.after(ELECTION);
    assert!(!closes(&effects, link), "its idle time starts with the promise");
    let round = rounds(&effects)[0];
    for node in [1, 2, 4, 5] {
        solo.receive_vote(vote(node, 3, round));
    }
    assert_eq!(solo.role(), Role::Leading { established: None });
    let second = solo.accept(2);
    let effects = solo.receive(second, promised(0));
    assert_eq!(hard_states(&effects)[0].accepted_epoch, Epoch(7));
    assert_eq!(sent(&solo.persist(), link), [Message::NewEpoch(Epoch(7))]);
    // A looking node closes connections on which another message arrives.
    let mut solo = node();
    let link = solo.accept(1);
    let effects = solo.receive(link, Message::NewEpoch(Epoch(4)));
    assert_eq!(effects, [Effect::Close { link }]);
}

#[test]
fn a_connection_requested_before_the_phase_changed_is_closed() {
    let mut solo = node();
    let link = LinkId(50);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(1), link }]), link));
    assert_eq!(solo.connect_failed(1), []);
    let mut solo = node();
    solo.established(&[1, 2]);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(1), link }]), link));
}

#[test]
fn a_node_without_an_ensemble_receives_the_genesis() {
    // Section 5.7; a voter with a new data directory has lost its vote (section 5.8).
    for (incarnation, unrecorded) in [(1, false), (99, true)] {
        for role in ["looks", "leads", "follows"] {
            let mut solo = node();
            match role {
                "leads" => {
                    solo.established(&[1, 2]);
                }
                "follows" => {
                    solo.serves(2, 4);
                }
                _ => {}
            }
            let hello = Hello { ensemble: None, incarnation: Incarnation(incarnation), ..solo.hello(1) };
            let (link, effects) = solo.accept_as(hello);
            assert_eq!(sent(&effects, link), [Message::Formed(genesis(3))], "a node that {role}");
            let reported =
                effects.contains(&Effect::Notice(Notice::UnrecordedIncarnation { peer: NodeId(1) }));
            assert_eq!(reported, unrecorded);
        }
    }
}

#[test]
fn a_node_cannot_follow_before_its_seal_is_durable() {
    let mut solo = node();
    solo.elected();
    let hello = Hello { ensemble: None, ..solo.hello(1) };
    let (link, _) = solo.accept_as(hello);
    let effects = solo.receive(link, promised(0));
    assert!(refuses(&effects, link, Reason::OtherEnsemble));
    assert_eq!(hard_states(&effects), []);
}

#[test]
fn a_leader_closes_a_connection_with_a_message_of_no_known_follower() {
    let mut solo = node();
    solo.established(&[1]);
    let link = solo.accept(2);
    let effects = solo.receive(link, Message::Ack { epoch: solo.epoch(), last: Zxid::ZERO });
    assert_eq!(effects, [Effect::Close { link }]);
}
