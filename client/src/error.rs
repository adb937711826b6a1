//! The error of this crate: its kind, operation, key and outcome, and whether a retry may succeed.

use std::fmt;

use bytes::Bytes;
pub use gometa_proto::Operation;
use gometa_proto::{ErrorKind, Outcome};

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// The number of bytes of a key that the text of an error shows.
const KEY_SHOWN_MAX: usize = 64;

/// The error of a call.
///
/// - [`kind`](Self::kind) tells what happened; [`ErrorKind`] lists the kinds. A call without a connection to any node
///   until its deadline fails with [`ErrorKind::Unavailable`], one without an answer in time with
///   [`ErrorKind::DeadlineExceeded`].
/// - [`outcome`](Self::outcome) tells whether a write may have taken effect. After [`Outcome::Unknown`], read the key
///   before repeating the write.
/// - [`is_retryable`](Self::is_retryable) tells whether the same call may succeed later.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(Box<Details>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Details {
    kind: ErrorKind,
    operation: Operation,
    key: Option<Bytes>,
    message: String,
    outcome: Outcome,
    leader: Option<String>,
    actual_revision: Option<u64>,
}

impl Error {
    /// An error with the outcome [`Outcome::NotApplied`], for the errors of bindings in other languages.
    #[doc(hidden)]
    #[must_use]
    pub fn new(kind: ErrorKind, operation: Operation, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            operation,
            key: None,
            message: message.into(),
            outcome: Outcome::NotApplied,
            leader: None,
            actual_revision: None,
        }))
    }

    /// Sets the key.
    #[doc(hidden)]
    #[must_use]
    pub fn with_key(mut self, key: Option<&Bytes>) -> Self {
        self.0.key = key.cloned();
        self
    }

    pub(crate) fn with_operation(mut self, operation: Operation) -> Self {
        self.0.operation = operation;
        self
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// Sets the outcome to [`Outcome::Unknown`].
    #[doc(hidden)]
    #[must_use]
    pub fn with_unknown_outcome(self) -> Self {
        self.with_outcome(Outcome::Unknown)
    }

    pub(crate) fn with_leader(mut self, leader: &str) -> Self {
        self.0.leader = (!leader.is_empty()).then(|| leader.to_owned());
        self
    }

    pub(crate) fn with_actual_revision(mut self, revision: u64) -> Self {
        self.0.actual_revision = Some(revision);
        self
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation of the call.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// The key of the call, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key.as_deref()
    }

    /// The message, one line without operation and key.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed if it is repeated. That is a new call: check [`outcome`](Self::outcome) before
    /// repeating a write that must happen once.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.retryable()
    }

    /// Whether the call may have taken effect. Always [`Outcome::NotApplied`] for reads.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The leader's address for clients, if the node has sent it.
    #[must_use]
    pub fn leader(&self) -> Option<&str> {
        self.0.leader.as_deref()
    }

    /// With [`ErrorKind::CasMismatch`] and [`ErrorKind::AlreadyExists`], the key's `mod_revision`, 0 if the key does not
    /// exist; with [`ErrorKind::GuardFailed`], the `create_revision` of the guard's key, 0 likewise; with
    /// [`ErrorKind::Compacted`], the oldest revision that can be read; with [`ErrorKind::TooLarge`] of an
    /// [`OpResult::Left`](crate::OpResult::Left), the revision at which its result can be read. `None` otherwise.
    #[must_use]
    pub fn actual_revision(&self) -> Option<u64> {
        self.0.actual_revision
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        if let Some(key) = &self.key {
            write!(f, " \"{}", key[..key.len().min(KEY_SHOWN_MAX)].escape_ascii())?;
            f.write_str(if key.len() > KEY_SHOWN_MAX { "…\"" } else { "\"" })?;
        }
        write!(f, ": {}", self.message)?;
        if self.operation.has_effect() && self.outcome == Outcome::Unknown {
            let what = if self.operation.is_write() { "write" } else { "change" };
            write!(f, " (the {what} may have taken effect)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_contains_operation_key_and_unknown_outcome() {
        let error = Error::new(ErrorKind::DeadlineExceeded, Operation::Set, "no answer within 5s")
            .with_key(Some(&Bytes::from_static(b"a\xffb")));
        assert_eq!(error.to_string(), "set \"a\\xffb\": no answer within 5s");
        let error = error.with_outcome(Outcome::Unknown);
        assert!(error.to_string().ends_with("(the write may have taken effect)"));
        let long = Error::new(ErrorKind::NotFound, Operation::Get, "no such key")
            .with_key(Some(&Bytes::from(vec![b'k'; 4096])));
        assert!(long.to_string().len() < 100);
    }

    #[test]
    fn is_small_in_a_result() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
