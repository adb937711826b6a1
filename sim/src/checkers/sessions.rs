//! Sessions end at their clients' request, or by a leader's proposal, and not before they have been silent for their
//! timeout (section 6.9), in *attended time*: between two steps of a node at most 100 ms count, so a pause ends no
//! session of a living client. A leader starts all clocks afresh, so it ends none until it has led for that long.
//! What it has not seen yet when it goes on after a pause may be signs of life: it ends none in that step.

use std::collections::{BTreeMap, BTreeSet};

use gometa_node::Event;
use gometa_proto::v1::{Request, command::Body, request::Operation};
use gometa_store::decode_command;
use gometa_zab::{Epoch, Kind, LogEntry, Ticks};

use super::{Check, ensure};

const RULE: &str = "sessions end in time";

/// What counts between two steps at most, in microseconds.
const GAP_MAX: u64 = 100_000;

/// One node's process.
#[derive(Default)]
struct Process {
    /// Its last step, by its own clock.
    stepped: Ticks,
    /// Attended time, in microseconds.
    attended: u64,
    /// Its present step comes late.
    late: bool,
    /// When it saw the last sign of life of each session, in attended time.
    seen: BTreeMap<u64, u64>,
}

#[derive(Default)]
pub(super) struct Sessions {
    processes: BTreeMap<usize, Process>,
    /// Since when each node leads which epoch, in its attended time.
    since: BTreeMap<(usize, u64), u64>,
    /// Their clients have asked for their end: it may come at any time.
    ending: BTreeSet<u64>,
}

impl Sessions {
    /// A node's process starts.
    pub(super) fn starts(&mut self, node: usize, now: Ticks) {
        // It leads none of those epochs any more, though it may be given what it proposed in them.
        self.since.retain(|(leader, _), _| *leader != node);
        self.processes.insert(node, Process { stepped: now, ..Process::default() });
    }

    /// A node is about to take in what has happened.
    pub(super) fn steps(&mut self, node: usize, now: Ticks, events: &[Event]) {
        let process = self.processes.entry(node).or_default();
        let gap = now.since(process.stepped);
        process.stepped = now;
        process.late = gap > GAP_MAX;
        process.attended += gap.min(GAP_MAX);
        for event in events {
            let session = match event {
                Event::Contact { session } => *session,
                Event::Request { request: Request { write: Some(context), .. }, .. } => context.session,
                _ => continue,
            };
            process.seen.insert(session, process.attended);
        }
    }

    /// A node is established.
    pub(super) fn established(&mut self, node: usize, epoch: Epoch) {
        let attended = self.processes.entry(node).or_default().attended;
        self.since.insert((node, epoch.0), attended);
    }

    /// A client's request has reached a node.
    pub(super) fn asked(&mut self, request: &Request) {
        if let Some(Operation::EndSession(end)) = &request.operation {
            self.ending.insert(end.session);
        }
    }

    /// A node appends an entry: if it ends sessions and is the node's own proposal, is it time?
    pub(super) fn appends(&self, node: usize, entry: &LogEntry, timeout_ms: u32) -> Check {
        let Some(since) = self.since.get(&(node, entry.zxid.epoch.0)) else { return Ok(()) };
        let Some(process) = self.processes.get(&node) else { return Ok(()) };
        if entry.kind != Kind::Command {
            return Ok(());
        }
        let body = decode_command(entry.payload.clone()).ok().and_then(|command| command.body);
        let Some(Body::EndSessions(end)) = body else { return Ok(()) };
        for session in end.sessions.iter().filter(|session| !self.ending.contains(session)) {
            ensure!(
                !process.late,
                RULE,
                "n{node} ends session {session} in the step that comes after a pause"
            );
            let heard = process.seen.get(session).copied().unwrap_or_default().max(*since);
            let silent = process.attended - heard;
            ensure!(
                silent >= u64::from(timeout_ms) * 1_000,
                RULE,
                "n{node} ends session {session}, whose time-out is {timeout_ms} ms, after {silent} µs of attended time"
            );
        }
        Ok(())
    }
}
