//! The table of errors. New kinds are added at the end; numbers are never reused.
//!
//! Every other language takes the table from here; tests below compare it with `error.proto`.

use std::fmt;

use crate::v1;

macro_rules! error_kinds {
    ($($(#[$doc:meta])+ $number:literal $name:ident, $text:literal, retryable: $retryable:literal;)+) => {
        /// The kind of an error.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum ErrorKind {
            $($(#[$doc])+ $name = $number,)+
        }

        impl ErrorKind {
            /// Every kind, ascending by number.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$name,)+];

            /// The kind with this number; [`Internal`](ErrorKind::Internal) for an unknown one of a newer program.
            pub const fn from_number(number: u32) -> ErrorKind {
                match number {
                    $($number => ErrorKind::$name,)+
                    _ => ErrorKind::Internal,
                }
            }

            /// The name in programs: `NotFound`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorKind::$name => stringify!($name),)+
                }
            }

            /// The name in sentences: `not found`.
            pub const fn text(self) -> &'static str {
                match self {
                    $(ErrorKind::$name => $text,)+
                }
            }

            /// Whether the same call may succeed later. Whether the first one took effect is its [`Outcome`].
            pub const fn retryable(self) -> bool {
                match self {
                    $(ErrorKind::$name => $retryable,)+
                }
            }
        }
    };
}

error_kinds! {
    /// The request is invalid, or the client's ensemble is not the node's.
    1 InvalidArgument, "invalid argument", retryable: false;
    /// There is no such key, or no such member.
    2 NotFound, "not found", retryable: false;
    /// The key exists already.
    3 AlreadyExists, "already exists", retryable: false;
    /// The key's revision is not the expected one.
    4 CasMismatch, "revision mismatch", retryable: false;
    /// No answer within the deadline.
    5 DeadlineExceeded, "deadline exceeded", retryable: true;
    /// No node can serve the request: there is no leader or no quorum, or the node is not synchronised or does not respond.
    6 Unavailable, "unavailable", retryable: true;
    /// Another node leads. Moves a client on; users never see it.
    7 NotLeader, "not the leader", retryable: true;
    /// The connection ended before the answer came.
    8 ConnectionLost, "connection lost", retryable: true;
    /// A key, a value or a message exceeds its limit.
    9 TooLarge, "too large", retryable: false;
    /// The session has ended or never existed; the next call opens another.
    10 SessionExpired, "session expired", retryable: true;
    /// The caller is not authenticated.
    11 Unauthenticated, "unauthenticated", retryable: false;
    /// The caller may not do this.
    12 PermissionDenied, "permission denied", retryable: false;
    /// A bound on connections, sessions or requests is reached.
    13 ResourceExhausted, "resource exhausted", retryable: true;
    /// The requested revision is no longer kept.
    14 Compacted, "compacted", retryable: false;
    /// The caller cancelled the call.
    15 Cancelled, "cancelled", retryable: false;
    /// The client was closed.
    16 Closed, "closed", retryable: false;
    /// The node does not support the request, one of its options, or the protocol version.
    17 Unsupported, "unsupported", retryable: false;
    /// A bug in gometa.
    18 Internal, "internal error", retryable: false;
    /// The process was forked after the client was created; the child needs its own client. Never on the wire.
    19 Forked, "forked", retryable: false;
    /// The write is below its session's floor: its outcome is forgotten. Users never see it.
    20 Forgotten, "forgotten", retryable: false;
    /// The state of the ensemble does not permit the change; the message says what is missing.
    21 FailedPrecondition, "failed precondition", retryable: false;
    /// The key of the write's guard does not exist, or was created at another revision.
    22 GuardFailed, "guard failed", retryable: false;
    /// The ensemble was founded anew from old data: revisions and sessions of its earlier history are void.
    23 HistoryChanged, "history changed", retryable: false;
}

impl ErrorKind {
    /// The number on the wire, in C and in exit codes.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Whether a failed request may have taken effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// This attempt has had no effect and never will.
    NotApplied,
    /// It may have taken effect, or still may.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::NotApplied => "not applied",
            Outcome::Unknown => "unknown",
        })
    }
}

impl v1::Error {
    /// Creates an error. The message is one line for people: lower case, no full stop, naming the object.
    pub fn new(kind: ErrorKind, message: impl Into<String>, outcome: Outcome) -> v1::Error {
        let outcome = match outcome {
            Outcome::NotApplied => v1::Outcome::NotApplied,
            Outcome::Unknown => v1::Outcome::Unknown,
        };
        let (kind, message, outcome) = (kind.number(), message.into(), outcome.into());
        v1::Error { kind, message, outcome, ..v1::Error::default() }
    }

    /// Creates an error of a request that has had no effect and never will.
    pub fn not_applied(kind: ErrorKind, message: impl Into<String>) -> v1::Error {
        v1::Error::new(kind, message, Outcome::NotApplied)
    }

    /// Creates an error of a request that may have taken effect.
    pub fn unknown(kind: ErrorKind, message: impl Into<String>) -> v1::Error {
        v1::Error::new(kind, message, Outcome::Unknown)
    }

    /// Sets the key's mod_revision, 0 if the key is absent.
    pub fn with_actual_revision(self, actual_revision: u64) -> v1::Error {
        v1::Error { actual_revision, ..self }
    }

    /// Sets the leader's request address; empty if it is not known.
    pub fn with_leader(self, leader: impl Into<String>) -> v1::Error {
        v1::Error { leader: leader.into(), ..self }
    }

    /// Sets the time to wait before the next attempt, in milliseconds; 0 for no advice.
    pub fn with_retry_after_ms(self, retry_after_ms: u32) -> v1::Error {
        v1::Error { retry_after_ms, ..self }
    }

    /// The kind; [`ErrorKind::Internal`] for an unknown number.
    pub fn error_kind(&self) -> ErrorKind {
        ErrorKind::from_number(self.kind)
    }

    /// The outcome; [`Outcome::Unknown`] for an unknown number.
    pub fn error_outcome(&self) -> Outcome {
        match self.outcome() {
            v1::Outcome::NotApplied => Outcome::NotApplied,
            v1::Outcome::Unknown => Outcome::Unknown,
        }
    }
}

impl fmt::Display for v1::Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "{}", self.error_kind()),
            message => write!(f, "{}: {message}", self.error_kind()),
        }
    }
}

impl std::error::Error for v1::Error {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;

    use super::*;

    /// `NotFound` → `ERROR_KIND_NOT_FOUND`.
    fn schema_name(kind: ErrorKind) -> String {
        let mut name = String::from("ERROR_KIND");
        for letter in kind.name().chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }

    #[test]
    fn the_table_and_the_schema_are_the_same() {
        for (position, &kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(kind.number() as usize, position + 1, "{kind:?}: numbers rise from 1 without a gap");
            let twin = v1::ErrorKind::try_from(kind.number() as i32).expect("every kind is in the schema");
            assert_eq!(twin.as_str_name(), schema_name(kind));
        }
        for number in (ErrorKind::ALL.len() as i32 + 1)..100_000 {
            assert!(v1::ErrorKind::try_from(number).is_err(), "{number} is in the schema only");
        }
        assert_eq!(v1::ErrorKind::try_from(0), Ok(v1::ErrorKind::Unspecified));
    }

    #[test]
    fn names_and_texts_are_unique_and_texts_are_lower_case_words() {
        let names: BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        let texts: BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.text()).collect();
        assert_eq!((names.len(), texts.len()), (ErrorKind::ALL.len(), ErrorKind::ALL.len()));
        for text in texts {
            assert!(text.chars().all(|c| c.is_ascii_lowercase() || c == ' '), "{text}");
        }
    }

    #[test]
    fn the_retryable_kinds() {
        let retryable: Vec<_> =
            ErrorKind::ALL.iter().filter(|kind| kind.retryable()).map(|k| k.number()).collect();
        assert_eq!(retryable, [5, 6, 7, 8, 10, 13]);
    }

    #[test]
    fn an_error_survives_the_wire() {
        for &kind in ErrorKind::ALL {
            for outcome in [Outcome::NotApplied, Outcome::Unknown] {
                let error = v1::Error::new(kind, "key \"a\"", outcome)
                    .with_actual_revision(7)
                    .with_leader("127.0.0.1:5003")
                    .with_retry_after_ms(20);
                let read = v1::Error::decode(error.encode_to_vec().as_slice()).expect("an encoded error");
                assert_eq!(read, error);
                assert_eq!((read.error_kind(), read.error_outcome()), (kind, outcome));
                assert_eq!(read.to_string(), format!("{}: key \"a\"", kind.text()));
            }
        }
    }

    #[test]
    fn unknown_numbers_are_internal_and_unknown() {
        for kind in [0, ErrorKind::ALL.len() as u32 + 1, u32::MAX] {
            let newer = v1::Error { kind, outcome: 999, ..v1::Error::default() };
            assert_eq!((newer.error_kind(), newer.error_outcome()), (ErrorKind::Internal, Outcome::Unknown));
        }
        assert_eq!(v1::Error::default().error_outcome(), Outcome::Unknown);
    }
}
