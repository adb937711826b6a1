//! The words that a script is written in.

use std::{error::Error, fmt::Write as _, str::FromStr};

use bytes::Bytes;
use gometa_zab::{
    Candidate, EnsembleId, Epoch, Event, HardState, Incarnation, Kind, LEVEL, LogEntry, Message, NodeId,
    Role, Round, Vote, VoteState, Zab, Zxid,
};

use super::{
    ensemble::{Ensemble, STEP},
    show::{self, Topic},
};

/// A node, by its letter.
#[derive(Clone, Copy)]
pub(crate) struct Name(NodeId);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        match text.as_bytes() {
            [letter @ b'A'..=b'Z'] => Ok(Name(NodeId(u64::from(letter - b'A' + 1)))),
            _ => Err(format!("{text} is no node: nodes are A, B, C")),
        }
    }
}

/// A zxid, written epoch.counter.
#[derive(Clone, Copy)]
pub(crate) struct At(Zxid);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<At, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
        let (epoch, counter) = text.split_once('.').ok_or("a zxid is epoch.counter")?;
        Ok(At(Zxid::new(number(epoch)?, number(counter)?)))
    }
}

/// What a script can say. A name stands for a node; where none is given, all are meant.
#[derive(goldenscript::Command)]
pub(crate) enum Command {
    /// The voters. They belong to one ensemble already, unless `unformed`. Bounds, in bytes, for all of them.
    Ensemble {
        names: Vec<Name>,
        #[arg(key, optional)]
        unformed: bool,
        #[arg(key)]
        window: Option<usize>,
        #[arg(key)]
        batch: Option<usize>,
        #[arg(key)]
        tail: Option<usize>,
    },
    /// What a node's disk holds before it starts: `log="1:3 2:5"` is epoch 1 through counter 3, then epoch 2
    /// through counter 5; `accepted` is its promise, to `leader`; `current` its current epoch.
    Disk {
        name: Name,
        #[arg(key, optional)]
        log: String,
        #[arg(key)]
        current: Option<u64>,
        #[arg(key)]
        accepted: Option<u64>,
        #[arg(key)]
        leader: Option<Name>,
        #[arg(key)]
        applied: Option<u64>,
    },
    /// Starts nodes.
    Start(#[arg(optional)] Vec<Name>),
    /// Kills a node; what it had not made durable is lost.
    Crash(Name),
    /// Removes the data directory of a node that is down.
    Wipe(Name),
    /// Nodes cannot reach each other any more, and their connections end.
    Disconnect(Name, Name),
    /// Nodes can reach each other again.
    Reconnect(Name, Name),
    /// Delivers what is under way, until nothing is left or `max` is reached.
    Deliver {
        from: Option<Name>,
        #[arg(key)]
        to: Option<Name>,
        #[arg(key)]
        max: Option<usize>,
    },
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
    /// Makes a node's writes durable: all, or the oldest `max`; with `untold` the node does not learn of it.
    Persist {
        #[arg(optional)]
        names: Vec<Name>,
        #[arg(key)]
        max: Option<usize>,
        #[arg(key, optional)]
        untold: bool,
    },
    /// From now on writes become durable by themselves, as soon as everything is delivered.
    Autopersist(#[arg(optional)] Vec<Name>),
    /// From now on writes become durable only by `persist`.
    Manual(#[arg(optional)] Vec<Name>),
    /// Moves the clock, and lets nodes look at it.
    Tick {
        #[arg(optional)]
        names: Vec<Name>,
        #[arg(key)]
        ms: u64,
    },
    /// Lets time pass (milliseconds) while everything is delivered.
    Run(u64),
    /// Runs until there is an established leader whom everyone else follows.
    Settle,
    /// The same, and the leader must be this one.
    Elect(Name),
    /// Proposes at a node; `count` times.
    Propose {
        name: Name,
        payload: String,
        #[arg(key)]
        count: Option<u64>,
        #[arg(key)]
        size: Option<usize>,
    },
    /// Asks a node for a read barrier.
    Barrier(Name, u64),
    /// A message that the node did not send, on its connection. Fields by key.
    Inject {
        from: Name,
        kind: String,
        #[arg(key)]
        to: Name,
        #[arg(key)]
        epoch: Option<u64>,
        #[arg(key)]
        at: Option<At>,
        #[arg(key)]
        current: Option<u64>,
        #[arg(key)]
        commit: Option<u64>,
        #[arg(key)]
        payload: Option<String>,
    },
    /// A datagram that the node did not send.
    Vote {
        from: Name,
        state: String,
        #[arg(key)]
        to: Name,
        #[arg(key)]
        candidate: Name,
        #[arg(key)]
        round: u64,
        #[arg(key, optional)]
        epoch: u64,
        #[arg(key)]
        last: Option<At>,
        #[arg(key)]
        established: Option<u64>,
        #[arg(key, optional)]
        sequence: u64,
        #[arg(key)]
        boot: Option<u64>,
        #[arg(key, optional)]
        stranger: bool,
        #[arg(key, optional)]
        foreign: bool,
    },
    /// Shows lines about this: votes, heartbeats, links, writes.
    Show(Vec<String>),
    /// Hides them.
    Hide(Vec<String>),
    /// What nodes do, have promised, hold, and have applied.
    Status(#[arg(optional)] Vec<Name>),
    /// What is on a node's disk, and what is on its way there.
    Log(#[arg(optional)] Vec<Name>),
    /// What is on its way from one node to another.
    Underway {
        from: Name,
        #[arg(key)]
        to: Name,
    },
    /// What was said before this is forgotten by `expect` and `never`; so is the preparation of a script.
    Now,
    /// These lines were said, in this order, since the last `expect`; hidden ones count. Written by hand from
    /// the protocol's rules: regenerating a script does not touch them.
    Expect(Vec<String>),
    /// No line since the last `expect` has this in it.
    Never(Vec<String>),
}

/// Plays one script.
pub(crate) struct Stage {
    ensemble: Ensemble,
    mark: usize,
    next_proposal: u64,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage { ensemble: Ensemble::new(), mark: 0, next_proposal: 0 }
    }

    fn all(&self, names: &[Name]) -> Vec<NodeId> {
        match names {
            [] => self.ensemble.nodes.keys().copied().collect(),
            names => names.iter().map(|name| name.0).collect(),
        }
    }

    fn expect(&mut self, lines: &[String]) -> Result<(), Box<dyn Error>> {
        for line in lines {
            let found = self.ensemble.transcript[self.mark..].iter().position(|said| said == line);
            match found {
                Some(index) => self.mark += index + 1,
                None => {
                    let said = self.ensemble.transcript[self.mark..].join("\n  ");
                    return Err(format!("nobody said `{line}`; what was said:\n  {said}").into());
                }
            }
        }
        Ok(())
    }

    fn status(&self, id: NodeId) -> Option<String> {
        let node = self.ensemble.nodes.get(&id)?;
        let me = show::name(id);
        let Some(zab) = &node.zab else { return Some(format!("{me}: down")) };
        let role = match zab.role() {
            Role::Forming => "forms the ensemble".to_owned(),
            Role::Looking => "looks".to_owned(),
            Role::Following { leader, established: Some(epoch) } => {
                format!("follows {} in epoch {epoch}", show::name(leader))
            }
            Role::Following { leader, established: None } => format!("joins {}", show::name(leader)),
            Role::Leading { established: Some(epoch) } => format!("leads epoch {epoch}"),
            Role::Leading { established: None } => "is about to lead".to_owned(),
        };
        let HardState { accepted_epoch, accepted_leader, current_epoch } = node.disk.hard;
        let leader = accepted_leader.map_or_else(|| "nobody".to_owned(), show::name);
        let votes = if zab.votes() || zab.ensemble().is_none() { "" } else { ", without a vote" };
        Some(format!(
            "{me}: {role}{votes}; promised {accepted_epoch} to {leader}, current epoch {current_epoch}, last {}, \
             durable {}, applied {}",
            zab.last(),
            zab.durable(),
            node.applied
        ))
    }

    fn log(&self, id: NodeId) -> Option<String> {
        let node = self.ensemble.nodes.get(&id)?;
        let mut line = format!("{}:", show::name(id));
        for entry in &node.disk.log {
            let _ = write!(line, " {}", show::entry(entry));
        }
        if node.disk.log.is_empty() {
            line.push_str(" nothing");
        }
        if !node.disk.pending.is_empty() {
            let _ = write!(line, "; {} writes in flight", node.disk.pending.len());
        }
        Some(line)
    }

    fn disk(
        &mut self,
        id: NodeId,
        log: &str,
        (accepted, leader, current): (Option<u64>, Option<NodeId>, Option<u64>),
        applied: Option<u64>,
    ) -> Result<(), Box<dyn Error>> {
        let mut entries: Vec<LogEntry> = Vec::new();
        for run in log.split_whitespace() {
            let (epoch, end) = run.split_once(':').ok_or("a log is written epoch:counter epoch:counter")?;
            let (epoch, end) = (epoch.parse::<u64>()?, end.parse::<u64>()?);
            for counter in entries.len() as u64 + 1..=end {
                let payload = Bytes::from(format!("x{counter}"));
                entries.push(LogEntry {
                    zxid: Zxid::new(epoch, counter),
                    kind: Kind::Command,
                    level: LEVEL,
                    payload,
                });
            }
        }
        let last = entries.last().map_or(0, |entry| entry.zxid.epoch.0);
        let current = current.unwrap_or(last);
        let accepted = accepted.unwrap_or(current.max(last));
        let node = self.ensemble.node(id)?;
        node.disk.log = entries;
        node.disk.applied = applied.unwrap_or(0);
        node.disk.hard = HardState {
            accepted_epoch: Epoch(accepted),
            accepted_leader: if accepted == 0 { None } else { leader.or(Some(id)) },
            current_epoch: Epoch(current),
        };
        Ok(())
    }

    fn topics(words: &[String]) -> Result<Vec<Topic>, Box<dyn Error>> {
        let topic = |word: &String| match word.as_str() {
            "votes" => Ok(Topic::Votes),
            "heartbeats" => Ok(Topic::Heartbeats),
            "links" => Ok(Topic::Links),
            "writes" => Ok(Topic::Writes),
            "protocol" => Ok(Topic::Protocol),
            other => Err(format!("nothing is about {other}").into()),
        };
        words.iter().map(topic).collect()
    }
}

/// A message for `inject`.
fn forged(
    kind: &str,
    epoch: Option<u64>,
    at: Option<Zxid>,
    current: Option<u64>,
    commit: Option<u64>,
    payload: Option<String>,
) -> Result<Message, Box<dyn Error>> {
    let epoch = || epoch.map(Epoch).ok_or("epoch= is missing");
    let zxid = || at.ok_or("at= is missing");
    let commit = || commit.ok_or("commit= is missing");
    Ok(match kind {
        "FollowerEpoch" => Message::FollowerEpoch { accepted: epoch()?, config_version: 0 },
        "NewEpoch" => Message::NewEpoch(epoch()?),
        "AckEpoch" => {
            let last = zxid()?;
            let current = Epoch(current.ok_or("current= is missing")?);
            let boundaries = if last == Zxid::ZERO { Vec::new() } else { vec![last] };
            Message::AckEpoch { epoch: epoch()?, current, last, oldest: Zxid::ZERO, boundaries }
        }
        "Diff" => Message::Diff { epoch: epoch()?, base: zxid()? },
        "NewLeader" => Message::NewLeader { epoch: epoch()?, last: zxid()? },
        "AckNewLeader" => Message::AckNewLeader { epoch: epoch()?, last: zxid()? },
        "Ack" => Message::Ack { epoch: epoch()?, last: zxid()? },
        "Commit" => Message::Commit { epoch: epoch()?, commit: commit()? },
        "UpToDate" => Message::UpToDate { epoch: epoch()?, commit: commit()? },
        "Propose" => {
            let previous = zxid()?;
            let zxid = Zxid { epoch: epoch()?, counter: previous.counter + 1 };
            let payload = Bytes::from(payload.unwrap_or_default());
            let entry = LogEntry { zxid, kind: Kind::Command, level: LEVEL, payload };
            Message::Propose { epoch: epoch()?, previous, entries: vec![entry], commit: 0 }
        }
        other => return Err(format!("cannot forge {other}").into()),
    })
}

impl goldenscript::Runner for Stage {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let id = |name: &Option<Name>| name.map(|name| name.0);
        match command {
            Command::Ensemble { names, unformed, window, batch, tail } => {
                let bounds = &mut self.ensemble.bounds;
                bounds.window_bytes_max = window.unwrap_or(bounds.window_bytes_max);
                bounds.batch_bytes_max = batch.unwrap_or(bounds.batch_bytes_max);
                bounds.tail_bytes = tail.unwrap_or(bounds.tail_bytes);
                let ids: Vec<NodeId> = names.iter().map(|name| name.0).collect();
                self.ensemble.found(&ids, *unformed);
            }
            Command::Disk { name, log, current, accepted, leader, applied } => {
                self.disk(name.0, log, (*accepted, id(leader), *current), *applied)?;
            }
            Command::Start(names) => {
                for node in self.all(names) {
                    self.ensemble.start(node)?;
                }
            }
            Command::Crash(name) => self.ensemble.crash(name.0)?,
            Command::Wipe(name) => self.ensemble.wipe(name.0)?,
            Command::Disconnect(a, b) => {
                let (a, b) = (a.0.min(b.0), a.0.max(b.0));
                self.ensemble.cut.insert((a, b));
                self.ensemble.sever(|ends| ends.iter().all(|(node, _)| [a, b].contains(node)));
            }
            Command::Reconnect(a, b) => {
                self.ensemble.cut.remove(&(a.0.min(b.0), a.0.max(b.0)));
            }
            Command::Deliver { from, to, max } => {
                self.ensemble.deliver(id(from), id(to), max.unwrap_or(usize::MAX));
            }
            Command::Hold { from, to, kind } => {
                self.ensemble.holds.push((id(from), id(to), kind.clone()));
            }
            Command::Release => self.ensemble.holds.clear(),
            Command::Persist { names, max, untold } => {
                for node in self.all(names) {
                    self.ensemble.persist(node, max.unwrap_or(usize::MAX), !untold);
                }
            }
            Command::Autopersist(names) => {
                for node in self.all(names) {
                    self.ensemble.node(node)?.autopersist = true;
                }
            }
            Command::Manual(names) => {
                for node in self.all(names) {
                    self.ensemble.node(node)?.autopersist = false;
                }
            }
            Command::Tick { names, ms } => {
                let nodes = self.all(names);
                self.ensemble.tick(&nodes, ms * 1_000);
            }
            Command::Run(ms) => self.ensemble.run((ms * 1_000).max(STEP)),
            Command::Settle => {
                self.ensemble.settle()?;
            }
            Command::Elect(name) => {
                let leader = self.ensemble.settle()?;
                if leader != name.0 {
                    return Err(format!("{} leads", show::name(leader)).into());
                }
            }
            Command::Propose { name, payload, count, size } => {
                let mut events = Vec::new();
                for number in 0..count.unwrap_or(1) {
                    self.next_proposal += 1;
                    let mut text =
                        if count.is_some() { format!("{payload}{number}") } else { payload.clone() };
                    while size.is_some_and(|size| text.len() < size) {
                        text.push('.');
                    }
                    events.push(Event::Propose { id: self.next_proposal, payload: Bytes::from(text) });
                }
                self.ensemble.step(name.0, events);
            }
            Command::Barrier(name, number) => {
                self.ensemble.step(name.0, vec![Event::Barrier { id: *number }]);
            }
            Command::Inject { from, kind, to, epoch, at, current, commit, payload } => {
                let at = at.map(|at| at.0);
                let message = forged(kind, *epoch, at, *current, *commit, payload.clone())?;
                self.ensemble.inject(from.0, to.0, message)?;
            }
            Command::Vote {
                from,
                state,
                to,
                candidate,
                round,
                epoch,
                last,
                established,
                sequence,
                boot,
                stranger,
                foreign,
            } => {
                let state = match state.as_str() {
                    "looks" => VoteState::Looking,
                    "follows" => VoteState::Following,
                    "leads" => VoteState::Leading,
                    "seeks" => VoteState::Seeking,
                    other => return Err(format!("no vote says {other}").into()),
                };
                let ensemble =
                    self.ensemble.nodes.values().find_map(|node| node.zab.as_ref().and_then(Zab::ensemble));
                let incarnation = self.ensemble.node(from.0)?.incarnation;
                let vote = Vote {
                    ensemble: if *foreign { Some(EnsembleId { id: 0xBAD, history: 1 }) } else { ensemble },
                    sender: from.0,
                    incarnation: if *stranger { Incarnation(0xBAD) } else { incarnation },
                    boot: boot.unwrap_or(1_000),
                    sequence: *sequence,
                    state,
                    round: Round(*round),
                    candidate: Candidate {
                        epoch: Epoch(*epoch),
                        last: last.map_or(Zxid::ZERO, |at| at.0),
                        node: candidate.0,
                    },
                    established: established.map(Epoch),
                    config_version: 0,
                };
                self.ensemble.inject_vote(to.0, vote);
            }
            Command::Show(words) => {
                for topic in Stage::topics(words)? {
                    self.ensemble.hidden.remove(&topic);
                }
            }
            Command::Hide(words) => self.ensemble.hidden.extend(Stage::topics(words)?),
            Command::Status(names) => {
                let lines: Vec<String> =
                    self.all(names).into_iter().filter_map(|id| self.status(id)).collect();
                return Ok(lines.join("\n"));
            }
            Command::Log(names) => {
                let lines: Vec<String> = self.all(names).into_iter().filter_map(|id| self.log(id)).collect();
                return Ok(lines.join("\n"));
            }
            Command::Underway { from, to } => {
                let (entries, bytes) = self.ensemble.underway(from.0, to.0);
                let (from, to) = (show::name(from.0), show::name(to.0));
                return Ok(format!("{from} → {to}: {entries} entries, {bytes} bytes"));
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
        Ok(self.ensemble.read())
    }
}
