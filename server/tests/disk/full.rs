//! A full disk ends the process with one line, and loses nothing.

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use gometa_server::disk::DiskError;
use rustix::fs::{FallocateFlags, fallocate};

use super::{
    crash::{assert_kept, run_to_failure},
    machine::{self, Machine, say, say_skipped},
    support::*,
};

/// Takes all free space but about this many bytes.
pub(crate) fn fill(path: &Path, rest: u64) {
    let file = OpenOptions::new().create_new(true).write(true).open(path).unwrap();
    let (mut size, mut step) = (0, 64 << 20);
    while step >= 4_096 {
        match fallocate(&file, FallocateFlags::empty(), size, step) {
            Ok(()) => size += step,
            Err(rustix::io::Errno::NOSPC) => step /= 2,
            Err(error) => panic!("{error}"),
        }
    }
    file.set_len(size.saturating_sub(rest)).unwrap();
}

/// Opens the directory while the disk is full: it opens, or says what to do. Returns what it says.
fn open_full(dir: &Path) -> String {
    let mut line = "(it opens)".to_owned();
    if let Err(error) = Opened::open(dir) {
        line = error.to_string();
        assert!(!matches!(error, DiskError::Damaged { .. } | DiskError::Lost { .. }), "{line}");
        assert!(line.ends_with(": free some space") && !line.contains('\n'), "{line}");
    }
    line
}

/// A process writes until the disk is full. Returns what it says, and what the next one says.
fn run_until_full(machine: &Machine, work: &str) -> [String; 2] {
    let (dir, filler) = (machine.mounted.join("data"), machine.mounted.join("filler"));
    drop(Opened::open(&dir).unwrap());
    // A segment has 16 MiB, the memtables have 32.
    fill(&filler, 24 << 20);
    let (acked, flushed, line) = run_to_failure(&dir, work, None, &[]);
    assert!(line.contains("No space left on device") && line.ends_with(": free some space"), "{line}");
    let refused = open_full(&dir);
    fs::remove_file(filler).unwrap();
    assert!(acked > 10, "{acked}");
    assert_kept(&dir, work, acked, flushed);
    let mut opened = Opened::open(&dir).unwrap();
    let applied = opened.disk.recovered.applied + 1;
    opened.append(1, [opened.last().counter + 1]);
    opened.write(apply(applied));
    drop(opened);
    assert_eq!(Opened::open(&dir).unwrap().disk.recovered.applied, applied);
    fs::remove_dir_all(dir).unwrap();
    [line, refused]
}

/// Not a test: the process with its own mount namespace.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some(machine) = Machine::of_child() else { return };
    let machine = match machine {
        Ok(machine) => machine,
        Err(reason) => return println!("\nunable {reason}"),
    };
    for work in ["entries", "tables"] {
        for line in run_until_full(&machine, work) {
            println!("\nsaid {line}");
        }
    }
}

#[test]
fn a_full_disk_ends_the_process_and_loses_nothing() {
    let lines = machine::in_own_mounts("full::child", &[]);
    let Ok(lines) = lines.map_err(say_skipped) else { return };
    let said = lines.iter().filter_map(|line| line.strip_prefix("said "));
    assert_eq!(said.inspect(|line| say(line)).count(), 4);
}
