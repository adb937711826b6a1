//! Applying what is committed, and answering the requests that it settles.

use bytes::Bytes;
use gometa_proto::{
    Outcome,
    v1::{
        CommandOutcome, TxnAnswer, command, command_outcome, request::Operation, response::Result as Answer,
    },
};
use gometa_store::{Applied, Decoded, Found, Origin, Purpose, Table, decode_command};
use gometa_zab::{self as zab, Configuration, Kind, LogEntry, StateHash};

use super::{Node, Outstanding};
use crate::{
    ahead::{Content, Upcoming},
    effect::Effect,
    requests::{Waiting, WriteKey},
};

/// The time between two batches for the table, in microseconds. Each contains the whole record of every session with a
/// write, so fewer of them are cheaper; until then the changes are read from memory.
const BATCH_INTERVAL: u64 = 5_000;

/// The bytes of changes that are not kept for the next batch.
const BATCH_BYTES: usize = 256 << 10;

/// The bytes of log entries read back at once.
const READ_BYTES_MAX: usize = 1 << 20;

impl<T: Table> Node<T> {
    /// Applies released entries until the step's bound, the bound of unwritten changes, or a record that is not in
    /// memory.
    pub(super) fn apply(&mut self) {
        let before = self.store.applied();
        self.store.set_level(self.level());
        while self.store.applied() < self.released
            && !self.stopped
            && !self.is_installing()
            && !self.work.is_full()
        {
            if self.unstored + self.store.pending_bytes() >= self.config.unstored_bytes_max {
                probe!("apply.waits-for-table");
                break;
            }
            if self.ahead.len() == 0 {
                self.read_ahead();
            }
            if !self.apply_next() {
                break;
            }
            if self.store.applied().is_multiple_of(self.config.state_hash_interval) {
                self.report_state_hash();
            }
        }
        if self.store.applied() > before {
            self.inbox.push(zab::Event::Applied { counter: self.store.applied() });
        }
        let batch_bytes = BATCH_BYTES.min(self.config.unstored_bytes_max / 4);
        let due = self.now.since(self.last_batch) >= BATCH_INTERVAL;
        if due || self.store.pending_bytes() >= batch_bytes {
            self.store_batch();
        }
    }

    /// Ends the batch, whose hash all nodes report at this counter.
    fn report_state_hash(&mut self) {
        self.store_batch();
        let hash = StateHash { counter: self.store.applied(), hash: self.store.hash() };
        self.inbox.push(zab::Event::StateHash(hash));
    }

    /// Writes the changes since the last batch to the table.
    pub(super) fn store_batch(&mut self) {
        // A snapshot replaces the table, and with it what these changes make.
        if self.is_installing() {
            return;
        }
        let bytes = self.store.pending_bytes();
        if let Some(batch) = self.store.take_batch() {
            self.last_batch = self.now;
            self.batches_taken += 1;
            let applied = batch.checkpoint.applied;
            self.batches.push_back(Outstanding { bytes, issued: self.now, applied });
            self.unstored += bytes;
            self.effects.push(Effect::Store { number: self.batches_taken, batch });
        }
    }

    /// Applies the next entry; false if it, or its record, is not in memory.
    fn apply_next(&mut self) -> bool {
        let Some(next) = self.ahead.next() else { return false };
        match &next.content {
            Content::Command(command) => match self.store.apply(next.counter, command) {
                Some(applied) => self.settle(&applied),
                None => {
                    self.apply_waits.get_or_insert(self.now);
                    if command.misses_ranges() {
                        self.read_next_ranges();
                    } else {
                        self.read_next_records();
                    }
                    return false;
                }
            },
            Content::Configuration(record) => {
                self.store.configure(next.counter, record.clone());
                let configuration =
                    Configuration::decode(record).expect("it was decoded when it was appended");
                self.recorded_level = Some(configuration.level());
                self.store.set_level(configuration.level());
            }
        }
        self.apply_waits = None;
        if let Some(applied) = self.ahead.pop() {
            self.work.add(applied.touched(), applied.bytes);
            self.release(&applied);
        }
        true
    }

    /// Has the records read that the next entry needs.
    fn read_next_records(&mut self) {
        probe!("apply.waits-for-record");
        for key in self.ahead.next().map_or(Vec::new(), |next| next.keys().to_vec()) {
            self.begin_read(key, Purpose::Apply);
        }
    }

    /// Has the ranges of the next entry read, from a table that has all that was applied before. Its records are read ahead
    /// meanwhile.
    fn read_next_ranges(&mut self) {
        if self.next_ranges.is_some() {
            return;
        }
        self.store_batch();
        let is_stored = self.table_applied == self.store.applied();
        probe!("apply.ranges-wait-for-table", !is_stored);
        if planted!(!is_stored, reads_ranges_before_table_has_all => false) {
            return;
        }
        let query = self.ahead.next().and_then(|next| match &next.content {
            Content::Command(command) => command.missing_ranges(),
            Content::Configuration(_) => None,
        });
        let query = Box::new(query.expect("the next entry needs ranges"));
        let id = self.ranges.number();
        self.next_ranges = Some(id);
        self.effects.push(Effect::Query { id, query });
    }

    /// Handles the ranges of the next entry. It is applied in this step, unless its records are missing.
    pub(super) fn next_ranges_read(&mut self, found: Found) {
        self.next_ranges = None;
        let Found::Ranges(ranges) = found else { panic!("ranges are answered with {found:?}") };
        if let Some(Content::Command(command)) = self.ahead.next_mut().map(|next| &mut next.content) {
            command.set_ranges(ranges);
        }
    }

    /// Reports to the core if the table has kept entries waiting for too long, or no longer.
    pub(super) fn check_table(&mut self) {
        let written = self.batches.front().map(|batch| batch.issued);
        let oldest = self.apply_waits.into_iter().chain(written).min();
        let stalled = oldest.is_some_and(|since| self.now.since(since) > self.config.zab.timeouts.disk);
        if stalled != self.state_stalled {
            self.state_stalled = stalled;
            self.inbox.push(zab::Event::StateStalled(stalled));
        }
    }

    /// Decodes entries that are in memory and not applied yet, and has the records read that they need.
    pub(super) fn read_ahead(&mut self) {
        if self.is_installing() {
            return;
        }
        while self.ahead.has_room(self.store.held_bytes()) && !self.work.is_full() && !self.stopped {
            let counter = self.store.applied() + self.ahead.len() + 1;
            let Some(entry) = self.entry(counter) else { break };
            let mut bytes = entry.payload.len();
            let content = match entry.kind {
                Kind::Command => {
                    let command = Decoded::new(entry.payload);
                    bytes += command.size();
                    Content::Command(command)
                }
                Kind::Membership => Content::Configuration(entry.payload),
                // A follower stops at it, and no log decodes it.
                Kind::Unknown(kind) => panic!("log entry {} is of the unknown kind {kind}", entry.zxid),
            };
            let upcoming = Upcoming { counter, content, bytes };
            let held = self.store.held_bytes();
            for key in upcoming.keys() {
                if !self.store.hold(key) {
                    self.begin_read(key.clone(), Purpose::Apply);
                }
            }
            self.work.add(upcoming.keys().len(), self.store.held_bytes() - held);
            self.ahead.push(upcoming);
        }
    }

    /// The entry at this counter, if it is in memory. A released one that is not is read from the log.
    fn entry(&mut self, counter: u64) -> Option<LogEntry> {
        while let Some(entry) = self.read_back.front()
            && entry.zxid.counter <= counter
        {
            let entry = self.read_back.pop_front();
            if let Some(entry) = entry.filter(|entry| entry.zxid.counter == counter) {
                return Some(entry);
            }
        }
        let recent = self.zab.recent(counter).cloned();
        if recent.is_none() && counter <= self.released {
            probe!("apply.read-from-log");
            self.read_log(counter);
        }
        recent
    }

    /// Forgets the entries above this counter, which are truncated.
    pub(super) fn truncate_ahead(&mut self, counter: u64) {
        planted!(keeps_truncated_entries_ahead => return);
        while let Some(truncated) = self.ahead.pop_above(counter) {
            probe!(
                "ahead.truncated-while-read",
                truncated.keys().iter().any(|key| self.store.is_being_read(key))
            );
            self.release(&truncated);
        }
    }

    /// Ends the holds on the keys of an entry.
    fn release(&mut self, entry: &Upcoming) {
        entry.keys().iter().for_each(|key| self.store.release(key));
    }

    fn read_log(&mut self, from: u64) {
        if self.reading.is_none() {
            let id = self.zab.allocate_read();
            self.reading = Some(id);
            let effect = Effect::Read { id, from, to: self.released, bytes_max: READ_BYTES_MAX };
            self.effects.push(effect);
        }
    }

    /// Answers the requests that wait for a command's outcome.
    fn settle(&mut self, applied: &Applied) {
        let key = match &applied.origin {
            Origin::Write { session, seq } => WriteKey::Write { session: *session, seq: *seq },
            Origin::CreateSession { nonce } => {
                if let Some(command_outcome::Result::SessionOpened(opened)) = applied.outcome.result {
                    self.session_opened(nonce, opened.session);
                }
                WriteKey::Open { nonce: Bytes::copy_from_slice(nonce) }
            }
            Origin::EndSessions { sessions } => {
                for (session, existed) in sessions {
                    self.session_ended(*session, *existed);
                }
                return;
            }
            Origin::Horizon | Origin::None => return,
        };
        let Some(submission) = self.requests.submission(&key) else { return };
        // The outcome of this entry is final unless an earlier attempt may be in the log as well.
        probe!(
            "write.applied-by-earlier-attempt",
            submission.exposed && submission.at == crate::requests::At::Held
        );
        let otherwise = if submission.exposed { Outcome::Unknown } else { Outcome::NotApplied };
        self.settle_write(&key, &applied.outcome, applied.answer.as_ref(), otherwise);
    }

    /// Answers the requests for a command whose outcome is known; `whole` is the whole answer to a transaction, if that is
    /// known too.
    pub(super) fn settle_write(
        &mut self,
        key: &WriteKey,
        outcome: &CommandOutcome,
        whole: Option<&TxnAnswer>,
        otherwise: Outcome,
    ) {
        let Some(submission) = self.requests.submission(key) else { return };
        let operation = match (outcome.result, whole) {
            (Some(command_outcome::Result::Txn(_)), None) => operation_of(submission.payload()),
            _ => None,
        };
        for ticket in self.requests.settle(key) {
            let Some(Waiting { client, id, deadline, .. }) = self.requests.remove(ticket) else { continue };
            match whole {
                Some(answer) => self.respond(client, id, Answer::Txn(answer.clone())),
                None => self.answer_recorded(client, id, deadline, operation.as_ref(), outcome, otherwise),
            }
        }
    }
}

/// The operation of a write.
fn operation_of(payload: &Bytes) -> Option<Operation> {
    match decode_command(payload.clone()).ok()?.body? {
        command::Body::Write(request) => request.operation,
        _ => None,
    }
}
