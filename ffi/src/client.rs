//! The client: how it is made, closed and freed.

use std::{
    ffi::{c_char, c_void},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use gometa_client::{Client, Error, OnSharedRuntime, Operation, Reply, Request};

use crate::{
    error::gometa_error_t,
    future::{Callbacks, gometa_future_t},
    guard::{guard, guarded},
    input::{self, invalid},
    macros::{bytes, free, required, text},
    options::{duration, gometa_options_t},
    status::gometa_status_t,
};

/// A client of an ensemble: one connection, shared by all its calls. Thread-safe. Connects on its first call.
pub struct gometa_client_t {
    client: OnSharedRuntime<Client>,
    callbacks: Callbacks,
}

/// The counters of a client, for gometa_client_counter.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_counter_t {
    /// Calls made.
    GOMETA_COUNTER_REQUESTS = 1,
    /// Attempts beyond a call's first.
    GOMETA_COUNTER_RETRIES = 2,
    /// Connections that replaced a lost one. The first connection and those made to reach the leader do not count.
    GOMETA_COUNTER_RECONNECTS = 3,
    /// Calls in flight.
    GOMETA_COUNTER_IN_FLIGHT = 4,
    /// The highest revision in any answer so far; 0 again once the history of the ensemble has changed.
    GOMETA_COUNTER_SEEN_REVISION = 5,
}

impl gometa_client_t {
    /// Makes a call and blocks until its reply.
    pub(crate) fn call(&self, request: Request) -> Result<Reply, Error> {
        let (client, runtime) = self.client.get(request.operation())?;
        runtime.block_on(client.perform(request))
    }

    /// Starts a call.
    pub(crate) fn start(&self, request: Request) -> Result<gometa_future_t, Error> {
        gometa_future_t::start(&self.client, &self.callbacks, request)
    }

    /// A second handle.
    ///
    /// # Errors
    /// Those of [`hold`](Self::hold).
    pub(crate) fn other(&self) -> Result<gometa_client_t, Error> {
        self.derive(Client::clone)
    }

    /// A second handle, whose calls have other settings.
    fn derive(&self, derive: impl FnOnce(&Client) -> Client) -> Result<gometa_client_t, Error> {
        Ok(gometa_client_t { client: self.hold(derive)?, callbacks: self.callbacks.clone() })
    }

    /// A value on the client's runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`](gometa_client::ErrorKind::Forked) in a forked child.
    pub(crate) fn hold<T>(&self, make: impl FnOnce(&Client) -> T) -> Result<OnSharedRuntime<T>, Error> {
        self.client.get(Operation::Build)?;
        Ok(self.client.map(make))
    }

    /// Runs a function. A panic also closes the client, whose state may be inconsistent.
    pub(crate) fn close_on_panic<T>(&self, body: impl FnOnce(&gometa_client_t) -> T) -> T {
        catch_unwind(AssertUnwindSafe(|| body(self))).unwrap_or_else(|panic| {
            self.client.close();
            resume_unwind(panic)
        })
    }
}

impl Drop for gometa_client_t {
    fn drop(&mut self) {
        self.client.release();
    }
}

/// Runs the body of an exported function on a client. A panic also closes the client, whose state may be inconsistent.
///
/// # Safety
/// `client` is NULL or points to a client; `error` is NULL or may be written to.
pub(crate) unsafe fn guard_client(
    operation: Operation,
    client: *const gometa_client_t,
    error: *mut *mut gometa_error_t,
    body: impl FnOnce(&gometa_client_t) -> Result<(), Error>,
) -> gometa_status_t {
    let body = || {
        // SAFETY: the caller's promise.
        let client = unsafe { input::handle(operation, client, "client") }?;
        client.close_on_panic(body)
    };
    // SAFETY: the caller's promise.
    unsafe { guard(operation, error, body) }
}

/// The body of an exported function on a client; see [`macros`](crate::macros).
macro_rules! with_client {
    ($operation:ident, $client:ident, $error:ident, $body:expr) => {{
        let body = $body;
        // SAFETY: `$client` is NULL or a live client, `$error` NULL or writable; see the module `macros`.
        unsafe { $crate::client::guard_client(gometa_client::Operation::$operation, $client, $error, body) }
    }};
}
pub(crate) use with_client;

/// Creates a client. Does no IO, so it succeeds even if no node can be reached.
///
/// `peers` are the client addresses (RequestAddr) of one or more nodes, separated by commas. `options` may be NULL for
/// the defaults; they are copied. Free `*client` with gometa_client_free.
///
/// Returns GOMETA_INVALID_ARGUMENT if `peers` has no or an invalid address, GOMETA_INTERNAL if no thread can start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_new(
    peers: *const c_char,
    options: *const gometa_options_t,
    client: *mut *mut gometa_client_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        let output = required!(Build, client);
        let peers = text!(Build, peers);
        // SAFETY: NULL or live options; see the module `macros`.
        let options = unsafe { options.as_ref() };
        let builder = options.map_or_else(gometa_options_t::defaults, |options| options.builder.clone());
        let client = OnSharedRuntime::new(builder.build([peers])?)?;
        output.give(gometa_client_t { client, callbacks: Callbacks::default() });
        Ok(())
    })
}

/// Creates a second handle on the same client and connection, with a timeout of its own for the calls made through it.
/// Its guard is that of `client`. Both handles must be freed with gometa_client_free, in any order. Closing either
/// closes both.
///
/// Returns GOMETA_INVALID_ARGUMENT if `timeout_ms` is 0 or above 31,536,000,000 (365 days).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_with_timeout(
    client: *const gometa_client_t,
    timeout_ms: u64,
    other: *mut *mut gometa_client_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    with_client!(Build, client, error, |client: &gometa_client_t| {
        let output = required!(Build, other);
        let timeout = duration(timeout_ms, "timeout_ms")?;
        output.give(client.derive(|client| client.with_timeout(timeout))?);
        Ok(())
    })
}

/// Creates a second handle, like gometa_client_with_timeout, with a guard: every write made through it, transactions and
/// set_setting included, is executed only if `key` exists and was created at `create_revision`; else it fails with
/// GOMETA_GUARD_FAILED. Reads, transactions that write in neither branch, and changes of the members have no guard. It
/// replaces the guard of `client`, and keeps its timeout.
///
/// With the key of a lock, it excludes writes of an owner that has lost the lock without noticing: `create_revision` is
/// the gometa_entry_create_revision of the lock's key, or the revision of the gometa_client_add that created it.
///
/// The writes check key and revision: they return GOMETA_INVALID_ARGUMENT if `key` is empty or `create_revision` is 0,
/// GOMETA_TOO_LARGE if the key exceeds its limit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_with_guard(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    create_revision: u64,
    other: *mut *mut gometa_client_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    with_client!(Build, client, error, |client: &gometa_client_t| {
        let output = required!(Build, other);
        let key = bytes!(Build, key, key_len);
        output.give(client.derive(|client| client.with_guard(key, create_revision))?);
        Ok(())
    })
}

/// Closes a client: calls in flight and all later calls fail with GOMETA_CLOSED.
/// Then ends the client's session, which blocks for at most 200 ms; called from a callback, it does not block.
/// Thread-safe. A second close is a no-op, and so is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_close(client: *const gometa_client_t) {
    let error = std::ptr::null_mut();
    with_client!(Build, client, error, |client: &gometa_client_t| {
        client.client.close();
        Ok(())
    });
}

/// Frees a client, which must not be in use by any thread. NULL is a no-op.
///
/// Calls that are in flight as futures continue; use gometa_client_close to end them. Freeing the last handle ends the
/// session, for which it blocks for at most 200 ms; with calls in flight the session ends after the last of them. In a
/// forked child it does not touch the parent's session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_free(client: *mut gometa_client_t) {
    free!(client);
}

/// Reads a counter of a client and all its handles. GOMETA_INVALID_ARGUMENT if `counter` is not a gometa_counter_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_counter(
    client: *const gometa_client_t,
    counter: u32,
    value: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    with_client!(Status, client, error, |client: &gometa_client_t| {
        let output = required!(Status, value);
        let (client, _) = client.client.get(Operation::Status)?;
        let counters = client.counters();
        output.put(match counter {
            1 => counters.requests,
            2 => counters.retries,
            3 => counters.reconnects,
            4 => counters.in_flight as u64,
            5 => client.seen_revision(),
            _ => return Err(invalid(Operation::Status, format!("there is no counter {counter}"))),
        });
        Ok(())
    })
}

/// Reads the id of the ensemble's history that a client knows: 0 before the first connection to a formed ensemble. It
/// rises when the ensemble is founded anew from old data: then calls in progress return
/// GOMETA_HISTORY_CHANGED, and so do those that begin before one of them has returned it; later calls work with the new
/// history. Does not wait; works on a closed client too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_history_id(
    client: *const gometa_client_t,
    history_id: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    with_client!(Status, client, error, |client: &gometa_client_t| {
        let output = required!(Status, history_id);
        let (client, _) = client.client.get(Operation::Status)?;
        output.put(client.history_id().unwrap_or(0));
        Ok(())
    })
}
