//! A member that takes the place of another one: what a leader proposes by itself, in which order (section 5.2).

use gometa_zab::{
    Bounds, Change, DesiredRole, Effect, Event, Learner, LinkId, Message, NodeId, Notice, Replacement,
};

use super::{
    integrity::returns_with,
    returns::{acknowledges, catches_up, connects, pass, proposed},
    solo::{ELECTION, MS, Solo, member},
};

const REPLACEMENT: Replacement = Replacement { old: NodeId(2), new: NodeId(4) };

/// Changes the configuration, and commits that with this follower's ack.
fn change(solo: &mut Solo, follower: LinkId, change: Change) {
    let event = Event::ChangeConfiguration { id: 1, change: change.clone(), asked_by: Some(NodeId(3)) };
    let effects = solo.step(vec![event]);
    assert_eq!(proposed(&effects), [change]);
    assert_eq!(solo.zab.configuration().asked_by(), Some(NodeId(3)));
    acknowledges(solo, follower);
}

/// Node 3 of three leads node 1, and node 2 if `old_runs`. Node 4, a learner that is connected and not up to date, takes the
/// place of `old`. Returns the links to node 1 and to node 4.
fn replacing(old: u64, old_runs: bool) -> (Solo, Vec<LinkId>, LinkId) {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let mut links = solo.established(if old_runs { &[1, 2] } else { &[1] });
    let hello = solo.hello(4);
    let learner = Learner {
        node: NodeId(4),
        incarnation: hello.incarnation,
        addresses: hello.addresses,
        desired: DesiredRole::Learner,
    };
    change(&mut solo, links[0], Change::AddLearner(learner));
    change(&mut solo, links[0], Change::Replace(Replacement { old: NodeId(old), ..REPLACEMENT }));
    let (new, changes) = connects(&mut solo, 4, hello.incarnation);
    assert_eq!(changes, []);
    links.push(new);
    assert_eq!(pass(&mut solo, &links, 2 * ELECTION), [], "it is not up to date");
    (solo, links, new)
}

#[test]
fn a_voter_that_runs_is_removed_when_the_new_one_is_a_voter() {
    let (mut solo, links, new) = replacing(2, true);
    catches_up(&mut solo, new);
    assert_eq!(pass(&mut solo, &links, 100 * MS), [Change::Promote(NodeId(4))]);
    assert_eq!(solo.zab.configuration().asked_by(), None, "the leader's own change");
    assert_eq!(pass(&mut solo, &links, ELECTION), [], "the promotion is not committed");
    let changes: Vec<Change> = links.iter().flat_map(|link| acknowledges(&mut solo, *link)).collect();
    assert_eq!(changes, [Change::RemoveVoter(NodeId(2))]);
    assert_eq!(solo.zab.configuration().replacements(), []);
}

#[test]
fn a_voter_that_does_not_run_is_removed_first_when_the_new_one_is_up_to_date() {
    let (mut solo, links, new) = replacing(2, false);
    catches_up(&mut solo, new);
    assert_eq!(pass(&mut solo, &links, 100 * MS), [Change::RemoveVoter(NodeId(2))]);
    acknowledges(&mut solo, links[0]);
    acknowledges(&mut solo, new);
    assert_eq!(pass(&mut solo, &links, 200 * MS), [Change::Promote(NodeId(4))]);
}

#[test]
fn the_old_voter_stays_while_the_new_one_is_away() {
    let (mut solo, links, new) = replacing(2, true);
    catches_up(&mut solo, new);
    assert_eq!(pass(&mut solo, &links, 100 * MS), [Change::Promote(NodeId(4))]);
    for link in &links {
        acknowledges(&mut solo, *link);
    }
    solo.step(vec![Event::Closed { link: new }]);
    assert_eq!(pass(&mut solo, &links[..2], 2 * ELECTION), []);
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    let back = returns_with(&mut solo, 4, epoch, last);
    catches_up(&mut solo, back);
    assert_eq!(pass(&mut solo, &[links[0], links[1], back], 200 * MS), [Change::RemoveVoter(NodeId(2))]);
}

#[test]
fn a_leader_whose_place_is_taken_hands_over() {
    let (mut solo, links, new) = replacing(3, true);
    catches_up(&mut solo, new);
    assert_eq!(pass(&mut solo, &links, 100 * MS), [Change::Promote(NodeId(4))]);
    for link in &links {
        acknowledges(&mut solo, *link);
    }
    let mut begun = false;
    for _ in 0..3 {
        let effects = solo.after(100 * MS);
        assert_eq!(proposed(&effects), []);
        begun |= effects.iter().any(|effect| matches!(effect, Effect::Notice(Notice::TransferBegun { .. })));
    }
    assert!(begun, "the next leader removes it");
}

#[test]
fn a_replacement_that_is_cancelled_removes_nobody() {
    let (mut solo, links, new) = replacing(2, true);
    catches_up(&mut solo, new);
    assert_eq!(pass(&mut solo, &links, 100 * MS), [Change::Promote(NodeId(4))]);
    for link in &links {
        acknowledges(&mut solo, *link);
    }
    change(&mut solo, links[0], Change::CancelReplacement(NodeId(4)));
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    for link in &links {
        solo.receive(*link, Message::Ack { epoch, last });
    }
    assert_eq!(pass(&mut solo, &links, 2 * ELECTION), []);
    assert_eq!(solo.zab.configuration().voters().len(), 4);
}
