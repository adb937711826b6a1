//! Crashes: kills during writes, and write-ahead logs that end at any byte.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::Path,
    process::Child,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use gometa_server::disk::{Disk, DiskError, Hooks};
use gometa_sim::contract::Write;
use gometa_store::{Space, Table};
use gometa_zab::{LogEntry, Token, Zxid};

use super::support::*;

const CHILD_DIR: &str = "GOMETA_TEST_DISK_DIR";
const CHILD_WORK: &str = "GOMETA_TEST_DISK_WORK";
/// The number of writes of a child in flight.
const IN_FLIGHT: u64 = 64;

/// Runs the writing child, through a shell script if given.
fn spawn(dir: &Path, work: &str, through: Option<&str>) -> (Child, impl Iterator<Item = String> + use<>) {
    let shell = through.map(|script| ["sh", "-c", script, "sh"]);
    let wrapper: &[&str] = shell.as_ref().map_or(&[], |shell| shell);
    rerun(wrapper, "crash::child", &[(CHILD_DIR, dir.as_os_str()), (CHILD_WORK, OsStr::new(work))])
}

/// Not a test: the process that is killed. It appends entries and applies them, alternately, from the end of the
/// directory on, and prints persisted tokens.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let work = env::var(CHILD_WORK).unwrap();
    let done = Arc::new((Mutex::new(0), Condvar::new()));
    let base = Arc::new(AtomicU64::new(0));
    let hooks = Hooks {
        persisted: Box::new({
            let (done, base) = (done.clone(), base.clone());
            move |token: Token| {
                // An even token is the append of the counter token / 2.
                println!("acked {}", base.load(Ordering::SeqCst) + token.0 / 2);
                *done.0.lock().unwrap() = token.0;
                done.1.notify_all();
            }
        }),
        stored: Box::new(|_| {}),
        failed: Box::new(|reason| {
            println!("failed {reason}");
            std::process::exit(3);
        }),
        read: Box::new(|_, _| {}),
    };
    let disk = Disk::open(Path::new(&dir), NODE, hooks).unwrap();
    let last = disk.recovered.boundaries.last().copied().unwrap_or(Zxid::ZERO);
    base.store(last.counter, Ordering::SeqCst);
    if disk.recovered.founding.is_none() {
        disk.writer.submit(Token(0), of_log(founding(true)));
    }
    disk.writer.submit(Token(1), of_log(promise(1, 1)));
    let (mut applied, mut batches) = (disk.recovered.applied, 0);
    println!("opened {}", last.counter);
    for step in 1_u64.. {
        let counter = last.counter + step;
        disk.writer.submit(Token(step * 2), append_of(written(counter, work == "large")));
        let mut persisted = done.0.lock().unwrap();
        while *persisted + IN_FLIGHT < step * 2 {
            persisted = done.1.wait(persisted).unwrap();
        }
        // Only durable entries are applied.
        let durable = last.counter + *persisted / 2;
        drop(persisted);
        if work != "truncate" && durable > applied {
            applied = durable;
            batches += 1;
            disk.writer.store(batches, batch(applied));
        }
        if work == "truncate" && step == 200 {
            disk.writer.submit(Token(step * 2 + 2), of_log(truncate(1, counter - 100)));
            let mut persisted = done.0.lock().unwrap();
            while *persisted < step * 2 + 2 {
                persisted = done.1.wait(persisted).unwrap();
            }
            println!("truncated {}", counter - 100);
            loop {
                std::thread::park();
            }
        }
    }
}

/// An entry; a large one fills a memtable with a few hundred of its kind.
fn written(counter: u64, large: bool) -> LogEntry {
    let mut entry = entry(1, counter);
    if large {
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

/// The directory contains entries 1 … last as written, and a consistent table.
fn check(dir: &Path) -> u64 {
    check_entries(dir, false)
}

fn check_entries(dir: &Path, large: bool) -> u64 {
    let mut opened = Opened::open(dir).unwrap();
    let last = opened.last();
    if last.counter > 0 {
        let entries = opened.read(1, last.counter, usize::MAX);
        assert_eq!(entries.len() as u64, last.counter);
        for (entry, counter) in entries.into_iter().zip(1..) {
            assert!(entry == written(counter, large), "entry {counter} has changed");
        }
    }
    let table = &opened.disk.table;
    let applied = table.checkpoint().applied;
    assert_eq!(applied, opened.disk.recovered.applied);
    assert!(applied <= last.counter);
    if applied > 0 {
        assert_eq!(table.checkpoint(), checkpoint(applied));
        let value = applied.to_string();
        for (space, key) in [(Space::Data, "first"), (Space::Data, "second"), (Space::Session, "session")] {
            assert_eq!(table.get(space, key.as_bytes()).unwrap(), value.as_bytes());
        }
        assert_eq!(table.get(Space::Data, format!("only {applied}").as_bytes()).unwrap(), value.as_bytes());
    }
    last.counter
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    kill_rounds("append", 8, 100);
}

#[test]
fn a_kill_amid_flushes_loses_nothing_that_was_acknowledged() {
    kill_rounds("large", 3, 300);
}

/// Kills a writing child repeatedly, each time after another `step` entries.
fn kill_rounds(work: &str, rounds: u64, step: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut boots = 0;
    for round in 1..=rounds {
        let (mut child, lines) = spawn(dir.path(), work, None);
        let (mut opened, mut acked) = (0, 0);
        for line in lines {
            opened = number(&line, "opened ").unwrap_or(opened);
            acked = number(&line, "acked ").unwrap_or(acked).max(acked);
            if acked > opened + step * round {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let last = check_entries(dir.path(), work == "large");
        assert!(acked > 0 && last >= acked, "{last} < {acked}");
        boots += 2;
    }
    assert_eq!(Opened::open(dir.path()).unwrap().disk.identity.boot, boots + 1);
}

#[test]
fn a_kill_after_a_truncation_does_not_bring_the_tail_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = spawn(dir.path(), "truncate", None);
    let truncated = lines.find_map(|line| number(&line, "truncated ")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.last(), Zxid::new(1, truncated));
    drop(opened);
    tamper(dir.path(), |rocks| {
        let log = rocks.cf_handle("log").unwrap();
        assert_eq!(rocks.iterator_cf(log, rocksdb::IteratorMode::Start).count() as u64, truncated);
    });
}

#[test]
fn an_error_of_the_file_system_ends_the_writing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(Opened::open(dir.path()).unwrap());
    // No file may exceed 64 KiB; the signal is ignored, so that the write fails.
    let (mut child, lines) = spawn(dir.path(), "append", Some("trap '' XFSZ; ulimit -f 128; exec \"$@\""));
    let (mut acked, mut failed) = (0, None);
    for line in lines {
        acked = number(&line, "acked ").unwrap_or(acked).max(acked);
        if let Some((_, reason)) = line.split_once("failed ") {
            failed = Some(reason.to_owned());
            break;
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let failed = failed.unwrap();
    assert!(failed.contains("cannot write to data directory"), "{failed}");
    assert!(check(dir.path()) >= acked);
}

/// Asserts that an open finds lost writes.
fn assert_lost(dir: &Path, what: u64) {
    let error = refusal(dir);
    assert!(matches!(error, DiskError::Lost { .. }), "{what}: {error}");
}

/// The directory after a crash now, with nothing lost.
fn crashed(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(from, dir.path());
    dir
}

/// The size of the newest write-ahead log.
fn wal_size(dir: &Path) -> u64 {
    fs::metadata(database_files(dir, "log").pop().unwrap()).unwrap().len()
}

fn cut(dir: &Path, size: u64) {
    let wal = database_files(dir, "log").pop().unwrap();
    fs::OpenOptions::new().write(true).open(wal).unwrap().set_len(size).unwrap();
}

#[test]
fn synced_writes_must_be_in_the_write_ahead_log() {
    let (dir, mut opened) = founded(0);
    let start = wal_size(dir.path());
    opened.append(1, 1..=3);
    opened.append(1, 4..=5);
    let logged = wal_size(dir.path());
    assert_eq!(check(crashed(dir.path()).path()), 5);
    for size in (start..logged).step_by(5) {
        let crashed = crashed(dir.path());
        cut(crashed.path(), size);
        assert_lost(crashed.path(), size);
    }
    for at in [start + 3, start + 20, logged - 1] {
        let crashed = crashed(dir.path());
        flip(&database_files(crashed.path(), "log").pop().unwrap(), |_| at as usize);
        assert_lost(crashed.path(), at);
    }
    // A lost promise does not shorten the log, and is detected as well.
    opened.write(promise(2, 1));
    let crashed = crashed(dir.path());
    cut(crashed.path(), logged);
    assert_lost(crashed.path(), logged);
}

#[test]
fn unsynced_writes_may_be_torn() {
    let (dir, mut opened) = founded(5);
    let synced = wal_size(dir.path());
    opened.write(apply(3));
    opened.write(apply(4));
    let whole = wal_size(dir.path());
    assert_eq!(Opened::open(crashed(dir.path()).path()).unwrap().disk.recovered.applied, 4);
    let mut seen = Vec::new();
    for size in (synced..whole).step_by(7) {
        let crashed = crashed(dir.path());
        cut(crashed.path(), size);
        assert_eq!(check(crashed.path()), 5);
        seen.push(Opened::open(crashed.path()).unwrap().disk.recovered.applied);
    }
    seen.dedup();
    assert_eq!(seen, [0, 3]);
    // Pages reach the disk in any order: a gap in unsynced writes is not damage either.
    let holed = crashed(dir.path());
    flip(&database_files(holed.path(), "log").pop().unwrap(), |_| synced as usize + 10);
    assert_eq!(check(holed.path()), 5);
    let garbled = crashed(dir.path());
    let wal = database_files(garbled.path(), "log").pop().unwrap();
    let mut bytes = fs::read(&wal).unwrap();
    bytes.extend([0xa5; 3_000]);
    fs::write(&wal, bytes).unwrap();
    assert_eq!(check(garbled.path()), 5);
}

#[test]
fn a_crash_around_a_truncation_is_not_reported_as_damage() {
    let (dir, mut opened) = founded(50);
    let before = crashed(dir.path());
    let before_size = wal_size(dir.path());
    opened.write(truncate(1, 30));
    let after = crashed(dir.path());
    opened.write(promise(2, 2));
    opened.append(2, 31..=33);
    let later = crashed(dir.path());
    assert_eq!(Opened::open(before.path()).unwrap().last(), Zxid::new(1, 50));
    assert_eq!(Opened::open(after.path()).unwrap().last(), Zxid::new(1, 30));
    assert_eq!(Opened::open(later.path()).unwrap().last(), Zxid::new(2, 33));
    // Once reported, the truncation must not be lost.
    let undone = crashed(dir.path());
    cut(undone.path(), before_size);
    assert_lost(undone.path(), before_size);
}
