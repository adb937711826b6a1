//! Helpers of the data directory's tests: a disk that records its callbacks, and ways to damage it.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gometa_node::Purpose;
use gometa_server::disk::{Disk, DiskError, Flushed, Hooks};
use gometa_sim::contract::{Report, Write};
use gometa_store::{Batch, Checkpoint, Found, Query, Space, Table};
use gometa_zab::{
    Addresses, EnsembleId, Epoch, Founding, Genesis, HardState, Incarnation, Kind, LogEntry, NodeId, Token,
    Voter, Zxid,
};

pub(crate) const NODE: NodeId = NodeId(0x5001);
/// The directory of the log.
pub(crate) const LOG: &str = "log-1";
/// The directory of the state.
pub(crate) const STATE: &str = "state-1";
/// The mark of what is synced in the log.
pub(crate) const MARK: &str = "log-1/SYNCED";
pub(crate) const CACHE_BYTES: usize = 8 << 20;
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The recorded callbacks.
#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) persisted: Vec<Token>,
    pub(crate) stored: u64,
    pub(crate) flushed: Vec<u64>,
    /// Persisted and stored, in the order of their callbacks.
    pub(crate) reports: Vec<Report>,
    pub(crate) failed: Vec<String>,
    pub(crate) read: Vec<(u64, Vec<LogEntry>)>,
    pub(crate) fetched: Vec<(u64, Bytes, Option<Bytes>)>,
    pub(crate) queries: Vec<(u64, Result<Found, u64>)>,
}

fn record((callbacks, changed): &(Mutex<Callbacks>, Condvar), change: impl FnOnce(&mut Callbacks)) {
    change(&mut callbacks.lock().unwrap());
    changed.notify_all();
}

/// An open disk that counts tokens and records its callbacks.
pub(crate) struct Opened {
    pub(crate) disk: Disk,
    callbacks: Arc<(Mutex<Callbacks>, Condvar)>,
    token: u64,
    batch: u64,
    read: u64,
    /// The counter that goes with each write to the log: the largest that was applied or recovered.
    released: u64,
}

impl Opened {
    pub(crate) fn open(dir: &Path) -> Result<Opened, DiskError> {
        Opened::open_as(dir, NODE)
    }

    pub(crate) fn open_as(dir: &Path, node: NodeId) -> Result<Opened, DiskError> {
        Opened::open_with(dir, node, true, |_| {})
    }

    /// Opens a directory of a node whose configuration lists no other one.
    pub(crate) fn open_alone(dir: &Path) -> Result<Opened, DiskError> {
        Opened::open_with(dir, NODE, false, |_| {})
    }

    /// Opens a directory; `flushed` is called from the disk's thread with each counter that was flushed.
    pub(crate) fn open_with(
        dir: &Path,
        node: NodeId,
        has_peers: bool,
        on_flushed: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Opened, DiskError> {
        let callbacks = Arc::new((Mutex::new(Callbacks::default()), Condvar::new()));
        let (persisted, stored, flushed) = (callbacks.clone(), callbacks.clone(), callbacks.clone());
        let (failed, read, fetched) = (callbacks.clone(), callbacks.clone(), callbacks.clone());
        let queries = callbacks.clone();
        let hooks = Hooks {
            persisted: Box::new(move |token| {
                record(&persisted, |callbacks| {
                    callbacks.persisted.push(token);
                    callbacks.reports.push(Report::Persisted(token));
                });
            }),
            stored: Box::new(move |number| {
                record(&stored, |callbacks| {
                    callbacks.stored = number;
                    callbacks.reports.push(Report::Stored(number));
                });
            }),
            flushed: Box::new(move |Flushed { counter, .. }| {
                on_flushed(counter);
                record(&flushed, |callbacks| callbacks.flushed.push(counter));
            }),
            failed: Box::new(move |reason| record(&failed, |callbacks| callbacks.failed.push(reason))),
            read: Box::new(move |id, entries| record(&read, |callbacks| callbacks.read.push((id, entries)))),
            queried: Box::new(move |id, found| {
                record(&queries, |callbacks| callbacks.queries.push((id, found)))
            }),
            fetched: Box::new(move |id, key, found, _| {
                record(&fetched, |callbacks| callbacks.fetched.push((id, key, found)));
            }),
        };
        let disk = Disk::open(dir, node, has_peers, CACHE_BYTES, hooks)?;
        let released = disk.recovered.released;
        Ok(Opened { disk, callbacks, token: 0, batch: 0, read: 0, released })
    }

    /// Submits a write; does not wait. Returns its token, or the number of the batch.
    pub(crate) fn submit(&mut self, write: Write) -> u64 {
        match write {
            Write::Log(write) => {
                self.token += 1;
                self.disk.log.submit(Token(self.token), write, self.released);
                self.token
            }
            Write::Table(batch) => {
                self.batch += 1;
                self.released = self.released.max(batch.checkpoint.applied);
                self.disk.state.submit(self.batch, batch);
                self.batch
            }
        }
    }

    /// The counter that goes with the next write to the log.
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// Submits a write and waits until it is done.
    pub(crate) fn write(&mut self, write: Write) {
        let log = matches!(write, Write::Log(_));
        let number = self.submit(write);
        self.wait("the report", |callbacks| {
            let last = callbacks.persisted.last();
            if log { last.is_some_and(|last| last.0 >= number) } else { callbacks.stored >= number }
        });
    }

    pub(crate) fn found(&mut self) {
        self.write(founding(true));
        self.write(promise(1, 1));
    }

    /// Appends entries of one epoch, and waits.
    pub(crate) fn append(&mut self, epoch: u64, counters: impl IntoIterator<Item = u64>) {
        self.write(append(epoch, counters));
    }

    pub(crate) fn read(&mut self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        self.read += 1;
        let id = self.read;
        self.disk.log_reader.submit(id, from, to, bytes_max);
        self.wait("read", |callbacks| callbacks.read.iter().any(|(read, _)| *read == id));
        let callbacks = self.callbacks.0.lock().unwrap();
        callbacks.read.iter().find(|(read, _)| *read == id).unwrap().1.clone()
    }

    /// Reads the records of keys that may not be in memory.
    pub(crate) fn fetch(&mut self, keys: Vec<Bytes>) -> Vec<(Bytes, Option<Bytes>)> {
        self.read += 1;
        let (id, count) = (self.read, keys.len());
        self.disk.record_reader.submit(id, Purpose::Get, keys);
        let of_read = move |callbacks: &Callbacks| {
            let of_read = callbacks.fetched.iter().filter(|(read, ..)| *read == id);
            of_read.map(|(_, key, record)| (key.clone(), record.clone())).collect::<Vec<_>>()
        };
        self.wait("records", |callbacks| of_read(callbacks).len() == count);
        of_read(&self.callbacks.0.lock().unwrap())
    }

    /// Carries out a query.
    pub(crate) fn query(&mut self, query: Query) -> Result<Found, u64> {
        self.read += 1;
        let id = self.read;
        self.disk.query_reader.submit(id, Box::new(query));
        self.wait("query", |callbacks| callbacks.queries.iter().any(|(read, _)| *read == id));
        let mut callbacks = self.callbacks.0.lock().unwrap();
        let place = callbacks.queries.iter().position(|(read, _)| *read == id).unwrap();
        callbacks.queries.remove(place).1
    }

    /// All records of a space.
    pub(crate) fn records(&self, space: Space) -> BTreeMap<Bytes, Bytes> {
        let mut records = BTreeMap::new();
        self.disk.table.scan(space, &mut |key, value| {
            records.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        });
        records
    }

    /// The record of a key.
    pub(crate) fn get(&mut self, key: &str) -> Option<Bytes> {
        self.fetch(vec![Bytes::copy_from_slice(key.as_bytes())]).remove(0).1
    }

    pub(crate) fn wait(&self, what: &str, done: impl Fn(&Callbacks) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut callbacks = self.callbacks.0.lock().unwrap();
        while !done(&callbacks) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "still waiting for: {what}; failures: {:?}", callbacks.failed);
            callbacks = self.callbacks.1.wait_timeout(callbacks, left).unwrap().0;
        }
    }

    /// All reports so far.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.callbacks.0.lock().unwrap().reports.clone()
    }

    /// Closes the disk; returns all reports, and the counters that were flushed.
    pub(crate) fn close(self) -> (Vec<Report>, Vec<u64>) {
        drop(self.disk);
        let callbacks = self.callbacks.0.lock().unwrap();
        (callbacks.reports.clone(), callbacks.flushed.clone())
    }

    /// The last counter that was flushed since the opening, and the one found there before.
    pub(crate) fn flushed(&self) -> u64 {
        let last = self.callbacks.0.lock().unwrap().flushed.last().copied();
        last.unwrap_or(self.disk.recovered.applied)
    }

    /// The report after the first `received` ones, or a failure. With `wait`, waits for either.
    pub(crate) fn report_after(&self, received: usize, wait: bool) -> Report {
        if wait {
            self.wait("a report", |callbacks| {
                callbacks.reports.len() > received || !callbacks.failed.is_empty()
            });
        }
        let callbacks = self.callbacks.0.lock().unwrap();
        match (callbacks.reports.get(received), callbacks.failed.first()) {
            (Some(report), _) => report.clone(),
            (None, Some(reason)) => Report::Failed(reason.clone()),
            (None, None) => Report::Nothing,
        }
    }

    /// Waits for a failure.
    pub(crate) fn failure(&self) -> String {
        self.wait("the failure", |callbacks| !callbacks.failed.is_empty());
        self.failed().remove(0)
    }

    pub(crate) fn failed(&self) -> Vec<String> {
        self.callbacks.0.lock().unwrap().failed.clone()
    }

    pub(crate) fn last(&self) -> Zxid {
        self.disk.recovered.boundaries.last().copied().unwrap_or(Zxid::ZERO)
    }
}

/// A founded directory whose log has entries 1 … `last` of epoch 1.
pub(crate) fn founded(last: u64) -> (tempfile::TempDir, Opened) {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path()).unwrap();
    opened.found();
    if last > 0 {
        opened.append(1, 1..=last);
    }
    (dir, opened)
}

/// Runs one ignored test of this binary in a process of its own, through `wrapper` unless it is empty; returns its
/// output. Its standard input is closed with the [`Child`].
pub(crate) fn rerun(
    wrapper: &[&str],
    test: &str,
    environment: &[(&str, &OsStr)],
) -> (Child, impl Iterator<Item = String> + use<>) {
    let program = env::current_exe().unwrap();
    let mut command = match wrapper.split_first() {
        None => Command::new(&program),
        Some((wrapper, arguments)) => {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(&program);
            command
        }
    };
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map_while(Result::ok))
}

/// The number after a word, if the line contains it.
pub(crate) fn number(line: &str, word: &str) -> Option<u64> {
    line.split_once(word)?.1.trim().parse().ok()
}

pub(crate) fn payload(counter: u64) -> Bytes {
    Bytes::from(format!("payload of {counter} {}", "x".repeat((counter * 7 % 300) as usize)))
}

pub(crate) fn entry(epoch: u64, counter: u64) -> LogEntry {
    LogEntry { zxid: Zxid::new(epoch, counter), kind: Kind::Command, level: 1, payload: payload(counter) }
}

pub(crate) fn append(epoch: u64, counters: impl IntoIterator<Item = u64>) -> Write {
    Write::Log(gometa_zab::Write::Append(counters.into_iter().map(|counter| entry(epoch, counter)).collect()))
}

pub(crate) fn truncate(epoch: u64, counter: u64) -> Write {
    Write::Log(gometa_zab::Write::Truncate(Zxid::new(epoch, counter)))
}

pub(crate) fn promise(accepted: u64, current: u64) -> Write {
    Write::Log(gometa_zab::Write::HardState(hard_state(accepted, current)))
}

pub(crate) fn hard_state(accepted: u64, current: u64) -> HardState {
    HardState {
        accepted_epoch: Epoch(accepted),
        accepted_leader: (accepted > 0).then_some(NODE),
        current_epoch: Epoch(current),
    }
}

pub(crate) fn founding(sealed: bool) -> Write {
    Write::Log(gometa_zab::Write::Founding(founding_record(sealed)))
}

pub(crate) fn founding_record(sealed: bool) -> Founding {
    let voter = |node: u64| Voter {
        node: NodeId(node),
        incarnation: Some(Incarnation(u128::from(node) << 64 | 1)),
        addresses: Addresses {
            election: format!("127.0.0.1:{node}"),
            message: format!("127.0.0.1:{}", node + 1),
            request: String::new(),
        },
    };
    let voters = vec![voter(0x5001), voter(0x6001), voter(0x7001)];
    Founding {
        genesis: Genesis {
            ensemble: EnsembleId { id: 77, history: 3 },
            voters,
            level: gometa_zab::FIRST_LEVEL,
        },
        sealed,
    }
}

pub(crate) fn apply(applied: u64) -> Write {
    Write::Table(batch(applied))
}

/// Three keys and a session that all contain the applied counter.
pub(crate) fn batch(applied: u64) -> Batch {
    let value = Bytes::from(applied.to_string());
    let record = |space, key: &'static str| (space, Bytes::from(key), Some(value.clone()));
    let mut writes = vec![
        record(Space::Data, "first"),
        record(Space::Data, "second"),
        record(Space::Session, "session"),
        (Space::Data, Bytes::from(format!("only {applied}")), Some(value.clone())),
    ];
    if applied > 1 {
        writes.push((Space::Data, Bytes::from(format!("only {}", applied - 1)), None));
    }
    Batch { checkpoint: checkpoint(applied), writes, ..Batch::default() }
}

pub(crate) fn checkpoint(applied: u64) -> Checkpoint {
    Checkpoint { applied, hash: u128::from(applied) * 0x0123_4567_89ab_cdef_0123, keys: 3 }
}

/// Copies a directory, with the holes of its files. Files that are removed meanwhile may be missing.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else if let Err(error) = copy_file(&item.path(), &target) {
            assert!(error.kind() == io::ErrorKind::NotFound, "{error}");
        }
    }
}

/// Most of a segment is reserved and not written.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = fs::File::open(from)?;
    let mut to = fs::File::create(to).unwrap();
    to.set_len(from.metadata()?.len())?;
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&from, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&from, rustix::fs::SeekFrom::Hole(start))?;
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        io::copy(&mut Read::by_ref(&mut from).take(end - start), &mut to)?;
        at = end;
    }
    Ok(())
}

/// The directory after a crash of the process now. Nothing may be written to the log or the state meanwhile.
pub(crate) fn crashed(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(from, dir.path());
    dir
}

/// The files of the state with this extension, oldest first.
pub(crate) fn state_files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(items) = fs::read_dir(dir.join(STATE)) else { return Vec::new() };
    let items = items.map(|item| item.unwrap().path());
    let mut paths: Vec<_> = items.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    paths
}

/// Changes the closed state directly.
pub(crate) fn tamper(dir: &Path, change: impl FnOnce(&rocksdb::DB)) {
    let path = dir.join(STATE);
    let options = rocksdb::Options::default();
    let families = rocksdb::DB::list_cf(&options, &path).unwrap();
    let rocks = rocksdb::DB::open_cf(&options, &path, &families).unwrap();
    change(&rocks);
    for family in &families {
        rocks.flush_cf(rocks.cf_handle(family).unwrap()).unwrap();
    }
}

/// The segments of the log, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(dir.join(LOG)).unwrap().map(|item| item.unwrap().path());
    let mut paths: Vec<_> = items.filter(|path| path.file_name().unwrap().len() == 16).collect();
    paths.sort();
    paths
}

/// The path of a segment.
pub(crate) fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(LOG).join(format!("{number:016x}"))
}

/// Where the batches are in a segment, and where its header is. The layout is described in `log/src/layout.rs`.
pub(crate) fn layout(segment: &Path) -> (Range<usize>, Vec<Range<usize>>) {
    let bytes = fs::read(segment).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (header, block) = (number(16), number(20));
    let mut at = header.next_multiple_of(block);
    let mut batches = Vec::new();
    while at + 32 <= bytes.len() && bytes[at + 16..at + 24] != [0; 8] {
        let end = at + 32 + number(at + 8);
        batches.push(at..end);
        at = end.next_multiple_of(block);
    }
    (0..header, batches)
}

/// Shortens a file.
pub(crate) fn cut(path: &Path, size: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(size as u64).unwrap();
}

/// Flips a bit; `at` receives the size of the file.
pub(crate) fn flip(path: &Path, at: impl FnOnce(usize) -> usize) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = at(file.metadata().unwrap().len() as usize) as u64;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
}

/// The error of an open that must fail: one line that names the directory and the remedy.
pub(crate) fn refusal(dir: &Path) -> DiskError {
    let Err(error) = Opened::open(dir) else { panic!("{} was opened", dir.display()) };
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(line.contains(dir.to_str().unwrap()), "{line}");
    error
}

/// Opens a directory, which puts its damaged log and state into quarantine.
pub(crate) fn quarantine(dir: &Path) -> Opened {
    let opened = Opened::open(dir).unwrap();
    assert!(opened.disk.quarantined.is_some(), "{} is not damaged", dir.display());
    let recovered = &opened.disk.recovered;
    let founding = recovered.founding.clone();
    assert_eq!(*recovered, gometa_zab::Recovered { founding, ..gometa_zab::Recovered::default() });
    assert_eq!(opened.disk.identity.never_founds, recovered.founding.is_none());
    assert_eq!(opened.disk.table.checkpoint(), Checkpoint::default());
    opened
}

/// The names in a data directory that begin like this.
pub(crate) fn named(dir: &Path, prefix: &str) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}
