//! Opens log and state, and compares the two.

use std::path::Path;

use gometa_log::{Log, OsDirectory};
use gometa_zab::{Epochs, Recovered, Zxid};
use rocksdb::DB;
use tracing::warn;

use super::{DiskError, database, directory::Directory, log_writer};

/// The number of segments above which a start deletes those that the state does not need. Each start adds one, and each has
/// open files, so a node that is restarted again and again would run out of them.
const SEGMENTS_MAX: usize = 320;

/// A log and a state that belong together.
pub(super) struct Opened {
    pub(super) rocks: DB,
    pub(super) log: Log<OsDirectory>,
    pub(super) recovered: Recovered,
    /// The state is to be flushed soon, so that the next start can delete segments.
    pub(super) flush_soon: bool,
}

/// Opens both. Every byte of the log is verified; of the state the files and the checkpoint, its records when they are read.
pub(super) fn open(directory: &Directory) -> Result<Opened, DiskError> {
    let dir = directory.path();
    if let Some(name) = directory.missing()? {
        return Err(DiskError::damaged(dir, format!("GENERATION names {name}, which is missing")));
    }
    if let Some(what) = directory.damage() {
        return Err(DiskError::damaged(dir, what));
    }
    let rocks = database::open(dir, &directory.state(), directory.cache_bytes())?;
    let applied = database::checkpoint(dir, &rocks)?.applied;
    let path = directory.log();
    let files = OsDirectory::open(&path).map_err(DiskError::file("open", &path))?;
    let options = log_writer::options(&path)?;
    let (mut log, found) = Log::open(files, options, applied).map_err(|error| DiskError::log(dir, error))?;
    found.warnings.iter().for_each(|warning| warn!(warning, "log repaired"));
    let mut recovered = Recovered {
        hard_state: found.hard_state,
        founding: found.founding,
        oldest: found.base,
        boundaries: found.boundaries,
        applied,
        released: found.released,
        configuration: None,
        logged: found.logged,
    };
    check(dir, &recovered)?;
    let segments = log.status().segments;
    if segments > SEGMENTS_MAX {
        delete_old_segments(&mut log, &mut recovered).map_err(|error| DiskError::damaged(dir, error))?;
    }
    Ok(Opened { rocks, log, recovered, flush_soon: segments > SEGMENTS_MAX / 2 })
}

/// Raises the base of the log to the state.
fn delete_old_segments(log: &mut Log<OsDirectory>, recovered: &mut Recovered) -> Result<(), String> {
    let epochs = Epochs::new(recovered.oldest, recovered.boundaries.clone());
    let base = epochs.and_then(|epochs| epochs.at(recovered.applied)).ok_or("its epochs do not ascend")?;
    log.compact(base).map_err(|error| error.to_string())?;
    recovered.oldest = base;
    recovered.boundaries.retain(|end| end.counter > base.counter);
    Ok(())
}

/// Compares log, state, hard state and founding. An epoch in the log above the *current* epoch is valid: a crash during
/// synchronisation leaves it.
pub(super) fn check(dir: &Path, recovered: &Recovered) -> Result<(), DiskError> {
    let Recovered { hard_state, founding, oldest, boundaries, applied, released, .. } = recovered;
    let last = boundaries.last().copied().unwrap_or(*oldest);
    let lost = |what: String| Err(DiskError::Lost { dir: dir.to_owned(), what });
    if last.counter < *applied {
        return lost(format!("the log ends at {last}, below {applied}, which was applied"));
    }
    if last.counter < *released {
        return lost(format!("the log ends at {last}, below {released}, which was released to be applied"));
    }
    if *applied < oldest.counter {
        return lost(format!("the state ends at {applied}, and the log begins above {oldest}"));
    }
    if last != Zxid::ZERO && !founding.as_ref().is_some_and(|founding| founding.sealed) {
        return Err(DiskError::damaged(dir, format!("the log ends at {last}, and no ensemble is sealed")));
    }
    // Rule 10.
    let accepted = hard_state.accepted_epoch;
    if accepted < last.epoch {
        return Err(DiskError::damaged(
            dir,
            format!("accepted epoch {accepted} is below the log's end {last}"),
        ));
    }
    Ok(())
}
