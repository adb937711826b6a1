//! What a revision changed, and where its records are in a table.

use bytes::{BufMut, Bytes, BytesMut};
use gometa_proto::{
    Bounds,
    v1::{self, ChangeRecord, KeyRecord},
};
use prost::Message;

/// Upper bound, in bytes, of the memory of a changed key in a batch, besides its key and its superseded value.
const CHANGED_KEY_BYTES_MAX: usize = 192;

/// What one revision changed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Change {
    /// The revision.
    pub revision: u64,
    /// The sum of the hashes of all changes before.
    pub sum_before: u128,
    /// The keys, ascending.
    pub keys: Vec<ChangedKey>,
}

/// A key that a revision changed.
#[derive(Clone, PartialEq, Debug)]
pub struct ChangedKey {
    /// The key.
    pub key: Bytes,
    /// Whether it does not exist any more.
    pub deleted: bool,
    /// Its record before; `None` if it did not exist.
    pub superseded: Option<KeyRecord>,
}

impl Change {
    /// The record of the change, under [`revision_key`].
    pub fn record(&self) -> Bytes {
        let sum_before = Bytes::copy_from_slice(&self.sum_before.to_be_bytes());
        ChangeRecord { sum_before, keys: self.changed_keys() }.encode_to_vec().into()
    }

    pub(crate) fn changed_keys(&self) -> Vec<v1::ChangedKey> {
        let changed = |changed: &ChangedKey| v1::ChangedKey {
            key: changed.key.clone(),
            created: changed.superseded.is_none(),
            deleted: changed.deleted,
        };
        self.keys.iter().map(changed).collect()
    }

    /// The superseded versions with their keys in the history.
    pub fn superseded(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.keys.iter().filter_map(|changed| {
            let record = changed.superseded.as_ref()?;
            Some((past_key(&changed.key, self.revision), record.encode_to_vec().into()))
        })
    }

    /// Approximate memory, in bytes.
    pub fn size(&self) -> usize {
        self.keys.iter().map(ChangedKey::size).sum()
    }
}

impl ChangedKey {
    pub(crate) fn size(&self) -> usize {
        let value = self.superseded.as_ref().map_or(0, |record| record.value.len());
        CHANGED_KEY_BYTES_MAX + self.key.len() + value
    }
}

/// The key of a revision's record: it is ordered like the number.
pub fn revision_key(revision: u64) -> [u8; 8] {
    revision.to_be_bytes()
}

/// The key in the history of a version that was superseded at a revision. Ordered by the key, then by the revision: a zero
/// byte of the key becomes 0x00 0xff, and 0x00 0x00 ends it, so that no key's versions are among another's.
pub(crate) fn past_key(key: &[u8], superseded_at: u64) -> Bytes {
    let mut past = BytesMut::with_capacity(key.len() + 16);
    for byte in key {
        past.put_u8(*byte);
        if *byte == 0 {
            past.put_u8(0xff);
        }
    }
    past.put_u16(0);
    past.put_u64(superseded_at);
    past.freeze()
}

/// The keys in the history of all versions of some keys: those from the first on, below the second, if there is one.
pub fn past_bounds(keys: &Bounds) -> (Bytes, Option<Bytes>) {
    (past_key(&keys.start, 0), keys.end.as_ref().map(|end| past_key(end, 0)))
}

/// The opposite of [`past_key`]; `None` if it is none.
pub(crate) fn parse_past_key(past: &[u8]) -> Option<(Bytes, u64)> {
    let (escaped, revision) = past.split_last_chunk::<8>()?;
    let escaped = escaped.strip_suffix(&[0, 0])?;
    let mut key = BytesMut::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        key.put_u8(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return None;
        }
    }
    Some((key.freeze(), u64::from_be_bytes(*revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_the_history_are_ordered_like_keys_and_revisions() {
        let keys: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"a", b"a\0", b"a\0b", b"ab"];
        let all: Vec<(&[u8], u64)> =
            keys.iter().flat_map(|key| [0, 1, 255, 256, u64::MAX].map(|revision| (*key, revision))).collect();
        for pair in all.windows(2) {
            let [one, other] = [pair[0], pair[1]].map(|(key, revision)| past_key(key, revision));
            assert!(one < other, "{pair:?}");
        }
        for (key, revision) in all {
            assert_eq!(
                parse_past_key(&past_key(key, revision)),
                Some((Bytes::copy_from_slice(key), revision))
            );
        }
        for malformed in [&b""[..], b"\0\0", b"12345678", b"\0\x01\0\x0012345678", b"\0\0\x0012345678"] {
            assert_eq!(parse_past_key(malformed), None, "{malformed:?}");
        }
    }
}
