//! Two processes with one id and one data directory: a copy runs beside the original.

use gometa_zab::{Addresses, Bounds, Effect, Epoch, Hello, LinkId, Message, NodeId, Notice};

use super::solo::{ELECTION, Solo, closes, heartbeat_ack, looking, member, promised, sent};

/// Node 3 of three: a member in the role Looking.
fn node() -> Solo {
    Solo::new(3, 3, member(3, &[]), Bounds::default())
}

fn addresses(message: &str) -> Addresses {
    Addresses { message: message.to_owned(), ..Addresses::default() }
}

/// The Hello of a copy of a member.
fn copy(solo: &Solo, node: u64, boot: u64) -> Hello {
    Hello { boot, addresses: addresses("copy"), ..solo.hello(node) }
}

/// The reported duplicates: the id, the process that is still served, and the other one.
fn reports(effects: &[Effect]) -> Vec<(u64, String, String)> {
    let report = |effect: &Effect| match effect {
        Effect::Notice(Notice::Duplicate { peer, served, other }) => {
            Some((peer.0, served.message.clone(), other.message.clone()))
        }
        _ => None,
    };
    effects.iter().filter_map(report).collect()
}

/// The report of a copy of node 1.
fn copy_reported() -> Vec<(u64, String, String)> {
    vec![(1, "n1".to_owned(), "copy".to_owned())]
}

/// Lets slightly more than an election timeout pass, while these followers answer. Returns the last effects.
fn wait_for_election_timeout(solo: &mut Solo, links: &[LinkId]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for part in [ELECTION / 2, ELECTION / 2 + 1] {
        effects = solo.after(part);
        for link in links {
            solo.receive(*link, heartbeat_ack(solo.epoch(), 1));
        }
    }
    effects
}

fn is_alive(message: &Message) -> bool {
    matches!(message, Message::Alive { .. })
}

#[test]
fn a_leader_reports_a_second_process_of_a_follower_that_is_alive() {
    // The boot count does not distinguish them: the original and the copy each count their own starts. A higher one may be
    // that of a restart, until the earlier start has been heard for two election timeouts.
    for (boot, attempts) in [(1, 1), (2, 3)] {
        let mut solo = node();
        let links = solo.established(&[1, 2]);
        for attempt in 1..=attempts {
            let (other, _) = solo.accept_as(copy(&solo, 1, boot));
            let effects = wait_for_election_timeout(&mut solo, &links);
            let expected = if attempt < attempts { vec![] } else { copy_reported() };
            assert_eq!(reports(&effects), expected);
            let notified: Vec<Message> =
                sent(&effects, other).into_iter().filter(|sent| !is_alive(sent)).collect();
            assert_eq!(notified.contains(&Message::Duplicate(addresses("n1"))), attempt == attempts);
            assert!(closes(&effects, other) && !closes(&effects, links[0]));
        }
    }
}

#[test]
fn a_restarted_follower_that_says_nothing_more_is_not_reported_while_its_old_connection_is_in_use() {
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let (again, _) = solo.accept_as(copy(&solo, 1, 2));
    // The last messages of the earlier start are late.
    let effects = wait_for_election_timeout(&mut solo, &links);
    assert!(closes(&effects, again) && !closes(&effects, links[0]));
    assert_eq!(reports(&effects), vec![]);
}

#[test]
fn two_processes_that_take_turns_are_reported() {
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let mut reported = Vec::new();
    for turn in 0..8_u64 {
        let hello = if turn % 2 == 0 { copy(&solo, 1, 2) } else { solo.hello(1) };
        let (link, _) = solo.accept_as(hello);
        reported.extend(reports(&solo.receive(link, promised(0))).into_iter().map(|_| turn));
        for link in [link, links[1]] {
            solo.after(ELECTION / 4);
            solo.receive(link, heartbeat_ack(solo.epoch(), 1));
        }
    }
    // The first two election timeouts end with turn 4.
    assert_eq!(reported, [5, 6, 7]);
}

#[test]
fn a_restarted_follower_is_not_reported_as_a_second_process() {
    // The old connection is silent and is closed first.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    solo.accept_as(Hello { boot: 2, addresses: addresses("moved"), ..solo.hello(1) });
    let effects = wait_for_election_timeout(&mut solo, &links[1..]);
    assert!(closes(&effects, links[0]), "{effects:?}");
    assert_eq!(reports(&effects), vec![]);
    // The new connection replaces the old one.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let (again, _) = solo.accept_as(Hello { boot: 2, addresses: addresses("moved"), ..solo.hello(1) });
    let effects = solo.receive(again, promised(0));
    assert!(closes(&effects, links[0]));
    assert_eq!(reports(&effects), vec![]);
    // The same process has two connections.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    solo.accept(1);
    assert_eq!(reports(&wait_for_election_timeout(&mut solo, &links)), vec![]);
}

#[test]
fn two_processes_that_follow_alternately_are_reported() {
    let follow = promised(0);
    // Another address with the same boot count.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let (second, _) = solo.accept_as(copy(&solo, 1, 1));
    let effects = solo.receive(second, follow.clone());
    assert_eq!(reports(&effects), vec![(1, "copy".to_owned(), "n1".to_owned())]);
    assert_eq!(sent(&effects, links[0]), [Message::Duplicate(addresses("copy"))]);
    // An earlier boot count, after messages of an earlier start can no longer arrive.
    for (pauses, expected) in [(1, vec![]), (2, copy_reported())] {
        let mut solo = node();
        let links = solo.established(&[1, 2]);
        let (second, _) = solo.accept_as(copy(&solo, 1, 2));
        assert_eq!(reports(&solo.receive(second, follow.clone())), vec![], "it may be a restart");
        for _ in 0..pauses {
            wait_for_election_timeout(&mut solo, &[second, links[1]]);
        }
        let (first, _) = solo.accept_as(solo.hello(1));
        let effects = solo.receive(first, follow.clone());
        assert_eq!(reports(&effects), expected);
        assert!(closes(&effects, second));
    }
}

#[test]
fn connections_of_an_earlier_start_are_not_reported_as_a_second_process() {
    for (pauses, expected) in [(1, vec![]), (2, copy_reported())] {
        let mut solo = node();
        let links = solo.established(&[1, 2]);
        for _ in 0..pauses {
            wait_for_election_timeout(&mut solo, &links);
        }
        solo.accept_as(copy(&solo, 1, 0));
        assert_eq!(reports(&wait_for_election_timeout(&mut solo, &links)), expected);
    }
}

#[test]
fn a_follower_reports_a_second_process_of_its_leader() {
    let mut solo = node();
    let leader = solo.serves(1, 4);
    let (other, _) = solo.accept_as(copy(&solo, 1, 1));
    solo.after(ELECTION - 1);
    solo.receive(leader, Message::Heartbeat { epoch: Epoch(4), id: 1, commit: 0 });
    let effects = solo.after(2);
    assert_eq!(reports(&effects), copy_reported());
    assert_eq!(sent(&effects, other), [Message::Duplicate(addresses("n1"))]);
}

#[test]
fn a_duplicate_process_is_notified() {
    let notified = |effects: &[Effect]| {
        effects.contains(&Effect::Notice(Notice::DuplicateOfSelf {
            peer: NodeId(1),
            addresses: addresses("n3"),
        }))
    };
    let duplicate = || Message::Duplicate(addresses("n3"));
    let mut solo = node();
    let link = solo.accept(1);
    let effects = solo.receive(link, duplicate());
    assert!(notified(&effects) && closes(&effects, link));
    // A follower has been replaced, and looks for a leader.
    let mut solo = node();
    let link = solo.serves(1, 4);
    let effects = solo.receive(link, duplicate());
    assert!(notified(&effects) && closes(&effects, link) && looking(&effects).is_some());
    // A leader only loses this follower.
    let mut solo = node();
    let links = solo.established(&[1, 2]);
    let effects = solo.receive(links[0], duplicate());
    assert!(notified(&effects) && closes(&effects, links[0]) && looking(&effects).is_none());
    // The message is ignored before Hello.
    let mut solo = node();
    let link = solo.accept_without_hello();
    let effects = solo.receive(link, duplicate());
    assert!(!notified(&effects) && closes(&effects, link));
}
