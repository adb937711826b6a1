//! Proposals and barriers between a node and its leader.

use bytes::Bytes;
use gometa_proto::{
    ErrorKind,
    limits::PAYLOAD_MAX,
    v1::{self, Error, node_message::Body},
};
use gometa_store::Table;
use gometa_zab::{self as zab, FIRST_LEVEL, LinkId, NodeId, Rejection, Role};

use super::{Node, space::ShortOfSpace};
use crate::{
    barrier,
    forward::{self, Proposer},
    requests::{At, Attempt},
};

impl<T: Table> Node<T> {
    /// Sends waiting commands and barriers to the leader, if there is one.
    pub(super) fn send_pending(&mut self) {
        self.send_member_requests();
        match self.role {
            Role::Leading { established: Some(_) } => {
                for (attempt, payload) in self.requests.send_held(At::Proposed) {
                    if let Some(short) = self.short_of_space(&payload) {
                        self.refused(&attempt, ErrorKind::ResourceExhausted, Some(short));
                        continue;
                    }
                    let id = self.forwarding.propose(Proposer::Own(attempt));
                    let level = self.level();
                    self.inbox.push(zab::Event::Propose { id, payload, level, may_wait: true });
                }
                if let Some(id) = self.barriers.begin_own() {
                    self.inbox.push(zab::Event::Barrier { id });
                }
            }
            Role::Following { established: Some(_), .. } => {
                let commands = self.requests.send_held(At::Forwarded);
                for message in self.forwarding.forward(commands, self.level()) {
                    self.inbox.push(zab::Event::RelayToLeader(message));
                }
                if let Some(id) = self.barriers.begin_forwarded() {
                    let question = Body::BarrierRequest(v1::BarrierRequest { id });
                    self.inbox.push(zab::Event::RelayToLeader(forward::encode(question)));
                }
            }
            Role::Forming | Role::Looking | Role::Following { .. } | Role::Leading { .. } => {}
        }
    }

    pub(super) fn relayed(&mut self, link: LinkId, payload: Bytes) {
        let Some(body) = forward::decode(payload) else { return };
        match body {
            Body::Forward(forwarded) => {
                for (position, payload) in forwarded.commands.into_iter().enumerate() {
                    let position = u32::try_from(position).unwrap_or(u32::MAX);
                    if payload.len() > PAYLOAD_MAX {
                        // No correct node sends it, and none could log it.
                        let kind = ErrorKind::TooLarge;
                        let payload = forward::rejection(forwarded.id, vec![position], kind);
                        self.inbox.push(zab::Event::RelayTo { link, payload });
                        continue;
                    }
                    if let Some(ShortOfSpace { node, critical }) = self.short_of_space(&payload) {
                        let payload = forward::encode(Body::ForwardRejected(v1::ForwardRejected {
                            id: forwarded.id,
                            rejected: vec![position],
                            kind: ErrorKind::ResourceExhausted.number(),
                            short_of_space: node.0,
                            critical,
                        }));
                        self.inbox.push(zab::Event::RelayTo { link, payload });
                        continue;
                    }
                    let proposer = Proposer::Follower { link, forward: forwarded.id, position };
                    let id = self.forwarding.propose(proposer);
                    let level = forwarded.level.max(FIRST_LEVEL);
                    self.inbox.push(zab::Event::Propose { id, payload, level, may_wait: true });
                }
            }
            Body::ForwardRejected(rejected) => {
                let v1::ForwardRejected { short_of_space, critical, .. } = rejected;
                let short =
                    (short_of_space != 0).then_some(ShortOfSpace { node: NodeId(short_of_space), critical });
                for attempt in self.forwarding.rejected(&rejected) {
                    self.refused(&attempt, ErrorKind::from_number(rejected.kind), short);
                }
            }
            Body::BarrierRequest(request) => match self.barriers.begin_for(link, request.id) {
                Some(id) => self.inbox.push(zab::Event::Barrier { id }),
                None => {
                    let reply = v1::BarrierReply { id: request.id, passed: false, commit: 0 };
                    let payload = forward::encode(Body::BarrierReply(reply));
                    self.inbox.push(zab::Event::RelayTo { link, payload });
                }
            },
            Body::BarrierReply(reply) => {
                let commit = reply.passed.then_some(reply.commit);
                self.barriers.end_forwarded(reply.id, commit);
            }
            Body::MemberRequest(asked) => self.member_request(link, asked),
            Body::MemberReply(reply) => self.member_reply(reply),
            Body::Contacts(contacts) => {
                for session in contacts.sessions {
                    self.contact(session);
                }
            }
        }
    }

    /// Handles that the protocol core has rejected a command.
    pub(super) fn rejected(&mut self, id: u64, why: Rejection) {
        let kind = match why {
            Rejection::NotLeader => ErrorKind::NotLeader,
            Rejection::Full => ErrorKind::ResourceExhausted,
            Rejection::Level => ErrorKind::Unsupported,
        };
        match self.forwarding.decided(id) {
            Some(Proposer::Own(attempt)) => self.refused(&attempt, kind, None),
            Some(Proposer::Follower { link, forward, position }) => {
                probe!("forward.rejected");
                let payload = forward::rejection(forward, vec![position], kind);
                self.inbox.push(zab::Event::RelayTo { link, payload });
            }
            Some(Proposer::Clock) => probe!("session.expiry-rejected"),
            Some(Proposer::Horizon) => self.horizon.rejected(),
            None => {}
        }
    }

    /// Handles that an attempt was not proposed: without a leader it waits for the next one; else it fails.
    fn refused(&mut self, attempt: &Attempt, kind: ErrorKind, short: Option<ShortOfSpace>) {
        let Some(submission) = self.requests.refused(attempt) else { return };
        if kind == ErrorKind::NotLeader {
            self.requests.hold(attempt.key.clone());
            return;
        }
        probe!("write.rejected-permanently");
        let outcome = submission.outcome();
        for ticket in submission.tickets.clone() {
            let error = match (kind, short) {
                (_, Some(short)) => self.short_of_space_error(short, outcome),
                (ErrorKind::ResourceExhausted, None) => {
                    Error::new(kind, "too many writes are in flight", outcome).with_retry_after_ms(20)
                }
                (ErrorKind::Unsupported, None) => Error::new(
                    kind,
                    "the leader's ensemble does not have the feature level that the write was made for",
                    outcome,
                ),
                (other, None) => Error::new(other, "the leader refuses the write", outcome),
            };
            self.fail(ticket, error);
        }
    }

    pub(super) fn end_barrier(&mut self, id: u64, commit: Option<u64>) {
        match (self.barriers.end(id), commit) {
            (Some(barrier::Origin::Own(tickets)), Some(commit)) => self.barriers.confirm(commit, tickets),
            (Some(barrier::Origin::Own(tickets)), None) => {
                probe!("read.barrier-retried");
                self.barriers.retry(tickets);
            }
            (Some(barrier::Origin::Follower { link, id }), commit) => {
                probe!("read.forwarded-barrier-failed", commit.is_none());
                let reply =
                    v1::BarrierReply { id, passed: commit.is_some(), commit: commit.unwrap_or_default() };
                let payload = forward::encode(Body::BarrierReply(reply));
                self.inbox.push(zab::Event::RelayTo { link, payload });
            }
            (Some(barrier::Origin::Members(number)), commit) => {
                self.members_confirmed(number, commit.is_some());
            }
            (None, _) => {}
        }
    }
}
