//! The history and its settings on real processes.

use std::{collections::BTreeMap, time::Duration};

use gometa_client::{Client, ErrorKind, Range, ReadOptions};
use gometa_tests::{
    ensemble::Ensemble,
    wait::{PATIENCE, until},
};
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(20);
const LANES: u64 = 8;
const WRITES: u64 = 6_000;
const KEYS: u64 = 50;
/// The lowest value of the setting.
const REVISIONS_MIN: u64 = 1_000;
/// The revisions that may be due and are not dropped yet: a 16th of those that are kept, and raises of the horizon.
const DUE_MAX: u64 = REVISIONS_MIN / 16 + 20;

/// The keys with their values at each revision that wrote one.
type Versions = BTreeMap<u64, (String, Option<String>)>;

/// Sets and deletes keys in several lanes, each with keys of its own.
async fn write(client: &Client) -> Versions {
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let client = client.clone();
        lanes.spawn(async move {
            let mut made = Versions::new();
            for number in 0..WRITES / LANES {
                let key = format!("k/{lane}/{:02}", number % (KEYS / LANES));
                if number % 10 == 9 {
                    let deleted = client.delete(&key).await.unwrap();
                    if deleted.existed {
                        made.insert(deleted.revision, (key, None));
                    }
                } else {
                    let written = client.set(&key, number.to_string()).await.unwrap();
                    made.insert(written.revision, (key, Some(number.to_string())));
                }
            }
            made
        });
    }
    lanes.join_all().await.into_iter().flatten().collect()
}

/// What there was at a revision.
fn at(versions: &Versions, revision: u64) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for (key, value) in versions.range(..=revision).map(|(_, version)| version) {
        match value {
            Some(value) => keys.insert(key.clone(), value.clone()),
            None => keys.remove(key),
        };
    }
    keys
}

/// Every node reads what there was at its horizon and above, and says that the revision below is dropped.
async fn is_right(ensemble: &Ensemble, versions: &Versions) {
    let last = *versions.last_key_value().unwrap().0;
    for node in ensemble.all() {
        let horizon = ensemble.status(node).await.unwrap().oldest_revision;
        let client = ensemble.client_of(node, TIMEOUT);
        for revision in [horizon, horizon + 1, horizon + 2, last - 1, last] {
            let range = Range::prefix("k/").at_revision(revision).options(ReadOptions::local());
            let page = client.range(range).await.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let found: BTreeMap<String, String> =
                page.entries.iter().map(|entry| (text(&entry.key), text(&entry.value))).collect();
            assert_eq!(found, at(versions, revision), "node {node} at {revision}, its horizon is {horizon}");
        }
        let below = Range::prefix("k/").at_revision(horizon - 1).options(ReadOptions::local());
        let error = client.range(below).await.unwrap_err();
        assert_eq!((error.kind(), error.actual_revision()), (ErrorKind::Compacted, Some(horizon)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_stays_within_its_settings_and_is_right_at_its_horizon() {
    let mut ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    client.set_setting("HistoryAgeMinutes", Some(0)).await.unwrap();
    client.set_setting("HistoryRevisionsMin", Some(REVISIONS_MIN)).await.unwrap();
    let versions = write(&client).await;
    let last = *versions.last_key_value().unwrap().0;
    until("the horizon is near the last revisions on every node", PATIENCE, || async {
        for node in ensemble.all() {
            let status = ensemble.status(node).await.map_err(|error| error.to_string())?;
            let kept = status.applied_revision - status.oldest_revision;
            if kept > REVISIONS_MIN + DUE_MAX {
                return Err(format!("node {node} keeps {kept} revisions"));
            }
        }
        Ok(())
    })
    .await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert!(statuses.iter().all(|status| status.oldest_revision + REVISIONS_MIN <= last), "{statuses:#?}");
    is_right(&ensemble, &versions).await;

    // A crash of all, before anything of this is flushed to the tables.
    ensemble.all().into_iter().for_each(|node| ensemble.kill(node));
    ensemble.start_all().await;
    ensemble.converged(&ensemble.all()).await;
    is_right(&ensemble, &versions).await;

    // A node with an empty disk gets history and settings with the snapshot, or by the log.
    ensemble.kill(0);
    ensemble.wipe(0);
    ensemble.restart(0).await;
    ensemble.converged(&ensemble.all()).await;
    is_right(&ensemble, &versions).await;
    for node in ensemble.all() {
        let settings = ensemble.client_of(node, TIMEOUT).settings().await.unwrap();
        let set: Vec<(&str, u64)> = settings
            .iter()
            .filter(|setting| setting.is_set)
            .map(|setting| (setting.name.as_str(), setting.value))
            .collect();
        assert_eq!(set, [("HistoryAgeMinutes", 0), ("HistoryRevisionsMin", REVISIONS_MIN)], "node {node}");
    }
}
