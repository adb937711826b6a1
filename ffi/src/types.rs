//! Results that are plain structs.

use gometa_client::{Deleted, Written};

/// The result of a write.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct gometa_written_t {
    /// The revision of the write: the key's new mod_revision.
    pub revision: u64,
    /// The number of writes to the key since it was created, this one included.
    pub version: u64,
}

/// The result of a deletion.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct gometa_deleted_t {
    /// The revision of the deletion, 0 if the key did not exist.
    pub revision: u64,
    /// Whether the key existed.
    pub existed: bool,
}

impl From<Written> for gometa_written_t {
    fn from(written: Written) -> gometa_written_t {
        gometa_written_t { revision: written.revision, version: written.version }
    }
}

impl From<Deleted> for gometa_deleted_t {
    fn from(deleted: Deleted) -> gometa_deleted_t {
        gometa_deleted_t { revision: deleted.revision, existed: deleted.existed }
    }
}
