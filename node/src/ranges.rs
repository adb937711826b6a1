//! Reads of pages: the table must have what they are to see; then the caller carries them out beside everything else.
//!
//! Clients take turns, and a client with too many bytes of unsent answers has none, as for other reads (`reads`).

use std::collections::{BTreeMap, VecDeque};

use crate::{event::ClientId, requests::Ticket};

/// The most pages that are being read.
const READS_MAX: usize = 8;

/// The most pages that are being read for one client.
const CLIENT_READS_MAX: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Ranges {
    /// The number of the last read.
    last: u64,
    /// Pages that wait for the table, by the revision that it must have.
    waiting: BTreeMap<u64, Vec<Ticket>>,
    /// The pages that can be read, and the number of those that are being read, by client.
    clients: BTreeMap<ClientId, Reader>,
    /// Clients with pages that can be read, each once, in the order of their turns.
    turns: VecDeque<ClientId>,
    under_way: BTreeMap<u64, (ClientId, Ticket)>,
}

#[derive(Debug, Default)]
struct Reader {
    ready: VecDeque<Ticket>,
    under_way: usize,
    /// Whether it is in `turns`.
    has_turn: bool,
}

impl Ranges {
    /// A number for another read.
    pub(crate) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Adds a page that can be read when the table has a revision.
    pub(crate) fn wait(&mut self, revision: u64, ticket: Ticket) {
        self.waiting.entry(revision).or_default().push(ticket);
    }

    /// Whether pages wait for the table.
    pub(crate) fn wait_for_table(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the pages for which the table has enough.
    pub(crate) fn take_waiting(&mut self, table: u64) -> Vec<Ticket> {
        let mut ready = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if planted!(*entry.key() > table, reads_page_before_table_has_it => false) {
                break;
            }
            ready.extend(entry.remove());
        }
        ready
    }

    /// Adds a page that can be read.
    pub(crate) fn push(&mut self, client: ClientId, ticket: Ticket) {
        self.clients.entry(client).or_default().ready.push_back(ticket);
        self.give_turn(client);
    }

    /// Gives a client a turn if it has pages to read and none yet.
    pub(crate) fn give_turn(&mut self, client: ClientId) {
        if let Some(reader) = self.clients.get_mut(&client)
            && !reader.has_turn
            && !reader.ready.is_empty()
            && reader.under_way < CLIENT_READS_MAX
        {
            reader.has_turn = true;
            self.turns.push_back(client);
        }
    }

    /// Begins the next read, and returns its number and the page; `None` if there is none, or too many are under way.
    /// `has_room` says whether a client may have another large answer; one that may not gets a turn again with
    /// [`Ranges::give_turn`].
    pub(crate) fn begin(&mut self, has_room: impl Fn(ClientId) -> bool) -> Option<(u64, Ticket)> {
        while self.under_way.len() < READS_MAX {
            let client = self.turns.pop_front()?;
            let reader = self.clients.get_mut(&client).expect("a client with a turn is known");
            reader.has_turn = false;
            if !has_room(client) {
                continue;
            }
            let ticket = reader.ready.pop_front().expect("a client with a turn has a page to read");
            reader.under_way += 1;
            self.give_turn(client);
            let number = self.number();
            self.under_way.insert(number, (client, ticket));
            return Some((number, ticket));
        }
        None
    }

    /// Ends a read; `None` if it is not known.
    pub(crate) fn end(&mut self, id: u64) -> Option<Ticket> {
        let (client, ticket) = self.under_way.remove(&id)?;
        if let Some(reader) = self.clients.get_mut(&client) {
            reader.under_way -= 1;
            self.give_turn(client);
            self.clients
                .retain(|of, reader| *of != client || reader.under_way > 0 || !reader.ready.is_empty());
        }
        Some(ticket)
    }

    /// Forgets all reads of a table that was replaced, and returns their pages and those that wait for the table.
    pub(crate) fn forget_table(&mut self) -> Vec<Ticket> {
        let under_way: Vec<u64> = self.under_way.keys().copied().collect();
        let under_way: Vec<Ticket> = under_way.into_iter().filter_map(|id| self.end(id)).collect();
        self.take_waiting(u64::MAX).into_iter().chain(under_way).collect()
    }

    /// Forgets abandoned pages, but for those that are being read.
    pub(crate) fn retain(&mut self, waits: impl Fn(Ticket) -> bool) {
        self.waiting.retain(|_, tickets| {
            tickets.retain(|ticket| waits(*ticket));
            !tickets.is_empty()
        });
        for reader in self.clients.values_mut() {
            reader.ready.retain(|ticket| waits(*ticket));
            reader.has_turn &= !reader.ready.is_empty();
        }
        self.clients.retain(|_, reader| reader.under_way > 0 || !reader.ready.is_empty());
        let clients = &self.clients;
        self.turns.retain(|client| clients.get(client).is_some_and(|reader| reader.has_turn));
    }
}
