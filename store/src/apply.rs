//! The store: applies released commands, in log order.

use bytes::Bytes;
use gometa_proto::{
    ErrorKind, Setting,
    limits::{SESSIONS_MAX, TXN_VALUES_MAX},
    v1::{
        self, CommandOutcome, CreateSession, EndSessions, RaiseHorizon, Request, TxnAnswer, command::Body,
        request::Operation,
    },
};

use crate::{
    configuration::Recorded,
    entry::Decoded,
    failure,
    history::History,
    keys::Keys,
    overlay::{Found, Purpose},
    ranges::RangesFound,
    session::{Corrupt, Sessions, WriteLookup},
    settings::Settings,
    table::{Batch, Checkpoint, Lookup, Table},
};

/// The replicated state of one node: a table, and in memory the changes that are not yet in it.
pub struct Store<T> {
    table: T,
    /// Counter of the last applied log entry; 0 at the start (0 is the genesis).
    applied: u64,
    /// Value of `applied` at the last `take_batch`.
    taken: u64,
    keys: Keys,
    sessions: Sessions,
    configuration: Recorded,
    history: History,
    settings: Settings,
}

/// The result of [`Store::apply`].
#[derive(Clone, PartialEq, Debug)]
pub struct Applied {
    /// The request that the command came from.
    pub origin: Origin,
    /// The outcome of the command. Empty for [`EndSessions`]: [`Origin::EndSessions`] holds the result.
    pub outcome: CommandOutcome,
    /// The whole answer to a transaction whose executed branch reads nothing; `None` if it reads, if it was executed before,
    /// and for other commands. [`Query::Results`](crate::Query::Results) reads such an answer.
    pub answer: Option<TxnAnswer>,
}

/// The request that a command came from; of `EndSessions`, also the result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A write.
    Write {
        /// The id of the session.
        session: u64,
        /// The number of the write in its session.
        seq: u64,
    },
    /// The creation of a session.
    CreateSession {
        /// 16 random bytes drawn by the client; a retry repeats them.
        nonce: [u8; 16],
    },
    /// The end of sessions: proposed by the leader after their timeout, or requested by a client.
    EndSessions {
        /// The ids in the command's order, each with whether the session existed.
        sessions: Vec<(u64, bool)>,
    },
    /// None: the leader has raised the horizon of the history.
    Horizon,
    /// Unknown: the payload is malformed.
    None,
}

impl Applied {
    fn new(origin: Origin, outcome: CommandOutcome) -> Applied {
        Applied { origin, outcome, answer: None }
    }
}

impl<T: Table> Store<T> {
    /// Opens the store at the table's checkpoint. Loads all sessions and the configuration; keys are looked up on demand.
    ///
    /// # Errors
    /// [`Corrupt`] if a record of these is damaged; what the configuration's contains is not looked at. Records of keys are not checked here: see [`Store::get`].
    pub fn open(table: T) -> Result<Store<T>, Corrupt> {
        let Checkpoint { applied, hash, keys } = table.checkpoint();
        let sessions = Sessions::load(&table)?;
        let configuration = Recorded::load(&table)?;
        let history = History::load(&table)?;
        let settings = Settings::load(&table)?;
        // The checkpoint's hash is the sum over all spaces.
        let rest = [sessions.hash(), configuration.hash(), history.hash(), settings.hash()];
        let keys = Keys::new(keys, rest.into_iter().fold(hash, u128::wrapping_sub));
        Ok(Store { table, applied, taken: applied, keys, sessions, configuration, history, settings })
    }

    /// Sets the feature level of the ensemble at which the next commands are applied; the first one unless it is set. It must be
    /// the same on all nodes at the same log entry.
    pub fn set_level(&mut self, level: u32) {
        self.keys.level = level;
    }

    /// The table.
    pub fn table(&self) -> &T {
        &self.table
    }

    /// Counter of the last applied log entry; 0 at the start (0 is the genesis).
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Hash of all keys, sessions, the configuration, the history and the settings. Its cost grows with the number of records changed since the last
    /// [`take_batch`](Store::take_batch): each is encoded.
    pub fn hash(&self) -> u128 {
        let records =
            [self.sessions.hash(), self.configuration.hash(), self.history.hash(), self.settings.hash()];
        records.into_iter().fold(self.keys.overlay.hash(), u128::wrapping_add)
    }

    /// Number of keys.
    pub fn keys(&self) -> u64 {
        self.keys.count()
    }

    /// The lowest revision at which the state can be read.
    pub fn horizon(&self) -> u64 {
        self.history.horizon
    }

    /// The value of a setting of the ensemble; `None` if that is the default.
    pub fn setting(&self, setting: Setting) -> Option<u64> {
        self.settings.get(setting)
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Applies the log entry at `counter`. A command that is malformed or exceeds a limit yields an error outcome, the
    /// same on every node. Returns `None`, and has changed nothing, if the record of one of the command's
    /// [keys](Decoded::keys) is not in memory, or if its [ranges](Decoded::missing_ranges) were not read: they must be read
    /// first.
    ///
    /// # Panics
    /// If `counter` is not `applied() + 1`, if the table's record of one of the command's keys cannot be decoded, or if its ranges
    /// were read at another revision than `applied()`.
    pub fn apply(&mut self, counter: u64, command: &Decoded) -> Option<Applied> {
        if command.misses_ranges() {
            return None;
        }
        if let Some(ranges) = &command.ranges {
            assert_eq!(ranges.revision, self.applied, "ranges are read just before they are needed");
        }
        let keys = command.keys();
        let mut found = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            match self.keys.overlay.find(&self.table, key) {
                Found::NotInMemory => {}
                record => {
                    bytes += record.value_bytes();
                    found.push(record);
                }
            }
        }
        // The others cannot make it less, so they need not be in memory.
        let found = if bytes > TXN_VALUES_MAX {
            None
        } else if found.len() < keys.len() {
            return None;
        } else {
            Some(found)
        };
        self.advance(counter);
        Some(match &command.body {
            Some(Body::Write(write)) => self.write(write, found, command.ranges.as_ref()),
            Some(Body::CreateSession(create)) => self.create_session(create),
            Some(Body::EndSessions(end)) => self.end_sessions(end),
            Some(Body::RaiseHorizon(raise)) => self.raise_horizon(raise),
            None => malformed(),
        })
    }

    /// Applies the log entry at `counter`, which contains a configuration of the ensemble.
    ///
    /// # Panics
    /// If `counter` is not `applied() + 1`.
    pub fn configure(&mut self, counter: u64, configuration: Bytes) {
        self.advance(counter);
        planted!(self.configuration.set(configuration), does_not_record_configuration => {});
    }

    /// The configuration of the last applied log entry that contains one; `None` if there was none.
    pub fn configuration(&self) -> Option<&Bytes> {
        self.configuration.get()
    }

    fn advance(&mut self, counter: u64) {
        assert_eq!(counter, self.applied + 1, "log entries are applied in order");
        self.applied = counter;
    }

    /// Applies a write; `found` are the states of its keys, `None` if they have more bytes than is allowed; `ranges` is what was
    /// read of its ranges.
    fn write(
        &mut self,
        request: &Request,
        found: Option<Vec<Found>>,
        ranges: Option<&RangesFound>,
    ) -> Applied {
        let Some(context) = request.write else { return malformed() };
        let origin = Origin::Write { session: context.session, seq: context.seq };
        if context.check().is_err() {
            return Applied::new(origin, failure(ErrorKind::InvalidArgument, 0));
        }
        let mut answer = None;
        let outcome = match self.sessions.begin_write(&context) {
            WriteLookup::NoSession => {
                probe!("session.write-after-end");
                let expired = failure(ErrorKind::SessionExpired, 0);
                planted!(expired, executes_write_of_ended_session => self.execute(request, found, ranges).0)
            }
            WriteLookup::Forgotten => {
                probe!("session.write-below-floor");
                failure(ErrorKind::Forgotten, 0)
            }
            WriteLookup::Recorded(outcome) => {
                probe!("session.write-logged-twice");
                planted!(outcome, executes_duplicate_write => self.execute(request, found, ranges).0)
            }
            WriteLookup::New => {
                let outcome;
                (outcome, answer) = self.execute(request, found, ranges);
                self.sessions.record(&context, outcome);
                outcome
            }
        };
        Applied { origin, outcome, answer }
    }

    /// Executes a write; of a transaction that reads nothing, returns the answer too.
    fn execute(
        &mut self,
        request: &Request,
        found: Option<Vec<Found>>,
        ranges: Option<&RangesFound>,
    ) -> (CommandOutcome, Option<TxnAnswer>) {
        let Some(mut found) = found else { return (failure(ErrorKind::TooLarge, 0), None) };
        if let Some(guard) = &request.guard {
            if let Err(error) = guard.check() {
                return (failure(error.error_kind(), 0), None);
            }
            // Without a record the operation is malformed, and fails below.
            let actual = found.pop().map(|found| found.record().map_or(0, |record| record.create_revision));
            let failed = actual.filter(|actual| *actual != guard.create_revision);
            if let Some(actual) = planted!(failed, ignores_guard => None) {
                return (failure(ErrorKind::GuardFailed, actual), None);
            }
        }
        let executed = match &request.operation {
            Some(operation @ Operation::SetSetting(set)) => match operation.check() {
                Ok(()) => (self.settings.set(self.applied, set), None),
                Err(error) => (failure(error.error_kind(), 0), None),
            },
            Some(Operation::Txn(txn)) => {
                self.keys.transact(&mut self.history, self.applied, txn, found, ranges)
            }
            Some(operation) => {
                let found = found.into_iter().next().unwrap_or(Found::NotInMemory);
                (self.keys.execute(&mut self.history, self.applied, operation, found), None)
            }
            None => (failure(ErrorKind::Unsupported, 0), None),
        };
        self.history.end_entry(self.applied);
        executed
    }

    fn raise_horizon(&mut self, raise: &RaiseHorizon) -> Applied {
        self.history.raise(raise.horizon.min(self.applied));
        Applied::new(Origin::Horizon, CommandOutcome::default())
    }

    fn create_session(&mut self, create: &CreateSession) -> Applied {
        let Ok(nonce) = <[u8; 16]>::try_from(create.nonce.as_ref()) else { return malformed() };
        let outcome = if let Some(session) = self.sessions.by_nonce(&nonce) {
            probe!("session.open-applied-twice");
            self.sessions.opened_outcome(session)
        } else if self.sessions.count() >= SESSIONS_MAX {
            failure(ErrorKind::ResourceExhausted, 0)
        } else {
            self.sessions.create(self.applied, nonce, create.timeout_ms);
            self.sessions.opened_outcome(self.applied)
        };
        Applied::new(Origin::CreateSession { nonce }, outcome)
    }

    fn end_sessions(&mut self, end: &EndSessions) -> Applied {
        let sessions = end.sessions.iter().map(|&session| (session, self.sessions.end(session))).collect();
        Applied::new(Origin::EndSessions { sessions }, CommandOutcome::default())
    }

    /// Upper bound, in bytes, of the memory used by the changes since the last [`take_batch`](Store::take_batch),
    /// including the batch that it will return.
    pub fn pending_bytes(&self) -> usize {
        self.keys.overlay.pending_bytes()
            + self.sessions.pending_bytes()
            + self.configuration.pending_bytes()
            + self.history.pending_bytes()
    }

    /// Upper bound, in bytes, of the memory used by records that are as in the table: by those that were read and are
    /// held or still being read for another purpose.
    pub fn held_bytes(&self) -> usize {
        self.keys.overlay.held_bytes()
    }

    /// Returns all changes since the last call as one batch; `None` if no log entry was applied. Batches must
    /// be written to the table in the order taken.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.taken == self.applied {
            return None;
        }
        self.taken = self.applied;
        let mut writes = Vec::new();
        self.keys.overlay.take(&mut writes);
        self.sessions.take(&mut writes);
        self.configuration.take(&mut writes);
        self.settings.take(&mut writes);
        let (changes, horizon) = self.history.take(&mut writes);
        let checkpoint = Checkpoint { applied: self.applied, hash: self.hash(), keys: self.keys.count() };
        Some(Batch { checkpoint, writes, changes, horizon })
    }

    /// Reports that the oldest outstanding batch can be read from the table. Removes its keys from the overlay unless they
    /// have changed again or are held; sessions stay in memory.
    ///
    /// # Panics
    /// If no batch is outstanding.
    pub fn batch_written(&mut self) {
        self.keys.overlay.batch_written();
    }

    /// Returns a key's value, version and revisions, as of [`applied`](Store::applied).
    ///
    /// # Panics
    /// If the table's record of the key cannot be decoded.
    pub fn get(&self, key: &[u8]) -> Lookup<v1::Entry> {
        self.keys.get(&self.table, key)
    }

    /// Adds a hold on a key: once its record is in memory, it stays there. Returns whether it is.
    ///
    /// # Panics
    /// If the table's record of the key cannot be decoded.
    pub fn hold(&mut self, key: &Bytes) -> bool {
        self.keys.overlay.hold(&self.table, key)
    }

    /// Ends a hold on a key.
    ///
    /// # Panics
    /// If the key is not held.
    pub fn release(&mut self, key: &Bytes) {
        self.keys.overlay.release(key);
    }

    /// Notes that a read of a key's record begins. Returns false if none is needed: the record is in the overlay, or a
    /// read for this purpose, or for [`Purpose::Apply`], is under way.
    ///
    /// The read may see the table at any moment from now on. It ends with [`Store::end_read`], at most one
    /// [`Store::enter`] before it.
    pub fn begin_read(&mut self, key: &Bytes, purpose: Purpose) -> bool {
        self.keys.overlay.begin_read(key, purpose)
    }

    /// Whether a read of a key's record is under way.
    pub fn is_being_read(&self, key: &[u8]) -> bool {
        self.keys.overlay.is_being_read(key)
    }

    /// Enters what a read of a key has found, `None` if there is no record. Ignored if the record is in the overlay: that
    /// one is as new or newer.
    ///
    /// # Panics
    /// If the record cannot be decoded.
    pub fn enter(&mut self, key: &Bytes, stored: Option<Bytes>) {
        self.keys.overlay.enter(key, stored);
    }

    /// Notes that a read of a key's record is over. The record stays in memory only if it is held.
    pub fn end_read(&mut self, key: &Bytes, purpose: Purpose) {
        self.keys.overlay.end_read(key, purpose);
    }

    /// Looks up a write by session and seq. Changes nothing.
    pub fn lookup_write(&self, session: u64, seq: u64) -> WriteLookup {
        self.sessions.lookup_write(session, seq)
    }

    /// The id of the session created with this nonce.
    pub fn session_by_nonce(&self, nonce: &[u8]) -> Option<u64> {
        self.sessions.by_nonce(nonce)
    }

    /// The id and the timeout, in milliseconds, of every session, ascending by id.
    pub fn session_timeouts(&self) -> impl Iterator<Item = (u64, u32)> {
        self.sessions.timeouts()
    }

    /// The timeout of a session, in milliseconds; `None` if the session does not exist.
    pub fn session_timeout(&self, session: u64) -> Option<u32> {
        self.sessions.timeout(session)
    }
}

fn malformed() -> Applied {
    Applied::new(Origin::None, failure(ErrorKind::InvalidArgument, 0))
}
