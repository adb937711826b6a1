//! Formation (section 5.7): a node that belongs to no ensemble.

use gometa_testkit::disk::Disk;
use gometa_zab::{
    Addresses, Bounds, Effect, EnsembleId, Event, Founding, Genesis, Hello, Incarnation, LinkId, Message,
    NodeId, Notice, Reason, Role, Write, Zxid,
};

use super::solo::{
    ELECTION, HOME, MS, Solo, closes, dials, genesis, looking, refuses, sent, stop_reason, voter, voters,
};

/// Node `me` of three, with an empty directory.
fn node(me: u64) -> Solo {
    Solo::new(me, 3, Disk::default(), Bounds::default())
}

/// The Hello of a voter without an ensemble.
fn hello(solo: &Solo, node: u64) -> Hello {
    Hello { ensemble: None, voters: voters(3, false), ..solo.hello(node) }
}

/// A connection that the node has dialled, and on which Hello was received.
fn dialled(solo: &mut Solo, peer: u64) -> (LinkId, Vec<Effect>) {
    let link = solo.connected(peer);
    let effects = solo.receive(link, Message::Hello(Hello { expected: None, ..hello(solo, peer) }));
    (link, effects)
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

/// The coordinator after it has drawn a genesis, and the connections on which it was sent.
fn preparing() -> (Solo, [LinkId; 2], Genesis) {
    let mut solo = node(1);
    let (two, _) = dialled(&mut solo, 2);
    let (three, effects) = dialled(&mut solo, 3);
    let genesis = foundings(&effects)[0].genesis.clone();
    (solo, [two, three], genesis)
}

/// Node 2 with a durable genesis, and its connection from the coordinator.
fn prepared() -> (Solo, LinkId) {
    let mut solo = node(2);
    let link = solo.accept_as(hello(&solo, 1)).0;
    solo.receive(link, Message::Prepare(genesis(3)));
    assert_eq!(sent(&solo.persist(), link), [Message::Prepared(HOME)]);
    (solo, link)
}

#[test]
fn a_genesis_is_drawn_when_all_voters_are_connected() {
    let mut solo = node(1);
    assert_eq!(dials(&solo.first), [2, 3]);
    assert_eq!(waits(&solo.first), [[2, 3]]);
    assert_eq!(waits(&solo.after(MS)), [] as [Vec<u64>; 0], "reported when it changes");
    let (two, effects) = dialled(&mut solo, 2);
    assert_eq!(waits(&effects), [[3]]);
    assert_eq!(foundings(&effects), []);
    let (three, effects) = dialled(&mut solo, 3);
    let Founding { genesis, sealed } = foundings(&effects).remove(0);
    assert!(!sealed);
    assert_eq!(genesis.voters, voters(3, true), "all voters with their incarnations and addresses");
    assert_eq!(sent(&effects, two), [Message::Prepare(genesis.clone())]);
    assert_eq!(sent(&effects, three), [Message::Prepare(genesis)]);
}

#[test]
fn only_the_voter_with_the_lowest_id_draws_a_genesis() {
    let mut solo = node(2);
    dialled(&mut solo, 1);
    let (_, effects) = dialled(&mut solo, 3);
    assert_eq!(foundings(&effects), []);
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
    // The wait is reset by a matching Hello, not by an open connection.
    let link = solo.connected(2);
    solo.step(vec![Event::Closed { link }]);
    assert_eq!(dials(&solo.after(ELECTION - 1)), [] as [u64; 0]);
    assert_eq!(dials(&solo.after(1)), [2]);
    let (link, _) = dialled(&mut solo, 2);
    solo.step(vec![Event::Closed { link }]);
    assert_eq!(dials(&solo.after(20 * MS)), [2]);
}

#[test]
fn the_seal_needs_the_disk_of_every_voter() {
    let (mut solo, [two, three], genesis) = preparing();
    let prepared = Message::Prepared(genesis.ensemble);
    solo.receive(two, Message::Prepared(HOME));
    solo.receive(two, prepared.clone());
    assert_eq!(foundings(&solo.receive(two, prepared.clone())), [], "a repetition does not count twice");
    assert_eq!(foundings(&solo.persist()), [], "the third is missing");
    let effects = solo.receive(three, prepared);
    assert_eq!(foundings(&effects), [Founding { genesis: genesis.clone(), sealed: true }]);
    assert_eq!(sent(&effects, two), [], "not before it is durable here");
    let effects = solo.persist();
    assert_eq!(sent(&effects, two)[0], Message::Seal(genesis.ensemble));
    assert_eq!(sent(&effects, three)[0], Message::Seal(genesis.ensemble));
    let formed = Notice::Formed { ensemble: genesis.ensemble, votes: true };
    assert!(effects.contains(&Effect::Notice(formed)));
    assert_eq!(looking(&effects), Some("the ensemble is formed"));
    assert!(closes(&effects, two) && closes(&effects, three));

    // The coordinator's own disk is one of them.
    let (mut solo, links, genesis) = preparing();
    for link in links {
        let effects = solo.receive(link, Message::Prepared(genesis.ensemble));
        assert_eq!(foundings(&effects), []);
    }
    assert_eq!(foundings(&solo.persist()).len(), 1);
}

#[test]
fn a_voter_lost_before_the_seal_may_return_with_another_incarnation() {
    let (mut solo, [two, three], first) = preparing();
    solo.persist();
    solo.receive(three, Message::Prepared(first.ensemble));
    let effects = solo.step(vec![Event::Closed { link: three }]);
    assert_eq!(waits(&effects), [[3]]);
    assert_eq!(foundings(&solo.receive(two, Message::Prepared(first.ensemble))), []);
    assert_eq!(dials(&solo.after(20 * MS)), [3]);
    let link = solo.connected(3);
    let other = Hello { expected: None, incarnation: Incarnation(33), ..hello(&solo, 3) };
    let effects = solo.receive(link, Message::Hello(other));
    let second = foundings(&effects).remove(0).genesis;
    assert_eq!(second.voters[2].incarnation, Some(Incarnation(33)));
    assert_ne!(second.ensemble, first.ensemble, "a new ensemble id");
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
        let effects = solo.receive(link, Message::Prepare(genesis.clone()));
        assert_eq!(foundings(&effects).len(), usize::from(fits), "{genesis:?}");
        assert_eq!(closes(&effects, link), !fits);
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
fn prepared_is_sent_when_the_genesis_is_durable_and_a_newer_genesis_may_replace_it() {
    let mut solo = node(2);
    let link = solo.accept_as(hello(&solo, 1)).0;
    let effects = solo.receive(link, Message::Prepare(genesis(3)));
    assert_eq!(sent(&effects, link), []);
    let newer = Genesis { ensemble: EnsembleId { id: 9, history: 1 }, ..genesis(3) };
    assert_eq!(foundings(&solo.receive(link, Message::Prepare(newer.clone()))).len(), 1);
    assert_eq!(sent(&solo.persist(), link), [Message::Prepared(newer.ensemble)]);
    assert_eq!(solo.zab.ensemble(), None, "an unsealed genesis is no ensemble");
}

#[test]
fn a_seal_is_accepted_for_the_durable_genesis_and_only_from_the_coordinator() {
    let (mut solo, link) = prepared();
    let effects = solo.receive(link, Message::Seal(HOME));
    assert_eq!(foundings(&effects), [Founding { genesis: genesis(3), sealed: true }]);
    assert_eq!(looking(&effects), None, "it does not vote before its seal is durable");
    // The seal is being written, so no genesis replaces it.
    let other = Genesis { ensemble: EnsembleId { id: 9, history: 1 }, ..genesis(3) };
    let again = solo.accept_as(hello(&solo, 1)).0;
    assert!(closes(&solo.receive(again, Message::Prepare(other.clone())), again));
    assert!(looking(&solo.persist()).is_some());
    assert_eq!(solo.zab.ensemble(), Some(HOME));
    assert!(solo.zab.votes());

    let (mut solo, link) = prepared();
    let effects = solo.receive(link, Message::Seal(other.ensemble));
    assert!(closes(&effects, link) && foundings(&effects).is_empty(), "of another ensemble");
    let (mut solo, _) = prepared();
    let link = solo.accept_as(hello(&solo, 3)).0;
    assert!(closes(&solo.receive(link, Message::Seal(HOME)), link), "from another voter");
    let (mut solo, _) = prepared();
    let (link, _) = dialled(&mut solo, 1);
    assert!(closes(&solo.receive(link, Message::Seal(HOME)), link), "on a connection that this node dialled");
    let mut solo = node(2);
    let link = solo.accept_as(hello(&solo, 1)).0;
    assert!(closes(&solo.receive(link, Message::Seal(HOME)), link), "nothing is prepared");
    let (mut solo, link) = prepared();
    solo.receive(link, Message::Prepare(other.clone()));
    let effects = solo.receive(link, Message::Seal(HOME));
    assert!(closes(&effects, link) && foundings(&effects).is_empty(), "another genesis is being written");
}

#[test]
fn a_node_adopts_the_sealed_genesis_of_a_member() {
    let formed = |solo: &mut Solo, genesis: Genesis, ensemble: Option<EnsembleId>| {
        let link = solo.accept_as(Hello { ensemble, ..hello(solo, 3) }).0;
        (solo.receive(link, Message::Formed(genesis)), link)
    };
    // A node that has prepared it adopts it.
    let (mut solo, _) = prepared();
    let (effects, _) = formed(&mut solo, genesis(3), Some(HOME));
    assert_eq!(foundings(&effects), [Founding { genesis: genesis(3), sealed: true }]);
    // So does a node that it names with another incarnation, without a vote.
    let mut solo = node(2);
    let mut other = genesis(3);
    other.voters[1].incarnation = Some(Incarnation(99));
    let (effects, _) = formed(&mut solo, other.clone(), Some(HOME));
    assert_eq!(foundings(&effects).len(), 1);
    let effects = solo.persist();
    assert!(effects.contains(&Effect::Notice(Notice::Formed { ensemble: HOME, votes: false })));
    assert!(!solo.zab.votes());
    // A node that it names with this incarnation, but that has no record of it, was restored to an older state.
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
        let (effects, _) = formed(&mut solo, genesis(3), Some(HOME));
        assert!(stop_reason(&effects).is_some_and(|why| why.contains("has no record of it")));
        assert_eq!(foundings(&effects), []);
    }
    // A node that it does not name has become a member since: members send their genesis to no other node.
    let mut solo = node(2);
    let mut without = genesis(3);
    without.voters.remove(1);
    let (effects, _) = formed(&mut solo, without.clone(), Some(HOME));
    assert_eq!(foundings(&effects), [Founding { genesis: without, sealed: true }]);
    assert_eq!(stop_reason(&effects), None);
    // Only a member of the ensemble may send it.
    for ensemble in [None, Some(EnsembleId { id: 9, history: 1 })] {
        let (mut solo, _) = prepared();
        let (effects, link) = formed(&mut solo, genesis(3), ensemble);
        assert!(closes(&effects, link) && foundings(&effects).is_empty());
    }
}

#[test]
fn configurations_are_compared_voter_by_voter() {
    let differs = |theirs: Vec<u64>| {
        let mut solo = node(1);
        let link = solo.connected(2);
        let voters = theirs.iter().map(|node| voter(*node, false)).collect();
        let hello = Message::Hello(Hello { expected: None, voters, ..hello(&solo, 2) });
        let effects = solo.receive(link, hello.clone());
        let reported = effects.iter().find_map(|effect| match effect {
            Effect::Notice(Notice::ConfigurationDiffers { peer, only_theirs, only_ours }) => {
                Some((peer.0, only_theirs.join(" "), only_ours.join(" ")))
            }
            _ => None,
        });
        assert_eq!(refuses(&effects, link, Reason::Configuration), reported.is_some());
        // Reported once, refused each time.
        if reported.is_some() {
            assert_eq!(dials(&solo.after(20 * MS)), [2]);
            let link = solo.connected(2);
            let effects = solo.receive(link, hello);
            assert!(refuses(&effects, link, Reason::Configuration));
            assert!(
                !effects
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
fn a_voter_that_is_not_configured_is_refused() {
    let mut solo = node(1);
    let (link, effects) = solo.accept_as(Hello { node: NodeId(7), ..hello(&solo, 2) });
    assert!(refuses(&effects, link, Reason::Configuration));
    // A member of an ensemble is not refused: it will send the genesis.
    let (link, effects) = solo.accept_as(Hello { node: NodeId(7), ensemble: Some(HOME), ..hello(&solo, 2) });
    assert!(!closes(&effects, link));
}

#[test]
fn a_new_connection_of_a_voter_replaces_its_older_one() {
    let mut solo = node(1);
    let two = solo.accept_as(hello(&solo, 2)).0;
    let three = solo.accept_as(hello(&solo, 3)).0;
    let (own, _) = dialled(&mut solo, 2);
    let (newer, effects) = solo.accept_as(hello(&solo, 2));
    assert!(closes(&effects, two));
    assert!(!closes(&effects, three) && !closes(&effects, own) && !closes(&effects, newer));
}

#[test]
fn a_late_hello_on_an_older_connection_is_rejected() {
    // Found by the simulator (seed 182347): the coordinator was restarted and drew another genesis. A genesis of its
    // earlier start arrived later and replaced the one that this voter had prepared and the others sealed: it stopped.
    let mut solo = node(2);
    let older = [solo.accept_without_hello(), solo.accept_without_hello()];
    let (newer, _) = solo.accept_as(hello(&solo, 1));
    solo.receive(newer, Message::Prepare(genesis(3)));
    assert_eq!(sent(&solo.persist(), newer), [Message::Prepared(HOME)]);
    let effects = solo.receive(older[0], Message::Hello(hello(&solo, 1)));
    assert!(closes(&effects, older[0]) && !closes(&effects, newer));
    let other = Genesis { ensemble: EnsembleId { id: 77, history: 1 }, ..genesis(3) };
    assert_eq!(foundings(&solo.receive(older[0], Message::Prepare(other.clone()))), []);
    // Also after the newer connection is closed.
    solo.step(vec![Event::Closed { link: newer }]);
    assert!(closes(&solo.receive(older[1], Message::Hello(hello(&solo, 1))), older[1]));
    assert_eq!(foundings(&solo.receive(older[1], Message::Prepare(other))), []);
}

#[test]
fn connections_are_replaced_while_a_genesis_waits_for_its_seal() {
    // The peer may be lost without a notice: after four election timeouts.
    let (mut solo, [two, three], _) = preparing();
    solo.persist();
    let effects = solo.after(4 * ELECTION);
    assert!(!closes(&effects, two) && !closes(&effects, three));
    let effects = solo.after(1);
    assert!(closes(&effects, two) && closes(&effects, three));
    assert_eq!(dials(&solo.after(20 * MS)), [2, 3]);
    // Not while no genesis is prepared.
    let mut solo = node(1);
    let (two, _) = dialled(&mut solo, 2);
    assert!(!closes(&solo.after(5 * ELECTION), two));
    // Nor while the seal is being written.
    let (mut solo, links, genesis) = preparing();
    solo.persist();
    for link in links {
        solo.receive(link, Message::Prepared(genesis.ensemble));
    }
    let effects = solo.after(5 * ELECTION);
    assert!(!closes(&effects, links[0]) && !closes(&effects, links[1]));
}

#[test]
fn a_message_that_does_not_belong_to_formation_closes_the_connection() {
    let mut solo = node(1);
    let (link, _) = dialled(&mut solo, 2);
    let effects = solo.receive(link, Message::NewEpoch(gometa_zab::Epoch(1)));
    assert!(closes(&effects, link));
    assert_eq!(dials(&solo.after(20 * MS)), [2], "and it is dialled again");
    let (link, _) = dialled(&mut solo, 2);
    let effects = solo.receive(link, Message::Refuse(Reason::Version));
    let refused = Notice::RefusedBy { peer: NodeId(2), reason: Reason::Version };
    assert!(effects.contains(&Effect::Notice(refused)) && closes(&effects, link));
    assert_eq!(dials(&solo.after(20 * MS)), [2]);
    // Connections without Hello, and those to an unknown node, are closed too.
    let link = solo.connected(2);
    assert!(closes(&solo.receive(link, Message::Prepared(HOME)), link));
    let other = LinkId(90);
    assert!(closes(&solo.step(vec![Event::Connected { peer: NodeId(9), link: other }]), other));
}

#[test]
fn a_refused_node_dials_again_with_exponential_backoff() {
    // Refused by an ensemble, or for a different configuration; the connection itself succeeds each time.
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
        // The backoff is reset by an accepted Hello.
        let (link, _) = dialled(&mut solo, 2);
        solo.step(vec![Event::Closed { link }]);
        let (link, _) = dialled(&mut solo, 2);
        solo.step(vec![Event::Closed { link }]);
        assert_eq!(dials(&solo.after(20 * MS)), [2]);
    }
}

#[test]
fn a_connection_without_hello_is_closed_and_one_with_hello_is_kept() {
    let mut solo = node(1);
    let silent = LinkId(90);
    solo.step(vec![Event::Accepted { link: silent }]);
    let with_hello = solo.accept_as(hello(&solo, 2)).0;
    let effects = solo.after(ELECTION + 1);
    assert!(closes(&effects, silent) && !closes(&effects, with_hello));
}

#[test]
fn the_hello_of_a_forming_node_names_its_configuration() {
    let mut solo = node(1);
    let link = LinkId(90);
    let effects = solo.step(vec![Event::Connected { peer: NodeId(2), link }]);
    let own = Hello {
        node: NodeId(1),
        incarnation: Incarnation(1),
        boot: 1,
        expected: Some(NodeId(2)),
        ensemble: None,
        addresses: Addresses { message: "n1".to_owned(), ..Addresses::default() },
        voters: voters(3, false),
        configuration: Zxid::ZERO,
        levels: gometa_zab::Levels::SUPPORTED,
        level: None,
    };
    assert_eq!(sent(&effects, link), [Message::Hello(own)]);
    assert!(!solo.zab.votes(), "it has no vote before the ensemble is formed");
}

/// Node `me` of three, after its record of the ensemble was lost.
fn never_founding(me: u64) -> Solo {
    Solo::never_founding(me, 3)
}

#[test]
fn a_node_that_never_founds_refuses_nodes_without_an_ensemble() {
    for me in [1, 2] {
        let mut solo = never_founding(me);
        let other = 3 - me;
        let (link, effects) = dialled(&mut solo, other);
        assert!(refuses(&effects, link, Reason::NeverFounds));
        let (link, effects) = solo.accept_as(hello(&solo, other));
        assert!(refuses(&effects, link, Reason::NeverFounds));
        let (link, effects) = solo.accept_as(hello(&solo, 3));
        assert!(refuses(&effects, link, Reason::NeverFounds));
        for _ in 0..50 {
            assert_eq!(foundings(&solo.after(ELECTION)), []);
        }
    }
    // Not alone either.
    let mut solo = Solo::never_founding(1, 1);
    assert_eq!(foundings(&solo.first), []);
    assert_eq!(foundings(&solo.after(ELECTION)), []);
}

#[test]
fn a_node_that_never_founds_prepares_no_genesis() {
    let mut solo = never_founding(2);
    let link = solo.accept_as(Hello { ensemble: Some(HOME), ..hello(&solo, 1) }).0;
    for message in [Message::Prepare(genesis(3)), Message::Seal(HOME)] {
        assert_eq!(foundings(&solo.receive(link, message)), []);
    }
}

#[test]
fn a_node_that_never_founds_adopts_a_sealed_genesis() {
    let mut solo = never_founding(2);
    let link = solo.connected(1);
    let member = Hello { expected: None, ensemble: Some(HOME), ..hello(&solo, 1) };
    assert!(!closes(&solo.receive(link, Message::Hello(member)), link));
    let mut theirs = genesis(3);
    theirs.voters[1].incarnation = Some(Incarnation(99));
    let effects = solo.receive(link, Message::Formed(theirs.clone()));
    assert_eq!(foundings(&effects), [Founding { genesis: theirs, sealed: true }]);
    let effects = solo.persist();
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Notice(Notice::Formed { votes: false, .. })))
    );
}
