//! A follower: what it answers, what it refuses, how long it waits.

use gometa_zab::{
    Bounds, Effect, Epoch, Event, HardState, Hello, Kind, LEVEL, LinkId, LogEntry, Message, NodeId, Reason,
    Rejection, Role, VoteState, Write, Zxid,
};

use super::solo::{
    ELECTION, MS, Solo, asked, closes, dials, entry, hard_states, leads, looks, member, promise, refuses,
    sent, stops, vote, votes, zxid,
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

fn applies(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit { counter } => Some(*counter),
        _ => None,
    })
}

fn ack(epoch: u64, last: Zxid) -> Message {
    Message::Ack { epoch: Epoch(epoch), last }
}

/// A connection to the leader with a greeting on it, before anything else.
fn greeted(solo: &mut Solo) -> (LinkId, Vec<Effect>) {
    greeted_in(solo, 5)
}

/// The same, where the leader says that it is established in this epoch.
fn greeted_in(solo: &mut Solo, epoch: u64) -> (LinkId, Vec<Effect>) {
    solo.receive_vote(leads(3, epoch, 1));
    let link = solo.connected(3);
    let said = solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(3) }));
    (link, said)
}

#[test]
fn a_leader_is_dialled_three_times_with_a_pause() {
    let mut solo = node(&[]);
    assert_eq!(dials(&solo.receive_vote(leads(3, 5, 1))), [3]);
    assert_eq!(looks(&solo.connect_failed(3)), None);
    assert_eq!(dials(&solo.after(20 * MS - 1)), [] as [u64; 0]);
    assert_eq!(dials(&solo.after(1)), [3]);
    assert_eq!(dials(&solo.after(20 * MS)), [] as [u64; 0], "one at a time");
    assert_eq!(looks(&solo.connect_failed(3)), None);
    assert_eq!(dials(&solo.after(20 * MS)), [3]);
    assert_eq!(looks(&solo.connect_failed(3)), Some("the leader is unreachable"));
}

#[test]
fn another_nodes_failed_connection_is_not_the_leaders() {
    let mut solo = node(&[]);
    solo.receive_vote(leads(3, 5, 1));
    for _ in 0..5 {
        assert_eq!(looks(&solo.connect_failed(2)), None);
    }
    assert_eq!(dials(&solo.after(20 * MS)), [] as [u64; 0]);
    // And a connection to another, asked for in an earlier phase, is closed.
    let link = LinkId(900);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(2), link }]), link));
    let own = solo.connected(3);
    let second = LinkId(901);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(3), link: second }]), second));
    assert_eq!(looks(&solo.connect_failed(3)), None, "a late failure, while a connection stands");
    assert_eq!(looks(&solo.step(vec![Event::Closed { link: second }])), None);
    assert!(looks(&solo.step(vec![Event::Closed { link: own }])).is_some());
}

#[test]
fn a_leader_is_given_up_when_it_is_silent_for_longer_than_the_election_timeout() {
    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    solo.after(ELECTION / 2);
    solo.receive(link, Message::Heartbeat { epoch: Epoch(5), id: 1, commit: 0 });
    assert_eq!(looks(&solo.after(ELECTION)), None);
    let said = solo.after(1);
    assert_eq!(looks(&said), Some("the leader is silent"));
    assert!(closes(&said, link));
}

#[test]
fn a_leader_without_an_ensemble_is_not_followed() {
    let mut solo = node(&[]);
    solo.receive_vote(leads(3, 5, 1));
    let link = solo.connected(3);
    let hello = Hello { expected: None, ensemble: None, ..solo.hello(3) };
    assert_eq!(
        looks(&solo.receive(link, Message::Hello(hello))),
        Some("the leader is not a member of an ensemble")
    );
}

#[test]
fn the_first_word_is_the_promise_when_every_write_is_done() {
    // Rule 11a.
    let mut disk = member(3, &[]);
    promise(&mut disk, 4, 2);
    let mut solo = Solo::new(1, 3, disk, Bounds::default());
    let (link, said) = greeted(&mut solo);
    let first = Message::FollowerEpoch { accepted: Epoch(4), config_version: 0 };
    assert_eq!(sent(&said, link), [first]);

    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100)]));
    solo.step(vec![Event::Closed { link }]);
    let (link, said) = greeted(&mut solo);
    assert_eq!(sent(&said, link), []);
    let first = Message::FollowerEpoch { accepted: Epoch(5), config_version: 0 };
    assert_eq!(sent(&solo.persist(), link), [first]);
}

#[test]
fn an_epoch_is_promised_once_and_to_one_leader() {
    // Rule 11: (promised epoch, to whom, asked for) and whether it is acknowledged.
    for (accepted, leader, asked, acknowledged) in
        [(4, 2, 5, true), (5, 3, 5, true), (5, 2, 5, false), (6, 3, 5, false), (6, 2, 5, false)]
    {
        let mut disk = member(3, &[]);
        promise(&mut disk, accepted, leader);
        let mut solo = Solo::new(1, 3, disk, Bounds::default());
        let (link, _) = greeted(&mut solo);
        let said = solo.receive(link, Message::NewEpoch(Epoch(asked)));
        if !acknowledged {
            let refusal = Message::RefuseEpoch { accepted: Epoch(accepted), leader: Some(NodeId(leader)) };
            assert_eq!(sent(&said, link), [refusal]);
            assert_eq!(looks(&said), Some("the epoch is promised to another leader"));
            continue;
        }
        let said = if accepted == asked {
            assert_eq!(hard_states(&said), [], "it stands already");
            said
        } else {
            let written = HardState {
                accepted_epoch: Epoch(asked),
                accepted_leader: Some(NodeId(3)),
                current_epoch: Epoch(0),
            };
            assert_eq!((hard_states(&said), sent(&said, link)), (vec![written], vec![]));
            solo.persist()
        };
        let account = Message::AckEpoch {
            epoch: Epoch(asked),
            current: Epoch(0),
            last: Zxid::ZERO,
            oldest: Zxid::ZERO,
            boundaries: Vec::new(),
        };
        assert_eq!(sent(&said, link), [account]);
        assert_eq!(solo.receive(link, Message::NewEpoch(Epoch(asked))), [], "said again, it is nothing new");
    }
}

#[test]
fn an_epoch_that_cannot_be_true_is_not_promised() {
    for (asked, believed) in [(4 + (1 << 32), true), (5 + (1 << 32), false), (Epoch::MAX.0 - 1, false)] {
        let mut disk = member(3, &[]);
        promise(&mut disk, 4, 2);
        let mut solo = Solo::new(1, 3, disk, Bounds::default());
        let (link, _) = greeted(&mut solo);
        let said = solo.receive(link, Message::NewEpoch(Epoch(asked)));
        assert_eq!(hard_states(&said).len(), usize::from(believed), "{asked}");
        assert_eq!(looks(&said).is_some(), !believed);
    }
    // Near the end of all epochs there is no room for the next one.
    for (asked, believed) in [(Epoch::MAX.0 - 2, true), (Epoch::MAX.0 - 1, false)] {
        let mut disk = member(3, &[]);
        promise(&mut disk, Epoch::MAX.0 - 9, 2);
        let mut solo = Solo::new(1, 3, disk, Bounds::default());
        let (link, _) = greeted(&mut solo);
        let said = solo.receive(link, Message::NewEpoch(Epoch(asked)));
        assert_eq!(hard_states(&said).len(), usize::from(believed), "{asked}");
    }
}

#[test]
fn the_newest_thousand_epochs_of_a_log_are_told() {
    // Deviation 7. The oldest one reported is the base of what is described.
    let account = |epochs: u64| {
        let log: Vec<(u64, u64)> = (1..=epochs).map(|epoch| (epoch, epoch)).collect();
        let mut solo = node(&log);
        let (link, _) = greeted_in(&mut solo, epochs + 1);
        solo.receive(link, Message::NewEpoch(Epoch(epochs + 1)));
        match sent(&solo.persist(), link).remove(0) {
            Message::AckEpoch { oldest, boundaries, .. } => (oldest, boundaries),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(account(3), (Zxid::ZERO, vec![zxid(1, 1), zxid(2, 2), zxid(3, 3)]));
    let (oldest, boundaries) = account(1_003);
    assert_eq!((oldest, boundaries.len()), (zxid(3, 3), 1_000));
    assert_eq!((boundaries[0], boundaries[999]), (zxid(4, 4), zxid(1_003, 1_003)));
}

#[test]
fn a_diff_goes_back_to_an_entry_of_this_log_that_nobody_has_applied() {
    let try_base = |applied: u64, base: Zxid| {
        let mut disk = member(3, &[(2, 3), (4, 5)]);
        disk.applied = applied;
        let mut solo = Solo::new(1, 3, disk, Bounds::default());
        let link = solo.acknowledged(3, 5);
        (solo.receive(link, Message::Diff { epoch: Epoch(5), base }), link)
    };
    for base in [zxid(3, 4), zxid(4, 6), zxid(2, 4)] {
        let (said, link) = try_base(0, base);
        assert_eq!(sent(&said, link), [Message::Refuse(Reason::NoCommonPoint)], "{base}");
        assert!(looks(&said).is_some());
    }
    let cut = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::Write { write: Write::Truncate(_), .. }))
    };
    let (said, _) = try_base(3, zxid(2, 3));
    assert!(cut(&said) && stops(&said).is_none(), "what is applied stays");
    let (said, _) = try_base(5, zxid(4, 5));
    assert!(!cut(&said) && stops(&said).is_none() && looks(&said).is_none(), "nothing to cut");
    let (said, _) = try_base(4, zxid(2, 3));
    assert!(stops(&said).is_some_and(|why| why.contains("histories diverged")));
}

#[test]
fn messages_of_another_epoch_or_out_of_their_order_are_not_taken() {
    let out_of_step = |said: &[Effect]| looks(said).is_some_and(|why| why.starts_with("unexpected "));
    // Before the Diff.
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert!(out_of_step(&solo.receive(link, Message::NewLeader { epoch: Epoch(5), last: Zxid::ZERO })));
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert!(out_of_step(&solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100)]))));
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert!(out_of_step(&solo.receive(link, Message::Diff { epoch: Epoch(4), base: Zxid::ZERO })));
    // While synchronising.
    for message in [
        Message::NewLeader { epoch: Epoch(4), last: Zxid::ZERO },
        Message::NewLeader { epoch: Epoch(5), last: zxid(5, 1) },
        Message::UpToDate { epoch: Epoch(5), commit: 0 },
    ] {
        let mut solo = node(&[]);
        let link = solo.acknowledged(3, 5);
        solo.receive(link, Message::Diff { epoch: Epoch(5), base: Zxid::ZERO });
        assert!(out_of_step(&solo.receive(link, message.clone())), "{message:?}");
    }
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    solo.receive(link, Message::Diff { epoch: Epoch(5), base: Zxid::ZERO });
    solo.receive(link, Message::NewLeader { epoch: Epoch(5), last: Zxid::ZERO });
    solo.persist();
    assert!(out_of_step(&solo.receive(link, Message::UpToDate { epoch: Epoch(4), commit: 0 })));
    // While serving, an older epoch's are dropped.
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
    // Rule 17. What is on this disk ends with (4, 3).
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
    for (message, taken) in cases {
        let mut solo = node(&[(4, 3)]);
        let link = solo.acknowledged(3, 5);
        solo.receive(link, Message::Diff { epoch: Epoch(5), base: previous });
        let said = solo.receive(link, message.clone());
        assert_eq!(appends(&said), usize::from(taken), "{message:?}");
        assert_eq!(
            looks(&said),
            (!taken).then_some("the leader's entries are not contiguous"),
            "{message:?}"
        );
    }
}

#[test]
fn an_entry_that_this_build_does_not_know_stops_the_node() {
    for (kind, level, known) in [
        (Kind::Command, LEVEL, true),
        (Kind::Command, LEVEL - 1, true),
        (Kind::Command, LEVEL + 1, false),
        (Kind::Membership, LEVEL, false),
        (Kind::Unknown(9), LEVEL, false),
    ] {
        let mut solo = node(&[]);
        let link = solo.serves(3, 5);
        let odd = LogEntry { kind, level, ..entry(5, 2, 100) };
        let said = solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100), odd]));
        let needs = format!("needs feature level {level}, this program supports level {LEVEL}");
        assert_eq!(stops(&said).is_none(), known);
        assert!(stops(&said).is_none_or(|why| why.contains("log entry (5, 2)") && why.contains(&needs)));
        assert_eq!(appends(&said), usize::from(known), "nothing of it is written");
    }
}

#[test]
fn history_becomes_durable_then_the_epoch_then_it_is_acknowledged() {
    // Rules 18 and 19; what comes between NewLeader and the acknowledgement counts if it is durable.
    let mut solo = node(&[(4, 1)]);
    let link = solo.acknowledged(3, 5);
    solo.receive(link, Message::Diff { epoch: Epoch(5), base: zxid(4, 1) });
    solo.receive(link, propose(5, zxid(4, 1), vec![entry(4, 2, 100)]));
    let said = solo.receive(link, Message::NewLeader { epoch: Epoch(5), last: zxid(4, 2) });
    assert_eq!((hard_states(&said), sent(&said, link)), (vec![], vec![]));
    let said = solo.persist();
    let claim = hard_states(&said);
    assert_eq!(claim.len(), 1);
    assert_eq!((claim[0].accepted_epoch, claim[0].current_epoch), (Epoch(5), Epoch(5)));
    let progress = Message::Progress { epoch: Epoch(5), last: zxid(4, 2) };
    assert_eq!(sent(&said, link), [progress], "an Ack would claim the epoch (rule 22)");
    // A proposal behind the claim is not durable when the claim is.
    solo.receive(link, propose(5, zxid(4, 2), vec![entry(5, 3, 100)]));
    let token = solo.disk.persist().expect("the claim");
    let said = solo.step(vec![Event::Persisted(token)]);
    assert_eq!(sent(&said, link), [Message::AckNewLeader { epoch: Epoch(5), last: zxid(4, 2) }]);
    assert_eq!(sent(&solo.persist(), link), [ack(5, zxid(5, 3))]);
    assert_eq!(solo.role(), Role::Following { leader: NodeId(3), established: None });
}

#[test]
fn one_acknowledgement_says_all_that_is_durable_and_nothing_twice() {
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
    let said = solo.receive(link, beat);
    assert_eq!(applies(&said), Some(3));
    assert_eq!(sent(&said, link), [Message::HeartbeatAck { epoch: Epoch(5), id: 4 }]);
}

#[test]
fn progress_is_told_while_synchronising_and_only_when_there_is_some() {
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert_eq!(solo.receive(link, Message::Diff { epoch: Epoch(5), base: Zxid::ZERO }), []);
    solo.receive(link, propose(5, Zxid::ZERO, vec![entry(4, 1, 100)]));
    assert_eq!(solo.after(MS), []);
    assert_eq!(sent(&solo.persist(), link), [Message::Progress { epoch: Epoch(5), last: zxid(4, 1) }]);
    assert_eq!(solo.after(MS), []);
}

#[test]
fn nothing_that_was_recovered_counts_as_committed() {
    // Rule 20.
    let mut disk = member(3, &[(4, 5)]);
    disk.applied = 2;
    let mut solo = Solo::new(1, 3, disk, Bounds::default());
    assert_eq!(solo.zab.commit(), 2);
    let link = solo.acknowledged(3, 5);
    solo.receive(link, Message::Diff { epoch: Epoch(5), base: zxid(4, 5) });
    solo.receive(link, Message::NewLeader { epoch: Epoch(5), last: zxid(4, 5) });
    solo.persist();
    let said = solo.receive(link, Message::UpToDate { epoch: Epoch(5), commit: 4 });
    assert_eq!(applies(&said), Some(4));
}

#[test]
fn a_restart_begins_with_what_was_durable() {
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
fn an_append_under_way_does_not_vouch_for_what_replaces_it() {
    // Rule 24: issued before a cut, durable after it.
    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    let entries = (1..=3).map(|counter| entry(5, counter, 100)).collect();
    solo.receive(link, propose(5, Zxid::ZERO, entries));
    let lost = solo.disk.pending.clone();
    solo.step(vec![Event::Closed { link }]);
    // Rule 11a makes a follower wait for its writes; so the cut comes behind the append.
    let (link, _) = greeted(&mut solo);
    assert_eq!(lost.len(), 1);
    let said = solo.persist();
    assert_eq!(sent(&said, link), [Message::FollowerEpoch { accepted: Epoch(5), config_version: 0 }]);
    solo.receive(link, Message::NewEpoch(Epoch(6)));
    solo.persist();
    solo.receive(link, Message::Diff { epoch: Epoch(6), base: zxid(5, 1) });
    assert_eq!(solo.zab.durable(), zxid(5, 1), "the mark falls at once");
    solo.receive(link, propose(6, zxid(5, 1), vec![entry(6, 2, 100), entry(6, 3, 100)]));
    let token = solo.disk.persist().expect("the cut");
    solo.step(vec![Event::Persisted(token)]);
    assert_eq!(solo.zab.durable(), zxid(5, 1));
    assert_eq!(
        solo.zab.recent(2).map(|entry| entry.zxid),
        Some(zxid(6, 2)),
        "nothing of the old tail is left"
    );
    assert_eq!(sent(&solo.persist(), link), [Message::Progress { epoch: Epoch(6), last: zxid(6, 3) }]);
}

#[test]
fn a_cut_takes_its_entries_from_memory_and_no_others() {
    let bounds = Bounds { tail_bytes: 300, ..Bounds::default() };
    let mut solo = Solo::new(1, 3, member(3, &[]), bounds);
    let link = solo.serves(3, 5);
    solo.receive(link, propose(5, Zxid::ZERO, (1..=3).map(|counter| entry(5, counter, 100)).collect()));
    solo.persist();
    solo.step(vec![Event::Closed { link }]);
    let (link, _) = greeted(&mut solo);
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
    assert_eq!(recent(&solo, 1), Some(zxid(5, 1)), "what was cut costs nothing any more");
    solo.receive(link, propose(6, zxid(6, 3), vec![entry(6, 4, 100)]));
    solo.persist();
    assert_eq!((recent(&solo, 1), recent(&solo, 2)), (None, Some(zxid(5, 2))));
}

#[test]
fn a_node_with_a_leader_tells_lookers_whom_it_follows() {
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
    assert_eq!(asked(&solo.receive_vote(leads(2, 4, 9))), [] as [u64; 0]);
    assert_eq!(solo.role(), Role::Following { leader: NodeId(3), established: Some(Epoch(5)) });
}

#[test]
fn requests_are_for_the_leader() {
    let payload = entry(1, 1, 100).payload;
    let mut solo = node(&[]);
    let link = solo.acknowledged(3, 5);
    assert_eq!(solo.step(vec![Event::RelayToLeader(payload.clone())]), [], "it does not serve yet");
    assert_eq!(solo.receive(link, Message::Relay(payload.clone())), []);
    let mut solo = node(&[]);
    let link = solo.serves(3, 5);
    let said = solo.step(vec![Event::RelayToLeader(payload.clone())]);
    assert_eq!(sent(&said, link), [Message::Relay(payload.clone())]);
    let said = solo.receive(link, Message::Relay(payload.clone()));
    assert_eq!(said, [Effect::Relayed { link, payload: payload.clone() }]);
    for mut solo in [node(&[]), {
        let mut solo = node(&[]);
        solo.serves(3, 5);
        solo
    }] {
        let said = solo.propose(7, 100);
        assert_eq!(said, [Effect::Rejected { id: 7, why: Rejection::NotLeader }]);
        assert_eq!(solo.step(vec![Event::Barrier { id: 8 }]), [Effect::BarrierFailed { id: 8 }]);
    }
}

#[test]
fn a_follower_refuses_followers_of_its_own_and_answers_nothing_else() {
    let mut solo = node(&[]);
    let own = solo.serves(3, 5);
    let link = solo.accept(2);
    let said = solo.receive(link, Message::FollowerEpoch { accepted: Epoch(0), config_version: 0 });
    assert!(refuses(&said, link, Reason::NotLeading));
    let link = solo.accept(2);
    let said = solo.receive(link, propose(5, Zxid::ZERO, vec![entry(5, 1, 100)]));
    assert!(closes(&said, link) && sent(&said, link).is_empty() && appends(&said) == 0);
    assert_eq!(looks(&said), None);
    // One that arrived while it was looking is reported now.
    let mut solo = node(&[]);
    let early = solo.accept(2);
    solo.receive(early, Message::FollowerEpoch { accepted: Epoch(0), config_version: 0 });
    assert!(refuses(&solo.receive_vote(leads(3, 5, 1)), early, Reason::NotLeading));
    let _ = own;
}

#[test]
fn what_this_node_is_can_be_asked() {
    let mut solo = node(&[(4, 2)]);
    assert_eq!((solo.zab.current_epoch(), solo.zab.last(), solo.zab.commit()), (Epoch(4), zxid(4, 2), 0));
    assert_eq!(solo.zab.ensemble(), Some(super::solo::HOME));
    assert_eq!(solo.zab.configuration().voters().len(), 3);
    assert!(solo.zab.votes() && solo.zab.followers().is_empty());
    solo.serves(3, 5);
    assert_eq!((solo.zab.current_epoch(), solo.zab.commit()), (Epoch(5), 2));
    assert_ne!(solo.zab.allocate_read(), solo.zab.allocate_read());
}
