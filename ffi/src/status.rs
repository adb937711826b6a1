//! The table of errors, in C's words. `proto/src/error.rs` is the original; a test holds the two together.

use std::ffi::{CStr, c_char};

use gometa_client::{ErrorKind, Outcome};

/// What came of a call. Numbers are for ever.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_status_t {
    /// It succeeded.
    GOMETA_OK = 0,
    /// The request makes no sense: a NULL where none may be, an empty key, an address that is none.
    GOMETA_INVALID_ARGUMENT = 1,
    /// There is no such key.
    GOMETA_NOT_FOUND = 2,
    /// The key is there already; gometa_error_actual_revision says at which revision.
    GOMETA_ALREADY_EXISTS = 3,
    /// The key's revision is not the expected one; gometa_error_actual_revision says which it is.
    GOMETA_CAS_MISMATCH = 4,
    /// No answer within the deadline, of a node that could be reached.
    GOMETA_DEADLINE_EXCEEDED = 5,
    /// There was no connection to any node until the deadline, or the one that was asked cannot be reached.
    GOMETA_UNAVAILABLE = 6,
    /// Another node leads. The library moves on by itself; callers do not see it.
    GOMETA_NOT_LEADER = 7,
    /// The connection ended before the answer came, where the library does not try again.
    GOMETA_CONNECTION_LOST = 8,
    /// A key or a value exceeds its limit.
    GOMETA_TOO_LARGE = 9,
    /// The session ended between two attempts of a write; the next write opens another.
    GOMETA_SESSION_EXPIRED = 10,
    /// The client has not said who it is.
    GOMETA_UNAUTHENTICATED = 11,
    /// The client may not do this.
    GOMETA_PERMISSION_DENIED = 12,
    /// A bound on what is open or in flight is reached.
    GOMETA_RESOURCE_EXHAUSTED = 13,
    /// The revision asked for is no longer kept.
    GOMETA_COMPACTED = 14,
    /// The call was cancelled.
    GOMETA_CANCELLED = 15,
    /// The client, or the queue, was closed.
    GOMETA_CLOSED = 16,
    /// The node does not know this request.
    GOMETA_UNSUPPORTED = 17,
    /// A fault of gometa's own.
    GOMETA_INTERNAL = 18,
    /// The process was forked after the object was made.
    GOMETA_FORKED = 19,
    /// A write below its session's floor. Callers do not see it.
    GOMETA_FORGOTTEN = 20,
}

/// Each failure, the kind it stands for, and the kind's name.
const TABLE: [(gometa_status_t, ErrorKind, &CStr); 20] = [
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
];

impl From<ErrorKind> for gometa_status_t {
    fn from(kind: ErrorKind) -> gometa_status_t {
        let row = TABLE.iter().find(|(_, known, _)| *known == kind);
        row.map_or(gometa_status_t::GOMETA_INTERNAL, |(status, ..)| *status)
    }
}

/// Whether a call that failed may have taken effect all the same.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_outcome_t {
    /// It may have, or may yet: a write whose answer was not awaited to the end.
    GOMETA_OUTCOME_UNKNOWN = 0,
    /// It has not, and never will.
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

/// The name of a status: "NotFound"; "Ok" for GOMETA_OK, "Unknown" for a number that is none. It lives as
/// long as the program. Any thread.
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
    fn the_table_is_that_of_the_protocol() {
        assert_eq!(TABLE.len(), ErrorKind::ALL.len());
        for ((status, kind, name), expected) in TABLE.iter().zip(ErrorKind::ALL) {
            assert_eq!(kind, expected);
            assert_eq!(*status as u32, expected.number());
            assert_eq!(name.to_str(), Ok(expected.name()));
            assert_eq!(gometa_status_t::from(*kind), *status);
        }
    }
}
