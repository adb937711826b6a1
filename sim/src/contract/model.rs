//! The naive twin of a storage, from one opening to the next.

use gometa_store::Checkpoint;
use gometa_zab::Token;

use super::{Broken, Promise, State, Write};

/// What was submitted and reported since an opening, and what the storage held then.
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
    /// Where each is in the list of all writes.
    at: Vec<usize>,
    /// How many were reported.
    reported: usize,
    /// After each number of writes, from none to all: the log's last counter, or the table's checkpoint.
    course: Vec<T>,
}

impl<T> Fifo<T> {
    fn new(first: T) -> Fifo<T> {
        Fifo { at: Vec::new(), reported: 0, course: vec![first] }
    }

    fn push(&mut self, at: usize, state: T) -> u64 {
        self.at.push(at);
        self.course.push(state);
        self.at.len() as u64
    }

    fn report(&mut self, number: u64) -> Result<(), Broken> {
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        if count <= self.reported || count > self.at.len() {
            let (reported, submitted) = (self.reported, self.at.len());
            let what = format!("{number} was reported after {reported}, and {submitted} were submitted");
            return Err(Broken::new(Promise::Order, what));
        }
        self.reported = count;
        Ok(())
    }

    /// The states that may be in force now.
    fn possible(&self) -> impl Iterator<Item = &T> {
        self.course[self.reported..].iter()
    }

    /// The place of the first write that was not reported.
    fn unreported(&self) -> Option<usize> {
        self.at.get(self.reported).copied()
    }
}

/// What a storage kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The longest prefix of the writes to the log that makes what was found.
    pub kept: usize,
    /// Writes to the log behind it.
    pub lost: usize,
    /// Batches behind the longest prefix that makes the table that was found.
    pub batches_lost: usize,
}

impl Model {
    /// A storage that was found to hold this, all of it durable.
    pub fn new(base: State) -> Model {
        let (log, table) = (Fifo::new(base.last().counter), Fifo::new(base.checkpoint));
        Model { issued: base.clone(), base, writes: Vec::new(), log, table }
    }

    /// What all writes make, reported or not.
    pub fn issued(&self) -> &State {
        &self.issued
    }

    /// How many writes were submitted.
    pub fn submitted(&self) -> usize {
        self.writes.len()
    }

    /// How many of the first writes were reported, all of them.
    pub fn reported(&self) -> usize {
        let unreported = self.log.unreported().into_iter().chain(self.table.unreported());
        unreported.min().unwrap_or(self.writes.len())
    }

    /// How many reports are missing.
    pub fn unreported(&self) -> usize {
        self.writes.len() - self.log.reported - self.table.reported
    }

    /// One write more; its token or its number.
    pub fn submit(&mut self, write: &Write) -> u64 {
        let at = self.writes.len();
        self.issued.write(write);
        self.writes.push(write.clone());
        match write {
            Write::Log(_) => self.log.push(at, self.issued.last().counter),
            Write::Table(batch) => self.table.push(at, batch.checkpoint),
        }
    }

    /// Every write to the log through this token was reported.
    pub fn report(&mut self, token: Token) -> Result<(), Broken> {
        self.log.report(token.0)
    }

    /// Every batch through this number was reported.
    pub fn report_stored(&mut self, number: u64) -> Result<(), Broken> {
        self.table.report(number)
    }

    /// Every write that was submitted is durable: the storage was closed in order.
    pub fn closed(&mut self) {
        *self = Model::new(std::mem::take(&mut self.issued));
    }

    /// The shortest prefix of the writes to the log that a crash at this moment may leave.
    pub fn floor(&self) -> usize {
        self.log.reported
    }

    /// How far the log may be read: the entries that were reported and that no write in flight cuts.
    pub fn readable(&self) -> u64 {
        self.log.possible().min().copied().unwrap_or(0)
    }

    /// Whether a table may show this checkpoint now.
    pub fn may_show(&self, checkpoint: &Checkpoint) -> bool {
        self.table.possible().any(|shown| shown == checkpoint)
    }

    /// Judges what was found at the next opening.
    pub fn judge(&self, found: &State) -> Result<Verdict, Broken> {
        let floor = self.floor();
        let mut state = self.base.clone();
        let mut owed = state.clone();
        let (mut log, mut table) =
            (state.has_log_of(found).then_some(0), state.has_table_of(found).then_some(0));
        let mut count = 0;
        for &at in &self.log.at {
            state.write(&self.writes[at]);
            count += 1;
            if count == floor {
                owed = state.clone();
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
                owed.summary(),
                found.summary()
            )
        };
        // Epochs only rise, so this needs no prefix.
        let (promised, kept) = (&owed.hard_state, &found.hard_state);
        if kept.accepted_epoch < promised.accepted_epoch || kept.current_epoch < promised.current_epoch {
            return Err(Broken::new(Promise::HardState, compared()));
        }
        match (log, table) {
            (Some(kept), Some(batches)) if kept >= floor => {
                let batches_lost = self.table.at.len() - batches;
                Ok(Verdict { kept, lost: submitted - kept, batches_lost })
            }
            (Some(kept), Some(_)) => {
                let what = format!("only the first {kept} are: {}", compared());
                Err(Broken::new(Promise::Durable, what))
            }
            _ => Err(Broken::new(Promise::Prefix, compared())),
        }
    }
}
