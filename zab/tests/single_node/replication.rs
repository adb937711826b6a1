//! Replication to one follower: batches, reads from storage, and the window.

use gometa_zab::{Bounds, Effect, Epoch, Event, LinkId, Message};

use super::solo::{Solo, ack_epoch_of_empty_log, entry, lost_followers, member, promised, sent, zxid};

/// The entries of each proposal to a follower, by counter.
fn batches(effects: &[Effect], link: LinkId) -> Vec<Vec<u64>> {
    let batch = |message| match message {
        Message::Propose { previous, entries, .. } => {
            assert_eq!(
                previous.counter + 1,
                entries[0].zxid.counter,
                "`previous` precedes the first entry (rule 17)"
            );
            Some(entries.iter().map(|entry| entry.zxid.counter).collect())
        }
        _ => None,
    };
    sent(effects, link).into_iter().filter_map(batch).collect()
}

fn reads(effects: &[Effect]) -> Vec<(u64, u64, u64, usize)> {
    let read = |effect: &Effect| match effect {
        Effect::Read { id, from, to, bytes_max } => Some((*id, *from, *to, *bytes_max)),
        _ => None,
    };
    effects.iter().filter_map(read).collect()
}

fn new_leader(effects: &[Effect], link: LinkId) -> bool {
    sent(effects, link).iter().any(|message| matches!(message, Message::NewLeader { .. }))
}

/// A leader of three with two followers that are up to date; a message holds two entries of 100 bytes.
fn solo(bounds: Bounds) -> (Solo, Vec<LinkId>) {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds { batch_bytes_max: 200, ..bounds });
    let links = solo.established(&[1, 2]);
    (solo, links)
}

fn proposals(solo: &mut Solo, count: u64) -> Vec<Effect> {
    let payload = entry(1, 1, 100).payload;
    solo.step(
        (0..count)
            .map(|id| Event::Propose {
                id,
                payload: payload.clone(),
                level: gometa_zab::FIRST_LEVEL,
                may_wait: true,
            })
            .collect(),
    )
}

#[test]
fn entries_that_exactly_fit_are_sent_in_one_message() {
    let (mut solo, links) = solo(Bounds::default());
    assert_eq!(batches(&proposals(&mut solo, 5), links[0]), [vec![1, 2], vec![3, 4], vec![5]]);
    // An entry that is larger than a batch is sent alone.
    let effects = solo.propose(9, 500);
    assert_eq!(batches(&effects, links[0]), [vec![6]]);
    let payload = entry(1, 1, 101).payload;
    let events = (0..2)
        .map(|id| Event::Propose {
            id,
            payload: payload.clone(),
            level: gometa_zab::FIRST_LEVEL,
            may_wait: true,
        })
        .collect();
    assert_eq!(batches(&solo.step(events), links[0]), [vec![7], vec![8]]);
}

#[test]
fn a_full_window_stops_proposals_until_an_ack_opens_it() {
    // Rule 25. Two messages of 200 bytes fill it.
    let (mut solo, links) = solo(Bounds { window_bytes_max: 400, ..Bounds::default() });
    let epoch = solo.epoch();
    assert_eq!(batches(&proposals(&mut solo, 9), links[0]), [[1, 2], [3, 4]]);
    assert_eq!(
        batches(&solo.receive(links[1], Message::Ack { epoch, last: zxid(1, 1) }), links[1]),
        [] as [Vec<u64>; 0]
    );
    let effects = solo.receive(links[0], Message::Ack { epoch, last: zxid(1, 2) });
    assert_eq!(batches(&effects, links[0]), [[5, 6]]);
    let effects = solo.receive(links[1], Message::Ack { epoch, last: zxid(1, 5) });
    assert_eq!(
        lost_followers(&effects),
        [(2, "it acknowledges entries that it was not sent")],
        "four were sent"
    );
    let effects = solo.receive(links[0], Message::Ack { epoch, last: zxid(1, 6) });
    assert_eq!(batches(&effects, links[0]), [vec![7, 8], vec![9]]);
    let effects = solo.receive(links[0], Message::Ack { epoch, last: zxid(1, 9) });
    assert_eq!(batches(&effects, links[0]), [] as [Vec<u64>; 0]);
    assert_eq!(batches(&proposals(&mut solo, 4), links[0]), [[10, 11], [12, 13]]);
}

/// A leader whose log is on its disk and not in memory, and a follower with an empty log.
fn behind(bounds: Bounds, through: u64) -> (Solo, LinkId, Vec<Effect>) {
    let mut solo = Solo::new(3, 3, member(3, &[(4, through)]), bounds);
    let links = solo.discovering(&[1]);
    let epoch = solo.epoch();
    let message = ack_epoch_of_empty_log(epoch);
    solo.receive(links[0], message);
    let effects = solo.persist();
    (solo, links[0], effects)
}

fn read(id: u64, counters: core::ops::RangeInclusive<u64>) -> Event {
    Event::LogRead { id, entries: counters.map(|counter| entry(4, counter, 100)).collect() }
}

#[test]
fn new_leader_follows_the_last_entry_of_the_initial_history() {
    let (mut solo, link, effects) = behind(Bounds { batch_bytes_max: 200, ..Bounds::default() }, 3);
    let [(first, 1, 3, 200)] = reads(&effects)[..] else { panic!("{effects:?}") };
    assert!(!new_leader(&effects, link));
    let effects = solo.step(vec![read(first, 1..=2)]);
    assert_eq!(batches(&effects, link), [[1, 2]]);
    assert!(!new_leader(&effects, link), "the third is not sent yet");
    let [(second, 3, 3, 200)] = reads(&effects)[..] else { panic!("{effects:?}") };
    assert_ne!(first, second, "reads have different ids");
    let effects = solo.step(vec![read(second, 3..=3)]);
    assert_eq!(batches(&effects, link), [[3]]);
    assert!(new_leader(&effects, link));
    assert!(!new_leader(&solo.after(1), link), "once");
}

#[test]
fn an_unexpected_read_result_is_ignored() {
    let (mut solo, link, effects) = behind(Bounds::default(), 3);
    let (id, ..) = reads(&effects)[0];
    assert_eq!(solo.step(vec![read(id + 1, 1..=3)]), []);
    assert_eq!(batches(&solo.step(vec![read(id, 1..=3)]), link), [[1, 2, 3]]);
    assert_eq!(solo.step(vec![read(id, 1..=3)]), []);
}

#[test]
fn a_follower_whose_next_entries_are_deleted_is_lost() {
    let (mut solo, _, effects) = behind(Bounds::default(), 3);
    let (id, ..) = reads(&effects)[0];
    let effects = solo.step(vec![Event::LogRead { id, entries: Vec::new() }]);
    assert_eq!(lost_followers(&effects), [(1, "the log that it needs is deleted")]);
    assert_eq!(solo.zab.followers().len(), 0);
}

#[test]
#[should_panic(expected = "storage returns the requested log entries")]
fn a_read_result_without_the_first_entry_stops_the_process() {
    let (mut solo, _, effects) = behind(Bounds::default(), 3);
    let (id, ..) = reads(&effects)[0];
    solo.step(vec![read(id, 2..=3)]);
}

#[test]
#[should_panic(expected = "storage returns the requested log entries")]
fn a_read_result_with_entries_of_another_epoch_stops_the_process() {
    let (mut solo, _, effects) = behind(Bounds::default(), 3);
    let (id, ..) = reads(&effects)[0];
    let entries = vec![entry(4, 1, 100), entry(3, 2, 100)];
    solo.step(vec![Event::LogRead { id, entries }]);
}

#[test]
fn progress_opens_the_window_during_synchronisation_and_has_no_other_effect() {
    // Rule 23, and deviation 4.
    let bounds = Bounds { batch_bytes_max: 200, window_bytes_max: 200, ..Bounds::default() };
    let (mut solo, link, effects) = behind(bounds, 4);
    let epoch = solo.epoch();
    let effects = solo.step(vec![read(reads(&effects)[0].0, 1..=2)]);
    assert_eq!(reads(&effects), [], "the window is full");
    let progress = |epoch, counter| Message::Progress { epoch, last: zxid(4, counter) };
    assert_eq!(reads(&solo.receive(link, progress(Epoch(epoch.0 - 1), 2))), []);
    // An Ack before AckNewLeader is ignored, and is not an error (ZOOKEEPER-4685).
    let effects = solo.receive(link, Message::Ack { epoch, last: zxid(4, 2) });
    assert_eq!((reads(&effects), lost_followers(&effects)), (vec![], vec![]));
    let effects = solo.receive(link, progress(epoch, 2));
    assert_eq!(reads(&effects).len(), 1);
    assert_eq!(solo.zab.followers()[0].acked, 0);
    let effects = solo.step(vec![read(reads(&effects)[0].0, 3..=4)]);
    assert!(new_leader(&effects, link));
    assert!(!solo.zab.followers()[0].serving);
}

#[test]
fn ack_new_leader_counts_after_new_leader_was_sent_and_only_for_entries_that_were_sent() {
    // Rule 19. The window is full before the end of the initial history: NewLeader is not sent yet.
    let bounds = Bounds { batch_bytes_max: 200, window_bytes_max: 200, ..Bounds::default() };
    let (mut solo, link, effects) = behind(bounds, 4);
    let epoch = solo.epoch();
    solo.step(vec![read(reads(&effects)[0].0, 1..=2)]);
    let effects = solo.receive(link, Message::AckNewLeader { epoch, last: zxid(4, 2) });
    assert_eq!((effects, solo.zab.followers()[0].acked), (vec![], 0));

    // The window is full after NewLeader: later proposals are not sent.
    for (counter, sent) in [(2, true), (3, false), (4, false)] {
        let mut solo = Solo::new(3, 3, member(3, &[]), bounds);
        solo.established(&[1]);
        let late = solo.accept(2);
        solo.receive(late, promised(0));
        solo.receive(late, solo.ack_epoch());
        let epoch = solo.epoch();
        assert_eq!(batches(&proposals(&mut solo, 4), late), [[1, 2]]);
        let effects = solo.receive(late, Message::AckNewLeader { epoch, last: zxid(1, counter) });
        assert_eq!(lost_followers(&effects).is_empty(), sent, "{counter}");
        assert!(solo.zab.followers().iter().all(|status| status.acked == 0 || sent));
    }
}

#[test]
fn new_proposals_follow_the_entries_read_from_storage() {
    // Rule 16: one cursor, so no entry is skipped.
    let mut solo = Solo::new(3, 3, member(3, &[(4, 2)]), Bounds::default());
    solo.established(&[1]);
    let epoch = solo.epoch();
    solo.propose(1, 100);
    let late = solo.accept(2);
    solo.receive(late, promised(0));
    let description = ack_epoch_of_empty_log(epoch);
    let effects = solo.receive(late, description);
    let [(id, 1, 2, _)] = reads(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(batches(&solo.propose(2, 100), late), [] as [Vec<u64>; 0], "its cursor is not there yet");
    let effects = solo.step(vec![read(id, 1..=2)]);
    assert_eq!(batches(&effects, late), [[1, 2], [3, 4]]);
}

#[test]
fn recent_entries_stay_in_memory_within_their_budget() {
    let (mut solo, links) = solo(Bounds { tail_bytes: 300, ..Bounds::default() });
    let epoch = solo.epoch();
    let kept = |solo: &Solo| (1..=20).find(|counter| solo.zab.recent(*counter).is_some());
    proposals(&mut solo, 3);
    solo.persist();
    solo.receive(links[0], Message::Ack { epoch, last: zxid(1, 3) });
    assert_eq!(solo.zab.commit(), 3);
    solo.step(vec![Event::Applied { counter: 3 }]);
    assert_eq!(kept(&solo), Some(1), "300 bytes fit");
    proposals(&mut solo, 1);
    solo.persist();
    assert_eq!(kept(&solo), Some(2), "the oldest was applied and is dropped");
    // Applied entries are dropped first; others stay up to four times the budget.
    proposals(&mut solo, 8);
    solo.persist();
    assert_eq!(kept(&solo), Some(4), "4 to 12 are not applied");
    proposals(&mut solo, 3);
    solo.persist();
    assert_eq!(kept(&solo), Some(4), "1,200 bytes");
    proposals(&mut solo, 1);
    assert_eq!(kept(&solo), Some(4), "entries that are not durable are only in memory");
    solo.persist();
    assert_eq!(kept(&solo), Some(5), "1,300 bytes");
    assert_eq!(solo.zab.recent(16).map(|entry| entry.zxid), Some(zxid(1, 16)));
    assert_eq!(solo.zab.recent(17), None);
    // Once applied, they are within the budget again.
    solo.receive(links[0], Message::Ack { epoch, last: zxid(1, 16) });
    solo.step(vec![Event::Applied { counter: 16 }]);
    assert_eq!(kept(&solo), Some(14));
}

#[test]
fn entries_that_are_not_durable_stay_in_memory_beyond_the_budget() {
    let (mut solo, _) = solo(Bounds { tail_bytes: 100, ..Bounds::default() });
    proposals(&mut solo, 30);
    assert!(solo.persist().is_empty() || solo.zab.recent(30).is_some());
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds { tail_bytes: 0, ..Bounds::default() });
    let links = solo.established(&[1, 2]);
    proposals(&mut solo, 1);
    solo.persist();
    proposals(&mut solo, 30);
    solo.receive(links[0], Message::Ack { epoch: solo.epoch(), last: zxid(1, 1) });
    solo.step(vec![Event::Applied { counter: 1 }]);
    assert!((2..=31).all(|counter| solo.zab.recent(counter).is_some()));
}
