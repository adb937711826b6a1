//! Sets of small values, as fast as possible or at a steady rate.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gometa_client::Client;
use tokio::task::JoinSet;

use crate::{chaos::percentile, ensemble::Ensemble, lock};

/// The clients, each with a connection of its own.
const CLIENTS: u64 = 8;
/// The sets in flight of each client, when sets are as fast as possible.
const IN_FLIGHT: u64 = 32;
const TIMEOUT: Duration = Duration::from_secs(30);
const VALUE_BYTES: usize = 128;

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub struct UnderLoad {
    /// The number of keys, with values of 128 bytes.
    pub keys: u64,
    /// The load, in sets a second.
    pub rate: u64,
    /// The time for which the load is measured before.
    pub before: Duration,
}

/// The latencies of some sets.
#[derive(Clone, Default, Debug)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Zero if there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.0, percent).unwrap_or_default()
    }
}

/// A set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) revision: u64,
    /// The number of its key.
    pub(crate) key: u64,
    /// The number of its value.
    pub(crate) value: u64,
}

/// Where a load puts its latencies, until they are taken, and its sets, if it notes them.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    latencies: Arc<Mutex<Vec<Duration>>>,
    writes: Option<Arc<Mutex<Vec<Write>>>>,
}

impl Meter {
    /// One that notes sets as well.
    pub(crate) fn noting() -> Meter {
        Meter { writes: Some(Arc::default()), ..Meter::default() }
    }

    /// What was measured since the last call.
    pub(crate) fn take(&self) -> Latencies {
        Latencies(std::mem::take(&mut lock(&self.latencies)))
    }

    /// The sets that were noted.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.writes.as_ref().map(|writes| lock(writes).clone()).unwrap_or_default()
    }

    fn add(&self, latency: Duration, write: Option<Write>) {
        lock(&self.latencies).push(latency);
        if let (Some(writes), Some(write)) = (&self.writes, write) {
            lock(writes).push(write);
        }
    }
}

/// The name of a key; the order of the names is that of the numbers.
pub(crate) fn key(number: u64) -> String {
    format!("key/{number:08}")
}

/// The value of this number.
pub(crate) fn value(number: u64) -> Vec<u8> {
    let mut value = format!("{number:020}").into_bytes();
    value.resize(VALUE_BYTES, b'v');
    value
}

fn clients(ensemble: &Ensemble) -> Vec<Client> {
    (0..CLIENTS).map(|_| ensemble.client(TIMEOUT)).collect()
}

async fn set(client: &Client, number: u64, keys: u64) -> Result<Write, String> {
    let written = client.set(key(number % keys), value(number)).await;
    let written = written.map_err(|error| format!("set {number}: {error}"))?;
    Ok(Write { revision: written.revision, key: number % keys, value: number })
}

/// Sets `count` times, as fast as possible, the keys one after the other.
pub(crate) async fn fast(ensemble: &Ensemble, count: u64, keys: u64, meter: &Meter) {
    let next = Arc::new(AtomicU64::new(0));
    let mut running = JoinSet::new();
    for client in clients(ensemble) {
        for _ in 0..IN_FLIGHT {
            let (client, next, meter) = (client.clone(), next.clone(), meter.clone());
            running.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    let begun = Instant::now();
                    // Spread over the keys, so that no order of theirs helps the table.
                    let written = set(&client, number.wrapping_mul(0x9e37_79b1), keys).await;
                    let write = written.unwrap_or_else(|error| panic!("{error}"));
                    meter.add(begun.elapsed(), Some(write));
                }
            });
        }
    }
    running.join_all().await;
}

/// Sets at a steady rate until it is stopped.
pub(crate) struct Steady {
    stops: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
    pub(crate) meter: Meter,
}

impl Steady {
    /// `rate` is in sets a second. A latency counts from the moment at which the set was due, also that of a failed set.
    pub(crate) fn start(ensemble: &Ensemble, rate: u64, keys: u64) -> Steady {
        Steady::metered(ensemble, rate, keys, Meter::default())
    }

    /// The same, with a meter that may note sets.
    pub(crate) fn metered(ensemble: &Ensemble, rate: u64, keys: u64, meter: Meter) -> Steady {
        let stops = Arc::new(AtomicBool::new(false));
        let (stopped, measured, clients) = (stops.clone(), meter.clone(), clients(ensemble));
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            let (mut running, mut failures) = (JoinSet::new(), Vec::new());
            let mut number = 0;
            while !stopped.load(Relaxed) {
                let due = begun + Duration::from_micros(number * 1_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
                let (client, meter) = (clients[(number % CLIENTS) as usize].clone(), measured.clone());
                running.spawn(async move {
                    let written = set(&client, number, keys).await;
                    meter.add(due.elapsed(), written.as_ref().ok().copied());
                    written.err()
                });
                number += 1;
                while let Some(ended) = running.try_join_next() {
                    failures.extend(ended.expect("a set does not panic"));
                }
            }
            failures.extend(running.join_all().await.into_iter().flatten());
            failures
        });
        Steady { stops, task, meter }
    }

    /// Waits for the last sets, and returns the failures of all.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stops.store(true, Relaxed);
        self.task.await.expect("the load does not panic")
    }
}
