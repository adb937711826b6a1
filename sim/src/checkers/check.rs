//! The common part of all checkers: violations, the macro that returns them, node ids.

use std::fmt;

use gometa_zab::NodeId;

/// A violated invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// The result of a check.
pub type Check = Result<(), Violation>;

/// Returns a violation of an invariant unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $invariant:expr, $($detail:tt)+) => {
        if !$holds {
            return Err($crate::checkers::Violation { invariant: $invariant, detail: format!($($detail)+) });
        }
    };
}
pub(crate) use ensure;

/// The index of the node with this id.
pub(crate) fn node_index(node: NodeId) -> usize {
    (node.0 - 1) as usize
}

/// The id of the node with this index; never zero.
pub fn node_id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}
