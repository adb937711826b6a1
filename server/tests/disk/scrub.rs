//! Passes over log and state that look for damage.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use gometa_server::disk::{Finding, Scrubber};
use gometa_sim::contract::Write;
use gometa_store::{Batch, Checkpoint, Space, recompute_checkpoint};

use super::support::*;

/// The first pass begins after a 24th of it.
const INTERVAL: Duration = Duration::from_millis(240);
const PATIENCE: Duration = Duration::from_secs(60);

fn scrub(opened: &Opened) -> (Scrubber, Receiver<Finding>) {
    let (sender, findings) = sync_channel(100);
    let scrubber = opened.disk.snapshots.scrub(INTERVAL, move |finding| {
        // If it is full, the test has seen enough.
        let _ = sender.try_send(finding);
    });
    (scrubber.unwrap(), findings)
}

fn first_finding(opened: &Opened) -> Finding {
    let (_scrubber, findings) = scrub(opened);
    findings.recv_timeout(PATIENCE).unwrap()
}

/// Writes the hash and the number of the records that there are.
fn make_sound(opened: &mut Opened, applied: u64) {
    let checkpoint = Checkpoint { applied, ..recompute_checkpoint(&opened.disk.table) };
    opened.write(Write::Table(Batch { checkpoint, ..Batch::default() }));
}

#[test]
fn nothing_is_found_while_log_and_state_are_sound() {
    let (_dir, mut opened) = founded(300);
    opened.write(apply(4));
    make_sound(&mut opened, 5);
    let (_scrubber, findings) = scrub(&opened);
    for counter in 301..=310 {
        assert_eq!(findings.recv_timeout(PATIENCE).unwrap(), Finding::Sound);
        opened.append(1, [counter]);
    }
    assert_eq!(opened.failed(), [""; 0]);
}

#[test]
fn a_sum_of_the_records_that_is_not_the_state_hash_is_found() {
    let (_dir, mut opened) = founded(10);
    opened.write(apply(4));
    make_sound(&mut opened, 5);
    let sound = recompute_checkpoint(&opened.disk.table);
    let mut batch = batch(4);
    batch.writes.truncate(1);
    batch.writes[0].2 = Some("altered".into());
    opened.write(Write::Table(Batch { checkpoint: sound, ..batch }));
    assert_eq!(first_finding(&opened), Finding::Damaged);
    assert_eq!(opened.failed(), [""; 0], "the node goes on");
}

#[test]
fn a_damaged_block_of_the_state_is_found() {
    let (dir, mut opened) = founded(10);
    let mut large = batch(4);
    large.writes.push((Space::Data, "large".into(), Some(vec![7; 100_000].into())));
    opened.write(Write::Table(large));
    make_sound(&mut opened, 5);
    opened.close();
    // The file with the keys; the checkpoint, which the start reads, is in another one.
    let files = state_files(dir.path(), "sst").into_iter();
    let largest = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    flip(&largest, |size| size / 2);
    let opened = Opened::open(dir.path()).unwrap();
    assert_eq!(opened.disk.quarantined, None);
    assert_eq!(first_finding(&opened), Finding::Damaged);
}

#[test]
fn a_damaged_entry_of_the_log_is_found_and_deleted_if_the_state_is_durable_beyond_it() {
    let (dir, mut opened) = founded(300);
    opened.write(apply(4));
    make_sound(&mut opened, 300);
    let segment = segments(dir.path()).pop().unwrap();
    let last = layout(&segment).1.pop().unwrap();
    flip(&segment, |_| (last.start + 32 + last.end) / 2);
    assert_eq!(first_finding(&opened), Finding::Damaged, "the state is not durable that far");
    opened.disk.state.reclaim();
    opened.wait("the flush", |callbacks| callbacks.flushed.contains(&300));
    assert_eq!(first_finding(&opened), Finding::DeleteLog(300));
    assert_eq!(opened.failed(), [""; 0]);
}
