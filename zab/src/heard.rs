//! What a node has heard of the members lately, for its status: nothing in the protocol depends on it.

use alloc::collections::BTreeMap;

use crate::types::{Incarnation, NodeId, Ticks, Zxid};

/// The latest messages of the members: a vote, or a Hello.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    /// When each member was last heard with an incarnation; of two incarnations at most.
    pub(crate) members: BTreeMap<NodeId, [Option<(Incarnation, Ticks)>; 2]>,
    /// The last version of a configuration that was later than that of this node.
    pub(crate) later: Option<(Zxid, Ticks)>,
}

impl Heard {
    /// A member was heard.
    pub(crate) fn member(&mut self, node: NodeId, incarnation: Incarnation, now: Ticks) {
        let heard = self.members.entry(node).or_default();
        if heard[0].is_some_and(|(last, _)| last != incarnation) {
            heard[1] = heard[0];
        }
        heard[0] = Some((incarnation, now));
    }

    /// A node with a later configuration was heard.
    pub(crate) fn later(&mut self, version: Zxid, now: Ticks) {
        self.later = Some((version, now));
    }
}
