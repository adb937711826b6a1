//! Changes of the configuration, and the configurations of a log.

use gometa_zab::{
    Addresses, Change, Configuration, Configurations, DesiredRole, Incarnation, Learner, NodeId, Refused,
    Replacement, Voter, Zxid,
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
    let desired = DesiredRole::Learner;
    let replacement = Replacement { old: NodeId(1), new: NodeId(2) };
    let changes =
        [moved, Change::AddLearner(Learner { desired, ..learner(2) }), Change::Replace(replacement)];
    let configuration = changes
        .iter()
        .zip(5..)
        .fold(voters(1), |before, (change, counter)| before.after(change, at(counter)).unwrap());
    let expected: Vec<u8> = [
        &[2][..],
        &[0, 0, 0, 0, 0, 0, 1, 2],
        &[0, 0, 0, 0, 0, 0, 0, 7],
        &[0; 8],
        &[1],
        &[0, 0, 0, 0, 0, 0, 0, 1],
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 3, b'a', b':', b'2', 0, 3, b'b', b':', b'3'],
        &[1],
        &[0, 0, 0, 0, 0, 0, 0, 2],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        &[0, 0, 0, 0, 0, 0],
        &[1],
        &[1],
        &[0, 0, 0, 0, 0, 0, 0, 2],
        &[0, 0, 0, 0, 0, 0, 0, 1],
    ]
    .concat();
    assert_eq!(configuration.encode(), expected);
    assert_eq!(Configuration::decode(&expected), Some(configuration));
    for length in 0..expected.len() {
        assert_eq!(Configuration::decode(&expected[..length]), None);
    }
    let mut same_id = expected;
    let learner_id = same_id.len() - 17 - 1 - 6 - 16 - 1;
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

#[test]
fn a_replacement_ends_when_one_of_its_members_is_gone() {
    let at = |counter| Zxid::new(1, counter);
    let replace = |old, new| Change::Replace(Replacement { old: NodeId(old), new: NodeId(new) });
    let joined = Learner { desired: DesiredRole::Learner, ..learner(4) };
    let added = voters(3).after(&Change::AddLearner(joined), at(1)).unwrap();
    let begun = added.after(&replace(2, 4), at(2)).unwrap();
    assert_eq!(begun.replaced_by(NodeId(4)), Some(NodeId(2)));
    assert_eq!(begun.learner(NodeId(4)).unwrap().desired, DesiredRole::Voter);
    let promoted = begun.after(&Change::Promote(NodeId(4)), at(3)).unwrap();
    assert_eq!(promoted.replacements(), begun.replacements(), "the old one is still there");
    for (before, change) in [
        (&promoted, Change::RemoveVoter(NodeId(2))),
        (&promoted, Change::RemoveVoter(NodeId(4))),
        (&begun, Change::RemoveLearner(NodeId(4))),
        (&promoted, Change::CancelReplacement(NodeId(4))),
    ] {
        let after = before.after(&change, at(4)).unwrap();
        assert!(after.replacements().is_empty() && after.may_follow(before), "{change:?}");
    }
    // The old one removed first: the new one is still to be a voter.
    let removed = begun.after(&Change::RemoveVoter(NodeId(2)), at(3)).unwrap();
    assert_eq!(removed.learner(NodeId(4)).unwrap().desired, DesiredRole::Voter);
    let cancelled = begun.after(&Change::CancelReplacement(NodeId(4)), at(3)).unwrap();
    assert_eq!(cancelled.learner(NodeId(4)).unwrap().desired, DesiredRole::Learner);
    // A wiped disk on either side ends nothing.
    for node in [2, 4] {
        let exchange = Change::Exchange { node: NodeId(node), incarnation: Incarnation(99) };
        assert_eq!(promoted.after(&exchange, at(4)).unwrap().replacements(), begun.replacements());
    }
}

#[test]
fn a_replacement_is_of_a_learner_and_a_voter_that_take_part_in_no_other_one() {
    let at = |counter| Zxid::new(1, counter);
    let replace = |old, new| Change::Replace(Replacement { old: NodeId(old), new: NodeId(new) });
    let stays = |node| Change::AddLearner(Learner { desired: DesiredRole::Learner, ..learner(node) });
    let four = voters(3).after(&stays(4), at(1)).unwrap();
    let five = four.after(&stays(5), at(2)).unwrap();
    for (change, refused) in [
        (replace(1, 2), Refused::NotALearner),
        (replace(1, 9), Refused::NotALearner),
        (replace(9, 4), Refused::NotAVoter),
        (replace(5, 4), Refused::NotAVoter),
        (replace(4, 4), Refused::NotAVoter),
        (Change::CancelReplacement(NodeId(4)), Refused::NoReplacement),
    ] {
        assert_eq!(five.after(&change, at(3)), Err(refused), "{change:?}");
    }
    let begun = five.after(&replace(1, 4), at(3)).unwrap();
    for change in [replace(1, 5), replace(2, 4), replace(4, 5), replace(1, 4)] {
        assert_eq!(begun.after(&change, at(4)), Err(Refused::InReplacement), "{change:?}");
    }
    assert!(begun.after(&replace(2, 5), at(4)).is_ok());
}
