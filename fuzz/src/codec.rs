//! What nodes send each other, and what they read from their disks.

use std::collections::HashSet;

use bytes::{Buf, Bytes, BytesMut};
use gometa_codec::{
    DecodeError,
    limits::{DATAGRAM_MAX, PEER_FRAME_MAX},
    message,
    snapshot::{self, FileKind, Frame},
    storage, vote,
};
use gometa_proto::{frame, v1};
use prost::Message as _;

/// Bytes as an envelope carries them: version 1, the right checksum, the bytes.
fn sealed(context: &[u8], body: &[u8]) -> Bytes {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(context), body);
    let mut record = vec![1];
    record.extend(checksum.to_be_bytes());
    record.extend(body);
    record.into()
}

/// An election datagram: the bytes as they are, and as the body of one whose checksum is right.
///
/// What is let through can be encoded again, within the limit, and decodes to the same.
pub fn datagram(data: &[u8]) {
    for datagram in [Bytes::copy_from_slice(data), sealed(b"", data)] {
        if let Ok(decoded) = vote::decode(&datagram) {
            assert!(datagram.len() <= DATAGRAM_MAX);
            let encoded = vote::encode(&decoded);
            assert!(encoded.len() <= DATAGRAM_MAX);
            assert_eq!(vote::decode(&encoded), Ok(decoded));
        }
    }
}

/// What another node writes into its connection. The first byte says how the stream is cut into reads; the rest is the
/// stream, and also, by itself, one frame.
///
/// The cuts make no difference, and a message that is let through can be encoded again and decodes to the same.
pub fn peer_frame(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = decoded(stream, stream.len().max(1));
    assert_eq!(decoded(stream, usize::from(cut).max(1)), whole);
    let frame = message::decode(Bytes::copy_from_slice(stream));
    for message in whole.into_iter().chain([frame]).flatten() {
        let mut encoded = BytesMut::new();
        message::encode(&message, &mut encoded).expect("what came in a frame goes into one");
        let again =
            frame::decode_frame(&mut encoded, PEER_FRAME_MAX).expect("within the limit").expect("whole");
        assert!(encoded.is_empty());
        assert_eq!(message::decode(again), Ok(message));
    }
}

/// A frame of the transfer of a snapshot: the bytes as they are, and as the data of a chunk whose checksum is right.
///
/// What is let through can be encoded again, and decodes to the same. A manifest that is let through has one list of
/// tables, and each of its files once.
pub fn snapshot_frame(data: &[u8]) {
    let chunk = v1::SnapshotChunk {
        id: 1,
        file: 0,
        offset: 0,
        crc: crc32c::crc32c(data),
        data: Bytes::copy_from_slice(data),
    };
    let chunk = v1::SnapshotFrame { body: Some(v1::snapshot_frame::Body::Chunk(chunk)) };
    for bytes in [Bytes::copy_from_slice(data), chunk.encode_to_vec().into()] {
        let Ok(frame) = snapshot::decode(bytes) else { continue };
        if let Frame::Manifest(manifest) = &frame {
            let lists = manifest.files.iter().filter(|file| file.kind == FileKind::Manifest);
            assert_eq!(lists.count(), 1);
            let numbers: HashSet<u64> = manifest.files.iter().map(|file| file.number).collect();
            assert_eq!(numbers.len(), manifest.files.len());
            assert!(manifest.bytes() > 0);
        }
        assert_eq!(snapshot::decode(snapshot::encode(&frame)), Ok(frame));
    }
}

/// The messages of a stream that arrives in reads of this many bytes, up to the first refused.
fn decoded(mut stream: &[u8], read: usize) -> Vec<Result<gometa_zab::Message, DecodeError>> {
    let (mut messages, mut buffer) = (Vec::new(), BytesMut::new());
    loop {
        while let Ok(Some(frame)) = frame::decode_frame(&mut buffer, PEER_FRAME_MAX) {
            assert!(frame.len() <= PEER_FRAME_MAX);
            messages.push(message::decode(frame));
            if messages.last().is_some_and(Result::is_err) {
                return messages;
            }
        }
        if stream.is_empty() {
            return messages;
        }
        let (now, later) = stream.split_at(read.min(stream.len()));
        buffer.extend_from_slice(now);
        stream = later;
    }
}

/// A record on a disk. The first byte says which; a log entry's counter is next. The rest is the record as it is, and
/// the body of one whose checksum is right.
///
/// What is let through is written as it was read.
pub fn record(data: &[u8]) {
    let Some((&kind, mut rest)) = data.split_first() else { return };
    match kind % 3 {
        0 => {
            for record in [Bytes::copy_from_slice(rest), sealed(b"gometa hard state", rest)] {
                if let Ok(state) = storage::decode_hard_state(&record) {
                    assert_eq!(storage::encode_hard_state(&state), record);
                }
            }
        }
        1 => {
            for record in [Bytes::copy_from_slice(rest), sealed(b"gometa founding", rest)] {
                if let Ok(founding) = storage::decode_founding(&record) {
                    let written = storage::encode_founding(&founding);
                    assert_eq!(storage::decode_founding(&written), Ok(founding));
                }
            }
        }
        _ => {
            if rest.len() < 8 {
                return assert!(storage::decode_log_key(rest).is_err());
            }
            let counter = storage::decode_log_key(&rest[..8]).expect("eight bytes are a key");
            assert_eq!(storage::log_key(counter), rest[..8]);
            rest.advance(8);
            for record in [Bytes::copy_from_slice(rest), sealed(&storage::log_key(counter), rest)] {
                match storage::decode_log_entry(counter, record.clone()) {
                    Ok(read) => {
                        assert_eq!(read.entry.zxid.counter, counter);
                        assert_eq!(storage::encode_log_entry(read.previous, &read.entry), record);
                    }
                    Err(error) => assert!(!error.is_newer() || record.len() >= storage::LOG_ENTRY_HEADER),
                }
            }
        }
    }
}
