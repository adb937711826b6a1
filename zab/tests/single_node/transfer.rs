//! Leadership transfer: what the leader waits for, when it takes the transfer back, and what a HANDOFF does (section 6.10).

use gometa_zab::{
    Addresses, Bounds, Change, ChangeRejection, DesiredRole, DiskSpace, Effect, Epoch, Event, Incarnation,
    Learner, LinkId, Message, NodeId, Notice, Reason, Rejection, Role, StateReport, TransferRejection,
    VoteState, Zxid,
};

use super::solo::{ELECTION, MS, Solo, closes, dials, looking, member, sent, vote, votes, zxid};

/// Node 3 of three, established with nodes 1 and 2.
fn leader() -> (Solo, Vec<LinkId>) {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let links = solo.established(&[1, 2]);
    (solo, links)
}

fn request(solo: &mut Solo, to: Option<u64>) -> Vec<Effect> {
    solo.step(vec![Event::TransferLeadership { to: to.map(NodeId) }])
}

fn ack(solo: &mut Solo, link: LinkId, counter: u64) -> Vec<Effect> {
    let epoch = solo.epoch();
    solo.receive(link, Message::Ack { epoch, last: Zxid { epoch, counter } })
}

/// The target of the HANDOFF on this connection.
fn handoff(effects: &[Effect], link: LinkId) -> Option<u64> {
    sent(effects, link).iter().find_map(|message| match message {
        Message::Handoff { target, .. } => Some(target.0),
        _ => None,
    })
}

fn rejected(effects: &[Effect]) -> Option<TransferRejection> {
    effects.iter().find_map(|effect| match effect {
        Effect::Notice(Notice::TransferRejected { why, .. }) => Some(*why),
        _ => None,
    })
}

fn taken_back(effects: &[Effect]) -> Option<&'static str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Notice(Notice::TransferTakenBack { why }) => Some(*why),
        _ => None,
    })
}

/// The ids of the proposals accepted, in order.
fn proposed(effects: &[Effect]) -> Vec<u64> {
    let id = |effect: &Effect| match effect {
        Effect::Proposed { id, .. } => Some(*id),
        _ => None,
    };
    effects.iter().filter_map(id).collect()
}

fn refused(effects: &[Effect]) -> Vec<u64> {
    let id = |effect: &Effect| match effect {
        Effect::Rejected { id, why: Rejection::NotLeader } => Some(*id),
        _ => None,
    };
    effects.iter().filter_map(id).collect()
}

#[test]
fn a_leader_hands_over_when_the_target_has_everything_and_everything_is_committed() {
    let (mut solo, links) = leader();
    let epoch = solo.epoch();
    assert_eq!(proposed(&solo.propose(1, 100)), [1]);
    let effects = request(&mut solo, Some(1));
    assert_eq!((rejected(&effects), handoff(&effects, links[0])), (None, None));
    assert_eq!(proposed(&solo.propose(2, 100)), [], "it waits");
    solo.persist();
    let effects = ack(&mut solo, links[1], 1);
    assert_eq!(handoff(&effects, links[0]), None, "committed, but not on the target");
    assert_eq!(solo.role(), Role::Leading { established: Some(epoch) });
    let effects = ack(&mut solo, links[0], 1);
    for link in &links {
        assert_eq!(handoff(&effects, *link), Some(1));
        assert!(closes(&effects, *link));
    }
    assert_eq!(refused(&effects), [2], "another leader may propose it");
    assert_eq!(solo.role(), Role::Following { leader: NodeId(1), established: None });
    assert_eq!((dials(&effects), votes(&effects)), (vec![1], vec![]), "without an election");
}

#[test]
fn the_best_target_is_the_one_that_has_acknowledged_most() {
    let (mut solo, links) = leader();
    solo.propose(1, 100);
    solo.persist();
    ack(&mut solo, links[0], 1);
    let effects = request(&mut solo, None);
    assert_eq!((handoff(&effects, links[0]), handoff(&effects, links[1])), (Some(1), Some(1)));
}

#[test]
fn a_transfer_that_takes_an_election_timeout_is_taken_back_and_what_waited_is_proposed_in_order() {
    let (mut solo, links) = leader();
    solo.propose(1, 100);
    solo.persist();
    request(&mut solo, Some(1));
    for id in 2..=4 {
        assert_eq!(proposed(&solo.propose(id, 100)), []);
    }
    let epoch = solo.epoch();
    for _ in 0..9 {
        let effects = solo.after(ELECTION / 10);
        assert_eq!(taken_back(&effects), None);
        for link in &links {
            solo.receive(*link, Message::Alive { write_latency: 0 });
        }
    }
    ack(&mut solo, links[1], 1);
    let effects = solo.after(ELECTION / 10);
    assert_eq!(taken_back(&effects), Some("it takes too long"));
    assert_eq!(proposed(&effects), [2, 3, 4]);
    assert_eq!(solo.zab.last(), Zxid { epoch, counter: 4 });
    assert_eq!(proposed(&solo.propose(5, 100)), [5], "and later ones at once");
    let effects = ack(&mut solo, links[0], 4);
    assert_eq!(handoff(&effects, links[0]), None, "the transfer is over");
}

#[test]
fn a_proposal_that_may_not_wait_is_rejected_during_a_transfer() {
    let (mut solo, _) = leader();
    solo.propose(1, 100);
    request(&mut solo, Some(1));
    let payload = super::solo::entry(1, 1, 100).payload;
    let effects =
        solo.step(vec![Event::Propose { id: 2, payload, level: gometa_zab::FIRST_LEVEL, may_wait: false }]);
    assert_eq!((refused(&effects), proposed(&effects)), (vec![2], vec![]));
}

#[test]
fn a_transfer_to_a_node_that_is_lost_is_taken_back_at_once() {
    let (mut solo, links) = leader();
    solo.propose(1, 100);
    request(&mut solo, Some(1));
    solo.propose(2, 100);
    let effects = solo.step(vec![Event::Closed { link: links[0] }]);
    assert_eq!(taken_back(&effects), Some("no suitable voter is connected"));
    assert_eq!(proposed(&effects), [2]);
}

#[test]
fn without_a_requested_target_another_voter_takes_over_from_one_that_is_lost() {
    let (mut solo, links) = leader();
    solo.propose(1, 100);
    solo.persist();
    request(&mut solo, None);
    let effects = solo.step(vec![Event::Closed { link: links[1] }]);
    assert_eq!(taken_back(&effects), None);
    assert_eq!(handoff(&ack(&mut solo, links[0], 1), links[0]), Some(1));
}

#[test]
fn a_leader_that_loses_its_quorum_during_a_transfer_rejects_what_waits() {
    let (mut solo, _) = leader();
    solo.propose(1, 100);
    solo.after(ELECTION / 2);
    request(&mut solo, Some(1));
    solo.propose(2, 100);
    let effects = solo.after(ELECTION / 2 + MS);
    assert_eq!(looking(&effects), Some("no quorum of followers is reachable"));
    assert_eq!((refused(&effects), proposed(&effects)), (vec![2], vec![]));
}

#[test]
fn a_target_is_an_up_to_date_voter_with_ample_disk_space_and_without_a_fault() {
    let (mut solo, links) = leader();
    let epoch = solo.epoch();
    for to in [3, 4] {
        assert_eq!(rejected(&request(&mut solo, Some(to))), Some(TransferRejection::NoTarget));
    }
    for (space, damaged) in [(DiskSpace::Low, false), (DiskSpace::Ample, true)] {
        let state = StateReport { damaged, ..StateReport::default() };
        solo.receive(links[0], Message::HeartbeatAck { epoch, id: 0, space, state });
        assert_eq!(rejected(&request(&mut solo, Some(1))), Some(TransferRejection::NoTarget));
    }
    let effects = request(&mut solo, None);
    assert_eq!(handoff(&effects, links[1]), Some(2));
}

#[test]
fn a_second_transfer_to_another_target_is_rejected() {
    let (mut solo, _) = leader();
    solo.propose(1, 100);
    request(&mut solo, Some(1));
    assert_eq!(rejected(&request(&mut solo, Some(2))), Some(TransferRejection::UnderWay));
    assert_eq!(request(&mut solo, Some(1)), [], "the same one");
    assert_eq!(request(&mut solo, None), []);
}

#[test]
fn a_change_is_committed_before_the_transfer_and_none_is_proposed_during_it() {
    let (mut solo, links) = leader();
    let change = |node| {
        Change::AddLearner(Learner {
            node: NodeId(node),
            incarnation: Incarnation(u128::from(node)),
            addresses: Addresses::default(),
            desired: DesiredRole::Voter,
        })
    };
    solo.step(vec![Event::ChangeConfiguration { id: 1, change: change(4), asked_by: None }]);
    solo.persist();
    request(&mut solo, Some(1));
    let effects = solo.step(vec![Event::ChangeConfiguration { id: 2, change: change(5), asked_by: None }]);
    let result = Err(ChangeRejection::Transferring);
    assert!(effects.contains(&Effect::ChangeDecided { id: 2, result }));
    let effects = ack(&mut solo, links[0], 1);
    assert_eq!(handoff(&effects, links[0]), Some(1));
}

#[test]
fn a_transfer_to_a_voter_whose_vote_is_taken_away_is_rejected() {
    let (mut solo, links) = leader();
    solo.step(vec![Event::ChangeConfiguration {
        id: 1,
        change: Change::RemoveVoter(NodeId(1)),
        asked_by: None,
    }]);
    solo.persist();
    assert_eq!(rejected(&request(&mut solo, Some(1))), Some(TransferRejection::NoTarget));
    request(&mut solo, None);
    assert_eq!(handoff(&ack(&mut solo, links[1], 1), links[1]), Some(2));
}

#[test]
fn nodes_that_do_not_lead_and_single_nodes_reject_a_transfer() {
    let mut solo = Solo::new(1, 1, member(1, &[]), Bounds::default());
    solo.persist();
    solo.persist();
    assert_eq!(solo.role(), Role::Leading { established: Some(solo.epoch()) });
    assert_eq!(rejected(&request(&mut solo, None)), Some(TransferRejection::NoTarget));
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    assert_eq!(rejected(&request(&mut solo, None)), Some(TransferRejection::NotLeader));
    solo.serves(3, 5);
    assert_eq!(rejected(&request(&mut solo, None)), Some(TransferRejection::NotLeader));
}

fn handed(epoch: u64, target: u64) -> Message {
    Message::Handoff { epoch: Epoch(epoch), target: NodeId(target), last: Zxid::ZERO }
}

/// Node 1 of three, which serves node 3.
fn follower() -> (Solo, LinkId) {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    let link = solo.serves(3, 5);
    (solo, link)
}

#[test]
fn the_target_of_a_handoff_leads_without_an_election() {
    let (mut solo, link) = follower();
    let early = solo.accept(2);
    let effects = solo.receive(link, handed(5, 1));
    assert_eq!(solo.role(), Role::Leading { established: None });
    assert!(closes(&effects, link) && !closes(&effects, early));
    assert!(votes(&effects).iter().all(|(_, vote)| vote.state == VoteState::Leading));
}

#[test]
fn the_target_gives_up_when_a_quorum_looks_in_a_later_round() {
    let (mut solo, link) = follower();
    let effects = solo.receive(link, handed(5, 1));
    let round = votes(&effects)[0].1.round.0;
    solo.receive_vote(vote(2, 2, round + 1));
    assert_eq!(solo.role(), Role::Leading { established: None });
    let effects = solo.receive_vote(vote(3, 3, round + 1));
    assert_eq!(looking(&effects), Some("its supporters look for another leader"));
}

#[test]
fn the_others_follow_the_target_without_an_election() {
    let (mut solo, link) = follower();
    let effects = solo.receive(link, handed(5, 2));
    assert!(closes(&effects, link));
    assert_eq!((dials(&effects), votes(&effects)), (vec![2], vec![]));
    assert_eq!(solo.role(), Role::Following { leader: NodeId(2), established: None });
}

#[test]
fn a_target_that_does_not_lead_yet_is_dialled_again_three_times() {
    let (mut solo, link) = follower();
    solo.receive(link, handed(5, 2));
    for _ in 0..3 {
        let link = solo.connected(2);
        let effects = solo.receive(link, Message::Refuse(Reason::NotLeading));
        assert!(closes(&effects, link));
        assert_eq!(solo.role(), Role::Following { leader: NodeId(2), established: None });
        assert_eq!(dials(&solo.after(20 * MS)), [2]);
    }
    let link = solo.connected(2);
    let effects = solo.receive(link, Message::Refuse(Reason::NotLeading));
    assert_eq!(looking(&effects), Some("the chosen leader does not lead"));
}

#[test]
fn a_target_that_is_dead_or_silent_is_given_up() {
    let (mut solo, link) = follower();
    solo.receive(link, handed(5, 2));
    for attempt in 1..=3 {
        let effects = solo.connect_failed(2);
        assert_eq!(looking(&effects).is_some(), attempt == 3);
        solo.after(20 * MS);
    }
    let (mut solo, link) = follower();
    solo.receive(link, handed(5, 2));
    let effects = solo.after(ELECTION + MS);
    assert_eq!(looking(&effects), Some("the leader is silent"));
}

#[test]
fn a_handoff_counts_only_on_the_connection_to_the_leader_in_its_epoch_and_once() {
    let (mut solo, link) = follower();
    for epoch in [4, 6] {
        assert_eq!(solo.receive(link, handed(epoch, 1)), []);
    }
    let other = solo.accept(2);
    solo.receive(other, handed(5, 2));
    assert_eq!(solo.role(), Role::Following { leader: NodeId(3), established: Some(Epoch(5)) });
    solo.receive(link, handed(5, 1));
    assert_eq!(solo.role(), Role::Leading { established: None });
    assert_eq!(solo.receive(link, handed(5, 2)), [], "the connection is closed");
    // On a new connection it is no message that a looking node expects.
    let late = solo.accept(2);
    assert!(closes(&solo.receive(late, handed(5, 2)), late));
    let (mut solo, links) = leader();
    let epoch = solo.epoch();
    let late = Message::Handoff { epoch, target: NodeId(1), last: Zxid::ZERO };
    assert!(closes(&solo.receive(links[0], late), links[0]), "a leader drops who sends it");
    assert_eq!(solo.role(), Role::Leading { established: Some(epoch) });
}

#[test]
fn after_a_handoff_to_an_unknown_node_or_with_another_history_nodes_elect() {
    let unknown = Message::Handoff { epoch: Epoch(5), target: NodeId(9), last: Zxid::ZERO };
    // A target that does not hold the last entry.
    let ahead = Message::Handoff { epoch: Epoch(5), target: NodeId(1), last: zxid(5, 7) };
    for message in [unknown, ahead] {
        let (mut solo, link) = follower();
        let effects = solo.receive(link, message);
        assert_eq!(looking(&effects), Some("the leader hands over"));
        assert!(votes(&effects).iter().all(|(_, vote)| vote.state == VoteState::Looking), "it stands");
    }
}

#[test]
fn a_leader_with_little_disk_space_hands_over_when_another_voter_has_everything() {
    let (mut solo, links) = leader();
    solo.propose(1, 100);
    solo.persist();
    solo.step(vec![Event::DiskSpace(DiskSpace::Low)]);
    assert_eq!(proposed(&solo.propose(2, 100)), [], "it waits");
    let effects = ack(&mut solo, links[1], 1);
    assert_eq!(handoff(&effects, links[0]), Some(2));
    assert_eq!(solo.role(), Role::Following { leader: NodeId(2), established: None });
}

/// Time passes; each write of the leader takes this long, and both followers acknowledge at once. Returns the last effects of a
/// transfer that begins, and when.
fn slow(solo: &mut Solo, links: &[LinkId], write: u64, reported: [u64; 2], time: u64) -> Option<u64> {
    for round in 0..time / write {
        solo.propose(round, 100);
        let last = solo.zab.last().counter;
        for (link, write_latency) in links.iter().zip(reported) {
            solo.receive(*link, Message::Alive { write_latency });
            ack(solo, *link, last);
        }
        let effects = solo.after(write);
        let begins = |effect: &Effect| matches!(effect, Effect::Notice(Notice::TransferBegun { .. }));
        if effects.iter().any(begins) {
            return Some(round * write);
        }
        solo.persist();
    }
    None
}

#[test]
fn a_leader_with_a_slow_disk_hands_over_when_a_quorum_has_faster_ones() {
    let (mut solo, links) = leader();
    let begun = slow(&mut solo, &links, 400 * MS, [0, 0], 20 * ELECTION).expect("a transfer");
    assert!((9 * ELECTION..12 * ELECTION).contains(&begun), "{begun}");
    assert_eq!(solo.role(), Role::Following { leader: NodeId(2), established: None });
    for (write, reported) in [(200, [0, 0]), (400, [0, 300 * MS]), (400, [300 * MS, 300 * MS])] {
        let (mut solo, links) = leader();
        assert_eq!(
            slow(&mut solo, &links, write * MS, reported, 30 * ELECTION),
            None,
            "{write} {reported:?}"
        );
    }
}
