//! Frames of the transfer of a snapshot.

use bytes::Bytes;
use gometa_codec::{
    DecodeError,
    limits::CHUNK_MAX,
    snapshot::{Chunk, File, FileKind, Frame, Manifest, Request, decode, encode},
};
use gometa_proto::v1::{self, snapshot_frame::Body};
use gometa_zab::Zxid;
use prost::Message;

fn manifest() -> Manifest {
    Manifest {
        id: u64::MAX,
        zxid: Zxid::new(3, 900),
        hash: 0,
        keys: 12,
        format: 1,
        level: 1,
        files: vec![
            File { kind: FileKind::Table, number: 8, length: 5_000 },
            File { kind: FileKind::Manifest, number: 9, length: 300 },
        ],
    }
}

#[test]
fn every_frame_survives() {
    let frames = [
        Frame::Manifest(manifest()),
        Frame::Manifest(Manifest { hash: u128::MAX, ..manifest() }),
        Frame::Request(Request { id: 7, file: 1, offset: 1 << 40, length: CHUNK_MAX }),
        Frame::Chunk(Chunk { id: 7, file: 0, offset: 4_096, data: Bytes::from_static(b"a part of a file") }),
        Frame::Damaged(u64::MAX),
    ];
    for frame in frames {
        assert_eq!(decode(encode(&frame)), Ok(frame));
    }
    assert_eq!(manifest().bytes(), 5_300);
}

/// A valid manifest with one change, which must be refused with this error.
fn refused(expected: &str, change: fn(&mut v1::SnapshotManifest)) {
    let frame = v1::SnapshotFrame::decode(encode(&Frame::Manifest(manifest()))).expect("it was just encoded");
    let Some(Body::Manifest(mut invalid)) = frame.body else { panic!("not a manifest") };
    change(&mut invalid);
    let frame = v1::SnapshotFrame { body: Some(Body::Manifest(invalid)) };
    let error = decode(frame.encode_to_vec().into()).expect_err(expected);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_impossible_manifest_is_refused() {
    refused("state hash is not 16 bytes long", |manifest| manifest.hash = Bytes::new());
    refused("zxid of the snapshot is missing", |manifest| manifest.zxid = None);
    refused("kind of file is not known here", |manifest| manifest.files[0].kind = 0);
    refused("kind of file is not known here", |manifest| manifest.files[0].kind = 99);
    refused("number of file occurs twice", |manifest| manifest.files[0].number = 9);
    refused("number of file is out of range", |manifest| manifest.files[0].number = u64::MAX);
    refused("length of file is out of range", |manifest| manifest.files[0].length = 0);
    refused("length of file is out of range", |manifest| manifest.files[0].length = u64::MAX);
    refused("list of tables does not occur once", |manifest| manifest.files[1].kind = 1);
    refused("list of tables does not occur once", |manifest| manifest.files[0].kind = 2);
    refused("list of tables does not occur once", |manifest| manifest.files.clear());
}

#[test]
fn an_impossible_request_or_chunk_is_refused() {
    let request = v1::SnapshotRequest { id: 1, file: 0, offset: 0, length: 1 };
    let chunk = v1::SnapshotChunk { id: 1, file: 0, offset: 0, crc: 0, data: Bytes::from_static(b"x") };
    let cases = [
        (Body::Request(v1::SnapshotRequest { length: 0, ..request }), "length is out of range"),
        (
            Body::Request(v1::SnapshotRequest { length: 1 + CHUNK_MAX as u32, ..request }),
            "length is out of range",
        ),
        (Body::Request(v1::SnapshotRequest { file: u32::MAX, ..request }), "file is out of range"),
        (Body::Request(v1::SnapshotRequest { offset: u64::MAX, ..request }), "offset is out of range"),
        (Body::Chunk(chunk.clone()), "the checksum does not match"),
        (
            Body::Chunk(v1::SnapshotChunk { data: Bytes::new(), ..chunk.clone() }),
            "data has an impossible length",
        ),
        (
            Body::Chunk(v1::SnapshotChunk { data: vec![0; CHUNK_MAX + 1].into(), ..chunk }),
            "data has an impossible length",
        ),
    ];
    for (body, expected) in cases {
        let error =
            decode(v1::SnapshotFrame { body: Some(body) }.encode_to_vec().into()).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(decode(Bytes::new()), Err(DecodeError::UnknownMessage));
    assert!(decode(Bytes::from_static(b"\xff\xff\xff")).is_err());
}

#[test]
fn a_flipped_bit_in_a_chunk_changes_nothing_but_its_place() {
    let chunk = Chunk { id: 7, file: 3, offset: 4_096, data: Bytes::from(vec![0x5a; 200]) };
    let bytes = encode(&Frame::Chunk(chunk.clone()));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Its snapshot, file and offset are compared with what was requested.
        if let Ok(Frame::Chunk(decoded)) = decode(flipped.into()) {
            assert_eq!(decoded.data, chunk.data, "bit {bit}");
        }
    }
}
