//! A leader: whom it counts, whom it drops, when it gives up.

use gometa_zab::{
    Bounds, Effect, Epoch, Event, Hello, Incarnation, Message, NodeId, Notice, Reason, Rejection, Role, Vote,
    VoteState, Zxid,
};

use super::solo::{
    ELECTION, MS, Solo, asked, closes, hard_states, looks, losses, member, promise, refuses, rounds, sent,
    vote, votes, zxid,
};

const BOUNDS: fn() -> Bounds = Bounds::default;

fn leader(log: &[(u64, u64)]) -> Solo {
    Solo::new(3, 3, member(3, log), BOUNDS())
}

fn promised(accepted: u64) -> Message {
    Message::FollowerEpoch { accepted: Epoch(accepted), config_version: 0 }
}

fn ack(epoch: Epoch, last: Zxid) -> Message {
    Message::Ack { epoch, last }
}

fn beats(effects: &[Effect]) -> Vec<u64> {
    let beat = |effect: &Effect| match effect {
        Effect::Send { message: Message::Heartbeat { id, .. }, .. } => Some(*id),
        _ => None,
    };
    effects.iter().filter_map(beat).collect()
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

fn applies(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit { counter } => Some(*counter),
        _ => None,
    })
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
    solo.receive(links[0], Message::HeartbeatAck { epoch, id: 1 });
    assert_eq!(losses(&solo.after(ELECTION / 2)), []);
    let said = solo.after(1);
    assert_eq!(losses(&said), [(2, "it is silent")]);
    assert!(closes(&said, links[1]));
    assert_eq!(solo.role(), Role::Leading { established: Some(epoch) }, "two of three are a quorum");

    // And a leader whose followers are all silent gives up (section 6.6).
    assert_eq!(looks(&solo.after(ELECTION / 2 - 1)), None);
    let said = solo.after(1);
    assert_eq!(losses(&said), [(1, "it is silent")]);
    assert_eq!(looks(&said), Some("no quorum of followers is reachable"));
}

#[test]
fn a_leader_that_nobody_follows_gives_up_after_the_election_timeout() {
    let mut solo = leader(&[]);
    solo.elected();
    assert_eq!(looks(&solo.after(ELECTION)), None);
    assert_eq!(looks(&solo.after(1)), Some("no quorum of followers is reachable"));
}

#[test]
fn a_node_that_lost_its_directory_does_not_keep_a_leader_in_office() {
    // Section 5.8: counted nowhere.
    let mut solo = leader(&[]);
    solo.established(&[1]);
    let stranger = Hello { incarnation: Incarnation(99), ..solo.hello(2) };
    let (link, _) = solo.accept_as(stranger);
    let said = solo.receive(link, promised(0));
    assert!(said.contains(&Effect::Notice(Notice::UnrecordedIncarnation { peer: NodeId(2) })));
    solo.after(ELECTION / 2);
    solo.receive(link, solo.ack_epoch());
    let said = solo.after(ELECTION / 2 + 1);
    assert_eq!(looks(&said), Some("no quorum of followers is reachable"));
}

#[test]
fn the_heart_beats_once_in_an_interval_and_only_for_those_who_have_promised() {
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    let links = solo.gathers(&[1, 2]);
    assert_eq!(beats(&solo.after(500 * MS)), [] as [u64; 0], "nobody has promised yet");
    solo.receive(links[0], solo.ack_epoch());
    let said = solo.after(100 * MS);
    assert_eq!(beats(&said).len(), 1);
    assert_eq!(sent(&said, links[1]), [Message::Alive { write_latency: 0 }], "no promise, no heartbeat");
    let first = beats(&said)[0];
    assert_eq!(beats(&solo.after(100 * MS - 1)), [] as [u64; 0]);
    assert_eq!(beats(&solo.after(1)), [first + 1], "each has the next number (section 6.3)");
}

#[test]
fn an_established_leader_announces_itself_to_members_that_are_not_connected() {
    // Rule 6, four times in an election timeout.
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    let links = solo.synchronises(&[1, 2]);
    solo.after(10 * MS);
    let (epoch, last) = (solo.epoch(), Zxid::ZERO);
    solo.receive(links[0], Message::AckNewLeader { epoch, last });
    let said = solo.receive(links[1], Message::AckNewLeader { epoch, last });
    assert_eq!(asked(&said), [3, 4]);
    for (_, vote) in votes(&said) {
        assert_eq!((vote.state, vote.established), (VoteState::Leading, Some(epoch)));
        assert_eq!(vote.candidate.node, NodeId(5));
    }
    assert_eq!(asked(&solo.after(ELECTION / 4 - 1)), [] as [u64; 0]);
    assert_eq!(asked(&solo.after(1)), [3, 4]);
}

#[test]
fn a_follower_that_comes_back_in_the_same_epoch_does_not_end_the_leadership() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.step(vec![Event::Closed { link: links[0] }]);
    let link = solo.accept(1);
    let said = solo.receive(link, promised(epoch.0));
    assert_eq!(looks(&said), None);
    assert_eq!(sent(&said, link), [Message::NewEpoch(epoch)], "its promise is repeated (rule 11)");
    assert_eq!(sent(&solo.receive(link, promised(epoch.0)), link), [], "said again, it is nothing new");
}

#[test]
fn a_follower_that_connects_anew_replaces_its_older_connection() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let link = solo.accept(1);
    let said = solo.receive(link, promised(solo.epoch().0));
    assert_eq!(losses(&said), [(1, "it has connected again")]);
    assert!(closes(&said, links[0]));
    let nodes: Vec<NodeId> = solo.zab.followers().into_iter().map(|status| status.node).collect();
    assert_eq!(nodes, [NodeId(2), NodeId(1)]);
}

#[test]
fn a_later_promise_is_outbid_at_most_once_in_two_election_timeouts() {
    // Rule 14.
    let mut solo = leader(&[]);
    solo.established(&[1, 2]);
    let epoch = solo.epoch();
    let link = solo.accept(1);
    assert_eq!(looks(&solo.receive(link, promised(epoch.0 + 4))), Some("a node has promised a later epoch"));
    assert!(!solo.zab.followers().iter().any(|status| status.serving));

    // Elected again, it takes the promise that waits on its connection: with its own, two of three.
    let round = rounds(&solo.after(ELECTION)).last().copied().expect("it asks for votes");
    solo.receive_vote(vote(1, 3, round));
    let said = solo.receive_vote(vote(2, 3, round));
    let promise = hard_states(&said).first().map(|hard| hard.accepted_epoch);
    assert_eq!(promise, Some(Epoch(epoch.0 + 5)), "above what it was refused with");
    assert_eq!(sent(&solo.persist(), link), [Message::NewEpoch(Epoch(epoch.0 + 5))]);

    // The next one comes too soon: that was one election timeout ago.
    solo.after(ELECTION - 1);
    let early = solo.accept(1);
    let said = solo.receive(early, promised(epoch.0 + 6));
    assert!(refuses(&said, early, Reason::TooSoon));
    assert_eq!(looks(&said), None);
    let late = solo.accept(1);
    assert_eq!(looks(&solo.after(1)), None);
    assert_eq!(looks(&solo.receive(late, promised(epoch.0 + 6))), Some("a node has promised a later epoch"));
}

#[test]
fn a_refusal_counts_if_its_promise_is_no_lower_and_can_be_true() {
    // Rule 14: an equal promise to another leader, too.
    for above in [0, 1] {
        let mut solo = leader(&[(4, 3)]);
        let links = solo.gathers(&[1, 2]);
        let accepted = Epoch(solo.epoch().0 + above);
        let said = solo.receive(links[0], Message::RefuseEpoch { accepted, leader: Some(NodeId(9)) });
        assert_eq!(looks(&said), Some("a node has promised a later epoch"));
        // Its next epoch is higher, though nobody who comes then has promised so much.
        let round = rounds(&said)[0];
        solo.receive_vote(vote(1, 3, round));
        solo.receive_vote(vote(2, 3, round));
        let link = solo.accept(2);
        assert_eq!(hard_states(&solo.receive(link, promised(0)))[0].accepted_epoch, Epoch(accepted.0 + 1));
    }
    for accepted in [1, Epoch::MAX.0 - 1] {
        let mut solo = leader(&[(4, 3)]);
        let links = solo.gathers(&[1, 2]);
        let refusal = Message::RefuseEpoch { accepted: Epoch(accepted), leader: None };
        let said = solo.receive(links[0], refusal);
        assert_eq!(losses(&said), [(1, "it refuses the epoch")], "{accepted}");
        assert_eq!(looks(&said), None);
    }
}

#[test]
fn a_promise_that_cannot_be_true_is_refused() {
    for established in [false, true] {
        let mut solo = leader(&[]);
        if established {
            solo.established(&[1]);
        } else {
            solo.elected();
        }
        let link = solo.accept(2);
        let said = solo.receive(link, promised(Epoch::MAX.0 - 1));
        assert!(refuses(&said, link, Reason::Version));
        assert_eq!(looks(&said), None);
    }
    // 2^32 leaderships ahead are believed, one more is not.
    for (accepted, believed) in [(1 << 32, true), ((1 << 32) + 1, false)] {
        let mut solo = leader(&[]);
        solo.elected();
        let link = solo.accept(2);
        let said = solo.receive(link, promised(accepted));
        assert_eq!(refuses(&said, link, Reason::Version), !believed);
    }
}

#[test]
fn while_discovering_a_higher_promise_only_raises_the_epoch() {
    let mut solo = leader(&[]);
    solo.elected();
    let link = solo.accept(1);
    let said = solo.receive(link, promised(8));
    assert_eq!(looks(&said), None);
    assert_eq!(hard_states(&said)[0].accepted_epoch, Epoch(9));
    assert_eq!(hard_states(&said)[0].accepted_leader, Some(NodeId(3)));
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
fn a_follower_that_knows_more_ends_a_leadership_until_its_quorum_is_closed() {
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
        let links = solo.gathers(&[1, 2]);
        let message = Message::AckEpoch {
            epoch: solo.epoch(),
            current: Epoch(current),
            last,
            oldest: Zxid::ZERO,
            boundaries: vec![last],
        };
        let said = solo.receive(links[0], message);
        assert_eq!(looks(&said).is_some(), newer, "{current} {last}");
    }

    // Afterwards it is a tail that nobody has acknowledged, and is cut.
    let mut solo = leader(&[(4, 3)]);
    solo.synchronises(&[1]);
    let epoch = solo.epoch();
    let late = solo.accept(2);
    solo.receive(late, promised(0));
    let last = zxid(4, 5);
    let said = solo.receive(
        late,
        Message::AckEpoch { epoch, current: Epoch(4), last, oldest: Zxid::ZERO, boundaries: vec![last] },
    );
    assert_eq!(looks(&said), None);
    assert!(sent(&said, late).contains(&Message::Diff { epoch, base: zxid(4, 3) }));
}

#[test]
fn what_a_node_without_a_vote_knows_does_not_end_a_leadership() {
    let mut solo = Solo::new(5, 5, member(5, &[(4, 3)]), BOUNDS());
    let links = solo.gathers(&[1, 2]);
    let stranger = Hello { incarnation: Incarnation(99), ..solo.hello(3) };
    let (link, _) = solo.accept_as(stranger);
    solo.receive(link, promised(0));
    let last = zxid(4, 9);
    let message = Message::AckEpoch {
        epoch: solo.epoch(),
        current: Epoch(4),
        last,
        oldest: Zxid::ZERO,
        boundaries: vec![last],
    };
    assert_eq!(looks(&solo.receive(link, message)), None);
    // Nor is it one of the three that a quorum of five takes.
    solo.receive(links[0], solo.ack_epoch());
    assert_eq!(hard_states(&solo.persist()).len(), 0);
    let said = solo.receive(links[1], solo.ack_epoch());
    assert_eq!(hard_states(&said)[0].current_epoch, solo.epoch());
}

#[test]
fn an_account_of_a_log_is_taken_once_for_this_epoch_and_only_if_it_can_be() {
    let mut solo = Solo::new(5, 5, member(5, &[(4, 3)]), BOUNDS());
    let links = solo.gathers(&[1, 2]);
    let epoch = solo.epoch();
    let account = |epoch: Epoch, last: Zxid, end: Zxid| Message::AckEpoch {
        epoch,
        current: Epoch(0),
        last,
        oldest: Zxid::ZERO,
        boundaries: vec![end],
    };
    // Another epoch's is dropped; it is not counted, and does no harm.
    solo.receive(links[0], account(Epoch(epoch.0 - 1), zxid(4, 2), zxid(4, 2)));
    let said = solo.receive(links[1], account(epoch, zxid(4, 2), zxid(4, 2)));
    assert_eq!(hard_states(&said), [], "one follower and the leader are no quorum of five");
    // The second of this epoch changes nothing.
    assert_eq!(solo.receive(links[1], account(epoch, zxid(4, 2), zxid(4, 1))), []);
    let said = solo.receive(links[0], account(epoch, zxid(4, 2), zxid(4, 1)));
    assert_eq!(losses(&said), [(1, "its description of its log is invalid")]);
}

#[test]
fn a_leader_counts_itself_only_when_its_epoch_is_durable() {
    // Rule 13.
    let mut solo = leader(&[(4, 3)]);
    let links = solo.gathers(&[1]);
    let said = solo.receive(links[0], solo.ack_epoch());
    assert_eq!(sent(&said, links[0]), [], "nothing is synchronised yet");
    let said = solo.persist();
    let epoch = solo.epoch();
    assert_eq!(
        sent(&said, links[0]),
        [Message::Diff { epoch, base: zxid(4, 3) }, Message::NewLeader { epoch, last: zxid(4, 3) }]
    );
}

#[test]
fn an_acknowledgement_of_new_leader_must_be_of_this_leadership_and_of_its_history() {
    let mut solo = Solo::new(5, 5, member(5, &[(4, 3)]), BOUNDS());
    let links = solo.synchronises(&[1, 2]);
    let epoch = solo.epoch();
    let late = solo.accept(3);
    solo.receive(late, promised(0));
    // Before it was given anything, and from another epoch: no fault, and it counts for nothing.
    solo.receive(late, Message::AckNewLeader { epoch, last: zxid(4, 3) });
    solo.receive(links[0], Message::AckNewLeader { epoch: Epoch(epoch.0 - 1), last: zxid(4, 3) });
    solo.receive(links[1], Message::AckNewLeader { epoch, last: zxid(4, 3) });
    assert_eq!(solo.role(), Role::Leading { established: None });
    // Less than the initial history, or something else.
    for last in [zxid(4, 2), zxid(3, 3), zxid(4, 4)] {
        let link = solo.accept(4);
        solo.receive(link, promised(0));
        solo.receive(link, solo.ack_epoch());
        let said = solo.receive(link, Message::AckNewLeader { epoch, last });
        assert_eq!(losses(&said), [(4, "it acknowledges another history")], "{last}");
    }
    let said = solo.receive(links[0], Message::AckNewLeader { epoch, last: zxid(4, 3) });
    assert!(said.contains(&Effect::Notice(Notice::Established { epoch, last: zxid(4, 3) })));
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
    assert_eq!(acked(&solo), 2, "an older one, and another epoch's, change nothing");
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
        let said = solo.receive(links[1], ack(epoch, last));
        assert_eq!(losses(&said), [(2, "it acknowledges entries that it was not sent")], "{last}");
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
        // One is committed, and makes room for one.
        solo.receive(links[0], ack(epoch, zxid(1, round * 4 + 1)));
        assert!(!rejects(&solo.propose(5, 100)), "round {round}");
        assert!(rejects(&solo.propose(6, 100)), "round {round}");
        solo.receive(links[0], ack(epoch, zxid(1, round * 4 + 4)));
        solo.persist();
    }
}

#[test]
fn a_commit_needs_a_majority_and_each_voter_speaks_for_itself() {
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
    assert_eq!(solo.zab.commit(), 0, "nobody counts twice");
    assert_eq!(applies(&solo.receive(links[2], ack(epoch, zxid(1, 1)))), Some(1));
    assert_eq!(applies(&solo.receive(links[1], ack(epoch, zxid(1, 2)))), Some(2));
}

#[test]
fn a_change_of_the_role_is_told_once() {
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
    solo.synchronises(&[1]);
    let said = solo.propose(1, 100);
    assert_eq!(said, [Effect::Rejected { id: 1, why: Rejection::NotLeader }]);
    assert_eq!(failed(&solo.step(vec![Event::Barrier { id: 2 }])), [2]);
}

#[test]
fn a_barrier_waits_for_answers_to_a_heartbeat_that_left_after_it_was_asked_for() {
    // Section 6.2.
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    let before = beats(&solo.after(100 * MS))[0];
    solo.receive(links[0], Message::HeartbeatAck { epoch, id: before });
    let said = solo.step(vec![Event::Barrier { id: 5 }]);
    assert_eq!(passed(&said), [], "answers to earlier heartbeats say nothing of now");
    let id = beats(&said)[0];
    assert_eq!(id, before + 1);
    assert_eq!(passed(&solo.receive(links[0], Message::HeartbeatAck { epoch, id: before })), []);
    assert_eq!(passed(&solo.receive(links[0], Message::HeartbeatAck { epoch: Epoch(epoch.0 - 1), id })), []);
    assert_eq!(
        passed(&solo.receive(links[0], Message::HeartbeatAck { epoch, id: id + 1 })),
        [],
        "never sent"
    );
    assert_eq!(passed(&solo.receive(links[0], Message::HeartbeatAck { epoch, id })), [(5, 0)]);
    assert_eq!(passed(&solo.receive(links[1], Message::HeartbeatAck { epoch, id })), [], "once");
}

#[test]
fn a_barrier_reads_at_what_is_committed_whether_or_not_this_node_has_applied_it() {
    // A follower that has applied it may have told its client.
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.propose(1, 100);
    solo.receive(links[0], ack(epoch, zxid(1, 1)));
    solo.receive(links[1], ack(epoch, zxid(1, 1)));
    assert_eq!((solo.zab.commit(), solo.zab.durable()), (1, Zxid::ZERO));
    let said = solo.step(vec![Event::Barrier { id: 5 }]);
    let id = beats(&said)[0];
    assert_eq!(passed(&solo.receive(links[0], Message::HeartbeatAck { epoch, id })), [(5, 1)]);
}

#[test]
fn sixteen_barrier_rounds_are_under_way_at_once_and_the_rest_share_the_next() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    let mut last = 0;
    for id in 0..16 {
        let said = solo.step(vec![Event::Barrier { id }]);
        assert_eq!(beats(&said).len(), 2, "a heartbeat to each follower for round {id}");
        last = beats(&said)[0];
    }
    assert_eq!(beats(&solo.step(vec![Event::Barrier { id: 16 }])), [] as [u64; 0]);
    assert_eq!(beats(&solo.step(vec![Event::Barrier { id: 17 }])), [] as [u64; 0]);
    let said = solo.receive(links[0], Message::HeartbeatAck { epoch, id: last });
    assert_eq!(passed(&said).len(), 16);
    let next = beats(&said)[0];
    assert_eq!(next, last + 1);
    assert_eq!(
        passed(&solo.receive(links[1], Message::HeartbeatAck { epoch, id: next })),
        [(16, 0), (17, 0)]
    );
}

#[test]
fn barriers_asked_for_at_once_are_bounded() {
    let bounds = Bounds { proposals_max: 2, ..BOUNDS() };
    let mut solo = Solo::new(3, 3, member(3, &[]), bounds);
    solo.established(&[1, 2]);
    let said = solo.step((1..=3).map(|id| Event::Barrier { id }).collect());
    assert_eq!(failed(&said), [3]);
}

#[test]
fn a_leadership_that_ends_fails_its_barriers_and_writes_what_it_has_placed() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.step(vec![Event::Barrier { id: 1 }]);
    let refusal = Message::RefuseEpoch { accepted: Epoch(epoch.0 + 1), leader: None };
    let said = solo.step(vec![
        Event::Barrier { id: 2 },
        Event::Propose { id: 3, payload: super::solo::entry(1, 1, 100).payload },
        Event::Message { link: links[0], message: refusal },
    ]);
    assert!(looks(&said).is_some());
    assert_eq!(failed(&said), [1, 2]);
    assert!(closes(&said, links[0]) && closes(&said, links[1]));
    solo.persist();
    assert_eq!(solo.disk.last(), zxid(1, 1), "a placed proposal is in the log");
}

#[test]
fn a_leader_gives_up_when_its_own_disk_takes_longer_than_five_election_timeouts() {
    // Section 6.6. Followers answer all the while, and newer writes are no excuse.
    let mut solo = leader(&[]);
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    solo.propose(1, 100);
    for id in 0..50 {
        let said = solo.after(100 * MS);
        assert_eq!(looks(&said), None, "after {id}");
        solo.receive(links[0], Message::HeartbeatAck { epoch, id: 1 });
        solo.propose(10 + id, 100);
    }
    assert_eq!(looks(&solo.after(1)), Some("its own storage is stalled"));
    let states: Vec<VoteState> = votes(&solo.after(ELECTION)).iter().map(|(_, vote)| vote.state).collect();
    assert_eq!(states, [VoteState::Seeking; 2], "nor does it campaign until the disk does");
}

#[test]
fn up_to_date_waits_until_the_follower_has_what_was_committed_when_it_came() {
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
    let said = solo.receive(late, Message::AckNewLeader { epoch, last: Zxid::ZERO });
    assert_eq!(up_to_date(&said), None);
    assert!(!solo.zab.followers()[1].serving);
    assert_eq!(up_to_date(&solo.receive(late, ack(epoch, zxid(1, 1)))), None);
    let said = solo.receive(late, ack(epoch, zxid(1, 2)));
    assert_eq!(up_to_date(&said), Some(Message::UpToDate { epoch, commit: 2 }));
    assert!(said.contains(&Effect::Notice(Notice::Synchronised { peer: NodeId(2), last: zxid(1, 2) })));
    assert!(solo.zab.followers()[1].serving);
}

#[test]
fn upper_halves_speak_only_while_the_follower_is_up_to_date() {
    let mut solo = leader(&[]);
    let links = solo.established(&[1]);
    let late = solo.accept(2);
    solo.receive(late, promised(0));
    let payload = super::solo::entry(1, 1, 100).payload;
    let relay = Message::Relay(payload.clone());
    assert_eq!(solo.receive(late, relay.clone()), []);
    assert_eq!(solo.step(vec![Event::RelayTo { link: late, payload: payload.clone() }]), []);
    let said = solo.receive(links[0], relay.clone());
    assert_eq!(said, [Effect::Relayed { link: links[0], payload: payload.clone() }]);
    let said = solo.step(vec![Event::RelayTo { link: links[0], payload }]);
    assert_eq!(sent(&said, links[0]), [relay]);
}

#[test]
fn a_leader_gives_up_before_it_is_established_when_its_supporters_look_again() {
    // Rule 9, ZOOKEEPER-3109.
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    solo.elected();
    let round = rounds(&solo.first)[0];
    let link = solo.accept(1);
    solo.receive(link, promised(0));
    assert_eq!(looks(&solo.receive_vote(vote(2, 2, round))), None, "its vote of this round is no desertion");
    assert_eq!(looks(&solo.receive_vote(vote(2, 2, round + 1))), None);
    assert_eq!(looks(&solo.receive_vote(vote(3, 3, round + 1))), None, "1, 4 and this node are left");
    assert_eq!(
        looks(&solo.receive_vote(vote(4, 4, round + 1))),
        Some("its supporters look for another leader")
    );
}

#[test]
fn an_established_leader_answers_lookers_and_stays() {
    let mut solo = Solo::new(5, 5, member(5, &[]), BOUNDS());
    solo.established(&[1, 2]);
    let epoch = solo.epoch();
    for (node, state) in [(3, VoteState::Looking), (4, VoteState::Looking), (2, VoteState::Seeking)] {
        let said = solo.receive_vote(Vote { state, ..vote(node, node, 9) });
        assert_eq!(looks(&said), None);
        let (to, answer) = votes(&said).into_iter().next().expect("an answer");
        assert_eq!((to, answer.state, answer.established), (node, VoteState::Leading, Some(epoch)));
    }
    let settled = Vote { state: VoteState::Following, ..vote(3, 5, 9) };
    assert_eq!(asked(&solo.receive_vote(settled)), [] as [u64; 0], "who has a leader asks for nothing");
}

#[test]
fn a_follower_without_the_common_point_is_told_that_it_needs_a_snapshot() {
    let mut solo = leader(&[(4, 3)]);
    let links = solo.synchronises(&[1]);
    let said = solo.receive(links[0], Message::Refuse(Reason::NoCommonPoint));
    assert_eq!(sent(&said, links[0]), [Message::Refuse(Reason::SnapshotNeeded)]);
    assert_eq!(losses(&said), [(1, "it refuses this leader")]);
    let mut solo = leader(&[(4, 3)]);
    let links = solo.synchronises(&[1]);
    let said = solo.receive(links[0], Message::Refuse(Reason::Version));
    assert_eq!(sent(&said, links[0]), []);
}
