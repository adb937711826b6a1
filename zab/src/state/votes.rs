//! Votes: which datagrams are examined, how votes are sent, and which candidates are ignored (rules 7 and 8).

use alloc::vec::Vec;

use super::{Core, Failures};
use crate::{
    effect::{Effect, Notice},
    message::{Candidate, Vote, VoteState},
    types::{EnsembleId, Epoch, NodeId, Round, Ticks, Zxid},
};

/// The number of failed attempts to follow a candidate after which it is ignored for a while (rule 8).
const FAILURES_MAX: u32 = 3;

/// The nodes with other ensembles or histories that are reported. Any process may send votes.
const FOREIGN_MAX: usize = 128;

impl Core {
    /// Whether a datagram is examined: its sender and its candidate are members of this ensemble, or its sender has a later
    /// configuration than this node, and it is newer than the sender's earlier ones. Records it as seen, unless the sender
    /// is not a member that this node knows.
    pub(crate) fn accept_vote(&mut self, vote: &Vote) -> bool {
        if let (Some(theirs), Some(ours)) = (vote.ensemble, self.ensemble())
            && theirs != ours
            && vote.sender != self.me()
        {
            self.on_vote_of_other_ensemble(vote, theirs, ours);
        }
        let is_member = self.configurations.contains(vote.sender);
        let known = is_member && self.configurations.contains(vote.candidate.node);
        if vote.ensemble.is_none()
            || planted!(
                vote.ensemble != self.ensemble(),
                takes_part_in_other_history => vote.ensemble.map(|it| it.id) != self.ensemble().map(|it| it.id)
            )
            || vote.sender == self.me()
            || !(known || self.is_later(vote.configuration))
        {
            return false;
        }
        if self.is_later(vote.configuration) {
            self.heard.later(vote.configuration, self.now);
        }
        if !is_member {
            probe!("vote.of-unknown-member");
            return true;
        }
        let recorded = self.configurations.records(vote.sender, vote.incarnation);
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
                self.heard.member(vote.sender, vote.incarnation, self.now);
                true
            }
        }
    }

    /// Reports it, once per node. A node that was left behind with an earlier history does not find out by itself: it is sent a
    /// vote, which counts for nothing there.
    fn on_vote_of_other_ensemble(&mut self, vote: &Vote, theirs: EnsembleId, ours: EnsembleId) {
        let concerned = self.configurations.contains(vote.sender) || theirs.id == ours.id;
        let unreported =
            self.foreign_members.len() < FOREIGN_MAX && !self.foreign_members.contains(&vote.sender);
        if concerned && unreported {
            self.foreign_members.insert(vote.sender);
            self.notice(Notice::OtherEnsemble { peer: vote.sender, theirs, ours });
        }
        let looks = matches!(vote.state, VoteState::Looking | VoteState::Seeking);
        probe!("vote.of-later-history", theirs.id == ours.id && theirs.history > ours.history);
        if theirs.id == ours.id && theirs.history < ours.history && looks {
            probe!("vote.of-earlier-history");
            let candidate = self.candidate();
            self.send_vote(vote.sender, VoteState::Looking, candidate, None);
        }
    }

    /// Begins a round of elections, or takes its result over.
    pub(crate) fn begin_round(&mut self) {
        self.round = Round(self.round.0.saturating_add(1));
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
            configuration: self.configuration().version(),
        };
        self.effects.push(Effect::Datagram { to, vote });
    }

    /// Whether another node's configuration is later than this node's. Versions are compared as zxids: of two
    /// configurations at one counter, that of the later epoch is not taken back by the other's leader.
    pub(crate) fn is_later(&self, version: Zxid) -> bool {
        version > self.configuration().version()
    }

    /// The ids of the other members, ascending: of every configuration that may be in force.
    pub(crate) fn other_members(&self) -> Vec<NodeId> {
        self.configurations.members().into_iter().filter(|node| *node != self.me()).collect()
    }

    /// The nodes that a looking node sends its vote to: the other members, and those that it was told of, since the members
    /// that it knows may all be gone.
    pub(crate) fn possible_leaders(&self) -> Vec<NodeId> {
        let mut nodes = self.other_members();
        let hinted: Vec<NodeId> = self.hints.iter().filter(|node| !nodes.contains(node)).copied().collect();
        probe!("election.asks-hinted", !hinted.is_empty());
        nodes.extend(hinted);
        nodes
    }

    /// This candidate could not be followed: it was unreachable, refused, or silent before this node was up to date.
    pub(crate) fn candidate_failed(&mut self, node: NodeId) {
        if !self.configurations.contains(node) {
            return; // Little is kept of nodes that this node does not know.
        }
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
