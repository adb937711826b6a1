//! Limits: input that is large, or that would be larger once decoded.

use bytes::{Bytes, BytesMut};
use gometa_codec::{
    DecodeError, TooLarge,
    limits::{DATAGRAM_MAX, ENTRIES_MAX, MEMBERS_MAX, PAYLOAD_MAX, PEER_ELEMENTS_MAX, PEER_FRAME_MAX},
    message, storage, vote,
};
use gometa_proto::{check, v1};
use gometa_zab::{Epoch, Kind, LogEntry, Message, Zxid};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};

use crate::round_trips::frame;

/// Nested sub-messages, by field number; the innermost consists of one element, repeated.
fn nested(path: &[u32], element: &[u8], length: usize) -> Bytes {
    let mut inner = element.repeat(length / element.len());
    for &number in path.iter().rev() {
        let mut outer = Vec::with_capacity(inner.len() + 16);
        encode_key(number, WireType::LengthDelimited, &mut outer);
        encode_varint(inner.len() as u64, &mut outer);
        outer.append(&mut inner);
        inner = outer;
    }
    inner.into()
}

/// An empty sub-message.
fn empty(number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    bytes.push(0);
    bytes
}

#[test]
fn a_mebibyte_of_empty_elements_is_refused_before_it_is_decoded() {
    let refused = DecodeError::Message(check::DecodeError::TooManyElements(PEER_ELEMENTS_MAX));
    for (path, element) in
        [(&[21][..], empty(3)), (&[12], empty(5)), (&[1], empty(9)), (&[2, 1], empty(3)), (&[5, 1], empty(3))]
    {
        for length in [1 << 20, PEER_FRAME_MAX - 16] {
            assert_eq!(message::decode(nested(path, &element, length)), Err(refused.clone()), "{path:?}");
        }
    }
}

#[test]
fn empty_elements_within_the_limit_take_little_memory_and_are_invalid() {
    // The largest element: 32,768 of them in 64 KiB need 4 MiB until they are refused.
    assert!(PEER_ELEMENTS_MAX * size_of::<v1::Voter>().max(size_of::<v1::LogEntry>()) <= 4 << 20);
    let voters = message::decode(nested(&[2, 1], &empty(3), 2 * PEER_ELEMENTS_MAX));
    assert!(matches!(voters, Err(DecodeError::Invalid { .. })), "{voters:?}");
    let entries = message::decode(nested(&[21], &empty(3), 2 * PEER_ELEMENTS_MAX));
    assert!(matches!(entries, Err(DecodeError::Invalid { .. })), "{entries:?}");
}

#[test]
fn the_elements_of_a_founding_record_are_bounded() {
    let genesis = empty(3).repeat(MEMBERS_MAX + 1);
    let mut body = vec![1];
    body.extend(genesis);
    let mut record = vec![1];
    record.extend(crc32c::crc32c_append(crc32c::crc32c(b"gometa founding"), &body).to_be_bytes());
    record.extend(body);
    let refused = DecodeError::Message(check::DecodeError::TooManyElements(MEMBERS_MAX));
    assert_eq!(storage::decode_founding(&record), Err(refused));
}

#[test]
fn groups_and_unterminated_fields_are_refused() {
    for bytes in [
        // A length beyond the end, groups in each other, a tag and a length without an end.
        &[0xaa, 1, 0xff, 0xff, 0xff, 0xff, 0x0f][..],
        &[0x0b; 1000],
        &[0xff; 1000],
        &[0x0a, 0x80],
    ] {
        assert!(matches!(message::decode(Bytes::copy_from_slice(bytes)), Err(DecodeError::Message(_))));
    }
}

#[test]
fn frames_and_datagrams_over_their_limit_are_refused() {
    let frame = Bytes::from(vec![0; PEER_FRAME_MAX + 1]);
    let refused = TooLarge { length: PEER_FRAME_MAX + 1, max: PEER_FRAME_MAX };
    assert_eq!(message::decode(frame), Err(refused.into()));
    let refused = TooLarge { length: DATAGRAM_MAX + 1, max: DATAGRAM_MAX };
    assert_eq!(vote::decode(&[1; DATAGRAM_MAX + 1]), Err(refused.into()));
    assert_eq!(vote::decode(&[]), Err(DecodeError::Checksum));
    assert_eq!(vote::decode(&[1; DATAGRAM_MAX]), Err(DecodeError::Checksum));

    let mut buffer = BytesMut::from(&b"before"[..]);
    assert!(message::encode(&Message::Relay(vec![0; PEER_FRAME_MAX].into()), &mut buffer).is_err());
    assert_eq!(buffer, "before");
}

fn entry(counter: u64, payload: Bytes) -> LogEntry {
    LogEntry { zxid: Zxid::new(1, counter), kind: Kind::Command, level: 1, payload }
}

#[test]
fn the_largest_payload_is_accepted_and_one_byte_more_is_not() {
    let largest = Bytes::from(vec![7; PAYLOAD_MAX]);
    let more = Bytes::from(vec![7; PAYLOAD_MAX + 1]);
    let refused = TooLarge { length: PAYLOAD_MAX + 1, max: PAYLOAD_MAX };
    let propose = |payload| Message::Propose {
        epoch: Epoch(1),
        previous: Zxid::ZERO,
        entries: vec![entry(1, payload)],
        commit: 0,
    };
    let message = propose(largest.clone());
    assert_eq!(message::decode(frame(&message)), Ok(message));
    assert_eq!(message::decode(frame(&propose(more))), Err(refused.into()));

    let record = storage::encode_log_entry(Zxid::ZERO, &entry(1, largest.clone()));
    assert_eq!(record.len(), PAYLOAD_MAX + storage::LOG_ENTRY_HEADER);
    assert_eq!(storage::decode_log_entry(1, record).map(|read| read.entry.payload), Ok(largest));
}

#[test]
fn a_full_batch_of_empty_entries_is_accepted() {
    // zab counts 64 bytes for an entry in addition to its payload; these fill a batch of 1 MiB.
    let batch = (1 << 20) / entry(1, Bytes::new()).size();
    assert!(batch + 1 < ENTRIES_MAX);
    let entries: Vec<_> = (1..=batch as u64 + 1).map(|counter| entry(counter, Bytes::new())).collect();
    let message = Message::Propose { epoch: Epoch(2), previous: Zxid::ZERO, entries, commit: 0 };
    assert_eq!(message::decode(frame(&message)), Ok(message));
}

#[test]
fn payloads_are_not_copied() {
    let entries = vec![entry(1, vec![1; 1000].into()), entry(2, vec![2; 1000].into())];
    let bytes = frame(&Message::Propose { epoch: Epoch(1), previous: Zxid::ZERO, entries, commit: 0 });
    let memory = bytes.as_ptr_range();
    let Ok(Message::Propose { entries, .. }) = message::decode(bytes.clone()) else {
        panic!("the encoded message")
    };
    assert!(entries.iter().all(|entry| memory.contains(&entry.payload.as_ptr())));
    let bytes = frame(&Message::Relay(vec![3; 1000].into()));
    let memory = bytes.as_ptr_range();
    let Ok(Message::Relay(payload)) = message::decode(bytes.clone()) else { panic!("the encoded message") };
    assert!(memory.contains(&payload.as_ptr()));
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let message = Message::Heartbeat { epoch: Epoch(3), id: 4, commit: 5 };
    let mut body = v1::Heartbeat { epoch: 3, id: 4, commit: 5 }.encode_to_vec();
    prost::encoding::string::encode(99, &"a later version".to_owned(), &mut body);
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(32, &body, &mut bytes);
    prost::encoding::uint64::encode(98, &7, &mut bytes);
    assert_eq!(message::decode(bytes.into()), Ok(message));
}
