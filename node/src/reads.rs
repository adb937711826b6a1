//! Reads that may be answered: whose turn it is, and how much at a time.
//!
//! A client may ask for a thousand large values at once, and it may read none of the answers. So no step answers
//! all it could: it answers about [`STEP_BYTES_MAX`], clients taking turns, and the caller steps again at once for
//! the rest, with whatever has arrived meanwhile. Neither a vote nor another client waits for more than that.
//!
//! And no client is given much more than [`CLIENT_BYTES_MAX`] of large answers that have not left through its
//! socket: its further reads are *parked*, whatever their size, until the caller reports that those are out.
//! Which reads are large is known only when they have been read, so both bounds are exceeded by the last answer
//! at most. Small answers are not accounted: the number of requests in flight bounds them.
//!
//! A client's reads keep their order. Parked ones end by their deadlines like all others.

use std::collections::{BTreeMap, VecDeque};

use gometa_proto::v1::{Entry, Response, response::Result as Answer};

use crate::{event::ClientId, requests::Ticket};

/// Keys and values answered in one step, in bytes; the last answer may exceed it.
const STEP_BYTES_MAX: usize = 1 << 20;

/// Keys and values answered in one client's turn, in bytes; the last answer may exceed it.
const TURN_BYTES_MAX: usize = 64 << 10;

/// Large answers to one client that are not out, in bytes; the last one may exceed it.
const CLIENT_BYTES_MAX: usize = 1 << 20;

/// An entry of this many bytes, key and value together, makes a large answer.
const LARGE_MIN: usize = 4 << 10;

/// What an answer counts in its step at least, in bytes: to look for a key costs time too.
const READ_COST_MIN: usize = 512;

/// Whether an answer is accounted to its client: the caller owes a report
/// ([`Event::Sent`](crate::Event::Sent)) after it.
#[must_use]
pub fn is_large(response: &Response) -> bool {
    matches!(&response.result, Some(Answer::Entry(entry)) if size(entry) >= LARGE_MIN)
}

/// An entry's size, in bytes.
pub(crate) fn size(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len()
}

/// The reads that may be answered, by client.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    clients: BTreeMap<ClientId, Reader>,
    /// Clients with reads that are not parked, each once, in the order of their turns.
    turns: VecDeque<ClientId>,
    /// What the step under way has answered, in bytes.
    step_bytes: usize,
    /// What the turn under way has answered, in bytes.
    turn_bytes: usize,
}

/// One client; kept while it has reads here or answers that are not out.
#[derive(Debug, Default)]
struct Reader {
    reads: VecDeque<Ticket>,
    /// Large answers that are not out, in bytes.
    unsent: usize,
    /// It stands in `turns`. Whoever does has a read.
    in_line: bool,
}

impl Reader {
    fn may_be_answered(&self) -> bool {
        !self.reads.is_empty() && self.unsent < CLIENT_BYTES_MAX
    }

    fn is_idle(&self) -> bool {
        self.reads.is_empty() && self.unsent == 0
    }

    /// Whether the client comes into line now.
    fn line_up(&mut self) -> bool {
        let begins = !self.in_line && self.may_be_answered();
        self.in_line |= begins;
        begins
    }
}

impl Reads {
    pub(crate) fn begin_step(&mut self) {
        self.step_bytes = 0;
        self.turn_bytes = 0;
    }

    /// Whether there is more to answer than the step allowed.
    pub(crate) fn has_more(&self) -> bool {
        !self.turns.is_empty()
    }

    /// A read may be answered, behind the client's earlier ones.
    pub(crate) fn push(&mut self, client: ClientId, ticket: Ticket) {
        let reader = self.clients.entry(client).or_default();
        reader.reads.push_back(ticket);
        if reader.line_up() {
            self.turns.push_back(client);
        }
    }

    /// The next read to answer, if the step allows one; [`Reads::answered`] follows.
    pub(crate) fn next(&mut self) -> Option<(ClientId, Ticket)> {
        if self.step_bytes >= STEP_BYTES_MAX {
            return None;
        }
        let client = *self.turns.front()?;
        let ticket = self.clients.get_mut(&client).and_then(|reader| reader.reads.pop_front());
        Some((client, ticket.expect("a client in line has a read")))
    }

    /// The read that was next is answered, with an entry of this size; 0 if there was none.
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
        reader.in_line = false;
        if reader.line_up() {
            self.turns.push_back(client);
        } else if reader.is_idle() {
            self.clients.remove(&client);
        }
    }

    /// Everything answered to a client is out.
    pub(crate) fn sent(&mut self, client: ClientId) {
        let Some(reader) = self.clients.get_mut(&client) else { return };
        reader.unsent = 0;
        if reader.line_up() {
            self.turns.push_back(client);
        } else if reader.is_idle() {
            self.clients.remove(&client);
        }
    }

    pub(crate) fn gone(&mut self, client: ClientId) {
        if self.clients.remove(&client).is_some_and(|reader| reader.in_line) {
            self.turns.retain(|other| *other != client);
        }
    }

    /// Forgets reads that are not waiting any more.
    pub(crate) fn retain(&mut self, waits: impl Fn(Ticket) -> bool) {
        self.clients.retain(|_, reader| {
            reader.reads.retain(|ticket| waits(*ticket));
            reader.in_line &= !reader.reads.is_empty();
            !reader.is_idle()
        });
        let clients = &self.clients;
        self.turns.retain(|client| clients.get(client).is_some_and(|reader| reader.in_line));
    }
}
