//! All keys are scanned by each language, one after the other, under load.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::load::{self, Meter, Steady, UnderLoad, Write};
use crate::{
    clients::{
        Driver, Places,
        digest::Digest,
        line::{Answer, Line},
    },
    ensemble::Ensemble,
};

/// The clients that have an iterator.
pub const SCANNING: [&str; 5] = ["rust", "c", "python", "python-aio", "go"];

/// The timeout of each request of a scan.
const TIMEOUT_MS: u64 = 60_000;
/// The bound of the 99th percentile meanwhile: this, or one and a half times that of the time before if that is more.
const P99_MAX: Duration = Duration::from_millis(25);
/// What the memory of a client may rise by: some pages of 1 MiB, and copies of these.
const CLIENT_KIB_MAX: u64 = 32 << 10;

/// The scan of one client.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The client's name.
    pub client: String,
    /// How long it took.
    pub time: Duration,
    /// The 99th percentile of the sets meanwhile.
    pub p99: Duration,
    /// How much the highest resident memory of the client rose, in KiB.
    pub client_kib: u64,
    /// The resident memory of the node that uses most, in KiB, afterwards.
    pub node_kib: u64,
}

/// What a run has measured.
#[derive(Clone, Debug)]
pub struct Scans {
    /// The 99th percentile of the sets before.
    pub p99_before: Duration,
    /// The resident memory of the node that used most before, in KiB.
    pub node_kib_before: u64,
    /// The scans.
    pub scans: Vec<Scanned>,
}

impl Scans {
    /// The bounds that were broken, one line each.
    pub fn broken(&self) -> Vec<String> {
        let p99_max = P99_MAX.max(self.p99_before * 3 / 2);
        let mut broken = Vec::new();
        for Scanned { client, p99, client_kib, .. } in &self.scans {
            if *p99 > p99_max {
                broken.push(format!(
                    "{client}: the p99 of the sets was {p99:.1?}, at most {p99_max:.1?} is allowed"
                ));
            }
            if *client_kib > CLIENT_KIB_MAX {
                broken.push(format!("{client}: its memory rose by {client_kib} KiB"));
            }
        }
        broken
    }

    /// A line for each scan.
    pub fn text(&self) -> String {
        let mut text = format!(
            "before: p99 of the sets {:.1?}, resident memory of a node at most {} MiB\n",
            self.p99_before,
            self.node_kib_before >> 10
        );
        for Scanned { client, time, p99, client_kib, node_kib } in &self.scans {
            text += &format!(
                "{client}: {:.1} s, equal to the model; p99 of the sets {p99:.1?}; memory of the client +{:.1} MiB, of a node \
                 at most {} MiB\n",
                time.as_secs_f64(),
                *client_kib as f64 / 1024.0,
                node_kib >> 10
            );
        }
        for broken in self.broken() {
            text += &format!("BROKEN: {broken}\n");
        }
        text
    }
}

/// Has each client scan all keys at one revision, and compares what it read with the sets.
///
/// # Errors
/// If a call fails, or a scan differs.
pub async fn scans(places: &Places<'_>, clients: &[String], scanning: UnderLoad) -> anyhow::Result<Scans> {
    let UnderLoad { keys, rate, before } = scanning;
    let ensemble = Ensemble::start(3).await;
    let meter = Meter::noting();
    load::fast(&ensemble, keys, keys, &meter).await;
    ensemble.converged(&ensemble.all()).await;
    let load = Steady::metered(&ensemble, rate, keys, meter.clone());
    meter.take();
    tokio::time::sleep(before).await;
    let p99_before = meter.take().percentile(99);
    let node_kib_before = node_kib(&ensemble);
    let (mut found, mut answers) = (Vec::new(), Vec::new());
    for name in clients {
        let driver = Driver::start(name, places).await?;
        let open = Line::new("open").with("client", 1).with("peers", ensemble.requests_from(0).join(","));
        let opened = driver.call(&open.with("timeout_ms", TIMEOUT_MS)).await?;
        ensure!(opened.kind().is_none(), "{name}: {opened}");
        // Its first request needs memory too.
        driver.call(&Line::new("range").with("client", 1).with("limit", 1)).await?;
        let revision = ensemble.status(ensemble.leader().await).await?.applied_revision;
        let peak = driver.peak_kib();
        meter.take();
        let begun = Instant::now();
        let line = Line::new("digest").with("client", 1).with_bytes("prefix", b"key/");
        let answer = driver.call(&line.with("at_revision", revision)).await?;
        let time = begun.elapsed();
        let p99 = meter.take().percentile(99);
        let client_kib = driver.peak_kib() - peak;
        driver.end().await?;
        answers.push((name, revision, answer));
        found.push(Scanned { client: name.clone(), time, p99, client_kib, node_kib: node_kib(&ensemble) });
    }
    let failures = load.stop().await;
    ensure!(failures.is_empty(), "{failures:#?}");
    // Now the sets at all of these revisions are noted.
    let writes = meter.writes();
    for (name, revision, answer) in answers {
        let (_, expected) = Answer::parse(&format!("1 ok {}", expected(&writes, keys, revision)?))?;
        ensure!(answer == expected, "{name} at {revision}: {answer}, not {expected}");
    }
    Ok(Scans { p99_before, node_kib_before, scans: found })
}

/// The digest of all keys at a revision.
fn expected(writes: &[Write], keys: u64, revision: u64) -> anyhow::Result<Digest> {
    let mut latest = vec![(0, 0); usize::try_from(keys)?];
    for write in writes.iter().filter(|write| write.revision <= revision) {
        let known = &mut latest[usize::try_from(write.key)?];
        *known = (*known).max((write.revision, write.value));
    }
    let mut digest = Digest::default();
    for (number, (revision, value)) in (0..).zip(&latest) {
        ensure!(*revision > 0, "a key was not set");
        digest.add(load::key(number).as_bytes(), &load::value(*value));
    }
    Ok(digest)
}

fn node_kib(ensemble: &Ensemble) -> u64 {
    ensemble.all().into_iter().map(|node| ensemble.process(node).resident_kib()).max().unwrap_or(0)
}
