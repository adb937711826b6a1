//! The sizes that programs agree upon, in bytes unless a name says otherwise.
//!
//! A client receives its limits in the `Welcome`. Before a limit is raised, every node must know the new one: a follower
//! drops a leader whose messages exceed its own limit.

use crate::v1;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The clients' protocol, the only version there is.
pub const PROTOCOL_VERSION: u32 = 1;
/// The protocol between nodes, the only version there is.
pub const PEER_VERSION: u32 = 1;

/// The longest key; the shortest has one byte.
pub const KEY_MAX: usize = 4 * KIB;
/// The longest value; the shortest is empty.
pub const VALUE_MAX: usize = MIB;
/// The longest delimiter of a range.
pub const DELIMITER_MAX: usize = 16;
/// The most entries of a page.
pub const PAGE_ENTRIES_MAX: usize = 1_000;
/// The bytes of keys and values of a page; the first entry fits whatever its size.
pub const PAGE_BYTES_MAX: usize = MIB;
/// The most keys that are looked at for a page.
pub const PAGE_KEYS_MAX: usize = 10_000;
/// The same for a page that counts only.
pub const COUNT_KEYS_MAX: usize = 100_000;
/// The most comparisons of a transaction, and the most operations of each of its branches.
pub const TXN_OPERATIONS_MAX: usize = 128;
/// The longest encoded transaction: a key, a value, and the other fields of the largest write.
pub const TXN_BYTES_MAX: usize = VALUE_MAX + KEY_MAX + 128;
/// The most keys in the ranges that a transaction compares, together.
pub const TXN_COMPARED_KEYS_MAX: usize = 1_000;
/// The most keys that a transaction may change.
pub const TXN_CHANGED_KEYS_MAX: usize = 1_000;
/// The bytes of the keys that the ranges that a branch of a transaction deletes may have.
pub const TXN_DELETED_BYTES_MAX: usize = MIB;
/// The bytes of the values that a transaction may have to do with: those of the keys that it compares or may write, as they are
/// when it is executed. Of a key that occurs twice, twice. The records of the ranges that it compares, and of those that its
/// branches delete, may have as many again each.
pub const TXN_VALUES_MAX: usize = 8 * MIB;
/// The longest encoded command, the payload of a log entry: a key, a value, the key of a guard, and the other fields.
pub const PAYLOAD_MAX: usize = VALUE_MAX + 2 * KEY_MAX + KIB;

/// The longest part of a backup that is read at a time.
pub const BACKUP_CHUNK_MAX: usize = 256 * KIB;

/// The longest message between client and node, its length prefix not counted.
pub const CLIENT_FRAME_MAX: usize = MIB + 64 * KIB;
/// The longest message between nodes, its length prefix not counted.
pub const PEER_FRAME_MAX: usize = 8 * MIB;
/// The longest election datagram; it fits into one packet on every network.
pub const DATAGRAM_MAX: usize = 512;

/// The most repeated elements in one message of a client, at all depths together.
pub const CLIENT_ELEMENTS_MAX: usize = 1024;
/// The most fields in one frame of a client that is longer than a few KiB, at all depths together. The largest transaction
/// has at most seven for each comparison, 13 for each operation in both branches, and some for itself.
pub const CLIENT_FIELDS_MAX: usize = 4608;
/// The most repeated elements in one message of a node, at all depths together. Above 16,384, the number of empty log
/// entries in a leader's batch of 1 MiB.
pub const PEER_ELEMENTS_MAX: usize = 32_768;

/// The bound of `seq - lowest` in one session, and of the outcomes recorded for it: both are below.
pub const WINDOW_MAX: u64 = 1024;
/// The most sessions open at a time in one ensemble.
pub const SESSIONS_MAX: usize = 10_000;
/// The most sessions opened over one connection that have not ended.
pub const CONNECTION_SESSIONS_MAX: usize = 16;
/// The most requests in flight on one connection.
pub const REQUESTS_MAX: usize = 1024;

/// The longest address ("host:port").
pub const ADDRESS_MAX: usize = 256;
/// The most members of one ensemble, voters and learners together.
pub const MEMBERS_MAX: usize = 128;
/// The longest name or version of a program, for people.
pub const NAME_MAX: usize = 64;
/// The length of nonces and of ids of 128 random bits.
pub const ID_LENGTH: usize = 16;

/// The deadline of a request that names none, in milliseconds.
pub const DEADLINE_DEFAULT_MS: u32 = 5_000;

/// The limits as a `Welcome` carries them.
pub const fn advertised(session_timeout_ms: u32) -> v1::Limits {
    v1::Limits {
        key_max: KEY_MAX as u32,
        value_max: VALUE_MAX as u32,
        frame_max: CLIENT_FRAME_MAX as u32,
        requests_max: REQUESTS_MAX as u32,
        window_max: WINDOW_MAX as u32,
        session_timeout_ms,
        sessions_max: CONNECTION_SESSIONS_MAX as u32,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn the_largest_request_fits_its_frame_and_its_command_the_payload() {
        let context = v1::WriteContext { session: u64::MAX, seq: u64::MAX, lowest: u64::MAX };
        let cas =
            v1::Cas { key: vec![0; KEY_MAX].into(), revision: u64::MAX, value: vec![0; VALUE_MAX].into() };
        let request = v1::Request {
            id: u64::MAX,
            deadline_ms: u32::MAX,
            write: Some(context),
            guard: Some(v1::Guard { key: vec![0; KEY_MAX].into(), create_revision: u64::MAX }),
            operation: Some(v1::request::Operation::Cas(cas)),
        };
        let frame = v1::ClientFrame { body: Some(v1::client_frame::Body::Request(request.clone())) };
        assert!(frame.encoded_len() <= CLIENT_FRAME_MAX);
        let command = v1::Command { body: Some(v1::command::Body::Write(request)) };
        assert!(command.encoded_len() <= PAYLOAD_MAX);
        // Ending every session at once is a command like any other.
        let end = v1::EndSessions { sessions: vec![u64::MAX; SESSIONS_MAX] };
        assert!(end.encoded_len() + 16 <= PAYLOAD_MAX);
    }

    #[test]
    fn the_largest_answer_fits_its_frame() {
        let entry = v1::Entry {
            key: vec![0; KEY_MAX].into(),
            value: vec![0; VALUE_MAX].into(),
            version: u64::MAX,
            create_revision: u64::MAX,
            mod_revision: u64::MAX,
            is_group: false,
        };
        let response = v1::Response {
            id: u64::MAX,
            revision: u64::MAX,
            result: Some(v1::response::Result::Entry(entry)),
        };
        assert!(response.encoded_len() + 16 <= CLIENT_FRAME_MAX);
        // A page of entries of its size in all, with the numbers of each, or of one.
        let entry = |value: usize| v1::Entry {
            key: vec![0; 16].into(),
            value: vec![0; value].into(),
            version: u64::MAX,
            create_revision: u64::MAX,
            mod_revision: u64::MAX,
            is_group: false,
        };
        let each = PAGE_BYTES_MAX / PAGE_ENTRIES_MAX - 16;
        let next = vec![0; KEY_MAX + 1].into();
        let entries = vec![entry(each); PAGE_ENTRIES_MAX];
        let page = v1::Page { entries, count: u64::MAX, next, revision: u64::MAX };
        let response =
            v1::Response { id: u64::MAX, revision: u64::MAX, result: Some(v1::response::Result::Page(page)) };
        assert!(response.encoded_len() + 16 <= CLIENT_FRAME_MAX, "{}", response.encoded_len());
        // The history of a key likewise.
        let version = v1::KeyVersion {
            revision: u64::MAX,
            deleted: true,
            version: u64::MAX,
            create_revision: u64::MAX,
            value: vec![0; PAGE_BYTES_MAX / PAGE_ENTRIES_MAX].into(),
            value_size: VALUE_MAX as u64,
        };
        let versions = vec![version; PAGE_ENTRIES_MAX];
        let history =
            v1::KeyHistory { versions, next_before: u64::MAX, revision: u64::MAX, oldest_revision: u64::MAX };
        let result = Some(v1::response::Result::KeyHistory(history));
        let response = v1::Response { id: u64::MAX, revision: u64::MAX, result };
        assert!(response.encoded_len() + 16 <= CLIENT_FRAME_MAX, "{}", response.encoded_len());
    }
}
