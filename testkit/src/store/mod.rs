//! A store with a table that the test can write, and short words for commands and outcomes.

pub mod history;
mod model;
pub mod txn;
mod versions;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use bytes::Bytes;
use gometa_proto::v1::{
    Add, Cas, Command, CommandOutcome, CreateSession, Delete, Deleted, EndSessions, ErrorKind, Failure,
    Guard, Request, SessionOpened, Set, WriteContext, Written, command::Body,
    command_outcome::Result as Outcome, request::Operation,
};
use gometa_store::{
    Applied, Batch, Checkpoint, Decoded, Found, Lookup, MemoryTable, Purpose, Space, Store, Table,
    encode_command,
};

/// A table that the store reads and the test writes.
#[derive(Clone, Default)]
pub struct Shared {
    pub records: Rc<RefCell<MemoryTable>>,
    /// The keys that lookups do not find in memory.
    evicted: Rc<RefCell<BTreeSet<Bytes>>>,
}

impl Shared {
    /// Has lookups of a key not find it in memory, until it is read.
    pub fn evict(&self, key: &[u8]) {
        self.evicted.borrow_mut().insert(Bytes::copy_from_slice(key));
    }

    pub fn is_evicted(&self, key: &[u8]) -> bool {
        self.evicted.borrow().contains(key)
    }

    /// Reads a key's record from storage, into memory.
    pub fn read(&self, key: &[u8]) -> Option<Bytes> {
        self.evicted.borrow_mut().remove(key);
        self.records.borrow().get(Space::Data, key)
    }

    pub fn write(&self, batch: &Batch) {
        self.records.borrow_mut().write(batch);
    }

    pub fn snapshot(&self) -> MemoryTable {
        self.records.borrow().clone()
    }
}

impl Table for Shared {
    fn checkpoint(&self) -> Checkpoint {
        self.records.borrow().checkpoint()
    }

    fn lookup(&self, space: Space, key: &[u8]) -> Lookup {
        if self.is_evicted(key) {
            return Lookup::NotInMemory;
        }
        self.records.borrow().lookup(space, key)
    }

    fn scan_changes(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        self.records.borrow().scan_changes(visit);
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.records.borrow().scan(space, visit);
    }
}

/// One store and the client of one session.
pub struct Driver {
    pub store: Store<Shared>,
    pub table: Shared,
    /// The client's session; created by the entry with counter 1.
    pub session: u64,
    /// The highest seq that was used.
    pub seq: u64,
}

impl Driver {
    pub fn new() -> Driver {
        let table = Shared::default();
        let store = open(&table);
        let mut driver = Driver { store, table, session: 1, seq: 0 };
        assert_eq!(driver.create_session(0), opened(1, 4_000));
        driver
    }

    pub fn apply(&mut self, body: Body) -> Applied {
        self.apply_payload(command(body))
    }

    pub fn apply_payload(&mut self, payload: Bytes) -> Applied {
        let counter = self.store.applied() + 1;
        apply(&mut self.store, counter, payload)
    }

    pub fn create_session(&mut self, nonce: u8) -> CommandOutcome {
        self.apply(create(nonce)).outcome
    }

    /// A write of the client's session, under its next seq, that awaits no older answer.
    pub fn run(&mut self, operation: Operation) -> CommandOutcome {
        self.seq += 1;
        self.write(self.session, self.seq, self.seq, operation)
    }

    pub fn write(&mut self, session: u64, seq: u64, lowest: u64, operation: Operation) -> CommandOutcome {
        self.apply(write(session, seq, lowest, Some(operation))).outcome
    }

    /// (value, version, create_revision, mod_revision) of a key.
    pub fn entry(&self, key: &str) -> Option<(String, u64, u64, u64)> {
        let entry = self.store.get(key.as_bytes()).in_memory()?;
        assert_eq!(entry.key, key.as_bytes());
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        Some((value, entry.version, entry.create_revision, entry.mod_revision))
    }

    /// Takes a batch, writes it, reports it.
    pub fn flush(&mut self) {
        if let Some(batch) = self.store.take_batch() {
            self.table.write(&batch);
            self.store.batch_written();
        }
    }

    /// The store is gone; a new one opens the table as it is.
    pub fn restart(&mut self) {
        self.store = open(&self.table);
    }
}

/// Applies an entry, and has its keys read first if they are not in memory, and its ranges. For these no batch is outstanding.
pub fn apply(store: &mut Store<Shared>, counter: u64, payload: Bytes) -> Applied {
    let mut command = Decoded::new(payload);
    if let Some(query) = command.missing_ranges() {
        assert_eq!(store.apply(counter, &command), None, "ranges are needed");
        if let Some(batch) = store.take_batch() {
            store.table().write(&batch);
            store.batch_written();
        }
        match store.table().snapshot().read(&query) {
            Ok(Found::Ranges(ranges)) => command.set_ranges(ranges),
            other => panic!("ranges of the present are answered with {other:?}"),
        }
    }
    if let Some(applied) = store.apply(counter, &command) {
        return applied;
    }
    let before = (store.applied(), store.hash());
    let mut missing = 0;
    for key in command.keys() {
        if store.hold(key) {
            continue;
        }
        missing += 1;
        // False if the caller has begun one, which it ends.
        let begun = store.begin_read(key, Purpose::Apply);
        assert_eq!(before, (store.applied(), store.hash()), "nothing has changed");
        let stored = store.table().read(key);
        store.enter(key, stored);
        if begun {
            store.end_read(key, Purpose::Apply);
        }
    }
    assert!(missing > 0, "a key is needed");
    let applied = store.apply(counter, &command).expect("the keys are in memory");
    command.keys().iter().for_each(|key| store.release(key));
    applied
}

pub fn open(table: &Shared) -> Store<Shared> {
    Store::open(table.clone()).unwrap_or_else(|error| panic!("{error}"))
}

pub fn command(body: Body) -> Bytes {
    encode_command(&Command { body: Some(body) })
}

pub fn nonce(byte: u8) -> [u8; 16] {
    [byte; 16]
}

pub fn create(byte: u8) -> Body {
    Body::CreateSession(CreateSession { nonce: nonce(byte).to_vec().into(), timeout_ms: 4_000 })
}

pub fn end(sessions: &[u64]) -> Body {
    Body::EndSessions(EndSessions { sessions: sessions.to_vec() })
}

pub fn write(session: u64, seq: u64, lowest: u64, operation: Option<Operation>) -> Body {
    let write = Some(WriteContext { session, seq, lowest });
    Body::Write(Request { write, operation, ..Request::default() })
}

pub fn guarded(session: u64, seq: u64, lowest: u64, operation: Operation, guard: Option<Guard>) -> Body {
    let write = Some(WriteContext { session, seq, lowest });
    Body::Write(Request { write, guard, operation: Some(operation), ..Request::default() })
}

fn bytes(text: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref())
}

pub fn add(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Operation {
    Operation::Add(Add { key: bytes(key), value: bytes(value) })
}

pub fn set(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Operation {
    Operation::Set(Set { key: bytes(key), value: bytes(value) })
}

pub fn cas(key: impl AsRef<[u8]>, revision: u64, value: impl AsRef<[u8]>) -> Operation {
    Operation::Cas(Cas { key: bytes(key), revision, value: bytes(value) })
}

pub fn delete(key: impl AsRef<[u8]>, revision: Option<u64>) -> Operation {
    Operation::Delete(Delete { key: bytes(key), revision })
}

pub fn written(revision: u64, version: u64) -> CommandOutcome {
    CommandOutcome { result: Some(Outcome::Written(Written { revision, version })) }
}

pub fn deleted(revision: u64, existed: bool) -> CommandOutcome {
    CommandOutcome { result: Some(Outcome::Deleted(Deleted { revision, existed })) }
}

pub fn opened(session: u64, timeout_ms: u32) -> CommandOutcome {
    CommandOutcome { result: Some(Outcome::SessionOpened(SessionOpened { session, timeout_ms })) }
}

pub fn failed(kind: ErrorKind, actual_revision: u64) -> CommandOutcome {
    CommandOutcome { result: Some(Outcome::Failure(Failure { kind: kind as u32, actual_revision })) }
}
