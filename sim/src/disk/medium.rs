//! What stands on a disk, as bytes: the records that `gometa_codec::storage` makes, and what a start makes of them.
//!
//! A start believes nothing: every record is decoded, every link to a predecessor compared, and the whole held
//! against the mark of what was once synced, as the server's `disk/recovery.rs` does. The table's records are kept
//! as they are: their checksums are RocksDB's.

use std::rc::Rc;

use bytes::Bytes;
use gometa_codec::storage;
use gometa_store::MemoryTable;
use gometa_zab::{Configuration, Founding, HardState, LogEntry, Write, Zxid};

/// What storage holds at some point of its FIFO of writes.
#[derive(Clone, PartialEq, Hash, Debug, Default)]
pub struct Image {
    /// Promises.
    pub hard_state: HardState,
    /// The genesis.
    pub founding: Option<Founding>,
    /// The base of the log.
    pub base: Zxid,
    /// The log; the entry with counter c stands at c - 1. Those through the base are deleted, and known only here, for
    /// whoever compares logs.
    pub log: Vec<LogEntry>,
}

/// A snapshot of a node's state.
#[derive(Debug)]
pub struct Snapshot {
    /// What it is called: the zxid of the last entry applied in it.
    pub at: Zxid,
    /// The table.
    pub table: MemoryTable,
    /// The log through that entry, which no snapshot has: for whoever compares logs.
    pub log: Vec<LogEntry>,
}

/// What a write means beyond its records.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Nothing.
    None,
    /// A compaction: the base that the files get, which may be below the one that the node assumes, and the log through it.
    Compacted(Zxid, Rc<Vec<LogEntry>>),
    /// The snapshot that is installed.
    Installed(Rc<Snapshot>),
}

impl Image {
    /// The last entry's zxid.
    pub fn last(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |entry| entry.zxid)
    }

    /// The configurations of the log's entries, ascending.
    pub fn configurations(&self) -> Vec<Configuration> {
        self.log.iter().filter_map(LogEntry::configuration).collect()
    }

    /// Whether the log holds this zxid; the genesis is in every log.
    pub fn contains(&self, zxid: Zxid) -> bool {
        match zxid.counter.checked_sub(1) {
            None => zxid == Zxid::ZERO,
            Some(at) => self.log.get(at as usize).is_some_and(|entry| entry.zxid == zxid),
        }
    }

    /// Ascending: each epoch that has entries above the base, with its last counter.
    pub fn boundaries(&self) -> Vec<Zxid> {
        let mut boundaries: Vec<Zxid> = Vec::new();
        let mut end = self.log.len();
        while end > self.base.counter as usize {
            let last = self.log[end - 1].zxid;
            boundaries.push(last);
            end = self.log[..end].partition_point(|entry| entry.zxid.epoch < last.epoch);
        }
        boundaries.reverse();
        boundaries
    }

    pub(super) fn write(&mut self, write: &Write, content: &Content) {
        match write {
            Write::Append(entries) => self.log.extend(entries.iter().cloned()),
            Write::Truncate(zxid) => self.log.truncate(zxid.counter as usize),
            Write::HardState(hard_state) => self.hard_state = *hard_state,
            Write::Founding(founding) => self.founding = Some(founding.clone()),
            Write::Compact(to) => self.base = *to,
            Write::Install(at) => {
                self.base = *at;
                if let Content::Installed(snapshot) = content {
                    self.log.clone_from(&snapshot.log);
                }
            }
        }
    }
}

/// Why a process cannot start on what its disk holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// No space is left; once there is, it can.
    Full,
    /// Something in it is not whole, or contradicts the rest.
    Damaged(String),
    /// It ends below what was once synced.
    Lost(String),
}

/// How far a disk is known to have been synced: the server's `SYNCED`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// Writes.
    pub(super) sequence: u64,
    /// The log's end.
    pub(super) last: Zxid,
}

/// The records that a write puts on a disk; none for a truncation. An entry follows the one
/// that `issued` has before it.
pub(super) fn records(write: &Write, issued: &Image) -> Vec<Bytes> {
    match write {
        Write::Append(entries) => {
            let mut previous = issued.last();
            let record = |entry: &LogEntry| {
                let before = std::mem::replace(&mut previous, entry.zxid);
                let follows = before.counter + 1 == entry.zxid.counter && before.epoch <= entry.zxid.epoch;
                // The codec makes no record that cannot follow. One that does not is found by its link.
                let other = Zxid { counter: entry.zxid.counter.saturating_sub(1), ..entry.zxid };
                storage::encode_log_entry(if follows { before } else { other }, entry)
            };
            entries.iter().map(record).collect()
        }
        Write::HardState(hard_state) => vec![storage::encode_hard_state(hard_state)],
        Write::Founding(founding) => vec![storage::encode_founding(founding)],
        Write::Truncate(_) | Write::Compact(_) | Write::Install(_) => Vec::new(),
    }
}

/// The files of a data directory.
#[derive(Clone, Debug)]
pub(super) struct Medium {
    /// Writes so far.
    pub(super) sequence: u64,
    pub(super) hard_state: Bytes,
    pub(super) founding: Option<Bytes>,
    /// The base of the log.
    pub(super) base: Zxid,
    /// The log through its base, for whoever compares logs.
    pub(super) deleted: Rc<Vec<LogEntry>>,
    /// The records of the entries above the base.
    pub(super) log: Vec<Bytes>,
    /// The snapshot that has replaced the table, if a write has.
    pub(super) snapshot: Option<Rc<Snapshot>>,
    /// The highest counter that a write was issued with.
    pub(super) released: u64,
}

impl Medium {
    /// A new directory.
    pub(super) fn new() -> Medium {
        Medium {
            sequence: 0,
            hard_state: storage::encode_hard_state(&HardState::default()),
            founding: None,
            base: Zxid::ZERO,
            deleted: Rc::default(),
            log: Vec::new(),
            snapshot: None,
            released: 0,
        }
    }

    /// One write more, whose records these are.
    pub(super) fn write(&mut self, write: &Write, records: &[Bytes], content: &Content, released: u64) {
        self.sequence += 1;
        self.released = self.released.max(released);
        match write {
            Write::Append(_) => self.log.extend(records.iter().cloned()),
            Write::Truncate(to) => self.log.truncate((to.counter - self.base.counter) as usize),
            Write::HardState(_) => {
                self.hard_state = records.first().cloned().unwrap_or_default();
            }
            Write::Founding(_) => self.founding = records.first().cloned(),
            Write::Compact(_) => {
                if let Content::Compacted(base, deleted) = content
                    && base.counter > self.base.counter
                {
                    self.log.drain(..(base.counter - self.base.counter) as usize);
                    (self.base, self.deleted) = (*base, deleted.clone());
                }
            }
            Write::Install(at) => {
                self.base = *at;
                self.log.clear();
                if let Content::Installed(snapshot) = content {
                    self.deleted = Rc::new(snapshot.log.clone());
                    self.snapshot = Some(snapshot.clone());
                }
            }
        }
    }

    /// What the records say, if each is whole and all agree with each other, with the mark, and with the table, which is
    /// applied through a counter.
    pub(super) fn open(&self, mark: Mark, applied: u64) -> Result<Image, Refused> {
        let damaged = |what: &str, why: &dyn std::fmt::Display| Refused::Damaged(format!("{what}: {why}"));
        if self.sequence < mark.sequence {
            let (sequence, marked) = (self.sequence, mark.sequence);
            return Err(Refused::Lost(format!("it ends at write {sequence}, and {marked} was synced")));
        }
        let hard_state = storage::decode_hard_state(&self.hard_state);
        let hard_state = hard_state.map_err(|error| damaged("hard state", &error))?;
        let founding = self.founding.as_ref().map(|record| storage::decode_founding(record)).transpose();
        let founding = founding.map_err(|error| damaged("founding", &error))?;
        let above = read(&self.log, self.base, self.base.counter + 1, u64::MAX, usize::MAX)?;
        let log = self.deleted.iter().cloned().chain(above).collect();
        let image = Image { hard_state, founding, base: self.base, log };
        let last = image.last();
        if last < mark.last {
            return Err(Refused::Lost(format!("the log ends at {last}, and {} was synced", mark.last)));
        }
        if last.counter < applied {
            return Err(Refused::Lost(format!("the log ends at {last}, and {applied} was applied")));
        }
        if applied < self.base.counter {
            let base = self.base;
            return Err(damaged(
                "table",
                &format!("applied through {applied}, and the log begins above {base}"),
            ));
        }
        if last != Zxid::ZERO && !image.founding.as_ref().is_some_and(|founding| founding.sealed) {
            return Err(damaged("founding", &"there is a log, and nothing is sealed"));
        }
        if hard_state.accepted_epoch < last.epoch {
            return Err(damaged("hard state", &format!("{hard_state:?} below the log's end {last}")));
        }
        Ok(image)
    }
}

/// Which record has a wrong bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flipped {
    /// The log entry with this counter.
    Entry(u64),
    /// Another one, perhaps one that has been replaced since.
    Other,
}

/// Reads the entries with the counters `from` to `to`, as far as there are any, and stops before the one that
/// exceeds `bytes_max` in all, but not before the first. The log begins above `base`.
pub(super) fn read(
    log: &[Bytes],
    base: Zxid,
    from: u64,
    to: u64,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, Refused> {
    let damaged = |counter: u64, why: String| Refused::Damaged(format!("log entry {counter}: {why}"));
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut bytes = 0;
    let mut previous = None;
    let first = base.counter + 1;
    for counter in from.max(first)..=to.min(base.counter + log.len() as u64) {
        let record = storage::decode_log_entry(counter, log[(counter - first) as usize].clone());
        let record = record.map_err(|error| damaged(counter, error.to_string()))?;
        let expected = previous.replace(record.entry.zxid);
        let expected = if counter == first { Some(base) } else { expected };
        if expected.is_some_and(|expected| expected != record.previous) {
            return Err(damaged(counter, format!("follows {}, not {expected:?}", record.previous)));
        }
        bytes += record.entry.size();
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(record.entry);
    }
    Ok(entries)
}
