//! What a node has heard of the members lately, for its status and its reports: only the reports of second
//! processes depend on it.

use alloc::collections::BTreeMap;

use crate::types::{Incarnation, NodeId, Ticks, Zxid};

/// The latest messages of the members: a vote, or a Hello.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    /// When each member was last heard with an incarnation; of two incarnations at most.
    pub(crate) members: BTreeMap<NodeId, [Option<(Incarnation, Ticks)>; 2]>,
    /// The last version of a configuration that was later than that of this node.
    pub(crate) later: Option<(Zxid, Ticks)>,
    /// The latest start of each member's data directory that has greeted: its boot count, and when it did so first.
    starts: BTreeMap<NodeId, (Incarnation, u64, Ticks)>,
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

    /// A member has greeted.
    pub(crate) fn start(&mut self, (node, incarnation): (NodeId, Incarnation), boot: u64, now: Ticks) {
        match self.starts.get(&node) {
            Some((of, latest, _)) if *of == incarnation && *latest >= boot => {}
            _ => drop(self.starts.insert(node, (incarnation, boot, now))),
        }
    }

    /// When the latest start of a member's data directory has greeted first.
    pub(crate) fn latest_start(&self, node: NodeId, incarnation: Incarnation) -> Option<Ticks> {
        self.starts.get(&node).filter(|(of, ..)| *of == incarnation).map(|(.., at)| *at)
    }

    /// A node with a later configuration was heard.
    pub(crate) fn later(&mut self, version: Zxid, now: Ticks) {
        self.later = Some((version, now));
    }
}
