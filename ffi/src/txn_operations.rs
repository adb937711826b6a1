//! The commit of a transaction, in the forms of [`operations`](crate::operations).

use gometa_client::{Error, Operation, Request};

use crate::{
    client::{gometa_client_t, with_client},
    error::gometa_error_t,
    future::{gometa_future_t, take_reply},
    macros::{handle, required},
    operations::{block, start},
    status::gometa_status_t,
    txn::gometa_txn_t,
    txn_result::gometa_txn_result_t,
};

unsafe fn commit(txn: *const gometa_txn_t) -> Result<Request, Error> {
    Ok(Request::Commit(Box::new(handle!(Txn, txn).txn())))
}

/// Executes a transaction, once. Blocks. If it writes in neither branch, it is a read of one revision. That a comparison
/// does not hold is not an error. Free `*result` with gometa_txn_result_free.
///
/// Returns GOMETA_INVALID_ARGUMENT for an empty key, a key that a branch writes twice, a range to read that has a
/// revision or read options, or stands between two writes to its keys, a range to compare or to delete that has more
/// than a prefix, a start and an end, and a range to delete without any of these, or with keys that the branch writes
/// otherwise.
/// Returns GOMETA_TOO_LARGE for more than 128 comparisons, more than 128 operations in a branch, more than 1,052,800
/// bytes encoded, or if the keys that it compares or may write have more than 8 MiB of values together. Likewise if the
/// ranges that it compares, or those that it may delete, have more than 8 MiB of records, if the branch would change
/// more than 1,000 keys, or delete ranges whose keys have more than 1 MiB.
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED, GOMETA_SESSION_EXPIRED and GOMETA_CLOSED like
/// gometa_client_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_commit(
    client: *const gometa_client_t,
    txn: *const gometa_txn_t,
    result: *mut *mut gometa_txn_result_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Txn, client, error, commit(txn), Transacted => new result)
}

/// Starts gometa_client_commit. Read the result with gometa_future_txn_result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_commit_async(
    client: *const gometa_client_t,
    txn: *const gometa_txn_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Txn, client, future, error, commit(txn))
}
