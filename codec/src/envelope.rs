//! The envelope of datagrams and records: version (u8), CRC-32C (u32, big endian), body.
//!
//! The checksum covers a *context* before the body, which both sides know and which is not stored. So a record read
//! under the wrong key does not pass.

use bytes::{BufMut, BytesMut};

use crate::DecodeError;

/// The version of every format in an envelope.
const VERSION: u8 = 1;
/// The length of version and checksum, in bytes.
pub(crate) const HEADER: usize = 5;

/// Appends an envelope; `write` appends its body.
pub(crate) fn seal(context: &[u8], out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u8(VERSION);
    out.put_u32(0);
    write(out);
    let checksum = checksum(context, &out[start + HEADER..]);
    out[start + 1..start + HEADER].copy_from_slice(&checksum.to_be_bytes());
}

/// Verifies version and checksum of an envelope and returns its body.
pub(crate) fn open<'a>(context: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let (&version, rest) = bytes.split_first().ok_or(DecodeError::Checksum)?;
    if version != VERSION {
        return Err(DecodeError::Version(version.into()));
    }
    let (stored, body) = rest.split_first_chunk::<4>().ok_or(DecodeError::Checksum)?;
    if u32::from_be_bytes(*stored) != checksum(context, body) {
        return Err(DecodeError::Checksum);
    }
    Ok(body)
}

fn checksum(context: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(context), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // The published check value, also when context and body are split differently.
        assert_eq!(checksum(b"", b"123456789"), 0xe306_9283);
        assert_eq!(checksum(b"1234", b"56789"), 0xe306_9283);
    }

    #[test]
    fn short_envelopes_and_other_versions_are_refused() {
        let mut sealed = BytesMut::new();
        seal(b"context", &mut sealed, |out| out.put_slice(b"body"));
        assert_eq!(open(b"context", &sealed), Ok(&b"body"[..]));
        assert_eq!(open(b"another", &sealed), Err(DecodeError::Checksum));
        for length in 0..sealed.len() {
            assert_eq!(open(b"context", &sealed[..length]), Err(DecodeError::Checksum));
        }
        sealed[0] = 2;
        assert_eq!(open(b"context", &sealed), Err(DecodeError::Version(2)));
    }
}
