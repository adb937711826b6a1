//! Slow reads of table files, and one that hangs: they delay the calls that need them, and nothing else.
//!
//! `GOMETA_TEST_READS_SECONDS` sets the time under slow reads, 5 by default. With it the steps of the driver have the
//! bound for a machine without other work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_client::Client;
use gometa_tests::{chaos::preload::Preload, ensemble::Ensemble, random, say};
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(30);
/// More than the caches: 160 MiB.
const KEYS: u64 = 10_240;
const VALUE_BYTES: usize = 16 << 10;
/// The gets in flight.
const GETS: usize = 1_024;
const READ_MS: u64 = 5;
/// The time between two sets of the load.
const SET_EVERY: Duration = Duration::from_millis(5);
/// The 99th percentile of the sets is below this beside a fault, or at most twice what it was before.
const P99_MAX: Duration = Duration::from_millis(25);
/// The parts of a load whose percentiles are compared.
const PARTS: usize = 5;

/// The configured time under slow reads.
fn seconds() -> Option<u64> {
    std::env::var("GOMETA_TEST_READS_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"))
}

/// The bound of the driver's steps in milliseconds: on a machine without other work, and else a quarter of the election
/// timeout.
fn step_ms_max() -> u64 {
    if seconds().is_some() { 25 } else { 250 }
}

fn key(number: u64) -> String {
    format!("large/{number}")
}

/// Three nodes whose table files hold more than their memory, and the switches of their reads.
async fn filled() -> (Ensemble, Preload) {
    let (ensemble, preload) = Preload::start(3).await;
    let client = ensemble.client(TIMEOUT);
    let next = Arc::new(AtomicU64::new(0));
    let mut filling = JoinSet::new();
    for _ in 0..32 {
        let (client, next) = (client.clone(), next.clone());
        filling.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= KEYS {
                    return;
                }
                client.set(key(number), vec![number as u8; VALUE_BYTES]).await.unwrap();
            }
        });
    }
    filling.join_all().await;
    (ensemble, preload)
}

/// Sets small values of keys that exist, at a steady rate, until it is stopped.
struct Load {
    stops: Arc<AtomicBool>,
    times: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Load {
    fn start(client: Client) -> Load {
        let stops = Arc::new(AtomicBool::new(false));
        let stopped = stops.clone();
        let times = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SET_EVERY);
            let mut running = JoinSet::new();
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = ticks.tick().await;
                number += 1;
                let client = client.clone();
                running.spawn(async move {
                    client.set(format!("load/{}", number % 100), number.to_string()).await.unwrap();
                    due.elapsed()
                });
            }
            running.join_all().await
        });
        Load { stops, times }
    }

    /// Returns number, median and 99th percentile of the times of all sets, from the moment at which each was due. The
    /// percentile is the median of those of five successive parts: a short burst of other work is in few of them, and what
    /// lasts is in most.
    async fn stop(self) -> (usize, Duration, Duration) {
        self.stops.store(true, Ordering::Relaxed);
        let mut times = self.times.await.unwrap();
        let count = times.len();
        let at = |times: &mut [Duration], percent: usize| {
            times.sort_unstable();
            times[(times.len() - 1) * percent / 100]
        };
        let parts = times.chunks_mut(count.div_ceil(PARTS));
        let mut p99s: Vec<Duration> = parts.map(|part| at(part, 99)).collect();
        (count, at(&mut times, 50), at(&mut p99s, 50))
    }
}

/// The longest step of 25 ms or more in this part of a node's log, in milliseconds; 0 if there is none.
fn longest_step_ms(log: &str) -> u64 {
    let lines = log.lines().filter(|line| line.contains("slow steps of the driver"));
    let longest = lines.map(|line| {
        let longest = line.split("longest_ms=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        longest.unwrap_or_else(|| panic!("no longest_ms: {line}"))
    });
    longest.max().unwrap_or(0)
}

/// Panics if the sets beside a fault were slow: `before` and `beside` are 99th percentiles.
fn assert_bound(before: Duration, beside: Duration) {
    assert!(beside < P99_MAX.max(2 * before), "p99 of sets: {before:?} before, {beside:?} beside the fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_reads_of_table_files_delay_neither_sets_nor_heartbeats() {
    let time = Duration::from_secs(seconds().unwrap_or(5));
    let (ensemble, preload) = filled().await;
    let leader = ensemble.leader().await;
    let epoch = ensemble.status(leader).await.unwrap().epoch;
    let load = Load::start(ensemble.client(TIMEOUT));
    tokio::time::sleep(time.min(Duration::from_secs(5))).await;
    let (_, _, before) = load.stop().await;

    let logged = ensemble.log(leader).len();
    for node in ensemble.all() {
        preload.slow_reads(node, READ_MS).unwrap();
    }
    let load = Load::start(ensemble.client(TIMEOUT));
    let reader = ensemble.client_of(leader, TIMEOUT);
    let begun = Instant::now();
    let mut reading = JoinSet::new();
    for get in 0..GETS as u64 {
        let reader = reader.clone();
        reading.spawn(async move {
            let mut count = 0;
            while begun.elapsed() < time {
                let number = (get * 7_919 + count * 104_729) % KEYS;
                let entry = reader.get(key(number)).await.unwrap();
                assert_eq!(entry.value[..], vec![number as u8; VALUE_BYTES]);
                count += 1;
            }
            count
        });
    }
    let gets: u64 = reading.join_all().await.into_iter().sum();
    let (sets, median, beside) = load.stop().await;
    for node in ensemble.all() {
        preload.heal_reads(node).unwrap();
    }
    let slow = preload.affected_reads(leader);
    let step_ms = longest_step_ms(&ensemble.log(leader)[logged..]);
    say(&format!(
        "{READ_MS} ms for each read of a table file, {slow} reads of the leader; {GETS} gets in flight: {gets} gets in \
         {:.1?}; {sets} sets: p50 {median:.1?}, p99 {beside:.1?}, before {before:.1?}; longest step of the leader's \
         driver: {}",
        begun.elapsed(),
        if step_ms == 0 { "below 25 ms".to_owned() } else { format!("{step_ms} ms") }
    ));
    assert!(step_ms <= step_ms_max(), "a step of the leader's driver took {step_ms} ms");
    assert!(slow > 100, "{slow} reads were slow");
    let status = ensemble.status(leader).await.unwrap();
    assert_eq!((ensemble.leader().await, status.epoch), (leader, epoch), "the leader has changed");
    assert_bound(before, beside);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_hangs_costs_the_calls_that_need_it() {
    let mut random = random::of_this_run("hanging read");
    let (ensemble, preload) = filled().await;
    let leader = ensemble.leader().await;
    let epoch = ensemble.status(leader).await.unwrap().epoch;
    let load = Load::start(ensemble.client(TIMEOUT));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, _, before) = load.stop().await;

    preload.hang_read(leader, "gometa-read-g").unwrap();
    let load = Load::start(ensemble.client(TIMEOUT));
    let reader = ensemble.client_of(leader, TIMEOUT);
    // Gets of keys that are not in memory, until one hangs.
    let mut waiting = JoinSet::new();
    let mut asked = Vec::new();
    while preload.affected_reads(leader) == 0 {
        let number = random.below(KEYS);
        asked.push(number);
        let reader = reader.clone();
        waiting.spawn(async move { (number, reader.get(key(number)).await) });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // All others are answered; and so are those of other keys from now on.
    let hung = Instant::now();
    while waiting.len() > 1 {
        let (number, entry) = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(entry.unwrap().value[0], number as u8);
    }
    for number in (0..KEYS).filter(|number| !asked.contains(number)).take(300) {
        assert_eq!(reader.get(key(number)).await.unwrap().value[0], number as u8);
    }
    let others = hung.elapsed();
    tokio::time::sleep_until((hung + Duration::from_secs(10)).into()).await;
    assert_eq!(waiting.len(), 1, "the read hangs");
    let (sets, median, beside) = load.stop().await;
    let status = ensemble.status(leader).await.unwrap();
    assert_eq!((ensemble.leader().await, status.epoch), (leader, epoch), "the leader has changed");
    preload.heal_reads(leader).unwrap();
    let (number, entry) = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(entry.unwrap().value[0], number as u8);
    say(&format!(
        "a read that hangs for 10 s: 300 gets of other keys in {others:.1?}; {sets} sets: p50 {median:.1?}, p99 \
         {beside:.1?}, before {before:.1?}"
    ));
    assert_bound(before, beside);
}
