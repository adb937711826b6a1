//! Having records read that are not in memory.

use bytes::Bytes;
use gometa_store::{Purpose, Table};

use super::Node;
use crate::{
    ahead::{HELD_BYTES_LIMIT, HELD_BYTES_MAX, Upcoming},
    effect::Effect,
    fetches::Answer,
    requests::Ticket,
};

impl<T: Table> Node<T> {
    /// Has a record read, unless it is being read.
    pub(super) fn begin_read(&mut self, key: Bytes, purpose: Purpose) {
        if self.store.begin_read(&key, purpose) {
            self.fetches.begin(key, purpose);
        }
    }

    /// Makes a client's read wait for its record.
    pub(super) fn await_record(&mut self, ticket: Ticket, key: Bytes) {
        if self.fetches.has_room() {
            probe!("read.waits-for-record");
            self.begin_read(key.clone(), Purpose::Get);
            self.fetches.wait(key, ticket);
        } else {
            self.fetches.queue(ticket);
        }
    }

    /// Handles records that were read.
    pub(super) fn fetched(&mut self, id: u64, records: Vec<(Bytes, Option<Bytes>)>) {
        let Some(purpose) = self.fetches.answered(id, records.len()) else { return };
        let next = self.ahead.next().map_or(&[][..], Upcoming::keys);
        for (key, record) in records {
            let held = self.store.held_bytes();
            let fits = held < HELD_BYTES_MAX || (held < HELD_BYTES_LIMIT && next.contains(&key));
            let entered = purpose == Purpose::Get || fits;
            if entered {
                self.store.enter(&key, record);
            }
            self.fetches.keep(Answer { key, purpose, entered });
        }
    }

    /// Answers the clients' reads whose records have been read. Those that have no room in this step take turns with the
    /// others, and look for their records anew.
    pub(super) fn answer_fetched(&mut self) {
        for Answer { key, purpose, entered } in self.fetches.take_answers() {
            if !entered {
                self.store.end_read(&key, purpose);
            }
            for ticket in self.fetches.take_waiting(&key) {
                let Some(client) = self.requests.get(ticket).map(|waiting| waiting.client) else { continue };
                if entered && self.reads.admits(client) {
                    let bytes = self.read(ticket);
                    self.reads.account(client, bytes);
                } else {
                    self.reads.push(client, ticket);
                }
            }
            if entered {
                self.store.end_read(&key, purpose);
            }
        }
        for ticket in self.fetches.take_queued() {
            if let Some(waiting) = self.requests.get(ticket) {
                self.reads.push(waiting.client, ticket);
            }
        }
    }

    /// Makes the clients' reads that wait for records of a replaced table look for them in the new one. Later answers of the
    /// old one are dropped.
    pub(super) fn look_for_records_again(&mut self) {
        for ticket in self.fetches.forget_table() {
            if let Some(waiting) = self.requests.get(ticket) {
                self.reads.push(waiting.client, ticket);
            }
        }
    }

    /// Emits the reads that the step has begun.
    pub(super) fn begin_fetches(&mut self) {
        for purpose in [Purpose::Apply, Purpose::Get] {
            if let Some((id, keys)) = self.fetches.take_begun(purpose) {
                self.effects.push(Effect::Fetch { id, purpose, keys });
            }
        }
    }
}
