//! The time of one sync on the data's file system, by one process and by three at once.
//!
//! Each process writes a record at a time into a file that is filled with zeros before, so that a sync changes no file
//! size and no extents, and calls fdatasync. It is this program with `--sync-probe`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::stats::Latencies;

const FILE_BYTES: usize = 16 << 20;
/// About the size of a log record of one set of 128 bytes.
const RECORD_BYTES: usize = 256;
/// How long a process may take for its file and its syncs.
const DEADLINE: Duration = Duration::from_secs(60);

/// The latencies of syncs in one round.
#[derive(Clone, Copy)]
pub(crate) struct Syncs {
    /// The median of a process alone, in microseconds.
    pub(crate) alone_p50_us: f64,
    pub(crate) alone_p99_us: f64,
    /// The mean of the medians of three processes that sync at once, in microseconds.
    pub(crate) three_p50_us: f64,
    pub(crate) three_p99_us: f64,
}

impl Syncs {
    /// Measures for a second each.
    pub(crate) async fn measure(directory: &Path) -> Result<Syncs> {
        let [alone_p50_us, alone_p99_us] = probes(directory, 1).await?;
        let [three_p50_us, three_p99_us] = probes(directory, 3).await?;
        Ok(Syncs { alone_p50_us, alone_p99_us, three_p50_us, three_p99_us })
    }

    pub(crate) fn to_json(self) -> Value {
        let Syncs { alone_p50_us, alone_p99_us, three_p50_us, three_p99_us } = self;
        json!({
            "alone_p50_us": alone_p50_us, "alone_p99_us": alone_p99_us,
            "three_p50_us": three_p50_us, "three_p99_us": three_p99_us,
        })
    }
}

/// Runs several processes at once; returns the means of their p50 and p99 in microseconds.
async fn probes(directory: &Path, count: usize) -> Result<[f64; 2]> {
    // What other programs have left in the page cache would be written back meanwhile.
    rustix::fs::syncfs(File::open(directory)?)?;
    let program = std::env::current_exe()?;
    let mut processes = Vec::new();
    for number in 0..count {
        let file = directory.join(format!("sync-{number}"));
        let mut command = Command::new(&program);
        command.arg("--sync-probe").arg(file).args(["--seconds", "1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        processes.push(command.spawn().context("cannot start the measurement of syncs")?);
    }
    let mut sums = [0.0; 2];
    for process in processes {
        let output = tokio::time::timeout(DEADLINE, process.wait_with_output())
            .await
            .context("the measurement of syncs did not end")??;
        if !output.status.success() {
            bail!("the measurement of syncs failed: {}", output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let values: Vec<f64> = text.split_whitespace().filter_map(|value| value.parse().ok()).collect();
        let [p50, p99] = values[..] else { bail!("the measurement of syncs printed: {text}") };
        sums[0] += p50;
        sums[1] += p99;
    }
    Ok(sums.map(|sum| sum / count as f64))
}

/// The process that syncs: writes p50 and p99 in microseconds to `out`.
pub(crate) fn sync_probe(path: &Path, duration: Duration, out: &mut dyn Write) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    let file = file.with_context(|| path.display().to_string())?;
    let measured = sync_repeatedly(&file, duration);
    std::fs::remove_file(path)?;
    let percentiles = measured?.percentiles().context("no sync ended in time")?;
    writeln!(out, "{} {}", percentiles.p50_us, percentiles.p99_us)?;
    Ok(())
}

fn sync_repeatedly(mut file: &File, duration: Duration) -> io::Result<Latencies> {
    file.write_all(&vec![0; FILE_BYTES])?;
    file.sync_all()?;
    let record = [b'r'; RECORD_BYTES];
    let mut latencies = Latencies::default();
    let begun = Instant::now();
    for at in (0..FILE_BYTES - RECORD_BYTES).step_by(RECORD_BYTES).cycle() {
        let before = Instant::now();
        if before - begun >= duration {
            break;
        }
        file.write_all_at(&record, at as u64)?;
        file.sync_data()?;
        latencies.record(before.elapsed());
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_prints_two_numbers_and_leaves_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let mut out = Vec::new();
        sync_probe(&path, Duration::from_millis(20), &mut out).expect("measured");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.split_whitespace().filter_map(|word| word.parse::<f64>().ok()).count(), 2);
        assert!(!path.exists());
    }
}
