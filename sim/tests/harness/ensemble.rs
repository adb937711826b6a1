//! Whole nodes driven by a script, with the simulator's disk: every frame and datagram is encoded and decoded, and waits
//! until it is delivered, every write until the disk has completed it.
//!
//! The simulator's oracle checks every step; a violated invariant ends the script.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use gometa_node::{ClientId, Effect, Event, Node};
use gometa_proto::v1::{Request, Response};
use gometa_sim::{
    Settings, Violation,
    checkers::{Oracle, node_id},
    disk::{Disk, TableView},
    random::{Random, Stream},
};
use gometa_store::{Batch, Checkpoint};
use gometa_testkit::{
    ensemble::{Ensemble, Environment},
    text::{self, Names, Topic, name, name_or_none},
};
use gometa_zab::{
    Addresses, Bounds, EnsembleId, Event as Zab, Founding, Genesis, HardState, Incarnation, NodeId, Notice,
    Role, Timeouts, Token, Voter, Write,
};

use super::{commands::Client, garbage, show};

/// The deadline of a request that has none, in milliseconds.
const DEADLINE_DEFAULT_MS: u32 = 5_000;
/// The number of invalid datagrams of each kind for every node in every step of the clock.
const NOISE_COUNT: usize = 3;

/// A planned failure of a disk, at this kind of write; `None` for any.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) on: Option<String>,
    /// The write itself fails, before the node does anything else; otherwise its sync does.
    pub(crate) at_write: bool,
    /// Whether the failed write is on the disk nevertheless.
    pub(crate) kept: bool,
}

/// One machine.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    /// `None` while the process is down.
    pub(crate) node: Option<Node<TableView>>,
    /// The last reported role.
    pub(crate) role: Role,
    pub(crate) fault: Option<Fault>,
    /// Datagrams dropped, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// The last batch for the table, until it is reported: batches are durable at once.
    stored: Option<u64>,
    /// The kinds and descriptions of writes in flight.
    pub(crate) writing: VecDeque<(Token, &'static str, String)>,
    /// The last hard state written.
    hard_written: HardState,
    life: u64,
}

/// The connection of a client to one start of a node.
struct ClientLink {
    client: char,
    node: usize,
    life: u64,
}

/// The ensemble of a script. Nodes are numbered from 0 here.
pub(crate) struct Nodes {
    environment: Environment,
    pub(crate) machines: Vec<Machine>,
    pub(crate) session_timeout_ms: u32,
    pub(crate) names: Names,
    /// Every vote that was sent, with its sender.
    pub(crate) votes: Vec<(usize, Bytes)>,
    /// Invalid datagrams for every node in every step of the clock.
    pub(crate) noise: Option<Random>,
    pub(crate) clients: BTreeMap<char, Client>,
    pub(crate) keys: Vec<String>,
    pub(crate) next_request: u64,
    pub(crate) oracle: Oracle,
    configured: Vec<Voter>,
    client_links: Vec<ClientLink>,
    /// The write that a request asks for, to name it in its answer.
    asked: BTreeMap<(ClientId, u64), String>,
    broken: Option<Violation>,
}

impl Default for Nodes {
    fn default() -> Nodes {
        use Topic::{Heartbeats, Joining, Links, Votes, Writes};
        Nodes {
            environment: Environment::new(&[Votes, Heartbeats, Links, Writes, Joining]),
            machines: Vec::new(),
            session_timeout_ms: 10_000,
            names: Names::new(show::command, show::relayed),
            votes: Vec::new(),
            noise: None,
            clients: BTreeMap::new(),
            keys: Vec::new(),
            next_request: 0,
            oracle: Oracle::new(0, 0),
            configured: Vec::new(),
            client_links: Vec::new(),
            asked: BTreeMap::new(),
            broken: None,
        }
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
        (0..self.machines.len()).map(node_id).collect()
    }

    fn role(&self, id: NodeId) -> Option<Role> {
        let machine = &self.machines[place_of(id)];
        machine.node.as_ref().map(|_| machine.role)
    }

    fn take(&mut self, id: NodeId, event: Zab) {
        self.step(place_of(id), Event::Zab(event));
    }

    fn has_work(&self, id: NodeId) -> bool {
        let machine = &self.machines[place_of(id)];
        !machine.writing.is_empty() || machine.stored.is_some()
    }

    fn work(&mut self, id: NodeId) {
        self.persist(place_of(id));
    }

    fn after_tick(&mut self) {
        self.send_noise();
    }
}

impl Nodes {
    /// Adds this many voters of one ensemble, formed already.
    pub(crate) fn found(&mut self, nodes: usize) {
        let voter = |index: usize, incarnation| Voter {
            node: node_id(index),
            incarnation,
            addresses: addresses(index),
        };
        let own = |index: usize| Incarnation(0xD15C + index as u128);
        self.configured = (0..nodes).map(|index| voter(index, None)).collect();
        let voters = (0..nodes).map(|index| voter(index, Some(own(index)))).collect();
        let genesis = Genesis {
            ensemble: EnsembleId { id: 0xA11, history: 1 },
            voters,
            level: gometa_zab::FIRST_LEVEL,
        };
        let founding = Founding { genesis, sealed: true };
        self.oracle = Oracle::new(nodes, nodes);
        for index in 0..nodes {
            let disk = Disk::founded(own(index), Settings::quiet(0, nodes).disk, founding.clone());
            self.machines.push(Machine {
                disk,
                node: None,
                role: Role::Looking,
                fault: None,
                dropped: BTreeMap::new(),
                stored: None,
                writing: VecDeque::new(),
                hard_written: HardState::default(),
                life: 0,
            });
        }
    }

    /// The violation that the oracle has found, if any.
    pub(crate) fn verdict(&mut self) -> Result<(), String> {
        self.broken.take().map_or(Ok(()), |violation| Err(violation.to_string()))
    }

    fn note(&mut self, check: Result<(), Violation>) {
        if let Err(violation) = check {
            self.broken.get_or_insert(violation);
        }
    }

    pub(crate) fn record(&mut self, topic: Topic, line: String) {
        self.environment.record(topic, line);
    }

    // ---- Processes

    pub(crate) fn is_up(&self, index: usize) -> bool {
        self.machines[index].node.is_some()
    }

    pub(crate) fn start(&mut self, index: usize) -> Result<(), String> {
        if self.is_up(index) {
            return Err(format!("{} runs", letter(index)));
        }
        let (now, voters, session_timeout_ms) =
            (self.environment.now, self.configured.clone(), self.session_timeout_ms);
        let machine = &mut self.machines[index];
        machine.life += 1;
        machine.fault = None;
        machine.disk.set_failing(false);
        let recovered = machine.disk.recover();
        let recovered =
            recovered.map_err(|refused| format!("{} cannot start: {refused:?}", letter(index)))?;
        machine.hard_written = recovered.hard_state;
        let zab = gometa_zab::Config {
            node: node_id(index),
            incarnation: machine.disk.incarnation,
            boot: machine.disk.boots,
            addresses: addresses(index),
            voters,
            seed: (index as u128 + 1) * 1_000 + u128::from(machine.disk.boots),
            timeouts: Timeouts::from_ms(100, 1_000),
            bounds: Bounds::default(),
            levels: gometa_zab::Levels::SUPPORTED,
            never_founds: false,
            founds_with_quorum: false,
        };
        let config = gometa_node::Config {
            zab,
            session_timeout_ms,
            deadline_default_ms: DEADLINE_DEFAULT_MS,
            requests_max: 64,
            unstored_bytes_max: usize::MAX,
            log_kept: u64::MAX,
            log_held_max: 0,
            state_hash_interval: gometa_node::STATE_HASH_INTERVAL,
            history: gometa_node::HistoryBounds::DEFAULT,
            version: "scripted".to_owned(),
        };
        self.oracle.starts(index, now);
        let check = self.oracle.hardened(index, &self.machines[index].disk.durable);
        self.note(check);
        let machine = &mut self.machines[index];
        let (node, effects) = Node::new(config, recovered, machine.disk.table.clone(), now)
            .map_err(|corrupt| format!("{} cannot start: {corrupt}", letter(index)))?;
        machine.node = Some(node);
        self.carry_out_all(index, effects);
        Ok(())
    }

    /// Ends the process. Writes that are not durable are lost, or kept with `kept`.
    pub(crate) fn crash(&mut self, index: usize, kept: bool) -> Result<(), String> {
        let machine = &mut self.machines[index];
        if machine.node.take().is_none() {
            return Err(format!("{} is down", letter(index)));
        }
        let kept = if kept { machine.disk.losable() } else { 0 };
        machine.disk.crash_keeping(kept);
        machine.writing.clear();
        machine.stored = None;
        machine.role = Role::Looking;
        self.environment.network.remove(node_id(index));
        for link in 0..self.client_links.len() {
            if self.client_links[link].node == index {
                self.oracle.unasked(link as u64, None);
                self.asked.retain(|(client, _), _| client.0 != link as u64);
            }
        }
        Ok(())
    }

    // ---- Clients

    /// The connection of a client to a node, opened if necessary.
    fn connection(&mut self, client: char, index: usize) -> Result<ClientId, String> {
        if !self.is_up(index) {
            return Err(format!("{} is down", letter(index)));
        }
        let life = self.machines[index].life;
        let stands = |link: &ClientLink| link.client == client && link.node == index && link.life == life;
        let place = self.client_links.iter().position(stands).unwrap_or_else(|| {
            self.client_links.push(ClientLink { client, node: index, life });
            self.client_links.len() - 1
        });
        Ok(ClientId(place as u64))
    }

    /// Sends a client's request, which arrives at once; `what` names it in the line of its answer.
    pub(crate) fn request(
        &mut self,
        client: char,
        index: usize,
        request: Request,
        what: String,
    ) -> Result<(), String> {
        let id = self.connection(client, index)?;
        self.oracle.asked(self.environment.now.0, index, id.0, &request);
        self.asked.insert((id, request.id), what);
        self.step(index, Event::Request { client: id, request });
        Ok(())
    }

    // ---- Steps and their effects

    fn step(&mut self, index: usize, event: Event) {
        let now = self.environment.now;
        let Some(node) = &mut self.machines[index].node else { return };
        let mut effects = node.step(now, [event]);
        while node.has_more() {
            effects.extend(node.step(now, []));
        }
        self.carry_out_all(index, effects);
    }

    /// Effects, in order, for as long as the process runs.
    fn carry_out_all(&mut self, index: usize, effects: Vec<Effect>) {
        for effect in effects {
            if !self.is_up(index) {
                return;
            }
            self.carry_out(index, effect);
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        let me = letter(index);
        match effect {
            Effect::Write { token, write, released } => self.write(index, token, write, released),
            Effect::Store { number, batch } => self.store(index, number, batch),
            Effect::Fetch { .. } => panic!("every record is in memory"),
            Effect::Query { .. } => panic!("no script has queries"),
            Effect::Backup { .. } => panic!("no script makes backups"),
            Effect::Read { id, from, to, bytes_max } => {
                self.record(Topic::Links, format!("{me} reads {from} to {to}"));
                let machine = &self.machines[index];
                let entries = machine.disk.read(from, to, bytes_max).expect("no record is damaged");
                self.environment.network.read(node_id(index), id, entries);
            }
            Effect::Datagram { to, vote } => {
                self.record(Topic::Votes, format!("{me} → {} {}", name(to), text::vote(&vote)));
                let check = self.oracle.votes(index, &self.machines[index].disk, &vote);
                self.note(check);
                let bytes = gometa_codec::vote::encode(&vote);
                let decoded = gometa_codec::vote::decode(&bytes).expect("what a node sends is a vote");
                self.votes.push((index, bytes));
                self.environment.network.datagram(node_id(index), to, decoded);
            }
            Effect::Connect { peer } => self.environment.network.dial(node_id(index), peer),
            Effect::Send { link, message } => {
                let peer = self.environment.network.peer(link);
                let (topic, text) = self.names.message(&message);
                self.record(topic, format!("{me} → {} {text}", name_or_none(peer)));
                let peer = peer.map(place_of);
                let check = self.oracle.sends(index, peer, &self.machines[index].disk, &message);
                self.note(check);
                let mut bytes = BytesMut::new();
                let encoded = gometa_codec::message::encode(&message, &mut bytes);
                assert!(encoded.is_ok(), "what a node sends can be sent: {message:?}");
                // Without the length.
                let bytes = bytes.freeze().slice(gometa_proto::frame::PREFIX..);
                let decoded = gometa_codec::message::decode(bytes).expect("what a node sends is a message");
                self.environment.network.send(link, decoded);
            }
            Effect::Close { link } => self.environment.network.close(link),
            Effect::Respond { client, response } => self.answered(index, client, response),
            Effect::SendSnapshot { .. } | Effect::DiscardSnapshot => unreachable!("no log is compacted"),
            Effect::SessionsShort { .. } => {}
            Effect::View(view) => {
                let check = self.oracle.shows(index, &view);
                self.note(check);
            }
            Effect::Role(role) => {
                let check = self.oracle.plays(index, role, &self.machines[index].disk);
                self.note(check);
                self.record(Topic::Links, format!("{me} is {role:?}"));
                self.machines[index].role = role;
            }
            Effect::Notice(notice) => {
                let (topic, line) = self.names.notice(&me, &notice);
                self.record(topic, line);
                let disk = &self.machines[index].disk;
                let check = match notice {
                    Notice::Discovered { epoch, last } => self.oracle.discovered(index, epoch, last, disk),
                    Notice::Established { epoch, last } => self.oracle.established_by(index, epoch, last),
                    _ => Ok(()),
                };
                self.note(check);
            }
            Effect::Quarantine(fault) => {
                self.record(Topic::Story, format!("{me} goes into quarantine: {fault:?}"));
                self.crash(index, false).expect("a node that stops runs");
            }
            Effect::Stop(why) => {
                self.record(Topic::Story, format!("{me} stops: {why}"));
                self.crash(index, false).expect("a node that stops runs");
            }
        }
    }

    fn write(&mut self, index: usize, token: Token, write: Write, released: u64) {
        let me = letter(index);
        let machine = &self.machines[index];
        let (kind, text) = self.names.write(&write, machine.hard_written);
        let check = self.oracle.issues(index, &machine.disk, &write);
        self.note(check);
        self.record(Topic::Writes, format!("{me} writes {text}"));
        let machine = &mut self.machines[index];
        if let Write::HardState(hard) = &write {
            machine.hard_written = *hard;
        }
        machine.disk.issue(token, write, released);
        machine.writing.push_back((token, kind, text));
        let fault = machine
            .fault
            .clone()
            .filter(|fault| fault.at_write && fault.on.as_deref().is_none_or(|on| on == kind));
        if let Some(fault) = fault {
            self.disk_fails(index, fault.kept);
        }
    }

    fn store(&mut self, index: usize, number: u64, batch: Batch) {
        let Checkpoint { applied, hash, .. } = batch.checkpoint;
        let check = self.oracle.applies(index, &self.machines[index].disk, applied, hash);
        self.note(check);
        self.record(Topic::Story, format!("{} stores through {applied}", letter(index)));
        let machine = &mut self.machines[index];
        machine.disk.store_at_once(&batch);
        machine.stored = Some(number);
    }

    /// The disk fails in what it is writing, which ends the process (rule 26).
    fn disk_fails(&mut self, index: usize, kept: bool) {
        let writing: Vec<String> =
            self.machines[index].writing.iter().map(|(_, _, text)| text.clone()).collect();
        let line = format!("{}'s disk fails ({}): the process ends", letter(index), writing.join(", "));
        self.record(Topic::Story, line);
        self.crash(index, kept).expect("a process whose disk fails runs");
    }

    /// The disk writes everything queued as one group and reports it, or fails.
    pub(crate) fn persist(&mut self, index: usize) {
        let mut random = Random::new(index as u64, Stream::Machine);
        let machine = &mut self.machines[index];
        let due = |fault: &Fault| {
            let on = |on: &str| machine.writing.iter().any(|(_, kind, _)| *kind == on);
            !fault.at_write && fault.on.as_deref().is_none_or(on)
        };
        let fault = machine.fault.clone().filter(due);
        machine.disk.set_failing(fault.is_some());
        if let Some((_, fails)) = machine.disk.start(&mut random) {
            if fails {
                return self.disk_fails(index, fault.is_some_and(|fault| fault.kept));
            }
            if let Some(done) =
                machine.disk.finish(self.environment.now.0).expect("the log accepts what a node writes")
            {
                machine.writing.retain(|(token, _, _)| *token > done.token);
                let check = self.oracle.hardened(index, &self.machines[index].disk.durable);
                self.note(check);
                self.step(index, Event::Zab(Zab::Persisted(done.token)));
            }
        }
        if let Some(number) = self.machines[index].stored.take() {
            self.step(index, Event::Stored { number });
        }
    }

    fn answered(&mut self, index: usize, client: ClientId, response: Response) {
        let disk = &self.machines[index].disk;
        let applied = (disk.durable.log.len() as u64).min(self.oracle.committed());
        let check = self.oracle.answers(index, applied, client.0, &response);
        self.note(check);
        let asker = self.client_links[client.0 as usize].client;
        // The client is closed if the request is unknown.
        let Some(what) = self.asked.remove(&(client, response.id)) else { return };
        let line = format!("{} answers {asker}, {what}: {}", letter(index), show::answer(&response));
        self.record(Topic::Story, line);
        if let Some(gometa_proto::v1::response::Result::SessionOpened(opened)) = response.result {
            self.clients.entry(asker).or_default().session = opened.session;
        }
    }

    /// Delivers bytes to a node's election port: dropped and counted there, unless they are a vote.
    pub(crate) fn datagram(&mut self, index: usize, bytes: &[u8]) -> bool {
        if !self.is_up(index) {
            return false;
        }
        match gometa_codec::vote::decode(bytes) {
            Ok(vote) => {
                self.step(index, Event::Zab(Zab::Datagram(vote)));
                true
            }
            Err(error) => {
                *self.machines[index].dropped.entry(garbage::reason(&error)).or_default() += 1;
                false
            }
        }
    }

    fn send_noise(&mut self) {
        use garbage::Kind;
        let Some(mut random) = self.noise.take() else { return };
        let kinds = [Kind::Random, Kind::Resized, Kind::Flipped, Kind::Huge, Kind::Nonsense, Kind::Replayed];
        for index in 0..self.machines.len() {
            for kind in kinds {
                for _ in 0..NOISE_COUNT {
                    let genuine: Vec<Bytes> = self.votes.iter().map(|(_, bytes)| bytes.clone()).collect();
                    if let Some(bytes) = garbage::make(kind, &mut random, &genuine) {
                        self.datagram(index, &bytes);
                    }
                }
            }
        }
        self.noise = Some(random);
    }
}

/// A node's letter.
pub(crate) fn letter(index: usize) -> String {
    name(node_id(index))
}

pub(crate) fn place_of(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("nodes are few")
}

fn addresses(index: usize) -> Addresses {
    Addresses { message: letter(index), ..Addresses::default() }
}
