//! Whole nodes driven by hand, over the simulator's disk: every frame and datagram crosses as bytes and waits
//! until it is delivered, every write until the disk has done it.
//!
//! The simulator's oracle watches: whatever a script looks at, a broken invariant ends it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use gometa_node::{ClientId, Effect, Event, Node, Write};
use gometa_proto::v1::{Request, Response};
use gometa_sim::{
    Settings, Violation,
    checkers::Oracle,
    disk::{Disk, End, TableView},
    random::{Random, Stream},
};
use gometa_store::Checkpoint;
use gometa_zab::{
    Addresses, Bounds, EnsembleId, Founding, Genesis, HardState, Incarnation, LinkId, LogEntry, NodeId,
    Notice, Role, Ticks, Timeouts, Token, Voter,
};

use super::{
    garbage,
    show::{self, Topic, name},
};

/// The step of the clock, in microseconds.
pub(crate) const STEP: u64 = 10_000;
/// What a request without a deadline gets, in milliseconds.
const DEADLINE_DEFAULT_MS: u32 = 5_000;
/// Garbage of each kind that a shower brings upon every node in every step of the clock.
const SHOWER: usize = 3;

/// How a disk is to fail: at which kind of write (any, without one).
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) on: Option<String>,
    /// The write itself fails, before the node does anything else; otherwise its sync does.
    pub(crate) at_write: bool,
    /// What could not be synced is found on the disk all the same.
    pub(crate) kept: bool,
}

/// One machine.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    /// `None` while the process is down.
    pub(crate) node: Option<Node<TableView>>,
    /// What it said last.
    pub(crate) role: Role,
    /// Writes are done as soon as nothing is left to deliver.
    pub(crate) autopersist: bool,
    pub(crate) fault: Option<Fault>,
    /// Datagrams dropped, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Writes under way: which kind, and in words.
    pub(crate) writing: VecDeque<(Token, &'static str, String)>,
    /// What the last write of the hard state said.
    hard_written: HardState,
    life: u64,
}

enum Item {
    Frame(&'static str, Bytes),
    Closed,
}

/// A connection between nodes; index 0 is the dialling side. `sent[i]` is what side i has sent and is under way.
struct Connection {
    ends: [(usize, LinkId); 2],
    sent: [VecDeque<(u64, Item)>; 2],
    open: [bool; 2],
}

enum Flight {
    Dial { from: usize, to: usize },
    Datagram { from: usize, to: usize, bytes: Bytes },
    Read { node: usize, life: u64, id: u64, entries: Vec<LogEntry> },
}

/// What is not delivered: from, to, kind; `None` is any.
pub(crate) type Hold = (Option<usize>, Option<usize>, Option<String>);

/// One client's connection to one life of one node.
struct ClientLink {
    client: char,
    node: usize,
    life: u64,
}

/// The scene of a script. Nodes are numbered from 0 here.
pub(crate) struct Ensemble {
    pub(crate) now: Ticks,
    pub(crate) machines: Vec<Machine>,
    pub(crate) session_timeout_ms: u32,
    pub(crate) hidden: BTreeSet<Topic>,
    pub(crate) holds: Vec<Hold>,
    /// Pairs of nodes that cannot reach each other.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Everything that was said, hidden or not.
    pub(crate) transcript: Vec<String>,
    /// Every vote that was sent, with its sender.
    pub(crate) votes: Vec<(usize, Bytes)>,
    /// Garbage falls on every node.
    pub(crate) shower: Option<Random>,
    /// What clients were answered and have not looked at: client, request id, answer.
    pub(crate) answers: Vec<(char, Response)>,
    pub(crate) oracle: Oracle,
    configured: Vec<Voter>,
    clients: Vec<ClientLink>,
    /// The write that a request asks for, to name it in its answer.
    asked: BTreeMap<(ClientId, u64), String>,
    connections: Vec<Connection>,
    flights: VecDeque<(u64, Flight)>,
    visible: Vec<String>,
    sequence: u64,
    next_link: u64,
    broken: Option<Violation>,
}

/// A fate for [`Disk::crash`] that keeps all of what is not durable, or none of it.
fn fate(kept: bool) -> Random {
    let wanted = u64::from(kept);
    let seeds = (0..).map(|seed| Random::new(seed, Stream::Machine));
    seeds.into_iter().find(|random| random.clone().below(3) == wanted).expect("one seed in three")
}

impl Ensemble {
    pub(crate) fn new() -> Ensemble {
        Ensemble {
            now: Ticks(0),
            machines: Vec::new(),
            session_timeout_ms: 10_000,
            hidden: BTreeSet::from([
                Topic::Votes,
                Topic::Heartbeats,
                Topic::Links,
                Topic::Writes,
                Topic::Joining,
            ]),
            holds: Vec::new(),
            cut: BTreeSet::new(),
            transcript: Vec::new(),
            votes: Vec::new(),
            shower: None,
            answers: Vec::new(),
            oracle: Oracle::new(0),
            configured: Vec::new(),
            clients: Vec::new(),
            asked: BTreeMap::new(),
            connections: Vec::new(),
            flights: VecDeque::new(),
            visible: Vec::new(),
            sequence: 0,
            next_link: 0,
            broken: None,
        }
    }

    /// Sets the scene: so many voters of one ensemble, formed already.
    pub(crate) fn found(&mut self, nodes: usize) {
        let voter = |index: usize, incarnation| Voter {
            node: gometa_sim::checkers::node_id(index),
            incarnation,
            addresses: addresses(index),
        };
        let own = |index: usize| Incarnation(0xD15C + index as u128);
        self.configured = (0..nodes).map(|index| voter(index, None)).collect();
        let voters = (0..nodes).map(|index| voter(index, Some(own(index)))).collect();
        let genesis = Genesis { ensemble: EnsembleId { id: 0xA11, history: 1 }, voters };
        let founding = Founding { genesis, sealed: true };
        self.oracle = Oracle::new(nodes);
        for index in 0..nodes {
            let disk = Disk::founded(own(index), Settings::quiet(0, nodes).disk, founding.clone());
            self.machines.push(Machine {
                disk,
                node: None,
                role: Role::Looking,
                autopersist: true,
                fault: None,
                dropped: BTreeMap::new(),
                writing: VecDeque::new(),
                hard_written: HardState::default(),
                life: 0,
            });
        }
    }

    /// What the oracle has found, if anything.
    pub(crate) fn verdict(&mut self) -> Result<(), String> {
        self.broken.take().map_or(Ok(()), |violation| Err(violation.to_string()))
    }

    fn judge(&mut self, check: Result<(), Violation>) {
        if let Err(violation) = check {
            self.broken.get_or_insert(violation);
        }
    }

    // ---- The transcript

    pub(crate) fn say(&mut self, topic: Topic, line: String) {
        if !self.hidden.contains(&topic) {
            self.visible.push(line.clone());
        }
        self.transcript.push(line);
    }

    /// What there is to read since the last time.
    pub(crate) fn read(&mut self) -> String {
        core::mem::take(&mut self.visible).join("\n")
    }

    // ---- Processes

    pub(crate) fn is_up(&self, index: usize) -> bool {
        self.machines[index].node.is_some()
    }

    pub(crate) fn start(&mut self, index: usize) -> Result<(), String> {
        if self.is_up(index) {
            return Err(format!("{} runs", letter(index)));
        }
        let (now, voters, session_timeout_ms) = (self.now, self.configured.clone(), self.session_timeout_ms);
        let machine = &mut self.machines[index];
        machine.life += 1;
        machine.fault = None;
        machine.disk.set_failing(false);
        let recovered = machine.disk.recover();
        let recovered =
            recovered.map_err(|refused| format!("{} cannot start: {refused:?}", letter(index)))?;
        machine.hard_written = recovered.hard_state;
        let zab = gometa_zab::Config {
            node: gometa_sim::checkers::node_id(index),
            incarnation: machine.disk.incarnation,
            boot: machine.disk.boots,
            addresses: addresses(index),
            voters,
            seed: (index as u128 + 1) * 1_000 + u128::from(machine.disk.boots),
            timeouts: Timeouts::from_ms(100, 1_000),
            bounds: Bounds::default(),
        };
        let config = gometa_node::Config {
            zab,
            session_timeout_ms,
            deadline_default_ms: DEADLINE_DEFAULT_MS,
            requests_max: 64,
            unstored_bytes_max: usize::MAX,
            version: "scripted".to_owned(),
        };
        self.oracle.starts(index, now);
        let check = self.oracle.hardened(index, &self.machines[index].disk.durable);
        self.judge(check);
        let machine = &mut self.machines[index];
        let (node, effects) = Node::new(config, recovered, machine.disk.table.clone(), now)
            .map_err(|corrupt| format!("{} cannot start: {corrupt}", letter(index)))?;
        machine.node = Some(node);
        self.obey_all(index, effects);
        Ok(())
    }

    /// The process ends. What was not durable is gone, or, with `kept`, found on the disk all the same.
    pub(crate) fn crash(&mut self, index: usize, kept: bool) -> Result<(), String> {
        let machine = &mut self.machines[index];
        if machine.node.take().is_none() {
            return Err(format!("{} is down", letter(index)));
        }
        let lost = machine.disk.crash(self.now.0, End::Killed, &mut fate(kept));
        assert!(
            if kept { lost.writes == 0 } else { lost.kept == 0 },
            "the fate of {} is known",
            letter(index)
        );
        machine.writing.clear();
        machine.role = Role::Looking;
        self.flights.retain(|(_, flight)| match flight {
            Flight::Dial { from, .. } | Flight::Datagram { from, .. } => *from != index,
            Flight::Read { node, .. } => *node != index,
        });
        self.sever(|ends| ends.iter().any(|(end, _)| *end == index));
        for link in 0..self.clients.len() {
            if self.clients[link].node == index {
                self.oracle.unasked(link as u64, None);
                self.asked.retain(|(client, _), _| client.0 != link as u64);
            }
        }
        Ok(())
    }

    /// Breaks connections: what is under way on them is lost, and both ends learn of it when that is delivered.
    pub(crate) fn sever(&mut self, which: impl Fn(&[(usize, LinkId); 2]) -> bool) {
        for connection in &mut self.connections {
            if which(&connection.ends) {
                for sent in &mut connection.sent {
                    sent.clear();
                    self.sequence += 1;
                    sent.push_back((self.sequence, Item::Closed));
                }
            }
        }
    }

    pub(crate) fn unreachable(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from.min(to), from.max(to)))
    }

    // ---- Clients

    /// A client's connection to a node, which is made if it does not stand.
    fn connection(&mut self, client: char, index: usize) -> Result<ClientId, String> {
        if !self.is_up(index) {
            return Err(format!("{} is down", letter(index)));
        }
        let life = self.machines[index].life;
        let stands = |link: &ClientLink| link.client == client && link.node == index && link.life == life;
        let place = self.clients.iter().position(stands).unwrap_or_else(|| {
            self.clients.push(ClientLink { client, node: index, life });
            self.clients.len() - 1
        });
        Ok(ClientId(place as u64))
    }

    /// A client asks; the request arrives at once. `what` is what its answer will be called by.
    pub(crate) fn ask(
        &mut self,
        client: char,
        index: usize,
        request: Request,
        what: String,
    ) -> Result<(), String> {
        let id = self.connection(client, index)?;
        self.oracle.asked(self.now.0, index, id.0, &request);
        self.asked.insert((id, request.id), what);
        self.step(index, vec![Event::Request { client: id, request }]);
        Ok(())
    }

    // ---- Steps and their effects

    pub(crate) fn step(&mut self, index: usize, events: Vec<Event>) {
        let now = self.now;
        let Some(node) = &mut self.machines[index].node else { return };
        let mut effects = node.step(now, events);
        while node.has_more() {
            effects.extend(node.step(now, []));
        }
        self.obey_all(index, effects);
    }

    /// Effects, in order, for as long as the process runs.
    fn obey_all(&mut self, index: usize, effects: Vec<Effect>) {
        for effect in effects {
            if !self.is_up(index) {
                return;
            }
            self.obey(index, effect);
        }
    }

    fn other_end(&self, link: LinkId) -> Option<(usize, usize)> {
        self.connections.iter().enumerate().find_map(|(place, connection)| {
            connection.ends.iter().position(|(_, end)| *end == link).map(|side| (place, side))
        })
    }

    fn obey(&mut self, index: usize, effect: Effect) {
        let me = letter(index);
        match effect {
            Effect::Write { token, write } => self.write(index, token, write),
            Effect::Read { id, from, to, bytes_max } => {
                self.say(Topic::Links, format!("{me} reads {from} to {to}"));
                let machine = &self.machines[index];
                let entries = machine.disk.read(from, to, bytes_max).expect("no record is damaged");
                let life = machine.life;
                self.fly(Flight::Read { node: index, life, id, entries });
            }
            Effect::Datagram { to, vote } => {
                self.say(Topic::Votes, format!("{me} → {} {}", name(to), show::vote(&vote)));
                let check = self.oracle.votes(index, &self.machines[index].disk, &vote);
                self.judge(check);
                let bytes = gometa_codec::vote::encode(&vote);
                self.votes.push((index, bytes.clone()));
                self.fly(Flight::Datagram { from: index, to: place_of(to), bytes });
            }
            Effect::Connect { peer } => self.fly(Flight::Dial { from: index, to: place_of(peer) }),
            Effect::Send { link, message } => {
                let place = self.other_end(link);
                let peer = place.map(|(connection, side)| self.connections[connection].ends[1 - side].0);
                let (topic, text) = show::message(&message);
                let other = peer.map_or_else(|| "nobody".to_owned(), letter);
                self.say(topic, format!("{me} → {other} {text}"));
                let check = self.oracle.sends(index, peer, &self.machines[index].disk, &message);
                self.judge(check);
                let mut bytes = BytesMut::new();
                let encoded = gometa_codec::message::encode(&message, &mut bytes);
                assert!(encoded.is_ok(), "what a node sends can be sent: {message:?}");
                self.post(place, Item::Frame(show::kind(&message), bytes.freeze()));
            }
            Effect::Close { link } => {
                let place = self.other_end(link);
                if let Some((connection, side)) = place {
                    self.connections[connection].open[side] = false;
                    self.connections[connection].sent[1 - side].clear();
                }
                self.post(place, Item::Closed);
            }
            Effect::Respond { client, response } => self.answered(index, client, response),
            Effect::SessionsShort { .. } => {}
            Effect::View(view) => {
                let check = self.oracle.shows(index, &view);
                self.judge(check);
            }
            Effect::Role(role) => {
                let check = self.oracle.plays(index, role, &self.machines[index].disk);
                self.judge(check);
                self.say(Topic::Links, format!("{me} is {role:?}"));
                self.machines[index].role = role;
            }
            Effect::Notice(notice) => {
                let (topic, line) = show::notice(&me, &notice);
                self.say(topic, line);
                let disk = &self.machines[index].disk;
                let check = match notice {
                    Notice::Discovered { epoch, last } => self.oracle.discovered(index, epoch, last, disk),
                    Notice::Established { epoch, last } => self.oracle.established_by(index, epoch, last),
                    _ => Ok(()),
                };
                self.judge(check);
            }
            Effect::Stop(why) => {
                self.say(Topic::Story, format!("{me} stops: {why}"));
                self.crash(index, false).expect("a node that stops runs");
            }
        }
    }

    fn write(&mut self, index: usize, token: Token, write: Write) {
        let me = letter(index);
        let machine = &self.machines[index];
        let (kind, text, check) = match &write {
            Write::Zab(zab) => {
                let (kind, text) = show::write(zab, machine.hard_written);
                (kind, text, self.oracle.issues(index, &machine.disk, zab))
            }
            Write::Apply(batch) => {
                let Checkpoint { applied, hash, .. } = batch.checkpoint;
                let text = format!("what is applied through {applied}");
                ("apply", text, self.oracle.applies(index, &machine.disk, applied, hash))
            }
        };
        self.judge(check);
        match &write {
            Write::Zab(_) => self.say(Topic::Writes, format!("{me} writes {text}")),
            Write::Apply(batch) => {
                self.say(Topic::Story, format!("{me} applies through {}", batch.checkpoint.applied));
            }
        }
        let machine = &mut self.machines[index];
        if let Write::Zab(gometa_zab::Write::HardState(hard)) = &write {
            machine.hard_written = *hard;
        }
        machine.disk.issue(token, write);
        machine.writing.push_back((token, kind, text));
        let fault = machine.fault.clone().filter(|fault| {
            fault.at_write && kind != "apply" && fault.on.as_deref().is_none_or(|on| on == kind)
        });
        if let Some(fault) = fault {
            self.disk_fails(index, fault.kept);
        }
    }

    /// The disk fails in what it is writing, which ends the process (rule 26).
    fn disk_fails(&mut self, index: usize, kept: bool) {
        let writing: Vec<String> =
            self.machines[index].writing.iter().map(|(_, _, text)| text.clone()).collect();
        let line = format!("{}'s disk fails ({}): the process ends", letter(index), writing.join(", "));
        self.say(Topic::Story, line);
        self.crash(index, kept).expect("a process whose disk fails runs");
    }

    /// The disk does all that is queued as one group, and tells the node; or fails.
    pub(crate) fn persist(&mut self, index: usize) {
        let mut random = Random::new(index as u64, Stream::Machine);
        let machine = &mut self.machines[index];
        let sync = machine.writing.iter().any(|(_, kind, _)| *kind != "apply");
        let due = |fault: &Fault| {
            let on = |on: &str| machine.writing.iter().any(|(_, kind, _)| *kind == on);
            !fault.at_write && sync && fault.on.as_deref().is_none_or(on)
        };
        let fault = machine.fault.clone().filter(due);
        machine.disk.set_failing(fault.is_some());
        let Some((_, fails)) = machine.disk.start(&mut random) else { return };
        if fails {
            return self.disk_fails(index, fault.is_some_and(|fault| fault.kept));
        }
        let Some(done) = machine.disk.finish(self.now.0) else { return };
        machine.writing.retain(|(token, _, _)| *token > done.token);
        if done.synced {
            let check = self.oracle.hardened(index, &self.machines[index].disk.durable);
            self.judge(check);
        }
        self.step(index, vec![Event::Zab(gometa_zab::Event::Persisted(done.token))]);
    }

    fn answered(&mut self, index: usize, client: ClientId, response: Response) {
        let disk = &self.machines[index].disk;
        let applied = (disk.durable.log.len() as u64).min(self.oracle.committed());
        let check = self.oracle.answers(index, applied, client.0, &response);
        self.judge(check);
        let asker = self.clients[client.0 as usize].client;
        // Nobody is left to hear it, if the request is not known any more.
        let Some(what) = self.asked.remove(&(client, response.id)) else { return };
        let line = format!("{} answers {asker}, {what}: {}", letter(index), show::answer(&response));
        self.say(Topic::Story, line);
        self.answers.push((asker, response));
    }

    fn fly(&mut self, flight: Flight) {
        self.sequence += 1;
        self.flights.push_back((self.sequence, flight));
    }

    fn post(&mut self, place: Option<(usize, usize)>, item: Item) {
        self.sequence += 1;
        if let Some((connection, side)) = place {
            self.connections[connection].sent[side].push_back((self.sequence, item));
        }
    }

    // ---- Delivery

    fn held(&self, from: usize, to: usize, what: &str) -> bool {
        self.holds.iter().any(|(hold_from, hold_to, hold_kind)| {
            hold_from.is_none_or(|node| node == from)
                && hold_to.is_none_or(|node| node == to)
                && hold_kind.as_deref().is_none_or(|kind| kind == what)
        })
    }

    /// Delivers the oldest thing that may be; whether there was one.
    fn deliver_one(&mut self) -> bool {
        let flight = self.flights.iter().enumerate().find_map(|(place, (sequence, flight))| {
            let may = match flight {
                Flight::Dial { from, to } => !self.held(*from, *to, "Dial"),
                Flight::Datagram { from, to, .. } => !self.held(*from, *to, "Vote"),
                Flight::Read { .. } => true,
            };
            may.then_some((*sequence, place))
        });
        let mut item: Option<(u64, usize, usize)> = None;
        for (place, connection) in self.connections.iter().enumerate() {
            for side in [0, 1] {
                let (from, to) = (connection.ends[side].0, connection.ends[1 - side].0);
                let Some((sequence, head)) = connection.sent[side].front() else { continue };
                let what = match head {
                    Item::Frame(kind, _) => kind,
                    Item::Closed => "Closed",
                };
                let sooner = item.is_none_or(|(first, _, _)| *sequence < first);
                if sooner && !self.held(from, to, what) {
                    item = Some((*sequence, place, side));
                }
            }
        }
        match (flight, item) {
            (Some((sequence, place)), item) if item.is_none_or(|(other, _, _)| sequence < other) => {
                if let Some((_, flight)) = self.flights.remove(place) {
                    self.land(flight);
                }
            }
            (_, Some((_, place, side))) => self.arrive(place, side),
            _ => return false,
        }
        true
    }

    fn land(&mut self, flight: Flight) {
        match flight {
            Flight::Dial { from, to } => {
                let peer = gometa_sim::checkers::node_id(to);
                if !self.is_up(to) || self.unreachable(from, to) {
                    return self.step(from, vec![Event::Zab(gometa_zab::Event::ConnectFailed { peer })]);
                }
                self.next_link += 2;
                let (dialled, accepted) = (LinkId(self.next_link - 1), LinkId(self.next_link));
                self.connections.push(Connection {
                    ends: [(from, dialled), (to, accepted)],
                    sent: [VecDeque::new(), VecDeque::new()],
                    open: [true; 2],
                });
                self.step(from, vec![Event::Zab(gometa_zab::Event::Connected { peer, link: dialled })]);
                self.step(to, vec![Event::Zab(gometa_zab::Event::Accepted { link: accepted })]);
            }
            Flight::Datagram { from, to, bytes } => {
                if !self.unreachable(from, to) {
                    let sound = self.datagram(to, &bytes);
                    assert!(sound || !self.is_up(to), "what a node sends is a vote");
                }
            }
            Flight::Read { node, life, id, entries } => {
                if self.machines[node].life == life {
                    self.step(node, vec![Event::Zab(gometa_zab::Event::LogRead { id, entries })]);
                }
            }
        }
    }

    /// Bytes reach a node's election port: dropped and counted there, unless they are a vote.
    pub(crate) fn datagram(&mut self, index: usize, bytes: &[u8]) -> bool {
        if !self.is_up(index) {
            return false;
        }
        match gometa_codec::vote::decode(bytes) {
            Ok(vote) => {
                self.step(index, vec![Event::Zab(gometa_zab::Event::Datagram(vote))]);
                true
            }
            Err(error) => {
                *self.machines[index].dropped.entry(garbage::reason(&error)).or_default() += 1;
                false
            }
        }
    }

    fn arrive(&mut self, place: usize, side: usize) {
        let connection = &mut self.connections[place];
        let (to, link) = connection.ends[1 - side];
        let Some((_, item)) = connection.sent[side].pop_front() else { return };
        if !connection.open[1 - side] {
            return;
        }
        match item {
            Item::Frame(_, bytes) => {
                // Behind the length.
                let message = gometa_codec::message::decode(bytes.slice(gometa_proto::frame::PREFIX..))
                    .expect("what a node sends is a message");
                self.step(to, vec![Event::Zab(gometa_zab::Event::Message { link, message })]);
            }
            Item::Closed => {
                connection.open[1 - side] = false;
                self.step(to, vec![Event::Zab(gometa_zab::Event::Closed { link })]);
            }
        }
    }

    /// Delivers until nothing is left that may be; in between, disks that work by themselves do.
    pub(crate) fn deliver(&mut self) {
        let mut delivered = 0;
        loop {
            while self.deliver_one() {
                delivered += 1;
                assert!(delivered < 1_000_000, "the nodes do not come to rest");
            }
            self.connections.retain(|connection| {
                connection.open.contains(&true) || connection.sent.iter().any(|sent| !sent.is_empty())
            });
            let busy: Vec<usize> = (0..self.machines.len())
                .filter(|index| {
                    self.machines[*index].autopersist && !self.machines[*index].writing.is_empty()
                })
                .collect();
            if busy.is_empty() {
                return;
            }
            for index in busy {
                self.persist(index);
            }
        }
    }

    /// Moves the clock and lets all nodes look at it.
    pub(crate) fn tick(&mut self, micros: u64) {
        self.now = self.now.plus(micros);
        for index in 0..self.machines.len() {
            self.step(index, vec![Event::Zab(gometa_zab::Event::Tick)]);
        }
    }

    fn rain(&mut self) {
        use garbage::Kind;
        let Some(mut random) = self.shower.take() else { return };
        let kinds = [Kind::Random, Kind::Resized, Kind::Flipped, Kind::Huge, Kind::Nonsense, Kind::Replayed];
        for index in 0..self.machines.len() {
            for kind in kinds {
                for _ in 0..SHOWER {
                    let genuine: Vec<Bytes> = self.votes.iter().map(|(_, bytes)| bytes.clone()).collect();
                    if let Some(bytes) = garbage::make(kind, &mut random, &genuine) {
                        self.datagram(index, &bytes);
                    }
                }
            }
        }
        self.shower = Some(random);
    }

    /// Time passes in small steps, everything is delivered.
    pub(crate) fn run(&mut self, micros: u64) {
        self.deliver();
        for _ in 0..micros / STEP {
            self.tick(STEP);
            self.rain();
            self.deliver();
        }
    }

    /// The established leader, if every running node that it can reach is up to date with it.
    pub(crate) fn settled(&self) -> Option<usize> {
        let (leader, epoch) = (0..self.machines.len()).find_map(|index| match self.machines[index].role {
            Role::Leading { established: Some(epoch) } => Some((index, epoch)),
            _ => None,
        })?;
        let follows =
            Role::Following { leader: gometa_sim::checkers::node_id(leader), established: Some(epoch) };
        let all = (0..self.machines.len())
            .filter(|index| self.is_up(*index) && *index != leader && !self.unreachable(leader, *index))
            .all(|index| self.machines[index].role == follows);
        all.then_some(leader)
    }

    /// Runs until there is a leader whom all others follow.
    pub(crate) fn settle(&mut self) -> Result<usize, String> {
        for _ in 0..1_000 {
            self.run(STEP);
            if let Some(leader) = self.settled() {
                return Ok(leader);
            }
        }
        Err("nobody is established after 10 s".to_owned())
    }
}

/// A node's letter.
pub(crate) fn letter(index: usize) -> String {
    name(gometa_sim::checkers::node_id(index))
}

fn place_of(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("nodes are few")
}

fn addresses(index: usize) -> Addresses {
    Addresses { message: letter(index), ..Addresses::default() }
}
