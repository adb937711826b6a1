//! Log lines of changes of the members and of transfers of the leadership (docs/protocol.md 5 and 6.10).

use gometa_node::{describe_change, describe_rejection, describe_transfer_rejection};
use gometa_zab::{Change, Configuration, DesiredRole, NodeId, Notice, Replacement};
use tracing::{info, warn};

/// Logs a notice of a change or of a transfer; `name` returns the name of a node.
pub(super) fn log(notice: &Notice, name: impl Fn(NodeId) -> String) {
    match notice {
        Notice::ChangeProposed { change, version } => {
            let peer = match change {
                Change::AddLearner(learner) => learner.addresses.message.clone(),
                change => describe_change(change).1.map(&name).unwrap_or_default(),
            };
            let (change, _) = describe_change(change);
            info!(change, peer, revision = version.counter, "change of the members proposed");
        }
        Notice::ChangeWaits { change, why } => {
            let ((change, node), reason) = (describe_change(change), describe_rejection(why, &name));
            warn!(change, peer = node.map(name).unwrap_or_default(), reason, "change of the members waits");
        }
        Notice::TransferRejected { to, why } => {
            let reason = describe_transfer_rejection(*why);
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

/// Logs a change of the members that takes effect on this node, an event for each member that it is about. `asked_by` is the
/// node that received the request, whose log has the client's address; the leader needs no request for some changes.
pub(crate) fn log_change(before: &Configuration, after: &Configuration, name: impl Fn(NodeId) -> String) {
    let revision = after.version().counter;
    let (voters, learners) = (after.voters().len(), after.learners().len());
    let asked_by = after.asked_by().map_or_else(|| "the leader".to_owned(), &name);
    let role = |configuration: &Configuration, node: NodeId| {
        if configuration.learner(node).is_some() {
            "a learner"
        } else if configuration.contains(node) {
            "a voter"
        } else {
            "no member"
        }
    };
    let nodes = before.members().into_iter().chain(after.members()).map(|member| member.node);
    let nodes: std::collections::BTreeSet<NodeId> = nodes.collect();
    for node in nodes {
        let (was, is) = (role(before, node), role(after, node));
        let member = |configuration: &Configuration| {
            configuration.members().into_iter().find(|member| member.node == node)
        };
        let (old, new) = (member(before), member(after));
        let peer = new.as_ref().map_or_else(|| name(node), |member| member.addresses.message.clone());
        if was != is {
            info!(peer, from = was, to = is, asked_by, revision, voters, learners, "members changed");
        } else if let (Some(old), Some(new)) = (&old, &new) {
            if old.addresses != new.addresses {
                let from = &old.addresses.message;
                info!(peer, from, revision, "member has moved");
            }
            if old.incarnation != new.incarnation {
                info!(peer, revision, "new data directory of a member recorded");
            }
        }
        let desired =
            |configuration: &Configuration| configuration.learner(node).map(|learner| learner.desired);
        if let (Some(old), Some(new)) = (desired(before), desired(after))
            && old != new
        {
            let to = if new == DesiredRole::Voter { "a voter" } else { "a learner" };
            info!(peer = name(node), to, asked_by, revision, "desired role of a learner set");
        }
    }
    for Replacement { old, new } in
        after.replacements().iter().filter(|it| !before.replacements().contains(it))
    {
        info!(
            peer = name(*new),
            of = name(*old),
            asked_by,
            revision,
            "member is to take the place of another one"
        );
    }
    let still = |it: &&Replacement| after.contains(it.old) && after.contains(it.new);
    let cancelled = before.replacements().iter().filter(|it| !after.replacements().contains(it));
    for Replacement { old, new } in cancelled.filter(still) {
        info!(peer = name(*new), of = name(*old), asked_by, revision, "replacement of a member cancelled");
    }
}
