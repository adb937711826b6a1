//! Sessions: opening, contact, end.

use gometa_proto::{
    ErrorKind,
    limits::CONNECTION_SESSIONS_MAX,
    v1::{self, Command, Error, command, node_message::Body, response::Result as Answer},
};
use gometa_store::{Table, encode_command};
use gometa_zab::{self as zab, Ticks};

use super::Node;
use crate::{
    effect::Effect,
    event::ClientId,
    forward::{self, Proposer},
    requests::WriteKey,
};

impl<T: Table> Node<T> {
    pub(super) fn open_session(
        &mut self,
        client: ClientId,
        id: u64,
        deadline: Ticks,
        v1::OpenSession { nonce }: v1::OpenSession,
    ) {
        if !self.openers.admits(client, &nonce) {
            let message = format!(
                "{CONNECTION_SESSIONS_MAX} sessions opened over this connection have not ended, more are not allowed: \
                 end those that are no longer needed (EndSession), or use another connection"
            );
            let error = Error::not_applied(ErrorKind::ResourceExhausted, message);
            return self.respond(client, id, Answer::Error(error));
        }
        if let Some(session) = self.store.session_by_nonce(&nonce) {
            probe!("session.open-answered-locally");
            let timeout_ms = self.store.session_timeout(session).unwrap_or_default();
            self.openers.open(client, &nonce);
            self.openers.opened(&nonce, session);
            let opened = v1::SessionOpened { session, timeout_ms };
            return self.respond(client, id, Answer::SessionOpened(opened));
        }
        let key = WriteKey::Open { nonce: nonce.clone() };
        let create = v1::CreateSession { nonce: nonce.clone(), timeout_ms: self.config.session_timeout_ms };
        if self.submit(client, id, deadline, key, command::Body::CreateSession(create)) {
            self.openers.open(client, &nonce);
        }
    }

    pub(super) fn end_session(&mut self, client: ClientId, id: u64, deadline: Ticks, session: u64) {
        // A session's id is the counter of the entry that created it, so this node knows all sessions up to `applied`.
        let ended = session <= self.store.applied() && self.store.session_timeout(session).is_none();
        if planted!(ended, session_end_not_replicated => true) {
            probe!("session.end-answered-locally");
            return self.respond(client, id, Answer::SessionEnded(v1::SessionEnded { existed: false }));
        }
        let end = command::Body::EndSessions(v1::EndSessions { sessions: vec![session] });
        self.submit(client, id, deadline, WriteKey::End { session }, end);
    }

    /// Handles that the opening of a session is applied.
    pub(super) fn session_opened(&mut self, nonce: &[u8], session: u64) {
        self.openers.opened(nonce, session);
        self.contact(session);
    }

    /// Handles that the end of a session is applied: answers the requests for it.
    pub(super) fn session_ended(&mut self, session: u64, existed: bool) {
        self.clocks.end(session);
        self.openers.ended(session);
        for ticket in self.requests.settle(&WriteKey::End { session }) {
            probe!("session.end-requested");
            self.respond_to(ticket, Answer::SessionEnded(v1::SessionEnded { existed }));
        }
    }

    pub(super) fn contact(&mut self, session: u64) {
        if let Some(timeout_ms) = self.store.session_timeout(session) {
            self.clocks.contact(session, timeout_ms);
        }
    }

    /// On a leader: ends expired sessions. On a follower: reports contacts to the leader.
    pub(super) fn check_sessions(&mut self) {
        let store = &self.store;
        let expired = self.clocks.expired(|session| store.session_timeout(session));
        if !expired.is_empty() && !self.proposes_nothing() {
            probe!("session.expired");
            let end = command::Body::EndSessions(v1::EndSessions { sessions: expired });
            let command = Command { body: Some(end) };
            let id = self.forwarding.propose(Proposer::Clock);
            // A contact after this moment saves the session: the end of it must not be proposed later.
            let may_wait = planted!(false, lets_expiries_wait => true);
            let payload = encode_command(&command);
            self.inbox.push(zab::Event::Propose { id, payload, level: self.level(), may_wait });
        }
        let report = self.clocks.report(self.config.session_timeout_ms / 6);
        if !report.is_empty() {
            let contacts = Body::Contacts(v1::Contacts { sessions: report });
            self.inbox.push(zab::Event::RelayToLeader(forward::encode(contacts)));
        }
        let live = self.store.sessions();
        if let Some(openers) = self.openers.report(self.now, live) {
            self.effects.push(Effect::SessionsShort { live, openers });
        }
    }
}
