//! The versions of keys, in the plainest form, and the pages of a table compared with them.

use std::collections::BTreeMap;

use bytes::Bytes;
use gometa_proto::v1::{GetHistory, KeyHistory, KeyVersion};
use gometa_store::{Found, MemoryTable, Query, Table};

use super::model::{KEYS, ModelKey, key};

/// The versions of a key that are kept, newest first, by the keys at each revision from 0 on.
fn versions(past: &[BTreeMap<Bytes, ModelKey>], horizon: u64, key: &Bytes) -> Vec<KeyVersion> {
    let at = |revision: u64| past[revision as usize].get(key);
    let last = past.len() as u64 - 1;
    let mut versions = Vec::new();
    for revision in (horizon + 1..=last).rev().filter(|revision| at(*revision) != at(revision - 1)) {
        versions.push(match at(revision) {
            Some(key) => version(key),
            None => KeyVersion { revision, deleted: true, ..KeyVersion::default() },
        });
    }
    versions.extend(at(horizon).map(version));
    versions
}

fn version(key: &ModelKey) -> KeyVersion {
    KeyVersion {
        revision: key.modified,
        deleted: false,
        version: key.version,
        create_revision: key.created,
        value: key.value.clone(),
        value_size: key.value.len() as u64,
    }
}

fn page(table: &MemoryTable, get: &GetHistory) -> KeyHistory {
    match table.read(&Query::History(get.clone())) {
        Ok(Found::History(page)) => page,
        other => panic!("{get:?} is answered with {other:?}"),
    }
}

/// Compares the versions of every key, in pages of any size and from any revision on, with the keys at each revision.
pub(super) fn check_versions(table: &MemoryTable, horizon: u64, past: &[BTreeMap<Bytes, ModelKey>]) {
    let last = past.len() as u64 - 1;
    assert_eq!(table.checkpoint().applied, last);
    for number in 0..KEYS.len() {
        let key = key(number as u8);
        let expected = versions(past, horizon, &key);
        for (limit, keys_only) in [(0, false), (1, true), (2, false)] {
            let mut get = GetHistory { key: key.clone(), limit, keys_only, ..GetHistory::default() };
            let mut read = Vec::new();
            loop {
                let page = page(table, &get);
                assert_eq!((page.revision, page.oldest_revision), (last, horizon), "{get:?}");
                assert!(limit == 0 || page.versions.len() as u64 <= limit, "{get:?}");
                read.extend(page.versions);
                get.before_revision = page.next_before;
                if page.next_before == 0 {
                    break;
                }
            }
            let shown = |version: &KeyVersion| match keys_only {
                true => KeyVersion { value: Bytes::new(), ..version.clone() },
                false => version.clone(),
            };
            assert_eq!(read, expected.iter().map(shown).collect::<Vec<_>>(), "{key:?} above {horizon}");
        }
        for before_revision in 1..=last + 1 {
            let get = GetHistory { key: key.clone(), before_revision, ..GetHistory::default() };
            let below = expected.iter().filter(|version| version.revision < before_revision);
            assert_eq!(
                page(table, &get).versions,
                below.cloned().collect::<Vec<_>>(),
                "{get:?} above {horizon}"
            );
        }
    }
}
