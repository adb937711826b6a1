//! Disk space: the commands that the leader refuses to propose.

use bytes::Bytes;
use gometa_proto::{
    ErrorKind, Outcome,
    v1::{Error, command, request::Operation},
};
use gometa_store::{Table, decode_command};
use gometa_zab::{DiskSpace, NodeId};

use super::Node;

/// How long a client should wait before it tries a refused write again, in milliseconds. A node looks at its disk about
/// as often.
const RETRY_AFTER_MS: u32 = 500;

/// Why a command is not proposed: the disk of this node is short of space.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortOfSpace {
    pub(super) node: NodeId,
    /// Whether deletes are refused too.
    pub(super) critical: bool,
}

impl<T: Table> Node<T> {
    /// Why this node does not propose a command, if it leads and the disks have no space for it. Decided before it is
    /// proposed: what is in the log is applied everywhere.
    pub(super) fn short_of_space(&self, payload: &Bytes) -> Option<ShortOfSpace> {
        let (space, node) = self.zab.writable();
        let refused = match space {
            DiskSpace::Ample => false,
            DiskSpace::Low => !frees_space(payload),
            DiskSpace::Critical => true,
        };
        probe!("space.write-refused", refused);
        probe!("space.delete-proposed", space == DiskSpace::Low && !refused);
        refused.then_some(ShortOfSpace { node, critical: space == DiskSpace::Critical })
    }

    /// Whether the leader proposes nothing at all.
    pub(super) fn proposes_nothing(&self) -> bool {
        self.zab.writable().0 == DiskSpace::Critical
    }

    /// The error for a client whose write was refused for this reason.
    pub(super) fn short_of_space_error(&self, short: ShortOfSpace, outcome: Outcome) -> Error {
        let ShortOfSpace { node, critical } = short;
        let voter = self.zab.configuration().voters().iter().find(|voter| voter.node == node);
        let name =
            voter.map_or_else(|| format!("node {node}"), |voter| self.sources().message_address(voter));
        let remedy = if critical {
            "free some space there; deletes are accepted again when there is a little more"
        } else {
            "free some space there, or delete keys"
        };
        let message =
            format!("the disk of {name} is nearly full, so the ensemble accepts no such write: {remedy}");
        Error::new(ErrorKind::ResourceExhausted, message, outcome).with_retry_after_ms(RETRY_AFTER_MS)
    }
}

/// Whether a command frees space, or is needed by a client that frees some: deletes, transactions that only delete,
/// settings, which may shorten the history, and the opening and ending of sessions.
fn frees_space(payload: &Bytes) -> bool {
    match decode_command(payload.clone()).ok().and_then(|command| command.body) {
        Some(
            command::Body::CreateSession(_) | command::Body::EndSessions(_) | command::Body::RaiseHorizon(_),
        ) => true,
        Some(command::Body::Write(request)) => match request.operation {
            Some(Operation::Delete(_) | Operation::SetSetting(_)) => true,
            Some(Operation::Txn(txn)) => txn.frees_space(),
            _ => false,
        },
        None => false,
    }
}
