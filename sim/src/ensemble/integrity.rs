//! Records that are altered unnoticed, how nodes find them, and quarantine.
//!
//! A record is altered in the table as the node reads it, in its value only. What clients read on such a node may be wrong
//! until that is found, and is not judged. Of a key that is written again, the state hash is wrong from then on: it
//! contains the record that was, and the one that was altered is subtracted from it. Of another key the sum of the records
//! is not the state hash, which scrubbing finds.
//!
//! The same record may be altered in the same way at several nodes, as by a fault in their program, but never at a majority.

use bytes::Bytes;
use gometa_node::Event;
use gometa_proto::{
    ErrorKind, Outcome,
    v1::{Error, KeyRecord, Response, response},
};
use gometa_store::{Batch, Space, Table, recompute_checkpoint};
use gometa_zab::{Event as Zab, Fault};
use prost::Message as _;

use super::{Ensemble, violation};
use crate::{
    actions::Action,
    checkers::Check,
    disk::TableView,
    settings::{MILLISECOND, SECOND},
};

/// How long after the last fault the first scrubs are, and how long after each the next, in microseconds.
const SCRUB_INTERVAL: u64 = 3 * SECOND;

impl Ensemble {
    // ---- The fault

    /// A record of some node's table is altered, or the same one of several.
    pub(crate) fn alter(&mut self) {
        if self.faults_ended {
            return;
        }
        self.next(self.settings.disk.alter_every, Action::Alter);
        let mut nodes: Vec<usize> = (0..self.processes.len()).collect();
        self.machine.shuffle(&mut nodes);
        let mut altered: Option<(Bytes, Bytes)> = None;
        for node in nodes {
            // Nothing can tell a wrong majority from a right one.
            let minority = (self.processes.len() - 1) / 2;
            if self.processes.iter().filter(|process| process.altered).count() >= minority {
                break;
            }
            if !self.may_be_lost(node) || !self.processes[node].is_up() || self.processes[node].altered {
                continue;
            }
            // A transaction that compares an altered value executes another branch: what it writes would be wrong as well.
            let mut records = records(&self.processes[node].disk.table);
            records.retain(|(key, _)| !key.starts_with(b"txn-"));
            let chosen = match &altered {
                Some(before) => records.into_iter().find(|record| record == before),
                None if records.is_empty() => None,
                None => Some(records[self.machine.index(records.len())].clone()),
            };
            let Some((key, stored)) = chosen else { continue };
            self.alter_record(node, &key, &stored);
            altered = Some((key, stored));
            if self.machine.one_in(2) {
                break;
            }
        }
    }

    fn alter_record(&mut self, node: usize, key: &Bytes, stored: &Bytes) {
        let Ok(mut record) = KeyRecord::decode(stored.clone()) else { return };
        record.value = [&record.value[..], b"!"].concat().into();
        let process = &mut self.processes[node];
        process.altered = true;
        process.count_as_lost();
        let altered = Bytes::from(record.encode_to_vec());
        process.disk.table.write(&Batch {
            checkpoint: process.disk.table.checkpoint(),
            writes: vec![(Space::Data, key.clone(), Some(altered))],
            ..Batch::default()
        });
        self.counts.faults.altered_records += 1;
        self.trace.line(self.now, Some(node), || format!("has an altered record of {key:?}"));
    }

    /// What a client is sent by a node with an altered record: no value.
    pub(super) fn withhold(&self, node: usize, response: Response) -> Response {
        let outcome = match response.result {
            Some(
                response::Result::Entry(_) | response::Result::Page(_) | response::Result::KeyHistory(_),
            ) => Outcome::NotApplied,
            Some(response::Result::Txn(_)) => Outcome::Unknown,
            _ => return response,
        };
        if !self.processes[node].altered {
            return response;
        }
        let error = Error::new(ErrorKind::Unavailable, "withheld".to_owned(), outcome);
        Response { result: Some(response::Result::Error(error)), ..response }
    }

    // ---- What finds it

    /// From the end of the faults on, every node scrubs its table now and then.
    pub(super) fn schedule_scrubs(&mut self) {
        for node in 0..self.processes.len() {
            let at = self.now + SCRUB_INTERVAL + self.machine.below(SECOND);
            self.schedule(at, Action::Scrub { node });
        }
    }

    /// A node compares the sum of the records in its table with the state hash.
    pub(crate) fn scrub(&mut self, node: usize) {
        let every = if self.faults_ended { SCRUB_INTERVAL } else { self.settings.disk.scrub_every };
        let at = self.now + self.machine.jittered(every.max(MILLISECOND));
        self.schedule(at, Action::Scrub { node });
        let process = &self.processes[node];
        if process.is_up() && process.paused_until <= self.now && !sum_holds(&process.disk.table) {
            self.counts.faults.scrubs_with_findings += 1;
            self.trace.line(self.now, Some(node), || "has found damage".to_owned());
            self.deliver(node, Event::Zab(Zab::Damaged));
        }
    }

    /// Whether the table of a node is not what the committed log makes.
    pub(super) fn is_wrong(&self, node: usize) -> bool {
        let process = &self.processes[node];
        let checkpoint = process.disk.table.checkpoint();
        process.altered
            && (self.oracle.at(node).state_hash(checkpoint.applied) != Some(checkpoint.hash)
                || !sum_holds(&process.disk.table))
    }

    /// Whether a node has a wrong table and keeps it: too few voters have a right one to do without it, or a node that went
    /// into quarantine has stopped for good. The leader may wait for that one, for longer than a run lasts.
    pub(super) fn is_beyond_repair(&self) -> bool {
        let live = || (0..self.processes.len()).filter(|node| !self.processes[*node].stopped);
        let right = live().filter(|node| self.oracle.is_counted(*node) && !self.is_wrong(*node)).count();
        let lost = self.processes.iter().any(|process| process.stopped && process.quarantined);
        (right < self.oracle.quorum() || lost) && live().any(|node| self.is_wrong(node))
    }

    // ---- Quarantine

    /// A node goes into quarantine: it ends, and comes back with another incarnation and nothing else.
    pub(super) fn quarantine(&mut self, node: usize, fault: Fault) -> Check {
        self.trace.line(self.now, Some(node), || format!("goes into quarantine: {fault:?}"));
        let (is_true, count) = match fault {
            // No directory is put back to an older state.
            Fault::Outdated { .. } => (false, &mut self.counts.faults.quarantines_damaged),
            // A later write of the key may have replaced the altered record.
            Fault::Damaged => (true, &mut self.counts.faults.quarantines_damaged),
            Fault::Diverged(majority) => (
                self.oracle.at(node).state_hash(majority.counter) == Some(majority.hash),
                &mut self.counts.faults.quarantines_diverged,
            ),
        };
        if !is_true || !self.processes[node].altered {
            return violation("22 quarantine", format!("n{node} goes for {fault:?}, which it has not"));
        }
        *count += 1;
        self.recovers_since = self.now;
        self.oracle.of(node).goes(node);
        self.crash(node, false)?;
        self.wipe(node);
        self.processes[node].altered = false;
        self.processes[node].quarantined = true;
        self.start_later(node);
        Ok(())
    }
}

/// The records of a table's keys.
fn records(table: &TableView) -> Vec<(Bytes, Bytes)> {
    let mut records = Vec::new();
    table.scan(Space::Data, &mut |key, stored| {
        records.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(stored)));
    });
    records
}

/// Whether the sum of a table's records is its state hash.
pub(super) fn sum_holds(table: &TableView) -> bool {
    recompute_checkpoint(table).hash == table.checkpoint().hash
}
