//! Votes: which datagrams are examined, how votes are sent, and which candidates are ignored (rules 7 and 8).

use alloc::vec::Vec;

use super::{Core, Failures};
use crate::{
    effect::{Effect, Notice},
    message::{Candidate, Vote, VoteState},
    types::{Epoch, NodeId, Ticks},
};

/// The number of failed attempts to follow a candidate after which it is ignored for a while (rule 8).
const FAILURES_MAX: u32 = 3;

impl Core {
    /// Whether a datagram is examined: its sender and its candidate are members of this ensemble, and it is newer than
    /// the sender's earlier ones. Records it as seen.
    pub(crate) fn accept_vote(&mut self, vote: &Vote) -> bool {
        if let (Some(theirs), Some(ours)) = (vote.ensemble, self.ensemble())
            && theirs != ours
            && vote.sender != self.me()
            && self.configuration.contains(vote.sender)
            && self.foreign_members.insert(vote.sender)
        {
            self.notice(Notice::OtherEnsemble { peer: vote.sender, ensemble: theirs });
        }
        if vote.ensemble.is_none()
            || vote.ensemble != self.ensemble()
            || vote.sender == self.me()
            || !self.configuration.contains(vote.sender)
            || !self.configuration.contains(vote.candidate.node)
        {
            return false;
        }
        let recorded = self.configuration.is_voter(vote.sender, vote.incarnation);
        let now = (vote.incarnation, vote.boot, vote.sequence);
        match self.seen_votes.get(&(vote.sender, recorded)) {
            Some(&(incarnation, boot, sequence))
                if incarnation == vote.incarnation && (boot, sequence) >= (vote.boot, vote.sequence) =>
            {
                probe!("vote.stale");
                false
            }
            _ => {
                self.seen_votes.insert((vote.sender, recorded), now);
                true
            }
        }
    }

    pub(crate) fn send_vote(
        &mut self,
        to: NodeId,
        state: VoteState,
        candidate: Candidate,
        established: Option<Epoch>,
    ) {
        self.vote_sequence += 1;
        let vote = Vote {
            ensemble: self.ensemble(),
            sender: self.me(),
            incarnation: self.config.incarnation,
            boot: self.config.boot,
            sequence: self.vote_sequence,
            state,
            round: self.round,
            candidate,
            established,
            config_version: self.configuration.version().counter,
        };
        self.effects.push(Effect::Datagram { to, vote });
    }

    /// The ids of the other members.
    pub(crate) fn other_members(&self) -> Vec<NodeId> {
        self.configuration.voters().iter().map(|voter| voter.node).filter(|node| *node != self.me()).collect()
    }

    /// This candidate could not be followed: it was unreachable, refused, or silent before this node was up to date.
    pub(crate) fn candidate_failed(&mut self, node: NodeId) {
        let ignored_until = self.now.plus(self.config.timeouts.election * 2);
        let failures = self.failures.entry(node).or_insert(Failures { count: 0, ignored_until: Ticks(0) });
        failures.count += 1;
        if failures.count >= FAILURES_MAX {
            probe!("election.failed-candidate");
            failures.count = 0;
            failures.ignored_until = ignored_until;
        }
    }

    /// This candidate has brought this node up to date.
    pub(crate) fn candidate_succeeded(&mut self, node: NodeId) {
        self.failures.remove(&node);
    }

    /// Whether this candidate is ignored in elections for now (rule 8).
    pub(crate) fn ignores_candidate(&self, node: NodeId) -> bool {
        self.failures.get(&node).is_some_and(|failures| failures.ignored_until > self.now)
    }
}
