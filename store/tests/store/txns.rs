//! Transactions: what the random histories (`model`) are too small for.

use bytes::Bytes;
use gometa_proto::{
    limits::{KEY_MAX, TXN_CHANGED_KEYS_MAX, TXN_DELETED_BYTES_MAX, TXN_VALUES_MAX, VALUE_MAX},
    v1::{
        Compare, Delete, DeleteRange, ErrorKind, Get, RangeState, Set, Txn, TxnOperation, TxnOutcome,
        command_outcome::Result, compare::Operand, request::Operation, txn_operation,
    },
};
use gometa_store::{Decoded, Found, Query};
use gometa_testkit::store::{Driver, command, failed, set, write};

fn key(number: usize) -> Bytes {
    Bytes::from(format!("k{number}"))
}

fn deletes(keys: usize) -> Txn {
    let delete = |number| {
        let delete = Delete { key: key(number), revision: None };
        TxnOperation { operation: Some(txn_operation::Operation::Delete(delete)) }
    };
    Txn { then: (0..keys).map(delete).collect(), ..Txn::default() }
}

#[test]
fn the_values_that_a_transaction_has_to_do_with_are_bounded() {
    let most = TXN_VALUES_MAX / VALUE_MAX;
    let mut driver = Driver::new();
    for number in 0..=most {
        driver.run(set(key(number), vec![0; VALUE_MAX]));
    }
    assert_eq!(driver.run(Operation::Txn(deletes(most + 1))), failed(ErrorKind::TooLarge, 0));
    assert_eq!(driver.store.keys(), most as u64 + 1, "nothing is applied");
    // Also those of the branch that would not be executed.
    let Txn { then, .. } = deletes(most + 1);
    let (then, otherwise) = then.split_at(most);
    let txn = Txn { then: then.to_vec(), otherwise: otherwise.to_vec(), ..Txn::default() };
    assert_eq!(driver.run(Operation::Txn(txn)), failed(ErrorKind::TooLarge, 0));
    let outcome = driver.run(Operation::Txn(deletes(most)));
    assert!(matches!(outcome.result, Some(Result::Txn(TxnOutcome { succeeded: true, .. }))));
    assert_eq!(driver.store.keys(), 1);
}

#[test]
fn too_many_bytes_are_refused_before_all_are_in_memory() {
    let most = TXN_VALUES_MAX / VALUE_MAX;
    let mut driver = Driver::new();
    for number in 0..most + 2 {
        driver.run(set(key(number), vec![0; VALUE_MAX]));
    }
    driver.flush();
    driver.table.evict(&key(0));
    let counter = driver.store.applied() + 1;
    let seq = counter;
    let decoded = |txn| Decoded::new(command(write(1, seq, seq, Some(Operation::Txn(txn)))));
    assert_eq!(driver.store.apply(counter, &decoded(deletes(most + 1))), None, "one may be small");
    let applied = driver.store.apply(counter, &decoded(deletes(most + 2))).unwrap();
    assert_eq!(applied.outcome, failed(ErrorKind::TooLarge, 0));
}

#[test]
fn the_results_stay_what_they_were_when_the_keys_change() {
    let mut driver = Driver::new();
    driver.run(set("k0", "old"));
    let get = |key: Bytes| {
        let get = Get { key, ..Get::default() };
        TxnOperation { operation: Some(txn_operation::Operation::Get(get)) }
    };
    let replaced = Set { key: key(0), value: "new".into() };
    let replaced = TxnOperation { operation: Some(txn_operation::Operation::Set(replaced)) };
    let operand = Some(Operand::Value("old".into()));
    let when = vec![Compare { key: key(0), relation: 0, operand }];
    let txn = Txn { when, then: vec![get(key(0)), replaced, get(key(0))], ..Txn::default() };
    let Some(Result::Txn(outcome)) = driver.run(Operation::Txn(txn.clone())).result else {
        panic!("it is executed")
    };
    let query = Query::Results(txn, outcome);
    driver.flush();
    let first = driver.table.records.borrow().read(&query);
    driver.run(set("k0", "newer"));
    driver.flush();
    assert_eq!(driver.table.records.borrow().read(&query), first);
    let Ok(Found::Txn(answer)) = first else { panic!("{first:?}") };
    assert_eq!((answer.revision, answer.succeeded, answer.results.len()), (3, true, 3));
}

fn delete_range(prefix: &'static str) -> TxnOperation {
    let range = DeleteRange { prefix: prefix.into(), ..DeleteRange::default() };
    TxnOperation { operation: Some(txn_operation::Operation::DeleteRange(range)) }
}

#[test]
fn the_keys_that_a_branch_changes_are_bounded() {
    let mut driver = Driver::new();
    for number in 0..TXN_CHANGED_KEYS_MAX {
        driver.run(set(format!("r/{number}"), ""));
    }
    let put = Set { key: "x".into(), value: Bytes::new() };
    let put = TxnOperation { operation: Some(txn_operation::Operation::Set(put)) };
    let too_many = Txn { then: vec![put, delete_range("r/")], ..Txn::default() };
    assert_eq!(driver.run(Operation::Txn(too_many.clone())), failed(ErrorKind::TooLarge, 0));
    assert_eq!(driver.store.keys(), TXN_CHANGED_KEYS_MAX as u64, "nothing is applied");
    // The other branch does not count.
    let exists = Compare { key: "x".into(), relation: 3, operand: Some(Operand::ModRevision(0)) };
    let other = Txn { when: vec![exists], otherwise: vec![delete_range("r/")], ..too_many };
    let outcome = driver.run(Operation::Txn(other));
    assert!(matches!(outcome.result, Some(Result::Txn(TxnOutcome { succeeded: false, .. }))), "{outcome:?}");
    assert_eq!(driver.store.keys(), 0);
}

#[test]
fn the_bytes_of_deleted_and_of_compared_ranges_are_bounded() {
    let mut driver = Driver::new();
    let most = TXN_VALUES_MAX / VALUE_MAX;
    for number in 0..=most {
        driver.run(set(format!("v/{number}"), vec![0; VALUE_MAX]));
    }
    let long = "k".repeat(KEY_MAX - 8);
    for number in 0..=TXN_DELETED_BYTES_MAX / long.len() {
        driver.run(set(format!("{long}{number:03}"), ""));
    }
    for prefix in ["v/", "k"] {
        let txn = Txn { then: vec![delete_range(prefix)], ..Txn::default() };
        assert_eq!(driver.run(Operation::Txn(txn)), failed(ErrorKind::TooLarge, 0), "{prefix}");
    }
    // The records of both branches count.
    let two = vec![
        delete_range("v/0"),
        delete_range("v/1"),
        delete_range("v/2"),
        delete_range("v/3"),
        delete_range("v/4"),
    ];
    let three = vec![delete_range("v/5"), delete_range("v/6"), delete_range("v/7"), delete_range("v/8")];
    let txn = Txn { then: two, otherwise: three, ..Txn::default() };
    assert_eq!(driver.run(Operation::Txn(txn)), failed(ErrorKind::TooLarge, 0));
    let state = RangeState {
        prefix: "v/".into(),
        count: most as u64 + 1,
        revision: u64::MAX,
        ..RangeState::default()
    };
    let when = vec![Compare { operand: Some(Operand::Range(state)), ..Compare::default() }];
    let txn = Txn { when: when.clone(), otherwise: vec![delete_range("v/1")], ..Txn::default() };
    assert_eq!(driver.run(Operation::Txn(txn)), failed(ErrorKind::TooLarge, 0));
    driver.flush();
    let read = Query::Txn(Txn { when, ..Txn::default() });
    assert_eq!(driver.table.snapshot().read(&read), Ok(Found::TooLarge));
}
