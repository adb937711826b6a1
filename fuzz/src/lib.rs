//! Bad input: what every reader of foreign bytes must withstand.
//!
//! Each target is a function of any bytes at all. It panics if the code that it drives does, or if that code breaks
//! one of the promises stated at the target. Two things call it: a fuzzer, from the workspace of its own in
//! `libfuzzer/` (`make fuzz`), and the tests of this crate, which replay the inputs that fuzzing has found worth
//! keeping, `corpus/<target>/`, with small changes to each. So `make test` covers what the fuzzers have found,
//! without a fuzzer.
//!
//! Bytes are bytes where that is what arrives: a datagram, a stream of frames, a record, a file. Where a checksum
//! would keep everything out, the target also puts the right one before the bytes, as an attacker would. Where
//! order matters more than encoding (the protocol, the store), the bytes choose from what may happen next, so that
//! most inputs mean something.
//!
//! The server's configuration is compiled in by path, since depending on the server would compile RocksDB.
//!
//! Left out: sockets (`tests/` sends nonsense to real processes), RocksDB's own files, and the size of what decoding
//! allocates, which the fuzzer watches from outside and the codec's tests bound by counting elements.
#![forbid(unsafe_code)]

mod client;
mod codec;
mod configuration;
mod log;
mod node;
mod protocol;
mod store;

pub use client::server_frame;
pub use codec::{datagram, peer_frame, record, snapshot_frame};
pub use configuration::configuration;
pub use log::segments;
pub use node::{client_frame, relay};
pub use protocol::{protocol, reached};
pub use store::{command, store};

/// A target.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: [(&str, Target); 12] = [
    ("client_frame", client_frame),
    ("command", command),
    ("configuration", configuration),
    ("datagram", datagram),
    ("peer_frame", peer_frame),
    ("protocol", protocol),
    ("record", record),
    ("relay", relay),
    ("segments", segments),
    ("server_frame", server_frame),
    ("snapshot_frame", snapshot_frame),
    ("store", store),
];
