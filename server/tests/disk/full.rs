//! A full disk ends the process with one line, and loses nothing.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
};

use gometa_server::disk::DiskError;
use gometa_sim::contract::Write;
use gometa_store::Space;
use gometa_zab::Token;
use rustix::fs::{FallocateFlags, fallocate};

use super::{
    machine::{self, Machine, say, say_skipped},
    support::*,
};

/// Takes all free space but about this many bytes.
fn fill(path: &Path, rest: u64) -> File {
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
    file
}

/// An entry of half a megabyte.
fn large(counter: u64) -> Write {
    let mut entry = entry(1, counter);
    entry.payload = vec![counter as u8; 512 << 10].into();
    Write::Log(gometa_zab::Write::Append(vec![entry]))
}

/// Writes until the disk fails; returns the message.
fn write_until_full(opened: &mut Opened, mut write: impl FnMut(&mut Opened, u64)) -> String {
    for counter in 1.. {
        if !opened.failed().is_empty() {
            break;
        }
        write(opened, counter);
    }
    let line = opened.failure();
    assert!(line.contains("cannot write to data directory") && !line.contains('\n'), "{line}");
    assert!(line.contains("No space left on device") && line.ends_with(": free some space"), "{line}");
    line
}

/// Opens the directory while the disk is full: it opens, or says what to do.
fn open_full(dir: &Path) {
    if let Err(error) = Opened::open(dir) {
        let line = error.to_string();
        println!("\nrefused {line}");
        assert!(!matches!(error, DiskError::Damaged { .. } | DiskError::Lost { .. }), "{line}");
        assert!(line.ends_with(": free some space") && !line.contains('\n'), "{line}");
    }
}

fn full_log(machine: &Machine) {
    let (dir, filler) = (machine.mounted.join("log"), machine.mounted.join("filler"));
    let mut opened = Opened::open(&dir).unwrap();
    opened.found();
    fill(&filler, 8 << 20);
    let line = write_until_full(&mut opened, |opened, counter| {
        opened.submit(large(counter));
        opened.wait("a report", |callbacks| {
            callbacks.persisted.last() == Some(&Token(counter + 2)) || !callbacks.failed.is_empty()
        });
    });
    println!("\nfailed {line}");
    let acked = opened.persisted() - 2;
    drop(opened);
    open_full(&dir);
    fs::remove_file(filler).unwrap();
    let mut opened = Opened::open(&dir).unwrap();
    assert!(opened.last().counter >= acked && acked > 10, "{acked}");
    opened.append(1, [opened.last().counter + 1]);
    drop(opened);
    fs::remove_dir_all(dir).unwrap();
}

fn full_state(machine: &Machine) {
    let (dir, filler) = (machine.mounted.join("state"), machine.mounted.join("filler"));
    let mut opened = Opened::open(&dir).unwrap();
    opened.found();
    opened.append(1, 1..=1_000);
    fill(&filler, 8 << 20);
    let line = write_until_full(&mut opened, |opened, counter| {
        let mut batch = batch(counter);
        let noise = (0..1 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ counter as u8);
        batch.writes.push((Space::Data, format!("large {counter}").into(), Some(noise.collect())));
        opened.submit(Write::Table(batch));
        opened.wait("a report", |callbacks| callbacks.stored == counter || !callbacks.failed.is_empty());
    });
    println!("\nfailed {line}");
    let flushed = opened.flushed();
    drop(opened);
    open_full(&dir);
    fs::remove_file(filler).unwrap();
    let mut opened = Opened::open(&dir).unwrap();
    let recovered = opened.disk.recovered.clone();
    assert!(recovered.applied >= flushed && opened.last().counter == 1_000, "{recovered:?}");
    opened.write(apply(recovered.applied + 1));
    drop(opened);
    assert_eq!(Opened::open(&dir).unwrap().disk.recovered.applied, recovered.applied + 1);
}

/// Not a test: the process with its own mount namespace.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some(machine) = Machine::of_child() else { return };
    full_log(&machine);
    full_state(&machine);
}

#[test]
fn a_full_disk_ends_the_process_and_loses_nothing() {
    let lines = machine::in_own_mounts("full::child", &[]);
    let Ok(lines) = lines.map_err(say_skipped) else { return };
    for line in lines.iter().filter(|line| line.starts_with("failed ") || line.starts_with("refused ")) {
        say(line);
    }
}
