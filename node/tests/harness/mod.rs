//! A few nodes on a perfect network with disks that write at once: for tests of what a node does, not of what
//! may go wrong (that is the simulator's).

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use gometa_node::{ClientId, Config, Effect, Event, Node, Write};
use gometa_proto::limits::PAYLOAD_MAX;
use gometa_proto::v1::{self, Request, Response, request::Operation, response::Result as Answer};
use gometa_store::{Checkpoint, MemoryTable, Space, Table};
use gometa_zab::{
    Addresses, Bounds, Founding, HardState, Incarnation, LinkId, LogEntry, NodeId, Recovered, Ticks,
    Timeouts, Voter, Zxid,
};

/// What a node applies ahead of its table, in bytes.
pub(crate) const UNSTORED_BYTES_MAX: usize = 1 << 20;

/// What a node's disk holds.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) founding: Option<Founding>,
    pub(crate) log: Vec<LogEntry>,
    pub(crate) table: MemoryTable,
}

#[derive(Clone, Default)]
pub(crate) struct DiskTable(Rc<RefCell<Disk>>);

impl DiskTable {
    /// The table is lost, and the log is not.
    pub(crate) fn forget_table(&self) {
        self.0.borrow_mut().table = MemoryTable::default();
    }

    pub(crate) fn log(&self) -> Vec<LogEntry> {
        self.0.borrow().log.clone()
    }
}

impl Table for DiskTable {
    fn checkpoint(&self) -> Checkpoint {
        self.0.borrow().table.checkpoint()
    }

    fn get(&self, space: Space, key: &[u8]) -> Option<bytes::Bytes> {
        self.0.borrow().table.get(space, key)
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.0.borrow().table.scan(space, visit);
    }
}

pub(crate) struct Member {
    pub(crate) node: Option<Node<DiskTable>>,
    pub(crate) disk: DiskTable,
    inbox: Vec<Event>,
    /// This node's links: the peer's index and its link.
    links: BTreeMap<LinkId, (usize, LinkId)>,
    boot: u64,
    pub(crate) incarnation: u128,
    /// What this node announces, from its next start on.
    pub(crate) addresses: Addresses,
    /// The last that its clients were told.
    pub(crate) view: v1::View,
    pub(crate) stopped: Option<String>,
    /// Messages to and from this node vanish.
    pub(crate) cut: bool,
    /// From the next batch for its table on, nothing that it writes is reported.
    pub(crate) stalls: bool,
    /// Reports that were held back since then.
    held: Vec<Event>,
    /// Messages sent to other nodes' upper halves.
    pub(crate) relays: usize,
    /// Bytes of keys and values in batches that were not reported.
    pub(crate) unstored: usize,
}

pub(crate) struct Ensemble {
    pub(crate) members: Vec<Member>,
    pub(crate) now: Ticks,
    next_link: u64,
    next_request: u64,
    /// Answers by client and request; the client that [`Ensemble::ask`] plays has its node's index.
    pub(crate) answers: BTreeMap<(usize, u64), Response>,
    /// In the order in which they were given: client and request.
    pub(crate) answered: Vec<(u64, u64)>,
}

fn id(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

fn addresses(index: usize) -> Addresses {
    let port = 5001 + 1000 * index;
    Addresses {
        election: format!("127.0.0.1:{port}"),
        message: format!("127.0.0.1:{}", port + 1),
        request: format!("127.0.0.1:{}", port + 2),
    }
}

impl Ensemble {
    pub(crate) fn new(count: usize) -> Ensemble {
        let mut ensemble = Ensemble {
            members: Vec::new(),
            now: Ticks(1_000_000),
            next_link: 0,
            next_request: 0,
            answers: BTreeMap::new(),
            answered: Vec::new(),
        };
        for index in 0..count {
            ensemble.members.push(Member {
                node: None,
                disk: DiskTable::default(),
                inbox: Vec::new(),
                links: BTreeMap::new(),
                boot: 0,
                incarnation: 100 + index as u128,
                addresses: addresses(index),
                view: v1::View::default(),
                stopped: None,
                cut: false,
                stalls: false,
                held: Vec::new(),
                relays: 0,
                unstored: 0,
            });
        }
        for index in 0..count {
            ensemble.start(index);
        }
        ensemble
    }

    /// Starts a node on what its disk holds.
    pub(crate) fn start(&mut self, index: usize) {
        let count = self.members.len();
        let voters: Vec<Voter> = (0..count)
            .map(|index| Voter { node: id(index), incarnation: None, addresses: addresses(index) })
            .collect();
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
            },
            session_timeout_ms: 10_000,
            deadline_default_ms: 5_000,
            requests_max: 10_000,
            unstored_bytes_max: UNSTORED_BYTES_MAX,
            version: "test".to_owned(),
        };
        let disk = member.disk.0.borrow();
        let mut boundaries: Vec<Zxid> = Vec::new();
        for entry in &disk.log {
            match boundaries.last_mut() {
                Some(last) if last.epoch == entry.zxid.epoch => *last = entry.zxid,
                _ => boundaries.push(entry.zxid),
            }
        }
        let recovered = Recovered {
            hard_state: disk.hard_state,
            founding: disk.founding.clone(),
            boundaries,
            applied: disk.table.checkpoint().applied,
            ..Recovered::default()
        };
        drop(disk);
        let (node, effects) =
            Node::new(config, recovered, member.disk.clone(), self.now).expect("a sound table");
        member.node = Some(node);
        self.carry_out(index, effects);
    }

    /// Kills a node: its links break, its disk stays.
    pub(crate) fn kill(&mut self, index: usize) {
        self.members[index].node = None;
        self.members[index].inbox.clear();
        for (_, (peer, link)) in std::mem::take(&mut self.members[index].links) {
            if self.members[peer].links.remove(&link).is_some() {
                self.members[peer].inbox.push(Event::Zab(gometa_zab::Event::Closed { link }));
            }
        }
    }

    fn carry_out(&mut self, index: usize, effects: Vec<Effect>) {
        use gometa_zab::Event as Zab;
        for effect in effects {
            match effect {
                Effect::Write { token, write } => {
                    let report = Event::Zab(Zab::Persisted(token));
                    let member = &mut self.members[index];
                    if let Write::Apply(batch) = &write
                        && member.stalls
                    {
                        let sizes = batch
                            .writes
                            .iter()
                            .map(|(_, key, value)| key.len() + value.as_ref().map_or(0, bytes::Bytes::len));
                        member.unstored += sizes.sum::<usize>();
                        member.held.push(report.clone());
                    } else if member.held.is_empty() {
                        member.inbox.push(report);
                    } else {
                        member.held.push(report);
                    }
                    let mut disk = self.members[index].disk.0.borrow_mut();
                    match write {
                        Write::Zab(gometa_zab::Write::Append(entries)) => {
                            // What the codec asserts of a record.
                            assert!(entries.iter().all(|entry| entry.payload.len() <= PAYLOAD_MAX));
                            disk.log.extend(entries);
                        }
                        Write::Zab(gometa_zab::Write::Truncate(to)) => {
                            disk.log.truncate(usize::try_from(to.counter).expect("a small number"));
                        }
                        Write::Zab(gometa_zab::Write::HardState(hard)) => disk.hard_state = hard,
                        Write::Zab(gometa_zab::Write::Founding(founding)) => disk.founding = Some(founding),
                        Write::Apply(batch) => disk.table.write(&batch),
                    }
                }
                Effect::Read { id, from, to, .. } => {
                    let disk = self.members[index].disk.0.borrow();
                    let entries = disk
                        .log
                        .iter()
                        .filter(|entry| (from..=to).contains(&entry.zxid.counter))
                        .take(3)
                        .cloned()
                        .collect();
                    drop(disk);
                    self.members[index].inbox.push(Event::Zab(Zab::LogRead { id, entries }));
                }
                Effect::Datagram { to, vote } => {
                    let peer = usize::try_from(to.0 - 1).expect("a small number");
                    if self.reaches(index, peer) {
                        self.members[peer].inbox.push(Event::Zab(Zab::Datagram(vote)));
                    }
                }
                Effect::Connect { peer } => {
                    let to = usize::try_from(peer.0 - 1).expect("a small number");
                    if self.reaches(index, to) {
                        let (ours, theirs) = (LinkId(self.next_link + 1), LinkId(self.next_link + 2));
                        self.next_link += 2;
                        self.members[index].links.insert(ours, (to, theirs));
                        self.members[to].links.insert(theirs, (index, ours));
                        self.members[index].inbox.push(Event::Zab(Zab::Connected { peer, link: ours }));
                        self.members[to].inbox.push(Event::Zab(Zab::Accepted { link: theirs }));
                    } else {
                        self.members[index].inbox.push(Event::Zab(Zab::ConnectFailed { peer }));
                    }
                }
                Effect::Send { link, message } => {
                    let is_relay = matches!(message, gometa_zab::Message::Relay(_));
                    self.members[index].relays += usize::from(is_relay);
                    if let Some((peer, theirs)) = self.members[index].links.get(&link).copied()
                        && self.reaches(index, peer)
                    {
                        let event = Zab::Message { link: theirs, message };
                        self.members[peer].inbox.push(Event::Zab(event));
                    }
                }
                Effect::Close { link } => {
                    if let Some((peer, theirs)) = self.members[index].links.remove(&link)
                        && self.members[peer].links.remove(&theirs).is_some()
                    {
                        self.members[peer].inbox.push(Event::Zab(Zab::Closed { link: theirs }));
                    }
                }
                Effect::Respond { client, response } => {
                    self.answered.push((client.0, response.id));
                    let before = self
                        .answers
                        .insert((usize::try_from(client.0).expect("a small number"), response.id), response);
                    assert!(before.is_none(), "a request is answered once");
                }
                Effect::Stop(reason) => self.members[index].stopped = Some(reason),
                Effect::View(view) => self.members[index].view = view,
                Effect::Role(_) | Effect::Notice(_) | Effect::SessionsShort { .. } => {}
            }
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.members[to].node.is_some() && !self.members[from].cut && !self.members[to].cut
    }

    /// Time passes, in steps of 5 ms, and everything that follows happens.
    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(5) {
            self.now = self.now.plus(5_000);
            for index in 0..self.members.len() {
                self.members[index].inbox.push(Event::Zab(gometa_zab::Event::Tick));
            }
            for _ in 0..200 {
                let mut quiet = true;
                for index in 0..self.members.len() {
                    if self.members[index].inbox.is_empty() && !self.has_more(index) {
                        continue;
                    }
                    quiet = false;
                    self.step(index);
                }
                if quiet {
                    break;
                }
            }
        }
    }

    /// What was written while the disk stalled is reported.
    pub(crate) fn go_on(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.stalls = false;
        member.unstored = 0;
        member.inbox.append(&mut member.held);
    }

    /// At `at`, the connection from `from`.
    pub(crate) fn link(&self, at: usize, from: usize) -> Option<LinkId> {
        self.members[at].links.iter().find(|(_, (peer, _))| *peer == from).map(|(link, _)| *link)
    }

    pub(crate) fn has_more(&self, index: usize) -> bool {
        self.members[index].node.as_ref().is_some_and(Node::has_more)
    }

    /// One step of one node, over whatever has arrived.
    pub(crate) fn step(&mut self, index: usize) {
        let inbox = std::mem::take(&mut self.members[index].inbox);
        let now = self.now;
        if let Some(node) = &mut self.members[index].node {
            let effects = node.step(now, inbox);
            self.carry_out(index, effects);
        }
    }

    /// Lets something happen to a node in its next step.
    pub(crate) fn tell(&mut self, index: usize, event: Event) {
        self.members[index].inbox.push(event);
    }

    /// Sends a request to a node; its number.
    pub(crate) fn ask(&mut self, index: usize, write: Option<v1::WriteContext>, operation: Operation) -> u64 {
        self.ask_as(index, index as u64, 0, write, operation)
    }

    /// Sends a request to a node as this client, with this deadline in milliseconds; its number.
    pub(crate) fn ask_as(
        &mut self,
        index: usize,
        client: u64,
        deadline_ms: u32,
        write: Option<v1::WriteContext>,
        operation: Operation,
    ) -> u64 {
        self.next_request += 1;
        let request = Request { id: self.next_request, deadline_ms, write, operation: Some(operation) };
        self.tell(index, Event::Request { client: ClientId(client), request });
        self.next_request
    }

    /// Sends a request and lets time pass; the answer, if it has come.
    pub(crate) fn call(
        &mut self,
        index: usize,
        write: Option<v1::WriteContext>,
        operation: Operation,
    ) -> Option<Answer> {
        let id = self.ask(index, write, operation);
        self.run(50);
        self.answer(index, id)
    }

    pub(crate) fn answer(&self, index: usize, id: u64) -> Option<Answer> {
        self.answers.get(&(index, id)).and_then(|response| response.result.clone())
    }

    pub(crate) fn open_session(&mut self, index: usize, nonce: u8) -> u64 {
        let open = v1::OpenSession { nonce: vec![nonce; 16].into() };
        match self.call(index, None, Operation::OpenSession(open)) {
            Some(Answer::SessionOpened(opened)) => opened.session,
            other => panic!("no session: {other:?}"),
        }
    }

    pub(crate) fn status(&mut self, index: usize) -> v1::NodeStatus {
        match self.call(index, None, Operation::Status(v1::Status {})) {
            Some(Answer::Status(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    pub(crate) fn leader(&mut self) -> Option<usize> {
        (0..self.members.len()).find(|index| {
            self.members[*index].node.is_some() && self.status(*index).role() == v1::Role::Leading
        })
    }
}

pub(crate) fn set(key: &str, value: &str) -> Operation {
    Operation::Set(v1::Set { key: key.to_owned().into(), value: value.to_owned().into() })
}

pub(crate) fn get(key: &str) -> Operation {
    Operation::Get(v1::Get { key: key.to_owned().into(), consistency: 0, min_revision: 0 })
}

pub(crate) fn get_local(key: &str, min_revision: u64) -> Operation {
    let consistency = v1::Consistency::Local.into();
    Operation::Get(v1::Get { key: key.to_owned().into(), consistency, min_revision })
}

pub(crate) fn context(session: u64, seq: u64) -> Option<v1::WriteContext> {
    Some(v1::WriteContext { session, seq, lowest: seq })
}
