//! The frame of every exported function: errors become a status and an error object, and no panic leaves it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gometa_client::{Error, ErrorKind, Operation};

use crate::{error::gometa_error_t, input::Output, status::gometa_status_t};

/// Runs the body of an exported function. A panic becomes [`ErrorKind::Internal`].
///
/// # Safety
/// `error` is NULL or may be written to.
pub(crate) unsafe fn guard(
    operation: Operation,
    error: *mut *mut gometa_error_t,
    body: impl FnOnce() -> Result<(), Error>,
) -> gometa_status_t {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let message = format!("libgometa panicked: {text}");
        Err(Error::new(ErrorKind::Internal, operation, message).with_unknown_outcome())
    });
    // SAFETY: the caller's promise.
    let output = unsafe { Output::optional(error) };
    match result {
        Ok(()) => {
            output.put(std::ptr::null_mut());
            gometa_status_t::GOMETA_OK
        }
        Err(failure) => {
            let status = failure.kind().into();
            output.give(gometa_error_t::from(failure));
            status
        }
    }
}

/// Runs the body of an exported function: its errors and panics become a status and an error object.
macro_rules! guarded {
    ($operation:ident, $error:ident, $body:expr) => {{
        let body = || $body;
        // SAFETY: `$error` is NULL or writable; see the module `macros`.
        unsafe { $crate::guard::guard(gometa_client::Operation::$operation, $error, body) }
    }};
}

pub(crate) use guarded;

#[cfg(test)]
mod tests {
    use std::{ffi::CStr, ptr};

    use super::*;
    use crate::{
        error::{gometa_error_free, gometa_error_message, gometa_error_outcome, gometa_error_status},
        status::gometa_outcome_t,
    };

    #[test]
    fn a_panic_becomes_an_error() {
        let bodies: [fn() -> Result<(), Error>; 3] =
            [|| panic!("words"), || panic!("{} words", 2), || std::panic::panic_any(3)];
        for (body, words) in bodies.into_iter().zip(["words", "2 words", "no message"]) {
            let mut error = ptr::null_mut();
            // SAFETY: `error` is writable.
            let status = unsafe { guard(Operation::Set, &raw mut error, body) };
            assert_eq!(status, gometa_status_t::GOMETA_INTERNAL);
            // SAFETY: an error.
            assert_eq!(unsafe { gometa_error_status(error) }, status);
            // SAFETY: an error.
            let outcome = unsafe { gometa_error_outcome(error) };
            assert_eq!(outcome, gometa_outcome_t::GOMETA_OUTCOME_UNKNOWN);
            // SAFETY: an error.
            let message = unsafe { gometa_error_message(error) };
            // SAFETY: a string of the error's.
            let message = unsafe { CStr::from_ptr(message) }.to_str().unwrap();
            assert!(message.contains(words), "{message}");
            // SAFETY: not used again.
            unsafe { gometa_error_free(error) };
            // SAFETY: NULL.
            assert_eq!(unsafe { guard(Operation::Set, ptr::null_mut(), body) }, status);
        }
    }
}
