//! A network between nodes with faults, made of gateways: one per node, which forwards votes and messages to it.
//!
//! A node announces the addresses of its gateway, and listens elsewhere. The gateway learns from the content who sent a
//! datagram or opened a connection, so all nodes use the same addresses for one node, and a node can move to another
//! gateway. A forwarded datagram comes from the gateway of its sender, as if there were none.
//!
//! Each direction of each pair of nodes is a [`Line`] with faults of its own. Traffic from a to b passes line (a, b),
//! whichever of the two opened the connection. A cut line holds bytes back as a broken cable does: the connection stays
//! open, and what was sent before the line is healed arrives afterwards. Votes on a cut line are lost.
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

use bytes::BytesMut;
use gometa_codec::{message, vote};
use gometa_proto::frame::decode_frame;
use gometa_zab::{Message, NodeId};
use serde_json::{Value, json};
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

/// Where a node receives votes and messages.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// UDP.
    pub election: SocketAddr,
    /// TCP.
    pub message: SocketAddr,
}

/// The network of one ensemble. Node `n` has the id `n + 1`. Dropping it stops the gateways.
pub struct Network {
    ip: IpAddr,
    wires: Arc<Wires>,
    /// The tasks of each gateway.
    gateways: Vec<(Target, JoinSet<()>)>,
}

/// What all gateways share.
struct Wires {
    nodes: usize,
    /// By (from, to).
    lines: Vec<watch::Sender<Line>>,
    /// The latest break of the connections of two nodes, by (lower, higher).
    breaks: Vec<watch::Sender<Break>>,
    /// The sockets for datagrams of the gateways.
    sockets: Mutex<Vec<Arc<UdpSocket>>>,
    counts: Counts,
    seed: u64,
}

impl Wires {
    fn line(&self, from: usize, to: usize) -> &watch::Sender<Line> {
        &self.lines[from * self.nodes + to]
    }

    fn breaks(&self, one: usize, other: usize) -> &watch::Sender<Break> {
        &self.breaks[one.min(other) * self.nodes + one.max(other)]
    }

    /// Returns the node with this id.
    fn node(&self, id: NodeId) -> Option<usize> {
        let node = usize::try_from(id.0).ok()?.checked_sub(1)?;
        (node < self.nodes).then_some(node)
    }
}

/// Opens the ports of a gateway.
async fn open(ip: IpAddr) -> io::Result<(Arc<UdpSocket>, TcpListener, Target)> {
    let (votes, links) = (UdpSocket::bind((ip, 0)).await?, TcpListener::bind((ip, 0)).await?);
    let announced = Target { election: votes.local_addr()?, message: links.local_addr()? };
    Ok((Arc::new(votes), links, announced))
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
    /// Starts gateways for all nodes, on `ip`, without faults.
    pub async fn between(targets: &[Target], ip: IpAddr, seed: u64) -> Network {
        let nodes = targets.len();
        let mut opened = Vec::with_capacity(nodes);
        for _ in targets {
            opened.push(
                open(ip).await.unwrap_or_else(|error| panic!("no port for a gateway on {ip}: {error}")),
            );
        }
        let wires = Arc::new(Wires {
            nodes,
            lines: (0..nodes * nodes).map(|_| watch::Sender::default()).collect(),
            breaks: (0..nodes * nodes).map(|_| watch::Sender::default()).collect(),
            sockets: Mutex::new(opened.iter().map(|(socket, ..)| socket.clone()).collect()),
            counts: Counts::default(),
            seed,
        });
        let gateways = targets.iter().zip(opened).enumerate();
        let gateways = gateways.map(|(to, (target, (votes, links, announced)))| {
            (announced, gateway(to, *target, votes, links, &wires))
        });
        let gateways = gateways.collect();
        Network { ip, wires, gateways }
    }

    /// Gives a node another gateway, at other addresses, which forwards to `target`. Nothing listens at the old addresses
    /// any more.
    pub async fn moves(&mut self, node: usize, target: Target) {
        // The old ports are in use meanwhile, so the new ones are others.
        let opened = open(self.ip).await;
        let (votes, links, announced) =
            opened.unwrap_or_else(|error| panic!("no port for a gateway on {}: {error}", self.ip));
        lock(&self.wires.sockets)[node] = votes.clone();
        self.gateways[node] = (announced, gateway(node, target, votes, links, &self.wires));
    }

    /// Returns what a node announces to others, in the form of a configuration file: its id, and its gateway's addresses.
    pub fn json(&self, node: usize) -> Value {
        let Target { election, message } = self.gateways[node].0;
        let id = format!("{:x}", node + 1);
        json!({"Id": id, "ElectionAddr": election.to_string(), "MessageAddr": message.to_string()})
    }

    /// Sets the faults of one direction.
    pub fn set(&self, from: usize, to: usize, line: Line) {
        self.wires.line(from, to).send_replace(line);
    }

    /// Sets the faults of every direction.
    pub fn set_all(&self, line: Line) {
        for sender in &self.wires.lines {
            sender.send_replace(line);
        }
    }

    /// Cuts one direction.
    pub fn cut(&self, from: usize, to: usize) {
        self.wires.line(from, to).send_modify(|line| line.cut = true);
    }

    /// Cuts a node off from all others, in both directions.
    pub fn isolate(&self, node: usize) {
        for other in (0..self.wires.nodes).filter(|other| *other != node) {
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
        self.wires.breaks(one, other).send_replace(Break::Reset);
    }

    /// Closes the end at `gone` of all its connections with `kept`, which is not notified. New ones can be made at
    /// once.
    pub fn half_open(&self, gone: usize, kept: usize) {
        self.wires.breaks(gone, kept).send_replace(Break::HalfOpen { gone });
    }

    /// Returns the counters.
    pub fn seen(&self) -> Seen {
        *lock(&self.wires.counts)
    }
}

/// Starts the tasks of the gateway of node `to`.
fn gateway(
    to: usize,
    target: Target,
    votes: Arc<UdpSocket>,
    links: TcpListener,
    wires: &Arc<Wires>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(carry_votes(votes, to, target.election, wires.clone()));
    tasks.spawn(carry_links(links, to, target.message, wires.clone()));
    tasks
}

/// Forwards the datagrams for node `to`.
async fn carry_votes(votes: Arc<UdpSocket>, to: usize, target: SocketAddr, wires: Arc<Wires>) {
    let counts = &wires.counts;
    let mut random = random::seeded(wires.seed ^ to as u64);
    // The number of the latest datagram that was forwarded.
    let latest = Arc::new(AtomicU64::new(0));
    let mut number = 0;
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut late = JoinSet::new();
    loop {
        while late.try_join_next().is_some() {}
        // An error is the ICMP answer of a node that is down.
        let Ok((length, _)) = votes.recv_from(&mut buffer).await else { continue };
        let sender = vote::decode(&buffer[..length]).ok().and_then(|vote| wires.node(vote.sender));
        let Some(from) = sender.filter(|from| *from != to) else { continue };
        let socket = lock(&wires.sockets)[from].clone();
        let fault = *wires.line(from, to).borrow();
        if fault.cut {
            lock(counts).held += 1;
            continue;
        }
        if random.percent(fault.loss_percent) || late.len() >= DATAGRAMS_MAX {
            lock(counts).lost += 1;
            continue;
        }
        number += 1;
        lock(counts).passed += 1;
        let mut delay = fault.delay + share(&mut random, fault.jitter);
        if random.percent(fault.overtake_percent) {
            delay += share(&mut random, OVERTAKEN_MAX);
        }
        let mut delays = vec![delay];
        if random.percent(fault.double_percent) {
            lock(counts).doubled += 1;
            delays.push(delay + share(&mut random, COPY_MAX));
        }
        for delay in delays {
            if delay.is_zero() {
                latest.fetch_max(number, Relaxed);
                drop(socket.send_to(&buffer[..length], target).await);
                continue;
            }
            lock(counts).delayed += 1;
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

/// Accepts the connections to node `to`.
async fn carry_links(links: TcpListener, to: usize, target: SocketAddr, wires: Arc<Wires>) {
    let mut random = random::seeded(wires.seed ^ to as u64);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = links.accept().await else { continue };
        let (wires, random) = (wires.clone(), random::seeded(random.word()));
        connections.spawn(async move {
            let mut stream = stream;
            let mut begin = BytesMut::new();
            if let Some(id) = dialler(&mut stream, &mut begin).await
                && let Some(from) = wires.node(id).filter(|from| *from != to)
            {
                Way { from, to, wires, random }.carry(stream, begin.to_vec(), target).await;
            }
        });
    }
}

/// Reads from a new connection until it shows which node opened it: the first frame is its `Hello`.
async fn dialler(stream: &mut TcpStream, begin: &mut BytesMut) -> Option<NodeId> {
    loop {
        if let Ok(Some(frame)) = decode_frame(&mut begin.clone(), CHUNK_BYTES) {
            let Ok(Message::Hello(hello)) = message::decode(frame) else { return None };
            return Some(hello.node);
        }
        if stream.read_buf(begin).await.ok()? == 0 {
            return None;
        }
    }
}

/// The ends of a connection, and the faults between them.
struct Way {
    from: usize,
    to: usize,
    wires: Arc<Wires>,
    random: Random,
}

impl Way {
    /// Forwards one connection, which has begun with these bytes, until its end.
    async fn carry(mut self, stream: TcpStream, begin: Vec<u8>, target: SocketAddr) {
        let Way { from, to, .. } = self;
        let wires = self.wires.clone();
        let mut breaks = wires.breaks(from, to).subscribe();
        let (mut there, mut back) = (wires.line(from, to).subscribe(), wires.line(to, from).subscribe());
        // Opening a connection takes packets in both directions.
        if there.wait_for(|line| !line.cut).await.is_err() || back.wait_for(|line| !line.cut).await.is_err() {
            return;
        }
        let Ok(onward) = TcpStream::connect(target).await else { return };
        if stream.set_nodelay(true).is_err() || onward.set_nodelay(true).is_err() {
            return;
        }
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
            (stream.into_split(), onward.into_split());
        let (one, other) = (random::seeded(self.random.word()), random::seeded(self.random.word()));
        let counts = &wires.counts;
        let carried = async {
            tokio::join!(
                pump(begin, &mut near_in, &mut far_out, there, one, counts),
                pump(Vec::new(), &mut far_in, &mut near_out, back, other, counts)
            );
        };
        tokio::select! {
            () = carried => return,
            _ = breaks.changed() => {}
        }
        lock(counts).broken += 1;
        let broken = *breaks.borrow();
        match broken {
            Break::HalfOpen { gone } if gone == to => {
                drop((far_in, far_out));
                swallow(&mut near_in).await;
            }
            Break::HalfOpen { gone } if gone == from => {
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

/// Forwards one direction of a connection, in order, until its end, after the bytes that were read already.
async fn pump(
    begin: Vec<u8>,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    line: watch::Receiver<Line>,
    mut random: Random,
    counts: &Counts,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let mut gate = line.clone();
    let reading = async move {
        let mut begin = Some(begin).filter(|begin| !begin.is_empty());
        loop {
            let chunk = match begin.take() {
                Some(chunk) => chunk,
                None => {
                    let mut chunk = vec![0; CHUNK_BYTES];
                    let Ok(length @ 1..) = from.read(&mut chunk).await else { break };
                    chunk.truncate(length);
                    chunk
                }
            };
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
