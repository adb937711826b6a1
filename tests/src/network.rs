//! A network between nodes that can be broken: one proxy per ordered pair of nodes, for votes and for messages.
//!
//! Node `a` is told the addresses of proxy (a, b) where it asks for those of node `b`. Each direction of each pair
//! is a [`Line`] with faults of its own. What travels from a to b passes line (a, b), whichever of the two has
//! dialled. A cut line holds bytes back as a broken cable does: nobody is told, and what was sent before the line
//! is healed arrives afterwards. Votes on a cut line are lost.
//!
//! Connections can also be broken: reset at both ends, or half-open, where one end is gone and the other never hears
//! of it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
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

use crate::random::{self, Random};

/// Bytes taken from a connection at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks under way on one direction of a connection.
const CHUNKS_MAX: usize = 64;
/// Longer than any datagram.
const DATAGRAM_MAX: usize = 64 << 10;
/// Datagrams under way on one line; more are lost.
const DATAGRAMS_MAX: usize = 4_096;
/// A datagram that is overtaken is so late at most.
const OVERTAKEN_MAX: Duration = Duration::from_millis(300);
/// The copy of a doubled datagram comes so late at most: long enough to speak of an election that is over.
const COPY_MAX: Duration = Duration::from_secs(2);

/// What is wrong with one direction between two nodes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Line {
    /// Nothing passes.
    pub cut: bool,
    /// Everything takes this long.
    pub delay: Duration,
    /// And up to so much longer, each time anew. Datagrams overtake each other by it, bytes of a connection do not.
    pub jitter: Duration,
    /// So many of a hundred datagrams are lost.
    pub loss_percent: u8,
    /// So many bytes of a connection pass in a second; 0 for any number.
    pub bytes_per_second: u64,
    /// So many of a hundred come a second time, later.
    pub double_percent: u8,
    /// So many of a hundred are held back, so that others overtake them.
    pub overtake_percent: u8,
}

/// What happens to the connections between two nodes, once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Break {
    /// Nothing yet.
    #[default]
    None,
    /// Both ends are closed, with whatever was under way.
    Reset,
    /// The end at this node is closed. The other one stays open: what is sent there goes nowhere.
    HalfOpen {
        /// Whose end is gone.
        gone: usize,
    },
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
    /// By (lower, higher) of two nodes: the latest break of their connections.
    breaks: Vec<watch::Sender<Break>>,
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
    doubled: AtomicU64,
    overtaken: AtomicU64,
    broken: AtomicU64,
}

/// How often things have happened on all lines.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// Datagrams that passed.
    pub passed: u64,
    /// Datagrams that were lost on a line with loss.
    pub lost: u64,
    /// What came to a cut line: datagrams that were dropped there, pieces of connections that had to wait.
    pub held: u64,
    /// What was delayed by a slow line.
    pub delayed: u64,
    /// Datagrams that were sent a second time.
    pub doubled: u64,
    /// Datagrams that arrived after one that had been sent later.
    pub overtaken: u64,
    /// Connections that were broken.
    pub broken: u64,
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
        let breaks: Vec<watch::Sender<Break>> = (0..pairs).map(|_| watch::Sender::default()).collect();
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

    /// Resets all connections between two nodes, with whatever is under way. New ones can be made at once.
    pub fn reset(&self, one: usize, other: usize) {
        self.break_between(one, other, Break::Reset);
    }

    /// Closes the end at `gone` of all its connections with `kept`, which never hears of it. New ones can be made at
    /// once.
    pub fn half_open(&self, gone: usize, kept: usize) {
        self.break_between(gone, kept, Break::HalfOpen { gone });
    }

    fn break_between(&self, one: usize, other: usize, how: Break) {
        self.breaks[one.min(other) * self.nodes + one.max(other)].send_replace(how);
    }

    /// What has happened so far.
    pub fn seen(&self) -> Seen {
        let Counts { passed, lost, held, delayed, doubled, overtaken, broken } = &*self.counts;
        Seen {
            passed: passed.load(Relaxed),
            lost: lost.load(Relaxed),
            held: held.load(Relaxed),
            delayed: delayed.load(Relaxed),
            doubled: doubled.load(Relaxed),
            overtaken: overtaken.load(Relaxed),
            broken: broken.load(Relaxed),
        }
    }
}

async fn carry_votes(
    socket: UdpSocket,
    target: SocketAddr,
    line: watch::Receiver<Line>,
    mut random: Random,
    counts: Arc<Counts>,
) {
    let socket = Arc::new(socket);
    // The number of the latest datagram that has gone on.
    let latest = Arc::new(AtomicU64::new(0));
    let mut number = 0;
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut late = JoinSet::new();
    loop {
        while late.try_join_next().is_some() {}
        // An error is the echo of a datagram to a node that is down.
        let Ok((length, _)) = socket.recv_from(&mut buffer).await else { continue };
        let fault = *line.borrow();
        if fault.cut {
            counts.held.fetch_add(1, Relaxed);
            continue;
        }
        if random.percent(fault.loss_percent) || late.len() >= DATAGRAMS_MAX {
            counts.lost.fetch_add(1, Relaxed);
            continue;
        }
        number += 1;
        counts.passed.fetch_add(1, Relaxed);
        let mut delay = fault.delay + share(&mut random, fault.jitter);
        if random.percent(fault.overtake_percent) {
            delay += share(&mut random, OVERTAKEN_MAX);
        }
        let mut delays = vec![delay];
        if random.percent(fault.double_percent) {
            counts.doubled.fetch_add(1, Relaxed);
            delays.push(delay + share(&mut random, COPY_MAX));
        }
        for delay in delays {
            if delay.is_zero() {
                latest.fetch_max(number, Relaxed);
                drop(socket.send_to(&buffer[..length], target).await);
                continue;
            }
            counts.delayed.fetch_add(1, Relaxed);
            let (socket, datagram, due) = (socket.clone(), buffer[..length].to_vec(), Instant::now() + delay);
            let (latest, counts) = (latest.clone(), counts.clone());
            late.spawn(async move {
                sleep_until(due).await;
                if latest.fetch_max(number, Relaxed) > number {
                    counts.overtaken.fetch_add(1, Relaxed);
                }
                drop(socket.send_to(&datagram, target).await);
            });
        }
    }
}

/// Any part of a time.
fn share(random: &mut Random, most: Duration) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
    Duration::from_micros(random.below(micros + 1))
}

/// Where a proxy's connections come from and go to, and what is wrong on the way.
#[derive(Clone)]
struct Way {
    from: usize,
    to: usize,
    there: watch::Receiver<Line>,
    back: watch::Receiver<Line>,
    breaks: watch::Receiver<Break>,
    random: Random,
    counts: Arc<Counts>,
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
    /// Carries one connection to its end.
    async fn carry(mut self, stream: TcpStream, target: SocketAddr) {
        self.breaks.mark_unchanged();
        // A connection is made of packets both ways.
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
        let counts = &*self.counts;
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
        counts.broken.fetch_add(1, Relaxed);
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

/// Reads to the end for nobody. The other half has to be kept, or the end is told.
async fn swallow(from: &mut OwnedReadHalf) {
    let mut nowhere = vec![0; CHUNK_BYTES];
    while matches!(from.read(&mut nowhere).await, Ok(1..)) {}
}

/// Carries one direction of a connection, in order, until its end.
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
                counts.delayed.fetch_add(1, Relaxed);
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
                counts.held.fetch_add(1, Relaxed);
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
