//! The state hash: the sum, modulo 2^128, of the hashes of all records (an additive multiset hash).
//!
//! It does not depend on the order of the records. A changed record is updated by subtracting its old hash and adding
//! its new one. The hash detects divergence of nodes; it is not secure against chosen records. All nodes must compute
//! the same value, so the format must never change.

use xxhash_rust::xxh3::Xxh3Default;

use crate::table::{Checkpoint, Space, Table};

/// The hash of a record: XXH3-128 of the space (1 byte: 0 data, 1 session, 2 configuration, 3 history, 4 settings), the length of
/// the key (4 bytes, big endian), the key and the encoded record.
pub fn record_hash(space: Space, key: &[u8], value: &[u8]) -> u128 {
    let mut head = [0; 5];
    head[0] = match space {
        Space::Data => 0,
        Space::Session => 1,
        Space::Configuration => 2,
        Space::History => 3,
        Space::Settings => 4,
    };
    // Keys are at most 4 KiB.
    head[1..].copy_from_slice(&(key.len() as u32).to_be_bytes());
    let mut hasher = Xxh3Default::new();
    hasher.update(&head);
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

/// Recomputes a table's checkpoint from its records, to verify the stored one. Scans the whole table; `applied` is taken from the stored checkpoint.
pub fn recompute_checkpoint(table: &impl Table) -> Checkpoint {
    let mut computed = Checkpoint { applied: table.checkpoint().applied, ..Checkpoint::default() };
    for space in Space::ALL {
        table.scan(space, &mut |key, value| {
            computed.hash = computed.hash.wrapping_add(record_hash(space, key, value));
            computed.keys += u64::from(space == Space::Data);
        });
    }
    computed
}
