//! Signs of life: nobody is given up who is at work, with a slow disk or over a slow line.

use gometa_zab::{Bounds, Effect, Epoch, Event, LinkId, Message, NodeId, Notice, Reason, Role, VoteState};

use super::solo::{ELECTION, MS, Solo, leads, looks, losses, member, refuses, sent, votes};

const ALIVE: Message = Message::Alive { write_latency: 0 };

fn heard(link: LinkId) -> Vec<Event> {
    vec![Event::Heard { link }]
}

#[test]
fn a_follower_that_waits_for_its_disk_shows_life_and_is_waited_for() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    solo.receive_vote(leads(3, 5, 1));
    let link = solo.connected(3);
    solo.receive(link, Message::Hello(gometa_zab::Hello { expected: None, ..solo.hello(3) }));
    solo.receive(link, Message::NewEpoch(Epoch(5)));
    let mut shown = 0;
    for _ in 0..50 {
        let effects = solo.after(100 * MS);
        assert_eq!(looks(&effects), None, "the leader shows life as well");
        shown +=
            sent(&effects, link).iter().filter(|message| matches!(message, Message::Alive { .. })).count();
        solo.receive(link, ALIVE);
    }
    assert!(shown >= 15, "{shown}");
    // Its disk is done after five election timeouts, and it goes on as if nothing had been.
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
        assert_eq!(looks(&solo.after(100 * MS)), None);
        solo.receive(link, ALIVE);
    }
    assert_eq!(looks(&solo.after(1)), Some("its own storage is stalled"));
    // Nor does it vote.
    let said = votes(&solo.after(500 * MS));
    assert!(!said.is_empty() && said.iter().all(|(_, vote)| vote.state == VoteState::Seeking), "{said:?}");
}

#[test]
fn a_follower_does_not_show_life_to_a_leader_that_it_does_not_hear() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    let link = solo.serves(3, 5);
    let alive = |solo: &mut Solo, after| sent(&solo.after(after), link);
    assert_eq!(alive(&mut solo, 200 * MS), [ALIVE]);
    assert_eq!(alive(&mut solo, 199 * MS), []);
    assert_eq!(alive(&mut solo, MS), [ALIVE]);
    assert_eq!(alive(&mut solo, ELECTION / 2), [], "it is about to leave");
    solo.step(heard(link));
    assert_eq!(alive(&mut solo, 200 * MS), [ALIVE], "a part of a message is enough");
    assert_eq!(looks(&solo.after(ELECTION - 200 * MS)), None);
    assert_eq!(looks(&solo.after(1)), Some("the leader is silent"));
}

#[test]
fn a_leader_waits_for_who_is_on_the_way_to_follow_it() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    solo.elected();
    let link = solo.accept(1);
    for _ in 0..100 {
        let effects = solo.after(100 * MS);
        assert_eq!(looks(&effects), None, "its quorum is on the way");
        assert_eq!(sent(&effects, link), [ALIVE], "no promise has come, and life is shown all the same");
        solo.receive(link, ALIVE);
    }
    solo.receive(link, Message::FollowerEpoch { accepted: Epoch(0), config_version: 0 });
    // Its own disk takes its time now. Not too long, or it gives way (section 6.6).
    for _ in 0..49 {
        let effects = solo.after(100 * MS);
        assert_eq!((looks(&effects), losses(&effects).len()), (None, 0));
        solo.step(heard(link));
    }
    assert_eq!(solo.role(), Role::Leading { established: None });
    solo.after(200 * MS);
    assert_eq!(solo.role(), Role::Looking);
}

#[test]
fn a_slow_disk_that_makes_progress_deposes_nobody() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let links = solo.established(&[1, 2]);
    // Each write takes nearly as long as the longest that is waited for, and others wait behind it.
    for id in 0..20 {
        solo.propose(id, 100);
        for _ in 0..49 {
            for link in &links {
                solo.step(heard(*link));
            }
            assert_eq!(looks(&solo.after(100 * MS)), None, "write {id}");
        }
        solo.propose(id + 100, 100);
        solo.persist_one();
    }
}

#[test]
fn a_slow_disk_is_told_of_by_its_own_node_and_by_others() {
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
        "not each time"
    );
    assert_eq!((solo.zab.write_latency_of(NodeId(1)), solo.zab.write_latency_of(NodeId(2))), (800 * MS, 0));
    solo.propose(1, 100);
    assert_eq!(slow(&solo.after(249 * MS)), []);
    assert_eq!(slow(&solo.after(MS)), [(3, 250)]);
    let mut told = Vec::new();
    for _ in 0..5 {
        told.extend(sent(&solo.after(100 * MS), links[1]));
        for link in &links {
            solo.step(heard(*link));
        }
    }
    assert!(
        told.iter()
            .any(|message| matches!(message, Message::Alive { write_latency } if *write_latency >= 250 * MS))
    );
    assert!(solo.zab.write_latency_of(NodeId(3)) >= 250 * MS);
}

#[test]
fn who_follows_refuses_whoever_is_on_the_way_to_follow_it() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    solo.serves(3, 5);
    let link = solo.accept(2);
    assert!(refuses(&solo.receive(link, ALIVE), link, Reason::NotLeading));
}
