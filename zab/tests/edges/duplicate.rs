//! Two processes with one id and one data directory: a copy runs beside the original.

use gometa_zab::{Addresses, Bounds, Effect, Epoch, Hello, LinkId, Message, NodeId, Notice};

use super::solo::{ELECTION, Solo, closes, looks, member, sent};

/// Node 3 of three, a member that looks.
fn node() -> Solo {
    Solo::new(3, 3, member(3, &[]), Bounds::default())
}

fn at(message: &str) -> Addresses {
    Addresses { message: message.to_owned(), ..Addresses::default() }
}

/// How a copy of a member says hello.
fn copy(solo: &Solo, node: u64, boot: u64) -> Hello {
    Hello { boot, addresses: at("copy"), ..solo.hello(node) }
}

/// Who was reported: the id, which process goes on being served, and the other one.
fn reports(effects: &[Effect]) -> Vec<(u64, String, String)> {
    let report = |effect: &Effect| match effect {
        Effect::Notice(Notice::Duplicate { peer, served, other }) => {
            Some((peer.0, served.message.clone(), other.message.clone()))
        }
        _ => None,
    };
    effects.iter().filter_map(report).collect()
}

fn twice() -> Vec<(u64, String, String)> {
    vec![(1, "n1".to_owned(), "copy".to_owned())]
}

/// A little more than an election timeout, during which these followers are heard; what is done at its end.
fn passes(solo: &mut Solo, links: &[LinkId]) -> Vec<Effect> {
    let mut said = Vec::new();
    for part in [ELECTION / 2, ELECTION / 2 + 1] {
        said = solo.after(part);
        for link in links {
            solo.receive(*link, Message::HeartbeatAck { epoch: solo.epoch(), id: 1 });
        }
    }
    said
}

/// Whether a message is but a sign of life.
fn is_alive(message: &Message) -> bool {
    matches!(message, Message::Alive { .. })
}

#[test]
fn a_leader_reports_a_second_process_of_a_follower_that_is_alive() {
    // The start's number tells nothing: original and copy count for themselves.
    for boot in [1, 2] {
        let mut solo = node();
        let links = solo.established(&[1, 2]);
        let (other, _) = solo.accept_as(copy(&solo, 1, boot));
        let said = passes(&mut solo, &links);
        assert_eq!(reports(&said), twice());
        let notified: Vec<Message> = sent(&said, other).into_iter().filter(|sent| !is_alive(sent)).collect();
        assert_eq!(notified, [Message::Duplicate(at("n1"))]);
        assert!(closes(&said, other) && !closes(&said, links[0]));
    }
}

#[test]
fn a_follower_that_was_started_again_is_no_second_process() {
    // The old connection is silent, and given up first.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    solo.accept_as(Hello { boot: 2, addresses: at("moved"), ..solo.hello(1) });
    let said = passes(&mut solo, &links[1..]);
    assert!(closes(&said, links[0]), "{said:?}");
    assert_eq!(reports(&said), vec![]);
    // The new one takes its place.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let (again, _) = solo.accept_as(Hello { boot: 2, addresses: at("moved"), ..solo.hello(1) });
    let said = solo.receive(again, Message::FollowerEpoch { accepted: Epoch(0), config_version: 0 });
    assert!(closes(&said, links[0]));
    assert_eq!(reports(&said), vec![]);
    // The same process has two connections.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    solo.accept(1);
    assert_eq!(reports(&passes(&mut solo, &links)), vec![]);
}

#[test]
fn two_processes_that_take_turns_in_following_are_reported() {
    let follow = Message::FollowerEpoch { accepted: Epoch(0), config_version: 0 };
    // From elsewhere at the same start.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let (second, _) = solo.accept_as(copy(&solo, 1, 1));
    let said = solo.receive(second, follow.clone());
    assert_eq!(reports(&said), vec![(1, "copy".to_owned(), "n1".to_owned())]);
    assert_eq!(sent(&said, links[0]), [Message::Duplicate(at("copy"))]);
    // At an earlier start, once what that may have left behind has arrived.
    for (pauses, expected) in [(1, vec![]), (2, twice())] {
        let mut solo = node();
        let links = solo.established(&[1, 2]);
        let (second, _) = solo.accept_as(copy(&solo, 1, 2));
        assert_eq!(reports(&solo.receive(second, follow.clone())), vec![], "it may have been started again");
        for _ in 0..pauses {
            passes(&mut solo, &[second, links[1]]);
        }
        let (first, _) = solo.accept_as(solo.hello(1));
        let said = solo.receive(first, follow.clone());
        assert_eq!(reports(&said), expected);
        assert!(closes(&said, second));
    }
}

#[test]
fn what_an_earlier_start_has_left_behind_is_no_second_process() {
    for (pauses, expected) in [(1, vec![]), (2, twice())] {
        let mut solo = node();
        let links = solo.established(&[1, 2]);
        for _ in 0..pauses {
            passes(&mut solo, &links);
        }
        solo.accept_as(copy(&solo, 1, 0));
        assert_eq!(reports(&passes(&mut solo, &links)), expected);
    }
}

#[test]
fn a_follower_reports_a_second_process_of_its_leader() {
    let mut solo = node();
    let leader = solo.serves(1, 4);
    let (other, _) = solo.accept_as(copy(&solo, 1, 1));
    solo.after(ELECTION - 1);
    solo.receive(leader, Message::Heartbeat { epoch: Epoch(4), id: 1, commit: 0 });
    let said = solo.after(2);
    assert_eq!(reports(&said), twice());
    assert_eq!(sent(&said, other), [Message::Duplicate(at("n1"))]);
}

#[test]
fn the_copy_learns_of_it() {
    let notified = |effects: &[Effect]| {
        effects.contains(&Effect::Notice(Notice::DuplicateOfSelf { peer: NodeId(1), addresses: at("n3") }))
    };
    let duplicate = || Message::Duplicate(at("n3"));
    let mut solo = node();
    let link = solo.accept(1);
    let said = solo.receive(link, duplicate());
    assert!(notified(&said) && closes(&said, link));
    // One that follows has been replaced.
    let mut solo = node();
    let link = solo.serves(1, 4);
    let said = solo.receive(link, duplicate());
    assert!(notified(&said) && closes(&said, link) && looks(&said).is_some());
    // One that leads loses a follower, and no more.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let said = solo.receive(links[0], duplicate());
    assert!(notified(&said) && closes(&said, links[0]) && looks(&said).is_none());
    // Nothing is believed before a greeting.
    let mut solo = node();
    let link = solo.accept_silent();
    let said = solo.receive(link, duplicate());
    assert!(!notified(&said) && closes(&said, link));
}
