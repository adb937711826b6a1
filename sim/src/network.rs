//! The seeded network: datagrams that get lost, doubled, reordered, replayed and damaged; connections that keep
//! the order of what they carry and may stall, break on one side or both, or be cut by a partition.
//!
//! It knows bytes and hosts, no protocol. Whatever takes time it puts into `out` with the moment at which it is
//! due; the event loop hands it back through [`Network::perform`], which says what arrives where.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use gometa_zab::LinkId;

use crate::{
    counts::FaultCounts,
    random::{Random, Stream},
    settings::{MILLISECOND, NetworkSettings},
};

/// Datagrams remembered for replay.
const RECENT_MAX: usize = 128;
/// How long an unanswered dial takes to fail, in microseconds.
const CONNECT_TIMEOUT: u64 = 250 * MILLISECOND;
/// How long a sender behind a partition may take to notice that it is gone, in microseconds.
const RETRANSMIT_MAX: u64 = 150 * MILLISECOND;

/// How long an end of a connection that has nothing to send may take to notice that the other end is gone: the
/// keepalive that the server sets on its sockets, in microseconds.
const KEEPALIVE: u64 = 8_000 * MILLISECOND;

/// One of the two ends of a connection: 0 dialled, 1 accepted.
pub type Side = usize;

/// Something in flight in the network.
#[derive(Clone, Debug)]
pub enum Transit {
    /// A datagram reaches its receiver.
    Datagram {
        /// The sending host.
        from: usize,
        /// The receiving host.
        to: usize,
        /// What arrives.
        bytes: Bytes,
        /// It is what was sent, neither damaged nor made up.
        genuine: bool,
        /// How many were sent before it.
        sequence: u64,
    },
    /// The first frame waiting on one direction of a connection may be due.
    Pump {
        /// The connection.
        connection: usize,
        /// The sending end.
        side: Side,
    },
    /// A dial reaches the other host.
    Dial {
        /// The connection to be.
        connection: usize,
    },
    /// The answer to a dial is back.
    Dialled {
        /// The connection.
        connection: usize,
        /// Whether it stands.
        accepted: bool,
    },
    /// One end learns that its connection is gone.
    Broken {
        /// The connection.
        connection: usize,
        /// The end that learns it.
        side: Side,
    },
}

/// Something that has reached a host.
#[derive(Clone, PartialEq, Debug)]
pub enum Arrival {
    /// A datagram.
    Datagram {
        /// The receiving host.
        host: usize,
        /// What arrived.
        bytes: Bytes,
        /// It is what was sent.
        genuine: bool,
    },
    /// A connection was accepted.
    Accepted {
        /// The accepting host.
        host: usize,
        /// Its name for the connection.
        link: LinkId,
    },
    /// A connection that was dialled stands.
    Connected {
        /// The dialling host.
        host: usize,
        /// The other host.
        peer: usize,
        /// The dialling host's name for the connection.
        link: LinkId,
    },
    /// A dial failed.
    ConnectFailed {
        /// The dialling host.
        host: usize,
        /// The other host.
        peer: usize,
    },
    /// A frame.
    Frame {
        /// The receiving host.
        host: usize,
        /// Its name for the connection.
        link: LinkId,
        /// The frame; the last one of a connection that was reset may be the first part of one only.
        bytes: Bytes,
    },
    /// A connection ended.
    Closed {
        /// The host that learns it.
        host: usize,
        /// Its name for the connection.
        link: LinkId,
    },
}

#[derive(Debug)]
enum Frame {
    Data { due: u64, bytes: Bytes },
    End { due: u64 },
}

impl Frame {
    fn due(&self) -> u64 {
        match self {
            Frame::Data { due, .. } | Frame::End { due } => *due,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum EndState {
    Opening,
    Open,
    Closed,
}

#[derive(Debug)]
struct End {
    host: usize,
    boot: u64,
    link: LinkId,
    state: EndState,
    /// Sent by this end and not yet arrived.
    queue: VecDeque<Frame>,
    /// When the last frame sent is due: nothing overtakes.
    last_due: u64,
    /// A [`Transit::Pump`] for this direction is in flight.
    pumping: bool,
    stalled_until: u64,
    /// Bytes of this direction were lost, so nothing behind them arrives.
    cut: bool,
}

#[derive(Debug)]
struct Connection {
    ends: [End; 2],
    /// How much longer than on others everything takes on it.
    lag: u64,
}

#[derive(Clone, Debug)]
struct Host {
    /// The process runs.
    up: bool,
    /// The operating system answers for a process that does not run (it was killed; the machine still has power).
    kernel: bool,
    boot: u64,
    /// The connection end behind each link id of this boot; index 0 is not used.
    links: Vec<(usize, Side)>,
}

/// The network between the hosts 0, 1, ….
#[derive(Debug)]
pub struct Network {
    settings: NetworkSettings,
    random: Random,
    hosts: Vec<Host>,
    connections: Vec<Connection>,
    /// blocked[from * hosts + to]
    blocked: Vec<bool>,
    recent: VecDeque<(usize, Bytes)>,
    datagrams: u64,
    /// stretched[from * hosts + to]: since when, how much, and up to how much what is sent takes longer and longer.
    stretched: Vec<Option<(u64, u64, u64)>>,
    /// latest[from * hosts + to]: the latest datagram that arrived.
    latest: Vec<u64>,
    /// newest[lower * hosts + higher]: the newest connection between two hosts that was accepted.
    newest: Vec<usize>,
    /// What has been sent since the caller looked, and when it is due.
    pub out: Vec<(u64, Transit)>,
    /// What happened so far.
    pub counts: FaultCounts,
}

impl Network {
    /// A network of hosts that are all down.
    pub fn new(seed: u64, hosts: usize, settings: NetworkSettings) -> Network {
        let host = Host { up: false, kernel: true, boot: 0, links: Vec::new() };
        Network {
            settings,
            random: Random::new(seed, Stream::Network),
            hosts: vec![host; hosts],
            connections: Vec::new(),
            blocked: vec![false; hosts * hosts],
            recent: VecDeque::new(),
            datagrams: 0,
            stretched: vec![None; hosts * hosts],
            latest: vec![0; hosts * hosts],
            newest: vec![0; hosts * hosts],
            out: Vec::new(),
            counts: FaultCounts::default(),
        }
    }

    /// The stream of random numbers, for the schedule of partitions.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The faults.
    pub fn settings(&self) -> &NetworkSettings {
        &self.settings
    }

    /// No more faults; what is in flight stays in flight.
    pub fn end_faults(&mut self) {
        self.stretched.fill(None);
        let without_faults = NetworkSettings {
            slow: 0,
            loss: 0,
            duplicate: 0,
            replay: 0,
            flip: 0,
            garbage: 0,
            reset: 0,
            stall: 0,
            slow_link: 0,
            partition_every: 0,
            delay_max: self.settings.delay_max.min(1_000),
            ..self.settings.clone()
        };
        self.settings = without_faults;
    }

    /// A process has started on a host.
    pub fn host_up(&mut self, host: usize, boot: u64) {
        self.hosts[host] = Host { up: true, kernel: true, boot, links: vec![(usize::MAX, 0)] };
    }

    /// The process on a host has ended. With `power` lost, its peers are not notified; otherwise the operating
    /// system sends what was given to it and closes its connections.
    pub fn host_down(&mut self, now: u64, host: usize, power_lost: bool) {
        self.hosts[host].up = false;
        self.hosts[host].kernel = !power_lost;
        let links = std::mem::take(&mut self.hosts[host].links);
        for &(connection, side) in links.iter().skip(1) {
            let end = &mut self.connections[connection].ends[side];
            if end.state != EndState::Open {
                continue;
            }
            end.state = EndState::Closed;
            if power_lost {
                let kept = self.random.index(end.queue.len() + 1);
                end.queue.truncate(kept);
                let at = now + KEEPALIVE + self.random.below(KEEPALIVE);
                self.out.push((at, Transit::Broken { connection, side: 1 - side }));
            } else {
                let due = end.last_due.max(now + 50);
                end.last_due = due;
                end.queue.push_back(Frame::End { due });
                self.pump_later(connection, side, due);
            }
        }
    }

    fn delay(&mut self) -> u64 {
        let NetworkSettings { delay_min, delay_max, slow, .. } = self.settings;
        // Mostly near the short end, as in a real network.
        let span = self.random.between(0, delay_max.saturating_sub(delay_min));
        let delay = delay_min + self.random.between(0, span);
        if self.random.chance(slow) { delay + self.random.below(50 * delay_max) } else { delay }
    }

    /// Whether nothing gets from one host to the other.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked[from * self.hosts.len() + to]
    }

    /// Lets nothing more get from one host to the other: datagrams are lost, connections wait.
    pub fn block(&mut self, from: usize, to: usize) {
        let hosts = self.hosts.len();
        self.blocked[from * hosts + to] = true;
    }

    /// Ends [`Network::block`]; what waited goes on after a while.
    pub fn unblock(&mut self, now: u64, from: usize, to: usize) {
        let hosts = self.hosts.len();
        if !std::mem::take(&mut self.blocked[from * hosts + to]) {
            return;
        }
        for connection in 0..self.connections.len() {
            for side in 0..2 {
                let ends = &self.connections[connection].ends;
                if ends[side].host == from && ends[1 - side].host == to && !ends[side].queue.is_empty() {
                    let at = now + self.random.below(RETRANSMIT_MAX);
                    self.pump_later(connection, side, at);
                }
            }
        }
    }

    /// What one host sends to the other on connections takes longer and longer: what is sent within 1 µs arrives within
    /// `factor`, until it takes `most` longer.
    pub fn stretch(&mut self, now: u64, from: usize, to: usize, factor: u64, most: u64) {
        let hosts = self.hosts.len();
        self.stretched[from * hosts + to] = Some((now, factor, most));
    }

    /// Ends [`Network::stretch`]; nothing overtakes what is in flight.
    pub fn unstretch(&mut self, from: usize, to: usize) {
        let hosts = self.hosts.len();
        self.stretched[from * hosts + to] = None;
    }

    fn stretched(&self, now: u64, from: usize, to: usize) -> u64 {
        let stretched = self.stretched[from * self.hosts.len() + to];
        stretched.map_or(0, |(since, factor, most)| ((now - since) * (factor - 1)).min(most))
    }

    /// Every other host learns that its connections to this one are gone; this one does not, until it sends or by its
    /// keepalive.
    pub fn abandon(&mut self, now: u64, host: usize) {
        for connection in 0..self.connections.len() {
            for side in 0..2 {
                let ends = &self.connections[connection].ends;
                let open = ends.iter().all(|end| end.state == EndState::Open);
                if open && ends[side].host == host {
                    let at = now + self.delay();
                    self.out.push((at, Transit::Broken { connection, side: 1 - side }));
                    let late = KEEPALIVE + self.random.below(KEEPALIVE);
                    self.out.push((now + late, Transit::Broken { connection, side }));
                }
            }
        }
    }

    /// Ends every block.
    pub fn heal(&mut self, now: u64) {
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                self.unblock(now, from, to);
            }
        }
    }

    /// Sends a datagram.
    pub fn send_datagram(&mut self, now: u64, from: usize, to: usize, bytes: Bytes) {
        let NetworkSettings { loss, duplicate, replay, flip, garbage, .. } = self.settings;
        if self.random.chance(garbage) {
            let length = self.random.index(600);
            let made_up: Bytes = (0..length).map(|_| self.random.word() as u8).collect();
            self.counts.random_datagrams += 1;
            self.datagram_later(now, from, to, made_up, false);
        }
        if self.random.chance(replay) && !self.recent.is_empty() {
            // An old datagram, to the node that it was meant for or to another.
            let (sender, old) = self.recent[self.random.index(self.recent.len())].clone();
            let receiver = if self.random.one_in(2) { to } else { self.random.index(self.hosts.len()) };
            if receiver != sender {
                self.counts.replayed_datagrams += 1;
                self.datagram_later(now, sender, receiver, old, true);
            }
        }
        if self.recent.len() == RECENT_MAX {
            let drop = self.random.index(RECENT_MAX);
            self.recent.swap_remove_back(drop);
        }
        self.recent.push_back((from, bytes.clone()));
        if self.random.chance(loss) {
            self.counts.lost_datagrams += 1;
            return;
        }
        if self.random.chance(duplicate) {
            self.counts.duplicated_datagrams += 1;
            self.datagram_later(now, from, to, bytes.clone(), true);
        }
        if self.random.chance(flip) && !bytes.is_empty() {
            let mut damaged = BytesMut::from(&bytes[..]);
            for _ in 0..self.random.between(1, 3) {
                let at = self.random.index(damaged.len());
                damaged[at] ^= 1 << self.random.below(8);
            }
            let genuine = damaged == bytes;
            self.counts.damaged_datagrams += u64::from(!genuine);
            self.datagram_later(now, from, to, damaged.freeze(), genuine);
            return;
        }
        self.datagram_later(now, from, to, bytes, true);
    }

    fn datagram_later(&mut self, now: u64, from: usize, to: usize, bytes: Bytes, genuine: bool) {
        let at = now + self.delay();
        self.datagrams += 1;
        let sequence = self.datagrams;
        self.out.push((at, Transit::Datagram { from, to, bytes, genuine, sequence }));
    }

    /// Dials.
    pub fn dial(&mut self, now: u64, from: usize, to: usize) {
        let end = |host: usize, boot: u64| End {
            host,
            boot,
            link: LinkId(0),
            state: EndState::Opening,
            queue: VecDeque::new(),
            last_due: 0,
            pumping: false,
            stalled_until: 0,
            cut: false,
        };
        let slow = self.random.chance(self.settings.slow_link);
        let lag = if slow { self.random.below(20 * self.settings.delay_max) } else { 0 };
        self.counts.slow_links += u64::from(slow);
        let connection = self.connections.len();
        self.connections.push(Connection { ends: [end(from, self.hosts[from].boot), end(to, 0)], lag });
        let at = now + self.delay();
        self.out.push((at, Transit::Dial { connection }));
    }

    /// Sends a frame on a connection, behind all earlier ones; nothing happens on one that has ended.
    ///
    /// # Panics
    /// If the link never existed.
    pub fn send(&mut self, now: u64, host: usize, link: LinkId, bytes: Bytes) {
        let (connection, side) = self.hosts[host].links[link.0 as usize];
        if self.connections[connection].ends[side].state != EndState::Open {
            return;
        }
        if self.random.chance(self.settings.reset) {
            self.reset(now, connection);
            return;
        }
        if self.connections[connection].ends[side].cut {
            // The sender does not know yet.
            return;
        }
        let [one, other] = [side, 1 - side].map(|side| self.connections[connection].ends[side].host);
        let delay = self.delay() + self.connections[connection].lag + self.stretched(now, one, other);
        let stall = self.random.chance(self.settings.stall);
        let stalled = if stall { self.random.below(self.settings.stall_max) } else { 0 };
        self.counts.stalled_links += u64::from(stall);
        let end = &mut self.connections[connection].ends[side];
        end.stalled_until = end.stalled_until.max(now + stalled);
        let due = end.last_due.max(now + delay);
        end.last_due = due;
        end.queue.push_back(Frame::Data { due, bytes });
        self.pump_later(connection, side, due);
    }

    /// Closes a connection behind what was sent on it.
    ///
    /// # Panics
    /// If the link never existed.
    pub fn close(&mut self, now: u64, host: usize, link: LinkId) {
        let (connection, side) = self.hosts[host].links[link.0 as usize];
        let delay = self.delay();
        let end = &mut self.connections[connection].ends[side];
        if end.state != EndState::Open {
            return;
        }
        end.state = EndState::Closed;
        let due = end.last_due.max(now + delay);
        end.last_due = due;
        end.queue.push_back(Frame::End { due });
        self.pump_later(connection, side, due);
    }

    /// Whether a link of the host's present boot was opened and has not ended.
    pub fn is_open(&self, host: usize, link: LinkId) -> bool {
        let place = self.hosts[host].links.get(link.0 as usize);
        place.is_some_and(|&(connection, side)| {
            connection != usize::MAX && self.connections[connection].ends[side].state == EndState::Open
        })
    }

    /// The host at the other end of a link, also of one that has ended.
    pub fn peer_of(&self, host: usize, link: LinkId) -> Option<usize> {
        let &(connection, side) = self.hosts[host].links.get(link.0 as usize)?;
        Some(self.connections.get(connection)?.ends[1 - side].host)
    }

    /// The boot of the process that has, or had, the other end of a connection.
    pub fn life_of_peer(&self, host: usize, link: LinkId) -> Option<u64> {
        let &(connection, side) = self.hosts[host].links.get(link.0 as usize)?;
        Some(self.connections.get(connection)?.ends[1 - side].boot)
    }

    /// Breaks every connection between two hosts.
    pub fn reset_between(&mut self, now: u64, one: usize, other: usize) {
        for connection in 0..self.connections.len() {
            let [a, b] = &self.connections[connection].ends;
            let between = (a.host == one && b.host == other) || (a.host == other && b.host == one);
            if between && (a.state == EndState::Open || b.state == EndState::Open) {
                self.reset(now, connection);
            }
        }
    }

    /// Breaks a connection: some of what is in flight is lost, and both ends learn it, or first only one.
    fn reset(&mut self, now: u64, connection: usize) {
        self.counts.resets += 1;
        let late_end = self.random.below(5);
        self.counts.half_open += u64::from(late_end < 2);
        for side in 0..2 {
            let end = &mut self.connections[connection].ends[side];
            let kept = self.random.index(end.queue.len() + 1);
            end.cut = true;
            if let Some(Frame::Data { due, bytes }) = end.queue.get(kept)
                && self.random.one_in(2)
            {
                // Some bytes of the first message that is lost arrive too.
                let partial = Frame::Data { due: *due, bytes: bytes.slice(..self.random.index(bytes.len())) };
                end.queue.truncate(kept);
                end.queue.push_back(partial);
            } else {
                end.queue.truncate(kept);
            }
            // Half open: the other end learns it when it sends, or by its keepalive.
            let late = if late_end == side as u64 { self.random.below(KEEPALIVE) } else { 0 };
            let at = now + late + self.delay();
            self.out.push((at, Transit::Broken { connection, side }));
        }
    }

    fn pump_later(&mut self, connection: usize, side: Side, at: u64) {
        let end = &mut self.connections[connection].ends[side];
        if !end.pumping {
            end.pumping = true;
            self.out.push((at, Transit::Pump { connection, side }));
        }
    }

    fn open(&mut self, connection: usize, side: Side) -> LinkId {
        let end = &mut self.connections[connection].ends[side];
        let host = &mut self.hosts[end.host];
        end.boot = host.boot;
        end.state = EndState::Open;
        end.link = LinkId(host.links.len() as u64);
        host.links.push((connection, side));
        let link = end.link;
        if side == 1 {
            let pair = self.pair(connection);
            self.newest[pair] = connection;
        }
        link
    }

    /// Where [`Network::newest`] keeps what there is between a connection's hosts.
    fn pair(&self, connection: usize) -> usize {
        let [one, other] = &self.connections[connection].ends;
        one.host.min(other.host) * self.hosts.len() + one.host.max(other.host)
    }

    fn is_alive(&self, connection: usize, side: Side) -> bool {
        let end = &self.connections[connection].ends[side];
        let host = &self.hosts[end.host];
        end.state == EndState::Open && host.up && host.boot == end.boot
    }

    /// Carries out what is due, and says what arrives.
    pub fn perform(&mut self, now: u64, transit: Transit) -> Option<Arrival> {
        match transit {
            Transit::Datagram { from, to, bytes, genuine, sequence } => {
                if self.is_blocked(from, to) {
                    self.counts.blocked_datagrams += 1;
                    return None;
                }
                let latest = &mut self.latest[from * self.hosts.len() + to];
                self.counts.reordered_datagrams += u64::from(sequence < *latest);
                *latest = sequence.max(*latest);
                self.hosts[to].up.then_some(Arrival::Datagram { host: to, bytes, genuine })
            }
            Transit::Pump { connection, side } => self.pump(now, connection, side),
            Transit::Dial { connection } => {
                let [from, to] = [0, 1].map(|side| self.connections[connection].ends[side].host);
                let host = &self.hosts[to];
                let (up, kernel) = (host.up, host.kernel);
                if self.is_blocked(from, to) || !(up || kernel) {
                    self.out.push((now + CONNECT_TIMEOUT, Transit::Dialled { connection, accepted: false }));
                    return None;
                }
                let link = up.then(|| self.open(connection, 1));
                let back = if self.is_blocked(to, from) { CONNECT_TIMEOUT } else { self.delay() };
                let accepted = up && !self.is_blocked(to, from);
                self.out.push((now + back, Transit::Dialled { connection, accepted }));
                link.map(|link| Arrival::Accepted { host: to, link })
            }
            Transit::Dialled { connection, accepted } => {
                let [dialler, other] = &self.connections[connection].ends;
                let (host, peer) = (dialler.host, other.host);
                if !self.hosts[host].up || self.hosts[host].boot != dialler.boot {
                    // The node is down; the other end detects it when it sends, or by its keepalive.
                    self.connections[connection].ends[0].state = EndState::Closed;
                    self.out.push((now + KEEPALIVE, Transit::Broken { connection, side: 1 }));
                    return None;
                }
                if accepted {
                    let link = self.open(connection, 0);
                    Some(Arrival::Connected { host, peer, link })
                } else {
                    self.connections[connection].ends[0].state = EndState::Closed;
                    self.out.push((now + KEEPALIVE, Transit::Broken { connection, side: 1 }));
                    Some(Arrival::ConnectFailed { host, peer })
                }
            }
            Transit::Broken { connection, side } => self.broken(connection, side),
        }
    }

    fn broken(&mut self, connection: usize, side: Side) -> Option<Arrival> {
        let alive = self.is_alive(connection, side);
        let end = &mut self.connections[connection].ends[side];
        if end.state != EndState::Opening {
            end.state = EndState::Closed;
        }
        end.queue.clear();
        alive.then_some(Arrival::Closed { host: end.host, link: end.link })
    }

    fn pump(&mut self, now: u64, connection: usize, side: Side) -> Option<Arrival> {
        let (from, to) = {
            let ends = &mut self.connections[connection].ends;
            ends[side].pumping = false;
            (ends[side].host, ends[1 - side].host)
        };
        if self.is_blocked(from, to) {
            return None;
        }
        if self.connections[connection].ends[1 - side].state == EndState::Opening {
            // The handshake's answer has not arrived yet, and nothing overtakes it.
            let given_up = !self.hosts[to].up;
            if !given_up {
                self.pump_later(connection, side, now + 100);
            }
            return None;
        }
        let end = &mut self.connections[connection].ends[side];
        let due = end.queue.front()?.due().max(end.stalled_until);
        if due > now {
            self.pump_later(connection, side, due);
            return None;
        }
        let frame = end.queue.pop_front()?;
        if !self.is_alive(connection, 1 - side) {
            let host = &self.hosts[to];
            if !self.is_alive(connection, side) {
                return None;
            }
            if !(host.up || host.kernel) {
                // It is not refused, so it is sent repeatedly.
                let end = &mut self.connections[connection].ends[side];
                end.queue.push_front(frame);
                end.stalled_until = now + RETRANSMIT_MAX;
                self.pump_later(connection, side, now + RETRANSMIT_MAX);
            } else {
                // Refused; if the refusal cannot get back now, it does later.
                let late = if self.is_blocked(to, from) { RETRANSMIT_MAX } else { 0 };
                let at = now + late + self.delay();
                self.out.push((at, Transit::Broken { connection, side }));
            }
            return None;
        }
        if let Some(next) = self.connections[connection].ends[side].queue.front() {
            let at = next.due().max(now);
            self.pump_later(connection, side, at);
        }
        let late = connection < self.newest[self.pair(connection)];
        let other = &mut self.connections[connection].ends[1 - side];
        let (host, link) = (other.host, other.link);
        match frame {
            Frame::Data { bytes, .. } => {
                self.counts.late_messages += u64::from(late);
                Some(Arrival::Frame { host, link, bytes })
            }
            Frame::End { .. } => {
                other.state = EndState::Closed;
                Some(Arrival::Closed { host, link })
            }
        }
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
