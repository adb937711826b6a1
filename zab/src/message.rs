//! The messages between nodes: votes in datagrams, messages on connections, and log entries.
//!
//! Messages keep ZooKeeper's names. A connection begins with a [`Hello`] from each side, which identifies the sender,
//! its data directory and its ensemble for all later messages.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

use crate::{
    integrity::{Fault, StateReport},
    levels::Levels,
    space::DiskSpace,
    types::{EnsembleId, Epoch, Incarnation, NodeId, Round, Zxid},
};

/// The kind of a log entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A command of the store, opaque to the protocol.
    Command,
    /// A configuration of the ensemble ([`Configuration::encode`](crate::Configuration::encode)), in force from when it is
    /// appended (protocol.md 5.1). Its version is the zxid of the entry.
    Membership,
    /// A kind of a newer build. A node that receives one from its leader stops, since it must not be skipped.
    Unknown(u32),
}

/// An entry of the replicated log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LogEntry {
    /// The identity and position.
    pub zxid: Zxid,
    /// The kind.
    pub kind: Kind,
    /// The feature level that the entry was made for. A node whose program does not support it stops.
    pub level: u32,
    /// The opaque payload, never re-encoded.
    pub payload: Bytes,
}

impl LogEntry {
    /// The size that is accounted in memory and in flight, in bytes.
    pub fn size(&self) -> usize {
        self.payload.len() + 64
    }

    /// Whether a program with these levels can apply the entry. One of a level that was left behind is applied as before.
    pub(crate) fn is_supported(&self, levels: Levels) -> bool {
        matches!(self.kind, Kind::Command | Kind::Membership) && self.level <= levels.max
    }
}

/// The addresses of a node, "host:port" each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Addresses {
    /// The UDP address for votes.
    pub election: String,
    /// The TCP address for nodes; logs for people show this one.
    pub message: String,
    /// The TCP address for clients; empty if it is not known.
    pub request: String,
}

/// A voter of a configuration or a genesis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Voter {
    /// The id.
    pub node: NodeId,
    /// The data directory at formation; `None` in a configuration file, or if the voter was absent at formation.
    pub incarnation: Option<Incarnation>,
    /// The addresses.
    pub addresses: Addresses,
}

impl Voter {
    /// Whether the node with this id and this incarnation is this voter (protocol.md 5.8).
    pub fn is(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.node == node && self.incarnation == Some(incarnation)
    }
}

/// The founding record of an ensemble: the base of every log, at zxid (0, 0).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Genesis {
    /// The ensemble.
    pub ensemble: EnsembleId,
    /// The voters, at least one, ascending by id.
    pub voters: Vec<Voter>,
    /// The feature level: the highest one that all of them support who took part.
    pub level: u32,
}

/// The state of a vote's sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoteState {
    /// Takes part in an election.
    Looking,
    /// Follows the candidate of the vote.
    Following,
    /// Leads; the candidate of the vote is the sender itself.
    Leading,
    /// Looks for the leader without a vote: a learner, or a voter whose data directory was replaced.
    Seeking,
}

/// A candidate and the end of its history. Candidates are preferred in the order of (epoch, last, node).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Candidate {
    /// The candidate's durable current epoch.
    pub epoch: Epoch,
    /// The candidate's last durable zxid.
    pub last: Zxid,
    /// The id of the candidate.
    pub node: NodeId,
}

/// An election datagram (rule 2). Its values are durable before it is sent, the round excepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vote {
    /// The sender's ensemble; `None` before formation.
    pub ensemble: Option<EnsembleId>,
    /// The id of the sender.
    pub sender: NodeId,
    /// The sender's data directory.
    pub incarnation: Incarnation,
    /// The number of the sender's start; durable, ascending.
    pub boot: u64,
    /// The number of the datagram within one start, ascending.
    pub sequence: u64,
    /// The state of the sender.
    pub state: VoteState,
    /// The round in which the vote was cast.
    pub round: Round,
    /// The candidate that the sender votes for.
    pub candidate: Candidate,
    /// The epoch in which the sender's leader is established, if it is.
    pub established: Option<Epoch>,
    /// The version of the sender's configuration.
    pub configuration: Zxid,
}

/// The first message on a connection, from either side.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Hello {
    /// The id of the sender.
    pub node: NodeId,
    /// The sender's data directory.
    pub incarnation: Incarnation,
    /// The number of the sender's start.
    pub boot: u64,
    /// The node that the dialling side expects to reach; `None` from the accepting side.
    pub expected: Option<NodeId>,
    /// The sender's ensemble; `None` before formation.
    pub ensemble: Option<EnsembleId>,
    /// The sender's addresses.
    pub addresses: Addresses,
    /// The configured voters of the sender before formation; empty afterwards.
    pub voters: Vec<Voter>,
    /// The version of the sender's configuration; (0, 0) before formation.
    pub configuration: Zxid,
    /// The feature levels that the sender's program supports.
    pub levels: Levels,
    /// The feature level of the last configuration that the sender knows to be committed; `None` before formation.
    pub level: Option<u32>,
}

/// The reason for a refusal, after which the connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The dialled node neither leads nor is about to.
    NotLeading,
    /// The follower needs a snapshot, which this leader cannot send: the two logs have no common point above their bases.
    SnapshotNeeded,
    /// The follower does not have the common point that Diff names.
    NoCommonPoint,
    /// The connection has reached another node than expected.
    WrongNode,
    /// The sender belongs to another ensemble.
    OtherEnsemble,
    /// The sender is not a member of the ensemble.
    NotAMember,
    /// The two configuration files list different voters.
    Configuration,
    /// The message is not valid in this version of the protocol.
    Version,
    /// The follower needs a later epoch, and the last discovery was too recent; it should retry.
    TooSoon,
    /// The sender belonged to an ensemble whose record it has lost: it takes part in founding no other one.
    NeverFounds,
    /// The sender founds an ensemble with all configured voters only.
    FoundsWithAll,
    /// One of the two does not support the feature level of the other one's ensemble (protocol.md 5.14).
    Level,
}

/// A message on a connection. Messages of a leadership carry its epoch; they are dropped if it is not the receiver's
/// (rule 21).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// Identifies the sender; the first message in each direction.
    Hello(Hello),
    /// Coordinator → voter, formation: make this genesis durable, unsealed.
    Prepare(Genesis),
    /// Voter → coordinator, formation: the genesis of this ensemble is durable.
    Prepared(EnsembleId),
    /// Coordinator → voter, formation: every voter has prepared the genesis; seal it.
    Seal(EnsembleId),
    /// Member → node without a sealed genesis: the genesis of the ensemble.
    Formed(Genesis),
    /// Follower → leader (CEPOCH): the epoch that the sender has promised (rule 11).
    FollowerEpoch {
        /// The sender's accepted epoch.
        accepted: Epoch,
        /// The version of the sender's configuration.
        configuration: Zxid,
    },
    /// Leader → follower: promise this epoch.
    NewEpoch(Epoch),
    /// Follower → leader: the epoch is promised; describes the sender's history (rule 12).
    AckEpoch {
        /// The promised epoch.
        epoch: Epoch,
        /// The sender's current epoch.
        current: Epoch,
        /// The sender's last durable zxid.
        last: Zxid,
        /// The base of the sender's log.
        oldest: Zxid,
        /// The last zxid of each epoch that has entries above `oldest`, ascending.
        boundaries: Vec<Zxid>,
    },
    /// Follower → leader: the epoch cannot be promised, because of this promise (rule 11).
    RefuseEpoch {
        /// The sender's accepted epoch.
        accepted: Epoch,
        /// The leader that it was promised to.
        leader: Option<NodeId>,
    },
    /// Either direction: the connection is refused.
    Refuse(Reason),
    /// To one of two processes with the same id and incarnation: the addresses of the other one. The connection is closed
    /// afterwards.
    Duplicate(Addresses),
    /// Leader → follower: truncate to `base`; proposals from there on follow (table 1.3).
    Diff {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The common point of both logs.
        base: Zxid,
    },
    /// Leader → follower: log entries, in one contiguous stream from the base of Diff on.
    Propose {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The zxid before the first entry of `entries`.
        previous: Zxid,
        /// The entries, at least one.
        entries: Vec<LogEntry>,
        /// The leader's commit index; 0 if the receiver must not learn it yet (rule 20).
        commit: u64,
    },
    /// Follower → leader, during synchronisation: everything through `last` is durable. It frees the window and counts
    /// for nothing else, since the epoch is not durable yet (rule 22).
    Progress {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The sender's last durable zxid.
        last: Zxid,
    },
    /// Leader → follower: `last` is the end of the initial history; make it durable, then the epoch.
    NewLeader {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The end of the initial history.
        last: Zxid,
    },
    /// Follower → leader: the current epoch and everything through `last` are durable (rule 19).
    AckNewLeader {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The sender's last durable zxid.
        last: Zxid,
    },
    /// Leader → follower: the leader is established; serve when `commit` is applied.
    UpToDate {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The leader's current commit index.
        commit: u64,
    },
    /// Follower → leader: everything through `last` is durable.
    Ack {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The sender's last durable zxid.
        last: Zxid,
    },
    /// Leader → follower: everything through `commit` is committed.
    Commit {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The leader's commit index.
        commit: u64,
    },
    /// Leader → follower: a sign of life to be answered; also the round of read barriers.
    Heartbeat {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The number of the heartbeat in this leadership, ascending.
        id: u64,
        /// The leader's commit index; 0 if the receiver must not learn it yet (rule 20).
        commit: u64,
    },
    /// Follower → leader: the sender's promise to this leader holds, at this and all earlier heartbeats.
    HeartbeatAck {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The id of the heartbeat; 0 for a report of the disk space that answers none.
        id: u64,
        /// The disk space of the sender.
        space: DiskSpace,
        /// What the sender reports of its state.
        state: StateReport,
    },
    /// Leader → follower: the receiver has this fault, and is to go into quarantine.
    Quarantine {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The fault.
        fault: Fault,
    },
    /// Leader → follower: the sender leads no longer, and the target is to be elected (protocol.md 6.10).
    Handoff {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The voter that is to lead next.
        target: NodeId,
        /// The last zxid of the sender's log: committed, and durable on the target.
        last: Zxid,
    },
    /// Either direction: a sign of life from a node that has nothing else to send, for example while it waits for its
    /// disk. Valid at any time after Hello.
    Alive {
        /// The write latency of the sender's storage, in microseconds; 0 if it is not slow.
        write_latency: u64,
    },
    /// Either direction: an opaque part of the transfer of a snapshot, between the storage of a leader and that of its
    /// follower. Not for the protocol core, which ignores it.
    Snapshot(Bytes),
    /// Either direction: an opaque message between the upper halves of a serving follower and its established leader.
    Relay(Bytes),
}
