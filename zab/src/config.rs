//! What a node is told at its start: who it is, how long to wait, and what storage held.

use alloc::vec::Vec;

use crate::{
    effect::{Founding, HardState},
    message::{Addresses, Voter},
    types::{Incarnation, NodeId, Zxid},
};

/// Durations, in microseconds of [`Ticks`](crate::Ticks).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// Between a leader's heartbeats.
    pub heartbeat: u64,
    /// A follower without a sign of its leader, and a leader without signs of a quorum, give up after this.
    pub election: u64,
    /// A leader whose own storage write takes longer steps down (protocol.md 6.6).
    pub disk: u64,
    /// A quorum that has not heard every voter waits this long for a better vote (rule 5).
    pub finalise: u64,
    /// The first wait before votes are sent again; doubles up to `vote_max` (rule 3).
    pub vote_min: u64,
    /// The longest wait before votes are sent again.
    pub vote_max: u64,
    /// Between two attempts to reach a peer, at first; grows up to `election`.
    pub reconnect: u64,
}

impl Timeouts {
    /// Timeouts that fit together, from the two that are configured (milliseconds).
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

/// Bounds on what is held in memory and in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Entries proposed and not yet committed; beyond it proposals are rejected.
    pub proposals_max: usize,
    /// Bytes of entries proposed and not yet committed; beyond it proposals are rejected.
    pub proposal_bytes_max: usize,
    /// Bytes sent to one follower and not yet acknowledged by it (rule 25).
    pub window_bytes_max: usize,
    /// Bytes of entries in one message.
    pub batch_bytes_max: usize,
    /// Bytes of recent entries kept in memory for followers that are a little behind.
    pub tail_bytes: usize,
    /// Connections accepted and not yet closed.
    pub links_max: usize,
    /// How far a vote may move this node's round (rule 7).
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

/// Who a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its data directory.
    pub incarnation: Incarnation,
    /// Which start this is; durable, one more than at the last.
    pub boot: u64,
    /// Where it can be reached.
    pub addresses: Addresses,
    /// The configured voters, this node among them, ascending by id; used until an ensemble is joined.
    pub voters: Vec<Voter>,
    /// For jitter, and for the name of an ensemble that this node founds. Must differ from start to start.
    pub seed: u128,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How much to hold.
    pub bounds: Bounds,
}

/// What storage held at the start. All of it is durable, the log's last entry included (protocol.md 1.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The hard state.
    pub hard_state: HardState,
    /// The genesis, if one was prepared or sealed.
    pub founding: Option<Founding>,
    /// The base of the log; the genesis until snapshots exist.
    pub oldest: Zxid,
    /// Ascending: each epoch that has entries above `oldest`, with its last counter.
    pub boundaries: Vec<Zxid>,
    /// The last counter that was applied.
    pub applied: u64,
}

impl Default for Recovered {
    fn default() -> Recovered {
        Recovered {
            hard_state: HardState::default(),
            founding: None,
            oldest: Zxid::ZERO,
            boundaries: Vec::new(),
            applied: 0,
        }
    }
}
