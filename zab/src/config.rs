//! The configuration and the recovered state that a node starts with.

use alloc::vec::Vec;

use crate::{
    configuration::Configuration,
    effect::{Founding, HardState},
    levels::Levels,
    message::{Addresses, Voter},
    types::{Incarnation, NodeId, Zxid},
};

/// Timeouts and intervals, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// The interval of a leader's heartbeats.
    pub heartbeat: u64,
    /// The time without a sign of life after which a follower gives up its leader, and a leader without a quorum steps
    /// down.
    pub election: u64,
    /// The time without progress of its storage after which a leader steps down (protocol.md 6.6).
    pub disk: u64,
    /// The wait for a better vote after a quorum agrees and before every voter was heard (rule 5).
    pub finalise: u64,
    /// The first interval after which votes are resent; it doubles up to `vote_max` (rule 3).
    pub vote_min: u64,
    /// The longest interval after which votes are resent.
    pub vote_max: u64,
    /// The first interval between two attempts to connect to a peer; grows up to `election`.
    pub reconnect: u64,
}

impl Timeouts {
    /// Derives all timeouts from the two that are configured, in milliseconds.
    pub fn from_ms(heartbeat_ms: u64, election_ms: u64) -> Timeouts {
        Timeouts {
            heartbeat: heartbeat_ms * 1_000,
            election: election_ms * 1_000,
            disk: election_ms * 5_000,
            finalise: 25_000.min(election_ms * 100),
            vote_min: 20_000.min(election_ms * 100),
            vote_max: (election_ms * 1_000 / 2).max(20_000),
            reconnect: 20_000.min(election_ms * 100),
        }
    }
}

/// Bounds on memory and on data in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The number of open proposals at which further ones are rejected.
    pub proposals_max: usize,
    /// The bytes of open proposals at which further ones are rejected.
    pub proposal_bytes_max: usize,
    /// The bytes in flight to one follower at which sending waits (rule 25).
    pub window_bytes_max: usize,
    /// The maximum of bytes of entries in one message, unless a single entry is larger.
    pub batch_bytes_max: usize,
    /// The bytes of recent entries that are kept in memory for followers.
    pub tail_bytes: usize,
    /// The maximum number of open connections; further ones are not accepted.
    pub links_max: usize,
    /// The maximum step by which a vote raises this node's round (rule 7).
    pub round_jump_max: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            proposals_max: 65_536,
            proposal_bytes_max: 32 << 20,
            window_bytes_max: 8 << 20,
            batch_bytes_max: 1 << 20,
            tail_bytes: 4 << 20,
            links_max: 256,
            round_jump_max: 1 << 20,
        }
    }
}

/// The configuration of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The id of this node.
    pub node: NodeId,
    /// The identity of its data directory.
    pub incarnation: Incarnation,
    /// The number of this start; durable, one more than at the previous start.
    pub boot: u64,
    /// The addresses of this node.
    pub addresses: Addresses,
    /// The configured voters, including this node, ascending by id; used until the ensemble is formed.
    pub voters: Vec<Voter>,
    /// The seed for jitter and for the id of an ensemble that this node founds. Must differ at every start.
    pub seed: u128,
    /// Timeouts and intervals.
    pub timeouts: Timeouts,
    /// Bounds on memory and on data in flight.
    pub bounds: Bounds,
    /// The feature levels that the program supports.
    pub levels: Levels,
    /// Whether this node has lost the record of its ensemble: it adopts a sealed genesis, and founds no ensemble (protocol.md
    /// 5.9).
    pub never_founds: bool,
    /// Whether this node founds an ensemble with a quorum of the configured voters, if others are absent (protocol.md 5.7).
    pub founds_with_quorum: bool,
}

/// The state that storage recovered at the start. All of it is durable, including the last log entry (protocol.md
/// 1.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The hard state.
    pub hard_state: HardState,
    /// The prepared or sealed genesis, if any.
    pub founding: Option<Founding>,
    /// The base of the log: the genesis, a snapshot, or the last entry that was deleted.
    pub oldest: Zxid,
    /// The last zxid of each epoch that has entries above `oldest`, ascending.
    pub boundaries: Vec<Zxid>,
    /// The last applied counter: that of the state's last flush.
    pub applied: u64,
    /// The counter through which entries were once released to be applied: they are committed, and applied at once. Between
    /// `applied` and the end of the log.
    pub released: u64,
    /// The configuration of the state; `None` if no log entry through `applied` has one, so that the genesis is in force.
    pub configuration: Option<Configuration>,
    /// The configurations of the log's entries, ascending by version. Those through `applied` are ignored.
    pub logged: Vec<Configuration>,
}

impl Default for Recovered {
    fn default() -> Recovered {
        Recovered {
            hard_state: HardState::default(),
            founding: None,
            oldest: Zxid::ZERO,
            boundaries: Vec::new(),
            applied: 0,
            released: 0,
            configuration: None,
            logged: Vec::new(),
        }
    }
}
