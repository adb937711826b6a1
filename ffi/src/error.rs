//! What a failed call says.

use std::ffi::{CString, c_char};

use gometa_client::Error;

use crate::{
    input::{self, Output},
    status::{gometa_outcome_t, gometa_status_t},
    text::c_string,
};

/// The particulars of a failure. Free it with gometa_error_free. Any thread may read it.
pub struct gometa_error_t {
    status: gometa_status_t,
    outcome: gometa_outcome_t,
    retryable: bool,
    actual_revision: Option<u64>,
    message: CString,
    operation: CString,
    leader: CString,
}

impl From<Error> for gometa_error_t {
    fn from(error: Error) -> gometa_error_t {
        gometa_error_t {
            status: error.kind().into(),
            outcome: error.outcome().into(),
            retryable: error.is_retryable(),
            actual_revision: error.actual_revision(),
            message: c_string(&error.to_string()),
            operation: c_string(error.operation().name()),
            leader: c_string(error.leader().unwrap_or_default()),
        }
    }
}

/// What went wrong. GOMETA_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_status(error: *const gometa_error_t) -> gometa_status_t {
    // SAFETY: NULL, or an error that the caller holds.
    unsafe { error.as_ref() }.map_or(gometa_status_t::GOMETA_OK, |error| error.status)
}

/// What happened, to what, in one line for people, UTF-8, without a line feed. It lives as long as the error.
/// Empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_message(error: *const gometa_error_t) -> *const c_char {
    // SAFETY: NULL, or an error that the caller holds.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// What was wanted: "set", "get", "build client". It lives as long as the error. Empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_operation(error: *const gometa_error_t) -> *const c_char {
    // SAFETY: NULL, or an error that the caller holds.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.operation.as_ptr())
}

/// Whether the same call may succeed when it is made again. It is then a new call: look at
/// gometa_error_outcome first, where it matters that a write happens once. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_is_retryable(error: *const gometa_error_t) -> bool {
    // SAFETY: NULL, or an error that the caller holds.
    unsafe { error.as_ref() }.is_some_and(|error| error.retryable)
}

/// Whether the call may have taken effect all the same. GOMETA_OUTCOME_NOT_APPLIED for reads and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_outcome(error: *const gometa_error_t) -> gometa_outcome_t {
    // SAFETY: NULL, or an error that the caller holds.
    unsafe { error.as_ref() }.map_or(gometa_outcome_t::GOMETA_OUTCOME_NOT_APPLIED, |error| error.outcome)
}

/// The leader's address for clients, "host:port", where the failing node named it; else empty. It lives as
/// long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_leader(error: *const gometa_error_t) -> *const c_char {
    // SAFETY: NULL, or an error that the caller holds.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.leader.as_ptr())
}

/// The key's mod_revision, 0 where there is no such key. Returns whether the error has it, which those of
/// GOMETA_CAS_MISMATCH and GOMETA_ALREADY_EXISTS have; otherwise *revision is left as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_actual_revision(
    error: *const gometa_error_t,
    revision: *mut u64,
) -> bool {
    // SAFETY: NULL, or an error that the caller holds.
    let actual = unsafe { error.as_ref() }.and_then(|error| error.actual_revision);
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(revision) };
    actual.map(|actual| place.put(actual)).is_some()
}

/// Frees an error. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_free(error: *mut gometa_error_t) {
    // SAFETY: NULL, or an error that the caller gives up.
    unsafe { input::free(error) };
}
