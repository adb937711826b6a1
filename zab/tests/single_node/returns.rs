//! Members with another data directory: a leader records the new one and gives the vote back (section 5.8).

use gometa_zab::{
    Bounds, Change, DesiredRole, Effect, Epoch, Event, Hello, Incarnation, Learner, LinkId, Message, NodeId,
    Notice, Zxid,
};

use super::solo::{ELECTION, MS, Solo, heartbeat_ack, member, promised};

const NEW: Incarnation = Incarnation(77);

/// Node 3 of three, established with node 1.
fn leader() -> (Solo, LinkId) {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let link = solo.established(&[1])[0];
    (solo, link)
}

/// A node connects with this incarnation and describes its empty log; returns the changes proposed, too.
pub(super) fn connects(solo: &mut Solo, node: u64, incarnation: Incarnation) -> (LinkId, Vec<Change>) {
    let (link, _) = solo.accept_as(Hello { incarnation, ..solo.hello(node) });
    solo.receive(link, promised(0));
    let (epoch, zero) = (solo.epoch(), Zxid::ZERO);
    let boundaries = Vec::new();
    let message = Message::AckEpoch { epoch, current: Epoch(0), last: zero, oldest: zero, boundaries };
    let effects = solo.receive(link, message);
    (link, proposed(&effects))
}

/// Time passes while these followers are heard; returns the changes proposed.
pub(super) fn pass(solo: &mut Solo, links: &[LinkId], micros: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..micros / (100 * MS) {
        let effects = solo.after(100 * MS);
        changes.extend(proposed(&effects));
        for link in links {
            solo.receive(*link, heartbeat_ack(solo.epoch(), 0));
        }
    }
    changes
}

pub(super) fn proposed(effects: &[Effect]) -> Vec<Change> {
    let change = |effect: &Effect| match effect {
        Effect::Notice(Notice::ChangeProposed { change, .. }) => Some(change.clone()),
        _ => None,
    };
    effects.iter().filter_map(change).collect()
}

/// A follower has everything, and everything is durable here.
pub(super) fn acknowledges(solo: &mut Solo, link: LinkId) -> Vec<Change> {
    solo.persist();
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    proposed(&solo.receive(link, Message::Ack { epoch, last }))
}

/// A learner has the initial history and serves.
pub(super) fn catches_up(solo: &mut Solo, link: LinkId) {
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    solo.receive(link, Message::AckNewLeader { epoch, last });
}

fn exchange(node: u64) -> Change {
    Change::Exchange { node: NodeId(node), incarnation: NEW }
}

#[test]
fn a_voter_with_another_directory_becomes_a_learner_and_a_voter_again() {
    let (mut solo, link) = leader();
    let (returned, _) = connects(&mut solo, 2, NEW);
    let both = [link, returned];
    assert_eq!(pass(&mut solo, &both, ELECTION), [], "the old directory may still be there");
    assert_eq!(pass(&mut solo, &both, 100 * MS), [exchange(2)]);
    assert!(!solo.zab.configuration().contains(NodeId(9)) && solo.zab.configuration().voters().len() == 2);
    let learner = solo.zab.configuration().learner(NodeId(2)).cloned().expect("a learner");
    assert_eq!((learner.incarnation, learner.desired), (NEW, DesiredRole::Voter));
    acknowledges(&mut solo, link);
    assert_eq!(pass(&mut solo, &both, ELECTION), [], "it does not serve yet");
    catches_up(&mut solo, returned);
    assert_eq!(pass(&mut solo, &both, 100 * MS), [Change::Promote(NodeId(2))]);
    assert!(solo.zab.configuration().is_voter(NodeId(2), NEW));
    acknowledges(&mut solo, link);
    acknowledges(&mut solo, returned);
    assert_eq!(pass(&mut solo, &both, ELECTION), [], "nothing is left to do");
}

#[test]
fn a_voter_is_not_exchanged_while_its_old_directory_is_connected() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let links = solo.established(&[1, 2]);
    let (returned, _) = connects(&mut solo, 2, NEW);
    let all = [links[0], links[1], returned];
    assert_eq!(pass(&mut solo, &all, 5 * ELECTION), []);
    solo.step(vec![Event::Closed { link: links[1] }]);
    assert_eq!(pass(&mut solo, &[links[0], returned], ELECTION), [], "it was heard a moment ago");
    assert_eq!(pass(&mut solo, &[links[0], returned], 200 * MS), [exchange(2)]);
}

#[test]
fn two_directories_of_a_node_do_not_take_turns() {
    let (mut solo, link) = leader();
    let (returned, _) = connects(&mut solo, 2, NEW);
    assert_eq!(pass(&mut solo, &[link, returned], ELECTION + 200 * MS), [exchange(2)]);
    acknowledges(&mut solo, link);
    solo.step(vec![Event::Closed { link: returned }]);
    let (old, _) = connects(&mut solo, 2, Incarnation(2));
    assert_eq!(pass(&mut solo, &[link, old], 9 * ELECTION), []);
    let back = Change::ReplaceIncarnation { node: NodeId(2), incarnation: Incarnation(2) };
    assert_eq!(pass(&mut solo, &[link, old], 2 * ELECTION), [back]);
}

#[test]
fn a_learner_with_another_directory_is_recorded_and_keeps_its_desired_role() {
    let (mut solo, link) = leader();
    let desired = DesiredRole::Learner;
    let addresses = solo.hello(4).addresses;
    let learner = Learner { node: NodeId(4), incarnation: Incarnation(4), addresses, desired };
    solo.step(vec![Event::ChangeConfiguration {
        id: 1,
        change: Change::AddLearner(learner),
        asked_by: None,
    }]);
    acknowledges(&mut solo, link);
    let (returned, _) = connects(&mut solo, 4, NEW);
    let recorded = Change::ReplaceIncarnation { node: NodeId(4), incarnation: NEW };
    let changes = pass(&mut solo, &[link, returned], 100 * MS);
    assert_eq!(changes, [recorded], "with the next heartbeat: the first directory was never heard");
    acknowledges(&mut solo, link);
    catches_up(&mut solo, returned);
    assert_eq!(pass(&mut solo, &[link, returned], 2 * ELECTION), [], "it is to stay a learner");
    assert_eq!(solo.zab.configuration().learner(NodeId(4)).unwrap().desired, desired);
}

#[test]
fn a_change_that_would_stop_the_ensemble_waits_and_is_noticed_once_a_minute() {
    // Of five, node 3 leads 1 and 2. Node 4 is gone; of the four voters without node 5, three are needed.
    let mut solo = Solo::new(3, 5, member(5, &[]), Bounds::default());
    let links = solo.established(&[1, 2]);
    let (returned, _) = connects(&mut solo, 5, NEW);
    // Node 2 connects again, and is not up to date yet.
    solo.step(vec![Event::Closed { link: links[1] }]);
    let (second, _) = connects(&mut solo, 2, Incarnation(2));
    let all = [links[0], second, returned];
    let mut waits = 0;
    for _ in 0..30 {
        let effects = solo.after(100 * MS);
        assert_eq!(proposed(&effects), []);
        waits += effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Notice(Notice::ChangeWaits { .. })))
            .count();
        for link in all {
            solo.receive(link, heartbeat_ack(solo.epoch(), 0));
        }
    }
    assert_eq!(waits, 1);
    catches_up(&mut solo, second);
    assert_eq!(pass(&mut solo, &all, 100 * MS), [exchange(5)]);
}
