//! `gometa bench`: a load for a moment, and how fast it was.
//!
//! Every key is written once before the clock starts, so that reads find something; afterwards all are removed. Callers
//! wait for each answer before their next call. What is counted is what a caller sees: retries inside the client are
//! part of a call's time.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_client::{Client, Error, ErrorKind, Layout, ReadOptions, printable};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    args::Bench,
    commands::Setting,
    latency::Latencies,
    output::{Failure, Format},
};

/// How often the live line changes.
const ROUND: Duration = Duration::from_millis(500);
/// Keys that are written or removed at a time, before and after.
const SWEEP: usize = 64;

/// What callers have seen.
#[derive(Clone, Default)]
struct Tally {
    reads: Latencies,
    writes: Latencies,
    /// By the name of their kind.
    errors: BTreeMap<&'static str, u64>,
    /// The text of the first of them.
    first: Option<String>,
}

impl Tally {
    fn merge(&mut self, other: Tally) {
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.first = self.first.take().or(other.first);
    }

    fn answered(&self) -> u64 {
        self.reads.count() + self.writes.count()
    }

    fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// What the callers share.
struct Load {
    keys: Vec<String>,
    value: Vec<u8>,
    read_share: u64,
    options: ReadOptions,
    /// Calls that may still begin.
    left: AtomicU64,
    /// Known once the clock has started.
    until: OnceLock<Instant>,
    stopped: AtomicBool,
    dice: AtomicU64,
}

impl Load {
    /// Whether another call may begin.
    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
            && self.until.get().is_none_or(|until| Instant::now() < *until)
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
    }

    /// Below `bound`; the numbers of SplitMix64, good enough to choose keys with.
    fn roll(&self, bound: u64) -> u64 {
        let mut mixed = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Carries the load out and shows what came of it. Gives the exit status: not 0 if no call succeeded.
pub(crate) async fn run(setting: &Setting, options: &Bench, out: &mut dyn Write) -> Result<u8, Failure> {
    let prefix = options.prefix.clone().unwrap_or_else(|| format!("gometa-bench/{:08x}/", random() as u32));
    let keys: Vec<String> = (0..options.keys).map(|key| format!("{prefix}{key}")).collect();
    let load = Arc::new(Load {
        value: (0..options.value_size).map(|at| b'a' + (at % 26) as u8).collect(),
        read_share: options.read_share.into(),
        options: if options.local { ReadOptions::local() } else { ReadOptions::default() },
        left: AtomicU64::new(options.count.unwrap_or(u64::MAX)),
        until: OnceLock::new(),
        stopped: AtomicBool::new(false),
        dice: AtomicU64::new(random()),
        keys,
    });
    let live = io::stderr().is_terminal() && setting.format == Format::Table;
    let mut ended = None;
    let interrupted = async {
        // Without signals it cannot be interrupted.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(interrupted);
    let prepared = tokio::select! {
        prepared = sweep(&setting.client, &load, true) => Some(prepared),
        () = &mut interrupted => None,
    };
    let failed = match prepared {
        Some((_, None)) => {
            let measured = measure(setting, options, load.clone(), live, interrupted.as_mut()).await?;
            ended = Some(measured);
            None
        }
        Some((_, Some(error))) => Some(error),
        None => None,
    };
    let left = if options.keep {
        None
    } else {
        let (_, error) = tokio::select! {
            swept = sweep(&setting.client, &load, false) => swept,
            _ = tokio::signal::ctrl_c() => (0, Some(Error::new(
                ErrorKind::Cancelled,
                gometa_client::Operation::Delete,
                "interrupted a second time",
            ))),
        };
        error.map(|error| (prefix.as_str(), error))
    };
    if let Some(report) = &ended {
        match setting.format {
            Format::Json => {
                writeln!(out, "{}", report.to_json(options, left.as_ref().map(|(prefix, _)| *prefix)))?
            }
            Format::Table => report.show(out)?,
        }
    }
    if let Some((prefix, error)) = left {
        let line = format!("gometa: keys that begin with {prefix} are left behind: {error}");
        writeln!(io::stderr(), "{}", printable(line.as_bytes(), Layout::OneLine))?;
    }
    match (failed, ended) {
        (Some(error), _) => Err(error.into()),
        (None, Some(report)) if report.tally.answered() == 0 && report.tally.failed() > 0 => Ok(5),
        (None, Some(_)) => Ok(0),
        (None, None) => Ok(130),
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// Writes or removes every key; gives how many succeeded, and the first error.
async fn sweep(client: &Client, load: &Arc<Load>, write: bool) -> (u64, Option<Error>) {
    let mut tasks = JoinSet::new();
    for share in 0..SWEEP.min(load.keys.len()) {
        let (client, load) = (client.clone(), load.clone());
        tasks.spawn(async move {
            let mut done = 0;
            for key in load.keys.iter().skip(share).step_by(SWEEP) {
                if write {
                    client.set(key, &load.value).await?;
                } else {
                    client.delete(key).await?;
                }
                done += 1;
            }
            Ok::<u64, Error>(done)
        });
    }
    let (mut done, mut first) = (0, None);
    for result in tasks.join_all().await {
        match result {
            Ok(some) => done += some,
            Err(error) => first = first.or(Some(error)),
        }
    }
    (done, first)
}

/// Has the callers call, until time, calls or patience are used up.
async fn measure(
    setting: &Setting,
    options: &Bench,
    load: Arc<Load>,
    live: bool,
    mut interrupted: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Result<Report, Failure> {
    let mut clients = Vec::new();
    for number in 0..options.clients {
        // The first has written the keys.
        let client = if number == 0 { setting.client.clone() } else { setting.another()? };
        // Connected before the clock starts.
        client.get(&load.keys[0]).await.ok();
        clients.push(client);
    }
    let begun = Instant::now();
    if options.count.is_none() {
        let _ = load.until.set(begun + options.duration);
    }
    let total = Arc::new(Mutex::new(Tally::default()));
    let mut callers = JoinSet::new();
    for client in &clients {
        for _ in 0..options.in_flight {
            callers.spawn(call(client.clone(), load.clone(), total.clone()));
        }
    }
    let mut rounds = tokio::time::interval(ROUND);
    let mut was_interrupted = false;
    let mut before = (0, begun);
    loop {
        tokio::select! {
            ended = callers.join_next() => if ended.is_none() { break },
            () = &mut interrupted, if !was_interrupted => {
                was_interrupted = true;
                load.stopped.store(true, Ordering::Relaxed);
            }
            _ = rounds.tick(), if live => {
                let tally = locked(&total).clone();
                before = show_live(&tally, begun, before, options)?;
            }
        }
    }
    let took = begun.elapsed();
    // The first one goes on.
    let closing: JoinSet<()> = clients.iter().skip(1).map(Client::close).collect();
    closing.join_all().await;
    if live {
        write!(io::stderr(), "\r\x1b[K")?;
    }
    let tally = locked(&total).clone();
    Ok(Report { tally, took, interrupted: was_interrupted })
}

fn locked(total: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    total.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One caller.
async fn call(client: Client, load: Arc<Load>, total: Arc<Mutex<Tally>>) {
    let mut tally = Tally::default();
    let mut told = Instant::now();
    while load.goes_on() {
        let key = &load.keys[load.roll(load.keys.len() as u64) as usize];
        let begun = Instant::now();
        let read = load.roll(100) < load.read_share;
        let result = if read {
            client.get_with(key, load.options).await.map(drop)
        } else {
            client.set(key, &load.value).await.map(drop)
        };
        match result {
            Ok(()) if read => tally.reads.add(begun.elapsed()),
            Ok(()) => tally.writes.add(begun.elapsed()),
            Err(error) => {
                *tally.errors.entry(error.kind().name()).or_default() += 1;
                tally.first.get_or_insert_with(|| error.to_string());
            }
        }
        if told.elapsed() >= ROUND / 2 {
            told = Instant::now();
            locked(&total).merge(std::mem::take(&mut tally));
        }
    }
    locked(&total).merge(tally);
}

fn show_live(
    tally: &Tally,
    begun: Instant,
    (answered, at): (u64, Instant),
    options: &Bench,
) -> io::Result<(u64, Instant)> {
    let now = Instant::now();
    let rate = (tally.answered() - answered) as f64 / (now - at).as_secs_f64().max(1e-3);
    let mut all = tally.reads.clone();
    all.merge(&tally.writes);
    let goal = match options.count {
        Some(count) => format!("{} of {count} calls", tally.answered() + tally.failed()),
        None => format!("{:.0} of {:.0} s", begun.elapsed().as_secs_f64(), options.duration.as_secs_f64()),
    };
    let mut err = io::stderr();
    write!(
        err,
        "\r\x1b[K{goal}: {rate:.0}/s, p50 {}, p99 {}, {} errors",
        shown(all.percentile(0.5)),
        shown(all.percentile(0.99)),
        tally.failed()
    )?;
    err.flush()?;
    Ok((tally.answered(), now))
}

/// A latency for people.
fn shown(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1e3)
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
        let Tally { reads, writes, errors, first } = &self.tally;
        for (name, latencies) in [("reads", reads), ("writes", writes)] {
            if latencies.count() > 0 {
                writeln!(
                    out,
                    "{name:<6}  {:>9.0}/s   p50 {}, p99 {}, max {}   {} calls",
                    self.rate(latencies.count()),
                    shown(latencies.percentile(0.5)),
                    shown(latencies.percentile(0.99)),
                    shown(latencies.max()),
                    latencies.count(),
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
        match first {
            Some(first) => {
                writeln!(out, "the first error: {}", printable(first.as_bytes(), Layout::OneLine))
            }
            None => Ok(()),
        }
    }

    fn to_json(&self, options: &Bench, left_behind: Option<&str>) -> Value {
        let us = |took: Duration| took.as_micros() as u64;
        let part = |latencies: &Latencies| {
            json!({
                "count": latencies.count(),
                "per_second": self.rate(latencies.count()),
                "p50_us": us(latencies.percentile(0.5)),
                "p99_us": us(latencies.percentile(0.99)),
                "max_us": us(latencies.max()),
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
            "left_behind": left_behind,
        })
    }
}
