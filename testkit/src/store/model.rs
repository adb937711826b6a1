//! The keys of random histories, and what they hold, in the plainest form.

use std::collections::BTreeMap;

use bytes::Bytes;
use gometa_proto::v1::{Entry, Range};

/// The keys, the first of which is invalid.
pub(super) const KEYS: [&[u8]; 6] = [b"", b"a", b"a/", b"a/b", b"a\0/", b"\xff"];

pub(super) fn key(number: u8) -> Bytes {
    Bytes::from_static(KEYS[usize::from(number)])
}

#[derive(Clone, PartialEq)]
pub(super) struct ModelKey {
    pub(super) value: Bytes,
    pub(super) version: u64,
    pub(super) created: u64,
    pub(super) modified: u64,
}

impl ModelKey {
    pub(super) fn entry(&self, key: &Bytes) -> Entry {
        Entry {
            key: key.clone(),
            value: self.value.clone(),
            version: self.version,
            create_revision: self.created,
            mod_revision: self.modified,
            is_group: false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Revision {
    Actual,
    Any(u64),
}

/// The entries of a range, without pages.
pub(super) fn entries(keys: &BTreeMap<Bytes, ModelKey>, range: &Range) -> Vec<Entry> {
    let Range { start, end, prefix, delimiter, .. } = range;
    let mut entries: Vec<Entry> = Vec::new();
    for (key, known) in keys {
        if key < start || (!end.is_empty() && key >= end) || !key.starts_with(prefix) {
            continue;
        }
        let behind = &key[prefix.len()..];
        let slash = behind.iter().position(|byte| !delimiter.is_empty() && *byte == delimiter[0]);
        let entry = match slash {
            Some(at) => Entry { key: key.slice(..=prefix.len() + at), is_group: true, ..Entry::default() },
            None => Entry {
                key: key.clone(),
                value: if range.keys_only { Bytes::new() } else { known.value.clone() },
                version: known.version,
                create_revision: known.created,
                mod_revision: known.modified,
                is_group: false,
            },
        };
        if entries.last().is_none_or(|last| last.key != entry.key) {
            entries.push(entry);
        }
    }
    if range.reverse {
        entries.reverse();
    }
    entries
}
