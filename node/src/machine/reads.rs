//! Answering reads.

use gometa_proto::{
    ErrorKind,
    v1::{Error, response::Result as Answer},
};
use gometa_store::{Lookup, Table};

use super::Node;
use crate::{
    reads,
    requests::{Ticket, Want},
};

impl<T: Table> Node<T> {
    pub(super) fn read_local(&mut self, ticket: Ticket) {
        let Some(waiting) = self.requests.get(ticket) else { return };
        let needed = waiting.want.min_revision();
        let up_to_date = planted!(self.synchronised, local_read_before_synchronised => true);
        let applied = self.store.applied() >= needed;
        if up_to_date && planted!(applied, local_read_ignores_min_revision => true) {
            self.read_confirmed(ticket);
        } else {
            probe!("read.local-waits-for-synchronisation", !self.synchronised);
            probe!("read.local-waits-for-revision", self.synchronised);
            // The end of the first synchronisation comes with an apply or a role.
            self.barriers.confirm(needed, vec![ticket]);
        }
    }

    /// Handles a read whose barrier is passed, or whose minimum revision is applied.
    fn read_confirmed(&mut self, ticket: Ticket) {
        let Some(waiting) = self.requests.get(ticket) else { return };
        match waiting.want {
            Want::Query(_) | Want::LocalQuery(..) => self.query_confirmed(ticket),
            _ => self.reads.push(waiting.client, ticket),
        }
    }

    /// Answers ready reads, as many as the step allows.
    pub(super) fn answer_reads(&mut self) {
        if self.synchronised {
            for ticket in self.barriers.ready(self.store.applied()) {
                self.read_confirmed(ticket);
            }
        }
        self.reads.begin_step();
        self.answer_fetched();
        while let Some((client, ticket)) = self.reads.next() {
            let bytes = self.read(ticket);
            self.reads.answered(client, bytes);
        }
    }

    /// Answers a read and returns the size of the entry, in bytes. If its record is not in memory, it waits for that.
    pub(super) fn read(&mut self, ticket: Ticket) -> usize {
        let Some(waiting) = self.requests.get(ticket) else { return 0 };
        let (Want::Read(get) | Want::LocalRead(get)) = &waiting.want else { return 0 };
        let (answer, bytes) = match self.store.get(&get.key) {
            Lookup::Found(entry) => {
                let bytes = reads::size(&entry);
                (Answer::Entry(entry), bytes)
            }
            Lookup::NotInMemory => {
                let key = get.key.clone();
                self.await_record(ticket, key);
                return 0;
            }
            Lookup::Absent => {
                (Answer::Error(Error::not_applied(ErrorKind::NotFound, "there is no such key")), 0)
            }
        };
        self.respond_to(ticket, answer);
        bytes
    }
}
