//! The outputs of a node, which the caller carries out in order.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

use crate::{
    integrity::{Fault, IntegrityNotice},
    levels::Levels,
    membership::{Change, Refused},
    message::{Addresses, Genesis, LogEntry, Message, Reason, Vote},
    space::DiskSpace,
    types::{EnsembleId, Epoch, LinkId, NodeId, Round, Token, Zxid},
};

/// The durable promises of a node: one record, always written as a whole (rule 10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HardState {
    /// *p*: no leader of a lower epoch is acknowledged any more.
    pub accepted_epoch: Epoch,
    /// The leader that `accepted_epoch` was promised to; `None` only while it is zero.
    pub accepted_leader: Option<NodeId>,
    /// *a*: the last epoch whose initial history is durable on this node. Never above `accepted_epoch`.
    pub current_epoch: Epoch,
}

/// The genesis as a node stores it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Founding {
    /// The genesis.
    pub genesis: Genesis,
    /// Whether it is sealed: every voter has made it durable. Before that it may be replaced.
    pub sealed: bool,
}

/// A write to storage. Writes are completed in the order in which they are issued.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Write {
    /// Append these entries to the log: contiguous, at least one.
    Append(Vec<LogEntry>),
    /// Remove every log entry above this zxid.
    Truncate(Zxid),
    /// Delete log entries through this one, which becomes the base of the log. Storage may keep some of them: the log that
    /// it recovers may begin below this base.
    Compact(Zxid),
    /// Replace state and log, both or neither: the state by the snapshot that
    /// [`Event::SnapshotReceived`](crate::Event::SnapshotReceived) reported, the log by an empty one with this base. Hard
    /// state and founding stay. No other write that changes the log is issued before this one is complete.
    Install(Zxid),
    /// Replace the hard state.
    HardState(HardState),
    /// Replace the founding record.
    Founding(Founding),
}

/// The role of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Waits for all configured voters to form the ensemble.
    Forming,
    /// Has no leader.
    Looking,
    /// Has a leader.
    Following {
        /// The leader.
        leader: NodeId,
        /// The epoch in which the node serves, if it does: it is up to date, and has applied the commit index of
        /// UpToDate.
        established: Option<Epoch>,
    },
    /// Leads, or is about to.
    Leading {
        /// The epoch in which the node serves, if it does: it is established, and has applied its initial history.
        established: Option<Epoch>,
    },
}

/// An output of a node.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Write to storage, then deliver [`Event::Persisted`](crate::Event::Persisted) for this or a later token. A
    /// failure ends the process (rule 26).
    Write {
        /// The token of the write.
        token: Token,
        /// The write.
        write: Write,
    },
    /// Read durable log entries from storage, then deliver [`Event::LogRead`](crate::Event::LogRead). They are above the
    /// base of the log when the effect is emitted; a later [`Write::Compact`] may delete them.
    Read {
        /// The id of the read.
        id: u64,
        /// The first counter.
        from: u64,
        /// The last counter.
        to: u64,
        /// The maximum sum of sizes; the first entry is returned in any case.
        bytes_max: usize,
    },
    /// Send a datagram, which may be lost.
    Datagram {
        /// The receiver.
        to: NodeId,
        /// The vote.
        vote: Vote,
    },
    /// Connect to a peer's message address, then deliver [`Event::Connected`](crate::Event::Connected) or
    /// [`Event::ConnectFailed`](crate::Event::ConnectFailed) within the connect timeout.
    Connect {
        /// The peer.
        peer: NodeId,
    },
    /// Send a message on a connection, after all earlier ones.
    Send {
        /// The connection.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Close a connection after all messages are sent; no [`Event::Closed`](crate::Event::Closed) follows.
    Close {
        /// The connection.
        link: LinkId,
    },
    /// Make a snapshot of the state, and send it on this connection; then deliver
    /// [`Event::SnapshotBegun`](crate::Event::SnapshotBegun), or close the connection. If it is emitted again for the same
    /// connection, the log no longer continues the snapshot made before, or the receiver needs another one: a newer
    /// snapshot replaces it.
    SendSnapshot {
        /// The connection of the follower.
        link: LinkId,
    },
    /// Delete the snapshot that [`Event::SnapshotReceived`](crate::Event::SnapshotReceived) reported: it is not installed.
    DiscardSnapshot,
    /// Apply the log through this counter: it is committed and durable on this node.
    Commit {
        /// The counter.
        counter: u64,
    },
    /// A proposal was accepted and appended to the log.
    Proposed {
        /// The id of the event.
        id: u64,
        /// The position in the log.
        zxid: Zxid,
    },
    /// A proposal was rejected: it is not in the log and never will be.
    Rejected {
        /// The id of the event.
        id: u64,
        /// The reason.
        why: Rejection,
    },
    /// A requested change of the configuration was decided: it is in the log, under this version, but not committed yet; or
    /// it was rejected.
    ChangeDecided {
        /// The id of the event.
        id: u64,
        /// The version of the new configuration, the zxid of its log entry.
        result: Result<Zxid, ChangeRejection>,
    },
    /// A barrier passed: a quorum has confirmed that this node still led after the request.
    BarrierPassed {
        /// The id of the event.
        id: u64,
        /// The counter through which to apply before reading.
        commit: u64,
    },
    /// A barrier failed: the read must not be answered.
    BarrierFailed {
        /// The id of the event.
        id: u64,
    },
    /// Deliver a message to the upper half, from this node's leader or one of its followers.
    Relayed {
        /// The connection, for a reply.
        link: LinkId,
        /// The opaque payload.
        payload: Bytes,
    },
    /// The role or the leader has changed.
    Role(Role),
    /// Report an event, for logs, metrics and transcripts.
    Notice(Notice),
    /// Go into quarantine: end, and come back with an empty log and an empty state, under another incarnation. The leader
    /// has told so, and a majority of the voters is connected without this node.
    Quarantine(Fault),
    /// Stop the node for this reason: going on could break the guarantees of the ensemble.
    Stop(String),
}

/// The reason for the rejection of a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// This node is not an established leader.
    NotLeader,
    /// Too many proposals, or too many bytes of them, are open.
    Full,
    /// It was made for a feature level that this leader's ensemble does not have.
    Level,
}

/// The reason for the rejection of a change of the configuration: it is not in the log and never will be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeRejection {
    /// This node is not an established leader.
    NotLeader,
    /// The change with this version is not committed.
    Pending(Zxid),
    /// The change is not possible in the configuration in force.
    Impossible(Refused),
    /// The leadership is being transferred.
    Transferring,
    /// The change would take the vote of this leader away: another node must lead first.
    OwnVote,
    /// The learner to be promoted is so many entries behind; `None` if it is not connected, or not up to date yet.
    LearnerBehind(Option<u64>),
    /// Of the voters after the change no majority is connected and up to date; these are not.
    NoQuorum(Vec<NodeId>),
    /// The feature level cannot be raised: not every member supports the new one, or is connected to say so.
    Level {
        /// The members that are not connected.
        absent: Vec<NodeId>,
        /// The members whose programs do not support it, with what they support.
        unsupported: Vec<(NodeId, Levels)>,
    },
}

/// The reason for the rejection of a transfer of the leadership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferRejection {
    /// This node is not an established leader.
    NotLeader,
    /// A transfer to another target is under way.
    UnderWay,
    /// The target, or any other node if none was requested, is not a connected and up-to-date voter with ample disk space
    /// and without a fault.
    NoTarget,
}

/// A notable event. The protocol core does not log; the caller makes logs of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Formation waits for these voters; reported when the list changes.
    WaitingFor(Vec<NodeId>),
    /// This node founds an ensemble with a quorum of the configured voters; these are absent.
    FoundsWithQuorum(Vec<NodeId>),
    /// The configuration file of a peer lists other voters than this node's.
    ConfigurationDiffers {
        /// The peer.
        peer: NodeId,
        /// The message addresses that only the peer's configuration lists.
        only_theirs: Vec<String>,
        /// The message addresses that only this node's configuration lists.
        only_ours: Vec<String>,
    },
    /// This node has sealed the genesis: it is a member of the ensemble.
    Formed {
        /// The ensemble.
        ensemble: EnsembleId,
        /// Whether this node is counted in quorums.
        votes: bool,
    },
    /// This node looks for a leader.
    Looking {
        /// The round.
        round: Round,
        /// The reason, as a fixed phrase.
        why: &'static str,
    },
    /// This node has decided on a leader.
    Elected {
        /// The round.
        round: Round,
        /// The leader.
        leader: NodeId,
    },
    /// A quorum has promised the epoch to this node.
    Discovered {
        /// The epoch.
        epoch: Epoch,
        /// The end of its initial history.
        last: Zxid,
    },
    /// This leader is established: a quorum has its initial history.
    Established {
        /// The epoch.
        epoch: Epoch,
        /// The end of its initial history.
        last: Zxid,
    },
    /// The synchronisation of a follower has started.
    Synchronising {
        /// The follower.
        peer: NodeId,
        /// Whether it is counted in quorums.
        votes: bool,
        /// The last zxid of the follower's log.
        from: Zxid,
        /// The common point of both logs.
        base: Zxid,
    },
    /// A follower of this leader is up to date.
    Synchronised {
        /// The follower.
        peer: NodeId,
        /// The last zxid that it has acknowledged.
        last: Zxid,
    },
    /// This node is up to date with its leader, and serves.
    UpToDate {
        /// The epoch.
        epoch: Epoch,
        /// The leader.
        leader: NodeId,
    },
    /// A follower needs a snapshot: the two logs have no common point above their bases.
    SnapshotNeeded {
        /// The follower.
        peer: NodeId,
        /// Whether it is counted in quorums.
        votes: bool,
        /// The last zxid of the follower's log.
        from: Zxid,
        /// The base of this leader's log.
        base: Zxid,
    },
    /// A snapshot is sent to a follower.
    SnapshotSent {
        /// The follower.
        peer: NodeId,
        /// The zxid of the snapshot.
        at: Zxid,
    },
    /// This node has replaced its state and its log by a snapshot.
    SnapshotInstalled {
        /// The last zxid of the log before.
        from: Zxid,
        /// The zxid of the snapshot: the base of the new log.
        at: Zxid,
    },
    /// This node has not installed a snapshot from its leader: its log ends at or above it.
    SnapshotDiscarded {
        /// The zxid of the snapshot.
        at: Zxid,
        /// The last zxid of the log.
        last: Zxid,
    },
    /// This node has truncated its log.
    Truncated {
        /// The last zxid before.
        from: Zxid,
        /// The last zxid now.
        to: Zxid,
    },
    /// This leader has lost a follower.
    LostFollower {
        /// The follower.
        peer: NodeId,
        /// The reason, as a fixed phrase.
        why: &'static str,
    },
    /// This node refused a connection, or a message on it.
    Refused {
        /// The peer, if it is known.
        peer: Option<NodeId>,
        /// The reason.
        reason: Reason,
    },
    /// A peer refused this node's connection, or a message on it.
    RefusedBy {
        /// The peer.
        peer: NodeId,
        /// The reason.
        reason: Reason,
    },
    /// This node refused a connection because of its Hello.
    HelloRefused {
        /// The node that was dialled; `None` for an accepted connection.
        dialled: Option<NodeId>,
        /// The node that the other end expects to reach; `None` if it was dialled.
        expected: Option<NodeId>,
        /// The node at the other end.
        node: NodeId,
        /// The addresses in its Hello.
        addresses: Addresses,
        /// The reason.
        reason: Reason,
    },
    /// A connection ends at the Hello, since one end does not support the feature level of the other one (protocol.md 5.14).
    LevelsDiffer {
        /// The node at the other end.
        peer: NodeId,
        /// The addresses in its Hello.
        addresses: Addresses,
        /// The feature levels that its program supports.
        levels: Levels,
        /// The feature level of its ensemble, if it is formed.
        level: Option<u32>,
    },
    /// Two processes with the same id and incarnation are connected: one of them runs on a copy of the data directory.
    Duplicate {
        /// Their id.
        peer: NodeId,
        /// The addresses of the process that stays connected.
        served: Addresses,
        /// The addresses of the other process.
        other: Addresses,
    },
    /// A peer reports another process with this node's id and incarnation.
    DuplicateOfSelf {
        /// The peer.
        peer: NodeId,
        /// The addresses of the other process.
        addresses: Addresses,
    },
    /// The vote of a member names another ensemble: one of the two nodes has the wrong data directory. Or another history: then the
    /// ensemble was founded anew, and the one with the lower history was left behind. Reported once per peer.
    OtherEnsemble {
        /// The peer.
        peer: NodeId,
        /// Its ensemble.
        theirs: EnsembleId,
        /// The ensemble of this node.
        ours: EnsembleId,
    },
    /// The storage of a node, this one or a peer, is slow. Reported at most twice a minute for each node.
    SlowStorage {
        /// The node.
        node: NodeId,
        /// The write latency, in microseconds.
        write_latency: u64,
    },
    /// This leader's disk space, or that of too many voters, restricts what may be proposed, or no longer does.
    DiskSpace {
        /// What may be proposed.
        space: DiskSpace,
        /// The node whose disk is decisive.
        node: NodeId,
    },
    /// The states of this node and of others are compared, and differ.
    Integrity(IntegrityNotice),
    /// This leader has proposed a change of the configuration.
    ChangeProposed {
        /// The change.
        change: Change,
        /// The version of the new configuration: the zxid of its log entry.
        version: Zxid,
    },
    /// A change that this leader is to propose by itself waits; at most once a minute.
    ChangeWaits {
        /// The change.
        change: Change,
        /// What it waits for.
        why: ChangeRejection,
    },
    /// A request to transfer the leadership was rejected.
    TransferRejected {
        /// The requested target.
        to: Option<NodeId>,
        /// The reason.
        why: TransferRejection,
    },
    /// This leader has begun to hand over: proposals wait.
    TransferBegun {
        /// The requested target; `None` for the best one.
        to: Option<NodeId>,
        /// The reason, as a fixed phrase.
        why: &'static str,
    },
    /// This leader has taken the transfer back: it goes on leading.
    TransferTakenBack {
        /// The reason, as a fixed phrase.
        why: &'static str,
    },
    /// This leader has handed over, and leads no longer.
    HandedOver {
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The target.
        target: NodeId,
        /// The last zxid of the log.
        last: Zxid,
    },
    /// The leader of this node has handed over: this node takes over, or follows the target.
    Handoff {
        /// The epoch of the leadership that has ended.
        epoch: Epoch,
        /// The target.
        target: NodeId,
    },
    /// A voter has another incarnation than the recorded one: it is served like a learner and not counted.
    UnrecordedIncarnation {
        /// The node.
        peer: NodeId,
    },
}
