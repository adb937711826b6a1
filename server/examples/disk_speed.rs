//! The speed of the data directory on this machine: `cargo run --release -p gometa-server --example disk_speed [dir]`.
#![expect(clippy::print_stdout, reason = "a measurement for people")]
#![expect(clippy::unwrap_used, reason = "an example may panic")]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

use bytes::Bytes;
use gometa_node::Write;
use gometa_server::disk::{Disk, Hooks};
use gometa_store::{Batch, Checkpoint, Space, Table};
use gometa_zab::{EnsembleId, Epoch, Founding, Genesis, HardState, Kind, LogEntry, NodeId, Token, Zxid};

const ENTRIES: u64 = 1_000_000;
const VALUE_BYTES: usize = 128;

struct Run {
    disk: Disk,
    done: Arc<(Mutex<u64>, Condvar)>,
    token: u64,
    last: u64,
}

impl Run {
    fn open(dir: &Path) -> Run {
        let done = Arc::new((Mutex::new(0), Condvar::new()));
        let hooks = Hooks {
            persisted: Box::new({
                let done = done.clone();
                move |token| {
                    *done.0.lock().unwrap() = token.0;
                    done.1.notify_all();
                }
            }),
            failed: Box::new(|reason| panic!("{reason}")),
            read: Box::new(|_, _| {}),
        };
        let disk = Disk::open(dir, NodeId(1), hooks).unwrap();
        let last = disk.recovered.boundaries.last().map_or(0, |last| last.counter);
        Run { disk, done, token: 0, last }
    }

    fn submit(&mut self, write: Write) -> u64 {
        self.token += 1;
        self.disk.writer.submit(Token(self.token), write);
        self.token
    }

    fn wait(&self, token: u64) {
        let mut done = self.done.0.lock().unwrap();
        while *done < token {
            done = self.done.1.wait(done).unwrap();
        }
    }

    fn append(&mut self, count: u64) -> u64 {
        let entries = (self.last + 1..=self.last + count).map(|counter| LogEntry {
            zxid: Zxid::new(1, counter),
            kind: Kind::Command,
            level: 1,
            payload: Bytes::from(vec![counter as u8; VALUE_BYTES + 40]),
        });
        let write = Write::Zab(gometa_zab::Write::Append(entries.collect()));
        self.last += count;
        self.submit(write)
    }

    fn apply(&mut self, count: u64) -> u64 {
        let last = self.last;
        let writes = (last + 1 - count..=last).map(|counter| {
            // Spread over the key space, as hashed names would be.
            let key = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            (Space::Data, Bytes::copy_from_slice(&key), Some(Bytes::from(vec![1; VALUE_BYTES])))
        });
        let checkpoint = Checkpoint { applied: last, hash: 0, keys: last };
        let write = Write::Apply(Batch { checkpoint, writes: writes.collect() });
        self.submit(write)
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

fn main() {
    let scratch = std::env::temp_dir().join(format!("gometa-disk-speed-{}", std::process::id()));
    let dir = std::env::args_os().nth(1).map_or(scratch, PathBuf::from);
    let mut run = Run::open(&dir);
    run.submit(Write::Zab(gometa_zab::Write::Founding(Founding {
        genesis: Genesis {
            ensemble: EnsembleId { id: 1, history: 1 },
            voters: vec![gometa_zab::Voter {
                node: NodeId(1),
                incarnation: Some(run.disk.identity.incarnation),
                addresses: gometa_zab::Addresses::default(),
            }],
        },
        sealed: true,
    })));
    let promised =
        HardState { accepted_epoch: Epoch(1), accepted_leader: Some(NodeId(1)), current_epoch: Epoch(1) };
    let token = run.submit(Write::Zab(gometa_zab::Write::HardState(promised)));
    run.wait(token);

    println!("one synced append, then its table batch, one at a time ({VALUE_BYTES}-byte values):");
    for count in [1, 8, 64, 256] {
        let rounds = 2_000 / (1 + count / 16);
        let start = Instant::now();
        for _ in 0..rounds {
            let token = run.append(count);
            run.wait(token);
            let token = run.apply(count);
            run.wait(token);
        }
        let each = start.elapsed() / rounds as u32;
        println!("  {count:>4} entries: {each:>10.1?} each, {:.0}/s", count as f64 / each.as_secs_f64());
    }

    println!("single-entry writes, 64 in flight:");
    let start = Instant::now();
    let rounds = 50_000;
    for _ in 0..rounds {
        let token = run.append(1);
        run.apply(1);
        run.wait(token.saturating_sub(128));
    }
    run.wait(run.token);
    println!("  {:.0}/s", rounds as f64 / start.elapsed().as_secs_f64());

    let start = Instant::now();
    let before = run.last;
    while run.last < ENTRIES {
        let token = run.append(256);
        run.apply(256);
        run.wait(token.saturating_sub(8));
    }
    run.wait(run.token);
    let rate = (run.last - before) as f64 / start.elapsed().as_secs_f64();
    println!("filled to {} entries and keys: {rate:.0}/s, resident {} MiB", run.last, resident_mib());
    let start = Instant::now();
    let mut found = 0_u64;
    for counter in (1..=run.last).step_by(97) {
        let key = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        found += u64::from(run.disk.table.get(Space::Data, &key).is_some());
    }
    let rate = found as f64 / start.elapsed().as_secs_f64();
    println!("random gets, one thread: {rate:.0}/s, resident {} MiB", resident_mib());
    drop(run);
    for _ in 0..3 {
        let start = Instant::now();
        let run = Run::open(&dir);
        println!("opened {} entries in {:.0?}, resident {} MiB", run.last, start.elapsed(), resident_mib());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
