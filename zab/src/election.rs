//! Fast leader election, by datagrams (rules 1 to 9).
//!
//! A looking node votes for the best candidate that it has received in the round: the one with the highest (current
//! epoch, last zxid, id). The round ends when a quorum votes for the same candidate. The result is only a hint:
//! discovery decides whether the winner may lead (rules 10 to 14). A wrong winner costs time, never data, so votes
//! may be lost, duplicated or late.

use alloc::collections::BTreeMap;

use crate::{
    effect::Notice,
    message::{Candidate, Vote, VoteState, Voter},
    state::{Core, Next},
    types::{NodeId, Round, Ticks},
};

/// A node that looks for a leader. Without a vote it only asks the others.
#[derive(Clone, Hash)]
pub(crate) struct Looking {
    /// The vote for this node itself, with which it begins a round.
    initial: Candidate,
    /// The current vote.
    vote: Candidate,
    /// The votes of this round: from voter, this node included, to candidate.
    tally: BTreeMap<NodeId, NodeId>,
    /// The time at which the vote is resent.
    resend_at: Ticks,
    /// The interval until the vote is resent again, without jitter.
    resend_after: u64,
    /// The time since which a quorum votes for `vote`.
    quorum_since: Option<Ticks>,
    /// The time until which this node votes for others only, because its disk is short of space or its state is damaged.
    stands_from: Option<Ticks>,
}

impl Looking {
    /// Begins a new round (rule 3).
    pub(crate) fn new(core: &mut Core, why: &'static str) -> Looking {
        core.round = Round(core.round.0.saturating_add(1));
        core.notice(Notice::Looking { round: core.round, why });
        let initial = core.candidate();
        let mut looking = Looking {
            initial,
            vote: initial,
            tally: BTreeMap::new(),
            resend_at: core.now,
            resend_after: core.config.timeouts.vote_min,
            quorum_since: None,
            stands_from: None,
        };
        if core.defers() {
            probe!("election.does-not-stand");
            looking.stands_from = Some(core.now.plus(core.config.timeouts.election));
        }
        looking.restart(core);
        looking.multicast(core);
        looking
    }

    /// Whether this node may be elected: it has a vote, and its storage is not stalled.
    fn campaigns(core: &Core) -> bool {
        core.votes() && !core.may_not_lead()
    }

    /// Whether this node may vote for itself. If its disk is short of space or its
    /// state is damaged, it leaves the leadership to others for one
    /// election timeout; if none of them is elected, it stands too.
    fn stands(&self, core: &Core) -> bool {
        !core.defers() || self.stands_from.is_none_or(|from| core.now >= from)
    }

    /// Whether this node has a vote to cast.
    fn has_vote(&self, core: &Core) -> bool {
        Self::campaigns(core) && (self.vote.node != core.me() || self.stands(core))
    }

    fn restart(&mut self, core: &Core) {
        self.tally.clear();
        self.quorum_since = None;
        if self.has_vote(core) {
            self.tally.insert(core.me(), self.vote.node);
        }
    }

    fn state(&self, core: &Core) -> VoteState {
        if self.has_vote(core) { VoteState::Looking } else { VoteState::Seeking }
    }

    fn multicast(&mut self, core: &mut Core) {
        for node in core.other_members() {
            core.send_vote(node, self.state(core), self.vote, None);
        }
        let jitter =
            core.random_below(self.resend_after / planted!(4, resends_votes_with_more_jitter => 1) + 1);
        self.resend_at = core.now.plus(self.resend_after + jitter);
        self.resend_after = (self.resend_after * 2).min(core.config.timeouts.vote_max);
    }

    fn vote_for(&mut self, core: &Core, candidate: Candidate) {
        self.vote = candidate;
        self.quorum_since = None;
        if self.has_vote(core) {
            self.tally.insert(core.me(), candidate.node);
        }
    }

    pub(crate) fn on_vote(&mut self, core: &mut Core, vote: &Vote) -> Next {
        let counts = core.configuration.is_voter(vote.sender, vote.incarnation);
        if !planted!(counts, unrecorded_incarnation_votes => true) {
            probe!("election.vote-of-nonvoter");
            return Next::Stay;
        }
        if vote.state == VoteState::Seeking {
            probe!("election.vote-of-seeker");
            return Next::Stay;
        }
        if vote.established.is_some() {
            // The vote is an established leader's own: follow it (rule 6). Safe by rules 1 and 11.
            let leads = vote.state == VoteState::Leading && vote.candidate.node == vote.sender;
            if leads && !core.ignores_candidate(vote.sender) {
                core.round = self.next_round(core, vote.round);
                probe!("election.joins-established");
                core.notice(Notice::Elected { round: core.round, leader: vote.sender });
                return Next::Follow(vote.candidate);
            }
            probe!("election.leader-ignored", leads);
            return Next::Stay;
        }
        if !Self::campaigns(core) {
            probe!("election.may-not-campaign");
            return Next::Stay;
        }
        // The vote of a node that follows or leads without an established epoch counts like that of a looking node. This
        // node's own history is known better here than from a vote for it.
        let own = vote.candidate.node == core.me();
        let candidate = if own { self.initial } else { vote.candidate };
        let stands = self.stands(core);
        // A node that does not stand prefers every candidate that it could follow: one with at least its own history.
        let follows = |candidate: &Candidate| {
            stands
                || (candidate.node != core.me()
                    && (candidate.epoch, candidate.last) >= (self.initial.epoch, self.initial.last))
        };
        let theirs = Some(candidate).filter(|candidate| !core.ignores_candidate(candidate.node));
        let theirs = theirs.filter(follows);
        probe!("election.candidate-ignored", theirs.is_none());
        probe!("election.vote-for-self-outdated", own && vote.candidate != self.initial);
        if vote.round > core.round {
            probe!("election.higher-round");
            core.round = self.next_round(core, vote.round);
            self.vote = theirs.unwrap_or(self.initial);
            if stands {
                self.vote = self.vote.max(self.initial);
            }
            self.restart(core);
            self.resend_after = core.config.timeouts.vote_min;
            self.multicast(core);
        } else if vote.round < core.round {
            if vote.state == VoteState::Looking {
                probe!("election.lower-round-answered");
                core.send_vote(vote.sender, self.state(core), self.vote, None);
            }
            return Next::Stay;
        } else if let Some(theirs) =
            theirs.filter(|theirs| *theirs > self.vote || (self.vote.node == core.me() && !stands))
        {
            self.vote_for(core, theirs);
            self.resend_after = core.config.timeouts.vote_min;
            self.multicast(core);
        }
        self.tally.insert(vote.sender, vote.candidate.node);
        self.check(core)
    }

    /// The round after a vote of a higher one. It rises by a bounded step, so that a single datagram cannot use up the
    /// rounds; the vote counts in any case (rule 7).
    fn next_round(&self, core: &Core, round: Round) -> Round {
        let reachable = core.round.0.saturating_add(core.config.bounds.round_jump_max);
        probe!("election.round-capped", round.0 > reachable);
        Round(round.0.min(reachable).max(core.round.0))
    }

    /// Ends the round if a quorum votes for one candidate, after a short wait for a better one (rule 5).
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        if !self.has_vote(core) {
            return Next::Stay;
        }
        let agrees = |voter: &Voter| self.tally.get(&voter.node) == Some(&self.vote.node);
        if !core.configuration.has_quorum(agrees) {
            probe!("election.quorum-lost", self.quorum_since.is_some());
            self.quorum_since = None;
            return Next::Stay;
        }
        let since = *self.quorum_since.get_or_insert(core.now);
        let complete = self.tally.len() == core.configuration.voters().len();
        if !complete && core.now.since(since) < core.config.timeouts.finalise {
            return Next::Stay;
        }
        probe!("election.decided-without-all", !complete);
        let leader = self.vote.node;
        core.notice(Notice::Elected { round: core.round, leader });
        if leader == core.me() { Next::Lead } else { Next::Follow(self.vote) }
    }

    /// The voters that voted for the winner, this node included.
    pub(crate) fn supporters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.tally.iter().filter(|(_, candidate)| **candidate == self.vote.node).map(|(node, _)| *node)
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        if core.now >= self.resend_at {
            // Writes may have completed since the round began.
            probe!("election.own-log-grew", core.candidate() > self.initial);
            self.initial = core.candidate().max(self.initial);
            if self.vote.node == core.me() {
                self.vote = self.initial;
            }
            if self.has_vote(core) {
                self.tally.insert(core.me(), self.vote.node);
            }
            self.multicast(core);
        }
        self.check(core)
    }
}
