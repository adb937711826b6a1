//! What a store must do, written a second time from the description alone, in the plainest way, and with the
//! whole past kept: every state of every key, and every write's one outcome.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use gometa_proto::v1::{
    Command, CommandOutcome, Deleted, ErrorKind, Failure, KeyRecord, SessionOpened, Written, command::Body,
    command_outcome::Result as Outcome, request::Operation,
};
use prost::Message;

use super::branches::{self, Keys};

/// A session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Session {
    pub(super) nonce: Bytes,
    pub(super) timeout_ms: u32,
    pub(super) floor: u64,
    pub(super) recorded: BTreeSet<u64>,
}

/// The model.
#[derive(Default)]
pub(super) struct Model {
    /// Ascending by counter: the key as that entry left it.
    keys: BTreeMap<Bytes, Vec<(u64, Option<KeyRecord>)>>,
    /// The live sessions.
    pub(super) sessions: BTreeMap<u64, Session>,
    /// All sessions ever, by nonce; a nonce may be used again after its session has ended.
    opened: BTreeMap<Bytes, Vec<u64>>,
    /// Every write that ever happened: the entry that made it happen, and its outcome.
    done: BTreeMap<(u64, u64), (u64, CommandOutcome)>,
    /// The highest horizon of the history so far.
    pub(super) horizon: u64,
    /// Ascending by counter: the horizon as that entry left it.
    horizons: Vec<(u64, u64)>,
    /// Entries whose write had happened before.
    pub(super) suppressed: u64,
}

/// What an entry did.
pub(super) struct Step {
    pub(super) outcome: CommandOutcome,
    /// The write that happened, if one did.
    pub(super) executed: Option<(u64, u64)>,
}

fn outcome(result: Outcome) -> CommandOutcome {
    CommandOutcome { result: Some(result) }
}

fn failure(kind: ErrorKind, actual_revision: u64) -> CommandOutcome {
    outcome(Outcome::Failure(Failure { kind: kind as u32, actual_revision }))
}

impl Model {
    /// The key at a revision.
    pub(super) fn key_at(&self, key: &[u8], revision: u64) -> Option<&KeyRecord> {
        let states = self.keys.get(key)?;
        let after = states.partition_point(|(counter, _)| *counter <= revision);
        states.get(after.checked_sub(1)?)?.1.as_ref()
    }

    /// The horizon at a revision.
    pub(super) fn horizon_at(&self, revision: u64) -> u64 {
        let after = self.horizons.partition_point(|(counter, _)| *counter <= revision);
        after.checked_sub(1).map_or(0, |last| self.horizons[last].1)
    }

    /// What a key became, newest first: the revision, and its record unless that deleted it.
    pub(super) fn states(&self, key: &[u8]) -> impl Iterator<Item = (u64, Option<&KeyRecord>)> {
        let states = self.keys.get(key).into_iter().flatten().rev();
        states.map(|(counter, record)| (*counter, record.as_ref()))
    }

    /// Every key that ever was, ascending.
    pub(super) fn all_keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.keys()
    }

    /// Every key that is there now.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&Bytes, &KeyRecord)> {
        self.keys.iter().filter_map(|(key, states)| Some((key, states.last()?.1.as_ref()?)))
    }

    /// The entry at which a write happened, and its outcome.
    pub(super) fn done(&self, session: u64, seq: u64) -> Option<&(u64, CommandOutcome)> {
        self.done.get(&(session, seq))
    }

    /// Whether this nonce has ever opened this session.
    pub(super) fn has_opened(&self, nonce: &[u8], session: u64) -> bool {
        self.opened.get(nonce).is_some_and(|sessions| sessions.contains(&session))
    }

    /// Applies the entry at `counter`.
    pub(super) fn apply(&mut self, counter: u64, payload: &Bytes) -> Step {
        let body = Command::decode(payload.clone()).ok().and_then(|command| command.body);
        let only = |outcome| Step { outcome, executed: None };
        match body {
            Some(Body::CreateSession(create)) => only(self.open(counter, create.nonce, create.timeout_ms)),
            Some(Body::EndSessions(end)) => {
                for session in end.sessions {
                    self.sessions.remove(&session);
                }
                only(CommandOutcome::default())
            }
            Some(Body::RaiseHorizon(raise)) => {
                self.horizon = self.horizon.max(raise.horizon.min(counter));
                self.horizons.push((counter, self.horizon));
                only(CommandOutcome::default())
            }
            Some(Body::Write(write)) => {
                let Some(context) = write.write else {
                    return only(failure(ErrorKind::InvalidArgument, 0));
                };
                let Some(session) = self.sessions.get_mut(&context.session) else {
                    return only(failure(ErrorKind::SessionExpired, 0));
                };
                session.floor = session.floor.max(context.lowest);
                let floor = session.floor;
                session.recorded.retain(|seq| *seq >= floor);
                if context.seq < floor {
                    self.suppressed += 1;
                    return only(failure(ErrorKind::Forgotten, 0));
                }
                if !session.recorded.insert(context.seq) {
                    self.suppressed += 1;
                    return only(self.done[&(context.session, context.seq)].1);
                }
                let unguarded = write.guard.and_then(|guard| {
                    let record = self.key_at(&guard.key, counter);
                    let created = record.map_or(0, |record| record.create_revision);
                    (created != guard.create_revision).then_some(failure(ErrorKind::GuardFailed, created))
                });
                let outcome = match (unguarded, write.operation) {
                    (Some(failed), _) => failed,
                    (None, Some(operation)) => self.execute(counter, operation),
                    (None, None) => failure(ErrorKind::Unsupported, 0),
                };
                let write = (context.session, context.seq);
                self.done.insert(write, (counter, outcome));
                Step { outcome, executed: Some(write) }
            }
            None => only(failure(ErrorKind::InvalidArgument, 0)),
        }
    }

    fn open(&mut self, counter: u64, nonce: Bytes, timeout_ms: u32) -> CommandOutcome {
        let live = self.sessions.iter().find(|(_, session)| session.nonce == nonce);
        if let Some((&session, found)) = live {
            return outcome(Outcome::SessionOpened(SessionOpened { session, timeout_ms: found.timeout_ms }));
        }
        self.opened.entry(nonce.clone()).or_default().push(counter);
        let session = Session { nonce, timeout_ms, floor: 1, recorded: BTreeSet::new() };
        self.sessions.insert(counter, session);
        outcome(Outcome::SessionOpened(SessionOpened { session: counter, timeout_ms }))
    }

    fn execute(&mut self, revision: u64, operation: Operation) -> CommandOutcome {
        if let Operation::Txn(txn) = &operation {
            let (executed, written) = branches::execute(self, txn, revision);
            for (key, record) in written {
                self.keys.entry(key).or_default().push((revision, record));
            }
            return outcome(Outcome::Txn(executed));
        }
        if let Operation::SetSetting(_) = &operation {
            return outcome(Outcome::Written(Written { revision, version: 0 }));
        }
        let key = match &operation {
            Operation::Add(add) => &add.key,
            Operation::Set(set) => &set.key,
            Operation::Cas(cas) => &cas.key,
            Operation::Delete(delete) => &delete.key,
            _ => return failure(ErrorKind::Unsupported, 0),
        };
        if key.is_empty() {
            return failure(ErrorKind::InvalidArgument, 0);
        }
        let key = key.clone();
        let old = self.key_at(&key, revision).cloned();
        let actual = old.as_ref().map_or(0, |old| old.mod_revision);
        let value = match operation {
            Operation::Add(_) if old.is_some() => return failure(ErrorKind::AlreadyExists, actual),
            Operation::Cas(cas) if cas.revision != actual => return failure(ErrorKind::CasMismatch, actual),
            Operation::Delete(delete) if delete.revision.is_some_and(|revision| revision != actual) => {
                return failure(ErrorKind::CasMismatch, actual);
            }
            Operation::Add(add) => add.value,
            Operation::Set(set) => set.value,
            Operation::Cas(cas) => cas.value,
            Operation::Delete(_) => {
                let existed = old.is_some();
                if existed {
                    self.keys.entry(key).or_default().push((revision, None));
                }
                let revision = if existed { revision } else { 0 };
                return outcome(Outcome::Deleted(Deleted { revision, existed }));
            }
            _ => return failure(ErrorKind::Unsupported, 0),
        };
        let (create_revision, version) =
            old.map_or((revision, 1), |old| (old.create_revision, old.version + 1));
        let record = KeyRecord { create_revision, mod_revision: revision, version, value };
        self.keys.entry(key).or_default().push((revision, Some(record)));
        outcome(Outcome::Written(Written { revision, version }))
    }
}

impl Keys for Model {
    fn key_at(&self, key: &[u8], revision: u64) -> Option<&KeyRecord> {
        Model::key_at(self, key, revision)
    }

    fn keys_at(&self, revision: u64) -> impl Iterator<Item = (&Bytes, &KeyRecord)> {
        self.keys.keys().filter_map(move |key| Some((key, Model::key_at(self, key, revision)?)))
    }
}
