//! `SYNCED`: the mark of the last batch that is known to be synced.
//!
//! It is written after each sync and read at the opening: a log that ends below it has lost something that the node may
//! have acknowledged. It also names the last segment, so that a lost truncation is found. The two slots are in different
//! blocks and written alternately, so that a torn write damages the older mark only. The file is synced at intervals: a
//! mark that is too old may miss a loss, but never reports a false one.
//!
//! | slot, at 0 and 4,096 | bytes |
//! |---|---|
//! | checksum of the rest | 4 |
//! | number of the mark, odd in the second slot | 8 |
//! | number of the last batch | 8 |
//! | number of the last segment | 8 |

use std::io;

use bytes::{Buf, BufMut};

use crate::file::{Directory, File, Usage};

/// The name of the file.
pub(crate) const NAME: &str = "SYNCED";
/// The damage of a file without a mark.
pub(crate) const NONE: &str = "there is no valid mark";
const SLOT_DISTANCE: u64 = 4_096;
const SLOT_SIZE: usize = 28;

/// What is known to be synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    /// The number of the last batch.
    pub(crate) batch: u64,
    /// The number of the last segment.
    pub(crate) segment: u64,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct MarkFile<F> {
    file: F,
    index: u64,
    known: Mark,
    synced: bool,
}

impl<F: File> MarkFile<F> {
    /// Creates the file, durable except for its name in the directory.
    pub(crate) fn create<D: Directory<File = F>>(directory: &D) -> io::Result<MarkFile<F>> {
        let file = directory.create(NAME, Usage::Mark)?;
        let mut marks = MarkFile { file, index: 1, known: Mark::default(), synced: false };
        for _ in 0..2 {
            marks.raise(Mark::default())?;
        }
        marks.sync()?;
        Ok(marks)
    }

    /// Opens the file and finds the newest mark; `None` if it has none.
    pub(crate) fn open<D: Directory<File = F>>(
        directory: &D,
        usage: Usage,
    ) -> io::Result<Option<MarkFile<F>>> {
        let file = match directory.open(NAME, usage) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut newest = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT_SIZE];
            match file.read_at(slot * SLOT_DISTANCE, &mut bytes) {
                Ok(()) => newest = newest.max(decode(&bytes).filter(|(index, ..)| index & 1 == slot)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
            }
        }
        let Some((index, batch, segment)) = newest else { return Ok(None) };
        // What was read may be in the page cache only.
        Ok(Some(MarkFile { file, index, known: Mark { batch, segment }, synced: false }))
    }

    /// The newest mark.
    pub(crate) fn known(&self) -> Mark {
        self.known
    }

    /// Whether the newest mark is synced.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Writes a mark; it is not synced yet.
    pub(crate) fn raise(&mut self, mark: Mark) -> io::Result<()> {
        self.index += 1;
        self.known = mark;
        self.synced = false;
        let slot = self.index & 1;
        self.file.write_at(slot * SLOT_DISTANCE, &encode(self.index, mark))
    }

    /// Syncs the file if the newest mark is not synced.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.file.sync_data()?;
            self.synced = true;
        }
        Ok(())
    }
}

fn encode(index: u64, mark: Mark) -> [u8; SLOT_SIZE] {
    let mut bytes = [0; SLOT_SIZE];
    let mut fields = &mut bytes[4..];
    fields.put_u64(index);
    fields.put_u64(mark.batch);
    fields.put_u64(mark.segment);
    let checksum = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT_SIZE]) -> Option<(u64, u64, u64)> {
    let mut fields = &bytes[..];
    let checksum = fields.get_u32();
    (checksum == crc32c::crc32c(fields)).then(|| (fields.get_u64(), fields.get_u64(), fields.get_u64()))
}
