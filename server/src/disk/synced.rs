//! `SYNCED`: the mark of the position up to which the generation is known to be synced.
//!
//! It is written after each sync of the database and read at the opening: a database that ends below the mark has lost
//! writes that this node may have acknowledged. The file has two slots, written alternately, so that a torn write damages
//! the older mark only. The file itself is synced at intervals: an old mark may miss a loss, but never reports a false one.
//!
//! A mark has two parts. RocksDB's sequence number rises with every record of every column family, so it covers hard state
//! and founding, and needs no exception for truncations. The end of the log also detects lost log records under a valid
//! sequence number. It needs an exception: a truncation lowers it, in both slots and synced, before the truncating batch
//! is written. After a crash before that batch the log ends above the mark, after it at the mark; both are valid.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gometa_zab::{Epoch, Zxid};

use super::{DiskError, records};

/// Slots are in different blocks, so that a torn write cannot damage both.
const SLOT_DISTANCE: u64 = 4_096;
const SLOT_SIZE: usize = 36;
/// The interval at which the file is synced while marks change.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The synced position of a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// RocksDB's sequence number.
    pub(super) sequence: u64,
    /// The log's end.
    pub(super) last: Zxid,
}

/// The open file.
pub(super) struct SyncMark {
    path: PathBuf,
    file: File,
    /// The number of the newest mark; its lowest bit is its slot.
    index: u64,
    known: Mark,
    /// The time of the first unsynced mark; `None` if all are synced.
    unsynced_since: Option<Instant>,
}

impl SyncMark {
    /// Creates the file, durable except for its name in the directory.
    pub(super) fn create(path: &Path, mark: Mark) -> Result<(), DiskError> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
        let file = file.map_err(DiskError::file("create", path))?;
        let mut synced =
            SyncMark { path: path.to_owned(), file, index: 0, known: mark, unsynced_since: None };
        synced.lower(mark)
    }

    /// Opens the file and finds the newest mark.
    pub(super) fn open(dir: &Path, path: &Path) -> Result<SyncMark, DiskError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DiskError::damaged(dir, format!("{} is missing", path.display())));
            }
            Err(error) => return Err(DiskError::file("open", path)(error)),
        };
        let mut newest = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT_SIZE];
            match file.read_exact_at(&mut bytes, slot * SLOT_DISTANCE) {
                Ok(()) => newest = newest.max_by_index(decode(&bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(DiskError::file("read", path)(error)),
            }
        }
        let Some((index, known)) = newest else {
            return Err(DiskError::damaged(dir, format!("{} holds no valid mark", path.display())));
        };
        Ok(SyncMark { path: path.to_owned(), file, index, known, unsynced_since: None })
    }

    /// The newest mark.
    pub(super) fn known(&self) -> Mark {
        self.known
    }

    /// Writes a mark after a sync of the database. Syncs the file itself if that is due.
    pub(super) fn raise(&mut self, mark: Mark) -> Result<(), DiskError> {
        self.write(mark)?;
        let since = *self.unsynced_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SYNC_INTERVAL { self.sync() } else { Ok(()) }
    }

    /// Writes a mark whose end of the log may be below the last one's, durably in both slots.
    pub(super) fn lower(&mut self, mark: Mark) -> Result<(), DiskError> {
        for _ in 0..2 {
            self.write(mark)?;
            self.unsynced_since = Some(Instant::now());
            self.sync()?;
        }
        Ok(())
    }

    /// The time until the file should be synced; `None` if it is.
    pub(super) fn sync_due_in(&self) -> Option<Duration> {
        self.unsynced_since.map(|since| SYNC_INTERVAL.saturating_sub(since.elapsed()))
    }

    /// Syncs the file if a mark is not synced.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        if self.unsynced_since.take().is_some() {
            self.file.sync_data().map_err(DiskError::file("sync", &self.path))?;
        }
        Ok(())
    }

    fn write(&mut self, mark: Mark) -> Result<(), DiskError> {
        self.index += 1;
        self.known = mark;
        let offset = (self.index & 1) * SLOT_DISTANCE;
        let bytes = encode(self.index, mark);
        self.file.write_all_at(&bytes, offset).map_err(DiskError::file("write", &self.path))
    }
}

/// Keeps the newer of two marks.
trait Newest {
    fn max_by_index(self, other: Self) -> Self;
}

impl Newest for Option<(u64, Mark)> {
    fn max_by_index(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(two)) => Some(if one.0 > two.0 { one } else { two }),
            (one, two) => one.or(two),
        }
    }
}

fn encode(index: u64, mark: Mark) -> [u8; SLOT_SIZE] {
    let mut bytes = [0; SLOT_SIZE];
    let words = [index, mark.sequence, mark.last.epoch.0, mark.last.counter];
    for (at, word) in words.into_iter().enumerate() {
        bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_be_bytes());
    }
    let sum = records::checksum(&bytes[..32]);
    bytes[32..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT_SIZE]) -> Option<(u64, Mark)> {
    let word =
        |at: usize| bytes[at * 8..at * 8 + 8].iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    if records::checksum(&bytes[..32]).to_be_bytes() != bytes[32..] {
        return None;
    }
    let last = Zxid { epoch: Epoch(word(2)), counter: word(3) };
    Some((word(0), Mark { sequence: word(1), last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(n: u64) -> Mark {
        Mark { sequence: n * 10, last: Zxid::new(1, n) }
    }

    #[test]
    fn a_torn_write_loses_only_the_mark_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("SYNCED");
        SyncMark::create(&path, mark(0)).unwrap();
        for n in 1..20 {
            let mut synced = SyncMark::open(dir.path(), &path).unwrap();
            assert_eq!(synced.known(), mark(n - 1));
            synced.raise(mark(n)).unwrap();
            let whole = std::fs::read(&path).unwrap();
            let slot = (synced.index & 1) * SLOT_DISTANCE;
            for torn in 0..SLOT_SIZE {
                synced.file.write_all_at(&[whole[slot as usize + torn] ^ 0x40], slot + torn as u64).unwrap();
                assert_eq!(SyncMark::open(dir.path(), &path).unwrap().known(), mark(n - 1));
                synced.file.write_all_at(&whole[slot as usize..], slot).unwrap();
            }
            assert_eq!(SyncMark::open(dir.path(), &path).unwrap().known(), mark(n));
        }
    }

    #[test]
    fn a_lowered_mark_stands_whichever_slot_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("SYNCED");
        SyncMark::create(&path, mark(7)).unwrap();
        let mut synced = SyncMark::open(dir.path(), &path).unwrap();
        synced.raise(mark(9)).unwrap();
        synced.lower(mark(3)).unwrap();
        for slot in [0, SLOT_DISTANCE] {
            let whole = std::fs::read(&path).unwrap();
            synced.file.write_all_at(&[0xff; SLOT_SIZE], slot).unwrap();
            assert_eq!(SyncMark::open(dir.path(), &path).unwrap().known(), mark(3));
            std::fs::write(&path, whole).unwrap();
        }
    }

    #[test]
    fn a_file_without_a_mark_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("SYNCED");
        assert!(matches!(SyncMark::open(dir.path(), &path), Err(DiskError::Damaged { .. })));
        std::fs::write(&path, [0; 9_000]).unwrap();
        assert!(matches!(SyncMark::open(dir.path(), &path), Err(DiskError::Damaged { .. })));
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(SyncMark::open(dir.path(), &path), Err(DiskError::Damaged { .. })));
    }
}
