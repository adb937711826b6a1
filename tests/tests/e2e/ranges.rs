//! Pages and scans on real processes.

use std::{collections::BTreeMap, time::Duration};

use gometa_client::{Client, ErrorKind, Range, ReadOptions};
use gometa_proto::v1::{self, request::Operation, response};
use gometa_tests::ensemble::Ensemble;
use tokio::task::JoinSet;

use crate::wire::Wire;

const TIMEOUT: Duration = Duration::from_secs(20);
/// More than two pages.
const KEYS: u64 = 2_500;

/// Sets keys concurrently, and returns the highest revision.
async fn write(client: &Client, keys: impl Iterator<Item = u64>, value: &'static str) -> u64 {
    let mut writes = JoinSet::new();
    for number in keys {
        let client = client.clone();
        writes.spawn(async move { client.set(key(number), value).await.unwrap().revision });
    }
    writes.join_all().await.into_iter().max().unwrap()
}

fn key(number: u64) -> String {
    format!("range/{}/{number:05}", number % 10)
}

async fn scan(client: &Client, range: Range) -> BTreeMap<String, String> {
    let mut entries = client.scan(range);
    let mut found = BTreeMap::new();
    while let Some(entry) = entries.next().await {
        let entry = entry.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert!(found.insert(text(&entry.key), text(&entry.value)).is_none(), "each key comes once");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_shows_one_moment_on_every_node_also_while_leaders_are_killed() {
    let mut ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    let old = write(&client, 0..KEYS, "old").await;
    let new = write(&client, (0..KEYS).step_by(2), "new").await;
    assert_eq!(client.delete_prefix("range/3/").await.unwrap(), KEYS / 10);
    let all: BTreeMap<String, String> = (0..KEYS).map(|number| (key(number), "old".to_owned())).collect();
    for node in ensemble.all() {
        let client = ensemble.client_of(node, TIMEOUT);
        // What every node has applied; a local page waits for it.
        let local = ReadOptions::local();
        let found = scan(&client, Range::prefix("range/").at_revision(old).options(local)).await;
        assert_eq!(found, all, "at {old} on node {node}");
        let found = scan(&client, Range::prefix("range/").at_revision(new).options(local).reverse()).await;
        let changed = found.values().filter(|value| *value == "new").count() as u64;
        assert_eq!((found.len() as u64, changed), (KEYS, KEYS / 2), "at {new} on node {node}");
        assert_eq!(client.count(Range::prefix("range/")).await.unwrap(), KEYS / 10 * 9);
        let groups = scan(&client, Range::prefix("range/").delimiter("/")).await;
        assert_eq!(groups.len(), 9, "{groups:?}");
        assert_eq!(client.get_at(key(3), new).await.unwrap().value, "old");
        let error = client.get_at(key(3), 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "0 is the present");
    }

    // A scan whose leader dies between two pages goes on elsewhere, at the same revision.
    let mut entries = client.scan(Range::prefix("range/"));
    let first = entries.next().await.unwrap().unwrap();
    let revision = entries.revision();
    let leader = ensemble.leader().await;
    ensemble.kill(leader);
    let writer = ensemble.client(TIMEOUT);
    write(&writer, 0..100, "later").await;
    let mut found = vec![first];
    while let Some(entry) = entries.next().await {
        found.push(entry.unwrap());
    }
    assert_eq!(entries.revision(), revision);
    assert_eq!(found.len() as u64, KEYS / 10 * 9);
    assert!(found.iter().all(|entry| entry.value != "later"));
    ensemble.restart(leader).await;
    ensemble.converged(&ensemble.all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_makes_no_sense_is_refused_with_the_bound() {
    let ensemble = Ensemble::start(1).await;
    let client = ensemble.client(TIMEOUT);
    let revision = client.set("k", "v").await.unwrap().revision;
    let mut wire = Wire::connect(&ensemble.request(0)).await;
    let mut ask = async |get: v1::GetHistory| {
        let id = wire.ask(None, Some(Operation::GetHistory(get))).await;
        wire.answer(id).await
    };
    for (get, kind, words) in [
        (v1::GetHistory::default(), 1, "empty"),
        (v1::GetHistory { key: vec![1; 4_097].into(), ..Default::default() }, 9, "4096"),
        (v1::GetHistory { key: "k".into(), consistency: 7, ..Default::default() }, 17, "consistency 7"),
    ] {
        match ask(get.clone()).await {
            response::Result::Error(error) => {
                assert_eq!(error.kind, kind, "{get:?}: {error:?}");
                assert!(error.message.contains(words), "{get:?}: {error:?}");
            }
            other => panic!("{get:?}: {other:?}"),
        }
    }
    for (before_revision, count) in [(0, 1), (u64::MAX, 1), (revision + 1, 1), (revision, 0), (1, 0)] {
        let get = v1::GetHistory { key: "k".into(), before_revision, limit: u64::MAX, ..Default::default() };
        let response::Result::KeyHistory(page) = ask(get.clone()).await else { panic!("{get:?}") };
        assert_eq!((page.versions.len(), page.next_before), (count, 0), "{get:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_makes_no_sense_is_refused_with_the_bound() {
    let ensemble = Ensemble::start(1).await;
    let client = ensemble.client(TIMEOUT);
    let revision = client.set("k", "v").await.unwrap().revision;
    let mut wire = Wire::connect(&ensemble.request(0)).await;
    let mut ask = async |range: v1::Range| {
        let id = wire.ask(None, Some(Operation::Range(range))).await;
        wire.answer(id).await
    };
    for (range, kind, words) in [
        (v1::Range { start: "b".into(), end: "a".into(), ..Default::default() }, 1, "above its end"),
        (v1::Range { start: vec![0; 4_098].into(), ..Default::default() }, 9, "4097"),
        (v1::Range { end: vec![1; 5_000].into(), ..Default::default() }, 9, "4097"),
        (v1::Range { prefix: vec![1; 4_097].into(), ..Default::default() }, 9, "4096"),
        (v1::Range { delimiter: vec![b'/'; 17].into(), ..Default::default() }, 9, "16"),
        (v1::Range { consistency: 7, ..Default::default() }, 17, "consistency 7"),
        (v1::Range { at_revision: u64::MAX, ..Default::default() }, 1, "in the future"),
    ] {
        match ask(range.clone()).await {
            response::Result::Error(error) => {
                assert_eq!(error.kind, kind, "{range:?}: {error:?}");
                assert!(error.message.contains(words), "{range:?}: {error:?}");
            }
            other => panic!("{range:?}: {other:?}"),
        }
    }
    for range in [
        v1::Range { limit: u64::MAX, ..Default::default() },
        v1::Range { limit: 0, prefix: "k".into(), ..Default::default() },
        v1::Range { start: "k".into(), end: vec![0xff; 4_097].into(), ..Default::default() },
        v1::Range { at_revision: revision, ..Default::default() },
    ] {
        let response::Result::Page(page) = ask(range.clone()).await else { panic!("{range:?}") };
        assert_eq!((page.count, page.entries.len(), page.next.len()), (1, 1, 0), "{range:?}");
    }
    for range in [
        v1::Range { start: "k".into(), end: "k".into(), ..Default::default() },
        v1::Range { prefix: vec![0xff; 4_096].into(), ..Default::default() },
        v1::Range { start: "z".into(), prefix: "a".into(), ..Default::default() },
    ] {
        let response::Result::Page(page) = ask(range.clone()).await else { panic!("{range:?}") };
        assert_eq!((page.count, page.next.len()), (0, 0), "{range:?}");
    }
}
