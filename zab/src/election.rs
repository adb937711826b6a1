//! Fast leader election: how nodes agree on whom to try, by datagrams (rules 1–9).
//!
//! Every looking node votes for the best candidate it has heard of in the round: the one with the highest
//! (current epoch, last zxid, id). When a quorum backs the same candidate the round is over. All of this is a
//! hint: that the winner may lead, and with what history, is decided by discovery (rules 10–14). A wrong
//! winner costs time, never data, which is why votes may be lost, repeated, late or stale.

use alloc::collections::BTreeMap;

use crate::{
    effect::Notice,
    message::{Candidate, Vote, VoteState, Voter},
    state::{Core, Next},
    types::{NodeId, Round, Ticks},
};

/// A node without a leader. One that has no vote only asks around.
#[derive(Clone, Hash)]
pub(crate) struct Looking {
    /// The vote this node began the round with: for itself.
    initial: Candidate,
    /// Whom it backs now.
    vote: Candidate,
    /// Whom each voter heard of in this round backs, this node included.
    tally: BTreeMap<NodeId, NodeId>,
    resend_at: Ticks,
    resend_after: u64,
    /// Since when a quorum backs `vote`.
    quorum_since: Option<Ticks>,
}

impl Looking {
    /// Begins a round (rule 3).
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
        };
        looking.restart(core);
        looking.multicast(core);
        looking
    }

    /// Whether this node may be elected now: it has a vote, and a disk that answers.
    fn campaigns(core: &Core) -> bool {
        core.votes() && !core.is_stalled()
    }

    fn restart(&mut self, core: &Core) {
        self.tally.clear();
        self.quorum_since = None;
        if Self::campaigns(core) {
            self.tally.insert(core.me(), self.vote.node);
        }
    }

    fn state(core: &Core) -> VoteState {
        if Self::campaigns(core) { VoteState::Looking } else { VoteState::Seeking }
    }

    fn multicast(&mut self, core: &mut Core) {
        for node in core.others() {
            core.send_vote(node, Self::state(core), self.vote, None);
        }
        let jitter =
            core.random_below(self.resend_after / planted!(4, resends_votes_with_more_jitter => 1) + 1);
        self.resend_at = core.now.plus(self.resend_after + jitter);
        self.resend_after = (self.resend_after * 2).min(core.config.timeouts.vote_max);
    }

    fn back(&mut self, core: &Core, candidate: Candidate) {
        self.vote = candidate;
        self.quorum_since = None;
        if Self::campaigns(core) {
            self.tally.insert(core.me(), candidate.node);
        }
    }

    pub(crate) fn on_vote(&mut self, core: &mut Core, vote: &Vote) -> Next {
        let counts = core.configuration.is_voter(vote.sender, vote.incarnation);
        if !planted!(counts, unrecorded_incarnation_votes => true) {
            probe!("election.vote-without-weight");
            return Next::Stay;
        }
        if vote.state == VoteState::Seeking {
            probe!("election.seeker");
            return Next::Stay;
        }
        if vote.established.is_some() {
            // An established leader says so itself: follow it (rule 6). Safe by rules 1 and 11.
            let leads = vote.state == VoteState::Leading && vote.candidate.node == vote.sender;
            if leads && !core.ignores(vote.sender) {
                core.round = self.toward(core, vote.round);
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
        // Who follows or leads without an established epoch has voted in its round like one that looks.
        // What this node holds it knows better than anybody who speaks of it.
        let own = vote.candidate.node == core.me();
        let candidate = if own { self.initial } else { vote.candidate };
        let theirs = Some(candidate).filter(|candidate| !core.ignores(candidate.node));
        probe!("election.candidate-ignored", theirs.is_none());
        probe!("election.own-name-corrected", own && vote.candidate != self.initial);
        if vote.round > core.round {
            probe!("election.higher-round");
            core.round = self.toward(core, vote.round);
            self.vote = theirs.map_or(self.initial, |theirs| theirs.max(self.initial));
            self.restart(core);
            self.resend_after = core.config.timeouts.vote_min;
            self.multicast(core);
        } else if vote.round < core.round {
            if vote.state == VoteState::Looking {
                probe!("election.lower-round-answered");
                core.send_vote(vote.sender, Self::state(core), self.vote, None);
            }
            return Next::Stay;
        } else if let Some(theirs) = theirs.filter(|theirs| *theirs > self.vote) {
            self.back(core, theirs);
            self.resend_after = core.config.timeouts.vote_min;
            self.multicast(core);
        }
        self.tally.insert(vote.sender, vote.candidate.node);
        self.check(core)
    }

    /// A round that is far ahead is approached in bounded steps, so that no single datagram can use rounds
    /// up; its vote counts all the same (rule 7).
    fn toward(&self, core: &Core, round: Round) -> Round {
        let reachable = core.round.0.saturating_add(core.config.bounds.round_jump_max);
        probe!("election.round-capped", round.0 > reachable);
        Round(round.0.min(reachable).max(core.round.0))
    }

    /// Whether the round is over (rule 5).
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        if !Self::campaigns(core) {
            return Next::Stay;
        }
        let backs = |voter: &Voter| self.tally.get(&voter.node) == Some(&self.vote.node);
        if !core.configuration.has_quorum(backs) {
            probe!("election.quorum-lost", self.quorum_since.is_some());
            self.quorum_since = None;
            return Next::Stay;
        }
        let since = *self.quorum_since.get_or_insert(core.now);
        let everyone = self.tally.len() == core.configuration.voters().len();
        if !everyone && core.now.since(since) < core.config.timeouts.finalise {
            return Next::Stay;
        }
        probe!("election.over-without-everyone", !everyone);
        let leader = self.vote.node;
        core.notice(Notice::Elected { round: core.round, leader });
        if leader == core.me() { Next::Lead } else { Next::Follow(self.vote) }
    }

    /// Who backed the winner, this node included.
    pub(crate) fn supporters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.tally.iter().filter(|(_, backed)| **backed == self.vote.node).map(|(node, _)| *node)
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        if core.now >= self.resend_at {
            // What was written since the round began may have become durable.
            probe!("election.grows-while-looking", core.candidate() > self.initial);
            self.initial = core.candidate().max(self.initial);
            if self.vote.node == core.me() {
                self.vote = self.initial;
            }
            if Self::campaigns(core) {
                self.tally.insert(core.me(), self.vote.node);
            }
            self.multicast(core);
        }
        self.check(core)
    }
}
