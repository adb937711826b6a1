//! Framing: on every TCP stream a message is preceded by its length, a u32, big endian.
//!
//! Without IO: the caller reads and writes. The length is compared with the limit, and memory is allocated as bytes
//! arrive, not as they are announced.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Length of the length prefix, in bytes.
pub const PREFIX: usize = 4;

/// The bytes that are allocated ahead of their arrival.
const READ_AHEAD: usize = 64 << 10;

/// A message exceeds its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a message of {length} bytes exceeds the limit of {max}")]
pub struct TooLarge {
    /// Length of the message, its prefix not counted.
    pub length: usize,
    /// The limit.
    pub max: usize,
}

/// Appends a message and, before it, its length.
///
/// # Errors
/// [`TooLarge`] for a message longer than `max` bytes; the buffer is unchanged.
pub fn encode(message: &impl Message, max: usize, buffer: &mut BytesMut) -> Result<(), TooLarge> {
    let length = message.encoded_len();
    if length > max.min(u32::MAX as usize) {
        return Err(TooLarge { length, max });
    }
    buffer.reserve(PREFIX + length);
    buffer.put_u32(length as u32);
    message.encode_raw(buffer);
    Ok(())
}

/// Takes the next message off the front of the buffer; `None` if it is incomplete. A message may be empty.
///
/// For an incomplete message the buffer reserves room to read on: at most 64 KiB, or the size of what has arrived if
/// that is more, whatever length is announced.
///
/// The message shares the buffer's memory, which is freed with the last message taken from it. Copy small parts that
/// are kept.
///
/// # Errors
/// [`TooLarge`] for a message longer than `max` bytes; the stream cannot continue.
pub fn decode_frame(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, TooLarge> {
    let Some(prefix) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > max {
        return Err(TooLarge { length, max });
    }
    let missing = (PREFIX + length).saturating_sub(buffer.len());
    if missing > 0 {
        buffer.reserve(missing.min(READ_AHEAD));
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::v1;

    fn ping(nonce: u64) -> v1::Ping {
        v1::Ping { nonce, session: 0 }
    }

    #[test]
    fn the_prefix_is_big_endian_and_does_not_count_itself_and_an_empty_message_is_a_frame() {
        for (nonce, frame) in [(1, &[0, 0, 0, 2, 0x08, 1][..]), (0, &[0, 0, 0, 0])] {
            let (mut buffer, max) = (BytesMut::new(), frame.len() - PREFIX);
            encode(&ping(nonce), max, &mut buffer).expect("within the limit");
            assert_eq!(buffer, frame);
            assert_eq!(decode_frame(&mut buffer, max), Ok(Some(Bytes::from_static(&frame[PREFIX..]))));
            assert_eq!(decode_frame(&mut buffer, max), Ok(None));
        }
    }

    #[test]
    fn a_message_too_large_leaves_the_buffer_alone() {
        let mut buffer = BytesMut::from(&b"before"[..]);
        assert_eq!(encode(&ping(1), 1, &mut buffer), Err(TooLarge { length: 2, max: 1 }));
        assert_eq!(buffer, "before");
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_the_rest_arrives() {
        let mut buffer = BytesMut::from(&[0, 0, 1, 1][..]);
        assert_eq!(decode_frame(&mut buffer, 256), Err(TooLarge { length: 257, max: 256 }));
        let mut buffer = BytesMut::from(&[0xff; 8][..]);
        assert!(decode_frame(&mut buffer, 8 << 20).is_err());
    }

    #[test]
    fn memory_is_taken_as_bytes_arrive_not_as_they_are_announced() {
        let max = 8 << 20;
        let mut buffer = BytesMut::new();
        buffer.put_u32(max as u32);
        let mut most = 0;
        while buffer.len() < 1 << 20 {
            assert_eq!(decode_frame(&mut buffer, max), Ok(None));
            assert!(buffer.capacity() > buffer.len(), "there is room to read on");
            assert!(buffer.capacity() <= 3 * buffer.len() + 2 * READ_AHEAD, "{}", buffer.capacity());
            most = most.max(buffer.capacity());
            buffer.put_bytes(0, 1000);
        }
        assert!(most < 4 << 20);
    }

    #[test]
    fn a_message_is_not_copied_out_of_the_buffer() {
        let mut buffer = BytesMut::from(&b"\0\0\0\x03abcdef"[..]);
        let at = buffer.as_ptr() as usize;
        let message = decode_frame(&mut buffer, 100).expect("within the limit").expect("whole");
        assert_eq!(message.as_ptr() as usize, at + PREFIX);
        assert_eq!((message.as_ref(), buffer.as_ref()), (&b"abc"[..], &b"def"[..]));
    }

    proptest! {
        #[test]
        fn messages_are_decoded_as_encoded_however_the_stream_is_split(
            nonces in prop::collection::vec(any::<u64>(), 0..20),
            cuts in prop::collection::vec(1usize..10, 1..20),
        ) {
            let mut stream = BytesMut::new();
            for &nonce in &nonces {
                encode(&ping(nonce), 64, &mut stream).expect("small");
            }
            let (mut buffer, mut read, mut cut) = (BytesMut::new(), Vec::new(), cuts.iter().cycle());
            while !stream.is_empty() {
                let piece = stream.split_to(stream.len().min(*cut.next().expect("a cycle")));
                buffer.extend_from_slice(&piece);
                while let Some(message) = decode_frame(&mut buffer, 64).expect("within the limit") {
                    read.push(v1::Ping::decode(message).expect("an encoded ping").nonce);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(read, nonces);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), max in 0usize..64) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(message)) = decode_frame(&mut buffer, max) {
                prop_assert!(message.len() <= max);
            }
        }
    }
}
