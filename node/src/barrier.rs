//! Barriers: the quorum confirmations that linearizable reads wait for (protocol.md 6.2).
//!
//! Reads that arrive together share one barrier; a read joins only a barrier that has not been requested yet. The
//! barrier's answer is the counter to apply before reading.

use std::collections::{BTreeMap, VecDeque};

use gometa_zab::{LinkId, Ticks};

use crate::requests::Ticket;

/// The most barriers in flight, of this node or of one follower; later reads wait and share the next.
const BARRIERS_MAX: usize = 16;

/// The pause before failed barriers are retried, in microseconds.
const RETRY_AFTER: u64 = 10_000;

/// The origin of a barrier requested from this node's protocol core.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Reads of this node's clients.
    Own(Vec<Ticket>),
    /// A follower, which knows the barrier as `id`.
    Follower { link: LinkId, id: u64 },
    /// A request about the members, by its number.
    Members(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Barriers {
    /// Reads that wait for the next barrier.
    waiting: Vec<Ticket>,
    /// Reads whose barrier failed; they wait for the next one from `retry_at` on.
    failed: Vec<Ticket>,
    retry_at: Ticks,
    /// Barriers requested from this node's core, by number.
    own: BTreeMap<u64, Origin>,
    /// Barriers requested from the leader, by number.
    forwarded: BTreeMap<u64, Vec<Ticket>>,
    /// Reads behind their barrier, by the counter to apply first.
    confirmed: BTreeMap<u64, Vec<Ticket>>,
    next: u64,
}

impl Barriers {
    pub(crate) fn join(&mut self, ticket: Ticket) {
        self.waiting.push(ticket);
    }

    /// Begins a barrier of this node's core for all waiting reads and returns its number; `None` if no read waits or
    /// too many barriers are in flight.
    pub(crate) fn begin_own(&mut self) -> Option<u64> {
        let in_flight = self.own.values().filter(|origin| matches!(origin, Origin::Own(_))).count();
        if self.waiting.is_empty() || in_flight >= BARRIERS_MAX {
            return None;
        }
        let tickets = std::mem::take(&mut self.waiting);
        Some(self.begin(Origin::Own(tickets)))
    }

    /// Begins a barrier for a follower and returns its number; `None` if the follower has too many in flight.
    pub(crate) fn begin_for(&mut self, link: LinkId, id: u64) -> Option<u64> {
        let theirs =
            |origin: &&Origin| matches!(origin, Origin::Follower { link: other, .. } if *other == link);
        if self.own.values().filter(theirs).count() >= BARRIERS_MAX {
            return None;
        }
        Some(self.begin(Origin::Follower { link, id }))
    }

    /// Begins a barrier of this node's core and returns its number.
    pub(crate) fn begin(&mut self, origin: Origin) -> u64 {
        self.next += 1;
        self.own.insert(self.next, origin);
        self.next
    }

    /// Begins a barrier of the leader: as [`Barriers::begin_own`].
    pub(crate) fn begin_forwarded(&mut self) -> Option<u64> {
        if self.waiting.is_empty() || self.forwarded.len() >= BARRIERS_MAX {
            return None;
        }
        self.next += 1;
        self.forwarded.insert(self.next, std::mem::take(&mut self.waiting));
        Some(self.next)
    }

    /// Ends a barrier of this node's core and returns its origin.
    pub(crate) fn end(&mut self, id: u64) -> Option<Origin> {
        self.own.remove(&id)
    }

    /// Ends a barrier of the leader; `commit` is `None` if it failed, and its reads wait for another one.
    pub(crate) fn end_forwarded(&mut self, id: u64, commit: Option<u64>) {
        if let Some(tickets) = self.forwarded.remove(&id) {
            match commit {
                Some(commit) => self.confirm(commit, tickets),
                None => {
                    probe!("read.forwarded-barrier-retried");
                    self.retry(tickets);
                }
            }
        }
    }

    /// Makes reads ready once this counter is applied.
    pub(crate) fn confirm(&mut self, counter: u64, tickets: Vec<Ticket>) {
        self.confirmed.entry(counter).or_default().extend(tickets);
    }

    /// Makes reads wait for another barrier, after a pause or until there is another leader.
    pub(crate) fn retry(&mut self, tickets: Vec<Ticket>) {
        self.failed.extend(tickets);
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, now: Ticks) {
        if now >= self.retry_at {
            self.retry_at = now.plus(RETRY_AFTER);
            self.waiting.append(&mut self.failed);
        }
    }

    /// Makes all reads without an answered barrier wait for one of the next leader.
    pub(crate) fn restart_forwarded(&mut self) {
        self.waiting.append(&mut self.failed);
        for (_, tickets) in std::mem::take(&mut self.forwarded) {
            probe!("read.retried-after-leader-change");
            self.waiting.extend(tickets);
        }
    }

    /// Takes the reads that wait for this counter or a lower one.
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

    /// Forgets abandoned reads.
    pub(crate) fn retain(&mut self, waits: impl Fn(Ticket) -> bool) {
        self.waiting.retain(|ticket| waits(*ticket));
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
    fn a_failed_barrier_is_not_retried_at_once() {
        let mut barriers = Barriers::default();
        barriers.step(Ticks(1));
        tickets(2).into_iter().for_each(|ticket| barriers.join(ticket));
        let mut begun = 0;
        for now in 2..50_000 {
            barriers.step(Ticks(now));
            // The answer comes back within a microsecond.
            if let Some(id) = barriers.begin_forwarded() {
                begun += 1;
                barriers.end_forwarded(id, None);
            }
            if let Some(id) = barriers.begin_own() {
                begun += 1;
                let Some(Origin::Own(tickets)) = barriers.end(id) else { panic!("not its own") };
                barriers.retry(tickets);
            }
        }
        assert_eq!(begun, 5, "every 10 ms");
        assert!(barriers.begin_forwarded().is_none());
        barriers.restart_forwarded();
        assert!(barriers.begin_forwarded().is_some(), "without a pause with another leader");
    }

    #[test]
    fn a_followers_barriers_are_bounded() {
        let mut barriers = Barriers::default();
        let begin = |barriers: &mut Barriers, link| {
            (0..100).filter_map(|id| barriers.begin_for(LinkId(link), id)).count()
        };
        assert_eq!((begin(&mut barriers, 1), begin(&mut barriers, 2)), (BARRIERS_MAX, BARRIERS_MAX));
        assert!(barriers.end(1).is_some());
        assert_eq!((begin(&mut barriers, 1), begin(&mut barriers, 2)), (1, 0));
    }
}
