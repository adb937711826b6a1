//! Crashes and errors of the file system: kills during writes and flushes, logs that end at any byte, failing operations.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use gometa_server::disk::{Disk, Hooks};
use gometa_sim::contract::Write;
use gometa_store::{Batch, Space, Table};
use gometa_zab::{LogEntry, Token, Zxid};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::{machine::say, shim, support::*};

const CHILD_DIR: &str = "GOMETA_TEST_DISK_DIR";
const CHILD_WORK: &str = "GOMETA_TEST_DISK_WORK";
/// The number of writes of a child in flight.
const IN_FLIGHT: u64 = 64;
/// The number of batches of a child in flight.
const BATCHES_IN_FLIGHT: u64 = 16;
/// The number of batches that fill the column family of sessions once, but not the memory.
const SOME_SESSIONS: u64 = 30;
/// The status of a child whose disk has failed.
const FAILED: i32 = 3;

/// Runs the writing child, through a shell script if given.
fn spawn(
    dir: &Path,
    work: &str,
    through: Option<&str>,
    environment: &[(&str, &OsStr)],
) -> (Child, impl Iterator<Item = String> + use<>) {
    let shell = through.map(|script| ["sh", "-c", script, "sh"]);
    let wrapper: &[&str] = shell.as_ref().map_or(&[], |shell| shell);
    let mut all = vec![(CHILD_DIR, dir.as_os_str()), (CHILD_WORK, OsStr::new(work))];
    all.extend_from_slice(environment);
    rerun(wrapper, "crash::child", &all)
}

/// What a child has reported.
#[derive(Default)]
struct Progress {
    token: u64,
    stored: u64,
}

/// Not a test: the process that is killed. It appends entries and applies them, alternately, from the end of the
/// directory on, and prints what is acknowledged and flushed.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let work = env::var(CHILD_WORK).unwrap();
    let done = Arc::new((Mutex::new(Progress::default()), Condvar::new()));
    let base = Arc::new(AtomicU64::new(0));
    let hooks = Hooks {
        persisted: Box::new({
            let (done, base) = (done.clone(), base.clone());
            move |token: Token| {
                // An even token is the append of the counter token / 2.
                println!("acked {}", base.load(Ordering::SeqCst) + token.0 / 2);
                done.0.lock().unwrap().token = token.0;
                done.1.notify_all();
            }
        }),
        stored: Box::new({
            let done = done.clone();
            move |number| {
                done.0.lock().unwrap().stored = number;
                done.1.notify_all();
            }
        }),
        flushed: Box::new(|flushed| println!("flushed {}", flushed.counter)),
        failed: Box::new(|reason| {
            println!("failed {reason}");
            std::process::exit(FAILED);
        }),
        read: Box::new(|_, _| {}),
        fetched: Box::new(|_, _, _, _| {}),
        queried: Box::new(|_, _| {}),
    };
    let disk = Disk::open(Path::new(&dir), NODE, true, CACHE_BYTES, hooks).unwrap();
    let last = disk.recovered.boundaries.last().copied().unwrap_or(Zxid::ZERO);
    base.store(last.counter, Ordering::SeqCst);
    let mut released = disk.recovered.released;
    if disk.recovered.founding.is_none() {
        disk.log.submit(Token(0), of_log(founding(true)), 0);
    }
    disk.log.submit(Token(1), of_log(promise(1, 1)), released);
    let wait = |until: &dyn Fn(&Progress) -> bool| {
        let mut progress = done.0.lock().unwrap();
        while !until(&progress) {
            progress = done.1.wait(progress).unwrap();
        }
        progress.token
    };
    let (mut applied, mut batches) = (disk.recovered.applied, 0);
    println!("opened {}", last.counter);
    println!("flushed {applied}");
    for step in 1_u64.. {
        let counter = last.counter + step;
        disk.log.submit(Token(step * 2), append_of(written(counter, &work)), released);
        let persisted = wait(&|progress| progress.token + IN_FLIGHT >= step * 2);
        // Only durable entries are applied.
        let durable = last.counter + persisted / 2;
        if work != "truncate" && durable > applied {
            applied = durable;
            released = released.max(applied);
            batches += 1;
            disk.state.submit(batches, batch_of(&work, applied));
            wait(&|progress| progress.stored + BATCHES_IN_FLIGHT >= batches);
        }
        if work == "some sessions" && batches == SOME_SESSIONS {
            wait(&|progress| progress.stored == batches);
            fs::write(env::var_os(shim::FAIL_WHEN).unwrap(), "").unwrap();
            loop {
                std::thread::park();
            }
        }
        if work == "truncate" && step == 200 {
            disk.log.submit(Token(step * 2 + 2), of_log(truncate(1, counter - 100)), released);
            wait(&|progress| progress.token >= step * 2 + 2);
            println!("truncated {}", counter - 100);
            loop {
                std::thread::park();
            }
        }
    }
}

/// A batch for this kind of work.
fn batch_of(work: &str, applied: u64) -> Batch {
    let mut batch = batch(applied);
    let (space, bytes) = match work {
        // Flushed after about a hundred.
        "large" | "tables" => (Space::Data, 200_000),
        // RocksDB flushes this column family by itself, after about twenty.
        "sessions" | "some sessions" => (Space::Session, 200_000),
        // Larger than the limit that the test sets.
        "huge" => (Space::Data, 100 << 20),
        _ => return batch,
    };
    batch.writes.push((space, bulk_key(applied), Some(bulk(applied, bytes).into())));
    batch
}

fn bulk_key(applied: u64) -> Bytes {
    format!("bulk {}", applied % 32).into()
}

fn bulk(applied: u64, bytes: usize) -> Vec<u8> {
    let mut value = applied.to_be_bytes().to_vec();
    value.resize(bytes, applied as u8);
    value
}

/// An entry; a segment of the log has room for about a thousand large ones.
fn written(counter: u64, work: &str) -> LogEntry {
    let mut entry = entry(1, counter);
    if ["large", "entries"].contains(&work) {
        let mut payload = entry.payload.to_vec();
        payload.resize(60_000, counter as u8);
        entry.payload = payload.into();
    }
    entry
}

/// The write to the log.
fn of_log(write: Write) -> gometa_zab::Write {
    match write {
        Write::Log(write) => write,
        Write::Table(_) => panic!("a batch"),
    }
}

fn append_of(entry: LogEntry) -> gometa_zab::Write {
    gometa_zab::Write::Append(vec![entry])
}

/// What a directory contains: counters.
#[derive(Debug)]
struct Found {
    last: u64,
    applied: u64,
}

/// The directory contains entries 1 … last as written, and one moment of the state.
fn check(dir: &Path) -> Found {
    check_work(dir, "append")
}

fn check_work(dir: &Path, work: &str) -> Found {
    let mut opened = Opened::open(dir).unwrap();
    let last = opened.last();
    let mut next = 1;
    while next <= last.counter {
        for entry in opened.read(next, last.counter, 1 << 20) {
            assert!(entry == written(next, work), "entry {next} has changed");
            next += 1;
        }
    }
    let table = &opened.disk.table;
    let applied = table.checkpoint().applied;
    assert_eq!(applied, opened.disk.recovered.applied);
    let released = opened.disk.recovered.released;
    assert!(applied <= released && released <= last.counter, "{applied}, {released}, {last}");
    if applied > 0 {
        assert_eq!(table.checkpoint(), checkpoint(applied));
        let value = applied.to_string();
        for key in ["first", "second", &format!("only {applied}")] {
            assert_eq!(opened.get(key).unwrap(), value.as_bytes());
        }
        let [data, sessions] = [Space::Data, Space::Session].map(|space| opened.records(space));
        assert_eq!(sessions[&b"session"[..]], value.as_bytes());
        for (space, key, value) in batch_of(work, applied).writes {
            let records = if space == Space::Data { &data } else { &sessions };
            assert!(records.get(&key) == value.as_ref(), "{key:?} does not belong to {applied}");
        }
    }
    Found { last: last.counter, applied }
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut boots = 0;
    for round in 1..=8 {
        let (mut child, lines) = spawn(dir.path(), "append", None, &[]);
        let (mut opened, mut acked) = (0, 0);
        for line in lines {
            opened = number(&line, "opened ").unwrap_or(opened);
            acked = number(&line, "acked ").unwrap_or(acked).max(acked);
            if acked > opened + 100 * round {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let found = check(dir.path());
        assert!(acked > 0 && found.last >= acked, "{found:?}, {acked}");
        boots += 2;
    }
    assert_eq!(Opened::open(dir.path()).unwrap().disk.identity.boot, boots + 1);
}

/// The number of kills in which RocksDB was writing a table file, at least.
const KILLS_AMID_FLUSHES: usize = 4;

#[test]
fn a_kill_amid_flushes_loses_nothing_that_was_acknowledged_or_flushed() {
    for work in ["large", "tables", "sessions"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut amid, mut kills, mut earlier) = (0, 0, 0);
        while amid < KILLS_AMID_FLUSHES {
            assert!(kills < 40, "{work}: only {amid} of {kills} kills were amid a flush");
            let (mut child, lines) = spawn(dir.path(), work, None, &[]);
            let (mut acked, mut flushed, mut known) = (0, 0, None);
            for line in lines {
                acked = number(&line, "acked ").unwrap_or(acked).max(acked);
                if let Some(counter) = number(&line, "flushed ") {
                    flushed = counter;
                    // In some rounds the first flush is completed.
                    if known.is_none() || kills % 2 == 1 {
                        known = Some(state_files(dir.path(), "sst"));
                    }
                }
                let tables = state_files(dir.path(), "sst");
                if known.as_ref().is_some_and(|known| tables.iter().any(|table| !known.contains(table))) {
                    // A flush has begun, and is not reported.
                    break;
                }
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            let before = state_files(dir.path(), "sst");
            let found = check_work(dir.path(), work);
            assert!(acked > 0 && found.last >= acked, "{work}: {found:?}, {acked} was acknowledged");
            assert!(found.applied >= flushed, "{work}: {found:?}, {flushed} was flushed");
            earlier += usize::from(found.applied < found.last);
            // Files that belong to no version of the database were being written.
            let after = state_files(dir.path(), "sst");
            amid += usize::from(before.iter().any(|table| !after.contains(table)));
        }
        println!(
            "{work}: {amid} of {kills} kills amid a flush, {earlier} left an earlier moment of the state"
        );
        assert!(earlier > 0);
    }
}

/// Stops the child between two instructions, copies its directory, and lets it go on.
#[test]
fn a_copy_of_a_running_directory_opens_at_any_time() {
    for work in ["tables", "sessions"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, lines) = spawn(dir.path(), work, None, &[]);
        let pid = Pid::from_child(&child);
        let mut copies = Vec::new();
        let (mut acked, mut flushed, mut flushes, mut amid) = (0, 0, 0, 0);
        for (at, line) in lines.enumerate() {
            acked = number(&line, "acked ").unwrap_or(acked).max(acked);
            if let Some(counter) = number(&line, "flushed ") {
                (flushed, flushes) = (counter, flushes + 1);
            }
            let tables = state_files(dir.path(), "sst");
            let writing = copies.last().is_none_or(|(_, _, _, known): &(_, _, _, Vec<_>)| *known != tables);
            if at % 29 == 0 || (writing && at % 3 == 0) {
                kill_process(pid, Signal::STOP).unwrap();
                let stopped = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
                assert!(stopped.1.stopped());
                copies.push((crashed(dir.path()), acked, flushed, state_files(dir.path(), "sst")));
                kill_process(pid, Signal::CONT).unwrap();
            }
            if copies.len() == 24 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut moments = Vec::new();
        for (copy, acked, flushed, tables) in &copies {
            let found = check_work(copy.path(), work);
            assert!(found.last >= *acked && found.applied >= *flushed, "{found:?}, {acked}, {flushed}");
            moments.push(found.applied);
            let after = state_files(copy.path(), "sst").len();
            amid += usize::from(tables.len() > after);
        }
        println!("{work}: {} copies, {amid} amid a flush, state through {moments:?}", copies.len());
        assert!(moments.is_sorted());
        moments.dedup();
        assert!(moments.len() > 1 && amid > 0, "{moments:?}, {amid} amid a flush");
    }
}

#[test]
fn a_kill_after_a_truncation_does_not_bring_the_tail_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = spawn(dir.path(), "truncate", None, &[]);
    let truncated = lines.find_map(|line| number(&line, "truncated ")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.last(), Zxid::new(1, truncated));
}

/// Runs a child until its disk fails; returns the last acknowledged counter, the last flushed one, and the message.
pub(crate) fn run_to_failure(
    dir: &Path,
    work: &str,
    through: Option<&str>,
    environment: &[(&str, &OsStr)],
) -> (u64, u64, String) {
    let (mut child, lines) = spawn(dir, work, through, environment);
    let (mut acked, mut flushed, mut failed) = (0, 0, Vec::new());
    for line in lines {
        acked = number(&line, "acked ").unwrap_or(acked).max(acked);
        flushed = number(&line, "flushed ").unwrap_or(flushed);
        if let Some((_, reason)) = line.split_once("failed ") {
            failed.push(reason.to_owned());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(FAILED));
    assert_eq!(failed.len(), 1, "{failed:?}");
    let failed = failed.remove(0);
    assert!(failed.contains(&format!("cannot write to data directory {}: ", dir.display())), "{failed}");
    (acked, flushed, failed)
}

pub(crate) fn assert_kept(dir: &Path, work: &str, acked: u64, flushed: u64) {
    let found = check_work(dir, work);
    assert!(found.last >= acked && found.applied >= flushed, "{found:?}, {acked}, {flushed}");
}

#[test]
fn a_log_that_may_not_grow_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    drop(Opened::open(dir.path()).unwrap());
    // No file may exceed 64 KiB; the signal is ignored, so that the operation fails.
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$@\" 2>&1";
    let (mut child, lines) = spawn(dir.path(), "append", Some(script), &[]);
    let said: Vec<_> = lines.collect();
    assert!(!child.wait().unwrap().success());
    let refused =
        said.iter().find(|line| line.contains("FileTooLarge")).unwrap_or_else(|| panic!("{said:?}"));
    assert!(refused.contains("log-1/next"), "{refused}");
    assert_eq!(check(dir.path()).last, 0);
}

#[test]
fn a_table_file_that_is_too_large_ends_the_writing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // No file may exceed 80 MiB: segments have 64, and a record 100.
    let script = "trap '' XFSZ; ulimit -f 163840; exec \"$@\"";
    let (acked, flushed, failed) = run_to_failure(dir.path(), "huge", Some(script), &[]);
    assert!(failed.ends_with("File too large: raise the limit on the size of files (ulimit -f)"), "{failed}");
    assert_eq!(flushed, 0);
    assert_kept(dir.path(), "huge", acked, 0);
}

/// The library whose operations fail, or `None` where it cannot be built.
fn shim(dir: &Path) -> Option<PathBuf> {
    shim::build(dir).map_err(|reason| say(&format!("SKIPPED, no library to preload: {reason}"))).ok()
}

/// An operation fails once; nothing is tried again.
fn fail_once(work: &str, variable: &str, what: &str) -> String {
    let tools = tempfile::tempdir().unwrap();
    let Some(library) = shim(tools.path()) else { return String::new() };
    let dir = tempfile::tempdir().unwrap();
    drop(Opened::open(dir.path()).unwrap());
    let signal = tools.path().join("signal");
    let mut environment = vec![("LD_PRELOAD", library.as_os_str()), (variable, OsStr::new(what))];
    if work == "some sessions" {
        environment.push((shim::FAIL_WHEN, signal.as_os_str()));
    }
    let (acked, flushed, failed) = run_to_failure(dir.path(), work, None, &environment);
    assert_kept(dir.path(), work, acked, flushed);
    failed
}

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

#[test]
fn a_failed_write_of_a_table_file_ends_the_process() {
    for number in [1, 3] {
        let failed = fail_once("tables", shim::FAIL_WRITE, &format!("{} {ENOSPC} {number}", shim::TABLES));
        assert!(
            failed.is_empty() || failed.ends_with("No space left on device: free some space"),
            "{failed}"
        );
    }
    let failed = fail_once("tables", shim::FAIL_SYNC, &format!("{} {EIO} 1", shim::TABLES));
    assert!(failed.is_empty() || failed.contains("Input/output error"), "{failed}");
}

/// RocksDB flushes a full column family by itself, and reports no failure of that.
#[test]
fn a_failed_flush_in_the_background_ends_the_process() {
    for error in [ENOSPC, EIO] {
        // The next write may receive the error.
        let failed = fail_once("sessions", shim::FAIL_WRITE, &format!("{} {error} 1", shim::TABLES));
        assert!(failed.is_empty() || failed.contains("/state-1/"), "{failed}");
        // There is no next write: it fails when all batches are stored.
        let failed = fail_once("some sessions", shim::FAIL_WRITE, &format!("{} {error} 1", shim::TABLES));
        let expected = "RocksDB could not write a table file in the background";
        assert!(failed.is_empty() || failed.contains(expected), "{failed}");
    }
}

#[test]
fn a_failed_write_or_sync_of_the_log_ends_the_process() {
    let failed = fail_once("append", shim::FAIL_WRITE, &format!("{} {ENOSPC} 20", shim::SEGMENTS));
    assert!(
        failed.is_empty() || failed.ends_with("No space left on device (os error 28): free some space"),
        "{failed}"
    );
    let failed = fail_once("append", shim::FAIL_SYNC, &format!("{} {EIO} 20", shim::SEGMENTS));
    assert!(failed.is_empty() || failed.contains("cannot sync "), "{failed}");
}

/// The end of the last batch of the newest segment.
fn end_of_log(dir: &Path) -> usize {
    layout(segments(dir).last().unwrap()).1.last().unwrap().end
}

fn newest(dir: &Path) -> PathBuf {
    segments(dir).pop().unwrap()
}

/// The end of the newest segment behind its last batch is only reserved.
fn trim(dir: &Path) {
    cut(&newest(dir), end_of_log(dir));
}

fn assert_lost(dir: &Path, expected: &str) {
    let damage = quarantine(dir).disk.quarantined.as_ref().unwrap().damage.clone();
    assert!(damage.contains(expected), "expected {expected:?}: {damage}");
}

#[test]
fn synced_batches_must_be_in_the_log() {
    let (dir, mut opened) = founded(0);
    opened.append(1, 1..=3);
    opened.append(1, 4..=5);
    let whole = crashed(dir.path());
    trim(whole.path());
    assert_eq!(check(crashed(whole.path()).path()).last, 5);
    let batches = layout(&newest(whole.path())).1;
    let (start, end) = (batches[2].start, batches[3].end);
    for size in (start..end).step_by(37) {
        let crashed = crashed(whole.path());
        cut(&newest(crashed.path()), size);
        let lost = if size < batches[2].end { 3 } else { 4 };
        assert_lost(crashed.path(), &format!("batch {lost} is lost: it was synced"));
    }
    // A lost promise does not shorten the log, and is detected as well.
    opened.write(promise(2, 1));
    let crashed = crashed(dir.path());
    cut(&newest(crashed.path()), end);
    assert_lost(crashed.path(), "batch 5 is lost: it was synced");
}

#[test]
fn a_batch_that_was_not_synced_may_be_torn() {
    let (dir, mut opened) = founded(5);
    let before = crashed(dir.path());
    opened.append(1, 6..=30);
    let whole = crashed(dir.path());
    trim(whole.path());
    // As the mark is while the batch is being written.
    fs::copy(before.path().join(MARK), whole.path().join(MARK)).unwrap();
    assert_eq!(check(crashed(whole.path()).path()).last, 30);
    let batch = layout(&newest(whole.path())).1[3].clone();
    for size in (batch.start..batch.end).step_by(101) {
        let crashed = crashed(whole.path());
        cut(&newest(crashed.path()), size);
        assert_eq!(check(crashed.path()).last, 5, "cut at {size}");
        // The log goes on behind it.
        let mut opened = Opened::open(crashed.path()).unwrap();
        opened.append(1, 6..=7);
        drop(opened);
        assert_eq!(check(crashed.path()).last, 7);
    }
    // Blocks reach the disk in any order.
    for at in [batch.start, batch.start + 600, batch.end - 1] {
        let crashed = crashed(whole.path());
        flip(&newest(crashed.path()), |_| at);
        assert_eq!(check(crashed.path()).last, 5, "a hole at {at}");
    }
    let garbled = crashed(before.path());
    let mut bytes = fs::read(newest(whole.path())).unwrap();
    bytes.truncate(batch.start);
    bytes.extend([0xa5; 9_000]);
    fs::write(newest(garbled.path()), bytes).unwrap();
    assert_eq!(check(garbled.path()).last, 5);
    // Only the last batch can be torn, whatever the mark says.
    let holed = crashed(whole.path());
    let earlier = layout(&newest(whole.path())).1[2].clone();
    flip(&newest(holed.path()), |_| earlier.start + 40);
    assert_lost(holed.path(), "is damaged: a later one is at offset");
}

#[test]
fn a_crash_around_a_truncation_is_not_reported_as_damage() {
    let (dir, mut opened) = founded(50);
    let before = crashed(dir.path());
    opened.write(truncate(1, 30));
    let after = crashed(dir.path());
    opened.write(promise(2, 2));
    opened.append(2, 31..=33);
    let later = crashed(dir.path());
    // The new segment was not there yet, or not under its name.
    for left in ["next", "making", "spare"] {
        let half = crashed(before.path());
        fs::copy(newest(after.path()), half.path().join(LOG).join(left)).unwrap();
        assert_eq!(Opened::open(half.path()).unwrap().last(), Zxid::new(1, 50), "{left}");
        assert!(!half.path().join(LOG).join("next").exists());
    }
    // Once reported, the truncation must not be lost.
    for (whole, lost) in [(&after, "segment 3 is lost: it was synced"), (&later, "is lost: it was synced")] {
        let undone = crashed(whole.path());
        fs::remove_file(newest(undone.path())).unwrap();
        assert_lost(undone.path(), lost);
    }
    assert_eq!(Opened::open(before.path()).unwrap().last(), Zxid::new(1, 50));
    assert_eq!(Opened::open(after.path()).unwrap().last(), Zxid::new(1, 30));
    assert_eq!(Opened::open(later.path()).unwrap().last(), Zxid::new(2, 33));
}

#[test]
fn a_crash_while_opening_loses_nothing() {
    let (dir, opened) = founded(40);
    let before = crashed(dir.path());
    drop(opened);
    drop(Opened::open(before.path()).unwrap());
    let after = crashed(before.path());
    let new = newest(after.path());
    // The new segment, which repeats the last batch, is there, and the one before is not shortened yet.
    let between = crashed(dir.path());
    fs::copy(&new, between.path().join(LOG).join(new.file_name().unwrap())).unwrap();
    assert_eq!(check(between.path()).last, 40);
    // It is there, but not under its name.
    let between = crashed(dir.path());
    fs::copy(&new, between.path().join(LOG).join("next")).unwrap();
    assert_eq!(check(between.path()).last, 40);
    // Once the opening is done, it must not be lost.
    let undone = crashed(after.path());
    fs::remove_file(newest(undone.path())).unwrap();
    assert_lost(undone.path(), "is lost: it was synced");
}
