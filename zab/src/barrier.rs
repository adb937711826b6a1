//! Read barriers of a leader (protocol.md 6.2): requests share rounds, and a quorum that acknowledges the heartbeat
//! of a round confirms that this node still led when the round began.

use alloc::{collections::VecDeque, vec::Vec};

/// The number of rounds under way at once; later requests wait and share the next round.
const ROUNDS_MAX: usize = 16;

/// A round under way.
#[derive(Clone, Hash)]
struct Round {
    /// The id of its heartbeat.
    heartbeat: u64,
    /// The commit index when it began: the requests read at it.
    commit: u64,
    /// The ids of its requests.
    requests: Vec<u64>,
}

/// The barriers of one leadership.
#[derive(Clone, Hash, Default)]
pub(crate) struct Barriers {
    /// The requests that wait for the next round.
    waiting: Vec<u64>,
    /// The rounds under way, oldest first.
    rounds: VecDeque<Round>,
}

impl Barriers {
    /// Adds a request to the next round. Returns false if `waiting_max` requests wait already.
    pub(crate) fn request(&mut self, id: u64, waiting_max: usize) -> bool {
        planted!(joins_started_barrier_round => if let Some(round) = self.rounds.back_mut() {
            round.requests.push(id);
            return true;
        });
        let accepted = self.waiting.len() < waiting_max;
        if accepted {
            self.waiting.push(id);
        }
        accepted
    }

    /// Whether a round should begin.
    pub(crate) fn is_round_due(&self) -> bool {
        !self.waiting.is_empty() && self.rounds.len() < ROUNDS_MAX
    }

    /// Begins a round with the waiting requests. The commit index must be taken before the heartbeat is sent.
    pub(crate) fn begin_round(&mut self, heartbeat: u64, commit: u64) {
        let requests = core::mem::take(&mut self.waiting);
        probe!("barrier.shared", requests.len() > 1);
        self.rounds.push_back(Round { heartbeat, commit, requests });
    }

    /// Whether a round waits for a quorum.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// Ends the oldest round if a quorum has acknowledged the heartbeats through `confirmed`. Returns its commit index
    /// and its requests.
    pub(crate) fn take_confirmed(&mut self, confirmed: u64) -> Option<(u64, Vec<u64>)> {
        if self.rounds.front()?.heartbeat > confirmed {
            return None;
        }
        self.rounds.pop_front().map(|round| (round.commit, round.requests))
    }

    /// Removes all requests, oldest first.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = u64> + use<> {
        probe!("lead.ends-with-barriers", !self.rounds.is_empty());
        let Barriers { waiting, rounds } = core::mem::take(self);
        rounds.into_iter().flat_map(|round| round.requests).chain(waiting)
    }
}
