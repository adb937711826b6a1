//! A request of a client for a backup.

use gometa_node::{BackupRequest, ClientId};

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
