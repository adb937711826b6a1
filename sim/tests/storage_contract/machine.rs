//! The simulated disk as a [`Storage`] that can crash, and what its faults make of it.

use std::collections::VecDeque;

use gometa_node::Write;
use gometa_sim::{
    contract::{Broken, Directory, Opening, Promise, Report, State, Storage},
    disk::{Disk, End, TableView},
    random::{Random, Stream},
    settings::{DiskSettings, Settings},
};
use gometa_store::{Batch, Table};
use gometa_zab::{Incarnation, LogEntry, Token, Write as ZabWrite};

/// Ways to be wrong, each of them once a bug of some database. See [`Machine`] for how each is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Reports a write when it is queued.
    ReportBeforeSync,
    /// Reports every token twice.
    ReportTwice,
    /// Reports a write that is still to come.
    ReportAhead,
    /// Does not report at all.
    ReportNever,
    /// Does not cut the log.
    TruncationSkipped,
    /// Cuts the log with the next write, and reports it before.
    TruncationLate,
    /// Cuts one entry too many.
    TruncationTooDeep,
    /// A crash brings back what was cut last.
    TruncationUndone,
    /// Writes half of a table batch, and then the other half.
    BatchTorn,
    /// Writes the checkpoint before the records.
    CheckpointFirst,
    /// A table batch overtakes the log entries queued before it.
    TableOvertakesLog,
    /// Log entries overtake the hard state queued before them.
    LogOvertakesHardState,
    /// Loses one promise in four.
    HardStateLost,
    /// Keeps the current epoch only, not the promise.
    HardStateHalf,
    /// Does not keep that the genesis is sealed.
    SealLost,
    /// Loses the last entry of an append.
    AppendShort,
    /// Shows table batches one late.
    TableStale,
    /// Gives more of the log than was asked for.
    ReadUnbounded,
    /// Gives nothing where the first entry is too large.
    ReadEmpty,
    /// Recovers what no sync has covered, and does not sync it: the next crash loses it.
    RecoveredUnsynced,
    /// Does not tell the last epoch of the log.
    BoundaryMissing,
    /// Does not count an opening.
    BootStuck,
    /// Is another directory after a crash.
    IncarnationChanged,
}

impl Fault {
    pub(crate) const ALL: [Fault; 23] = [
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
        Fault::TableOvertakesLog,
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

/// A simulated disk, the fate that moves it, and perhaps a fault.
pub(crate) struct Machine {
    disk: Disk,
    random: Random,
    fault: Option<Fault>,
    directory: Directory,
    /// Reports that were made and not heard.
    reports: VecDeque<Token>,
    last_report: Token,
    /// Whether a group is being written, and whether it will fail.
    under_way: Option<bool>,
    /// A write that a fault holds back.
    held: Option<(Token, Write)>,
    /// A table that lags, for [`Fault::TableStale`].
    stale: TableView,
    behind: Option<Batch>,
    /// What the last truncation cut, for [`Fault::TruncationUndone`].
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
        let settings = DiskSettings { partial, error, ..Settings::quiet(seed, 1).disk };
        Machine {
            disk: Disk::new(Incarnation(random.wide() | 1), settings),
            random,
            fault,
            directory: Directory::default(),
            reports: VecDeque::new(),
            last_report: Token(0),
            under_way: None,
            held: None,
            stale: TableView::default(),
            behind: None,
            cut: Vec::new(),
            synced: None,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// A process starts. What it finds, if it is of one piece.
    pub(crate) fn open(&mut self) -> Result<State, Broken> {
        let recovered = self.disk.recover();
        let recovered = recovered.map_err(|refused| Broken::new(Promise::Opens, format!("{refused:?}")))?;
        let mut opening = Opening { incarnation: self.disk.incarnation, boot: self.disk.boots, recovered };
        match self.fault {
            Some(Fault::BoundaryMissing) => drop(opening.recovered.boundaries.pop()),
            Some(Fault::BootStuck) => opening.boot = opening.boot.div_ceil(2),
            Some(Fault::IncarnationChanged) if opening.boot > 2 => opening.incarnation = Incarnation(1),
            _ => {}
        }
        self.reports.clear();
        self.last_report = Token(0);
        self.under_way = None;
        self.held = None;
        self.behind = None;
        self.cut.clear();
        if self.has(Fault::TableStale) {
            let mut writes = Vec::new();
            for space in [gometa_store::Space::Data, gometa_store::Space::Session] {
                self.disk.table.scan(space, &mut |key, value| {
                    writes.push((space, key.to_vec().into(), Some(value.to_vec().into())));
                });
            }
            self.stale = TableView::default();
            self.stale.write(&Batch { checkpoint: self.disk.table.checkpoint(), writes });
        }
        self.directory.opened(opening.incarnation, opening.boot)?;
        State::found(self, &opening)
    }

    /// The process ends, and with it all that was not synced, or some of it. How many writes were lost.
    pub(crate) fn crash(&mut self) -> usize {
        let before = self.disk.durable.log.clone();
        let end = self.random.pick(&[End::Killed, End::PowerLost]);
        let mut lost = self.disk.crash(0, end, &mut self.random).writes;
        if end == End::Killed && self.random.one_in(4) {
            // The power goes before the next start, or in it.
            lost += self.disk.lose_power(&mut self.random).writes;
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
        self.disk.forge(forge).expect("what these faults have left opens");
    }

    fn issue(&mut self, token: Token, write: Write) {
        self.disk.issue(token, write);
    }

    /// Hands a write to the disk, as the fault has it.
    fn issue_wrongly(&mut self, fault: Fault, token: Token, write: Write) {
        let nothing = || Write::Zab(ZabWrite::Append(Vec::new()));
        let held = self.held.take();
        match (fault, write) {
            (Fault::TruncationSkipped, Write::Zab(ZabWrite::Truncate(_))) => self.issue(token, nothing()),
            (Fault::TruncationLate, write) => {
                if let Some((_, held)) = held {
                    self.issue(token, held);
                }
                if matches!(write, Write::Zab(ZabWrite::Truncate(_))) {
                    self.held = Some((token, write));
                    self.issue(token, nothing());
                } else {
                    self.issue(token, write);
                }
            }
            (Fault::TruncationTooDeep, Write::Zab(ZabWrite::Truncate(mut to))) => {
                to.counter = to.counter.saturating_sub(1);
                self.issue(token, Write::Zab(ZabWrite::Truncate(to)));
            }
            (Fault::TruncationUndone, Write::Zab(ZabWrite::Truncate(to))) => {
                let keep = (to.counter as usize).min(self.disk.issued.log.len());
                self.cut = self.disk.issued.log[keep..].to_vec();
                self.issue(token, Write::Zab(ZabWrite::Truncate(to)));
            }
            (Fault::BatchTorn | Fault::CheckpointFirst, Write::Apply(batch)) => {
                let before = self.disk.table.checkpoint();
                let half = batch.writes.len() / 2;
                let (first, second) = if fault == Fault::BatchTorn {
                    (Batch { checkpoint: before, writes: batch.writes[..half].to_vec() }, batch)
                } else {
                    (Batch { writes: Vec::new(), ..batch.clone() }, batch)
                };
                self.issue(token, Write::Apply(first));
                self.issue(token, Write::Apply(second));
            }
            (Fault::TableOvertakesLog, write @ Write::Zab(ZabWrite::Append(_))) => {
                self.release(held);
                self.held = Some((token, write));
            }
            (Fault::LogOvertakesHardState, write @ Write::Zab(ZabWrite::HardState(_))) => {
                self.release(held);
                self.held = Some((token, write));
            }
            (Fault::TableOvertakesLog, write @ Write::Apply(_))
            | (Fault::LogOvertakesHardState, write @ Write::Zab(ZabWrite::Append(_))) => {
                self.issue(token, write);
                if let Some((_, held)) = held {
                    self.issue(token, held);
                }
            }
            (Fault::HardStateLost, Write::Zab(ZabWrite::HardState(_))) if self.random.one_in(4) => {
                self.issue(token, nothing());
            }
            (Fault::HardStateHalf, Write::Zab(ZabWrite::HardState(mut promised))) => {
                promised.accepted_epoch = promised.current_epoch;
                self.issue(token, Write::Zab(ZabWrite::HardState(promised)));
            }
            (Fault::SealLost, Write::Zab(ZabWrite::Founding(mut founding))) => {
                founding.sealed = false;
                self.issue(token, Write::Zab(ZabWrite::Founding(founding)));
            }
            (Fault::AppendShort, Write::Zab(ZabWrite::Append(mut entries))) => {
                if entries.len() > 1 {
                    entries.pop();
                }
                self.issue(token, Write::Zab(ZabWrite::Append(entries)));
            }
            (Fault::TableStale, Write::Apply(batch)) => {
                if let Some(behind) = self.behind.replace(batch.clone()) {
                    self.stale.write(&behind);
                }
                self.issue(token, Write::Apply(batch));
            }
            (_, write) => {
                self.release(held);
                self.issue(token, write);
            }
        }
    }

    /// Hands on what was held back, nothing having overtaken it.
    fn release(&mut self, held: Option<(Token, Write)>) {
        if let Some((token, write)) = held {
            self.issue(token, write);
        }
    }

    /// One thing happens inside the disk. Whether it goes on, and whether anything happened.
    fn advance(&mut self) -> Result<bool, String> {
        match self.under_way.take() {
            Some(true) => Err("a sync failed".to_owned()),
            Some(false) => {
                let done = self.disk.finish(0);
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

    fn report_through(&mut self, token: Token) {
        match self.fault {
            Some(Fault::ReportNever) => {}
            Some(Fault::ReportTwice) => self.reports.extend([token, token]),
            Some(Fault::ReportAhead) => self.reports.push_back(Token(token.0 + 1)),
            // A fault that makes two writes of one has it reported twice by the disk.
            _ if token <= self.last_report => {}
            _ => {
                self.last_report = token;
                self.reports.push_back(token);
            }
        }
    }
}

impl Storage for Machine {
    fn submit(&mut self, token: Token, write: Write) {
        match self.fault {
            None => self.issue(token, write),
            Some(fault) => self.issue_wrongly(fault, token, write),
        }
        if self.has(Fault::ReportBeforeSync) {
            self.report_through(token);
        }
    }

    fn report(&mut self, wait: bool) -> Report {
        loop {
            if let Some(token) = self.reports.pop_front() {
                return Report::Persisted(token);
            }
            if !wait && self.random.one_in(3) {
                return Report::Nothing;
            }
            match self.advance() {
                Ok(true) => {}
                // What is held back has nothing to wait for any more.
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

    fn read(&mut self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        let bytes_max = if self.has(Fault::ReadUnbounded) { usize::MAX } else { bytes_max };
        // What cannot be read is not there.
        let entries = self.disk.read(from, to, bytes_max).unwrap_or_default();
        if self.has(Fault::ReadEmpty) && entries.first().is_some_and(|entry| entry.size() > bytes_max) {
            return Vec::new();
        }
        entries
    }
}
