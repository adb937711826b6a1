//! Descriptions, for people, of a change of the members that is not made yet, and of a quorum that is lost.

use std::fmt;

use gometa_zab::{Change, ChangeRejection, Configuration, NodeId, PendingChange, Replacement, WaitsFor};

use crate::members::describe_rejection;

/// A change of the members that is not made yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// The change, in one line.
    pub change: String,
    /// What it waits for, in one line.
    pub waits_for: String,
    /// Whether [`Notice::ChangeWaits`](gometa_zab::Notice::ChangeWaits) reports it, too.
    pub is_noticed: bool,
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.change, self.waits_for)
    }
}

/// Describes a pending change. `name` returns how people know a node.
pub(crate) fn describe(pending: &PendingChange, name: impl Fn(NodeId) -> String) -> Pending {
    let names = |nodes: &[NodeId]| nodes.iter().map(|node| name(*node)).collect::<Vec<_>>().join(", ");
    match pending {
        PendingChange::Logged { before, after, waits_for } => {
            let why = match waits_for {
                WaitsFor::Acknowledgements(nodes) if nodes.is_empty() => {
                    "acknowledged by all voters".to_owned()
                }
                WaitsFor::Acknowledgements(nodes) => format!("not acknowledged by {}", names(nodes)),
                WaitsFor::Leader(leader) => format!("see the status of the leader, {}", name(*leader)),
                WaitsFor::Voters(nodes) if nodes.is_empty() => "there is no leader".to_owned(),
                WaitsFor::Voters(nodes) => format!("there is no leader, and no vote from {}", names(nodes)),
            };
            let (difference, version) = (describe_difference(before, after, &name), after.version());
            let needed = after.voters().len() / 2 + 1;
            let voters = after.voters().len();
            Pending {
                change: format!("{difference}, version {version}"),
                waits_for: format!(
                    "in the log, not known to be committed, which needs {needed} of {voters} voters; {why}"
                ),
                is_noticed: false,
            }
        }
        PendingChange::Waits { change, why } => {
            let (what, node) = describe_change(change);
            Pending {
                change: node.map_or_else(|| what.to_owned(), |node| format!("{what}, {}", name(node))),
                waits_for: describe_rejection(why, &name),
                is_noticed: !matches!(why, ChangeRejection::LearnerBehind(_)),
            }
        }
    }
}

/// What a change does, and the member that it is about.
pub fn describe_change(change: &Change) -> (&'static str, Option<NodeId>) {
    let (what, node) = match change {
        Change::RaiseLevel(_) => return ("raise the feature level", None),
        Change::AddLearner(learner) => ("add a learner", learner.node),
        Change::ReplaceIncarnation { node, .. } => ("record the new data directory of a learner", *node),
        Change::RemoveLearner(node) => ("remove a learner", *node),
        Change::Promote(node) => ("make a learner a voter", *node),
        Change::RemoveVoter(node) => ("remove a voter", *node),
        Change::Exchange { node, .. } => ("make a voter with a new data directory a learner", *node),
        Change::SetAddresses { node, .. } => ("set the addresses of a member", *node),
        Change::SetDesiredRole { node, .. } => ("set the desired role of a learner", *node),
        Change::Replace(replacement) => ("replace another member", replacement.new),
        Change::CancelReplacement(node) => ("cancel the replacement of another member", *node),
    };
    (what, Some(node))
}

/// What one change has made of a configuration.
fn describe_difference(
    before: &Configuration,
    after: &Configuration,
    name: impl Fn(NodeId) -> String,
) -> String {
    if before.level() != after.level() {
        return format!("raise the feature level from {} to {}", before.level(), after.level());
    }
    let only_in = |one: &Configuration, other: &Configuration| {
        one.replacements().iter().find(|it| !other.replacements().contains(it)).copied()
    };
    if let Some(Replacement { old, new }) = only_in(after, before) {
        return format!("replace a member, {} by {}", name(old), name(new));
    }
    if let Some(Replacement { old, new }) =
        only_in(before, after).filter(|it| after.contains(it.old) && after.contains(it.new))
    {
        return format!("cancel a replacement, {} by {}", name(old), name(new));
    }
    for member in before.members().iter().chain(&after.members()) {
        let node = member.node;
        let roles = |configuration: &Configuration| {
            (configuration.contains(node), configuration.learner(node).is_some())
        };
        let of = |configuration: &Configuration| {
            configuration.members().into_iter().find(|member| member.node == node)
        };
        let change = match (roles(before), roles(after)) {
            ((false, _), (true, _)) => "add a learner",
            ((true, true), (false, _)) => "remove a learner",
            ((true, false), (false, _)) => "remove a voter",
            ((true, true), (true, false)) => "make a learner a voter",
            ((true, false), (true, true)) => "make a voter with a new data directory a learner",
            _ if of(before) == of(after) && before.learner(node) == after.learner(node) => continue,
            _ if of(before) == of(after) => "set the desired role of a learner",
            _ => "record a member anew",
        };
        let address = match of(after) {
            Some(member) if !member.addresses.message.is_empty() => member.addresses.message,
            _ => name(node),
        };
        return format!("{change}, {address}");
    }
    "no change".to_owned()
}

/// Describes that so many data directories are lost that the others are no quorum, and what to do. `lost` has the names of
/// the voters that are up with other data directories than the recorded ones; `absent` is the number of those that were
/// never there.
pub fn describe_lost_quorum(lost: &[String], absent: usize, voters: usize) -> String {
    let absent = match absent {
        0 => String::new(),
        absent => format!(", {absent} were absent from the formation"),
    };
    format!(
        "{} of {voters} voters have lost their data directories ({}){absent}: the others are no majority, so they cannot \
         know what was acknowledged, and no leader can be elected; keep all directories, and recover from the loss of the \
         quorum, see docs/recovery.md",
        lost.len(),
        lost.join(", ")
    )
}
