//! Many sets of few keys: the directories must stay small, and the memory flat.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    load::{self, Meter},
    picture::{Curve, picture},
};
use crate::ensemble::Ensemble;

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// One sample.
#[derive(Clone, Copy, Debug)]
struct Sample {
    sets: usize,
    p99: Duration,
    /// The largest data directory, the largest log, the largest resident memory of a node, in bytes.
    directory: u64,
    log: u64,
    resident: u64,
}

/// What a run has measured.
#[derive(Clone, Debug)]
pub struct Growth {
    samples: Vec<Sample>,
    sets: u64,
    time: Duration,
}

/// Sets `sets` times, over `keys` keys.
///
/// # Errors
/// If a data directory cannot be read.
pub async fn growth(sets: u64, keys: u64) -> io::Result<Growth> {
    let ensemble = Ensemble::start(3).await;
    let meter = Meter::default();
    let begun = Instant::now();
    let mut samples = Vec::new();
    let load = load::fast(&ensemble, sets, keys, &meter);
    tokio::pin!(load);
    loop {
        let next = tokio::time::sleep_until((begun + INTERVAL * (samples.len() as u32 + 1)).into());
        let done = tokio::select! {
            () = &mut load => true,
            () = next => false,
        };
        samples.push(sample(&ensemble, &meter)?);
        if done {
            break;
        }
    }
    let time = begun.elapsed();
    ensemble.converged(&ensemble.all()).await;
    Ok(Growth { samples, sets, time })
}

fn sample(ensemble: &Ensemble, meter: &Meter) -> io::Result<Sample> {
    let latencies = meter.take();
    let mut sample =
        Sample { sets: latencies.count(), p99: latencies.percentile(99), directory: 0, log: 0, resident: 0 };
    for node in ensemble.all() {
        let data = ensemble.data(node);
        sample.directory = sample.directory.max(bytes_below(&data)?);
        sample.log = sample.log.max(bytes_below(&data.join("log-1"))?);
        sample.resident = sample.resident.max(ensemble.process(node).resident_kib() << 10);
    }
    Ok(sample)
}

/// The sizes of all files below a directory. Files that vanish meanwhile do not count.
fn bytes_below(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for item in fs::read_dir(directory)? {
        let item = item?;
        match item.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += bytes_below(&item.path())?,
            Ok(metadata) => bytes += metadata.len(),
            Err(_) => {}
        }
    }
    Ok(bytes)
}

impl Growth {
    /// The figures, in lines.
    pub fn text(&self) -> String {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let most = |of: fn(&Sample) -> u64| self.samples.iter().map(of).max().unwrap_or(0);
        let mut p99s: Vec<Duration> = self.samples.iter().map(|sample| sample.p99).collect();
        p99s.sort_unstable();
        let median = p99s.get(p99s.len() / 2).copied().unwrap_or_default();
        let bound = Duration::from_millis(25).max(2 * median);
        let over = p99s.iter().filter(|p99| **p99 > bound).count();
        let resident = |share: usize| {
            let at = (self.samples.len() * share / 100).min(self.samples.len().saturating_sub(1));
            self.samples.get(at).map_or(0.0, |sample| megabytes(sample.resident))
        };
        format!(
            "{} sets in {:.0} s, {:.0}/s\np99 of each second: median {:.1} ms, worst {:.1} ms; {over} of {} seconds \
             beyond the bound of {:.0} ms\nlargest directory {:.0} MB, its log {:.0} MB\nlargest resident memory of a \
             node: {:.0} MB after a fifth of the time, {:.0} after half, {:.0} at the end",
            self.sets,
            self.time.as_secs_f64(),
            self.sets as f64 / self.time.as_secs_f64(),
            median.as_secs_f64() * 1e3,
            p99s.last().copied().unwrap_or_default().as_secs_f64() * 1e3,
            self.samples.len(),
            bound.as_secs_f64() * 1e3,
            megabytes(self.directory_bytes()),
            megabytes(most(|sample| sample.log)),
            resident(20),
            resident(50),
            resident(100),
        )
    }

    /// The largest size that a data directory had, in bytes.
    pub fn directory_bytes(&self) -> u64 {
        self.samples.iter().map(|sample| sample.directory).max().unwrap_or(0)
    }

    /// The picture, as SVG.
    pub fn svg(&self) -> String {
        let curve = |name: &'static str, unit: &'static str, of: fn(&Sample) -> f64| Curve {
            name,
            unit,
            points: self.samples.iter().map(of).collect(),
        };
        let curves = [
            curve("sets", "/s", |sample| sample.sets as f64),
            curve("p99 of the sets", "ms", |sample| sample.p99.as_secs_f64() * 1e3),
            curve("largest data directory", "MB", |sample| sample.directory as f64 / 1e6),
            curve("its log", "MB", |sample| sample.log as f64 / 1e6),
            curve("largest resident memory of a node", "MB", |sample| sample.resident as f64 / 1e6),
        ];
        picture(&format!("{} sets, second by second", self.sets), &curves)
    }
}
