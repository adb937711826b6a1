//! Results that are plain structs.

use gometa_client::{Deleted, DeletedRange, Written};

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

/// The result of the deletion of a range in a transaction.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct gometa_deleted_range_t {
    /// The revision of the deletion, 0 if there was no key.
    pub revision: u64,
    /// The number of deleted keys.
    pub count: u64,
}

impl From<DeletedRange> for gometa_deleted_range_t {
    fn from(deleted: DeletedRange) -> gometa_deleted_range_t {
        gometa_deleted_range_t { revision: deleted.revision, count: deleted.count }
    }
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
