//! The one error of this crate: what happened, to what, whether to try again, and what is known of the outcome.

use std::fmt;

use bytes::Bytes;
pub use gometa_proto::Operation;
use gometa_proto::{ErrorKind, Outcome};

/// Bytes of a key that an error's text shows.
const KEY_SHOWN_MAX: usize = 64;

/// Why a call failed.
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
    /// A failure of which nothing has taken effect: for the faces of this client in other languages, which have failures
    /// of their own.
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

    /// The same, of a call on a key.
    #[must_use]
    pub fn with_key(mut self, key: Option<&Bytes>) -> Self {
        self.0.key = key.cloned();
        self
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// The same, of a call that may have taken effect.
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

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was wanted.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// The key it was wanted of, where there is one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key.as_deref()
    }

    /// What happened, in one line without operation and key.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed when it is made again. It is then a new call: look at
    /// [`outcome`](Self::outcome) first, where it matters that a write happens once.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.retryable()
    }

    /// Whether the call may have taken effect. Always [`Outcome::NotApplied`] for reads.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The leader's request address, where the failing node named it.
    #[must_use]
    pub fn leader(&self) -> Option<&str> {
        self.0.leader.as_deref()
    }

    /// The key's mod_revision, 0 where it is absent. Only with [`ErrorKind::CasMismatch`] and
    /// [`ErrorKind::AlreadyExists`].
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
        if self.operation.is_write() && self.outcome == Outcome::Unknown {
            f.write_str(" (the write may have taken effect)")?;
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
    fn text_names_operation_key_and_doubt() {
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
