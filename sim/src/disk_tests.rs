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
    Batch { checkpoint, writes: Vec::new() }
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
    let genesis = Genesis { ensemble: EnsembleId { id: 1, history: 1 }, voters: vec![voter] };
    let founding = Founding { genesis, sealed: true };
    let mut disk = Disk::founded(Incarnation(1), Settings::quiet(1, 1).disk, founding);
    let mut random = Random::new(seed, Stream::Machine);
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
    disk.finish(now).expect("it is written")
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
    assert_eq!(disk.finish(0), Some(Done { token: Token(2), dropped: false, installed: None }));
    assert_eq!(disk.finish(0), None, "nothing is under way");
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
        }
        sync(&mut disk, 0, &mut random);
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
    let mut torn = 0;
    for seed in 0..300 {
        let (mut disk, mut random) = disk_of(seed);
        disk.issue(Token(1), append(1, 1), 0);
        sync(&mut disk, 0, &mut random);
        disk.issue(Token(2), append(1, 2), 0);
        disk.issue(Token(3), append(1, 3), 0);
        disk.issue(Token(4), truncate(1, 1), 0);
        disk.issue(Token(5), append(2, 2), 0);
        disk.start(&mut random);
        let end = if random.one_in(2) { End::Killed } else { End::PowerLost };
        let mut lost = disk.crash(0, end, &mut random);
        assert_eq!(lost.kept + lost.writes, 4);
        torn += u64::from(lost.torn);
        if random.one_in(2) {
            // The power goes before anything starts again; a torn record is one more that can be lost.
            let again = disk.lose_power(&mut random);
            assert!(
                again.kept + again.writes == lost.kept + usize::from(lost.torn),
                "{again:?} after {lost:?}"
            );
            lost.kept = again.kept.min(lost.kept);
        }
        let zxid = [(1, 1), (1, 2), (1, 3), (1, 1), (2, 2)][lost.kept];
        let zxid = Zxid::new(zxid.0, zxid.1);
        disk.recover().expect("a whole disk opens");
        assert_eq!((disk.durable.last(), disk.issued.last()), (zxid, zxid));
        // What a start has found is there to stay.
        assert!(!disk.has_unsynced());
        assert_eq!(disk.crash(0, End::PowerLost, &mut random), Lost::default());
        assert_eq!(disk.recover().expect("a whole disk opens").boundaries.last(), Some(&zxid));
        assert_eq!(disk.boots, 3);
    }
    assert!(torn > 20, "{torn}");
}

#[test]
fn a_failed_sync_may_leave_what_the_next_start_finds_or_what_the_next_loss_of_power_takes() {
    let (mut found, mut taken) = (0, 0);
    for seed in 0..200 {
        let (mut disk, mut random) = disk_of(seed);
        disk.set_failing(true);
        disk.issue(Token(1), append(1, 1), 0);
        assert!(disk.start(&mut random).is_some_and(|(_, fails)| fails));
        if disk.crash(0, End::Killed, &mut random).kept == 0 {
            continue;
        }
        assert!(disk.has_unsynced() && disk.durable.log.is_empty());
        let lost =
            if seed % 2 == 0 { disk.lose_power(&mut random) } else { Lost { kept: 1, ..Lost::default() } };
        disk.recover().expect("a whole disk opens");
        assert_eq!(disk.durable.log.len(), lost.kept);
        found += lost.kept;
        taken += lost.entries;
    }
    assert!(found > 20 && taken > 20, "{found} {taken}");
}

#[test]
fn a_full_disk_refuses_writes_and_starts_and_loses_nothing() {
    let (mut disk, mut random) = six(1);
    disk.set_full(true);
    disk.issue(Token(7), append(1, 7), 0);
    assert!(disk.start(&mut random).is_some_and(|(_, fails)| fails));
    disk.crash(9, End::Killed, &mut random);
    for _ in 0..3 {
        assert_eq!(disk.recover(), Err(Refused::Full));
    }
    disk.set_full(false);
    disk.recover().expect("there is space again");
    assert!(disk.durable.contains(Zxid::new(1, 6)));
}

#[test]
fn every_flipped_bit_is_found_by_the_next_start_or_read() {
    for seed in 0..500 {
        let (mut disk, mut random) = six(seed);
        match disk.flip(None, &mut random) {
            Flipped::Entry(counter) => {
                assert!(matches!(disk.read(counter, counter, usize::MAX), Err(Refused::Damaged(_))));
            }
            Flipped::Other => assert_eq!(disk.read(1, 6, usize::MAX).map(|read| read.len()), Ok(6)),
        }
        let (mut other, mut fate) = six(seed);
        let counter = 1 + seed % 6;
        assert_eq!(other.flip(Some(counter), &mut fate), Flipped::Entry(counter));
        disk.crash(9, End::Killed, &mut random);
        for _ in 0..2 {
            let refused = disk.recover();
            assert!(matches!(refused, Err(Refused::Damaged(_))), "seed {seed}: {refused:?}");
        }
        assert_eq!(disk.boots, 2);
    }
}

#[test]
fn a_log_that_seems_to_end_early_and_an_old_database_are_found_by_the_mark() {
    for seed in 0..200 {
        for end in [End::Killed, End::PowerLost] {
            let (mut disk, mut random) = six(seed);
            disk.crash(9, end, &mut random);
            let struck = if seed % 2 == 0 { disk.spoil(&mut random) } else { disk.roll_back() };
            if random.one_in(2) {
                disk.lose_power(&mut random);
            }
            // After a loss of power the mark may be as old as the start, and speak for nothing behind it.
            assert!(struck || end == End::PowerLost);
            match disk.recover() {
                Ok(_) => assert!(!struck && disk.durable.contains(Zxid::new(1, 6))),
                Err(refused) => assert!(struck && matches!(refused, Refused::Lost(_)), "{refused:?}"),
            }
        }
    }
}

#[test]
fn a_dropped_sync_is_lost_with_the_power_and_only_where_the_mark_tells_of_it() {
    let mut dropped = [0, 0];
    for seed in 0..400 {
        let late = seed % 2;
        let (mut disk, mut random) = six(seed);
        disk.drop_next_sync();
        disk.issue(Token(7), append(1, 7), 0);
        assert!(sync(&mut disk, 10, &mut random).dropped);
        assert_eq!(disk.durable.last(), Zxid::new(1, 7), "as far as anybody knows");
        disk.issue(Token(8), append(1, 8), 0);
        let now = 11 + late * 2 * MARK_INTERVAL;
        assert!(!sync(&mut disk, now, &mut random).dropped);
        let lost = disk.crash(now + 1, End::PowerLost, &mut random);
        match disk.recover() {
            Ok(_) => assert!(!lost.dropped && disk.durable.contains(Zxid::new(1, 8))),
            Err(refused) => assert!(lost.dropped && matches!(refused, Refused::Lost(_)), "{refused:?}"),
        }
        dropped[late as usize] += u64::from(lost.dropped);
    }
    assert_eq!(dropped[1], 200, "a mark older than a second has been synced");
    assert!(dropped[0] > 50 && dropped[0] < 150, "{dropped:?}");
}

#[test]
fn a_dropped_sync_is_made_good_by_a_start_from_the_page_cache() {
    let (mut disk, mut random) = six(1);
    disk.drop_next_sync();
    disk.issue(Token(7), append(1, 7), 0);
    sync(&mut disk, 10, &mut random);
    assert!(!disk.crash(5_000_000, End::Killed, &mut random).dropped);
    disk.recover().expect("it is all in the page cache");
    assert!(!disk.crash(9_000_000, End::PowerLost, &mut random).dropped);
    disk.recover().expect("and was written to files of their own");
    assert!(disk.durable.contains(Zxid::new(1, 7)));
}

#[test]
fn truncations_lower_the_mark_wherever_a_crash_ends_them() {
    for seed in 0..300 {
        let (mut disk, mut random) = six(seed);
        disk.issue(Token(7), truncate(1, 2), 0);
        disk.issue(Token(8), append(3, 3), 0);
        if random.one_in(2) {
            disk.start(&mut random);
        }
        let end = if random.one_in(2) { End::Killed } else { End::PowerLost };
        let lost = disk.crash(2_000_000, end, &mut random);
        disk.recover().expect("a whole disk opens");
        let last = [Zxid::new(1, 6), Zxid::new(1, 2), Zxid::new(3, 3)][lost.kept];
        assert_eq!(disk.durable.last(), last);
    }
}

#[test]
fn storages_that_are_wrong_on_purpose_are() {
    let (mut disk, mut random) = six(1);
    disk.settings.ignores_mark = true;
    disk.crash(9, End::Killed, &mut random);
    assert!(disk.roll_back());
    disk.recover().expect("it does not look at the mark");
    assert_eq!(disk.durable.last(), Zxid::new(1, 3));

    let mut lost = 0;
    for seed in 0..100 {
        let (mut disk, mut random) = six(seed);
        disk.settings.skips_start_sync = true;
        disk.issue(Token(7), append(1, 7), 0);
        if disk.crash(9, End::Killed, &mut random).kept == 0 {
            continue;
        }
        disk.recover().expect("it is in the page cache");
        assert_eq!(disk.durable.last(), Zxid::new(1, 7));
        lost += u64::from(disk.crash(10, End::PowerLost, &mut random).dropped);
    }
    assert!(lost > 20, "{lost}");
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
    let (mut disk, _) = disk();
    for counter in 1..=4 {
        disk.issue(Token(counter), append(1, counter), 0);
    }
    let counters = |entries: Result<Vec<LogEntry>, Refused>| {
        entries.map(|entries| entries.iter().map(|entry| entry.zxid.counter).collect::<Vec<_>>())
    };
    assert_eq!(counters(disk.read(2, 3, usize::MAX)), Ok(vec![2, 3]));
    assert_eq!(counters(disk.read(2, 4, 1)), Ok(vec![2]));
    assert_eq!(counters(disk.read(1, 4, 130)), Ok(vec![1, 2]));
}
