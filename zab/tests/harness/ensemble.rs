//! Real nodes driven by hand: every message waits until it is delivered, every write until it is persisted.
//!
//! What must hold at every step is checked at every step, whatever a script looks at: nothing is said that the
//! disk does not back, applied histories agree, an epoch has one established leader.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use gometa_zab::{
    Addresses, Bounds, Config, Effect, EnsembleId, Epoch, Event, Founding, Genesis, HardState, Incarnation,
    LinkId, LogEntry, Message, NodeId, Notice, Role, Ticks, Timeouts, Vote, Voter, Zab, Zxid,
};

use super::{
    disk::Disk,
    show::{Names, Topic, kind, name},
};

/// The step of the clock, in microseconds.
pub(crate) const STEP: u64 = 10_000;

/// A node's process and its disk.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) disk: Disk,
    /// `None` while the process is down.
    pub(crate) zab: Option<Zab>,
    /// Writes become durable as soon as nothing is left to deliver.
    pub(crate) autopersist: bool,
    boot: u64,
    /// The table, as the process sees it.
    pub(crate) applied: u64,
    /// What the last write of the hard state said.
    hard_written: HardState,
}

enum Item {
    Message(Message),
    Closed,
}

/// A connection; index 0 is the dialling side. `sent[i]` is what side i has sent and is under way.
struct Connection {
    ends: [(NodeId, LinkId); 2],
    sent: [VecDeque<(u64, Item)>; 2],
    open: [bool; 2],
}

enum Flight {
    Dial { from: NodeId, to: NodeId },
    Datagram { from: NodeId, to: NodeId, vote: Vote, forged: bool },
    Read { node: NodeId, id: u64, entries: Vec<LogEntry> },
}

/// What is not delivered: from, to, kind; `None` is any.
pub(crate) type Hold = (Option<NodeId>, Option<NodeId>, Option<String>);

/// The scene of a script.
pub(crate) struct Ensemble {
    pub(crate) now: Ticks,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) bounds: Bounds,
    pub(crate) hidden: BTreeSet<Topic>,
    pub(crate) holds: Vec<Hold>,
    /// Pairs of nodes that cannot reach each other.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Everything that was said, hidden or not.
    pub(crate) transcript: Vec<String>,
    pub(crate) names: Names,
    configured: Vec<Voter>,
    founding: Option<Founding>,
    connections: Vec<Connection>,
    flights: VecDeque<(u64, Flight)>,
    visible: Vec<String>,
    sequence: u64,
    next_link: u64,
    next_incarnation: u128,
    history: BTreeMap<u64, (Zxid, Bytes)>,
    leaders: BTreeMap<Epoch, NodeId>,
}

impl Ensemble {
    pub(crate) fn new() -> Ensemble {
        Ensemble {
            now: Ticks(0),
            nodes: BTreeMap::new(),
            bounds: Bounds::default(),
            hidden: BTreeSet::from([Topic::Votes, Topic::Heartbeats, Topic::Links]),
            holds: Vec::new(),
            cut: BTreeSet::new(),
            transcript: Vec::new(),
            names: Names::default(),
            configured: Vec::new(),
            founding: None,
            connections: Vec::new(),
            flights: VecDeque::new(),
            visible: Vec::new(),
            sequence: 0,
            next_link: 0,
            next_incarnation: 0,
            history: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }

    /// Sets the scene: these voters, sealed unless `unformed`.
    pub(crate) fn found(&mut self, ids: &[NodeId], unformed: bool) {
        let voters: Vec<(Voter, Incarnation)> = ids
            .iter()
            .map(|id| {
                self.next_incarnation += 1;
                let message = name(*id);
                let addresses = Addresses { message, ..Addresses::default() };
                (Voter { node: *id, incarnation: None, addresses }, Incarnation(self.next_incarnation))
            })
            .collect();
        self.configured = voters.iter().map(|(voter, _)| voter.clone()).collect();
        let recorded =
            voters.iter().map(|(voter, own)| Voter { incarnation: Some(*own), ..voter.clone() }).collect();
        let genesis = Genesis { ensemble: EnsembleId { id: 0xA11, history: 1 }, voters: recorded };
        self.founding = (!unformed).then_some(Founding { genesis, sealed: true });
        for (voter, incarnation) in voters {
            let disk = Disk { founding: self.founding.clone(), ..Disk::default() };
            let node = Node {
                id: voter.node,
                incarnation,
                disk,
                zab: None,
                autopersist: false,
                boot: 0,
                applied: 0,
                hard_written: HardState::default(),
            };
            self.nodes.insert(voter.node, node);
        }
    }

    pub(crate) fn node(&mut self, id: NodeId) -> Result<&mut Node, String> {
        self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {}", name(id)))
    }

    // ---- The transcript

    fn say(&mut self, topic: Topic, line: String) {
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

    pub(crate) fn start(&mut self, id: NodeId) -> Result<(), String> {
        let (now, voters, bounds) = (self.now, self.configured.clone(), self.bounds);
        let node = self.node(id)?;
        if node.zab.is_some() {
            return Err(format!("{} runs", name(id)));
        }
        node.boot += 1;
        node.applied = node.disk.applied;
        node.hard_written = node.disk.hard;
        let config = Config {
            node: id,
            incarnation: node.incarnation,
            boot: node.boot,
            addresses: Addresses { message: name(id), ..Addresses::default() },
            voters,
            seed: u128::from(id.0 * 1_000 + node.boot),
            timeouts: Timeouts::from_ms(100, 1_000),
            bounds,
        };
        node.zab = Some(Zab::new(config, node.disk.recover(), now));
        self.step(id, Vec::new());
        Ok(())
    }

    /// The process ends; what was not durable is gone, and so is what it had under way.
    pub(crate) fn crash(&mut self, id: NodeId) -> Result<(), String> {
        let node = self.node(id)?;
        if node.zab.take().is_none() {
            return Err(format!("{} is down", name(id)));
        }
        node.disk.crash();
        self.flights.retain(|(_, flight)| match flight {
            Flight::Dial { from, .. } | Flight::Datagram { from, .. } => *from != id,
            Flight::Read { node, .. } => *node != id,
        });
        self.sever(|ends| ends.iter().any(|(end, _)| *end == id));
        Ok(())
    }

    /// The data directory is gone; the next start makes a new one.
    pub(crate) fn wipe(&mut self, id: NodeId) -> Result<(), String> {
        self.next_incarnation += 1;
        let incarnation = Incarnation(self.next_incarnation);
        let node = self.node(id)?;
        if node.zab.is_some() {
            return Err(format!("{} runs", name(id)));
        }
        node.disk = Disk::default();
        node.incarnation = incarnation;
        Ok(())
    }

    /// Breaks connections: what is under way on them is lost, and both ends learn of it when that is delivered.
    pub(crate) fn sever(&mut self, which: impl Fn(&[(NodeId, LinkId); 2]) -> bool) {
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

    pub(crate) fn unreachable(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&(from.min(to), from.max(to)))
    }

    // ---- Steps and their effects

    pub(crate) fn step(&mut self, id: NodeId, events: Vec<Event>) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let before = node.applied;
        let Some(zab) = &mut node.zab else { return };
        for effect in zab.step(now, events) {
            self.obey(id, effect);
        }
        let Some(counter) = self.nodes.get(&id).map(|node| node.applied) else { return };
        if counter > before {
            self.step(id, vec![Event::Applied { counter }]);
        }
    }

    fn other_end(&self, link: LinkId) -> Option<(usize, usize)> {
        self.connections.iter().enumerate().find_map(|(index, connection)| {
            connection.ends.iter().position(|(_, end)| *end == link).map(|side| (index, side))
        })
    }

    fn obey(&mut self, id: NodeId, effect: Effect) {
        let place = match &effect {
            Effect::Send { link, .. } | Effect::Close { link } => self.other_end(*link),
            _ => None,
        };
        let to = place.and_then(|(index, side)| Some(self.connections.get(index)?.ends[1 - side].0));
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.disk.vouch(id, &effect);
        let before = node.hard_written;
        let (topic, line) = self.names.effect(id, to, before, &effect);
        self.say(topic, line);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match effect {
            Effect::Write { token, write } => {
                if let gometa_zab::Write::HardState(hard) = &write {
                    node.hard_written = *hard;
                }
                node.disk.pending.push_back((token, write));
            }
            Effect::Read { id: read, from, to, bytes_max } => {
                let mut bytes = 0;
                let mut entries = Vec::new();
                for entry in node.disk.log.iter().filter(|entry| (from..=to).contains(&entry.zxid.counter)) {
                    bytes += entry.size();
                    if !entries.is_empty() && bytes > bytes_max {
                        break;
                    }
                    entries.push(entry.clone());
                }
                self.fly(Flight::Read { node: id, id: read, entries });
            }
            Effect::Datagram { to, vote } => self.fly(Flight::Datagram { from: id, to, vote, forged: false }),
            Effect::Connect { peer } => self.fly(Flight::Dial { from: id, to: peer }),
            Effect::Send { message, .. } => self.post(place, Item::Message(message)),
            Effect::Close { .. } => {
                if let Some((index, side)) = place {
                    self.connections[index].open[side] = false;
                    self.connections[index].sent[1 - side].clear();
                }
                self.post(place, Item::Closed);
            }
            Effect::Commit { counter } => {
                let fresh: Vec<LogEntry> = node
                    .disk
                    .log
                    .iter()
                    .filter(|entry| entry.zxid.counter > node.applied && entry.zxid.counter <= counter)
                    .cloned()
                    .collect();
                assert!(counter > node.applied, "invariant 15: {} applies {counter} again", name(id));
                node.applied = counter;
                for entry in fresh {
                    let applied = (entry.zxid, entry.payload.clone());
                    let known = self.history.entry(entry.zxid.counter).or_insert_with(|| applied.clone());
                    assert_eq!(*known, applied, "invariant 3: applied histories differ at {}", entry.zxid);
                }
            }
            Effect::Notice(Notice::Established { epoch, .. }) => {
                let leader = *self.leaders.entry(epoch).or_insert(id);
                assert_eq!(leader, id, "invariant 8: two leaders of epoch {epoch}");
            }
            Effect::Stop(_) => {
                node.zab = None;
                node.disk.crash();
                self.sever(|ends| ends.iter().any(|(end, _)| *end == id));
            }
            Effect::Proposed { .. }
            | Effect::Rejected { .. }
            | Effect::BarrierPassed { .. }
            | Effect::BarrierFailed { .. }
            | Effect::Relayed { .. }
            | Effect::Role(_)
            | Effect::Notice(_) => {}
        }
    }

    fn fly(&mut self, flight: Flight) {
        self.sequence += 1;
        self.flights.push_back((self.sequence, flight));
    }

    fn post(&mut self, place: Option<(usize, usize)>, item: Item) {
        self.sequence += 1;
        if let Some((index, side)) = place {
            self.connections[index].sent[side].push_back((self.sequence, item));
        }
    }

    /// Sends a message as if `from` had, behind what it has sent already.
    pub(crate) fn inject(&mut self, from: NodeId, to: NodeId, message: Message) -> Result<(), String> {
        let place = self.connections.iter().enumerate().find_map(|(index, connection)| {
            let [dialler, acceptor] = connection.ends.map(|(node, _)| node);
            let open = connection.open == [true; 2];
            match (dialler, acceptor) {
                (a, b) if open && (a, b) == (from, to) => Some((index, 0)),
                (a, b) if open && (b, a) == (from, to) => Some((index, 1)),
                _ => None,
            }
        });
        if place.is_none() {
            return Err(format!("{} and {} are not connected", name(from), name(to)));
        }
        let (_, text) = self.names.message(&message);
        self.say(Topic::Protocol, format!("forged: {} → {} {text}", name(from), name(to)));
        self.post(place, Item::Message(message));
        Ok(())
    }

    /// Sends a datagram as if `vote.sender` had.
    pub(crate) fn inject_vote(&mut self, to: NodeId, vote: Vote) {
        let effect = Effect::Datagram { to, vote: vote.clone() };
        let (_, line) = self.names.effect(vote.sender, None, HardState::default(), &effect);
        self.say(Topic::Protocol, format!("forged: {line}"));
        self.fly(Flight::Datagram { from: vote.sender, to, vote, forged: true });
    }

    // ---- Delivery

    fn held(&self, from: NodeId, to: NodeId, what: &str) -> bool {
        self.holds.iter().any(|(hold_from, hold_to, hold_kind)| {
            hold_from.is_none_or(|node| node == from)
                && hold_to.is_none_or(|node| node == to)
                && hold_kind.as_deref().is_none_or(|kind| kind == what)
        })
    }

    /// Delivers the oldest thing that may be; whether there was one.
    fn deliver_one(&mut self, from: Option<NodeId>, to: Option<NodeId>) -> bool {
        let wanted =
            |a: NodeId, b: NodeId| from.is_none_or(|node| node == a) && to.is_none_or(|node| node == b);
        let flight = self.flights.iter().enumerate().find_map(|(index, (sequence, flight))| {
            let may = match flight {
                Flight::Dial { from, to } => {
                    (wanted(*from, *to) || wanted(*to, *from)) && !self.held(*from, *to, "Dial")
                }
                Flight::Datagram { from, to, forged, .. } => {
                    wanted(*from, *to) && (*forged || !self.held(*from, *to, "Vote"))
                }
                Flight::Read { .. } => true,
            };
            may.then_some((*sequence, index))
        });
        let mut item: Option<(u64, usize, usize)> = None;
        for (index, connection) in self.connections.iter().enumerate() {
            for side in [0, 1] {
                let (a, b) = (connection.ends[side].0, connection.ends[1 - side].0);
                let Some((sequence, head)) = connection.sent[side].front() else { continue };
                let what = match head {
                    Item::Message(message) => kind(message),
                    Item::Closed => "Closed",
                };
                let sooner = item.is_none_or(|(first, _, _)| *sequence < first);
                if sooner && wanted(a, b) && !self.held(a, b, what) {
                    item = Some((*sequence, index, side));
                }
            }
        }
        match (flight, item) {
            (Some((sequence, index)), item) if item.is_none_or(|(other, _, _)| sequence < other) => {
                if let Some((_, flight)) = self.flights.remove(index) {
                    self.land(flight);
                }
            }
            (_, Some((_, index, side))) => self.arrive(index, side),
            _ => return false,
        }
        true
    }

    fn land(&mut self, flight: Flight) {
        match flight {
            Flight::Dial { from, to } => {
                let up = self.nodes.get(&to).is_some_and(|node| node.zab.is_some());
                if !up || self.unreachable(from, to) {
                    return self.step(from, vec![Event::ConnectFailed { peer: to }]);
                }
                self.next_link += 2;
                let (dialled, accepted) = (LinkId(self.next_link - 1), LinkId(self.next_link));
                self.connections.push(Connection {
                    ends: [(from, dialled), (to, accepted)],
                    sent: [VecDeque::new(), VecDeque::new()],
                    open: [true; 2],
                });
                self.step(from, vec![Event::Connected { peer: to, link: dialled }]);
                self.step(to, vec![Event::Accepted { link: accepted }]);
            }
            Flight::Datagram { from, to, vote, .. } => {
                if !self.unreachable(from, to) {
                    self.step(to, vec![Event::Datagram(vote)]);
                }
            }
            Flight::Read { node, id, entries } => self.step(node, vec![Event::LogRead { id, entries }]),
        }
    }

    fn arrive(&mut self, index: usize, side: usize) {
        let connection = &mut self.connections[index];
        let (to, link) = connection.ends[1 - side];
        let Some((_, item)) = connection.sent[side].pop_front() else { return };
        if !connection.open[1 - side] {
            return;
        }
        match item {
            Item::Message(message) => self.step(to, vec![Event::Message { link, message }]),
            Item::Closed => {
                connection.open[1 - side] = false;
                self.step(to, vec![Event::Closed { link }]);
            }
        }
    }

    /// Delivers until nothing is left that may be; in between, disks that persist by themselves do.
    pub(crate) fn deliver(&mut self, from: Option<NodeId>, to: Option<NodeId>, max: usize) {
        let mut delivered = 0;
        loop {
            while delivered < max && self.deliver_one(from, to) {
                delivered += 1;
                assert!(delivered < 1_000_000, "the nodes do not come to rest");
            }
            self.connections.retain(|connection| {
                connection.open.contains(&true) || connection.sent.iter().any(|sent| !sent.is_empty())
            });
            let busy: Vec<NodeId> = self
                .nodes
                .values()
                .filter(|node| node.autopersist && !node.disk.pending.is_empty())
                .map(|node| node.id)
                .collect();
            if busy.is_empty() || delivered >= max {
                return;
            }
            for id in busy {
                self.persist(id, usize::MAX, true);
            }
        }
    }

    /// Log entries that are on their way from one node to another, and their size.
    pub(crate) fn underway(&self, from: NodeId, to: NodeId) -> (usize, usize) {
        let mut sum = (0, 0);
        for connection in &self.connections {
            for side in [0, 1] {
                if (connection.ends[side].0, connection.ends[1 - side].0) != (from, to) {
                    continue;
                }
                for (_, item) in &connection.sent[side] {
                    if let Item::Message(Message::Propose { entries, .. }) = item {
                        sum.0 += entries.len();
                        sum.1 += entries.iter().map(LogEntry::size).sum::<usize>();
                    }
                }
            }
        }
        sum
    }

    /// Makes the oldest writes of a node durable, and tells it once, or not at all.
    pub(crate) fn persist(&mut self, id: NodeId, max: usize, tell: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mut last = None;
        for _ in 0..max {
            match node.disk.persist() {
                Some(token) => last = Some(token),
                None => break,
            }
        }
        // The table follows the log in the same order of writes.
        node.disk.applied = node.disk.applied.max(node.applied);
        if let Some(token) = last.filter(|_| tell) {
            self.step(id, vec![Event::Persisted(token)]);
        }
    }

    /// Moves the clock and lets these nodes look at it.
    pub(crate) fn tick(&mut self, ids: &[NodeId], micros: u64) {
        self.now = self.now.plus(micros);
        for id in ids {
            self.step(*id, vec![Event::Tick]);
        }
    }

    /// Time passes in small steps, everything is delivered.
    pub(crate) fn run(&mut self, micros: u64) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.deliver(None, None, usize::MAX);
        for _ in 0..micros / STEP {
            self.tick(&ids, STEP);
            self.deliver(None, None, usize::MAX);
        }
    }

    /// The established leader, if every running node that it can reach is up to date with it.
    pub(crate) fn settled(&self) -> Option<NodeId> {
        let role = |node: &Node| node.zab.as_ref().map(Zab::role);
        let leader = self.nodes.values().find_map(|node| match role(node)? {
            Role::Leading { established: Some(epoch) } => Some((node.id, epoch)),
            _ => None,
        });
        let (leader, epoch) = leader?;
        let all = self.nodes.values().filter(|node| node.zab.is_some() && node.id != leader).all(|node| {
            let follows = Role::Following { leader, established: Some(epoch) };
            self.unreachable(leader, node.id) || role(node) == Some(follows)
        });
        all.then_some(leader)
    }

    /// Runs with working disks until there is a leader whom all others follow.
    pub(crate) fn settle(&mut self) -> Result<NodeId, String> {
        let kept: Vec<(NodeId, bool)> = self.nodes.values().map(|node| (node.id, node.autopersist)).collect();
        for node in self.nodes.values_mut() {
            node.autopersist = true;
        }
        let mut leader = None;
        for _ in 0..1_000 {
            self.run(STEP);
            leader = self.settled();
            if leader.is_some() {
                break;
            }
        }
        for (id, autopersist) in kept {
            self.node(id)?.autopersist = autopersist;
        }
        leader.ok_or_else(|| "nobody is established after 10 s".to_owned())
    }
}
