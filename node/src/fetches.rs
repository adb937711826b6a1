//! Reads of records that the table does not have in memory, and the clients' reads that wait for them.
//!
//! The caller reads the records and answers in parts, in any order. A part is of no use after the table was replaced: the
//! numbers of reads are not reused, so its read is not known then.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use gometa_store::Purpose;

use crate::requests::Ticket;

/// The most keys that are being read for clients; further reads of clients wait.
const GET_KEYS_MAX: usize = 1_024;

/// A read whose keys have not all been answered.
#[derive(Debug)]
struct Fetch {
    purpose: Purpose,
    /// The number of keys without an answer.
    unanswered: usize,
}

/// The answer for one key, until the end of the step.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) key: Bytes,
    pub(crate) purpose: Purpose,
    /// Whether the record was entered into the store, where the read still keeps it.
    pub(crate) entered: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Fetches {
    /// The number of the last read.
    last: u64,
    under_way: BTreeMap<u64, Fetch>,
    /// The keys to read that are in no read yet, by purpose.
    begun: BTreeMap<Purpose, Vec<Bytes>>,
    /// The number of keys that are being read for clients.
    get_keys: usize,
    /// Clients' reads that wait for a record.
    waiting: HashMap<Bytes, Vec<Ticket>>,
    /// Clients' reads that wait until fewer keys are being read.
    queued: VecDeque<Ticket>,
    /// The answers of the current step.
    answers: Vec<Answer>,
}

impl Fetches {
    /// Adds a key to the next read for a purpose.
    pub(crate) fn begin(&mut self, key: Bytes, purpose: Purpose) {
        self.get_keys += usize::from(purpose == Purpose::Get);
        self.begun.entry(purpose).or_default().push(key);
    }

    /// Whether another key may be read for a client.
    pub(crate) fn has_room(&self) -> bool {
        self.get_keys < GET_KEYS_MAX
    }

    /// Makes a client's read wait for a key that is being read.
    pub(crate) fn wait(&mut self, key: Bytes, ticket: Ticket) {
        self.waiting.entry(key).or_default().push(ticket);
    }

    /// Makes a client's read wait for room.
    pub(crate) fn queue(&mut self, ticket: Ticket) {
        self.queued.push_back(ticket);
    }

    /// Takes the clients' reads for which there is room again.
    pub(crate) fn take_queued(&mut self) -> Vec<Ticket> {
        let room = GET_KEYS_MAX.saturating_sub(self.get_keys).min(self.queued.len());
        self.queued.drain(..room).collect()
    }

    /// Makes one read of the keys begun for a purpose, and returns its number and the keys; `None` if there are none.
    pub(crate) fn take_begun(&mut self, purpose: Purpose) -> Option<(u64, Vec<Bytes>)> {
        let keys = std::mem::take(self.begun.get_mut(&purpose)?);
        if keys.is_empty() {
            return None;
        }
        self.last += 1;
        self.under_way.insert(self.last, Fetch { purpose, unanswered: keys.len() });
        Some((self.last, keys))
    }

    /// Accounts the answers for some keys of a read, and returns its purpose; `None` if the read is not known.
    pub(crate) fn answered(&mut self, id: u64, count: usize) -> Option<Purpose> {
        let fetch = self.under_way.get_mut(&id)?;
        assert!(count <= fetch.unanswered, "each key is answered once");
        fetch.unanswered -= count;
        let purpose = fetch.purpose;
        if fetch.unanswered == 0 {
            self.under_way.remove(&id);
        }
        if purpose == Purpose::Get {
            self.get_keys -= count;
        }
        Some(purpose)
    }

    /// Keeps an answer until the end of the step.
    pub(crate) fn keep(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    /// Takes the answers of the step.
    pub(crate) fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// Takes the clients' reads that wait for a key.
    pub(crate) fn take_waiting(&mut self, key: &Bytes) -> Vec<Ticket> {
        self.waiting.remove(key).unwrap_or_default()
    }

    /// Forgets all reads of a table that was replaced, and returns the clients' reads that wait for them, oldest first.
    pub(crate) fn forget_table(&mut self) -> Vec<Ticket> {
        let mut waiting: Vec<Ticket> = self.waiting.drain().flat_map(|(_, tickets)| tickets).collect();
        waiting.sort();
        *self = Fetches { last: self.last, queued: std::mem::take(&mut self.queued), ..Fetches::default() };
        waiting
    }

    /// Forgets abandoned reads of clients. Their keys are still read.
    pub(crate) fn retain(&mut self, waits: impl Fn(Ticket) -> bool) {
        self.waiting.retain(|_, tickets| {
            tickets.retain(|ticket| waits(*ticket));
            !tickets.is_empty()
        });
        self.queued.retain(|ticket| waits(*ticket));
    }
}
