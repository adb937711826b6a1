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

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;
    use crate::{
        client::{gometa_client_close, gometa_client_free, gometa_client_new},
        error::{gometa_error_free, gometa_error_message, gometa_error_outcome, gometa_error_status},
        status::gometa_outcome_t,
    };

    /// What an error says, which is then freed.
    fn read(error: *mut gometa_error_t) -> (gometa_status_t, gometa_outcome_t, String) {
        // SAFETY: an error, or NULL.
        let (status, outcome) =
            (unsafe { gometa_error_status(error) }, unsafe { gometa_error_outcome(error) });
        // SAFETY: an error, or NULL.
        let message = unsafe { gometa_error_message(error) };
        // SAFETY: a string of the error's.
        let message = unsafe { std::ffi::CStr::from_ptr(message) }.to_str().unwrap().to_owned();
        // SAFETY: not used again.
        unsafe { gometa_error_free(error) };
        (status, outcome, message)
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let bodies: [fn() -> Result<(), Error>; 3] =
            [|| panic!("words"), || panic!("{} words", 2), || std::panic::panic_any(3)];
        for (body, words) in bodies.into_iter().zip(["words", "2 words", "no words"]) {
            let mut error = ptr::null_mut();
            // SAFETY: a place for an error.
            let status = unsafe { guard(Operation::Set, &raw mut error, body) };
            assert_eq!(status, gometa_status_t::GOMETA_INTERNAL);
            let (kept, outcome, message) = read(error);
            assert_eq!((kept, outcome), (status, gometa_outcome_t::GOMETA_OUTCOME_UNKNOWN));
            assert!(message.contains(words), "{message}");
            // SAFETY: no place for an error.
            assert_eq!(unsafe { guard(Operation::Set, ptr::null_mut(), body) }, status);
        }
    }

    #[test]
    fn a_panic_closes_the_client_that_it_happened_in() {
        let mut client = ptr::null_mut();
        let peers = c"127.0.0.1:9".as_ptr();
        // SAFETY: a string, and places to write to.
        let made = unsafe { gometa_client_new(peers, ptr::null(), &raw mut client, ptr::null_mut()) };
        assert_eq!(made, gometa_status_t::GOMETA_OK);
        let mut error = ptr::null_mut();
        // SAFETY: a client, and a place for an error.
        let status = unsafe { guard_client(Operation::Get, client, &raw mut error, |_| panic!("words")) };
        assert_eq!(status, gometa_status_t::GOMETA_INTERNAL);
        assert!(read(error).2.contains("words"));
        let call = || {
            let (mut entry, mut error) = (ptr::null_mut(), ptr::null_mut());
            let key = c"k".as_ptr().cast();
            // SAFETY: a client, a key, and places to write to.
            unsafe { crate::client::gometa_client_get(client, key, 1, &raw mut entry, &raw mut error) };
            read(error).0
        };
        assert_eq!(call(), gometa_status_t::GOMETA_CLOSED);
        // SAFETY: a client.
        unsafe { gometa_client_close(client) };
        assert_eq!(call(), gometa_status_t::GOMETA_CLOSED);
        // SAFETY: not used again.
        unsafe { gometa_client_free(client) };
    }
}
