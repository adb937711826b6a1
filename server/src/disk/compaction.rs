//! Compactions of the state within the free space: RocksDB writes the new files before it deletes the old ones, and a
//! file that cannot be written ends the process (rule 26).

use std::{path::Path, sync::atomic::Ordering};

use rocksdb::CompactOptions;

use super::database::{CHANGES, DATA, Database, MEMTABLES_BYTES, PAST, SESSION};

/// The column families that become large.
const COMPACTED: [&str; 4] = [DATA, SESSION, PAST, CHANGES];
/// The number of files of the target size that one compaction below the first levels rewrites at most: one, and those of
/// the next level, ten times as large, that it overlaps.
const FILES_PER_COMPACTION: u64 = 12;
/// The free space with which every compaction has enough: these times its usual need.
const SPACE_FACTOR: u64 = 8;

/// The sizes of a state, so that flushes and compactions need a small part of the file system: together less than the
/// reserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    /// The bytes of memtables at which they are flushed: before RocksDB would.
    pub(super) flush: u64,
    /// The size of a table file.
    pub(super) file: u64,
    /// The size of the first level below the flushed files.
    pub(super) base: u64,
    /// The bytes that are written beside a compaction: two flushes and a segment of the log.
    pub(super) beside: u64,
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
        let flush = (total / 128).clamp(1 << 20, MEMTABLES_BYTES as u64 / 3 * 2);
        Sizes {
            flush,
            file: (total / 256).clamp(1 << 20, 32 << 20),
            base: (total / 64).clamp(4 << 20, 128 << 20),
            beside: 2 * flush + gometa_log::Options::for_file_system(total, 0).segment_bytes,
        }
    }

    /// The bytes that one compaction below the first levels reads at most, and so writes; larger work is done in pieces.
    pub(super) fn compaction(&self) -> u64 {
        self.file * FILES_PER_COMPACTION
    }
}

impl Database {
    /// The bytes of memtables at which they are flushed.
    pub(super) fn flush_bytes(&self) -> u64 {
        self.sizes.flush
    }

    /// Permits compactions in the background if the next one has room, and prevents them otherwise.
    pub(super) fn bound_compactions(&self) -> Result<(), rocksdb::Error> {
        let room = self.has_room()?;
        if self.compacts.swap(room, Ordering::Relaxed) != room {
            let disabled = if room { "false" } else { "true" };
            for name in COMPACTED {
                self.rocks.set_options_cf(self.family(name), &[("disable_auto_compactions", disabled)])?;
            }
        }
        Ok(())
    }

    /// Whether the next compaction has room: its files, before the old ones are deleted, and what is written beside it. One
    /// compaction runs at a time.
    fn has_room(&self) -> Result<bool, rocksdb::Error> {
        let Some((free, _)) = self.directory.space() else { return Ok(true) };
        let Sizes { base, beside, .. } = self.sizes;
        let usual = self.sizes.compaction();
        if free >= (usual + base) * SPACE_FACTOR {
            return Ok(true);
        }
        let files = self.rocks.live_files()?;
        let bytes = |level: i32| {
            files.iter().filter(|file| file.level == level).map(|file| file.size as u64).sum::<u64>()
        };
        let next = files.iter().map(|file| file.level).filter(|level| *level > 0).min();
        // A next level that is much larger than it should be is not the one into which the first level is compacted.
        let first = bytes(0) + next.map_or(0, bytes).min(2 * base);
        Ok(free >= first.max(usual) + beside)
    }

    /// Rewrites the state without what was deleted or replaced, in pieces, if that has room; returns whether it did. A
    /// failure is a background error.
    pub(super) fn compact(&self) -> bool {
        if !self.has_room().unwrap_or(false) {
            return false;
        }
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        for name in COMPACTED {
            self.rocks.compact_range_cf_opt(self.family(name), None::<&[u8]>, None::<&[u8]>, &options);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compaction_fits_into_the_reserve() {
        for total in [64 << 20, 256 << 20, 1 << 30, 8 << 30, 100 << 30_u64] {
            let sizes = Sizes::for_file_system(total);
            let Sizes { flush, base, beside, .. } = sizes;
            let reserve = super::super::space::reserve(total, 0);
            if total >= 256 << 20 {
                // Four flushes make a compaction.
                assert!(4 * flush + base <= reserve / 2, "{total}");
                assert!(4 * flush + base + beside <= reserve, "{total}");
                assert!(sizes.compaction() + beside <= reserve, "{total}");
            }
        }
    }
}
