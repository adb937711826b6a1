//! The load generator: closed and open loops over the connections of one system.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use crate::{
    client::Client,
    data::{PAGE_KEYS, Random, Values},
    stats::Latencies,
    workload::{IN_FLIGHT_MAX, Loop, Operation, Workload},
};

/// The pause of a caller after an error.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// How long the last operations may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// The operations of an open loop that wait for one connection. If it is full, operations are not started, and counted.
const BACKLOG_MAX: usize = 16_384;
/// The shortest sleep of the thread that starts operations of an open loop.
const PACER_SLEEP: Duration = Duration::from_micros(50);

/// The keys and values of the load.
pub(crate) struct Data {
    pub(crate) keys: u32,
    pub(crate) values: Arc<Values>,
}

/// The time of the measurement.
#[derive(Clone, Copy)]
struct Window {
    start: Instant,
    end: Instant,
}

impl Window {
    fn contains(&self, at: Instant) -> bool {
        (self.start..self.end).contains(&at)
    }
}

/// The result of a load.
#[derive(Default)]
pub(crate) struct Done {
    /// The operations that ended within the window.
    pub(crate) completed: u64,
    /// The operations that ended, also before and after the window.
    pub(crate) completed_in_all: u64,
    /// Of the operations in the window. In an open loop the intended start counts, in a closed one the end.
    pub(crate) latencies: Latencies,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Open loop: the operations that were not started, because too many before them had not ended.
    pub(crate) not_started: u64,
}

impl Done {
    fn take(&mut self, other: &mut Done) {
        self.completed += other.completed;
        self.completed_in_all += other.completed_in_all;
        self.latencies.append(&mut other.latencies);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error.take());
        self.not_started += other.not_started;
    }
}

/// The results of one caller or connection.
struct Tally {
    window: Window,
    done: Mutex<Done>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an operation that has ended now. `counted_at` decides whether its latency counts.
    fn add(&self, result: &Result<()>, begun: Instant, intended: bool) {
        let now = Instant::now();
        let mut done = self.lock();
        match result {
            Ok(()) => {
                done.completed_in_all += 1;
                done.completed += u64::from(self.window.contains(now));
                if self.window.contains(if intended { begun } else { now }) {
                    done.latencies.record(now - begun);
                }
            }
            Err(error) => {
                done.errors += 1;
                done.first_error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

/// Executes one operation on random keys.
async fn execute(client: &Client, operation: Operation, data: &Data, random: &mut Random) -> Result<()> {
    let key = random.below(data.keys);
    match operation {
        Operation::Set => client.set(key, data.values.at(random.next())).await,
        Operation::Get | Operation::LocalGet => {
            let length = client.get(key, operation == Operation::LocalGet).await?;
            anyhow::ensure!(length == data.values.size(), "a value of {length} bytes was read");
            Ok(())
        }
        Operation::Page => {
            let expected = data.keys.min(PAGE_KEYS);
            let found = client.page(random.below(data.keys - expected + 1)).await?;
            anyhow::ensure!(found == expected as usize, "a page of {found} keys was read");
            Ok(())
        }
        Operation::Txn => {
            anyhow::ensure!(data.keys > 1, "there are no two keys");
            let other = (key + 1 + random.below(data.keys - 1)) % data.keys;
            client.set_both([key, other], data.values.at(random.next())).await
        }
    }
}

/// Runs a workload for `ramp` and then for `duration`, which is the measured window. `at` is called at its start and at
/// its end.
pub(crate) async fn run<T>(
    clients: &[Arc<Client>],
    workload: Workload,
    data: &Arc<Data>,
    (ramp, duration): (Duration, Duration),
    mut at: impl FnMut() -> Result<T>,
) -> Result<(Done, T, T)> {
    let start = Instant::now() + ramp;
    let window = Window { start, end: start + duration };
    let tallies: Vec<Arc<Tally>> =
        clients.iter().map(|_| Arc::new(Tally { window, done: Mutex::default() })).collect();
    let mut tasks = JoinSet::new();
    let mut pacer = None;
    match workload.pacing {
        Loop::Closed { in_flight } => {
            for (number, (client, tally)) in clients.iter().zip(&tallies).enumerate() {
                for caller in 0..in_flight {
                    let seed = (number * IN_FLIGHT_MAX + caller) as u64;
                    let (client, tally, data) = (client.clone(), tally.clone(), data.clone());
                    tasks.spawn(closed(client, workload.operation, data, tally, Random::new(seed)));
                }
            }
        }
        Loop::Open { rate } => {
            let mut queues = Vec::new();
            for (number, (client, tally)) in clients.iter().zip(&tallies).enumerate() {
                let (sender, receiver) = mpsc::channel(BACKLOG_MAX);
                queues.push(sender);
                let (client, tally, data) = (client.clone(), tally.clone(), data.clone());
                tasks.spawn(open(client, workload.operation, data, tally, receiver, number as u64));
            }
            let interval = Workload::interval(rate);
            let begun = Instant::now();
            pacer = Some(std::thread::spawn(move || pace(&queues, begun, interval, window)));
        }
    }
    tokio::time::sleep_until(window.start.into()).await;
    let before = at()?;
    tokio::time::sleep_until(window.end.into()).await;
    let after = at()?;
    let drained = async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a caller of the load generator has failed")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(DRAIN_TIMEOUT, drained).await.context("operations do not end")??;
    let mut done = Done::default();
    for tally in &tallies {
        done.take(&mut tally.lock());
    }
    if let Some(pacer) = pacer {
        done.not_started = pacer.join().expect("the pacer does not panic");
    }
    Ok((done, before, after))
}

/// One caller: the next operation begins when the last one has ended.
async fn closed(
    client: Arc<Client>,
    operation: Operation,
    data: Arc<Data>,
    tally: Arc<Tally>,
    mut random: Random,
) {
    loop {
        let begun = Instant::now();
        if begun >= tally.window.end {
            return;
        }
        let result = execute(&client, operation, &data, &mut random).await;
        tally.add(&result, begun, false);
        if result.is_err() {
            tokio::time::sleep(ERROR_PAUSE).await;
        }
    }
}

/// One connection of an open loop: begins an operation for each intended start that it receives.
async fn open(
    client: Arc<Client>,
    operation: Operation,
    data: Arc<Data>,
    tally: Arc<Tally>,
    mut starts: mpsc::Receiver<Instant>,
    seed: u64,
) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let numbers = AtomicU64::new(seed << 32);
    let mut operations = JoinSet::new();
    while let Some(intended) = starts.recv().await {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is not closed");
        let mut random = Random::new(numbers.fetch_add(1, Ordering::Relaxed));
        let (client, tally, data) = (client.clone(), tally.clone(), data.clone());
        operations.spawn(async move {
            let result = execute(&client, operation, &data, &mut random).await;
            tally.add(&result, intended, true);
            drop(slot);
        });
        while operations.try_join_next().is_some() {}
    }
    while operations.join_next().await.is_some() {}
}

/// Distributes the intended starts over the connections until the end of the window; returns how many of the window
/// found a full queue.
fn pace(queues: &[mpsc::Sender<Instant>], begun: Instant, interval: Duration, window: Window) -> u64 {
    let mut not_started = 0;
    let mut queues = queues.iter().cycle();
    for number in 0.. {
        let intended = begun + interval.mul_f64(f64::from(number));
        if intended >= window.end {
            break;
        }
        let now = Instant::now();
        if intended > now {
            std::thread::sleep((intended - now).max(PACER_SLEEP));
        }
        let queue = queues.next().expect("there is a connection");
        if queue.try_send(intended).is_err() && window.contains(intended) {
            not_started += 1;
        }
    }
    not_started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn intended_starts_keep_the_rate_and_full_queues_are_counted() {
        let begun = Instant::now();
        let window = Window { start: begun, end: begun + Duration::from_millis(20) };
        let (sender, mut receiver) = mpsc::channel(15);
        assert_eq!(pace(&[sender], begun, Duration::from_millis(1), window), 5);
        let mut received = Vec::new();
        while let Some(intended) = receiver.recv().await {
            received.push((intended - begun).as_millis());
        }
        assert_eq!(received, (0..15).collect::<Vec<_>>());
    }

    #[test]
    fn latencies_count_from_the_intended_start() {
        let begun = Instant::now();
        let window = Window { start: begun, end: begun + Duration::from_secs(3600) };
        let tally = Tally { window, done: Mutex::default() };
        let Some(long_ago) = begun.checked_sub(Duration::from_secs(1)) else { return };
        tally.add(&Ok(()), begun, true);
        // Intended before the window: it counts as completed, but its latency does not.
        tally.add(&Ok(()), long_ago, true);
        tally.add(&Ok(()), long_ago, false);
        tally.add(&Err(anyhow::anyhow!("refused")), begun, false);
        let mut all = Done::default();
        all.take(&mut tally.lock());
        assert_eq!((all.completed, all.completed_in_all, all.latencies.len(), all.errors), (3, 3, 2, 1));
        assert_eq!(all.first_error.as_deref(), Some("refused"));
    }
}
