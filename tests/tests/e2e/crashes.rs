//! Nodes are killed amid file operations, under load: amid appends, truncations, flushes, deletions of the log, and snapshots
//! that are sent or installed.
//!
//! A preloaded library kills the server before or behind one of its file operations, at random. Afterwards the data
//! directory must be sound, the node must start and catch up, the states of all nodes must be equal, and every node must
//! have each value that was acknowledged last, written once per call.
//!
//! Every node has a small file system of its own, so that logs are short and segments small.
//! `GOMETA_TEST_CRASHES=50` makes as many kills in each place.

use std::{env, fs, os::unix::process::ExitStatusExt as _, path::PathBuf, process::Command, time::Duration};

use gometa_client::Client;
use gometa_tests::{
    data_directory::report,
    ensemble::Ensemble,
    program::program,
    random::{self, Random},
    say,
    wait::{PATIENCE, until},
};
use tokio::task::JoinSet;

use crate::disks;

const LIBRARY: [(&str, &str); 2] =
    [("crash.c", include_str!("../../shim/crash.c")), ("note.h", include_str!("../../shim/note.h"))];
/// The variable with the name of the file of the fault.
const FAULT: &str = "GOMETA_CRASH_FAULT";
const SIGKILL: i32 = 9;

/// Longer than any outage here: no call may fail.
const TIMEOUT: Duration = Duration::from_secs(30);
const DISK_BYTES: u64 = 256 << 20;
const VALUE_BYTES: usize = 64 << 10;
/// The number of concurrent writes, each to keys of its own.
const LANES: usize = 8;
/// The number of keys of each lane.
const KEYS: u64 = 8;
/// The number of sets in a burst of each lane.
const BURST: u64 = 12;
/// The number of bursts within which every file operation must come.
const BURSTS_MAX: usize = 60;

/// Where nodes are killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Append,
    Truncation,
    Flush,
    Deletion,
    Snapshot,
    Installation,
}

impl Place {
    const ALL: [Place; 6] = [
        Place::Append,
        Place::Truncation,
        Place::Flush,
        Place::Deletion,
        Place::Snapshot,
        Place::Installation,
    ];

    /// The number of the points of which one is chosen; there may be fewer.
    fn points(self) -> u64 {
        match self {
            Place::Append => 200,
            Place::Truncation => 16,
            Place::Flush => 60,
            Place::Deletion => 8,
            Place::Snapshot => 40,
            Place::Installation => 80,
        }
    }
}

/// The number of sets of each key, by lane.
type Sets = Vec<Vec<u64>>;

struct Crashes {
    ensemble: Ensemble,
    client: Client,
    library: PathBuf,
    random: Random,
    sets: Sets,
}

fn key(lane: usize, index: usize) -> String {
    format!("lane {lane}/key {index}")
}

/// The value of the set number `number` of a key, which begins with that number.
fn value(number: u64) -> Vec<u8> {
    let mut value = format!("{number:020}").into_bytes();
    value.resize(VALUE_BYTES, b'x');
    value
}

/// Sets the keys of each lane in turn, `BURST` times in each lane; all sets succeed.
async fn burst(client: Client, sets: Sets) -> Sets {
    let mut lanes = JoinSet::new();
    for (lane, mut sets) in sets.into_iter().enumerate() {
        let client = client.clone();
        lanes.spawn(async move {
            for set in 0..BURST {
                let index = (set % KEYS) as usize;
                let written = client.set(key(lane, index), value(sets[index] + 1)).await;
                let written = written.unwrap_or_else(|error| panic!("{error}"));
                sets[index] += 1;
                assert_eq!(written.version, sets[index], "{} was not set once per call", key(lane, index));
            }
            (lane, sets)
        });
    }
    let mut lanes = lanes.join_all().await;
    lanes.sort_unstable();
    lanes.into_iter().map(|(_, sets)| sets).collect()
}

impl Crashes {
    /// Builds the library.
    fn build(ensemble: &Ensemble) -> PathBuf {
        let library = ensemble.scratch().join("crash.so");
        for (name, text) in LIBRARY {
            fs::write(ensemble.scratch().join(name), text).unwrap();
        }
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library);
        let built = command.arg(ensemble.scratch().join("crash.c")).arg("-ldl").output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        library
    }

    fn fault(&self, node: usize) -> PathBuf {
        self.ensemble.scratch().join(format!("crash-{node}"))
    }

    fn spawn(&mut self, node: usize) {
        let mut command = Command::new(program("gometa-server"));
        command.env("LD_PRELOAD", &self.library).env(FAULT, self.fault(node));
        self.ensemble.spawn_with(node, command);
    }

    /// The node is to be killed at a random point of these operations; see `crash.c`.
    fn arm(&mut self, node: usize, place: Place, operations: &str) {
        let point = self.random.below(place.points());
        let beside = self.fault(node).with_extension("new");
        fs::write(&beside, format!("{operations} {point}")).unwrap();
        fs::rename(beside, self.fault(node)).unwrap();
    }

    async fn burst(&mut self) {
        self.sets = burst(self.client.clone(), std::mem::take(&mut self.sets)).await;
    }

    /// Ends the fault of a node. Returns whether it was killed; a process that was not goes on without the fault.
    async fn disarm(&mut self, node: usize) -> bool {
        fs::remove_file(self.fault(node)).unwrap();
        if self.ensemble.process(node).ended().is_none() {
            return false;
        }
        let (status, last) = self.ensemble.end(node).await;
        assert_eq!(status.signal(), Some(SIGKILL), "node {node} ended by itself: {last}");
        let found = report(&self.ensemble.data(node), &["-verify"]);
        assert_eq!(found["sound"], true, "node {node}: {found:#}");
        self.spawn(node);
        true
    }

    /// Kills a node while it writes; returns whether it was killed.
    async fn under_load(&mut self, place: Place, operations: &str) -> bool {
        let node = self.random.index(self.ensemble.size());
        self.arm(node, place, operations);
        for _ in 0..BURSTS_MAX {
            self.burst().await;
            if self.ensemble.process(node).ended().is_some() {
                break;
            }
        }
        self.disarm(node).await
    }

    /// Kills a deposed leader while it removes entries that it alone has.
    async fn truncation(&mut self) -> bool {
        let leader = self.ensemble.leader().await;
        let others = self.ensemble.others(leader);
        others.iter().for_each(|node| self.ensemble.pause(*node));
        let writing = tokio::spawn(burst(self.client.clone(), std::mem::take(&mut self.sets)));
        let what = "has entries that no other node has";
        self.ensemble.status_when(leader, what, |status| status.last_revision > status.commit_revision).await;
        self.ensemble.kill(leader);
        others.iter().for_each(|node| self.ensemble.resume(*node));
        self.sets = writing.await.unwrap();
        // The first segment that it begins is that of its start.
        self.arm(leader, Place::Truncation, "2wsnr /log-");
        self.spawn(leader);
        self.ended_or_converged(leader).await;
        self.disarm(leader).await
    }

    /// Kills a leader that sends a snapshot, or a follower that installs it.
    async fn snapshot(&mut self, place: Place) -> bool {
        let (leader, behind) = self.ensemble.leader_and_other(&mut self.random).await;
        let last = self.ensemble.status(behind).await.unwrap().last_revision;
        self.ensemble.kill(behind);
        for _ in 0..BURSTS_MAX {
            self.burst().await;
            if self.ensemble.status(leader).await.unwrap().storage.log_base > last {
                break;
            }
        }
        let killed = if place == Place::Snapshot { leader } else { behind };
        let generation = self.generation(behind);
        let next = generation + 1;
        let operations = match place {
            Place::Snapshot => "wsnr /checkpoint-".to_owned(),
            _ if self.random.one_in(4) => format!("r /log-{generation}/,/state-{generation}/"),
            _ => format!("wsn /log-{next},/state-{next},/GENERATION"),
        };
        self.arm(killed, place, &operations);
        self.spawn(behind);
        self.ended_or_converged(killed).await;
        self.disarm(killed).await
    }

    /// The number of the node's live log.
    fn generation(&self, node: usize) -> u64 {
        let names = fs::read_dir(self.ensemble.data(node)).unwrap();
        let names = names.map(|item| item.unwrap().file_name().to_string_lossy().into_owned());
        names.filter_map(|name| name.strip_prefix("log-")?.parse().ok()).max().unwrap()
    }

    async fn ended_or_converged(&self, node: usize) {
        until(&format!("node {node} ends, or is complete"), PATIENCE, || async {
            if self.ensemble.process(node).ended().is_some() {
                return Ok(());
            }
            let mut revisions = Vec::new();
            for node in self.ensemble.all() {
                let status = self.ensemble.status(node).await.map_err(|error| error.to_string())?;
                revisions.push((status.applied_revision, status.last_revision));
            }
            let (applied, last) = revisions[0];
            let complete = applied == last && revisions.iter().all(|other| *other == revisions[0]);
            if complete { Ok(()) } else { Err(format!("{revisions:?}")) }
        })
        .await;
    }

    /// Every node has what was acknowledged.
    async fn check(&self) {
        let statuses = self.ensemble.converged(&self.ensemble.all()).await;
        let hashes: Vec<_> = statuses.iter().map(|status| &status.state_hash).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{statuses:#?}");
        for node in self.ensemble.all() {
            let client = self.ensemble.client_of(node, TIMEOUT);
            for (lane, sets) in self.sets.iter().enumerate() {
                for (index, number) in sets.iter().enumerate().filter(|(_, number)| **number > 0) {
                    let entry = client.get_local(key(lane, index)).await.unwrap();
                    let found = (entry.version, &entry.value[..]);
                    assert!(
                        found == (*number, &value(*number)[..]),
                        "node {node}, {}: set {number} times, found version {}",
                        key(lane, index),
                        entry.version
                    );
                }
            }
            client.close().await;
        }
    }

    async fn crash(&mut self, place: Place) -> bool {
        let killed = match place {
            Place::Append => self.under_load(place, "ws /log-").await,
            Place::Flush => self.under_load(place, "wsn /state-").await,
            Place::Deletion => self.under_load(place, "r /log-").await,
            Place::Truncation => self.truncation().await,
            Place::Snapshot | Place::Installation => self.snapshot(place).await,
        };
        self.check().await;
        killed
    }
}

#[test]
fn a_kill_amid_any_file_operation_loses_nothing() {
    disks::in_own_mounts("crashes::child");
}

/// Not a test: the process with its own mount namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other test"]
async fn child() {
    if !disks::are_own_mounts() {
        return;
    }
    let wanted = env::var("GOMETA_TEST_CRASHES").ok().filter(|text| !text.is_empty());
    let wanted: u64 = wanted.map_or(1, |text| text.parse().unwrap());
    let random = random::of_this_run("crashes");
    let ensemble = Ensemble::prepare(3);
    let Some(_mounts) = disks::mount(&ensemble, DISK_BYTES) else { return };
    let library = Crashes::build(&ensemble);
    let client = ensemble.client(TIMEOUT);
    let sets = vec![vec![0; KEYS as usize]; LANES];
    let mut crashes = Crashes { ensemble, client, library, random, sets };
    crashes.ensemble.all().into_iter().for_each(|node| crashes.spawn(node));
    crashes.ensemble.all_ready().await;
    for place in Place::ALL {
        let (mut killed, mut rounds) = (0, 0);
        while killed < wanted {
            assert!(rounds < 10 * wanted + 10, "{place:?}: {killed} kills in {rounds} rounds");
            rounds += 1;
            killed += u64::from(crashes.crash(place).await);
        }
        let sets: u64 = crashes.sets.iter().flatten().sum();
        say(&format!("{place:?}: {killed} kills in {rounds} rounds; {sets} sets so far, all on every node"));
    }
}
