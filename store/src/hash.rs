//! The hash of the state: the sum, modulo 2^128, of the hashes of its records.
//!
//! A sum does not depend on the order of the records, and a changed record updates it by a subtraction and an addition.
//! It detects nodes whose states differ; it does not protect from an adversary who chooses the records.

use xxhash_rust::xxh3::Xxh3Default;

use crate::table::{Checkpoint, Space, Table};

/// The hash of a record: XXH3-128 of the space (1 byte: 0 data, 1 session), the length of the
/// key (4 bytes, big endian), the key, the value. All nodes must compute the same.
pub(crate) fn record_hash(space: Space, key: &[u8], value: &[u8]) -> u128 {
    let mut head = [0; 5];
    head[0] = match space {
        Space::Data => 0,
        Space::Session => 1,
    };
    // Keys are at most 4 KiB.
    head[1..].copy_from_slice(&(key.len() as u32).to_be_bytes());
    let mut hasher = Xxh3Default::new();
    hasher.update(&head);
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

/// Computes a table's checkpoint from its records by a full scan; `applied` is copied. For checkers.
pub fn rehash(table: &impl Table) -> Checkpoint {
    let mut truth = Checkpoint { applied: table.checkpoint().applied, ..Checkpoint::default() };
    table.scan(Space::Data, &mut |key, value| {
        truth.hash = truth.hash.wrapping_add(record_hash(Space::Data, key, value));
        truth.keys += 1;
    });
    table.scan(Space::Session, &mut |key, value| {
        truth.hash = truth.hash.wrapping_add(record_hash(Space::Session, key, value));
    });
    truth
}
