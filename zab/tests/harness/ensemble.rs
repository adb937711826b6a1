//! `Zab` nodes driven by a script: every message waits until it is delivered, every write until it is persisted.
//!
//! Invariants are checked after every step: no message claims more than the sender's disk contains, applied histories
//! agree, and an epoch has one established leader.

use std::collections::BTreeMap;

use bytes::Bytes;
use gometa_testkit::{
    disk::Disk,
    ensemble::{Ensemble, Environment},
    text::{Names, Topic, name, name_or_none, vote},
};
use gometa_zab::{
    Addresses, Bounds, Config, DiskSpace, Effect, EnsembleId, Epoch, Event, Founding, Genesis, HardState,
    Incarnation, LinkId, LogEntry, Message, NodeId, Notice, Rejection, Role, Timeouts, Vote, Voter, Zab,
    Zxid,
};

/// A node's process and its disk.
pub(crate) struct Node {
    pub(crate) incarnation: Incarnation,
    pub(crate) disk: Disk,
    /// `None` while the process is down.
    pub(crate) zab: Option<Zab>,
    /// Whether its record of the ensemble is lost.
    pub(crate) never_founds: bool,
    boot: u64,
    /// How often it has got another message address.
    moves: u64,
    /// The table, as the process sees it.
    pub(crate) applied: u64,
    /// The last hard state that was written.
    hard_written: HardState,
    /// The snapshot that is being sent to it.
    snapshot: Option<Zxid>,
}

/// The ensemble of a script.
pub(crate) struct Zabs {
    environment: Environment,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) bounds: Bounds,
    pub(crate) names: Names,
    pub(crate) next_proposal: u64,
    configured: Vec<Voter>,
    next_incarnation: u128,
    history: BTreeMap<u64, (Zxid, Bytes)>,
    leaders: BTreeMap<Epoch, NodeId>,
}

impl Default for Zabs {
    fn default() -> Zabs {
        let text = |payload: &Bytes| String::from_utf8_lossy(payload).into_owned();
        let relayed =
            |payload: &Bytes| (Topic::Broadcast, format!("Relay {}", String::from_utf8_lossy(payload)));
        Zabs {
            environment: Environment::new(&[Topic::Votes, Topic::Heartbeats, Topic::Links]),
            nodes: BTreeMap::new(),
            bounds: Bounds::default(),
            names: Names::new(text, relayed),
            next_proposal: 0,
            configured: Vec::new(),
            next_incarnation: 0,
            history: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }
}

impl Ensemble for Zabs {
    fn environment(&self) -> &Environment {
        &self.environment
    }

    fn environment_mut(&mut self) -> &mut Environment {
        &mut self.environment
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    fn role(&self, id: NodeId) -> Option<Role> {
        self.nodes.get(&id)?.zab.as_ref().map(Zab::role)
    }

    fn take(&mut self, id: NodeId, mut event: Event) {
        if let (Event::LogRead { entries, .. }, Some(node)) = (&mut event, self.nodes.get(&id)) {
            // The disk answers now, and may have deleted them since.
            if entries.first().is_some_and(|first| first.zxid.counter <= node.disk.base.counter) {
                entries.clear();
            }
        }
        self.step(id, vec![event]);
    }

    fn has_work(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| !node.disk.pending.is_empty())
    }

    fn work(&mut self, id: NodeId) {
        self.persist(id, usize::MAX, true);
    }
}

impl Zabs {
    /// Adds these voters, of one ensemble unless it has yet to form.
    pub(crate) fn found(&mut self, ids: &[NodeId], unformed: bool) {
        let first = self.next_incarnation + 1;
        self.next_incarnation += ids.len() as u128;
        let voter = |id: &NodeId, incarnation| {
            let addresses = Addresses { message: name(*id), ..Addresses::default() };
            Voter { node: *id, incarnation, addresses }
        };
        self.configured = ids.iter().map(|id| voter(id, None)).collect();
        let recorded: Vec<Voter> =
            ids.iter().zip(first..).map(|(id, own)| voter(id, Some(Incarnation(own)))).collect();
        let genesis = Genesis {
            ensemble: EnsembleId { id: 0xA11, history: 1 },
            voters: recorded,
            level: gometa_zab::FIRST_LEVEL,
        };
        let founding = (!unformed).then_some(Founding { genesis, sealed: true });
        for (id, own) in ids.iter().zip(first..) {
            self.insert(*id, Incarnation(own), founding.clone());
        }
    }

    /// Adds a node that is no member of the ensemble, which is formed, and that knows its genesis.
    pub(crate) fn add_newcomer(&mut self, id: NodeId) -> Result<(), String> {
        let founding = self.nodes.values().find_map(|node| node.disk.founding.clone());
        let founding = founding.filter(|founding| founding.sealed).ok_or("the ensemble is not formed")?;
        self.next_incarnation += 1;
        self.insert(id, Incarnation(self.next_incarnation), Some(founding));
        Ok(())
    }

    fn insert(&mut self, id: NodeId, incarnation: Incarnation, founding: Option<Founding>) {
        let node = Node {
            incarnation,
            disk: Disk { founding, ..Disk::default() },
            zab: None,
            never_founds: false,
            boot: 0,
            moves: 0,
            applied: 0,
            hard_written: HardState::default(),
            snapshot: None,
        };
        self.nodes.insert(id, node);
        self.environment.manual.insert(id);
    }

    /// A node that is down has another message address from its next start on.
    pub(crate) fn move_to_other_address(&mut self, id: NodeId) -> Result<(), String> {
        self.node_that_is_down(id)?.moves += 1;
        Ok(())
    }

    /// The addresses with which a node greets: its name, and a number if it has moved.
    pub(crate) fn addresses(&self, id: NodeId) -> Addresses {
        let moves = self.nodes.get(&id).map_or(0, |node| node.moves);
        let number = if moves > 0 { moves.to_string() } else { String::new() };
        Addresses { message: name(id) + &number, ..Addresses::default() }
    }

    pub(crate) fn node(&mut self, id: NodeId) -> Result<&mut Node, String> {
        self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {}", name(id)))
    }

    // ---- Processes

    fn node_that_is_down(&mut self, id: NodeId) -> Result<&mut Node, String> {
        let node = self.node(id)?;
        if node.zab.is_some() { Err(format!("{} runs", name(id))) } else { Ok(node) }
    }

    pub(crate) fn start(&mut self, id: NodeId) -> Result<(), String> {
        let (now, voters, bounds) = (self.environment.now, self.configured.clone(), self.bounds);
        let addresses = self.addresses(id);
        let node = self.node_that_is_down(id)?;
        node.boot += 1;
        node.applied = node.disk.applied;
        node.hard_written = node.disk.hard;
        let config = Config {
            node: id,
            incarnation: node.incarnation,
            boot: node.boot,
            addresses,
            voters,
            seed: u128::from(id.0 * 1_000 + node.boot),
            timeouts: Timeouts::from_ms(100, 1_000),
            bounds,
            levels: gometa_zab::Levels::SUPPORTED,
            never_founds: node.never_founds,
            founds_with_quorum: false,
        };
        node.zab = Some(Zab::new(config, node.disk.recover(), now));
        self.step(id, Vec::new());
        Ok(())
    }

    /// Ends a process; writes that are not durable and messages in flight are lost.
    pub(crate) fn crash(&mut self, id: NodeId) -> Result<(), String> {
        let node = self.node(id)?;
        if node.zab.take().is_none() {
            return Err(format!("{} is down", name(id)));
        }
        node.disk.crash();
        self.environment.network.remove(id);
        Ok(())
    }

    /// Removes a data directory; the next start makes a new one.
    pub(crate) fn wipe(&mut self, id: NodeId) -> Result<(), String> {
        self.next_incarnation += 1;
        let incarnation = Incarnation(self.next_incarnation);
        let node = self.node_that_is_down(id)?;
        node.disk = Disk::default();
        node.never_founds = false;
        node.incarnation = incarnation;
        Ok(())
    }

    // ---- Steps and their effects

    pub(crate) fn step(&mut self, id: NodeId, events: Vec<Event>) {
        let now = self.environment.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let before = node.applied;
        let Some(zab) = &mut node.zab else { return };
        for effect in zab.step(now, events) {
            self.carry_out(id, effect);
        }
        let Some(counter) = self.nodes.get(&id).map(|node| node.applied) else { return };
        if counter > before {
            self.step(id, vec![Event::Applied { counter }]);
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        let (topic, line) = self.line(id, &effect);
        self.environment.record(topic, line);
        let network = &mut self.environment.network;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.disk.vouch(id, &effect);
        match effect {
            Effect::Write { token, write } => {
                if let gometa_zab::Write::HardState(hard) = &write {
                    node.hard_written = *hard;
                }
                node.disk.pending.push_back((token, write));
            }
            Effect::Read { id: read, from, to, bytes_max } => {
                network.read(id, read, node.disk.read(from, to, bytes_max));
            }
            Effect::Datagram { to, vote } => network.datagram(id, to, vote),
            Effect::Connect { peer } => network.dial(id, peer),
            Effect::Send { link, message } => network.send(link, message),
            Effect::Close { link } => network.close(link),
            Effect::Commit { counter } => {
                assert!(counter > node.applied, "invariant 15: {} applies {counter} again", name(id));
                let new = |entry: &&LogEntry| (node.applied + 1..=counter).contains(&entry.zxid.counter);
                for entry in node.disk.log.iter().filter(new) {
                    let applied = (entry.zxid, entry.payload.clone());
                    let known = self.history.entry(entry.zxid.counter).or_insert_with(|| applied.clone());
                    assert_eq!(*known, applied, "invariant 3: applied histories differ at {}", entry.zxid);
                }
                node.applied = counter;
            }
            Effect::Notice(Notice::Established { epoch, .. }) => {
                let leader = *self.leaders.entry(epoch).or_insert(id);
                assert_eq!(leader, id, "invariant 8: two leaders of epoch {epoch}");
            }
            Effect::Stop(_) | Effect::Quarantine(_) => self.crash(id).expect("a node that stops runs"),
            Effect::SendSnapshot { .. }
            | Effect::DiscardSnapshot
            | Effect::Proposed { .. }
            | Effect::Rejected { .. }
            | Effect::ChangeDecided { .. }
            | Effect::BarrierPassed { .. }
            | Effect::BarrierFailed { .. }
            | Effect::Relayed { .. }
            | Effect::Role(_)
            | Effect::Notice(_) => {}
        }
    }

    /// The line for an effect of a node.
    fn line(&mut self, id: NodeId, effect: &Effect) -> (Topic, String) {
        let me = name(id);
        let other = |link| name_or_none(self.environment.network.peer(link));
        match effect {
            Effect::Write { token, write } => {
                let before = self.nodes.get(&id).map_or_else(HardState::default, |node| node.hard_written);
                let (_, text) = self.names.write(write, before);
                (Topic::Writes, format!("{me} writes {token}: {text}"))
            }
            Effect::Read { from, to, .. } => (Topic::Links, format!("{me} reads {from} to {to}")),
            Effect::Datagram { to, vote: sent } => {
                (Topic::Votes, format!("{me} → {} {}", name(*to), vote(sent)))
            }
            Effect::Connect { peer } => (Topic::Links, format!("{me} dials {}", name(*peer))),
            Effect::Send { link, message } => {
                let other = other(*link);
                let (topic, text) = self.names.message(message);
                (topic, format!("{me} → {other} {text}"))
            }
            Effect::Close { link } => {
                (Topic::Links, format!("{me} closes the connection with {}", other(*link)))
            }
            Effect::SendSnapshot { link } => {
                (Topic::Joining, format!("{me} shall send a snapshot to {}", other(*link)))
            }
            Effect::DiscardSnapshot => {
                (Topic::Joining, format!("{me} deletes the snapshot that it received"))
            }
            Effect::Commit { counter } => (Topic::Story, format!("{me} applies through {counter}")),
            Effect::Proposed { zxid, .. } => (Topic::Story, format!("{me} proposes {zxid}")),
            Effect::ChangeDecided { result, .. } => {
                (Topic::Story, format!("{me} decides on a change of the members: {result:?}"))
            }
            Effect::Rejected { why, .. } => {
                let why = match why {
                    Rejection::NotLeader => "it does not lead",
                    Rejection::Full => "too much is in flight",
                    Rejection::Level => "its ensemble does not have the feature level",
                };
                (Topic::Story, format!("{me} rejects a proposal: {why}"))
            }
            Effect::BarrierPassed { id, commit } => {
                (Topic::Story, format!("{me} passes barrier {id}: read at {commit}"))
            }
            Effect::BarrierFailed { id } => (Topic::Story, format!("{me} fails barrier {id}")),
            Effect::Relayed { payload, .. } => {
                (Topic::Story, format!("{me} receives {}", String::from_utf8_lossy(payload)))
            }
            Effect::Role(role) => (Topic::Links, format!("{me} is {role:?}")),
            Effect::Notice(notice) => self.names.notice(&me, notice),
            Effect::Quarantine(fault) => (Topic::Story, format!("{me} goes into quarantine: {fault:?}")),
            Effect::Stop(reason) => (Topic::Story, format!("{me} stops: {reason}")),
        }
    }

    /// Sends a message in the name of `from`, after its earlier messages.
    pub(crate) fn inject(&mut self, from: NodeId, to: NodeId, message: Message) -> Result<(), String> {
        let (_, text) = self.names.message(&message);
        self.environment.network.forge(from, to, message)?;
        self.environment.record(Topic::Story, format!("forged: {} → {} {text}", name(from), name(to)));
        Ok(())
    }

    /// Sends a datagram in the name of `forged.sender`.
    pub(crate) fn inject_vote(&mut self, to: NodeId, forged: Vote) {
        let line = format!("forged: {} → {} {}", name(forged.sender), name(to), vote(&forged));
        self.environment.record(Topic::Story, line);
        self.environment.network.forge_vote(to, forged);
    }

    // ---- Snapshots and compaction

    /// A node's log may be compacted.
    pub(crate) fn compact(&mut self, id: NodeId, through: u64, forced: u64) {
        self.step(id, vec![Event::MayCompact { through, forced }]);
    }

    /// The disk space of a node changes.
    pub(crate) fn space(&mut self, id: NodeId, space: DiskSpace) {
        self.step(id, vec![Event::DiskSpace(space)]);
    }

    /// A node's storage begins to send a snapshot of what it has applied.
    pub(crate) fn send_snapshot(&mut self, from: NodeId, to: NodeId) -> Result<(), String> {
        let link = self.link(from, to)?;
        let node = self.node(from)?;
        let applied = node.applied;
        let zxid = node.zab.as_ref().and_then(|zab| zab.zxid_at(applied));
        let zxid = zxid.ok_or_else(|| format!("{} has nothing at {applied}", name(from)))?;
        self.node(to)?.snapshot = Some(zxid);
        self.step(from, vec![Event::SnapshotBegun { link, zxid }]);
        Ok(())
    }

    /// A node's storage has received the snapshot that was sent to it, or one at `at`.
    pub(crate) fn receive_snapshot(
        &mut self,
        id: NodeId,
        from: NodeId,
        at: Option<Zxid>,
    ) -> Result<(), String> {
        let link = self.link(id, from)?;
        let sent = self.node(id)?.snapshot;
        let zxid = at.or(sent).ok_or_else(|| format!("no snapshot was sent to {}", name(id)))?;
        self.environment.record(Topic::Story, format!("{} has received a snapshot at {zxid}", name(id)));
        self.step(id, vec![Event::SnapshotReceived { link, zxid, configuration: None }]);
        Ok(())
    }

    fn link(&self, at: NodeId, peer: NodeId) -> Result<LinkId, String> {
        let link = self.environment.network.link(at, peer);
        link.ok_or_else(|| format!("{} and {} are not connected", name(at), name(peer)))
    }

    /// Makes the oldest writes of a node durable, and reports the last one to it unless that is to be lost.
    pub(crate) fn persist(&mut self, id: NodeId, max: usize, report: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mut last = None;
        // The table follows the log in the same order of writes; a snapshot replaces both.
        node.disk.applied = node.disk.applied.max(node.applied);
        for _ in 0..max {
            match node.disk.persist() {
                Some(token) => last = Some(token),
                None => break,
            }
        }
        node.applied = node.disk.applied;
        if let Some(token) = last.filter(|_| report) {
            self.step(id, vec![Event::Persisted(token)]);
        }
    }
}
