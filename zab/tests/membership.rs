//! Changes of the configuration, and the configurations of a log.

use gometa_zab::{
    Addresses, Change, Configuration, Configurations, DesiredRole, Incarnation, Learner, NodeId, Refused,
    Voter, Zxid,
};

fn voters(count: u64) -> Configuration {
    let voter = |node| Voter {
        node: NodeId(node),
        incarnation: Some(Incarnation(node.into())),
        addresses: Addresses::default(),
    };
    Configuration::new((1..=count).map(voter).collect())
}

fn learner(node: u64) -> Learner {
    Learner {
        node: NodeId(node),
        incarnation: Incarnation(node.into()),
        addresses: Addresses::default(),
        desired: DesiredRole::Voter,
    }
}

#[test]
fn a_learner_counts_from_its_promotion_on() {
    let added = voters(2).after(&Change::AddLearner(learner(3)), Zxid::new(1, 5)).unwrap();
    assert!(added.contains(NodeId(3)) && !added.is_voter(NodeId(3), Incarnation(3)));
    let promoted = added.after(&Change::Promote(NodeId(3)), Zxid::new(1, 6)).unwrap();
    assert!(promoted.is_voter(NodeId(3), Incarnation(3)) && promoted.learners().is_empty());
    assert!(added.may_follow(&voters(2)) && promoted.may_follow(&added));
}

#[test]
fn an_exchanged_voter_has_no_vote_with_either_incarnation() {
    let change = Change::Exchange { node: NodeId(2), incarnation: Incarnation(99) };
    let exchanged = voters(3).after(&change, Zxid::new(1, 1)).unwrap();
    assert!(
        !exchanged.is_voter(NodeId(2), Incarnation(2)) && !exchanged.is_voter(NodeId(2), Incarnation(99))
    );
    assert_eq!(exchanged.learner(NodeId(2)).map(|learner| learner.desired), Some(DesiredRole::Voter));
    let back = exchanged.after(&Change::Promote(NodeId(2)), Zxid::new(1, 2)).unwrap();
    assert!(back.is_voter(NodeId(2), Incarnation(99)) && !back.is_voter(NodeId(2), Incarnation(2)));
    // In one entry it would be two changes: the voter removed and another one added.
    assert!(!back.may_follow(&voters(3)));
}

#[test]
fn the_last_voter_is_neither_removed_nor_exchanged() {
    let one = voters(1);
    let exchange = Change::Exchange { node: NodeId(1), incarnation: Incarnation(9) };
    for change in [Change::RemoveVoter(NodeId(1)), exchange] {
        assert_eq!(one.after(&change, Zxid::new(1, 1)), Err(Refused::LastVoter));
    }
}

#[test]
fn majorities_of_adjacent_configurations_intersect() {
    for count in 2..=6 {
        let before = voters(count);
        let added = before.after(&Change::AddLearner(learner(7)), Zxid::new(1, 1)).unwrap();
        let promoted = added.after(&Change::Promote(NodeId(7)), Zxid::new(1, 2)).unwrap();
        let removed = before.after(&Change::RemoveVoter(NodeId(1)), Zxid::new(1, 1)).unwrap();
        for after in [promoted, removed] {
            for set in 0..1_u32 << 7 {
                let inside = |voter: &Voter| set & (1 << (voter.node.0 - 1)) != 0;
                let disjoint = before.has_quorum(inside) && after.has_quorum(|voter| !inside(voter));
                assert!(!disjoint, "{count} voters, {set:b}");
            }
        }
    }
}

#[test]
fn a_truncation_takes_the_configuration_back() {
    let mut log = Configurations::new(voters(3));
    let removed = log.latest().after(&Change::RemoveVoter(NodeId(3)), Zxid::new(1, 4)).unwrap();
    log.append(removed);
    assert!(!log.latest().contains(NodeId(3)) && !log.is_committed(3) && log.is_committed(4));
    log.truncate(Zxid::new(1, 3));
    assert_eq!(log.latest(), &voters(3));
    // Another leader logs a sibling at the same counter.
    let sibling = log.latest().after(&Change::RemoveVoter(NodeId(2)), Zxid::new(2, 4)).unwrap();
    log.append(sibling.clone());
    log.settle(4);
    log.truncate(Zxid::new(2, 4));
    assert_eq!(log.latest(), &sibling);
}

#[test]
fn a_configuration_has_one_encoding() {
    let addresses =
        Addresses { election: String::new(), message: "a:2".to_owned(), request: "b:3".to_owned() };
    let at = |counter| Zxid::new(0x0102, counter);
    let moved = Change::SetAddresses { node: NodeId(1), addresses };
    let desired = DesiredRole::VoterInPlaceOf(NodeId(1));
    let changes = [moved, Change::AddLearner(Learner { desired, ..learner(2) })];
    let configuration = changes
        .iter()
        .zip(5..)
        .fold(voters(1), |before, (change, counter)| before.after(change, at(counter)).unwrap());
    let expected: Vec<u8> = [
        &[1][..],
        &[0, 0, 0, 0, 0, 0, 1, 2],
        &[0, 0, 0, 0, 0, 0, 0, 6],
        &[1],
        &[0, 0, 0, 0, 0, 0, 0, 1],
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 3, b'a', b':', b'2', 0, 3, b'b', b':', b'3'],
        &[1],
        &[0, 0, 0, 0, 0, 0, 0, 2],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        &[0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0, 1],
    ]
    .concat();
    assert_eq!(configuration.encode(), expected);
    assert_eq!(Configuration::decode(&expected), Some(configuration));
    for length in 0..expected.len() {
        assert_eq!(Configuration::decode(&expected[..length]), None);
    }
    let mut same_id = expected;
    let learner_id = same_id.len() - 9 - 6 - 16 - 1;
    assert_eq!(std::mem::replace(&mut same_id[learner_id], 1), 2);
    assert_eq!(Configuration::decode(&same_id), None, "an id that is both voter and learner");
}

#[test]
fn a_configuration_from_bytes_encodes_to_the_same_bytes() {
    let encoded = voters(3).encode();
    for at in 0..encoded.len() {
        for bit in 0..8 {
            let mut flipped = encoded.to_vec();
            flipped[at] ^= 1 << bit;
            if let Some(decoded) = Configuration::decode(&flipped) {
                assert_eq!(decoded.encode(), flipped);
            }
        }
    }
}
