//! The expected content of a disk, which a start compares with what it finds.

use std::rc::Rc;

use gometa_store::MemoryTable;
use gometa_zab::{Configuration, Founding, HardState, LogEntry, Token, Write, Zxid};

/// What storage holds at some point of its FIFO of writes.
#[derive(Clone, PartialEq, Hash, Debug, Default)]
pub struct Image {
    /// Promises.
    pub hard_state: HardState,
    /// The genesis.
    pub founding: Option<Founding>,
    /// The base of the log.
    pub base: Zxid,
    /// The log; the entry with counter c is at index c - 1. Those through the base are deleted on the disk, and kept here for
    /// comparisons of logs.
    pub log: Vec<LogEntry>,
}

/// A snapshot of a node's state.
#[derive(Debug)]
pub struct Snapshot {
    /// The zxid of the last entry applied in it, which names it.
    pub at: Zxid,
    /// The table.
    pub table: MemoryTable,
    /// The log through that entry, for comparisons of logs; a real snapshot has none.
    pub log: Vec<LogEntry>,
}

/// A write to the log that was issued and not reported durable.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) token: Token,
    pub(super) write: Write,
    /// The counter through which entries were released when it was issued.
    pub(super) released: u64,
    pub(super) content: Content,
}

/// The effect of a write beyond its records.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Nothing.
    None,
    /// A compaction on an abstracted disk: the base that a start finds, which may be below the one that the node assumes.
    Compacted(Zxid),
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

    /// Those of the entries above the base.
    pub(super) fn logged(&self) -> Vec<Configuration> {
        let mut logged = self.configurations();
        logged.retain(|configuration| configuration.version().counter > self.base.counter);
        logged
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

    /// The entries from `from` to `to` above the base; the first, and further ones up to `bytes_max` bytes in all.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        let first = from.max(1) as usize - 1;
        if from <= self.base.counter || first >= self.log.len() {
            return Vec::new();
        }
        let through = (to as usize).min(self.log.len()).max(first);
        let mut bytes = 0;
        let fits = |entry: &&LogEntry| {
            let is_first = bytes == 0;
            bytes += entry.size();
            is_first || bytes <= bytes_max
        };
        self.log[first..through].iter().take_while(fits).cloned().collect()
    }

    /// Checks what the protocol requires of a log beyond the log's own checks, like the server's `disk/recovery.rs`.
    pub(super) fn check(&self) -> Result<(), Refused> {
        let last = self.last();
        if last != Zxid::ZERO && !self.founding.as_ref().is_some_and(|founding| founding.sealed) {
            return Err(Refused::Damaged(format!("the log ends at {last}, and nothing is sealed")));
        }
        if self.hard_state.accepted_epoch < last.epoch {
            return Err(Refused::Damaged(format!("{:?} below the log's end {last}", self.hard_state)));
        }
        Ok(())
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
    /// The log or the table is damaged, or one contradicts the other.
    Damaged(String),
    /// The device has failed; a start can be tried again.
    Failed(String),
    /// The start has accepted a log that is not what was written, or that lacks what was reported durable.
    Wrong(String),
}

/// Which record has a wrong bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flipped {
    /// The log entry with this counter.
    Entry(u64),
    /// Another one, perhaps one that has been replaced since.
    Other,
}
