//! What a node does about it: the caller carries these out, in order.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

use crate::{
    message::{Addresses, Genesis, LogEntry, Message, Reason, Vote},
    types::{EnsembleId, Epoch, LinkId, NodeId, Round, Token, Zxid},
};

/// What a node has promised and joined; one record, written whole (rule 10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HardState {
    /// *p*: no leader of a lower epoch is acknowledged again.
    pub accepted_epoch: Epoch,
    /// To whom `accepted_epoch` was promised; `None` only while it is zero.
    pub accepted_leader: Option<NodeId>,
    /// *a*: the last epoch whose initial history this node made durable. Never above `accepted_epoch`.
    pub current_epoch: Epoch,
}

/// A genesis as a node keeps it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Founding {
    /// The base of the log.
    pub genesis: Genesis,
    /// Every voter had it durable when this was set; before that it may be replaced.
    pub sealed: bool,
}

/// One write to storage. Writes are done in the order in which they are issued.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Write {
    /// Add these to the end of the log; contiguous, at least one.
    Append(Vec<LogEntry>),
    /// Remove every log entry above this zxid.
    Truncate(Zxid),
    /// Replace the hard state.
    HardState(HardState),
    /// Replace the founding record.
    Founding(Founding),
}

/// What a node does, as others and the caller see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Waits for every configured voter to form the ensemble.
    Forming,
    /// Elects, or seeks the leader.
    Looking,
    /// Has a leader, and serves where `established` is not `None`.
    Following {
        /// Its leader.
        leader: NodeId,
        /// The epoch in which it serves: its leader has called it up to date, and it has applied everything that was
        /// committed then.
        established: Option<Epoch>,
    },
    /// Leads, or is about to where `established` is `None`.
    Leading {
        /// The epoch in which it serves: it is established, and has applied its initial history.
        established: Option<Epoch>,
    },
}

/// One thing to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Write to storage and answer with [`Event::Persisted`](crate::Event::Persisted), for this or a later
    /// token. A failure ends the process (rule 26).
    Write {
        /// Its name.
        token: Token,
        /// What.
        write: Write,
    },
    /// Read log entries from storage and answer with [`Event::LogRead`](crate::Event::LogRead). All of them
    /// were reported durable before this.
    Read {
        /// Its name.
        id: u64,
        /// The first counter wanted.
        from: u64,
        /// The last counter wanted.
        to: u64,
        /// Stop before the entry that exceeds this sum of sizes, but not before the first.
        bytes_max: usize,
    },
    /// Send a datagram. It may be lost.
    Datagram {
        /// To whom.
        to: NodeId,
        /// What.
        vote: Vote,
    },
    /// Dial a peer's message port; answer with [`Event::Connected`](crate::Event::Connected) or
    /// [`Event::ConnectFailed`](crate::Event::ConnectFailed) within the connect time-out.
    Connect {
        /// Whom.
        peer: NodeId,
    },
    /// Send a message on a connection, behind all earlier ones.
    Send {
        /// The connection.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Close a connection once what was sent on it is out; no [`Event::Closed`](crate::Event::Closed) follows.
    Close {
        /// The connection.
        link: LinkId,
    },
    /// Everything through this counter is committed and durable here: apply it.
    Commit {
        /// The counter.
        counter: u64,
    },
    /// A proposal was given its place in the log.
    Proposed {
        /// The number that the event carried.
        id: u64,
        /// The place.
        zxid: Zxid,
    },
    /// A proposal was not taken, and never will be.
    Rejected {
        /// The number that the event carried.
        id: u64,
        /// Why.
        why: Rejection,
    },
    /// A quorum has confirmed that this node led when the barrier was asked for.
    BarrierPassed {
        /// The number that the event carried.
        id: u64,
        /// Apply through this counter before reading.
        commit: u64,
    },
    /// No confirmation; nothing may be read.
    BarrierFailed {
        /// The number that the event carried.
        id: u64,
    },
    /// The other end of a connection, leader or follower of this node, says this to the upper half.
    Relayed {
        /// The connection, for an answer.
        link: LinkId,
        /// Opaque.
        payload: Bytes,
    },
    /// The role, or the leader, has changed.
    Role(Role),
    /// What happened, for logs, metrics and transcripts.
    Notice(Notice),
    /// This node must stop, for this reason: going on would endanger what the ensemble has promised.
    Stop(String),
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// This node is no established leader.
    NotLeader,
    /// Too much is in flight.
    Full,
}

/// Something worth telling. The core never logs; these are what logs are made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Formation waits for these voters, told when the list changes.
    WaitingFor(Vec<NodeId>),
    /// A peer's configuration names other voters than ours.
    ConfigurationDiffers {
        /// The peer.
        peer: NodeId,
        /// Message addresses that only the peer's configuration lists.
        only_theirs: Vec<String>,
        /// Message addresses that only ours lists.
        only_ours: Vec<String>,
    },
    /// This node has sealed the genesis and belongs to the ensemble.
    Formed {
        /// The ensemble.
        ensemble: EnsembleId,
        /// Whether this node is counted in its quorums.
        votes: bool,
    },
    /// This node is looking for a leader.
    Looking {
        /// The round.
        round: Round,
        /// Why, in words.
        why: &'static str,
    },
    /// The election is decided, as far as this node sees.
    Elected {
        /// The round.
        round: Round,
        /// The winner.
        leader: NodeId,
    },
    /// A quorum has promised the epoch to this node.
    Discovered {
        /// The epoch.
        epoch: Epoch,
        /// The end of its initial history.
        last: Zxid,
    },
    /// This leader is established: a quorum holds its initial history.
    Established {
        /// The epoch.
        epoch: Epoch,
        /// The end of its initial history.
        last: Zxid,
    },
    /// A follower has been told how to synchronise.
    Synchronising {
        /// The follower.
        peer: NodeId,
        /// Counted in quorums.
        votes: bool,
        /// The follower's last zxid.
        from: Zxid,
        /// The common point it starts from.
        base: Zxid,
    },
    /// A follower is up to date.
    Synchronised {
        /// The follower.
        peer: NodeId,
        /// What it holds.
        last: Zxid,
    },
    /// This follower is up to date with its leader, and serves.
    UpToDate {
        /// The epoch.
        epoch: Epoch,
        /// Its leader.
        leader: NodeId,
    },
    /// This node cut the end of its log.
    Truncated {
        /// Its last zxid before.
        from: Zxid,
        /// Its last zxid now.
        to: Zxid,
    },
    /// A follower of this leader is gone.
    LostFollower {
        /// The follower.
        peer: NodeId,
        /// Why, in words.
        why: &'static str,
    },
    /// This node refused a connection, or a message on it.
    Refused {
        /// The peer, where it is known.
        peer: Option<NodeId>,
        /// Why.
        reason: Reason,
    },
    /// A peer refused this node's connection, or a message on it.
    RefusedBy {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: Reason,
    },
    /// This node refused to speak with the other end of a connection for what it said of itself.
    GreetingRefused {
        /// Whom this node dialled; `None` for an accepted connection.
        dialled: Option<NodeId>,
        /// Whom the other end means to reach; `None` where it was dialled.
        meant: Option<NodeId>,
        /// Who the other end is.
        node: NodeId,
        /// Where the other end says that it can be reached.
        addresses: Addresses,
        /// Why.
        reason: Reason,
    },
    /// Two processes are connected that have the same id and data directory: one of them runs on a copy.
    Duplicate {
        /// Their id.
        peer: NodeId,
        /// What the one announces that goes on being served.
        served: Addresses,
        /// What the other one announces.
        other: Addresses,
    },
    /// A peer reports that it is connected to another process with this node's id and data directory.
    DuplicateOfThis {
        /// The peer.
        peer: NodeId,
        /// What the other process announces.
        addresses: Addresses,
    },
    /// A member's vote names another ensemble: one of the two has the wrong data directory. Told once per peer.
    OtherEnsemble {
        /// The peer.
        peer: NodeId,
        /// Its ensemble.
        ensemble: EnsembleId,
    },
    /// A node's storage is slow, this one's or a peer's. Told of each node twice a minute at most.
    SlowStorage {
        /// Whose.
        node: NodeId,
        /// How long a write takes, in microseconds.
        storage: u64,
    },
    /// A voter came with another data directory than the recorded one; it is treated as a learner.
    Amnesiac {
        /// The voter.
        peer: NodeId,
    },
}
