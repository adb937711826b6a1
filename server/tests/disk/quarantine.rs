//! Quarantine: what a damaged directory becomes, whatever interrupts that.

use std::{fs, path::Path, thread};

use gometa_server::disk::DiskError;
use gometa_sim::contract::Write;
use gometa_zab::{Founding, Genesis};

use super::support::*;

/// A closed directory with a flipped bit in a batch that is needed.
fn damaged() -> tempfile::TempDir {
    let (dir, mut opened) = founded(20);
    opened.append(1, 21..=50);
    opened.write(apply(10));
    drop(opened);
    // Begins a segment above (1, 20), whose header has the founding record.
    drop(Opened::open(dir.path()).unwrap());
    spoil(dir.path(), LOG);
    dir
}

/// Flips a bit in the first batch of the second segment of a log.
fn spoil(dir: &Path, log: &str) {
    let segment = dir.join(log).join(format!("{:016x}", 2));
    let batch = layout(&segment).1[0].clone();
    flip(&segment, |_| batch.start);
}

/// Writes a small file with its checksum.
fn write_sealed(dir: &Path, name: &str, body: &str) {
    let checksum = crc32c::crc32c(body.as_bytes());
    fs::write(dir.join(name), format!("{body}checksum {checksum:08x}\n")).unwrap();
}

fn moved(dir: &Path, from: &str, to: &str) {
    fs::rename(dir.join(from), dir.join(to)).unwrap();
}

#[test]
fn a_crash_at_every_step_ends_in_quarantine() {
    let before = damaged();
    let after = crashed(before.path());
    let complete = quarantine(after.path()).disk.identity;
    let (before, after) = (before.path(), after.path());
    let add = |dir: &Path, names: &[&str]| {
        for name in names {
            let (from, to) = (after.join(name), dir.join(name));
            if from.is_dir() { copy(&from, &to) } else { fs::copy(from, to).map(|_| ()).unwrap() }
        }
    };
    let steps: [&[&str]; 5] = [&[], &["IDENTITY"], &["state-2"], &["log-2"], &["GENERATION"]];
    for done in 0..8 {
        let dir = crashed(before);
        let path = dir.path();
        write_sealed(path, "DAMAGED", "log 1\nstate 1\nfound a flipped bit\n");
        for step in steps.iter().take(done + 1) {
            add(path, step);
        }
        if done == 2 {
            // Not even that is complete.
            fs::remove_file(path.join(STATE.replace('1', "2")).join("CURRENT")).unwrap();
        }
        if done > 4 {
            moved(path, LOG, "damaged-log-1");
        }
        if done > 5 {
            moved(path, STATE, "damaged-state-1");
        }
        if done > 6 {
            fs::remove_file(path.join("DAMAGED")).unwrap();
        }
        let opened = Opened::open(path).unwrap();
        let identity = opened.disk.identity;
        assert_eq!(opened.disk.recovered.founding, Some(founding_record(true)), "step {done}");
        assert_eq!(opened.last().counter, 0, "step {done}");
        if done < 4 {
            assert_eq!(opened.disk.quarantined.as_ref().unwrap().damage, "a flipped bit");
            assert_ne!(identity.incarnation, complete.incarnation);
        } else {
            assert_eq!(opened.disk.quarantined, None, "step {done}");
            assert_eq!(identity.incarnation, complete.incarnation);
        }
        assert_eq!(named(path, "damaged-"), ["damaged-log-1", "damaged-state-1"], "step {done}");
        assert!(!path.join("DAMAGED").exists());
        assert_eq!([named(path, "log-"), named(path, "state-")], [["log-2"], ["state-2"]], "step {done}");
        drop(opened);
        let again = Opened::open(path).unwrap().disk.identity;
        assert_eq!((again.incarnation, again.boot), (identity.incarnation, identity.boot + 1));
    }
}

#[test]
fn a_node_can_be_damaged_again() {
    let dir = damaged();
    let path = dir.path();
    let mut opened = quarantine(path);
    let first = opened.disk.identity.incarnation;
    opened.write(promise(1, 1));
    opened.append(1, 1..=9);
    drop(opened);
    // It had no vote since the first time: the first copy is the one that may be needed.
    fs::remove_file(path.join("state-2/CURRENT")).unwrap();
    let opened = quarantine(path);
    assert_ne!(opened.disk.identity.incarnation, first);
    assert_eq!(opened.disk.recovered.founding, Some(founding_record(true)));
    assert_eq!(named(path, "damaged-"), ["damaged-log-1", "damaged-state-1"]);
    assert_eq!([named(path, "log-"), named(path, "state-")], [["log-3"], ["state-3"]]);
    // Complete again.
    opened.disk.snapshots.remove_kept();
    while !named(path, "damaged-").is_empty() {
        thread::yield_now();
    }
    drop(opened);
    fs::remove_dir_all(path.join("log-3")).unwrap();
    let opened = quarantine(path);
    assert!(opened.disk.identity.never_founds);
    assert_eq!(named(path, "damaged-"), ["damaged-state-3"]);
    drop(opened);
    assert!(Opened::open(path).unwrap().disk.identity.never_founds);
}

#[test]
fn a_node_that_has_lost_its_founding_record_never_founds() {
    let dir = damaged();
    for segment in segments(dir.path()) {
        cut(&segment, 10);
    }
    let mut opened = quarantine(dir.path());
    assert!(opened.disk.identity.never_founds);
    drop(opened);
    opened = Opened::open(dir.path()).unwrap();
    assert!(opened.disk.identity.never_founds && opened.disk.quarantined.is_none());
    // From a member.
    opened.write(founding(true));
    drop(opened);
    spoil_state(dir.path());
    assert!(!quarantine(dir.path()).disk.identity.never_founds);
}

fn spoil_state(dir: &Path) {
    fs::remove_file(dir.join("state-2/CURRENT")).unwrap();
}

#[test]
fn damage_without_another_copy_is_refused_and_nothing_changes() {
    // Nothing can be read of the ensemble, and the configuration lists no peers.
    let dir = damaged();
    for segment in segments(dir.path()) {
        cut(&segment, 10);
    }
    refused_alone(dir.path());
    // An ensemble of one.
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Opened::open(dir.path()).unwrap();
    let Founding { genesis: Genesis { ensemble, mut voters, level }, sealed } = founding_record(true);
    voters.truncate(1);
    let alone = Founding { genesis: Genesis { ensemble, voters, level }, sealed };
    opened.write(Write::Log(gometa_zab::Write::Founding(alone)));
    opened.write(promise(1, 1));
    opened.append(1, 1..=20);
    opened.append(1, 21..=50);
    drop(opened);
    drop(Opened::open(dir.path()).unwrap());
    spoil(dir.path(), LOG);
    refused_alone(dir.path());
    assert!(matches!(refusal(dir.path()), DiskError::Damaged { .. }), "with peers");
}

fn refused_alone(dir: &Path) {
    let identity = fs::read(dir.join("IDENTITY")).unwrap();
    for _ in 0..2 {
        let Err(error) = Opened::open_alone(dir) else { panic!("opened") };
        assert!(matches!(error, DiskError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
    assert_eq!(fs::read(dir.join("IDENTITY")).unwrap(), identity);
    assert_eq!([named(dir, "log-"), named(dir, "state-")], [["log-1"], ["state-1"]]);
    assert!(named(dir, "damaged-").is_empty() && !dir.join("DAMAGED").exists());
}

#[test]
fn an_error_of_the_file_system_is_no_damage() {
    // Not readable for anybody, root included.
    let dir = damaged();
    let path = dir.path().join("log-1/SYNCED");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let identity = fs::read(dir.path().join("IDENTITY")).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, DiskError::File { .. }), "{error}");
    assert_eq!(fs::read(dir.path().join("IDENTITY")).unwrap(), identity);
    assert!(!dir.path().join("DAMAGED").exists());
}
