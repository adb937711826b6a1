//! Reading pages, and raising the horizon of the history.

use gometa_proto::{
    ErrorKind,
    v1::{self, Command, Consistency, Error, Page, command, response::Result as Answer},
};
use gometa_store::{Table, encode_command};
use gometa_zab::{self as zab, DiskSpace, Role, Ticks};

use super::Node;
use crate::{
    effect::Effect,
    event::ClientId,
    forward::Proposer,
    horizon::Figures,
    reads,
    requests::{Ticket, Want},
};

impl<T: Table> Node<T> {
    pub(super) fn range(&mut self, client: ClientId, id: u64, deadline: Ticks, range: v1::Range) {
        let local = range.consistency() == Consistency::Local;
        let range = Box::new(range);
        let want = if local { Want::LocalRange(range) } else { Want::Range(range) };
        let Some(ticket) = self.wait(client, id, deadline, want) else { return };
        if local { self.read_local(ticket) } else { self.barriers.join(ticket) }
    }

    /// Handles a page whose barrier is passed; a local one, whose revision is applied.
    pub(super) fn range_confirmed(&mut self, ticket: Ticket) {
        let applied = self.store.applied();
        let Some(Want::Range(range) | Want::LocalRange(range)) =
            self.requests.get(ticket).map(|waiting| &waiting.want)
        else {
            return;
        };
        let at = range.at_revision;
        if at > applied {
            let message = format!("revision {at} is in the future, the latest one is {applied}");
            self.fail(ticket, Error::not_applied(ErrorKind::InvalidArgument, message));
        } else {
            let needed = if at == 0 { applied } else { at };
            self.ranges.wait(needed, ticket);
        }
    }

    /// Has pages read, as many as may be under way.
    pub(super) fn begin_ranges(&mut self) {
        for ticket in self.ranges.take_waiting(self.table_applied) {
            if let Some(waiting) = self.requests.get(ticket) {
                self.ranges.push(waiting.client, ticket);
            }
        }
        // What the next ones need is not in a batch yet, or is on its way.
        if self.ranges.wait_for_table() && self.batches.is_empty() {
            self.store_batch();
        }
        let reads = &self.reads;
        while let Some((id, ticket)) = self.ranges.begin(|client| reads.has_room(client)) {
            match self.requests.get(ticket).map(|waiting| &waiting.want) {
                Some(Want::Range(range) | Want::LocalRange(range)) => {
                    self.effects.push(Effect::ReadPage { id, range: (**range).clone() });
                }
                _ => drop(self.ranges.end(id)),
            }
        }
    }

    /// Handles a page that was read.
    pub(super) fn page_read(&mut self, id: u64, result: Result<Page, u64>) {
        let Some(ticket) = self.ranges.end(id) else { return };
        let Some(client) = self.requests.get(ticket).map(|waiting| waiting.client) else { return };
        match result {
            Ok(page) => {
                self.reads.account(client, reads::page_size(&page));
                self.respond_to(ticket, Answer::Page(page));
            }
            Err(horizon) => {
                probe!("range.compacted");
                let message = format!("the history begins at revision {horizon}");
                let error = Error::not_applied(ErrorKind::Compacted, message).with_actual_revision(horizon);
                self.fail(ticket, error);
            }
        }
    }

    /// Reads the pages of a replaced table again.
    pub(super) fn read_pages_again(&mut self) {
        for ticket in self.ranges.forget_table() {
            probe!("range.table-replaced");
            self.range_confirmed(ticket);
        }
    }

    /// On a leader: raises the horizon when that is due.
    pub(super) fn raise_horizon(&mut self) {
        if !matches!(self.role, Role::Leading { established: Some(_) }) {
            return self.horizon.stop();
        }
        if !self.horizon.is_due(self.now) || self.proposes_nothing() {
            return;
        }
        let figures = Figures {
            applied: self.store.applied(),
            horizon: self.store.horizon(),
            bytes: self.storage.history_bytes,
            short_of_space: self.zab.writable().0 == DiskSpace::Low,
        };
        if let Some(horizon) = self.horizon.raise(self.now, figures, &self.config.history) {
            let command = Command { body: Some(command::Body::RaiseHorizon(v1::RaiseHorizon { horizon })) };
            let id = self.forwarding.propose(Proposer::Horizon);
            let payload = encode_command(&command);
            self.inbox.push(zab::Event::Propose { id, payload, may_wait: true });
        }
    }
}
