//! The inputs of a node.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::{
    message::{LogEntry, Message, Vote},
    types::{LinkId, NodeId, Token},
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
    /// The result of [`Effect::Read`](crate::Effect::Read): at least one entry, contiguous, the first with the
    /// requested counter.
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
    /// The caller has applied the log through this counter; entries kept for that may be dropped.
    Applied {
        /// The counter.
        counter: u64,
    },
}
