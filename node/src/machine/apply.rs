//! Applying what is committed, and answering the requests that it settles.

use bytes::Bytes;
use gometa_proto::{Outcome, v1::command_outcome};
use gometa_store::{Applied, Origin, Table};
use gometa_zab::{self as zab, Kind};

use super::Node;
use crate::{effect::Effect, requests::WriteKey};

/// The most entries applied in one step.
const APPLY_MAX: usize = 8_192;

/// The time between two batches for the table, in microseconds. Each contains the whole record of every session with a
/// write, so fewer of them are cheaper; until then the changes are read from memory.
const BATCH_INTERVAL: u64 = 5_000;

/// The bytes of changes that are not kept for the next batch.
const BATCH_BYTES: usize = 256 << 10;

/// The bytes of log entries read back at once.
const READ_BYTES_MAX: usize = 1 << 20;

impl<T: Table> Node<T> {
    pub(super) fn apply(&mut self) {
        let before = self.store.applied();
        for _ in 0..APPLY_MAX {
            let counter = self.store.applied() + 1;
            if counter > self.released || self.stopped || self.is_installing() {
                break;
            }
            if self.unstored + self.store.pending_bytes() >= self.config.unstored_bytes_max {
                probe!("apply.waits-for-table");
                break;
            }
            while self.read_back.front().is_some_and(|entry| entry.zxid.counter < counter) {
                self.read_back.pop_front();
            }
            let entry = match self.read_back.front() {
                Some(entry) if entry.zxid.counter == counter => entry.clone(),
                _ => match self.zab.recent(counter) {
                    Some(entry) => entry.clone(),
                    None => {
                        probe!("apply.read-from-log");
                        self.read_log(counter);
                        break;
                    }
                },
            };
            match entry.kind {
                Kind::Command => {
                    let applied = self.store.apply(counter, &entry.payload);
                    self.settle(&applied);
                }
                Kind::Membership | Kind::Unknown(_) => self.store.skip(counter),
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
            self.batches.push_back(bytes);
            self.unstored += bytes;
            self.effects.push(Effect::Store { number: self.batches_taken, batch });
        }
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
            Origin::None => return,
        };
        let Some(submission) = self.requests.submission(&key) else { return };
        // The outcome of this entry is final unless an earlier attempt may be in the log as well.
        probe!(
            "write.applied-by-earlier-attempt",
            submission.exposed && submission.at == crate::requests::At::Held
        );
        let otherwise = if submission.exposed { Outcome::Unknown } else { Outcome::NotApplied };
        for ticket in self.requests.settle(&key) {
            if let Some(waiting) = self.requests.remove(ticket) {
                self.answer(waiting.client, waiting.id, &applied.outcome, otherwise);
            }
        }
    }
}
