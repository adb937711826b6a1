//! Log events of the comparison of states.

use gometa_zab::{Fault, IntegrityNotice, NodeId};
use tracing::{error, warn};

/// Logs what a comparison has found.
pub(super) fn log(notice: IntegrityNotice, name: impl Fn(NodeId) -> String) {
    match notice {
        IntegrityNotice::AtFault { node, fault } => {
            warn!(node = name(node), fault = describe(fault), "node at fault, it is to go into quarantine");
        }
        IntegrityNotice::Waits { node, fault } => warn!(
            node = name(node),
            fault = describe(fault),
            "node at fault, it stays until a majority of the voters is connected without it"
        ),
        IntegrityNotice::StatesDiffer { counter } => error!(
            revision = counter,
            remedy = "stop the ensemble, keep all data directories, and compare them",
            "states differ, and no majority of the voters has the same one"
        ),
        IntegrityNotice::Refused { fault } => {
            warn!(fault = describe(fault), "quarantine refused, this node has no such fault");
        }
    }
}

/// A fault, for people.
pub(crate) fn describe(fault: Fault) -> String {
    match fault {
        Fault::Damaged => "damage in its log or state".to_owned(),
        Fault::Diverged(majority) => format!(
            "its state at revision {} is not that of a majority, whose hash is {:032x}",
            majority.counter, majority.hash
        ),
        Fault::Outdated { acknowledged } => format!(
            "an older copy of its data directory: it had acknowledged revision {acknowledged} to its leader, and came back \
             with less"
        ),
    }
}
