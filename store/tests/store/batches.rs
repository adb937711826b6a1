//! Batches, the overlay, and the hash.

use std::collections::BTreeSet;

use gometa_store::{Space, Table, recompute_checkpoint};

use gometa_testkit::store::{Driver, delete, end, open, set, written};

#[test]
fn nothing_applied_makes_no_batch() {
    let mut driver = Driver::new();
    driver.flush();
    assert_eq!(driver.store.take_batch(), None);
    driver.restart();
    assert_eq!(driver.store.take_batch(), None);
}

#[test]
fn an_entry_that_is_no_command_moves_the_checkpoint_alone() {
    let mut driver = Driver::new();
    driver.flush();
    driver.store.skip(2);
    let batch = driver.store.take_batch().unwrap();
    assert_eq!(batch.writes, []);
    assert_eq!(batch.checkpoint.applied, 2);
    assert_eq!(batch.checkpoint.hash, driver.store.hash());
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
    assert_eq!((batch.writes.len(), places.len()), (3, 3));
    assert_eq!(batch.checkpoint.keys, 1);
    driver.table.write(&batch);
    let reopened = open(&driver.table);
    assert_eq!(reopened.get(b"k").unwrap().value, "c");
    assert_eq!(reopened.get(b"l"), None);
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
    driver.table.0.take();
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
    Driver::new().store.skip(3);
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
fn the_hash_of_nothing_is_0_again_once_everything_has_gone() {
    let mut driver = Driver::new();
    assert_ne!(driver.store.hash(), 0);
    driver.run(set("k", "a"));
    driver.flush();
    driver.run(delete("k", None));
    driver.apply(end(&[1]));
    assert_eq!(driver.store.hash(), 0);
    driver.flush();
    assert_eq!(driver.store.hash(), 0);
    assert_eq!(recompute_checkpoint(&driver.table), driver.table.checkpoint());
}

#[test]
fn the_hash_is_the_sum_that_the_format_promises() {
    use xxhash_rust::xxh3::xxh3_128;
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    driver.flush();
    let mut sum: u128 = 0;
    for (tag, space) in [(0, Space::Data), (1, Space::Session)] {
        driver.table.scan(space, &mut |key, value| {
            let len = u32::try_from(key.len()).unwrap().to_be_bytes();
            sum = sum.wrapping_add(xxh3_128(&[&[tag], &len[..], key, value].concat()));
        });
    }
    assert_eq!(driver.store.hash(), sum);
}
