//! Two stores and a model without batches, overlay, encoding, or forgotten answers: driven by the store's tests of
//! random histories and by a fuzz target.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use gometa_proto::{
    Setting,
    v1::{
        ChangeRecord, ChangedKey, Command, CommandOutcome, Entry, ErrorKind, Guard, Page, RaiseHorizon,
        Range, SetSetting, Txn, TxnAnswer, command::Body, request::Operation,
    },
};
use gometa_store::{
    Applied, Batch, Decoded, Found, Lookup, MemoryTable, Origin, Purpose, Query, Store, Table, WriteLookup,
    encode_command, recompute_checkpoint, verify_changes,
};
use prost::Message;

pub use super::model::Revision;
use super::{
    Shared, add, apply, cas, create, delete, deleted, end, failed, guarded,
    model::{KEYS, ModelKey, entries, key},
    nonce, open, opened, set,
    txn::{TxnStep, check_results, transact},
    versions::check_versions,
    written,
};

/// The state, in the plainest form that the rules allow.
#[derive(Default)]
struct Model {
    keys: BTreeMap<Bytes, ModelKey>,
    sessions: BTreeMap<u64, ModelSession>,
    /// Every (session, seq) that has executed.
    executed: BTreeSet<(u64, u64)>,
    /// The keys at each revision, from 0 on.
    past: Vec<BTreeMap<Bytes, ModelKey>>,
    horizon: u64,
    /// The setting `HistoryAgeMinutes`.
    age: Option<u64>,
    /// Every transaction that has executed, and its answer.
    transacted: Vec<(Txn, TxnAnswer)>,
}

struct ModelSession {
    nonce: Bytes,
    floor: u64,
    /// Of all its writes, ever.
    answers: BTreeMap<u64, CommandOutcome>,
}

impl Model {
    fn apply(&mut self, counter: u64, body: &Body) -> CommandOutcome {
        match body {
            Body::CreateSession(create) => {
                let known = self.sessions.iter().find(|(_, session)| session.nonce == create.nonce);
                let id = known.map_or(counter, |(id, _)| *id);
                self.sessions.entry(id).or_insert_with(|| ModelSession {
                    nonce: create.nonce.clone(),
                    floor: 0,
                    answers: BTreeMap::new(),
                });
                opened(id, create.timeout_ms)
            }
            Body::EndSessions(end) => {
                self.sessions.retain(|id, _| !end.sessions.contains(id));
                CommandOutcome::default()
            }
            Body::RaiseHorizon(raise) => {
                self.horizon = self.horizon.max(raise.horizon.min(counter));
                CommandOutcome::default()
            }
            Body::Write(write) => {
                let (Some(context), Some(operation)) = (&write.write, &write.operation) else {
                    panic!("the script makes whole writes only")
                };
                let (seq, lowest) = (context.seq, context.lowest);
                if seq == 0 || lowest == 0 || lowest > seq || seq >= lowest + 1_024 {
                    return failed(ErrorKind::InvalidArgument, 0);
                }
                let Some(session) = self.sessions.get_mut(&context.session) else {
                    return failed(ErrorKind::SessionExpired, 0);
                };
                session.floor = session.floor.max(lowest);
                if seq < session.floor {
                    return failed(ErrorKind::Forgotten, 0);
                }
                if let Some(answer) = session.answers.get(&seq) {
                    return *answer;
                }
                assert!(self.executed.insert((context.session, seq)), "executed twice");
                let unguarded =
                    write.guard.as_ref().and_then(|guard| guard_failure(&self.keys, guard, operation));
                let answer = match operation {
                    _ if let Some(failed) = unguarded => failed,
                    Operation::Txn(txn) => {
                        let (outcome, answer) = transact(&mut self.keys, counter, txn);
                        self.transacted.extend(answer.map(|answer| (txn.clone(), answer)));
                        outcome
                    }
                    Operation::SetSetting(set) if set.value > Some(525_600) => {
                        failed(ErrorKind::InvalidArgument, 0)
                    }
                    Operation::SetSetting(set) => {
                        self.age = set.value;
                        written(counter, 0)
                    }
                    operation => execute(&mut self.keys, counter, operation),
                };
                session.answers.insert(seq, answer);
                answer
            }
        }
    }

    fn lookup_write(&self, session: u64, seq: u64) -> WriteLookup {
        match self.sessions.get(&session) {
            None => WriteLookup::NoSession,
            Some(session) if seq < session.floor.max(1) => WriteLookup::Forgotten,
            Some(session) => {
                session.answers.get(&seq).map_or(WriteLookup::New, |answer| WriteLookup::Recorded(*answer))
            }
        }
    }
}

/// How a write fails by its guard, if it does.
fn guard_failure(
    keys: &BTreeMap<Bytes, ModelKey>,
    guard: &Guard,
    operation: &Operation,
) -> Option<CommandOutcome> {
    if guard.key.is_empty() || guard.create_revision == 0 {
        return Some(failed(ErrorKind::InvalidArgument, 0));
    }
    // What is malformed, or no write, fails by itself.
    let created = keys.get(&guard.key).map_or(0, |key| key.created);
    let fails = operation.is_write() && operation.check().is_ok() && created != guard.create_revision;
    fails.then(|| failed(ErrorKind::GuardFailed, created))
}

fn execute(keys: &mut BTreeMap<Bytes, ModelKey>, counter: u64, operation: &Operation) -> CommandOutcome {
    let (key, value, condition) = match operation {
        Operation::Add(add) => (&add.key, Some(&add.value), None),
        Operation::Set(set) => (&set.key, Some(&set.value), None),
        Operation::Cas(cas) => (&cas.key, Some(&cas.value), Some(cas.revision)),
        Operation::Delete(delete) => (&delete.key, None, delete.revision),
        other => panic!("the script makes writes only, not {other:?}"),
    };
    if key.is_empty() {
        return failed(ErrorKind::InvalidArgument, 0);
    }
    let old = keys.get(key).cloned();
    let actual = old.as_ref().map_or(0, |old| old.modified);
    if matches!(operation, Operation::Add(_)) && old.is_some() {
        return failed(ErrorKind::AlreadyExists, actual);
    }
    if condition.is_some_and(|condition| condition != actual) {
        return failed(ErrorKind::CasMismatch, actual);
    }
    let Some(value) = value else {
        keys.remove(key);
        return if old.is_some() { deleted(counter, true) } else { deleted(0, false) };
    };
    let (version, created) = old.map_or((1, counter), |old| (old.version + 1, old.created));
    keys.insert(key.clone(), ModelKey { value: value.clone(), version, created, modified: counter });
    written(counter, version)
}

/// One step of a random history. Sessions, seqs and revisions are picked from what the history has come to.
#[derive(Clone, Debug)]
pub enum Step {
    Create {
        nonce: u8,
    },
    End {
        sessions: Vec<usize>,
    },
    Write {
        session: usize,
        number: Number,
        change: Change,
        guard: Option<Guarding>,
    },
    Txn {
        session: usize,
        number: Number,
        txn: TxnStep,
        guard: Option<Guarding>,
    },
    /// `HistoryAgeMinutes` is set, or has its default again. Above its bound of 525,600 it is refused.
    SetSetting {
        session: usize,
        number: Number,
        value: Option<u64>,
    },
    /// A payload of any bytes.
    AnyBytes(Vec<u8>),
    /// An entry with a configuration.
    Skip,
    /// The horizon is raised, relative to the present revision.
    RaiseHorizon {
        back: u64,
    },
    /// A batch is taken from the store.
    TakeBatch,
    /// The oldest batch that was taken is written to the table.
    WriteTable,
    /// The oldest batch in the table is reported to the store.
    Report,
    /// The process dies: batches that have not reached the table are lost.
    Crash,
    /// A key's record is no longer in memory, unless the store has it.
    Evict {
        key: u8,
    },
    /// A key is held, until it is released.
    Hold {
        key: u8,
    },
    /// One of the holds ends.
    Release {
        hold: usize,
    },
    /// The record of a key begins to be read, if the store wants it. `early`: the read sees the table as it is now, and
    /// not as it is when it is answered.
    BeginRead {
        key: u8,
        purpose: Purpose,
        early: bool,
    },
    /// A read is answered.
    Answer {
        read: usize,
    },
}

/// A read under way.
struct Read {
    key: Bytes,
    purpose: Purpose,
    /// What it has seen, if it was early.
    seen: Option<Option<Bytes>>,
}

/// Which seq a write carries, and how far below it lowest is.
#[derive(Clone, Debug)]
pub enum Number {
    Next { lag: u64 },
    Ahead { by: u64, lag: u64 },
    Retry { back: u64, lag: u64 },
    Any { seq: u64, lowest: u64 },
}

#[derive(Clone, Debug)]
pub struct Change {
    pub kind: ChangeKind,
    /// 0 is the empty key.
    pub key: u8,
    pub value: Vec<u8>,
    pub revision: Option<Revision>,
}

#[derive(Clone, Copy, Debug)]
pub enum ChangeKind {
    Add,
    Set,
    Cas,
    Delete,
}

/// A guard; the actual revision is the one at which its key was created.
#[derive(Clone, Copy, Debug)]
pub struct Guarding {
    /// 0 is the empty key.
    pub key: u8,
    pub created: Revision,
}

impl Guarding {
    fn guard(self, model: &Model) -> Guard {
        let key = key(self.key);
        let create_revision = match self.created {
            Revision::Actual => model.keys.get(&key).map_or(0, |key| key.created),
            Revision::Any(revision) => revision,
        };
        Guard { key, create_revision }
    }
}

impl Change {
    fn operation(&self, model: &Model) -> Operation {
        let key = key(self.key).to_vec();
        let revision = self.revision.map(|revision| match revision {
            Revision::Actual => model.keys.get(&key[..]).map_or(0, |key| key.modified),
            Revision::Any(revision) => revision,
        });
        match self.kind {
            ChangeKind::Add => add(key, &self.value),
            ChangeKind::Set => set(key, &self.value),
            ChangeKind::Cas => cas(key, revision.unwrap_or(0), &self.value),
            ChangeKind::Delete => delete(key, revision),
        }
    }
}

/// A store with a slow, forgetful table, one whose table is written entry by entry, and the model.
pub struct Comparison {
    store: Store<Shared>,
    table: Shared,
    /// Batches handed out and not yet in the table.
    in_flight: VecDeque<Batch>,
    /// The number of batches in the table that were not reported to the store.
    unreported: usize,
    holds: Vec<Bytes>,
    reads: Vec<Read>,
    prompt: Store<Shared>,
    prompt_table: Shared,
    model: Model,
    /// All entries, from counter 1, and their outcomes the first time.
    log: Vec<(Option<Bytes>, Option<Applied>)>,
    /// Ids of all sessions ever, the highest seq that each has used.
    used: Vec<(u64, u64)>,
}

impl Comparison {
    pub fn new() -> Comparison {
        let (table, prompt_table) = (Shared::default(), Shared::default());
        Comparison {
            store: open(&table),
            table,
            in_flight: VecDeque::new(),
            unreported: 0,
            holds: Vec::new(),
            reads: Vec::new(),
            prompt: open(&prompt_table),
            prompt_table,
            model: Model { past: vec![BTreeMap::new()], ..Model::default() },
            log: Vec::new(),
            // A session that was never created.
            used: vec![(u64::MAX, 0)],
        }
    }

    fn counter(&self) -> u64 {
        self.log.len() as u64 + 1
    }

    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Create { nonce } => {
                let counter = self.counter();
                if self.apply(create(*nonce)).outcome == opened(counter, 4_000) {
                    self.used.push((counter, 0));
                }
            }
            Step::End { sessions } => {
                let ids: Vec<u64> = sessions.iter().map(|pick| self.used[pick % self.used.len()].0).collect();
                self.apply(end(&ids));
            }
            Step::Write { session, number, change, guard } => {
                let operation = change.operation(&self.model);
                self.write(*session, number, operation, *guard);
            }
            Step::Txn { session, number, txn, guard } => {
                let transacted = self.model.transacted.len();
                let txn = txn.txn(&self.model.keys);
                let answer = self.write(*session, number, Operation::Txn(txn), *guard).answer;
                // What it read is not known to apply.
                if let Some(answer) = answer {
                    let expected = self.model.transacted.get(transacted).map(|(_, answer)| answer);
                    assert_eq!(Some(&answer), expected);
                }
            }
            Step::SetSetting { session, number, value } => {
                let name = Setting::HistoryAgeMinutes.name().to_owned();
                let set = SetSetting { name, value: *value };
                self.write(*session, number, Operation::SetSetting(set), None);
            }
            Step::AnyBytes(bytes) => {
                let payload = Bytes::from(bytes.clone());
                let decoded = gometa_store::decode_command(payload.clone());
                if decoded.is_err() {
                    let applied = self.enter(Some(payload));
                    assert_eq!(applied.map(|applied| applied.origin), Some(Origin::None));
                }
            }
            Step::Skip => assert_eq!(self.enter(None), None),
            Step::RaiseHorizon { back } => {
                let horizon = self.counter().saturating_sub(*back);
                let applied = self.apply(Body::RaiseHorizon(RaiseHorizon { horizon }));
                assert_eq!(applied.origin, Origin::Horizon);
            }
            Step::TakeBatch => self.in_flight.extend(self.store.take_batch()),
            Step::WriteTable => {
                if let Some(batch) = self.in_flight.pop_front() {
                    self.table.write(&batch);
                    self.unreported += 1;
                }
            }
            Step::Report => {
                if self.unreported > 0 {
                    self.unreported -= 1;
                    self.store.batch_written();
                }
            }
            Step::Crash => self.crash(),
            Step::Evict { key: number } => self.table.evict(&key(*number)),
            Step::Hold { key: number } => {
                self.store.hold(&key(*number));
                self.holds.push(key(*number));
            }
            Step::Release { hold } => {
                if !self.holds.is_empty() {
                    let key = self.holds.swap_remove(hold % self.holds.len());
                    self.store.release(&key);
                }
            }
            Step::BeginRead { key: number, purpose, early } => {
                let (key, purpose) = (key(*number), *purpose);
                if self.store.begin_read(&key, purpose) {
                    let seen = early.then(|| self.table.read(&key));
                    self.reads.push(Read { key, purpose, seen });
                }
            }
            Step::Answer { read } => {
                if !self.reads.is_empty() {
                    let read = self.reads.swap_remove(read % self.reads.len());
                    self.answer(read);
                }
            }
        }
        self.check();
    }

    /// Makes a write of a session that was used, or of none.
    fn write(
        &mut self,
        session: usize,
        number: &Number,
        operation: Operation,
        guard: Option<Guarding>,
    ) -> Applied {
        let pick = session % self.used.len();
        let (id, highest) = self.used[pick];
        let (seq, lowest) = match *number {
            Number::Next { lag } => (highest + 1, (highest + 1).saturating_sub(lag).max(1)),
            Number::Ahead { by, lag } => (highest + 1 + by, (highest + 1).saturating_sub(lag).max(1)),
            Number::Retry { back, lag } => {
                let seq = highest.saturating_sub(back).max(1);
                (seq, seq.saturating_sub(lag).max(1))
            }
            Number::Any { seq, lowest } => (seq, lowest),
        };
        if !matches!(number, Number::Any { .. }) {
            self.used[pick].1 = highest.max(seq);
        }
        let guard = guard.map(|guard| guard.guard(&self.model));
        let applied = self.apply(guarded(id, seq, lowest, operation, guard));
        assert_eq!(applied.origin, Origin::Write { session: id, seq });
        applied
    }

    fn apply(&mut self, body: Body) -> Applied {
        let expected = self.model.apply(self.counter(), &body);
        let applied = self.enter(Some(encode_command(&Command { body: Some(body) })));
        let applied = applied.unwrap_or_else(|| panic!("a command is applied"));
        assert_eq!(applied.outcome, expected);
        applied
    }

    /// Puts an entry into the log and through both stores.
    fn enter(&mut self, payload: Option<Bytes>) -> Option<Applied> {
        let counter = self.counter();
        if payload.as_ref().is_some_and(|payload| Decoded::new(payload.clone()).missing_ranges().is_some()) {
            self.reach_table();
        }
        let applied = feed(&mut self.store, counter, payload.as_ref());
        assert_eq!(feed(&mut self.prompt, counter, payload.as_ref()), applied);
        if let Some(batch) = self.prompt.take_batch() {
            self.prompt_table.write(&batch);
            self.prompt.batch_written();
        }
        self.log.push((payload, applied.clone()));
        self.model.past.push(self.model.keys.clone());
        applied
    }

    fn answer(&mut self, Read { key, purpose, seen }: Read) {
        let stored = seen.unwrap_or_else(|| self.table.read(&key));
        self.store.enter(&key, stored);
        assert!(self.store.get(&key) != Lookup::NotInMemory, "the key was read");
        self.check();
        self.store.end_read(&key, purpose);
    }

    /// What has not reached the table is lost, and comes back from the log, with the same outcomes.
    fn crash(&mut self) {
        self.in_flight.clear();
        self.unreported = 0;
        self.holds.clear();
        self.reads.clear();
        self.store = open(&self.table);
        let from = self.store.applied();
        assert_eq!(self.store.hash(), recompute_checkpoint(&self.table).hash);
        for (counter, (payload, applied)) in (1..).zip(&self.log).filter(|(counter, _)| *counter > from) {
            assert_eq!(&feed(&mut self.store, counter, payload.as_ref()), applied);
        }
    }

    fn check(&self) {
        assert_eq!(self.store.applied(), self.log.len() as u64);
        assert_eq!(self.store.hash(), self.prompt.hash());
        assert_eq!(self.prompt_table.checkpoint(), recompute_checkpoint(&self.prompt_table));
        assert_eq!(self.store.keys(), self.model.keys.len() as u64);
        assert_eq!(self.store.sessions(), self.model.sessions.len());
        let configured = self.log.iter().rposition(|(payload, _)| payload.is_none());
        let configured = configured.map(|at| Bytes::copy_from_slice(&(at as u64 + 1).to_be_bytes()));
        assert_eq!(self.store.configuration(), configured.as_ref());
        assert_eq!(self.store.horizon(), self.model.horizon);
        assert_eq!(self.store.setting(Setting::HistoryAgeMinutes), self.model.age);
        for key in KEYS {
            let entry = match self.store.get(key) {
                Lookup::NotInMemory => {
                    assert!(self.table.is_evicted(key));
                    self.prompt.get(key).in_memory()
                }
                found => found.in_memory(),
            };
            assert_eq!(self.prompt.get(key).in_memory(), entry);
            let seen =
                entry.map(|entry| (entry.value, entry.version, entry.create_revision, entry.mod_revision));
            let known = self.model.keys.get(key).cloned();
            assert_eq!(seen, known.map(|key| (key.value, key.version, key.created, key.modified)));
        }
        for &(session, highest) in &self.used {
            for seq in (0..highest + 2).chain(900..1_100) {
                assert_eq!(self.store.lookup_write(session, seq), self.model.lookup_write(session, seq));
            }
            let timeout = self.model.sessions.contains_key(&session).then_some(4_000);
            assert_eq!(self.store.session_timeout(session), timeout);
        }
        assert!(self.store.session_timeouts().map(|(id, _)| id).eq(self.model.sessions.keys().copied()));
        for byte in 0..6 {
            let known = self.model.sessions.iter().find(|(_, session)| session.nonce[..] == nonce(byte));
            assert_eq!(self.store.session_by_nonce(&nonce(byte)), known.map(|(id, _)| *id));
        }
    }

    /// Everything reaches the table, and the store knows it.
    fn reach_table(&mut self) {
        self.in_flight.extend(self.store.take_batch());
        for batch in self.in_flight.drain(..) {
            self.table.write(&batch);
            self.unreported += 1;
        }
        for _ in 0..std::mem::take(&mut self.unreported) {
            self.store.batch_written();
        }
    }

    /// Everything reaches the table.
    pub fn settle(mut self) {
        self.in_flight.extend(self.store.take_batch());
        for batch in &self.in_flight {
            self.table.write(batch);
        }
        assert_eq!(self.table.checkpoint(), recompute_checkpoint(&self.table));
        assert!(self.table.snapshot() == self.prompt_table.snapshot(), "the tables differ");
        self.check_history();
        for _ in 0..self.unreported + self.in_flight.len() {
            self.store.batch_written();
        }
        self.check();
        for read in std::mem::take(&mut self.reads) {
            self.answer(read);
        }
        for key in std::mem::take(&mut self.holds) {
            self.store.release(&key);
        }
        self.check();
        assert_eq!(
            (self.store.held_bytes(), self.store.pending_bytes()),
            (0, 0),
            "nothing is left in memory"
        );
    }
}

/// The ranges that are compared at every revision.
fn ranges() -> impl Iterator<Item = Range> {
    let parts: [(&[u8], &[u8], &[u8]); 7] = [
        (b"", b"", b""),
        (b"a/", b"", b""),
        (b"a\0", b"a/b", b""),
        (b"", b"", b"a"),
        (b"a/\0", b"a/c", b"a/"),
        (b"", b"\xff", b"\xff"),
        (b"b", b"", b"a"),
    ];
    parts.into_iter().flat_map(|(start, end, prefix)| {
        (0..32_u8).map(move |bits| Range {
            start: Bytes::from_static(start),
            end: Bytes::from_static(end),
            prefix: Bytes::from_static(prefix),
            limit: [0, 1, 2, u64::MAX][usize::from(bits % 4)],
            reverse: bits & 4 != 0,
            keys_only: bits & 8 != 0,
            delimiter: Bytes::from_static(if bits & 16 != 0 { b"/" } else { b"" }),
            ..Range::default()
        })
    })
}

/// Reads a page at a revision.
fn page_of(table: &MemoryTable, range: &Range, revision: u64) -> Result<Page, u64> {
    let found = table.read(&Query::Range(Range { at_revision: revision, ..range.clone() }))?;
    match found {
        Found::Page(page) => Ok(page),
        other => panic!("a range is answered with {other:?}"),
    }
}

/// Reads all pages of a range, and what the pages of the same range count.
fn scan(table: &MemoryTable, range: &Range, revision: u64) -> (Vec<Entry>, u64) {
    let mut entries = Vec::new();
    let mut count = 0;
    let mut range = range.clone();
    loop {
        let page = page_of(table, &range, revision).unwrap_or_else(|horizon| panic!("below {horizon}"));
        assert_eq!((page.revision, page.count), (revision, page.entries.len() as u64));
        assert!(range.limit == 0 || page.count <= range.limit, "{range:?}");
        let counted = page_of(table, &Range { count_only: true, ..range.clone() }, revision);
        let counted = counted.unwrap_or_else(|horizon| panic!("below {horizon}"));
        assert!(counted.entries.is_empty() && counted.next.is_empty());
        if count == 0 {
            count = counted.count;
        }
        entries.extend(page.entries);
        if page.next.is_empty() {
            return (entries, count);
        }
        if range.reverse { range.end = page.next } else { range.start = page.next }
    }
}

impl Comparison {
    /// Compares the pages at every revision, and every change, with the model.
    fn check_history(&self) {
        let (table, past, horizon) = (self.table.snapshot(), &self.model.past, self.model.horizon);
        verify_changes(&table).unwrap_or_else(|error| panic!("{error}"));
        let last = past.len() as u64 - 1;
        if horizon > 1 {
            assert_eq!(page_of(&table, &Range::default(), horizon - 1), Err(horizon), "below the horizon");
        }
        // Every range at a few revisions, every revision with a few ranges.
        for revision in horizon.max(1)..=last {
            let all = (revision + 1 == last || revision == horizon || revision == last).then_some(1);
            for range in ranges().step_by(all.unwrap_or(29)) {
                let expected = entries(&past[revision as usize], &range);
                let count = expected.len() as u64;
                assert_eq!(scan(&table, &range, revision), (expected, count), "{range:?} at {revision}");
            }
        }
        check_results(&table, horizon, &self.model.transacted);
        check_versions(&table, horizon, past);
        let mut changes = BTreeMap::new();
        table.scan_changes(&mut |revision, record| {
            let record = ChangeRecord::decode(record).unwrap_or_else(|error| panic!("{error}"));
            changes.insert(revision, record.keys);
        });
        for revision in horizon + 1..=last {
            let [before, after] = [revision - 1, revision].map(|at| &past[at as usize]);
            let changed =
                KEYS.iter().filter(|key| before.get(**key) != after.get(**key)).map(|key| ChangedKey {
                    key: Bytes::from_static(key),
                    created: !before.contains_key(*key),
                    deleted: !after.contains_key(*key),
                });
            let mut changed: Vec<ChangedKey> = changed.collect();
            changed.sort_by(|one, other| one.key.cmp(&other.key));
            assert_eq!(changes.remove(&revision).unwrap_or_default(), changed, "changes of {revision}");
        }
        assert!(changes.is_empty(), "{changes:?} are below the horizon");
    }
}

fn feed(store: &mut Store<Shared>, counter: u64, payload: Option<&Bytes>) -> Option<Applied> {
    match payload {
        Some(payload) => Some(apply(store, counter, payload.clone())),
        None => {
            store.configure(counter, Bytes::copy_from_slice(&counter.to_be_bytes()));
            None
        }
    }
}
