//! The reference model of a storage, from one opening to the next.

use gometa_store::Checkpoint;
use gometa_zab::Token;

use super::{Invariant, State, Violation, Write};

/// The state at the opening, and the writes submitted and reported since.
#[derive(Clone, Debug)]
pub struct Model {
    base: State,
    issued: State,
    /// All writes, in order.
    writes: Vec<Write>,
    log: Fifo<u64>,
    table: Fifo<Checkpoint>,
}

/// The writes of one kind.
#[derive(Clone, Debug)]
struct Fifo<T> {
    /// The index of each in the list of all writes.
    at: Vec<usize>,
    /// The number of reported ones.
    reported: usize,
    /// The log's last counter, or the table's checkpoint, after each number of writes, from 0 on.
    progress: Vec<T>,
}

impl<T> Fifo<T> {
    fn new(first: T) -> Fifo<T> {
        Fifo { at: Vec::new(), reported: 0, progress: vec![first] }
    }

    fn push(&mut self, at: usize, state: T) -> u64 {
        self.at.push(at);
        self.progress.push(state);
        self.at.len() as u64
    }

    fn report(&mut self, number: u64) -> Result<(), Violation> {
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        if count <= self.reported || count > self.at.len() {
            let (reported, submitted) = (self.reported, self.at.len());
            let what = format!("{number} was reported after {reported}, and {submitted} were submitted");
            return Err(Violation::new(Invariant::Order, what));
        }
        self.reported = count;
        Ok(())
    }

    /// The states that may be current.
    fn possible(&self) -> impl Iterator<Item = &T> {
        self.progress[self.reported..].iter()
    }

    /// The index of the first write that was not reported.
    fn unreported(&self) -> Option<usize> {
        self.at.get(self.reported).copied()
    }
}

/// The number of writes that a storage has kept and lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The length of the longest prefix of the writes to the log that results in the recovered state.
    pub kept: usize,
    /// The number of later writes to the log.
    pub lost: usize,
    /// The number of batches after the longest prefix that results in the recovered table.
    pub batches_lost: usize,
}

impl Model {
    /// Returns the model of a storage with this durable state.
    pub fn new(base: State) -> Model {
        let (log, table) = (Fifo::new(base.last().counter), Fifo::new(base.checkpoint));
        Model { issued: base.clone(), base, writes: Vec::new(), log, table }
    }

    /// The state after all submitted writes.
    pub fn issued(&self) -> &State {
        &self.issued
    }

    /// The number of submitted writes.
    pub fn submitted(&self) -> usize {
        self.writes.len()
    }

    /// The length of the longest prefix of which all writes were reported.
    pub fn reported(&self) -> usize {
        let unreported = self.log.unreported().into_iter().chain(self.table.unreported());
        unreported.min().unwrap_or(self.writes.len())
    }

    /// The number of writes that were not reported.
    pub fn unreported(&self) -> usize {
        self.writes.len() - self.log.reported - self.table.reported
    }

    /// Adds a write and returns its token or number.
    pub fn submit(&mut self, write: &Write) -> u64 {
        let at = self.writes.len();
        self.issued.write(write);
        self.writes.push(write.clone());
        match write {
            Write::Log(_) => self.log.push(at, self.issued.last().counter),
            Write::Table(batch) => self.table.push(at, batch.checkpoint),
        }
    }

    /// Records the report of all writes to the log through this token.
    pub fn report(&mut self, token: Token) -> Result<(), Violation> {
        self.log.report(token.0)
    }

    /// Records the report of all batches through this number.
    pub fn report_stored(&mut self, number: u64) -> Result<(), Violation> {
        self.table.report(number)
    }

    /// Records a clean close: all submitted writes are durable.
    pub fn closed(&mut self) {
        *self = Model::new(std::mem::take(&mut self.issued));
    }

    /// The length of the shortest prefix of the writes to the log that may remain after a crash now.
    pub fn floor(&self) -> usize {
        self.log.reported
    }

    /// The counter through which the log is readable: reported entries that no write in flight truncates.
    pub fn readable(&self) -> u64 {
        self.log.possible().min().copied().unwrap_or(0)
    }

    /// Whether the table may have this checkpoint now.
    pub fn may_show(&self, checkpoint: &Checkpoint) -> bool {
        self.table.possible().any(|shown| shown == checkpoint)
    }

    /// Checks the state recovered at the next opening.
    pub fn check_recovered(&self, found: &State) -> Result<Outcome, Violation> {
        let floor = self.floor();
        let mut state = self.base.clone();
        let mut required = state.clone();
        let (mut log, mut table) =
            (state.has_log_of(found).then_some(0), state.has_table_of(found).then_some(0));
        let mut count = 0;
        for &at in &self.log.at {
            state.write(&self.writes[at]);
            count += 1;
            if count == floor {
                required = state.clone();
            }
            if state.has_log_of(found) {
                log = Some(count);
            }
        }
        for (count, &at) in self.table.at.iter().enumerate() {
            state.write(&self.writes[at]);
            if state.has_table_of(found) {
                table = Some(count + 1);
            }
        }
        let submitted = self.log.at.len();
        let compared = || {
            format!(
                "of {submitted} writes to the log {floor} were reported, which make: {}; found: {}",
                required.summary(),
                found.summary()
            )
        };
        // Epochs never fall, so the prefix is not needed for this check.
        let (promised, kept) = (&required.hard_state, &found.hard_state);
        if kept.accepted_epoch < promised.accepted_epoch || kept.current_epoch < promised.current_epoch {
            return Err(Violation::new(Invariant::HardState, compared()));
        }
        match (log, table) {
            (Some(kept), Some(batches)) if kept >= floor => {
                let batches_lost = self.table.at.len() - batches;
                Ok(Outcome { kept, lost: submitted - kept, batches_lost })
            }
            (Some(kept), Some(_)) => {
                let what = format!("only the first {kept} are: {}", compared());
                Err(Violation::new(Invariant::Durable, what))
            }
            _ => Err(Violation::new(Invariant::Prefix, compared())),
        }
    }
}
