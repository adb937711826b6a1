//! The table of errors in C. `proto/src/error.rs` is the original; a test compares them.

use std::ffi::{CStr, c_char};

use gometa_client::{ErrorKind, Outcome};

/// The result of a call. Numbers are never reused; a newer library may return numbers that are not listed here.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_status_t {
    /// Success.
    GOMETA_OK = 0,
    /// An argument is invalid: a NULL pointer, an empty key, a malformed address.
    GOMETA_INVALID_ARGUMENT = 1,
    /// The key does not exist, or the node is no member.
    GOMETA_NOT_FOUND = 2,
    /// The key exists. See gometa_error_actual_revision.
    GOMETA_ALREADY_EXISTS = 3,
    /// The key's revision is not the expected one. See gometa_error_actual_revision.
    GOMETA_CAS_MISMATCH = 4,
    /// A node was reached and did not answer within the timeout, or a wait for a future, a tag or a record timed out.
    GOMETA_DEADLINE_EXCEEDED = 5,
    /// No node could be reached within the timeout, or the node asked for its status cannot be reached.
    GOMETA_UNAVAILABLE = 6,
    /// Another node leads. Not returned to applications: nodes of this version forward requests to the leader instead.
    GOMETA_NOT_LEADER = 7,
    /// The connection was lost before the response. Returned by gometa_client_status only.
    GOMETA_CONNECTION_LOST = 8,
    /// A key or a value exceeds its limit, or a transaction.
    GOMETA_TOO_LARGE = 9,
    /// The session ended between two attempts of a write, which may have been applied. The next write opens a new one.
    GOMETA_SESSION_EXPIRED = 10,
    /// The client is not authenticated. Not returned by this version.
    GOMETA_UNAUTHENTICATED = 11,
    /// The client is not authorised for this operation. Not returned by this version.
    GOMETA_PERMISSION_DENIED = 12,
    /// A limit is reached: connections, requests in flight, sessions, file descriptors.
    GOMETA_RESOURCE_EXHAUSTED = 13,
    /// The requested revision is older than the history. See gometa_error_actual_revision.
    GOMETA_COMPACTED = 14,
    /// The call was cancelled.
    GOMETA_CANCELLED = 15,
    /// The client, the queue or the log was closed.
    GOMETA_CLOSED = 16,
    /// The node does not support this request.
    GOMETA_UNSUPPORTED = 17,
    /// An internal error of gometa.
    GOMETA_INTERNAL = 18,
    /// The process was forked after the object was created.
    GOMETA_FORKED = 19,
    /// The session no longer has the outcome of this write, and does not execute it. Not returned to applications.
    GOMETA_FORGOTTEN = 20,
    /// The state of the ensemble does not permit the change; the message says what is missing.
    GOMETA_FAILED_PRECONDITION = 21,
    /// The key of the write's guard does not exist, or was created at another revision. See gometa_error_actual_revision.
    GOMETA_GUARD_FAILED = 22,
    /// The ensemble was founded anew from old data: revisions that were read before are void. Returned once; later calls
    /// work with the new history. See gometa_client_history_id.
    GOMETA_HISTORY_CHANGED = 23,
}

/// The table: status, kind, name of the kind.
const TABLE: [(gometa_status_t, ErrorKind, &CStr); 23] = [
    (gometa_status_t::GOMETA_INVALID_ARGUMENT, ErrorKind::InvalidArgument, c"InvalidArgument"),
    (gometa_status_t::GOMETA_NOT_FOUND, ErrorKind::NotFound, c"NotFound"),
    (gometa_status_t::GOMETA_ALREADY_EXISTS, ErrorKind::AlreadyExists, c"AlreadyExists"),
    (gometa_status_t::GOMETA_CAS_MISMATCH, ErrorKind::CasMismatch, c"CasMismatch"),
    (gometa_status_t::GOMETA_DEADLINE_EXCEEDED, ErrorKind::DeadlineExceeded, c"DeadlineExceeded"),
    (gometa_status_t::GOMETA_UNAVAILABLE, ErrorKind::Unavailable, c"Unavailable"),
    (gometa_status_t::GOMETA_NOT_LEADER, ErrorKind::NotLeader, c"NotLeader"),
    (gometa_status_t::GOMETA_CONNECTION_LOST, ErrorKind::ConnectionLost, c"ConnectionLost"),
    (gometa_status_t::GOMETA_TOO_LARGE, ErrorKind::TooLarge, c"TooLarge"),
    (gometa_status_t::GOMETA_SESSION_EXPIRED, ErrorKind::SessionExpired, c"SessionExpired"),
    (gometa_status_t::GOMETA_UNAUTHENTICATED, ErrorKind::Unauthenticated, c"Unauthenticated"),
    (gometa_status_t::GOMETA_PERMISSION_DENIED, ErrorKind::PermissionDenied, c"PermissionDenied"),
    (gometa_status_t::GOMETA_RESOURCE_EXHAUSTED, ErrorKind::ResourceExhausted, c"ResourceExhausted"),
    (gometa_status_t::GOMETA_COMPACTED, ErrorKind::Compacted, c"Compacted"),
    (gometa_status_t::GOMETA_CANCELLED, ErrorKind::Cancelled, c"Cancelled"),
    (gometa_status_t::GOMETA_CLOSED, ErrorKind::Closed, c"Closed"),
    (gometa_status_t::GOMETA_UNSUPPORTED, ErrorKind::Unsupported, c"Unsupported"),
    (gometa_status_t::GOMETA_INTERNAL, ErrorKind::Internal, c"Internal"),
    (gometa_status_t::GOMETA_FORKED, ErrorKind::Forked, c"Forked"),
    (gometa_status_t::GOMETA_FORGOTTEN, ErrorKind::Forgotten, c"Forgotten"),
    (gometa_status_t::GOMETA_FAILED_PRECONDITION, ErrorKind::FailedPrecondition, c"FailedPrecondition"),
    (gometa_status_t::GOMETA_GUARD_FAILED, ErrorKind::GuardFailed, c"GuardFailed"),
    (gometa_status_t::GOMETA_HISTORY_CHANGED, ErrorKind::HistoryChanged, c"HistoryChanged"),
];

impl From<ErrorKind> for gometa_status_t {
    fn from(kind: ErrorKind) -> gometa_status_t {
        let row = TABLE.iter().find(|(_, known, _)| *known == kind);
        row.map_or(gometa_status_t::GOMETA_INTERNAL, |(status, ..)| *status)
    }
}

/// Whether a failed call may have been applied.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_outcome_t {
    /// It may have been applied, or may be applied later.
    GOMETA_OUTCOME_UNKNOWN = 0,
    /// It has not been applied and will not be.
    GOMETA_OUTCOME_NOT_APPLIED = 1,
}

impl From<Outcome> for gometa_outcome_t {
    fn from(outcome: Outcome) -> gometa_outcome_t {
        match outcome {
            Outcome::Unknown => gometa_outcome_t::GOMETA_OUTCOME_UNKNOWN,
            Outcome::NotApplied => gometa_outcome_t::GOMETA_OUTCOME_NOT_APPLIED,
        }
    }
}

/// Returns the name of a status: "Ok", "NotFound"; "Unknown" for an unknown number. Static, never NULL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn gometa_status_name(status: u32) -> *const c_char {
    let row = TABLE.iter().find(|(known, ..)| *known as u32 == status);
    let name = match row {
        Some((.., name)) => name,
        None if status == gometa_status_t::GOMETA_OK as u32 => c"Ok",
        None => c"Unknown",
    };
    name.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_equals_that_of_the_protocol() {
        assert_eq!(TABLE.len(), ErrorKind::ALL.len());
        for ((status, kind, name), expected) in TABLE.iter().zip(ErrorKind::ALL) {
            assert_eq!(kind, expected);
            assert_eq!(*status as u32, expected.number());
            assert_eq!(name.to_str(), Ok(expected.name()));
            assert_eq!(gometa_status_t::from(*kind), *status);
        }
    }
}
