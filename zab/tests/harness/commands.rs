//! The commands of scripts for `Zab`s, besides those of every script.

use std::{error::Error, fmt::Write as _, str::FromStr};

use bytes::Bytes;
use gometa_testkit::{
    ensemble::Ensemble,
    script::{Name, Scripted},
    text::{name, name_or_none, role},
};
use gometa_zab::{
    Addresses, Candidate, Change, DesiredRole, DiskSpace, EnsembleId, Epoch, Event, FIRST_LEVEL, HardState,
    Incarnation, Kind, Learner, LogEntry, Message, NodeId, Round, Vote, VoteState, Zab, Zxid,
};

use super::ensemble::Zabs;

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

/// Where no node is named, all are meant.
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
    /// through counter 5, above `base`; `accepted` is its promise, to `leader`; `current` its current epoch.
    Disk {
        name: Name,
        #[arg(key, optional)]
        log: String,
        #[arg(key)]
        base: Option<At>,
        #[arg(key)]
        current: Option<u64>,
        #[arg(key)]
        accepted: Option<u64>,
        #[arg(key)]
        leader: Option<Name>,
        #[arg(key)]
        applied: Option<u64>,
    },
    /// A node that is no member of the formed ensemble yet, with an empty data directory and the genesis.
    Newcomer(Name),
    /// A node that is down has another message address from its next start on.
    Move(Name),
    /// Requests a change of the members of a node: `learn` (add a learner), `promote` or `remove` the subject.
    Change { name: Name, what: String, subject: Name },
    /// The latest configuration of each node's log.
    Members(#[arg(optional)] Vec<Name>),
    /// Kills a node; what it had not made durable is lost.
    Crash(Name),
    /// Removes the data directory of a node that is down.
    Wipe(Name),
    /// The data directory of a node that is down is damaged, and with it the record of the ensemble: the next start has an
    /// empty one, and never founds.
    Quarantine(Name),
    /// Makes a node's writes durable: all, or the oldest `max`; with `unreported` the node does not learn of it.
    Persist {
        #[arg(optional)]
        names: Vec<Name>,
        #[arg(key)]
        max: Option<usize>,
        #[arg(key, optional)]
        unreported: bool,
    },
    /// Advances the clock and sends nodes a tick.
    Tick {
        #[arg(optional)]
        names: Vec<Name>,
        #[arg(key)]
        ms: u64,
    },
    /// Proposes at a node; `count` times.
    Propose {
        name: Name,
        payload: String,
        #[arg(key)]
        count: Option<u64>,
        #[arg(key)]
        size: Option<usize>,
    },
    /// Asks a node to hand over its leadership: to `to`, or to the best voter.
    Transfer {
        name: Name,
        #[arg(key)]
        to: Option<Name>,
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
        other_incarnation: bool,
        #[arg(key, optional)]
        other_ensemble: bool,
    },
    /// A node's log may be compacted through a counter; through `forced` even if followers need it.
    Compact {
        name: Name,
        #[arg(key)]
        through: u64,
        #[arg(key, optional)]
        forced: u64,
    },
    /// A node's storage begins to send a snapshot of what the node has applied.
    Snapshot {
        from: Name,
        #[arg(key)]
        to: Name,
    },
    /// A node's storage has received the snapshot, or another one at `at`.
    Received {
        name: Name,
        #[arg(key)]
        from: Name,
        #[arg(key)]
        at: Option<At>,
    },
    /// A node's disk space: `ample`, `low` or `critical`.
    Space { name: Name, level: String },
    /// The log entries in flight from one node to another.
    Underway {
        from: Name,
        #[arg(key)]
        to: Name,
    },
}

impl Scripted for Zabs {
    type Command = Command;

    fn start(&mut self, id: NodeId) -> Result<(), String> {
        Zabs::start(self, id)
    }

    fn status(&self, id: NodeId) -> String {
        let (me, Some(node)) = (name(id), self.nodes.get(&id)) else { return "unknown".to_owned() };
        let Some(zab) = &node.zab else { return format!("{me}: down") };
        let HardState { accepted_epoch, accepted_leader, current_epoch } = node.disk.hard;
        let votes = if zab.votes() || zab.ensemble().is_none() { "" } else { ", without a vote" };
        format!(
            "{me}: {}{votes}; promised {accepted_epoch} to {}, current epoch {current_epoch}, last {}, durable {}, \
             applied {}",
            role(Some(zab.role())),
            name_or_none(accepted_leader),
            zab.last(),
            zab.durable(),
            node.applied
        )
    }

    fn log(&self, id: NodeId) -> String {
        let mut line = format!("{}:", name(id));
        let Some(node) = self.nodes.get(&id) else { return line };
        if node.disk.base != Zxid::ZERO {
            let _ = write!(line, " above {}:", node.disk.base);
        }
        for entry in &node.disk.log {
            let _ = write!(line, " {}", self.names.entry(entry));
        }
        if node.disk.log.is_empty() {
            line.push_str(" nothing");
        }
        if !node.disk.pending.is_empty() {
            let _ = write!(line, "; {} writes in flight", node.disk.pending.len());
        }
        line
    }

    fn perform(&mut self, command: Command) -> Result<(), Box<dyn Error>> {
        match command {
            Command::Ensemble { names, unformed, window, batch, tail } => {
                let bounds = &mut self.bounds;
                bounds.window_bytes_max = window.unwrap_or(bounds.window_bytes_max);
                bounds.batch_bytes_max = batch.unwrap_or(bounds.batch_bytes_max);
                bounds.tail_bytes = tail.unwrap_or(bounds.tail_bytes);
                let ids: Vec<NodeId> = names.iter().map(|name| name.0).collect();
                self.found(&ids, unformed);
            }
            Command::Disk { name, log, base, current, accepted, leader, applied } => {
                let base = base.map_or(Zxid::ZERO, |at| at.0);
                self.disk(name.0, (base, &log), (accepted, leader.map(|name| name.0), current), applied)?;
            }
            Command::Newcomer(name) => self.add_newcomer(name.0)?,
            Command::Move(name) => self.move_to_other_address(name.0)?,
            Command::Change { name, what, subject } => {
                let change = self.change(&what, subject.0)?;
                self.step(name.0, vec![Event::ChangeConfiguration { id: 0, change, asked_by: None }]);
            }
            Command::Members(names) => {
                let lines = self.all(&names).into_iter().map(|id| self.members(id)).collect();
                self.report(lines);
            }
            Command::Crash(name) => self.crash(name.0)?,
            Command::Wipe(name) => self.wipe(name.0)?,
            Command::Quarantine(name) => {
                self.wipe(name.0)?;
                self.node(name.0)?.never_founds = true;
            }
            Command::Persist { names, max, unreported } => {
                for node in self.all(&names) {
                    self.persist(node, max.unwrap_or(usize::MAX), !unreported);
                }
            }
            Command::Tick { names, ms } => {
                let nodes = self.all(&names);
                self.tick(&nodes, ms * 1_000);
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
                    events.push(Event::Propose {
                        id: self.next_proposal,
                        payload: Bytes::from(text),
                        level: FIRST_LEVEL,
                        may_wait: true,
                    });
                }
                self.step(name.0, events);
            }
            Command::Transfer { name, to } => {
                self.step(name.0, vec![Event::TransferLeadership { to: to.map(|to| to.0) }]);
            }
            Command::Barrier(name, number) => {
                self.step(name.0, vec![Event::Barrier { id: number }]);
            }
            Command::Inject { from, kind, to, epoch, at, current, commit, payload } => {
                let at = at.map(|at| at.0);
                let message = forged(&kind, epoch, at, current, commit, payload)?;
                self.inject(from.0, to.0, message)?;
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
                other_incarnation,
                other_ensemble,
            } => {
                let state = match state.as_str() {
                    "looks" => VoteState::Looking,
                    "follows" => VoteState::Following,
                    "leads" => VoteState::Leading,
                    "seeks" => VoteState::Seeking,
                    other => return Err(format!("no vote says {other}").into()),
                };
                let ensemble = self.nodes.values().find_map(|node| node.zab.as_ref().and_then(Zab::ensemble));
                let incarnation = self.node(from.0)?.incarnation;
                let vote = Vote {
                    ensemble: if other_ensemble {
                        Some(EnsembleId { id: 0xBAD, history: 1 })
                    } else {
                        ensemble
                    },
                    sender: from.0,
                    incarnation: if other_incarnation { Incarnation(0xBAD) } else { incarnation },
                    boot: boot.unwrap_or(1_000),
                    sequence,
                    state,
                    round: Round(round),
                    candidate: Candidate {
                        epoch: Epoch(epoch),
                        last: last.map_or(Zxid::ZERO, |at| at.0),
                        node: candidate.0,
                    },
                    established: established.map(Epoch),
                    configuration: Zxid::ZERO,
                };
                self.inject_vote(to.0, vote);
            }
            Command::Compact { name, through, forced } => self.compact(name.0, through, forced),
            Command::Space { name, level } => {
                let space = match level.as_str() {
                    "ample" => DiskSpace::Ample,
                    "low" => DiskSpace::Low,
                    "critical" => DiskSpace::Critical,
                    other => return Err(format!("{other} is no level").into()),
                };
                self.space(name.0, space);
            }
            Command::Snapshot { from, to } => self.send_snapshot(from.0, to.0)?,
            Command::Received { name, from, at } => {
                self.receive_snapshot(name.0, from.0, at.map(|at| at.0))?;
            }
            Command::Underway { from, to } => {
                let (entries, bytes) = self.environment().network.entries_in_flight(from.0, to.0);
                let (from, to) = (name(from.0), name(to.0));
                self.report(vec![format!("{from} → {to}: {entries} entries, {bytes} bytes")]);
            }
        }
        Ok(())
    }
}

impl Zabs {
    fn change(&mut self, what: &str, node: NodeId) -> Result<Change, String> {
        Ok(match what {
            "learn" => Change::AddLearner(Learner {
                node,
                incarnation: self.node(node)?.incarnation,
                addresses: self.addresses(node),
                desired: DesiredRole::Learner,
            }),
            "promote" => Change::Promote(node),
            "remove" => Change::RemoveVoter(node),
            other => return Err(format!("{other} is no change")),
        })
    }

    /// The members in the latest configuration of a node's log, with their message addresses where these have changed.
    fn members(&self, id: NodeId) -> String {
        let me = name(id);
        let Some(zab) = self.nodes.get(&id).and_then(|node| node.zab.as_ref()) else {
            return format!("{me}: down");
        };
        let configuration = zab.configuration();
        let at = |node: NodeId, addresses: &Addresses| {
            let moved = addresses.message != name(node);
            if moved {
                format!(" {} at {}", name(node), addresses.message)
            } else {
                format!(" {}", name(node))
            }
        };
        let voters: String =
            configuration.voters().iter().map(|voter| at(voter.node, &voter.addresses)).collect();
        let learners: String =
            configuration.learners().iter().map(|learner| at(learner.node, &learner.addresses)).collect();
        let learners = if learners.is_empty() { learners } else { format!(", learners{learners}") };
        format!("{me}: version {}: voters{voters}{learners}", configuration.version())
    }

    fn disk(
        &mut self,
        id: NodeId,
        (base, log): (Zxid, &str),
        (accepted, leader, current): (Option<u64>, Option<NodeId>, Option<u64>),
        applied: Option<u64>,
    ) -> Result<(), Box<dyn Error>> {
        let mut entries: Vec<LogEntry> = Vec::new();
        for run in log.split_whitespace() {
            let (epoch, end) = run.split_once(':').ok_or("a log is written epoch:counter epoch:counter")?;
            let (epoch, end) = (epoch.parse::<u64>()?, end.parse::<u64>()?);
            for counter in base.counter + entries.len() as u64 + 1..=end {
                let payload = Bytes::from(format!("x{counter}"));
                entries.push(LogEntry {
                    zxid: Zxid::new(epoch, counter),
                    kind: Kind::Command,
                    level: FIRST_LEVEL,
                    payload,
                });
            }
        }
        let last = entries.last().map_or(base, |entry| entry.zxid).epoch.0;
        let current = current.unwrap_or(last);
        let accepted = accepted.unwrap_or(current.max(last));
        let node = self.node(id)?;
        node.disk.base = base;
        node.disk.log = entries;
        node.disk.applied = applied.unwrap_or(base.counter);
        node.disk.hard = HardState {
            accepted_epoch: Epoch(accepted),
            accepted_leader: if accepted == 0 { None } else { leader.or(Some(id)) },
            current_epoch: Epoch(current),
        };
        Ok(())
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
        "FollowerEpoch" => Message::FollowerEpoch { accepted: epoch()?, configuration: Zxid::ZERO },
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
            let entry = LogEntry { zxid, kind: Kind::Command, level: FIRST_LEVEL, payload };
            Message::Propose { epoch: epoch()?, previous, entries: vec![entry], commit: 0 }
        }
        other => return Err(format!("cannot forge {other}").into()),
    })
}
