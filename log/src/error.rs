//! Errors, one line each.

use std::io;

use gometa_zab::Zxid;

/// What a log file contains that it must not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}, offset {offset}: {what}")]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The place in the file, in bytes.
    pub offset: u64,
    /// The damage.
    pub what: String,
}

/// Why a log could not be opened or created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The log has lost or damaged something that the node may have acknowledged. It must not vote with this log.
    #[error("the log is damaged: {0}")]
    Damaged(Damage),
    /// A later version of the program has written the log.
    #[error("the log was written by a newer version of gometa: {file}: {what}")]
    Newer {
        /// The file.
        file: String,
        /// What is unknown here.
        what: String,
    },
    /// There is no room for the beginning of a segment. The log is intact; opening it again is possible.
    #[error("no space to begin a segment of the log in {file}: free some space")]
    NoSpace {
        /// The file.
        file: String,
    },
    /// The directory to create a log in has one already.
    #[error("{file} exists: a new log needs an empty directory")]
    Exists {
        /// A file of the log.
        file: String,
    },
    /// An error of the file system. It is no damage.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// The operation.
        action: &'static str,
        /// The file.
        file: String,
        /// The error.
        source: io::Error,
    },
}

/// Why something could not be written. After an error that is not `Invalid`, the log refuses everything: what is durable
/// is known only after it was opened again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An error of the file system.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// The operation.
        action: &'static str,
        /// The file.
        file: String,
        /// The error.
        source: io::Error,
    },
    /// An earlier operation has failed.
    #[error("the log has failed before")]
    Failed,
    /// The operation contradicts the log; nothing was written for it.
    #[error("{0}")]
    Invalid(String),
}

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The entry is damaged.
    #[error("log entry {counter} is damaged: {damage}")]
    Damaged {
        /// Its counter.
        counter: u64,
        /// Where and how.
        damage: Damage,
    },
    /// An error of the file system.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// The error.
        source: io::Error,
    },
}

impl WriteError {
    pub(crate) fn io(action: &'static str, file: String) -> impl FnOnce(io::Error) -> WriteError {
        move |source| WriteError::Io { action, file, source }
    }

    pub(crate) fn not_in_log(operation: &str, zxid: Zxid, end: Zxid) -> WriteError {
        WriteError::Invalid(format!(
            "cannot {operation} {zxid}: the log, which ends at {end}, does not have it"
        ))
    }
}

impl OpenError {
    pub(crate) fn io(action: &'static str, file: String) -> impl FnOnce(io::Error) -> OpenError {
        move |source| OpenError::Io { action, file, source }
    }
}

impl From<WriteError> for OpenError {
    fn from(error: WriteError) -> OpenError {
        match error {
            WriteError::Io { source, file, .. } if source.kind() == io::ErrorKind::StorageFull => {
                OpenError::NoSpace { file }
            }
            WriteError::Io { action, file, source } => OpenError::Io { action, file, source },
            WriteError::Failed | WriteError::Invalid(_) => {
                unreachable!("a log that is being opened has not failed and is given nothing to write")
            }
        }
    }
}
