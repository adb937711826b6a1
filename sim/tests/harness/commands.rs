//! The words that a script is written in.

use std::{collections::BTreeMap, error::Error, fmt::Write as _, str::FromStr};

use bytes::Bytes;
use gometa_proto::v1::{self, Consistency, Request, WriteContext, request, response};
use gometa_sim::random::{Random, Stream};
use gometa_store::Store;
use gometa_zab::{HardState, Role};

use super::{
    ensemble::{Ensemble, Fault, STEP, letter},
    garbage,
    show::{self, Topic},
};

/// A node, by its letter; its place among the voters.
#[derive(Clone, Copy)]
pub(crate) struct Name(usize);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        match text.as_bytes() {
            [letter @ b'A'..=b'Z'] => Ok(Name(usize::from(letter - b'A'))),
            _ => Err(format!("{text} is no node: nodes are A, B, C")),
        }
    }
}

/// A client, by its letter.
#[derive(Clone, Copy)]
pub(crate) struct Who(char);

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Who, String> {
        match text.as_bytes() {
            [letter @ b'a'..=b'z'] => Ok(Who(char::from(*letter))),
            _ => Err(format!("{text} is no client: clients are x, y, z")),
        }
    }
}

/// What a script can say. Nodes are A, B, C; clients x, y, z. Where no node is named, all are meant.
#[derive(goldenscript::Command)]
pub(crate) enum Command {
    /// The voters of an ensemble that is formed already; the time-out of sessions in milliseconds.
    Ensemble {
        names: Vec<Name>,
        #[arg(key)]
        sessions: Option<u32>,
    },
    /// Starts nodes.
    Start(#[arg(optional)] Vec<Name>),
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
    /// Nodes cannot reach each other any more, and their connections end.
    Disconnect(Name, Name),
    /// Nodes can reach each other again.
    Reconnect(Name, Name),
    /// Delivers everything that is under way.
    Deliver,
    /// Keeps messages of this kind (all, without a kind) from being delivered, and what comes behind them.
    Hold {
        from: Option<Name>,
        #[arg(key)]
        to: Option<Name>,
        #[arg(key)]
        kind: Option<String>,
    },
    /// Takes back every `hold`.
    Release,
    /// Lets a disk do what is queued.
    Persist(Name),
    /// From now on disks work by themselves, as soon as everything is delivered. So they do at first.
    Autopersist(#[arg(optional)] Vec<Name>),
    /// From now on a disk works only by `persist`.
    Manual(#[arg(optional)] Vec<Name>),
    /// Lets time pass (milliseconds) while everything is delivered.
    Run(u64),
    /// Runs until there is an established leader whom everyone else follows.
    Settle,
    /// The same, and the leader must be this one.
    Elect(Name),
    /// A client opens its session at a node.
    Open(Who, Name),
    /// A client asks a node to set a key. Its writes are numbered from 1; it awaits the answer of `lowest` (of this
    /// write, without it) and all later ones. The deadline is in milliseconds.
    Set {
        client: Who,
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
        client: Who,
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
        client: Who,
        node: Name,
        #[arg(key)]
        seq: Option<u64>,
        #[arg(key)]
        deadline: Option<u32>,
    },
    /// A client reads; linearizably, unless `local`.
    Get {
        client: Who,
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
    Shower(#[arg(optional)] Vec<u64>),
    /// What nodes have dropped at their election ports.
    Dropped(#[arg(optional)] Vec<Name>),
    /// Shows lines about this: votes, heartbeats, links, writes, joining, broadcast.
    Show(Vec<String>),
    /// Hides them.
    Hide(Vec<String>),
    /// What nodes do, have promised, hold, and have applied.
    Status(#[arg(optional)] Vec<Name>),
    /// What is durable in a node's log; of a node that is down, what its next start will find.
    Log(#[arg(optional)] Vec<Name>),
    /// What nodes have in their tables, and how many log entries had no effect because their write had happened.
    Tables(#[arg(optional)] Vec<Name>),
    /// What was said before this is forgotten by `expect` and `never`; so is the preparation of a script.
    Now,
    /// These lines were said, in this order, since the last `expect`; hidden ones count. Written by hand from
    /// the protocol's rules: regenerating a script does not touch them.
    Expect(Vec<String>),
    /// No line since the last `expect` has this in it.
    Never(Vec<String>),
}

/// One client.
#[derive(Default)]
struct Client {
    session: u64,
    next_seq: u64,
    /// Its writes by number.
    writes: BTreeMap<u64, (WriteContext, request::Operation)>,
}

/// Plays one script.
pub(crate) struct Stage {
    ensemble: Ensemble,
    clients: BTreeMap<char, Client>,
    keys: Vec<String>,
    next_request: u64,
    mark: usize,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage {
            ensemble: Ensemble::new(),
            clients: BTreeMap::new(),
            keys: Vec::new(),
            next_request: 0,
            mark: 0,
        }
    }

    /// Everything that was said, hidden or not.
    pub(crate) fn transcript(&self) -> &[String] {
        &self.ensemble.transcript
    }

    fn all(&self, names: &[Name]) -> Vec<usize> {
        match names {
            [] => (0..self.ensemble.machines.len()).collect(),
            names => names.iter().map(|name| name.0).collect(),
        }
    }

    /// A report of the stage itself: `expect` finds it like anything that was said.
    fn report(&mut self, lines: Vec<String>) {
        for line in lines {
            self.ensemble.say(Topic::Story, line);
        }
    }

    fn expect(&mut self, lines: &[String]) -> Result<(), Box<dyn Error>> {
        for line in lines {
            let found = self.ensemble.transcript[self.mark..].iter().position(|said| said == line);
            match found {
                Some(place) => self.mark += place + 1,
                None => {
                    let said = self.ensemble.transcript[self.mark..].join("\n  ");
                    return Err(format!("nobody said `{line}`; what was said:\n  {said}").into());
                }
            }
        }
        Ok(())
    }

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
        self.ensemble.say(Topic::Story, format!("{client} asks {}: {what}", letter(node)));
        let request = Request { id: self.next_request, deadline_ms, write, operation: Some(operation) };
        self.ensemble.ask(client, node, request, what)
    }

    fn write(
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

    /// Clients read their answers.
    fn look_at_answers(&mut self) {
        for (client, response) in core::mem::take(&mut self.ensemble.answers) {
            if let Some(response::Result::SessionOpened(opened)) = response.result {
                self.clients.entry(client).or_default().session = opened.session;
            }
        }
    }

    fn status(&self, index: usize) -> String {
        let machine = &self.ensemble.machines[index];
        let me = letter(index);
        if machine.node.is_none() {
            return format!("{me}: down");
        }
        let role = match machine.role {
            Role::Forming => "forms the ensemble".to_owned(),
            Role::Looking => "looks".to_owned(),
            Role::Following { leader, established: Some(epoch) } => {
                format!("follows {} in epoch {epoch}", show::name(leader))
            }
            Role::Following { leader, established: None } => format!("joins {}", show::name(leader)),
            Role::Leading { established: Some(epoch) } => format!("leads epoch {epoch}"),
            Role::Leading { established: None } => "is about to lead".to_owned(),
        };
        let HardState { accepted_epoch, accepted_leader, current_epoch } = machine.disk.durable.hard_state;
        let leader = accepted_leader.map_or_else(|| "nobody".to_owned(), show::name);
        format!(
            "{me}: {role}; promised {accepted_epoch} to {leader}, current epoch {current_epoch}, durable {}, \
             applied {}",
            machine.disk.durable.last(),
            machine.disk.applied()
        )
    }

    fn log(&self, index: usize) -> String {
        let machine = &self.ensemble.machines[index];
        let found = if machine.node.is_some() { None } else { machine.disk.found().ok() };
        let log = found.as_ref().map_or(&machine.disk.durable.log, |found| &found.log);
        let entries: Vec<String> = log.iter().map(show::entry).collect();
        let entries = if entries.is_empty() { "nothing".to_owned() } else { entries.join(", ") };
        format!("{}: {entries}", letter(index))
    }

    fn table(&self, index: usize) -> String {
        let machine = &self.ensemble.machines[index];
        let store = Store::open(machine.disk.table.clone()).expect("a table is sound");
        let mut line = format!("{} at {}:", letter(index), store.applied());
        for key in &self.keys {
            match store.get(key.as_bytes()) {
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
        let votes = self.ensemble.votes.iter().filter(|(sender, _)| from.is_none_or(|node| node == *sender));
        let genuine: Vec<Bytes> = votes.map(|(_, bytes)| bytes.clone()).collect();
        let mut random = Random::new(seed, Stream::Network);
        let mut passed = 0;
        for _ in 0..count {
            let bytes = garbage::make(made, &mut random, &genuine).ok_or("no vote was sent yet")?;
            passed += usize::from(self.ensemble.datagram(to, &bytes));
        }
        let me = letter(to);
        let line =
            format!("{me} is sent {count} datagrams ({kind}): drops {}, reads {passed}", count - passed);
        self.report(vec![line]);
        Ok(())
    }

    fn topics(words: &[String]) -> Result<Vec<Topic>, Box<dyn Error>> {
        let topic = |word: &String| match word.as_str() {
            "votes" => Ok(Topic::Votes),
            "heartbeats" => Ok(Topic::Heartbeats),
            "links" => Ok(Topic::Links),
            "writes" => Ok(Topic::Writes),
            "joining" => Ok(Topic::Joining),
            "broadcast" => Ok(Topic::Broadcast),
            other => Err(format!("nothing is about {other}").into()),
        };
        words.iter().map(topic).collect()
    }

    fn perform(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        let place = |name: &Option<Name>| name.map(|name| name.0);
        match command {
            Command::Ensemble { names, sessions } => {
                if names.iter().enumerate().any(|(index, name)| name.0 != index) {
                    return Err("nodes are A, B, C and so on".into());
                }
                if let Some(sessions) = sessions {
                    self.ensemble.session_timeout_ms = *sessions;
                }
                self.ensemble.found(names.len());
            }
            Command::Start(names) => {
                for index in self.all(names) {
                    self.ensemble.start(index)?;
                }
            }
            Command::Crash { name, kept } => self.ensemble.crash(name.0, *kept)?,
            Command::Fail { name, at, on, kept } => {
                let at_write = match at.as_deref() {
                    None | Some("sync") => false,
                    Some("write") => true,
                    Some(other) => return Err(format!("no disk fails at {other}").into()),
                };
                let known = ["append", "cut", "promise", "epoch"];
                if let Some(on) = on.as_deref().filter(|on| !known.contains(on)) {
                    return Err(format!("nobody writes {on}").into());
                }
                let fault = Fault { on: on.clone(), at_write, kept: *kept };
                self.ensemble.machines[name.0].fault = Some(fault);
            }
            Command::Disconnect(a, b) => {
                let (a, b) = (a.0.min(b.0), a.0.max(b.0));
                self.ensemble.cut.insert((a, b));
                self.ensemble.sever(|ends| ends.iter().all(|(node, _)| [a, b].contains(node)));
            }
            Command::Reconnect(a, b) => {
                self.ensemble.cut.remove(&(a.0.min(b.0), a.0.max(b.0)));
            }
            Command::Deliver => self.ensemble.deliver(),
            Command::Hold { from, to, kind } => {
                self.ensemble.holds.push((place(from), place(to), kind.clone()));
            }
            Command::Release => self.ensemble.holds.clear(),
            Command::Persist(name) => self.ensemble.persist(name.0),
            Command::Autopersist(names) => {
                for index in self.all(names) {
                    self.ensemble.machines[index].autopersist = true;
                }
            }
            Command::Manual(names) => {
                for index in self.all(names) {
                    self.ensemble.machines[index].autopersist = false;
                }
            }
            Command::Run(ms) => self.ensemble.run((ms * 1_000).max(STEP)),
            Command::Settle => {
                self.ensemble.settle()?;
            }
            Command::Elect(name) => {
                let leader = self.ensemble.settle()?;
                if leader != name.0 {
                    return Err(format!("{} leads", letter(leader)).into());
                }
            }
            Command::Open(client, node) => {
                let nonce = Bytes::from(vec![client.0 as u8; 16]);
                let operation = request::Operation::OpenSession(v1::OpenSession { nonce });
                self.ask(client.0, node.0, operation, None, 0, "open a session".to_owned())?;
            }
            Command::Set { client, node, key, value, deadline, lowest } => {
                let set = v1::Set { key: key.clone().into(), value: value.clone().into() };
                self.write(client.0, node.0, key, request::Operation::Set(set), (*deadline, *lowest))?;
            }
            Command::Cas { client, node, key, revision, value, deadline, lowest } => {
                let (key_bytes, value) = (key.clone().into(), value.clone().into());
                let cas = v1::Cas { key: key_bytes, revision: *revision, value };
                self.write(client.0, node.0, key, request::Operation::Cas(cas), (*deadline, *lowest))?;
            }
            Command::Retry { client, node, seq, deadline } => {
                let last = self.clients.get(&client.0).map_or(0, |known| known.next_seq);
                self.send_write(client.0, node.0, seq.unwrap_or(last), *deadline)?;
            }
            Command::Get { client, node, key, local } => {
                let consistency = if *local { Consistency::Local } else { Consistency::Linearizable };
                let get =
                    v1::Get { key: key.clone().into(), consistency: consistency.into(), min_revision: 0 };
                let how = if *local { "locally" } else { "linearizably" };
                let what = format!("get {key} {how}");
                self.ask(client.0, node.0, request::Operation::Get(get), None, 0, what)?;
            }
            Command::Garbage { to, kind, count, seed, from } => {
                self.garbage(to.0, kind, *count, *seed, place(from))?;
            }
            Command::Shower(seed) => {
                self.ensemble.shower = seed.first().map(|seed| Random::new(*seed, Stream::Network));
            }
            Command::Dropped(names) => {
                let line = |index: usize| {
                    let dropped = &self.ensemble.machines[index].dropped;
                    let counts: Vec<String> =
                        dropped.iter().map(|(why, count)| format!("{why} {count}")).collect();
                    let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
                    format!("{} has dropped: {counts}", letter(index))
                };
                let lines = self.all(names).into_iter().map(line).collect();
                self.report(lines);
            }
            Command::Show(words) => {
                for topic in Stage::topics(words)? {
                    self.ensemble.hidden.remove(&topic);
                }
            }
            Command::Hide(words) => self.ensemble.hidden.extend(Stage::topics(words)?),
            Command::Status(names) => {
                let lines = self.all(names).into_iter().map(|index| self.status(index)).collect();
                self.report(lines);
            }
            Command::Log(names) => {
                let lines = self.all(names).into_iter().map(|index| self.log(index)).collect();
                self.report(lines);
            }
            Command::Tables(names) => {
                let mut lines: Vec<String> =
                    self.all(names).into_iter().map(|index| self.table(index)).collect();
                lines.push(format!("repetitions without effect: {}", self.ensemble.oracle.suppressed()));
                self.report(lines);
            }
            Command::Now => self.mark = self.ensemble.transcript.len(),
            Command::Expect(lines) => self.expect(lines)?,
            Command::Never(words) => {
                let said = &self.ensemble.transcript[self.mark..];
                for word in words {
                    if let Some(line) = said.iter().find(|line| line.contains(word)) {
                        return Err(format!("`{line}` was said").into());
                    }
                }
            }
        }
        Ok(())
    }
}

impl goldenscript::Runner for Stage {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        self.perform(command)?;
        self.look_at_answers();
        self.ensemble.verdict()?;
        Ok(self.ensemble.read())
    }
}
