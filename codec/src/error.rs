//! Errors of decoding.

use gometa_proto::{check, frame::TooLarge};

/// Why bytes were refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than the limit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// Not the expected protobuf message, or one with too many elements.
    #[error(transparent)]
    Message(#[from] check::DecodeError),
    /// Another version of the protocol or of the record's format.
    #[error("version {0} is not known here")]
    Version(u32),
    /// The checksum does not match.
    #[error("the checksum does not match")]
    Checksum,
    /// A field has an impossible value.
    #[error("{field} {why}")]
    Invalid {
        /// The name of the field.
        field: &'static str,
        /// The rest of the sentence.
        why: &'static str,
    },
    /// An unknown message, perhaps of a newer build; it may be ignored.
    #[error("a message that is not known here")]
    UnknownMessage,
    /// A log entry of an unknown kind, in an otherwise well-formed record.
    #[error("a log entry of kind {0}, which this version of gometa does not know")]
    UnknownKind(u32),
    /// A log entry with an unknown feature level, in an otherwise well-formed record.
    #[error("a log entry of feature level {0}, which this version of gometa does not have")]
    UnknownLevel(u32),
}

impl DecodeError {
    /// Whether the record is intact and was written by a newer build: the program must be upgraded.
    pub fn is_newer(&self) -> bool {
        matches!(self, DecodeError::UnknownKind(_) | DecodeError::UnknownLevel(_))
    }
}

/// The error of a field with an impossible value.
pub(crate) fn invalid(field: &'static str, why: &'static str) -> DecodeError {
    DecodeError::Invalid { field, why }
}
