//! When the state is flushed, and what a crash leaves of it.

use gometa_sim::contract::Write;
use gometa_store::{Batch, Space, Table};
use gometa_zab::{Token, Zxid};

use super::support::*;

/// The state of a directory that was not closed: whole, and of this moment.
fn assert_state(opened: &Opened, applied: u64) {
    assert_eq!(opened.disk.recovered.applied, applied);
    let table = &opened.disk.table;
    if applied == 0 {
        assert_eq!(table.checkpoint().applied, 0);
        assert!(opened.records(Space::Data).is_empty() && opened.records(Space::Session).is_empty());
        return;
    }
    assert_eq!(table.checkpoint(), checkpoint(applied));
    let value = applied.to_string();
    for (space, key) in [(Space::Data, "first"), (Space::Data, "second"), (Space::Session, "session")] {
        assert_eq!(opened.records(space)[key.as_bytes()], value.as_bytes());
    }
}

/// An entry of a megabyte.
fn large(counter: u64) -> Write {
    let mut entry = entry(1, counter);
    entry.payload = vec![counter as u8; 1 << 20].into();
    Write::Log(gometa_zab::Write::Append(vec![entry]))
}

/// A batch with another record of a megabyte.
fn large_batch(applied: u64) -> Batch {
    let mut batch = batch(applied);
    let key = format!("large {}", applied % 8);
    batch.writes.push((Space::Data, key.into(), Some(vec![applied as u8; 1 << 20].into())));
    batch
}

#[test]
fn a_crash_leaves_an_earlier_moment_of_the_state() {
    let (dir, mut opened) = founded(10);
    opened.write(apply(4));
    drop(opened);
    let mut opened = Opened::open(dir.path()).unwrap();
    opened.write(apply(5));
    opened.write(apply(9));
    assert_eq!(opened.disk.table.checkpoint(), checkpoint(9));
    // Recorded with the next write to the log.
    let before = crashed(dir.path());
    opened.write(promise(2, 1));
    let after = crashed(dir.path());
    for (crashed, released) in [(before, 4), (after, 9)] {
        let opened = Opened::open(crashed.path()).unwrap();
        assert_state(&opened, 4);
        assert_eq!(opened.disk.recovered.released, released);
        assert_eq!(opened.last(), Zxid::new(1, 10));
    }
    assert_eq!(opened.close().1, [9]);
}

#[test]
fn released_entries_are_applied_again_after_a_crash() {
    let (dir, mut opened) = founded(10);
    opened.write(apply(9));
    opened.write(promise(2, 1));
    let crashed = crashed(dir.path());
    let mut opened = Opened::open(crashed.path()).unwrap();
    assert_state(&opened, 0);
    for counter in 1..=opened.disk.recovered.released {
        opened.submit(apply(counter));
    }
    opened.append(1, [11]);
    opened.wait("the batches", |callbacks| callbacks.stored == 9);
    drop(opened);
    let opened = Opened::open(crashed.path()).unwrap();
    assert_state(&opened, 9);
    assert_eq!(opened.disk.recovered.released, 9);
}

#[test]
fn the_state_is_flushed_when_the_log_has_grown() {
    let (dir, mut opened) = founded(0);
    for counter in 1..=63 {
        opened.submit(large(counter));
    }
    opened.wait("the appends", |callbacks| callbacks.persisted.last() == Some(&Token(65)));
    opened.write(apply(63));
    assert_state(&Opened::open(crashed(dir.path()).path()).unwrap(), 0);
    assert_eq!(opened.flushed(), 0);
    opened.write(large(64));
    opened.write(apply(64));
    opened.wait("the flush", |callbacks| !callbacks.flushed.is_empty());
    assert_eq!(opened.flushed(), 64);
    assert_state(&Opened::open(crashed(dir.path()).path()).unwrap(), 64);
    // The growth is counted from there.
    opened.write(large(65));
    opened.write(apply(65));
    let crashed = crashed(dir.path());
    assert_state(&Opened::open(crashed.path()).unwrap(), 64);
    assert_eq!(opened.close().1, [64, 65]);
}

#[test]
fn the_state_is_flushed_when_its_memory_is_two_thirds_full() {
    let (dir, mut opened) = founded(200);
    for round in 0..2 {
        // Two thirds of 32 MiB, and less than a megabyte after the flush.
        for counter in round * 22 + 1..=round * 22 + 22 {
            opened.submit(Write::Table(large_batch(counter)));
        }
        let before = opened.flushed();
        opened.wait("the flush", |callbacks| callbacks.flushed.len() as u64 == round + 1);
        opened.wait("the batches", |callbacks| callbacks.stored == round * 22 + 22);
        let flushed = opened.flushed();
        // Of the 21 MiB the filters and the arenas of the memtables take up to three.
        assert!(flushed >= before + 18, "{before}, then {flushed}");
        let crashed = crashed(dir.path());
        let found = Opened::open(crashed.path()).unwrap();
        assert!(found.disk.recovered.applied >= flushed);
        assert_state(&found, found.disk.recovered.applied);
    }
    assert_eq!(opened.failed(), Vec::<String>::new());
}
