//! Transactions on real processes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use gometa_client::{Compare, ErrorKind, Op, OpResult, Outcome, Range, ReadOptions, Relation, Txn};
use gometa_proto::v1::{self, compare::Operand, request::Operation, response, txn_operation};
use gometa_tests::ensemble::Ensemble;

use crate::wire::Wire;

const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_is_executed_as_one_and_every_node_tells_the_same_of_it() {
    let ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    let first = client.set("jobs/waiting/7", "sort").await.unwrap();
    let take = || {
        let txn = Txn::new().when(Compare::exists("jobs/waiting/7")).when(Compare::absent("jobs/running/7"));
        txn.then(Op::get("jobs/waiting/7"))
            .then(Op::delete("jobs/waiting/7"))
            .then(Op::set("jobs/running/7", "worker-3"))
            .then(Op::range(Range::prefix("jobs/")))
            .otherwise(Op::get("jobs/waiting/7"))
            .otherwise(Op::get("jobs/running/7"))
    };
    let taken = client.commit(take()).await.unwrap();
    assert!(taken.succeeded && taken.revision > first.revision);
    let [
        OpResult::Entry(Some(before)),
        OpResult::Deleted(deleted),
        OpResult::Written(written),
        OpResult::Page(page),
    ] = &taken.results[..]
    else {
        panic!("{taken:?}")
    };
    assert_eq!((&before.value[..], before.mod_revision), (&b"sort"[..], first.revision));
    assert_eq!((deleted.existed, deleted.revision), (true, taken.revision));
    assert_eq!((written.revision, written.version), (taken.revision, 1));
    assert_eq!(page.entries.iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(), [b"jobs/running/7"]);
    for node in ensemble.all() {
        let again = ensemble.client_of(node, TIMEOUT).commit(take()).await.unwrap();
        assert!(!again.succeeded);
        let [OpResult::Entry(None), OpResult::Entry(Some(running))] = &again.results[..] else {
            panic!("{again:?}")
        };
        assert_eq!((&running.value[..], running.mod_revision), (&b"worker-3"[..], taken.revision));
    }

    // A transaction that writes in neither branch is a read of one revision.
    let read = Txn::new()
        .when(Compare::value("jobs/running/7", Relation::Greater, "worker-2"))
        .then(Op::get("jobs/running/7"))
        .then(Op::range(Range::all().keys_only()))
        .options(ReadOptions::local());
    let read = client.commit(read).await.unwrap();
    assert!(read.succeeded && read.revision >= taken.revision && read.results.len() == 2, "{read:?}");

    // All keys of a full transaction are changed at one revision. A result without room in the answer is an error.
    let value = vec![b'v'; 7_000];
    let full = (0..128).fold(Txn::new(), |txn, number| txn.then(Op::set(format!("full/{number}"), &value)));
    let full = client.commit(full).await.unwrap();
    assert_eq!(client.count(Range::prefix("full/").at_revision(full.revision)).await.unwrap(), 128);
    assert_eq!(client.count(Range::prefix("full/").at_revision(full.revision - 1)).await.unwrap(), 0);
    client.set("large", vec![b'v'; 1 << 20]).await.unwrap();
    let gets = Txn::new().then(Op::get("large")).then(Op::get("full/1"));
    let gets = client.commit(gets).await.unwrap();
    let [OpResult::Entry(Some(large)), OpResult::Left(left)] = &gets.results[..] else { panic!("{gets:?}") };
    assert_eq!((large.value.len(), left.kind()), (1 << 20, ErrorKind::TooLarge));
    assert_eq!(left.actual_revision(), Some(gets.revision));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_compared_with_a_scan_and_deleted_as_one() {
    let ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    for number in 0..1_000 {
        client.set(format!("old/{number:04}"), "v").await.unwrap();
    }
    let found = client.range(Range::prefix("old/").keys_only()).await.unwrap();
    let count = found.entries.len() as u64;
    assert_eq!(count, 1_000);
    let clear = || {
        let txn = Txn::new().when(Compare::range(Range::prefix("old/"), count, found.revision));
        txn.then(Op::delete_range(Range::prefix("old/"))).then(Op::get("old/0001"))
    };
    // With another write of the branch there is one key too many.
    let refused = client.commit(clear().then(Op::set("new", "v"))).await.unwrap_err();
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::TooLarge, Outcome::NotApplied));
    assert!(refused.message().contains("at most 1000 keys"), "{refused}");
    let cleared = client.commit(clear()).await.unwrap();
    let [OpResult::DeletedRange(deleted), OpResult::Entry(None)] = &cleared.results[..] else {
        panic!("{cleared:?}")
    };
    assert_eq!((deleted.count, deleted.revision), (1_000, cleared.revision));
    for (revision, left) in [(cleared.revision - 1, 1_000), (cleared.revision, 0)] {
        assert_eq!(client.count(Range::prefix("old/").at_revision(revision)).await.unwrap(), left);
    }
    let again = client.commit(clear()).await.unwrap();
    assert!(!again.succeeded && again.results.is_empty(), "{again:?}");
    assert!(client.commit(Txn::new().when(Compare::empty(Range::prefix("old/")))).await.unwrap().succeeded);
    // A range that has more than bounds is refused before it is sent.
    let limited = Range::prefix("old/").limit(5);
    for txn in [
        Txn::new().then(Op::delete_range(limited.clone())),
        Txn::new().otherwise(Op::delete_range(Range::all().reverse())),
        Txn::new().when(Compare::range(limited, 5, 7)),
    ] {
        let error = client.commit(txn).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidArgument, Outcome::NotApplied));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_is_called_again_when_a_key_appears_in_a_range_that_it_has_read() {
    let ensemble = Ensemble::start(1).await;
    let client = ensemble.client(TIMEOUT);
    client.set("seats/1", "ann").await.unwrap();
    let calls = AtomicU64::new(0);
    let taken = client.transaction(|txn| {
        let (client, call) = (client.clone(), calls.fetch_add(1, Ordering::Relaxed));
        async move {
            let seats = txn.range(Range::prefix("seats/")).await?;
            if call == 0 {
                client.set("seats/2", "ben").await?;
            }
            let next = seats.entries.len() + 1;
            txn.set(format!("seats/{next}"), "eve");
            txn.delete("seats/1");
            // It sees its own writes.
            let now = txn.range(Range::prefix("seats/").reverse().keys_only()).await?;
            let now: Vec<_> = now.entries.into_iter().map(|entry| (entry.key, entry.mod_revision)).collect();
            Ok((next, now))
        }
    });
    let (next, now) = taken.await.unwrap();
    assert_eq!((next, calls.load(Ordering::Relaxed), now.len()), (3, 2, 2));
    assert_eq!((&now[0].0[..], now[0].1), (&b"seats/3"[..], 0), "not committed yet");
    assert_eq!(client.count(Range::prefix("seats/")).await.unwrap(), 2);
    // What is not bounds or direction is refused; so are too many keys.
    for number in 0..1_001 {
        client.set(format!("many/{number:04}"), "").await.unwrap();
    }
    for (range, kind) in [
        (Range::prefix("many/"), ErrorKind::TooLarge),
        (Range::prefix("seats/").limit(1), ErrorKind::InvalidArgument),
        (Range::prefix("seats/").at_revision(1), ErrorKind::InvalidArgument),
    ] {
        let read = client.transaction(|txn| {
            let range = range.clone();
            async move { txn.range(range).await }
        });
        assert_eq!(read.await.unwrap_err().kind(), kind);
    }
}

fn compare(operand: Operand) -> v1::Compare {
    v1::Compare { key: "k".into(), relation: 0, operand: Some(operand) }
}

fn set(key: &'static str, size: usize) -> v1::TxnOperation {
    let set = v1::Set { key: key.into(), value: vec![0; size].into() };
    v1::TxnOperation { operation: Some(txn_operation::Operation::Set(set)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_makes_no_sense_is_refused_with_the_bound() {
    let ensemble = Ensemble::start(1).await;
    let client = ensemble.client(TIMEOUT);
    client.set("k", "v").await.unwrap();
    let mut wire = Wire::connect(&ensemble.request(0)).await;
    let session = wire.open_session([7; 16]).await;
    let then = |then: Vec<v1::TxnOperation>| v1::Txn { then, ..Default::default() };
    let when = |when: Vec<v1::Compare>| v1::Txn { when, then: vec![set("l", 1)], ..Default::default() };
    let revision = || compare(Operand::ModRevision(1));
    let conditional = v1::Delete { key: "k".into(), revision: Some(1) };
    let conditional = v1::TxnOperation { operation: Some(txn_operation::Operation::Delete(conditional)) };
    let refused = [
        (when(vec![revision(); 129]), 9, "128"),
        (then(vec![set("k", 0); 129]), 9, "128"),
        (v1::Txn { otherwise: vec![set("k", 0); 129], ..Default::default() }, 9, "128"),
        (then(vec![set("k", 0), set("k", 1)]), 1, "twice"),
        (then(vec![set("", 0)]), 1, "empty"),
        (then(vec![set("k", (1 << 20) + 1)]), 9, "1048576"),
        (then(vec![set("k", 1 << 19), set("l", 1 << 19), set("m", 1 << 13)]), 9, "exceeds the limit of"),
        (when(vec![compare(Operand::Value(vec![0; 1 << 20].into())); 1]), 0, ""),
        (when(vec![v1::Compare { key: "k".into(), relation: 9, operand: None }]), 17, "relation 9"),
        (when(vec![v1::Compare { key: "k".into(), relation: 0, operand: None }]), 17, "operand"),
        (then(vec![v1::TxnOperation { operation: None }]), 17, "operation"),
        (then(vec![set("l", 0), conditional]), 1, "revision"),
        (v1::Txn { consistency: 7, ..then(vec![set("k", 0)]) }, 17, "consistency 7"),
    ];
    for (seq, (txn, kind, words)) in (1..).zip(refused) {
        let context = v1::WriteContext { session, seq, lowest: seq };
        let id = wire.ask(Some(context), Some(Operation::Txn(txn))).await;
        match wire.answer(id).await {
            response::Result::Txn(answer) => assert_eq!((kind, answer.succeeded), (0, false)),
            response::Result::Error(error) => {
                assert_eq!((error.kind, error.outcome), (kind, 1), "{words}: {error:?}");
                assert!(error.message.contains(words), "{words}: {error:?}");
            }
            other => panic!("{words}: {other:?}"),
        }
    }
    assert_eq!(client.get("k").await.unwrap().value, "v", "nothing was applied");
    // Without a session only a read is executed.
    let id = wire.ask(None, Some(Operation::Txn(then(vec![set("k", 0)])))).await;
    assert!(matches!(wire.answer(id).await, response::Result::Error(error) if error.kind == 1));
    let id = wire.ask(None, Some(Operation::Txn(v1::Txn::default()))).await;
    assert!(matches!(wire.answer(id).await, response::Result::Txn(answer) if answer.succeeded));
}
