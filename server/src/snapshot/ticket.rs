//! Clients' requests for backups, and what the node knows of a checkpoint.

use bytes::Bytes;
use gometa_node::{BackupRequest, ClientId, Node, membership};
use gometa_proto::v1;
use gometa_store::{Checkpoint, Table};
use gometa_zab::Zxid;

/// A request of a client for a backup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) client: ClientId,
    /// The id of the request.
    pub(crate) id: u64,
    pub(crate) request: BackupRequest,
}

impl Ticket {
    /// The lowest revision that the backup may have.
    pub(super) fn min_revision(&self) -> u64 {
        match self.request {
            BackupRequest::Begin { min_revision } => min_revision,
            BackupRequest::Read { .. } => 0,
        }
    }
}

/// What the node knows of a checkpoint, and the checkpoint does not.
pub(crate) struct Labels {
    /// The last entry that is applied in it.
    pub(super) zxid: Zxid,
    pub(super) ensemble: v1::EnsembleRef,
    /// The members, if the state records none.
    pub(super) members: Vec<v1::MemberRecord>,
    /// This node.
    pub(super) node: u64,
}

impl Labels {
    /// `None` if the node's log begins above the checkpoint by now.
    pub(crate) fn of<T: Table>(node: &Node<T>, checkpoint: &Checkpoint) -> Option<Labels> {
        let (zxid, ensemble) = (node.snapshot_zxid(checkpoint)?, node.ensemble()?);
        let id = Bytes::copy_from_slice(&ensemble.id.to_be_bytes());
        Some(Labels {
            zxid,
            ensemble: v1::EnsembleRef { id, history: ensemble.history },
            members: membership(node.configuration(), u64::MAX).members,
            node: node.id().0,
        })
    }
}
