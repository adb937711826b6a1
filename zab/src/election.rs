//! Fast leader election, by datagrams (rules 1 to 9).
//!
//! A looking node votes for the best candidate that it has received in the round: the one with the highest (current
//! epoch, last zxid, id). The round ends when a quorum votes for the same candidate. The result is only a hint:
//! discovery decides whether the winner may lead (rules 10 to 14). A wrong winner costs time, never data, so votes
//! may be lost, duplicated or late.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    effect::Notice,
    message::{Candidate, Vote, VoteState, Voter},
    state::{Core, Next},
    types::{Incarnation, NodeId, Round, Ticks},
};

/// A node that looks for a leader. Without a vote it only asks the others.
#[derive(Clone, Hash)]
pub(crate) struct Looking {
    /// The vote for this node itself, with which it begins a round.
    initial: Candidate,
    /// The current vote.
    vote: Candidate,
    /// The votes of this round: from voter, this node included, to candidate. Who counts is looked up when they are counted.
    tally: BTreeMap<(NodeId, Incarnation), NodeId>,
    /// The time when this node began to look.
    began: Ticks,
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
        core.begin_round();
        core.notice(Notice::Looking { round: core.round, why });
        let initial = core.candidate();
        let mut looking = Looking {
            initial,
            vote: initial,
            tally: BTreeMap::new(),
            began: core.now,
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

    /// Whether this node may vote for itself: it is a voter. If its disk is short of space or its
    /// state is damaged, it leaves the leadership to others for one
    /// election timeout; if none of them is elected, it stands too.
    fn stands(&self, core: &Core) -> bool {
        core.votes() && (!core.defers() || self.stands_from.is_none_or(|from| core.now >= from))
    }

    /// Whether this node has a vote to cast. One that is no voter in its own configuration may be one in a later one: it
    /// votes for a candidate that has such a configuration, since that candidate may need its vote (protocol.md 5.5).
    fn has_vote(&self, core: &Core) -> bool {
        !core.may_not_lead() && (self.vote.node != core.me() || self.stands(core))
    }

    fn restart(&mut self, core: &Core) {
        self.tally.clear();
        self.quorum_since = None;
        self.cast(core);
    }

    /// Counts this node's own vote.
    fn cast(&mut self, core: &Core) {
        if self.has_vote(core) {
            self.tally.insert((core.me(), core.config.incarnation), self.vote.node);
        }
    }

    /// Whether a voter votes for the candidate of this node.
    fn is_supported_by(&self, voter: &Voter) -> bool {
        self.votes_of(voter).any(|candidate| candidate == self.vote.node)
    }

    /// The candidates for which the node with this id and incarnation votes: one or none.
    fn votes_of(&self, voter: &Voter) -> impl Iterator<Item = NodeId> {
        let is = |(node, incarnation): &(NodeId, Incarnation)| planted!(voter.is(*node, *incarnation), unrecorded_incarnation_votes => voter.node == *node);
        self.tally.iter().filter(move |(who, _)| is(who)).map(|(_, candidate)| *candidate)
    }

    fn state(&self, core: &Core) -> VoteState {
        if self.has_vote(core) { VoteState::Looking } else { VoteState::Seeking }
    }

    fn multicast(&mut self, core: &mut Core) {
        for node in core.possible_leaders() {
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
        self.cast(core);
    }

    pub(crate) fn on_vote(&mut self, core: &mut Core, vote: &Vote) -> Next {
        let later = core.is_later(vote.configuration);
        if !core.configurations.contains(vote.sender)
            && core.now.since(self.began) <= core.config.timeouts.election
        {
            return Next::Stay; // A forged datagram must not end the search for a leader that this node knows.
        }
        let is_voter = core.configurations.has_voter(vote.sender, vote.incarnation);
        if !planted!(is_voter || later, unrecorded_incarnation_votes => true) {
            probe!("election.vote-of-nonvoter");
            return Next::Stay;
        }
        if vote.state == VoteState::Seeking {
            probe!("election.vote-of-seeker");
            // A voter that has not received its promotion votes in no lower round than its own.
            let is_behind = vote.configuration < core.configuration().version();
            if is_behind && vote.round > core.round {
                probe!("election.round-of-unaware-voter");
                core.round = self.next_round(core, vote.round);
                self.vote = self.initial;
                self.restart(core);
                self.multicast(core);
            }
            return Next::Stay;
        }
        // The vote is an established leader's own: follow it (rule 6). Safe by rules 1 and 11. So is that of the candidate of
        // this node if it has a later configuration, in which its supporters may be a quorum that this node cannot count.
        let leads = vote.state == VoteState::Leading && vote.candidate.node == vote.sender;
        let elected = planted!(later, ignores_leader_with_later_configuration => false)
            && self.vote.node == vote.sender;
        if leads && (vote.established.is_some() || elected) && !core.ignores_candidate(vote.sender) {
            core.round = self.next_round(core, vote.round);
            probe!("election.joins-established", vote.established.is_some());
            probe!("election.joins-later-configuration", vote.established.is_none());
            core.notice(Notice::Elected { round: core.round, leader: vote.sender });
            return Next::Follow(vote.candidate);
        }
        if vote.established.is_some() {
            probe!("election.leader-ignored", leads);
            return Next::Stay;
        }
        if core.may_not_lead() || !(core.votes() || later) {
            probe!("election.may-not-campaign");
            return Next::Stay;
        }
        probe!("election.votes-before-promotion", !core.votes());
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
        if !core.configurations.contains(vote.sender) {
            // It has a later configuration, in which it may need the vote of this node.
            probe!("election.answers-unknown-member");
            core.send_vote(vote.sender, self.state(core), self.vote, None);
        }
        self.tally.insert((vote.sender, vote.incarnation), vote.candidate.node);
        self.check(core)
    }

    /// The round after a vote of a higher one. It rises by a bounded step, so that a single datagram cannot use up the
    /// rounds; the vote counts in any case (rule 7).
    fn next_round(&self, core: &Core, round: Round) -> Round {
        let reachable = core.round.0.saturating_add(core.config.bounds.round_jump_max);
        probe!("election.round-capped", round.0 > reachable);
        Round(round.0.min(reachable).max(core.round.0))
    }

    /// Ends the round if a quorum votes for one candidate, after a short wait for a better one (rule 5). A quorum that follows
    /// this node already has decided, in whatever round.
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        if !self.has_vote(core) {
            return Next::Stay;
        }
        if self.stands(core) && Self::is_followed(core) {
            probe!("election.followed");
            core.notice(Notice::Elected { round: core.round, leader: core.me() });
            return Next::Lead;
        }
        if !core.configuration().has_quorum(|voter| self.is_supported_by(voter)) {
            probe!("election.quorum-lost", self.quorum_since.is_some());
            self.quorum_since = None;
            return Next::Stay;
        }
        let since = *self.quorum_since.get_or_insert(core.now);
        let voters = core.configuration().voters();
        let complete = voters.iter().all(|voter| self.votes_of(voter).next().is_some());
        if !complete && core.now.since(since) < core.config.timeouts.finalise {
            return Next::Stay;
        }
        probe!("election.decided-without-all", !complete);
        let leader = self.vote.node;
        core.notice(Notice::Elected { round: core.round, leader });
        if leader == core.me() { Next::Lead } else { Next::Follow(self.vote) }
    }

    /// Whether a quorum, with this node, has sent FollowerEpoch: the nodes have elected this node, or were told to follow it.
    fn is_followed(core: &Core) -> bool {
        core.configuration().has_quorum(|voter| {
            voter.is(core.me(), core.config.incarnation)
                || core.early_followers().any(|(node, incarnation)| voter.is(node, incarnation))
        })
    }

    /// The nodes that vote for this node, which leads now.
    pub(crate) fn supporters(&self, core: &Core) -> Vec<(NodeId, Incarnation)> {
        let votes = self.tally.iter().filter(|(_, candidate)| **candidate == core.me());
        votes.map(|(voter, _)| *voter).collect()
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        if core.now >= self.resend_at {
            // Writes may have completed since the round began.
            probe!("election.own-log-grew", core.candidate() > self.initial);
            self.initial = core.candidate().max(self.initial);
            if self.vote.node == core.me() {
                self.vote = self.initial;
            }
            self.cast(core);
            self.multicast(core);
        }
        self.check(core)
    }
}
