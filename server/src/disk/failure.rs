//! The first failure of storage, which ends the process.

use std::{
    fmt::Display,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tracing::error;

use super::{DiskError, directory::Directory, error::remedy_in};

/// Reports the first failure; shared by everything that uses the data directory.
pub(super) struct Failure {
    directory: Arc<Directory>,
    report: Box<dyn Fn(String) + Send + Sync>,
    failed: AtomicBool,
}

impl Failure {
    pub(super) fn new(directory: Arc<Directory>, report: Box<dyn Fn(String) + Send + Sync>) -> Failure {
        Failure { directory, report, failed: AtomicBool::new(false) }
    }

    /// Reports the first failure; later ones are its consequences. Damage is recorded for the next start.
    pub(super) fn fail(&self, action: &str, reason: &dyn Display) {
        if self.failed.swap(true, Ordering::SeqCst) {
            return;
        }
        let (dir, reason) = (self.directory.path(), reason.to_string());
        let mut noted = false;
        if self.directory.copied.load(Ordering::Relaxed) && is_damage(&reason) {
            match self.directory.note_damage(&reason) {
                Ok(()) => noted = true,
                // The next start may find it again.
                Err(error) => error!(%error, damage = %reason, "damage not recorded"),
            }
        }
        (self.report)(message(dir, action, &reason, noted));
    }

    /// Whether a failure has been reported.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Reports a failure to read, and waits for the end of the process.
    pub(super) fn fail_and_park(&self, reason: &dyn Display) -> ! {
        self.fail("read from", reason);
        loop {
            thread::park();
        }
    }
}

/// Whether this failure says that contents are damaged or missing. An error of the file system is no damage.
pub(super) fn is_damage(reason: &str) -> bool {
    let missing = reason.contains("No such file") && reason.contains(".sst");
    missing || ["Corruption: ", "is damaged", "is missing"].iter().any(|word| reason.contains(word))
}

/// The message of a failure while the directory is in use. `noted`: the next start handles the damage.
fn message(dir: &Path, action: &str, reason: &str, noted: bool) -> String {
    if noted {
        return format!(
            "data directory {} is damaged: {reason}; start the node again: it keeps the damaged files aside, comes back \
             without a vote, and the others bring it up to date",
            dir.display()
        );
    }
    if is_damage(reason) {
        return DiskError::damaged(dir, reason).to_string();
    }
    // Failures of other files include it already.
    let remedy = remedy_in(reason);
    let remedy = if reason.ends_with(remedy) { "" } else { remedy };
    format!("cannot {action} data directory {}: {reason}{remedy}", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_that_is_found_later_comes_with_the_same_remedy() {
        let dir = Path::new("data");
        for reason in ["Corruption: block checksum mismatch", "log entry 7 is damaged: its checksum is wrong"]
        {
            let said = message(dir, "read from", reason, false);
            assert!(said.starts_with("data directory data is damaged: ") && said.contains(reason), "{said}");
            assert!(said.contains("move it away"), "{said}");
            let said = message(dir, "read from", reason, true);
            assert!(said.starts_with("data directory data is damaged: ") && said.contains(reason), "{said}");
            assert!(said.contains("start the node again"), "{said}");
        }
        let reason = "IO error: No space left on device: While appending to file: data/state-1/000012.sst: No space \
                      left on device";
        let full = message(dir, "write to", reason, false);
        let said = format!("cannot write to data directory data: {reason}: free some space");
        assert_eq!(full, said);
        assert_eq!(message(dir, "write to", &format!("{reason}: free some space"), false), said);
    }
}
