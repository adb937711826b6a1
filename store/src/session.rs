//! Sessions: record which writes of a client have executed, and their outcomes.
//!
//! All sessions are held in memory. Each batch contains the record of every session changed since the last one, once.

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

/// The error for a damaged record of a session or of the configuration in the table: the data directory cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the table is damaged: {0}")]
pub struct Corrupt(String);

impl Corrupt {
    /// The error for this damage.
    pub fn new(what: impl Into<String>) -> Corrupt {
        Corrupt(what.into())
    }
}

/// The result of looking up a write by (session, seq).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum WriteLookup {
    /// The session does not exist: it has ended, or this node has not applied its creation yet.
    NoSession,
    /// The seq is below the session's floor: its outcome, if any, has been deleted; the write will not execute.
    Forgotten,
    /// The write has executed with this outcome.
    Recorded(CommandOutcome),
    /// The write has not executed.
    New,
}

/// Upper bound, in bytes, of the size of a session's record without outcomes.
const SESSION_BYTES_MAX: usize = 128;

/// Upper bound, in bytes, of the size of one outcome in a session's record.
const RECORDED_BYTES_MAX: usize = 48;

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    /// All sessions by id. Iterated by `node`; the order must be deterministic.
    by_id: BTreeMap<u64, Session>,
    /// The id of each session by its nonce.
    by_nonce: HashMap<[u8; 16], u64>,
    /// Sessions changed or ended since the last `take`, in the order of their first change, without duplicates.
    changed: Vec<u64>,
    /// Upper bound, in bytes, of the size of their records in the next batch.
    pending_bytes: usize,
    /// Sum of the hashes of all records not changed since the last `take`.
    unchanged_hash: u128,
}

struct Session {
    nonce: [u8; 16],
    timeout_ms: u32,
    /// Outcomes of lower seqs have been deleted. At least 1.
    floor: u64,
    /// Outcomes of executed writes, ascending by seq; `floor <= seq < floor + WINDOW_MAX`.
    recorded: VecDeque<Recorded>,
    /// The record's hash as added to `unchanged_hash`; `None` while the session is in `changed`.
    counted_hash: Option<u128>,
}

impl Session {
    fn lookup_write(&self, seq: u64) -> WriteLookup {
        if planted!(seq < self.floor, executes_write_below_floor => false) {
            return WriteLookup::Forgotten;
        }
        match self.index_of(seq) {
            Ok(index) => WriteLookup::Recorded(self.recorded[index].outcome.unwrap_or_default()),
            Err(_) => WriteLookup::New,
        }
    }

    /// Index of the seq in `recorded`, or `Err` with the insertion index.
    fn index_of(&self, seq: u64) -> Result<usize, usize> {
        match self.recorded.back() {
            Some(last) if seq <= last.seq => {
                self.recorded.binary_search_by_key(&seq, |recorded| recorded.seq)
            }
            _ => Err(self.recorded.len()),
        }
    }

    /// Adds the session to `changed` and subtracts its hash from `unchanged_hash`, unless it was added already.
    fn mark_changed(
        &mut self,
        id: u64,
        unchanged_hash: &mut u128,
        changed: &mut Vec<u64>,
        pending_bytes: &mut usize,
    ) {
        if let Some(hash) = self.counted_hash.take() {
            *unchanged_hash = unchanged_hash.wrapping_sub(hash);
            changed.push(id);
            *pending_bytes += SESSION_BYTES_MAX + RECORDED_BYTES_MAX * self.recorded.len();
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
            return Err("it holds an outcome that cannot be decoded".to_owned());
        }
        Ok(Session {
            nonce,
            timeout_ms: record.timeout_ms,
            floor: record.floor,
            recorded: record.recorded.into(),
            counted_hash: None,
        })
    }
}

impl Sessions {
    /// Loads all sessions of a table.
    ///
    /// # Errors
    /// [`Corrupt`] if a record cannot be decoded or contradicts itself, the checkpoint or another record.
    pub(crate) fn load(table: &impl Table) -> Result<Sessions, Corrupt> {
        let Checkpoint { applied, .. } = table.checkpoint();
        let mut sessions = Sessions::default();
        let mut corrupt = None;
        planted!(loses_sessions_on_restart => return Ok(sessions));
        table.scan(Space::Session, &mut |key, stored| {
            if corrupt.is_none()
                && let Err(why) = sessions.load_one(applied, key, stored)
            {
                corrupt =
                    Some(Corrupt(format!("the record of session {:?}: {why}", Bytes::copy_from_slice(key))));
            }
        });
        corrupt.map_or(Ok(sessions), Err)
    }

    fn load_one(&mut self, applied: u64, key: &[u8], stored: &[u8]) -> Result<(), String> {
        let id = u64::from_be_bytes(key.try_into().map_err(|_| "its key is not 8 bytes long")?);
        if id == 0 || id > applied {
            return Err(format!("no log entry up to {applied} can have created it"));
        }
        let mut session = Session::decode(stored)?;
        if let Some(other) = self.by_nonce.insert(session.nonce, id) {
            return Err(format!("it has the nonce of session {other}"));
        }
        let hash = record_hash(Space::Session, key, stored);
        session.counted_hash = Some(hash);
        self.unchanged_hash = self.unchanged_hash.wrapping_add(hash);
        self.by_id.insert(id, session);
        Ok(())
    }

    /// Upper bound, in bytes, of the size of the changed records.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Number of sessions.
    pub(crate) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Sum of the hashes of all records. Encodes every record changed since the last `take`.
    pub(crate) fn hash(&self) -> u128 {
        let changed = self.changed.iter().filter_map(|id| {
            let session = self.by_id.get(id)?;
            Some(record_hash(Space::Session, &id.to_be_bytes(), &session.encode()))
        });
        changed.fold(self.unchanged_hash, u128::wrapping_add)
    }

    /// The id of the session created with this nonce.
    pub(crate) fn by_nonce(&self, nonce: &[u8]) -> Option<u64> {
        self.by_nonce.get(nonce).copied()
    }

    /// The id and the timeout, in milliseconds, of every session, ascending by id.
    pub(crate) fn timeouts(&self) -> impl Iterator<Item = (u64, u32)> {
        self.by_id.iter().map(|(id, session)| (*id, session.timeout_ms))
    }

    /// The timeout of a session, in milliseconds.
    pub(crate) fn timeout(&self, id: u64) -> Option<u32> {
        self.by_id.get(&id).map(|session| session.timeout_ms)
    }

    /// Looks up a write. Changes nothing.
    pub(crate) fn lookup_write(&self, id: u64, seq: u64) -> WriteLookup {
        self.by_id.get(&id).map_or(WriteLookup::NoSession, |session| session.lookup_write(seq))
    }

    /// The outcome of `CreateSession` for the session `id`, which exists.
    pub(crate) fn opened_outcome(&self, id: u64) -> CommandOutcome {
        let timeout_ms = self.by_id[&id].timeout_ms;
        let opened = SessionOpened { session: id, timeout_ms };
        CommandOutcome { result: Some(command_outcome::Result::SessionOpened(opened)) }
    }

    /// Creates a session.
    ///
    /// # Panics
    /// If a session with this id or nonce exists.
    pub(crate) fn create(&mut self, id: u64, nonce: [u8; 16], timeout_ms: u32) {
        let session = Session { nonce, timeout_ms, floor: 1, recorded: VecDeque::new(), counted_hash: None };
        assert!(self.by_id.insert(id, session).is_none(), "session {id} exists");
        assert!(self.by_nonce.insert(nonce, id).is_none(), "another session has the nonce");
        self.changed.push(id);
        self.pending_bytes += SESSION_BYTES_MAX;
    }

    /// Ends a session. Returns whether it existed.
    pub(crate) fn end(&mut self, id: u64) -> bool {
        probe!("session.end-applied-twice", !self.by_id.contains_key(&id));
        let Some(session) = self.by_id.remove(&id) else { return false };
        probe!("session.ended-while-changed", session.counted_hash.is_none());
        self.by_nonce.remove(&session.nonce);
        if let Some(hash) = session.counted_hash {
            self.unchanged_hash = self.unchanged_hash.wrapping_sub(hash);
            planted!(self.changed.push(id), keeps_ended_session_in_table => {});
            self.pending_bytes += SESSION_BYTES_MAX;
        }
        true
    }

    /// Raises the session's floor to `context.lowest`, deletes outcomes below it, and looks up the write.
    pub(crate) fn begin_write(&mut self, context: &WriteContext) -> WriteLookup {
        let Some(session) = self.by_id.get_mut(&context.session) else { return WriteLookup::NoSession };
        if planted!(session.floor < context.lowest, session_floor_stays => false) {
            session.floor = context.lowest;
            while session.recorded.front().is_some_and(|recorded| recorded.seq < session.floor) {
                probe!("session.outcome-deleted");
                session.recorded.pop_front();
            }
            let Sessions { unchanged_hash, changed, pending_bytes, .. } = self;
            session.mark_changed(context.session, unchanged_hash, changed, pending_bytes);
        }
        session.lookup_write(context.seq)
    }

    /// Records the outcome of an executed write.
    ///
    /// # Panics
    /// If `begin_write` has not returned [`WriteLookup::New`] for it.
    pub(crate) fn record(&mut self, context: &WriteContext, outcome: CommandOutcome) {
        let session = self.by_id.get_mut(&context.session).expect("the session of a new write exists");
        let index = session.index_of(context.seq).expect_err("a new write has no outcome");
        probe!("session.write-out-of-order", index < session.recorded.len());
        session.recorded.insert(index, Recorded { seq: context.seq, outcome: Some(outcome) });
        let Sessions { unchanged_hash, changed, pending_bytes, .. } = self;
        *pending_bytes += RECORDED_BYTES_MAX;
        session.mark_changed(context.session, unchanged_hash, changed, pending_bytes);
    }

    /// Appends to `writes` the changes since the last call.
    pub(crate) fn take(&mut self, writes: &mut Vec<(Space, Bytes, Option<Bytes>)>) {
        writes.reserve(self.changed.len());
        self.pending_bytes = 0;
        for id in self.changed.drain(..) {
            let key = id.to_be_bytes();
            let stored = self.by_id.get_mut(&id).map(|session| {
                let stored = session.encode();
                let hash = record_hash(Space::Session, &key, &stored);
                session.counted_hash = Some(hash);
                self.unchanged_hash = self.unchanged_hash.wrapping_add(hash);
                Bytes::from(stored)
            });
            writes.push((Space::Session, Bytes::copy_from_slice(&key), stored));
        }
    }
}
