//! A follower: answers, refusals and timeouts.

use gometa_zab::{
    Bounds, Effect, Epoch, Event, FIRST_LEVEL, HardState, Hello, Kind, LinkId, LogEntry, Message, NodeId,
    Reason, Rejection, Role, VoteState, Write, Zxid,
};

use super::solo::{
    ELECTION, MS, Solo, ack_epoch_of_empty_log, applies, closes, dials, entry, hard_states, heartbeat_ack,
    leads, looking, member, promise, promised, refuses, sent, stop_reason, vote, vote_receivers, votes, zxid,
};

/// Node 1 of three; the leader is node 3.
fn node(log: &[(u64, u64)]) -> Solo {
    Solo::new(1, 3, member(3, log), Bounds::default())
}

fn propose(epoch: u64, previous: Zxid, entries: Vec<LogEntry>) -> Message {
    Message::Propose { epoch: Epoch(epoch), previous, entries, commit: 0 }
}

fn appends(effects: &[Effect]) -> usize {
    let append = |effect: &&Effect| matches!(effect, Effect::Write { write: Write::Append(_), .. });
    effects.iter().filter(append).count()
}

fn ack(epoch: u64, last: Zxid) -> Message {
    Message::Ack { epoch: Epoch(epoch), last }
}

/// A connection to the leader on which only its Hello was received.
fn with_hello(solo: &mut Solo) -> (LinkId, Vec<Effect>) {
    with_hello_in(solo, 5)
}

/// The same; the leader's vote names this epoch as established.
fn with_hello_in(solo: &mut Solo, epoch: u64) -> (LinkId, Vec<Effect>) {
    solo.receive_vote(leads(3, epoch, 1));
    let link = solo.connected(3);
    let effects = solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(3) }));
    (link, effects)
}

#[test]
fn a_leader_is_dialled_three_times_with_a_pause() {
    let mut solo = node(&[]);
    assert_eq!(dials(&solo.receive_vote(leads(3, 5, 1))), [3]);
    assert_eq!(looking(&solo.connect_failed(3)), None);
    assert_eq!(dials(&solo.after(20 * MS - 1)), [] as [u64; 0]);
    assert_eq!(dials(&solo.after(1)), [3]);
    assert_eq!(dials(&solo.after(20 * MS)), [] as [u64; 0], "one attempt at a time");
    assert_eq!(looking(&solo.connect_failed(3)), None);
    assert_eq!(dials(&solo.after(20 * MS)), [3]);
    assert_eq!(looking(&solo.connect_failed(3)), Some("the leader is unreachable"));
}

#[test]
fn a_failed_connection_to_another_node_does_not_count_against_the_leader() {
    let mut solo = node(&[]);
    solo.receive_vote(leads(3, 5, 1));
    for _ in 0..5 {
        assert_eq!(looking(&solo.connect_failed(2)), None);
    }
    assert_eq!(dials(&solo.after(20 * MS)), [] as [u64; 0]);
    // A connection to another node, requested in an earlier phase, is closed.
    let link = LinkId(900);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(2), link }]), link));
    let own = solo.connected(3);
    let second = LinkId(901);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(3), link: second }]), second));
    assert_eq!(looking(&solo.connect_failed(3)), None, "a late failure while a connection is open");
    assert_eq!(looking(&solo.step(vec![Event::Closed { link: second }])), None);
    assert!(looking(&solo.step(vec![Event::Closed { link: own }])).is_some());
}

#[test]
fn a_leader_that_is_silent_for_longer_than_the_election_timeout_is_abandoned() {
    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    solo.after(ELECTION / 2);
    solo.receive(link, Message::Heartbeat { epoch: Epoch(5), id: 1, commit: 0 });
    assert_eq!(looking(&solo.after(ELECTION)), None);
    let effects = solo.after(1);
    assert_eq!(looking(&effects), Some("the leader is silent"));
    assert!(closes(&effects, link));
}

#[test]
fn a_leader_without_an_ensemble_is_not_followed() {
    let mut solo = node(&[]);
    solo.receive_vote(leads(3, 5, 1));
    let link = solo.connected(3);
    let hello = Hello { expected: None, ensemble: None, ..solo.hello(3) };
    assert_eq!(
        looking(&solo.receive(link, Message::Hello(hello))),
        Some("the leader is not a member of an ensemble")
    );
}

#[test]
fn the_first_message_is_the_promise_and_waits_for_all_writes() {
    // Rule 11a.
    let mut disk = member(3, &[]);
    promise(&mut disk, 4, 2);
    let mut solo = Solo::new(1, 3, disk, Bounds::default());
    let (link, effects) = with_hello(&mut solo);
    let first = promised(4);
    assert_eq!(sent(&effects, link), [first]);

    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100)]));
    solo.step(vec![Event::Closed { link }]);
    let (link, effects) = with_hello(&mut solo);
    assert_eq!(sent(&effects, link), []);
    let first = promised(5);
    assert_eq!(sent(&solo.persist(), link), [first]);
}

#[test]
fn an_epoch_is_promised_once_and_to_one_leader() {
    // Rule 11: (promised epoch, its leader, requested epoch) and whether it is acknowledged.
    for (accepted, leader, requested, acknowledged) in
        [(4, 2, 5, true), (5, 3, 5, true), (5, 2, 5, false), (6, 3, 5, false), (6, 2, 5, false)]
    {
        let mut disk = member(3, &[]);
        promise(&mut disk, accepted, leader);
        let mut solo = Solo::new(1, 3, disk, Bounds::default());
        let (link, _) = with_hello(&mut solo);
        let effects = solo.receive(link, Message::NewEpoch(Epoch(requested)));
        if !acknowledged {
            let refusal = Message::RefuseEpoch { accepted: Epoch(accepted), leader: Some(NodeId(leader)) };
            assert_eq!(sent(&effects, link), [refusal]);
            assert_eq!(looking(&effects), Some("the epoch is promised to another leader"));
            continue;
        }
        let effects = if accepted == requested {
            assert_eq!(hard_states(&effects), [], "it is durable already");
            effects
        } else {
            let written = HardState {
                accepted_epoch: Epoch(requested),
                accepted_leader: Some(NodeId(3)),
                current_epoch: Epoch(0),
            };
            assert_eq!((hard_states(&effects), sent(&effects, link)), (vec![written], vec![]));
            solo.persist()
        };
        let description = ack_epoch_of_empty_log(Epoch(requested));
        assert_eq!(sent(&effects, link), [description]);
        assert_eq!(solo.receive(link, Message::NewEpoch(Epoch(requested))), [], "a repetition has no effect");
    }
}

#[test]
fn an_implausible_epoch_is_not_promised() {
    for (requested, plausible) in [(4 + (1 << 32), true), (5 + (1 << 32), false), (Epoch::MAX.0 - 1, false)] {
        let mut disk = member(3, &[]);
        promise(&mut disk, 4, 2);
        let mut solo = Solo::new(1, 3, disk, Bounds::default());
        let (link, _) = with_hello(&mut solo);
        let effects = solo.receive(link, Message::NewEpoch(Epoch(requested)));
        assert_eq!(hard_states(&effects).len(), usize::from(plausible), "{requested}");
        assert_eq!(looking(&effects).is_some(), !plausible);
    }
    // The largest epochs are refused, since no epoch above them would be left.
    for (requested, plausible) in [(Epoch::MAX.0 - 2, true), (Epoch::MAX.0 - 1, false)] {
        let mut disk = member(3, &[]);
        promise(&mut disk, Epoch::MAX.0 - 9, 2);
        let mut solo = Solo::new(1, 3, disk, Bounds::default());
        let (link, _) = with_hello(&mut solo);
        let effects = solo.receive(link, Message::NewEpoch(Epoch(requested)));
        assert_eq!(hard_states(&effects).len(), usize::from(plausible), "{requested}");
    }
}

#[test]
fn the_newest_thousand_epochs_of_a_log_are_reported() {
    // Deviation 7. The description starts above `oldest`.
    let description = |epochs: u64| {
        let log: Vec<(u64, u64)> = (1..=epochs).map(|epoch| (epoch, epoch)).collect();
        let mut solo = node(&log);
        let (link, _) = with_hello_in(&mut solo, epochs + 1);
        solo.receive(link, Message::NewEpoch(Epoch(epochs + 1)));
        match sent(&solo.persist(), link).remove(0) {
            Message::AckEpoch { oldest, boundaries, .. } => (oldest, boundaries),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(description(3), (Zxid::ZERO, vec![zxid(1, 1), zxid(2, 2), zxid(3, 3)]));
    let (oldest, boundaries) = description(1_003);
    assert_eq!((oldest, boundaries.len()), (zxid(3, 3), 1_000));
    assert_eq!((boundaries[0], boundaries[999]), (zxid(4, 4), zxid(1_003, 1_003)));
}

#[test]
fn a_diff_truncates_to_an_entry_of_this_log_and_not_below_applied_entries() {
    let try_base = |applied: u64, base: Zxid| {
        let mut disk = member(3, &[(2, 3), (4, 5)]);
        disk.applied = applied;
        let mut solo = Solo::new(1, 3, disk, Bounds::default());
        let link = solo.acknowledged(3, 5);
        (solo.receive(link, Message::Diff { epoch: Epoch(5), base }), link)
    };
    for base in [zxid(3, 4), zxid(4, 6), zxid(2, 4)] {
        let (effects, link) = try_base(0, base);
        assert_eq!(sent(&effects, link), [Message::Refuse(Reason::NoCommonPoint)], "{base}");
        assert!(looking(&effects).is_some());
    }
    let truncates = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::Write { write: Write::Truncate(_), .. }))
    };
    let (effects, _) = try_base(3, zxid(2, 3));
    assert!(truncates(&effects) && stop_reason(&effects).is_none(), "applied entries are kept");
    let (effects, _) = try_base(5, zxid(4, 5));
    assert!(
        !truncates(&effects) && stop_reason(&effects).is_none() && looking(&effects).is_none(),
        "nothing to truncate"
    );
    let (effects, _) = try_base(4, zxid(2, 3));
    assert!(stop_reason(&effects).is_some_and(|why| why.contains("histories diverged")));
}

#[test]
fn messages_of_another_epoch_or_out_of_order_are_rejected() {
    let rejected = |effects: &[Effect]| looking(effects).is_some_and(|why| why.starts_with("unexpected "));
    // Before the Diff.
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert!(rejected(&solo.receive(link, Message::NewLeader { epoch: Epoch(5), last: Zxid::ZERO })));
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert!(rejected(&solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100)]))));
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert!(rejected(&solo.receive(link, Message::Diff { epoch: Epoch(4), base: Zxid::ZERO })));
    // While synchronising.
    for message in [
        Message::NewLeader { epoch: Epoch(4), last: Zxid::ZERO },
        Message::NewLeader { epoch: Epoch(5), last: zxid(5, 1) },
        Message::UpToDate { epoch: Epoch(5), commit: 0 },
    ] {
        let mut solo = node(&[]);
        let link = solo.acknowledged(3, 5);
        solo.receive(link, Message::Diff { epoch: Epoch(5), base: Zxid::ZERO });
        assert!(rejected(&solo.receive(link, message.clone())), "{message:?}");
    }
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    solo.receive(link, Message::Diff { epoch: Epoch(5), base: Zxid::ZERO });
    solo.receive(link, Message::NewLeader { epoch: Epoch(5), last: Zxid::ZERO });
    solo.persist();
    assert!(rejected(&solo.receive(link, Message::UpToDate { epoch: Epoch(4), commit: 0 })));
    // While serving, messages of an older epoch are ignored.
    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100)]));
    solo.persist();
    for message in [
        propose(4, zxid(5, 1), vec![entry(5, 2, 100)]),
        Message::Commit { epoch: Epoch(4), commit: 1 },
        Message::Heartbeat { epoch: Epoch(4), id: 9, commit: 1 },
    ] {
        assert_eq!(solo.receive(link, message.clone()), [], "{message:?}");
    }
    assert_eq!(applies(&solo.receive(link, Message::Commit { epoch: Epoch(5), commit: 1 })), Some(1));
}

#[test]
fn entries_follow_each_other_without_a_gap_and_their_epochs_do_not_fall() {
    // Rule 17. The log on this disk ends with (4, 3).
    let previous = zxid(4, 3);
    let two = |a: (u64, u64), b: (u64, u64)| vec![entry(a.0, a.1, 100), entry(b.0, b.1, 100)];
    let cases = [
        (propose(5, previous, two((5, 4), (5, 5))), true),
        (propose(5, previous, two((4, 4), (5, 5))), true),
        (propose(5, previous, Vec::new()), false),
        (propose(5, zxid(3, 3), two((5, 4), (5, 5))), false),
        (propose(5, zxid(4, 2), two((5, 3), (5, 4))), false),
        (propose(5, zxid(4, 4), two((5, 5), (5, 6))), false),
        (propose(5, previous, two((5, 4), (5, 6))), false),
        (propose(5, previous, two((5, 5), (5, 6))), false),
        (propose(5, previous, two((5, 4), (4, 5))), false),
        (propose(5, previous, two((3, 4), (5, 5))), false),
        (propose(5, previous, two((5, 4), (6, 5))), false),
        (propose(5, previous, two((5, 4), (5, 4))), false),
    ];
    for (message, accepted) in cases {
        let mut solo = node(&[(4, 3)]);
        let link = solo.acknowledged(3, 5);
        solo.receive(link, Message::Diff { epoch: Epoch(5), base: previous });
        let effects = solo.receive(link, message.clone());
        assert_eq!(appends(&effects), usize::from(accepted), "{message:?}");
        assert_eq!(
            looking(&effects),
            (!accepted).then_some("the leader's entries are not contiguous"),
            "{message:?}"
        );
    }
}

#[test]
fn an_entry_that_this_build_does_not_know_stops_the_node() {
    for (kind, level, known) in [
        (Kind::Command, FIRST_LEVEL, true),
        (Kind::Command, FIRST_LEVEL - 1, true),
        (Kind::Command, FIRST_LEVEL + 1, false),
        (Kind::Membership, FIRST_LEVEL + 1, false),
        (Kind::Unknown(9), FIRST_LEVEL, false),
    ] {
        let mut solo = node(&[]);
        let link = solo.serves(3, 5);
        let odd = LogEntry { kind, level, ..entry(5, 2, 100) };
        let effects = solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100), odd]));
        let needs = format!("needs feature level {level}, this program supports feature level {FIRST_LEVEL}");
        assert_eq!(stop_reason(&effects).is_none(), known);
        assert!(
            stop_reason(&effects).is_none_or(|why| why.contains("log entry (5, 2)") && why.contains(&needs))
        );
        assert_eq!(appends(&effects), usize::from(known), "no entry of the message is written");
    }
}

#[test]
fn history_becomes_durable_then_the_epoch_then_it_is_acknowledged() {
    // Rules 18 and 19. Entries received between NewLeader and AckNewLeader are acknowledged when they are durable.
    let mut solo = node(&[(4, 1)]);
    let link = solo.acknowledged(3, 5);
    solo.receive(link, Message::Diff { epoch: Epoch(5), base: zxid(4, 1) });
    solo.receive(link, propose(5, zxid(4, 1), vec![entry(4, 2, 100)]));
    let effects = solo.receive(link, Message::NewLeader { epoch: Epoch(5), last: zxid(4, 2) });
    assert_eq!((hard_states(&effects), sent(&effects, link)), (vec![], vec![]));
    let effects = solo.persist();
    let claim = hard_states(&effects);
    assert_eq!(claim.len(), 1);
    assert_eq!((claim[0].accepted_epoch, claim[0].current_epoch), (Epoch(5), Epoch(5)));
    let progress = Message::Progress { epoch: Epoch(5), last: zxid(4, 2) };
    assert_eq!(sent(&effects, link), [progress], "an Ack would claim the epoch (rule 22)");
    // A proposal received after the epoch was written is not durable yet when the epoch is.
    solo.receive(link, propose(5, zxid(4, 2), vec![entry(5, 3, 100)]));
    let token = solo.disk.persist().expect("the epoch");
    let effects = solo.step(vec![Event::Persisted(token)]);
    assert_eq!(sent(&effects, link), [Message::AckNewLeader { epoch: Epoch(5), last: zxid(4, 2) }]);
    assert_eq!(sent(&solo.persist(), link), [ack(5, zxid(5, 3))]);
    assert_eq!(solo.role(), Role::Following { leader: NodeId(3), established: None });
}

#[test]
fn one_ack_covers_all_durable_entries_and_is_not_repeated() {
    // Rule 22.
    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    assert_eq!(solo.after(MS), []);
    solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100)]));
    solo.receive(link, propose(5, zxid(5, 1), vec![entry(5, 2, 100), entry(5, 3, 100)]));
    assert_eq!(sent(&solo.persist(), link), [ack(5, zxid(5, 3))]);
    assert_eq!(solo.after(MS), []);
    assert_eq!(applies(&solo.receive(link, Message::Commit { epoch: Epoch(5), commit: 2 })), Some(2));
    assert_eq!(applies(&solo.receive(link, Message::Commit { epoch: Epoch(5), commit: 1 })), None);
    let beat = Message::Heartbeat { epoch: Epoch(5), id: 4, commit: 3 };
    let effects = solo.receive(link, beat);
    assert_eq!(applies(&effects), Some(3));
    assert_eq!(sent(&effects, link), [heartbeat_ack(Epoch(5), 4)]);
}

#[test]
fn progress_is_sent_while_synchronising_and_only_if_entries_became_durable() {
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert_eq!(solo.receive(link, Message::Diff { epoch: Epoch(5), base: Zxid::ZERO }), []);
    solo.receive(link, propose(5, Zxid::ZERO, vec![entry(4, 1, 100)]));
    assert_eq!(solo.after(MS), []);
    assert_eq!(sent(&solo.persist(), link), [Message::Progress { epoch: Epoch(5), last: zxid(4, 1) }]);
    assert_eq!(solo.after(MS), []);
}

#[test]
fn recovered_entries_do_not_count_as_committed() {
    // Rule 20.
    let mut disk = member(3, &[(4, 5)]);
    disk.applied = 2;
    let mut solo = Solo::new(1, 3, disk, Bounds::default());
    assert_eq!(solo.zab.commit(), 2);
    let link = solo.acknowledged(3, 5);
    solo.receive(link, Message::Diff { epoch: Epoch(5), base: zxid(4, 5) });
    solo.receive(link, Message::NewLeader { epoch: Epoch(5), last: zxid(4, 5) });
    solo.persist();
    let effects = solo.receive(link, Message::UpToDate { epoch: Epoch(5), commit: 4 });
    assert_eq!(applies(&effects), Some(4));
}

#[test]
fn a_restart_begins_with_the_durable_state() {
    let mut solo = node(&[(4, 1)]);
    let link = solo.serves(3, 5);
    solo.receive(link, propose(5, zxid(4, 1), vec![entry(5, 2, 100)]));
    solo.persist();
    solo.receive(link, propose(5, zxid(5, 2), vec![entry(5, 3, 100)]));
    assert_eq!(solo.zab.last(), zxid(5, 3));
    let solo = solo.restart(Bounds::default());
    assert_eq!((solo.zab.last(), solo.zab.durable()), (zxid(5, 2), zxid(5, 2)));
    assert_eq!(votes(&solo.first)[0].1.candidate.last, zxid(5, 2));
    assert_eq!(solo.zab.current_epoch(), Epoch(5));
}

#[test]
fn an_append_in_flight_does_not_make_the_entries_that_replace_it_durable() {
    // Rule 24: an append issued before a truncation, durable after it.
    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    let entries = (1..=3).map(|counter| entry(5, counter, 100)).collect();
    solo.receive(link, propose(5, Zxid::ZERO, entries));
    let lost = solo.disk.pending.clone();
    solo.step(vec![Event::Closed { link }]);
    // A follower waits for its writes (rule 11a), so the truncation follows the append.
    let (link, _) = with_hello(&mut solo);
    assert_eq!(lost.len(), 1);
    let effects = solo.persist();
    assert_eq!(sent(&effects, link), [promised(5)]);
    solo.receive(link, Message::NewEpoch(Epoch(6)));
    solo.persist();
    solo.receive(link, Message::Diff { epoch: Epoch(6), base: zxid(5, 1) });
    assert_eq!(solo.zab.durable(), zxid(5, 1), "the durable zxid falls at once");
    solo.receive(link, propose(6, zxid(5, 1), vec![entry(6, 2, 100), entry(6, 3, 100)]));
    let token = solo.disk.persist().expect("the truncation");
    solo.step(vec![Event::Persisted(token)]);
    assert_eq!(solo.zab.durable(), zxid(5, 1));
    assert_eq!(
        solo.zab.recent(2).map(|entry| entry.zxid),
        Some(zxid(6, 2)),
        "no entry of the old tail is left"
    );
    assert_eq!(sent(&solo.persist(), link), [Message::Progress { epoch: Epoch(6), last: zxid(6, 3) }]);
}

#[test]
fn a_truncation_removes_only_its_entries_from_memory() {
    let bounds = Bounds { tail_bytes: 300, ..Bounds::default() };
    let mut solo = Solo::new(1, 3, member(3, &[]), bounds);
    let link = solo.serves(3, 5);
    solo.receive(link, propose(5, Zxid::ZERO, (1..=3).map(|counter| entry(5, counter, 100)).collect()));
    solo.persist();
    solo.step(vec![Event::Closed { link }]);
    let (link, _) = with_hello(&mut solo);
    solo.receive(link, Message::NewEpoch(Epoch(6)));
    solo.persist();
    solo.receive(link, Message::Diff { epoch: Epoch(6), base: zxid(5, 2) });
    let recent = |solo: &Solo, counter: u64| solo.zab.recent(counter).map(|entry| entry.zxid);
    assert_eq!((recent(&solo, 2), recent(&solo, 3)), (Some(zxid(5, 2)), None));
    solo.receive(link, propose(6, zxid(5, 2), vec![entry(6, 3, 100)]));
    assert_eq!((recent(&solo, 2), recent(&solo, 3)), (Some(zxid(5, 2)), Some(zxid(6, 3))));
    solo.receive(link, Message::NewLeader { epoch: Epoch(6), last: zxid(5, 2) });
    solo.persist();
    solo.persist();
    assert_eq!(applies(&solo.receive(link, Message::UpToDate { epoch: Epoch(6), commit: 3 })), Some(3));
    solo.step(vec![Event::Applied { counter: 3 }]);
    assert_eq!(recent(&solo, 1), Some(zxid(5, 1)), "truncated entries do not count for the budget");
    solo.receive(link, propose(6, zxid(6, 3), vec![entry(6, 4, 100)]));
    solo.persist();
    assert_eq!((recent(&solo, 1), recent(&solo, 2)), (None, Some(zxid(5, 2))));
}

#[test]
fn a_node_with_a_leader_answers_looking_nodes_with_its_leader() {
    // Rule 6.
    let mut solo = node(&[]);
    solo.acknowledged(3, 5);
    let (to, answer) = votes(&solo.receive_vote(vote(2, 2, 9))).remove(0);
    assert_eq!((to, answer.state, answer.established), (2, VoteState::Following, None));
    let mut solo = node(&[]);
    solo.serves(3, 5);
    for state in [VoteState::Looking, VoteState::Seeking] {
        let (to, answer) = votes(&solo.receive_vote(gometa_zab::Vote { state, ..vote(2, 2, 9) })).remove(0);
        assert_eq!((to, answer.state, answer.established), (2, VoteState::Following, Some(Epoch(5))));
        assert_eq!((answer.candidate.node, answer.round.0), (NodeId(3), 1));
    }
    assert_eq!(vote_receivers(&solo.receive_vote(leads(2, 4, 9))), [] as [u64; 0]);
    assert_eq!(solo.role(), Role::Following { leader: NodeId(3), established: Some(Epoch(5)) });
}

#[test]
fn a_follower_relays_requests_to_its_leader_and_rejects_proposals() {
    let payload = entry(1, 1, 100).payload;
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert_eq!(solo.step(vec![Event::RelayToLeader(payload.clone())]), [], "it does not serve yet");
    assert_eq!(solo.receive(link, Message::Relay(payload.clone())), []);
    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    let effects = solo.step(vec![Event::RelayToLeader(payload.clone())]);
    assert_eq!(sent(&effects, link), [Message::Relay(payload.clone())]);
    let effects = solo.receive(link, Message::Relay(payload.clone()));
    assert_eq!(effects, [Effect::Relayed { link, payload: payload.clone() }]);
    for mut solo in [node(&[]), {
        let mut solo = node(&[]);
        solo.serves(3, 5);
        solo
    }] {
        let effects = solo.propose(7, 100);
        assert_eq!(effects, [Effect::Rejected { id: 7, why: Rejection::NotLeader }]);
        assert_eq!(solo.step(vec![Event::Barrier { id: 8 }]), [Effect::BarrierFailed { id: 8 }]);
    }
}

#[test]
fn a_follower_refuses_followers_and_closes_connections_with_other_messages() {
    let mut solo = node(&[]);
    solo.serves(3, 5);
    let link = solo.accept(2);
    let effects = solo.receive(link, promised(0));
    assert!(refuses(&effects, link, Reason::NotLeading));
    let link = solo.accept(2);
    let effects = solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100)]));
    assert!(closes(&effects, link) && sent(&effects, link).is_empty() && appends(&effects) == 0);
    assert_eq!(looking(&effects), None);
    // A follower that connected while this node was looking is refused now.
    let mut solo = Solo::new(1, 5, member(5, &[]), Bounds::default());
    let early = solo.accept(2);
    solo.receive(early, promised(0));
    assert!(refuses(&solo.receive_vote(leads(3, 5, 1)), early, Reason::NotLeading));
}

#[test]
fn a_node_whose_leader_sends_it_a_promise_has_no_leader_any_more() {
    // The connection to the leader is half open: its end, and what the leader said before, are lost.
    let mut solo = node(&[]);
    let own = solo.serves(3, 5);
    let link = solo.accept(3);
    let effects = solo.receive(link, promised(5));
    assert_eq!(looking(&effects), Some("the leader follows this node"));
    assert!(closes(&effects, own) && !closes(&effects, link));
    assert_eq!(solo.role(), Role::Leading { established: None }, "both are a quorum");
}

#[test]
fn the_state_of_a_node_can_be_queried() {
    let mut solo = node(&[(4, 2)]);
    assert_eq!((solo.zab.current_epoch(), solo.zab.last(), solo.zab.commit()), (Epoch(4), zxid(4, 2), 0));
    assert_eq!(solo.zab.ensemble(), Some(super::solo::HOME));
    assert_eq!(solo.zab.configuration().voters().len(), 3);
    assert!(solo.zab.votes() && solo.zab.followers().is_empty());
    solo.serves(3, 5);
    assert_eq!((solo.zab.current_epoch(), solo.zab.commit()), (Epoch(5), 2));
    assert_ne!(solo.zab.allocate_read(), solo.zab.allocate_read());
}
