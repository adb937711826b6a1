//! The commands of scripts for whole nodes, besides those of every script.

use std::{collections::BTreeMap, error::Error, fmt::Write as _, str::FromStr};

use bytes::Bytes;
use gometa_proto::v1::{self, Consistency, Request, WriteContext, request};
use gometa_sim::random::{Random, Stream};
use gometa_store::Store;
use gometa_testkit::{
    script::{Name, Scripted},
    text::{Topic, name, name_or_none, role},
};
use gometa_zab::{HardState, NodeId};

use super::{
    ensemble::{Fault, Nodes, letter, place_of},
    garbage, show,
};

/// A client, by its letter.
#[derive(Clone, Copy)]
pub(crate) struct ClientName(char);

impl FromStr for ClientName {
    type Err = String;

    fn from_str(text: &str) -> Result<ClientName, String> {
        match text.as_bytes() {
            [letter @ b'a'..=b'z'] => Ok(ClientName(char::from(*letter))),
            _ => Err(format!("{text} is no client: clients are x, y, z")),
        }
    }
}

/// Nodes are A, B, C; clients x, y, z. Where no node is named, all are meant.
#[derive(goldenscript::Command)]
pub(crate) enum Command {
    /// The voters of an ensemble that is formed already; the timeout of sessions in milliseconds.
    Ensemble {
        names: Vec<Name>,
        #[arg(key)]
        sessions: Option<u32>,
    },
    /// Kills a node; what it had not made durable is lost, unless `kept`.
    Crash {
        name: Name,
        #[arg(key, optional)]
        kept: bool,
    },
    /// A node's disk fails from now on, until its next start: in the sync, or, with `at=write`, in the write; only
    /// `on` append, cut (a truncation), promise or epoch. With `kept`, what it could not sync is found later.
    Fail {
        name: Name,
        #[arg(key)]
        at: Option<String>,
        #[arg(key)]
        on: Option<String>,
        #[arg(key, optional)]
        kept: bool,
    },
    /// Lets a disk do what is queued.
    Persist(Name),
    /// A client opens its session at a node.
    Open(ClientName, Name),
    /// A client asks a node to set a key. Its writes are numbered from 1; it awaits the answer of `lowest` (of this
    /// write, without it) and all later ones. The deadline is in milliseconds.
    Set {
        client: ClientName,
        node: Name,
        key: String,
        value: String,
        #[arg(key)]
        deadline: Option<u32>,
        #[arg(key)]
        lowest: Option<u64>,
    },
    /// The same, if the key is at this revision; 0 is a key that is not there.
    Cas {
        client: ClientName,
        node: Name,
        key: String,
        revision: u64,
        value: String,
        #[arg(key)]
        deadline: Option<u32>,
        #[arg(key)]
        lowest: Option<u64>,
    },
    /// A client asks for its last write again, or for the one with this number, at any node.
    Retry {
        client: ClientName,
        node: Name,
        #[arg(key)]
        seq: Option<u64>,
        #[arg(key)]
        deadline: Option<u32>,
    },
    /// A client reads; linearizably, unless `local`.
    Get {
        client: ClientName,
        node: Name,
        key: String,
        #[arg(key, optional)]
        local: bool,
    },
    /// Datagrams of this kind, made from this seed, reach a node; from genuine votes of one node, if it is named.
    Garbage {
        to: Name,
        kind: String,
        #[arg(key)]
        count: usize,
        #[arg(key)]
        seed: u64,
        #[arg(key)]
        from: Option<Name>,
    },
    /// From now on garbage of every kind but made-up rounds falls on every node, every 10 ms; without a seed no more.
    Noise(#[arg(optional)] Vec<u64>),
    /// What nodes have dropped at their election ports.
    Dropped(#[arg(optional)] Vec<Name>),
    /// What nodes have in their tables, and how many log entries had no effect because their write had happened.
    Tables(#[arg(optional)] Vec<Name>),
}

/// One client.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) session: u64,
    next_seq: u64,
    /// Its writes by number.
    writes: BTreeMap<u64, (WriteContext, request::Operation)>,
}

impl Nodes {
    fn ask(
        &mut self,
        client: char,
        node: usize,
        operation: request::Operation,
        write: Option<WriteContext>,
        deadline_ms: u32,
        what: String,
    ) -> Result<(), String> {
        self.next_request += 1;
        self.record(Topic::Story, format!("{client} asks {}: {what}", letter(node)));
        let request = Request {
            id: self.next_request,
            deadline_ms,
            write,
            operation: Some(operation),
            ..Request::default()
        };
        self.request(client, node, request, what)
    }

    fn numbered(
        &mut self,
        client: char,
        node: usize,
        key: &str,
        operation: request::Operation,
        (deadline, lowest): (Option<u32>, Option<u64>),
    ) -> Result<(), String> {
        if !self.keys.iter().any(|known| known == key) {
            self.keys.push(key.to_owned());
        }
        let known = self.clients.entry(client).or_default();
        known.next_seq += 1;
        let seq = known.next_seq;
        let context = WriteContext { session: known.session, seq, lowest: lowest.unwrap_or(seq) };
        known.writes.insert(seq, (context, operation));
        self.send_write(client, node, seq, deadline)
    }

    fn send_write(
        &mut self,
        client: char,
        node: usize,
        seq: u64,
        deadline: Option<u32>,
    ) -> Result<(), String> {
        let known = self.clients.get(&client).and_then(|known| known.writes.get(&seq));
        let (context, operation) = known.cloned().ok_or_else(|| format!("{client} has no write {seq}"))?;
        let what = show::written(context, &operation);
        self.ask(client, node, operation, Some(context), deadline.unwrap_or(0), what)
    }

    fn table(&self, index: usize) -> String {
        let machine = &self.machines[index];
        let store = Store::open(machine.disk.table.clone()).expect("a table is sound");
        let mut line = format!("{} at {}:", letter(index), store.applied());
        for key in &self.keys {
            match store.get(key.as_bytes()).in_memory() {
                Some(entry) => {
                    let _ = write!(line, " {};", show::entry_found(&entry));
                }
                None => {
                    let _ = write!(line, " no {key};");
                }
            }
        }
        let sessions: Vec<String> = store.session_timeouts().map(|(id, _)| id.to_string()).collect();
        let sessions = if sessions.is_empty() { "none".to_owned() } else { sessions.join(", ") };
        let _ = write!(line, " sessions: {sessions}");
        line
    }

    fn garbage(
        &mut self,
        to: usize,
        kind: &str,
        count: usize,
        seed: u64,
        from: Option<usize>,
    ) -> Result<(), String> {
        let made = garbage::Kind::parse(kind)?;
        let votes = self.votes.iter().filter(|(sender, _)| from.is_none_or(|node| node == *sender));
        let genuine: Vec<Bytes> = votes.map(|(_, bytes)| bytes.clone()).collect();
        let mut random = Random::new(seed, Stream::Network);
        let mut passed = 0;
        for _ in 0..count {
            let bytes = garbage::make(made, &mut random, &genuine).ok_or("no vote was sent yet")?;
            passed += usize::from(self.datagram(to, &bytes));
        }
        let me = letter(to);
        let line =
            format!("{me} receives {count} datagrams ({kind}): drops {}, reads {passed}", count - passed);
        self.report(vec![line]);
        Ok(())
    }
}

impl Scripted for Nodes {
    type Command = Command;

    fn start(&mut self, id: NodeId) -> Result<(), String> {
        Nodes::start(self, place_of(id))
    }

    fn check(&mut self) -> Result<(), String> {
        self.verdict()
    }

    fn status(&self, id: NodeId) -> String {
        let machine = &self.machines[place_of(id)];
        let me = name(id);
        if machine.node.is_none() {
            return format!("{me}: down");
        }
        let HardState { accepted_epoch, accepted_leader, current_epoch } = machine.disk.durable.hard_state;
        format!(
            "{me}: {}; promised {accepted_epoch} to {}, current epoch {current_epoch}, durable {}, applied {}",
            role(Some(machine.role)),
            name_or_none(accepted_leader),
            machine.disk.durable.last(),
            machine.disk.applied()
        )
    }

    /// Of a node that is down, what its next start will find.
    fn log(&self, id: NodeId) -> String {
        let machine = &self.machines[place_of(id)];
        let found = if machine.node.is_some() { None } else { machine.disk.found() };
        let log = found.as_ref().map_or(&machine.disk.durable.log, |found| &found.log);
        let entries: Vec<String> = log.iter().map(|entry| self.names.entry(entry)).collect();
        let entries = if entries.is_empty() { "nothing".to_owned() } else { entries.join(", ") };
        format!("{}: {entries}", name(id))
    }

    fn perform(&mut self, command: Command) -> Result<(), Box<dyn Error>> {
        match command {
            Command::Ensemble { names, sessions } => {
                if names.iter().enumerate().any(|(index, name)| name.index() != index) {
                    return Err("nodes are A, B, C and so on".into());
                }
                if let Some(sessions) = sessions {
                    self.session_timeout_ms = sessions;
                }
                self.found(names.len());
            }
            Command::Crash { name, kept } => self.crash(name.index(), kept)?,
            Command::Fail { name, at, on, kept } => {
                let at_write = match at.as_deref() {
                    None | Some("sync") => false,
                    Some("write") => true,
                    Some(other) => return Err(format!("no disk fails at {other}").into()),
                };
                let known = ["append", "cut", "promise", "epoch"];
                if let Some(on) = on.as_deref().filter(|on| !known.contains(on)) {
                    return Err(format!("no write is called {on}").into());
                }
                let fault = Fault { on, at_write, kept };
                self.machines[name.index()].fault = Some(fault);
            }
            Command::Persist(name) => self.persist(name.index()),
            Command::Open(client, node) => {
                let nonce = Bytes::from(vec![client.0 as u8; 16]);
                let operation = request::Operation::OpenSession(v1::OpenSession { nonce });
                self.ask(client.0, node.index(), operation, None, 0, "open a session".to_owned())?;
            }
            Command::Set { client, node, key, value, deadline, lowest } => {
                let set = v1::Set { key: key.clone().into(), value: value.into() };
                self.numbered(
                    client.0,
                    node.index(),
                    &key,
                    request::Operation::Set(set),
                    (deadline, lowest),
                )?;
            }
            Command::Cas { client, node, key, revision, value, deadline, lowest } => {
                let cas = v1::Cas { key: key.clone().into(), revision, value: value.into() };
                self.numbered(
                    client.0,
                    node.index(),
                    &key,
                    request::Operation::Cas(cas),
                    (deadline, lowest),
                )?;
            }
            Command::Retry { client, node, seq, deadline } => {
                let last = self.clients.get(&client.0).map_or(0, |known| known.next_seq);
                self.send_write(client.0, node.index(), seq.unwrap_or(last), deadline)?;
            }
            Command::Get { client, node, key, local } => {
                let consistency = if local { Consistency::Local } else { Consistency::Linearizable };
                let get =
                    v1::Get { key: key.clone().into(), consistency: consistency.into(), min_revision: 0 };
                let how = if local { "locally" } else { "linearizably" };
                let what = format!("get {key} {how}");
                self.ask(client.0, node.index(), request::Operation::Get(get), None, 0, what)?;
            }
            Command::Garbage { to, kind, count, seed, from } => {
                self.garbage(to.index(), &kind, count, seed, from.map(Name::index))?;
            }
            Command::Noise(seed) => {
                self.noise = seed.first().map(|seed| Random::new(*seed, Stream::Network));
            }
            Command::Dropped(names) => {
                let line = |id: NodeId| {
                    let dropped = &self.machines[place_of(id)].dropped;
                    let counts: Vec<String> =
                        dropped.iter().map(|(why, count)| format!("{why} {count}")).collect();
                    let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
                    format!("{} has dropped: {counts}", name(id))
                };
                let lines = self.all(&names).into_iter().map(line).collect();
                self.report(lines);
            }
            Command::Tables(names) => {
                let mut lines: Vec<String> =
                    self.all(&names).into_iter().map(|id| self.table(place_of(id))).collect();
                lines.push(format!("repetitions without effect: {}", self.oracle.suppressed()));
                self.report(lines);
            }
        }
        Ok(())
    }
}
