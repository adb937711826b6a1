//! Flow control of reads: fair turns, bounded bytes per step, bounded unsent bytes per client.
//!
//! A client may request a thousand large values at once, and it may read none of the answers. So a step answers
//! about [`STEP_BYTES_MAX`], clients taking turns, and the caller steps again at once for the rest, with the events
//! that have arrived meanwhile. Neither a vote nor another client waits longer than for that.
//!
//! A client with more than [`CLIENT_BYTES_MAX`] of large answers that have not left through its socket has its further
//! reads *parked*, whatever their size, until the caller reports that those are sent. The size of a value is known
//! only after it has been read, so both bounds may be exceeded by the last answer. Small answers are not
//! accounted: the number of requests in flight bounds them.
//!
//! A client's reads are looked up in order. One whose record is not in memory is answered when that has been read, out
//! of turn, as long as such answers take no more than half of the step. Parked reads end by their deadlines like all
//! others.

use std::collections::{BTreeMap, VecDeque};

use gometa_proto::v1::{
    Entry, KeyHistory, Page, Response, TxnAnswer, TxnResult, response::Result as Answer,
    txn_result::Result as TxnAnswered,
};

use crate::{event::ClientId, requests::Ticket};

/// The most bytes of keys and values answered in one step; the last answer may exceed it.
const STEP_BYTES_MAX: usize = 1 << 20;

/// The most bytes of keys and values answered in one client's turn; the last answer may exceed it.
const TURN_BYTES_MAX: usize = 64 << 10;

/// The most bytes of unsent large answers to one client; the last one may exceed it.
const CLIENT_BYTES_MAX: usize = 1 << 20;

/// The smallest entry that makes a large answer: bytes of key and value together.
const LARGE_MIN: usize = 4 << 10;

/// The least bytes that an answer counts in its step, since finding a key takes time too.
const READ_COST_MIN: usize = 512;

/// What an entry of a page, or a version of a key, takes besides its key and value, in bytes.
const PAGE_ENTRY_BYTES: usize = 64;

/// Whether an answer is accounted to its client: the caller must report [`Event::Sent`](crate::Event::Sent) after it.
#[must_use]
pub fn is_large(response: &Response) -> bool {
    match &response.result {
        Some(Answer::Entry(entry)) => size(entry) >= LARGE_MIN,
        Some(Answer::Page(page)) => page_size(page) >= LARGE_MIN,
        Some(Answer::KeyHistory(history)) => history_size(history) >= LARGE_MIN,
        Some(Answer::Txn(answer)) => txn_size(answer) >= LARGE_MIN,
        _ => false,
    }
}

/// The size of a page, in bytes.
pub(crate) fn page_size(page: &Page) -> usize {
    page.entries.iter().map(|entry| PAGE_ENTRY_BYTES + size(entry)).sum()
}

/// The size of a history of a key, in bytes.
pub(crate) fn history_size(history: &KeyHistory) -> usize {
    history.versions.iter().map(|version| PAGE_ENTRY_BYTES + version.value.len()).sum()
}

/// The size of the answer to a transaction, in bytes.
pub(crate) fn txn_size(answer: &TxnAnswer) -> usize {
    let result = |result: &TxnResult| match &result.result {
        Some(TxnAnswered::Entry(entry)) => size(entry),
        Some(TxnAnswered::Page(page)) => page_size(page),
        _ => 0,
    };
    answer.results.iter().map(|answered| PAGE_ENTRY_BYTES + result(answered)).sum()
}

/// The size of an entry, in bytes.
pub(crate) fn size(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len()
}

/// The reads that are ready, by client.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    clients: BTreeMap<ClientId, Reader>,
    /// Clients with reads that are not parked, each once, in the order of their turns.
    turns: VecDeque<ClientId>,
    /// The bytes answered in the current step.
    step_bytes: usize,
    /// The bytes answered in the current turn.
    turn_bytes: usize,
}

/// A client with ready reads or unsent large answers.
#[derive(Debug, Default)]
struct Reader {
    reads: VecDeque<Ticket>,
    /// The bytes of unsent large answers.
    unsent: usize,
    /// Whether it is in `turns`; it then has a read.
    has_turn: bool,
}

impl Reader {
    fn may_be_answered(&self) -> bool {
        !self.reads.is_empty() && self.unsent < CLIENT_BYTES_MAX
    }

    fn is_idle(&self) -> bool {
        self.reads.is_empty() && self.unsent == 0
    }

    /// Gives the client a turn if it needs one and may have one; returns whether it did.
    fn take_turn(&mut self) -> bool {
        let begins = !self.has_turn && self.may_be_answered();
        self.has_turn |= begins;
        begins
    }
}

impl Reads {
    pub(crate) fn begin_step(&mut self) {
        self.step_bytes = 0;
        self.turn_bytes = 0;
    }

    /// Whether reads are left that the step was not allowed to answer.
    pub(crate) fn has_more(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Adds a read that is ready, behind the client's earlier ones.
    pub(crate) fn push(&mut self, client: ClientId, ticket: Ticket) {
        let reader = self.clients.entry(client).or_default();
        reader.reads.push_back(ticket);
        if reader.take_turn() {
            self.turns.push_back(client);
        }
    }

    /// Whether a client may have another large answer.
    pub(crate) fn has_room(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_none_or(|reader| reader.unsent < CLIENT_BYTES_MAX)
    }

    /// Whether a read of this client may be answered out of turn. The caller then calls [`Reads::account`].
    pub(crate) fn admits(&self, client: ClientId) -> bool {
        self.step_bytes < STEP_BYTES_MAX / 2 && self.has_room(client)
    }

    /// Accounts an answer out of turn: the size of its entry in bytes, or 0.
    pub(crate) fn account(&mut self, client: ClientId, bytes: usize) {
        self.step_bytes += bytes.max(READ_COST_MIN);
        if bytes >= LARGE_MIN {
            self.clients.entry(client).or_default().unsent += bytes;
        }
    }

    /// The next read to answer, if the step allows one. The caller then calls [`Reads::answered`].
    pub(crate) fn next(&mut self) -> Option<(ClientId, Ticket)> {
        if self.step_bytes >= STEP_BYTES_MAX {
            return None;
        }
        loop {
            let client = *self.turns.front()?;
            let reader = self.clients.get_mut(&client).expect("a client with a turn is known");
            if reader.may_be_answered() {
                let ticket = reader.reads.pop_front();
                return Some((client, ticket.expect("a client with a turn has a read")));
            }
            // Answers out of turn have used its room.
            reader.has_turn = false;
            self.turns.pop_front();
            self.turn_bytes = 0;
        }
    }

    /// Accounts the answer to the read that was next: the size of its entry in bytes, or 0.
    pub(crate) fn answered(&mut self, client: ClientId, bytes: usize) {
        let cost = bytes.max(READ_COST_MIN);
        self.step_bytes += cost;
        self.turn_bytes += cost;
        let Some(reader) = self.clients.get_mut(&client) else { return };
        if bytes >= LARGE_MIN {
            reader.unsent += bytes;
        }
        if self.turn_bytes < TURN_BYTES_MAX && reader.may_be_answered() {
            return;
        }
        self.turn_bytes = 0;
        self.turns.pop_front();
        reader.has_turn = false;
        if reader.take_turn() {
            self.turns.push_back(client);
        } else if reader.is_idle() {
            self.clients.remove(&client);
        }
    }

    /// Accounts that all answers to a client are sent.
    pub(crate) fn sent(&mut self, client: ClientId) {
        let Some(reader) = self.clients.get_mut(&client) else { return };
        reader.unsent = 0;
        if reader.take_turn() {
            self.turns.push_back(client);
        } else if reader.is_idle() {
            self.clients.remove(&client);
        }
    }

    pub(crate) fn gone(&mut self, client: ClientId) {
        if self.clients.remove(&client).is_some_and(|reader| reader.has_turn) {
            self.turns.retain(|other| *other != client);
        }
    }

    /// Forgets abandoned reads.
    pub(crate) fn retain(&mut self, waits: impl Fn(Ticket) -> bool) {
        self.clients.retain(|_, reader| {
            reader.reads.retain(|ticket| waits(*ticket));
            reader.has_turn &= !reader.reads.is_empty();
            !reader.is_idle()
        });
        let clients = &self.clients;
        self.turns.retain(|client| clients.get(client).is_some_and(|reader| reader.has_turn));
    }
}
