//! What a leader has begun besides replication: a transfer of its leadership, and changes that it proposes by itself.

use alloc::collections::BTreeMap;

use crate::types::{NodeId, Ticks};

/// A transfer under way: proposals wait until the target has the whole log (protocol.md 6.10).
#[derive(Clone, Hash)]
pub(crate) struct Transfer {
    /// The requested target; `None` for the best one.
    pub(crate) to: Option<NodeId>,
    /// The reason, as a fixed phrase.
    pub(crate) why: &'static str,
    pub(crate) began: Ticks,
}

/// What a leader remembers of the changes that it proposes by itself (protocol.md 5.8).
#[derive(Clone, Hash, Default)]
pub(crate) struct OwnChanges {
    /// The nodes of which it has recorded another incarnation, and when.
    pub(crate) recorded: BTreeMap<NodeId, Ticks>,
    /// The nodes of which it has recorded other addresses, and when.
    pub(crate) addressed: BTreeMap<NodeId, Ticks>,
    /// The time from which on it looks for the next one. Not that of the next Alive, which each report of a slow disk
    /// puts off.
    pub(crate) next: Ticks,
    /// The time of the last notice of what a change waits for.
    pub(crate) noticed: Option<Ticks>,
}
