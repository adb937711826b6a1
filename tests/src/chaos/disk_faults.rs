//! Faults of the disks.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use super::{
    cluster::Cluster,
    faults::{FaultResult, counted},
    images::{files, run},
    judge::missing,
};
use crate::wait::until;

/// The time in which a node must exit after its disk has failed.
const ENDING_MAX: Duration = Duration::from_secs(15);
/// The time in which a node must be ready, or refuse to start, on damaged files.
const STARTING_MAX: Duration = Duration::from_secs(30);
/// The timeout of a read from a node that is being synchronised.
const READING_MAX: Duration = Duration::from_secs(10);
/// The size of a sector in bytes.
const SECTOR_BYTES: u64 = 512;
/// The number of places that are tried until damage changes a byte.
const DAMAGES_MAX: usize = 10_000;

/// What a node logs that has found its log or state damaged at the start.
pub(super) const QUARANTINED: &str = "data directory damaged, the node comes back without a vote";

impl Cluster {
    /// Waits until a node has exited by itself, and returns its last line; `None` if it continues.
    async fn ends(&self, node: usize) -> Option<String> {
        let process = self.ensemble.process(node);
        let ended = tokio::time::timeout(ENDING_MAX, process.end(2 * ENDING_MAX)).await.ok()?;
        let log = self.ensemble.log(node);
        assert!(!ended.success(), "node {node} ended with status 0 without a request to stop: {log}");
        Some(log.lines().last().unwrap_or("without a word").to_owned())
    }

    pub(super) async fn fill(&mut self, node: usize) -> FaultResult {
        // The node must not write between the release and the reservation of space.
        self.ensemble.pause(node);
        self.stopped(node).await;
        self.images().fill(node).unwrap_or_else(|error| panic!("the disk of node {node}: {error}"));
        self.ensemble.resume(node);
        let ended = self.ends(node).await;
        let served = self.serves_again(Instant::now()).await;
        self.ensemble.kill(node);
        let mut again = None;
        if ended.is_some() {
            // The files that RocksDB removes at the start may free enough space.
            self.spawn(node);
            again = self.refuses(node, "its disk is full").await;
            self.ensemble.kill(node);
        }
        for line in ended.iter().chain(&again).filter(|_| !self.ensemble.has_blocked_outputs()) {
            assert!(!line.contains("No space left") || line.contains("free some space"), "no remedy: {line}");
        }
        self.images().free(node).unwrap_or_else(|error| panic!("the disk of node {node}: {error}"));
        self.restart(&[node]).await;
        let effect = match &ended {
            Some(_) if self.ensemble.has_blocked_outputs() => Ok(()),
            Some(line) if line.contains("No space left") => Ok(()),
            Some(line) => Err(format!("a node with a full disk ended for another reason: {line}")),
            None => Err("a node with a full disk went on".to_owned()),
        };
        let outcome = if again.is_some() { "refused to start while full" } else { "started while full" };
        let what = format!("node {node}: {ended:?}, then {again:?}");
        FaultResult { what, processes: 1, effect, served, outcome: Some(outcome) }
    }

    pub(super) async fn fail_syncs(&mut self, node: usize) -> FaultResult {
        self.library().break_syncs(node, "fail").unwrap_or_else(|error| panic!("failing syncs: {error}"));
        let ended = self.ends(node).await;
        let served = self.serves_again(Instant::now()).await;
        let hits = self.library().heal_syncs(node);
        let log = self.ensemble.log(node);
        assert!(hits == 0 || ended.is_some(), "node {node} went on after {hits} failed syncs: {log}");
        self.ensemble.kill(node);
        // A restart sees unsynced data in the page cache; a power cut loses it.
        let mut then = "restarted";
        if self.random.percent(50)
            && let Some(images) = &self.images
        {
            then = "power cut";
            let cut = images.cut_power(&[node]).and_then(|()| images.repair(node));
            cut.unwrap_or_else(|error| panic!("the disk of node {node}: {error}"));
        }
        self.restart(&[node]).await;
        let what = format!("node {node}, {hits} syncs, then {then}: {ended:?}");
        FaultResult { what, processes: 1, effect: counted("failed syncs", hits), served, outcome: None }
    }

    pub(super) async fn slow_syncs(&mut self, node: usize) -> FaultResult {
        let (time, each) = (self.millis(500, 4_000), self.millis(20, 1_500));
        let millis = each.as_millis() as u64;
        self.library().slow_syncs(node, millis).unwrap_or_else(|error| panic!("slow syncs: {error}"));
        let (served, ()) = tokio::join!(self.serves_again(Instant::now()), self.hold(time));
        let hits = self.library().heal_syncs(node);
        let what = format!("node {node} for {time:.0?}, {hits} syncs slower by {each:.0?}");
        FaultResult { what, processes: 1, effect: counted("slow syncs", hits), served, outcome: None }
    }

    pub(super) async fn cut_power(&mut self, victims: &[usize]) -> FaultResult {
        let mut effect = Ok(());
        self.images().cut_power(victims).unwrap_or_else(|error| panic!("the power cut: {error}"));
        let mut struck = Instant::now();
        victims.iter().for_each(|node| self.ensemble.kill(*node));
        let majority = victims.len() < self.ensemble.size();
        let mut served = Duration::ZERO;
        if majority {
            served = self.serves_again(struck).await;
        }
        for node in victims {
            effect = effect.and(self.images().repair(*node));
        }
        if !majority {
            struck = Instant::now();
        }
        self.restart(victims).await;
        if !majority {
            served = self.serves_again(struck).await;
        }
        let what = format!("nodes {victims:?}");
        FaultResult { what, processes: victims.len(), effect, served, outcome: None }
    }

    /// Kills a node, damages one of its files, and starts it again. Either it refuses (a small file), or it comes back without
    /// a vote, at once or after it has stopped, or it serves as before. No data may be missing if it serves. A node that
    /// refuses or has no vote gets back its old files, or, with `wipe`, an empty directory if it refuses, as operators are
    /// advised.
    ///
    /// # Panics
    /// If it serves other data, or exits without a reason.
    pub(super) async fn flip(&mut self, node: usize, wipe: bool) -> FaultResult {
        let struck = Instant::now();
        self.ensemble.kill(node);
        let served = self.serves_again(struck).await;
        let (data, before) = (self.data(node), self.ensemble.scratch().join("before"));
        let written = self.written();
        copy(&data, &before);
        let damage = self.damage(&data);
        self.spawn(node);
        let refused = self.refuses(node, "its files were changed").await;
        let mut stopped = None;
        if refused.is_none() {
            // Every successful read must be right.
            let reader = self.ensemble.client_of(node, READING_MAX);
            for amiss in missing(&reader, &written).await {
                let ended = self.ensemble.process(node).ended().is_some();
                assert!(ended && !amiss.wrong, "node {node} after {damage}: {}", amiss.what);
            }
            if let Some(status) = self.ensemble.process(node).ended() {
                stopped = Some(self.last_words(node, status, &damage));
                self.ensemble.kill(node);
                self.restart(&[node]).await;
            }
        }
        let quarantined = refused.is_none() && identity(&data) != identity(&before);
        let (outcome, said) = match (&refused, &stopped) {
            (Some(said), _) => ("refused to start", said.as_str()),
            (None, Some(said)) => ("stopped later", said.as_str()),
            (None, None) if quarantined => ("came back without a vote", ""),
            (None, None) => ("had no effect", ""),
        };
        let mut what = format!("node {node}, {damage}: {outcome} {said}");
        if quarantined && (wipe || stopped.is_some()) {
            self.wiped = Some(node);
        } else if refused.is_none() && stopped.is_none() && !quarantined {
            self.damaged.insert(node);
        } else {
            self.ensemble.kill(node);
            remove(&data);
            // A node that has served since must not return to an older state.
            if wipe || stopped.is_some() {
                make(&data);
                what += "; wiped";
                self.wiped = Some(node);
            } else {
                copy(&before, &data);
            }
            self.restart(&[node]).await;
        }
        remove(&before);
        FaultResult { what, processes: 1, effect: Ok(()), served, outcome: Some(outcome) }
    }

    /// Waits until a node is ready, or has refused to start, and returns its last line then.
    async fn refuses(&self, node: usize, why: &str) -> Option<String> {
        until(&format!("node {node} is ready or refuses"), STARTING_MAX, || async {
            let missing = match self.ensemble.looks_ready(node).await {
                Ok(_) => return Ok(None),
                Err(missing) => missing,
            };
            match self.ensemble.process(node).ended() {
                Some(status) => Ok(Some(self.last_words(node, status, why))),
                None => Err(missing),
            }
        })
        .await
    }

    /// Returns the node's last line if its outputs are not blocked.
    pub(super) fn last_words(&self, node: usize, status: ExitStatus, why: &str) -> String {
        let log = self.ensemble.log(node);
        let last = log.lines().last().unwrap_or_default();
        let said = self.ensemble.has_blocked_outputs() || last.starts_with("gometa-server: ");
        let clear = status.code().is_some_and(|code| code != 0) && said;
        assert!(clear, "node {node} ended without saying why, {status}, after {why}: {log}");
        last.to_owned()
    }

    /// Flips one bit, or zeroes a sector, in a file below this directory, and returns the place.
    fn damage(&mut self, directory: &Path) -> String {
        let files: Vec<(PathBuf, u64)> = files(directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .into_iter()
            // RocksDB's own log files are never read.
            .filter(|(path, length)| *length > 0 && !name(path).starts_with("LOG"))
            .collect();
        let sum: u64 = files.iter().map(|(_, length)| length).sum();
        for _ in 0..DAMAGES_MAX {
            let mut place = self.random.below(sum);
            let mut file = self.random.below(files.len() as u64) as usize;
            if self.random.percent(50) {
                // Every byte is equally likely, not every file.
                file = files
                    .iter()
                    .position(|(_, length)| {
                        let here = place < *length;
                        if !here {
                            place -= length;
                        }
                        here
                    })
                    .unwrap_or_default();
            }
            let (path, length) = &files[file];
            let (at, zeros, bit) =
                (self.random.below(*length), self.random.percent(30), self.random.below(8));
            let damaged = if zeros { zero(path, at, *length) } else { flip_bit(path, at, bit) };
            let damaged = damaged.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if damaged {
                let how = if zeros { "zeros in the sector" } else { "one bit flipped" };
                return format!("{how} at byte {at} of {length} of {}", name(path));
            }
        }
        panic!("nothing below {} can be damaged", directory.display());
    }
}

/// Flips a bit of a byte.
fn flip_bit(path: &Path, at: u64, bit: u64) -> io::Result<bool> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at)?;
    Ok(true)
}

/// Zeroes the sector around a byte, and returns whether that changed anything.
fn zero(path: &Path, at: u64, length: u64) -> io::Result<bool> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let begin = at - at % SECTOR_BYTES;
    let mut bytes = vec![0; SECTOR_BYTES.min(length - begin) as usize];
    file.read_exact_at(&mut bytes, begin)?;
    let changes = bytes.iter().any(|byte| *byte != 0);
    bytes.fill(0);
    file.write_all_at(&bytes, begin)?;
    Ok(changes)
}

/// The file with the node's incarnation, which a quarantine replaces.
fn identity(data: &Path) -> Vec<u8> {
    let path = data.join("IDENTITY");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().display().to_string()
}

/// Copies a directory to a new place, and syncs the copy, so that it survives power cuts.
pub(super) fn copy(from: &Path, to: &Path) {
    let copied = run(Command::new("cp").args(["-a", "--"]).arg(from).arg(to))
        .and_then(|()| run(Command::new("sync").arg("-f").arg(to)));
    copied.unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

pub(super) fn remove(directory: &Path) {
    fs::remove_dir_all(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
}

pub(super) fn make(directory: &Path) {
    fs::create_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
}
