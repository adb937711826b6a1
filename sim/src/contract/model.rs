//! The naive twin of a storage, from one opening to the next.

use gometa_node::Write;
use gometa_store::Checkpoint;
use gometa_zab::Token;

use super::{Broken, Promise, State};

/// What was submitted and reported since an opening, and what the storage held then.
#[derive(Clone, Debug)]
pub struct Model {
    base: State,
    issued: State,
    writes: Vec<Write>,
    /// How many of the writes were reported.
    reported: usize,
    /// After each number of writes, from none to all: the table's checkpoint, the log's last counter.
    course: Vec<(Checkpoint, u64)>,
}

/// What a storage kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The longest prefix of the writes that makes what was found.
    pub kept: usize,
    /// Writes behind it.
    pub lost: usize,
}

impl Model {
    /// A storage that was found to hold this, all of it durable.
    pub fn new(base: State) -> Model {
        let course = vec![(base.checkpoint, base.last().counter)];
        Model { issued: base.clone(), base, writes: Vec::new(), reported: 0, course }
    }

    /// What all writes make, reported or not.
    pub fn issued(&self) -> &State {
        &self.issued
    }

    /// How many writes were submitted.
    pub fn submitted(&self) -> usize {
        self.writes.len()
    }

    /// How many of them were reported.
    pub fn reported(&self) -> usize {
        self.reported
    }

    /// One write more; its token.
    pub fn submit(&mut self, write: &Write) -> Token {
        self.issued.write(write);
        self.writes.push(write.clone());
        self.course.push((self.issued.checkpoint, self.issued.last().counter));
        Token(self.writes.len() as u64)
    }

    /// Everything through this token was reported.
    pub fn report(&mut self, token: Token) -> Result<(), Broken> {
        let count = usize::try_from(token.0).unwrap_or(usize::MAX);
        if count <= self.reported || count > self.writes.len() {
            let (reported, submitted) = (self.reported, self.writes.len());
            let what = format!("{token} was reported after {reported}, and {submitted} were submitted");
            return Err(Broken::new(Promise::Order, what));
        }
        self.reported = count;
        Ok(())
    }

    /// Every write that was submitted is durable: the storage was closed in order.
    pub fn closed(&mut self) {
        *self = Model::new(std::mem::take(&mut self.issued));
    }

    /// The shortest prefix of the writes that a crash at this moment may leave.
    pub fn floor(&self) -> usize {
        let synced = self.writes[..self.reported].iter().rposition(|write| matches!(write, Write::Zab(_)));
        synced.map_or(0, |at| at + 1)
    }

    /// How far the log may be read: the entries that were reported and that no write in flight cuts.
    pub fn readable(&self) -> u64 {
        self.course[self.reported..].iter().map(|(_, last)| *last).min().unwrap_or(0)
    }

    /// Whether a table may show this checkpoint now.
    pub fn may_show(&self, checkpoint: &Checkpoint) -> bool {
        self.course[self.reported..].iter().any(|(shown, _)| shown == checkpoint)
    }

    /// Judges what was found at the next opening.
    pub fn judge(&self, found: &State) -> Result<Verdict, Broken> {
        let floor = self.floor();
        let mut state = self.base.clone();
        let mut matching = None;
        let mut owed = state.clone();
        for count in 0..=self.writes.len() {
            if count > 0 {
                state.write(&self.writes[count - 1]);
            }
            if count == floor {
                owed = state.clone();
            }
            if state == *found {
                matching = Some(count);
            }
        }
        let submitted = self.writes.len();
        let compared = || {
            format!(
                "of {submitted} writes {} were reported, so {floor} must be there, which make: {}; found: {}",
                self.reported,
                owed.summary(),
                found.summary()
            )
        };
        // Epochs only rise, so this needs no prefix.
        let (promised, kept) = (&owed.hard_state, &found.hard_state);
        if kept.accepted_epoch < promised.accepted_epoch || kept.current_epoch < promised.current_epoch {
            return Err(Broken::new(Promise::HardState, compared()));
        }
        match matching {
            Some(kept) if kept >= floor => Ok(Verdict { kept, lost: submitted - kept }),
            Some(kept) => {
                let what = format!("only the first {kept} are: {}", compared());
                Err(Broken::new(Promise::Durable, what))
            }
            None => Err(Broken::new(Promise::Prefix, compared())),
        }
    }
}
