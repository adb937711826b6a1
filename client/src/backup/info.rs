//! The description of a backup.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gometa_proto::v1;

use crate::{membership::MemberRecord, types::EnsembleId};

/// The description of a backup: what it contains, and where and when it was made.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BackupInfo {
    pub(super) manifest: v1::BackupManifest,
}

impl BackupInfo {
    /// The id of the backup, random.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.manifest.id
    }

    /// The ensemble and its history.
    #[must_use]
    pub fn ensemble(&self) -> EnsembleId {
        let v1::EnsembleRef { id, history } = self.manifest.ensemble.clone().unwrap_or_default();
        EnsembleId { id, history }
    }

    /// The revision at which all keys and their history are.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.manifest.revision
    }

    /// The epoch of the last transaction.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.manifest.epoch
    }

    /// The oldest revision of which the history is complete.
    #[must_use]
    pub fn oldest_revision(&self) -> u64 {
        self.manifest.oldest_revision
    }

    /// The state hash at the revision, 16 bytes, as nodes report it.
    #[must_use]
    pub fn state_hash(&self) -> &Bytes {
        &self.manifest.hash
    }

    /// The number of keys.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.manifest.keys
    }

    /// The number of sessions, which end when the backup is restored.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.manifest.sessions
    }

    /// The version of the encoding of the records.
    #[must_use]
    pub fn format(&self) -> u32 {
        self.manifest.format
    }

    /// The feature level that a node needs to read the records.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.manifest.level
    }

    /// The members at the revision. A restored ensemble has others.
    #[must_use]
    pub fn members(&self) -> Vec<MemberRecord> {
        self.manifest.members.iter().cloned().map(MemberRecord::from_wire).collect()
    }

    /// The id of the node that has made it.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.manifest.node
    }

    /// The version of that node's program.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// The time at which it was begun, by the clock of that node.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.manifest.created_unix_ms.min(1 << 50))
    }

    /// The length of the backup in bytes. A file is a little longer.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.manifest.length
    }
}
