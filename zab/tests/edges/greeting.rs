//! Connections of a member: who is spoken with, and for how long without a word.

use gometa_zab::{
    Bounds, Effect, EnsembleId, Epoch, Event, Hello, Incarnation, LinkId, Message, NodeId, Notice, Reason,
    Role, Zxid,
};

use super::solo::{
    ELECTION, HOME, Solo, closes, genesis, hard_states, leads, looks, member, refuses, rounds, sent, vote,
};

/// Node 3 of three, a member that looks.
fn node() -> Solo {
    Solo::new(3, 3, member(3, &[]), Bounds::default())
}

fn promised(accepted: u64) -> Message {
    Message::FollowerEpoch { accepted: Epoch(accepted), config_version: 0 }
}

#[test]
fn who_connects_says_whom_it_means_and_belongs_here() {
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
        let (link, said) = solo.accept_as(hello.clone());
        match reason {
            Some(reason) => assert!(refuses(&said, link, reason), "{hello:?}: {said:?}"),
            None => assert_eq!(said, [], "{hello:?}"),
        }
    }
}

#[test]
fn who_is_dialled_is_who_was_meant() {
    for (answers, reason) in [(1, None), (2, Some(Reason::WrongNode)), (3, Some(Reason::WrongNode))] {
        let mut solo = node();
        solo.receive_vote(leads(1, 4, 1));
        let link = solo.connected(1);
        let said = solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(answers) }));
        assert_eq!(reason.is_some_and(|reason| refuses(&said, link, reason)), reason.is_some(), "{answers}");
        assert_eq!(looks(&said).is_some(), reason.is_some());
    }
}

#[test]
fn a_hello_comes_once_and_first() {
    let mut solo = node();
    let link = solo.accept(1);
    let hello = Message::Hello(solo.hello(1));
    assert!(refuses(&solo.receive(link, hello), link, Reason::Version));

    let mut solo = node();
    let link = LinkId(50);
    let said = solo.step(vec![Event::Accepted { link }]);
    let Some(Message::Hello(own)) = sent(&said, link).into_iter().next() else { panic!("{said:?}") };
    assert_eq!((own.node, own.expected, own.ensemble), (NodeId(3), None, Some(HOME)));
    assert_eq!((own.incarnation, own.boot, own.voters.len()), (Incarnation(3), 1, 0));
    assert!(refuses(&solo.receive(link, promised(0)), link, Reason::Version));
    assert_eq!(solo.receive(link, promised(0)), [], "nothing from a closed connection is believed");

    // A leader that is spoken to out of turn by the one it follows looks for another.
    let mut solo = node();
    solo.receive_vote(leads(1, 4, 1));
    let link = solo.connected(1);
    let said = solo.receive(link, Message::NewEpoch(Epoch(5)));
    assert!(refuses(&said, link, Reason::Version));
    assert!(looks(&said).is_some());

    // Only a refusal needs no greeting before it, and it is not refused in its turn.
    let mut solo = node();
    solo.receive_vote(leads(1, 4, 1));
    let link = solo.connected(1);
    let said = solo.receive(link, Message::Refuse(Reason::WrongNode));
    assert_eq!(sent(&said, link), []);
    assert!(closes(&said, link));
    assert_eq!(looks(&said), Some("the leader refuses this node"));
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
    let said = solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(1) }));
    assert_eq!(sent(&said, link), [promised(0)]);
}

#[test]
fn a_connection_that_comes_to_nothing_is_closed_after_an_election_timeout() {
    let mut solo = node();
    let silent = LinkId(50);
    solo.step(vec![Event::Accepted { link: silent }]);
    let greeted = solo.accept(1);
    let said = solo.after(ELECTION);
    assert!(!closes(&said, silent) && !closes(&said, greeted));
    let said = solo.after(1);
    assert!(closes(&said, silent) && closes(&said, greeted));

    // Those in use stay.
    let mut solo = node();
    let own = solo.serves(1, 4);
    let idle = solo.accept(2);
    solo.after(ELECTION - 1);
    solo.receive(own, Message::Heartbeat { epoch: Epoch(4), id: 1, commit: 0 });
    let said = solo.after(2);
    assert!(closes(&said, idle) && !closes(&said, own));
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let idle = solo.accept(1);
    solo.after(ELECTION - 1);
    for link in &links {
        solo.receive(*link, Message::HeartbeatAck { epoch: solo.epoch(), id: 1 });
    }
    let said = solo.after(2);
    assert!(closes(&said, idle) && !closes(&said, links[0]) && !closes(&said, links[1]));
}

#[test]
fn a_promise_that_comes_before_the_election_is_known_is_kept() {
    // Rule 9: answered or refused promptly, and here the answer is that this node leads.
    let mut solo = node();
    let link = solo.accept(1);
    solo.after(ELECTION / 2);
    assert_eq!(solo.receive(link, promised(6)), []);
    let said = solo.after(ELECTION);
    assert!(!closes(&said, link), "its time begins with the promise");
    let round = rounds(&said)[0];
    solo.receive_vote(vote(1, 3, round));
    let said = solo.receive_vote(vote(2, 3, round));
    assert_eq!(solo.role(), Role::Leading { established: None });
    assert_eq!(hard_states(&said)[0].accepted_epoch, Epoch(7));
    assert_eq!(sent(&solo.persist(), link), [Message::NewEpoch(Epoch(7))]);
    // Anything else closes the connection of one that looks.
    let mut solo = node();
    let link = solo.accept(1);
    let said = solo.receive(link, Message::NewEpoch(Epoch(4)));
    assert_eq!(said, [Effect::Close { link }]);
}

#[test]
fn a_connection_asked_for_before_the_phase_changed_is_closed() {
    let mut solo = node();
    let link = LinkId(50);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(1), link }]), link));
    assert_eq!(solo.connect_failed(1), []);
    let mut solo = node();
    solo.established(&[1, 2]);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(1), link }]), link));
}

#[test]
fn a_node_without_an_ensemble_is_told_the_genesis() {
    // Section 5.7; a voter with a new directory is not counted any more (section 5.8).
    for (incarnation, forgotten) in [(1, false), (99, true)] {
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
            let (link, said) = solo.accept_as(hello);
            assert_eq!(sent(&said, link), [Message::Formed(genesis(3))], "one that {role}");
            let told = said.contains(&Effect::Notice(Notice::UnrecordedIncarnation { peer: NodeId(1) }));
            assert_eq!(told, forgotten);
        }
    }
}

#[test]
fn nobody_is_a_follower_before_its_seal_is_durable() {
    let mut solo = node();
    solo.elected();
    let hello = Hello { ensemble: None, ..solo.hello(1) };
    let (link, _) = solo.accept_as(hello);
    let said = solo.receive(link, promised(0));
    assert!(refuses(&said, link, Reason::OtherEnsemble));
    assert_eq!(hard_states(&said), []);
}

#[test]
fn a_leader_closes_connections_of_which_it_knows_nothing() {
    let mut solo = node();
    solo.established(&[1]);
    let link = solo.accept(2);
    let said = solo.receive(link, Message::Ack { epoch: solo.epoch(), last: Zxid::ZERO });
    assert_eq!(said, [Effect::Close { link }]);
}
