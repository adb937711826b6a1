//! What nodes say and store, to and from bytes: messages, votes, records on disk.
//!
//! This is where foreign bytes become types of `gometa-zab`, and the only place where they are checked. What
//! comes out of here is well-formed: the core never meets a node id of zero where somebody is meant, a log entry
//! without its predecessor, an epoch or counter near the end of its range, a list out of order. Whether it is
//! *true* is the protocol's business.
//!
//! - [`message`]: messages on connections between nodes; one frame each.
//! - [`vote`]: election datagrams; with a checksum, since UDP's is weak and optional.
//! - [`storage`]: hard state, founding record and log entries as they lie on disk; with a checksum each.
//! - [`limits`]: how much of everything there may be.
//!
//! No input makes any of this panic, and none takes more memory than a small multiple of its own size: repeated
//! elements are counted before they are decoded. Payloads are never copied on the way in.
//!
//! Deliberately not here: authentication (a datagram carries room for a tag), and the meaning of commands,
//! which are opaque bytes to everything but the store.
#![forbid(unsafe_code)]

mod envelope;
mod error;
mod fields;
pub mod limits;
pub mod message;
pub mod storage;
pub mod vote;

pub use error::DecodeError;
pub use gometa_proto::frame::TooLarge;
