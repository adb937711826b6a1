//! The history of a key.

use bytes::Bytes;
use gometa_proto::{
    limits::{PAGE_BYTES_MAX, VALUE_MAX},
    v1::{GetHistory, KeyHistory, RaiseHorizon, command::Body},
};
use gometa_store::{Found, Query};
use gometa_testkit::store::{Driver, delete, set};

fn read(driver: &mut Driver, get: GetHistory) -> KeyHistory {
    driver.flush();
    match driver.table.records.borrow().read(&Query::History(get)) {
        Ok(Found::History(page)) => page,
        other => panic!("{other:?}"),
    }
}

fn of(key: &'static str) -> GetHistory {
    GetHistory { key: key.into(), ..GetHistory::default() }
}

/// Each version as its revision, with its value and version, or nothing of a deletion.
fn versions(page: &KeyHistory) -> Vec<(u64, Option<(&str, u64)>)> {
    let mut versions = Vec::new();
    for version in &page.versions {
        let value = std::str::from_utf8(&version.value).unwrap_or("?");
        versions.push((version.revision, (!version.deleted).then_some((value, version.version))));
    }
    versions
}

/// `k` is created at 2, changed at 3, deleted at 5, created again at 7 and deleted at 8; 9 is the last revision.
fn written() -> Driver {
    let mut driver = Driver::new();
    for operation in [
        set("k", "a"),
        set("k", "b"),
        set("j", ""),
        delete("k", None),
        set("k\0", ""),
        set("k", "c"),
        delete("k", None),
        delete("k", None),
    ] {
        driver.run(operation);
    }
    driver
}

const ALL: [(u64, Option<(&str, u64)>); 5] =
    [(8, None), (7, Some(("c", 1))), (5, None), (3, Some(("b", 2))), (2, Some(("a", 1)))];

#[test]
fn deletions_are_versions_and_every_place_can_be_the_first() {
    let mut driver = written();
    let page = read(&mut driver, of("k"));
    assert_eq!(versions(&page), ALL);
    assert_eq!((page.next_before, page.revision, page.oldest_revision), (0, 9, 0));
    assert_eq!((page.versions[1].create_revision, page.versions[3].create_revision), (7, 2));
    for before_revision in 1..=10 {
        let page = read(&mut driver, GetHistory { before_revision, ..of("k") });
        let below: Vec<_> = ALL.into_iter().filter(|(revision, _)| *revision < before_revision).collect();
        assert_eq!(versions(&page), below, "below {before_revision}");
    }
    assert_eq!(read(&mut driver, of("never")).versions, []);
}

#[test]
fn the_list_ends_with_the_version_at_the_horizon() {
    for (horizon, kept) in [(2, 5), (3, 4), (4, 4), (5, 2), (6, 2), (7, 2), (8, 0), (9, 0)] {
        let mut driver = written();
        // A batch of its own, and one batch for all.
        if horizon % 2 == 0 {
            driver.flush();
        }
        driver.apply(Body::RaiseHorizon(RaiseHorizon { horizon }));
        let page = read(&mut driver, of("k"));
        assert_eq!(versions(&page), ALL[..kept], "from {horizon} on");
        assert_eq!((page.next_before, page.oldest_revision), (0, horizon));
        let page = read(&mut driver, GetHistory { before_revision: 4, ..of("k") });
        let below = ALL[..kept].iter().filter(|(revision, _)| *revision < 4).copied();
        assert_eq!(versions(&page), below.collect::<Vec<_>>(), "below 4, from {horizon} on");
    }
}

#[test]
fn a_page_ends_at_its_limit_and_a_later_one_goes_on_behind_it() {
    let mut driver = written();
    let first = read(&mut driver, GetHistory { limit: 2, keys_only: true, ..of("k") });
    assert_eq!((versions(&first), first.next_before), (vec![(8, None), (7, Some(("", 1)))], 7));
    assert_eq!(first.versions[1].value_size, 1);
    // It is created again meanwhile, and the horizon passes the page.
    driver.run(set("k", "d"));
    driver.apply(Body::RaiseHorizon(RaiseHorizon { horizon: 4 }));
    let second = read(&mut driver, GetHistory { before_revision: first.next_before, ..of("k") });
    assert_eq!((versions(&second), second.next_before), (ALL[2..4].to_vec(), 0));
}

#[test]
fn a_page_has_a_thousand_versions_or_a_mebibyte_of_values() {
    let mut driver = Driver::new();
    for _ in 0..1_001 {
        driver.run(set("many", ""));
    }
    for limit in [0, 1_000, u64::MAX] {
        let page = read(&mut driver, GetHistory { limit, ..of("many") });
        assert_eq!((page.versions.len(), page.next_before), (1_000, 3), "limit {limit}");
    }
    let value = Bytes::from(vec![b'v'; VALUE_MAX]);
    driver.run(set("large", &value));
    driver.run(set("large", &value[..PAGE_BYTES_MAX / 2]));
    driver.run(set("large", &value[..PAGE_BYTES_MAX / 2]));
    driver.run(set("large", "v"));
    let mut get = of("large");
    let mut sizes = Vec::new();
    loop {
        let page = read(&mut driver, get.clone());
        sizes.push(page.versions.iter().map(|version| version.value_size as usize).collect::<Vec<_>>());
        get.before_revision = page.next_before;
        if page.next_before == 0 {
            break;
        }
    }
    let half = PAGE_BYTES_MAX / 2;
    assert_eq!(sizes, [vec![1, half], vec![half], vec![VALUE_MAX]]);
    assert_eq!(read(&mut driver, GetHistory { keys_only: true, ..of("large") }).versions.len(), 4);
}
