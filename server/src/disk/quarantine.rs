//! The way back of a node whose log or state is damaged.
//!
//! Such a node may have lost what it has promised and acknowledged, so it must not vote. It continues as a new incarnation
//! with an empty log and an empty state, which the others fill, and keeps the damaged files until it is complete again: they
//! may be the last copy of something. It keeps its id and the sealed founding record. If that is lost too, it never founds an
//! ensemble: otherwise nodes that are all damaged would found a new, empty one.

use std::path::Path;

use gometa_log::OsDirectory;
use gometa_zab::Founding;
use tracing::warn;

use super::{DiskError, directory::Directory};

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
    if !is_copied(founding.as_ref(), has_peers) {
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

/// Whether another node has what this one has.
pub(super) fn is_copied(founding: Option<&Founding>, has_peers: bool) -> bool {
    founding.map_or(has_peers, |founding| founding.genesis.voters.len() > 1)
}

/// The founding record, as far as it can be read.
fn readable_founding(dir: &Path, log: &Path) -> Result<Option<Founding>, DiskError> {
    match OsDirectory::open(log) {
        Ok(files) => gometa_log::founding(&files).map_err(|error| DiskError::log(dir, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::file("open", log)(error)),
    }
}
