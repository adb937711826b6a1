//! A network between nodes that can be broken: one proxy per ordered pair of nodes, for votes and for messages.
//!
//! Node `a` is told the addresses of proxy (a, b) where it asks for those of node `b`. Each direction of each pair
//! is a [`Line`] with faults of its own. What travels from a to b passes line (a, b), whichever of the two has
//! dialled. A cut line holds bytes back as a broken cable does: nobody is told, and what was sent before the line
//! is healed arrives afterwards. Votes on a cut line are lost.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
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
    time::{Instant, sleep_until},
};

use crate::random::Random;

/// Bytes taken from a connection at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks under way on one direction of a connection.
const CHUNKS_MAX: usize = 64;
/// Longer than any datagram.
const DATAGRAM_MAX: usize = 64 << 10;

/// What is wrong with one direction between two nodes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Line {
    /// Nothing passes.
    pub cut: bool,
    /// Everything takes this long.
    pub delay: Duration,
    /// So many of a hundred datagrams are lost.
    pub loss_percent: u8,
}

/// Where a node really listens.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// UDP.
    pub election: SocketAddr,
    /// TCP.
    pub message: SocketAddr,
}

/// The network of one ensemble. Ends with its value.
pub struct Network {
    nodes: usize,
    /// By (from, to).
    lines: Vec<watch::Sender<Line>>,
    /// What `from` is told of `to`.
    proxies: Vec<Option<Target>>,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    passed: AtomicU64,
    lost: AtomicU64,
    held: AtomicU64,
    delayed: AtomicU64,
}

impl Network {
    /// Proxies between all nodes, on `ip`, without a fault.
    ///
    /// # Panics
    /// If the system has no ports.
    pub async fn between(targets: &[Target], ip: IpAddr, seed: u64) -> Network {
        let nodes = targets.len();
        let pairs = nodes * nodes;
        let lines: Vec<watch::Sender<Line>> = (0..pairs).map(|_| watch::Sender::default()).collect();
        let counts = Arc::new(Counts::default());
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
            let random = Random::new(seed ^ pair as u64);
            tasks.spawn(carry_votes(votes, targets[to].election, there.clone(), random, counts.clone()));
            tasks.spawn(carry_links(links, targets[to].message, there, back, counts.clone()));
        }
        Network { nodes, lines, proxies, counts, _tasks: tasks }
    }

    /// What node `from` is to be told where it asks for the addresses of node `to`.
    ///
    /// # Panics
    /// If the two are the same.
    pub fn proxy(&self, from: usize, to: usize) -> Target {
        self.proxies[from * self.nodes + to].unwrap_or_else(|| panic!("node {from} needs no proxy to itself"))
    }

    /// Sets one direction.
    pub fn set(&self, from: usize, to: usize, line: Line) {
        self.lines[from * self.nodes + to].send_replace(line);
    }

    /// Sets every direction.
    pub fn set_all(&self, line: Line) {
        for sender in &self.lines {
            sender.send_replace(line);
        }
    }

    /// Cuts one direction.
    pub fn cut(&self, from: usize, to: usize) {
        self.lines[from * self.nodes + to].send_modify(|line| line.cut = true);
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&self, node: usize) {
        for other in (0..self.nodes).filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Takes every fault away.
    pub fn heal(&self) {
        self.set_all(Line::default());
    }

    /// Datagrams that passed, and that were lost on a line with loss.
    pub fn datagrams(&self) -> (u64, u64) {
        (self.counts.passed.load(Ordering::Relaxed), self.counts.lost.load(Ordering::Relaxed))
    }

    /// How often something came to a cut line: datagrams that were dropped there, bytes that had to wait.
    pub fn held(&self) -> u64 {
        self.counts.held.load(Ordering::Relaxed)
    }

    /// How often something was delayed by a slow line.
    pub fn delayed(&self) -> u64 {
        self.counts.delayed.load(Ordering::Relaxed)
    }
}

async fn carry_votes(
    socket: UdpSocket,
    target: SocketAddr,
    line: watch::Receiver<Line>,
    random: Random,
    counts: Arc<Counts>,
) {
    let socket = Arc::new(socket);
    let random = Mutex::new(random);
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut delayed = JoinSet::new();
    loop {
        while delayed.try_join_next().is_some() {}
        // An error is the echo of a datagram to a node that is down.
        let Ok((length, _)) = socket.recv_from(&mut buffer).await else { continue };
        let fault = *line.borrow();
        if fault.cut {
            counts.held.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if random.lock().unwrap_or_else(PoisonError::into_inner).percent(fault.loss_percent) {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        counts.passed.fetch_add(1, Ordering::Relaxed);
        if fault.delay.is_zero() {
            drop(socket.send_to(&buffer[..length], target).await);
            continue;
        }
        counts.delayed.fetch_add(1, Ordering::Relaxed);
        let (socket, datagram, due) =
            (socket.clone(), buffer[..length].to_vec(), Instant::now() + fault.delay);
        delayed.spawn(async move {
            sleep_until(due).await;
            drop(socket.send_to(&datagram, target).await);
        });
    }
}

async fn carry_links(
    listener: TcpListener,
    target: SocketAddr,
    there: watch::Receiver<Line>,
    back: watch::Receiver<Line>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (mut there, mut back, counts) = (there.clone(), back.clone(), counts.clone());
        connections.spawn(async move {
            // A connection is made of packets both ways.
            if there.wait_for(|line| !line.cut).await.is_err()
                || back.wait_for(|line| !line.cut).await.is_err()
            {
                return;
            }
            let Ok(onward) = TcpStream::connect(target).await else { return };
            if stream.set_nodelay(true).is_err() || onward.set_nodelay(true).is_err() {
                return;
            }
            let ((near_in, near_out), (far_in, far_out)) = (stream.into_split(), onward.into_split());
            tokio::join!(pump(near_in, far_out, there, &counts), pump(far_in, near_out, back, &counts));
        });
    }
}

/// Carries one direction of a connection, in order, until its end.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: watch::Receiver<Line>, counts: &Counts) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let mut gate = line.clone();
    let reading = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let Ok(length @ 1..) = from.read(&mut chunk).await else { break };
            chunk.truncate(length);
            let delay = line.borrow().delay;
            if !delay.is_zero() {
                counts.delayed.fetch_add(1, Ordering::Relaxed);
            }
            let due = Instant::now() + delay;
            if sender.send((due, chunk)).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            if gate.borrow().cut {
                counts.held.fetch_add(1, Ordering::Relaxed);
            }
            if gate.wait_for(|line| !line.cut).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The end of the stream is a packet too.
        drop(gate.wait_for(|line| !line.cut).await);
        drop(to.shutdown().await);
    };
    tokio::join!(reading, writing);
}
