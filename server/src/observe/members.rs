//! Log lines of changes of the members and of transfers of the leadership (docs/protocol.md 5 and 6.10).

use gometa_zab::{Change, ChangeRejection, NodeId, Notice, Refused, TransferRejection};
use tracing::{info, warn};

/// Logs a notice of a change or of a transfer; `name` returns the name of a node.
pub(super) fn log(notice: &Notice, name: impl Fn(NodeId) -> String) {
    match notice {
        Notice::ChangeProposed { change, version } => {
            let (change, node) = described(change);
            info!(change, peer = name(node), revision = version.counter, "change of the members proposed");
        }
        Notice::ChangeRejected { change, why } => {
            let ((change, node), reason) = (described(change), rejection(why, &name));
            info!(change, peer = name(node), reason, "change of the members rejected");
        }
        Notice::ChangeWaits { change, why } => {
            let ((change, node), reason) = (described(change), rejection(why, &name));
            warn!(change, peer = name(node), reason, "change of the members waits");
        }
        Notice::TransferRejected { to, why } => {
            let reason = match why {
                TransferRejection::NotLeader => "this node does not lead",
                TransferRejection::UnderWay => "a transfer to another node is under way",
                TransferRejection::NoTarget => {
                    "no such voter is up to date, with disk space and without a fault"
                }
            };
            info!(to = to.map(name), reason, "transfer of the leadership rejected");
        }
        Notice::TransferBegun { to, why } => {
            info!(to = to.map(name), reason = why, "transfer of the leadership begun");
        }
        Notice::TransferTakenBack { why } => {
            info!(reason = why, "transfer of the leadership taken back");
        }
        Notice::HandedOver { epoch, target, last } => {
            let (to, revision) = (name(*target), last.counter);
            info!(to, epoch = epoch.0, revision, "leadership handed over");
        }
        Notice::Handoff { epoch, target } => {
            info!(to = name(*target), epoch = epoch.0, "the leader hands over");
        }
        _ => {}
    }
}

/// What a change does, and its member.
fn described(change: &Change) -> (&'static str, NodeId) {
    match change {
        Change::AddLearner(learner) => ("add a learner", learner.node),
        Change::ReplaceIncarnation { node, .. } => ("record the new data directory of a learner", *node),
        Change::RemoveLearner(node) => ("remove a learner", *node),
        Change::Promote(node) => ("make a learner a voter", *node),
        Change::RemoveVoter(node) => ("remove a voter", *node),
        Change::Exchange { node, .. } => ("make a voter with a new data directory a learner", *node),
        Change::SetAddresses { node, .. } => ("set the addresses of a member", *node),
        Change::SetDesiredRole { node, .. } => ("set the desired role of a learner", *node),
    }
}

/// Why a change is not proposed.
fn rejection(why: &ChangeRejection, name: impl Fn(NodeId) -> String) -> String {
    match why {
        ChangeRejection::NotLeader => "this node does not lead".to_owned(),
        ChangeRejection::Pending(version) => {
            format!("the change at revision {} is not committed", version.counter)
        }
        ChangeRejection::Impossible(refused) => match refused {
            Refused::Member => "it is a member already",
            Refused::NotALearner => "it is not a learner",
            Refused::NotAVoter => "it is not a voter, or not a member",
            Refused::SameIncarnation => "this data directory is recorded already",
            Refused::LastVoter => "the last voter cannot be removed",
            Refused::TooMany => "there are too many members",
        }
        .to_owned(),
        ChangeRejection::Transferring => "the leadership is being handed over".to_owned(),
        ChangeRejection::OwnVote => "it would take the vote of the leader away".to_owned(),
        ChangeRejection::LearnerBehind(entries) => {
            format!("the learner is not connected, not up to date, or {entries} entries behind")
        }
        ChangeRejection::NoQuorum(missing) => {
            let missing: Vec<String> = missing.iter().map(|node| name(*node)).collect();
            format!("of the voters after it no majority would be up to date: {} missing", missing.join(", "))
        }
    }
}
