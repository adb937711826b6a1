//! The keys of single operations.

use bytes::Bytes;

/// The name of a key.
pub(super) fn key_name(key: usize) -> Bytes {
    Bytes::from(format!("key-{key}"))
}
