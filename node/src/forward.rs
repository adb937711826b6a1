//! Commands and questions between a follower's upper half and its leader's.
//!
//! A follower sends commands and learns their outcomes by applying them; the leader answers only for what it
//! did not propose. Nothing here is needed for exactly-once: a command that reaches the log twice executes
//! once, because the session table says so at apply.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use gometa_proto::{
    ErrorKind, check,
    limits::PEER_ELEMENTS_MAX,
    v1::{self, NodeMessage, node_message::Body},
};
use gometa_zab::LinkId;
use prost::Message as _;

use crate::requests::Attempt;

/// Commands in one Forward at most.
const COMMANDS_MAX: usize = 4_096;

/// Bytes of commands in one Forward at most, but for a single one.
const BYTES_MAX: usize = 1 << 20;

/// Whose command was given to this node's protocol core.
#[derive(Debug)]
pub(crate) enum Proposer {
    /// A client of this node.
    Own(Attempt),
    /// A follower: its connection, its Forward, the command's position.
    Follower { link: LinkId, forward: u64, position: u32 },
    /// This node: the end of silent sessions.
    Clock,
}

/// What this node forwarded, and what it was forwarded.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    next: u64,
    /// This node's Forwards to its leader, by number, until the leadership ends. Only the newest are kept: an
    /// answer to an older one is overdue, and its commands are settled by apply or by their deadlines.
    sent: BTreeMap<u64, Vec<Attempt>>,
    /// Attempts in all of `sent`.
    sent_count: usize,
    /// Proposals of the step under way, by number.
    proposed: HashMap<u64, Proposer>,
}

/// Forwarded attempts whose rejection is still understood; about 4 MiB.
const SENT_MAX: usize = 65_536;

impl Forwarding {
    /// Notes a proposal to this node's core; its number.
    pub(crate) fn propose(&mut self, proposer: Proposer) -> u64 {
        self.next += 1;
        self.proposed.insert(self.next, proposer);
        self.next
    }

    /// The core has decided on a proposal.
    pub(crate) fn decided(&mut self, id: u64) -> Option<Proposer> {
        self.proposed.remove(&id)
    }

    /// Encodes commands for the leader, in as many messages as they need.
    pub(crate) fn forward(&mut self, commands: Vec<(Attempt, Bytes)>) -> Vec<Bytes> {
        let mut messages = Vec::new();
        let mut attempts = Vec::new();
        let mut payloads: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        for (attempt, payload) in commands {
            if payloads.len() >= COMMANDS_MAX || (!payloads.is_empty() && bytes + payload.len() > BYTES_MAX) {
                messages.push(self.finish(std::mem::take(&mut attempts), std::mem::take(&mut payloads)));
                bytes = 0;
            }
            bytes += payload.len();
            attempts.push(attempt);
            payloads.push(payload);
        }
        if !payloads.is_empty() {
            messages.push(self.finish(attempts, payloads));
        }
        messages
    }

    fn finish(&mut self, attempts: Vec<Attempt>, commands: Vec<Bytes>) -> Bytes {
        self.next += 1;
        self.sent_count += attempts.len();
        self.sent.insert(self.next, attempts);
        while self.sent_count > SENT_MAX
            && let Some((_, oldest)) = self.sent.pop_first()
        {
            self.sent_count -= oldest.len();
        }
        encode(Body::Forward(v1::Forward { id: self.next, commands }))
    }

    /// The leader did not propose some commands of a Forward.
    pub(crate) fn rejected(&mut self, rejected: &v1::ForwardRejected) -> Vec<Attempt> {
        let Some(attempts) = self.sent.get(&rejected.id) else { return Vec::new() };
        rejected.rejected.iter().filter_map(|position| attempts.get(*position as usize).cloned()).collect()
    }

    /// The leadership is over.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.sent_count = 0;
    }
}

/// A message to the other end's upper half.
pub(crate) fn encode(body: Body) -> Bytes {
    NodeMessage { body: Some(body) }.encode_to_vec().into()
}

/// A message from the other end's upper half; `None` if it makes no sense or holds more than it may.
pub(crate) fn decode(payload: Bytes) -> Option<Body> {
    let body = check::decode::<NodeMessage>(payload, PEER_ELEMENTS_MAX).ok()?.body?;
    match &body {
        Body::Forward(forward) if forward.commands.len() > COMMANDS_MAX => None,
        _ => Some(body),
    }
}

/// A refusal to propose.
pub(crate) fn rejection(forward: u64, rejected: Vec<u32>, kind: ErrorKind) -> Bytes {
    encode(Body::ForwardRejected(v1::ForwardRejected { id: forward, rejected, kind: kind.number() }))
}
