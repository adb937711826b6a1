//! What every entry point runs in: no panic leaves it, and what fails is told in C's way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gometa_client::{Error, ErrorKind, Operation};

use crate::{client::gometa_client_t, error::gometa_error_t, input::Output, status::gometa_status_t};

/// Runs the body of an entry point.
///
/// # Safety
/// `error` is NULL or may be written to.
pub(crate) unsafe fn guard(
    operation: Operation,
    error: *mut *mut gometa_error_t,
    body: impl FnOnce() -> Result<(), Error>,
) -> gometa_status_t {
    let done = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        let message = format!("a fault of libgometa's own: {words}");
        Err(Error::new(ErrorKind::Internal, operation, message).with_unknown_outcome())
    });
    // SAFETY: the caller's promise.
    let place = unsafe { Output::optional(error) };
    match done {
        Ok(()) => {
            place.put(std::ptr::null_mut());
            gometa_status_t::GOMETA_OK
        }
        Err(failure) => {
            let status = failure.kind().into();
            place.give(gometa_error_t::from(failure));
            status
        }
    }
}

/// The same for a call on a client, which a panic closes: what it holds may no longer be whole.
///
/// # Safety
/// As [`guard`], and `client` is NULL or points to a client.
pub(crate) unsafe fn guard_client(
    operation: Operation,
    client: *const gometa_client_t,
    error: *mut *mut gometa_error_t,
    body: impl FnOnce(&gometa_client_t) -> Result<(), Error>,
) -> gometa_status_t {
    let body = || {
        // SAFETY: the caller's promise.
        let client = unsafe { crate::input::Arguments(operation).handle(client, "client") }?;
        match catch_unwind(AssertUnwindSafe(|| body(client))) {
            Ok(done) => done,
            Err(panic) => {
                client.close();
                std::panic::resume_unwind(panic)
            }
        }
    };
    // SAFETY: the caller's promise.
    unsafe { guard(operation, error, body) }
}
