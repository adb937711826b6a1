//! Compactions of the state within the free space: RocksDB writes the new files before it deletes the old ones, and a
//! file that cannot be written ends the process (rule 26).

use std::{path::Path, sync::atomic::Ordering};

use rocksdb::CompactOptions;

use super::database::{DATA, Database, MEMTABLES_BYTES, SESSION};

/// The number of files of the target size that one compaction below the first levels rewrites, about: one, and those of
/// the next level, ten times as large, that it overlaps.
const FILES_PER_COMPACTION: u64 = 12;
/// The free space with which every compaction has enough: these times its usual need.
const SPACE_FACTOR: u64 = 8;

/// The sizes of a state, so that flushes and compactions need a small part of the file system: together less than half of
/// the reserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    /// The bytes of memtables at which they are flushed: before RocksDB would.
    pub(super) flush: u64,
    /// The size of a table file.
    pub(super) file: u64,
    /// The size of the first level below the flushed files.
    pub(super) base: u64,
}

impl Sizes {
    /// The sizes for a state at a path that exists, or whose parent does.
    pub(super) fn at(path: &Path) -> Sizes {
        let total = [Some(path), path.parent()].into_iter().flatten().find_map(|path| {
            let space = rustix::fs::statvfs(path).ok()?;
            Some(space.f_blocks.saturating_mul(space.f_frsize))
        });
        Sizes::for_file_system(total.unwrap_or(u64::MAX))
    }

    fn for_file_system(total: u64) -> Sizes {
        Sizes {
            flush: (total / 64).clamp(1 << 20, MEMTABLES_BYTES as u64 / 3 * 2),
            file: (total / 128).clamp(1 << 20, 32 << 20),
            base: (total / 32).clamp(4 << 20, 128 << 20),
        }
    }
}

impl Database {
    /// The bytes of memtables at which they are flushed.
    pub(super) fn flush_bytes(&self) -> u64 {
        self.sizes.flush
    }

    /// Permits compactions in the background if the next one has room, and prevents them otherwise.
    pub(super) fn bound_compactions(&self) -> Result<(), rocksdb::Error> {
        let Some((free, _)) = self.directory.space() else { return Ok(()) };
        let Sizes { file, base, .. } = self.sizes;
        let usual = file * FILES_PER_COMPACTION;
        let room = free >= (usual + base) * SPACE_FACTOR || {
            let files = self.rocks.live_files()?;
            let level = |level: i32| files.iter().filter(move |file| file.level == level);
            let bytes = |level_number: i32| level(level_number).map(|file| file.size as u64).sum::<u64>();
            let next = files.iter().map(|file| file.level).filter(|level| *level > 0).min();
            let first = bytes(0) + next.map_or(0, bytes).min(2 * base);
            free >= first.max(usual) + self.sizes.flush * 2
        };
        if self.compacts.swap(room, Ordering::Relaxed) != room {
            let disabled = if room { "false" } else { "true" };
            for name in [DATA, SESSION] {
                self.rocks.set_options_cf(self.family(name), &[("disable_auto_compactions", disabled)])?;
            }
        }
        Ok(())
    }

    /// Rewrites the state without what was deleted or replaced, if what is left of it fits into the free space; returns
    /// whether it did. One that fails is a background error.
    pub(super) fn compact(&self) -> bool {
        let (Some((free, _)), Ok(files)) = (self.directory.space(), self.rocks.live_files()) else {
            return false;
        };
        let sum = |of: fn(&rocksdb::LiveFile) -> u64| files.iter().map(of).sum::<u64>();
        let bytes = sum(|file| file.size as u64);
        let (entries, deletions) = (sum(|file| file.num_entries), sum(|file| file.num_deletions));
        // Each deletion removes itself and an entry.
        let left = entries.saturating_sub(2 * deletions);
        let output =
            u128::from(bytes) * u128::from(left) / u128::from(entries.saturating_sub(deletions).max(1));
        if output as u64 + self.sizes.flush * 2 > free {
            return false;
        }
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        for name in [DATA, SESSION] {
            self.rocks.compact_range_cf_opt(self.family(name), None::<&[u8]>, None::<&[u8]>, &options);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compaction_needs_less_than_half_of_the_reserve() {
        for total in [64 << 20, 256 << 20, 1 << 30, 8 << 30, 100 << 30_u64] {
            let Sizes { flush, file, base } = Sizes::for_file_system(total);
            let reserve = super::super::space::reserve(total, 0);
            if total >= 256 << 20 {
                // Four flushes make a compaction.
                assert!(4 * flush + base <= reserve / 2, "{total}");
                assert!(FILES_PER_COMPACTION * file <= reserve, "{total}");
            }
        }
    }
}
