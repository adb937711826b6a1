//! The errors of a data directory: one line each, with cause and remedy.

use std::{
    io,
    path::{Path, PathBuf},
};

use gometa_log::OpenError;

/// An error of a data directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Another process has it open.
    #[error("data directory {} is in use by another process: stop it, or use another directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A later version of the program has written it.
    #[error(
        "data directory {} has format {found}, and this program knows formats up to {known}: run the newer \
         gometa-server on it",
        dir.display()
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u64,
        /// The last format known here.
        known: u64,
    },
    /// An earlier version of the program has written it.
    #[error(
        "data directory {} has format {found}, and this program knows format {known} only: it was written by a version \
         before the first release; use an empty or a new directory",
        dir.display()
    )]
    Older {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u64,
        /// The format known here.
        known: u64,
    },
    /// A later version of the program has written something into the log that this one cannot act on.
    #[error("the log in data directory {} has {what}: run the newer gometa-server on it", dir.display())]
    NewerLog {
        /// The directory.
        dir: PathBuf,
        /// What it has.
        what: String,
    },
    /// It contains foreign files.
    #[error(
        "directory {} is not a gometa data directory, it contains {name:?}: use an empty or a new directory",
        dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// One of the files.
        name: String,
    },
    /// A restore into it was interrupted.
    #[error(
        "a restore into data directory {} was interrupted: run it again (gometa restore), or remove the directory",
        dir.display()
    )]
    Restoring {
        /// The directory.
        dir: PathBuf,
    },
    /// It has files, and an empty one is needed.
    #[error(
        "directory {} is not empty, it contains {name:?}: restore into an empty or a new directory; nothing was changed",
        dir.display()
    )]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One of the files.
        name: String,
    },
    /// It is incomplete or inconsistent.
    #[error(
        "data directory {} is damaged: {what}; move it away: with an empty directory the node comes back without \
         a vote, and the others bring it up to date",
        dir.display()
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// The damage.
        what: String,
    },
    /// It ends below the synced position, so that acknowledged writes may be missing.
    #[error(
        "data directory {} has lost writes that were synced: {what}; check the disk, then move the directory \
         away: with an empty directory the node comes back without a vote, and the others bring it up to date",
        dir.display()
    )]
    Lost {
        /// The directory.
        dir: PathBuf,
        /// What is missing.
        what: String,
    },
    /// An error of the file system.
    #[error("cannot {action} {}: {source}{}", path.display(), remedy(source.kind()))]
    File {
        /// The operation.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An error of RocksDB that is not damage.
    #[error("cannot {action} the database in {}: {reason}{}", dir.display(), remedy_in(reason))]
    Database {
        /// The operation.
        action: &'static str,
        /// The data directory.
        dir: PathBuf,
        /// RocksDB's message.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start the thread {name}: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl DiskError {
    pub(super) fn damaged(dir: &Path, what: impl Into<String>) -> DiskError {
        DiskError::Damaged { dir: dir.to_owned(), what: what.into() }
    }

    /// For `map_err`: an error of an operation on a file.
    pub(super) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> DiskError {
        let path = path.to_owned();
        move |error| DiskError::File { action, path, source: error.into() }
    }

    /// The system gives no random numbers.
    pub(crate) fn random(action: &'static str, path: &Path, error: getrandom::Error) -> DiskError {
        DiskError::File { action, path: path.to_owned(), source: io::Error::other(error) }
    }

    /// An error of the opening of a log.
    pub(super) fn log(dir: &Path, error: OpenError) -> DiskError {
        match error {
            OpenError::Newer { file, what } => {
                DiskError::NewerLog { dir: dir.to_owned(), what: format!("{what} in {file}") }
            }
            OpenError::Io { action, file, source } => DiskError::File { action, path: file.into(), source },
            OpenError::NoSpace { file } => {
                let source = io::Error::from(io::ErrorKind::StorageFull);
                DiskError::File { action: "begin", path: file.into(), source }
            }
            other => DiskError::damaged(dir, other.to_string()),
        }
    }

    /// For `map_err`: an error of an operation on the database. Errors about the files' contents are damage.
    pub(super) fn database(action: &'static str, dir: &Path) -> impl FnOnce(rocksdb::Error) -> DiskError {
        let dir = dir.to_owned();
        move |error| {
            let reason = one_line(&error);
            let missing =
                matches!(error.kind(), rocksdb::ErrorKind::IOError) && reason.contains("No such file");
            match error.kind() {
                rocksdb::ErrorKind::Corruption
                | rocksdb::ErrorKind::InvalidArgument
                | rocksdb::ErrorKind::NotFound => DiskError::Damaged { dir, what: reason },
                _ if missing => DiskError::Damaged { dir, what: reason },
                _ => DiskError::Database { action, dir, reason },
            }
        }
    }
}

/// RocksDB's message on one line.
pub(super) fn one_line(error: &rocksdb::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The remedy for an error of the file system.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ": make the directory writable for this user, or use another one"
        }
        io::ErrorKind::StorageFull => ": free some space",
        io::ErrorKind::QuotaExceeded => ": free some space, or raise the quota",
        io::ErrorKind::FileTooLarge => ": raise the limit on the size of files (ulimit -f)",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => ": use a directory",
        _ => "",
    }
}

/// The remedy for an error of RocksDB. Its messages name files and end with the system's error text, which is English: this
/// process sets no locale.
pub(super) fn remedy_in(reason: &str) -> &'static str {
    const WORDS: [(&str, io::ErrorKind); 5] = [
        ("No space left on device", io::ErrorKind::StorageFull),
        ("Disk quota exceeded", io::ErrorKind::QuotaExceeded),
        ("File too large", io::ErrorKind::FileTooLarge),
        ("Permission denied", io::ErrorKind::PermissionDenied),
        ("Read-only file system", io::ErrorKind::ReadOnlyFilesystem),
    ];
    let found = WORDS.iter().find(|(words, _)| reason.contains(words));
    found.map_or("", |(_, kind)| remedy(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_the_same_remedy_from_file_system_and_database() {
        let full = DiskError::Database {
            action: "open",
            dir: PathBuf::from("/data"),
            reason: "IO error: No space left on device: While appending to file: /data/state-1/000012.sst: No space \
                     left on device"
                .to_owned(),
        };
        assert!(full.to_string().ends_with("No space left on device: free some space"), "{full}");
        let full = DiskError::file("write", Path::new("/data/BOOT"))(rustix::io::Errno::NOSPC);
        assert_eq!(
            full.to_string(),
            "cannot write /data/BOOT: No space left on device (os error 28): free some space"
        );
        let other = DiskError::Database {
            action: "open",
            dir: PathBuf::from("/data"),
            reason: "IO error: While fsync: /data/state-1/000012.sst: Input/output error".to_owned(),
        };
        assert!(other.to_string().ends_with("Input/output error"), "{other}");
    }
}
