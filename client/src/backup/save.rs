//! Writing a backup to a file: complete and durable under its name, or not there.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, ErrorKind},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{Backup, BackupWriter};
use crate::error::Error;

/// The size of the buffer of the file in bytes.
const BUFFER: usize = 1 << 20;

/// Why a backup was not saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// It cannot be read from its node.
    #[error("{0}")]
    Call(#[from] Error),
    /// There is a file of that name, or something that is none.
    #[error("{} exists: name another file", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// What was saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Saved {
    /// The length of the file in bytes.
    pub bytes: u64,
}

impl Backup {
    /// Reads the rest of the backup, which must be all of it, into a file that only its owner can read. It gets its name when it
    /// is complete and durable; until then a file beside it is written, which is removed after a failure. An existing file is
    /// replaced if `replace` is true. `progress` is called after each part.
    ///
    /// It writes to the file on the thread that polls it.
    ///
    /// # Errors
    /// [`SaveError`].
    pub async fn save(
        &mut self,
        path: &Path,
        replace: bool,
        mut progress: impl FnMut(&Backup),
    ) -> Result<Saved, SaveError> {
        let file = create(path, replace)?;
        let named = path.to_owned();
        let failed = |source| SaveError::Io { path: named.clone(), source };
        let output = BufWriter::with_capacity(BUFFER, file.as_file());
        let mut writer = BackupWriter::new(output, self.info()).map_err(failed)?;
        while let Some(bytes) = self.next().await? {
            writer.write(&bytes).map_err(failed)?;
            progress(self);
        }
        let (output, bytes) = writer.finish().map_err(failed)?;
        drop(output);
        let path = path.to_owned();
        let published = tokio::task::spawn_blocking(move || publish(file, &path, replace)).await;
        published.map_err(|error| failed(io::Error::other(error)))??;
        Ok(Saved { bytes })
    }
}

/// The directory of a file.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates a file beside the one that it becomes, which only its owner can read. It is removed when it is dropped.
fn create(path: &Path, replace: bool) -> Result<NamedTempFile, SaveError> {
    let failed = |source| SaveError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.is_file() && replace => {}
        Ok(_) => return Err(SaveError::Exists { path: path.to_owned() }),
    }
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().ok_or_else(|| failed(io::Error::from(ErrorKind::InvalidInput)))?);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial").tempfile_in(directory(path)).map_err(failed)
}

/// Makes the complete file durable under its name.
fn publish(file: NamedTempFile, path: &Path, replace: bool) -> Result<(), SaveError> {
    let failed = |source| SaveError::Io { path: path.to_owned(), source };
    file.as_file().sync_all().map_err(failed)?;
    let renamed = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    renamed.map_err(|error| match error.error.kind() {
        ErrorKind::AlreadyExists => SaveError::Exists { path: path.to_owned() },
        _ => failed(error.error),
    })?;
    File::open(directory(path)).and_then(|directory| directory.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::fs::PermissionsExt, process};

    use super::*;

    #[test]
    fn a_file_gets_its_name_when_it_is_complete_and_replaces_another_one_only_if_it_may() {
        let dir = env::temp_dir().join(format!("gometa-save-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.backup");
        let names = || fs::read_dir(&dir).unwrap().count();
        let partial = create(&path, false).unwrap();
        assert!(!path.exists() && names() == 1);
        drop(partial);
        assert_eq!(names(), 0, "an incomplete file is removed");
        publish(create(&path, false).unwrap(), &path, false).unwrap();
        assert_eq!((path.metadata().unwrap().permissions().mode() & 0o777, names()), (0o600, 1));
        assert!(matches!(create(&path, false), Err(SaveError::Exists { .. })));
        let late = create(&path, true).unwrap();
        assert!(
            matches!(publish(late, &path, false), Err(SaveError::Exists { .. })),
            "it was created meanwhile"
        );
        publish(create(&path, true).unwrap(), &path, true).unwrap();
        assert!(path.is_file() && names() == 1);
        assert!(matches!(create(&dir, true), Err(SaveError::Exists { .. })), "a directory");
        fs::remove_dir_all(&dir).unwrap();
    }
}
