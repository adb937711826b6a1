//! The sessions that each connection has opened: the bound on them, and the report when the ensemble has few left.
//!
//! An *opening* is the attempt of one connection to open a session, identified by its nonce. It counts from the request
//! until the session has ended, or until it is certain that the attempt was not proposed: a client that cancels its
//! requests, or lets their deadlines pass, opens no more sessions than one that waits. A session belongs to the
//! connection that requested it last, and to none after that has closed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use gometa_proto::limits::{CONNECTION_SESSIONS_MAX, SESSIONS_MAX};
use gometa_zab::Ticks;

use crate::event::ClientId;

/// The shortest time between two reports, in microseconds.
const REPORT_EVERY: u64 = 60_000_000;

/// The most clients in one report.
const NAMED_MAX: usize = 5;

/// The name in reports of clients without a Hello.
const NAMELESS: &str = "clients without a name";

/// One connection.
#[derive(Debug)]
struct Connection {
    name: Arc<str>,
    /// At most [`CONNECTION_SESSIONS_MAX`].
    openings: Vec<Opening>,
}

#[derive(Debug)]
struct Opening {
    nonce: Bytes,
    /// `None` until the opening is applied.
    session: Option<u64>,
}

/// The openings of this node's clients.
#[derive(Debug, Default)]
pub(crate) struct Openers {
    connections: HashMap<ClientId, Connection>,
    /// The connection of each opening that is not applied yet, by nonce.
    pending: HashMap<Bytes, ClientId>,
    /// The live sessions that were opened through this node since its start, also by connections that have closed.
    sessions: BTreeMap<u64, (ClientId, Arc<str>)>,
    next_report: Ticks,
}

impl Openers {
    fn connection(&mut self, client: ClientId) -> &mut Connection {
        let nameless = || Connection { name: NAMELESS.into(), openings: Vec::new() };
        self.connections.entry(client).or_insert_with(nameless)
    }

    /// Sets a client's name.
    pub(crate) fn name(&mut self, client: ClientId, name: Arc<str>) {
        self.connection(client).name = name;
    }

    /// Whether a connection may open a session with this nonce.
    pub(crate) fn admits(&self, client: ClientId, nonce: &[u8]) -> bool {
        self.connections.get(&client).is_none_or(|connection| {
            connection.openings.len() < CONNECTION_SESSIONS_MAX
                || connection.openings.iter().any(|opening| opening.nonce == nonce)
        })
    }

    /// Records an opening; it must be admitted.
    pub(crate) fn open(&mut self, client: ClientId, nonce: &Bytes) {
        if let Some(other) = self.pending.insert(nonce.clone(), client) {
            self.forget(other, nonce);
        }
        let openings = &mut self.connection(client).openings;
        if openings.iter().all(|opening| opening.nonce != nonce) {
            openings.push(Opening { nonce: nonce.clone(), session: None });
        }
    }

    /// Removes an opening that was certainly not proposed.
    pub(crate) fn withdraw(&mut self, client: ClientId, nonce: &Bytes) {
        if self.pending.get(nonce) == Some(&client) {
            self.pending.remove(nonce);
            self.forget(client, nonce);
        }
    }

    fn forget(&mut self, client: ClientId, nonce: &Bytes) {
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.openings.retain(|opening| opening.nonce != nonce);
        }
    }

    /// Records that an opening is applied.
    pub(crate) fn opened(&mut self, nonce: &[u8], session: u64) {
        let Some(client) = self.pending.remove(nonce) else { return };
        let Some(connection) = self.connections.get_mut(&client) else { return };
        if let Some(opening) = connection.openings.iter_mut().find(|opening| opening.nonce == nonce) {
            opening.session = Some(session);
            let name = connection.name.clone();
            if let Some((other, _)) = self.sessions.insert(session, (client, name))
                && other != client
            {
                self.forget_session(other, session);
            }
        }
    }

    /// Removes a session that has ended.
    pub(crate) fn ended(&mut self, session: u64) {
        if let Some((client, _)) = self.sessions.remove(&session) {
            self.forget_session(client, session);
        }
    }

    fn forget_session(&mut self, client: ClientId, session: u64) {
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.openings.retain(|opening| opening.session != Some(session));
        }
    }

    /// The sessions are replaced: `session` is that of a nonce, `lives` whether it lives. An opening whose session has
    /// ended meanwhile counts until its connection closes.
    pub(crate) fn replace(&mut self, session: impl Fn(&[u8]) -> Option<u64>, lives: impl Fn(u64) -> bool) {
        let opened: Vec<(Bytes, u64)> =
            self.pending.keys().filter_map(|nonce| Some((nonce.clone(), session(nonce)?))).collect();
        for (nonce, session) in opened {
            self.opened(&nonce, session);
        }
        let ended: Vec<u64> = self.sessions.keys().copied().filter(|session| !lives(*session)).collect();
        for session in ended {
            self.ended(session);
        }
    }

    /// Removes a closed connection. Its sessions stay open.
    pub(crate) fn gone(&mut self, client: ClientId) {
        let Some(connection) = self.connections.remove(&client) else { return };
        for opening in connection.openings.iter().filter(|opening| opening.session.is_none()) {
            if self.pending.get(&opening.nonce) == Some(&client) {
                self.pending.remove(&opening.nonce);
            }
        }
    }

    /// The clients with most of the `live` sessions, and their numbers, at most once a minute, if at least three quarters
    /// of the ensemble's sessions are in use.
    pub(crate) fn report(&mut self, now: Ticks, live: usize) -> Option<Vec<(Arc<str>, usize)>> {
        if live < SESSIONS_MAX / 4 * 3 || now < self.next_report {
            return None;
        }
        self.next_report = now.plus(REPORT_EVERY);
        let mut counts: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for (_, name) in self.sessions.values() {
            *counts.entry(name).or_default() += 1;
        }
        let mut most: Vec<(Arc<str>, usize)> =
            counts.into_iter().map(|(name, count)| (name.clone(), count)).collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        most.truncate(NAMED_MAX);
        Some(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ClientId = ClientId(1);
    const TWO: ClientId = ClientId(2);

    fn nonce(number: u64) -> Bytes {
        Bytes::copy_from_slice(&u128::from(number).to_be_bytes())
    }

    /// A connection with as many sessions as it may have, their ids those of their nonces.
    fn full(openers: &mut Openers, client: ClientId, first: u64) {
        for number in first..first + CONNECTION_SESSIONS_MAX as u64 {
            assert!(openers.admits(client, &nonce(number)));
            openers.open(client, &nonce(number));
            openers.opened(&nonce(number), number);
        }
        assert!(!openers.admits(client, &nonce(99)));
    }

    #[test]
    fn the_end_of_a_session_makes_room_for_another() {
        let mut openers = Openers::default();
        full(&mut openers, ONE, 1);
        openers.ended(3);
        assert!(openers.admits(ONE, &nonce(99)));
        openers.open(ONE, &nonce(99));
        assert!(!openers.admits(ONE, &nonce(100)));
        assert!(openers.admits(TWO, &nonce(100)));
    }

    #[test]
    fn a_repeated_opening_needs_no_room() {
        let mut openers = Openers::default();
        full(&mut openers, ONE, 1);
        assert!(openers.admits(ONE, &nonce(1)));
        openers.open(ONE, &nonce(1));
        openers.opened(&nonce(1), 1);
        assert!(!openers.admits(ONE, &nonce(99)));
        openers.ended(1);
        assert!(openers.admits(ONE, &nonce(99)));
    }

    #[test]
    fn an_opening_counts_until_it_is_certain_that_it_was_not_proposed() {
        let mut openers = Openers::default();
        for number in 1..=CONNECTION_SESSIONS_MAX as u64 {
            openers.open(ONE, &nonce(number));
        }
        assert!(!openers.admits(ONE, &nonce(99)));
        openers.withdraw(ONE, &nonce(4));
        assert!(openers.admits(ONE, &nonce(99)));
        openers.open(ONE, &nonce(99));
        // Another connection cannot withdraw an opening.
        openers.withdraw(TWO, &nonce(5));
        assert!(!openers.admits(ONE, &nonce(100)));
    }

    #[test]
    fn a_session_moves_with_its_client_to_another_connection() {
        let mut openers = Openers::default();
        full(&mut openers, ONE, 1);
        openers.open(TWO, &nonce(7));
        openers.opened(&nonce(7), 7);
        assert!(openers.admits(ONE, &nonce(99)));
        // The same while it is being opened.
        openers.open(ONE, &nonce(50));
        openers.open(TWO, &nonce(50));
        assert!(openers.admits(ONE, &nonce(99)));
        openers.gone(TWO);
        openers.ended(7);
        assert!(openers.pending.is_empty());
        assert_eq!(openers.sessions.len(), CONNECTION_SESSIONS_MAX - 1);
    }

    #[test]
    fn the_clients_with_most_sessions_are_reported_once_a_minute_while_few_are_left() {
        let mut openers = Openers::default();
        for client in 1..=9 {
            openers.name(ClientId(client), format!("10.0.0.{}", client % 3).into());
            openers.open(ClientId(client), &nonce(client));
            openers.opened(&nonce(client), client);
            openers.gone(ClientId(client));
        }
        openers.open(ClientId(10), &nonce(10));
        openers.opened(&nonce(10), 10);
        openers.ended(1);
        let short = SESSIONS_MAX / 4 * 3;
        let now = Ticks(5);
        assert_eq!(openers.report(now, short - 1), None);
        let report = openers.report(now, short).unwrap();
        let report: Vec<(&str, usize)> = report.iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(report, [("10.0.0.0", 3), ("10.0.0.2", 3), ("10.0.0.1", 2), (NAMELESS, 1)]);
        assert_eq!(openers.report(now.plus(REPORT_EVERY - 1), SESSIONS_MAX), None);
        assert!(openers.report(now.plus(REPORT_EVERY), SESSIONS_MAX).is_some());
    }
}
