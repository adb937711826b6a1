//! What happens to a node: everything the protocol ever learns arrives as one of these.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::{
    message::{LogEntry, Message, Vote},
    types::{LinkId, NodeId, Token},
};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed; the time itself comes with the step. Due at least once a heartbeat.
    Tick,
    /// A datagram arrived, whole and well-formed.
    Datagram(Vote),
    /// A connection that this node asked for with [`Effect::Connect`](crate::Effect::Connect) stands.
    Connected {
        /// The peer it was asked for.
        peer: NodeId,
        /// The new connection.
        link: LinkId,
    },
    /// A connection that this node asked for could not be made.
    ConnectFailed {
        /// The peer it was asked for.
        peer: NodeId,
    },
    /// Somebody connected to this node.
    Accepted {
        /// The new connection.
        link: LinkId,
    },
    /// A message arrived on a connection, whole and well-formed.
    Message {
        /// The connection.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Some bytes of a message have arrived on a connection, and not all of it: a sign of life (rule 25). Due a few times
    /// per heartbeat at most.
    Heard {
        /// The connection.
        link: LinkId,
    },
    /// A connection has ended; nothing more arrives on it.
    Closed {
        /// The connection.
        link: LinkId,
    },
    /// Every storage write through this token has been done, in order; all but table writes are durable.
    Persisted(Token),
    /// The answer to [`Effect::Read`](crate::Effect::Read): at least one entry, the first with the counter
    /// asked for, the rest following without a gap. Entries above a truncation issued since are ignored.
    LogRead {
        /// The number that the effect carried.
        id: u64,
        /// The entries.
        entries: Vec<LogEntry>,
    },
    /// Something to replicate. Answered by [`Effect::Proposed`](crate::Effect::Proposed) or
    /// [`Effect::Rejected`](crate::Effect::Rejected).
    Propose {
        /// Chosen by the caller.
        id: u64,
        /// Opaque.
        payload: Bytes,
    },
    /// A linearizable read wants to know how far it must have applied. Answered by
    /// [`Effect::BarrierPassed`](crate::Effect::BarrierPassed) or
    /// [`Effect::BarrierFailed`](crate::Effect::BarrierFailed), only by a leader, within the election time-out.
    Barrier {
        /// Chosen by the caller.
        id: u64,
    },
    /// Send this to the established leader's upper half, if this node follows one.
    RelayToLeader(Bytes),
    /// Send this to the upper half at the other end of a connection, if it is still the same.
    RelayTo {
        /// The connection that a relayed message came by.
        link: LinkId,
        /// Opaque.
        payload: Bytes,
    },
    /// The caller has applied the log through this counter (it drops what is only kept for that).
    Applied {
        /// The counter.
        counter: u64,
    },
}
