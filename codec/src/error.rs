//! What can be wrong with foreign bytes.

use gometa_proto::{check, frame::TooLarge};

/// Bytes were refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than it may be.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// Not the protobuf message that was expected, or one with too many elements.
    #[error(transparent)]
    Message(#[from] check::DecodeError),
    /// Another version of the protocol or of the record's format.
    #[error("version {0} is not known here")]
    Version(u32),
    /// The checksum is not that of the bytes.
    #[error("the checksum does not match")]
    Checksum,
    /// A field says what cannot be.
    #[error("{field} {why}")]
    Invalid {
        /// Which field, in words.
        field: &'static str,
        /// What is wrong with it, in words.
        why: &'static str,
    },
    /// None of the messages that this build knows. A newer build may say such things; nothing depends on them.
    #[error("a message that is not known here")]
    UnknownMessage,
    /// A log entry of a kind that this build does not know, in an otherwise well-formed record.
    #[error("a log entry of kind {0}, which this version of gometa does not know")]
    UnknownKind(u32),
    /// A log entry that demands a higher feature level, in an otherwise well-formed record.
    #[error("a log entry of feature level {0}, which this version of gometa does not have")]
    UnknownLevel(u32),
}

impl DecodeError {
    /// Whether a record is sound and was written by a newer build: nothing to repair, but to upgrade.
    pub fn is_newer(&self) -> bool {
        matches!(self, DecodeError::UnknownKind(_) | DecodeError::UnknownLevel(_))
    }
}

/// A field that says what cannot be.
pub(crate) fn invalid(field: &'static str, why: &'static str) -> DecodeError {
    DecodeError::Invalid { field, why }
}
