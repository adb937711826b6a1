//! The inputs of a node.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::{
    configuration::Configuration,
    integrity::StateHash,
    membership::Change,
    message::{LogEntry, Message, Vote},
    space::DiskSpace,
    types::{LinkId, NodeId, Token, Zxid},
};

/// An input of a node.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed; the step carries the time. Due at least once per heartbeat interval.
    Tick,
    /// A valid datagram was received.
    Datagram(Vote),
    /// A connection requested by [`Effect::Connect`](crate::Effect::Connect) is open.
    Connected {
        /// The peer.
        peer: NodeId,
        /// The new connection.
        link: LinkId,
    },
    /// A connection requested by [`Effect::Connect`](crate::Effect::Connect) failed.
    ConnectFailed {
        /// The peer.
        peer: NodeId,
    },
    /// A connection was accepted.
    Accepted {
        /// The new connection.
        link: LinkId,
    },
    /// A valid message was received.
    Message {
        /// The connection.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Part of a message was received: a sign of life (rule 25). Due at most a few times per heartbeat interval.
    Heard {
        /// The connection.
        link: LinkId,
    },
    /// A connection was closed; nothing more is received on it.
    Closed {
        /// The connection.
        link: LinkId,
    },
    /// All storage writes through this token are durable.
    Persisted(Token),
    /// The result of [`Effect::Read`](crate::Effect::Read): contiguous entries, the first with the requested counter. No
    /// entry if that one is no longer in the log.
    LogRead {
        /// The id of the effect.
        id: u64,
        /// The entries.
        entries: Vec<LogEntry>,
    },
    /// A request to replicate a payload. Answered by [`Effect::Proposed`](crate::Effect::Proposed) or
    /// [`Effect::Rejected`](crate::Effect::Rejected).
    Propose {
        /// The caller's id of the request.
        id: u64,
        /// The opaque payload.
        payload: Bytes,
        /// The feature level that it was made for.
        level: u32,
        /// Whether it may wait while the leadership is handed over (at most the election timeout, protocol.md 6.10). If it
        /// may not, because it is right only now, it is rejected meanwhile.
        may_wait: bool,
    },
    /// A request to change the configuration (protocol.md 5.1). Answered by
    /// [`Effect::ChangeDecided`](crate::Effect::ChangeDecided).
    ChangeConfiguration {
        /// The caller's id of the request.
        id: u64,
        /// The change.
        change: Change,
        /// The node whose client asks for it, if one does. It stands in the next configuration.
        asked_by: Option<NodeId>,
    },
    /// Nodes that may know the leader, for a node that joins: the members that it knows may all be gone. It asks them for the
    /// genesis, and for the leader, and counts no quorum with them. Their addresses are the caller's to know.
    Hints(Vec<NodeId>),
    /// A request to hand the leadership over (protocol.md 6.10). Answered by
    /// [`Notice::TransferRejected`](crate::Notice::TransferRejected), or by
    /// [`Notice::TransferBegun`](crate::Notice::TransferBegun) and, within the election timeout,
    /// [`Notice::HandedOver`](crate::Notice::HandedOver) or
    /// [`Notice::TransferTakenBack`](crate::Notice::TransferTakenBack), unless the leadership ends otherwise. Not answered
    /// if the same transfer is under way.
    TransferLeadership {
        /// The voter to hand over to; `None` for the best one.
        to: Option<NodeId>,
    },
    /// A request for a read barrier. Answered by [`Effect::BarrierPassed`](crate::Effect::BarrierPassed), on an
    /// established leader, or by [`Effect::BarrierFailed`](crate::Effect::BarrierFailed), within the election timeout.
    Barrier {
        /// The caller's id of the request.
        id: u64,
    },
    /// A request to send this to the upper half of the established leader; ignored if this node follows none.
    RelayToLeader(Bytes),
    /// A request to send this to the upper half of a serving follower; ignored if the connection is closed.
    RelayTo {
        /// The connection by which a relayed message was received.
        link: LinkId,
        /// The opaque payload.
        payload: Bytes,
    },
    /// The log may be compacted: [`Write::Compact`](crate::Write::Compact) follows as soon as no follower needs the entries.
    /// A later event replaces it.
    MayCompact {
        /// The last counter that may be deleted. The state is durable through it.
        through: u64,
        /// The last counter that is deleted even if a follower needs it; at most `through`.
        forced: u64,
    },
    /// The snapshot of [`Effect::SendSnapshot`](crate::Effect::SendSnapshot) is made and being sent. The log is kept above
    /// it until the follower has installed it.
    SnapshotBegun {
        /// The connection.
        link: LinkId,
        /// The zxid of the last entry applied in the snapshot, as the snapshot itself records it.
        zxid: Zxid,
    },
    /// A snapshot from the leader is complete, durable and verified, and not in use. Answered by
    /// [`Write::Install`](crate::Write::Install) or [`Effect::DiscardSnapshot`](crate::Effect::DiscardSnapshot); ignored
    /// if the connection is not the one to this node's leader any more.
    SnapshotReceived {
        /// The connection.
        link: LinkId,
        /// The zxid of the last entry applied in the snapshot.
        zxid: Zxid,
        /// The configuration that the snapshot records; `None` if the genesis is in force in it.
        configuration: Option<Configuration>,
    },
    /// The disk space of this node; [`DiskSpace::Ample`] until the first such event.
    DiskSpace(DiskSpace),
    /// Whether the caller's storage of applied entries has made no progress for [`Timeouts::disk`](crate::Timeouts): a
    /// read or write that applying waits for. Such a node does not lead (protocol.md 6.6).
    StateStalled(bool),
    /// The hash of this node's state at a counter that all nodes report. Ascending; of the present state.
    StateHash(StateHash),
    /// Damage was found in the log or the state, which still work. [`Effect::Quarantine`](crate::Effect::Quarantine) follows
    /// when a leader can do without this node.
    Damaged,
    /// The caller has applied the log through this counter; entries kept for that may be dropped.
    Applied {
        /// The counter.
        counter: u64,
    },
}
