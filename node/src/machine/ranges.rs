//! Queries: pages, histories of keys and reads of transactions; raising the horizon of the history.

use gometa_proto::{
    ErrorKind, Setting,
    limits::TXN_VALUES_MAX,
    v1::{self, Command, Consistency, Error, command, response::Result as Answer},
};
use gometa_store::{Found, Query, Table, compacted_answer, encode_command};
use gometa_zab::{self as zab, DiskSpace, Role, Ticks};

use super::Node;
use crate::{
    config::HistoryBounds,
    effect::Effect,
    event::ClientId,
    forward::Proposer,
    horizon::Figures,
    reads,
    requests::{Ticket, Waiting, Want},
};

impl<T: Table> Node<T> {
    pub(super) fn range(&mut self, client: ClientId, id: u64, deadline: Ticks, range: v1::Range) {
        let (consistency, min_revision) = (range.consistency(), range.min_revision);
        self.query(client, id, deadline, Query::Range(range), consistency, min_revision);
    }

    /// The versions of a key.
    pub(super) fn history(&mut self, client: ClientId, id: u64, deadline: Ticks, get: v1::GetHistory) {
        let (consistency, min_revision) = (get.consistency(), get.min_revision);
        self.query(client, id, deadline, Query::History(get), consistency, min_revision);
    }

    /// A transaction that is a read.
    pub(super) fn read_txn(&mut self, client: ClientId, id: u64, deadline: Ticks, txn: v1::Txn) {
        let (consistency, min_revision) = (txn.consistency(), txn.min_revision);
        self.query(client, id, deadline, Query::Txn(txn), consistency, min_revision);
    }

    fn query(
        &mut self,
        client: ClientId,
        id: u64,
        deadline: Ticks,
        query: Query,
        consistency: Consistency,
        min_revision: u64,
    ) {
        let query = Box::new(query);
        let local = consistency == Consistency::Local;
        let want = if local { Want::LocalQuery(query, min_revision) } else { Want::Query(query) };
        let Some(ticket) = self.wait(client, id, deadline, want) else { return };
        if local { self.read_local(ticket) } else { self.barriers.join(ticket) }
    }

    /// Answers a transaction that was executed: its results are read.
    pub(super) fn read_results(
        &mut self,
        client: ClientId,
        id: u64,
        deadline: Ticks,
        txn: v1::Txn,
        outcome: v1::TxnOutcome,
    ) {
        probe!("txn.results-read");
        // Not by `wait`: what that refuses is not applied.
        let want = Want::LocalQuery(Box::new(Query::Results(txn, outcome)), 0);
        let has_room = self.requests.len() < self.config.requests_max;
        let ticket = has_room.then(|| self.requests.add(Waiting { client, id, deadline, want })).flatten();
        match ticket {
            Some(ticket) => self.ranges.wait(outcome.revision, ticket),
            None => {
                let message = "the transaction was executed, but this node has too many requests waiting to read its results";
                let error = Error::unknown(ErrorKind::ResourceExhausted, message).with_retry_after_ms(100);
                self.respond(client, id, Answer::Error(error));
            }
        }
    }

    /// Handles a query whose barrier is passed; a local one, whose revision is applied.
    pub(super) fn query_confirmed(&mut self, ticket: Ticket) {
        let applied = self.store.applied();
        let Some(Want::Query(query) | Want::LocalQuery(query, _)) =
            self.requests.get(ticket).map(|waiting| &waiting.want)
        else {
            return;
        };
        let at = query.revision();
        if at > applied {
            let message = format!("revision {at} is in the future, the latest one is {applied}");
            self.fail(ticket, Error::not_applied(ErrorKind::InvalidArgument, message));
        } else {
            let needed = if at == 0 { applied } else { at };
            self.ranges.wait(needed, ticket);
        }
    }

    /// Has queries answered, as many as may be under way.
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
                Some(Want::Query(query) | Want::LocalQuery(query, _)) => {
                    self.effects.push(Effect::Query { id, query: query.clone() });
                }
                _ => drop(self.ranges.end(id)),
            }
        }
    }

    /// Handles the answer to a query.
    pub(super) fn queried(&mut self, id: u64, result: Result<Found, u64>) {
        if self.next_ranges == Some(id) {
            let found = result.unwrap_or_else(|horizon| panic!("the present is below the horizon {horizon}"));
            return self.next_ranges_read(found);
        }
        let Some(ticket) = self.ranges.end(id) else { return };
        let Some(Waiting { client, want, .. }) = self.requests.get(ticket) else { return };
        let client = *client;
        match (result, want) {
            (Ok(Found::Page(page)), _) => {
                self.reads.account(client, reads::page_size(&page));
                self.respond_to(ticket, Answer::Page(page));
            }
            (Ok(Found::History(history)), _) => {
                self.reads.account(client, reads::history_size(&history));
                self.respond_to(ticket, Answer::KeyHistory(history));
            }
            (Ok(Found::Txn(answer)), _) => {
                self.reads.account(client, reads::txn_size(&answer));
                self.respond_to(ticket, Answer::Txn(answer));
            }
            (Ok(Found::TooLarge), _) => {
                let message = format!(
                    "the keys of the ranges that the transaction compares have values of more than {TXN_VALUES_MAX} bytes"
                );
                self.fail(ticket, Error::not_applied(ErrorKind::TooLarge, message));
            }
            (Ok(found @ Found::Ranges(_)), _) => panic!("a client's query is answered with {found:?}"),
            (Err(horizon), Want::LocalQuery(query, _)) if let Query::Results(txn, outcome) = &**query => {
                probe!("txn.results-compacted");
                let answer = compacted_answer(txn, *outcome, horizon);
                self.respond_to(ticket, Answer::Txn(answer));
            }
            (Err(horizon), _) => {
                probe!("range.compacted");
                let message = format!("the history begins at revision {horizon}");
                let error = Error::not_applied(ErrorKind::Compacted, message).with_actual_revision(horizon);
                self.fail(ticket, error);
            }
        }
    }

    /// Makes the queries of a replaced table again.
    pub(super) fn query_again(&mut self) {
        for ticket in self.ranges.forget_table() {
            probe!("range.table-replaced");
            self.query_confirmed(ticket);
        }
    }

    /// The bounds of the history, by the settings of the ensemble.
    fn history_bounds(&self) -> HistoryBounds {
        let default = self.config.history;
        let age_us = self.store.setting(Setting::HistoryAgeMinutes).map(|minutes| minutes * 60_000_000);
        let revisions_min = self.store.setting(Setting::HistoryRevisionsMin);
        let bytes_max = self.store.setting(Setting::HistoryBytesMax).unwrap_or(default.bytes_max);
        HistoryBounds {
            age_us: age_us.unwrap_or(default.age_us),
            revisions_min: revisions_min.unwrap_or(default.revisions_min),
            bytes_max: bytes_max.min(default.bytes_limit),
            ..default
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
        let bounds = self.history_bounds();
        if let Some(horizon) = self.horizon.raise(self.now, figures, &bounds) {
            let command = Command { body: Some(command::Body::RaiseHorizon(v1::RaiseHorizon { horizon })) };
            let id = self.forwarding.propose(Proposer::Horizon);
            let payload = encode_command(&command);
            self.inbox.push(zab::Event::Propose { id, payload, level: self.level(), may_wait: true });
        }
    }
}
