//! The operations of the clients, key by key and history by history.
//!
//! A client knows the history of its ensemble, like a real one: it uses no node of an earlier history, and when it reaches a
//! node of a later one, its session and the revisions that it remembers are void, and its operations in flight end, with an
//! unknown outcome.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Call, InFlight, Workload, keys::key_name, txns};
use crate::history::{Action, Answer, Operation};

impl Workload {
    /// The completed operations on each key, by the history of the ensemble.
    pub fn histories(&self) -> &BTreeMap<u64, Vec<Vec<Operation>>> {
        &self.histories
    }

    /// All keys whose operations are judged.
    pub fn keys(&self) -> impl Iterator<Item = Bytes> {
        (0..self.settings.keys).map(key_name)
    }

    /// The history that a client knows.
    pub fn history_of(&self, index: usize) -> Option<u64> {
        self.clients[index].history
    }

    /// A client learns that the node at the other end of its connection belongs to a history, if to any.
    pub fn learns(&mut self, index: usize, now: u64, history: Option<u64>) {
        let known = self.clients[index].history;
        if history <= known {
            return;
        }
        if known.is_some() {
            self.begin_history(index, now);
        }
        self.clients[index].history = history;
    }

    /// The history that a client knows has ended.
    fn begin_history(&mut self, index: usize, now: u64) {
        for flight in std::mem::take(&mut self.clients[index].flights).into_values() {
            if flight.attempts > 0 {
                self.record(index, now, &flight, Answer::Unknown);
            }
            let value = self.value();
            if let Some(script) = &mut self.clients[index].script {
                let write = Call::Write(Action::Set { value });
                script.push_front(if flight.call.is_write() { write } else { flight.call });
            }
        }
        let nonce = Bytes::copy_from_slice(&self.random.wide().to_be_bytes());
        let client = &mut self.clients[index];
        (client.session, client.opening, client.nonce) = (None, None, nonce);
        (client.seen, client.known_txn) = (0, txns::Known::default());
        client.known.fill(0);
        (client.next_page, client.next_versions) = (None, None);
    }

    /// Adds a completed operation of a client to the history that it knows.
    pub(super) fn record(&mut self, index: usize, now: u64, flight: &InFlight, answer: Answer) {
        let action = match &flight.call {
            Call::Write(action) => *action,
            Call::Read => Action::Get,
            Call::LocalRead { .. } | Call::Page(_) | Call::History(_) | Call::Txn(..) | Call::Setting(_) => {
                return;
            }
        };
        if answer == Answer::Unknown {
            if action == Action::Get {
                return;
            }
            self.counts.unknown += 1;
        }
        let operation = Operation { called: flight.called, answered: now, action, answer };
        let history = self.clients[index].history.unwrap_or_default();
        let of_keys = self.histories.entry(history).or_default();
        of_keys.resize_with(self.settings.keys, Vec::new);
        of_keys[flight.key].push(operation);
    }
}
