//! The history in the data directory, compared with that of a table in memory.

use std::{fs, thread, time::Instant};

use bytes::Bytes;
use gometa_proto::v1::{
    Compare, Delete, Get, GetHistory, RaiseHorizon, Range, Set, Txn, TxnOperation, TxnOutcome, command::Body,
    compare::Operand, txn_operation::Operation,
};
use gometa_sim::contract::Write;
use gometa_store::{MemoryTable, Query, Table, recompute_checkpoint, verify_changes};
use gometa_testkit::store::{Driver, delete, set};

use super::{
    full::fill,
    machine::{self, Machine, say_skipped},
};
use crate::support::*;

/// The number of entries between two looks at the pages.
const ENTRIES: u64 = 60;
const KEYS: [&str; 6] = ["a", "a/", "a/b", "a/c", "b\0", "b\0c"];

/// By SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn range(random: &mut Random, applied: u64) -> Range {
    let mut bound = |one_in: u64| match random.below(one_in) {
        0 => Bytes::from_static(KEYS[random.below(6) as usize].as_bytes()),
        _ => Bytes::new(),
    };
    let (start, end, prefix) = (bound(3), bound(3), bound(4));
    let (start, end) = if !end.is_empty() && start > end { (end, start) } else { (start, end) };
    Range {
        start,
        end,
        prefix,
        at_revision: random.below(applied + 1),
        limit: random.below(4),
        reverse: random.below(2) == 0,
        keys_only: random.below(4) == 0,
        count_only: random.below(6) == 0,
        delimiter: if random.below(3) == 0 { "/".into() } else { Bytes::new() },
        ..Range::default()
    }
}

/// A transaction with this range, as far as its results are read: it need not have been executed.
fn txn(random: &mut Random, range: Range) -> Txn {
    let mut key = || Bytes::from_static(KEYS[random.below(6) as usize].as_bytes());
    let range = Range { at_revision: 0, ..range.clone() };
    let operations = [
        Operation::Get(Get { key: key(), ..Get::default() }),
        Operation::Set(Set { key: key(), value: Bytes::new() }),
        Operation::Delete(Delete { key: key(), revision: None }),
        Operation::Get(Get { key: key(), ..Get::default() }),
        Operation::Range(range),
    ];
    let operations = operations.map(|operation| TxnOperation { operation: Some(operation) }).to_vec();
    let operand = Some(Operand::ModRevision(random.below(20)));
    let when = vec![Compare { key: "a/".into(), relation: random.below(4) as i32, operand }];
    Txn { when, otherwise: operations[2..].to_vec(), then: operations, ..Txn::default() }
}

/// Whether both have the same pages, at the present and at any revision.
fn compare(opened: &mut Opened, expected: &MemoryTable, random: &mut Random) {
    let applied = expected.checkpoint().applied;
    assert_eq!(opened.disk.table.checkpoint(), expected.checkpoint());
    assert_eq!(recompute_checkpoint(&opened.disk.table), expected.checkpoint());
    verify_changes(&opened.disk.table).unwrap();
    for _ in 0..200 {
        let range = range(random, applied);
        let query = match random.below(5) {
            0 => Query::Txn(txn(random, range)),
            4 => Query::History(GetHistory {
                key: Bytes::from_static(KEYS[random.below(6) as usize].as_bytes()),
                before_revision: if random.below(2) == 0 { 0 } else { random.below(applied + 2) },
                limit: random.below(4),
                keys_only: random.below(4) == 0,
                ..GetHistory::default()
            }),
            1 => {
                let revision = 1 + random.below(applied.max(1));
                Query::Results(txn(random, range), TxnOutcome { revision, succeeded: random.below(3) > 0 })
            }
            _ => Query::Range(range),
        };
        assert_eq!(opened.query(query.clone()), expected.read(&query), "{query:?}");
    }
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    opened.disk.table.scan_changes(&mut |revision, record| mine.push((revision, record.to_vec())));
    expected.scan_changes(&mut |revision, record| theirs.push((revision, record.to_vec())));
    assert_eq!(mine, theirs);
}

#[test]
fn pages_are_those_of_a_table_in_memory_over_closings_and_crashes() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let mut driver = Driver::new();
        let (dir, mut opened) = founded(0);
        let mut dir = dir;
        // The tables by their last applied entry; a crash leaves one of them.
        let mut tables = vec![MemoryTable::default()];
        let mut batches = Vec::new();
        let mut written = 0;
        for round in 0..8 {
            while driver.store.applied() < (round + 1) * ENTRIES {
                let key = KEYS[random.below(6) as usize];
                match random.below(12) {
                    0..3 => drop(driver.run(delete(key, None))),
                    3 => {
                        let horizon = driver.store.applied().saturating_sub(random.below(80));
                        driver.apply(Body::RaiseHorizon(RaiseHorizon { horizon }));
                    }
                    _ => drop(driver.run(set(key, driver.store.applied().to_string()))),
                }
                if random.below(3) == 0 {
                    let batch = driver.store.take_batch().unwrap();
                    let applied = batch.checkpoint.applied;
                    opened.append(1, written + 1..=applied);
                    written = applied;
                    let mut table = tables[tables.len() - 1].clone();
                    table.write(&batch);
                    tables.push(table);
                    opened.write(Write::Table(batch.clone()));
                    batches.push(batch);
                }
            }
            compare(&mut opened, &tables[tables.len() - 1].clone(), &mut random);
            if random.below(2) == 0 {
                drop(opened);
            } else {
                let crash = crashed(dir.path());
                drop(opened);
                dir = crash;
            }
            opened = Opened::open(dir.path()).unwrap();
            let applied = opened.disk.table.checkpoint().applied;
            let place = tables.iter().position(|table| table.checkpoint().applied == applied).unwrap();
            compare(&mut opened, &tables[place].clone(), &mut random);
            // What a crash has lost is written again.
            for batch in &batches[place..] {
                opened.write(Write::Table(batch.clone()));
            }
        }
    }
}

/// The bytes of a superseded version.
const VALUE_BYTES: usize = 1 << 20;
/// The number of versions: their bytes are more than half of what history may take of the test's file system.
const VERSIONS: u64 = 48;

/// Raises the horizon on a file system of which less than half is free. Returns the bytes of the table files before and after.
fn drop_history(machine: &Machine) -> (u64, u64) {
    let dir = machine.mounted.join("data");
    let mut opened = Opened::open(&dir).unwrap();
    opened.found();
    let mut driver = Driver::new();
    let mut written = 0;
    let mut write = |opened: &mut Opened, driver: &mut Driver| {
        let batch = driver.store.take_batch().unwrap();
        let applied = batch.checkpoint.applied;
        opened.append(1, written + 1..=applied);
        written = applied;
        driver.table.write(&batch);
        driver.store.batch_written();
        opened.write(Write::Table(batch));
    };
    let mut random = Random(1);
    for _ in 0..VERSIONS {
        // Not to be compressed.
        let value: Vec<u8> =
            (0..VALUE_BYTES / 8).flat_map(|_| random.below(u64::MAX).to_be_bytes()).collect();
        driver.run(set("k", value));
        write(&mut opened, &mut driver);
    }
    drop(opened);
    fill(&machine.mounted.join("filler"), 200 << 20);
    let size =
        || state_files(&dir, "sst").iter().map(|file| fs::metadata(file).map_or(0, |meta| meta.len())).sum();
    let before = size();
    let mut opened = Opened::open(&dir).unwrap();
    driver.apply(Body::RaiseHorizon(RaiseHorizon { horizon: driver.store.applied() }));
    write(&mut opened, &mut driver);
    let deadline = Instant::now() + DEADLINE;
    let mut after = size();
    while after > before / 4 && Instant::now() < deadline {
        thread::yield_now();
        after = size();
    }
    (before, after)
}

/// Not a test: the process with its own mount namespace.
#[test]
#[ignore = "run by the other test"]
fn child() {
    let Some(machine) = Machine::of_child() else { return };
    match machine {
        Ok(machine) => println!("\nsizes {:?}", drop_history(&machine)),
        Err(reason) => println!("\nunable {reason}"),
    }
}

#[test]
fn the_space_of_a_large_history_is_free_soon_after_the_horizon_has_passed_it() {
    let lines = machine::in_own_mounts("history::child", &[]);
    let Ok(lines) = lines.map_err(say_skipped) else { return };
    let sizes = lines.iter().find_map(|line| line.strip_prefix("sizes (")).unwrap();
    let sizes: Vec<u64> = sizes.trim_end_matches(')').split(", ").map(|size| size.parse().unwrap()).collect();
    assert!(sizes[0] > VERSIONS * VALUE_BYTES as u64 && sizes[1] < sizes[0] / 4, "{sizes:?}");
}
