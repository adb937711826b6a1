//! Whole nodes on a network without faults, with disks that write at once: for tests of what a node does. What may go
//! wrong is the simulator's part.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use bytes::Bytes;
use gometa_node::{ClientId, Config, Effect, Event, HistoryBounds, Node};
use gometa_proto::limits::PAYLOAD_MAX;
use gometa_proto::v1::{self, Request, Response, request::Operation, response::Result as Answer};
use gometa_store::{Batch, Checkpoint, Lookup, MemoryTable, Purpose, Space, Table};
use gometa_zab::{
    Addresses, Bounds, Event as Zab, Incarnation, LinkId, LogEntry, NodeId, Recovered, Role, Timeouts, Token,
    Voter, Write,
};

use crate::{
    disk::Disk,
    ensemble::{Ensemble, Environment},
    text::Topic,
};

/// What a node applies ahead of its table, in bytes.
pub const UNSTORED_BYTES_MAX: usize = 1 << 20;

/// A node's log, hard state and table.
#[derive(Clone, Default)]
pub struct Storage {
    files: Rc<RefCell<(Disk, MemoryTable)>>,
    /// One in so many lookups does not find its key in memory; 0 for none.
    cold: Rc<Cell<u32>>,
    /// The number of lookups.
    lookups: Rc<Cell<u32>>,
}

impl Storage {
    /// From now on, one in so many lookups does not find its key in memory; 0 for none.
    pub fn cool(&self, one_in: u32) {
        self.cold.set(one_in);
    }

    /// Loses the table and keeps the log.
    pub fn forget_table(&self) {
        self.files.borrow_mut().1 = MemoryTable::default();
    }

    pub fn log(&self) -> Vec<LogEntry> {
        self.files.borrow().0.log.clone()
    }
}

impl Table for Storage {
    fn checkpoint(&self) -> Checkpoint {
        self.files.borrow().1.checkpoint()
    }

    fn lookup(&self, space: Space, key: &[u8]) -> Lookup {
        self.lookups.set(self.lookups.get().wrapping_add(1));
        if self.lookups.get().is_multiple_of(self.cold.get()) {
            return Lookup::NotInMemory;
        }
        self.files.borrow().1.lookup(space, key)
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.files.borrow().1.scan(space, visit);
    }

    fn scan_changes(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        self.files.borrow().1.scan_changes(visit);
    }
}

/// A read of records that a node has asked for.
pub struct Fetch {
    pub id: u64,
    pub purpose: Purpose,
    pub keys: Vec<Bytes>,
}

pub struct Member {
    pub node: Option<Node<Storage>>,
    pub storage: Storage,
    role: Role,
    inbox: Vec<Event>,
    boot: u64,
    pub incarnation: u128,
    /// What this node announces, from its next start on.
    pub addresses: Addresses,
    /// The last view sent to its clients.
    pub view: v1::View,
    pub stopped: Option<String>,
    /// Reads of the table that were not answered, if `holds_fetches`; others are answered in the next step.
    pub fetches: Vec<Fetch>,
    pub holds_fetches: bool,
    /// From the next batch for its table on, no write is reported as durable.
    pub stalls: bool,
    /// Reports that were held back since then.
    held: Vec<Event>,
    /// The number of messages sent to other members' `Node`s.
    pub relays: usize,
    /// Bytes of keys and values in batches that were not reported.
    pub unstored: usize,
}

/// Members are numbered from 0.
pub struct Nodes {
    pub members: Vec<Member>,
    environment: Environment,
    next_request: u64,
    /// Answers by client and request; the client that [`Nodes::ask`] plays has its node's index.
    pub answers: BTreeMap<(usize, u64), Response>,
    /// Client and request, in the order of the answers.
    pub answered: Vec<(u64, u64)>,
}

fn id(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

fn index(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("a small number")
}

fn addresses(index: usize) -> Addresses {
    let port = 5001 + 1000 * index;
    Addresses {
        election: format!("127.0.0.1:{port}"),
        message: format!("127.0.0.1:{}", port + 1),
        request: format!("127.0.0.1:{}", port + 2),
    }
}

impl Ensemble for Nodes {
    fn environment(&self) -> &Environment {
        &self.environment
    }

    fn environment_mut(&mut self) -> &mut Environment {
        &mut self.environment
    }

    fn nodes(&self) -> Vec<NodeId> {
        (0..self.members.len()).map(id).collect()
    }

    fn role(&self, id: NodeId) -> Option<Role> {
        // A recorded member may be no node here: it does not run.
        let member = self.members.get(index(id))?;
        member.node.as_ref().map(|_| member.role)
    }

    /// Queued, so that one step takes in all that has arrived, as in the server.
    fn take(&mut self, id: NodeId, event: Zab) {
        if let Some(member) = self.members.get_mut(index(id)) {
            member.inbox.push(Event::Zab(event));
        }
    }

    fn has_work(&self, id: NodeId) -> bool {
        !self.members[index(id)].inbox.is_empty() || self.has_more(index(id))
    }

    fn work(&mut self, id: NodeId) {
        self.step(index(id));
    }
}

impl Member {
    /// Writes at once; the report comes with the next step.
    fn write(&mut self, token: Token, write: Write) {
        if let Write::Append(entries) = &write {
            // What the codec asserts of a record.
            assert!(entries.iter().all(|entry| entry.payload.len() <= PAYLOAD_MAX));
        }
        let mut storage = self.storage.files.borrow_mut();
        storage.0.pending.push_back((token, write));
        storage.0.persist();
        drop(storage);
        self.report(Event::Zab(Zab::Persisted(token)));
    }

    /// Writes at once; the report comes with the next step, or later if the disk stalls.
    fn store(&mut self, number: u64, batch: &Batch) {
        let sizes =
            batch.writes.iter().map(|(_, key, value)| key.len() + value.as_ref().map_or(0, Bytes::len));
        self.storage.files.borrow_mut().1.write(batch);
        let event = Event::Stored { number };
        if self.stalls {
            self.unstored += sizes.sum::<usize>();
            self.held.push(event);
        } else {
            self.report(event);
        }
    }

    /// The answer of the table, as it is now, to a read of records.
    fn fetched(&self, fetch: Fetch) -> Event {
        let files = self.storage.files.borrow();
        let records = fetch.keys.into_iter().map(|key| {
            let record = files.1.get(Space::Data, &key);
            (key, record)
        });
        Event::Fetched { id: fetch.id, records: records.collect() }
    }

    /// Reports a write, not before those that are held back.
    fn report(&mut self, event: Event) {
        let reports = if self.held.is_empty() { &mut self.inbox } else { &mut self.held };
        reports.push(event);
    }
}

impl Nodes {
    /// An ensemble that has yet to form, all nodes started.
    pub fn new(count: usize) -> Nodes {
        let member = |index| Member {
            node: None,
            storage: Storage::default(),
            role: Role::Forming,
            inbox: Vec::new(),
            boot: 0,
            incarnation: 100 + index as u128,
            addresses: addresses(index),
            view: v1::View::default(),
            stopped: None,
            fetches: Vec::new(),
            holds_fetches: false,
            stalls: false,
            held: Vec::new(),
            relays: 0,
            unstored: 0,
        };
        let mut nodes = Nodes {
            members: (0..count).map(member).collect(),
            environment: Environment::new(&[Topic::Story]),
            next_request: 0,
            answers: BTreeMap::new(),
            answered: Vec::new(),
        };
        nodes.skip(1_000);
        for index in 0..count {
            nodes.start(index);
        }
        nodes
    }

    /// Starts a node on its storage.
    pub fn start(&mut self, index: usize) {
        let voter = |index| Voter { node: id(index), incarnation: None, addresses: addresses(index) };
        let voters: Vec<Voter> = (0..self.members.len()).map(voter).collect();
        let member = &mut self.members[index];
        member.boot += 1;
        let config = Config {
            zab: gometa_zab::Config {
                node: id(index),
                incarnation: Incarnation(member.incarnation),
                boot: member.boot,
                addresses: member.addresses.clone(),
                voters,
                seed: (index as u128 + 7) * 0x1234_5678_9abc_def1 + u128::from(member.boot),
                timeouts: Timeouts::from_ms(100, 1_000),
                bounds: Bounds::default(),
                levels: gometa_zab::Levels::SUPPORTED,
                never_founds: false,
                founds_with_quorum: false,
            },
            session_timeout_ms: 10_000,
            deadline_default_ms: 5_000,
            requests_max: 10_000,
            unstored_bytes_max: UNSTORED_BYTES_MAX,
            log_kept: u64::MAX,
            log_held_max: 0,
            state_hash_interval: gometa_node::STATE_HASH_INTERVAL,
            history: HistoryBounds::DEFAULT,
            version: "test".to_owned(),
        };
        let recovered = member.storage.files.borrow().0.recover();
        let applied = member.storage.checkpoint().applied;
        let recovered = Recovered { applied, released: applied, ..recovered };
        let now = self.environment.now;
        let (node, effects) =
            Node::new(config, recovered, member.storage.clone(), now).expect("a sound table");
        member.node = Some(node);
        self.carry_out(index, effects);
    }

    /// Kills a node: its connections break, its storage stays.
    pub fn kill(&mut self, index: usize) {
        self.members[index].node = None;
        self.members[index].inbox.clear();
        self.members[index].fetches.clear();
        self.environment.network.remove(id(index));
    }

    /// Has messages to and from a node lost, or no more.
    pub fn isolate(&mut self, index: usize, isolated: bool) {
        let all = &mut self.environment.network.isolated;
        if isolated {
            all.insert(id(index))
        } else {
            all.remove(&id(index))
        };
    }

    pub fn is_isolated(&self, index: usize) -> bool {
        self.environment.network.isolated.contains(&id(index))
    }

    fn carry_out(&mut self, index: usize, effects: Vec<Effect>) {
        for effect in effects {
            let network = &mut self.environment.network;
            let member = &mut self.members[index];
            match effect {
                Effect::Write { token, write, .. } => member.write(token, write),
                Effect::Store { number, batch } => member.store(number, &batch),
                Effect::Fetch { id, purpose, keys } => {
                    let fetch = Fetch { id, purpose, keys };
                    if member.holds_fetches {
                        member.fetches.push(fetch);
                    } else {
                        member.inbox.push(member.fetched(fetch));
                    }
                }
                Effect::Query { id, query } => {
                    let result = member.storage.files.borrow().1.read(&query);
                    member.inbox.push(Event::Queried { id, result });
                }
                Effect::Backup { .. } => panic!("no script makes backups"),
                Effect::Read { id, from, to, bytes_max } => {
                    let mut entries = member.storage.files.borrow().0.read(from, to, bytes_max);
                    entries.truncate(3);
                    member.inbox.push(Event::Zab(Zab::LogRead { id, entries }));
                }
                Effect::Datagram { to, vote } => {
                    member.storage.files.borrow().0.vouch_vote(id(index), &vote);
                    network.datagram(id(index), to, vote);
                }
                Effect::Connect { peer } => network.dial(id(index), peer),
                Effect::Send { link, message } => {
                    member.storage.files.borrow().0.vouch_message(id(index), &message);
                    member.relays += usize::from(matches!(message, gometa_zab::Message::Relay(_)));
                    network.send(link, message);
                }
                Effect::Close { link } => network.close(link),
                Effect::Respond { client, response } => {
                    self.answered.push((client.0, response.id));
                    let client = usize::try_from(client.0).expect("a small number");
                    let before = self.answers.insert((client, response.id), response);
                    assert!(before.is_none(), "a request is answered once");
                }
                Effect::Stop(reason) => member.stopped = Some(reason),
                Effect::Quarantine(fault) => member.stopped = Some(format!("{fault:?}")),
                Effect::View(view) => member.view = view,
                Effect::Role(role) => member.role = role,
                // These ensembles keep their logs.
                Effect::SendSnapshot { .. } | Effect::DiscardSnapshot => unreachable!("no log is compacted"),
                Effect::Notice(_) | Effect::SessionsShort { .. } => {}
            }
        }
    }

    /// The answer of a node's table, as it is now, to one of the reads that it has held; the read is removed.
    pub fn fetched(&mut self, index: usize, fetch: usize) -> Event {
        let member = &mut self.members[index];
        let fetch = member.fetches.remove(fetch);
        member.fetched(fetch)
    }

    /// Reports what was written while the disk stalled.
    pub fn go_on(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.stalls = false;
        member.unstored = 0;
        member.inbox.append(&mut member.held);
    }

    /// At `at`, the connection from `from`.
    pub fn link(&self, at: usize, from: usize) -> Option<LinkId> {
        self.environment.network.link(id(at), id(from))
    }

    /// Advances the clock without a tick.
    pub fn skip(&mut self, ms: u64) {
        self.environment.now = self.environment.now.plus(ms * 1_000);
    }

    pub fn has_more(&self, index: usize) -> bool {
        self.members[index].node.as_ref().is_some_and(Node::has_more)
    }

    /// Takes one step of one node, over all that has arrived.
    pub fn step(&mut self, index: usize) {
        let inbox = std::mem::take(&mut self.members[index].inbox);
        let now = self.environment.now;
        if let Some(node) = &mut self.members[index].node {
            let effects = node.step(now, inbox);
            self.carry_out(index, effects);
        }
    }

    /// Queues an event for a node's next step.
    pub fn tell(&mut self, index: usize, event: Event) {
        self.members[index].inbox.push(event);
    }

    /// Sends a request to a node; returns its id.
    pub fn ask(&mut self, index: usize, write: Option<v1::WriteContext>, operation: Operation) -> u64 {
        self.ask_as(index, index as u64, 0, write, operation)
    }

    /// Sends a request to a node as this client, with this deadline in milliseconds; returns its id.
    pub fn ask_as(
        &mut self,
        index: usize,
        client: u64,
        deadline_ms: u32,
        write: Option<v1::WriteContext>,
        operation: Operation,
    ) -> u64 {
        self.next_request += 1;
        let request = Request {
            id: self.next_request,
            deadline_ms,
            write,
            operation: Some(operation),
            ..Request::default()
        };
        self.tell(index, Event::Request { client: ClientId(client), request });
        self.next_request
    }

    /// Sends a request and lets time pass; returns the answer, if it has come.
    pub fn call(
        &mut self,
        index: usize,
        write: Option<v1::WriteContext>,
        operation: Operation,
    ) -> Option<Answer> {
        let id = self.ask(index, write, operation);
        self.run(50);
        self.answer(index, id)
    }

    pub fn answer(&self, index: usize, id: u64) -> Option<Answer> {
        self.answers.get(&(index, id)).and_then(|response| response.result.clone())
    }

    pub fn open_session(&mut self, index: usize, nonce: u8) -> u64 {
        let open = v1::OpenSession { nonce: vec![nonce; 16].into() };
        match self.call(index, None, Operation::OpenSession(open)) {
            Some(Answer::SessionOpened(opened)) => opened.session,
            other => panic!("no session: {other:?}"),
        }
    }

    pub fn status(&mut self, index: usize) -> v1::NodeStatus {
        match self.call(index, None, Operation::Status(v1::Status {})) {
            Some(Answer::Status(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    pub fn leader(&mut self) -> Option<usize> {
        (0..self.members.len()).find(|index| {
            self.members[*index].node.is_some() && self.status(*index).role() == v1::Role::Leading
        })
    }
}

pub fn set(key: &str, value: &str) -> Operation {
    Operation::Set(v1::Set { key: key.to_owned().into(), value: value.to_owned().into() })
}

pub fn get(key: &str) -> Operation {
    Operation::Get(v1::Get { key: key.to_owned().into(), consistency: 0, min_revision: 0 })
}

pub fn get_local(key: &str, min_revision: u64) -> Operation {
    let consistency = v1::Consistency::Local.into();
    Operation::Get(v1::Get { key: key.to_owned().into(), consistency, min_revision })
}

pub fn context(session: u64, seq: u64) -> Option<v1::WriteContext> {
    Some(v1::WriteContext { session, seq, lowest: seq })
}
