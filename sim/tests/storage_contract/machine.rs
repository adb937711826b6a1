//! The simulated disk as a [`Storage`] that can crash, with planted faults.

use std::collections::VecDeque;

use bytes::Bytes;
use gometa_sim::{
    contract::{Directory, Invariant, Opening, Report, State, Storage, Violation},
    disk::{Disk, End, TableView},
    random::{Random, Stream},
    settings::{DiskSettings, Settings},
};
use gometa_store::{Batch, Checkpoint, Table};
use gometa_zab::{Incarnation, LogEntry, Token, Write};

/// Planted faults; each was once a bug of some database. [`Machine`] implements them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Reports a write when it is queued.
    ReportBeforeSync,
    /// Reports every token twice.
    ReportTwice,
    /// Reports a write before it is submitted.
    ReportAhead,
    /// Does not report at all.
    ReportNever,
    /// Does not truncate the log.
    TruncationSkipped,
    /// Reports a truncation at once, and does it with the next write.
    TruncationLate,
    /// Truncates one entry too many.
    TruncationTooDeep,
    /// A crash undoes the last truncation.
    TruncationUndone,
    /// Writes half of a table batch, and then the other half.
    BatchTorn,
    /// Writes the checkpoint before the records.
    CheckpointFirst,
    /// Log entries overtake the hard state queued before them.
    LogOvertakesHardState,
    /// Loses one promise in four.
    HardStateLost,
    /// Keeps the current epoch only, not the promise.
    HardStateHalf,
    /// Loses the seal of the genesis.
    SealLost,
    /// Loses the last entry of an append.
    AppendShort,
    /// Shows the table without its last batch.
    TableStale,
    /// Returns more of the log than requested.
    ReadUnbounded,
    /// Returns nothing if the first entry is too large.
    ReadEmpty,
    /// Recovers writes that were not synced, and does not sync them: the next crash loses them.
    RecoveredUnsynced,
    /// Omits the last epoch of the log from the boundaries.
    BoundaryMissing,
    /// Does not count an opening.
    BootStuck,
    /// Has another incarnation after a crash.
    IncarnationChanged,
}

impl Fault {
    pub(crate) const ALL: [Fault; 22] = [
        Fault::ReportBeforeSync,
        Fault::ReportTwice,
        Fault::ReportAhead,
        Fault::ReportNever,
        Fault::TruncationSkipped,
        Fault::TruncationLate,
        Fault::TruncationTooDeep,
        Fault::TruncationUndone,
        Fault::BatchTorn,
        Fault::CheckpointFirst,
        Fault::LogOvertakesHardState,
        Fault::HardStateLost,
        Fault::HardStateHalf,
        Fault::SealLost,
        Fault::AppendShort,
        Fault::TableStale,
        Fault::ReadUnbounded,
        Fault::ReadEmpty,
        Fault::RecoveredUnsynced,
        Fault::BoundaryMissing,
        Fault::BootStuck,
        Fault::IncarnationChanged,
    ];
}

/// A simulated disk, its random scheduler, and optionally a fault.
pub(crate) struct Machine {
    disk: Disk,
    random: Random,
    fault: Option<Fault>,
    directory: Directory,
    /// Reports that were not received yet.
    reports: VecDeque<Report>,
    last_report: Token,
    last_stored: u64,
    /// Whether a group is being written to the log, and whether it will fail.
    under_way: Option<bool>,
    /// Whether batches are being written to the table.
    storing: bool,
    /// A write that a fault delays.
    held: Option<(Token, Write, u64)>,
    /// A table that lags, for [`Fault::TableStale`].
    stale: TableView,
    behind: Option<Batch>,
    /// The checkpoint of the last batch, for [`Fault::BatchTorn`].
    submitted: Checkpoint,
    /// The entries of the last truncation, for [`Fault::TruncationUndone`].
    cut: Vec<LogEntry>,
    /// The log before the last crash, for [`Fault::RecoveredUnsynced`].
    synced: Option<Vec<LogEntry>>,
}

impl Machine {
    /// A new directory.
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Machine {
        let mut random = Random::new(seed, Stream::Machine);
        let partial = random.pick(&[0, 300_000, 800_000]);
        let error = random.pick(&[0, 0, 0, 20_000]);
        let flush = random.pick(&[0, 100_000, 500_000]);
        let settings = DiskSettings { partial, error, flush, ..Settings::quiet(seed, 1).disk };
        Machine {
            disk: Disk::new(Incarnation(random.wide() | 1), settings),
            random,
            fault,
            directory: Directory::default(),
            reports: VecDeque::new(),
            last_report: Token(0),
            last_stored: 0,
            under_way: None,
            storing: false,
            held: None,
            stale: TableView::default(),
            behind: None,
            submitted: Checkpoint::default(),
            cut: Vec::new(),
            synced: None,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Starts a process and returns the recovered state, if it is consistent.
    pub(crate) fn open(&mut self) -> Result<State, Violation> {
        let recovered = self.disk.recover();
        let recovered =
            recovered.map_err(|refused| Violation::new(Invariant::Opens, format!("{refused:?}")))?;
        let mut opening = Opening { incarnation: self.disk.incarnation, boot: self.disk.boots, recovered };
        match self.fault {
            Some(Fault::BoundaryMissing) => drop(opening.recovered.boundaries.pop()),
            Some(Fault::BootStuck) => opening.boot = opening.boot.div_ceil(2),
            Some(Fault::IncarnationChanged) if opening.boot > 2 => opening.incarnation = Incarnation(1),
            _ => {}
        }
        self.reports.clear();
        self.last_report = Token(0);
        self.last_stored = 0;
        self.under_way = None;
        self.storing = false;
        self.held = None;
        self.behind = None;
        self.submitted = self.disk.table.checkpoint();
        self.cut.clear();
        if self.has(Fault::TableStale) {
            let mut writes = Vec::new();
            for space in [gometa_store::Space::Data, gometa_store::Space::Session] {
                self.disk.table.scan(space, &mut |key, value| {
                    writes.push((space, key.to_vec().into(), Some(value.to_vec().into())));
                });
            }
            self.stale = TableView::default();
            self.stale.write(&Batch { checkpoint: self.disk.table.checkpoint(), writes, ..Batch::default() });
        }
        self.directory.opened(opening.incarnation, opening.boot)?;
        State::found(self, &opening)
    }

    /// Ends the process; all or some of the writes that were not synced are lost. Returns their number.
    pub(crate) fn crash(&mut self) -> usize {
        let before = self.disk.durable.log.clone();
        let end = self.random.pick(&[End::Killed, End::PowerLost]);
        let mut lost = self.disk.crash(0, end, &mut self.random).writes;
        if end == End::Killed && self.random.one_in(4) {
            // The power fails before the next start, or during it.
            lost += self.disk.lose_power().writes;
        }
        match self.fault {
            Some(Fault::TruncationUndone) => {
                let cut = std::mem::take(&mut self.cut);
                self.forge(|log, _| {
                    if cut.first().is_some_and(|entry| entry.zxid.counter == log.len() as u64 + 1) {
                        log.extend(cut);
                    }
                });
            }
            Some(Fault::RecoveredUnsynced) => {
                if let Some(synced) = self.synced.replace(before) {
                    self.forge(|log, applied| {
                        if log.starts_with(&synced) && log.len() as u64 > applied {
                            log.truncate(synced.len().max(applied as usize));
                        }
                    });
                }
            }
            _ => {}
        }
        lost
    }

    fn forge(&mut self, forge: impl FnOnce(&mut Vec<LogEntry>, u64)) {
        self.disk.forge(forge).expect("the disk opens after these faults");
    }

    fn issue(&mut self, token: Token, write: Write, released: u64) {
        self.disk.issue(token, write, released);
    }

    /// Submits a write to the log, changed by the fault.
    fn issue_wrongly(&mut self, fault: Fault, token: Token, write: Write, released: u64) {
        let nothing = || Write::Append(Vec::new());
        let held = self.held.take();
        let write = match (fault, write) {
            (Fault::TruncationSkipped, Write::Truncate(_)) => nothing(),
            (Fault::TruncationLate | Fault::LogOvertakesHardState, write) => {
                let late = fault == Fault::TruncationLate;
                let delayed =
                    matches!((&write, late), (Write::Truncate(_), true) | (Write::HardState(_), false));
                let overtakes = !late && matches!(write, Write::Append(_));
                if overtakes {
                    self.issue(token, write, released);
                    return self.release(held);
                }
                self.release(held);
                if !delayed {
                    return self.issue(token, write, released);
                }
                self.held = Some((token, write, released));
                if late {
                    self.issue(token, nothing(), released);
                }
                return;
            }
            (Fault::TruncationTooDeep, Write::Truncate(mut to)) => {
                to.counter = to.counter.saturating_sub(1);
                Write::Truncate(to)
            }
            (Fault::TruncationUndone, Write::Truncate(to)) => {
                let keep = (to.counter as usize).min(self.disk.issued.log.len());
                self.cut = self.disk.issued.log[keep..].to_vec();
                Write::Truncate(to)
            }
            (Fault::HardStateLost, Write::HardState(_)) if self.random.one_in(4) => nothing(),
            (Fault::HardStateHalf, Write::HardState(mut promised)) => {
                promised.accepted_epoch = promised.current_epoch;
                Write::HardState(promised)
            }
            (Fault::SealLost, Write::Founding(mut founding)) => {
                founding.sealed = false;
                Write::Founding(founding)
            }
            (Fault::AppendShort, Write::Append(mut entries)) => {
                if entries.len() > 1 {
                    entries.pop();
                }
                Write::Append(entries)
            }
            (_, write) => write,
        };
        self.issue(token, write, released);
    }

    /// Submits a batch for the table, changed by the fault.
    fn store_wrongly(&mut self, fault: Fault, number: u64, batch: Batch) {
        match fault {
            Fault::BatchTorn | Fault::CheckpointFirst => {
                let first = if fault == Fault::BatchTorn {
                    let half = batch.writes.len() / 2;
                    let writes = batch.writes[..half].to_vec();
                    Batch { checkpoint: self.submitted, writes, ..Batch::default() }
                } else {
                    Batch { writes: Vec::new(), ..batch.clone() }
                };
                self.disk.store(number, first);
            }
            Fault::TableStale => {
                if let Some(behind) = self.behind.replace(batch.clone()) {
                    self.stale.write(&behind);
                }
            }
            _ => {}
        }
        self.submitted = batch.checkpoint;
        self.disk.store(number, batch);
    }

    /// Submits the delayed write, before any later one.
    fn release(&mut self, held: Option<(Token, Write, u64)>) {
        if let Some((token, write, released)) = held {
            self.issue(token, write, released);
        }
    }

    /// Performs one step of the disk. Returns whether it has not failed, and whether anything was done.
    fn advance(&mut self) -> Result<bool, String> {
        let table_first = self.random.one_in(2) && self.advance_table();
        Ok(table_first || self.advance_log()? || self.advance_table())
    }

    fn advance_log(&mut self) -> Result<bool, String> {
        match self.under_way.take() {
            Some(true) => {
                self.disk.fail();
                Err("a sync failed".to_owned())
            }
            Some(false) => {
                let done = self.disk.finish(0).map_err(|failed| {
                    assert!(self.fault.is_some(), "the disk has no fault: {failed:?}");
                    format!("{failed:?}")
                })?;
                if let Some(done) = done {
                    self.report_through(done.token);
                }
                Ok(done.is_some())
            }
            None => {
                self.under_way = self.disk.start(&mut self.random).map(|(_, fails)| fails);
                Ok(self.under_way.is_some())
            }
        }
    }

    fn advance_table(&mut self) -> bool {
        if !std::mem::take(&mut self.storing) {
            self.storing = self.disk.start_table(&mut self.random).is_some();
            return self.storing;
        }
        let number = self.disk.finish_table(&mut self.random).map(|(number, _)| number);
        // If a fault has split a batch into two, the disk reports it twice.
        if let Some(number) = number
            && number > self.last_stored
        {
            self.last_stored = number;
            self.reports.push_back(Report::Stored(number));
        }
        number.is_some()
    }

    fn report_through(&mut self, token: Token) {
        let report = Report::Persisted(token);
        match self.fault {
            Some(Fault::ReportNever) => {}
            Some(Fault::ReportTwice) => self.reports.extend([report.clone(), report]),
            Some(Fault::ReportAhead) => self.reports.push_back(Report::Persisted(Token(token.0 + 1))),
            _ if token <= self.last_report => {}
            _ => {
                self.last_report = token;
                self.reports.push_back(report);
            }
        }
    }
}

impl Storage for Machine {
    fn submit(&mut self, token: Token, write: Write, released: u64) {
        match self.fault {
            None => self.issue(token, write, released),
            Some(fault) => self.issue_wrongly(fault, token, write, released),
        }
        if self.has(Fault::ReportBeforeSync) {
            self.report_through(token);
        }
    }

    fn store(&mut self, number: u64, batch: Batch) {
        match self.fault {
            None => self.disk.store(number, batch),
            Some(fault) => self.store_wrongly(fault, number, batch),
        }
    }

    fn report(&mut self, wait: bool) -> Report {
        loop {
            if let Some(report) = self.reports.pop_front() {
                return report;
            }
            if !wait && self.random.one_in(3) {
                return Report::Nothing;
            }
            match self.advance() {
                Ok(true) => {}
                // No write follows that could overtake the delayed one.
                Ok(false) if self.held.is_some() => {
                    let held = self.held.take();
                    self.release(held);
                }
                Ok(false) => return Report::Nothing,
                Err(reason) => return Report::Failed(reason),
            }
        }
    }

    fn table(&self) -> &dyn Table {
        if self.has(Fault::TableStale) { &self.stale } else { &self.disk.table }
    }

    fn fetch(&mut self, keys: Vec<Bytes>) -> Vec<(Bytes, Option<Bytes>)> {
        let read = |key: Bytes| {
            let record = self.disk.table.read(&key);
            (key, record)
        };
        keys.into_iter().map(read).collect()
    }

    fn read(&mut self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        let bytes_max = if self.has(Fault::ReadUnbounded) { usize::MAX } else { bytes_max };
        // An unreadable log is treated as empty.
        let entries = self.disk.read(from, to, bytes_max).unwrap_or_default();
        if self.has(Fault::ReadEmpty) && entries.first().is_some_and(|entry| entry.size() > bytes_max) {
            return Vec::new();
        }
        entries
    }
}
