//! Records on disk: hard state, founding record, log entries.
//!
//! Each begins with its format version (u8, 1) and a CRC-32C (u32, big endian) of the rest. The checksum of a log entry
//! includes its key, the counter: an entry under the wrong key does not pass. Numbers are big endian. A record that does
//! not decode is damaged or was written by a newer version; no part of it may be used.
//!
//! | record | after version and checksum |
//! |---|---|
//! | hard state | accepted epoch u64, accepted leader u64 (0 = none), current epoch u64 |
//! | founding | sealed u8 (0 or 1), `Genesis` |
//! | log entry | epoch u64, predecessor's epoch u64, kind u8, level u32, payload |

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gometa_proto::{check, frame::TooLarge, v1};
use gometa_zab::{Founding, HardState, Kind, Levels, LogEntry, Zxid};
use prost::Message;

use crate::{
    DecodeError, envelope,
    error::invalid,
    fields,
    limits::{MEMBERS_MAX, PAYLOAD_MAX},
};

/// The checksum's context of a hard state.
const HARD_STATE: &[u8] = b"gometa hard state";
/// The checksum's context of a founding record.
const FOUNDING: &[u8] = b"gometa founding";

/// The length of a log entry's record before the payload, in bytes.
pub const LOG_ENTRY_HEADER: usize = envelope::HEADER + 8 + 8 + 1 + 4;

/// A log entry as it was read from disk, and its recorded predecessor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// The entry before this one; the genesis before the first. The caller compares it with the log.
    pub previous: Zxid,
    /// The entry.
    pub entry: LogEntry,
}

/// Encodes a hard state.
pub fn encode_hard_state(state: &HardState) -> Bytes {
    let mut out = BytesMut::with_capacity(envelope::HEADER + 24);
    envelope::seal(HARD_STATE, &mut out, |out| {
        out.put_u64(state.accepted_epoch.0);
        out.put_u64(state.accepted_leader.map_or(0, |leader| leader.0));
        out.put_u64(state.current_epoch.0);
    });
    out.freeze()
}

/// Decodes a hard state. Its current epoch is not above its accepted one; an accepted epoch above zero has a leader.
pub fn decode_hard_state(record: &[u8]) -> Result<HardState, DecodeError> {
    let mut body = envelope::open(HARD_STATE, record)?;
    if body.len() != 24 {
        return Err(invalid("hard state", "has the wrong length"));
    }
    let state = HardState {
        accepted_epoch: fields::epoch(body.get_u64(), "accepted epoch")?,
        accepted_leader: fields::optional_node(body.get_u64()),
        current_epoch: fields::epoch(body.get_u64(), "current epoch")?,
    };
    if state.current_epoch > state.accepted_epoch {
        return Err(invalid("current epoch", "is above the accepted one"));
    }
    if (state.accepted_epoch.0 == 0) != state.accepted_leader.is_none() {
        return Err(invalid("accepted leader", "does not go with the accepted epoch"));
    }
    Ok(state)
}

/// Encodes a founding record.
pub fn encode_founding(founding: &Founding) -> Bytes {
    let genesis = fields::genesis_message(&founding.genesis);
    let mut out = BytesMut::with_capacity(envelope::HEADER + 1 + genesis.encoded_len());
    envelope::seal(FOUNDING, &mut out, |out| {
        out.put_u8(founding.sealed.into());
        genesis.encode_raw(out);
    });
    out.freeze()
}

/// Decodes a founding record.
pub fn decode_founding(record: &[u8]) -> Result<Founding, DecodeError> {
    let body = envelope::open(FOUNDING, record)?;
    let sealed = match body.first() {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(invalid("founding", "is neither sealed nor unsealed")),
    };
    let genesis: v1::Genesis = check::decode(Bytes::copy_from_slice(&body[1..]), MEMBERS_MAX)?;
    Ok(Founding { genesis: fields::genesis(Some(genesis))?, sealed })
}

/// Encodes the key of a log entry; keys sort as counters do.
pub fn log_key(counter: u64) -> [u8; 8] {
    counter.to_be_bytes()
}

/// Decodes the key of a log entry.
pub fn decode_log_key(key: &[u8]) -> Result<u64, DecodeError> {
    let key = key.try_into().map_err(|_| invalid("log key", "is not 8 bytes long"))?;
    Ok(u64::from_be_bytes(key))
}

/// Encodes a log entry that follows `previous`; its key is [`log_key`] of its counter.
///
/// # Panics
/// If the entry does not follow `previous`, or its payload is too large.
pub fn encode_log_entry(previous: Zxid, entry: &LogEntry) -> Bytes {
    let mut out = BytesMut::with_capacity(LOG_ENTRY_HEADER + entry.payload.len());
    encode_log_entry_into(previous, entry, &mut out);
    out.freeze()
}

/// Appends the record of a log entry to a buffer: [`encode_log_entry`] for many entries.
///
/// # Panics
/// If the entry does not follow `previous`, or its payload is too large.
pub fn encode_log_entry_into(previous: Zxid, entry: &LogEntry, out: &mut BytesMut) {
    assert!(follows(entry.zxid, previous), "a log entry at {} cannot follow {previous}", entry.zxid);
    assert!(entry.payload.len() <= PAYLOAD_MAX, "the payload of {} is too large", entry.zxid);
    envelope::seal(&log_key(entry.zxid.counter), out, |out| {
        out.put_u64(entry.zxid.epoch.0);
        out.put_u64(previous.epoch.0);
        out.put_u8(
            u8::try_from(fields::kind_number(entry.kind)).expect("a node logs only kinds that it knows"),
        );
        out.put_u32(entry.level);
        out.put_slice(&entry.payload);
    });
}

/// Decodes the log entry of a record under the key of `counter`. The payload shares the record's memory.
///
/// An entry of an unknown kind or level is [newer](DecodeError::is_newer) than this build, not damaged.
pub fn decode_log_entry(counter: u64, record: Bytes) -> Result<LogRecord, DecodeError> {
    let mut body = envelope::open(&log_key(counter), &record)?;
    if record.len() < LOG_ENTRY_HEADER {
        return Err(invalid("log entry", "is too short"));
    }
    let zxid = fields::zxid_of(body.get_u64(), counter, "zxid")?;
    let before = counter.checked_sub(1).ok_or_else(|| invalid("zxid", "is the genesis"))?;
    let previous = fields::zxid_of(body.get_u64(), before, "previous zxid")?;
    if !follows(zxid, previous) {
        return Err(invalid("previous zxid", "is of a later epoch"));
    }
    let (kind, level) = (body.get_u8(), body.get_u32());
    let length = body.len();
    if length > PAYLOAD_MAX {
        return Err(TooLarge { length, max: PAYLOAD_MAX }.into());
    }
    let kind = match fields::kind(kind.into(), level)? {
        Kind::Unknown(kind) => return Err(DecodeError::UnknownKind(kind)),
        known if level <= Levels::SUPPORTED.max => known,
        _ => return Err(DecodeError::UnknownLevel(level)),
    };
    let entry = LogEntry { zxid, kind, level, payload: record.slice(LOG_ENTRY_HEADER..) };
    fields::check_entry(&entry)?;
    Ok(LogRecord { previous, entry })
}

/// Whether an entry may be directly after another.
pub(crate) fn follows(zxid: Zxid, previous: Zxid) -> bool {
    previous.counter.checked_add(1) == Some(zxid.counter) && zxid.epoch >= previous.epoch && zxid.epoch.0 > 0
}
