//! The way back of a node whose log or state is damaged.
//!
//! Such a node may have lost what it has promised and acknowledged, so it must not vote. It continues as a new incarnation
//! with an empty log and an empty state, which the others fill, and keeps the damaged files until it is complete again: they
//! may be the last copy of something. It keeps its id and the sealed founding record. If that is lost too, it never founds an
//! ensemble: otherwise nodes that are all damaged would found a new, empty one.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gometa_log::OsDirectory;
use gometa_zab::Founding;
use tracing::warn;

use super::{DiskError, Snapshots, copies, directory::Directory, sealed};

/// The time of the last quarantine that a leader has ordered, in seconds since 1970.
const QUARANTINED: &str = "QUARANTINED";
/// The shortest time between two of them.
const INTERVAL: Duration = Duration::from_secs(24 * 3_600);

/// What was put into quarantine at a start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantine {
    /// The damage, in one line.
    pub damage: String,
    /// The names of the directories in which the damaged files are kept.
    pub kept: Vec<String>,
}

/// Puts a damaged pair into quarantine: afterwards the directory has an empty one.
///
/// # Errors
/// `error` itself if it is no damage of log or state, or if there is no other copy: then nothing is changed.
pub(super) fn begin(
    directory: &mut Directory,
    has_peers: bool,
    error: DiskError,
) -> Result<Quarantine, DiskError> {
    let (DiskError::Damaged { what, .. } | DiskError::Lost { what, .. }) = &error else { return Err(error) };
    let founding = readable_founding(directory.path(), &directory.log())?;
    if !copies::is_copied(directory, founding.as_ref(), has_peers) {
        return Err(error);
    }
    let founding = founding.filter(|founding| founding.sealed);
    let kept = directory.quarantine(founding, what)?;
    warn!(
        data_dir = %directory.path().display(),
        damage = %what,
        kept = %kept.join(", "),
        "data directory damaged, the node comes back without a vote"
    );
    Ok(Quarantine { damage: what.clone(), kept })
}

impl Snapshots {
    /// The leader has told this node to go into quarantine, for this reason: the next start begins with that. At most once
    /// a day: a machine whose memory or disk is at fault would do so for ever.
    ///
    /// # Errors
    /// One line with what to do. The next start continues as before.
    pub(crate) fn quarantine(&self, what: &str) -> Result<(), String> {
        order(&self.directory, what, SystemTime::now())
    }
}

fn order(directory: &Directory, what: &str, now: SystemTime) -> Result<(), String> {
    let dir = directory.path();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let last = sealed::read_sealed(dir, QUARANTINED).ok();
    let last = last.and_then(|body| body.trim().strip_prefix("at ")?.parse().ok()).map(Duration::from_secs);
    if last.is_some_and(|last| now.abs_diff(last) < INTERVAL) {
        return Err(format!(
            "data directory {}: {what}, for the second time within a day: look for faults of the memory and the disk of \
             this machine; to go on at once, remove {QUARANTINED} there",
            dir.display()
        ));
    }
    // First: if the next step fails, the node stops and changes nothing.
    sealed::write_sealed(dir, QUARANTINED, &format!("at {}\n", now.as_secs()))
        .and_then(|()| directory.note_damage(what))
        .map_err(|error| error.to_string())
}

/// The founding record, as far as it can be read.
fn readable_founding(dir: &Path, log: &Path) -> Result<Option<Founding>, DiskError> {
    match OsDirectory::open(log) {
        Ok(files) => gometa_log::founding(&files).map_err(|error| DiskError::log(dir, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::file("open", log)(error)),
    }
}

#[cfg(test)]
mod tests {
    use gometa_zab::NodeId;

    use super::*;

    #[test]
    fn a_second_order_within_a_day_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let directory = Directory::open(&path, NodeId(1), 0).unwrap();
        order(&directory, "a wrong hash", start).unwrap();
        for later in [Duration::ZERO, INTERVAL - Duration::from_secs(1)] {
            let refused = order(&directory, "a wrong hash", start + later).unwrap_err();
            assert!(refused.contains("a wrong hash, for the second time within a day"), "{refused}");
        }
        order(&directory, "a wrong hash", start + INTERVAL).unwrap();
        drop(directory);
        assert_eq!(Directory::open(&path, NodeId(1), 0).unwrap().damage(), Some("a wrong hash"));
    }
}
