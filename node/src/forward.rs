//! Forwarding of commands from a follower to its leader.
//!
//! A follower sends commands and learns their outcomes by applying them; the leader answers only those that it
//! did not propose. Exactly-once does not depend on it: the session table suppresses the second execution of a
//! command that reaches the log twice.

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

/// The most commands in one Forward.
const COMMANDS_MAX: usize = 4_096;

/// The most bytes of commands in one Forward; a single command may exceed it.
const BYTES_MAX: usize = 1 << 20;

/// The origin of a command proposed to this node's protocol core.
#[derive(Debug)]
pub(crate) enum Proposer {
    /// A client of this node.
    Own(Attempt),
    /// A follower: its connection, its Forward, the command's position.
    Follower { link: LinkId, forward: u64, position: u32 },
    /// This node: the end of expired sessions.
    Clock,
    /// This node: another horizon.
    Horizon,
}

/// Commands sent to the leader, and commands proposed here.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    next: u64,
    /// This node's Forwards to its leader, by number, until the leadership ends. Only the newest are kept: commands of
    /// older ones are settled by apply or by their deadlines.
    sent: BTreeMap<u64, Vec<Attempt>>,
    /// The number of attempts in `sent`.
    sent_count: usize,
    /// The proposals of the current step, by number.
    proposed: HashMap<u64, Proposer>,
}

/// The most forwarded attempts kept for their rejection; about 4 MiB.
const SENT_MAX: usize = 65_536;

impl Forwarding {
    /// Registers a proposal to this node's core and returns its number.
    pub(crate) fn propose(&mut self, proposer: Proposer) -> u64 {
        self.next += 1;
        self.proposed.insert(self.next, proposer);
        self.next
    }

    /// Takes the origin of a proposal that the core has accepted or rejected.
    pub(crate) fn decided(&mut self, id: u64) -> Option<Proposer> {
        self.proposed.remove(&id)
    }

    /// Encodes commands that were made for this feature level for the leader, in one or more messages.
    pub(crate) fn forward(&mut self, commands: Vec<(Attempt, Bytes)>, level: u32) -> Vec<Bytes> {
        let mut messages = Vec::new();
        let mut attempts = Vec::new();
        let mut payloads: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        for (attempt, payload) in commands {
            if payloads.len() >= COMMANDS_MAX || (!payloads.is_empty() && bytes + payload.len() > BYTES_MAX) {
                messages.push(self.finish(
                    std::mem::take(&mut attempts),
                    std::mem::take(&mut payloads),
                    level,
                ));
                bytes = 0;
            }
            bytes += payload.len();
            attempts.push(attempt);
            payloads.push(payload);
        }
        if !payloads.is_empty() {
            messages.push(self.finish(attempts, payloads, level));
        }
        messages
    }

    fn finish(&mut self, attempts: Vec<Attempt>, commands: Vec<Bytes>, level: u32) -> Bytes {
        self.next += 1;
        self.sent_count += attempts.len();
        self.sent.insert(self.next, attempts);
        while self.sent_count > SENT_MAX
            && let Some((_, oldest)) = self.sent.pop_first()
        {
            self.sent_count -= oldest.len();
        }
        encode(Body::Forward(v1::Forward { id: self.next, commands, level }))
    }

    /// Returns the attempts of a Forward that the leader did not propose.
    pub(crate) fn rejected(&mut self, rejected: &v1::ForwardRejected) -> Vec<Attempt> {
        let Some(attempts) = self.sent.get(&rejected.id) else { return Vec::new() };
        rejected.rejected.iter().filter_map(|position| attempts.get(*position as usize).cloned()).collect()
    }

    /// Forgets the Forwards of a leadership that is over.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.sent_count = 0;
    }
}

/// Encodes a message to the same layer of another node.
pub(crate) fn encode(body: Body) -> Bytes {
    NodeMessage { body: Some(body) }.encode_to_vec().into()
}

/// Decodes a message of the same layer of another node; `None` if it is malformed or exceeds a bound.
pub(crate) fn decode(payload: Bytes) -> Option<Body> {
    let body = check::decode::<NodeMessage>(payload, PEER_ELEMENTS_MAX).ok()?.body?;
    match &body {
        Body::Forward(forward) if forward.commands.len() > COMMANDS_MAX => None,
        _ => Some(body),
    }
}

/// The message that some commands of a Forward were not proposed.
pub(crate) fn rejection(forward: u64, rejected: Vec<u32>, kind: ErrorKind) -> Bytes {
    encode(Body::ForwardRejected(v1::ForwardRejected {
        id: forward,
        rejected,
        kind: kind.number(),
        ..Default::default()
    }))
}
