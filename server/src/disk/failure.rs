//! The first failure of storage, which ends the process.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{DiskError, error::remedy_in};

/// Reports the first failure; shared by everything that uses the data directory.
pub(super) struct Failure {
    dir: PathBuf,
    report: Box<dyn Fn(String) + Send + Sync>,
    failed: AtomicBool,
}

impl Failure {
    pub(super) fn new(dir: &Path, report: Box<dyn Fn(String) + Send + Sync>) -> Failure {
        Failure { dir: dir.to_owned(), report, failed: AtomicBool::new(false) }
    }

    /// Reports the first failure; later ones are its consequences.
    pub(super) fn fail(&self, action: &str, reason: &dyn Display) {
        if !self.failed.swap(true, Ordering::SeqCst) {
            (self.report)(message(&self.dir, action, &reason.to_string()));
        }
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

/// The message of a failure while the directory is in use. Damaged contents have the same remedy as at the start.
fn message(dir: &Path, action: &str, reason: &str) -> String {
    if ["Corruption: ", "is damaged", "is missing"].iter().any(|word| reason.contains(word)) {
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
            let said = message(dir, "read from", reason);
            assert!(said.starts_with("data directory data is damaged: ") && said.contains(reason), "{said}");
            assert!(said.contains("move it away"), "{said}");
        }
        let reason = "IO error: No space left on device: While appending to file: data/state-1/000012.sst: No space \
                      left on device";
        let full = message(dir, "write to", reason);
        let said = format!("cannot write to data directory data: {reason}: free some space");
        assert_eq!(full, said);
        assert_eq!(message(dir, "write to", &format!("{reason}: free some space")), said);
    }
}
