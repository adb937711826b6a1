//! A network on which everything that is sent waits until a test delivers it.

use std::collections::{BTreeSet, VecDeque};

use gometa_zab::{Event, LinkId, LogEntry, Message, NodeId, Vote};

use crate::text::{kind, name};

enum Item {
    Message(Box<Message>),
    Closed,
}

/// A connection; index 0 is the dialling side. `sent[i]` is in flight from side i.
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

/// A side of a connection: index and side.
type Place = (usize, usize);

#[derive(Default)]
pub struct Network {
    /// Messages that are not delivered, nor anything behind them: from, to, kind; `None` is any.
    pub holds: Vec<(Option<NodeId>, Option<NodeId>, Option<String>)>,
    /// Nodes whose messages and datagrams are lost, in both directions; connections stay open.
    pub isolated: BTreeSet<NodeId>,
    /// Pairs of nodes that cannot reach each other.
    partitioned: BTreeSet<(NodeId, NodeId)>,
    connections: Vec<Connection>,
    flights: VecDeque<(u64, Flight)>,
    sequence: u64,
    next_link: u64,
}

impl Network {
    /// Separates two nodes and breaks their connections.
    pub fn disconnect(&mut self, a: NodeId, b: NodeId) {
        self.partitioned.insert((a.min(b), a.max(b)));
        self.sever(|node| [a, b].contains(&node));
    }

    pub fn reconnect(&mut self, a: NodeId, b: NodeId) {
        self.partitioned.remove(&(a.min(b), a.max(b)));
    }

    pub fn unreachable(&self, a: NodeId, b: NodeId) -> bool {
        self.partitioned.contains(&(a.min(b), a.max(b)))
    }

    /// Ends a process: what it has in flight is lost, and its connections break.
    pub fn remove(&mut self, id: NodeId) {
        self.flights.retain(|(_, flight)| match flight {
            Flight::Dial { from, .. } | Flight::Datagram { from, .. } => *from != id,
            Flight::Read { node, .. } => *node != id,
        });
        let others = |node| node != id;
        for index in 0..self.connections.len() {
            if !self.connections[index].ends.iter().all(|(node, _)| others(*node)) {
                self.break_off(index);
            }
        }
    }

    fn sever(&mut self, which: impl Fn(NodeId) -> bool) {
        for index in 0..self.connections.len() {
            if self.connections[index].ends.iter().all(|(node, _)| which(*node)) {
                self.break_off(index);
            }
        }
    }

    /// Loses what is in flight on a connection; both ends learn of its end when that is delivered.
    fn break_off(&mut self, index: usize) {
        for side in [0, 1] {
            self.connections[index].sent[side].clear();
            self.post(Some((index, side)), Item::Closed);
        }
    }

    // ---- Sending

    fn place(&self, link: LinkId) -> Option<Place> {
        self.connections.iter().enumerate().find_map(|(index, connection)| {
            connection.ends.iter().position(|(_, end)| *end == link).map(|side| (index, side))
        })
    }

    /// The node at the other end of a connection.
    pub fn peer(&self, link: LinkId) -> Option<NodeId> {
        self.place(link).map(|(index, side)| self.connections[index].ends[1 - side].0)
    }

    /// At `at`, the newest open connection with `peer`.
    pub fn link(&self, at: NodeId, peer: NodeId) -> Option<LinkId> {
        let place = self.between(at, peer)?;
        Some(self.connections[place.0].ends[place.1].1)
    }

    fn between(&self, from: NodeId, to: NodeId) -> Option<Place> {
        self.connections.iter().enumerate().find_map(|(index, connection)| {
            let nodes = connection.ends.map(|(node, _)| node);
            let side = [[from, to], [to, from]].iter().position(|wanted| *wanted == nodes);
            side.filter(|_| connection.open == [true; 2]).map(|side| (index, side))
        })
    }

    fn start(&mut self, flight: Flight) {
        self.sequence += 1;
        self.flights.push_back((self.sequence, flight));
    }

    fn post(&mut self, place: Option<Place>, item: Item) {
        self.sequence += 1;
        if let Some((index, side)) = place {
            self.connections[index].sent[side].push_back((self.sequence, item));
        }
    }

    pub fn dial(&mut self, from: NodeId, to: NodeId) {
        self.start(Flight::Dial { from, to });
    }

    pub fn datagram(&mut self, from: NodeId, to: NodeId, vote: Vote) {
        self.start(Flight::Datagram { from, to, vote, forged: false });
    }

    /// Sends a datagram as if `vote.sender` had; no hold applies to it.
    pub fn forge_vote(&mut self, to: NodeId, vote: Vote) {
        self.start(Flight::Datagram { from: vote.sender, to, vote, forged: true });
    }

    pub fn send(&mut self, link: LinkId, message: Message) {
        self.post(self.place(link), Item::Message(Box::new(message)));
    }

    pub fn close(&mut self, link: LinkId) {
        let place = self.place(link);
        if let Some((index, side)) = place {
            self.connections[index].open[side] = false;
            self.connections[index].sent[1 - side].clear();
        }
        self.post(place, Item::Closed);
    }

    /// Sends a message as if `from` had, behind what it has sent already.
    ///
    /// # Errors
    /// If the nodes are not connected.
    pub fn forge(&mut self, from: NodeId, to: NodeId, message: Message) -> Result<(), String> {
        let place = self.between(from, to);
        let place = place.ok_or_else(|| format!("{} and {} are not connected", name(from), name(to)))?;
        self.post(Some(place), Item::Message(Box::new(message)));
        Ok(())
    }

    /// A node's disk has read entries of its log.
    pub fn read(&mut self, node: NodeId, id: u64, entries: Vec<LogEntry>) {
        self.start(Flight::Read { node, id, entries });
    }

    /// The number and size of log entries in flight from one node to another.
    pub fn entries_in_flight(&self, from: NodeId, to: NodeId) -> (usize, usize) {
        let mut sum = (0, 0);
        for connection in &self.connections {
            for side in [0, 1] {
                if (connection.ends[side].0, connection.ends[1 - side].0) != (from, to) {
                    continue;
                }
                for (_, item) in &connection.sent[side] {
                    if let Item::Message(message) = item
                        && let Message::Propose { entries, .. } = &**message
                    {
                        sum.0 += entries.len();
                        sum.1 += entries.iter().map(LogEntry::size).sum::<usize>();
                    }
                }
            }
        }
        sum
    }

    // ---- Delivery

    fn held(&self, from: NodeId, to: NodeId, what: &str) -> bool {
        self.holds.iter().any(|(hold_from, hold_to, hold_kind)| {
            hold_from.is_none_or(|node| node == from)
                && hold_to.is_none_or(|node| node == to)
                && hold_kind.as_deref().is_none_or(|kind| kind == what)
        })
    }

    fn lost(&self, from: NodeId, to: NodeId) -> bool {
        self.unreachable(from, to) || self.isolated.contains(&from) || self.isolated.contains(&to)
    }

    /// Delivers the oldest item that is not held, between these nodes where they are named: the events that it is to
    /// its receivers. `None` if there is no such item.
    pub fn deliver(
        &mut self,
        from: Option<NodeId>,
        to: Option<NodeId>,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Option<Vec<(NodeId, Event)>> {
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
        let mut item: Option<(u64, Place)> = None;
        for (index, connection) in self.connections.iter().enumerate() {
            for side in [0, 1] {
                let (a, b) = (connection.ends[side].0, connection.ends[1 - side].0);
                let Some((sequence, head)) = connection.sent[side].front() else { continue };
                let what = match head {
                    Item::Message(message) => kind(message),
                    Item::Closed => "Closed",
                };
                let sooner = item.is_none_or(|(first, _)| *sequence < first);
                if sooner && wanted(a, b) && !self.held(a, b, what) {
                    item = Some((*sequence, (index, side)));
                }
            }
        }
        match (flight, item) {
            (Some((sequence, index)), item) if item.is_none_or(|(other, _)| sequence < other) => {
                let (_, flight) = self.flights.remove(index)?;
                Some(self.land(flight, is_up))
            }
            (_, Some((_, place))) => Some(self.arrive(place)),
            _ => None,
        }
    }

    fn land(&mut self, flight: Flight, is_up: impl Fn(NodeId) -> bool) -> Vec<(NodeId, Event)> {
        match flight {
            Flight::Dial { from, to } if !is_up(to) || self.lost(from, to) => {
                vec![(from, Event::ConnectFailed { peer: to })]
            }
            Flight::Dial { from, to } => {
                self.next_link += 2;
                let (dialled, accepted) = (LinkId(self.next_link - 1), LinkId(self.next_link));
                self.connections.push(Connection {
                    ends: [(from, dialled), (to, accepted)],
                    sent: [VecDeque::new(), VecDeque::new()],
                    open: [true; 2],
                });
                let connected = Event::Connected { peer: to, link: dialled };
                vec![(from, connected), (to, Event::Accepted { link: accepted })]
            }
            Flight::Datagram { from, to, .. } if self.lost(from, to) => Vec::new(),
            Flight::Datagram { to, vote, .. } => vec![(to, Event::Datagram(vote))],
            Flight::Read { node, id, entries } => vec![(node, Event::LogRead { id, entries })],
        }
    }

    fn arrive(&mut self, (index, side): Place) -> Vec<(NodeId, Event)> {
        let connection = &mut self.connections[index];
        let ((from, _), (to, link)) = (connection.ends[side], connection.ends[1 - side]);
        let Some((_, item)) = connection.sent[side].pop_front() else { return Vec::new() };
        if !connection.open[1 - side] {
            return Vec::new();
        }
        let event = match item {
            Item::Message(message) => Event::Message { link, message: *message },
            Item::Closed => {
                connection.open[1 - side] = false;
                Event::Closed { link }
            }
        };
        let lost = matches!(event, Event::Message { .. }) && self.lost(from, to);
        if lost { Vec::new() } else { vec![(to, event)] }
    }

    /// Forgets connections that both ends have closed.
    pub fn tidy(&mut self) {
        self.connections.retain(|connection| {
            connection.open.contains(&true) || connection.sent.iter().any(|sent| !sent.is_empty())
        });
    }
}
