//! The encoding of checkpoints and marks; `gometa_codec::storage` encodes hard state, founding and log entries. Each record
//! has a checksum: RocksDB's checksums protect its blocks and batches only.

use gometa_store::Checkpoint;

/// CRC-32C.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

const CHECKPOINT_SIZE: usize = 36;

/// Applied counter, hash, number of keys, checksum; big endian.
pub(super) fn encode_checkpoint(checkpoint: &Checkpoint) -> [u8; CHECKPOINT_SIZE] {
    let mut bytes = [0; CHECKPOINT_SIZE];
    bytes[..8].copy_from_slice(&checkpoint.applied.to_be_bytes());
    bytes[8..24].copy_from_slice(&checkpoint.hash.to_be_bytes());
    bytes[24..32].copy_from_slice(&checkpoint.keys.to_be_bytes());
    let sum = checksum(&bytes[..32]);
    bytes[32..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// `None` if the record is damaged.
pub(super) fn decode_checkpoint(bytes: &[u8]) -> Option<Checkpoint> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if bytes.len() != CHECKPOINT_SIZE || checksum(body).to_be_bytes() != *sum {
        return None;
    }
    let (applied, rest) = body.split_first_chunk::<8>()?;
    let (hash, keys) = rest.split_first_chunk::<16>()?;
    Some(Checkpoint {
        applied: u64::from_be_bytes(*applied),
        hash: u128::from_be_bytes(*hash),
        keys: u64::from_be_bytes(*keys.first_chunk::<8>()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_survives_and_every_flipped_bit_is_seen() {
        let checkpoint = Checkpoint { applied: 1 << 40, hash: u128::MAX / 7, keys: 12_345 };
        let bytes = encode_checkpoint(&checkpoint);
        assert_eq!(decode_checkpoint(&bytes), Some(checkpoint));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_checkpoint(&flipped), None);
        }
        assert_eq!(decode_checkpoint(&bytes[..35]), None);
        assert_eq!(decode_checkpoint(&[]), None);
    }
}
