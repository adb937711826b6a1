//! The store: the application of commands, in order.

use bytes::Bytes;
use gometa_proto::{
    ErrorKind,
    limits::SESSIONS_MAX,
    v1::{self, CommandOutcome, CreateSession, EndSessions, Request, command::Body, request::Operation},
};

use crate::{
    entry::decode_command,
    failure,
    keys::Keys,
    session::{Corrupt, Recall, Sessions},
    table::{Batch, Checkpoint, Table},
};

/// The replicated state of one node: a table, and the changes that are not written to it yet.
pub struct Store<T> {
    table: T,
    /// Counter of the last entry applied.
    applied: u64,
    /// The value of `applied` when the last batch was taken.
    taken: u64,
    keys: Keys,
    sessions: Sessions,
}

/// The outcome of a command, and the request that it answers.
#[derive(Clone, PartialEq, Debug)]
pub struct Applied {
    /// The request that the command was made for.
    pub origin: Origin,
    /// The outcome; without a result for [`EndSessions`], where the origin has it.
    pub outcome: CommandOutcome,
}

/// The request that a command was made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A session's write.
    Write {
        /// The session's id.
        session: u64,
        /// The write's number in it.
        seq: u64,
    },
    /// The opening of a session.
    CreateSession {
        /// The client's 16 random bytes.
        nonce: [u8; 16],
    },
    /// The end of sessions, by the leader's clock or at a client's request.
    EndSessions {
        /// The sessions in order, and whether each was live until then.
        sessions: Vec<(u64, bool)>,
    },
    /// No request: the entry is malformed.
    None,
}

impl<T: Table> Store<T> {
    /// Opens the store at its table's checkpoint. All sessions are loaded, no keys.
    ///
    /// # Errors
    /// [`Corrupt`] if a session's record is damaged.
    pub fn open(table: T) -> Result<Store<T>, Corrupt> {
        let Checkpoint { applied, hash, keys } = table.checkpoint();
        let sessions = Sessions::load(&table)?;
        // The table's hash is the sum over both spaces.
        let keys = Keys::new(keys, hash.wrapping_sub(sessions.hash()));
        Ok(Store { table, applied, taken: applied, keys, sessions })
    }

    /// The table.
    pub fn table(&self) -> &T {
        &self.table
    }

    /// Counter of the last entry applied; 0 before the first.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Hash of all keys and sessions. Encodes every record changed since the last
    /// [`take_batch`](Store::take_batch).
    pub fn hash(&self) -> u128 {
        self.keys.hash().wrapping_add(self.sessions.hash())
    }

    /// Number of keys.
    pub fn keys(&self) -> u64 {
        self.keys.count()
    }

    /// Number of live sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Applies the command at `counter`, the next one. Every payload has an outcome, the same on every node.
    ///
    /// # Panics
    /// If `counter` is not the next one, or if the table holds a damaged record.
    pub fn apply(&mut self, counter: u64, payload: &Bytes) -> Applied {
        self.advance(counter);
        let body = decode_command(payload.clone()).ok().and_then(|command| command.body);
        match body {
            Some(Body::Write(write)) => self.write(write),
            Some(Body::CreateSession(create)) => self.create_session(&create),
            Some(Body::EndSessions(end)) => self.end_sessions(&end),
            None => malformed(),
        }
    }

    /// Skips the entry at `counter`, the next one, which is no command.
    ///
    /// # Panics
    /// If `counter` is not the next one.
    pub fn skip(&mut self, counter: u64) {
        self.advance(counter);
    }

    fn advance(&mut self, counter: u64) {
        assert_eq!(counter, self.applied + 1, "entries are applied in order");
        self.applied = counter;
    }

    fn write(&mut self, request: Request) -> Applied {
        let Some(context) = request.write else { return malformed() };
        let origin = Origin::Write { session: context.session, seq: context.seq };
        if context.check().is_err() {
            return Applied { origin, outcome: failure(ErrorKind::InvalidArgument, 0) };
        }
        let outcome = match self.sessions.arrive(&context) {
            Recall::NoSession => {
                probe!("session.write-after-end");
                let refusal = failure(ErrorKind::SessionExpired, 0);
                planted!(refusal, executes_write_of_ended_session => self.execute(request.operation))
            }
            Recall::Forgotten => {
                probe!("session.write-below-floor");
                failure(ErrorKind::Forgotten, 0)
            }
            Recall::Recorded(outcome) => {
                probe!("session.write-logged-twice");
                planted!(outcome, executes_duplicate_write => self.execute(request.operation))
            }
            Recall::New => {
                let outcome = self.execute(request.operation);
                self.sessions.record(&context, outcome);
                outcome
            }
        };
        Applied { origin, outcome }
    }

    fn execute(&mut self, operation: Option<Operation>) -> CommandOutcome {
        match operation {
            Some(operation) => self.keys.execute(&self.table, self.applied, operation),
            None => failure(ErrorKind::Unsupported, 0),
        }
    }

    fn create_session(&mut self, create: &CreateSession) -> Applied {
        let Ok(nonce) = <[u8; 16]>::try_from(create.nonce.as_ref()) else { return malformed() };
        let outcome = if let Some(session) = self.sessions.of_nonce(&nonce) {
            probe!("session.open-applied-twice");
            self.sessions.opened(session)
        } else if self.sessions.count() >= SESSIONS_MAX {
            failure(ErrorKind::ResourceExhausted, 0)
        } else {
            self.sessions.create(self.applied, nonce, create.timeout_ms);
            self.sessions.opened(self.applied)
        };
        Applied { origin: Origin::CreateSession { nonce }, outcome }
    }

    fn end_sessions(&mut self, end: &EndSessions) -> Applied {
        let sessions = end.sessions.iter().map(|&session| (session, self.sessions.end(session))).collect();
        Applied { origin: Origin::EndSessions { sessions }, outcome: CommandOutcome::default() }
    }

    /// An upper bound of the memory of the changes since the last [`take_batch`](Store::take_batch) and of their batch, in
    /// bytes.
    pub fn pending_bytes(&self) -> usize {
        self.keys.pending() + self.sessions.pending()
    }

    /// Takes all changes since the last call as one batch; `None` if there are none. Batches must be written to the
    /// table in the order in which they are taken.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.taken == self.applied {
            return None;
        }
        self.taken = self.applied;
        let mut writes = Vec::new();
        self.keys.take(&mut writes);
        self.sessions.take(&mut writes);
        let checkpoint = Checkpoint { applied: self.applied, hash: self.hash(), keys: self.keys.count() };
        Some(Batch { checkpoint, writes })
    }

    /// Reports that the oldest outstanding batch can be read from the table; its records leave the overlay.
    ///
    /// # Panics
    /// If no batch is outstanding.
    pub fn batch_written(&mut self) {
        self.keys.batch_written();
    }

    /// The entry of a key, as of [`applied`](Store::applied).
    ///
    /// # Panics
    /// If the table holds a damaged record.
    pub fn get(&self, key: &[u8]) -> Option<v1::Entry> {
        self.keys.get(&self.table, key)
    }

    /// The state of a write in its session.
    pub fn recall(&self, session: u64, seq: u64) -> Recall {
        self.sessions.recall(session, seq)
    }

    /// The live session with this nonce.
    pub fn session_of_nonce(&self, nonce: &[u8]) -> Option<u64> {
        self.sessions.of_nonce(nonce)
    }

    /// The id and the timeout in milliseconds of every live session, ascending by id.
    pub fn session_timeouts(&self) -> impl Iterator<Item = (u64, u32)> {
        self.sessions.timeouts()
    }

    /// The timeout of a live session, in milliseconds.
    pub fn session_timeout(&self, session: u64) -> Option<u32> {
        self.sessions.timeout(session)
    }
}

fn malformed() -> Applied {
    Applied { origin: Origin::None, outcome: failure(ErrorKind::InvalidArgument, 0) }
}
