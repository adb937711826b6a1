//! Linearizable reads: which of them wait for which confirmation (protocol.md 6.2).
//!
//! Reads that arrive together share one question to the leader; a read joins only a question that has not
//! been asked yet. The answer names the counter to apply before reading.

use std::collections::{BTreeMap, VecDeque};

use gometa_zab::{LinkId, Ticks};

use crate::requests::Ticket;

/// Questions under way at once; later reads wait and share the next.
const ROUNDS_MAX: usize = 16;

/// How often questions that were not confirmed are put again, in microseconds.
const AGAIN_AFTER: u64 = 10_000;

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
    /// Reads whose question was not confirmed, and when they join again.
    failed: Vec<Ticket>,
    again_at: Ticks,
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

    /// The number of a follower's question; `None` if it has as many under way as it may have.
    pub(crate) fn ask_for(&mut self, link: LinkId, id: u64) -> Option<u64> {
        let theirs = |asker: &&Asker| matches!(asker, Asker::Follower { link: other, .. } if *other == link);
        if self.asked.values().filter(theirs).count() >= ROUNDS_MAX {
            return None;
        }
        Some(self.ask(Asker::Follower { link, id }))
    }

    /// A number for a question to this node's own core.
    fn ask(&mut self, asker: Asker) -> u64 {
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
                    self.rejoin(tickets);
                }
            }
        }
    }

    /// These reads may be answered once this counter is applied.
    pub(crate) fn confirm(&mut self, counter: u64, tickets: Vec<Ticket>) {
        self.confirmed.entry(counter).or_default().extend(tickets);
    }

    /// These reads were not confirmed. They ask again a little later, or when there is another leader: what fails at
    /// once would fail at once again.
    pub(crate) fn rejoin(&mut self, tickets: Vec<Ticket>) {
        self.failed.extend(tickets);
    }

    /// A step begins.
    pub(crate) fn step(&mut self, now: Ticks) {
        if now >= self.again_at {
            self.again_at = now.plus(AGAIN_AFTER);
            self.joining.append(&mut self.failed);
        }
    }

    /// The leadership is over: questions put to the leader go to the next one.
    pub(crate) fn hold_forwarded(&mut self) {
        self.joining.append(&mut self.failed);
        for (_, tickets) in std::mem::take(&mut self.forwarded) {
            probe!("read.outlives-a-leader");
            self.joining.extend(tickets);
        }
    }

    /// Reads that wait for no more than this counter.
    pub(crate) fn ready(&mut self, applied: u64) -> Vec<Ticket> {
        let mut ready = VecDeque::new();
        while let Some(entry) = self.confirmed.first_entry() {
            if planted!(*entry.key() > applied, reads_before_barrier_applied => false) {
                break;
            }
            ready.extend(entry.remove());
        }
        ready.into()
    }

    /// Forgets reads that are not waiting any more.
    pub(crate) fn retain(&mut self, waits: impl Fn(Ticket) -> bool) {
        self.joining.retain(|ticket| waits(*ticket));
        self.failed.retain(|ticket| waits(*ticket));
        for tickets in self.confirmed.values_mut().chain(self.forwarded.values_mut()) {
            tickets.retain(|ticket| waits(*ticket));
        }
        self.confirmed.retain(|_, tickets| !tickets.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::ClientId,
        requests::{Requests, Waiting, Want},
    };

    fn tickets(count: u64) -> Vec<Ticket> {
        let mut requests = Requests::default();
        let want = Want::Read(gometa_proto::v1::Get::default());
        let waiting =
            |id| Waiting { client: ClientId(1), id, deadline: Ticks(1_000_000), want: want.clone() };
        (0..count).map(|id| requests.add(waiting(id)).unwrap()).collect()
    }

    #[test]
    fn a_question_that_fails_is_not_put_again_at_once() {
        let mut barriers = Barriers::default();
        barriers.step(Ticks(1));
        tickets(2).into_iter().for_each(|ticket| barriers.join(ticket));
        let mut asked = 0;
        for now in 2..50_000 {
            barriers.step(Ticks(now));
            // The answer comes back within a microsecond.
            if let Some(id) = barriers.forward() {
                asked += 1;
                barriers.forward_answered(id, None);
            }
            if let Some(id) = barriers.ask_own() {
                asked += 1;
                let Some(Asker::Own(tickets)) = barriers.answered(id) else { panic!("not its own") };
                barriers.rejoin(tickets);
            }
        }
        assert_eq!(asked, 5, "every 10 ms");
        assert!(barriers.forward().is_none());
        barriers.hold_forwarded();
        assert!(barriers.forward().is_some(), "another leader is asked at once");
    }

    #[test]
    fn a_followers_questions_are_bounded() {
        let mut barriers = Barriers::default();
        let ask = |barriers: &mut Barriers, link| {
            (0..100).filter_map(|id| barriers.ask_for(LinkId(link), id)).count()
        };
        assert_eq!((ask(&mut barriers, 1), ask(&mut barriers, 2)), (ROUNDS_MAX, ROUNDS_MAX));
        assert!(barriers.answered(1).is_some());
        assert_eq!((ask(&mut barriers, 1), ask(&mut barriers, 2)), (1, 0));
    }
}
