//! What a leader remembers between two comparisons of the nodes' states (protocol.md 5.10).

use alloc::boxed::Box;

use crate::{
    integrity::Fault,
    types::{Incarnation, LinkId, NodeId, Ticks},
};

/// A node that the leader has told to go into quarantine.
#[derive(Clone, Hash)]
pub(crate) struct Ordered {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) link: LinkId,
    pub(crate) at: Ticks,
    pub(crate) fault: Fault,
    /// The id of the last heartbeat that was sent before the order. A node that obeys acknowledges no later heartbeat.
    pub(crate) heartbeat: u64,
}

/// The comparison of the states of a leader and its followers.
#[derive(Clone, Hash)]
pub(crate) struct Comparison {
    /// The time of the next comparison.
    pub(crate) next: Ticks,
    /// The node that goes into quarantine, until it is back.
    pub(crate) ordered: Option<Box<Ordered>>,
    /// The time of the last notice at a limited rate.
    pub(crate) noticed: Option<Ticks>,
}

impl Comparison {
    pub(crate) fn new(now: Ticks) -> Comparison {
        Comparison { next: now, ordered: None, noticed: None }
    }
}
