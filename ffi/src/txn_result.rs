//! The result of a committed transaction.

use gometa_client::{Error, ErrorKind, OpResult, Operation, Transacted};

use crate::{
    entry::gometa_entry_t,
    error::gometa_error_t,
    macros::{free, optional, read},
    page::gometa_page_t,
    types::{gometa_deleted_range_t, gometa_deleted_t, gometa_written_t},
};

/// The result of a committed transaction, and of each operation of the executed branch, in their order. Free with
/// gometa_txn_result_free.
pub struct gometa_txn_result_t {
    succeeded: bool,
    revision: u64,
    results: Vec<OperationResult>,
}

/// What the result of an operation of a transaction is.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_result_kind_t {
    /// There is no such operation: the index is out of range.
    GOMETA_RESULT_NONE = 0,
    /// Of a set: gometa_txn_result_written.
    GOMETA_RESULT_WRITTEN = 1,
    /// Of a delete: gometa_txn_result_deleted.
    GOMETA_RESULT_DELETED = 2,
    /// Of a get: gometa_txn_result_entry.
    GOMETA_RESULT_ENTRY = 3,
    /// Of a get of a key that did not exist.
    GOMETA_RESULT_ABSENT = 4,
    /// Of a range: gometa_txn_result_page.
    GOMETA_RESULT_PAGE = 5,
    /// The operation was executed, but its result was left out of the response: gometa_txn_result_error.
    GOMETA_RESULT_ERROR = 6,
    /// Of the deletion of a range: gometa_txn_result_deleted_range.
    GOMETA_RESULT_DELETED_RANGE = 7,
}

enum OperationResult {
    Written(gometa_written_t),
    Deleted(gometa_deleted_t),
    Entry(gometa_entry_t),
    Absent,
    Page(gometa_page_t),
    DeletedRange(gometa_deleted_range_t),
    Error(gometa_error_t),
}

impl From<Box<Transacted>> for gometa_txn_result_t {
    fn from(transacted: Box<Transacted>) -> gometa_txn_result_t {
        let results = transacted.results.into_iter().map(OperationResult::from).collect();
        gometa_txn_result_t { succeeded: transacted.succeeded, revision: transacted.revision, results }
    }
}

impl From<OpResult> for OperationResult {
    fn from(result: OpResult) -> OperationResult {
        match result {
            OpResult::Written(written) => OperationResult::Written(written.into()),
            OpResult::Deleted(deleted) => OperationResult::Deleted(deleted.into()),
            OpResult::Entry(Some(entry)) => OperationResult::Entry(entry.into()),
            OpResult::Entry(None) => OperationResult::Absent,
            OpResult::Page(page) => OperationResult::Page(Box::new(page).into()),
            OpResult::DeletedRange(deleted) => OperationResult::DeletedRange(deleted.into()),
            OpResult::Left(error) => OperationResult::Error(error.into()),
            other => {
                let message = format!("the library does not know the result {other:?}");
                OperationResult::Error(Error::new(ErrorKind::Internal, Operation::Txn, message).into())
            }
        }
    }
}

impl OperationResult {
    fn kind(&self) -> gometa_result_kind_t {
        match self {
            OperationResult::Written(_) => gometa_result_kind_t::GOMETA_RESULT_WRITTEN,
            OperationResult::Deleted(_) => gometa_result_kind_t::GOMETA_RESULT_DELETED,
            OperationResult::Entry(_) => gometa_result_kind_t::GOMETA_RESULT_ENTRY,
            OperationResult::Absent => gometa_result_kind_t::GOMETA_RESULT_ABSENT,
            OperationResult::Page(_) => gometa_result_kind_t::GOMETA_RESULT_PAGE,
            OperationResult::DeletedRange(_) => gometa_result_kind_t::GOMETA_RESULT_DELETED_RANGE,
            OperationResult::Error(_) => gometa_result_kind_t::GOMETA_RESULT_ERROR,
        }
    }
}

/// The content of the result of an operation, `None` if the result is another one or does not exist.
macro_rules! content {
    ($result:ident, $index:ident, $kind:ident) => {
        match read!($result, None, |result| result.results.get($index)) {
            Some(OperationResult::$kind(content)) => Some(content),
            _ => None,
        }
    };
}

/// Returns whether every comparison held, so that GOMETA_THEN was executed; else GOMETA_OTHERWISE was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_succeeded(result: *const gometa_txn_result_t) -> bool {
    read!(result, false, |result| result.succeeded)
}

/// Returns the revision at which the transaction was executed; if it writes in neither branch, the one that was read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_revision(result: *const gometa_txn_result_t) -> u64 {
    read!(result, 0, |result| result.revision)
}

/// Returns the number of operations that were executed, each of which has a result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_count(result: *const gometa_txn_result_t) -> usize {
    read!(result, 0, |result| result.results.len())
}

/// Returns what the result of an operation is, by index, in the order of the branch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_kind(
    result: *const gometa_txn_result_t,
    index: usize,
) -> gometa_result_kind_t {
    let found = read!(result, None, |result| result.results.get(index));
    found.map_or(gometa_result_kind_t::GOMETA_RESULT_NONE, OperationResult::kind)
}

/// Writes the result of a set to `*written`, which may be NULL. Returns whether there is one: else it is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_written(
    result: *const gometa_txn_result_t,
    index: usize,
    written: *mut gometa_written_t,
) -> bool {
    let output = optional!(written);
    content!(result, index, Written).map(|content| output.put(*content)).is_some()
}

/// Writes the result of a delete to `*deleted`, which may be NULL. Returns whether there is one: else it is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_deleted(
    result: *const gometa_txn_result_t,
    index: usize,
    deleted: *mut gometa_deleted_t,
) -> bool {
    let output = optional!(deleted);
    content!(result, index, Deleted).map(|content| output.put(*content)).is_some()
}

/// Writes the result of the deletion of a range to `*deleted`, which may be NULL. Returns whether there is one: else it
/// is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_deleted_range(
    result: *const gometa_txn_result_t,
    index: usize,
    deleted: *mut gometa_deleted_range_t,
) -> bool {
    let output = optional!(deleted);
    content!(result, index, DeletedRange).map(|content| output.put(*content)).is_some()
}

/// Returns the entry that a get has read. Valid as long as the result: do not free it. NULL if the key did not exist,
/// and if it is another result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_entry(
    result: *const gometa_txn_result_t,
    index: usize,
) -> *const gometa_entry_t {
    content!(result, index, Entry).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Returns the page that a range has read. Valid as long as the result: do not free it. NULL if it is another result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_page(
    result: *const gometa_txn_result_t,
    index: usize,
) -> *const gometa_page_t {
    content!(result, index, Page).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Returns why a result was left out. Valid as long as the result: do not free it. NULL if it is another result.
///
/// GOMETA_TOO_LARGE: the response is full; read the rest at the revision of gometa_error_actual_revision.
/// GOMETA_COMPACTED: the ensemble's history begins after the transaction by now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_error(
    result: *const gometa_txn_result_t,
    index: usize,
) -> *const gometa_error_t {
    content!(result, index, Error).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Frees a result, with its entries, pages and errors. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_result_free(result: *mut gometa_txn_result_t) {
    free!(result);
}
