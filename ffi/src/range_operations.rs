//! The operations on ranges of keys, in the forms of [`operations`](crate::operations).

use std::ffi::c_void;

use gometa_client::{Error, Operation, Request};

use crate::{
    client::{gometa_client_t, with_client},
    error::gometa_error_t,
    future::{gometa_future_t, take_reply},
    macros::{bytes, handle, optional, required},
    operations::{block, start},
    page::gometa_page_t,
    range::gometa_range_t,
    status::gometa_status_t,
};

unsafe fn first_page(range: *const gometa_range_t) -> Result<Request, Error> {
    Ok(Request::Range(Box::new(handle!(Range, range).range())))
}

/// Reads the first page of a range: at most 1,000 entries and 1 MiB. Blocks. Free `*page` with gometa_page_free.
/// gometa_client_scan reads all pages.
///
/// Returns GOMETA_INVALID_ARGUMENT if the start is above the end, or the revision is in the future; a GOMETA_LOCAL read
/// waits for the revision until the timeout.
/// Returns GOMETA_TOO_LARGE if the prefix, the start, the end or the delimiter exceeds its limit.
/// Returns GOMETA_COMPACTED if the revision is older than the ensemble's history; gometa_error_actual_revision returns
/// the oldest one that can be read.
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_range(
    client: *const gometa_client_t,
    range: *const gometa_range_t,
    page: *mut *mut gometa_page_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Range, client, error, first_page(range), Page => new page)
}

/// Starts gometa_client_range. Read the result with gometa_future_page.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_range_async(
    client: *const gometa_client_t,
    range: *const gometa_range_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Range, client, future, error, first_page(range))
}

unsafe fn number(range: *const gometa_range_t) -> Result<Request, Error> {
    Ok(Request::Count(Box::new(handle!(Range, range).range())))
}

/// Counts the keys of a range at one revision, at most its limit; with a delimiter, each group once. Blocks. `count` may
/// be NULL. A large range takes several requests, each with the client's timeout.
///
/// Returns the errors of gometa_client_range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_count(
    client: *const gometa_client_t,
    range: *const gometa_range_t,
    count: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Range, client, error, number(range), Count => count)
}

/// Starts gometa_client_count. Read the result with gometa_future_count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_count_async(
    client: *const gometa_client_t,
    range: *const gometa_range_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Range, client, future, error, number(range))
}

unsafe fn deletion(prefix: *const c_void, prefix_len: usize) -> Result<Request, Error> {
    Ok(Request::DeletePrefix { prefix: bytes!(Delete, prefix, prefix_len) })
}

/// Deletes the keys that begin with `prefix`, all keys if it is empty. NOT ATOMIC: it deletes one key after the other,
/// and keys that are created meanwhile may be left. Blocks. `count`, the number of deleted keys, may be NULL. The
/// client's timeout is that of each request.
///
/// Returns the errors of gometa_client_range and gometa_client_delete. After an error, keys that were deleted before
/// stay deleted; gometa_error_outcome returns GOMETA_OUTCOME_UNKNOWN once a deletion has begun. The same call again is
/// safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete_prefix(
    client: *const gometa_client_t,
    prefix: *const c_void,
    prefix_len: usize,
    count: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Delete, client, error, deletion(prefix, prefix_len), Count => count)
}

/// Starts gometa_client_delete_prefix. Read the result with gometa_future_count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete_prefix_async(
    client: *const gometa_client_t,
    prefix: *const c_void,
    prefix_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Delete, client, future, error, deletion(prefix, prefix_len))
}
