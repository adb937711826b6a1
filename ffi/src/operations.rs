//! The operations of a client: for each one function that builds its request, one that blocks, and one that returns a
//! future.
//!
//! The functions that build requests are unsafe for the reason that the module [`macros`](crate::macros) gives.

use std::ffi::{c_char, c_void};

use gometa_client::{Arguments, Error, Operation, Request};

use crate::{
    client::{gometa_client_t, with_client},
    entry::gometa_entry_t,
    error::gometa_error_t,
    future::{gometa_future_t, take_reply},
    macros::{bytes, optional, required, text},
    members::gometa_members_t,
    node_status::gometa_node_status_t,
    read_options::gometa_read_options_t,
    status::gometa_status_t,
    types::{gometa_deleted_t, gometa_written_t},
};

/// The body of a function that blocks: makes a call and writes the result to `$output`, which may be NULL unless it
/// receives a `new` object.
macro_rules! block {
    ($operation:ident, $client:ident, $error:ident, $request:ident($($argument:ident),*), $reply:ident => $output:ident) => {
        block!(@ $operation, $client, $error, $request($($argument),*), $reply => optional!($output), put)
    };
    ($operation:ident, $client:ident, $error:ident, $request:ident($($argument:ident),*), $reply:ident => new $output:ident) => {
        block!(@ $operation, $client, $error, $request($($argument),*), $reply => required!($operation, $output), give)
    };
    (@ $operation:ident, $client:ident, $error:ident, $request:ident($($argument:ident),*), $reply:ident => $output:expr, $write:ident) => {
        with_client!($operation, $client, $error, |client: &gometa_client_t| {
            let output = $output;
            // SAFETY: NULL or valid pointers; see the module `macros`.
            let request = unsafe { $request($($argument),*) }?;
            take_reply!(Operation::$operation, client.call(request)?, $reply => output.$write)
        })
    };
}

/// The body of a function that starts a call and returns its future.
macro_rules! start {
    ($operation:ident, $client:ident, $future:ident, $error:ident, $request:ident($($argument:ident),*)) => {
        with_client!($operation, $client, $error, |client: &gometa_client_t| {
            let output = required!($operation, $future);
            // SAFETY: NULL or valid pointers; see the module `macros`.
            let request = unsafe { $request($($argument),*) }?;
            output.give(client.start(request)?);
            Ok(())
        })
    };
}

pub(crate) use {block, start};

/// The request of a write.
macro_rules! write {
    ($operation:ident, $($name:ident: $argument:expr),*) => {{
        #[allow(clippy::needless_update, reason = "an operation may have all arguments")]
        let arguments = Arguments { $($name: $argument,)* ..Arguments::default() };
        Ok(Request::write(Operation::$operation, arguments))
    }};
}

unsafe fn add(
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
) -> Result<Request, Error> {
    write!(Add, key: bytes!(Add, key, key_len), value: bytes!(Add, value, value_len))
}

/// Creates a key. Blocks. `written` may be NULL.
///
/// Returns GOMETA_ALREADY_EXISTS if the key exists, and the errors of gometa_client_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_add(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    written: *mut gometa_written_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Add, client, error, add(key, key_len, value, value_len), Written => written)
}

/// Starts gometa_client_add. Read the result with gometa_future_written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_add_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Add, client, future, error, add(key, key_len, value, value_len))
}

unsafe fn set(
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
) -> Result<Request, Error> {
    write!(Set, key: bytes!(Set, key, key_len), value: bytes!(Set, value, value_len))
}

/// Creates or replaces a key. Blocks. `written` may be NULL.
///
/// Returns GOMETA_INVALID_ARGUMENT if `key` is NULL or empty, or if `value` is NULL and `value_len` is not 0.
/// Returns GOMETA_TOO_LARGE if the key or the value exceeds its limit.
/// Returns GOMETA_UNAVAILABLE if no node could be reached within the timeout; the write has not been applied.
/// Returns GOMETA_DEADLINE_EXCEEDED if a node was reached and did not answer within the timeout.
/// Returns GOMETA_SESSION_EXPIRED if the session ended between two attempts of the write.
/// Returns GOMETA_CLOSED if the client is closed.
/// After an error, gometa_error_outcome says whether the write may have been applied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_set(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    written: *mut gometa_written_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Set, client, error, set(key, key_len, value, value_len), Written => written)
}

/// Starts gometa_client_set. Read the result with gometa_future_written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_set_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Set, client, future, error, set(key, key_len, value, value_len))
}

unsafe fn cas(
    key: *const c_void,
    key_len: usize,
    revision: u64,
    value: *const c_void,
    value_len: usize,
) -> Result<Request, Error> {
    write!(Cas, key: bytes!(Cas, key, key_len), revision: Some(revision), value: bytes!(Cas, value, value_len))
}

/// Sets a key if its mod_revision is `revision`; with 0, creates it if it does not exist. Blocks. `written` may be NULL.
///
/// Returns GOMETA_CAS_MISMATCH if the revision differs, and the errors of gometa_client_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_cas(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    revision: u64,
    value: *const c_void,
    value_len: usize,
    written: *mut gometa_written_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Cas, client, error, cas(key, key_len, revision, value, value_len), Written => written)
}

/// Starts gometa_client_cas. Read the result with gometa_future_written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_cas_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    revision: u64,
    value: *const c_void,
    value_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Cas, client, future, error, cas(key, key_len, revision, value, value_len))
}

unsafe fn delete(key: *const c_void, key_len: usize) -> Result<Request, Error> {
    write!(Delete, key: bytes!(Delete, key, key_len))
}

/// Deletes a key. Succeeds if the key does not exist. Blocks. `deleted` may be NULL.
///
/// Returns the errors of gometa_client_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    deleted: *mut gometa_deleted_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Delete, client, error, delete(key, key_len), Deleted => deleted)
}

/// Starts gometa_client_delete. Read the result with gometa_future_deleted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Delete, client, future, error, delete(key, key_len))
}

unsafe fn delete_if(key: *const c_void, key_len: usize, revision: u64) -> Result<Request, Error> {
    write!(Delete, key: bytes!(Delete, key, key_len), revision: Some(revision))
}

/// Deletes a key if its mod_revision equals `revision`. Blocks. `deleted` may be NULL.
///
/// Returns GOMETA_CAS_MISMATCH if the revision differs, and the errors of gometa_client_set. If the key does not
/// exist, `revision` 0 succeeds, and any other is a mismatch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete_if(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    revision: u64,
    deleted: *mut gometa_deleted_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Delete, client, error, delete_if(key, key_len, revision), Deleted => deleted)
}

/// Starts gometa_client_delete_if. Read the result with gometa_future_deleted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete_if_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    revision: u64,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Delete, client, future, error, delete_if(key, key_len, revision))
}

unsafe fn get(
    key: *const c_void,
    key_len: usize,
    options: *const gometa_read_options_t,
) -> Result<Request, Error> {
    let options = crate::macros::read!(options, Default::default(), |options| options.options);
    Ok(Request::Get { key: bytes!(Get, key, key_len), options })
}

/// Reads a key, linearizable. Blocks. Free `*entry` with gometa_entry_free.
///
/// Returns GOMETA_NOT_FOUND if the key does not exist.
/// Returns GOMETA_INVALID_ARGUMENT if `key` is NULL or empty, GOMETA_TOO_LARGE if it exceeds its limit.
/// Returns GOMETA_UNAVAILABLE if no node could be reached within the timeout.
/// Returns GOMETA_DEADLINE_EXCEEDED if a node was reached and did not answer within the timeout.
/// Returns GOMETA_CLOSED if the client is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    entry: *mut *mut gometa_entry_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let options = std::ptr::null();
    block!(Get, client, error, get(key, key_len, options), Entry => new entry)
}

/// Starts gometa_client_get. Read the result with gometa_future_entry.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let options = std::ptr::null();
    start!(Get, client, future, error, get(key, key_len, options))
}

/// Reads a key with options, which may be NULL for the defaults. Otherwise like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get_with(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    options: *const gometa_read_options_t,
    entry: *mut *mut gometa_entry_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Get, client, error, get(key, key_len, options), Entry => new entry)
}

/// Starts gometa_client_get_with. Read the result with gometa_future_entry.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get_with_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    options: *const gometa_read_options_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Get, client, future, error, get(key, key_len, options))
}

unsafe fn get_at(key: *const c_void, key_len: usize, revision: u64) -> Result<Request, Error> {
    Ok(Request::GetAt { key: bytes!(Get, key, key_len), revision })
}

/// Reads a key as it was at a revision; 0 means the present. Blocks. Free `*entry` with gometa_entry_free.
///
/// Returns GOMETA_NOT_FOUND if the key did not exist at that revision.
/// Returns GOMETA_COMPACTED if the revision is older than the ensemble's history; gometa_error_actual_revision returns
/// the oldest one that can be read.
/// Returns GOMETA_INVALID_ARGUMENT if the revision is in the future, and otherwise the errors of gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get_at(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    revision: u64,
    entry: *mut *mut gometa_entry_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Get, client, error, get_at(key, key_len, revision), Entry => new entry)
}

/// Starts gometa_client_get_at. Read the result with gometa_future_entry.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get_at_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    revision: u64,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Get, client, future, error, get_at(key, key_len, revision))
}

unsafe fn status_of(address: *const c_char) -> Result<Request, Error> {
    let address = if address.is_null() { None } else { Some(text!(Status, address).to_owned()) };
    Ok(Request::Status { address })
}

/// Reads the status of a node. Blocks. Free `*status` with gometa_node_status_free.
///
/// `address` is the client address of a node, "host:port", which is contacted over a connection of its own; NULL
/// means the node that the client is connected to.
///
/// Returns GOMETA_INVALID_ARGUMENT if `address` is invalid.
/// Returns GOMETA_UNAVAILABLE if the node cannot be reached, GOMETA_CONNECTION_LOST if it closes the connection.
/// Returns GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_status(
    client: *const gometa_client_t,
    address: *const c_char,
    status: *mut *mut gometa_node_status_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Status, client, error, status_of(address), Status => new status)
}

/// Starts gometa_client_status. Read the result with gometa_future_status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_status_async(
    client: *const gometa_client_t,
    address: *const c_char,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Status, client, future, error, status_of(address))
}

unsafe fn members_of() -> Result<Request, Error> {
    Ok(Request::Members)
}

/// Reads the members of the ensemble and its leader, as known to the node that the client is connected to. Blocks.
/// Free `*members` with gometa_members_free.
///
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_members(
    client: *const gometa_client_t,
    members: *mut *mut gometa_members_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(Members, client, error, members_of(), Members => new members)
}

/// Starts gometa_client_members. Read the result with gometa_future_members.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_members_async(
    client: *const gometa_client_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(Members, client, future, error, members_of())
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;
    use crate::client::{gometa_client_close, gometa_client_free, gometa_client_new, guard_client};

    #[test]
    fn a_panic_closes_the_client_that_it_happened_in() {
        let mut client = ptr::null_mut();
        let peers = c"127.0.0.1:9".as_ptr();
        // SAFETY: a string, and a writable output.
        let made = unsafe { gometa_client_new(peers, ptr::null(), &raw mut client, ptr::null_mut()) };
        assert_eq!(made, gometa_status_t::GOMETA_OK);
        // SAFETY: a client.
        let status = unsafe { guard_client(Operation::Get, client, ptr::null_mut(), |_| panic!("words")) };
        assert_eq!(status, gometa_status_t::GOMETA_INTERNAL);
        let mut entry = ptr::null_mut();
        let key = c"k".as_ptr().cast();
        // SAFETY: a client, a key, and a writable output.
        let status = unsafe { gometa_client_get(client, key, 1, &raw mut entry, ptr::null_mut()) };
        assert_eq!(status, gometa_status_t::GOMETA_CLOSED);
        // SAFETY: a client.
        unsafe { gometa_client_close(client) };
        // SAFETY: not used again.
        unsafe { gometa_client_free(client) };
    }
}
