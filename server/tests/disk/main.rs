//! The data directory through its public interface: durability, errors, crashes.
#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod contract;
mod crash;
mod damage;
mod flush;
mod full;
mod history;
mod machine;
mod quarantine;
mod scrub;
mod shim;
mod support;

use std::{fs, os::unix::fs::PermissionsExt};

use gometa_server::disk::{Disk, DiskError};
use gometa_sim::contract::{Report, Write};
use gometa_store::{Checkpoint, Space, Table};
use gometa_zab::{NodeId, Recovered, Token, Zxid};

use support::*;

#[test]
fn a_new_directory_is_empty_private_and_has_an_identity() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/data");
    let opened = Opened::open(&path).unwrap();
    assert_eq!(opened.disk.recovered, Recovered::default());
    assert_eq!(opened.disk.identity.node, NODE);
    assert_eq!(opened.disk.identity.boot, 1);
    assert_ne!(opened.disk.identity.incarnation.0, 0);
    assert_eq!(opened.disk.table.checkpoint(), Checkpoint::default());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let other = Opened::open(&dir.path().join("other")).unwrap();
    assert_ne!(opened.disk.identity.incarnation, other.disk.identity.incarnation);
}

#[test]
fn everything_written_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path()).unwrap();
    let first = opened.disk.identity;
    opened.write(founding(false));
    opened.write(founding(true));
    opened.write(promise(2, 1));
    opened.append(1, 1..=1_000);
    opened.append(2, 1_001..=1_005);
    opened.write(apply(1));
    opened.write(apply(2));
    opened.write(promise(5, 3));
    opened.append(5, 1_006..=1_006);
    drop(opened);

    // The id in the directory takes precedence over a changed configuration.
    let mut opened = Opened::open_as(dir.path(), NodeId(99)).unwrap();
    assert_eq!(opened.disk.identity.node, first.node);
    assert_eq!(opened.disk.identity.incarnation, first.incarnation);
    assert_eq!(opened.disk.identity.boot, 2);
    let recovered = Recovered {
        hard_state: hard_state(5, 3),
        founding: Some(founding_record(true)),
        oldest: Zxid::ZERO,
        boundaries: vec![Zxid::new(1, 1_000), Zxid::new(2, 1_005), Zxid::new(5, 1_006)],
        applied: 2,
        released: 2,
        ..Recovered::default()
    };
    assert_eq!(opened.disk.recovered, recovered);
    assert_eq!(opened.disk.table.checkpoint(), checkpoint(2));
    assert_eq!(opened.get("first").unwrap(), "2");
    assert_eq!(opened.get("only 1"), None);
    let mut keys = Vec::new();
    opened.disk.table.scan(Space::Data, &mut |key, value| {
        assert_eq!(value, b"2");
        keys.push(String::from_utf8(key.to_vec()).unwrap());
    });
    assert_eq!(keys, ["first", "only 2", "second"]);
    let all = opened.read(1, 1_006, usize::MAX);
    let epochs = (1..=1_000).map(|counter| (1, counter)).chain((1_001..=1_005).map(|counter| (2, counter)));
    let expected = epochs.chain([(5, 1_006)]).map(|(epoch, counter)| entry(epoch, counter));
    assert_eq!(all, expected.collect::<Vec<_>>());
    drop(opened);
    assert_eq!(Opened::open(dir.path()).unwrap().disk.identity.boot, 3);
}

#[test]
fn queued_writes_are_reported_in_order_and_readable() {
    let (_dir, mut opened) = founded(0);
    opened.append(1, 1..=500);
    for counter in 1..=500 {
        opened.submit(append(1, [500 + counter]));
        opened.submit(apply(counter));
    }
    opened.wait("all of it", |callbacks| {
        assert!(callbacks.persisted.is_sorted());
        callbacks.stored == 500 && callbacks.persisted.last() == Some(&Token(503))
    });
    assert_eq!(opened.disk.table.checkpoint(), checkpoint(500));
    assert_eq!(opened.get("second").unwrap(), "500");
    assert_eq!(opened.read(500, 500, 1).len(), 1);
    assert_eq!(opened.failed(), Vec::<String>::new());
}

#[test]
fn log_and_state_are_written_beside_each_other() {
    let (_dir, mut opened) = founded(5);
    // Neither waits for the other.
    opened.write(apply(3));
    opened.append(1, [6]);
    for counter in 4..=6 {
        opened.submit(apply(counter));
    }
    opened.append(1, 7..=9);
    opened.wait("the batches", |callbacks| callbacks.stored == 4);
    assert_eq!(opened.disk.table.checkpoint(), checkpoint(6));
}

#[test]
fn dropping_writes_what_was_submitted() {
    let (dir, mut opened) = founded(0);
    for counter in 1..=300 {
        opened.submit(append(1, [counter]));
    }
    for counter in 1..=300 {
        opened.submit(apply(counter));
    }
    let (reports, flushed) = opened.close();
    assert!(reports.contains(&Report::Persisted(Token(302))) && reports.contains(&Report::Stored(300)));
    assert_eq!(flushed.last(), Some(&300));
    let opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.last(), Zxid::new(1, 300));
    assert_eq!(opened.disk.table.checkpoint(), checkpoint(300));
    // Nothing to flush.
    assert!(opened.close().1.is_empty());
}

#[test]
fn a_log_of_several_segments_comes_back() {
    let (dir, mut opened) = founded(0);
    let large = |counter: u64| {
        let mut entry = entry(1, counter);
        entry.payload = counter.to_string().repeat((1 << 20) / counter.to_string().len()).into();
        entry
    };
    // Segments have at most 64 MiB.
    for counter in 1..=150 {
        opened.submit(Write::Log(gometa_zab::Write::Append(vec![large(counter)])));
    }
    opened.wait("the appends", |callbacks| callbacks.persisted.last() == Some(&Token(152)));
    assert!(segments(dir.path()).len() > 3, "{:?}", segments(dir.path()));
    for _ in 0..2 {
        for counter in 1..=150 {
            assert!(opened.read(counter, 150, 1) == [large(counter)], "entry {counter} has changed");
        }
        drop(opened);
        opened = Opened::open(dir.path()).unwrap();
        assert_eq!(opened.disk.recovered.boundaries, [Zxid::new(1, 150)]);
    }
}

#[test]
fn a_truncated_tail_is_gone_and_the_log_goes_on() {
    let (dir, mut opened) = founded(100);
    opened.write(truncate(1, 60));
    drop(opened);

    let mut opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.disk.recovered.boundaries, [Zxid::new(1, 60)]);
    opened.write(promise(4, 4));
    // Without waiting, so that truncations are between other writes of a group.
    opened.submit(append(1, 61..=70));
    opened.submit(append(4, 71..=80));
    opened.submit(truncate(1, 65));
    opened.submit(truncate(1, 65));
    opened.submit(append(4, 66..=66));
    opened.submit(truncate(1, 65));
    opened.submit(truncate(1, 62));
    opened.write(append(4, 63..=64));
    assert_eq!(opened.read(62, 64, usize::MAX), [entry(1, 62), entry(4, 63), entry(4, 64)]);
    drop(opened);

    let mut opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.disk.recovered.boundaries, [Zxid::new(1, 62), Zxid::new(4, 64)]);
    opened.write(truncate(0, 0));
    drop(opened);
    let opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.disk.recovered.boundaries, []);
    assert_eq!(opened.disk.recovered.hard_state, hard_state(4, 4));
}

#[test]
fn an_epoch_above_the_current_one_is_valid_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path()).unwrap();
    opened.write(founding(true));
    opened.write(promise(6, 0));
    opened.append(6, 1..=3);
    drop(opened);
    let opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.disk.recovered.hard_state, hard_state(6, 0));
    assert_eq!(opened.last(), Zxid::new(6, 3));
}

#[test]
fn log_reads_keep_to_their_bounds() {
    let (_dir, mut opened) = founded(100);
    let counters = |entries: Vec<gometa_zab::LogEntry>| -> Vec<u64> {
        entries.iter().map(|entry| entry.zxid.counter).collect()
    };
    assert_eq!(counters(opened.read(10, 13, usize::MAX)), [10, 11, 12, 13]);
    assert_eq!(counters(opened.read(100, 100, usize::MAX)), [100]);
    assert_eq!(counters(opened.read(10, 13, 0)), [10]);
    let two = entry(1, 10).size() + entry(1, 11).size();
    assert_eq!(counters(opened.read(10, 13, two)), [10, 11]);
    assert_eq!(counters(opened.read(10, 13, two - 1)), [10]);
    // Requested before a truncation and read before it, amid it or after it: entries that are there or were there, and no
    // failure.
    opened.disk.log_reader.submit(1_000, 49, 60, usize::MAX);
    opened.write(truncate(1, 50));
    opened.wait("the answer", |callbacks| {
        let answer = callbacks.read.iter().find(|(id, _)| *id == 1_000);
        answer.is_some_and(|(_, entries)| {
            assert!(!entries.is_empty() && (49..).zip(entries).all(|(at, found)| *found == entry(1, at)));
            true
        })
    });
    assert_eq!(opened.failed(), Vec::<String>::new());
}

#[test]
fn a_read_of_a_missing_entry_is_answered_empty() {
    let (_dir, mut opened) = founded(5);
    assert_eq!(opened.read(0, 5, usize::MAX), []);
    assert_eq!(opened.read(6, 6, usize::MAX), []);
    assert_eq!(opened.read(6, 9, usize::MAX), []);
    assert_eq!(opened.read(5, 9, usize::MAX), [entry(1, 5)]);
    opened.write(truncate(1, 3));
    assert_eq!(opened.read(4, 5, usize::MAX), []);
    assert_eq!(opened.read(3, 5, usize::MAX), [entry(1, 3)]);
    assert_eq!(opened.failed(), Vec::<String>::new());
}

#[test]
fn after_a_failure_nothing_more_is_written() {
    let (dir, mut opened) = founded(5);
    let good = opened.submit(append(1, [6]));
    opened.submit(append(1, [8]));
    let line = opened.failure();
    opened.submit(append(1, [7]));
    opened.submit(promise(9, 9));
    assert_eq!(opened.failed().len(), 1);
    assert!(line.contains("log entry (1, 8) cannot follow (1, 6)"), "{line}");
    opened.wait("no later token", |callbacks| callbacks.persisted.iter().all(|token| token.0 <= good));
    drop(opened);
    let opened = Opened::open(dir.path()).unwrap();
    assert!(opened.last() <= Zxid::new(1, 6));
    assert_eq!(opened.disk.recovered.hard_state, hard_state(1, 1));
}

#[test]
fn writes_that_contradict_the_log_fail() {
    for (write, expected) in [
        (truncate(2, 3), "cannot truncate to (2, 3): the log, which ends at (1, 5), does not have it"),
        (truncate(1, 6), "cannot truncate to (1, 6): the log, which ends at (1, 5), does not have it"),
        (truncate(1, 1), "cannot truncate to (1, 1): 2 has been released"),
        (append(1, [7]), "log entry (1, 7) cannot follow (1, 5)"),
        (append(0, [6]), "log entry (0, 6) cannot follow (1, 5)"),
    ] {
        let (dir, mut opened) = founded(5);
        opened.write(apply(2));
        opened.submit(write);
        let line = opened.failure();
        assert!(line.contains(expected), "{line}");
        assert!(
            line.starts_with(&format!("cannot write to data directory {}: ", dir.path().display())),
            "{line}"
        );
        drop(opened);
        assert_eq!(Opened::open(dir.path()).unwrap().last(), Zxid::new(1, 5));
    }
}

#[test]
fn a_released_counter_beyond_the_log_or_below_the_last_one_fails() {
    for (released, expected) in [(6, "6 cannot have been released"), (1, "1 cannot have been released")] {
        let (dir, mut opened) = founded(5);
        opened.write(apply(2));
        opened.write(promise(2, 1));
        opened.disk.log.submit(Token(9), gometa_zab::Write::HardState(hard_state(3, 3)), released);
        let line = opened.failure();
        assert!(line.contains(expected), "{line}");
        drop(opened);
        assert_eq!(Opened::open(dir.path()).unwrap().disk.recovered.hard_state, hard_state(2, 1));
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::open(dir.path()).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, DiskError::InUse { .. }), "{error}");
    // While any part of it is in use.
    let table = opened.disk.table.clone();
    drop(opened);
    assert!(matches!(refusal(dir.path()), DiskError::InUse { .. }));
    drop(table);
    let in_use = |part: &str| {
        let error = refusal(dir.path());
        assert!(matches!(error, DiskError::InUse { .. }), "while the {part} is in use: {error}");
    };
    let Disk { log, .. } = Opened::open(dir.path()).unwrap().disk;
    in_use("log");
    drop(log);
    let Disk { state, .. } = Opened::open(dir.path()).unwrap().disk;
    in_use("state");
    drop(state);
    let Disk { log_reader, .. } = Opened::open(dir.path()).unwrap().disk;
    in_use("reader of the log");
    drop(log_reader);
    assert_eq!(Opened::open(dir.path()).unwrap().disk.identity.boot, 5);
}

#[test]
fn a_foreign_directory_is_refused_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.jpg"), "sun").unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, DiskError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // Even if it contains one of our file names.
    fs::write(dir.path().join("FORMAT"), "A4, landscape\n").unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, DiskError::Foreign { .. }), "{error}");
}

#[test]
fn a_volume_with_nothing_but_lost_and_found_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    assert_eq!(Opened::open(dir.path()).unwrap().disk.identity.boot, 1);
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Opened::open(dir.path()).unwrap());
    fs::write(dir.path().join("FORMAT"), "gometa data directory\nformat 7\nwhatever comes\n").unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, DiskError::Newer { found: 7, known: 4, .. }), "{error}");
    assert!(error.to_string().contains("run the newer gometa-server"), "{error}");
    for older in [1, 2, 3] {
        fs::write(dir.path().join("FORMAT"), format!("gometa data directory\nformat {older}\n")).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(error, DiskError::Older { found, known: 4, .. } if found == older), "{error}");
        assert!(error.to_string().contains("use an empty or a new directory"), "{error}");
    }
}

#[test]
fn an_unwritable_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refusal(&file).to_string().contains("use a directory"));
    assert!(matches!(refusal(&file.join("below")), DiskError::File { .. }));
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere.
    if !rustix::process::geteuid().is_root() {
        assert!(refusal(&closed).to_string().contains("make the directory writable"));
        assert!(refusal(&closed.join("below")).to_string().contains("make the directory writable"));
    }
}

#[test]
fn an_interrupted_creation_is_repeated() {
    let whole = tempfile::tempdir().unwrap();
    let old = Opened::open(whole.path()).unwrap().disk.identity;
    // In the order of their creation.
    let steps = ["FORMAT", STATE, LOG, "GENERATION", "BOOT"];
    for count in 0..=steps.len() {
        for halfway in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("CREATING"), "").unwrap();
            for step in &steps[..count] {
                let (from, to) = (whole.path().join(step), dir.path().join(step));
                if from.is_dir() {
                    copy(&from, &to);
                } else {
                    fs::copy(from, to).unwrap();
                }
            }
            if halfway {
                match steps.get(count) {
                    Some(&STATE) => fs::create_dir_all(dir.path().join(STATE)).unwrap(),
                    Some(&LOG) => {
                        fs::create_dir_all(dir.path().join(LOG)).unwrap();
                        fs::write(dir.path().join(LOG).join("next"), "").unwrap();
                    }
                    Some(name) => fs::write(dir.path().join(format!("{name}.new")), "g").unwrap(),
                    None => fs::write(dir.path().join("IDENTITY.new"), "node 000").unwrap(),
                }
            }
            let opened = Opened::open(dir.path()).unwrap();
            assert_eq!(opened.disk.identity.boot, 1);
            assert_ne!(opened.disk.identity.incarnation, old.incarnation);
            assert!(!dir.path().join("CREATING").exists());
        }
    }
}

#[test]
fn a_creation_interrupted_at_its_very_end_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let old = Opened::open(dir.path()).unwrap().disk.identity;
    fs::write(dir.path().join("CREATING"), "").unwrap();
    let new = Opened::open(dir.path()).unwrap().disk.identity;
    assert_eq!((new.incarnation, new.boot), (old.incarnation, 2));
    assert!(!dir.path().join("CREATING").exists());
    // An interrupted replacement of a file leaves the old one.
    fs::write(dir.path().join("BOOT.new"), "boot 9").unwrap();
    assert_eq!(Opened::open(dir.path()).unwrap().disk.identity.boot, 3);
}

#[test]
fn a_node_that_is_restarted_again_and_again_keeps_a_bounded_number_of_segments() {
    let (dir, opened) = founded(0);
    drop(opened);
    let mut most = 0;
    for counter in 1..=400 {
        let mut opened = Opened::open(dir.path()).unwrap();
        opened.append(1, [counter]);
        opened.write(apply(counter));
        drop(opened);
        let names = fs::read_dir(dir.path().join("log-1")).unwrap();
        let names = names.map(|item| item.unwrap().file_name().to_string_lossy().into_owned());
        most = most.max(names.filter(|name| name.len() == 16).count());
    }
    assert!(most < 350, "{most} segments");
    let mut opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.last(), Zxid::new(1, 400));
    assert_eq!(opened.disk.table.checkpoint(), checkpoint(400));
    assert_eq!(opened.read(400, 400, 1).len(), 1);
}
