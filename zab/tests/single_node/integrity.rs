//! Divergence and quarantine (section 5.10).

use gometa_zab::{
    Bounds, DiskSpace, Effect, Epoch, Event, Fault, Hello, Incarnation, IntegrityNotice, LinkId, Message,
    NodeId, Notice, Role, StateHash, StateReport, VoteState, Zxid,
};

use crate::solo::{ELECTION, MS, Solo, closes, heartbeat_ack, looking, member, promised, sent, votes};

const RIGHT: u128 = 7;
const WRONG: u128 = 8;

fn hash(counter: u64, hash: u128) -> StateHash {
    StateHash { counter, hash }
}

/// Node 3 of this many leads these followers. Its own hash at 8 is `own`.
fn leader(count: u64, followers: &[u64], own: u128) -> (Solo, Vec<LinkId>) {
    let mut solo = Solo::new(3, count, member(count, &[(1, 20)]), Bounds::default());
    let links = solo.established(followers);
    solo.step(vec![Event::StateHash(hash(8, own))]);
    (solo, links)
}

fn report(solo: &mut Solo, link: LinkId, hashes: Vec<StateHash>, damaged: bool) -> Vec<Effect> {
    let (epoch, space) = (solo.epoch(), DiskSpace::Ample);
    let state = StateReport { hashes, damaged };
    solo.receive(link, Message::HeartbeatAck { epoch, id: 0, space, state })
}

/// The orders to go into quarantine during the next heartbeat interval.
fn orders(solo: &mut Solo, links: &[LinkId]) -> Vec<(LinkId, Fault)> {
    orders_in(&solo.after(100 * MS), links)
}

fn orders_in(effects: &[Effect], links: &[LinkId]) -> Vec<(LinkId, Fault)> {
    let order = |link: LinkId| {
        sent(effects, link).into_iter().filter_map(move |message| match message {
            Message::Quarantine { fault, .. } => Some((link, fault)),
            _ => None,
        })
    };
    links.iter().copied().flat_map(order).collect()
}

fn notices(effects: &[Effect]) -> Vec<IntegrityNotice> {
    let notice = |effect: &Effect| match effect {
        Effect::Notice(Notice::Integrity(notice)) => Some(*notice),
        _ => None,
    };
    effects.iter().filter_map(notice).collect()
}

#[test]
fn a_follower_that_differs_from_a_majority_of_all_voters_is_told_to_go_once() {
    let (mut solo, links) = leader(3, &[1, 2], RIGHT);
    report(&mut solo, links[1], vec![hash(8, WRONG)], false);
    assert_eq!(orders(&mut solo, &links), [], "two voters differ, the third has not reported");
    report(&mut solo, links[0], vec![hash(8, RIGHT)], false);
    let fault = Fault::Diverged(hash(8, RIGHT));
    let effects = solo.after(100 * MS);
    assert_eq!(orders_in(&effects, &links), [(links[1], fault)]);
    assert_eq!(notices(&effects), [IntegrityNotice::AtFault { node: NodeId(2), fault }]);
    assert_eq!(orders(&mut solo, &links), []);
}

#[test]
fn an_order_that_a_follower_does_not_confirm_is_repeated_for_another_fault_only() {
    let (mut solo, links) = leader(3, &[1, 2], RIGHT);
    report(&mut solo, links[0], vec![hash(8, RIGHT)], false);
    report(&mut solo, links[1], vec![hash(8, WRONG)], false);
    let effects = solo.after(100 * MS);
    assert_eq!(orders_in(&effects, &links), [(links[1], Fault::Diverged(hash(8, RIGHT)))]);

    // It acknowledges heartbeats that were sent after the order: it has not confirmed the fault.
    let latest = |effects: &[Effect]| {
        let ids = sent(effects, links[1]).into_iter().filter_map(|message| match message {
            Message::Heartbeat { id, .. } => Some(id),
            _ => None,
        });
        ids.max()
    };
    let mut last = latest(&effects).unwrap_or(0);
    for _ in 0..5 {
        let effects = solo.after(100 * MS);
        assert_eq!(orders_in(&effects, &links), [], "for the same fault once");
        last = latest(&effects).unwrap_or(last);
        let epoch = solo.epoch();
        links.iter().for_each(|link| drop(solo.receive(*link, heartbeat_ack(epoch, last))));
    }
    report(&mut solo, links[1], vec![], true);
    assert_eq!(orders(&mut solo, &links), [(links[1], Fault::Damaged)]);
}

#[test]
fn hashes_of_different_counters_are_not_compared() {
    let (mut solo, links) = leader(3, &[1, 2], RIGHT);
    report(&mut solo, links[0], vec![hash(8, RIGHT), hash(16, WRONG)], false);
    report(&mut solo, links[1], vec![hash(16, WRONG), hash(24, 1)], false);
    solo.step(vec![Event::StateHash(hash(24, 2))]);
    assert_eq!(orders(&mut solo, &links), []);
}

#[test]
fn a_counter_that_only_one_node_reports_is_ignored() {
    let (mut solo, links) = leader(3, &[1, 2], RIGHT);
    report(&mut solo, links[0], (1..=16).map(|counter| hash(counter << 40, WRONG)).collect(), false);
    report(&mut solo, links[1], vec![hash(1, 1)], false);
    assert_eq!(orders(&mut solo, &links), []);
}

#[test]
fn three_of_five_decide_and_not_a_majority_of_those_that_have_reported() {
    let (mut solo, links) = leader(5, &[1, 2, 4, 5], WRONG);
    report(&mut solo, links[0], vec![hash(8, WRONG)], false);
    report(&mut solo, links[1], vec![hash(8, RIGHT)], false);
    assert_eq!(orders(&mut solo, &links), []);
    report(&mut solo, links[2], vec![hash(8, RIGHT)], false);
    assert_eq!(orders(&mut solo, &links), []);
}

#[test]
fn a_learner_is_compared_and_does_not_decide() {
    // Node 2 has another data directory than the recorded one.
    let (mut solo, mut links) = leader(3, &[1], RIGHT);
    let (learner, _) = solo.accept_as(Hello { incarnation: Incarnation(99), ..solo.hello(2) });
    solo.receive(learner, promised(0));
    solo.receive(learner, solo.ack_epoch());
    let (epoch, last) = (solo.epoch(), solo.disk.last());
    solo.receive(learner, Message::AckNewLeader { epoch, last });
    links.push(learner);
    report(&mut solo, links[0], vec![hash(8, WRONG)], false);
    report(&mut solo, learner, vec![hash(8, RIGHT)], false);
    let effects = solo.after(100 * MS);
    assert_eq!(orders_in(&effects, &links), [], "two voters differ, and the learner has no vote");
    assert_eq!(notices(&effects), [IntegrityNotice::StatesDiffer { counter: 8 }]);

    report(&mut solo, links[0], vec![hash(16, RIGHT)], false);
    solo.step(vec![Event::StateHash(hash(16, RIGHT))]);
    report(&mut solo, learner, vec![hash(16, WRONG)], false);
    assert_eq!(orders(&mut solo, &links), [(learner, Fault::Diverged(hash(16, RIGHT)))]);
}

#[test]
fn a_second_node_is_told_only_when_the_first_is_back() {
    let (mut solo, mut links) = leader(5, &[1, 2, 4, 5], RIGHT);
    for (index, other) in [WRONG, WRONG + 1, RIGHT, RIGHT].into_iter().enumerate() {
        report(&mut solo, links[index], vec![hash(8, other)], false);
    }
    let fault = Fault::Diverged(hash(8, RIGHT));
    assert_eq!(orders(&mut solo, &links), [(links[0], fault)]);
    solo.step(vec![Event::Closed { link: links[0] }]);
    assert_eq!(orders(&mut solo, &links), [], "the first is under way");

    // Back, with another incarnation; no other node goes while it is brought up to date.
    let (back, _) = solo.accept_as(Hello { incarnation: Incarnation(99), ..solo.hello(1) });
    solo.receive(back, promised(0));
    solo.receive(back, solo.ack_epoch());
    links.push(back);
    assert_eq!(orders(&mut solo, &links), []);
    let (epoch, last) = (solo.epoch(), solo.disk.last());
    solo.receive(back, Message::AckNewLeader { epoch, last });
    assert_eq!(orders(&mut solo, &links), [(links[1], fault)]);
}

#[test]
fn a_node_stays_while_the_others_are_no_majority() {
    let (mut solo, links) = leader(3, &[1, 2], RIGHT);
    solo.step(vec![Event::Closed { link: links[0] }]);
    report(&mut solo, links[1], vec![], true);
    let effects = solo.after(100 * MS);
    assert_eq!(orders_in(&effects, &links), []);
    let waits = IntegrityNotice::Waits { node: NodeId(2), fault: Fault::Damaged };
    assert_eq!(notices(&effects), [waits]);
    assert_eq!(notices(&solo.after(100 * MS)), [], "once a minute");

    let (epoch, last) = (solo.epoch(), solo.disk.last());
    let link = returns_with(&mut solo, 1, epoch, last);
    solo.receive(link, Message::AckNewLeader { epoch, last });
    assert_eq!(orders(&mut solo, &links), [(links[1], Fault::Damaged)]);
}

#[test]
fn a_leader_at_fault_hands_over_and_does_not_stand_for_an_election_timeout() {
    let (mut solo, links) = leader(3, &[1, 2], WRONG);
    report(&mut solo, links[0], vec![hash(8, RIGHT)], false);
    assert_eq!(looking(&solo.after(100 * MS)), None);
    report(&mut solo, links[1], vec![hash(8, RIGHT)], false);
    let effects = solo.after(100 * MS);
    let Role::Following { leader, .. } = solo.role() else { panic!("it hands over") };
    let fault = Fault::Diverged(hash(8, RIGHT));
    assert_eq!(notices(&effects), [IntegrityNotice::AtFault { node: NodeId(3), fault }]);
    assert!(links.iter().all(|link| closes(&effects, *link)));
    // If that one cannot be reached, it leaves the leadership to others.
    for _ in 0..3 {
        solo.connect_failed(leader.0);
    }
    assert_eq!(solo.role(), Role::Looking);
    let effects = solo.after(ELECTION - 1);
    assert!(votes(&effects).iter().all(|(_, vote)| vote.state == VoteState::Seeking));
    assert!(!votes(&effects).is_empty());
}

#[test]
fn a_follower_goes_only_for_a_fault_that_it_has_and_for_its_present_leader() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    let link = solo.serves(3, 5);
    solo.step(vec![Event::StateHash(hash(8, RIGHT))]);
    let order = |epoch, fault| Message::Quarantine { epoch: Epoch(epoch), fault };
    for fault in [Fault::Diverged(hash(8, RIGHT)), Fault::Diverged(hash(16, WRONG)), Fault::Damaged] {
        let effects = solo.receive(link, order(5, fault));
        assert_eq!(effects, [Effect::Notice(Notice::Integrity(IntegrityNotice::Refused { fault }))]);
    }
    let fault = Fault::Diverged(hash(8, WRONG));
    for epoch in [4, 6] {
        assert_eq!(solo.receive(link, order(epoch, fault)), []);
    }
    let effects = solo.receive(link, order(5, fault));
    assert!(effects.contains(&Effect::Quarantine(fault)));
    assert_eq!(solo.after(10 * ELECTION), [], "it does nothing more");
}

#[test]
fn a_node_reports_its_hashes_once_on_each_connection_and_its_damage_with_each_answer() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    solo.step(vec![Event::StateHash(hash(8, RIGHT))]);
    let beat = |solo: &mut Solo, link| {
        let effects = solo.receive(link, Message::Heartbeat { epoch: Epoch(5), id: 1, commit: 0 });
        match &sent(&effects, link)[..] {
            [Message::HeartbeatAck { state, .. }] => state.clone(),
            other => panic!("{other:?}"),
        }
    };
    let link = solo.serves(3, 5);
    assert_eq!(beat(&mut solo, link).hashes, [hash(8, RIGHT)]);
    assert_eq!(beat(&mut solo, link), StateReport::default());
    solo.step(vec![Event::StateHash(hash(16, RIGHT)), Event::Damaged]);
    assert_eq!(beat(&mut solo, link), StateReport { hashes: vec![hash(16, RIGHT)], damaged: true });
    assert_eq!(beat(&mut solo, link), StateReport { hashes: vec![], damaged: true });
}

/// Node 3 of three has led both others through this many entries; node 2 has closed its connection. Returns the link to node 1.
fn led_with_entries(entries: u64) -> (Solo, LinkId) {
    let (mut solo, links) = leader(3, &[1, 2], RIGHT);
    for id in 0..entries {
        solo.propose(id, 100);
    }
    solo.persist();
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    for link in &links {
        solo.receive(*link, Message::Ack { epoch, last });
    }
    solo.step(vec![Event::Closed { link: links[1] }]);
    (solo, links[0])
}

/// A node connects again, and describes its log.
pub(super) fn returns_with(solo: &mut Solo, node: u64, current: Epoch, last: Zxid) -> LinkId {
    let link = solo.accept(node);
    solo.receive(link, promised(solo.epoch().0));
    let (epoch, oldest) = (solo.epoch(), Zxid::ZERO);
    let mut boundaries = solo.disk.recover().boundaries;
    boundaries.retain(|end| *end < last);
    boundaries.push(last);
    solo.receive(link, Message::AckEpoch { epoch, current, last, oldest, boundaries });
    link
}

#[test]
fn a_follower_that_returns_with_less_than_it_has_acknowledged_is_not_counted_and_is_told_to_go() {
    let (mut solo, one) = led_with_entries(4);
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    let older = Zxid { counter: last.counter - 2, ..last };
    let link = returns_with(&mut solo, 2, epoch, older);
    let fault = Fault::Outdated { acknowledged: last.counter };
    // What it acknowledges now does not count.
    solo.receive(link, Message::AckNewLeader { epoch, last });
    solo.propose(9, 100);
    solo.persist();
    let next = solo.zab.last();
    solo.receive(link, Message::Ack { epoch, last: next });
    assert_eq!(solo.zab.commit(), last.counter);
    let effects = solo.after(100 * MS);
    assert_eq!(orders_in(&effects, &[one, link]), [(link, fault)]);
    assert_eq!(notices(&effects), [IntegrityNotice::AtFault { node: NodeId(2), fault }]);
    solo.receive(one, Message::Ack { epoch, last: next });
    assert_eq!(solo.zab.commit(), next.counter);
}

#[test]
fn a_follower_that_returns_without_the_epoch_that_it_has_acknowledged_is_told_to_go() {
    let (mut solo, one) = led_with_entries(2);
    let last = solo.zab.last();
    let link = returns_with(&mut solo, 2, Epoch(0), last);
    assert_eq!(orders(&mut solo, &[one, link]), [(link, Fault::Outdated { acknowledged: last.counter })]);
}

#[test]
fn a_follower_that_is_needed_for_a_quorum_is_not_told_to_go() {
    let (mut solo, one) = led_with_entries(2);
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    solo.step(vec![Event::Closed { link: one }]);
    let link = returns_with(&mut solo, 2, epoch, Zxid { counter: last.counter - 1, ..last });
    assert_eq!(orders(&mut solo, &[link]), []);
}

#[test]
fn a_follower_that_returns_with_all_that_it_has_acknowledged_is_counted() {
    let (mut solo, one) = led_with_entries(3);
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    let link = returns_with(&mut solo, 2, epoch, last);
    solo.receive(link, Message::AckNewLeader { epoch, last });
    assert_eq!(orders(&mut solo, &[one, link]), []);
    solo.propose(9, 100);
    solo.persist();
    let next = solo.zab.last();
    solo.receive(link, Message::Ack { epoch, last: next });
    assert_eq!(solo.zab.commit(), next.counter);
}
