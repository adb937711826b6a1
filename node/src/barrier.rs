//! Linearizable reads: which of them wait for which confirmation (protocol.md 6.2).
//!
//! Reads that arrive together share one question to the leader; a read joins only a question that has not
//! been asked yet. The answer names the counter to apply before reading.

use std::collections::{BTreeMap, VecDeque};

use gometa_zab::{LinkId, mutant, probe};

use crate::requests::Ticket;

/// Questions under way at once; later reads wait and share the next.
const ROUNDS_MAX: usize = 16;

/// Whose barrier this node's protocol core is asked for.
#[derive(Debug)]
pub(crate) enum Asker {
    /// This node's own clients.
    Own(Vec<Ticket>),
    /// A follower, under its number.
    Follower { link: LinkId, id: u64 },
}

#[derive(Debug, Default)]
pub(crate) struct Barriers {
    /// Reads that have joined no question.
    joining: Vec<Ticket>,
    /// Questions put to this node's own core, by number.
    asked: BTreeMap<u64, Asker>,
    /// Questions put to the leader, by number.
    forwarded: BTreeMap<u64, Vec<Ticket>>,
    /// Reads by the counter to apply first.
    confirmed: BTreeMap<u64, Vec<Ticket>>,
    next: u64,
}

impl Barriers {
    pub(crate) fn join(&mut self, ticket: Ticket) {
        self.joining.push(ticket);
    }

    /// The number of a question for everyone who has joined; `None` if there is none to ask now.
    pub(crate) fn ask_own(&mut self) -> Option<u64> {
        let own = self.asked.values().filter(|asker| matches!(asker, Asker::Own(_))).count();
        if self.joining.is_empty() || own >= ROUNDS_MAX {
            return None;
        }
        let tickets = std::mem::take(&mut self.joining);
        Some(self.ask(Asker::Own(tickets)))
    }

    /// A number for a question to this node's own core.
    pub(crate) fn ask(&mut self, asker: Asker) -> u64 {
        self.next += 1;
        self.asked.insert(self.next, asker);
        self.next
    }

    /// The number of a question to the leader, as [`Barriers::ask_own`].
    pub(crate) fn forward(&mut self) -> Option<u64> {
        if self.joining.is_empty() || self.forwarded.len() >= ROUNDS_MAX {
            return None;
        }
        self.next += 1;
        self.forwarded.insert(self.next, std::mem::take(&mut self.joining));
        Some(self.next)
    }

    pub(crate) fn answered(&mut self, id: u64) -> Option<Asker> {
        self.asked.remove(&id)
    }

    /// The leader has answered. Without a confirmation the reads join the next question.
    pub(crate) fn forward_answered(&mut self, id: u64, commit: Option<u64>) {
        if let Some(tickets) = self.forwarded.remove(&id) {
            match commit {
                Some(commit) => self.confirm(commit, tickets),
                None => {
                    probe!("read.leader-could-not-confirm");
                    self.joining.extend(tickets);
                }
            }
        }
    }

    /// These reads may be answered once this counter is applied.
    pub(crate) fn confirm(&mut self, counter: u64, tickets: Vec<Ticket>) {
        self.confirmed.entry(counter).or_default().extend(tickets);
    }

    pub(crate) fn rejoin(&mut self, tickets: Vec<Ticket>) {
        self.joining.extend(tickets);
    }

    /// The leadership is over: questions put to the leader go to the next one.
    pub(crate) fn hold_forwarded(&mut self) {
        for (_, tickets) in std::mem::take(&mut self.forwarded) {
            probe!("read.outlives-a-leader");
            self.joining.extend(tickets);
        }
    }

    /// Reads that wait for no more than this counter.
    pub(crate) fn ready(&mut self, applied: u64) -> Vec<Ticket> {
        let mut ready = VecDeque::new();
        while let Some(entry) = self.confirmed.first_entry() {
            if *entry.key() > applied && !mutant!(M36) {
                break;
            }
            ready.extend(entry.remove());
        }
        ready.into()
    }

    /// Forgets reads that are not waiting any more.
    pub(crate) fn retain(&mut self, waits: impl Fn(Ticket) -> bool) {
        self.joining.retain(|ticket| waits(*ticket));
        for tickets in self.confirmed.values_mut().chain(self.forwarded.values_mut()) {
            tickets.retain(|ticket| waits(*ticket));
        }
        self.confirmed.retain(|_, tickets| !tickets.is_empty());
    }
}
