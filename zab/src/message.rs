//! What nodes say to each other: votes in datagrams, messages on connections, and the log entries they carry.
//!
//! Messages keep ZooKeeper's names. A connection begins with a [`Hello`] from either side; everything behind it
//! speaks for that sender, data directory and ensemble.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

use crate::types::{EnsembleId, Epoch, Incarnation, NodeId, Round, Zxid};

/// What a log entry is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The store's; opaque here.
    Command,
    /// A change of the ensemble's members; decides quorums from the moment it is logged. No node makes one yet.
    Membership,
    /// Something that a newer build knows. Whoever is given one by its leader stops: it must not be dropped.
    Unknown(u32),
}

/// The feature level of this build: entries that demand more stop the node.
pub const LEVEL: u32 = 1;

/// One item of the replicated log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LogEntry {
    /// Its identity and place.
    pub zxid: Zxid,
    /// What it is for.
    pub kind: Kind,
    /// The feature level a node needs to apply it.
    pub level: u32,
    /// Opaque, and never re-encoded on its way.
    pub payload: Bytes,
}

impl LogEntry {
    /// What an entry is taken to cost in memory and in flight, in bytes.
    pub fn size(&self) -> usize {
        self.payload.len() + 64
    }
}

/// Where a node can be reached ("host:port" each).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Addresses {
    /// UDP, for votes.
    pub election: String,
    /// TCP, for nodes; people are shown this one.
    pub message: String,
    /// TCP, for clients. Empty where it is not known.
    pub request: String,
}

/// A voter as a configuration or a genesis names it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Voter {
    /// Its id.
    pub node: NodeId,
    /// The data directory it was formed with; `None` in a configuration, or if it was absent at formation.
    pub incarnation: Option<Incarnation>,
    /// Where to reach it.
    pub addresses: Addresses,
}

/// What an ensemble is founded on: the base of every log, at zxid (0, 0).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Genesis {
    /// The ensemble this founds.
    pub ensemble: EnsembleId,
    /// Ascending by node id, at least one.
    pub voters: Vec<Voter>,
}

/// The state of a vote's sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoteState {
    /// Elects.
    Looking,
    /// Follows the candidate of the vote.
    Following,
    /// Leads; the candidate of the vote is the sender.
    Leading,
    /// Looks for the leader, and votes for nobody: a learner, or a voter whose data directory was replaced.
    Seeking,
}

/// A candidate, and how recent its history is. The order in which votes are preferred: (epoch, last, node).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Candidate {
    /// The candidate's durable current epoch.
    pub epoch: Epoch,
    /// The candidate's last durable zxid.
    pub last: Zxid,
    /// The candidate.
    pub node: NodeId,
}

/// One election datagram (rule 2). Everything in it was durable before it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vote {
    /// `None` before the sender has joined an ensemble.
    pub ensemble: Option<EnsembleId>,
    /// The sender.
    pub sender: NodeId,
    /// The sender's data directory.
    pub incarnation: Incarnation,
    /// Which start of the sender; durable, rises at each.
    pub boot: u64,
    /// Rises with every datagram of one boot.
    pub sequence: u64,
    /// What the sender does.
    pub state: VoteState,
    /// The round in which the vote was cast.
    pub round: Round,
    /// Whom it backs.
    pub candidate: Candidate,
    /// The epoch that the sender's leader has established; `None` before that.
    pub established: Option<Epoch>,
    /// Counter of the log entry that the sender's membership stands in; 0 is the genesis.
    pub config_version: u64,
}

/// The first message on a connection, from either side.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Hello {
    /// The sender.
    pub node: NodeId,
    /// The sender's data directory.
    pub incarnation: Incarnation,
    /// Which start of the sender.
    pub boot: u64,
    /// Whom the dialling side means to reach; `None` from the accepting side.
    pub meant: Option<NodeId>,
    /// `None` before the sender has joined an ensemble.
    pub ensemble: Option<EnsembleId>,
    /// Where the sender can be reached.
    pub addresses: Addresses,
    /// Before formation: the voters of the sender's configuration; empty afterwards.
    pub voters: Vec<Voter>,
}

/// Why a connection is refused; it is closed behind the refusal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The dialled node does not lead, and is not about to.
    NotLeading,
    /// The follower's history ends before the leader's log begins; snapshots do not exist yet.
    SnapshotNeeded,
    /// The follower does not hold the zxid that it was told to go back to.
    NoCommonPoint,
    /// Another node was meant.
    WrongNode,
    /// The sender belongs to another ensemble.
    OtherEnsemble,
    /// The sender is none of the ensemble's members.
    NotAMember,
    /// The two configurations name different voters.
    Configuration,
    /// Another version of the protocol.
    Version,
    /// A new epoch is due for this node, but the last one is too recent; come again.
    TooSoon,
}

/// What nodes say on a connection.
///
/// *Link* messages of a leadership carry its epoch and are dropped where it is not the receiver's (rule 21).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// Who speaks.
    Hello(Hello),
    /// Formation: coordinator → voter. Make this genesis durable, unsealed.
    Prepare(Genesis),
    /// Formation: voter → coordinator. The genesis of this ensemble is durable here.
    Prepared(EnsembleId),
    /// Formation: coordinator → voter. Every voter has prepared.
    Seal(EnsembleId),
    /// A sealed genesis, to a node that has none.
    Formed(Genesis),
    /// CEPOCH, follower → leader: the epoch that the sender has promised (rule 11).
    FollowerEpoch {
        /// The sender's accepted epoch.
        accepted: Epoch,
        /// Counter of the log entry that the sender's membership stands in.
        config_version: u64,
    },
    /// Leader → follower: promise this epoch.
    NewEpoch(Epoch),
    /// Follower → leader: promised, and this is the history I hold (rule 12).
    AckEpoch {
        /// The promised epoch.
        epoch: Epoch,
        /// The sender's current epoch.
        current: Epoch,
        /// The sender's last durable zxid.
        last: Zxid,
        /// The base of the sender's log.
        oldest: Zxid,
        /// Ascending: each epoch that has entries above `oldest`, with its last counter.
        boundaries: Vec<Zxid>,
    },
    /// Follower → leader: not promised, because of this promise (rule 11).
    RefuseEpoch {
        /// The sender's accepted epoch.
        accepted: Epoch,
        /// To whom it was promised.
        leader: Option<NodeId>,
    },
    /// Either way: no service on this connection.
    Refuse(Reason),
    /// To one of two processes that have the same id and data directory: what the other one announces. The connection
    /// is closed behind it.
    Duplicate(Addresses),
    /// Leader → follower: go back to `base`; what follows it comes as proposals (table 1.3).
    Diff {
        /// The leadership.
        epoch: Epoch,
        /// The common point. The receiver truncates whatever it holds above.
        base: Zxid,
    },
    /// Leader → follower: log entries, contiguous, in one stream from the base of the Diff on.
    Propose {
        /// The leadership.
        epoch: Epoch,
        /// The zxid before the first entry.
        previous: Zxid,
        /// At least one.
        entries: Vec<LogEntry>,
        /// The leader's commit index, as far as this follower may know it.
        commit: u64,
    },
    /// Follower → leader, while synchronising: everything through this zxid is written here. It opens the
    /// window for more and counts for nothing else (an ack may not be sent before the epoch is durable, rule 22).
    Progress {
        /// The leadership.
        epoch: Epoch,
        /// The sender's last durable zxid.
        last: Zxid,
    },
    /// Leader → follower: you hold the initial history through this zxid; make it durable, then the epoch.
    NewLeader {
        /// The leadership.
        epoch: Epoch,
        /// The end of the initial history.
        last: Zxid,
    },
    /// Follower → leader: current epoch and everything through `last` are durable (rule 19).
    AckNewLeader {
        /// The leadership.
        epoch: Epoch,
        /// The sender's last durable zxid.
        last: Zxid,
    },
    /// Leader → follower: the leader is established; apply and serve.
    UpToDate {
        /// The leadership.
        epoch: Epoch,
        /// The leader's commit index now.
        commit: u64,
    },
    /// Follower → leader: everything through this zxid is durable here.
    Ack {
        /// The leadership.
        epoch: Epoch,
        /// The sender's last durable zxid.
        last: Zxid,
    },
    /// Leader → follower: everything through this counter is committed.
    Commit {
        /// The leadership.
        epoch: Epoch,
        /// The leader's commit index.
        commit: u64,
    },
    /// Leader → follower: still there? Each one is a barrier round as well.
    Heartbeat {
        /// The leadership.
        epoch: Epoch,
        /// Rises with every heartbeat of one leadership, never reused.
        id: u64,
        /// The leader's commit index, as far as this follower may know it.
        commit: u64,
    },
    /// Follower → leader: my promise stands, for every heartbeat through this one.
    HeartbeatAck {
        /// The leadership.
        epoch: Epoch,
        /// The heartbeat's.
        id: u64,
    },
    /// Either way, where nothing else is due: the sender is at work, and be it with its own disk. It claims nothing
    /// else, and may come at any time after the Hello.
    Alive {
        /// How long a write takes the sender's storage, or has been taking it, in microseconds; 0 if that is not slow.
        storage: u64,
    },
    /// Between the nodes' upper halves; opaque here. Delivered only while the sender leads or follows the
    /// receiver in an established epoch.
    Relay(Bytes),
}
