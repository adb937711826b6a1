//! The simulated disk of one node: the real log on a medium of bytes in memory, and a model of the state table.
//!
//! # The log
//!
//! [`gometa_log`] itself appends, truncates, compacts, raises the mark, recovers, and reads (`files`). Nothing of its
//! format or of its recovery is repeated here. This module keeps the writes that were issued and those that were reported
//! durable (`image`). After each start the recovered log must be what a prefix of the issued writes leaves, and that
//! prefix must contain all reported ones; anything else is [`Refused::Wrong`].
//!
//! Writes form one FIFO. All queued writes, or the first of them, are written as one group, which is durable when its sync
//! is done. Batches for the table form another FIFO (`batches`).
//!
//! # Crashes and starts
//!
//! A process may end at any operation on the files, or after a write that it has not reported. The page cache
//! survives: written bytes stay readable, synced or not, also after a failed sync. A loss of *power* keeps, of everything
//! that is not synced, any subset of the blocks, each in any of its versions, and any subset of the changes of names. A
//! start may be interrupted in the same ways. After a start that was not interrupted, everything that it found is durable.
//!
//! # Damage
//!
//! [`Disk::drop_next_sync`], [`Disk::flip`], [`Disk::spoil`] and [`Disk::roll_back`] violate what a node assumes of its disk.
//! No storage can detect the loss of a batch if no valid batch follows it and the mark (`SYNCED`) does not cover it, for
//! such a batch looks as if it had never been synced. To exclude this case the mark of a damaged disk is synced before a
//! loss of power. A whole directory that is replaced by an older copy, mark included, is undetectable too, and not
//! simulated. [`Disk::set_full`] makes a disk full, which is no damage.
//!
//! # Not simulated
//!
//! - Damaged records of the table: RocksDB finds them by checksums when they are read; the model of the table cannot report
//!   an error.
//! - The replacement of log and table by a snapshot in more than one step.
//! - Maintenance of the log's files and reads at the same time as a write.
//!
//! The search through all states uses a disk without files ([`Disk::abstracted`]): a crash keeps a prefix of the writes.

mod batches;
mod files;
mod image;
mod once;
mod steps;

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use gometa_store::{Batch, MemoryTable, Table};
use gometa_zab::{Founding, Incarnation, LogEntry, Recovered, Token, Write, Zxid};

use self::{
    batches::Batches,
    files::{Files, Fits, Found},
    image::{Content, Pending},
};
pub use self::{
    batches::TableView,
    files::Failed,
    image::{Flipped, Image, Refused, Snapshot},
};
use crate::{
    random::Random,
    settings::{DiskSettings, MILLISECOND, SECOND},
};

/// The mark is synced this long after it was written, in microseconds.
const MARK_INTERVAL: u64 = SECOND;
/// Syncs from this long on are called stalls, in microseconds.
pub const STALL: u64 = 10 * MILLISECOND;

/// The result of a finished group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Report this.
    pub token: Token,
    /// The sync was reported, and did nothing.
    pub dropped: bool,
    /// The token of the last installation, which has replaced [`Disk::table`].
    pub installed: Option<Token>,
}

/// What a crash lost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lost {
    /// Writes to the log.
    pub writes: usize,
    /// Log entries.
    pub entries: usize,
    /// Writes that survived and were not reported.
    pub kept: usize,
    /// Not all writes that the process had begun survived.
    pub torn: bool,
    /// The next start will find that a write is missing whose sync was dropped.
    pub dropped: bool,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It is killed or ends by itself; the page cache survives.
    Killed,
    /// The machine loses power; the page cache is lost.
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
    /// Complete snapshots that the node has not decided on.
    received: BTreeMap<Zxid, Rc<Snapshot>>,
    /// The table the node reads.
    pub table: TableView,
    batches: Batches,
    /// The log; `None` on an abstracted disk.
    files: Option<Files>,
    /// The writes that were issued and not reported, in order.
    pending: VecDeque<Pending>,
    /// The number of pending writes in the group that is being written, 0 while idle.
    busy: usize,
    /// The number of the current or last group.
    pub group: u64,
    /// While no process runs: the number of pending writes that the next start would find.
    found: usize,
    /// The highest counter through which a durable write says that entries were released.
    released: u64,
    /// The base that a start finds on an abstracted disk.
    base: Zxid,
    /// Since when the mark is not synced.
    mark_since: Option<u64>,
    dropping: bool,
    full: bool,
}

impl Disk {
    /// An empty data directory.
    pub fn new(incarnation: Incarnation, settings: DiskSettings) -> Disk {
        Disk::with_files(incarnation, settings, None)
    }

    /// The directory of a node that was in an ensemble from the first; for scenarios of a test.
    pub fn founded(incarnation: Incarnation, settings: DiskSettings, founding: Founding) -> Disk {
        Disk::with_files(incarnation, settings, Some(founding))
    }

    fn with_files(incarnation: Incarnation, settings: DiskSettings, founding: Option<Founding>) -> Disk {
        let keeps_older = settings.damage_every > 0;
        let files = Files::new(incarnation.0 as u64, settings.segment_bytes, keeps_older, founding.clone());
        Disk { files: Some(files), ..Disk::abstracted(incarnation, settings, founding) }
    }

    /// A disk without files, on which a crash keeps a prefix of the writes.
    pub fn abstracted(incarnation: Incarnation, settings: DiskSettings, founding: Option<Founding>) -> Disk {
        let image = Image { founding, ..Image::default() };
        Disk {
            settings,
            incarnation,
            boots: 0,
            durable: image.clone(),
            issued: image,
            received: BTreeMap::new(),
            table: TableView::default(),
            batches: Batches::default(),
            files: None,
            pending: VecDeque::new(),
            busy: 0,
            group: 0,
            found: 0,
            released: 0,
            base: Zxid::ZERO,
            mark_since: None,
            dropping: false,
            full: false,
        }
    }

    /// Ends all faults; what is damaged stays damaged.
    pub fn end_faults(&mut self) {
        let [sync_max, table_max, read_max] =
            [self.settings.sync_max, self.settings.table_max, self.settings.read_max]
                .map(|max| max.min(1_000));
        let fast = DiskSettings { sync_max, table_max, read_max, ..self.settings.clone() };
        self.settings = DiskSettings { stall: 0, error: 0, ..fast };
        self.set_full(false);
        self.dropping = false;
    }

    // ---- Starts

    /// What a process finds at its start, which is durable from now on. Must follow a crash, or be the first.
    ///
    /// # Errors
    /// Why it cannot start.
    pub fn recover(&mut self) -> Result<Recovered, Refused> {
        let applied = self.flushed();
        let opened = match &mut self.files {
            None => {
                // Those that the crash has kept.
                while self.sync_one().is_some() {}
                Ok((Image { base: self.base, ..self.durable.clone() }, self.released))
            }
            Some(files) => {
                files.open(applied, self.settings.ignores_mark).and_then(|found| self.verify(&found))
            }
        };
        let (image, released) = opened.inspect_err(|_| self.files.iter_mut().for_each(Files::end))?;
        self.boots += 1;
        self.released = released;
        self.found = 0;
        self.received.clear();
        self.pending.clear();
        self.rest_of_process();
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
            logged: self.durable.logged(),
        })
    }

    /// Compares what a start has found with the writes. Returns the image and the released counter.
    fn verify(&self, found: &Found) -> Result<(Image, u64), Refused> {
        let Some((_, image)) = self.expected(found) else {
            let (last, base) = (found.boundaries.last(), found.base);
            return Err(Refused::Wrong(format!(
                "found a log from {base} to {last:?} with {:?}; reported were {} and {:?}",
                found.hard_state,
                self.durable.last(),
                self.durable.hard_state,
            )));
        };
        if found.released < self.released {
            let what =
                format!("found {} as the released counter; {} was reported", found.released, self.released);
            return Err(Refused::Wrong(what));
        }
        image.check().map(|()| (image, found.released))
    }

    /// What the next start would find, while no process runs; `None` if it would not start on what was written.
    pub fn found(&self) -> Option<Image> {
        Some(self.expected(&self.files.as_ref()?.inspect()?)?.1)
    }

    /// The number of pending writes, the largest if several fit, after which the disk holds what was found, and the image
    /// then. `None` if no number fits: something is missing, or was never written.
    fn expected(&self, found: &Found) -> Option<(usize, Image)> {
        let mut state = self.durable.clone();
        let mut expected = found.matches(&state, self.flushed()).then(|| (0, state.clone()));
        for (at, Pending { write, content, .. }) in self.pending.iter().enumerate() {
            let mut parts = match write {
                // A long append is split into batches.
                Write::Append(entries) => entries.as_slice(),
                _ => &[],
            };
            while let [first, rest @ ..] = parts
                && !rest.is_empty()
            {
                state.log.push(first.clone());
                parts = rest;
                if found.matches(&state, self.flushed()) {
                    expected = Some((at, state.clone()));
                }
            }
            match (write, parts) {
                (Write::Append(_), last) => state.log.extend_from_slice(last),
                _ => state.write(write, content),
            }
            if found.matches(&state, self.flushed()) {
                expected = Some((at + 1, state.clone()));
            }
        }
        expected.map(|(count, image)| (count, Image { base: found.base, ..image }))
    }

    /// A process ends while it opens the log, or directly after that. Returns what was lost.
    pub fn interrupt_start(&mut self, end: End) -> Lost {
        let applied = self.flushed();
        if let Some(files) = &mut self.files {
            files.interrupt_open(applied);
        }
        self.stop(end, self.found)
    }

    /// Every sync fails from now on, or none but by chance; for scenarios of a test.
    pub fn set_failing(&mut self, failing: bool) {
        self.settings.error = if failing { 1_000_000 } else { 0 };
    }

    /// Sets whether the disk is full. While it is, no file can grow, and no start succeeds.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
        if let Some(files) = &mut self.files {
            files.set_full(full);
        }
    }

    /// Whether no space is left.
    pub fn is_full(&self) -> bool {
        self.full
    }

    // ---- Writes

    /// Queues a write to the log, with the counter through which entries are released.
    ///
    /// # Panics
    /// If a snapshot is to be installed that was not received.
    pub fn issue(&mut self, token: Token, write: Write, released: u64) {
        let content = match &write {
            Write::Compact(to) if self.files.is_none() => {
                // Only whole files are deleted.
                let kept = if to.counter.is_multiple_of(3) { to.counter } else { to.counter - 1 };
                let kept = kept.max(self.issued.base.counter) as usize;
                Content::Compacted(kept.checked_sub(1).map_or(Zxid::ZERO, |last| self.issued.log[last].zxid))
            }
            Write::Install(at) => {
                let snapshot = self.received.remove(at).expect("the snapshot was received");
                self.received.clear();
                // The table that is replaced gets no further batches.
                self.batches.drop_queued();
                Content::Installed(snapshot)
            }
            _ => Content::None,
        };
        self.issued.write(&write, &content);
        self.pending.push_back(Pending { token, write, released, content });
    }

    /// Whether a snapshot is being installed.
    fn is_installing(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.content, Content::Installed(_)))
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

    /// Begins to write what is queued, if idle; returns how long it takes, in microseconds, and whether it will fail.
    pub fn start(&mut self, random: &mut Random) -> Option<(u64, bool)> {
        let queued = self.pending.len();
        if self.busy > 0 || queued == 0 {
            return None;
        }
        self.busy = if random.chance(self.settings.partial) { 1 + random.index(queued) } else { queued };
        self.group += 1;
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

    /// Writes and syncs the group in flight; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be written; the process must end.
    pub fn finish(&mut self, now: u64) -> Result<Option<Done>, Failed> {
        let count = std::mem::take(&mut self.busy);
        if count == 0 {
            return Ok(None);
        }
        let mut done = Done { token: Token(0), dropped: false, installed: None };
        if let Some(files) = &mut self.files {
            done.dropped = files.write(self.pending.range(..count), self.dropping)?;
            self.dropping &= !done.dropped;
        }
        self.exchange_table();
        for _ in 0..count {
            (done.token, done.installed) = self.report(done.installed);
        }
        if now >= *self.mark_since.get_or_insert(now) + MARK_INTERVAL {
            self.sync_mark();
        }
        Ok(Some(done))
    }

    /// The device fails while the group in flight is written; the process must end.
    pub fn fail(&mut self) {
        if let Some(files) = &mut self.files {
            files.fail(self.pending.range(..self.busy));
        }
    }

    /// Reports the first pending write. Returns its token, and that of the last installation.
    fn report(&mut self, mut installed: Option<Token>) -> (Token, Option<Token>) {
        let Pending { token, write, released, content } =
            self.pending.pop_front().expect("the caller has counted");
        self.durable.write(&write, &content);
        match content {
            Content::Installed(snapshot) => {
                self.table = TableView::of(snapshot.table.clone());
                self.base = snapshot.at;
                installed = Some(token);
            }
            Content::Compacted(base) => self.base = self.base.max(base),
            Content::None => {}
        }
        let recorded = match &write {
            Write::Append(entries) => !entries.is_empty(),
            Write::HardState(_) | Write::Founding(_) => true,
            Write::Truncate(_) | Write::Compact(_) | Write::Install(_) => self.files.is_none(),
        };
        if recorded {
            self.released = self.released.max(released);
        }
        (token, installed)
    }

    /// Replaces the table, if the log was replaced by that of a snapshot.
    fn exchange_table(&mut self) {
        let Some(at) = self.files.as_mut().and_then(|files| files.installed.take()) else { return };
        let table = self.pending.iter().find_map(|pending| match &pending.content {
            Content::Installed(snapshot) if snapshot.at == at => Some(snapshot.table.clone()),
            _ => None,
        });
        self.batches.replace(table.expect("only a pending snapshot is installed"));
    }

    fn sync_mark(&mut self) {
        self.mark_since = None;
        if let Some(files) = &mut self.files {
            files.sync_mark();
        }
    }

    /// The number of writes that were issued and not reported durable, without compactions.
    pub fn unsynced(&self) -> usize {
        self.pending.iter().filter(|pending| !matches!(pending.write, Write::Compact(_))).count()
    }

    /// Whether the next start would find a write that was not reported.
    pub fn has_unreported(&self) -> bool {
        self.found > 0
    }

    // ---- Ends

    /// The process ends. It may have written any part of what was not reported.
    pub fn crash(&mut self, now: u64, end: End, random: &mut Random) -> Lost {
        let unreported = self.pending.len();
        let mut tried = match random.below(3) {
            0 => 0,
            1 => unreported,
            _ => random.index(unreported + 1),
        };
        if self.mark_since.is_some_and(|since| now >= since + MARK_INTERVAL) {
            // Nothing else came to be synced.
            self.sync_mark();
        }
        if let Some(files) = &mut self.files
            && !files.has_failed()
        {
            // The group in flight is written first, and then another one.
            let first = if tried > self.busy { self.busy } else { 0 };
            let written = first == 0 || files.write(self.pending.range(..first), false).is_ok();
            if written && tried > first && random.chance(500_000) {
                files.stop(self.pending.range(first..tried));
            } else if written {
                drop(files.write(self.pending.range(first..tried), false));
                if tried < unreported && !files.has_failed() && random.one_in(3) {
                    files.stop(self.pending.range(tried..));
                    tried = unreported;
                }
            }
        }
        self.exchange_table();
        self.batches.crash(random.index(self.batches.unflushed() + 1));
        self.table = TableView::default();
        self.found = self.pending.len();
        self.stop(end, tried)
    }

    /// The machine loses power while no process runs.
    pub fn lose_power(&mut self) -> Lost {
        self.stop(End::PowerLost, self.found)
    }

    /// No process runs any more. It had begun to write this many of the pending writes.
    fn stop(&mut self, end: End, tried: usize) -> Lost {
        let applied = self.flushed();
        let before = self.found;
        let mut lost = Lost::default();
        self.rest_of_process();
        if let Some(files) = &mut self.files {
            match end {
                End::Killed => files.end(),
                End::PowerLost => lost.dropped = files.cut_power(applied),
            }
        }
        let inspected = self.files.as_ref().and_then(Files::inspect);
        self.found = inspected.and_then(|found| self.expected(&found)).map_or(0, |(count, _)| count);
        lost.kept = self.found;
        lost.writes = before.saturating_sub(lost.kept);
        lost.torn = lost.kept < tried;
        for pending in self.pending.iter().take(before).skip(lost.kept) {
            if let Write::Append(entries) = &pending.write {
                lost.entries += entries.len();
            }
        }
        lost
    }

    fn rest_of_process(&mut self) {
        self.busy = 0;
        self.dropping = false;
        self.mark_since = None;
        self.batches.forget();
    }

    // ---- Damage

    /// Drops the next sync: it is reported and does nothing. Its data can be read until the next loss of power. Later
    /// writes are durable.
    pub fn drop_next_sync(&mut self) {
        self.dropping = true;
    }

    /// Flips a bit in the record of the wanted entry, or anywhere in the segments; returns which. The next start or read finds
    /// it, if the record is still needed.
    pub fn flip(&mut self, wanted: Option<u64>) -> Flipped {
        let flip = |files: &mut Files, applied, fits: Fits<'_>| {
            if let Some(counter) = wanted
                && files.flip_entry(counter)
            {
                return Flipped::Entry(counter);
            }
            files.flip_any(applied, fits);
            Flipped::Other
        };
        self.damage(flip).unwrap_or(Flipped::Other)
    }

    /// Clears the end of the newest segment, so that the log seems to end earlier. No process may run. Does nothing and
    /// returns false if no start can detect it.
    pub fn spoil(&mut self) -> bool {
        self.damage(Files::spoil).unwrap_or(false)
    }

    /// Restores the segments as the last start left them, but not the mark. No process may run. Does nothing and returns
    /// false if no start can detect it.
    pub fn roll_back(&mut self) -> bool {
        self.damage(Files::roll_back).unwrap_or(false)
    }

    /// Damages the files, if there are any.
    fn damage<R>(&mut self, damage: impl FnOnce(&mut Files, u64, Fits<'_>) -> R) -> Option<R> {
        let mut files = self.files.take()?;
        let result = damage(&mut files, self.flushed(), &|found| self.expected(found).is_some());
        self.files = Some(files);
        Some(result)
    }

    /// Puts another log in place of the one that the next start would find, as no disk should; for tests of tests.
    /// Gives that log, and how far it is applied.
    ///
    /// # Errors
    /// Why the next start would fail.
    pub fn forge(&mut self, forge: impl FnOnce(&mut Vec<LogEntry>, u64)) -> Result<(), Refused> {
        let boots = self.boots;
        self.recover()?;
        self.boots = boots;
        let applied = self.applied();
        forge(&mut self.issued.log, applied);
        self.issued.base = Zxid::ZERO;
        self.durable = self.issued.clone();
        if let Some(files) = &mut self.files {
            files.forge(&self.durable.log);
        }
        self.table = TableView::default();
        Ok(())
    }

    /// The data directory is gone; a new one is made.
    pub fn wipe(&mut self, incarnation: Incarnation) {
        let full = self.full;
        let settings = self.settings.clone();
        *self = match self.files {
            Some(_) => Disk::new(incarnation, settings),
            None => Disk::abstracted(incarnation, settings, None),
        };
        self.set_full(full);
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
        match &self.files {
            Some(files) => files.read(from, to, bytes_max),
            None => Ok(self.issued.read(from, to, bytes_max)),
        }
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
