//! A leader: quorums, lost followers, and the end of a leadership.

use gometa_zab::{
    Bounds, Effect, Epoch, Event, Hello, Incarnation, Message, NodeId, Notice, Reason, Rejection, Role, Vote,
    VoteState, Zxid,
};

use super::solo::{
    ELECTION, MS, Solo, applies, closes, hard_states, heartbeat_ack, looking, lost_followers, member,
    promise, promised, refuses, rounds, sent, vote, vote_receivers, votes, zxid,
};

const BOUNDS: fn() -> Bounds = Bounds::default;

fn leader(log: &[(u64, u64)]) -> Solo {
    Solo::new(3, 3, member(3, log), BOUNDS())
}

fn ack(epoch: Epoch, last: Zxid) -> Message {
    Message::Ack { epoch, last }
}

fn heartbeats(effects: &[Effect]) -> Vec<u64> {
    let heartbeat = |effect: &Effect| match effect {
        Effect::Send { message: Message::Heartbeat { id, .. }, .. } => Some(*id),
        _ => None,
    };
    effects.iter().filter_map(heartbeat).collect()
}

fn passed(effects: &[Effect]) -> Vec<(u64, u64)> {
    let pass = |effect: &Effect| match effect {
        Effect::BarrierPassed { id, commit } => Some((*id, *commit)),
        _ => None,
    };
    effects.iter().filter_map(pass).collect()
}

fn failed(effects: &[Effect]) -> Vec<u64> {
    let fail = |effect: &Effect| match effect {
        Effect::BarrierFailed { id } => Some(*id),
        _ => None,
    };
    effects.iter().filter_map(fail).collect()
}

fn rejects(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Rejected { why: Rejection::Full, .. }))
}

#[test]
fn a_follower_is_dropped_when_it_is_silent_for_longer_than_the_election_timeout() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.after(ELECTION / 2);
    solo.receive(links[0], heartbeat_ack(epoch, 1));
    assert_eq!(lost_followers(&solo.after(ELECTION / 2)), []);
    let effects = solo.after(1);
    assert_eq!(lost_followers(&effects), [(2, "it is silent")]);
    assert!(closes(&effects, links[1]));
    assert_eq!(solo.role(), Role::Leading { established: Some(epoch) }, "two of three are a quorum");

    // A leader whose followers are all silent steps down (section 6.6).
    assert_eq!(looking(&solo.after(ELECTION / 2 - 1)), None);
    let effects = solo.after(1);
    assert_eq!(lost_followers(&effects), [(1, "it is silent")]);
    assert_eq!(looking(&effects), Some("no quorum of followers is reachable"));
}

#[test]
fn a_leader_without_followers_steps_down_after_the_election_timeout() {
    let mut solo = leader(&[]);
    solo.elected();
    assert_eq!(looking(&solo.after(ELECTION)), None);
    assert_eq!(looking(&solo.after(1)), Some("no quorum of followers is reachable"));
}

#[test]
fn a_node_that_lost_its_data_directory_does_not_count_for_the_leaders_quorum() {
    // Section 5.8: it counts in no quorum.
    let mut solo = leader(&[]);
    solo.established(&[1]);
    let unrecorded = Hello { incarnation: Incarnation(99), ..solo.hello(2) };
    let (link, _) = solo.accept_as(unrecorded);
    let effects = solo.receive(link, promised(0));
    assert!(effects.contains(&Effect::Notice(Notice::UnrecordedIncarnation { peer: NodeId(2) })));
    solo.after(ELECTION / 2);
    solo.receive(link, solo.ack_epoch());
    let effects = solo.after(ELECTION / 2 + 1);
    assert_eq!(looking(&effects), Some("no quorum of followers is reachable"));
}

#[test]
fn heartbeats_are_sent_once_per_interval_and_only_to_followers_that_have_promised() {
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    let links = solo.discovering(&[1, 2]);
    assert_eq!(heartbeats(&solo.after(500 * MS)), [] as [u64; 0], "no follower has promised yet");
    solo.receive(links[0], solo.ack_epoch());
    let effects = solo.after(100 * MS);
    assert_eq!(heartbeats(&effects).len(), 1);
    assert_eq!(sent(&effects, links[1]), [Message::Alive { write_latency: 0 }], "no promise, no heartbeat");
    let first = heartbeats(&effects)[0];
    assert_eq!(heartbeats(&solo.after(100 * MS - 1)), [] as [u64; 0]);
    assert_eq!(heartbeats(&solo.after(1)), [first + 1], "each has the next number (section 6.3)");
}

#[test]
fn an_established_leader_announces_itself_to_members_that_are_not_connected() {
    // Rule 6, four times in an election timeout.
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    let links = solo.synchronising(&[1, 2]);
    solo.after(10 * MS);
    let (epoch, last) = (solo.epoch(), Zxid::ZERO);
    solo.receive(links[0], Message::AckNewLeader { epoch, last });
    let effects = solo.receive(links[1], Message::AckNewLeader { epoch, last });
    assert_eq!(vote_receivers(&effects), [3, 4]);
    for (_, vote) in votes(&effects) {
        assert_eq!((vote.state, vote.established), (VoteState::Leading, Some(epoch)));
        assert_eq!(vote.candidate.node, NodeId(5));
    }
    assert_eq!(vote_receivers(&solo.after(ELECTION / 4 - 1)), [] as [u64; 0]);
    assert_eq!(vote_receivers(&solo.after(1)), [3, 4]);
}

#[test]
fn a_follower_that_returns_in_the_same_epoch_does_not_end_the_leadership() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.step(vec![Event::Closed { link: links[0] }]);
    let link = solo.accept(1);
    let effects = solo.receive(link, promised(epoch.0));
    assert_eq!(looking(&effects), None);
    assert_eq!(sent(&effects, link), [Message::NewEpoch(epoch)], "its promise is repeated (rule 11)");
    assert_eq!(sent(&solo.receive(link, promised(epoch.0)), link), [], "a repetition has no effect");
}

#[test]
fn a_new_connection_of_a_follower_replaces_its_older_one() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let link = solo.accept(1);
    let effects = solo.receive(link, promised(solo.epoch().0));
    assert_eq!(lost_followers(&effects), [(1, "it has connected again")]);
    assert!(closes(&effects, links[0]));
    let nodes: Vec<NodeId> = solo.zab.followers().into_iter().map(|status| status.node).collect();
    assert_eq!(nodes, [NodeId(2), NodeId(1)]);
}

#[test]
fn a_later_promise_ends_a_leadership_at_most_once_in_two_election_timeouts() {
    // Rule 14.
    let mut solo = leader(&[]);
    solo.established(&[1, 2]);
    let epoch = solo.epoch();
    let link = solo.accept(1);
    assert_eq!(
        looking(&solo.receive(link, promised(epoch.0 + 4))),
        Some("a node has promised a later epoch")
    );
    assert!(!solo.zab.followers().iter().any(|status| status.serving));

    // Elected again, it counts the promise that was kept for its connection: with its own, two of three.
    let round = rounds(&solo.after(ELECTION)).last().copied().expect("a vote is sent");
    solo.receive_vote(vote(1, 3, round));
    let effects = solo.receive_vote(vote(2, 3, round));
    let promise = hard_states(&effects).first().map(|hard| hard.accepted_epoch);
    assert_eq!(promise, Some(Epoch(epoch.0 + 5)), "above the promised epoch");
    assert_eq!(sent(&solo.persist(), link), [Message::NewEpoch(Epoch(epoch.0 + 5))]);

    // The next one is too early: the last one was one election timeout ago.
    solo.after(ELECTION - 1);
    let early = solo.accept(1);
    let effects = solo.receive(early, promised(epoch.0 + 6));
    assert!(refuses(&effects, early, Reason::TooSoon));
    assert_eq!(looking(&effects), None);
    let late = solo.accept(1);
    assert_eq!(looking(&solo.after(1)), None);
    assert_eq!(
        looking(&solo.receive(late, promised(epoch.0 + 6))),
        Some("a node has promised a later epoch")
    );
}

#[test]
fn a_refusal_counts_if_its_promise_is_not_lower_and_is_plausible() {
    // Rule 14; also for an equal promise to another leader.
    for above in [0, 1] {
        let mut solo = leader(&[(4, 3)]);
        let links = solo.discovering(&[1, 2]);
        let accepted = Epoch(solo.epoch().0 + above);
        let effects = solo.receive(links[0], Message::RefuseEpoch { accepted, leader: Some(NodeId(9)) });
        assert_eq!(looking(&effects), Some("a node has promised a later epoch"));
        // Its next epoch is higher, although no follower of that leadership has promised as much.
        let round = rounds(&effects)[0];
        solo.receive_vote(vote(1, 3, round));
        solo.receive_vote(vote(2, 3, round));
        let link = solo.accept(2);
        assert_eq!(hard_states(&solo.receive(link, promised(0)))[0].accepted_epoch, Epoch(accepted.0 + 1));
    }
    for accepted in [1, Epoch::MAX.0 - 1] {
        let mut solo = leader(&[(4, 3)]);
        let links = solo.discovering(&[1, 2]);
        let refusal = Message::RefuseEpoch { accepted: Epoch(accepted), leader: None };
        let effects = solo.receive(links[0], refusal);
        assert_eq!(lost_followers(&effects), [(1, "it refuses the epoch")], "{accepted}");
        assert_eq!(looking(&effects), None);
    }
}

#[test]
fn an_implausible_promise_is_refused() {
    for established in [false, true] {
        let mut solo = leader(&[]);
        if established {
            solo.established(&[1]);
        } else {
            solo.elected();
        }
        let link = solo.accept(2);
        let effects = solo.receive(link, promised(Epoch::MAX.0 - 1));
        assert!(refuses(&effects, link, Reason::Version));
        assert_eq!(looking(&effects), None);
    }
    // 2^32 epochs ahead are plausible, one more is not.
    for (accepted, plausible) in [(1 << 32, true), ((1 << 32) + 1, false)] {
        let mut solo = leader(&[]);
        solo.elected();
        let link = solo.accept(2);
        let effects = solo.receive(link, promised(accepted));
        assert_eq!(refuses(&effects, link, Reason::Version), !plausible);
    }
}

#[test]
fn while_discovering_a_higher_promise_only_raises_the_epoch() {
    let mut solo = leader(&[]);
    solo.elected();
    let link = solo.accept(1);
    let effects = solo.receive(link, promised(8));
    assert_eq!(looking(&effects), None);
    assert_eq!(hard_states(&effects)[0].accepted_epoch, Epoch(9));
    assert_eq!(hard_states(&effects)[0].accepted_leader, Some(NodeId(3)));
}

#[test]
fn the_epoch_is_above_this_nodes_own_promise_too() {
    let mut disk = member(3, &[]);
    promise(&mut disk, 6, 1);
    let mut solo = Solo::new(3, 3, disk, BOUNDS());
    solo.elected();
    let link = solo.accept(1);
    assert_eq!(hard_states(&solo.receive(link, promised(2)))[0].accepted_epoch, Epoch(7));
}

#[test]
fn a_follower_with_a_newer_history_ends_a_leadership_until_its_quorum_is_complete() {
    // Rule 12: (current epoch, last zxid), in this order.
    let cases: [(u64, Zxid, bool); 5] = [
        (4, zxid(4, 3), false),
        (4, zxid(4, 2), false),
        (4, zxid(4, 4), true),
        (5, zxid(4, 1), true),
        (3, zxid(4, 4), false),
    ];
    for (current, last, newer) in cases {
        let mut solo = Solo::new(5, 5, member(5, &[(4, 3)]), BOUNDS());
        let links = solo.discovering(&[1, 2]);
        let message = Message::AckEpoch {
            epoch: solo.epoch(),
            current: Epoch(current),
            last,
            oldest: Zxid::ZERO,
            boundaries: vec![last],
        };
        let effects = solo.receive(links[0], message);
        assert_eq!(looking(&effects).is_some(), newer, "{current} {last}");
    }

    // Afterwards those entries cannot be committed, and are truncated.
    let mut solo = leader(&[(4, 3)]);
    solo.synchronising(&[1]);
    let epoch = solo.epoch();
    let late = solo.accept(2);
    solo.receive(late, promised(0));
    let last = zxid(4, 5);
    let effects = solo.receive(
        late,
        Message::AckEpoch { epoch, current: Epoch(4), last, oldest: Zxid::ZERO, boundaries: vec![last] },
    );
    assert_eq!(looking(&effects), None);
    assert!(sent(&effects, late).contains(&Message::Diff { epoch, base: zxid(4, 3) }));
}

#[test]
fn a_newer_history_of_a_node_without_a_vote_does_not_end_a_leadership() {
    let mut solo = Solo::new(5, 5, member(5, &[(4, 3)]), BOUNDS());
    let links = solo.discovering(&[1, 2]);
    let unrecorded = Hello { incarnation: Incarnation(99), ..solo.hello(3) };
    let (link, _) = solo.accept_as(unrecorded);
    solo.receive(link, promised(0));
    let last = zxid(4, 9);
    let message = Message::AckEpoch {
        epoch: solo.epoch(),
        current: Epoch(4),
        last,
        oldest: Zxid::ZERO,
        boundaries: vec![last],
    };
    assert_eq!(looking(&solo.receive(link, message)), None);
    // Nor does it count for the quorum of three of five.
    solo.receive(links[0], solo.ack_epoch());
    assert_eq!(hard_states(&solo.persist()).len(), 0);
    let effects = solo.receive(links[1], solo.ack_epoch());
    assert_eq!(hard_states(&effects)[0].current_epoch, solo.epoch());
}

#[test]
fn a_description_of_a_log_is_accepted_once_for_this_epoch_and_only_if_it_is_valid() {
    let mut solo = Solo::new(5, 5, member(5, &[(4, 3)]), BOUNDS());
    let links = solo.discovering(&[1, 2]);
    let epoch = solo.epoch();
    let description = |epoch: Epoch, last: Zxid, end: Zxid| Message::AckEpoch {
        epoch,
        current: Epoch(0),
        last,
        oldest: Zxid::ZERO,
        boundaries: vec![end],
    };
    // A description of another epoch is ignored.
    solo.receive(links[0], description(Epoch(epoch.0 - 1), zxid(4, 2), zxid(4, 2)));
    let effects = solo.receive(links[1], description(epoch, zxid(4, 2), zxid(4, 2)));
    assert_eq!(hard_states(&effects), [], "one follower and the leader are not a quorum of five");
    // The second of this epoch changes nothing.
    assert_eq!(solo.receive(links[1], description(epoch, zxid(4, 2), zxid(4, 1))), []);
    let effects = solo.receive(links[0], description(epoch, zxid(4, 2), zxid(4, 1)));
    assert_eq!(lost_followers(&effects), [(1, "its description of its log is invalid")]);
}

#[test]
fn a_leader_counts_itself_only_when_its_epoch_is_durable() {
    // Rule 13.
    let mut solo = leader(&[(4, 3)]);
    let links = solo.discovering(&[1]);
    let effects = solo.receive(links[0], solo.ack_epoch());
    assert_eq!(sent(&effects, links[0]), [], "nothing is synchronised yet");
    let effects = solo.persist();
    let epoch = solo.epoch();
    assert_eq!(
        sent(&effects, links[0]),
        [Message::Diff { epoch, base: zxid(4, 3) }, Message::NewLeader { epoch, last: zxid(4, 3) }]
    );
}

#[test]
fn an_acknowledgement_of_new_leader_must_be_of_this_leadership_and_of_its_history() {
    let mut solo = Solo::new(5, 5, member(5, &[(4, 3)]), BOUNDS());
    let links = solo.synchronising(&[1, 2]);
    let epoch = solo.epoch();
    let late = solo.accept(3);
    solo.receive(late, promised(0));
    // Before anything was sent to it, and of another epoch: it is ignored.
    solo.receive(late, Message::AckNewLeader { epoch, last: zxid(4, 3) });
    solo.receive(links[0], Message::AckNewLeader { epoch: Epoch(epoch.0 - 1), last: zxid(4, 3) });
    solo.receive(links[1], Message::AckNewLeader { epoch, last: zxid(4, 3) });
    assert_eq!(solo.role(), Role::Leading { established: None });
    // The end of another history than the initial one.
    for last in [zxid(4, 2), zxid(3, 3), zxid(4, 4)] {
        let link = solo.accept(4);
        solo.receive(link, promised(0));
        solo.receive(link, solo.ack_epoch());
        let effects = solo.receive(link, Message::AckNewLeader { epoch, last });
        assert_eq!(lost_followers(&effects), [(4, "it acknowledges another history")], "{last}");
    }
    let effects = solo.receive(links[0], Message::AckNewLeader { epoch, last: zxid(4, 3) });
    assert!(effects.contains(&Effect::Notice(Notice::Established { epoch, last: zxid(4, 3) })));
}

#[test]
fn an_acknowledgement_counts_for_what_was_sent_and_never_goes_back() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    for id in 1..=3 {
        solo.propose(id, 100);
    }
    let acked = |solo: &Solo| solo.zab.followers()[0].acked;
    assert_eq!(applies(&solo.receive(links[0], ack(epoch, zxid(1, 2)))), None, "not durable here");
    assert_eq!(acked(&solo), 2);
    assert_eq!(solo.zab.commit(), 0, "this node counts when it is durable (rule 22)");
    solo.receive(links[0], ack(epoch, zxid(1, 1)));
    solo.receive(links[0], ack(Epoch(0), zxid(1, 3)));
    assert_eq!(acked(&solo), 2, "an older one and one of another epoch have no effect");
    assert_eq!(applies(&solo.persist()), Some(2));
    // A quorum without this node's disk commits too, and this node applies when it is durable (rule 24).
    solo.propose(4, 100);
    assert_eq!(applies(&solo.receive(links[0], ack(epoch, zxid(1, 4)))), Some(3));
    assert_eq!(applies(&solo.receive(links[1], ack(epoch, zxid(1, 4)))), None);
    assert_eq!(solo.zab.commit(), 4);
    assert_eq!(applies(&solo.persist()), Some(4));
    for last in [zxid(1, 5), zxid(1, 9), zxid(9, 3)] {
        let mut solo = leader(&[]);
        let links = solo.established(&[1, 2]);
        for id in 1..=4 {
            solo.propose(id, 100);
        }
        let effects = solo.receive(links[1], ack(epoch, last));
        assert_eq!(lost_followers(&effects), [(2, "it acknowledges entries that it was not sent")], "{last}");
    }
}

#[test]
fn proposals_in_flight_are_bounded_by_number() {
    let bounds = Bounds { proposals_max: 2, ..BOUNDS() };
    let mut solo = Solo::new(3, 3, member(3, &[]), bounds);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    assert!(!rejects(&solo.propose(1, 100)) && !rejects(&solo.propose(2, 100)));
    assert!(rejects(&solo.propose(3, 100)));
    // Committed and not yet durable here, they are still held.
    solo.receive(links[0], ack(epoch, zxid(1, 2)));
    solo.receive(links[1], ack(epoch, zxid(1, 2)));
    assert!(rejects(&solo.propose(4, 100)));
    solo.persist();
    assert!(!rejects(&solo.propose(5, 100)) && !rejects(&solo.propose(6, 100)));
    assert!(rejects(&solo.propose(7, 100)));
}

#[test]
fn proposals_in_flight_are_bounded_by_their_bytes() {
    let bounds = Bounds { proposal_bytes_max: 300, ..BOUNDS() };
    let mut solo = Solo::new(3, 3, member(3, &[]), bounds);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    for round in 0..3 {
        for id in 1..=3 {
            assert!(!rejects(&solo.propose(id, 100)), "round {round}");
        }
        assert!(rejects(&solo.propose(4, 100)), "round {round}");
        solo.persist();
        // One is committed, so one more is accepted.
        solo.receive(links[0], ack(epoch, zxid(1, round * 4 + 1)));
        assert!(!rejects(&solo.propose(5, 100)), "round {round}");
        assert!(rejects(&solo.propose(6, 100)), "round {round}");
        solo.receive(links[0], ack(epoch, zxid(1, round * 4 + 4)));
        solo.persist();
    }
}

#[test]
fn a_commit_needs_a_majority_and_counts_each_voter_once() {
    // Rule 23.
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    let links = solo.established(&[1, 2, 3]);
    let epoch = solo.epoch();
    solo.propose(1, 100);
    solo.propose(2, 100);
    solo.persist();
    solo.receive(links[0], ack(epoch, zxid(1, 2)));
    assert_eq!(solo.zab.commit(), 0, "two of five");
    solo.receive(links[0], ack(epoch, zxid(1, 2)));
    assert_eq!(solo.zab.commit(), 0, "no voter counts twice");
    assert_eq!(applies(&solo.receive(links[2], ack(epoch, zxid(1, 1)))), Some(1));
    assert_eq!(applies(&solo.receive(links[1], ack(epoch, zxid(1, 2)))), Some(2));
}

#[test]
fn a_change_of_role_is_reported_once() {
    let roles = |effects: &[Effect]| {
        let role = |effect: &Effect| match effect {
            Effect::Role(role) => Some(*role),
            _ => None,
        };
        effects.iter().filter_map(role).collect::<Vec<Role>>()
    };
    let mut solo = leader(&[]);
    assert_eq!(roles(&solo.first), [Role::Looking]);
    assert_eq!(roles(&solo.elected()), [Role::Leading { established: None }]);
    assert_eq!(roles(&solo.after(MS)), []);
}

#[test]
fn nothing_is_proposed_before_establishment() {
    // Rule 21.
    let mut solo = leader(&[]);
    solo.synchronising(&[1]);
    let effects = solo.propose(1, 100);
    assert_eq!(effects, [Effect::Rejected { id: 1, why: Rejection::NotLeader }]);
    assert_eq!(failed(&solo.step(vec![Event::Barrier { id: 2 }])), [2]);
}

#[test]
fn a_barrier_waits_for_answers_to_a_heartbeat_sent_after_the_request() {
    // Section 6.2.
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    let before = heartbeats(&solo.after(100 * MS))[0];
    solo.receive(links[0], heartbeat_ack(epoch, before));
    let effects = solo.step(vec![Event::Barrier { id: 5 }]);
    assert_eq!(passed(&effects), [], "answers to earlier heartbeats do not count");
    let id = heartbeats(&effects)[0];
    assert_eq!(id, before + 1);
    assert_eq!(passed(&solo.receive(links[0], heartbeat_ack(epoch, before))), []);
    assert_eq!(passed(&solo.receive(links[0], heartbeat_ack(Epoch(epoch.0 - 1), id))), []);
    assert_eq!(passed(&solo.receive(links[0], heartbeat_ack(epoch, id + 1))), [], "never sent");
    assert_eq!(passed(&solo.receive(links[0], heartbeat_ack(epoch, id))), [(5, 0)]);
    assert_eq!(passed(&solo.receive(links[1], heartbeat_ack(epoch, id))), [], "once");
}

#[test]
fn a_barrier_returns_the_commit_index_even_if_this_node_has_not_applied_it() {
    // A follower that has applied the entry may have answered its client.
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.propose(1, 100);
    solo.receive(links[0], ack(epoch, zxid(1, 1)));
    solo.receive(links[1], ack(epoch, zxid(1, 1)));
    assert_eq!((solo.zab.commit(), solo.zab.durable()), (1, Zxid::ZERO));
    let effects = solo.step(vec![Event::Barrier { id: 5 }]);
    let id = heartbeats(&effects)[0];
    assert_eq!(passed(&solo.receive(links[0], heartbeat_ack(epoch, id))), [(5, 1)]);
}

#[test]
fn sixteen_barrier_rounds_are_in_flight_at_once_and_later_barriers_share_the_next() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    let mut last = 0;
    for id in 0..16 {
        let effects = solo.step(vec![Event::Barrier { id }]);
        assert_eq!(heartbeats(&effects).len(), 2, "a heartbeat to each follower for round {id}");
        last = heartbeats(&effects)[0];
    }
    assert_eq!(heartbeats(&solo.step(vec![Event::Barrier { id: 16 }])), [] as [u64; 0]);
    assert_eq!(heartbeats(&solo.step(vec![Event::Barrier { id: 17 }])), [] as [u64; 0]);
    let effects = solo.receive(links[0], heartbeat_ack(epoch, last));
    assert_eq!(passed(&effects).len(), 16);
    let next = heartbeats(&effects)[0];
    assert_eq!(next, last + 1);
    assert_eq!(passed(&solo.receive(links[1], heartbeat_ack(epoch, next))), [(16, 0), (17, 0)]);
}

#[test]
fn pending_barriers_are_bounded() {
    let bounds = Bounds { proposals_max: 2, ..BOUNDS() };
    let mut solo = Solo::new(3, 3, member(3, &[]), bounds);
    solo.established(&[1, 2]);
    let effects = solo.step((1..=3).map(|id| Event::Barrier { id }).collect());
    assert_eq!(failed(&effects), [3]);
}

#[test]
fn a_leadership_that_ends_fails_its_barriers_and_writes_its_proposals() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.step(vec![Event::Barrier { id: 1 }]);
    let refusal = Message::RefuseEpoch { accepted: Epoch(epoch.0 + 1), leader: None };
    let effects = solo.step(vec![
        Event::Barrier { id: 2 },
        Event::Propose {
            id: 3,
            payload: super::solo::entry(1, 1, 100).payload,
            level: gometa_zab::FIRST_LEVEL,
            may_wait: true,
        },
        Event::Message { link: links[0], message: refusal },
    ]);
    assert!(looking(&effects).is_some());
    assert_eq!(failed(&effects), [1, 2]);
    assert!(closes(&effects, links[0]) && closes(&effects, links[1]));
    solo.persist();
    assert_eq!(solo.disk.last(), zxid(1, 1), "an accepted proposal is in the log");
}

#[test]
fn a_leader_steps_down_when_its_own_disk_takes_longer_than_five_election_timeouts() {
    // Section 6.6. Followers answer throughout, and the age of the oldest write counts.
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.propose(1, 100);
    for id in 0..50 {
        let effects = solo.after(100 * MS);
        assert_eq!(looking(&effects), None, "after {id}");
        solo.receive(links[0], heartbeat_ack(epoch, 1));
        solo.propose(10 + id, 100);
    }
    assert_eq!(looking(&solo.after(1)), Some("its own storage is stalled"));
    let states: Vec<VoteState> = votes(&solo.after(ELECTION)).iter().map(|(_, vote)| vote.state).collect();
    assert_eq!(states, [VoteState::Seeking; 2], "it does not campaign before the write is complete");
}

#[test]
fn up_to_date_waits_until_the_follower_has_everything_committed_before_its_ack() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1]);
    let epoch = solo.epoch();
    let late = solo.accept(2);
    solo.receive(late, promised(0));
    solo.receive(late, solo.ack_epoch());
    for id in 1..=3 {
        solo.propose(id, 100);
    }
    solo.persist();
    solo.receive(links[0], ack(epoch, zxid(1, 2)));
    assert_eq!(solo.zab.commit(), 2);
    let up_to_date = |effects: &[Effect]| {
        sent(effects, late).into_iter().find(|message| matches!(message, Message::UpToDate { .. }))
    };
    let effects = solo.receive(late, Message::AckNewLeader { epoch, last: Zxid::ZERO });
    assert_eq!(up_to_date(&effects), None);
    assert!(!solo.zab.followers()[1].serving);
    assert_eq!(up_to_date(&solo.receive(late, ack(epoch, zxid(1, 1)))), None);
    let effects = solo.receive(late, ack(epoch, zxid(1, 2)));
    assert_eq!(up_to_date(&effects), Some(Message::UpToDate { epoch, commit: 2 }));
    assert!(effects.contains(&Effect::Notice(Notice::Synchronised { peer: NodeId(2), last: zxid(1, 2) })));
    assert!(solo.zab.followers()[1].serving);
}

#[test]
fn messages_are_relayed_only_while_the_follower_is_up_to_date() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1]);
    let late = solo.accept(2);
    solo.receive(late, promised(0));
    let payload = super::solo::entry(1, 1, 100).payload;
    let relay = Message::Relay(payload.clone());
    assert_eq!(solo.receive(late, relay.clone()), []);
    assert_eq!(solo.step(vec![Event::RelayTo { link: late, payload: payload.clone() }]), []);
    let effects = solo.receive(links[0], relay.clone());
    assert_eq!(effects, [Effect::Relayed { link: links[0], payload: payload.clone() }]);
    let effects = solo.step(vec![Event::RelayTo { link: links[0], payload }]);
    assert_eq!(sent(&effects, links[0]), [relay]);
}

#[test]
fn a_leader_that_is_not_established_steps_down_when_its_supporters_look_again() {
    // Rule 9, ZOOKEEPER-3109.
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    solo.elected();
    let round = rounds(&solo.first)[0];
    let link = solo.accept(1);
    solo.receive(link, promised(0));
    assert_eq!(looking(&solo.receive_vote(vote(2, 2, round))), None, "a vote of this round is not a loss");
    assert_eq!(looking(&solo.receive_vote(vote(2, 2, round + 1))), None);
    assert_eq!(looking(&solo.receive_vote(vote(3, 3, round + 1))), None, "1, 4 and this node are left");
    assert_eq!(
        looking(&solo.receive_vote(vote(4, 4, round + 1))),
        Some("its supporters look for another leader")
    );
}

#[test]
fn an_established_leader_answers_looking_nodes_and_keeps_leading() {
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    solo.established(&[1, 2]);
    let epoch = solo.epoch();
    for (node, state) in [(3, VoteState::Looking), (4, VoteState::Looking), (2, VoteState::Seeking)] {
        let effects = solo.receive_vote(Vote { state, ..vote(node, node, 9) });
        assert_eq!(looking(&effects), None);
        let (to, answer) = votes(&effects).into_iter().next().expect("an answer");
        assert_eq!((to, answer.state, answer.established), (node, VoteState::Leading, Some(epoch)));
    }
    let settled = Vote { state: VoteState::Following, ..vote(3, 5, 9) };
    assert_eq!(
        vote_receivers(&solo.receive_vote(settled)),
        [] as [u64; 0],
        "a node with a leader needs no answer"
    );
}

#[test]
fn a_follower_that_refuses_the_common_point_is_lost() {
    let mut solo = leader(&[(4, 3)]);
    let links = solo.synchronising(&[1]);
    let effects = solo.receive(links[0], Message::Refuse(Reason::NoCommonPoint));
    assert_eq!(sent(&effects, links[0]), []);
    assert_eq!(lost_followers(&effects), [(1, "it refuses this leader")]);
    let mut solo = leader(&[(4, 3)]);
    let links = solo.synchronising(&[1]);
    let effects = solo.receive(links[0], Message::Refuse(Reason::Version));
    assert_eq!(sent(&effects, links[0]), []);
}
