//! Bounds on messages between nodes, beyond those in [`gometa_proto::limits`].

pub use gometa_proto::limits::{
    ADDRESS_MAX, DATAGRAM_MAX, ID_LENGTH, MEMBERS_MAX, PAYLOAD_MAX, PEER_ELEMENTS_MAX, PEER_FRAME_MAX,
    PEER_VERSION,
};

/// The most epochs in a follower's description of its log.
pub use gometa_zab::BOUNDARIES_MAX;
use gometa_zab::Epoch;

/// The most log entries in one message.
pub const ENTRIES_MAX: usize = PEER_ELEMENTS_MAX;

/// The most data in one chunk of a snapshot, in bytes.
pub const CHUNK_MAX: usize = 1 << 20;

/// The most files of one snapshot.
pub const SNAPSHOT_FILES_MAX: usize = 65_536;

/// The highest epoch, counter, round, boot, sequence number and heartbeat id. All of them count up from zero and never
/// come near it, so the core can add to received numbers without overflow checks.
pub const NUMBER_MAX: u64 = Epoch::MAX.0 - 1;
