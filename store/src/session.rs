//! The sessions: which writes of a client have executed, and their outcomes.
//!
//! All sessions are held in memory; a session's record is written at most once per batch, however many of its
//! writes the batch holds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use gometa_proto::{
    limits::WINDOW_MAX,
    v1::{CommandOutcome, Recorded, SessionOpened, SessionRecord, WriteContext, command_outcome},
};
use prost::Message;

use crate::{
    hash::record_hash,
    table::{Checkpoint, Space, Table},
};

/// The table of sessions is damaged: the data directory cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the table of sessions is damaged: {0}")]
pub struct Corrupt(String);

/// The state of a write in its session.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Recall {
    /// There is no such session: it has ended, or this node has not applied its creation yet.
    NoSession,
    /// The write is below the session's floor: its outcome is forgotten, and it will not execute.
    Forgotten,
    /// The write has executed, with this outcome.
    Recorded(CommandOutcome),
    /// The write has not executed.
    New,
}

/// The size of a session's record without outcomes, in bytes.
const SESSION_COST: usize = 128;

/// The largest size of an outcome in a session's record, in bytes.
const RECORDED_COST: usize = 48;

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    /// By id. Ordered, because the node iterates over them, and simulations must be repeatable.
    live: BTreeMap<u64, Session>,
    /// Nonce → id, of the live sessions.
    nonces: HashMap<[u8; 16], u64>,
    /// The sessions changed or ended since the last batch, in the order of their first change, each once.
    changed: Vec<u64>,
    /// An upper bound of the size of their records in the next batch, in bytes.
    pending: usize,
    /// The sum of the hashes of all records except the changed ones.
    settled_hash: u128,
}

/// A session.
struct Session {
    nonce: [u8; 16],
    timeout_ms: u32,
    /// Writes below this seq are forgotten; at least 1.
    floor: u64,
    /// The outcomes from the floor on, ascending by seq; less than the window above the floor.
    recorded: VecDeque<Recorded>,
    /// The record's part of `settled_hash`; `None` while the session is in `changed`.
    settled: Option<u128>,
}

impl Session {
    fn recall(&self, seq: u64) -> Recall {
        if planted!(seq < self.floor, executes_write_below_floor => false) {
            return Recall::Forgotten;
        }
        match self.place(seq) {
            Ok(at) => Recall::Recorded(outcome(&self.recorded[at])),
            Err(_) => Recall::New,
        }
    }

    /// The position of a seq in `recorded`, or where it is to be inserted.
    fn place(&self, seq: u64) -> Result<usize, usize> {
        match self.recorded.back() {
            Some(last) if seq <= last.seq => {
                self.recorded.binary_search_by_key(&seq, |recorded| recorded.seq)
            }
            _ => Err(self.recorded.len()),
        }
    }

    /// Marks the session as changed: until the next batch its record is no part of the settled hash.
    fn touch(&mut self, id: u64, settled_hash: &mut u128, changed: &mut Vec<u64>, pending: &mut usize) {
        if let Some(settled) = self.settled.take() {
            *settled_hash = settled_hash.wrapping_sub(settled);
            changed.push(id);
            *pending += SESSION_COST + RECORDED_COST * self.recorded.len();
        }
    }

    fn encode(&self) -> Vec<u8> {
        let record = SessionRecord {
            nonce: Bytes::copy_from_slice(&self.nonce),
            timeout_ms: self.timeout_ms,
            floor: self.floor,
            recorded: self.recorded.iter().copied().collect(),
        };
        record.encode_to_vec()
    }

    fn decode(stored: &[u8]) -> Result<Session, String> {
        let record = SessionRecord::decode(stored).map_err(|error| error.to_string())?;
        let nonce =
            record.nonce.as_ref().try_into().map_err(|_| "its nonce is not 16 bytes long".to_owned())?;
        if record.floor == 0 {
            return Err("its floor is 0".to_owned());
        }
        let in_window = |seq: u64| seq.checked_sub(record.floor).is_some_and(|above| above < WINDOW_MAX);
        if !record.recorded.iter().all(|recorded| in_window(recorded.seq)) {
            return Err("an outcome lies outside its window".to_owned());
        }
        if !record.recorded.is_sorted_by(|before, after| before.seq < after.seq) {
            return Err("its outcomes are out of order".to_owned());
        }
        if !record
            .recorded
            .iter()
            .all(|recorded| recorded.outcome.is_some_and(|outcome| outcome.result.is_some()))
        {
            return Err("it holds an outcome that does not decode".to_owned());
        }
        Ok(Session {
            nonce,
            timeout_ms: record.timeout_ms,
            floor: record.floor,
            recorded: record.recorded.into(),
            settled: None,
        })
    }
}

fn outcome(recorded: &Recorded) -> CommandOutcome {
    recorded.outcome.unwrap_or_default()
}

impl Sessions {
    /// Loads the sessions of a table.
    pub(crate) fn load(table: &impl Table) -> Result<Sessions, Corrupt> {
        let Checkpoint { applied, .. } = table.checkpoint();
        let mut sessions = Sessions::default();
        let mut damage = None;
        planted!(loses_sessions_on_restart => return Ok(sessions));
        table.scan(Space::Session, &mut |key, stored| {
            if damage.is_none()
                && let Err(why) = sessions.load_one(applied, key, stored)
            {
                damage = Some(Corrupt(format!("record {:?}: {why}", Bytes::copy_from_slice(key))));
            }
        });
        damage.map_or(Ok(sessions), Err)
    }

    fn load_one(&mut self, applied: u64, key: &[u8], stored: &[u8]) -> Result<(), String> {
        let id = u64::from_be_bytes(key.try_into().map_err(|_| "its key is not 8 bytes long")?);
        if id == 0 || id > applied {
            return Err(format!("no entry up to {applied} can have created it"));
        }
        let mut session = Session::decode(stored)?;
        if let Some(other) = self.nonces.insert(session.nonce, id) {
            return Err(format!("it has the nonce of session {other}"));
        }
        let hash = record_hash(Space::Session, key, stored);
        session.settled = Some(hash);
        self.settled_hash = self.settled_hash.wrapping_add(hash);
        self.live.insert(id, session);
        Ok(())
    }

    /// An upper bound of the size of the changed records, in bytes.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Number of live sessions.
    pub(crate) fn count(&self) -> usize {
        self.live.len()
    }

    /// The hash of all records. Encodes every record changed since the last batch.
    pub(crate) fn hash(&self) -> u128 {
        let changed = self.changed.iter().filter_map(|id| {
            let session = self.live.get(id)?;
            Some(record_hash(Space::Session, &id.to_be_bytes(), &session.encode()))
        });
        changed.fold(self.settled_hash, u128::wrapping_add)
    }

    /// The live session with this nonce.
    pub(crate) fn of_nonce(&self, nonce: &[u8]) -> Option<u64> {
        self.nonces.get(nonce).copied()
    }

    /// The id and the timeout in milliseconds of every live session, ascending by id.
    pub(crate) fn timeouts(&self) -> impl Iterator<Item = (u64, u32)> {
        self.live.iter().map(|(id, session)| (*id, session.timeout_ms))
    }

    /// The timeout of a live session, in milliseconds.
    pub(crate) fn timeout(&self, id: u64) -> Option<u32> {
        self.live.get(&id).map(|session| session.timeout_ms)
    }

    /// The state of a write in its session.
    pub(crate) fn recall(&self, id: u64, seq: u64) -> Recall {
        self.live.get(&id).map_or(Recall::NoSession, |session| session.recall(seq))
    }

    /// The outcome of opening a session.
    pub(crate) fn opened(&self, id: u64) -> CommandOutcome {
        let timeout_ms = self.live[&id].timeout_ms;
        let opened = SessionOpened { session: id, timeout_ms };
        CommandOutcome { result: Some(command_outcome::Result::SessionOpened(opened)) }
    }

    /// Creates a session; there must be none with its id or nonce.
    pub(crate) fn create(&mut self, id: u64, nonce: [u8; 16], timeout_ms: u32) {
        let session = Session { nonce, timeout_ms, floor: 1, recorded: VecDeque::new(), settled: None };
        assert!(self.live.insert(id, session).is_none(), "session {id} is created a second time");
        assert!(self.nonces.insert(nonce, id).is_none(), "a second session is created for one nonce");
        self.changed.push(id);
        self.pending += SESSION_COST;
    }

    /// Ends a session and returns whether it was live.
    pub(crate) fn end(&mut self, id: u64) -> bool {
        probe!("session.end-applied-twice", !self.live.contains_key(&id));
        let Some(session) = self.live.remove(&id) else { return false };
        probe!("session.ended-while-changed", session.settled.is_none());
        self.nonces.remove(&session.nonce);
        if let Some(settled) = session.settled {
            self.settled_hash = self.settled_hash.wrapping_sub(settled);
            planted!(self.changed.push(id), keeps_ended_session_in_table => {});
            self.pending += SESSION_COST;
        }
        true
    }

    /// Raises the session's floor to the write's `lowest`, forgets outcomes below it, and returns the write's state.
    pub(crate) fn arrive(&mut self, context: &WriteContext) -> Recall {
        let Some(session) = self.live.get_mut(&context.session) else { return Recall::NoSession };
        if planted!(session.floor < context.lowest, session_floor_stays => false) {
            session.floor = context.lowest;
            while session.recorded.front().is_some_and(|recorded| recorded.seq < session.floor) {
                probe!("session.outcome-deleted");
                session.recorded.pop_front();
            }
            let Sessions { settled_hash, changed, pending, .. } = self;
            session.touch(context.session, settled_hash, changed, pending);
        }
        session.recall(context.seq)
    }

    /// Records the outcome of a write whose state was [`Recall::New`].
    pub(crate) fn record(&mut self, context: &WriteContext, outcome: CommandOutcome) {
        let session = self.live.get_mut(&context.session).expect("the session met the write as new");
        let at = session.place(context.seq).expect_err("the write was new");
        probe!("session.write-out-of-order", at < session.recorded.len());
        session.recorded.insert(at, Recorded { seq: context.seq, outcome: Some(outcome) });
        let Sessions { settled_hash, changed, pending, .. } = self;
        *pending += RECORDED_COST;
        session.touch(context.session, settled_hash, changed, pending);
    }

    /// Moves the changes since the last batch into the next one.
    pub(crate) fn take(&mut self, writes: &mut Vec<(Space, Bytes, Option<Bytes>)>) {
        writes.reserve(self.changed.len());
        self.pending = 0;
        for id in self.changed.drain(..) {
            let key = id.to_be_bytes();
            let stored = self.live.get_mut(&id).map(|session| {
                let stored = session.encode();
                let settled = record_hash(Space::Session, &key, &stored);
                session.settled = Some(settled);
                self.settled_hash = self.settled_hash.wrapping_add(settled);
                Bytes::from(stored)
            });
            writes.push((Space::Session, Bytes::copy_from_slice(&key), stored));
        }
    }
}
