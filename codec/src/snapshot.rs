//! The transfer of a snapshot: a `SnapshotFrame` each, carried by [`gometa_zab::Message::Snapshot`].
//!
//! A decoded manifest names each file once, has one list of tables, and its lengths have a sum; no name in it comes from
//! outside. A decoded chunk has the checksum that it names.

use std::collections::HashSet;

use bytes::Bytes;
use gometa_proto::{
    check,
    v1::{
        SnapshotChunk, SnapshotDamaged, SnapshotFile, SnapshotFrame, SnapshotManifest, SnapshotRequest,
        snapshot_file, snapshot_frame::Body,
    },
};
use gometa_zab::Zxid;
use prost::Message;

use crate::{
    DecodeError,
    error::invalid,
    fields,
    limits::{CHUNK_MAX, NUMBER_MAX, SNAPSHOT_FILES_MAX},
};

/// A frame of the transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Sender to receiver: what there is.
    Manifest(Manifest),
    /// Receiver to sender: send this.
    Request(Request),
    /// Sender to receiver: what was requested.
    Chunk(Chunk),
    /// Receiver to sender: the snapshot with this id is complete, and is not what its manifest says.
    Damaged(u64),
}

/// The description of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Random; names this snapshot of this sender.
    pub id: u64,
    /// The last entry that is applied in it.
    pub zxid: Zxid,
    /// The state hash.
    pub hash: u128,
    /// The number of keys.
    pub keys: u64,
    /// The version of the records' encoding.
    pub format: u32,
    /// The feature level that a node needs to read the records.
    pub level: u32,
    /// The files.
    pub files: Vec<File>,
}

/// One file of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct File {
    /// The kind.
    pub kind: FileKind,
    /// The number, of which the receiver makes the name.
    pub number: u64,
    /// The length in bytes.
    pub length: u64,
}

/// The kind of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileKind {
    /// A table file of the database.
    Table,
    /// The list of table files.
    Manifest,
}

/// A request for a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The snapshot.
    pub id: u64,
    /// The position in the manifest.
    pub file: usize,
    /// The first byte.
    pub offset: u64,
    /// The number of bytes; 1 to [`CHUNK_MAX`].
    pub length: usize,
}

/// A part of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The snapshot.
    pub id: u64,
    /// The position in the manifest.
    pub file: usize,
    /// The first byte.
    pub offset: u64,
    /// The bytes; 1 to [`CHUNK_MAX`] of them.
    pub data: Bytes,
}

impl Manifest {
    /// The sum of the lengths of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }
}

/// Encodes a frame.
///
/// # Panics
/// If a chunk is longer than [`CHUNK_MAX`], or there are more than [`SNAPSHOT_FILES_MAX`] files.
pub fn encode(frame: &Frame) -> Bytes {
    let body = match frame {
        Frame::Manifest(manifest) => Body::Manifest(manifest_message(manifest)),
        Frame::Request(Request { id, file, offset, length }) => Body::Request(SnapshotRequest {
            id: *id,
            file: small(*file),
            offset: *offset,
            length: small(*length),
        }),
        Frame::Chunk(Chunk { id, file, offset, data }) => {
            assert!(data.len() <= CHUNK_MAX, "chunks are bounded");
            let crc = crc32c::crc32c(data);
            Body::Chunk(SnapshotChunk {
                id: *id,
                file: small(*file),
                offset: *offset,
                crc,
                data: data.clone(),
            })
        }
        Frame::Damaged(id) => Body::Damaged(SnapshotDamaged { id: *id }),
    };
    SnapshotFrame { body: Some(body) }.encode_to_vec().into()
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("positions and lengths are bounded")
}

fn manifest_message(manifest: &Manifest) -> SnapshotManifest {
    assert!(manifest.files.len() <= SNAPSHOT_FILES_MAX, "a snapshot has a bounded number of files");
    let file = |file: &File| SnapshotFile {
        kind: match file.kind {
            FileKind::Table => snapshot_file::Kind::Table,
            FileKind::Manifest => snapshot_file::Kind::Manifest,
        }
        .into(),
        number: file.number,
        length: file.length,
    };
    SnapshotManifest {
        id: manifest.id,
        zxid: Some(fields::zxid_message(manifest.zxid)),
        hash: fields::id_bytes(manifest.hash),
        keys: manifest.keys,
        format: manifest.format,
        level: manifest.level,
        files: manifest.files.iter().map(file).collect(),
    }
}

/// Decodes a frame.
pub fn decode(frame: Bytes) -> Result<Frame, DecodeError> {
    let frame: SnapshotFrame = check::decode(frame, SNAPSHOT_FILES_MAX)?;
    match frame.body.ok_or(DecodeError::UnknownMessage)? {
        Body::Manifest(manifest) => Ok(Frame::Manifest(decode_manifest(&manifest)?)),
        Body::Request(SnapshotRequest { id, file, offset, length }) => {
            let (file, length) = (position(file)?, length as usize);
            if length == 0 || length > CHUNK_MAX {
                return Err(invalid("length", "is out of range"));
            }
            Ok(Frame::Request(Request { id, file, offset: fields::number(offset, "offset")?, length }))
        }
        Body::Chunk(SnapshotChunk { id, file, offset, crc, data }) => {
            if data.is_empty() || data.len() > CHUNK_MAX {
                return Err(invalid("data", "has an impossible length"));
            }
            if crc32c::crc32c(&data) != crc {
                return Err(DecodeError::Checksum);
            }
            let (file, offset) = (position(file)?, fields::number(offset, "offset")?);
            Ok(Frame::Chunk(Chunk { id, file, offset, data }))
        }
        Body::Damaged(SnapshotDamaged { id }) => Ok(Frame::Damaged(id)),
    }
}

fn position(file: u32) -> Result<usize, DecodeError> {
    let file = file as usize;
    if file < SNAPSHOT_FILES_MAX { Ok(file) } else { Err(invalid("file", "is out of range")) }
}

fn decode_manifest(manifest: &SnapshotManifest) -> Result<Manifest, DecodeError> {
    let hash: [u8; 16] =
        manifest.hash.as_ref().try_into().map_err(|_| invalid("state hash", "is not 16 bytes long"))?;
    let mut files = Vec::with_capacity(manifest.files.len());
    let (mut numbers, mut bytes, mut lists) = (HashSet::new(), 0_u64, 0);
    for file in &manifest.files {
        let kind = match file.kind() {
            snapshot_file::Kind::Table => FileKind::Table,
            snapshot_file::Kind::Manifest => {
                lists += 1;
                FileKind::Manifest
            }
            snapshot_file::Kind::Unspecified => return Err(invalid("kind of file", "is not known here")),
        };
        let number = fields::number(file.number, "number of file")?;
        if !numbers.insert(number) {
            return Err(invalid("number of file", "occurs twice"));
        }
        bytes = bytes.saturating_add(file.length);
        if file.length == 0 || bytes > NUMBER_MAX {
            return Err(invalid("length of file", "is out of range"));
        }
        files.push(File { kind, number, length: file.length });
    }
    if lists != 1 {
        return Err(invalid("list of tables", "does not occur once"));
    }
    Ok(Manifest {
        id: manifest.id,
        zxid: fields::zxid(manifest.zxid, "zxid of the snapshot")?,
        hash: u128::from_be_bytes(hash),
        keys: manifest.keys,
        format: manifest.format,
        level: manifest.level,
        files,
    })
}
