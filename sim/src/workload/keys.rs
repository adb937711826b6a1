//! The keys of single operations, and their versions.

use bytes::Bytes;
use gometa_proto::v1::{GetHistory, KeyHistory};

use crate::random::Random;

/// The name of a key.
pub(super) fn key_name(key: usize) -> Bytes {
    Bytes::from(format!("key-{key}"))
}

/// The first page of the versions of a key.
pub(super) fn first_versions(random: &mut Random, key: usize, seen: u64) -> GetHistory {
    GetHistory {
        key: key_name(key),
        before_revision: if random.one_in(4) { random.below(seen + 3) } else { 0 },
        limit: random.pick(&[0, 0, 1, 2, 3]),
        keys_only: random.one_in(4),
        consistency: random.index(2) as i32,
        min_revision: if random.one_in(2) { seen } else { 0 },
    }
}

/// The page behind another one; `None` if that is the last one.
pub(super) fn next_versions(get: &GetHistory, page: &KeyHistory) -> Option<GetHistory> {
    let next = GetHistory { before_revision: page.next_before, ..get.clone() };
    (page.next_before > 0).then_some(next)
}
