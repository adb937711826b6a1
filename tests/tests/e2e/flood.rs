//! A flood: ten thousand connections, slow senders, large messages and datagrams at all three ports of an ensemble that
//! goes on serving. Memory stays below the bound that the node prints (`-check`), there is no election, and the
//! latency of a well-behaved client stays low.

use std::{
    fs,
    future::poll_fn,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::pin,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use gometa_client::Client;
use gometa_tests::{
    ensemble::Ensemble,
    program::program,
    random::{self, Random},
    say,
    wait::{PATIENCE, until},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream, UdpSocket},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::flood_bombs as bombs;

const TIMEOUT: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 10_000;
/// The number of files that this process needs beside the connections.
const FILES: u64 = 1_000;
/// The duration of each wave once all its connections are open.
const WAVE: Duration = Duration::from_secs(4);
/// The number of closed connections that proves the effect of a wave.
const CLOSED_MIN: usize = 16;
/// The maximum number of bytes that each of two senders sends in five milliseconds. The senders share the
/// processor with the nodes, whose behaviour is tested, not the scheduler's.
const BOMBS_PACE: usize = 512 << 10;
/// The maximum latency of 99 in 100 calls of the well-behaved client ...
const P99_MAX: Duration = Duration::from_secs(1);
/// ... if the leader's threads get a processor for at least this part of the time that they want one. The flood itself
/// takes as much; on a machine with other load, calls may take longer by the time that the leader waits.
const SHARE: f64 = 4.0;
/// The memory that the allocator may keep after the flood, beyond the memory before it.
const LEFT_MAX_KIB: u64 = 192 << 10;
/// The key of the value that is requested by clients that read no answers.
const LARGE: &str = "large";

/// Returns the memory bound that a node prints for its configuration, in KiB.
fn bound_kib(ensemble: &Ensemble) -> u64 {
    let mut command = Command::new(program("gometa-server"));
    let said =
        command.current_dir(ensemble.directory(0)).args(["-check", "-config=node.json"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("memory ")).unwrap_or_else(|| panic!("{said}"));
    line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap() << 10
}

/// Raises this process's limit of open files to the hard limit; nodes that are started afterwards inherit the old soft limit.
fn allow_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let needed = CONNECTIONS as u64 + FILES;
    assert!(maximum.is_none_or(|maximum| maximum >= needed), "needs {needed} open files: ulimit -Hn");
}

fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Returns how long a process's threads have run, and how long they have waited for a processor.
fn processor(process: u32) -> (Duration, Duration) {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut sums = [0, 0];
    for thread in threads.flatten() {
        // A thread may have exited.
        let times = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        for (sum, time) in sums.iter_mut().zip(times.split_whitespace()) {
            *sum += time.parse::<u64>().unwrap();
        }
    }
    let [ran, waited] = sums.map(Duration::from_nanos);
    (ran, waited)
}

/// A well-behaved client that writes and reads small values on its own thread.
struct Honest {
    leader: u32,
    /// How long the leader's threads had run and had waited for a processor at the start.
    began: (Duration, Duration),
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<Duration>>,
}

impl Honest {
    fn begin(ensemble: &Ensemble, leader: u32) -> Honest {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, addresses) = (stop.clone(), ensemble.requests_from(0));
        let life = async move {
            let client = Client::builder().timeout(TIMEOUT).build(addresses).unwrap();
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let value = times.len().to_string();
                let sent = Instant::now();
                client
                    .set("honest", value.clone())
                    .await
                    .unwrap_or_else(|error| panic!("a set failed: {error}"));
                times.push(sent.elapsed());
                let sent = Instant::now();
                let read = client.get("honest").await.unwrap_or_else(|error| panic!("a get failed: {error}"));
                assert_eq!(read.value, value);
                times.push(sent.elapsed());
            }
            times
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Honest {
            leader,
            began: processor(leader),
            stop,
            thread: thread::spawn(move || runtime.block_on(life)),
        }
    }

    /// Stops, and prints the latencies.
    fn end(self, wave: &str) {
        let (ran, waited) = processor(self.leader);
        let (ran, waited) = (ran - self.began.0, waited - self.began.1);
        let share = (ran + waited).as_secs_f64() / ran.as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().unwrap();
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        say(&format!(
            "{wave}: {} honest calls, p50 {:.1?}, p99 {:.1?}, max {:.1?} (a processor for 1/{share:.1} of the time wanted)",
            times.len(),
            at(50),
            at(99),
            at(100)
        ));
        let max = P99_MAX.mul_f64((share / SHARE).max(1.0));
        assert!(at(99) <= max, "{wave}: p99 {:?}, more than {max:?}", at(99));
    }
}

/// Opens connections from one address; small buffers keep unread answers out of the
/// system's memory.
async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4 << 10)?;
    socket.set_send_buffer_size(16 << 10)?;
    // A busy node may accept late.
    timeout(PATIENCE, socket.connect(to)).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
}

async fn connect_many(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let wanted = (count - streams.len()).min(64);
        let made = futures(wanted, |_| connect(to)).await;
        streams.extend(made.into_iter().flatten());
    }
    streams
}

/// Runs tasks with limited concurrency, and waits for all.
async fn futures<T: Send + 'static, F>(count: usize, make: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    (0..count).for_each(|number| drop(running.spawn(make(number))));
    running.join_all().await
}

/// Whether the node has closed a connection; reads nothing from it.
async fn is_over(stream: &TcpStream) -> bool {
    let look = |context: &mut Context<'_>| Poll::Ready(pin!(stream.ready(Interest::READABLE)).poll(context));
    matches!(poll_fn(look).await, Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

/// Writes as much of `left` as the node accepts, and reads nothing. Returns false if the connection is closed.
fn push(stream: &TcpStream, bytes: &[u8], sent: &mut usize, left: &mut usize) -> bool {
    while *sent < bytes.len() && *left > 0 {
        match stream.try_write(&bytes[*sent..bytes.len().min(sent.saturating_add(*left))]) {
            Ok(count) => {
                *sent += count;
                *left -= count;
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}

/// Writes a message into each connection for the length of a wave, and from its start into a new
/// connection where one was closed, if `again`: `pace` bytes every few milliseconds. Goes on until the node has closed
/// some, which proves that memory was short, and returns their number.
async fn push_all(
    to: SocketAddr,
    count: usize,
    pace: usize,
    again: bool,
    message: impl Fn(usize) -> Arc<Vec<u8>>,
) -> usize {
    let mut streams: Vec<(Option<TcpStream>, Arc<Vec<u8>>, usize)> = connect_many(to, count)
        .await
        .into_iter()
        .enumerate()
        .map(|(number, stream)| (Some(stream), message(number), 0))
        .collect();
    let (begun, mut closed) = (Instant::now(), 0);
    while begun.elapsed() < WAVE || closed < CLOSED_MIN {
        assert!(begun.elapsed() < PATIENCE, "of {count} connections, {closed} were closed");
        let mut left = pace;
        // Each connection is the first one at some time.
        let first = closed + begun.elapsed().as_millis() as usize * 7;
        for number in (0..count).map(|turn| (first + turn) % count) {
            let (place, bytes, sent) = &mut streams[number];
            let Some(stream) = place else { continue };
            if is_over(stream).await || !push(stream, bytes, sent, &mut left) {
                closed += 1;
                *place = if again { connect(to).await.ok() } else { None };
                (*bytes, *sent) = (message(number + closed), 0);
            }
            if number % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
    closed
}

/// Sends a byte on each connection now and then for the length of a wave.
async fn trickle(streams: &[TcpStream], bytes: impl Fn(usize) -> Arc<Vec<u8>>) {
    /// A byte a second on each connection.
    const ROUNDS: usize = 10;
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < WAVE {
        for (number, stream) in streams.iter().enumerate().skip(round % ROUNDS).step_by(ROUNDS) {
            let bytes = bytes(number);
            drop(stream.try_write(&bytes[(round / ROUNDS).min(bytes.len() - 1)..][..1]));
        }
        round += 1;
        sleep(Duration::from_millis(1_000 / ROUNDS as u64)).await;
    }
}

/// Opens ten thousand connections: some send nothing, some a byte per second of their Hello, some a Hello and then a byte
/// per second of a frame, some a Hello and nothing else.
async fn crowd(to: SocketAddr) {
    let hello = Arc::new(bombs::hello());
    let large = Arc::new(bombs::padded_get(LARGE));
    let streams = connect_many(to, CONNECTIONS).await;
    let (silent, speaking) = streams.split_at(CONNECTIONS / 2);
    let (slow, greeted) = speaking.split_at(speaking.len() / 2);
    greeted.iter().for_each(|stream| drop(stream.try_write(&hello)));
    tokio::join!(trickle(slow, |_| hello.clone()), trickle(greeted, |_| large.clone()));
    // Authenticated connections stay open. The number of others depends on the pace of their arrival.
    let there = greeted.iter().filter(|stream| !matches!(stream.try_write(&large[..1]), Err(error) if error.kind() != ErrorKind::WouldBlock));
    say(&format!(
        "{} silent, {} slow, {} of {} greeted left",
        silent.len(),
        slow.len(),
        there.count(),
        greeted.len()
    ));
}

/// Sends datagrams to each node at the full speed of one sender.
async fn datagrams(ensemble: &Ensemble, mut random: Random) -> u64 {
    let socket = UdpSocket::bind((ensemble.addresses(0).election.ip(), 0)).await.unwrap();
    let count = AtomicU64::new(0);
    let begun = Instant::now();
    while begun.elapsed() < WAVE {
        for node in ensemble.all() {
            for _ in 0..32 {
                let bytes = bombs::datagram(&mut random);
                if socket.try_send_to(&bytes, ensemble.addresses(node).election).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        tokio::task::yield_now().await;
    }
    count.into_inner()
}

/// Samples the memory of all nodes until stopped, and returns each node's maximum.
fn watch(processes: Vec<u32>, bound_kib: u64) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            for process in &processes {
                let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { continue };
                let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
                let resident =
                    resident.map(|line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
                assert!(
                    resident.is_none_or(|kib| kib < bound_kib),
                    "{resident:?} KiB, at most {bound_kib} KiB"
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_at_all_ports_stays_within_the_memory_bound_and_causes_no_election() {
    allow_files();
    let mut random = random::of_this_run("flood");
    let mut ensemble = Ensemble::start(3).await;
    let bound = bound_kib(&ensemble);
    let client = ensemble.client(TIMEOUT);
    client.set(LARGE, vec![b'x'; bombs::VALUE]).await.unwrap();
    client.set("honest", "").await.unwrap();
    let before = ensemble.converged(&ensemble.all()).await;
    let (leader, follower) = ensemble.leader_and_other(&mut random).await;
    let (request, message) = (ensemble.addresses(leader).request, ensemble.addresses(leader).message);
    let members: Vec<u64> = before.iter().map(|status| status.node).collect();
    let processes: Vec<u32> = ensemble.all().iter().map(|node| ensemble.process(*node).id()).collect();
    let files: Vec<usize> = processes.iter().map(|process| open_files(*process)).collect();
    let resident: Vec<u64> =
        ensemble.all().iter().map(|node| ensemble.process(*node).resident_kib()).collect();
    let (stop, watching) = watch(processes.clone(), bound);
    let peak = |ensemble: &Ensemble| ensemble.process(leader).resident_kib() >> 10;

    let honest = Honest::begin(&ensemble, processes[leader]);
    crowd(request).await;
    honest.end(&format!("{CONNECTIONS} connections, {} MiB", peak(&ensemble)));

    let honest = Honest::begin(&ensemble, processes[leader]);
    let bombing = futures(2, move |half| async move {
        let bombs = bombs::all(LARGE);
        let message = move |number: usize| bombs[(number + half) % bombs.len()].clone();
        push_all(request, 250, BOMBS_PACE, true, message).await
    });
    let closed: usize = bombing.await.into_iter().sum();
    honest.end(&format!("500 connections with bombs, {closed} of them closed, {} MiB", peak(&ensemble)));

    let honest = Honest::begin(&ensemble, processes[leader]);
    let half = Arc::new(bombs::half_frame());
    let closed = push_all(request, 2_000, usize::MAX, true, |_| half.clone()).await;
    honest.end(&format!("2,000 frames that never end, {closed} closed, {} MiB", peak(&ensemble)));

    let honest = Honest::begin(&ensemble, processes[leader]);
    let greedy = Arc::new(bombs::gets(LARGE, 100));
    let closed = push_all(request, 1_000, usize::MAX, false, |_| greedy.clone()).await;
    honest.end(&format!(
        "1,000 clients that read none of 100 MiB each, {closed} closed, {} MiB",
        peak(&ensemble)
    ));

    // A restarted follower gets its connections among the others.
    let honest = Honest::begin(&ensemble, processes[leader]);
    let connections = tokio::spawn(async move {
        let messages = bombs::peer_messages(&members);
        push_all(message, 2_000, usize::MAX, true, move |number| messages[number % messages.len()].clone())
            .await
    });
    ensemble.kill(follower);
    ensemble.restart(follower).await;
    let closed = connections.await.unwrap();
    honest.end(&format!(
        "2,000 unauthenticated connections to the nodes' port, {closed} closed, {} MiB",
        peak(&ensemble)
    ));

    let honest = Honest::begin(&ensemble, processes[leader]);
    let sent = datagrams(&ensemble, random::seeded(random.word())).await;
    honest.end(&format!("{sent} datagrams, {} MiB", peak(&ensemble)));

    stop.store(true, Ordering::Relaxed);
    watching.await.unwrap();
    let after = ensemble.converged(&ensemble.all()).await;
    for node in ensemble.all() {
        assert_eq!(
            (after[node].epoch, after[node].leader),
            (before[node].epoch, before[node].leader),
            "node {node}"
        );
        assert!(ensemble.log(node).lines().all(|line| !line.contains("panic")), "node {node}");
        assert!(ensemble.log(node).lines().count() < 1_000, "node {node} fills its log");
        let process = ensemble.process(node);
        let peak = process.peak_kib();
        assert!(peak < bound, "node {node} had {peak} KiB, at most {bound} KiB");
        until(&format!("node {node} gives back what it took"), PATIENCE, || async {
            let (open, held) = (open_files(process.id()), process.resident_kib());
            // RocksDB opens files as well.
            let back = open < files[node] + 32 && held < resident[node] + LEFT_MAX_KIB;
            if back { Ok(()) } else { Err(format!("{open} files, {held} KiB")) }
        })
        .await;
        say(&format!(
            "node {node}{}: {} MiB before, at most {} MiB of {}, {} MiB after; {} files, then {}",
            if node == leader { ", which leads" } else { "" },
            resident[node] >> 10,
            peak >> 10,
            bound >> 10,
            process.resident_kib() >> 10,
            files[node],
            open_files(process.id())
        ));
    }
}
