//! A damaged log or state is put into quarantine, a damaged small file is refused with one line. Nothing is repaired by
//! guessing.

use std::{fs, path::Path, sync::mpsc, thread, time::Duration};

use gometa_log::{Log, Options, OsDirectory, Start};
use gometa_server::disk::{DiskError, Identity};
use gometa_sim::contract::Write;
use gometa_store::{Space, Table};
use gometa_zab::{Levels, LogEntry, Zxid};

use super::support::*;

/// A closed directory with two epochs, and a state through `applied`. Its log has three segments:
///
/// | segment | end of the log in its header | batches |
/// |---|---|---|
/// | 1 | (0, 0) | none |
/// | 2 | (0, 0) | 1 founding, 2 hard state, 3 entries through (1, 200), 4 hard state |
/// | 3 | (1, 200) | 5, 6, 7: entries through (3, 300), (3, 310), (3, 320) |
fn filled(applied: u64) -> tempfile::TempDir {
    let (dir, mut opened) = founded(200);
    opened.write(promise(3, 3));
    opened.append(3, 201..=300);
    opened.write(apply(applied));
    drop(opened);
    let mut opened = Opened::open(dir.path()).unwrap();
    opened.append(3, 301..=310);
    opened.append(3, 311..=320);
    drop(opened);
    dir
}

/// A state that ends below the header of segment 3: all segments are needed.
const EARLY: u64 = 150;

/// Damages a copy of a valid directory and expects this text in the error.
fn refused(good: &tempfile::TempDir, expected: &str, spoil: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    copy(good.path(), &path);
    spoil(&path);
    let entries = segments_content(&path);
    for _ in 0..2 {
        let error = refusal(&path);
        assert!(matches!(error, DiskError::Damaged { .. } | DiskError::Lost { .. }), "{expected}: {error:?}");
        let line = error.to_string();
        assert!(line.contains(expected), "expected {expected:?}: {line}");
        assert!(line.contains("away: with an empty directory"), "{line}");
    }
    assert!(entries == segments_content(&path), "the log was changed");
}

/// Damages log or state in a copy of a valid directory, and expects that it is kept aside because of such damage.
fn quarantined(good: &tempfile::TempDir, expected: &str, spoil: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    copy(good.path(), &path);
    let before = fs::read(path.join("IDENTITY")).unwrap();
    let boot =
        number(fs::read_to_string(path.join("BOOT")).unwrap().lines().next().unwrap(), "boot").unwrap();
    spoil(&path);
    let stores: Vec<String> = ["log-", "state-"].iter().flat_map(|prefix| named(&path, prefix)).collect();
    let entries = segments_content(&path);
    let opened = quarantine(&path);
    let identity = opened.disk.identity;
    let quarantine = opened.disk.quarantined.clone().unwrap();
    assert!(quarantine.damage.contains(expected), "expected {expected:?}: {}", quarantine.damage);
    let kept: Vec<String> = stores.iter().map(|name| format!("damaged-{name}")).collect();
    assert_eq!(quarantine.kept, kept);
    assert_eq!(named(&path, "damaged-"), kept);
    if entries.is_empty() {
        assert!(identity.never_founds || !path.join("damaged-log-1").exists());
    } else {
        assert!(entries == content_of(&path.join("damaged-log-1")), "the log was changed");
    }
    assert_eq!((identity.node, identity.boot), (NODE, boot + 1));
    assert_ne!(before, fs::read(path.join("IDENTITY")).unwrap());
    assert!(!path.join("DAMAGED").exists());
    drop(opened);
    let opened = Opened::open(&path).unwrap();
    assert_eq!(opened.disk.quarantined, None);
    assert_eq!(opened.disk.identity, Identity { boot: boot + 2, ..identity });
}

/// The names and sizes of the log's files.
fn segments_content(dir: &Path) -> Vec<(String, u64)> {
    content_of(&dir.join(LOG))
}

fn content_of(dir: &Path) -> Vec<(String, u64)> {
    let Ok(items) = fs::read_dir(dir) else { return Vec::new() };
    let items = items.map(|item| item.unwrap());
    let mut files: Vec<_> =
        items.map(|item| (item.file_name().into_string().unwrap(), item.metadata().unwrap().len())).collect();
    files.sort();
    files
}

/// Damages a copy of a valid directory in a way that does not matter.
fn accepted(good: &tempfile::TempDir, spoil: impl FnOnce(&Path)) -> (tempfile::TempDir, Opened) {
    let dir = crashed(good.path());
    spoil(dir.path());
    let opened = Opened::open(dir.path()).unwrap();
    (dir, opened)
}

/// Replaces a record of the state.
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
        bytes[at] ^= 1;
        bytes
    }
}

fn replace(from: &Path, to: &Path) {
    if to.is_dir() {
        fs::remove_dir_all(to).unwrap();
        copy(from, to);
    } else {
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn a_good_copy_opens() {
    let good = filled(EARLY);
    assert_eq!(segments(good.path()).len(), 3);
    let numbers = [(1, 0), (2, 4), (3, 3)];
    for (number, batches) in numbers {
        assert_eq!(layout(&segment(good.path(), number)).1.len(), batches, "segment {number}");
    }
    let (dir, opened) = accepted(&good, |_| {});
    assert_eq!(opened.last(), Zxid::new(3, 320));
    assert_eq!(opened.disk.recovered.applied, EARLY);
    drop(opened);
    drop(Opened::open(dir.path()).unwrap());
}

#[test]
fn small_files_must_exist_and_be_intact() {
    let good = filled(EARLY);
    for name in ["IDENTITY", "BOOT", "GENERATION", "FORMAT"] {
        refused(&good, &format!("{name} is missing"), |dir| fs::remove_file(dir.join(name)).unwrap());
    }
    for name in ["IDENTITY", "BOOT", "GENERATION"] {
        refused(&good, &format!("checksum of {name} is wrong"), |dir| flip(&dir.join(name), |_| 6));
        refused(&good, &format!("checksum of {name} is wrong"), |dir| flip(&dir.join(name), |len| len - 2));
        refused(&good, &format!("checksum of {name} is wrong"), |dir| fs::write(dir.join(name), "").unwrap());
    }
    for name in [LOG, STATE] {
        quarantined(&good, &format!("GENERATION names {name}, which is missing"), |dir| {
            fs::remove_dir_all(dir.join(name)).unwrap();
        });
        quarantined(&good, &format!("GENERATION names {name}, which is missing"), |dir| {
            fs::rename(dir.join(name), dir.join(name.replace('1', "2"))).unwrap();
        });
    }
}

#[test]
fn the_mark_must_be_intact() {
    let good = filled(EARLY);
    quarantined(&good, "SYNCED, offset 0: there is no valid mark", |dir| {
        fs::remove_file(dir.join(MARK)).unwrap()
    });
    quarantined(&good, "there is no valid mark", |dir| fs::write(dir.join(MARK), "").unwrap());
    quarantined(&good, "there is no valid mark", |dir| {
        flip(&dir.join(MARK), |_| 10);
        flip(&dir.join(MARK), |_| 4_096 + 20);
    });
    // One of the two may be torn.
    for at in [10, 4_096 + 20] {
        let (_dir, opened) = accepted(&good, |dir| flip(&dir.join(MARK), |_| at));
        assert_eq!(opened.last(), Zxid::new(3, 320));
    }
}

#[test]
fn the_state_must_exist_and_be_intact() {
    let good = filled(EARLY);
    quarantined(&good, "CURRENT", |dir| fs::remove_file(dir.join(STATE).join("CURRENT")).unwrap());
    quarantined(&good, ".sst", |dir| {
        state_files(dir, "sst").iter().for_each(|path| fs::remove_file(path).unwrap());
    });
    quarantined(&good, "", |dir| {
        for item in fs::read_dir(dir.join(STATE)).unwrap() {
            let path = item.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST") {
                flip(&path, |len| len / 2);
            }
        }
    });
    quarantined(&good, "checkpoint is missing or damaged", |dir| erase(dir, "meta", b"checkpoint"));
    quarantined(&good, "checkpoint is missing or damaged", |dir| {
        rewrite(dir, "meta", b"checkpoint", flipped(5))
    });
}

/// Blocks of the state are verified when they are read: some at the start, the others later.
#[test]
fn a_flipped_bit_in_a_table_file_is_found_before_it_is_used() {
    let good = filled(EARLY);
    let tables = state_files(good.path(), "sst").len();
    assert!(tables >= 3, "{tables} table files");
    let mut found_later = 0;
    for table in 0..tables {
        for part in [0, 1, 2, 3] {
            let dir = crashed(good.path());
            flip(&state_files(dir.path(), "sst")[table], |len| if part == 0 { 10 } else { len * part / 4 });
            let opened = Opened::open(dir.path()).unwrap();
            if opened.disk.quarantined.is_some() {
                continue;
            }
            // A thread that finds damage waits for the end of the process.
            let reader = opened.disk.table.clone();
            let (sender, receiver) = mpsc::sync_channel(1);
            thread::spawn(move || {
                let mut records = Vec::new();
                for space in [Space::Data, Space::Session] {
                    reader.scan(space, &mut |key, value| records.push((key.to_vec(), value.to_vec())));
                }
                drop(reader);
                let _ = sender.send(records);
            });
            let said = loop {
                if let Ok(records) = receiver.recv_timeout(Duration::from_millis(5)) {
                    // A block that no read needs, such as a filter.
                    let expected = EARLY.to_string().into_bytes();
                    let key = format!("only {EARLY}").into_bytes();
                    let keys = [&b"first"[..], &key, b"second", b"session"];
                    let expected: Vec<_> = keys.iter().map(|key| (key.to_vec(), expected.clone())).collect();
                    assert_eq!(records, expected, "table {table}, part {part}");
                    break None;
                }
                if let Some(line) = opened.failed().pop() {
                    break Some(line);
                }
            };
            if let Some(line) = said {
                found_later += 1;
                assert!(
                    line.starts_with("data directory ") && line.contains(" is damaged: Corruption: "),
                    "{line}"
                );
                assert!(line.contains("start the node again") && !line.contains('\n'), "{line}");
                // The next start knows of it, and does not depend on finding it again.
                let next = quarantine(crashed(dir.path()).path());
                let damage = &next.disk.quarantined.as_ref().unwrap().damage;
                assert!(line.contains(damage.as_str()), "{damage}: {line}");
                assert_eq!(next.disk.recovered.founding, Some(founding_record(true)));
            }
        }
    }
    assert!(found_later > 0);
}

#[test]
fn a_flipped_bit_in_a_batch_is_found() {
    let good = filled(EARLY);
    let batches_of = |number| layout(&segment(good.path(), number)).1;
    let spots = |batch: &std::ops::Range<usize>| {
        // All fields of its head, and its records.
        let middle = (batch.start + 32 + batch.end) / 2;
        [0, 4, 8, 12, 16, 24, 31].map(|at| batch.start + at).into_iter().chain([middle, batch.end - 1])
    };
    for (batch, number) in batches_of(2).iter().zip(1..) {
        let expected = format!("{:016x}, offset {}: batch {number} is missing or damaged", 2, batch.start);
        for at in spots(batch) {
            quarantined(&good, &expected, |dir| flip(&segment(dir, 2), |_| at));
        }
    }
    let newest = batches_of(3);
    let expected = [
        "batch 5".to_owned(),
        format!("batch 6 is damaged: a later one is at offset {}", newest[2].start),
        "batch 7 is lost: it was synced".to_owned(),
    ];
    for (batch, expected) in newest.iter().zip(expected) {
        for at in spots(batch) {
            quarantined(&good, &expected, |dir| flip(&segment(dir, 3), |_| at));
        }
    }
    // The bytes between two batches are not used.
    let between = newest[0].end;
    assert!(between < newest[1].start);
    let (_dir, mut opened) = accepted(&good, |dir| flip(&segment(dir, 3), |_| between));
    assert_eq!(opened.read(300, 320, usize::MAX).len(), 21);
}

#[test]
fn a_flipped_bit_in_a_header_is_found() {
    let good = filled(EARLY);
    for number in [2, 3] {
        let header = layout(&segment(good.path(), number)).0;
        for at in [0, 8, 12, 16, 20, 24, 40, 48, 56, 64, 68, 72, 80, 88, 100, header.end - 1] {
            quarantined(&good, &format!("{number:016x}, offset 0: the header "), |dir| {
                flip(&segment(dir, number), |_| at);
            });
        }
    }
}

#[test]
fn a_segment_that_was_cut_is_found() {
    let good = filled(EARLY);
    for number in [2, 3] {
        let (header, batches) = layout(&segment(good.path(), number));
        for size in [0, 10, header.end - 1] {
            quarantined(&good, "the header ", |dir| cut(&segment(dir, number), size));
        }
        for (at, batch) in batches.iter().enumerate() {
            let first = if number == 2 { 1 } else { 5 };
            let expected = match number {
                2 => format!("batch {} is missing or damaged", first + at),
                _ if at == 0 => "batch 5".to_owned(),
                _ => format!("batch {} is lost: it was synced", first + at),
            };
            for size in [batch.start, batch.start + 16, batch.start + 40, batch.end - 1] {
                quarantined(&good, &expected, |dir| cut(&segment(dir, number), size));
            }
        }
    }
    // What is behind the last batch was only reserved.
    let end = layout(&segment(good.path(), 3)).1[2].end;
    let (_dir, opened) = accepted(&good, |dir| cut(&segment(dir, 3), end));
    assert_eq!(opened.last(), Zxid::new(3, 320));
}

#[test]
fn a_segment_that_is_missing_is_found() {
    let good = filled(EARLY);
    let remove = |dir: &Path, number| fs::remove_file(segment(dir, number)).unwrap();
    quarantined(&good, "0000000000000003, offset 0: the segment before it is missing", |dir| remove(dir, 2));
    quarantined(&good, "batch 5 is lost: it was synced", |dir| remove(dir, 3));
    quarantined(&good, "there is no segment", |dir| (1..=3).for_each(|number| remove(dir, number)));
    // Nothing was in it.
    let (_dir, mut opened) = accepted(&good, |dir| remove(dir, 1));
    assert_eq!(opened.read(1, 320, usize::MAX).len(), 320);
    // A segment without a batch, after a truncation.
    let (truncated, mut opened) = founded(5);
    opened.write(truncate(1, 3));
    drop(opened);
    quarantined(&truncated, "segment 3 is lost: it was synced", |dir| remove(dir, 3));
}

#[test]
fn a_segment_in_the_place_of_another_is_found() {
    let good = filled(EARLY);
    let copied = |from: u64, to: u64| move |dir: &Path| replace(&segment(dir, from), &segment(dir, to));
    quarantined(&good, "0000000000000003, offset 0: it is segment 2", copied(2, 3));
    quarantined(&good, "0000000000000004, offset 0: it is segment 2", copied(2, 4));
    quarantined(&good, "0000000000000004, offset 0: it is segment 3", copied(3, 4));
    quarantined(&good, "0000000000000002, offset 0: it is segment 3", copied(3, 2));
    quarantined(&good, "0000000000000009, offset 0: it is segment 3", |dir| {
        fs::rename(segment(dir, 3), segment(dir, 9)).unwrap();
    });
    quarantined(&good, "0000000000000100, offset 0: the header is missing", |dir| {
        fs::write(segment(dir, 256), "not a segment").unwrap();
    });
    // Of another directory with the very same writes.
    let other = filled(EARLY);
    for number in [2, 3] {
        quarantined(
            &good,
            "0000000000000003, offset 0: the header does not continue the segment before",
            |dir| {
                replace(&segment(other.path(), number), &segment(dir, number));
            },
        );
    }
}

#[test]
fn a_batch_of_another_log_is_found() {
    let (good, other) = (filled(EARLY), filled(EARLY));
    let batches = layout(&segment(good.path(), 3)).1;
    quarantined(&good, "batch 6 is damaged: a later one is at offset", |dir| {
        let from = fs::read(segment(other.path(), 3)).unwrap();
        let mut bytes = fs::read(segment(dir, 3)).unwrap();
        bytes[batches[1].clone()].copy_from_slice(&from[batches[1].clone()]);
        fs::write(segment(dir, 3), bytes).unwrap();
    });
    // A batch of the same segment in the place of another.
    quarantined(&good, "batch 6 is damaged: a later one is at offset", |dir| {
        let mut bytes = fs::read(segment(dir, 3)).unwrap();
        bytes.copy_within(batches[2].clone(), batches[1].start);
        fs::write(segment(dir, 3), bytes).unwrap();
    });
}

#[test]
fn an_older_copy_of_the_segments_is_damage() {
    let good = filled(EARLY);
    let old = crashed(good.path());
    let mut opened = Opened::open(good.path()).unwrap();
    opened.write(promise(4, 3));
    drop(opened);
    // The log is as long as before; a promise is lost.
    quarantined(&good, "is lost: it was synced", |dir| {
        for path in segments(dir) {
            fs::remove_file(path).unwrap();
        }
        for path in segments(old.path()) {
            fs::copy(&path, dir.join(LOG).join(path.file_name().unwrap())).unwrap();
        }
    });
}

#[test]
fn a_log_that_ends_below_the_state_is_damage() {
    let good = filled(EARLY);
    let (short, opened) = founded(100);
    drop(opened);
    // A whole log, with its own mark.
    quarantined(&good, "the log ends at (1, 100), and 150 is applied", |dir| {
        replace(&short.path().join(LOG), &dir.join(LOG));
    });
    let empty = tempfile::tempdir().unwrap();
    drop(Opened::open(empty.path()).unwrap());
    quarantined(&good, "the log ends at (0, 0), and 150 is applied", |dir| {
        replace(&empty.path().join(LOG), &dir.join(LOG));
    });
}

#[test]
fn a_log_that_begins_above_the_state_is_damage() {
    let good = filled(EARLY);
    // As if a snapshot through (1, 200) had been installed, and its state were not there.
    let logged = |dir: &Path, base: Zxid| {
        fs::remove_dir_all(dir.join(LOG)).unwrap();
        let options = Options { segment_bytes: 4 << 20, salt: 7 };
        let start = Start {
            base,
            hard_state: hard_state(3, 3),
            founding: Some(founding_record(true)),
            configuration: Default::default(),
            released: base.counter,
        };
        let mut log = Log::create(OsDirectory::create(&dir.join(LOG)).unwrap(), options, start).unwrap();
        log.append(base.counter, &[entry(3, base.counter + 1)]).unwrap();
        log.commit().unwrap();
    };
    quarantined(&good, "the log begins above (1, 200), and only 150 is applied", |dir| {
        logged(dir, Zxid::new(1, 200));
    });
    let (_dir, mut opened) = accepted(&good, |dir| logged(dir, Zxid::new(1, EARLY)));
    let recovered = &opened.disk.recovered;
    assert_eq!((recovered.oldest, recovered.applied), (Zxid::new(1, EARLY), EARLY));
    assert_eq!(recovered.boundaries, [Zxid::new(3, EARLY + 1)]);
    assert_eq!(opened.read(EARLY, EARLY + 1, usize::MAX), []);
    assert_eq!(opened.read(EARLY + 1, EARLY + 1, usize::MAX), [entry(3, EARLY + 1)]);
}

#[test]
fn an_older_state_is_carried_forward_by_the_log() {
    let (dir, mut opened) = founded(100);
    opened.write(apply(40));
    drop(opened);
    let old = crashed(dir.path());
    let mut opened = Opened::open(dir.path()).unwrap();
    opened.write(apply(90));
    opened.write(promise(2, 2));
    drop(opened);
    replace(&old.path().join(STATE), &dir.path().join(STATE));
    let opened = Opened::open(dir.path()).unwrap();
    let recovered = &opened.disk.recovered;
    assert_eq!((recovered.applied, recovered.released), (40, 90));
    assert_eq!(opened.disk.table.checkpoint(), checkpoint(40));
}

#[test]
fn an_older_state_below_the_base_of_the_log_is_damage() {
    let (dir, mut opened) = founded(100);
    opened.write(apply(40));
    drop(opened);
    let old = crashed(dir.path());
    let mut opened = Opened::open(dir.path()).unwrap();
    opened.append(1, 101..=110);
    opened.append(1, 111..=112);
    opened.write(apply(112));
    drop(opened);
    // Begins a segment above (1, 110): the last batch is repeated in it.
    drop(Opened::open(dir.path()).unwrap());
    let files = OsDirectory::open(&dir.path().join(LOG)).unwrap();
    let (mut log, _) = Log::open(files, Options { segment_bytes: 4 << 20, salt: 7 }, 112).unwrap();
    log.compact(Zxid::new(1, 112)).unwrap();
    log.maintenance().run().unwrap();
    drop(log);
    let opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.disk.recovered.oldest, Zxid::new(1, 110));
    assert_eq!(opened.last(), Zxid::new(1, 112));
    drop(opened);
    quarantined(&dir, "and only 40 is applied", |dir| replace(&old.path().join(STATE), &dir.join(STATE)));
}

/// What the state has makes the segments below unnecessary.
#[test]
fn damage_below_the_state_is_removed() {
    let good = filled(250);
    let first = layout(&segment(good.path(), 2)).1[0].clone();
    let spoils: [&dyn Fn(&Path); 5] = [
        &|dir| flip(&segment(dir, 2), |_| first.start),
        &|dir| flip(&segment(dir, 2), |_| 30),
        &|dir| cut(&segment(dir, 2), 0),
        &|dir| fs::remove_file(segment(dir, 2)).unwrap(),
        &|dir| replace(&segment(dir, 1), &segment(dir, 2)),
    ];
    for spoil in spoils {
        let (dir, mut opened) = accepted(&good, spoil);
        for _ in 0..2 {
            let recovered = &opened.disk.recovered;
            assert_eq!(recovered.hard_state, hard_state(3, 3));
            assert_eq!(recovered.founding, Some(founding_record(true)));
            assert_eq!((recovered.oldest, recovered.applied), (Zxid::new(1, 200), 250));
            assert_eq!(recovered.boundaries, [Zxid::new(3, 320)]);
            assert_eq!(opened.read(200, 320, usize::MAX), []);
            assert_eq!(opened.read(201, 320, usize::MAX).len(), 120);
            assert!(!segment(dir.path(), 2).exists());
            drop(opened);
            opened = Opened::open(dir.path()).unwrap();
        }
        opened.append(3, 321..=330);
        drop(opened);
        assert_eq!(Opened::open(dir.path()).unwrap().last(), Zxid::new(3, 330));
    }
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
        let damage = quarantine(dir.path()).disk.quarantined.clone().unwrap().damage;
        assert!(damage.contains(expected), "{damage}");
    };
    state(5, 6, "current epoch is above the accepted one");
    state(4, 4, "accepted epoch 4 is below the log's end (5, 3)");
}

#[test]
fn a_log_with_entries_needs_a_sealed_ensemble() {
    for founding in [None, Some(founding(false))] {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = Opened::open(dir.path()).unwrap();
        founding.into_iter().for_each(|founding| opened.write(founding));
        opened.write(promise(1, 1));
        opened.append(1, 1..=3);
        drop(opened);
        let damage = quarantine(dir.path()).disk.quarantined.clone().unwrap().damage;
        assert!(damage.contains("the log ends at (1, 3), and no ensemble is sealed"), "{damage}");
    }
}

#[test]
fn an_entry_of_a_higher_level_needs_the_newer_program() {
    let (dir, mut opened) = founded(0);
    let demanding = LogEntry { level: Levels::SUPPORTED.max + 1, ..entry(1, 1) };
    opened.write(Write::Log(gometa_zab::Write::Append(vec![demanding])));
    drop(opened);
    newer(dir.path(), "log entry 1 is ");
}

#[test]
fn a_segment_of_a_newer_format_needs_the_newer_program() {
    let good = filled(EARLY);
    for number in [1, 2, 3] {
        let dir = crashed(good.path());
        let path = segment(dir.path(), number);
        let header = layout(&path).0;
        let mut bytes = fs::read(&path).unwrap();
        bytes[15] += 1;
        let checksum = crc32c::crc32c(&bytes[12..header.end]);
        bytes[8..12].copy_from_slice(&checksum.to_be_bytes());
        fs::write(&path, bytes).unwrap();
        newer(dir.path(), "format 2, and this program knows format 1");
    }
}

fn newer(dir: &Path, expected: &str) {
    let error = refusal(dir);
    assert!(matches!(error, DiskError::NewerLog { .. }), "{error}");
    let line = error.to_string();
    assert!(line.contains(expected) && line.contains("run the newer gometa-server"), "{line}");
}

#[test]
fn a_refused_open_does_not_count_as_a_boot() {
    let dir = filled(EARLY);
    let boot = fs::read(dir.path().join("BOOT")).unwrap();
    flip(&dir.path().join("IDENTITY"), |_| 6);
    refusal(dir.path());
    assert_eq!(fs::read(dir.path().join("BOOT")).unwrap(), boot);
}
