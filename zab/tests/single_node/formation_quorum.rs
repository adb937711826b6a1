//! Formation with a quorum of the configured voters (section 5.7).

use gometa_testkit::disk::Disk;
use gometa_zab::{
    Effect, EnsembleId, Event, Founding, Genesis, Hello, LinkId, Message, NodeId, Notice, Reason, Write,
};

use super::solo::{ELECTION, HOME, MS, Solo, closes, genesis, refuses, sent, stop_reason, voter, voters};

const OTHER: EnsembleId = EnsembleId { id: 8, history: 1 };

/// Node `me` of so many, with an empty directory.
fn node(me: u64, count: u64) -> Solo {
    Solo::founding_with_quorum(me, count, Disk::default())
}

fn hello(solo: &Solo, node: u64) -> Hello {
    Hello { ensemble: None, voters: voters(solo.count, false), ..solo.hello(node) }
}

/// A connection that the node has dialled, and on which Hello was received.
fn dialled(solo: &mut Solo, peer: u64) -> LinkId {
    let link = solo.connected(peer);
    solo.receive(link, Message::Hello(Hello { expected: None, ..hello(solo, peer) }));
    link
}

/// The genesis of an author, of so many voters, of which only these are recorded.
fn partial(ensemble: EnsembleId, count: u64, recorded: &[u64]) -> Genesis {
    let voters = (1..=count).map(|node| voter(node, recorded.contains(&node))).collect();
    Genesis { ensemble, voters, level: gometa_zab::FIRST_LEVEL }
}

fn foundings(effects: &[Effect]) -> Vec<Founding> {
    let founding = |effect: &Effect| match effect {
        Effect::Write { write: Write::Founding(founding), .. } => Some(founding.clone()),
        _ => None,
    };
    effects.iter().filter_map(founding).collect()
}

/// The effects of ticks until this much time has passed.
fn pass(solo: &mut Solo, micros: u64) -> Vec<Effect> {
    (0..micros / (100 * MS)).flat_map(|_| solo.after(100 * MS)).collect()
}

fn prepares(solo: &mut Solo, node: u64, genesis: &Genesis) -> (LinkId, Vec<Effect>) {
    let link = solo.accept_as(hello(solo, node)).0;
    (link, solo.receive(link, Message::Prepare(genesis.clone())))
}

/// Whether a node that has prepared `first` of this author prepares `second`.
fn replaces(mut solo: Solo, (author, first): (u64, &Genesis), (other, second): (u64, &Genesis)) -> bool {
    let (_, effects) = prepares(&mut solo, author, first);
    assert_eq!(foundings(&effects).len(), 1, "the first one is prepared");
    solo.persist();
    let (link, effects) = prepares(&mut solo, other, second);
    let prepared = !foundings(&effects).is_empty();
    assert_ne!(prepared, closes(&effects, link));
    prepared
}

#[test]
fn a_quorum_founds_when_the_others_are_absent_for_a_while() {
    let mut solo = node(1, 3);
    let two = dialled(&mut solo, 2);
    assert_eq!(foundings(&pass(&mut solo, 5 * ELECTION - 100 * MS)), []);
    let effects = pass(&mut solo, 200 * MS);
    let Founding { genesis, sealed } = foundings(&effects).remove(0);
    assert!(!sealed);
    assert_eq!(genesis.voters, partial(HOME, 3, &[1, 2]).voters, "the absent one has no incarnation");
    assert!(effects.contains(&Effect::Notice(Notice::FoundsWithQuorum(vec![NodeId(3)]))));
    assert_eq!(sent(&effects, two), [Message::Prepare(genesis.clone())]);
    // All participants must prepare it.
    assert_eq!(foundings(&solo.persist()), []);
    let effects = solo.receive(two, Message::Prepared(genesis.ensemble));
    assert_eq!(foundings(&effects), [Founding { genesis: genesis.clone(), sealed: true }]);
    assert_eq!(sent(&solo.persist(), two)[0], Message::Seal(genesis.ensemble));
    assert!(solo.zab.votes());
}

#[test]
fn a_minority_founds_nothing() {
    let mut solo = node(1, 5);
    dialled(&mut solo, 2);
    assert_eq!(foundings(&pass(&mut solo, 60 * ELECTION)), []);
    let mut solo = node(1, 3);
    assert_eq!(foundings(&pass(&mut solo, 60 * ELECTION)), []);
    let mut solo = node(2, 5);
    let (link, effects) = prepares(&mut solo, 1, &partial(HOME, 5, &[1, 2]));
    assert!(foundings(&effects).is_empty() && closes(&effects, link));
}

#[test]
fn only_the_lowest_connected_voter_founds_and_only_with_the_setting() {
    let mut solo = node(2, 3);
    dialled(&mut solo, 1);
    assert_eq!(foundings(&pass(&mut solo, 60 * ELECTION)), []);
    // The first voter has its turn first.
    let mut solo = node(2, 5);
    for peer in [1, 3, 4] {
        dialled(&mut solo, peer);
    }
    assert_eq!(foundings(&pass(&mut solo, 9 * ELECTION)), []);
    let genesis = foundings(&pass(&mut solo, 2 * ELECTION)).remove(0).genesis;
    assert_eq!(genesis.voters, partial(HOME, 5, &[2, 3, 4]).voters);
    // The first voter is absent.
    let mut solo = node(2, 3);
    dialled(&mut solo, 3);
    assert_eq!(foundings(&pass(&mut solo, 6 * ELECTION)).len(), 1);
    let mut solo = Solo::new(1, 3, Disk::default(), gometa_zab::Bounds::default());
    dialled(&mut solo, 2);
    assert_eq!(foundings(&pass(&mut solo, 60 * ELECTION)), []);
}

#[test]
fn with_all_voters_connected_all_are_recorded_at_once() {
    let mut solo = node(1, 3);
    dialled(&mut solo, 2);
    let link = solo.connected(3);
    let effects = solo.receive(link, Message::Hello(Hello { expected: None, ..hello(&solo, 3) }));
    assert_eq!(foundings(&effects)[0].genesis.voters, voters(3, true));
}

#[test]
fn a_member_of_an_ensemble_or_a_node_that_founds_none_prevents_it() {
    let mut solo = node(1, 3);
    dialled(&mut solo, 2);
    let link = solo.connected(3);
    solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(3) }));
    solo.receive(link, Message::Refuse(Reason::NotAMember));
    assert_eq!(foundings(&pass(&mut solo, 60 * ELECTION)), [], "node 3 belongs to an ensemble");
    // With another, empty directory it takes part.
    dialled(&mut solo, 3);
    assert_eq!(solo.zab.ensemble(), None);

    let mut solo = node(1, 5);
    for peer in [2, 3] {
        dialled(&mut solo, peer);
    }
    let link = dialled(&mut solo, 4);
    solo.receive(link, Message::Refuse(Reason::NeverFounds));
    assert_eq!(foundings(&pass(&mut solo, 60 * ELECTION)), [], "node 4 may have belonged to one");
}

#[test]
fn a_voter_without_the_setting_refuses_and_is_left_out() {
    let mut solo = Solo::new(2, 3, Disk::default(), gometa_zab::Bounds::default());
    let (link, effects) = prepares(&mut solo, 1, &partial(HOME, 3, &[1, 2]));
    assert!(foundings(&effects).is_empty() && refuses(&effects, link, Reason::FoundsWithAll));

    let mut solo = node(1, 5);
    for peer in [2, 3] {
        dialled(&mut solo, peer);
    }
    let four = dialled(&mut solo, 4);
    let first = foundings(&pass(&mut solo, 6 * ELECTION)).remove(0).genesis;
    assert_eq!(first.voters, partial(HOME, 5, &[1, 2, 3, 4]).voters);
    solo.persist();
    let effects = solo.receive(four, Message::Refuse(Reason::FoundsWithAll));
    let second = foundings(&effects).remove(0).genesis;
    assert_eq!(second.voters, partial(HOME, 5, &[1, 2, 3]).voters);
    assert_ne!(first.ensemble, second.ensemble);
}

#[test]
fn a_prepared_genesis_is_replaced_by_its_author_or_by_one_of_all_voters() {
    let first = partial(HOME, 5, &[2, 3, 4]);
    assert!(replaces(node(4, 5), (2, &first), (2, &partial(OTHER, 5, &[2, 4, 5]))));
    assert!(replaces(node(4, 5), (2, &first), (1, &genesis(5))));
    assert!(!replaces(node(4, 5), (2, &first), (3, &partial(OTHER, 5, &[3, 4, 5]))));
    assert!(!replaces(node(4, 5), (2, &first), (1, &partial(OTHER, 5, &[1, 4, 5]))));
    // What one of all voters has replaced may be sealed.
    assert!(!replaces(node(4, 5), (1, &genesis(5)), (2, &first)));
    assert!(!replaces(node(4, 5), (1, &genesis(5)), (1, &partial(OTHER, 5, &[1, 4, 5]))));
}

#[test]
fn a_restarted_node_keeps_what_it_has_prepared() {
    let mut solo = node(4, 5);
    prepares(&mut solo, 2, &partial(HOME, 5, &[2, 3, 4]));
    solo.persist();
    let mut solo = Solo::founding_with_quorum(4, 5, solo.disk);
    let (link, effects) = prepares(&mut solo, 1, &partial(OTHER, 5, &[1, 4, 5]));
    assert!(foundings(&effects).is_empty() && closes(&effects, link));
}

#[test]
fn a_participant_of_another_genesis_founds_none_and_an_author_gives_up_its_own() {
    // Node 3 has prepared a genesis of node 1, which is gone.
    let mut solo = node(3, 5);
    let (link, _) = prepares(&mut solo, 1, &partial(HOME, 5, &[1, 2, 3]));
    solo.persist();
    solo.step(vec![Event::Closed { link }]);
    for peer in [4, 5] {
        dialled(&mut solo, peer);
    }
    assert_eq!(foundings(&pass(&mut solo, 60 * ELECTION)), []);

    // Node 3 is the author of one, and prepares that of node 1: its own is never sealed then.
    let mut solo = node(3, 5);
    let links = [4, 5].map(|peer| dialled(&mut solo, peer));
    let own = foundings(&pass(&mut solo, 6 * ELECTION)).remove(0).genesis;
    solo.persist();
    let other = partial(OTHER, 5, &[1, 2, 3]);
    let (link, effects) = prepares(&mut solo, 1, &other);
    assert_eq!(foundings(&effects), [Founding { genesis: other, sealed: false }]);
    for link in links {
        assert_eq!(foundings(&solo.receive(link, Message::Prepared(own.ensemble))), []);
    }
    assert_eq!(sent(&solo.persist(), link), [Message::Prepared(OTHER)]);
}

#[test]
fn an_absent_voter_adopts_the_sealed_genesis_without_a_vote() {
    for mut solo in [node(3, 3), Solo::new(3, 3, Disk::default(), gometa_zab::Bounds::default())] {
        let link = solo.connected(1);
        let sealed = partial(HOME, 3, &[1, 2]);
        solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(1) }));
        let effects = solo.receive(link, Message::Formed(sealed.clone()));
        assert_eq!(foundings(&effects), [Founding { genesis: sealed, sealed: true }]);
        let effects = solo.persist();
        assert!(effects.contains(&Effect::Notice(Notice::Formed { ensemble: HOME, votes: false })));
        assert!(!solo.zab.votes());
    }
}

#[test]
fn a_participant_that_has_prepared_one_of_all_voters_since_adopts_the_sealed_one() {
    let sealed = partial(HOME, 3, &[1, 2]);
    let adopts = |held: Option<Genesis>| {
        let founding = held.map(|genesis| Founding { genesis, sealed: false });
        let disk = Disk { founding, ..Disk::default() };
        let mut solo = Solo::founding_with_quorum(2, 3, disk);
        let link = solo.connected(1);
        solo.receive(link, Message::Hello(Hello { expected: None, ..solo.hello(1) }));
        let effects = solo.receive(link, Message::Formed(sealed.clone()));
        (foundings(&effects).len(), stop_reason(&effects).is_some())
    };
    assert_eq!(adopts(Some(Genesis { ensemble: OTHER, ..genesis(3) })), (1, false));
    assert_eq!(adopts(Some(sealed.clone())), (1, false));
    assert_eq!(adopts(None), (0, true), "an older copy of its directory");
}
