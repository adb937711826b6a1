//! What goes in comes out, and what is not as it was sent does not.

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

/// The same bytes with one to three of their bits the other way round.
fn flipped(bytes: &[u8], places: &[prop::sample::Index]) -> Bytes {
    let mut bits: Vec<_> = places.iter().map(|place| place.index(bytes.len() * 8)).collect();
    bits.sort_unstable();
    bits.dedup();
    let mut bytes = bytes.to_vec();
    for bit in bits {
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes.into()
}

fn places() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn messages(message in strategies::message()) {
        prop_assert_eq!(message::decode(frame(&message)), Ok(message));
    }

    #[test]
    fn messages_in_one_stream(messages in prop::collection::vec(strategies::message(), 0..5)) {
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
    fn votes(vote in strategies::vote()) {
        let datagram = vote::encode(&vote);
        prop_assert!(datagram.len() <= 256, "room for a tag and for fields to come");
        prop_assert_eq!(vote::decode(&datagram), Ok(vote));
    }

    #[test]
    fn hard_states(state in strategies::hard_state()) {
        prop_assert_eq!(storage::decode_hard_state(&storage::encode_hard_state(&state)), Ok(state));
    }

    #[test]
    fn foundings(founding in strategies::founding()) {
        prop_assert_eq!(storage::decode_founding(&storage::encode_founding(&founding)), Ok(founding));
    }

    #[test]
    fn log_entries((previous, entry) in strategies::log_entry()) {
        let record = storage::encode_log_entry(previous, &entry);
        let memory = record.as_ptr_range();
        let read = storage::decode_log_entry(entry.zxid.counter, record).expect("what was written");
        prop_assert!(entry.payload.is_empty() || memory.contains(&read.entry.payload.as_ptr()));
        prop_assert_eq!(read, storage::LogRecord { previous, entry });
    }

    #[test]
    fn log_keys_sort_as_counters_do(a in any::<u64>(), b in any::<u64>()) {
        prop_assert_eq!(storage::log_key(a).cmp(&storage::log_key(b)), a.cmp(&b));
        prop_assert_eq!(storage::decode_log_key(&storage::log_key(a)), Ok(a));
    }

    #[test]
    fn flipped_bits_in_a_datagram_are_noticed(vote in strategies::vote(), places in places()) {
        prop_assert!(vote::decode(&flipped(&vote::encode(&vote), &places)).is_err());
    }

    #[test]
    fn datagrams_cut_or_continued_are_noticed(
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
    fn flipped_bits_in_a_record_are_noticed(
        state in strategies::hard_state(),
        founding in strategies::founding(),
        (previous, entry) in strategies::log_entry(),
        places in places(),
    ) {
        let record = flipped(&storage::encode_hard_state(&state), &places);
        prop_assert!(storage::decode_hard_state(&record).is_err());
        let record = flipped(&storage::encode_founding(&founding), &places);
        prop_assert!(storage::decode_founding(&record).is_err());
        let record = flipped(&storage::encode_log_entry(previous, &entry), &places);
        prop_assert!(storage::decode_log_entry(entry.zxid.counter, record).is_err());
    }

    #[test]
    fn records_in_the_wrong_place_are_noticed(
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

    /// TCP's own checksum is all that a message has: damage must not panic, and what still passes is
    /// well-formed, so that it can be encoded again.
    #[test]
    fn flipped_bits_in_a_message_do_no_harm(message in strategies::message(), places in places()) {
        if let Ok(message) = message::decode(flipped(&frame(&message), &places)) {
            prop_assert_eq!(message::decode(frame(&message)), Ok(message));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), counter in any::<u64>()) {
        let _ = message::decode(Bytes::copy_from_slice(&bytes));
        let _ = vote::decode(&bytes);
        let _ = storage::decode_hard_state(&bytes);
        let _ = storage::decode_founding(&bytes);
        let _ = storage::decode_log_key(&bytes);
        let _ = storage::decode_log_entry(counter, bytes.into());
    }

    /// The same behind a version and checksum that are right.
    #[test]
    fn no_sealed_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), counter in 0..3u64) {
        let sealed = |context: &[u8]| {
            let checksum = crc32c::crc32c_append(crc32c::crc32c(context), &body);
            let mut bytes = vec![1];
            bytes.extend(checksum.to_be_bytes());
            bytes.extend(&body);
            bytes
        };
        prop_assert_ne!(vote::decode(&sealed(b"")), Err(DecodeError::Checksum));
        let hard_state = storage::decode_hard_state(&sealed(b"gometa hard state"));
        prop_assert_ne!(hard_state, Err(DecodeError::Checksum));
        prop_assert_ne!(storage::decode_founding(&sealed(b"gometa founding")), Err(DecodeError::Checksum));
        let record = sealed(&counter.to_be_bytes());
        prop_assert_ne!(storage::decode_log_entry(counter, record.into()), Err(DecodeError::Checksum));
    }
}
