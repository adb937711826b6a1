//! How much of everything nodes accept from each other. What programs of different kinds agree upon is in
//! [`gometa_proto::limits`]; this adds what concerns only nodes.

pub use gometa_proto::limits::{
    ADDRESS_MAX, DATAGRAM_MAX, ID_LENGTH, MEMBERS_MAX, PAYLOAD_MAX, PEER_ELEMENTS_MAX, PEER_FRAME_MAX,
    PEER_VERSION,
};

/// The most epochs in the list by which a follower describes its log.
pub use gometa_zab::BOUNDARIES_MAX;
use gometa_zab::Epoch;

/// The most log entries in one message.
pub const ENTRIES_MAX: usize = PEER_ELEMENTS_MAX;

/// The highest epoch, counter, round, boot and sequence number, and the highest id of a heartbeat. All of them
/// count up from zero and never come near; so the core can add to what it is told without looking.
pub const NUMBER_MAX: u64 = Epoch::MAX.0 - 1;
