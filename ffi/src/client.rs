//! The client, and its calls: each in a form that blocks and in one that gives a future.

use std::ffi::{c_char, c_void};

use bytes::Bytes;
use gometa_client::{Client, Consistency, Error, OnSharedRuntime, Operation, ReadOptions, Reply, Request};

use crate::{
    entry::gometa_entry_t,
    error::gometa_error_t,
    future::{Callbacks, gometa_future_t},
    guard::{guard, guard_client},
    input::{self, Arguments, Output},
    members::gometa_members_t,
    node_status::gometa_node_status_t,
    options::{duration, gometa_options_t},
    status::gometa_status_t,
};

/// A handle on an ensemble. Any number of threads may use it at a time. It does no IO before its first call.
pub struct gometa_client_t {
    hosted: OnSharedRuntime<Client>,
    callbacks: Callbacks,
}

/// What a write came to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct gometa_written_t {
    /// The revision that the write made: the key's new mod_revision.
    pub revision: u64,
    /// 1, 2, ... since the key was created.
    pub version: u64,
}

/// What a deletion came to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct gometa_deleted_t {
    /// The revision of the deletion, 0 where there was nothing to delete.
    pub revision: u64,
    /// Whether the key was there.
    pub existed: bool,
}

/// What a read sees.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_consistency_t {
    /// Every write that was acknowledged, to anybody, before the read began.
    GOMETA_LINEARIZABLE = 0,
    /// What the answering node has applied, but nothing older than what this client has seen before.
    GOMETA_LOCAL = 1,
}

/// What a client counts.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_counter_t {
    /// Calls made.
    GOMETA_COUNTER_REQUESTS = 1,
    /// Attempts beyond a call's first.
    GOMETA_COUNTER_RETRIES = 2,
    /// Connections made after one was lost or left; neither the first one nor a move to the leader.
    GOMETA_COUNTER_RECONNECTS = 3,
    /// Calls that have not ended yet.
    GOMETA_COUNTER_IN_FLIGHT = 4,
    /// The highest revision that an answer has shown.
    GOMETA_COUNTER_SEEN_REVISION = 5,
}

impl gometa_client_t {
    /// Ends what runs on it, and its session.
    pub(crate) fn close(&self) {
        self.hosted.close();
    }

    fn call(&self, request: Request) -> Result<Reply, Error> {
        let (client, runtime) = self.hosted.get(request.operation())?;
        runtime.block_on(client.perform(request))
    }

    fn start(&self, request: Request) -> Result<gometa_future_t, Error> {
        gometa_future_t::start(&self.hosted, &self.callbacks, request)
    }
}

impl Drop for gometa_client_t {
    fn drop(&mut self) {
        self.hosted.release();
    }
}

/// Makes a client of these peers: addresses of nodes' ports for clients, "host:port", with commas between
/// them. Does no IO, so it succeeds with every peer down. *options* may be NULL. Free *client* with
/// gometa_client_free.
///
/// GOMETA_INVALID_ARGUMENT if there is no address or one that cannot be an address; GOMETA_INTERNAL if no
/// thread can be started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_new(
    peers: *const c_char,
    options: *const gometa_options_t,
    client: *mut *mut gometa_client_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let arguments = Arguments(Operation::Build);
    let body = || {
        // SAFETY: NULL, or a place of the caller's.
        let place = unsafe { arguments.output(client, "client") }?;
        // SAFETY: NULL, or a string of the caller's.
        let peers = unsafe { arguments.text(peers, "peers") }?;
        // SAFETY: NULL, or settings of the caller's.
        let options = unsafe { options.as_ref() };
        let builder =
            options.map_or_else(|| gometa_options_t::default().builder, |options| options.builder.clone());
        let hosted = OnSharedRuntime::new(builder.build([peers])?)?;
        place.give(gometa_client_t { hosted, callbacks: Callbacks::default() });
        Ok(())
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Build, error, body) }
}

/// The same client, with its connection, whose calls may take timeout_ms milliseconds. Free *other* with
/// gometa_client_free, in any order. Closing either closes both. GOMETA_INVALID_ARGUMENT for a timeout of 0 and
/// for more than 31,536,000,000 (365 days).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_with_timeout(
    client: *const gometa_client_t,
    timeout_ms: u64,
    other: *mut *mut gometa_client_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let arguments = Arguments(Operation::Build);
    let body = |client: &gometa_client_t| {
        // SAFETY: NULL, or a place of the caller's.
        let place = unsafe { arguments.output(other, "other") }?;
        let timeout = duration(timeout_ms, "timeout_ms")?;
        let hosted = client.hosted.map(|client| client.with_timeout(timeout));
        place.give(gometa_client_t { hosted, callbacks: client.callbacks.clone() });
        Ok(())
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { guard_client(Operation::Build, client, error, body) }
}

/// Ends every call that runs on the client, with GOMETA_CLOSED, and every later one, at once. Then has the
/// client's session ended, which takes 200 ms at most; in a callback it does not wait for that. Closing again
/// does nothing, nor does NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_close(client: *const gometa_client_t) {
    let body = |client: &gometa_client_t| {
        client.close();
        Ok(())
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { guard_client(Operation::Build, client, std::ptr::null_mut(), body) };
}

/// Frees a client, which no thread may use any more. The last handle that is freed has the client's session
/// ended, as gometa_client_close, if no future runs. Futures of its calls go on; gometa_client_close ends them.
/// In a forked child it gives the handle up and leaves the parent's session alone. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_free(client: *mut gometa_client_t) {
    // SAFETY: NULL, or a client that the caller gives up.
    unsafe { input::free(client) };
}

/// What the client and its handles have done so far; a counter is one of gometa_counter_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_counter(
    client: *const gometa_client_t,
    counter: u32,
    value: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let arguments = Arguments(Operation::Status);
    let body = |client: &gometa_client_t| {
        // SAFETY: NULL, or a place of the caller's.
        let place = unsafe { arguments.output(value, "value") }?;
        let (client, _) = client.hosted.get(Operation::Status)?;
        let counters = client.counters();
        place.put(match counter {
            1 => counters.requests,
            2 => counters.retries,
            3 => counters.reconnects,
            4 => counters.in_flight as u64,
            5 => client.seen_revision(),
            _ => return Err(arguments.invalid(format!("there is no counter {counter}"))),
        });
        Ok(())
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { guard_client(Operation::Status, client, error, body) }
}

/// The arguments of a request.
///
/// # Safety
/// Each pointer is NULL or points to as many bytes as are said.
unsafe fn bytes(
    operation: Operation,
    pointer: *const c_void,
    length: usize,
    name: &str,
) -> Result<Bytes, Error> {
    // SAFETY: the caller's promise.
    unsafe { Arguments(operation).bytes(pointer, length, name) }.map(Bytes::copy_from_slice)
}

fn read_options(consistency: u32, min_revision: u64) -> Result<ReadOptions, Error> {
    let mut options = ReadOptions::default().with_min_revision(min_revision);
    options.consistency = match consistency {
        0 => Consistency::Linearizable,
        1 => Consistency::Local,
        _ => return Err(Arguments(Operation::Get).invalid(format!("there is no consistency {consistency}"))),
    };
    Ok(options)
}

/// A call that blocks: asks, and has `take` write the reply.
///
/// # Safety
/// `client` is NULL or a client, `error` NULL or a place to write to.
unsafe fn block(
    operation: Operation,
    client: *const gometa_client_t,
    error: *mut *mut gometa_error_t,
    request: impl FnOnce() -> Result<Request, Error>,
    take: impl FnOnce(Reply),
) -> gometa_status_t {
    let body = |client: &gometa_client_t| {
        take(client.call(request()?)?);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_client(operation, client, error, body) }
}

/// A call that does not: starts it, and gives the future.
///
/// # Safety
/// `client` is NULL or a client, `future` and `error` NULL or places to write to.
unsafe fn start(
    operation: Operation,
    client: *const gometa_client_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
    request: impl FnOnce() -> Result<Request, Error>,
) -> gometa_status_t {
    let body = |client: &gometa_client_t| {
        // SAFETY: the caller's promise.
        let place = unsafe { Arguments(operation).output(future, "future") }?;
        place.give(client.start(request()?)?);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_client(operation, client, error, body) }
}

/// Creates a key. *written* may be NULL. Blocks.
///
/// GOMETA_ALREADY_EXISTS, and what every write can meet: see gometa_client_set.
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
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Add, key, key_len, "key") }?;
        // SAFETY: NULL, or bytes of the caller's.
        let value = unsafe { bytes(Operation::Add, value, value_len, "value") }?;
        Ok(Request::Add { key, value })
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(written) };
    let take = |reply| {
        if let Reply::Written(written) = reply {
            place.put(gometa_written_t::from(written));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Add, client, error, request, take) }
}

/// Starts what gometa_client_add does; the result is had by gometa_future_written. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
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
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Add, key, key_len, "key") }?;
        // SAFETY: NULL, or bytes of the caller's.
        let value = unsafe { bytes(Operation::Add, value, value_len, "value") }?;
        Ok(Request::Add { key, value })
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Add, client, future, error, request) }
}

/// Creates or replaces a key. *written* may be NULL. Blocks.
///
/// GOMETA_INVALID_ARGUMENT for an empty key, GOMETA_TOO_LARGE, GOMETA_UNAVAILABLE if there was no connection to
/// any node until the deadline, GOMETA_DEADLINE_EXCEEDED if there was one and no answer in time,
/// GOMETA_SESSION_EXPIRED, GOMETA_CLOSED, GOMETA_FORKED. gometa_error_outcome says whether the write may have
/// taken effect; with GOMETA_UNAVAILABLE it has not.
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
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Set, key, key_len, "key") }?;
        // SAFETY: NULL, or bytes of the caller's.
        let value = unsafe { bytes(Operation::Set, value, value_len, "value") }?;
        Ok(Request::Set { key, value })
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(written) };
    let take = |reply| {
        if let Reply::Written(written) = reply {
            place.put(gometa_written_t::from(written));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Set, client, error, request, take) }
}

/// Starts what gometa_client_set does; the result is had by gometa_future_written. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
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
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Set, key, key_len, "key") }?;
        // SAFETY: NULL, or bytes of the caller's.
        let value = unsafe { bytes(Operation::Set, value, value_len, "value") }?;
        Ok(Request::Set { key, value })
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Set, client, future, error, request) }
}

/// Replaces a key if its mod_revision is *revision*; 0 stands for "it does not exist". *written* may be NULL.
/// Blocks.
///
/// GOMETA_CAS_MISMATCH, and what every write can meet: see gometa_client_set.
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
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Cas, key, key_len, "key") }?;
        // SAFETY: NULL, or bytes of the caller's.
        let value = unsafe { bytes(Operation::Cas, value, value_len, "value") }?;
        Ok(Request::Cas { key, revision, value })
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(written) };
    let take = |reply| {
        if let Reply::Written(written) = reply {
            place.put(gometa_written_t::from(written));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Cas, client, error, request, take) }
}

/// Starts what gometa_client_cas does; the result is had by gometa_future_written. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
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
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Cas, key, key_len, "key") }?;
        // SAFETY: NULL, or bytes of the caller's.
        let value = unsafe { bytes(Operation::Cas, value, value_len, "value") }?;
        Ok(Request::Cas { key, revision, value })
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Cas, client, future, error, request) }
}

/// Removes a key, whether it is there or not. *deleted* may be NULL. Blocks.
///
/// What every write can meet: see gometa_client_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    deleted: *mut gometa_deleted_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Delete, key, key_len, "key") }?;
        Ok(Request::Delete { key, revision: None })
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(deleted) };
    let take = |reply| {
        if let Reply::Deleted(deleted) = reply {
            place.put(gometa_deleted_t::from(deleted));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Delete, client, error, request, take) }
}

/// Starts what gometa_client_delete does; the result is had by gometa_future_deleted. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Delete, key, key_len, "key") }?;
        Ok(Request::Delete { key, revision: None })
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Delete, client, future, error, request) }
}

/// Removes a key if its mod_revision is *revision*. *deleted* may be NULL. Blocks.
///
/// GOMETA_CAS_MISMATCH, and what every write can meet: see gometa_client_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete_if(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    revision: u64,
    deleted: *mut gometa_deleted_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Delete, key, key_len, "key") }?;
        Ok(Request::Delete { key, revision: Some(revision) })
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(deleted) };
    let take = |reply| {
        if let Reply::Deleted(deleted) = reply {
            place.put(gometa_deleted_t::from(deleted));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Delete, client, error, request, take) }
}

/// Starts what gometa_client_delete_if does; the result is had by gometa_future_deleted. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_delete_if_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    revision: u64,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Delete, key, key_len, "key") }?;
        Ok(Request::Delete { key, revision: Some(revision) })
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Delete, client, future, error, request) }
}

/// Reads a key, seeing every write that was acknowledged before. Free *entry* with gometa_entry_free. Blocks.
///
/// GOMETA_NOT_FOUND, GOMETA_INVALID_ARGUMENT for an empty key, GOMETA_TOO_LARGE, GOMETA_UNAVAILABLE,
/// GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED, GOMETA_CLOSED, GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    entry: *mut *mut gometa_entry_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or a place of the caller's.
        unsafe { Arguments(Operation::Get).output(entry, "entry") }?;
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Get, key, key_len, "key") }?;
        Ok(Request::Get { key, options: ReadOptions::default() })
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(entry) };
    let take = |reply| {
        if let Reply::Entry(entry) = reply {
            place.give(gometa_entry_t::from(entry));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Get, client, error, request, take) }
}

/// Starts what gometa_client_get does; the result is had by gometa_future_entry. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Get, key, key_len, "key") }?;
        Ok(Request::Get { key, options: ReadOptions::default() })
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Get, client, future, error, request) }
}

/// Reads a key with a gometa_consistency_t. With GOMETA_LOCAL the answer waits until the node has applied
/// *min_revision*, or the highest one that this client has seen if that is higher. Free *entry* with
/// gometa_entry_free. Blocks.
///
/// As gometa_client_get, and GOMETA_INVALID_ARGUMENT for a consistency that is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get_with(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    consistency: u32,
    min_revision: u64,
    entry: *mut *mut gometa_entry_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or a place of the caller's.
        unsafe { Arguments(Operation::Get).output(entry, "entry") }?;
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Get, key, key_len, "key") }?;
        Ok(Request::Get { key, options: read_options(consistency, min_revision)? })
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(entry) };
    let take = |reply| {
        if let Reply::Entry(entry) = reply {
            place.give(gometa_entry_t::from(entry));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Get, client, error, request, take) }
}

/// Starts what gometa_client_get_with does; the result is had by gometa_future_entry. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_get_with_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    consistency: u32,
    min_revision: u64,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or bytes of the caller's.
        let key = unsafe { bytes(Operation::Get, key, key_len, "key") }?;
        Ok(Request::Get { key, options: read_options(consistency, min_revision)? })
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Get, client, future, error, request) }
}

/// How the node in use is, or the one at *address*, "host:port", over a connection of its own, if that is not
/// NULL. Free *status* with gometa_node_status_free. Blocks.
///
/// GOMETA_INVALID_ARGUMENT for what cannot be an address, GOMETA_UNAVAILABLE if it cannot be reached,
/// GOMETA_CONNECTION_LOST, GOMETA_DEADLINE_EXCEEDED, GOMETA_CLOSED, GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_status(
    client: *const gometa_client_t,
    address: *const c_char,
    status: *mut *mut gometa_node_status_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or a place of the caller's.
        unsafe { Arguments(Operation::Status).output(status, "status") }?;
        let address = if address.is_null() {
            None
        } else {
            // SAFETY: a string of the caller's.
            Some(unsafe { Arguments(Operation::Status).text(address, "address") }?.to_owned())
        };
        Ok(Request::Status { address })
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(status) };
    let take = |reply| {
        if let Reply::Status(status) = reply {
            place.give(gometa_node_status_t::from(*status));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Status, client, error, request, take) }
}

/// Starts what gometa_client_status does; the result is had by gometa_future_status. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_status_async(
    client: *const gometa_client_t,
    address: *const c_char,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        let address = if address.is_null() {
            None
        } else {
            // SAFETY: a string of the caller's.
            Some(unsafe { Arguments(Operation::Status).text(address, "address") }?.to_owned())
        };
        Ok(Request::Status { address })
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Status, client, future, error, request) }
}

/// Who the members are, and what the node in use says of its role and the leader. Free *members* with
/// gometa_members_free. Blocks.
///
/// GOMETA_DEADLINE_EXCEEDED, GOMETA_CLOSED, GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_members(
    client: *const gometa_client_t,
    members: *mut *mut gometa_members_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || {
        // SAFETY: NULL, or a place of the caller's.
        unsafe { Arguments(Operation::Members).output(members, "members") }?;
        Ok(Request::Members)
    };
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(members) };
    let take = |reply| {
        if let Reply::Members(members) = reply {
            place.give(gometa_members_t::from(*members));
        }
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { block(Operation::Members, client, error, request, take) }
}

/// Starts what gometa_client_members does; the result is had by gometa_future_members. Free *future* with
/// gometa_future_free. Does not block.
///
/// GOMETA_INVALID_ARGUMENT for what is none, GOMETA_FORKED; everything else is the future's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_members_async(
    client: *const gometa_client_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let request = || Ok(Request::Members);
    // SAFETY: NULL, or what the caller holds.
    unsafe { start(Operation::Members, client, future, error, request) }
}

impl From<gometa_client::Written> for gometa_written_t {
    fn from(written: gometa_client::Written) -> gometa_written_t {
        gometa_written_t { revision: written.revision, version: written.version }
    }
}

impl From<gometa_client::Deleted> for gometa_deleted_t {
    fn from(deleted: gometa_client::Deleted) -> gometa_deleted_t {
        gometa_deleted_t { revision: deleted.revision, existed: deleted.existed }
    }
}
