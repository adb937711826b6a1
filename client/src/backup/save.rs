//! Writing a backup to a file: complete and durable under its name, or not there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

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
        let partial = Partial::create(path, replace)?;
        let failed = |source| SaveError::Io { path: path.to_owned(), source };
        let output = BufWriter::with_capacity(BUFFER, &partial.file);
        let mut writer = BackupWriter::new(output, self.info()).map_err(failed)?;
        while let Some(bytes) = self.next().await? {
            writer.write(&bytes).map_err(failed)?;
            progress(self);
        }
        let (output, bytes) = writer.finish().map_err(failed)?;
        drop(output);
        let published = tokio::task::spawn_blocking(move || partial.publish(replace)).await;
        published.map_err(|error| failed(io::Error::other(error)))??;
        Ok(Saved { bytes })
    }
}

/// A file that is being written beside the one that it becomes; removed when it is dropped before.
struct Partial {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    published: bool,
}

impl Partial {
    fn create(path: &Path, replace: bool) -> Result<Partial, SaveError> {
        let failed = |source| SaveError::Io { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(metadata) if metadata.is_file() && replace => {}
            Ok(_) => return Err(SaveError::Exists { path: path.to_owned() }),
        }
        let name = path.file_name().ok_or_else(|| failed(io::Error::from(ErrorKind::InvalidInput)))?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".{:016x}.partial", u64::from_be_bytes(random)));
        let beside = path.with_file_name(beside);
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside);
        let file = file.map_err(failed)?;
        Ok(Partial { path: path.to_owned(), beside, file, published: false })
    }

    /// Makes the complete file durable under its name.
    fn publish(mut self, replace: bool) -> Result<(), SaveError> {
        let failed = |path: &Path, source| SaveError::Io { path: path.to_owned(), source };
        self.file.sync_all().map_err(|error| failed(&self.path, error))?;
        if replace {
            fs::rename(&self.beside, &self.path).map_err(|error| failed(&self.path, error))?;
            self.published = true;
        } else {
            // Unlike a renaming, it replaces nothing.
            fs::hard_link(&self.beside, &self.path).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => SaveError::Exists { path: self.path.clone() },
                _ => failed(&self.path, error),
            })?;
        }
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed(&self.path, error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed has a name that says that it is incomplete.
            let _ = fs::remove_file(&self.beside);
        }
    }
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
        let partial = Partial::create(&path, false).unwrap();
        assert!(!path.exists() && names() == 1);
        drop(partial);
        assert_eq!(names(), 0, "an incomplete file is removed");
        Partial::create(&path, false).unwrap().publish(false).unwrap();
        assert_eq!((path.metadata().unwrap().permissions().mode() & 0o777, names()), (0o600, 1));
        assert!(matches!(Partial::create(&path, false), Err(SaveError::Exists { .. })));
        let late = Partial::create(&path, true).unwrap();
        assert!(matches!(late.publish(false), Err(SaveError::Exists { .. })), "it was created meanwhile");
        Partial::create(&path, true).unwrap().publish(true).unwrap();
        assert!(path.is_file() && names() == 1);
        assert!(matches!(Partial::create(&dir, true), Err(SaveError::Exists { .. })), "a directory");
        fs::remove_dir_all(&dir).unwrap();
    }
}
