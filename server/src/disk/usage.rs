//! The figures of a data directory, for status reports.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{directory::Directory, scrub::LiveState, space};

/// The unit of [`MetadataExt::blocks`].
const BLOCK: u64 = 512;

/// The last flush of the state.
#[derive(Clone, Debug)]
pub(super) struct LastFlush(Arc<Mutex<(u64, Instant)>>);

impl LastFlush {
    pub(super) fn new() -> LastFlush {
        LastFlush(Arc::new(Mutex::new((0, Instant::now()))))
    }

    /// The counter through which the state is durable.
    pub(super) fn counter(&self) -> u64 {
        self.0.lock().0
    }

    pub(super) fn set(&self, counter: u64) {
        *self.0.lock() = (counter, Instant::now());
    }
}

/// Measures a data directory.
#[derive(Clone)]
pub(crate) struct Usage {
    directory: Arc<Directory>,
    last_flush: LastFlush,
    state: LiveState,
    reserve_mb: u64,
}

/// The figures at one moment. Sizes are those on disk; a file that cannot be looked at counts as empty.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Measured {
    pub(crate) log_bytes: u64,
    pub(crate) state_bytes: u64,
    /// About how many of these are history.
    pub(crate) history_bytes: u64,
    /// The free bytes of the file system, as far as this process may use them.
    pub(crate) free_bytes: u64,
    pub(crate) reserve_bytes: u64,
    /// The state is durable through this counter.
    pub(crate) flushed: u64,
    /// The time since the last flush, or since the directory was opened.
    pub(crate) flush_age: Duration,
}

impl Usage {
    /// `reserve_mb` is the configured reserve, 0 for the default.
    pub(super) fn new(
        directory: Arc<Directory>,
        last_flush: LastFlush,
        state: LiveState,
        reserve_mb: u64,
    ) -> Usage {
        Usage { directory, last_flush, state, reserve_mb }
    }

    /// Measures log and state, one call of the system for each file.
    pub(crate) fn measure(&self) -> Measured {
        let (flushed, at) = *self.last_flush.0.lock();
        let (free_bytes, total) = self.directory.space().unwrap_or_default();
        Measured {
            log_bytes: size(&self.directory.log()).unwrap_or(0),
            state_bytes: size(&self.directory.state()).unwrap_or(0),
            history_bytes: self.state.lock().upgrade().map_or(0, |database| database.history_bytes()),
            free_bytes,
            reserve_bytes: space::reserve(total, self.reserve_mb),
            flushed,
            flush_age: at.elapsed(),
        }
    }
}

/// The bytes that the files of a directory occupy. Files may be removed meanwhile.
pub(super) fn size(path: &Path) -> io::Result<u64> {
    let sizes = fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.blocks() * BLOCK));
    Ok(sizes.filter_map(io::Result::ok).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_directory_is_what_its_files_occupy() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(size(dir.path()).unwrap(), 0);
        fs::write(dir.path().join("a"), vec![1; 100_000]).unwrap();
        fs::write(dir.path().join("b"), vec![1; 1]).unwrap();
        let size = size(dir.path()).unwrap();
        assert!((100_001..200_000).contains(&size), "{size}");
    }
}
