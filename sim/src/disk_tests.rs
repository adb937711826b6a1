use bytes::Bytes;
use gometa_store::{Batch, Checkpoint};
use gometa_zab::{EnsembleId, Epoch, Genesis, HardState, Kind, NodeId};

use super::*;
use crate::{random::Stream, settings::Settings};

fn entry(epoch: u64, counter: u64) -> LogEntry {
    LogEntry {
        zxid: Zxid::new(epoch, counter),
        kind: Kind::Command,
        level: 1,
        payload: Bytes::from_static(b"x"),
    }
}

fn append(epoch: u64, counter: u64) -> Write {
    Write::Append(vec![entry(epoch, counter)])
}

fn truncate(epoch: u64, counter: u64) -> Write {
    Write::Truncate(Zxid::new(epoch, counter))
}

fn apply(applied: u64) -> Batch {
    let checkpoint = Checkpoint { applied, ..Checkpoint::default() };
    Batch { checkpoint, ..Batch::default() }
}

/// The disk of a node that has promised epoch 9 and logged nothing.
fn disk() -> (Disk, Random) {
    disk_of(3)
}

fn disk_of(seed: u64) -> (Disk, Random) {
    let voter = gometa_zab::Voter {
        node: NodeId(1),
        incarnation: Some(Incarnation(1)),
        addresses: crate::ensemble::addresses(0, 0),
    };
    let genesis = Genesis {
        ensemble: EnsembleId { id: 1, history: 1 },
        voters: vec![voter],
        level: gometa_zab::FIRST_LEVEL,
    };
    let founding = Founding { genesis, sealed: true };
    let settings = DiskSettings { damage_every: 1, segment_bytes: 8_192, ..Settings::quiet(1, 1).disk };
    let mut disk = Disk::founded(Incarnation(seed.into()), settings, founding);
    let mut random = Random::new(seed, Stream::Machine);
    disk.recover().expect("a new disk opens");
    disk.boots = 0;
    let promised =
        HardState { accepted_epoch: Epoch(9), accepted_leader: Some(NodeId(1)), current_epoch: Epoch(1) };
    disk.issue(Token(0), Write::HardState(promised), 0);
    sync(&mut disk, 0, &mut random);
    assert_eq!(disk.crash(0, End::Killed, &mut random).writes, 0);
    disk.recover().expect("a whole disk opens");
    assert_eq!(disk.boots, 1);
    (disk, random)
}

fn sync(disk: &mut Disk, now: u64, random: &mut Random) -> Done {
    disk.start(random).expect("there is something to write");
    disk.finish(now).expect("no fault is to happen").expect("it is written")
}

/// A disk whose last start found three entries, and which has synced three more since.
fn six(seed: u64) -> (Disk, Random) {
    let (mut disk, mut random) = disk_of(seed);
    for counter in 1..=6 {
        disk.issue(Token(counter), append(1, counter), 0);
        sync(&mut disk, counter, &mut random);
        if counter == 3 {
            disk.crash(3, End::PowerLost, &mut random);
            disk.recover().expect("a whole disk opens");
        }
    }
    (disk, random)
}

#[test]
fn a_group_is_durable_when_it_is_done_and_not_before() {
    let (mut disk, mut random) = disk();
    disk.issue(Token(1), append(1, 1), 0);
    disk.issue(Token(2), append(1, 2), 0);
    assert_eq!(disk.issued.log.len(), 2);
    assert!(disk.start(&mut random).is_some());
    disk.issue(Token(3), append(1, 3), 0);
    assert!(disk.start(&mut random).is_none(), "one group at a time");
    assert!(disk.durable.log.is_empty());
    assert_eq!(disk.finish(0), Ok(Some(Done { token: Token(2), dropped: false, installed: None })));
    assert_eq!(disk.finish(0), Ok(None), "nothing is under way");
    assert_eq!(disk.durable.last(), Zxid::new(1, 2));
    assert_eq!(disk.unsynced(), 1);
    assert_eq!(sync(&mut disk, 0, &mut random).token, Token(3));
    assert_eq!(disk.unsynced(), 0);
}

#[test]
fn a_batch_is_readable_when_it_is_done_and_durable_when_it_is_flushed() {
    let mut applied = [0; 3];
    for seed in 0..100 {
        let (mut disk, mut random) = disk_of(seed);
        disk.settings.flush = 0;
        for counter in 1..=2 {
            disk.issue(Token(counter), append(1, counter), counter - 1);
            sync(&mut disk, 0, &mut random);
        }
        disk.store(1, apply(1));
        assert_eq!((disk.applied(), disk.table.checkpoint().applied), (1, 0));
        assert!(disk.start_table(&mut random).is_some());
        disk.store(2, apply(2));
        assert!(disk.start_table(&mut random).is_none(), "one group at a time");
        assert_eq!(disk.finish_table(&mut random), Some((1, None)));
        assert_eq!(disk.table.checkpoint().applied, 1);
        disk.settings.flush = if seed < 50 { 0 } else { 1_000_000 };
        assert!(disk.start_table(&mut random).is_some());
        assert_eq!(disk.finish_table(&mut random), Some((2, None)));
        assert_eq!(disk.finish_table(&mut random), None, "nothing is under way");
        disk.crash(0, End::Killed, &mut random);
        let recovered = disk.recover().expect("a whole disk opens");
        assert_eq!(recovered.released, recovered.applied.max(1), "the log says what was released");
        assert!(seed < 50 || recovered.applied == 2, "it was flushed");
        applied[recovered.applied as usize] += 1;
    }
    assert!(applied.iter().all(|count| *count > 5), "{applied:?}");
}

#[test]
fn a_crash_keeps_a_prefix() {
    let (mut torn, mut lost_later, mut found) = (0, 0, [0; 5]);
    for seed in 0..300 {
        let (mut disk, mut random) = disk_of(seed);
        disk.issue(Token(1), append(1, 1), 0);
        disk.issue(Token(2), append(1, 2), 0);
        sync(&mut disk, 0, &mut random);
        // The log ends at another entry after each of these.
        disk.issue(Token(3), append(1, 3), 0);
        disk.issue(Token(4), append(1, 4), 0);
        disk.issue(Token(5), truncate(1, 1), 0);
        disk.issue(Token(6), append(2, 2), 0);
        disk.start(&mut random);
        let end = if random.one_in(2) { End::Killed } else { End::PowerLost };
        let mut lost = disk.crash(0, end, &mut random);
        assert_eq!(lost.kept + lost.writes, 4);
        torn += u64::from(lost.torn);
        if random.one_in(2) {
            // A loss of power follows, before the next start or during it.
            let before = lost;
            lost = if random.one_in(2) { disk.lose_power() } else { disk.interrupt_start(End::PowerLost) };
            assert_eq!(lost.kept + lost.writes, before.kept, "{lost:?} after {before:?}");
            lost_later += lost.writes;
        }
        let zxid = [(1, 2), (1, 3), (1, 4), (1, 1), (2, 2)][lost.kept];
        let zxid = Zxid::new(zxid.0, zxid.1);
        assert_eq!(disk.found().map(|found| found.last()), Some(zxid));
        disk.recover().expect("a whole disk opens");
        assert_eq!((disk.durable.last(), disk.issued.last()), (zxid, zxid));
        found[lost.kept] += 1;
        // What a start has found is there to stay.
        assert!(!disk.has_unreported());
        assert_eq!(disk.crash(0, End::PowerLost, &mut random), Lost::default());
        assert_eq!(disk.recover().expect("a whole disk opens").boundaries.last(), Some(&zxid));
        assert_eq!(disk.boots, 3);
    }
    assert!(torn > 20 && lost_later > 0, "{torn} {lost_later}");
    assert!(found.iter().all(|count| *count > 0), "{found:?}");
}

#[test]
fn a_failed_sync_may_leave_what_the_next_start_finds_or_what_the_next_loss_of_power_takes() {
    let (mut found, mut taken) = (0, 0);
    for seed in 0..300 {
        let (mut disk, mut random) = disk_of(seed);
        disk.set_failing(true);
        disk.issue(Token(1), append(1, 1), 0);
        assert!(disk.start(&mut random).is_some_and(|(_, fails)| fails));
        disk.fail();
        if disk.crash(0, End::Killed, &mut random).kept == 0 {
            continue;
        }
        assert!(disk.has_unreported() && disk.durable.log.is_empty());
        let lost = if seed % 2 == 0 { disk.lose_power() } else { Lost { kept: 1, ..Lost::default() } };
        disk.recover().expect("a whole disk opens");
        assert_eq!(disk.durable.log.len(), lost.kept);
        found += lost.kept;
        taken += lost.entries;
    }
    assert!(found > 20 && taken > 20, "{found} {taken}");
}

#[test]
fn a_full_disk_refuses_to_grow_and_to_start_and_loses_nothing() {
    let (mut disk, mut random) = six(1);
    disk.set_full(true);
    let mut counter = 6;
    let failed = loop {
        counter += 1;
        disk.issue(Token(counter), append(1, counter), 0);
        disk.start(&mut random);
        if let Err(failed) = disk.finish(0) {
            break failed;
        }
    };
    assert!(failed == Failed::Full && counter > 8, "{failed:?} at {counter}");
    disk.crash(9, End::Killed, &mut random);
    for _ in 0..3 {
        assert_eq!(disk.recover(), Err(Refused::Full));
    }
    disk.set_full(false);
    disk.recover().expect("there is space again");
    assert_eq!(disk.durable.last(), Zxid::new(1, counter - 1));
}

#[test]
fn flipped_bits_are_found_by_the_next_start_or_read_or_change_nothing() {
    let mut refused = 0;
    for seed in 0..300 {
        let (mut disk, mut random) = six(seed);
        let counter = 1 + seed % 6;
        let wanted = (seed % 2 == 0).then_some(counter);
        match disk.flip(wanted) {
            Flipped::Entry(flipped) => {
                assert_eq!(Some(flipped), wanted);
                assert!(matches!(disk.read(counter, counter, usize::MAX), Err(Refused::Damaged(_))));
            }
            Flipped::Other => assert_eq!(wanted, None),
        }
        let end = if random.one_in(2) { End::Killed } else { End::PowerLost };
        disk.crash(9, end, &mut random);
        match disk.recover() {
            Ok(_) => assert_eq!((wanted, disk.durable.last()), (None, Zxid::new(1, 6))),
            Err(Refused::Damaged(_)) => {
                refused += 1;
                assert!(matches!(disk.recover(), Err(Refused::Damaged(_))));
            }
            Err(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(refused > 200, "{refused}");
}

#[test]
fn a_log_that_seems_to_end_early_and_an_old_one_are_found() {
    let mut detected = [0; 2];
    for seed in 0..200 {
        for end in [End::Killed, End::PowerLost] {
            let (mut disk, mut random) = six(seed);
            disk.crash(9, end, &mut random);
            let kind = seed % 2;
            let damaged = if kind == 0 { disk.spoil() } else { disk.roll_back() };
            // After a loss of power the mark may not cover the batches since the start.
            assert!(damaged || end == End::PowerLost);
            if random.one_in(2) {
                disk.lose_power();
            }
            match disk.recover() {
                Ok(_) => assert!(!damaged && disk.durable.contains(Zxid::new(1, 6))),
                Err(refused) => assert!(damaged && matches!(refused, Refused::Damaged(_)), "{refused:?}"),
            }
            detected[kind as usize] += u64::from(damaged);
        }
    }
    assert!(detected.iter().all(|count| *count > 100), "{detected:?}");
}

#[test]
fn a_dropped_sync_is_lost_with_the_power_and_detected() {
    let (mut dropped, mut repeated) = (0, 0);
    for seed in 0..200 {
        let (mut disk, mut random) = six(seed);
        disk.drop_next_sync();
        disk.issue(Token(7), append(1, 7), 0);
        assert!(sync(&mut disk, 10, &mut random).dropped);
        assert_eq!(disk.durable.last(), Zxid::new(1, 7), "it was reported");
        if seed % 2 == 0 {
            disk.issue(Token(8), append(1, 8), 0);
            assert!(!sync(&mut disk, 11, &mut random).dropped);
        }
        let killed_first = random.one_in(2);
        if killed_first {
            assert!(!disk.crash(12, End::Killed, &mut random).dropped);
            disk.recover().expect("it is all in the page cache");
        }
        let lost = disk.crash(13, End::PowerLost, &mut random);
        match disk.recover() {
            // A start writes the last batch again.
            Ok(_) => {
                assert!(killed_first && seed % 2 == 1 && !lost.dropped);
                repeated += 1;
            }
            Err(refused) => assert!(lost.dropped && matches!(refused, Refused::Damaged(_)), "{refused:?}"),
        }
        dropped += u64::from(lost.dropped);
    }
    assert!(dropped > 100 && repeated > 20, "{dropped} {repeated}");
}

#[test]
fn a_truncation_below_the_mark_is_no_damage_wherever_a_crash_ends_it() {
    let mut found = [0; 3];
    for seed in 0..300 {
        let (mut disk, mut random) = six(seed);
        disk.issue(Token(7), truncate(1, 2), 0);
        disk.issue(Token(8), append(3, 3), 0);
        if random.one_in(2) {
            disk.start(&mut random);
        }
        let end = if random.one_in(2) { End::Killed } else { End::PowerLost };
        let lost = disk.crash(2 * MARK_INTERVAL, end, &mut random);
        disk.recover().expect("a whole disk opens");
        let last = [Zxid::new(1, 6), Zxid::new(1, 2), Zxid::new(3, 3)][lost.kept];
        assert_eq!(disk.durable.last(), last);
        found[lost.kept] += 1;
    }
    assert!(found.iter().all(|count| *count > 20), "{found:?}");
}

#[test]
fn a_start_that_ignores_the_mark_is_wrong() {
    let (mut disk, mut random) = six(1);
    disk.crash(9, End::Killed, &mut random);
    assert!(disk.roll_back());
    disk.settings.ignores_mark = true;
    assert!(matches!(disk.recover(), Err(Refused::Wrong(_))));
}

#[test]
fn a_start_on_a_log_that_was_not_written_is_wrong() {
    let (mut disk, mut random) = six(1);
    disk.crash(9, End::Killed, &mut random);
    let (durable, issued) = (disk.durable.clone(), disk.issued.clone());
    disk.forge(|log, _| log.truncate(5)).expect("a whole disk opens");
    (disk.durable, disk.issued) = (durable, issued);
    assert!(matches!(disk.recover(), Err(Refused::Wrong(_))));
}

#[test]
fn boundaries_name_each_epoch_and_its_last_counter() {
    let mut image = Image::default();
    assert!(image.boundaries().is_empty());
    for (epoch, counter) in [(1, 1), (1, 2), (3, 3), (4, 4), (4, 5)] {
        image.log.push(entry(epoch, counter));
    }
    assert_eq!(image.boundaries(), [Zxid::new(1, 2), Zxid::new(3, 3), Zxid::new(4, 5)]);
    assert!(image.contains(Zxid::ZERO) && image.contains(Zxid::new(3, 3)));
    assert!(!image.contains(Zxid::new(2, 3)) && !image.contains(Zxid::new(4, 6)));
    assert_eq!(image.last().epoch, Epoch(4));
}

#[test]
fn a_read_stops_at_its_size_but_not_before_the_first_entry() {
    let (mut disk, mut random) = disk();
    for counter in 1..=4 {
        disk.issue(Token(counter), append(1, counter), 0);
    }
    assert_eq!(disk.read(1, 4, usize::MAX), Ok(Vec::new()), "nothing is durable");
    sync(&mut disk, 0, &mut random);
    let counters = |entries: Result<Vec<LogEntry>, Refused>| {
        entries.map(|entries| entries.iter().map(|entry| entry.zxid.counter).collect::<Vec<_>>())
    };
    assert_eq!(counters(disk.read(2, 3, usize::MAX)), Ok(vec![2, 3]));
    assert_eq!(counters(disk.read(2, 4, 1)), Ok(vec![2]));
    assert_eq!(counters(disk.read(1, 4, 130)), Ok(vec![1, 2]));
}
