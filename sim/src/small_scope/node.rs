//! One node of the search: the real [`Zab`] on a simulated [`Disk`], and what can happen to it.
//!
//! An input changes one node and nothing else; what the node sends is delivered by `world`. So a step is a function of
//! node and input, and is computed once for all states of the ensemble in which it can be taken.

use std::{
    any::Any,
    collections::VecDeque,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use bytes::Bytes;
use gometa_zab::{
    Bounds, Candidate, Change, Config, Configuration, DesiredRole, Effect, EnsembleId, Epoch, Event,
    FIRST_LEVEL, Founding, Genesis, HardState, Incarnation, Learner, LinkId, LogEntry, Message, NodeId, Role,
    Round, Ticks, Timeouts, Vote, VoteState, Voter, Zab, Zxid,
};
use xxhash_rust::xxh3::Xxh3;

use super::{
    links::{self, NODES},
    snapshot,
};
use crate::{
    checkers::{Violation, node_id},
    disk::{Disk, Snapshot},
    settings::Settings,
};

/// The election timeout, in microseconds.
const ELECTION: u64 = 1_000;

/// From one era of a node's clock to the next: see `zab::fingerprint`.
const ERA: u64 = 10 * ELECTION;

const ENSEMBLE: EnsembleId = EnsembleId { id: 7, history: 0 };

/// What can happen to a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Input {
    /// A message, by its number among all messages, has arrived.
    Message { link: u8, message: u32 },
    /// A connection has ended.
    Closed { link: u8 },
    /// The connection that it dialled stands.
    Connected { link: u8 },
    /// A peer has connected to it.
    Accepted { link: u8 },
    /// The first write in flight that needs a sync is durable.
    Persist,
    /// The process ends; the first `kept` writes in flight survive.
    Crash { kept: u8 },
    /// The process starts.
    Start,
    /// Its election timeout passes without a message.
    ElectionTimeout,
    /// An election ends: this node is to lead.
    Lead,
    /// An election ends: this node is to follow that one.
    Follow { leader: u8 },
    /// A client writes; this is its number.
    Propose { write: u8 },
    /// A client asks for a linearizable read; this is its number.
    Barrier { id: u8 },
    /// The log may be deleted through what is applied.
    Compact,
    /// A change of the members is requested.
    Change { kind: ChangeKind, subject: u8 },
    /// The leader is to hand over to that node.
    Transfer { to: u8 },
    /// The data directory of a node that is down is lost. The new one has the ensemble's genesis and nothing else.
    Wipe,
}

/// The kinds of changes of the members that can be requested.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum ChangeKind {
    /// A node that is no member becomes a learner.
    Add,
    /// A learner becomes a voter.
    Promote,
    /// A voter is removed.
    Remove,
    /// A voter becomes a learner with the incarnation of its second data directory.
    Exchange,
}

/// One step of what an input leads to, in order, for the checks.
pub(super) enum NodeStep {
    /// The disk made its first write durable; see [`Disk::sync_one`].
    Synced,
    /// The process ended; see [`Disk::crash_keeping`].
    Crashed { kept: usize },
    /// The process has started.
    Started,
    /// A read was requested.
    Asked { id: u64 },
    /// The data directory was replaced by one with this incarnation.
    Wiped(Incarnation),
    /// A snapshot was received; see [`Disk::receive`].
    Received(Rc<Snapshot>),
    /// An effect of the node.
    Effect(Box<Effect>),
}

/// What a node gives to the network.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Output {
    Send { link: u8, message: Box<Message> },
    Close { link: u8 },
}

/// The result of an input.
pub(super) struct Outcome {
    pub(super) node: Node,
    pub(super) steps: Vec<NodeStep>,
    pub(super) outputs: Vec<Output>,
    /// A violation found without the other nodes: a panic, a stop, a commit index that fell.
    pub(super) violation: Option<Violation>,
}

/// A node's process, and its disk.
pub(super) struct Node {
    index: usize,
    /// Whether its process is never started: the scenario has fewer nodes.
    absent: bool,
    /// `None` while the process is down.
    pub(super) zab: Option<Zab>,
    pub(super) disk: Disk,
    /// The nodes that it dials, as a bit set.
    dialling: u8,
    /// How often its election timeout has passed; not in the fingerprint.
    era: u64,
    /// The sequence number of the last election result; not in the fingerprint.
    result_sequence: u64,
}

fn genesis(founders: usize) -> Genesis {
    let voters = (0..founders)
        .map(|node| Voter {
            node: node_id(node),
            incarnation: Some(incarnation(node)),
            addresses: gometa_zab::Addresses::default(),
        })
        .collect();
    Genesis { ensemble: ENSEMBLE, voters, level: gometa_zab::FIRST_LEVEL }
}

/// The incarnation of a node's first data directory.
fn incarnation(node: usize) -> Incarnation {
    Incarnation(100 + node as u128)
}

/// The incarnation of a node's second data directory.
fn second_incarnation(node: usize) -> Incarnation {
    Incarnation(200 + node as u128)
}

fn founded(incarnation: Incarnation, founding: Founding) -> Disk {
    Disk::abstracted(incarnation, Settings::quiet(0, NODES).disk, Some(founding))
}

impl Node {
    /// A node of an ensemble that the first `founders` nodes have just formed, down. A later one knows the genesis.
    pub(super) fn formed(index: usize, founders: usize, absent: bool) -> Node {
        let founding = Founding { genesis: genesis(founders), sealed: true };
        let disk = founded(incarnation(index), founding);
        Node { index, absent, zab: None, disk, dialling: 0, era: 0, result_sequence: 0 }
    }

    /// Whether its process can be started.
    pub(super) fn can_start(&self) -> bool {
        self.zab.is_none() && !self.absent
    }

    /// The latest configuration of its log, while its process runs.
    pub(super) fn configuration(&self) -> Option<&Configuration> {
        self.zab.as_ref().map(Zab::configuration)
    }

    /// Whether it can be elected: it is a voter as far as it knows.
    pub(super) fn votes(&self) -> bool {
        self.zab.as_ref().is_some_and(Zab::votes)
    }

    /// Which node this is, from 0.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// A copy that shares nothing with this one.
    pub(super) fn fork(&self) -> Node {
        Node { zab: self.zab.clone(), disk: self.disk.fork(), ..*self }
    }

    /// Equal for nodes that behave alike from here on.
    pub(super) fn fingerprint(&self) -> u128 {
        let mut hasher = Xxh3::new();
        (self.index, self.absent, self.dialling, self.zab.is_some()).hash(&mut hasher);
        self.disk.fingerprint(&mut hasher);
        if let Some(zab) = &self.zab {
            zab.fingerprint(&mut hasher);
        }
        hasher.digest128()
    }

    /// Its role; `None` while it is down.
    pub(super) fn role(&self) -> Option<Role> {
        self.zab.as_ref().map(Zab::role)
    }

    /// The node that it dials as a follower.
    pub(super) fn dials(&self) -> Option<usize> {
        (0..NODES).find(|peer| self.dialling & 1 << peer != 0)
    }

    fn now(&self) -> Ticks {
        Ticks(ERA * (1 + self.era))
    }

    fn config(&self) -> Config {
        Config {
            node: node_id(self.index),
            incarnation: self.disk.incarnation,
            boot: self.disk.boots,
            addresses: gometa_zab::Addresses::default(),
            voters: genesis(NODES).voters, // Of no meaning: the genesis is sealed.
            seed: 0,
            // Votes, heartbeats and dials are never repeated within an era, and a quorum decides an election.
            timeouts: Timeouts {
                heartbeat: ELECTION / 2,
                election: ELECTION,
                disk: u64::MAX / 2,
                finalise: 0,
                vote_min: ELECTION / 2,
                vote_max: ELECTION / 2,
                reconnect: ELECTION / 2,
            },
            bounds: Bounds::default(),
            levels: gometa_zab::Levels::SUPPORTED,
            never_founds: false,
            founds_with_quorum: false,
        }
    }

    /// An election's result, in the form of a vote of another node that decides it at once: one that has elected this
    /// node, or that leads already.
    fn verdict(&mut self, leader: usize) -> Event {
        self.result_sequence += 1;
        let own = leader == self.index;
        let voters = self.configuration().map(Configuration::voters).unwrap_or_default();
        let other = |voter: &&Voter| voter.node != node_id(self.index);
        let supporter = (self.index + 1..NODES).chain(0..self.index).map(node_id);
        let supporter = supporter.filter_map(|id| voters.iter().filter(other).find(|voter| voter.node == id));
        let supporter = supporter.map(|voter| (voter.node, voter.incarnation)).next();
        let (sender, recorded) = if own {
            supporter.unwrap_or((node_id((self.index + 1) % NODES), None))
        } else {
            (node_id(leader), None)
        };
        Event::Datagram(Vote {
            ensemble: Some(ENSEMBLE),
            sender,
            incarnation: recorded.unwrap_or(incarnation(sender.0 as usize - 1)),
            boot: u64::MAX,
            sequence: self.result_sequence,
            state: if own { VoteState::Looking } else { VoteState::Leading },
            // Beyond the node's own, which comes nearer in bounded steps.
            round: Round(u64::MAX),
            candidate: Candidate { epoch: Epoch(0), last: Zxid::ZERO, node: node_id(leader) },
            established: (!own).then_some(Epoch(1)),
            // A leader that a node does not list as a voter is followed if its configuration is later.
            configuration: if own { Zxid::ZERO } else { Zxid::new(u64::MAX, u64::MAX) },
        })
    }

    /// A requested change of the members.
    fn change(&self, kind: ChangeKind, subject: u8) -> Change {
        let index = usize::from(subject);
        let node = node_id(index);
        match kind {
            ChangeKind::Add => Change::AddLearner(Learner {
                node,
                incarnation: incarnation(index),
                addresses: gometa_zab::Addresses::default(),
                // One that is to be a voter would be promoted without a request.
                desired: DesiredRole::Learner,
            }),
            ChangeKind::Promote => Change::Promote(node),
            ChangeKind::Remove => Change::RemoveVoter(node),
            ChangeKind::Exchange => Change::Exchange { node, incarnation: second_incarnation(index) },
        }
    }

    /// The node after an input, and what it does. `message` is the input's, if it is one.
    pub(super) fn take(&self, input: Input, message: Option<&Message>) -> Outcome {
        let mut outcome =
            Outcome { node: self.fork(), steps: Vec::new(), outputs: Vec::new(), violation: None };
        let node = &mut outcome.node;
        let link_id = |link: u8| LinkId(link.into());
        let event = match input {
            Input::Message { link, .. } => match message {
                Some(Message::Snapshot(bytes)) => {
                    let snapshot = Rc::new(snapshot::decode(bytes));
                    let zxid = snapshot.at;
                    let configuration = snapshot.log.iter().filter_map(LogEntry::configuration).last();
                    node.disk.receive(snapshot.clone());
                    outcome.steps.push(NodeStep::Received(snapshot));
                    Event::SnapshotReceived { link: link_id(link), zxid, configuration }
                }
                Some(message) => Event::Message { link: link_id(link), message: message.clone() },
                None => Event::Tick,
            },
            Input::Closed { link } => Event::Closed { link: link_id(link) },
            Input::Connected { link } => {
                let peer = links::target(link);
                node.dialling &= !(1 << peer);
                Event::Connected { peer: node_id(peer), link: link_id(link) }
            }
            Input::Accepted { link } => Event::Accepted { link: link_id(link) },
            Input::Persist => match node.disk.sync_one() {
                Some(token) => {
                    outcome.steps.push(NodeStep::Synced);
                    Event::Persisted(token)
                }
                None => Event::Tick,
            },
            Input::Crash { kept } => {
                node.disk.crash_keeping(kept.into());
                node.zab = None;
                node.dialling = 0;
                outcome.steps.push(NodeStep::Crashed { kept: kept.into() });
                return outcome;
            }
            Input::Start => {
                let recovered = match node.disk.recover() {
                    Ok(recovered) => recovered,
                    // The judge finds and reports the same.
                    Err(_) => {
                        outcome.steps.push(NodeStep::Started);
                        return outcome;
                    }
                };
                node.zab = Some(Zab::new(node.config(), recovered, node.now()));
                outcome.steps.push(NodeStep::Started);
                Event::Tick
            }
            Input::ElectionTimeout => {
                node.era += 1;
                Event::Tick
            }
            Input::Lead => node.verdict(node.index),
            Input::Follow { leader } => node.verdict(leader.into()),
            Input::Propose { write } => Event::Propose {
                id: write.into(),
                payload: Bytes::copy_from_slice(&[b'w', b'0' + write]),
                level: FIRST_LEVEL,
                may_wait: true,
            },
            Input::Barrier { id } => {
                outcome.steps.push(NodeStep::Asked { id: id.into() });
                Event::Barrier { id: id.into() }
            }
            Input::Compact => {
                let through = node.disk.applied();
                Event::MayCompact { through, forced: through }
            }
            Input::Change { kind, subject } => Event::ChangeConfiguration {
                id: 0,
                change: node.change(kind, subject),
                asked_by: Some(NodeId(1)),
            },
            Input::Transfer { to } => Event::TransferLeadership { to: Some(node_id(to.into())) },
            Input::Wipe => {
                let incarnation = second_incarnation(node.index);
                let founding = node.disk.durable.founding.clone();
                node.disk = founded(incarnation, founding.expect("it is formed"));
                outcome.steps.push(NodeStep::Wiped(incarnation));
                return outcome;
            }
        };
        outcome.feed(event);
        outcome
    }
}

impl Outcome {
    fn feed(&mut self, event: Event) {
        let commit_before = self.node.zab.as_ref().map(Zab::commit);
        let now = self.node.now();
        let mut events = VecDeque::from([event]);
        while let (Some(event), None) = (events.pop_front(), &self.violation) {
            let Some(zab) = &mut self.node.zab else { return };
            match catch_unwind(AssertUnwindSafe(|| zab.step(now, [event]))) {
                Ok(effects) => {
                    for effect in effects {
                        self.carry_out(effect, &mut events);
                    }
                }
                Err(panic) => {
                    let detail = format!("n{}: {}", self.node.index, panic_text(&*panic));
                    self.violation = Some(Violation { invariant: "no panic", detail });
                }
            }
            if events.is_empty() {
                events.extend(self.give_up_dials());
            }
        }
        let commit = self.node.zab.as_ref().map(Zab::commit);
        if let (Some(before), Some(after), None) = (commit_before, commit, &self.violation)
            && after < before
        {
            let detail = format!("n{}: the commit index falls from {before} to {after}", self.node.index);
            self.violation = Some(Violation { invariant: "15 commit monotone", detail });
        }
    }

    fn carry_out(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        let node = &mut self.node;
        match &effect {
            Effect::Write { token, write } => {
                let released = node.zab.as_ref().map_or(0, Zab::released);
                node.disk.issue(*token, write.clone(), released);
            }
            // Entries that are read are durable and stay as they are, so the time of the read makes no difference.
            Effect::Read { id, from, to, bytes_max } => {
                let entries = node.disk.read(*from, *to, *bytes_max).unwrap_or_default();
                events.push_back(Event::LogRead { id: *id, entries });
            }
            Effect::Connect { peer } => node.dialling |= 1 << (peer.0 - 1),
            Effect::Send { link, message } => {
                self.outputs.push(Output::Send { link: link.0 as u8, message: Box::new(message.clone()) });
            }
            Effect::Close { link } => self.outputs.push(Output::Close { link: link.0 as u8 }),
            Effect::Commit { counter } => {
                // Applied at once, and durable at once: how much of the table a crash leaves is the simulator's part.
                node.disk.store_at_once(&snapshot::applied(*counter));
                events.push_back(Event::Applied { counter: *counter });
            }
            Effect::Quarantine(fault) => {
                let detail = format!("n{} goes into quarantine: {fault:?}", node.index);
                self.violation = Some(Violation { invariant: "a node must not stop", detail });
            }
            Effect::Stop(why) => {
                let detail = format!("n{} stops: {why}", node.index);
                self.violation = Some(Violation { invariant: "a node must not stop", detail });
            }
            // All of it in one message, made and sent at once.
            Effect::SendSnapshot { link } => {
                let (table, log) = node.disk.checkpoint();
                let zxid = log.last().map_or(Zxid::ZERO, |entry| entry.zxid);
                let message = Message::Snapshot(snapshot::encode(&Snapshot { at: zxid, table, log }));
                events.push_back(Event::SnapshotBegun { link: *link, zxid });
                self.outputs.push(Output::Send { link: link.0 as u8, message: Box::new(message) });
            }
            Effect::DiscardSnapshot => node.disk.discard(),
            // Votes are judged and then lost: see the module's parent.
            Effect::Datagram { .. }
            | Effect::Proposed { .. }
            | Effect::Rejected { .. }
            | Effect::ChangeDecided { .. }
            | Effect::BarrierPassed { .. }
            | Effect::BarrierFailed { .. }
            | Effect::Relayed { .. }
            | Effect::Role(_)
            | Effect::Notice(_) => {}
        }
        self.steps.push(NodeStep::Effect(Box::new(effect)));
    }

    /// A dial that the node no longer waits for comes to nothing.
    fn give_up_dials(&mut self) -> Option<Event> {
        let wanted = match self.node.role() {
            Some(Role::Following { leader, .. }) => 1 << (leader.0 - 1),
            _ => 0,
        };
        let unwanted = (0..NODES).find(|peer| self.node.dialling & !wanted & 1 << peer != 0)?;
        self.node.dialling &= !(1 << unwanted);
        Some(Event::ConnectFailed { peer: node_id(unwanted) })
    }
}

/// The message of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something else than text").to_owned()
}

/// What a node holds, in words.
pub(super) fn describe(node: &Node) -> String {
    let HardState { accepted_epoch, accepted_leader, current_epoch } = node.disk.durable.hard_state;
    let promised = accepted_leader.map_or(0, |NodeId(leader)| leader);
    let changed = node.configuration().filter(|configuration| configuration.version() != Zxid::ZERO);
    let members = changed.map_or_else(String::new, |configuration| {
        let indexes = |ids: Vec<NodeId>| ids.iter().map(|id| format!(" n{}", id.0 - 1)).collect::<String>();
        let voters = indexes(configuration.voters().iter().map(|voter| voter.node).collect());
        let learners = indexes(configuration.learners().iter().map(|learner| learner.node).collect());
        format!("; configuration {}: voters{voters}, learners{learners}", configuration.version())
    });
    format!(
        "n{}: {:?}, durable: p {accepted_epoch} (of n{}), a {current_epoch}, last {}; issued: last {}, {} under way; applied {}{members}",
        node.index,
        node.role(),
        promised.wrapping_sub(1) as i64,
        node.disk.durable.last(),
        node.disk.issued.last(),
        node.disk.losable(),
        node.disk.applied()
    )
}
