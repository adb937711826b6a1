//! Exactly once: concurrent increments with every client while leaders are killed. The sums must be exact.
//!
//! An increment reads the counter and replaces it by cas. A write that was executed twice, or reported as not applied
//! although it was, or acknowledged and lost, changes the sum.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use gometa_client::Client;
use tokio::task::JoinSet;

use super::{
    Driver, Places,
    cluster::Cluster,
    line::{Line, hex, unhex},
};

/// The number of concurrent callers of each client.
const CLIENTS: u64 = 4;
/// The maximum for the command line, which starts a process for each call.
const COMMAND_INCREMENTS: usize = 500;
/// The timeout of a call, far longer than an election.
const TIMEOUT_MS: u64 = 60_000;

/// How a client counts, and how far it is.
pub(super) struct Counting {
    /// The number of increments after which it ends.
    pub(super) wanted: usize,
    /// The pause of each caller after an increment.
    pub(super) pause: Duration,
    /// The number of acknowledged increments.
    pub(super) made: AtomicUsize,
    /// Whether it ends after the increments that have begun.
    pub(super) stop: AtomicBool,
}

impl Counting {
    pub(super) fn new(wanted: usize, pause: Duration) -> Arc<Counting> {
        Arc::new(Counting { wanted, pause, made: AtomicUsize::new(0), stop: AtomicBool::new(false) })
    }
}

/// The result of one client.
pub struct Sum {
    /// The client's name.
    pub client: String,
    /// The number of acknowledged increments.
    pub increments: usize,
    /// The number of attempts that failed with CasMismatch.
    pub mismatches: usize,
    /// The time that it took.
    pub took: Duration,
}

/// Runs all clients at the same time, each on its own counter, with `increments` each (fewer with the command line),
/// while the leader is killed every `every`. Returns the sums and the number of kills.
///
/// # Errors
/// If a sum is wrong, or a call fails.
pub async fn exactly_once(
    places: &Places<'_>,
    clients: &[String],
    increments: usize,
    every: Duration,
) -> anyhow::Result<(Vec<Sum>, usize)> {
    let mut cluster = Cluster::start().await;
    let (peers, observer) = (cluster.peers("$nodes"), cluster.observer());
    let mut running = JoinSet::new();
    for name in clients {
        let wanted = if name == "cli" { increments.min(COMMAND_INCREMENTS) } else { increments };
        let counting = Counting::new(wanted, Duration::ZERO);
        running.spawn(begin(name, places, &observer, &peers, counting).await?);
    }
    let all = async {
        let mut sums = Vec::new();
        while let Some(sum) = running.join_next().await {
            sums.push(sum??);
        }
        anyhow::Ok(sums)
    };
    let (sums, kills) = cluster.kill_leaders_during(every, all).await;
    let mut sums = sums?;
    are_exact(&sums, &observer).await?;
    sums.sort_by_key(|sum| clients.iter().position(|client| *client == sum.client));
    Ok((sums, kills))
}

/// Starts a client, and returns a future of its sum.
pub(super) async fn begin(
    name: &str,
    places: &Places<'_>,
    observer: &Client,
    peers: &str,
    counting: Arc<Counting>,
) -> anyhow::Result<impl Future<Output = anyhow::Result<Sum>> + Send + use<>> {
    let driver = Driver::start(name, places).await?;
    observer.set(key(name), "0").await?;
    Ok(count(driver, name.to_owned(), peers.to_owned(), counting))
}

/// Checks that every counter has the sum and the version of the acknowledged increments.
pub(super) async fn are_exact(sums: &[Sum], observer: &Client) -> anyhow::Result<()> {
    for sum in sums {
        let entry = observer.get(key(&sum.client)).await?;
        let (value, version) = (String::from_utf8_lossy(&entry.value).into_owned(), entry.version);
        ensure!(
            value == sum.increments.to_string() && version == sum.increments as u64 + 1,
            "{}: {} increments were acknowledged, the counter is {value} at version {version}",
            sum.client,
            sum.increments
        );
    }
    Ok(())
}

fn key(client: &str) -> String {
    format!("exactly-once/{client}")
}

async fn count(driver: Driver, name: String, peers: String, counting: Arc<Counting>) -> anyhow::Result<Sum> {
    let begun = Instant::now();
    let driver = Arc::new(driver);
    // The number of increments that callers have begun; the mismatches of all.
    let (taken, mismatches) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let failed = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 1..=CLIENTS {
        let (driver, name, peers) = (driver.clone(), name.clone(), peers.clone());
        let (taken, mismatches, failed) = (taken.clone(), mismatches.clone(), failed.clone());
        let counting = counting.clone();
        clients.spawn(async move {
            let counts = async {
                let line = Line::new("open").with("client", client).with("peers", peers);
                let opened = driver.call(&line.with("timeout_ms", TIMEOUT_MS)).await?;
                ensure!(opened.kind().is_none(), "{opened}");
                let ends = || failed.load(Ordering::Relaxed) || counting.stop.load(Ordering::Relaxed);
                while !ends() && taken.fetch_add(1, Ordering::Relaxed) < counting.wanted {
                    while !increment(&driver, client, key(&name).as_bytes()).await? {
                        mismatches.fetch_add(1, Ordering::Relaxed);
                    }
                    counting.made.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(counting.pause).await;
                }
                Ok(())
            };
            let counted = counts.await;
            failed.fetch_or(counted.is_err(), Ordering::Relaxed);
            counted
        });
    }
    while let Some(done) = clients.join_next().await {
        done?.with_context(|| name.clone())?;
    }
    let driver = Arc::into_inner(driver).context("every client is done")?;
    driver.end().await?;
    Ok(Sum {
        client: name,
        increments: counting.made.load(Ordering::Relaxed),
        mismatches: mismatches.load(Ordering::Relaxed),
        took: begun.elapsed(),
    })
}

/// Tries an increment, and returns whether it was made; if not, another caller was faster.
async fn increment(driver: &Driver, client: u64, key: &[u8]) -> anyhow::Result<bool> {
    let line = |verb: &str| Line::new(verb).with("client", client).with_bytes("key", key);
    let read = driver.call(&line("get")).await?;
    let revision = read.number("mod_revision")?;
    let super::line::Answer::Ok(fields) = &read else { anyhow::bail!("{read}") };
    let value = unhex(fields.get("value").context("a value")?)?;
    let value: u64 = String::from_utf8(value)?.parse()?;
    let next = hex((value + 1).to_string().as_bytes());
    let answer = driver.call(&line("cas").with("revision", revision).with("value", next)).await?;
    match answer.kind() {
        None => answer.number("revision").map(|_| true),
        Some("CasMismatch") => Ok(false),
        Some(_) => anyhow::bail!("cas: {answer}"),
    }
}
