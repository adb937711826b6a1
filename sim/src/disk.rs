//! The seeded disk of one node: synced files, a write-ahead log behind them, and what a crash makes of the two.
//!
//! Writes to the log are one FIFO. The writer takes everything queued (or a part of it) as one group, which is durable
//! when its sync is done. Log entries, hard state and founding are kept as the bytes that the codec makes, and decoded at
//! every start and every read. The table's batches are another FIFO, with a medium of its own (`batches`).
//!
//! # Crashes and starts
//!
//! The end of a *process* leaves a prefix of what was not synced in the page cache, of a random length. A loss of
//! *power* loses that too, again but for a prefix; the write behind it may be torn, and ends the log for a process that
//! reads it. A start reads what there is, proves it, writes it to synced files, and only then starts the node:
//! what a failed sync left in the page cache is durable from then on, and lost if the power goes before.
//!
//! # Damage
//!
//! [`Disk::drop_next_sync`], [`Disk::flip`], [`Disk::spoil`], [`Disk::roll_back`], and a full disk by
//! [`Disk::set_full`]. The first four break what a disk promises. They are held against the mark, the server's
//! `SYNCED`, which says how far the disk was once synced: it is current after the end of a process, and after a loss of
//! power may be as old as a second. What was lost behind it cannot be distinguished from what was never synced, so no
//! storage can answer for it, and it is not simulated: a dropped sync that the mark does not cover turns out to have
//! reached the disk after all. A whole directory replaced by an older copy of itself, mark included, is the same case,
//! and not simulated either.
//!
//! # Left out
//!
//! Damaged records of the table: RocksDB's checksums find them when they are read, and a table has no way to say
//! so here.

mod batches;
mod medium;
mod steps;

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use bytes::Bytes;
use gometa_store::{Batch, MemoryTable, Table};
use gometa_zab::{Founding, Incarnation, LogEntry, Recovered, Token, Write, Zxid};

use self::{
    batches::Batches,
    medium::{Content, Mark, Medium},
};
pub use self::{
    batches::TableView,
    medium::{Flipped, Image, Refused, Snapshot},
};
use crate::{
    random::Random,
    settings::{DiskSettings, MILLISECOND, SECOND},
};

/// The mark is synced this long after it was written, in microseconds.
const MARK_INTERVAL: u64 = SECOND;
/// Syncs from this long on are called stalls, in microseconds.
pub const STALL: u64 = 10 * MILLISECOND;

/// A write in the write-ahead log, or in flight there.
#[derive(Clone, Debug)]
struct Pending {
    token: Token,
    write: Write,
    /// The counter through which entries were released when it was issued.
    released: u64,
    records: Vec<Bytes>,
    content: Content,
    /// False: recovery ends before it.
    whole: bool,
    /// Its sync was reported, and did nothing.
    dropped: bool,
}

/// What a finished group means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Report this.
    pub token: Token,
    /// The sync was reported, and did nothing.
    pub dropped: bool,
    /// The token of an installation: [`Disk::table`] is another one from now on.
    pub installed: Option<Token>,
}

/// What a crash lost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lost {
    /// Writes to the log.
    pub writes: usize,
    /// Log entries.
    pub entries: usize,
    /// Unsynced writes that survived.
    pub kept: usize,
    /// The first write lost is half there.
    pub torn: bool,
    /// Writes whose sync was reported are gone.
    pub dropped: bool,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It is killed, or ends by itself; the page cache stays.
    Killed,
    /// The machine loses power, and with it the page cache.
    PowerLost,
}

/// One node's storage.
#[derive(Debug)]
pub struct Disk {
    settings: DiskSettings,
    /// Which data directory this is.
    pub incarnation: Incarnation,
    /// Starts so far.
    pub boots: u64,
    /// What certainly survives a crash, unless the disk breaks its promises.
    pub durable: Image,
    /// What the node has issued, all of it.
    pub issued: Image,
    /// The entries above `issued_base`, as records. A compaction leaves them here.
    issued_log: Vec<Bytes>,
    issued_base: Zxid,
    /// Complete snapshots that the node has not decided on.
    received: BTreeMap<Zxid, Rc<Snapshot>>,
    /// The table the node reads.
    pub table: TableView,
    batches: Batches,
    /// As the last start wrote them.
    files: Medium,
    /// Everything issued since, behind what `files` holds.
    wal: VecDeque<Pending>,
    /// How many of the first of these are synced.
    synced: usize,
    /// How many of those behind are being written; 0 while idle.
    busy: usize,
    /// Which group is being written, or was last.
    pub group: u64,
    mark: Mark,
    /// The mark after a loss of power.
    mark_synced: Mark,
    /// Since when they differ.
    mark_since: Option<u64>,
    dropping: bool,
    full: bool,
}

impl Disk {
    /// An empty data directory.
    pub fn new(incarnation: Incarnation, settings: DiskSettings) -> Disk {
        let mark = Mark { sequence: 0, last: Zxid::ZERO };
        Disk {
            settings,
            incarnation,
            boots: 0,
            durable: Image::default(),
            issued: Image::default(),
            issued_log: Vec::new(),
            issued_base: Zxid::ZERO,
            received: BTreeMap::new(),
            table: TableView::default(),
            batches: Batches::default(),
            files: Medium::new(),
            wal: VecDeque::new(),
            synced: 0,
            busy: 0,
            group: 0,
            mark,
            mark_synced: mark,
            mark_since: None,
            dropping: false,
            full: false,
        }
    }

    /// The directory of a node that was in an ensemble from the first; for scenarios of a test.
    pub fn founded(incarnation: Incarnation, settings: DiskSettings, founding: Founding) -> Disk {
        let mut disk = Disk::new(incarnation, settings);
        let write = Write::Founding(founding.clone());
        disk.files.write(&write, &medium::records(&write, &disk.issued), &Content::None, 0);
        disk.durable.founding = Some(founding.clone());
        disk.issued.founding = Some(founding);
        disk
    }

    /// Ends all faults; what is damaged stays damaged.
    pub fn end_faults(&mut self) {
        let [sync_max, table_max, read_max] =
            [self.settings.sync_max, self.settings.table_max, self.settings.read_max]
                .map(|max| max.min(1_000));
        let fast = DiskSettings { sync_max, table_max, read_max, ..self.settings.clone() };
        self.settings = DiskSettings { stall: 0, error: 0, ..fast };
        self.full = false;
        self.dropping = false;
    }

    /// What a process finds at its start, which is durable from now on. Must follow a crash, or be the first.
    ///
    /// # Errors
    /// Why it cannot start. Nothing is changed then.
    pub fn recover(&mut self) -> Result<Recovered, Refused> {
        let (mut files, image) = self.look()?;
        if let Some(snapshot) = files.snapshot.take() {
            self.batches.replace(snapshot.table.clone());
        }
        let released = files.released;
        self.boots += 1;
        self.issued_log.clone_from(&files.log);
        self.issued_base = files.base;
        self.received.clear();
        self.mark = Mark { sequence: files.sequence, last: image.last() };
        if self.settings.skips_start_sync {
            // What a failed sync has left is never written, and nothing notices.
            self.wal.truncate((files.sequence - self.files.sequence) as usize);
            self.wal.range_mut(self.synced..).for_each(|pending| pending.dropped = true);
            self.synced = self.wal.len();
        } else {
            self.files = files;
            self.wal.clear();
        }
        self.rest();
        self.mark_synced = self.mark;
        self.mark_since = None;
        self.batches.forget();
        let seed = self.incarnation.0 as u64 ^ self.boots;
        self.table = TableView::cold(self.batches.flushed.clone(), self.settings.cold, seed);
        self.issued = image.clone();
        self.durable = image;
        let applied = self.applied();
        let configurations = self.durable.configurations();
        Ok(Recovered {
            hard_state: self.durable.hard_state,
            founding: self.durable.founding.clone(),
            oldest: self.durable.base,
            boundaries: self.durable.boundaries(),
            applied,
            released: released.max(applied),
            // The search of the small scope has no table that records it.
            configuration: configurations.iter().rfind(|it| it.version().counter <= applied).cloned(),
            logged: configurations,
        })
    }

    /// What a start would find now, while no process runs.
    ///
    /// # Errors
    /// Why none can.
    pub fn found(&self) -> Result<Image, Refused> {
        self.look().map(|(_, image)| image)
    }

    fn look(&self) -> Result<(Medium, Image), Refused> {
        if self.full {
            return Err(Refused::Full);
        }
        let mut files = self.files.clone();
        for (at, pending) in self.wal.iter().enumerate().take_while(|(_, pending)| pending.whole) {
            files.write(&pending.write, &pending.records, &pending.content, pending.released);
            if at < self.synced {
                // The table is another one since then.
                files.snapshot = None;
            }
        }
        let mark =
            if self.settings.ignores_mark { Mark { sequence: 0, last: Zxid::ZERO } } else { self.mark };
        let table = files.snapshot.as_ref().map_or(&self.batches.flushed, |snapshot| &snapshot.table);
        let image = files.open(mark, table.checkpoint().applied)?;
        Ok((files, image))
    }

    fn rest(&mut self) {
        self.synced = self.synced.min(self.wal.len());
        self.busy = 0;
        self.dropping = false;
    }

    /// Every sync fails from now on, or none but by chance; for scenarios of a test.
    pub fn set_failing(&mut self, failing: bool) {
        self.settings.error = if failing { 1_000_000 } else { 0 };
    }

    /// No space is left, or there is again. While there is none, writes fail, and so do starts.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Whether no space is left.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Queues a write to the log, with the counter through which entries are released.
    ///
    /// # Panics
    /// If a snapshot is to be installed that was not received.
    pub fn issue(&mut self, token: Token, write: Write, released: u64) {
        let records = medium::records(&write, &self.issued);
        let content = match &write {
            Write::Compact(to) => {
                // Only whole files are deleted.
                let kept = if to.counter.is_multiple_of(3) { to.counter } else { to.counter - 1 };
                let kept = kept.max(self.issued.base.counter) as usize;
                let base = kept.checked_sub(1).map_or(Zxid::ZERO, |last| self.issued.log[last].zxid);
                Content::Compacted(base, Rc::new(self.issued.log[..kept].to_vec()))
            }
            Write::Install(at) => {
                let snapshot = self.received.remove(at).expect("the snapshot was received");
                self.received.clear();
                Content::Installed(snapshot)
            }
            Write::Append(_) | Write::Truncate(_) | Write::HardState(_) | Write::Founding(_) => Content::None,
        };
        self.issued.write(&write, &content);
        match &write {
            Write::Append(_) => self.issued_log.extend(records.iter().cloned()),
            Write::Truncate(to) => self.issued_log.truncate((to.counter - self.issued_base.counter) as usize),
            Write::Install(at) => {
                self.issued_log.clear();
                self.issued_base = *at;
                // The table that is replaced gets no further batches.
                self.batches.drop_queued();
            }
            Write::HardState(_) | Write::Founding(_) | Write::Compact(_) => {}
        }
        self.wal.push_back(Pending { token, write, released, records, content, whole: true, dropped: false });
    }

    /// Whether a snapshot is being installed.
    fn is_installing(&self) -> bool {
        self.wal.range(self.synced..).any(|pending| matches!(pending.content, Content::Installed(_)))
    }

    /// A snapshot of the table as it is now, which is durable then, and of the log through it.
    pub fn checkpoint(&mut self) -> (MemoryTable, Vec<LogEntry>) {
        self.batches.flush(self.batches.unflushed());
        let table = self.batches.flushed.clone();
        let log = self.issued.log[..table.checkpoint().applied as usize].to_vec();
        (table, log)
    }

    /// A snapshot is complete.
    pub fn receive(&mut self, snapshot: Rc<Snapshot>) {
        self.received.insert(snapshot.at, snapshot);
    }

    /// Whether a snapshot is complete, and neither installed nor discarded.
    pub fn has_received(&self, at: Zxid) -> bool {
        self.received.contains_key(&at)
    }

    /// The snapshots that were received are deleted.
    pub fn discard(&mut self) {
        self.received.clear();
    }

    /// The counter through which the table is durable.
    pub fn flushed(&self) -> u64 {
        self.batches.flushed.checkpoint().applied
    }

    /// Queues a batch for the table, which is not readable yet.
    pub fn store(&mut self, number: u64, batch: Batch) {
        self.batches.push(number, batch);
    }

    /// Starts on the queued batches, if idle; returns how long it takes, in microseconds, and whether it will fail.
    pub fn start_table(&mut self, random: &mut Random) -> Option<(u64, bool)> {
        let part = random.chance(self.settings.partial);
        let started = !self.is_installing() && self.batches.start(part, random);
        let stalls = started && random.chance(self.settings.stall);
        let max = if stalls { self.settings.stall_max } else { self.settings.table_max };
        started.then(|| (random.between(2, max.max(2)), self.full))
    }

    /// The batches in flight are readable, at this moment; returns the number of the last. Then perhaps there is a flush:
    /// one of the database's own, or one that is reported, through the counter that is returned.
    pub fn finish_table(&mut self, random: &mut Random) -> Option<(u64, Option<u64>)> {
        let number = self.batches.finish(&self.table)?;
        let due = self.table.checkpoint().applied >= self.flushed().saturating_add(self.settings.flush_every);
        if due || random.chance(self.settings.flush) {
            self.batches.flush(self.batches.unflushed());
        }
        Some((number, due.then(|| self.flushed())))
    }

    /// How long it takes to read a record of the table, in microseconds.
    pub fn read_time(&self, random: &mut Random) -> u64 {
        let DiskSettings { stall, stall_max, read_max, .. } = self.settings;
        let max = if random.chance(stall) { stall_max } else { read_max };
        random.between(2, max.max(2))
    }

    /// Starts on what is queued, if idle; returns how long it takes, in microseconds, and whether it will fail.
    pub fn start(&mut self, random: &mut Random) -> Option<(u64, bool)> {
        let queued = self.wal.len() - self.synced;
        if self.busy > 0 || queued == 0 {
            return None;
        }
        self.busy = if random.chance(self.settings.partial) { 1 + random.index(queued) } else { queued };
        self.group += 1;
        self.lower_mark(self.synced, self.synced + self.busy);
        if self.full {
            return Some((random.between(2, 400), true));
        }
        let DiskSettings { sync_min, sync_max, slow_disk, stall, stall_max, error, .. } = self.settings;
        let span = random.between(0, sync_max.saturating_sub(sync_min));
        let mut time = sync_min + random.between(0, span);
        if random.chance(stall) {
            time += random.below(stall_max);
        }
        if self.is_installing() {
            // Renames, and files that are synced.
            time += random.below(10 * sync_max);
        }
        Some((time.max(slow_disk), random.chance(error)))
    }

    /// A truncation lowers the mark, synced, before it is written.
    fn lower_mark(&mut self, from: usize, to: usize) {
        for pending in self.wal.range(from..to) {
            if let Write::Truncate(zxid) = &pending.write {
                self.mark.last = self.mark.last.min(*zxid);
                self.mark_synced = self.mark;
                self.mark_since = None;
            }
        }
    }

    /// The group in flight is done, at this moment.
    pub fn finish(&mut self, now: u64) -> Option<Done> {
        let through = self.synced + std::mem::take(&mut self.busy);
        let token = self.wal.get(through.checked_sub(1)?).filter(|_| through > self.synced)?.token;
        let dropped = std::mem::take(&mut self.dropping);
        let mut installed = None;
        for pending in self.wal.range_mut(self.synced..through) {
            pending.dropped = dropped;
            self.durable.write(&pending.write, &pending.content);
            if let Content::Installed(snapshot) = &pending.content {
                self.batches.replace(snapshot.table.clone());
                self.table = TableView::of(snapshot.table.clone());
                installed = Some(pending.token);
            }
        }
        self.synced = through;
        self.mark_through_synced();
        if now >= *self.mark_since.get_or_insert(now) + MARK_INTERVAL {
            self.sync_mark();
        }
        Some(Done { token, dropped, installed })
    }

    fn mark_through_synced(&mut self) {
        self.mark = Mark { sequence: self.files.sequence + self.synced as u64, last: self.durable.last() };
    }

    fn sync_mark(&mut self) {
        self.mark_synced = self.mark;
        self.mark_since = None;
    }

    /// Writes to the log that were issued and are not durable, but for compactions.
    pub fn unsynced(&self) -> usize {
        let changes = |pending: &&Pending| !matches!(pending.write, Write::Compact(_));
        self.wal.range(self.synced..).filter(changes).count()
    }

    /// What is in the page cache only.
    pub fn has_unsynced(&self) -> bool {
        self.wal.len() > self.synced
    }

    /// The process ends at this moment: of what was not synced a prefix of a random length stays, for the next
    /// start to find.
    pub fn crash(&mut self, now: u64, end: End, random: &mut Random) -> Lost {
        let unsynced = self.wal.len() - self.synced;
        let kept = match random.below(3) {
            0 => 0,
            1 => unsynced,
            _ => random.index(unsynced + 1),
        };
        // Whatever stays had been written.
        self.lower_mark(self.synced, self.synced + kept);
        if self.mark_since.is_some_and(|since| now >= since + MARK_INTERVAL) {
            // Nothing else came to be synced.
            self.sync_mark();
        }
        let mut lost = self.keep(kept, random);
        if end == End::PowerLost {
            lost.dropped = self.forget(random);
        }
        self.batches.crash(random.index(self.batches.unflushed() + 1));
        self.table = TableView::default();
        lost
    }

    /// While no process runs, the machine loses power, at this moment: of what was in the page cache only, a prefix
    /// of a random length stays.
    pub fn lose_power(&mut self, random: &mut Random) -> Lost {
        let unsynced = self.wal.len() - self.synced;
        let mut lost = self.keep(random.index(unsynced + 1), random);
        lost.dropped = self.forget(random);
        lost
    }

    /// Loses what is not synced, except the first `kept` writes.
    fn keep(&mut self, kept: usize, random: &mut Random) -> Lost {
        let through = self.synced + kept;
        let mut lost = Lost { writes: self.wal.len() - through, kept, ..Lost::default() };
        for pending in self.wal.range(through..) {
            if let Write::Append(entries) = &pending.write {
                lost.entries += entries.len();
            }
        }
        lost.torn = lost.writes > 0 && random.one_in(3);
        self.wal.truncate(through + usize::from(lost.torn));
        if lost.torn
            && let Some(last) = self.wal.back_mut()
        {
            last.whole = false;
        }
        self.rest();
        lost
    }

    /// What was never written to the disk is gone, where that can be detected; the mark may be an older one.
    fn forget(&mut self, random: &mut Random) -> bool {
        if random.one_in(2) {
            self.mark = self.mark_synced;
        }
        self.sync_mark();
        let covered = self.covered_by_mark();
        let Some(first) = self.wal.iter().position(|pending| pending.dropped) else { return false };
        for pending in &mut self.wal {
            pending.whole &= !(pending.dropped && first < covered);
            pending.dropped = false;
        }
        first < covered
    }

    /// The number of writes of the write-ahead log, from the first, that the mark covers.
    fn covered_by_mark(&self) -> usize {
        (self.mark.sequence.saturating_sub(self.files.sequence) as usize).min(self.wal.len())
    }

    /// The next sync is reported and does nothing: what it was for is gone with the next loss of power, unless a
    /// start comes before that. While writes behind it are durable.
    pub fn drop_next_sync(&mut self) {
        self.dropping = true;
    }

    /// A bit of a synced record flips, of the entry with a counter or of any; returns which. The next start finds
    /// it, or the next read.
    pub fn flip(&mut self, wanted: Option<u64>, random: &mut Random) -> Flipped {
        let first = self.issued_base.counter + 1;
        let wanted = wanted.and_then(|counter| self.issued_log.get(counter.checked_sub(first)? as usize));
        let wanted = wanted.map(|record| record.as_ptr());
        let written = self.wal.range_mut(..self.synced).flat_map(|pending| &mut pending.records);
        let own = [&mut self.files.hard_state].into_iter().chain(&mut self.files.founding);
        let mut records: Vec<&mut Bytes> = own.chain(&mut self.files.log).chain(written).collect();
        let any = random.index(records.len());
        let at = records.iter().position(|record| Some(record.as_ptr()) == wanted).unwrap_or(any);
        let record = &mut records[at];
        let before = record.as_ptr();
        let mut bytes = record.to_vec();
        let bit = random.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        **record = bytes.into();
        let record = record.clone();
        // The same bytes, as the node reads them.
        match self.issued_log.iter().position(|issued| issued.as_ptr() == before) {
            Some(at) => {
                self.issued_log[at] = record;
                Flipped::Entry(at as u64 + first)
            }
            None => Flipped::Other,
        }
    }

    /// A synced record of the write-ahead log is damaged, so that it seems to end there. The process must not run.
    /// False if there is none that the mark covers.
    pub fn spoil(&mut self, random: &mut Random) -> bool {
        let at = random.index(self.covered_by_mark());
        let covered = self.covered_by_mark() > 0;
        if covered {
            self.wal[at].whole = false;
            // That it was the mark's turn to be lost as well is the case that no storage can detect.
            self.sync_mark();
        }
        covered
    }

    /// The database is as the last start left it, while the mark is not. The process must not run. False if nothing
    /// has been synced since.
    pub fn roll_back(&mut self) -> bool {
        let covered = self.covered_by_mark() > 0;
        if covered {
            self.wal.clear();
            self.rest();
            self.sync_mark();
        }
        covered
    }

    /// Puts another log in place of the one that the next start would find, as no disk should; for tests of tests.
    /// Returns that log and how far it is applied.
    ///
    /// # Errors
    /// Why the next start would fail.
    pub fn forge(&mut self, forge: impl FnOnce(&mut Vec<LogEntry>, u64)) -> Result<(), Refused> {
        let boots = self.boots;
        self.recover()?;
        self.boots = boots;
        let mut log = std::mem::take(&mut self.issued.log);
        forge(&mut log, self.applied());
        let write = Write::Append(log);
        self.issued.base = Zxid::ZERO;
        self.files = Medium {
            hard_state: self.files.hard_state.clone(),
            founding: self.files.founding.clone(),
            ..Medium::new()
        };
        self.files.log = medium::records(&write, &self.issued);
        self.mark = Mark { sequence: 0, last: Zxid::ZERO };
        self.table = TableView::default();
        Ok(())
    }

    /// The data directory is gone; a new one is made.
    pub fn wipe(&mut self, incarnation: Incarnation) {
        *self = Disk { full: self.full, ..Disk::new(incarnation, self.settings.clone()) };
    }

    /// Counter of the last entry that the node has applied.
    pub fn applied(&self) -> u64 {
        self.batches.submitted().unwrap_or_else(|| self.table.checkpoint()).applied
    }

    /// Reads log entries from `from` to `to`, stopping before the entry that exceeds `bytes_max` in all.
    ///
    /// # Errors
    /// One of them is damaged, which ends the process.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogEntry>, Refused> {
        if from <= self.issued.base.counter {
            return Ok(Vec::new());
        }
        medium::read(&self.issued_log, self.issued_base, from, to, bytes_max)
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
