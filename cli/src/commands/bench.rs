//! `gometa bench`: measures throughput and latency under a short load.
//!
//! All keys are written before the measurement, so that reads find them, and removed after it. Each caller waits for an
//! answer before its next call. Latencies are those that a caller sees, retries inside the client included.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_client::{Client, Error, ErrorKind, Layout, Operation, ReadOptions, printable};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    context::Context,
    options::parse_duration,
    output::{Failure, Format, UNHEALTHY},
};

/// The time between two updates of the progress line.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// The number of keys that are written or removed at a time, before and after the measurement.
const CONCURRENT_KEYS: usize = 64;
/// The significant digits of latencies.
const DIGITS: u8 = 2;
/// The exit status after Ctrl-C before the measurement.
const INTERRUPTED: u8 = 130;

#[derive(clap::Args, Debug)]
pub(crate) struct Bench {
    /// The number of clients, each with its own connection and session
    #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,

    /// The number of concurrent calls of each client
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: u32,

    /// The size of values in bytes
    #[arg(short = 's', long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    value_size: u32,

    /// The percentage of calls that are reads
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    read_share: u32,

    /// Read from the answering node without confirmation by a quorum
    #[arg(long)]
    local: bool,

    /// The duration of the measurement
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,

    /// The number of calls, instead of a duration
    #[arg(short = 'n', long, conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// The number of keys
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,

    /// The prefix of the keys; by default, gometa-bench/ and a random number
    #[arg(long)]
    prefix: Option<String>,

    /// Keep the keys afterwards
    #[arg(long)]
    keep: bool,
}

/// The results of calls.
#[derive(Clone)]
struct Tally {
    /// In microseconds.
    reads: Histogram<u64>,
    /// In microseconds.
    writes: Histogram<u64>,
    /// By the name of the kind.
    errors: BTreeMap<&'static str, u64>,
    /// The text of the first error.
    first_error: Option<String>,
}

impl Tally {
    fn new() -> Tally {
        let empty = Histogram::new(DIGITS).expect("valid digits");
        Tally { reads: empty.clone(), writes: empty, errors: BTreeMap::new(), first_error: None }
    }

    /// Adds `other`, which is empty afterwards.
    fn take(&mut self, other: &mut Tally) {
        add(&mut self.reads, &other.reads);
        add(&mut self.writes, &other.writes);
        other.reads.reset();
        other.writes.reset();
        for (kind, count) in std::mem::take(&mut other.errors) {
            *self.errors.entry(kind).or_default() += count;
        }
        self.first_error = self.first_error.take().or(other.first_error.take());
    }

    fn answered(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    sum.add(other).expect("histograms resize");
}

/// A percentile for people.
fn shown(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1e3)
}

/// What the callers share.
struct Load {
    keys: Vec<String>,
    value: Vec<u8>,
    read_share: u64,
    options: ReadOptions,
    /// The number of calls that may still begin.
    remaining: AtomicU64,
    /// The end of the measurement, set at its start.
    until: OnceLock<Instant>,
    stopped: AtomicBool,
    random_state: AtomicU64,
}

impl Load {
    fn new(options: &Bench, prefix: &str) -> Load {
        Load {
            keys: (0..options.keys).map(|key| format!("{prefix}{key}")).collect(),
            value: (0..options.value_size).map(|at| b'a' + (at % 26) as u8).collect(),
            read_share: options.read_share.into(),
            options: if options.local { ReadOptions::local() } else { ReadOptions::default() },
            remaining: AtomicU64::new(options.count.unwrap_or(u64::MAX)),
            until: OnceLock::new(),
            stopped: AtomicBool::new(false),
            random_state: AtomicU64::new(seed()),
        }
    }

    /// Whether another call may begin.
    fn next_call(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
            && self.until.get().is_none_or(|until| Instant::now() < *until)
            && self
                .remaining
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |remaining| remaining.checked_sub(1))
                .is_ok()
    }

    /// A random number below `bound`, by SplitMix64.
    fn random(&self, bound: u64) -> u64 {
        let mut mixed = self.random_state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

impl Bench {
    /// Runs the load and shows the results. The exit status is not 0 if no call succeeded.
    pub(crate) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let prefix = self.prefix.clone().unwrap_or_else(|| format!("gometa-bench/{:08x}/", seed() as u32));
        let load = Arc::new(Load::new(self, &prefix));
        let interrupted = async {
            // Without signal handling, Ctrl-C cannot be received.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::pin!(interrupted);
        let prepared = tokio::select! {
            prepared = for_all_keys(&context.client, &load, true) => Some(prepared),
            () = &mut interrupted => None,
        };
        let report = match prepared {
            Some(Ok(())) => Some(self.measure(context, load.clone(), interrupted.as_mut()).await?),
            _ => None,
        };
        let removed = if self.keep {
            Ok(())
        } else {
            tokio::select! {
                removed = for_all_keys(&context.client, &load, false) => removed,
                _ = tokio::signal::ctrl_c() => {
                    Err(Error::new(ErrorKind::Cancelled, Operation::Delete, "interrupted a second time"))
                }
            }
        };
        if let Some(report) = &report {
            match context.format {
                Format::Json => {
                    writeln!(out, "{}", report.to_json(self, removed.is_err().then_some(&*prefix)))?;
                }
                Format::Table => report.show(out)?,
            }
        }
        if let Err(error) = removed {
            let line = format!("gometa: keys with the prefix {prefix} were not removed: {error}");
            writeln!(io::stderr(), "{}", printable(line.as_bytes(), Layout::OneLine))?;
        }
        match (prepared, report) {
            (Some(Err(error)), _) => Err(error.into()),
            (_, Some(report)) if report.tally.answered() == 0 && report.tally.failed() > 0 => Ok(UNHEALTHY),
            (_, Some(_)) => Ok(0),
            (_, None) => Ok(INTERRUPTED),
        }
    }

    /// Runs the callers until the time or the calls are used up, or until Ctrl-C.
    async fn measure(
        &self,
        context: &Context,
        load: Arc<Load>,
        mut interrupted: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Report, Failure> {
        let mut clients = Vec::new();
        for number in 0..self.clients {
            // The first one has written the keys.
            let client = if number == 0 { context.client.clone() } else { context.new_client()? };
            // Connects before the measurement.
            client.get(&load.keys[0]).await.ok();
            clients.push(client);
        }
        let begun = Instant::now();
        if self.count.is_none() {
            let _ = load.until.set(begun + self.duration);
        }
        let total = Arc::new(Mutex::new(Tally::new()));
        let mut callers = JoinSet::new();
        for client in &clients {
            for _ in 0..self.in_flight {
                callers.spawn(call(client.clone(), load.clone(), total.clone()));
            }
        }
        let shows_progress = io::stderr().is_terminal() && context.format == Format::Table;
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        let mut was_interrupted = false;
        let mut before = (0, begun);
        loop {
            tokio::select! {
                ended = callers.join_next() => if ended.is_none() { break },
                () = &mut interrupted, if !was_interrupted => {
                    was_interrupted = true;
                    load.stopped.store(true, Ordering::Relaxed);
                }
                _ = progress.tick(), if shows_progress => {
                    let tally = lock(&total).clone();
                    before = self.show_progress(&tally, begun, before)?;
                }
            }
        }
        let took = begun.elapsed();
        // The first one is needed to remove the keys.
        let closing: JoinSet<()> = clients.iter().skip(1).map(Client::close).collect();
        closing.join_all().await;
        if shows_progress {
            write!(io::stderr(), "\r\x1b[K")?;
        }
        let tally = lock(&total).clone();
        Ok(Report { tally, took, interrupted: was_interrupted })
    }

    fn show_progress(
        &self,
        tally: &Tally,
        begun: Instant,
        (answered, at): (u64, Instant),
    ) -> io::Result<(u64, Instant)> {
        let now = Instant::now();
        let rate = (tally.answered() - answered) as f64 / (now - at).as_secs_f64().max(1e-3);
        let mut all = tally.reads.clone();
        add(&mut all, &tally.writes);
        let done = match self.count {
            Some(count) => format!("{} of {count} calls", tally.answered() + tally.failed()),
            None => format!("{:.0} of {:.0} s", begun.elapsed().as_secs_f64(), self.duration.as_secs_f64()),
        };
        let [p50, p99] = [0.5, 0.99].map(|quantile| shown(all.value_at_quantile(quantile)));
        let mut err = io::stderr();
        write!(err, "\r\x1b[K{done}: {rate:.0}/s, p50 {p50}, p99 {p99}, {} errors", tally.failed())?;
        err.flush()?;
        Ok((tally.answered(), now))
    }
}

/// Writes or removes every key; returns the first error.
async fn for_all_keys(client: &Client, load: &Arc<Load>, write: bool) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    for share in 0..CONCURRENT_KEYS.min(load.keys.len()) {
        let (client, load) = (client.clone(), load.clone());
        tasks.spawn(async move {
            for key in load.keys.iter().skip(share).step_by(CONCURRENT_KEYS) {
                match write {
                    true => drop(client.set(key, &load.value).await?),
                    false => drop(client.delete(key).await?),
                }
            }
            Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}

fn lock(total: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    total.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one caller.
async fn call(client: Client, load: Arc<Load>, total: Arc<Mutex<Tally>>) {
    let mut tally = Tally::new();
    let mut reported = Instant::now();
    while load.next_call() {
        let key = &load.keys[load.random(load.keys.len() as u64) as usize];
        let begun = Instant::now();
        let (latencies, result) = if load.random(100) < load.read_share {
            (&mut tally.reads, client.get_with(key, load.options).await.map(drop))
        } else {
            (&mut tally.writes, client.set(key, &load.value).await.map(drop))
        };
        match result {
            Ok(()) => latencies.record(begun.elapsed().as_micros() as u64).expect("histograms resize"),
            Err(error) => {
                *tally.errors.entry(error.kind().name()).or_default() += 1;
                tally.first_error.get_or_insert_with(|| error.to_string());
            }
        }
        if reported.elapsed() >= PROGRESS_INTERVAL / 2 {
            reported = Instant::now();
            lock(&total).take(&mut tally);
        }
    }
    lock(&total).take(&mut tally);
}

struct Report {
    tally: Tally,
    took: Duration,
    interrupted: bool,
}

impl Report {
    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.took.as_secs_f64().max(1e-6)
    }

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let Tally { reads, writes, errors, first_error } = &self.tally;
        for (name, latencies) in [("reads", reads), ("writes", writes)] {
            if !latencies.is_empty() {
                writeln!(
                    out,
                    "{name:<6}  {:>9.0}/s   p50 {}, p99 {}, max {}   {} calls",
                    self.rate(latencies.len()),
                    shown(latencies.value_at_quantile(0.5)),
                    shown(latencies.value_at_quantile(0.99)),
                    shown(latencies.max()),
                    latencies.len(),
                )?;
            }
        }
        writeln!(
            out,
            "all     {:>9.0}/s   in {:.1} s, {} errors{}",
            self.rate(self.tally.answered()),
            self.took.as_secs_f64(),
            self.tally.failed(),
            if self.interrupted { ", interrupted" } else { "" }
        )?;
        for (kind, count) in errors {
            writeln!(out, "{kind:<20} {count}")?;
        }
        match first_error {
            Some(error) => writeln!(out, "first error: {}", printable(error.as_bytes(), Layout::OneLine)),
            None => Ok(()),
        }
    }

    /// `not_removed`: the prefix of the keys, if they could not be removed.
    fn to_json(&self, options: &Bench, not_removed: Option<&str>) -> Value {
        let part = |latencies: &Histogram<u64>| {
            json!({
                "count": latencies.len(),
                "per_second": self.rate(latencies.len()),
                "p50_us": latencies.value_at_quantile(0.5),
                "p99_us": latencies.value_at_quantile(0.99),
                "max_us": latencies.max(),
            })
        };
        json!({
            "seconds": self.took.as_secs_f64(),
            "interrupted": self.interrupted,
            "clients": options.clients,
            "in_flight": options.in_flight,
            "value_bytes": options.value_size,
            "keys": options.keys,
            "per_second": self.rate(self.tally.answered()),
            "reads": part(&self.tally.reads),
            "writes": part(&self.tally.writes),
            "failed": self.tally.failed(),
            "errors": self.tally.errors,
            "left_behind": not_removed,
        })
    }
}
