//! Sessions end at their clients' request, or by a leader's proposal, and not before they have been silent for their time-out (section 6.9):
//! a leader starts all their clocks afresh, so it ends none until it has led for that long.

use std::collections::{BTreeMap, BTreeSet};

use gometa_proto::v1::{Request, command::Body, request::Operation};
use gometa_store::decode_command;
use gometa_zab::{Epoch, LogEntry};

use super::{Check, ensure};

/// Since when each node leads which epoch, in microseconds.
#[derive(Default)]
pub(super) struct Sessions {
    since: BTreeMap<(usize, u64), u64>,
    /// Their clients have asked for their end: it may come at any time.
    ending: BTreeSet<u64>,
}

impl Sessions {
    /// A node is established.
    pub(super) fn established(&mut self, now: u64, node: usize, epoch: Epoch) {
        self.since.insert((node, epoch.0), now);
    }

    /// A client's request has reached a node.
    pub(super) fn asked(&mut self, request: &Request) {
        if let Some(Operation::EndSession(end)) = &request.operation {
            self.ending.insert(end.session);
        }
    }

    /// A node appends an entry: if it ends sessions and is the node's own proposal, is it time? A clock may be wrong
    /// by less than a tenth.
    pub(super) fn appends(&self, now: u64, node: usize, entry: &LogEntry, timeout_ms: u32) -> Check {
        let Some(since) = self.since.get(&(node, entry.zxid.epoch.0)) else { return Ok(()) };
        let body = decode_command(entry.payload.clone()).ok().and_then(|command| command.body);
        if let Some(Body::EndSessions(end)) = body
            && !end.sessions.iter().all(|session| self.ending.contains(session))
        {
            let led = now.saturating_sub(*since);
            ensure!(
                led >= u64::from(timeout_ms) * 900,
                "sessions end in time",
                "n{node} has led for {led} µs and ends {:?}, whose time-out is {timeout_ms} ms",
                end.sessions
            );
        }
        Ok(())
    }
}
