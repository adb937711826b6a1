//! A node that looks for a leader: which votes count, how long it waits, how often it sends its vote.

use gometa_zab::{
    Bounds, Candidate, EnsembleId, Epoch, Incarnation, Message, NodeId, Notice, Role, Vote, VoteState, Zxid,
};

use super::solo::{
    ELECTION, HOME, MS, Solo, dials, leads, looking, member, promise, rounds, vote, vote_receivers, votes,
    zxid,
};

fn node() -> Solo {
    Solo::new(3, 3, member(3, &[]), Bounds::default())
}

fn one_of_five() -> Solo {
    Solo::new(3, 5, member(5, &[]), Bounds::default())
}

/// The first round of the node.
fn round(solo: &Solo) -> u64 {
    rounds(&solo.first)[0]
}

/// The candidates of the votes sent.
fn voted_for(effects: &[gometa_zab::Effect]) -> Vec<u64> {
    votes(effects).iter().map(|(_, vote)| vote.candidate.node.0).collect()
}

#[test]
fn a_vote_is_sent_again_after_a_wait_that_doubles_with_jitter() {
    // Rule 3: from 20 ms to half an election timeout, plus at most a quarter of jitter.
    let mut solo = node();
    assert_eq!(vote_receivers(&solo.first), [1, 2]);
    let mut gaps = Vec::new();
    let mut gap = 0;
    while gaps.len() < 12 {
        gap += 1;
        let effects = solo.after(MS / 4);
        if !vote_receivers(&effects).is_empty() {
            assert_eq!(vote_receivers(&effects), [1, 2]);
            gaps.push(gap * MS / 4);
            gap = 0;
        }
    }
    let mut expected = 20 * MS;
    for gap in &gaps {
        assert!((expected..=expected * 5 / 4 + MS / 4).contains(gap), "{gap} of {gaps:?}");
        expected = (expected * 2).min(ELECTION / 2);
    }
    let late = &gaps[5..];
    assert!(late.iter().any(|gap| gap != &late[0]), "not all of {late:?} are equal");
    assert!(late.iter().any(|gap| *gap > ELECTION / 2 + 10 * MS), "there is jitter: {late:?}");
}

#[test]
fn a_round_with_the_votes_of_all_voters_ends_at_once() {
    let mut solo = node();
    let round = round(&solo);
    solo.receive_vote(vote(1, 3, round));
    assert_eq!(solo.role(), Role::Looking, "a quorum; the third may have a better vote");
    let effects = solo.receive_vote(vote(2, 1, round));
    assert_eq!(solo.role(), Role::Leading { established: None });
    assert!(effects.iter().any(|effect| {
        matches!(effect, gometa_zab::Effect::Notice(Notice::Elected { leader: NodeId(3), .. }))
    }));
}

#[test]
fn a_quorum_waits_briefly_for_a_better_vote() {
    // Rule 5: 25 ms.
    let mut solo = node();
    let round = round(&solo);
    solo.after(MS);
    solo.receive_vote(vote(1, 3, round));
    solo.after(25 * MS - 1);
    assert_eq!(solo.role(), Role::Looking);
    solo.after(1);
    assert_eq!(solo.role(), Role::Leading { established: None });
}

#[test]
fn a_strictly_better_vote_restarts_the_wait_and_an_equal_one_does_not() {
    let mut solo = one_of_five();
    let round = round(&solo);
    solo.receive_vote(vote(1, 4, round));
    assert_eq!(voted_for(&solo.receive_vote(vote(2, 4, round))), [] as [u64; 0], "sent once");
    solo.after(20 * MS);
    let better = Vote {
        candidate: Candidate { last: zxid(1, 1), ..vote(5, 5, round).candidate },
        ..vote(5, 5, round)
    };
    assert_eq!(voted_for(&solo.receive_vote(better.clone())), [5; 4]);
    assert_eq!(voted_for(&solo.receive_vote(better.clone())), [] as [u64; 0]);
    solo.receive_vote(Vote { sender: NodeId(1), incarnation: Incarnation(1), ..better.clone() });
    solo.after(20 * MS);
    assert_eq!(solo.role(), Role::Looking);
    solo.after(5 * MS);
    assert_eq!(solo.role(), Role::Following { leader: NodeId(5), established: None });
}

#[test]
fn a_lost_quorum_restarts_the_wait() {
    let mut solo = one_of_five();
    let round = round(&solo);
    solo.receive_vote(vote(1, 3, round));
    solo.receive_vote(vote(2, 3, round));
    solo.after(20 * MS);
    solo.receive_vote(vote(2, 2, round));
    solo.after(4 * MS);
    solo.receive_vote(vote(4, 3, round));
    solo.after(24 * MS);
    assert_eq!(solo.role(), Role::Looking);
    solo.after(MS);
    assert_eq!(solo.role(), Role::Leading { established: None });
}

#[test]
fn a_later_round_is_adopted_and_earlier_votes_are_discarded() {
    // Rule 4.
    let mut solo = one_of_five();
    let round = round(&solo);
    solo.receive_vote(vote(1, 3, round));
    solo.after(600 * MS);
    let effects = solo.receive_vote(vote(2, 3, round + 3));
    assert_eq!(rounds(&effects), [round + 3; 4]);
    assert!(!vote_receivers(&solo.after(25 * MS)).is_empty(), "it sends votes as often as in a first round");
    solo.after(30 * MS);
    assert_eq!(solo.role(), Role::Looking, "the vote of the older round is not counted");
    solo.receive_vote(vote(1, 3, round + 3));
    solo.after(30 * MS);
    assert_eq!(solo.role(), Role::Leading { established: None });
}

#[test]
fn an_earlier_round_is_answered_and_not_counted() {
    let mut solo = node();
    let round = round(&solo);
    solo.receive_vote(vote(1, 1, round + 5));
    let effects = solo.receive_vote(vote(2, 3, round));
    assert_eq!(
        votes(&effects).iter().map(|(to, vote)| (*to, vote.round.0)).collect::<Vec<_>>(),
        [(2, round + 5)]
    );
    solo.after(30 * MS);
    assert_eq!(solo.role(), Role::Looking);
    let settled = Vote { state: VoteState::Following, ..vote(2, 1, round) };
    assert_eq!(
        vote_receivers(&solo.receive_vote(settled)),
        [] as [u64; 0],
        "a node that does not look is not answered"
    );
}

#[test]
fn candidates_are_preferred_by_epoch_then_last_then_id() {
    // Rule 2. The epoch is the current epoch, not that of the last entry.
    let mut disk = member(3, &[(4, 3)]);
    promise(&mut disk, 9, 1);
    let mut solo = Solo::new(2, 3, disk, Bounds::default());
    let own = Candidate { epoch: Epoch(4), last: zxid(4, 3), node: NodeId(2) };
    assert!(votes(&solo.first).iter().all(|(_, vote)| vote.candidate == own), "never the promise");
    let round = round(&solo);
    let cases = [
        (4, zxid(4, 3), 1, false),
        (4, zxid(4, 2), 3, false),
        (3, zxid(4, 9), 3, false),
        (3, zxid(9, 1), 3, false),
        (4, zxid(4, 3), 3, true),
        (4, zxid(4, 4), 1, true),
        (5, zxid(4, 1), 1, true),
    ];
    for (epoch, last, candidate, better) in cases {
        let candidate = Candidate { epoch: Epoch(epoch), last, node: NodeId(candidate) };
        let sender = candidate.node.0;
        let effects = solo.receive_vote(Vote { candidate, ..vote(sender, sender, round) });
        assert_eq!(!voted_for(&effects).is_empty(), better, "{candidate:?}");
    }
}

#[test]
fn claims_of_other_nodes_about_this_nodes_history_are_ignored() {
    let mut solo = node();
    let round = round(&solo);
    let candidate = Candidate { epoch: Epoch(9), last: zxid(9, 9), node: NodeId(3) };
    let effects = solo.receive_vote(Vote { candidate, ..vote(1, 3, round) });
    assert_eq!(vote_receivers(&effects), [] as [u64; 0]);
    let effects = solo.receive_vote(Vote { candidate, ..vote(2, 3, round + 1) });
    assert!(votes(&effects).iter().all(|(_, vote)| vote.candidate.epoch == Epoch(0)));
}

#[test]
fn an_established_leader_is_followed_on_its_own_vote_only() {
    // Rule 6.
    let round = 9;
    let own = leads(1, 4, round);
    let cases = [
        (Vote { state: VoteState::Following, ..own.clone() }, false),
        (
            Vote {
                sender: NodeId(2),
                incarnation: Incarnation(2),
                state: VoteState::Following,
                ..own.clone()
            },
            false,
        ),
        (Vote { sender: NodeId(2), incarnation: Incarnation(2), ..own.clone() }, false),
        (Vote { incarnation: Incarnation(99), ..own.clone() }, false),
        (own.clone(), true),
    ];
    for (vote, followed) in cases {
        let mut solo = node();
        let effects = solo.receive_vote(vote.clone());
        assert_eq!(dials(&effects), if followed { vec![1] } else { vec![] }, "{vote:?}");
    }
}

#[test]
fn votes_of_seeking_nodes_are_not_counted() {
    let mut solo = node();
    let round = round(&solo);
    solo.receive_vote(Vote { state: VoteState::Seeking, ..vote(1, 3, round) });
    solo.receive_vote(Vote { incarnation: Incarnation(99), ..vote(2, 3, round) });
    solo.after(100 * MS);
    assert_eq!(solo.role(), Role::Looking);
}

#[test]
fn a_node_without_a_vote_sends_votes_and_elects_no_leader() {
    let mut disk = member(3, &[]);
    if let Some(founding) = &mut disk.founding {
        founding.genesis.voters[2].incarnation = Some(Incarnation(99));
    }
    let mut solo = Solo::new(3, 3, disk, Bounds::default());
    assert!(votes(&solo.first).iter().all(|(_, vote)| vote.state == VoteState::Seeking));
    assert!(!solo.zab.votes());
    let round = round(&solo);
    solo.receive_vote(vote(1, 2, round));
    solo.receive_vote(vote(2, 2, round));
    solo.after(100 * MS);
    assert_eq!(solo.role(), Role::Looking);
    assert_eq!(dials(&solo.receive_vote(leads(2, 1, round))), [2]);
}

#[test]
fn a_looking_node_with_an_earlier_history_is_told_of_this_one() {
    let of =
        |history, state| Vote { ensemble: Some(EnsembleId { history, ..HOME }), state, ..vote(1, 1, 50) };
    let earlier = HOME.history - 1;
    for (vote, receivers) in [
        (of(earlier, VoteState::Looking), vec![1]),
        (of(earlier, VoteState::Seeking), vec![1]),
        (of(earlier, VoteState::Leading), vec![]),
        (of(HOME.history + 1, VoteState::Looking), vec![]),
        (Vote { ensemble: Some(EnsembleId { id: 8, history: earlier }), ..vote(1, 1, 50) }, vec![]),
    ] {
        assert_eq!(vote_receivers(&node().receive_vote(vote.clone())), receivers, "{vote:?}");
    }
}

#[test]
fn a_datagram_is_processed_only_if_it_is_of_this_ensemble_and_names_its_members() {
    // Rule 7.
    let other = Some(EnsembleId { id: 8, history: 1 });
    let next = Some(EnsembleId { history: 2, ..HOME });
    let good = vote(1, 1, 50);
    let cases = [
        (Vote { ensemble: None, ..good.clone() }, 0),
        (Vote { ensemble: other, ..good.clone() }, 1),
        (Vote { ensemble: next, ..good.clone() }, 1),
        (Vote { ensemble: other, sender: NodeId(7), ..good.clone() }, 0),
        (Vote { ensemble: other, sender: NodeId(3), ..good.clone() }, 0),
        (Vote { sender: NodeId(3), incarnation: Incarnation(3), ..good.clone() }, 0),
        (Vote { sender: NodeId(7), incarnation: Incarnation(7), ..good.clone() }, 0),
        (Vote { candidate: Candidate { node: NodeId(7), ..good.candidate }, ..good.clone() }, 0),
    ];
    for (vote, reported) in cases {
        let mut solo = node();
        let notices = |effects: &[gometa_zab::Effect]| {
            let foreign = |effect: &&gometa_zab::Effect| {
                matches!(effect, gometa_zab::Effect::Notice(Notice::OtherEnsemble { .. }))
            };
            effects.iter().filter(foreign).count()
        };
        let effects = solo.receive_vote(vote.clone());
        assert_eq!((vote_receivers(&effects).len(), notices(&effects)), (0, reported), "{vote:?}");
        assert_eq!(notices(&solo.receive_vote(vote)), 0, "reported once");
        assert!(
            !vote_receivers(&solo.receive_vote(good.clone())).is_empty(),
            "valid votes of that member still count"
        );
    }
}

#[test]
fn an_old_datagram_is_dropped_and_a_restart_begins_a_new_sequence() {
    let accepts = |solo: &mut Solo, boot: u64, sequence: u64, round: u64, unrecorded: bool| {
        let incarnation = Incarnation(if unrecorded { 99 } else { 1 });
        let vote = Vote { boot, sequence, incarnation, ..vote(1, 1, round) };
        !vote_receivers(&solo.step(vec![gometa_zab::Event::Datagram(vote)])).is_empty()
    };
    let mut solo = node();
    assert!(accepts(&mut solo, 5, 10, 50, false));
    assert!(!accepts(&mut solo, 5, 10, 51, false), "repeated");
    assert!(!accepts(&mut solo, 5, 9, 51, false), "an earlier sequence number");
    assert!(!accepts(&mut solo, 4, 99, 51, false), "an earlier boot count");
    assert!(accepts(&mut solo, 5, 11, 51, false));
    assert!(accepts(&mut solo, 6, 1, 52, false), "a new boot starts at 1");
    // Datagrams of the same id with another incarnation do not affect it.
    accepts(&mut solo, 1 << 40, 1 << 40, 53, true);
    assert!(accepts(&mut solo, 6, 2, 54, false));
}

#[test]
fn a_candidate_that_fails_three_times_is_excluded_for_two_election_timeouts() {
    // Rule 8.
    let mut solo = node();
    let attempt = |solo: &mut Solo| {
        assert_eq!(dials(&solo.receive_vote(leads(1, 4, 1))), [1]);
        solo.connect_failed(1);
        solo.after(20 * MS);
        solo.connect_failed(1);
        solo.after(20 * MS);
        assert_eq!(looking(&solo.connect_failed(1)), Some("the leader is unreachable"));
    };
    attempt(&mut solo);
    attempt(&mut solo);
    attempt(&mut solo);
    assert_eq!(dials(&solo.receive_vote(leads(1, 4, 1))), [] as [u64; 0]);
    // No vote is cast for it although it is the best candidate; its own votes still count.
    let round = rounds(&solo.after(ELECTION))[0];
    let best = Vote {
        candidate: Candidate { last: zxid(4, 1), ..vote(1, 1, round).candidate },
        ..vote(1, 1, round)
    };
    assert_eq!(voted_for(&solo.receive_vote(best.clone())), [] as [u64; 0]);
    let later = Vote { round: gometa_zab::Round(round + 1), ..best.clone() };
    assert_eq!(voted_for(&solo.receive_vote(later)), [3, 3]);
    assert_eq!(dials(&solo.after(ELECTION - 1)), [] as [u64; 0]);
    assert_eq!(dials(&solo.receive_vote(leads(1, 4, 1))), [] as [u64; 0]);
    solo.after(1);
    assert_eq!(dials(&solo.receive_vote(leads(1, 4, 1))), [1], "no longer excluded");
    // Three more failures are needed to exclude it again.
    solo.connect_failed(1);
    solo.after(20 * MS);
    solo.connect_failed(1);
    solo.after(20 * MS);
    solo.connect_failed(1);
    assert_eq!(dials(&solo.receive_vote(leads(1, 4, 1))), [1]);
}

#[test]
fn the_failures_of_a_candidate_are_reset_when_it_was_followed() {
    let mut solo = node();
    for _ in 0..2 {
        solo.receive_vote(leads(1, 4, 1));
        for _ in 0..3 {
            solo.connect_failed(1);
            solo.after(20 * MS);
        }
    }
    let link = solo.serves(1, 4);
    assert!(looking(&solo.step(vec![gometa_zab::Event::Closed { link }])).is_some());
    for _ in 0..2 {
        assert_eq!(dials(&solo.receive_vote(leads(1, 4, 1))), [1]);
        for _ in 0..3 {
            solo.connect_failed(1);
            solo.after(20 * MS);
        }
    }
    assert_eq!(dials(&solo.receive_vote(leads(1, 4, 1))), [1]);
}

#[test]
fn a_leader_that_answers_not_leading_is_not_counted_as_failed() {
    let mut solo = node();
    for _ in 0..5 {
        assert_eq!(dials(&solo.receive_vote(leads(1, 4, 1))), [1]);
        let link = solo.connected(1);
        solo.receive(link, Message::Hello(gometa_zab::Hello { expected: None, ..solo.hello(1) }));
        let effects = solo.receive(link, Message::Refuse(gometa_zab::Reason::NotLeading));
        assert_eq!(looking(&effects), Some("the chosen leader does not lead"));
    }
}

#[test]
fn an_entry_that_becomes_durable_while_looking_is_in_the_next_vote() {
    // Rule 2: durable values only, and the latest of them.
    let mut solo = node();
    let link = solo.serves(1, 1);
    let entries = vec![super::solo::entry(1, 1, 100)];
    solo.receive(link, Message::Propose { epoch: Epoch(1), previous: Zxid::ZERO, entries, commit: 0 });
    let effects = solo.step(vec![gometa_zab::Event::Closed { link }]);
    let last_in_vote = |effects: &[gometa_zab::Effect]| votes(effects)[0].1.candidate.last;
    assert_eq!(last_in_vote(&effects), Zxid::ZERO);
    solo.persist();
    assert_eq!(last_in_vote(&solo.after(25 * MS)), zxid(1, 1));
}

#[test]
fn a_distant_round_is_approached_in_steps_and_its_vote_counts() {
    // Rule 7.
    let bounds = Bounds { round_jump_max: 100, ..Bounds::default() };
    let mut solo = Solo::new(3, 3, member(3, &[]), bounds);
    let round = round(&solo);
    let effects = solo.receive_vote(vote(1, 3, 1 << 40));
    assert_eq!(rounds(&effects), [round + 100; 2]);
    solo.after(25 * MS);
    assert_eq!(solo.role(), Role::Leading { established: None });
    // A leader's round is adopted in the same way.
    let mut solo = Solo::new(3, 3, member(3, &[]), bounds);
    let link = {
        solo.receive_vote(leads(1, 4, 1 << 40));
        solo.connected(1)
    };
    assert_eq!(rounds(&solo.step(vec![gometa_zab::Event::Closed { link }]))[0], round + 101);
}
