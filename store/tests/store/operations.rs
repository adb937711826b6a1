//! What each operation does to a key.

use bytes::Bytes;
use gometa_proto::{
    limits::{KEY_MAX, VALUE_MAX},
    v1::{CommandOutcome, ErrorKind, Guard, request::Operation},
};

use gometa_testkit::store::{Driver, add, cas, delete, deleted, failed, guarded, set, write, written};

/// Makes a write with a guard, under the next seq.
fn run_guarded(driver: &mut Driver, operation: Operation, key: &str, create_revision: u64) -> CommandOutcome {
    driver.seq += 1;
    let guard = Guard { key: Bytes::copy_from_slice(key.as_bytes()), create_revision };
    driver.apply(guarded(driver.session, driver.seq, driver.seq, operation, Some(guard))).outcome
}

#[test]
fn a_guard_holds_while_its_key_is_the_one_that_was_created_then() {
    let mut driver = Driver::new();
    driver.run(set("lock", "a"));
    assert_eq!(run_guarded(&mut driver, set("k", "a"), "lock", 2), written(3, 1));
    // Another value of the same key.
    driver.run(set("lock", "b"));
    assert_eq!(run_guarded(&mut driver, set("lock", "c"), "lock", 2), written(5, 3));
    assert_eq!(run_guarded(&mut driver, set("k", "b"), "lock", 5), failed(ErrorKind::GuardFailed, 2));
    // Another key of the same name.
    driver.run(delete("lock", None));
    assert_eq!(run_guarded(&mut driver, set("k", "b"), "lock", 2), failed(ErrorKind::GuardFailed, 0));
    driver.run(set("lock", "d"));
    assert_eq!(run_guarded(&mut driver, delete("k", None), "lock", 2), failed(ErrorKind::GuardFailed, 9));
    assert_eq!(driver.entry("k"), entry("a", 1, 3, 3));
}

#[test]
fn a_failed_guard_is_recorded_and_an_executed_write_is_not_guarded_again() {
    let mut driver = Driver::new();
    driver.run(set("lock", "a"));
    let write = |driver: &mut Driver, seq, created| {
        let guard = Guard { key: "lock".into(), create_revision: created };
        driver.apply(guarded(driver.session, seq, 1, set("k", "v"), Some(guard))).outcome
    };
    assert_eq!(write(&mut driver, 2, 2), written(3, 1));
    assert_eq!(write(&mut driver, 3, 3), failed(ErrorKind::GuardFailed, 2));
    driver.write(driver.session, 4, 1, delete("lock", None));
    assert_eq!(write(&mut driver, 2, 2), written(3, 1));
}

#[test]
fn a_guard_without_a_key_or_a_revision_is_invalid() {
    let mut driver = Driver::new();
    driver.run(set("lock", "a"));
    for (key, created) in [("", 2), ("lock", 0)] {
        let outcome = run_guarded(&mut driver, set("k", "a"), key, created);
        assert_eq!(outcome, failed(ErrorKind::InvalidArgument, 0), "{key} {created}");
    }
}

fn entry(value: &str, version: u64, created: u64, modified: u64) -> Option<(String, u64, u64, u64)> {
    Some((value.to_owned(), version, created, modified))
}

#[test]
fn add_creates_a_key_at_version_1_and_its_own_revision() {
    let mut driver = Driver::new();
    assert_eq!(driver.run(add("k", "a")), written(2, 1));
    assert_eq!(driver.entry("k"), entry("a", 1, 2, 2));
    assert_eq!(driver.store.keys(), 1);
}

#[test]
fn add_fails_on_a_key_that_exists_and_names_its_revision() {
    let mut driver = Driver::new();
    driver.run(add("k", "a"));
    driver.run(set("k", "b"));
    assert_eq!(driver.run(add("k", "c")), failed(ErrorKind::AlreadyExists, 3));
    assert_eq!(driver.entry("k"), entry("b", 2, 2, 3));
}

#[test]
fn set_creates_a_key_or_replaces_its_value() {
    let mut driver = Driver::new();
    assert_eq!(driver.run(set("k", "a")), written(2, 1));
    assert_eq!(driver.run(set("k", "b")), written(3, 2));
    assert_eq!(driver.entry("k"), entry("b", 2, 2, 3));
    assert_eq!(driver.store.keys(), 1);
}

#[test]
fn cas_replaces_a_value_whose_revision_it_knows() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    assert_eq!(driver.run(cas("k", 2, "b")), written(3, 2));
    assert_eq!(driver.entry("k"), entry("b", 2, 2, 3));
}

#[test]
fn cas_fails_on_another_revision_and_names_the_actual_one() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    assert_eq!(driver.run(cas("k", 1, "b")), failed(ErrorKind::CasMismatch, 2));
    assert_eq!(driver.run(cas("absent", 1, "b")), failed(ErrorKind::CasMismatch, 0));
    assert_eq!(driver.entry("k"), entry("a", 1, 2, 2));
    assert_eq!(driver.entry("absent"), None);
}

#[test]
fn cas_with_revision_0_creates_a_key_that_must_not_exist() {
    let mut driver = Driver::new();
    assert_eq!(driver.run(cas("k", 0, "a")), written(2, 1));
    assert_eq!(driver.run(cas("k", 0, "b")), failed(ErrorKind::CasMismatch, 2));
}

#[test]
fn cas_compares_the_revision_and_not_the_version_which_starts_again() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    driver.run(delete("k", None));
    assert_eq!(driver.run(set("k", "b")), written(4, 1));
    assert_eq!(driver.run(cas("k", 2, "c")), failed(ErrorKind::CasMismatch, 4));
    assert_eq!(driver.entry("k"), entry("b", 1, 4, 4));
}

#[test]
fn delete_removes_a_key_and_says_that_it_was_there() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    assert_eq!(driver.run(delete("k", None)), deleted(3, true));
    assert_eq!(driver.entry("k"), None);
    assert_eq!(driver.store.keys(), 0);
}

#[test]
fn delete_of_an_absent_key_succeeds_and_makes_no_revision() {
    let mut driver = Driver::new();
    assert_eq!(driver.run(delete("k", None)), deleted(0, false));
    assert_eq!(driver.run(delete("k", Some(0))), deleted(0, false));
}

#[test]
fn delete_with_a_revision_fails_on_another_one_and_on_an_absent_key() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    assert_eq!(driver.run(delete("k", Some(1))), failed(ErrorKind::CasMismatch, 2));
    assert_eq!(driver.run(delete("k", Some(0))), failed(ErrorKind::CasMismatch, 2));
    assert_eq!(driver.run(delete("absent", Some(2))), failed(ErrorKind::CasMismatch, 0));
    assert_eq!(driver.run(delete("k", Some(2))), deleted(6, true));
}

#[test]
fn keys_and_values_have_their_limits_and_a_value_may_be_empty() {
    let mut driver = Driver::new();
    let (key, value) = (vec![b'k'; KEY_MAX], vec![b'v'; VALUE_MAX]);
    assert_eq!(driver.run(set(&key, &value)), written(2, 1));
    assert_eq!(driver.run(set(&key, "")), written(3, 2));
    let (longer_key, longer_value) = ([&key[..], b"k"].concat(), [&value[..], b"v"].concat());
    assert_eq!(driver.run(set(&longer_key, "")), failed(ErrorKind::TooLarge, 0));
    assert_eq!(driver.run(delete(&longer_key, None)), failed(ErrorKind::TooLarge, 0));
    assert_eq!(driver.run(add("a", &longer_value)), failed(ErrorKind::TooLarge, 0));
    assert_eq!(driver.run(cas("a", 0, &longer_value)), failed(ErrorKind::TooLarge, 0));
    assert_eq!(driver.run(set("", "a")), failed(ErrorKind::InvalidArgument, 0));
    assert_eq!(driver.run(delete("", None)), failed(ErrorKind::InvalidArgument, 0));
    assert_eq!(driver.store.keys(), 1);
}

#[test]
fn a_write_without_an_operation_is_unsupported() {
    let mut driver = Driver::new();
    let session = driver.session;
    assert_eq!(driver.apply(write(session, 1, 1, None)).outcome, failed(ErrorKind::Unsupported, 0));
}

#[test]
fn operations_on_a_key_in_the_table_are_those_on_a_key_in_memory() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    driver.flush();
    assert_eq!(driver.entry("k"), entry("a", 1, 2, 2));
    assert_eq!(driver.run(add("k", "b")), failed(ErrorKind::AlreadyExists, 2));
    assert_eq!(driver.run(cas("k", 2, "b")), written(4, 2));
    driver.flush();
    assert_eq!(driver.run(delete("k", Some(4))), deleted(5, true));
    driver.flush();
    assert_eq!(driver.entry("k"), None);
    assert_eq!(driver.run(add("k", "c")), written(6, 1));
}
