//! Formation (section 5.7): what a node that belongs to no ensemble does, and what it does not.

use gometa_testkit::disk::Disk;
use gometa_zab::{
    Addresses, Bounds, Effect, EnsembleId, Event, Founding, Genesis, Hello, Incarnation, LinkId, Message,
    NodeId, Notice, Reason, Role, Write,
};

use super::solo::{
    ELECTION, HOME, MS, Solo, closes, dials, genesis, looks, refuses, sent, stops, voter, voters,
};

/// Node `me` of three, with an empty directory.
fn node(me: u64) -> Solo {
    Solo::new(me, 3, Disk::default(), Bounds::default())
}

/// What a voter without an ensemble says of itself.
fn hello(solo: &Solo, node: u64) -> Hello {
    Hello { ensemble: None, voters: voters(3, false), ..solo.hello(node) }
}

/// The connection that the node has dialled stands, and its other end has greeted.
fn dialled(solo: &mut Solo, peer: u64) -> (LinkId, Vec<Effect>) {
    let link = solo.connected(peer);
    let said = solo.receive(link, Message::Hello(Hello { expected: None, ..hello(solo, peer) }));
    (link, said)
}

fn foundings(effects: &[Effect]) -> Vec<Founding> {
    let founding = |effect: &Effect| match effect {
        Effect::Write { write: Write::Founding(founding), .. } => Some(founding.clone()),
        _ => None,
    };
    effects.iter().filter_map(founding).collect()
}

fn waits(effects: &[Effect]) -> Vec<Vec<u64>> {
    let wait = |effect: &Effect| match effect {
        Effect::Notice(Notice::WaitingFor(nodes)) => Some(nodes.iter().map(|node| node.0).collect()),
        _ => None,
    };
    effects.iter().filter_map(wait).collect()
}

/// The coordinator with a genesis drawn, and the connections it was sent on.
fn preparing() -> (Solo, [LinkId; 2], Genesis) {
    let mut solo = node(1);
    let (two, _) = dialled(&mut solo, 2);
    let (three, said) = dialled(&mut solo, 3);
    let genesis = foundings(&said)[0].genesis.clone();
    (solo, [two, three], genesis)
}

/// Node 2, and its connection from the coordinator.
fn prepared() -> (Solo, LinkId) {
    let mut solo = node(2);
    let link = solo.accept_as(hello(&solo, 1)).0;
    solo.receive(link, Message::Prepare(genesis(3)));
    assert_eq!(sent(&solo.persist(), link), [Message::Prepared(HOME)]);
    (solo, link)
}

#[test]
fn everyone_is_needed_once() {
    let mut solo = node(1);
    assert_eq!(dials(&solo.first), [2, 3]);
    assert_eq!(waits(&solo.first), [[2, 3]]);
    assert_eq!(waits(&solo.after(MS)), [] as [Vec<u64>; 0], "reported when it changes");
    let (two, said) = dialled(&mut solo, 2);
    assert_eq!(waits(&said), [[3]]);
    assert_eq!(foundings(&said), []);
    let (three, said) = dialled(&mut solo, 3);
    let Founding { genesis, sealed } = foundings(&said).remove(0);
    assert!(!sealed);
    assert_eq!(genesis.voters, voters(3, true), "everyone with its directory and its addresses");
    assert_eq!(sent(&said, two), [Message::Prepare(genesis.clone())]);
    assert_eq!(sent(&said, three), [Message::Prepare(genesis)]);
}

#[test]
fn only_the_voter_with_the_lowest_id_draws_a_genesis() {
    let mut solo = node(2);
    dialled(&mut solo, 1);
    let (_, said) = dialled(&mut solo, 3);
    assert_eq!(foundings(&said), []);
    assert_eq!(solo.role(), Role::Forming);
}

#[test]
fn a_voter_is_dialled_again_after_a_wait_that_doubles() {
    let mut solo = node(1);
    let mut expected = 20 * MS;
    for _ in 0..8 {
        assert_eq!(dials(&solo.connect_failed(2)), [] as [u64; 0]);
        assert_eq!(dials(&solo.after(expected - 1)), [] as [u64; 0], "{expected}");
        assert_eq!(dials(&solo.after(1)), [2], "{expected}");
        expected = (expected * 2).min(ELECTION);
    }
    // One that was reached, and agrees, begins anew; that a connection stands says nothing yet.
    let link = solo.connected(2);
    solo.step(vec![Event::Closed { link }]);
    assert_eq!(dials(&solo.after(ELECTION - 1)), [] as [u64; 0]);
    assert_eq!(dials(&solo.after(1)), [2]);
    let (link, _) = dialled(&mut solo, 2);
    solo.step(vec![Event::Closed { link }]);
    assert_eq!(dials(&solo.after(20 * MS)), [2]);
}

#[test]
fn the_seal_needs_everyones_disk() {
    let (mut solo, [two, three], genesis) = preparing();
    let prepared = Message::Prepared(genesis.ensemble);
    solo.receive(two, Message::Prepared(HOME));
    solo.receive(two, prepared.clone());
    assert_eq!(foundings(&solo.receive(two, prepared.clone())), [], "said twice, it is one");
    assert_eq!(foundings(&solo.persist()), [], "the third is missing");
    let said = solo.receive(three, prepared);
    assert_eq!(foundings(&said), [Founding { genesis: genesis.clone(), sealed: true }]);
    assert_eq!(sent(&said, two), [], "not before it is durable here");
    let said = solo.persist();
    assert_eq!(sent(&said, two)[0], Message::Seal(genesis.ensemble));
    assert_eq!(sent(&said, three)[0], Message::Seal(genesis.ensemble));
    let formed = Notice::Formed { ensemble: genesis.ensemble, votes: true };
    assert!(said.contains(&Effect::Notice(formed)));
    assert_eq!(looks(&said), Some("the ensemble is formed"));
    assert!(closes(&said, two) && closes(&said, three));

    // Its own disk is one of them.
    let (mut solo, links, genesis) = preparing();
    for link in links {
        let said = solo.receive(link, Message::Prepared(genesis.ensemble));
        assert_eq!(foundings(&said), []);
    }
    assert_eq!(foundings(&solo.persist()).len(), 1);
}

#[test]
fn a_voter_that_goes_before_the_seal_may_come_back_as_another() {
    let (mut solo, [two, three], first) = preparing();
    solo.persist();
    solo.receive(three, Message::Prepared(first.ensemble));
    let said = solo.step(vec![Event::Closed { link: three }]);
    assert_eq!(waits(&said), [[3]]);
    assert_eq!(foundings(&solo.receive(two, Message::Prepared(first.ensemble))), []);
    assert_eq!(dials(&solo.after(20 * MS)), [3]);
    let link = solo.connected(3);
    let other = Hello { expected: None, incarnation: Incarnation(33), ..hello(&solo, 3) };
    let said = solo.receive(link, Message::Hello(other));
    let second = foundings(&said).remove(0).genesis;
    assert_eq!(second.voters[2].incarnation, Some(Incarnation(33)));
    assert_ne!(second.ensemble, first.ensemble, "a name of its own");
    solo.persist();
    solo.receive(two, Message::Prepared(first.ensemble));
    assert_eq!(foundings(&solo.receive(link, Message::Prepared(second.ensemble))), []);
    assert_eq!(foundings(&solo.receive(two, Message::Prepared(second.ensemble))).len(), 1);
}

#[test]
fn a_genesis_is_prepared_if_it_comes_from_the_coordinator_and_names_this_voters_and_this_directory() {
    let mut cases = vec![(genesis(3), true)];
    let with = |change: fn(&mut Genesis)| {
        let mut genesis = genesis(3);
        change(&mut genesis);
        (genesis, false)
    };
    cases.push(with(|genesis| genesis.voters[1].incarnation = Some(Incarnation(99))));
    cases.push(with(|genesis| genesis.voters[1].incarnation = None));
    cases.push(with(|genesis| genesis.voters[0].incarnation = None));
    cases.push(with(|genesis| genesis.voters[2].node = NodeId(7)));
    cases.push(with(|genesis| genesis.voters.truncate(2)));
    cases.push(with(|genesis| genesis.voters.push(voter(4, true))));
    for (genesis, fits) in cases {
        let mut solo = node(2);
        let link = solo.accept_as(hello(&solo, 1)).0;
        let said = solo.receive(link, Message::Prepare(genesis.clone()));
        assert_eq!(foundings(&said).len(), usize::from(fits), "{genesis:?}");
        assert_eq!(closes(&said, link), !fits);
    }
    // Not from another voter, not on this node's own connection, not from a member.
    let mut solo = node(2);
    let link = solo.accept_as(hello(&solo, 3)).0;
    assert_eq!(foundings(&solo.receive(link, Message::Prepare(genesis(3)))), []);
    let (link, _) = dialled(&mut solo, 1);
    assert_eq!(foundings(&solo.receive(link, Message::Prepare(genesis(3)))), []);
    let link = solo.accept(1);
    assert_eq!(foundings(&solo.receive(link, Message::Prepare(genesis(3)))), []);
}

#[test]
fn prepared_is_said_when_it_is_durable_and_a_newer_genesis_may_replace_it() {
    let mut solo = node(2);
    let link = solo.accept_as(hello(&solo, 1)).0;
    let said = solo.receive(link, Message::Prepare(genesis(3)));
    assert_eq!(sent(&said, link), []);
    let newer = Genesis { ensemble: EnsembleId { id: 9, history: 1 }, ..genesis(3) };
    assert_eq!(foundings(&solo.receive(link, Message::Prepare(newer.clone()))).len(), 1);
    assert_eq!(sent(&solo.persist(), link), [Message::Prepared(newer.ensemble)]);
    assert_eq!(solo.zab.ensemble(), None, "an unsealed genesis is no ensemble");
}

#[test]
fn a_seal_is_taken_for_what_is_durable_here_and_from_the_coordinator() {
    let (mut solo, link) = prepared();
    let said = solo.receive(link, Message::Seal(HOME));
    assert_eq!(foundings(&said), [Founding { genesis: genesis(3), sealed: true }]);
    assert_eq!(looks(&said), None, "nobody takes part before its seal is durable");
    // The seal is on its way to the disk: nothing replaces it.
    let other = Genesis { ensemble: EnsembleId { id: 9, history: 1 }, ..genesis(3) };
    let again = solo.accept_as(hello(&solo, 1)).0;
    assert!(closes(&solo.receive(again, Message::Prepare(other.clone())), again));
    assert!(looks(&solo.persist()).is_some());
    assert_eq!(solo.zab.ensemble(), Some(HOME));
    assert!(solo.zab.votes());

    let (mut solo, link) = prepared();
    let said = solo.receive(link, Message::Seal(other.ensemble));
    assert!(closes(&said, link) && foundings(&said).is_empty(), "another one's");
    let (mut solo, _) = prepared();
    let link = solo.accept_as(hello(&solo, 3)).0;
    assert!(closes(&solo.receive(link, Message::Seal(HOME)), link), "another voter's word");
    let (mut solo, _) = prepared();
    let (link, _) = dialled(&mut solo, 1);
    assert!(closes(&solo.receive(link, Message::Seal(HOME)), link), "this node's own connection");
    let mut solo = node(2);
    let link = solo.accept_as(hello(&solo, 1)).0;
    assert!(closes(&solo.receive(link, Message::Seal(HOME)), link), "nothing is prepared");
    let (mut solo, link) = prepared();
    solo.receive(link, Message::Prepare(other.clone()));
    let said = solo.receive(link, Message::Seal(HOME));
    assert!(closes(&said, link) && foundings(&said).is_empty(), "another one is being written");
}

#[test]
fn a_sealed_genesis_is_law() {
    let formed = |solo: &mut Solo, genesis: Genesis, ensemble: Option<EnsembleId>| {
        let link = solo.accept_as(Hello { ensemble, ..hello(solo, 3) }).0;
        (solo.receive(link, Message::Formed(genesis)), link)
    };
    // One that has prepared it takes it over.
    let (mut solo, _) = prepared();
    let (said, _) = formed(&mut solo, genesis(3), Some(HOME));
    assert_eq!(foundings(&said), [Founding { genesis: genesis(3), sealed: true }]);
    // One that is in it with another directory does, without a vote.
    let mut solo = node(2);
    let mut other = genesis(3);
    other.voters[1].incarnation = Some(Incarnation(99));
    let (said, _) = formed(&mut solo, other.clone(), Some(HOME));
    assert_eq!(foundings(&said).len(), 1);
    let said = solo.persist();
    assert!(said.contains(&Effect::Notice(Notice::Formed { ensemble: HOME, votes: false })));
    assert!(!solo.zab.votes());
    // One that is named with this directory and has no memory of it was put back to an older state.
    for disk in [
        Disk::default(),
        Disk {
            founding: Some(Founding {
                genesis: Genesis { ensemble: EnsembleId { id: 9, history: 1 }, ..genesis(3) },
                sealed: false,
            }),
            ..Disk::default()
        },
    ] {
        let mut solo = Solo::new(2, 3, disk, Bounds::default());
        let (said, _) = formed(&mut solo, genesis(3), Some(HOME));
        assert!(stops(&said).is_some_and(|why| why.contains("has no record of it")));
        assert_eq!(foundings(&said), []);
    }
    // One that it does not name does nothing.
    let mut solo = node(2);
    let mut without = genesis(3);
    without.voters.remove(1);
    let (said, _) = formed(&mut solo, without, Some(HOME));
    assert_eq!(foundings(&said), []);
    assert_eq!(stops(&said), None);
    // And who speaks of one is its member.
    for ensemble in [None, Some(EnsembleId { id: 9, history: 1 })] {
        let (mut solo, _) = prepared();
        let (said, link) = formed(&mut solo, genesis(3), ensemble);
        assert!(closes(&said, link) && foundings(&said).is_empty());
    }
}

#[test]
fn configurations_are_compared_voter_by_voter() {
    let differs = |theirs: Vec<u64>| {
        let mut solo = node(1);
        let link = solo.connected(2);
        let voters = theirs.iter().map(|node| voter(*node, false)).collect();
        let greeting = Message::Hello(Hello { expected: None, voters, ..hello(&solo, 2) });
        let said = solo.receive(link, greeting.clone());
        let reported = said.iter().find_map(|effect| match effect {
            Effect::Notice(Notice::ConfigurationDiffers { peer, only_theirs, only_ours }) => {
                Some((peer.0, only_theirs.join(" "), only_ours.join(" ")))
            }
            _ => None,
        });
        assert_eq!(refuses(&said, link, Reason::Configuration), reported.is_some());
        // Reported once, refused each time.
        if reported.is_some() {
            assert_eq!(dials(&solo.after(20 * MS)), [2]);
            let link = solo.connected(2);
            let said = solo.receive(link, greeting);
            assert!(refuses(&said, link, Reason::Configuration));
            assert!(
                !said
                    .iter()
                    .any(|effect| { matches!(effect, Effect::Notice(Notice::ConfigurationDiffers { .. })) })
            );
        }
        reported
    };
    assert_eq!(differs(vec![1, 2, 3]), None);
    assert_eq!(differs(vec![1, 2]), Some((2, String::new(), "n3".to_owned())));
    assert_eq!(differs(vec![1, 2, 3, 4]), Some((2, "n4".to_owned(), String::new())));
    assert_eq!(differs(vec![1, 2, 4]), Some((2, "n4".to_owned(), "n3".to_owned())));
}

#[test]
fn a_voter_that_no_configuration_of_ours_names_is_refused() {
    let mut solo = node(1);
    let (link, said) = solo.accept_as(Hello { node: NodeId(7), ..hello(&solo, 2) });
    assert!(refuses(&said, link, Reason::Configuration));
    // A member of an ensemble that it names will tell of it.
    let (link, said) = solo.accept_as(Hello { node: NodeId(7), ensemble: Some(HOME), ..hello(&solo, 2) });
    assert!(!closes(&said, link));
}

#[test]
fn a_voter_that_connects_anew_has_no_use_for_its_older_connection() {
    let mut solo = node(1);
    let two = solo.accept_as(hello(&solo, 2)).0;
    let three = solo.accept_as(hello(&solo, 3)).0;
    let (own, _) = dialled(&mut solo, 2);
    let (newer, said) = solo.accept_as(hello(&solo, 2));
    assert!(closes(&said, two));
    assert!(!closes(&said, three) && !closes(&said, own) && !closes(&said, newer));
}

#[test]
fn a_hello_that_comes_late_by_an_older_connection_is_not_believed() {
    // The simulator's seed 182347: the coordinator was restarted and drew another genesis. What its earlier life had
    // sent came behind that, and replaced what this voter had just prepared, and the others then sealed: it stopped.
    let mut solo = node(2);
    let older = [solo.accept_silent(), solo.accept_silent()];
    let (newer, _) = solo.accept_as(hello(&solo, 1));
    solo.receive(newer, Message::Prepare(genesis(3)));
    assert_eq!(sent(&solo.persist(), newer), [Message::Prepared(HOME)]);
    let said = solo.receive(older[0], Message::Hello(hello(&solo, 1)));
    assert!(closes(&said, older[0]) && !closes(&said, newer));
    let other = Genesis { ensemble: EnsembleId { id: 77, history: 1 }, ..genesis(3) };
    assert_eq!(foundings(&solo.receive(older[0], Message::Prepare(other.clone()))), []);
    // Also when the newer one is gone.
    solo.step(vec![Event::Closed { link: newer }]);
    assert!(closes(&solo.receive(older[1], Message::Hello(hello(&solo, 1))), older[1]));
    assert_eq!(foundings(&solo.receive(older[1], Message::Prepare(other))), []);
}

#[test]
fn old_connections_are_asked_anew_while_a_genesis_waits_for_its_seal() {
    // The other end may be gone without a word: four election timeouts.
    let (mut solo, [two, three], _) = preparing();
    solo.persist();
    let said = solo.after(4 * ELECTION);
    assert!(!closes(&said, two) && !closes(&said, three));
    let said = solo.after(1);
    assert!(closes(&said, two) && closes(&said, three));
    assert_eq!(dials(&solo.after(20 * MS)), [2, 3]);
    // Where nothing is prepared, nothing is hurried.
    let mut solo = node(1);
    let (two, _) = dialled(&mut solo, 2);
    assert!(!closes(&solo.after(5 * ELECTION), two));
    // Nor where the seal is being written.
    let (mut solo, links, genesis) = preparing();
    solo.persist();
    for link in links {
        solo.receive(link, Message::Prepared(genesis.ensemble));
    }
    let said = solo.after(5 * ELECTION);
    assert!(!closes(&said, links[0]) && !closes(&said, links[1]));
}

#[test]
fn what_does_not_belong_to_formation_closes_the_connection() {
    let mut solo = node(1);
    let (link, _) = dialled(&mut solo, 2);
    let said = solo.receive(link, Message::NewEpoch(gometa_zab::Epoch(1)));
    assert!(closes(&said, link));
    assert_eq!(dials(&solo.after(20 * MS)), [2], "and it is asked again");
    let (link, _) = dialled(&mut solo, 2);
    let said = solo.receive(link, Message::Refuse(Reason::Version));
    let refused = Notice::RefusedBy { peer: NodeId(2), reason: Reason::Version };
    assert!(said.contains(&Effect::Notice(refused)) && closes(&said, link));
    assert_eq!(dials(&solo.after(20 * MS)), [2]);
    // Unknown ones, and those that have not greeted, are closed too.
    let link = solo.connected(2);
    assert!(closes(&solo.receive(link, Message::Prepared(HOME)), link));
    let other = LinkId(90);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(9), link: other }]), other));
}

#[test]
fn a_node_that_is_refused_asks_less_and_less_often() {
    // Whether it is no member there, or the two disagree: the connection itself stands each time.
    for agrees in [true, false] {
        let mut solo = node(1);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let link = solo.connected(2);
            let hello = Hello { expected: None, ensemble: (!agrees).then_some(HOME), ..hello(&solo, 2) };
            solo.receive(link, Message::Hello(hello));
            solo.receive(link, Message::Refuse(Reason::Version));
            let mut waited = 0;
            while dials(&solo.after(MS)).is_empty() {
                waited += 1;
            }
            waits.push(waited + 1);
        }
        assert_eq!(waits, [20, 40, 80, 160, 320, 640, 1_000, 1_000], "milliseconds");
        // Once it is let in, it comes back at once after a loss.
        let (link, _) = dialled(&mut solo, 2);
        solo.step(vec![Event::Closed { link }]);
        let (link, _) = dialled(&mut solo, 2);
        solo.step(vec![Event::Closed { link }]);
        assert_eq!(dials(&solo.after(20 * MS)), [2]);
    }
}

#[test]
fn a_connection_that_nobody_greets_on_is_closed_and_a_greeted_one_is_kept() {
    let mut solo = node(1);
    let silent = LinkId(90);
    solo.step(vec![Event::Accepted { link: silent }]);
    let greeted = solo.accept_as(hello(&solo, 2)).0;
    let said = solo.after(ELECTION + 1);
    assert!(closes(&said, silent) && !closes(&said, greeted));
}

#[test]
fn the_hello_of_a_forming_node_names_its_configuration() {
    let mut solo = node(1);
    let link = LinkId(90);
    let said = solo.step(vec![Event::Connected { peer: NodeId(2), link }]);
    let own = Hello {
        node: NodeId(1),
        incarnation: Incarnation(1),
        boot: 1,
        expected: Some(NodeId(2)),
        ensemble: None,
        addresses: Addresses { message: "n1".to_owned(), ..Addresses::default() },
        voters: voters(3, false),
    };
    assert_eq!(sent(&said, link), [Message::Hello(own)]);
    assert!(!solo.zab.votes(), "it has none before it is formed");
}
