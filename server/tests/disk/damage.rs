//! Damaged directories are refused with one line, every time, and not changed.

use std::{fs, path::Path};

use gometa_server::disk::DiskError;
use gometa_sim::contract::Write;
use gometa_zab::{LEVEL, LogEntry};

use super::support::*;

/// A closed directory with two epochs and applied entries.
fn filled() -> tempfile::TempDir {
    let (dir, mut opened) = founded(200);
    opened.write(promise(3, 3));
    opened.append(3, 201..=300);
    opened.write(apply(250));
    drop(opened);
    // Opened again, so that everything is in table files.
    drop(Opened::open(dir.path()).unwrap());
    dir
}

/// Damages a copy of a valid directory and expects this text in the error.
fn refused(good: &tempfile::TempDir, expected: &str, spoil: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    copy(good.path(), &path);
    spoil(&path);
    for _ in 0..2 {
        let error = refusal(&path);
        assert!(matches!(error, DiskError::Damaged { .. } | DiskError::Lost { .. }), "{expected}: {error:?}");
        let line = error.to_string();
        assert!(line.contains(expected), "expected {expected:?}: {line}");
        assert!(line.contains("away: with an empty directory"), "{line}");
    }
}

fn key(counter: u64) -> [u8; 8] {
    counter.to_be_bytes()
}

/// Replaces a record of the database.
fn rewrite(dir: &Path, family: &str, key: &[u8], change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    tamper(dir, |rocks| {
        let family = rocks.cf_handle(family).unwrap();
        let old = rocks.get_cf(family, key).unwrap().unwrap();
        rocks.put_cf(family, key, change(old)).unwrap();
    });
}

fn erase(dir: &Path, family: &str, key: &[u8]) {
    tamper(dir, |rocks| rocks.delete_cf(rocks.cf_handle(family).unwrap(), key).unwrap());
}

fn flipped(at: usize) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |mut bytes| {
        let at = at % bytes.len();
        bytes[at] ^= 1;
        bytes
    }
}

#[test]
fn a_good_copy_opens() {
    let good = filled();
    let dir = tempfile::tempdir().unwrap();
    copy(good.path(), dir.path());
    assert_eq!(Opened::open(dir.path()).unwrap().last().counter, 300);
}

#[test]
fn small_files_must_exist_and_be_intact() {
    let good = filled();
    for name in ["IDENTITY", "BOOT", "GENERATION", "FORMAT"] {
        refused(&good, &format!("{name} is missing"), |dir| fs::remove_file(dir.join(name)).unwrap());
    }
    for name in ["IDENTITY", "BOOT", "GENERATION"] {
        refused(&good, &format!("checksum of {name} is wrong"), |dir| flip(&dir.join(name), |_| 6));
        refused(&good, &format!("checksum of {name} is wrong"), |dir| flip(&dir.join(name), |len| len - 2));
        refused(&good, &format!("checksum of {name} is wrong"), |dir| fs::write(dir.join(name), "").unwrap());
    }
    refused(&good, "SYNCED is missing", |dir| fs::remove_file(dir.join("gen-1/SYNCED")).unwrap());
    refused(&good, "SYNCED holds no valid mark", |dir| fs::write(dir.join("gen-1/SYNCED"), "").unwrap());
    refused(&good, "gen-1/db is missing", |dir| fs::remove_dir_all(dir.join("gen-1")).unwrap());
}

#[test]
fn the_database_must_exist_and_be_intact() {
    let good = filled();
    refused(&good, "CURRENT", |dir| fs::remove_file(dir.join("gen-1/db/CURRENT")).unwrap());
    let each_table =
        |dir: &Path, damage: fn(&Path)| database_files(dir, "sst").iter().for_each(|path| damage(path));
    refused(&good, "", |dir| each_table(dir, |path| fs::remove_file(path).unwrap()));
    refused(&good, "", |dir| each_table(dir, |path| flip(path, |len| len / 3)));
    refused(&good, "", |dir| {
        for item in fs::read_dir(dir.join("gen-1/db")).unwrap() {
            let path = item.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST") {
                flip(&path, |len| len / 2);
            }
        }
    });
}

#[test]
fn a_flipped_bit_in_a_log_record_is_found() {
    let good = filled();
    for at in [0, 1, 5, 9, 17, 20, 40, 1_000_003] {
        refused(&good, "log entry 77 is damaged", |dir| rewrite(dir, "log", &key(77), flipped(at)));
    }
    refused(&good, "log entry 77 is damaged", |dir| rewrite(dir, "log", &key(77), |_| Vec::new()));
}

#[test]
fn the_log_must_be_one_chain() {
    let good = filled();
    refused(&good, "log entry 1 is missing", |dir| erase(dir, "log", &key(1)));
    refused(&good, "log entry 123 is missing", |dir| erase(dir, "log", &key(123)));
    refused(&good, "log entry 301 is missing", |dir| {
        tamper(dir, |rocks| rocks.put_cf(rocks.cf_handle("log").unwrap(), key(302), "stray").unwrap());
    });
    // A valid record at the wrong position.
    refused(&good, "log entry 50 is damaged", |dir| {
        tamper(dir, |rocks| {
            let log = rocks.cf_handle("log").unwrap();
            let other = rocks.get_cf(log, key(51)).unwrap().unwrap();
            rocks.put_cf(log, key(50), other).unwrap();
        });
    });
    // A chain of another history: the records of a directory in which epoch 2 wrote entry 150.
    refused(&good, "log entry 151 follows (1, 150), and the one before it is (2, 150)", |dir| {
        let other = tempfile::tempdir().unwrap();
        let mut opened = Opened::open(other.path()).unwrap();
        opened.found();
        opened.write(promise(2, 2));
        opened.append(1, 1..=149);
        opened.append(2, 150..=150);
        drop(opened);
        let mut record = Vec::new();
        tamper(other.path(), |rocks| {
            record = rocks.get_cf(rocks.cf_handle("log").unwrap(), key(150)).unwrap().unwrap();
        });
        rewrite(dir, "log", &key(150), |_| record);
    });
}

#[test]
fn a_log_below_its_mark_is_refused() {
    let good = filled();
    // Truncated directly in the database, which increases RocksDB's sequence number.
    refused(&good, "the log ends at (3, 299), below (3, 300), which it had synced", |dir| {
        erase(dir, "log", &key(300));
    });
    refused(&good, "the log ends at (0, 0), below", |dir| {
        tamper(dir, |rocks| {
            rocks.delete_range_cf(rocks.cf_handle("log").unwrap(), key(0), key(u64::MAX)).unwrap();
        });
    });
}

#[test]
fn an_older_database_is_refused() {
    let good = filled();
    let old = tempfile::tempdir().unwrap();
    copy(good.path(), old.path());
    let mut opened = Opened::open(good.path()).unwrap();
    opened.write(promise(4, 3));
    drop(opened);
    // The log is as long as before; a promise is lost.
    refused(&good, "was synced", |dir| {
        fs::remove_dir_all(dir.join("gen-1/db")).unwrap();
        copy(&old.path().join("gen-1/db"), &dir.join("gen-1/db"));
    });
}

#[test]
fn the_records_beside_the_log_must_match_it() {
    let good = filled();
    refused(&good, "the hard state is missing", |dir| erase(dir, "meta", b"hard_state"));
    refused(&good, "the hard state: ", |dir| rewrite(dir, "meta", b"hard_state", flipped(5)));
    refused(&good, "the founding record: ", |dir| rewrite(dir, "meta", b"founding", flipped(5)));
    refused(&good, "no ensemble is sealed", |dir| erase(dir, "meta", b"founding"));
    refused(&good, "checkpoint is missing or damaged", |dir| erase(dir, "meta", b"checkpoint"));
    refused(&good, "checkpoint is missing or damaged", |dir| rewrite(dir, "meta", b"checkpoint", flipped(5)));
}

#[test]
fn promises_must_match_the_log() {
    let state = |accepted, current, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = Opened::open(dir.path()).unwrap();
        opened.write(founding(true));
        opened.write(promise(accepted, current));
        opened.append(5, 1..=3);
        drop(opened);
        let line = refusal(dir.path()).to_string();
        assert!(line.contains(expected), "{line}");
    };
    state(5, 6, "current epoch is above the accepted one");
    state(4, 4, "accepted epoch 4 is below the log's end (5, 3)");
}

#[test]
fn a_table_ahead_of_the_log_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    drop(Opened::open(empty.path()).unwrap());
    let (dir, mut opened) = founded(4);
    opened.write(apply(4));
    drop(opened);
    // A mark from before the first entry.
    fs::copy(empty.path().join("gen-1/SYNCED"), dir.path().join("gen-1/SYNCED")).unwrap();
    erase(dir.path(), "log", &key(4));
    let line = refusal(dir.path()).to_string();
    assert!(line.contains("the log ends at (1, 3), below 4, which was applied"), "{line}");
}

#[test]
fn an_entry_of_a_higher_level_needs_the_newer_program() {
    let (dir, mut opened) = founded(0);
    let demanding = LogEntry { level: LEVEL + 1, ..entry(1, 1) };
    opened.write(Write::Log(gometa_zab::Write::Append(vec![demanding])));
    drop(opened);
    let error = refusal(dir.path());
    assert!(matches!(error, DiskError::NewerEntry { counter: 1, .. }), "{error}");
    assert!(error.to_string().contains("run the newer gometa-server"), "{error}");
}

#[test]
fn a_refused_open_does_not_count_as_a_boot() {
    let dir = filled();
    let boot = fs::read(dir.path().join("BOOT")).unwrap();
    erase(dir.path(), "log", &key(123));
    refusal(dir.path());
    assert_eq!(fs::read(dir.path().join("BOOT")).unwrap(), boot);
}
