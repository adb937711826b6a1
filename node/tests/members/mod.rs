//! The members that clients are sent: those that the ensemble has recorded, and no others; and requests about them.

use gometa_proto::{
    ErrorKind, Outcome,
    v1::{self, request::Operation, response::Result as Answer},
};
use gometa_zab::Addresses;

use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, Storage, context, get, set},
};

/// The request addresses in the last view that a node sent its clients.
fn sent_addresses(ensemble: &Nodes, index: usize) -> Vec<String> {
    let mut sent_addresses: Vec<String> =
        ensemble.members[index].view.members.iter().map(|member| member.request_address.clone()).collect();
    sent_addresses.sort();
    sent_addresses
}

#[test]
fn a_node_without_an_ensemble_names_itself_only() {
    let mut ensemble = Nodes::new(3);
    ensemble.kill(2);
    ensemble.run(500);
    assert_eq!(sent_addresses(&ensemble, 0), ["127.0.0.1:5003"]);
    assert_eq!(sent_addresses(&ensemble, 1), ["127.0.0.1:6003"]);
    ensemble.start(2);
    ensemble.run(500);
    for index in 0..3 {
        assert_eq!(sent_addresses(&ensemble, index), ["127.0.0.1:5003", "127.0.0.1:6003", "127.0.0.1:7003"]);
    }
}

fn moved(ensemble: &mut Nodes, index: usize, request: &str) {
    ensemble.kill(index);
    let addresses = &mut ensemble.members[index].addresses;
    *addresses = Addresses { request: request.to_owned(), ..addresses.clone() };
    ensemble.start(index);
    ensemble.run(1_500);
}

#[test]
fn a_member_that_has_moved_is_named_where_it_is_by_everyone() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    // Each of them once: one that follows tells its leader, which tells the others; one that led finds another leader.
    for index in 0..3 {
        let request = format!("127.0.0.1:900{index}");
        moved(&mut ensemble, index, &request);
        for other in 0..3 {
            assert!(
                sent_addresses(&ensemble, other).contains(&request),
                "{index} to {other}: {:?}",
                sent_addresses(&ensemble, other)
            );
            let status = ensemble.status(other);
            let mut peers = status.peers.iter().filter_map(|peer| peer.member.as_ref());
            assert!(other == index || peers.any(|peer| peer.request_address == request), "{status:?}");
        }
    }
    // It is hinted at there, too, as the leader.
    let leader = ensemble.leader().expect("a leader");
    for other in (0..3).filter(|other| *other != leader) {
        assert_eq!(ensemble.members[other].view.leader, format!("127.0.0.1:900{leader}"));
        match ensemble.call(other, context(77, 1), set("k", "v")) {
            Some(Answer::Error(error)) => assert_eq!(error.leader, format!("127.0.0.1:900{leader}")),
            answer => panic!("there is no such session: {answer:?}"),
        }
    }
    // Back where the ensemble has recorded it.
    moved(&mut ensemble, 0, "127.0.0.1:5003");
    for other in 0..3 {
        assert!(sent_addresses(&ensemble, other).contains(&"127.0.0.1:5003".to_owned()));
    }
}

#[test]
fn a_member_that_has_moved_with_an_empty_directory_is_named_where_it_is_when_it_is_recorded() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let wiped = (ensemble.leader().expect("a leader") + 1) % 3;
    ensemble.kill(wiped);
    ensemble.members[wiped].storage = Storage::default();
    ensemble.members[wiped].incarnation = 900;
    moved(&mut ensemble, wiped, "127.0.0.1:9003");
    assert!(sent_addresses(&ensemble, wiped).contains(&"127.0.0.1:9003".to_owned()), "it knows its own");
    ensemble.run(3_000);
    assert!(ensemble.status(wiped).votes);
    for other in 0..3 {
        assert!(sent_addresses(&ensemble, other).contains(&"127.0.0.1:9003".to_owned()));
    }
}

// ---- Requests about the members

fn remove(node: u64) -> Operation {
    Operation::RemoveMember(v1::RemoveMember { node, follows: None })
}

fn transfer(to: u64) -> Operation {
    Operation::TransferLeadership(v1::TransferLeadership { to })
}

/// The ids of the members in the answer of a change, and whether it has changed something.
fn changed(answer: Option<Answer>) -> (Vec<u64>, bool) {
    match answer {
        Some(Answer::MembersChanged(v1::MembersChanged { membership, changed })) => {
            let membership = membership.expect("the members");
            assert!(membership.committed, "{membership:?}");
            (membership.members.iter().map(|member| member.node).collect(), changed)
        }
        other => panic!("{other:?}"),
    }
}

fn refused(answer: Option<Answer>) -> (ErrorKind, Outcome, String) {
    match answer {
        Some(Answer::Error(error)) => (error.error_kind(), error.error_outcome(), error.message),
        other => panic!("{other:?}"),
    }
}

/// Three nodes with a leader; its index, and those of the others.
fn three() -> (Nodes, usize, [usize; 2]) {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    (ensemble, leader, [(leader + 1) % 3, (leader + 2) % 3])
}

#[test]
fn a_change_is_made_through_any_node_and_made_once() {
    let (mut ensemble, leader, [one, other]) = three();
    let gone = ensemble.status(other).node;
    let left = {
        let mut left = vec![ensemble.status(leader).node, ensemble.status(one).node];
        left.sort_unstable();
        left
    };
    assert_eq!(changed(ensemble.call(one, None, remove(gone))), (left.clone(), true));
    for node in [leader, one] {
        assert_eq!(changed(ensemble.call(node, None, remove(gone))), (left.clone(), false));
        let Some(Answer::Membership(members)) =
            ensemble.call(node, None, Operation::ListMembers(v1::ListMembers {}))
        else {
            panic!("the members")
        };
        assert!(members.committed && members.members.iter().all(|member| member.votes));
        assert_eq!(members.members.len(), 2);
    }
    ensemble.run(500);
    assert_eq!(ensemble.status(other).detail, "was removed from the ensemble");
    assert!(!ensemble.status(other).votes);
}

#[test]
fn a_leader_hands_over_before_it_is_removed() {
    let (mut ensemble, leader, [one, _]) = three();
    let gone = ensemble.status(leader).node;
    // Through the leader itself, which is a follower when the request is carried out.
    let id = ensemble.ask(leader, None, remove(gone));
    ensemble.run(500);
    let (left, made) = changed(ensemble.answer(leader, id));
    assert!(made && !left.contains(&gone) && left.len() == 2, "{left:?}");
    assert_ne!(ensemble.leader(), Some(leader));
    assert_eq!(changed(ensemble.call(one, None, remove(gone))), (left, false));
}

#[test]
fn a_node_that_was_removed_holds_no_request_until_an_election_timeout() {
    let (mut ensemble, leader, [one, other]) = three();
    let gone = ensemble.status(leader).node;
    changed(ensemble.call(one, None, remove(gone)));
    // Far less than an election time-out.
    ensemble.run(20);
    assert_eq!(ensemble.status(leader).detail, "was removed from the ensemble");
    let id = ensemble.ask(leader, None, get("k"));
    ensemble.run(20);
    let (kind, outcome, _) = refused(ensemble.answer(leader, id));
    assert_eq!((kind, outcome), (ErrorKind::Unavailable, Outcome::NotApplied));
    assert!(matches!(ensemble.call(other, None, get("k")), Some(Answer::Error(_))), "there is no such key");
}

#[test]
fn the_last_voter_stays() {
    let mut ensemble = Nodes::new(1);
    ensemble.run(100);
    let (kind, outcome, message) = refused({
        let node = ensemble.status(0).node;
        ensemble.call(0, None, remove(node))
    });
    assert_eq!((kind, outcome), (ErrorKind::FailedPrecondition, Outcome::NotApplied));
    assert!(message.contains("last voter"), "{message}");
}

#[test]
fn a_request_whose_leader_is_lost_is_carried_out_by_the_next_one() {
    let (mut ensemble, leader, [one, other]) = three();
    let to = ensemble.status(other).node;
    let removal =
        ensemble.ask(one, None, Operation::CancelPromotion(v1::CancelPromotion { node: 77, follows: None }));
    let moving = ensemble.ask(one, None, transfer(to));
    ensemble.step(one);
    ensemble.kill(leader);
    ensemble.run(2_500);
    let (kind, outcome, _) = refused(ensemble.answer(one, removal));
    assert_eq!((kind, outcome), (ErrorKind::NotFound, Outcome::Unknown), "the first leader may have done it");
    match ensemble.answer(one, moving) {
        Some(Answer::LeadershipTransferred(moved)) => assert_eq!(moved.leader, to),
        other => panic!("{other:?}"),
    }
    assert_eq!(ensemble.leader(), Some(other));
}

#[test]
fn the_leadership_is_transferred_to_the_named_voter_or_to_any_other() {
    let (mut ensemble, leader, [one, other]) = three();
    let to = ensemble.status(one).node;
    for asked in [other, one, leader] {
        let id = ensemble.ask(asked, None, transfer(to));
        ensemble.run(300);
        match ensemble.answer(asked, id) {
            Some(Answer::LeadershipTransferred(moved)) => assert_eq!(moved.leader, to, "asked at {asked}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(ensemble.leader(), Some(one));
    }
    let id = ensemble.ask(one, None, transfer(0));
    ensemble.run(300);
    assert!(
        matches!(ensemble.answer(one, id), Some(Answer::LeadershipTransferred(moved)) if moved.leader != to)
    );
    let (kind, outcome, _) = refused(ensemble.call(other, None, transfer(77)));
    assert_eq!((kind, outcome), (ErrorKind::NotFound, Outcome::NotApplied));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (mut ensemble, leader, [one, other]) = three();
    let (voter, version) = (ensemble.status(other).node, v1::MembersVersion { epoch: 9, counter: 9 });
    let stale = v1::RemoveMember { node: voter, follows: Some(version) };
    let promote = |node| Operation::PromoteMember(v1::PromoteMember { node, follows: None });
    let replace =
        |node, replacement| Operation::ReplaceMember(v1::ReplaceMember { node, replacement, follows: None });
    let learner = v1::AddLearner {
        node: voter,
        incarnation: vec![9; 16].into(),
        election_address: "127.0.0.1:1".to_owned(),
        message_address: "127.0.0.1:2".to_owned(),
        request_address: "127.0.0.1:3".to_owned(),
        voter: true,
        ..v1::AddLearner::default()
    };
    let stranger = v1::AddLearner { node: 55, ..learner.clone() };
    for (operation, expected, words) in [
        (Operation::RemoveMember(stale), ErrorKind::FailedPrecondition, "the members have changed"),
        (promote(77), ErrorKind::NotFound, "is no member"),
        (replace(voter, 77), ErrorKind::NotFound, "is no member"),
        (replace(77, 78), ErrorKind::NotFound, "is no member"),
        (replace(voter, voter), ErrorKind::InvalidArgument, "by itself"),
        (replace(voter, ensemble.status(one).node), ErrorKind::FailedPrecondition, "is a voter already"),
        (Operation::AddLearner(learner.clone()), ErrorKind::AlreadyExists, "set another Id"),
        (
            Operation::AddLearner(v1::AddLearner { node: 0, ..learner.clone() }),
            ErrorKind::InvalidArgument,
            "id",
        ),
        (Operation::SafeToStop(v1::SafeToStop { nodes: Vec::new() }), ErrorKind::InvalidArgument, "named"),
        (Operation::SafeToStop(v1::SafeToStop { nodes: vec![77] }), ErrorKind::NotFound, "is no member"),
    ] {
        for node in [leader, one] {
            let (kind, outcome, message) = refused(ensemble.call(node, None, operation.clone()));
            assert_eq!((kind, outcome), (expected, Outcome::NotApplied), "{operation:?}");
            assert!(message.contains(words), "{message}");
        }
    }
    assert_eq!(changed(ensemble.call(one, None, promote(voter))).0.len(), 3, "a voter already");
    let (members, made) = changed(ensemble.call(one, None, Operation::AddLearner(stranger.clone())));
    assert!(made && members.contains(&55), "{members:?}");
    let (kind, _, message) = refused(ensemble.call(one, None, promote(55)));
    assert_eq!(kind, ErrorKind::FailedPrecondition);
    assert!(message.contains("not connected"), "{message}");
    // It is to be a voter, and then is not.
    let cancel = Operation::CancelPromotion(v1::CancelPromotion { node: 55, follows: None });
    assert!(changed(ensemble.call(other, None, cancel.clone())).1);
    assert!(!changed(ensemble.call(other, None, cancel.clone())).1);
    // It is to take the place of a voter, and then is not.
    assert!(!changed(ensemble.call(one, None, replace(77, voter))).1, "that is done already");
    assert!(changed(ensemble.call(one, None, replace(voter, 55))).1);
    assert!(!changed(ensemble.call(leader, None, replace(voter, 55))).1);
    let Some(Answer::Membership(members)) =
        ensemble.call(leader, None, Operation::ListMembers(v1::ListMembers {}))
    else {
        panic!("the members")
    };
    assert!(
        members.members.iter().all(|it| it.replaces == if it.node == 55 { voter } else { 0 }),
        "{members:?}"
    );
    let leading = ensemble.status(leader).node;
    let (kind, _, message) = refused(ensemble.call(one, None, replace(leading, 55)));
    assert_eq!(kind, ErrorKind::FailedPrecondition);
    assert!(message.contains("another replacement"), "{message}");
    assert!(changed(ensemble.call(other, None, cancel.clone())).1);
    assert!(!changed(ensemble.call(other, None, cancel)).1);
    assert!(changed(ensemble.call(leader, None, Operation::AddLearner(stranger))).1, "it asks again");
    assert!(changed(ensemble.call(other, None, remove(55))).1);
}

#[test]
fn stopping_is_safe_while_the_others_are_a_quorum_that_is_up_to_date() {
    let (mut ensemble, leader, [one, other]) = three();
    let ids: Vec<u64> = (0..3).map(|node| ensemble.status(node).node).collect();
    let advice = |ensemble: &mut Nodes, nodes: &[usize]| {
        let nodes = nodes.iter().map(|node| ids[*node]).collect();
        match ensemble.call(leader, None, Operation::SafeToStop(v1::SafeToStop { nodes })) {
            Some(Answer::StopAdvice(advice)) => (advice.safe, advice.reason),
            other => panic!("{other:?}"),
        }
    };
    for node in 0..3 {
        assert_eq!(advice(&mut ensemble, &[node]), (true, String::new()));
    }
    let (safe, reason) = advice(&mut ensemble, &[one, other]);
    assert!(!safe && reason.contains("1 of 3 voters would be left"), "{reason}");
    ensemble.kill(other);
    ensemble.run(1_500);
    let (safe, reason) = advice(&mut ensemble, &[one]);
    assert!(!safe && reason.contains("not up to date"), "{reason}");
    assert!(advice(&mut ensemble, &[other]).0, "it is down already");
}
