//! The seeded disk of one node: a durable image, and a tail of writes that a crash may lose.
//!
//! Writes are one FIFO. The writer takes everything queued (or a part of it) as one group; when the group's sync
//! is done, its log writes and whatever stands before the last of them are durable. A write to the table alone
//! is done without a sync: it is readable, but stays in the tail until a later log write is synced. A crash
//! keeps a random prefix of the tail, whole writes.
//!
//! Left out so far: torn and flipped records, full disks, dropped syncs, old images.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use bytes::Bytes;
use gometa_node::Write;
use gometa_store::{Checkpoint, MemoryTable, Space, Table};
use gometa_zab::{Founding, HardState, Incarnation, LogEntry, Recovered, Token, Zxid};

use crate::{random::Random, settings::DiskSettings};

/// What storage holds at some point of its FIFO of writes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Image {
    /// Promises.
    pub hard_state: HardState,
    /// The genesis.
    pub founding: Option<Founding>,
    /// The log; the entry with counter c stands at c - 1.
    pub log: Vec<LogEntry>,
}

impl Image {
    /// The last entry's zxid.
    pub fn last(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |entry| entry.zxid)
    }

    /// Whether the log holds this zxid; the genesis is in every log.
    pub fn contains(&self, zxid: Zxid) -> bool {
        match zxid.counter.checked_sub(1) {
            None => zxid == Zxid::ZERO,
            Some(at) => self.log.get(at as usize).is_some_and(|entry| entry.zxid == zxid),
        }
    }

    /// Ascending: each epoch that has entries, with its last counter.
    pub fn boundaries(&self) -> Vec<Zxid> {
        let mut boundaries: Vec<Zxid> = Vec::new();
        let mut end = self.log.len();
        while let Some(at) = end.checked_sub(1) {
            let last = self.log[at].zxid;
            boundaries.push(last);
            end = self.log[..end].partition_point(|entry| entry.zxid.epoch < last.epoch);
        }
        boundaries.reverse();
        boundaries
    }

    fn write(&mut self, write: &gometa_zab::Write) {
        match write {
            gometa_zab::Write::Append(entries) => self.log.extend(entries.iter().cloned()),
            gometa_zab::Write::Truncate(zxid) => self.log.truncate(zxid.counter as usize),
            gometa_zab::Write::HardState(hard_state) => self.hard_state = *hard_state,
            gometa_zab::Write::Founding(founding) => self.founding = Some(founding.clone()),
        }
    }
}

/// The table as the node reads it: everything issued, durable or not.
#[derive(Clone, Default, Debug)]
pub struct TableView(Rc<RefCell<MemoryTable>>);

impl TableView {
    /// A view of a table.
    pub fn of(table: MemoryTable) -> TableView {
        TableView(Rc::new(RefCell::new(table)))
    }

    /// Writes a batch.
    pub fn write(&self, batch: &gometa_store::Batch) {
        self.0.borrow_mut().write(batch);
    }
}

impl Table for TableView {
    fn checkpoint(&self) -> Checkpoint {
        self.0.borrow().checkpoint()
    }

    fn get(&self, space: Space, key: &[u8]) -> Option<Bytes> {
        self.0.borrow().get(space, key)
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.0.borrow().scan(space, visit);
    }
}

#[derive(Clone, Debug)]
struct Pending {
    token: Token,
    write: Write,
}

impl Pending {
    fn needs_sync(&self) -> bool {
        matches!(self.write, Write::Zab(_))
    }
}

/// What a finished group means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Report this.
    pub token: Token,
    /// The durable image has changed.
    pub synced: bool,
}

/// What a crash cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lost {
    /// Writes of any kind.
    pub writes: usize,
    /// Log entries.
    pub entries: usize,
    /// Unsynced writes that survived by luck.
    pub kept: usize,
}

/// One node's storage.
#[derive(Debug)]
pub struct Disk {
    settings: DiskSettings,
    /// Which data directory this is.
    pub incarnation: Incarnation,
    /// Starts so far.
    pub boots: u64,
    /// What certainly survives a crash.
    pub durable: Image,
    durable_table: MemoryTable,
    /// What the node has issued, all of it.
    pub issued: Image,
    /// The table the node reads.
    pub table: TableView,
    tail: VecDeque<Pending>,
    /// How many of the tail's first writes are done without being durable.
    done: usize,
    /// How many of the tail's writes after those are being written; 0 while idle.
    busy: usize,
}

impl Disk {
    /// An empty data directory.
    pub fn new(incarnation: Incarnation, settings: DiskSettings) -> Disk {
        Disk {
            settings,
            incarnation,
            boots: 0,
            durable: Image::default(),
            durable_table: MemoryTable::default(),
            issued: Image::default(),
            table: TableView::default(),
            tail: VecDeque::new(),
            done: 0,
            busy: 0,
        }
    }

    /// No more faults.
    pub fn calm(&mut self) {
        let sync_max = self.settings.sync_max.min(1_000);
        self.settings = DiskSettings { sync_max, stall: 0, error: 0, ..self.settings.clone() };
    }

    /// What a process finds at its start. Must follow a crash, or be the first.
    pub fn recover(&mut self) -> Recovered {
        debug_assert!(self.tail.is_empty());
        self.boots += 1;
        Recovered {
            hard_state: self.durable.hard_state,
            founding: self.durable.founding.clone(),
            oldest: Zxid::ZERO,
            boundaries: self.durable.boundaries(),
            applied: self.durable_table.checkpoint().applied,
        }
    }

    /// Every sync fails from now on, or none but by chance; for scenarios made by hand.
    pub fn set_failing(&mut self, failing: bool) {
        self.settings.error = if failing { 1_000_000 } else { 0 };
    }

    /// Queues a write; the node sees it at once.
    pub fn issue(&mut self, token: Token, write: Write) {
        match &write {
            Write::Zab(write) => self.issued.write(write),
            Write::Apply(batch) => self.table.write(batch),
        }
        self.tail.push_back(Pending { token, write });
    }

    /// Starts on what is queued, if idle; says how long it takes, in microseconds, and whether it will fail.
    pub fn start(&mut self, random: &mut Random) -> Option<(u64, bool)> {
        let queued = self.tail.len() - self.done;
        if self.busy > 0 || queued == 0 {
            return None;
        }
        self.busy = if random.chance(self.settings.partial) { 1 + random.index(queued) } else { queued };
        let sync = self.tail.iter().skip(self.done).take(self.busy).any(Pending::needs_sync);
        if !sync {
            return Some((random.between(2, 40), false));
        }
        let DiskSettings { sync_min, sync_max, stall, stall_max, error, .. } = self.settings;
        let span = random.between(0, sync_max.saturating_sub(sync_min));
        let mut time = sync_min + random.between(0, span);
        if random.chance(stall) {
            time += random.below(stall_max);
        }
        Some((time, random.chance(error)))
    }

    /// The group under way is done.
    pub fn finish(&mut self) -> Option<Done> {
        let through = self.done + std::mem::take(&mut self.busy);
        let token = self.tail.get(through.checked_sub(1)?)?.token;
        let synced = self.tail.iter().take(through).skip(self.done).rposition(Pending::needs_sync);
        let Some(last) = synced else {
            self.done = through;
            return Some(Done { token, synced: false });
        };
        let durable = self.done + last + 1;
        for _ in 0..durable {
            self.harden();
        }
        self.done = through - durable;
        Some(Done { token, synced: true })
    }

    fn harden(&mut self) {
        match self.tail.pop_front().map(|pending| pending.write) {
            Some(Write::Zab(write)) => self.durable.write(&write),
            Some(Write::Apply(batch)) => self.durable_table.write(&batch),
            None => {}
        }
    }

    /// Log, hard state and founding writes that were issued and are not durable.
    pub fn unsynced(&self) -> usize {
        self.tail.iter().filter(|pending| pending.needs_sync()).count()
    }

    /// The process ends: a prefix of the tail, of a random length, becomes durable; the rest is gone.
    pub fn crash(&mut self, random: &mut Random) -> Lost {
        let kept = match random.below(3) {
            0 => 0,
            1 => self.tail.len(),
            _ => random.index(self.tail.len() + 1),
        };
        for _ in 0..kept {
            self.harden();
        }
        let entries = self.tail.iter().map(|pending| match &pending.write {
            Write::Zab(gometa_zab::Write::Append(entries)) => entries.len(),
            _ => 0,
        });
        let lost = Lost { writes: self.tail.len(), entries: entries.sum(), kept };
        self.tail.clear();
        self.done = 0;
        self.busy = 0;
        self.issued = self.durable.clone();
        self.table = TableView::of(self.durable_table.clone());
        lost
    }

    /// The data directory is gone; a new one is made.
    pub fn wipe(&mut self, incarnation: Incarnation) {
        *self = Disk::new(incarnation, self.settings.clone());
    }

    /// Counter of the last entry that the node has applied.
    pub fn applied(&self) -> u64 {
        self.table.checkpoint().applied
    }

    /// Reads log entries from `from` to `to`, stopping before the entry that exceeds `bytes_max` in all.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let start = from.saturating_sub(1) as usize;
        for entry in self.issued.log.iter().take(to as usize).skip(start) {
            bytes += entry.size();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
