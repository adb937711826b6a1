//! Batches, the overlay, and the hash.

use std::collections::BTreeSet;

use bytes::Bytes;
use gometa_store::{Decoded, Lookup, Purpose, Space, Table, recompute_checkpoint, record_hash};

use gometa_testkit::store::{Driver, command, delete, end, open, set, write, written};

#[test]
fn nothing_applied_makes_no_batch() {
    let mut driver = Driver::new();
    driver.flush();
    assert_eq!(driver.store.take_batch(), None);
    driver.restart();
    assert_eq!(driver.store.take_batch(), None);
}

#[test]
fn a_configuration_is_a_record_and_part_of_the_hash() {
    let mut driver = Driver::new();
    driver.flush();
    driver.store.configure(2, "configuration".into());
    let batch = driver.store.take_batch().unwrap();
    let key = Bytes::from_static(b"configuration");
    assert_eq!(batch.writes, [(Space::Configuration, key, Some("configuration".into()))]);
    assert_eq!(batch.checkpoint.applied, 2);
    assert_eq!(batch.checkpoint.hash, driver.store.hash());
    driver.table.write(&batch);
    driver.store.batch_written();
    assert_eq!(recompute_checkpoint(&driver.table), driver.table.checkpoint());
    driver.restart();
    assert_eq!(driver.store.configuration(), Some(&"configuration".into()));
    assert_eq!(driver.store.hash(), batch.checkpoint.hash);
}

#[test]
fn a_batch_holds_each_record_once_as_it_was_at_the_end() {
    let mut driver = Driver::new();
    for value in ["a", "b", "c"] {
        driver.run(set("k", value));
        driver.run(set("l", value));
    }
    driver.run(delete("l", None));
    let batch = driver.store.take_batch().unwrap();
    let places: BTreeSet<_> = batch.writes.iter().map(|(space, key, _)| (*space, key.clone())).collect();
    assert_eq!((batch.writes.len(), places.len()), (4, 4), "with the session and the history");
    assert_eq!(batch.checkpoint.keys, 1);
    driver.table.write(&batch);
    let reopened = open(&driver.table);
    assert_eq!(reopened.get(b"k").in_memory().unwrap().value, "c");
    assert_eq!(reopened.get(b"l"), Lookup::Absent);
    assert_eq!(recompute_checkpoint(&driver.table), driver.table.checkpoint());
}

#[test]
fn what_is_in_no_table_yet_is_read_from_memory() {
    let mut driver = Driver::new();
    let value = |driver: &Driver| driver.entry("k").map(|entry| entry.0);
    driver.run(set("k", "a"));
    let first = driver.store.take_batch().unwrap();
    driver.run(set("k", "b"));
    let second = driver.store.take_batch().unwrap();
    driver.run(delete("k", None));
    let third = driver.store.take_batch().unwrap();
    assert_eq!(value(&driver), None);
    driver.run(set("k", "c"));
    let fourth = driver.store.take_batch().unwrap();
    for batch in [&first, &second, &third] {
        driver.table.write(batch);
        assert_eq!(value(&driver).as_deref(), Some("c"));
        driver.store.batch_written();
        assert_eq!(value(&driver).as_deref(), Some("c"));
    }
    driver.table.write(&fourth);
    driver.store.batch_written();
    assert_eq!(value(&driver).as_deref(), Some("c"));
    assert_eq!(driver.run(set("k", "d")), written(6, 2));
}

#[test]
fn written_batches_leave_nothing_in_memory() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    let batch = driver.store.take_batch().unwrap();
    driver.table.write(&batch);
    driver.store.batch_written();
    // The key goes from under the store: it sees that only if it reads the table.
    driver.table.records.take();
    assert_eq!(driver.entry("k"), None);
}

#[test]
fn a_key_that_changes_again_stays_in_memory_when_its_older_batch_is_written() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    let batch = driver.store.take_batch().unwrap();
    driver.run(set("k", "b"));
    driver.table.write(&batch);
    driver.store.batch_written();
    assert_eq!(driver.entry("k").unwrap().0, "b");
    driver.flush();
    assert_eq!(recompute_checkpoint(&driver.table), driver.table.checkpoint());
}

#[test]
#[should_panic(expected = "a batch is outstanding")]
fn a_batch_that_was_never_taken_cannot_be_reported() {
    Driver::new().store.batch_written();
}

#[test]
#[should_panic(expected = "applied in order")]
fn an_entry_cannot_be_left_out() {
    Driver::new().store.configure(3, "configuration".into());
}

#[test]
#[should_panic(expected = "the table is damaged: record of key")]
fn a_damaged_record_of_a_key_ends_the_process() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    let mut batch = driver.store.take_batch().unwrap();
    for (space, _, value) in &mut batch.writes {
        if *space == Space::Data {
            *value = Some("\u{ff}".into());
        }
    }
    driver.table.write(&batch);
    driver.store.batch_written();
    driver.run(set("k", "b"));
}

#[test]
fn the_hash_of_nothing_is_that_of_the_history_once_everything_has_gone() {
    let mut driver = Driver::new();
    assert_ne!(driver.store.hash(), 0);
    driver.run(set("k", "a"));
    driver.flush();
    driver.run(delete("k", None));
    driver.apply(end(&[1]));
    let hash = driver.store.hash();
    driver.flush();
    let mut history = 0;
    driver.table.scan(Space::History, &mut |key, value| history = record_hash(Space::History, key, value));
    assert_eq!((driver.store.hash(), hash), (history, history));
    assert_eq!(recompute_checkpoint(&driver.table), driver.table.checkpoint());
}

#[test]
fn the_hash_is_the_sum_that_the_format_promises() {
    use xxhash_rust::xxh3::xxh3_128;
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    driver.store.configure(driver.store.applied() + 1, "configuration".into());
    driver.flush();
    let mut sum: u128 = 0;
    for (tag, space) in
        [(0, Space::Data), (1, Space::Session), (2, Space::Configuration), (3, Space::History)]
    {
        driver.table.scan(space, &mut |key, value| {
            let len = u32::try_from(key.len()).unwrap().to_be_bytes();
            sum = sum.wrapping_add(xxh3_128(&[&[tag], &len[..], key, value].concat()));
        });
    }
    assert_eq!(driver.store.hash(), sum);
}

#[test]
fn an_entry_whose_record_is_not_in_memory_changes_nothing_until_it_is_read() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    driver.flush();
    driver.table.evict(b"k");
    let command = Decoded::new(command(write(1, 2, 2, Some(set("k", "b")))));
    let before = (driver.store.applied(), driver.store.hash());
    assert_eq!(driver.store.apply(3, &command), None);
    assert_eq!((driver.store.applied(), driver.store.hash()), before);
    assert_eq!(driver.store.take_batch(), None);
    let key = &command.keys()[0];
    assert!(driver.store.begin_read(key, Purpose::Apply));
    driver.store.enter(key, driver.table.read(b"k"));
    assert_eq!(driver.store.apply(3, &command).unwrap().outcome, written(3, 2));
    driver.store.end_read(key, Purpose::Apply);
    driver.flush();
    assert_eq!(recompute_checkpoint(&driver.table), driver.table.checkpoint());
}

#[test]
fn an_answer_that_is_older_than_the_table_changes_nothing() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    driver.flush();
    let (key, old) = (Bytes::from_static(b"k"), driver.table.read(b"k"));
    // Another read brings the record into memory, so that the entry need not wait for this one.
    assert!(driver.store.begin_read(&key, Purpose::Get));
    driver.run(set("k", "b"));
    driver.flush();
    driver.store.enter(&key, old);
    assert_eq!(driver.entry("k").unwrap().0, "b");
    driver.store.end_read(&key, Purpose::Get);
    assert_eq!(driver.entry("k").unwrap().0, "b");
    assert_eq!(driver.run(set("k", "c")), written(4, 3));
    driver.flush();
    assert_eq!(recompute_checkpoint(&driver.table), driver.table.checkpoint());
}

#[test]
fn a_key_is_read_once_for_each_purpose_and_not_for_a_client_while_it_is_for_an_entry() {
    let mut store = Driver::new().store;
    let (one, other) = (Bytes::from_static(b"one"), Bytes::from_static(b"other"));
    assert!(store.begin_read(&one, Purpose::Get));
    assert!(!store.begin_read(&one, Purpose::Get));
    assert!(store.begin_read(&one, Purpose::Apply), "a client's read may wait behind others");
    assert!(!store.begin_read(&one, Purpose::Apply));
    assert!(store.begin_read(&other, Purpose::Apply));
    assert!(!store.begin_read(&other, Purpose::Get));
    store.end_read(&other, Purpose::Apply);
    assert!(store.begin_read(&other, Purpose::Get));
}

#[test]
fn a_record_is_counted_while_it_is_held_and_as_in_the_table() {
    let mut driver = Driver::new();
    driver.run(set("k", "v".repeat(1_000)));
    driver.flush();
    let key = Bytes::from_static(b"k");
    assert_eq!(driver.store.held_bytes(), 0);
    assert!(driver.store.hold(&key));
    let held = driver.store.held_bytes();
    assert!((1_001..2_000).contains(&held), "{held}");
    driver.run(delete("k", None));
    assert_eq!(driver.store.held_bytes(), 0, "it is among the changes");
    driver.flush();
    let absent = driver.store.held_bytes();
    assert!((1..1_000).contains(&absent), "{absent}");
    driver.store.release(&key);
    assert_eq!(driver.store.held_bytes(), 0);
}
