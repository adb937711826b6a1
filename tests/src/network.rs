//! A network between nodes with faults: one proxy per ordered pair of nodes, for votes and for messages.
//!
//! In the configuration of node `a`, the addresses of node `b` are those of proxy (a, b). Each direction of each pair
//! is a [`Line`] with faults of its own. Traffic from a to b passes line (a, b), whichever of the two opened the
//! connection. A cut line holds bytes back as a broken cable does: the connection stays open, and what was sent before
//! the line is healed arrives afterwards. Votes on a cut line are lost.
//!
//! Connections can also be reset at both ends, or made half-open: one end is closed, and the other end is not
//! notified.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    lock,
    random::{self, Random},
};

/// The number of bytes read from a connection at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// The number of chunks in flight in one direction of a connection.
const CHUNKS_MAX: usize = 64;
/// More than the length of any datagram.
const DATAGRAM_MAX: usize = 64 << 10;
/// The number of datagrams in flight on one line; more are lost.
const DATAGRAMS_MAX: usize = 4_096;
/// The maximum delay of a reordered datagram.
const OVERTAKEN_MAX: Duration = Duration::from_millis(300);
/// The maximum delay of a duplicate: it may arrive after its election has ended.
const COPY_MAX: Duration = Duration::from_secs(2);

/// The faults of one direction between two nodes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Line {
    /// Whether nothing passes.
    pub cut: bool,
    /// The delay of everything.
    pub delay: Duration,
    /// The maximum of a random additional delay. It reorders datagrams, but not the bytes of a connection.
    pub jitter: Duration,
    /// The percentage of lost datagrams.
    pub loss_percent: u8,
    /// The bandwidth of a connection in bytes per second; 0 is unlimited.
    pub bytes_per_second: u64,
    /// The percentage of datagrams that are duplicated.
    pub double_percent: u8,
    /// The percentage of datagrams that are delayed behind later ones.
    pub overtake_percent: u8,
}

/// A break of the connections between two nodes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Break {
    /// No break so far.
    #[default]
    None,
    /// Both ends are closed, and bytes in flight are lost.
    Reset,
    /// The end at this node is closed. The other one stays open, and what is sent there is lost.
    HalfOpen {
        /// The node whose end is closed.
        gone: usize,
    },
}

/// The addresses that a node listens on.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// UDP.
    pub election: SocketAddr,
    /// TCP.
    pub message: SocketAddr,
}

/// The network of one ensemble. Dropping it stops the proxies.
pub struct Network {
    nodes: usize,
    /// By (from, to).
    lines: Vec<watch::Sender<Line>>,
    /// The latest break of the connections of two nodes, by (lower, higher).
    breaks: Vec<watch::Sender<Break>>,
    /// The addresses of `to` in the configuration of `from`.
    proxies: Vec<Option<Target>>,
    counts: Counts,
    _tasks: JoinSet<()>,
}

/// The counters of all lines together, shared by all tasks.
type Counts = Arc<Mutex<Seen>>;

/// Counters of all lines together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// The number of datagrams that passed.
    pub passed: u64,
    /// The number of datagrams lost on lines with loss.
    pub lost: u64,
    /// The number of datagrams dropped and chunks held back by cut lines.
    pub held: u64,
    /// The number of datagrams and chunks that were delayed.
    pub delayed: u64,
    /// The number of duplicated datagrams.
    pub doubled: u64,
    /// The number of datagrams that arrived after a later one.
    pub overtaken: u64,
    /// The number of broken connections.
    pub broken: u64,
}

impl Network {
    /// Starts proxies between all nodes, on `ip`, without faults.
    pub async fn between(targets: &[Target], ip: IpAddr, seed: u64) -> Network {
        let nodes = targets.len();
        let pairs = nodes * nodes;
        let lines: Vec<watch::Sender<Line>> = (0..pairs).map(|_| watch::Sender::default()).collect();
        let breaks: Vec<watch::Sender<Break>> = (0..pairs).map(|_| watch::Sender::default()).collect();
        let counts = Counts::default();
        let mut proxies = Vec::with_capacity(pairs);
        let mut tasks = JoinSet::new();
        for pair in 0..pairs {
            let (from, to) = (pair / nodes, pair % nodes);
            if from == to {
                proxies.push(None);
                continue;
            }
            let opened = async {
                let (votes, links) = (UdpSocket::bind((ip, 0)).await?, TcpListener::bind((ip, 0)).await?);
                let proxy = Target { election: votes.local_addr()?, message: links.local_addr()? };
                io::Result::Ok((votes, links, proxy))
            };
            let opened = opened.await;
            let (votes, links, proxy) =
                opened.unwrap_or_else(|error| panic!("no port for a proxy on {ip}: {error}"));
            proxies.push(Some(proxy));
            let (there, back) = (lines[pair].subscribe(), lines[to * nodes + from].subscribe());
            let random = random::seeded(seed ^ pair as u64);
            tasks.spawn(carry_votes(
                votes,
                targets[to].election,
                there.clone(),
                random.clone(),
                counts.clone(),
            ));
            let breaks = breaks[from.min(to) * nodes + from.max(to)].subscribe();
            let way = Way { from, to, there, back, breaks, random, counts: counts.clone() };
            tasks.spawn(carry_links(links, targets[to].message, way));
        }
        Network { nodes, lines, breaks, proxies, counts, _tasks: tasks }
    }

    /// Returns the addresses of node `to` for the configuration of node `from`.
    pub fn proxy(&self, from: usize, to: usize) -> Target {
        self.proxies[from * self.nodes + to].unwrap_or_else(|| panic!("node {from} needs no proxy to itself"))
    }

    /// Sets the faults of one direction.
    pub fn set(&self, from: usize, to: usize, line: Line) {
        self.lines[from * self.nodes + to].send_replace(line);
    }

    /// Sets the faults of every direction.
    pub fn set_all(&self, line: Line) {
        for sender in &self.lines {
            sender.send_replace(line);
        }
    }

    /// Cuts one direction.
    pub fn cut(&self, from: usize, to: usize) {
        self.lines[from * self.nodes + to].send_modify(|line| line.cut = true);
    }

    /// Cuts a node off from all others, in both directions.
    pub fn isolate(&self, node: usize) {
        for other in (0..self.nodes).filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Heals all lines.
    pub fn heal(&self) {
        self.set_all(Line::default());
    }

    /// Resets all connections between two nodes. New ones can be made at once.
    pub fn reset(&self, one: usize, other: usize) {
        self.break_between(one, other, Break::Reset);
    }

    /// Closes the end at `gone` of all its connections with `kept`, which is not notified. New ones can be made at
    /// once.
    pub fn half_open(&self, gone: usize, kept: usize) {
        self.break_between(gone, kept, Break::HalfOpen { gone });
    }

    fn break_between(&self, one: usize, other: usize, how: Break) {
        self.breaks[one.min(other) * self.nodes + one.max(other)].send_replace(how);
    }

    /// Returns the counters.
    pub fn seen(&self) -> Seen {
        *lock(&self.counts)
    }
}

async fn carry_votes(
    socket: UdpSocket,
    target: SocketAddr,
    line: watch::Receiver<Line>,
    mut random: Random,
    counts: Counts,
) {
    let socket = Arc::new(socket);
    // The number of the latest datagram that was forwarded.
    let latest = Arc::new(AtomicU64::new(0));
    let mut number = 0;
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut late = JoinSet::new();
    loop {
        while late.try_join_next().is_some() {}
        // An error is the ICMP answer of a node that is down.
        let Ok((length, _)) = socket.recv_from(&mut buffer).await else { continue };
        let fault = *line.borrow();
        if fault.cut {
            lock(&counts).held += 1;
            continue;
        }
        if random.percent(fault.loss_percent) || late.len() >= DATAGRAMS_MAX {
            lock(&counts).lost += 1;
            continue;
        }
        number += 1;
        lock(&counts).passed += 1;
        let mut delay = fault.delay + share(&mut random, fault.jitter);
        if random.percent(fault.overtake_percent) {
            delay += share(&mut random, OVERTAKEN_MAX);
        }
        let mut delays = vec![delay];
        if random.percent(fault.double_percent) {
            lock(&counts).doubled += 1;
            delays.push(delay + share(&mut random, COPY_MAX));
        }
        for delay in delays {
            if delay.is_zero() {
                latest.fetch_max(number, Relaxed);
                drop(socket.send_to(&buffer[..length], target).await);
                continue;
            }
            lock(&counts).delayed += 1;
            let (socket, datagram, due) = (socket.clone(), buffer[..length].to_vec(), Instant::now() + delay);
            let (latest, counts) = (latest.clone(), counts.clone());
            late.spawn(async move {
                sleep_until(due).await;
                if latest.fetch_max(number, Relaxed) > number {
                    lock(&counts).overtaken += 1;
                }
                drop(socket.send_to(&datagram, target).await);
            });
        }
    }
}

/// Returns a random part of a duration.
fn share(random: &mut Random, most: Duration) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
    Duration::from_micros(random.below(micros + 1))
}

/// The ends of a proxy's connections, and the faults between them.
#[derive(Clone)]
struct Way {
    from: usize,
    to: usize,
    there: watch::Receiver<Line>,
    back: watch::Receiver<Line>,
    breaks: watch::Receiver<Break>,
    random: Random,
    counts: Counts,
}

async fn carry_links(listener: TcpListener, target: SocketAddr, mut way: Way) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        way.random.word();
        connections.spawn(way.clone().carry(stream, target));
    }
}

impl Way {
    /// Forwards one connection until its end.
    async fn carry(mut self, stream: TcpStream, target: SocketAddr) {
        self.breaks.mark_unchanged();
        // Opening a connection takes packets in both directions.
        if self.there.wait_for(|line| !line.cut).await.is_err()
            || self.back.wait_for(|line| !line.cut).await.is_err()
        {
            return;
        }
        let Ok(onward) = TcpStream::connect(target).await else { return };
        if stream.set_nodelay(true).is_err() || onward.set_nodelay(true).is_err() {
            return;
        }
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
            (stream.into_split(), onward.into_split());
        let mut random = self.random.clone();
        let (one, other) = (random::seeded(random.word()), random::seeded(random.word()));
        let counts = &self.counts;
        let carried = async {
            tokio::join!(
                pump(&mut near_in, &mut far_out, self.there.clone(), one, counts),
                pump(&mut far_in, &mut near_out, self.back.clone(), other, counts)
            );
        };
        tokio::select! {
            () = carried => return,
            _ = self.breaks.changed() => {}
        }
        lock(counts).broken += 1;
        let broken = *self.breaks.borrow();
        match broken {
            Break::HalfOpen { gone } if gone == self.to => {
                drop((far_in, far_out));
                swallow(&mut near_in).await;
            }
            Break::HalfOpen { gone } if gone == self.from => {
                drop((near_in, near_out));
                swallow(&mut far_in).await;
            }
            _ => {}
        }
    }
}

/// Reads and discards to the end. The other half is kept open, or the peer is notified.
async fn swallow(from: &mut OwnedReadHalf) {
    let mut nowhere = vec![0; CHUNK_BYTES];
    while matches!(from.read(&mut nowhere).await, Ok(1..)) {}
}

/// Forwards one direction of a connection, in order, until its end.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    line: watch::Receiver<Line>,
    mut random: Random,
    counts: &Counts,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let mut gate = line.clone();
    let reading = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let Ok(length @ 1..) = from.read(&mut chunk).await else { break };
            chunk.truncate(length);
            let fault = *line.borrow();
            let delay = fault.delay + share(&mut random, fault.jitter);
            if !delay.is_zero() {
                lock(counts).delayed += 1;
            }
            if sender.send((Instant::now() + delay, chunk)).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            let rate = gate.borrow().bytes_per_second;
            if let Some(microseconds) = (chunk.len() as u64 * 1_000_000).checked_div(rate) {
                sleep(Duration::from_micros(microseconds)).await;
            }
            if gate.borrow().cut {
                lock(counts).held += 1;
            }
            if gate.wait_for(|line| !line.cut).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The end of the stream is a packet as well.
        drop(gate.wait_for(|line| !line.cut).await);
        drop(to.shutdown().await);
    };
    tokio::join!(reading, writing);
}
