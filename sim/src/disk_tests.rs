use gometa_store::Batch;
use gometa_zab::{Epoch, Kind};

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
    Write::Zab(gometa_zab::Write::Append(vec![entry(epoch, counter)]))
}

fn apply(applied: u64) -> Write {
    let checkpoint = Checkpoint { applied, ..Checkpoint::default() };
    Write::Apply(Batch { checkpoint, writes: Vec::new() })
}

fn disk() -> (Disk, Random) {
    (Disk::new(Incarnation(1), Settings::quiet(1, 1).disk), Random::new(3, Stream::Machine))
}

#[test]
fn a_group_is_durable_when_it_is_done_and_not_before() {
    let (mut disk, mut random) = disk();
    disk.issue(Token(1), append(1, 1));
    disk.issue(Token(2), append(1, 2));
    assert_eq!(disk.issued.log.len(), 2);
    assert!(disk.start(&mut random).is_some());
    disk.issue(Token(3), append(1, 3));
    assert!(disk.start(&mut random).is_none(), "one group at a time");
    assert!(disk.durable.log.is_empty());
    assert_eq!(disk.finish(), Some(Done { token: Token(2), synced: true }));
    assert_eq!(disk.durable.last(), Zxid::new(1, 2));
    assert_eq!(disk.unsynced(), 1);
    assert!(disk.start(&mut random).is_some());
    assert_eq!(disk.finish(), Some(Done { token: Token(3), synced: true }));
    assert_eq!(disk.unsynced(), 0);
}

#[test]
fn table_writes_are_durable_behind_the_next_synced_one() {
    let (mut disk, mut random) = disk();
    disk.issue(Token(1), append(1, 1));
    disk.start(&mut random);
    disk.finish();
    disk.issue(Token(2), apply(1));
    assert_eq!(disk.applied(), 1);
    disk.start(&mut random);
    assert_eq!(disk.finish(), Some(Done { token: Token(2), synced: false }));
    assert_eq!(disk.durable_table.checkpoint().applied, 0);
    disk.issue(Token(3), append(1, 2));
    disk.issue(Token(4), apply(2));
    disk.start(&mut random);
    assert_eq!(disk.finish(), Some(Done { token: Token(4), synced: true }));
    assert_eq!(disk.durable_table.checkpoint().applied, 1, "the one behind the last sync is not durable");
    assert_eq!(disk.durable.last(), Zxid::new(1, 2));
}

#[test]
fn a_crash_keeps_a_prefix() {
    for seed in 0..200 {
        let (mut disk, _) = disk();
        let mut random = Random::new(seed, Stream::Machine);
        disk.issue(Token(1), append(1, 1));
        disk.start(&mut random);
        disk.finish();
        disk.issue(Token(2), append(1, 2));
        disk.issue(Token(3), apply(1));
        disk.issue(Token(4), append(1, 3));
        disk.issue(Token(5), Write::Zab(gometa_zab::Write::Truncate(Zxid::new(1, 1))));
        disk.issue(Token(6), append(2, 2));
        disk.start(&mut random);
        let lost = disk.crash(&mut random);
        assert_eq!(lost.kept + lost.writes, 5);
        let (zxid, applied) = match lost.kept {
            0 => (Zxid::new(1, 1), 0),
            1 => (Zxid::new(1, 2), 0),
            2 => (Zxid::new(1, 2), 1),
            3 => (Zxid::new(1, 3), 1),
            4 => (Zxid::new(1, 1), 1),
            _ => (Zxid::new(2, 2), 1),
        };
        assert_eq!((disk.issued.last(), disk.applied()), (zxid, applied));
        assert_eq!(disk.recover().applied, applied);
        assert_eq!(disk.boots, 1);
    }
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
        disk.issue(Token(counter), append(1, counter));
    }
    let counters =
        |entries: Vec<LogEntry>| entries.iter().map(|entry| entry.zxid.counter).collect::<Vec<_>>();
    assert_eq!(counters(disk.read(2, 3, usize::MAX)), [2, 3]);
    assert_eq!(counters(disk.read(2, 4, 1)), [2]);
    assert_eq!(counters(disk.read(1, 4, 130)), [1, 2]);
}
