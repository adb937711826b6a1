//! The directory into which a backup is restored.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use gometa_zab::{EnsembleId, Incarnation, NodeId};

use crate::disk::{
    DiskError,
    copies::{self, VOTERS, Voters},
    directory::{
        self, BOOT, FORMAT, FORMAT_TITLE, FORMAT_VERSION, Generation, Lock, PRIVATE_DIRECTORY, PRIVATE_FILE,
        RESTORING,
    },
    sealed::{write_sealed, write_whole},
};

/// A locked directory that has nothing but what a restore writes.
pub(super) struct Target {
    dir: PathBuf,
    incarnation: Incarnation,
    _lock: Lock,
}

impl Target {
    /// Locks an empty directory, which is created if it is missing, or one in which a restore was interrupted, and marks it.
    ///
    /// # Errors
    /// It has other files, or is in use: then nothing was changed.
    pub(super) fn begin(dir: &Path) -> Result<Target, DiskError> {
        check(dir)?;
        directory::make_directory(dir)?;
        let lock = directory::lock(dir)?;
        check_names(dir)?;
        let mode = fs::Permissions::from_mode(PRIVATE_DIRECTORY);
        fs::set_permissions(dir, mode).map_err(DiskError::file("change the mode of", dir))?;
        let marker = dir.join(RESTORING);
        let made =
            OpenOptions::new().create(true).truncate(true).write(true).mode(PRIVATE_FILE).open(&marker);
        made.map_err(DiskError::file("create", &marker))?;
        directory::sync_directory(dir)?;
        for name in directory::names(dir)?.iter().filter(|name| *name != RESTORING) {
            let path = dir.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(DiskError::file("remove", &path))?;
        }
        Ok(Target { dir: dir.to_owned(), incarnation: directory::draw_incarnation(dir)?, _lock: lock })
    }

    /// The incarnation of the node.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The path for the state.
    pub(super) fn state(&self) -> PathBuf {
        Generation::FIRST.state_in(&self.dir)
    }

    /// The path for the log.
    pub(super) fn log(&self) -> PathBuf {
        Generation::FIRST.log_in(&self.dir)
    }

    /// The free and all bytes of the file system; `None` if the system does not say.
    pub(super) fn space(&self) -> Option<(u64, u64)> {
        directory::space(&self.dir)
    }

    /// Leaves the directory as empty as it was.
    pub(super) fn give_up(self) {
        // What is left says that a restore was interrupted.
        let _ = directory::remove(&self.dir.join(RESTORING), &self.dir);
    }

    /// Completes the directory: from now on it can be started.
    pub(super) fn finish(self, node: NodeId, ensemble: EnsembleId) -> Result<(), DiskError> {
        let dir = &self.dir;
        write_whole(dir, FORMAT, format!("{FORMAT_TITLE}\nformat {FORMAT_VERSION}\n").as_bytes())?;
        directory::sync_directory(dir)?;
        directory::write_generation(dir, Generation::FIRST)?;
        write_sealed(dir, BOOT, "boot 0\n")?;
        write_sealed(dir, VOTERS, &copies::text(Voters { ensemble: ensemble.id, others: false }))?;
        directory::write_identity(dir, node, self.incarnation, false)?;
        directory::remove(&dir.join(RESTORING), dir)
    }
}

/// Checks that nothing but the files of an interrupted restore is in the directory, if there is one, and that no process uses it.
///
/// # Errors
/// [`DiskError::NotEmpty`] and [`DiskError::InUse`].
pub(super) fn check(dir: &Path) -> Result<(), DiskError> {
    if !dir.is_dir() {
        return Ok(());
    }
    directory::lock_shared(dir)?;
    check_names(dir)
}

fn check_names(dir: &Path) -> Result<(), DiskError> {
    let names = directory::names(dir)?;
    let ours = names.iter().any(|name| name == RESTORING);
    let other =
        |name: &&String| !(ours && (directory::is_ours(name) || name.trim_end_matches(".new") == VOTERS));
    match names.iter().find(other) {
        Some(name) => Err(DiskError::NotEmpty { dir: dir.to_owned(), name: name.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::directory::Directory;

    #[test]
    fn only_an_empty_directory_is_restored_into_and_it_is_not_started_before_it_is_complete() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/data");
        let node = NodeId(7);
        let target = Target::begin(&dir).unwrap();
        assert!(matches!(check(&dir), Err(DiskError::InUse { .. })));
        fs::create_dir(target.state()).unwrap();
        drop(target);
        assert!(matches!(Directory::open(&dir, node, 0), Err(DiskError::Restoring { .. })));
        check(&dir).unwrap();
        fs::write(dir.join("other"), "").unwrap();
        assert!(matches!(Target::begin(&dir), Err(DiskError::NotEmpty { name, .. }) if name == "other"));
        fs::remove_file(dir.join("other")).unwrap();

        let target = Target::begin(&dir).unwrap();
        assert!(!target.state().exists(), "a second attempt begins anew");
        fs::create_dir(target.state()).unwrap();
        fs::create_dir(target.log()).unwrap();
        target.finish(node, EnsembleId { id: 1, history: 1 }).unwrap();
        assert!(matches!(check(&dir), Err(DiskError::NotEmpty { .. })));
        assert_eq!(Directory::open(&dir, node, 0).unwrap().node, node);

        let empty = root.path().join("empty");
        Target::begin(&empty).unwrap().give_up();
        assert_eq!(directory::names(&empty).unwrap(), [""; 0]);
        Directory::open(&root.path().join("running"), node, 0).unwrap();
        let why = Target::begin(&root.path().join("running")).err().unwrap().to_string();
        assert!(why.contains("restore into an empty or a new directory; nothing was changed"), "{why}");
    }
}
