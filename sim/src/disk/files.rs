//! The files of one node's log: the real [`gometa_log`] on its medium of bytes in memory.
//!
//! Only [`gometa_log`] interprets the bytes. Damage is placed at random, except in the record of an entry that is about to be
//! read, whose place the log's reader returns.
//!
//! Of `gometa-log` this runs writing, truncation, deletion, spare segments, the mark, opening, and reading. It does not run
//! `os.rs` (system calls) and `salvage.rs` (the founding record of a damaged log), and nothing runs at the same time as a
//! write. Of the server's `disk/` nothing runs: [`Files::write`] makes the same calls as `disk/log_writer.rs`, the
//! installation of a snapshot is one step instead of the renames in `disk/directory.rs`, and [`Image::check`] repeats the
//! checks of `disk/recovery.rs`.

use std::{collections::BTreeMap, fmt, io::ErrorKind};

use bytes::Bytes;
use gometa_log::{
    Directory, File, Inspection, Log, OpenError, Options, Start, Usage, WriteError,
    medium::{Fault, Medium},
};
use gometa_zab::{Configuration, Founding, HardState, LogEntry, Write, Zxid};

use super::image::{Image, Pending, Refused};
use crate::random::{Random, Stream};

/// The number of bytes that the device writes atomically.
const BLOCK: usize = 512;
const MARK: &str = "SYNCED";
/// Faults happen at one of this many operations; most starts and groups have fewer.
const OPERATIONS: u64 = 16;
/// The number of places that are tried until the next start would detect damage there.
const PLACES: u64 = 16;

/// The content of a log, read from its files.
pub(super) struct Found {
    pub(super) hard_state: HardState,
    pub(super) founding: Option<Founding>,
    pub(super) base: Zxid,
    pub(super) boundaries: Vec<Zxid>,
    pub(super) logged: Vec<Configuration>,
    pub(super) released: u64,
    pub(super) entries: Vec<LogEntry>,
    /// Segments that are not needed may be damaged, and were deleted then.
    pub(super) may_be_repaired: bool,
}

impl Found {
    /// Whether the log contains what the image does. Its base may be lower, for only whole segments are deleted; if damaged
    /// segments were deleted, it may be as high as the applied counter.
    pub(super) fn matches(&self, image: &Image, applied: u64) -> bool {
        let Image { hard_state, founding, base, log } = image;
        let highest = if self.may_be_repaired { base.counter.max(applied) } else { base.counter };
        let end = self.boundaries.last().copied().unwrap_or(self.base);
        let below = self.base.counter as usize;
        end == image.last()
            && self.hard_state == *hard_state
            && self.founding == *founding
            && self.base.counter <= highest
            && self.base == below.checked_sub(1).map_or(Zxid::ZERO, |at| log[at].zxid)
            && self.entries == log[below..]
            && {
                let image = Image { base: self.base, ..image.clone() };
                self.boundaries == image.boundaries() && self.logged == image.logged()
            }
    }
}

/// Whether a start may find this, according to the writes.
pub(super) type Fits<'a> = &'a dyn Fn(&Found) -> bool;

/// Why a group of writes was not written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failed {
    /// No space is left.
    Full,
    /// The device has failed, or the process has ended.
    Device(String),
    /// The log has refused a write that contradicts it.
    Invalid(String),
}

/// The files, and the log while the process runs.
pub(super) struct Files {
    medium: Medium,
    log: Option<Log<Medium>>,
    segment_bytes: u64,
    /// Chooses faults and salts.
    random: Random,
    /// As in the log, with its staged writes.
    hard_state: HardState,
    founding: Option<Founding>,
    /// The zxid of a snapshot that was installed, until the caller takes it.
    pub(super) installed: Option<Zxid>,
    /// The files as the last start left them, for [`Files::roll_back`].
    older: Option<BTreeMap<String, Vec<u8>>>,
    keeps_older: bool,
    /// The mark of an empty log.
    first_mark: Vec<u8>,
    /// The process is to end at some operation of the current group.
    stopping: bool,
    /// A write has failed; the process must end.
    failed: bool,
    /// A sync was dropped, and its data has not been lost yet.
    dropped: bool,
    /// The disk has violated what is assumed of it; its mark must not be lost too.
    damaged: bool,
    /// The mark covers every batch that was reported.
    mark_is_current: bool,
    full: bool,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.log.as_ref().map(Log::status);
        f.debug_struct("Files")
            .field("status", &status)
            .field("damaged", &self.damaged)
            .finish_non_exhaustive()
    }
}

impl Files {
    /// The files of a new, empty log.
    pub(super) fn new(seed: u64, segment_bytes: u64, keeps_older: bool, founding: Option<Founding>) -> Files {
        let mut random = Random::new(seed, Stream::Machine);
        let medium = Medium::new(BLOCK, random.word());
        let mut files = Files {
            medium,
            log: None,
            segment_bytes,
            random,
            hard_state: HardState::default(),
            founding,
            installed: None,
            older: None,
            keeps_older,
            first_mark: Vec::new(),
            stopping: false,
            failed: false,
            dropped: false,
            damaged: false,
            mark_is_current: true,
            full: false,
        };
        files.create(Zxid::ZERO).expect("a new medium has no faults");
        files.first_mark = files.medium.files().remove(MARK).expect("a log has a mark");
        files.end();
        files
    }

    fn options(&mut self) -> Options {
        Options { segment_bytes: self.segment_bytes, salt: self.random.wide() }
    }

    /// Creates a log with this base on the empty medium.
    fn create(&mut self, base: Zxid) -> Result<(), OpenError> {
        let start = Start {
            base,
            hard_state: self.hard_state,
            founding: self.founding.clone(),
            configuration: Bytes::new(),
            released: base.counter,
        };
        let options = self.options();
        self.log = Some(Log::create(self.medium.clone(), options, start)?);
        Ok(())
    }

    /// Replaces the log by one with these entries.
    pub(super) fn forge(&mut self, entries: &[LogEntry]) {
        self.medium = Medium::new(BLOCK, self.random.word());
        self.create(Zxid::ZERO).expect("a new medium has no faults");
        let log = self.log.as_mut().expect("it was created");
        log.append(0, entries).and_then(|()| log.commit()).expect("the entries are contiguous");
        self.end();
    }

    // ---- Starts

    /// A process opens the log.
    pub(super) fn open(&mut self, applied: u64, ignores_mark: bool) -> Result<Found, Refused> {
        if ignores_mark {
            self.medium.put(MARK, self.first_mark.clone());
        }
        let options = self.options();
        let (log, recovered) = Log::open(self.medium.clone(), options, applied).map_err(refused)?;
        let found = found(recovered, self.damaged, |from| log.reader().read(from, u64::MAX, usize::MAX))?;
        self.mark_is_current = true;
        (self.hard_state, self.founding) = (found.hard_state, found.founding.clone());
        self.log = Some(log);
        self.older = self.keeps_older.then(|| self.medium.files());
        Ok(found)
    }

    /// A process ends while it opens the log, or directly after that.
    pub(super) fn interrupt_open(&mut self, applied: u64) {
        self.keep_mark();
        let fault = if self.random.one_in(2) { Fault::Stop } else { Fault::Fail };
        self.medium.fail_at(self.random.below(OPERATIONS), fault);
        let options = self.options();
        drop(Log::open(self.medium.clone(), options, applied));
    }

    /// Reads what the next start will find, and changes nothing; `None` if the log is damaged.
    pub(super) fn inspect(&self) -> Option<Found> {
        let inspection = Inspection::read(self.medium.clone()).ok()?;
        let recovered = inspection.recovered.clone()?;
        found(recovered, self.damaged, |from| {
            let mut entries = Vec::new();
            inspection.entries(from, u64::MAX, |entry| {
                entries.push(entry);
                true
            })?;
            Ok(entries)
        })
        .ok()
    }

    // ---- Writes

    /// Makes a group of writes durable. Returns whether a sync of it was dropped.
    pub(super) fn write<'a>(
        &mut self,
        group: impl Iterator<Item = &'a Pending>,
        dropping: bool,
    ) -> Result<bool, Failed> {
        if dropping {
            self.medium.drop_next_sync();
        }
        let mut result = self.write_group(group);
        let dropped = dropping && !self.medium.drops_next_sync();
        self.medium.cancel_faults();
        (self.dropped, self.damaged) = (self.dropped || dropped, self.damaged || dropped);
        if result.is_ok() && self.random.one_in(2) {
            result = self.maintain();
        }
        self.failed |= result.is_err();
        result.map(|()| dropped)
    }

    /// The device fails at some operation of a group of writes, most often its sync.
    pub(super) fn fail<'a>(&mut self, group: impl Iterator<Item = &'a Pending>) {
        let at = self.random.pick(&[0, 1, 1, 1, 1, 2, 5, 8]);
        self.medium.fail_at(at, Fault::Fail);
        drop(self.write_group(group));
        self.failed = true;
    }

    /// The process ends at some operation of a group of writes, or directly after it.
    pub(super) fn stop<'a>(&mut self, group: impl Iterator<Item = &'a Pending>) {
        let of_a_batch = self.random.pick(&[0, 0, 0, 1, 1, 1, 2, 3]);
        let at = if self.random.one_in(3) { self.random.below(OPERATIONS) } else { of_a_batch };
        self.medium.fail_at(at, Fault::Stop);
        self.stopping = true;
        if self.write_group(group).is_ok() {
            drop(self.maintain());
        }
        self.failed = true;
    }

    /// Writes a group with the same calls as the server's `disk/log_writer.rs`.
    fn write_group<'a>(&mut self, group: impl Iterator<Item = &'a Pending>) -> Result<(), Failed> {
        let mut base = None;
        for Pending { write, released, .. } in group {
            let log = self.log.as_mut().ok_or_else(no_process)?;
            match write {
                Write::Append(entries) => log.append(*released, entries)?,
                Write::Truncate(to) => log.truncate(*released, *to)?,
                Write::HardState(hard_state) => {
                    self.hard_state = *hard_state;
                    log.hard_state(*released, *hard_state)?;
                }
                Write::Founding(founding) => {
                    self.founding = Some(founding.clone());
                    log.founding(*released, founding.clone())?;
                }
                Write::Compact(to) => base = Some(*to),
                Write::Install(at) => {
                    log.commit()?;
                    base = None;
                    self.install(*at)?;
                }
            }
        }
        let log = self.log.as_mut().ok_or_else(no_process)?;
        log.commit()?;
        if let Some(base) = base {
            log.compact(base)?;
        }
        Ok(())
    }

    /// Creates the log of an installed snapshot. It replaces this one in one step, which stands for the rename of `GENERATION`.
    fn install(&mut self, at: Zxid) -> Result<(), Failed> {
        let medium = Medium::new(BLOCK, self.random.word());
        let before = (std::mem::replace(&mut self.medium, medium), self.log.take());
        self.set_full(self.full);
        if self.stopping {
            self.medium.fail_at(self.random.below(OPERATIONS), Fault::Stop);
        }
        let created = self.create(at);
        if let Err(error) = created {
            (self.medium, self.log) = before;
            return Err(error.into());
        }
        if self.stopping && self.random.one_in(2) {
            (self.medium, self.log) = before;
            return Err(no_process());
        }
        self.installed = Some(at);
        (self.older, self.dropped, self.damaged, self.mark_is_current) = (None, false, false, true);
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), Failed> {
        match &self.log {
            Some(log) => Ok(log.maintenance().run()?),
            None => Ok(()),
        }
    }

    pub(super) fn sync_mark(&mut self) {
        if let Some(log) = &mut self.log {
            // Fails only if a write has failed before; the process ends then.
            drop(log.sync_mark());
        }
    }

    /// Reads durable entries.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogEntry>, Refused> {
        let Some(log) = &self.log else { return Ok(Vec::new()) };
        log.reader().read(from, to, bytes_max).map_err(|error| Refused::Damaged(error.to_string()))
    }

    // ---- Ends

    /// Whether a write has failed, or the process has ended during one.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The process ends.
    pub(super) fn end(&mut self) {
        self.log = None;
        (self.stopping, self.failed) = (false, false);
        self.medium.kill();
    }

    /// Cuts the power, whether a process runs or not. Returns whether the next start will detect the loss of a dropped sync.
    pub(super) fn cut_power(&mut self, applied: u64) -> bool {
        self.end();
        self.keep_mark();
        self.medium.cut_power(self.random.word());
        self.mark_is_current &= self.damaged;
        let lost =
            self.dropped && matches!(self.try_open(&self.medium.copy(), applied), Err(Refused::Damaged(_)));
        self.dropped &= !lost;
        lost
    }

    /// Sets whether the disk is full. Blocks that are allocated already can be written.
    pub(super) fn set_full(&mut self, full: bool) {
        self.full = full;
        self.medium.limit(if full { 0 } else { usize::MAX });
    }

    // ---- Damage

    /// Syncs the mark of a damaged disk: no start could detect that both are lost.
    pub(super) fn keep_mark(&self) {
        if self.damaged
            && let Ok(file) = self.medium.open(MARK, Usage::Mark)
        {
            drop(file.sync_data());
        }
    }

    /// What a start finds on a copy of the medium, which it changes.
    fn try_open(&mut self, copy: &Medium, applied: u64) -> Result<Found, Refused> {
        copy.kill();
        copy.limit(usize::MAX);
        let (log, recovered) = Log::open(copy.clone(), self.options(), applied).map_err(refused)?;
        found(recovered, true, |from| log.reader().read(from, u64::MAX, usize::MAX))
    }

    /// Damages the files if the next start must detect it. No process may run. `fits` tells whether a start may find this.
    fn damage(&mut self, applied: u64, fits: Fits<'_>, change: impl Fn(&Medium)) -> bool {
        let copy = self.medium.copy();
        change(&copy);
        let must_be_detected = match self.try_open(&copy, applied) {
            Ok(found) => self.mark_is_current && !fits(&found),
            Err(refused) => matches!(refused, Refused::Damaged(_)),
        };
        if must_be_detected {
            change(&self.medium);
            self.damaged = true;
            self.keep_mark();
        }
        must_be_detected
    }

    /// Flips a bit in the record of this entry. False if the log has no such record.
    pub(super) fn flip_entry(&mut self, counter: u64) -> bool {
        let Some((name, place)) = self.log.as_ref().and_then(|log| log.reader().place(counter)) else {
            return false;
        };
        let at = self.random.between(place.start, place.end - 1);
        self.damaged = true;
        self.medium.flip(&name, at as usize, 1 << self.random.below(8))
    }

    /// Flips a bit anywhere in the segments. If no process runs, only one that the next start must detect.
    pub(super) fn flip_any(&mut self, applied: u64, fits: Fits<'_>) {
        for _ in 0..PLACES {
            let Some((name, at)) = self.written_byte() else { return };
            let bit = 1 << self.random.below(8);
            if self.log.is_some() {
                self.damaged = true;
                self.medium.flip(&name, at, bit);
                return;
            }
            if self.damage(applied, fits, |medium| {
                let _ = medium.flip(&name, at, bit);
            }) {
                return;
            }
        }
    }

    /// The place of a random byte that is not zero, and so was written.
    fn written_byte(&mut self) -> Option<(String, usize)> {
        let segments = self.medium.files().into_iter().filter(|(name, _)| is_segment(name));
        let mut segments: Vec<(String, Vec<u8>)> = segments.collect();
        if segments.is_empty() {
            return None;
        }
        let (name, bytes) = segments.swap_remove(self.random.index(segments.len()));
        let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        (!written.is_empty()).then(|| (name, written[self.random.index(written.len())]))
    }

    /// Clears the newest segment from some block on. False if no start would detect it.
    pub(super) fn spoil(&mut self, applied: u64, fits: Fits<'_>) -> bool {
        for _ in 0..PLACES {
            let newest = self.medium.files().into_iter().rfind(|(name, _)| is_segment(name));
            let Some((name, mut bytes)) = newest else { return false };
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last / BLOCK + 1);
            let from = self.random.index(used) * BLOCK;
            bytes[from..].fill(0);
            if self.damage(applied, fits, |medium| medium.put(&name, bytes.clone())) {
                return true;
            }
        }
        false
    }

    /// Restores the segments as the last start left them, but not the mark. False if no start would detect it.
    pub(super) fn roll_back(&mut self, applied: u64, fits: Fits<'_>) -> bool {
        let Some(older) = self.older.take() else { return false };
        let detected = self.damage(applied, fits, |medium| {
            for name in medium.files().keys().filter(|name| is_segment(name) && !older.contains_key(*name)) {
                drop(medium.remove(name));
            }
            for (name, bytes) in older.iter().filter(|(name, _)| is_segment(name)) {
                medium.put(name, bytes.clone());
            }
            drop(medium.sync());
        });
        self.older = Some(older);
        detected
    }
}

fn found(
    recovered: gometa_log::Recovered,
    may_be_repaired: bool,
    read: impl FnOnce(u64) -> Result<Vec<LogEntry>, gometa_log::ReadError>,
) -> Result<Found, Refused> {
    let gometa_log::Recovered { hard_state, founding, base, boundaries, logged, released, .. } = recovered;
    let entries = read(base.counter + 1).map_err(|error| Refused::Damaged(error.to_string()))?;
    Ok(Found { hard_state, founding, base, boundaries, logged, released, entries, may_be_repaired })
}

fn no_process() -> Failed {
    Failed::Device("the process has ended".to_owned())
}

fn is_segment(name: &str) -> bool {
    name.len() == 16
}

fn refused(error: OpenError) -> Refused {
    match error {
        OpenError::NoSpace { .. } => Refused::Full,
        OpenError::Io { .. } => Refused::Failed(error.to_string()),
        other => Refused::Damaged(other.to_string()),
    }
}

impl From<OpenError> for Failed {
    fn from(error: OpenError) -> Failed {
        match error {
            OpenError::NoSpace { .. } => Failed::Full,
            OpenError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => Failed::Full,
            other => Failed::Device(other.to_string()),
        }
    }
}

impl From<WriteError> for Failed {
    fn from(error: WriteError) -> Failed {
        match error {
            WriteError::Invalid(why) => Failed::Invalid(why),
            WriteError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => Failed::Full,
            other => Failed::Device(other.to_string()),
        }
    }
}
