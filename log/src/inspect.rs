//! Looking at a log without changing it.

use gometa_zab::LogEntry;

use crate::{
    error::{Damage, OpenError, ReadError},
    file::{Directory, Usage},
    index::Index,
    layout::segment_number,
    mark::{self, MarkFile},
    open::{Recovered, recovered},
    reader::{Reader, SharedIndex},
    walk::{self, SegmentSummary},
};

/// The bytes of entries that are held at once.
const READ_BYTES: usize = 1 << 20;

/// A log that was read through. Nothing was changed: no file is created, synced or repaired.
pub struct Inspection<D: Directory> {
    /// The segments with valid headers that were looked at, in order.
    pub segments: Vec<SegmentSummary>,
    /// All damage found, from the oldest segment to the newest. Some of it may concern only what is not needed any more.
    pub damage: Vec<Damage>,
    /// What the log says through the last valid batch; `None` if the last segment cannot be read.
    pub recovered: Option<Recovered>,
    /// The number of the last batch that is known to be synced, if the mark is valid.
    pub synced: Option<u64>,
    /// Other files in the directory.
    pub others: Vec<String>,
    reader: Reader<D>,
}

impl<D: Directory> Inspection<D> {
    /// Reads a log that no process has open. Fails only on errors of the file system and on newer formats.
    pub fn read(directory: D) -> Result<Inspection<D>, OpenError> {
        let names = directory.list().map_err(OpenError::io("list", directory.describe("")))?;
        let file = directory.describe(mark::NAME);
        let mark = MarkFile::open(&directory, Usage::Read).map_err(OpenError::io("read", file.clone()))?;
        let mark = mark.map(|mark| mark.known());
        let reading = walk::read(&directory, &names, Usage::Read, mark.unwrap_or_default())?;
        let mut damage = reading.below;
        damage.extend(reading.last);
        if mark.is_none() {
            damage.push(Damage { file, offset: 0, what: mark::NONE.to_owned() });
        }
        let found = reading.walk.as_ref().map(|walk| recovered(walk, 0, Vec::new()));
        let index = reading.walk.map_or(Index::new(0), |walk| walk.index);
        let others = names.into_iter().filter(|name| segment_number(name).is_none() && name != mark::NAME);
        Ok(Inspection {
            segments: reading.segments,
            damage,
            recovered: found,
            synced: mark.map(|mark| mark.batch),
            others: others.collect(),
            reader: Reader { directory, index: SharedIndex::new(index) },
        })
    }

    /// Gives `each` the entries from one counter through another, one after the other, those above the base. Stops when it
    /// returns false.
    pub fn entries(
        &self,
        from: u64,
        to: u64,
        mut each: impl FnMut(LogEntry) -> bool,
    ) -> Result<(), ReadError> {
        let base = self.recovered.as_ref().map_or(0, |recovered| recovered.base.counter);
        let mut next = from.max(base + 1);
        loop {
            let entries = self.reader.read(next, to, READ_BYTES)?;
            if entries.is_empty() {
                return Ok(());
            }
            next += entries.len() as u64;
            for entry in entries {
                if !each(entry) {
                    return Ok(());
                }
            }
        }
    }
}
