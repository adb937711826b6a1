//! Round trips, and the detection of damage.

use bytes::{Bytes, BytesMut};
use gometa_codec::{DecodeError, limits::PEER_FRAME_MAX, message, storage, vote};
use gometa_proto::frame::decode_frame;
use gometa_zab::Message;
use proptest::prelude::*;

use crate::strategies;

/// The bytes of a message, without its length.
pub(crate) fn frame(message: &Message) -> Bytes {
    let mut buffer = BytesMut::new();
    message::encode(message, &mut buffer).expect("small");
    let frame = decode_frame(&mut buffer, PEER_FRAME_MAX).expect("small").expect("whole");
    assert!(buffer.is_empty());
    frame
}

/// The same bytes with one to three bits flipped.
fn flipped(bytes: &[u8], positions: &[prop::sample::Index]) -> Bytes {
    let mut bits: Vec<_> = positions.iter().map(|position| position.index(bytes.len() * 8)).collect();
    bits.sort_unstable();
    bits.dedup();
    let mut bytes = bytes.to_vec();
    for bit in bits {
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes.into()
}

fn positions() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn messages_round_trip(message in strategies::message()) {
        prop_assert_eq!(message::decode(frame(&message)), Ok(message));
    }

    #[test]
    fn messages_in_one_stream_round_trip(messages in prop::collection::vec(strategies::message(), 0..5)) {
        let mut buffer = BytesMut::new();
        for message in &messages {
            message::encode(message, &mut buffer).expect("small");
        }
        for message in messages {
            let frame = decode_frame(&mut buffer, PEER_FRAME_MAX).expect("small").expect("whole");
            prop_assert_eq!(message::decode(frame), Ok(message));
        }
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn votes_round_trip(vote in strategies::vote()) {
        let datagram = vote::encode(&vote);
        prop_assert!(datagram.len() <= 256, "there is room for a tag and for later fields");
        prop_assert_eq!(vote::decode(&datagram), Ok(vote));
    }

    /// Addresses that do not fit are left out, and the vote is whole.
    #[test]
    fn votes_round_trip_with_addresses(vote in strategies::vote(), sender in "[a-z]{0,250}:1", candidate in "[a-z]{0,250}:1") {
        let told = vote::Whereabouts { sender, candidate };
        let datagram = vote::encode_with(&vote, told.clone());
        let (decoded, whereabouts) = vote::decode_with(&datagram).expect("it is valid");
        prop_assert_eq!(decoded, vote);
        prop_assert!(whereabouts.sender == told.sender || whereabouts.sender.is_empty());
        prop_assert!(whereabouts.candidate == told.candidate || whereabouts.candidate.is_empty());
        let short = told.sender.len() + told.candidate.len() < 200;
        prop_assert!(!short || whereabouts == told, "addresses of usual lengths fit");
    }

    #[test]
    fn hard_states_round_trip(state in strategies::hard_state()) {
        prop_assert_eq!(storage::decode_hard_state(&storage::encode_hard_state(&state)), Ok(state));
    }

    #[test]
    fn foundings_round_trip(founding in strategies::founding()) {
        prop_assert_eq!(storage::decode_founding(&storage::encode_founding(&founding)), Ok(founding));
    }

    #[test]
    fn log_entries_round_trip((previous, entry) in strategies::log_entry()) {
        let record = storage::encode_log_entry(previous, &entry);
        let memory = record.as_ptr_range();
        let read = storage::decode_log_entry(entry.zxid.counter, record).expect("an encoded entry");
        prop_assert!(entry.payload.is_empty() || memory.contains(&read.entry.payload.as_ptr()));
        prop_assert_eq!(read, storage::LogRecord { previous, entry });
    }

    #[test]
    fn log_keys_sort_as_counters_do(a in any::<u64>(), b in any::<u64>()) {
        prop_assert_eq!(storage::log_key(a).cmp(&storage::log_key(b)), a.cmp(&b));
        prop_assert_eq!(storage::decode_log_key(&storage::log_key(a)), Ok(a));
    }

    #[test]
    fn flipped_bits_in_a_datagram_are_detected(vote in strategies::vote(), positions in positions()) {
        prop_assert!(vote::decode(&flipped(&vote::encode(&vote), &positions)).is_err());
    }

    #[test]
    fn truncated_and_extended_datagrams_are_detected(
        vote in strategies::vote(),
        cut in any::<prop::sample::Index>(),
        more in prop::collection::vec(any::<u8>(), 1..100),
    ) {
        let mut datagram = vote::encode(&vote).to_vec();
        prop_assert!(vote::decode(&datagram[..cut.index(datagram.len())]).is_err());
        datagram.extend(more);
        prop_assert_eq!(vote::decode(&datagram), Err(DecodeError::Checksum));
    }

    #[test]
    fn flipped_bits_in_a_record_are_detected(
        state in strategies::hard_state(),
        founding in strategies::founding(),
        (previous, entry) in strategies::log_entry(),
        positions in positions(),
    ) {
        let record = flipped(&storage::encode_hard_state(&state), &positions);
        prop_assert!(storage::decode_hard_state(&record).is_err());
        let record = flipped(&storage::encode_founding(&founding), &positions);
        prop_assert!(storage::decode_founding(&record).is_err());
        let record = flipped(&storage::encode_log_entry(previous, &entry), &positions);
        prop_assert!(storage::decode_log_entry(entry.zxid.counter, record).is_err());
    }

    #[test]
    fn records_in_the_wrong_place_are_detected(
        state in strategies::hard_state(),
        (previous, entry) in strategies::log_entry(),
        counter in strategies::number(),
    ) {
        let record = storage::encode_log_entry(previous, &entry);
        if counter != entry.zxid.counter {
            prop_assert_eq!(storage::decode_log_entry(counter, record.clone()), Err(DecodeError::Checksum));
        }
        prop_assert_eq!(storage::decode_hard_state(&record), Err(DecodeError::Checksum));
        prop_assert_eq!(storage::decode_founding(&record), Err(DecodeError::Checksum));
        let record = storage::encode_hard_state(&state);
        prop_assert_eq!(storage::decode_founding(&record), Err(DecodeError::Checksum));
        prop_assert_eq!(vote::decode(&record), Err(DecodeError::Checksum));
    }

    /// Messages have only TCP's checksum. Damage must not cause a panic, and a damaged message that is accepted is
    /// well-formed, so it can be encoded again.
    #[test]
    fn flipped_bits_in_a_message_cause_no_panic(message in strategies::message(), positions in positions()) {
        if let Ok(message) = message::decode(flipped(&frame(&message), &positions)) {
            prop_assert_eq!(message::decode(frame(&message)), Ok(message));
        }
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), counter in any::<u64>()) {
        let _ = message::decode(Bytes::copy_from_slice(&bytes));
        let _ = vote::decode(&bytes);
        let _ = storage::decode_hard_state(&bytes);
        let _ = storage::decode_founding(&bytes);
        let _ = storage::decode_log_key(&bytes);
        let _ = storage::decode_log_entry(counter, bytes.into());
    }

    /// The same after a valid version and checksum.
    #[test]
    fn no_bytes_with_a_valid_checksum_cause_a_panic(
        body in prop::collection::vec(any::<u8>(), 0..200),
        counter in 0..3u64,
    ) {
        let with_checksum = |context: &[u8]| {
            let checksum = crc32c::crc32c_append(crc32c::crc32c(context), &body);
            let mut bytes = vec![1];
            bytes.extend(checksum.to_be_bytes());
            bytes.extend(&body);
            bytes
        };
        prop_assert_ne!(vote::decode(&with_checksum(b"")), Err(DecodeError::Checksum));
        let hard_state = storage::decode_hard_state(&with_checksum(b"gometa hard state"));
        prop_assert_ne!(hard_state, Err(DecodeError::Checksum));
        prop_assert_ne!(storage::decode_founding(&with_checksum(b"gometa founding")), Err(DecodeError::Checksum));
        let record = with_checksum(&counter.to_be_bytes());
        prop_assert_ne!(storage::decode_log_entry(counter, record.into()), Err(DecodeError::Checksum));
    }
}
