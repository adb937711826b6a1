//! The error object: details of a failed call.

use std::ffi::{CString, c_char};

use gometa_client::Error;

use crate::{
    input::c_string,
    macros::{free, optional, read},
    status::{gometa_outcome_t, gometa_status_t},
};

/// The details of a failed call. Free with gometa_error_free.
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

/// Returns the status that the failed call returned. GOMETA_OK if `error` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_status(error: *const gometa_error_t) -> gometa_status_t {
    read!(error, gometa_status_t::GOMETA_OK, |error| error.status)
}

/// Returns the message: operation, key and cause, one line of UTF-8. Valid as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_message(error: *const gometa_error_t) -> *const c_char {
    read!(error, c"".as_ptr(), |error| error.message.as_ptr())
}

/// Returns the name of the operation: "set", "get", "build client". Valid as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_operation(error: *const gometa_error_t) -> *const c_char {
    read!(error, c"".as_ptr(), |error| error.operation.as_ptr())
}

/// Returns whether the same call may succeed if it is made again. That is a new call: a write may then be applied
/// twice, unless gometa_error_outcome is GOMETA_OUTCOME_NOT_APPLIED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_is_retryable(error: *const gometa_error_t) -> bool {
    read!(error, false, |error| error.retryable)
}

/// Returns whether the call may have been applied: GOMETA_OUTCOME_NOT_APPLIED for reads, _UNKNOWN if `error` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_outcome(error: *const gometa_error_t) -> gometa_outcome_t {
    read!(error, gometa_outcome_t::GOMETA_OUTCOME_UNKNOWN, |error| error.outcome)
}

/// Returns the leader's client address, if the node sent it or the call timed out and the client knows it; else "".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_leader_address(error: *const gometa_error_t) -> *const c_char {
    read!(error, c"".as_ptr(), |error| error.leader.as_ptr())
}

/// Writes a revision to `*revision`, which may be NULL: with GOMETA_CAS_MISMATCH and GOMETA_ALREADY_EXISTS the key's
/// mod_revision, 0 if the key does not exist; with GOMETA_GUARD_FAILED the create_revision of the guard's key, 0 if it
/// does not exist; with GOMETA_COMPACTED the oldest revision that can be read; with GOMETA_TOO_LARGE of
/// gometa_txn_result_error, the revision at which the result can be read.
///
/// Returns whether the error has it. Else `*revision` is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_actual_revision(
    error: *const gometa_error_t,
    revision: *mut u64,
) -> bool {
    let actual = read!(error, None, |error| error.actual_revision);
    let output = optional!(revision);
    actual.map(|actual| output.put(actual)).is_some()
}

/// Frees an error. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_error_free(error: *mut gometa_error_t) {
    free!(error);
}
