//! The encodings of a segment: its header, the heads of batches, the records in their bodies.
//!
//! Numbers are big endian. Checksums are CRC-32C. Header and batches begin at multiples of the segment's block; the bytes
//! between them are not read.
//!
//! | header, at 0 | bytes | |
//! |---|---|---|
//! | magic | 8 | `gometalg` |
//! | checksum | 4 | of everything behind it, through `length` |
//! | format | 4 | 1 |
//! | length | 4 | of the header |
//! | block | 4 | the unit at which batches begin, a power of two from 512 to 4,096 |
//! | salt | 16 | random; a batch of an earlier use of the file does not pass |
//! | number | 8 | of the segment; also its name |
//! | end of the segment before | 8 | the offset at which it ends |
//! | last batch before | 8, 4 | number and checksum of the last batch before this segment |
//! | beginning | 4 | 1 if the first batch was written together with the header, else 0 |
//! | end of the log | 8, 8 | epoch and counter of the last entry before the first batch |
//! | released | 8 | the counter through which entries had been released for applying |
//! | hard state, founding, configuration | each 4 + n | length and record; length 0 if there is none |
//!
//! | batch | bytes | |
//! |---|---|---|
//! | checksum | 4 | of the salt and the rest of the head |
//! | checksum of the body | 4 | |
//! | length of the body | 4 | |
//! | checksum of the batch before | 4 | the first of its four checksums |
//! | number | 8 | dense over the whole log |
//! | released | 8 | |
//! | body | n | records |
//!
//! | record | bytes | |
//! |---|---|---|
//! | kind | 1 | 1 log entry, 2 hard state, 3 founding |
//! | length | 4 | |
//! | record | n | as in `gometa_codec::storage`; the counter of an entry is one more than that of the entry before it |

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gometa_codec::storage;
use gometa_zab::{Founding, HardState, Zxid};

use crate::file::{ALIGNMENT, BLOCK_MIN};

const MAGIC: &[u8; 8] = b"gometalg";
/// The format that this build writes, the only one that it reads.
pub(crate) const FORMAT: u32 = 1;
/// The length of the header's part whose length does not vary.
const HEADER_FIXED: usize = 96;
/// Where the checksum of the header is, and what it covers begins.
const HEADER_CHECKSUM: usize = 8;
const HEADER_COVERED: usize = 12;
/// The longest header: two records with the addresses of 64 members.
pub(crate) const HEADER_MAX: usize = 256 << 10;

/// The length of a batch's head.
pub(crate) const HEAD: usize = 32;
/// The length of a record before its contents.
pub(crate) const RECORD: usize = 5;

pub(crate) const ENTRY: u8 = 1;
pub(crate) const HARD_STATE: u8 = 2;
pub(crate) const FOUNDING: u8 = 3;

/// What the log says besides its entries, at some point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) released: u64,
    pub(crate) hard_state: HardState,
    pub(crate) founding: Option<Arc<Founding>>,
    pub(crate) configuration: Bytes,
}

/// The last batch before some point: number and checksum; zero before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chain {
    pub(crate) number: u64,
    pub(crate) checksum: u32,
}

/// The header of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) block: usize,
    pub(crate) salt: u128,
    pub(crate) number: u64,
    /// The offset at which the segment before ends.
    pub(crate) before: u64,
    pub(crate) chain: Chain,
    /// Whether the first batch was written with the header.
    pub(crate) begins_with_batch: bool,
    pub(crate) end: Zxid,
    pub(crate) state: State,
}

/// Why a header cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HeaderError {
    Damaged(String),
    Newer(String),
}

impl Header {
    /// Appends the header to a buffer; returns its length.
    pub(crate) fn encode(&self, out: &mut BytesMut) -> usize {
        let start = out.len();
        out.put_slice(MAGIC);
        out.put_u32(0);
        out.put_u32(FORMAT);
        out.put_u32(0);
        out.put_u32(u32::try_from(self.block).expect("blocks are small"));
        out.put_u128(self.salt);
        out.put_u64(self.number);
        out.put_u64(self.before);
        out.put_u64(self.chain.number);
        out.put_u32(self.chain.checksum);
        out.put_u32(self.begins_with_batch.into());
        out.put_u64(self.end.epoch.0);
        out.put_u64(self.end.counter);
        out.put_u64(self.state.released);
        let founding = self.state.founding.as_deref().map(storage::encode_founding);
        let hard_state = storage::encode_hard_state(&self.state.hard_state);
        for record in [&hard_state, &founding.unwrap_or_default(), &self.state.configuration] {
            out.put_u32(u32::try_from(record.len()).expect("records of the header are small"));
            out.put_slice(record);
        }
        let length = out.len() - start;
        assert!(length <= HEADER_MAX, "a header of {length} bytes is too long");
        let length_bytes = u32::try_from(length).expect("headers are small").to_be_bytes();
        out[start + 16..start + 20].copy_from_slice(&length_bytes);
        let checksum = crc32c::crc32c(&out[start + HEADER_COVERED..]);
        out[start + HEADER_CHECKSUM..start + HEADER_COVERED].copy_from_slice(&checksum.to_be_bytes());
        length
    }

    /// The length of the header that begins so, if that is plausible.
    pub(crate) fn length(first: &[u8]) -> Option<usize> {
        let length = first.get(16..20)?.try_into().map(u32::from_be_bytes).ok()?;
        let length = usize::try_from(length).ok()?;
        (HEADER_FIXED..=HEADER_MAX).contains(&length).then_some(length)
    }

    /// Decodes a header of exactly this length; also returns the offset of the first batch.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Header, u64), HeaderError> {
        let damaged = |what: &str| HeaderError::Damaged(format!("the header {what}"));
        if bytes.len() < HEADER_FIXED || bytes[..8] != MAGIC[..] {
            return Err(damaged("is missing"));
        }
        let mut rest = &bytes[HEADER_CHECKSUM..];
        if rest.get_u32() != crc32c::crc32c(&bytes[HEADER_COVERED..]) {
            return Err(damaged("has a wrong checksum"));
        }
        let format = rest.get_u32();
        if format != FORMAT {
            return Err(HeaderError::Newer(format!(
                "format {format}, and this program knows format {FORMAT}"
            )));
        }
        let length = rest.get_u32();
        if usize::try_from(length) != Ok(bytes.len()) {
            return Err(damaged("has a wrong length"));
        }
        let block = usize::try_from(rest.get_u32()).unwrap_or(usize::MAX);
        if !block.is_power_of_two() || !(BLOCK_MIN..=ALIGNMENT).contains(&block) {
            return Err(damaged("has a wrong block"));
        }
        let (salt, number, before) = (rest.get_u128(), rest.get_u64(), rest.get_u64());
        let chain = Chain { number: rest.get_u64(), checksum: rest.get_u32() };
        let begins_with_batch = match rest.get_u32() {
            0 => false,
            1 => true,
            _ => return Err(damaged("has a wrong number of batches")),
        };
        let end = Zxid::new(rest.get_u64(), rest.get_u64());
        let released = rest.get_u64();
        let mut record = || {
            let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
            let (record, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(record)
        };
        let (Some(hard_state), Some(founding), Some(configuration)) = (record(), record(), record()) else {
            return Err(damaged("is too short for its records"));
        };
        let hard_state = storage::decode_hard_state(hard_state);
        let hard_state = hard_state.map_err(|error| damaged(&format!("has a wrong hard state: {error}")))?;
        let founding = (!founding.is_empty()).then(|| storage::decode_founding(founding)).transpose();
        let founding = founding.map_err(|error| damaged(&format!("has a wrong founding record: {error}")))?;
        let founding = founding.map(Arc::new);
        let configuration = Bytes::copy_from_slice(configuration);
        let state = State { released, hard_state, founding, configuration };
        let first_batch = bytes.len().next_multiple_of(block) as u64;
        Ok((Header { block, salt, number, before, chain, begins_with_batch, end, state }, first_batch))
    }
}

/// The head of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) checksum: u32,
    pub(crate) body_checksum: u32,
    pub(crate) length: usize,
    /// The checksum of the batch before.
    pub(crate) previous: u32,
    pub(crate) number: u64,
    pub(crate) released: u64,
}

impl Head {
    /// Writes the head of a batch whose body follows it in `batch`, and returns the batch's checksum.
    pub(crate) fn seal(batch: &mut [u8], salt: u128, previous: Chain, released: u64) -> u32 {
        let (mut head, body) = batch.split_at_mut(HEAD);
        let body_checksum = crc32c::crc32c(body);
        let length = u32::try_from(body.len()).expect("batches are smaller than segments");
        let mut fields = &mut head[4..];
        fields.put_u32(body_checksum);
        fields.put_u32(length);
        fields.put_u32(previous.checksum);
        fields.put_u64(previous.number + 1);
        fields.put_u64(released);
        let checksum = salted(salt, &head[4..]);
        head.put_u32(checksum);
        checksum
    }

    /// Decodes a head; `None` if its checksum does not match: no batch of the segment with this salt begins so.
    pub(crate) fn decode(salt: u128, bytes: &[u8]) -> Option<Head> {
        let mut head = bytes.get(..HEAD)?;
        let checksum = head.get_u32();
        if checksum != salted(salt, head) {
            return None;
        }
        let (body_checksum, length) = (head.get_u32(), usize::try_from(head.get_u32()).ok()?);
        let (previous, number, released) = (head.get_u32(), head.get_u64(), head.get_u64());
        Some(Head { checksum, body_checksum, length, previous, number, released })
    }
}

fn salted(salt: u128, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_be_bytes()), bytes)
}

/// Splits the first record off a body: its kind, and where it begins and ends. `None` if the body is not a list of records.
pub(crate) fn record(body: &[u8], at: usize) -> Option<(u8, std::ops::Range<usize>)> {
    let mut head = body.get(at..at.checked_add(RECORD)?)?;
    let kind = head.get_u8();
    let length = usize::try_from(head.get_u32()).ok()?;
    let start = at + RECORD;
    let end = start.checked_add(length)?;
    (end <= body.len()).then_some((kind, start..end))
}

/// The name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}")
}

/// The number of a segment; `None` for other files.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let plain = name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(name, 16).ok()).flatten()
}
