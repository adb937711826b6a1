//! Liveness: a node with a slow disk or a slow connection is not treated as failed.

use gometa_zab::{Bounds, Effect, Epoch, Event, LinkId, Message, NodeId, Notice, Reason, Role, VoteState};

use super::solo::{ELECTION, MS, Solo, leads, looking, lost_followers, member, refuses, sent, votes};

const ALIVE: Message = Message::Alive { write_latency: 0 };

fn part_received(link: LinkId) -> Vec<Event> {
    vec![Event::Heard { link }]
}

#[test]
fn a_follower_that_waits_for_its_disk_sends_alive_and_keeps_its_leader() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    solo.receive_vote(leads(3, 5, 1));
    let link = solo.connected(3);
    solo.receive(link, Message::Hello(gometa_zab::Hello { expected: None, ..solo.hello(3) }));
    solo.receive(link, Message::NewEpoch(Epoch(5)));
    let mut alive_sent = 0;
    for _ in 0..50 {
        let effects = solo.after(100 * MS);
        assert_eq!(looking(&effects), None, "the leader sends Alive as well");
        alive_sent +=
            sent(&effects, link).iter().filter(|message| matches!(message, Message::Alive { .. })).count();
        solo.receive(link, ALIVE);
    }
    assert!(alive_sent >= 15, "{alive_sent}");
    // The write is complete after five election timeouts, and it continues.
    let effects = solo.persist();
    assert!(sent(&effects, link).iter().any(|message| matches!(message, Message::AckEpoch { .. })));
}

#[test]
fn a_follower_whose_disk_hangs_does_not_keep_its_leader_waiting() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    solo.receive_vote(leads(3, 5, 1));
    let link = solo.connected(3);
    solo.receive(link, Message::Hello(gometa_zab::Hello { expected: None, ..solo.hello(3) }));
    solo.receive(link, Message::NewEpoch(Epoch(5)));
    for _ in 0..50 {
        assert_eq!(looking(&solo.after(100 * MS)), None);
        solo.receive(link, ALIVE);
    }
    assert_eq!(looking(&solo.after(1)), Some("its own storage is stalled"));
    // It does not vote either.
    let sent = votes(&solo.after(500 * MS));
    assert!(!sent.is_empty() && sent.iter().all(|(_, vote)| vote.state == VoteState::Seeking), "{sent:?}");
}

#[test]
fn a_follower_sends_no_alive_to_a_silent_leader() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    let link = solo.serves(3, 5);
    let alive = |solo: &mut Solo, after| sent(&solo.after(after), link);
    assert_eq!(alive(&mut solo, 200 * MS), [ALIVE]);
    assert_eq!(alive(&mut solo, 199 * MS), []);
    assert_eq!(alive(&mut solo, MS), [ALIVE]);
    assert_eq!(alive(&mut solo, ELECTION / 2), [], "the leader has been silent for too long");
    solo.step(part_received(link));
    assert_eq!(alive(&mut solo, 200 * MS), [ALIVE], "a part of a message is enough");
    assert_eq!(looking(&solo.after(ELECTION - 200 * MS)), None);
    assert_eq!(looking(&solo.after(1)), Some("the leader is silent"));
}

#[test]
fn a_leader_waits_for_nodes_that_are_about_to_follow_it() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    solo.elected();
    let link = solo.accept(1);
    for _ in 0..100 {
        let effects = solo.after(100 * MS);
        assert_eq!(looking(&effects), None, "a quorum is about to follow");
        assert_eq!(sent(&effects, link), [ALIVE], "Alive is sent before the promise too");
        solo.receive(link, ALIVE);
    }
    solo.receive(link, Message::FollowerEpoch { accepted: Epoch(0), configuration: gometa_zab::Zxid::ZERO });
    // Now its own disk is slow. After five election timeouts it would step down (section 6.6).
    for _ in 0..49 {
        let effects = solo.after(100 * MS);
        assert_eq!((looking(&effects), lost_followers(&effects).len()), (None, 0));
        solo.step(part_received(link));
    }
    assert_eq!(solo.role(), Role::Leading { established: None });
    solo.after(200 * MS);
    assert_eq!(solo.role(), Role::Looking);
}

#[test]
fn a_slow_disk_that_makes_progress_ends_no_leadership() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let links = solo.established(&[1, 2]);
    // Each write takes nearly as long as the limit, and others are queued behind it.
    for id in 0..20 {
        solo.propose(id, 100);
        for _ in 0..49 {
            for link in &links {
                solo.step(part_received(*link));
            }
            assert_eq!(looking(&solo.after(100 * MS)), None, "write {id}");
        }
        solo.propose(id + 100, 100);
        solo.persist_one();
    }
}

#[test]
fn a_slow_disk_is_reported_by_its_own_node_and_by_others() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let links = solo.established(&[1, 2]);
    let slow = |effects: &[Effect]| -> Vec<(u64, u64)> {
        effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notice(Notice::SlowStorage { node, write_latency }) => {
                    Some((node.0, write_latency / MS))
                }
                _ => None,
            })
            .collect()
    };
    let effects = solo.receive(links[0], Message::Alive { write_latency: 700 * MS });
    assert_eq!(slow(&effects), [(1, 700)]);
    assert_eq!(
        slow(&solo.receive(links[0], Message::Alive { write_latency: 800 * MS })),
        [],
        "not for each message"
    );
    assert_eq!((solo.zab.write_latency_of(NodeId(1)), solo.zab.write_latency_of(NodeId(2))), (800 * MS, 0));
    solo.propose(1, 100);
    assert_eq!(slow(&solo.after(249 * MS)), []);
    assert_eq!(slow(&solo.after(MS)), [(3, 250)]);
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.extend(sent(&solo.after(100 * MS), links[1]));
        for link in &links {
            solo.step(part_received(*link));
        }
    }
    assert!(
        messages
            .iter()
            .any(|message| matches!(message, Message::Alive { write_latency } if *write_latency >= 250 * MS))
    );
    assert!(solo.zab.write_latency_of(NodeId(3)) >= 250 * MS);
}

#[test]
fn a_follower_refuses_nodes_that_are_about_to_follow_it() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    solo.serves(3, 5);
    let link = solo.accept(2);
    assert!(refuses(&solo.receive(link, ALIVE), link, Reason::NotLeading));
}
