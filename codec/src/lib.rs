//! Encoding and decoding of nodes' messages, votes, and records on disk.
//!
//! Bytes from outside become types of `gometa-zab` here, and are checked only here. A decoded value is well-formed: no
//! missing node id, no gap between log entries, no epoch or counter near the end of its range, no unsorted list.
//! Whether it is *true* is decided by the protocol.
//!
//! - [`message`]: messages on connections between nodes; one frame each.
//! - [`vote`]: election datagrams, with a checksum, since UDP's is weak and optional.
//! - [`snapshot`]: the transfer of a snapshot between two nodes.
//! - [`storage`]: hard state, founding record and log entries on disk, with a checksum each.
//! - [`limits`][]: bounds.
//!
//! No input causes a panic, and none takes more memory than a small multiple of its own size: repeated
//! elements are counted before they are decoded. Decoding does not copy payloads.
//!
//! Not here: authentication (a datagram has a field for a tag), and the meaning of commands, which only the store
//! decodes.
#![forbid(unsafe_code)]

mod envelope;
mod error;
mod fields;
mod integrity;
pub mod limits;
pub mod message;
pub mod snapshot;
pub mod storage;
pub mod vote;

pub use error::DecodeError;
pub use gometa_proto::frame::TooLarge;
