//! What a node has whatever its phase: identity, durable promises, the log, its connections, and the list of
//! things to do.
//!
//! Everything durable passes through [`Core::write`] and comes back through [`Core::persisted`]; in between
//! it is not believed. That is how the table *durable before send* (protocol.md 1.5) holds by construction: what
//! is sent is made from `hard`, `founding` and the durable mark of `history`, and those only move when
//! storage says so.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};

use crate::{
    config::{Config, Recovered},
    configuration::Configuration,
    effect::{Effect, Founding, HardState, Notice, Write},
    history::{Epochs, History},
    latency::WriteLatency,
    message::{Candidate, Hello, Message, Reason, Vote, VoteState},
    types::{EnsembleId, Epoch, Incarnation, LinkId, NodeId, Round, Ticks, Token},
};

/// How far a promise may be ahead of what this node has promised, to be believed: no ensemble lives through so
/// many leaderships, and one damaged number must not use the epochs up.
const EPOCHS_AHEAD_MAX: u64 = 1 << 32;

/// Between two notices of one node's slow storage, in microseconds.
const SLOW_TOLD_EVERY: u64 = 30_000_000;

/// Failed attempts to follow a candidate after which it is not voted for, for a while (rule 8).
const FAILURES_MAX: u32 = 3;

/// What the phase should turn into.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing changes.
    Stay,
    /// Look for a leader; for this reason.
    Look(&'static str),
    /// The election is won.
    Lead,
    /// This candidate has won the election, or leads already.
    Follow(Candidate),
}

/// A storage write that has not been reported.
#[derive(Clone, Hash)]
pub(crate) struct Pending {
    token: Token,
    change: Change,
}

/// What a storage write will have changed.
#[derive(Clone, Hash)]
pub(crate) enum Change {
    Append { through: u64 },
    Truncate,
    HardState(HardState),
    Founding(Founding),
}

/// A connection.
#[derive(Clone, Hash)]
pub(crate) struct Link {
    /// Whom this node dialled; `None` for an accepted connection.
    pub(crate) dialled: Option<NodeId>,
    /// What the other end said of itself, once it has and was believed.
    pub(crate) hello: Option<Hello>,
    /// The promise of a follower that came before this node was sure to lead.
    pub(crate) cepoch: Option<Epoch>,
    /// When it was opened, or something came last by a connection that has not come to anything yet.
    pub(crate) opened: Ticks,
    /// How slow the other end's storage is, as it has said, in microseconds; 0 if it is not.
    pub(crate) storage: u64,
}

/// How often a candidate could not be reached.
#[derive(Clone, Hash)]
pub(crate) struct Failures {
    count: u32,
    ignored_until: Ticks,
}

#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) now: Ticks,
    pub(crate) hard: HardState,
    pub(crate) founding: Option<Founding>,
    pub(crate) configuration: Configuration,
    pub(crate) history: History,
    pub(crate) round: Round,
    /// Everything through this counter is known to be committed.
    pub(crate) commit: u64,
    /// The next epoch this node leads must exceed every promise that it was refused with (rule 14).
    pub(crate) epoch_floor: Epoch,
    /// When this node last gave up a leadership for a higher promise; rate limit of rule 14.
    pub(crate) rediscovered: Option<Ticks>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) dialling: BTreeSet<NodeId>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) stopped: bool,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) latency: WriteLatency,
    /// When each node's slow storage was last told of.
    pub(crate) slow_told: BTreeMap<NodeId, Ticks>,
    pub(crate) last_token: Token,
    pub(crate) persisted: Token,
    pub(crate) next_read: u64,
    pub(crate) vote_sequence: u64,
    /// The last (boot, sequence) of each member's datagrams, apart for its recorded and for another data
    /// directory, so that a stranger with a member's id cannot silence it (rule 7).
    pub(crate) seen: BTreeMap<(NodeId, bool), (Incarnation, u64, u64)>,
    /// Members whose votes named another ensemble.
    pub(crate) foreign: BTreeSet<NodeId>,
    pub(crate) failures: BTreeMap<NodeId, Failures>,
    pub(crate) random: u64,
    /// For planted faults only: what each node has ever acknowledged to this one.
    #[cfg(gometa_instrumented)]
    pub(crate) remembered: BTreeMap<NodeId, u64>,
}

impl Core {
    pub(crate) fn new(config: Config, recovered: Recovered, now: Ticks) -> Core {
        let hard = recovered.hard_state;
        let epochs =
            Epochs::new(recovered.oldest, recovered.boundaries).expect("storage checks its log's epochs");
        assert!(
            hard.accepted_epoch >= hard.current_epoch,
            "a promise is never below the current epoch (rule 10)"
        );
        assert!(hard.accepted_epoch >= epochs.last().epoch, "a promise is never below the log (rule 10)");
        let configuration = Configuration::in_force(&config.voters, recovered.founding.as_ref());
        let history = History::new(epochs, recovered.applied, config.bounds.tail_bytes);
        Core {
            now,
            hard,
            founding: recovered.founding,
            configuration,
            commit: history.released(),
            history,
            round: Round(0),
            epoch_floor: Epoch(0),
            rediscovered: None,
            links: BTreeMap::new(),
            dialling: BTreeSet::new(),
            effects: Vec::new(),
            stopped: false,
            pending: VecDeque::new(),
            latency: WriteLatency::new(now),
            slow_told: BTreeMap::new(),
            last_token: Token(0),
            persisted: Token(0),
            next_read: 0,
            vote_sequence: 0,
            seen: BTreeMap::new(),
            foreign: BTreeSet::new(),
            failures: BTreeMap::new(),
            random: (config.seed ^ (config.seed >> 64)) as u64,
            #[cfg(gometa_instrumented)]
            remembered: BTreeMap::new(),
            config,
        }
    }

    /// The ensemble, once this node has joined it.
    pub(crate) fn ensemble(&self) -> Option<EnsembleId> {
        self.founding
            .as_ref()
            .filter(|founding| planted!(founding.sealed, takes_part_before_sealed => true))
            .map(|founding| founding.genesis.ensemble)
    }

    /// Whether this node is counted in quorums.
    pub(crate) fn votes(&self) -> bool {
        planted!(
            self.configuration.is_voter(self.config.node, self.config.incarnation),
            unrecorded_incarnation_votes => true
        )
    }

    pub(crate) fn me(&self) -> NodeId {
        self.config.node
    }

    /// This node as a candidate; durable values only (rule 2).
    pub(crate) fn candidate(&self) -> Candidate {
        let last = planted!(self.history.durable(), votes_with_unsynced_entries => self.history.last());
        Candidate { epoch: self.hard.current_epoch, last, node: self.config.node }
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.effects.push(Effect::Notice(notice));
    }

    /// Going on would endanger what the ensemble has promised.
    pub(crate) fn stop(&mut self, reason: String) {
        self.stopped = true;
        self.effects.push(Effect::Stop(reason));
    }

    /// A pseudo-random number below `bound`: SplitMix64, good enough for jitter.
    pub(crate) fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    // ---- Storage

    /// A token for a write that the protocol does not wait for.
    pub(crate) fn allocate_token(&mut self) -> Token {
        self.last_token.0 += 1;
        self.last_token
    }

    pub(crate) fn allocate_read(&mut self) -> u64 {
        self.next_read += 1;
        self.next_read
    }

    /// Issues a storage write. The memory's view of the log must have been changed already.
    pub(crate) fn write(&mut self, write: Write) -> Token {
        let token = self.allocate_token();
        let change = match &write {
            Write::Append(_) => Change::Append { through: self.history.last().counter },
            Write::Truncate(_) => {
                // No append issued before may raise the durable mark above the cut (rule 24). There is none: a node
                // tells of its log when all its writes are done (rule 11a), and appends nothing until it is told
                // where to cut.
                let appending = |pending: &Pending| matches!(pending.change, Change::Append { .. });
                assert!(!self.pending.iter().any(appending), "a log is cut when its appends are done");
                Change::Truncate
            }
            Write::HardState(hard) => Change::HardState(*hard),
            Write::Founding(founding) => Change::Founding(founding.clone()),
        };
        if self.pending.is_empty() {
            self.latency.start(self.now);
        }
        self.pending.push_back(Pending { token, change });
        self.effects.push(Effect::Write { token, write });
        token
    }

    /// Storage has done every write through `token`.
    pub(crate) fn persist(&mut self, token: Token) {
        assert!(token <= self.last_token, "storage reports only what was written");
        self.persisted = self.persisted.max(token);
        if self.pending.front().is_some_and(|pending| pending.token <= token) {
            self.latency.complete(self.now);
        }
        while self.pending.front().is_some_and(|pending| pending.token <= token) {
            match self.pending.pop_front().map(|pending| pending.change) {
                Some(Change::Append { through }) => self.history.set_durable(through),
                Some(Change::HardState(hard)) => {
                    assert!(
                        hard.accepted_epoch >= self.hard.accepted_epoch
                            && hard.current_epoch >= self.hard.current_epoch,
                        "epochs never fall (invariant 13)"
                    );
                    self.hard = hard;
                }
                Some(Change::Founding(founding)) => {
                    self.configuration = Configuration::in_force(&self.config.voters, Some(&founding));
                    self.founding = Some(founding);
                }
                Some(Change::Truncate) | None => {}
            }
        }
    }

    pub(crate) fn persisted(&self, token: Token) -> bool {
        self.persisted >= token
    }

    /// The last storage write issued that is still to be done; once it is persisted, so is all before.
    pub(crate) fn fence(&self) -> Token {
        self.pending.back().map_or(self.persisted, |pending| pending.token)
    }

    /// Whether every storage write of the protocol has been done (rule 11a).
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether this node's own storage takes too long for it to lead (protocol.md 6.6): it has made no progress for
    /// longer than the time-out, or than four of its writes have taken of late, where that is more, up to four times
    /// the time-out.
    pub(crate) fn is_stalled(&self) -> bool {
        let disk = self.config.timeouts.disk;
        let patience = disk.max(self.latency.average().saturating_mul(4).min(disk.saturating_mul(4)));
        !self.pending.is_empty() && self.latency.current(self.now) > patience
    }

    /// How slow this node's storage is, in microseconds for a write, if it is slow enough to tell: a quarter of the
    /// election time-out. Else 0.
    pub(crate) fn slow_latency(&self) -> u64 {
        let waited = if self.pending.is_empty() { 0 } else { self.latency.current(self.now) };
        let slowness = waited.max(self.latency.average());
        if slowness >= self.config.timeouts.election / 4 { slowness } else { 0 }
    }

    /// Tells of a node's slow storage, not too often.
    pub(crate) fn tell_slowness(&mut self, node: NodeId, storage: u64) {
        let told = self.slow_told.get(&node);
        if storage > 0 && told.is_none_or(|told| self.now.since(*told) >= SLOW_TOLD_EVERY) {
            self.slow_told.insert(node, self.now);
            self.notice(Notice::SlowStorage { node, storage });
        }
    }

    /// For planted faults only: a node acknowledges this to this one.
    #[cfg(gometa_instrumented)]
    pub(crate) fn remember(&mut self, node: NodeId, acked: u64) {
        let known = self.remembered.entry(node).or_default();
        *known = acked.max(*known);
    }

    /// For planted faults only: the most that a node has ever acknowledged to this one.
    #[cfg(gometa_instrumented)]
    pub(crate) fn acked_before(&self, node: NodeId) -> u64 {
        self.remembered.get(&node).copied().unwrap_or_default()
    }

    /// Whether [`Core::release`] has anything to hand out.
    #[cfg(gometa_instrumented)]
    pub(crate) fn can_release(&self) -> bool {
        self.commit.min(self.history.durable().counter) > self.history.released()
    }

    /// Hands committed, durable entries out to be applied (rule 24).
    pub(crate) fn release(&mut self) {
        let durable = planted!(self.history.durable(), applies_unsynced_entries => self.history.last());
        probe!("apply.waits-for-own-disk", self.commit > durable.counter);
        let through = self.commit.min(durable.counter);
        if through > self.history.released() {
            self.history.set_released(through);
            self.effects.push(Effect::Commit { counter: through });
        }
    }

    /// Learns from the leader how far the log is committed.
    pub(crate) fn learn_commit(&mut self, commit: u64) {
        self.commit = planted!(self.commit.max(commit), commit_index_falls => commit);
    }

    /// Whether an epoch that somebody else names can be true.
    pub(crate) fn is_plausible(&self, epoch: Epoch) -> bool {
        epoch.0 <= self.hard.accepted_epoch.max(self.epoch_floor).0.saturating_add(EPOCHS_AHEAD_MAX)
            && epoch.0 + 1 < Epoch::MAX.0
    }

    // ---- Votes

    /// Whether a datagram is worth looking at: this ensemble's, a member's, and not an old one.
    pub(crate) fn admit(&mut self, vote: &Vote) -> bool {
        if let (Some(theirs), Some(ours)) = (vote.ensemble, self.ensemble())
            && theirs != ours
            && vote.sender != self.me()
            && self.configuration.contains(vote.sender)
            && self.foreign.insert(vote.sender)
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
        match self.seen.get(&(vote.sender, recorded)) {
            Some(&(incarnation, boot, sequence))
                if incarnation == vote.incarnation && (boot, sequence) >= (vote.boot, vote.sequence) =>
            {
                probe!("vote.stale");
                false
            }
            _ => {
                self.seen.insert((vote.sender, recorded), now);
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
            config_version: self.configuration.version(),
        };
        self.effects.push(Effect::Datagram { to, vote });
    }

    /// The other members' ids.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.configuration.voters().iter().map(|voter| voter.node).filter(|node| *node != self.me()).collect()
    }

    /// This candidate could not be followed: it was out of reach, or refused, or fell silent before this node
    /// could serve.
    pub(crate) fn failed(&mut self, node: NodeId) {
        let ignored_until = self.now.plus(self.config.timeouts.election * 2);
        let failures = self.failures.entry(node).or_insert(Failures { count: 0, ignored_until: Ticks(0) });
        failures.count += 1;
        if failures.count >= FAILURES_MAX {
            probe!("election.begins-to-ignore");
            failures.count = 0;
            failures.ignored_until = ignored_until;
        }
    }

    /// This candidate led this node to where it could serve.
    pub(crate) fn succeeded(&mut self, node: NodeId) {
        self.failures.remove(&node);
    }

    /// Whether this candidate is left out of elections for now (rule 8).
    pub(crate) fn ignores(&self, node: NodeId) -> bool {
        self.failures.get(&node).is_some_and(|failures| failures.ignored_until > self.now)
    }

    // ---- Connections

    pub(crate) fn dial(&mut self, peer: NodeId) {
        if self.dialling.insert(peer) {
            self.effects.push(Effect::Connect { peer });
        }
    }

    pub(crate) fn send(&mut self, link: LinkId, message: Message) {
        if self.links.contains_key(&link) {
            self.effects.push(Effect::Send { link, message });
        }
    }

    pub(crate) fn close(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            self.effects.push(Effect::Close { link });
        }
    }

    pub(crate) fn refuse(&mut self, link: LinkId, reason: Reason) {
        let peer = self.links.get(&link).and_then(|link| link.hello.as_ref().map(|hello| hello.node));
        self.notice(Notice::Refused { peer, reason });
        self.send(link, Message::Refuse(reason));
        self.close(link);
    }

    pub(crate) fn open(&mut self, link: LinkId, dialled: Option<NodeId>) {
        if dialled.is_none() && self.links.len() >= self.config.bounds.links_max {
            self.effects.push(Effect::Close { link });
            return;
        }
        self.links.insert(link, Link { dialled, hello: None, cepoch: None, opened: self.now, storage: 0 });
        let ensemble = self.ensemble();
        let hello = Hello {
            node: self.me(),
            incarnation: self.config.incarnation,
            boot: self.config.boot,
            meant: dialled,
            ensemble,
            addresses: self.config.addresses.clone(),
            voters: if ensemble.is_some() { Vec::new() } else { self.config.voters.clone() },
        };
        self.send(link, Message::Hello(hello));
    }

    /// The other end says who it is. True if it is somebody this node speaks with; what that is about is the
    /// phase's business.
    pub(crate) fn greet(&mut self, link: LinkId, hello: Hello) -> bool {
        let Some(state) = self.links.get(&link) else { return false };
        let reason = if state.hello.is_some() {
            Some(Reason::Version)
        } else if hello.node == self.me()
            || state.dialled.is_some_and(|dialled| dialled != hello.node)
            || (state.dialled.is_none() && hello.meant != Some(self.me()))
        {
            Some(Reason::WrongNode)
        } else if hello.ensemble.is_some() && self.ensemble().is_some() && hello.ensemble != self.ensemble() {
            Some(Reason::OtherEnsemble)
        } else if !self.configuration.contains(hello.node)
            && hello.ensemble.is_some() == self.ensemble().is_some()
        {
            Some(if self.ensemble().is_some() { Reason::NotAMember } else { Reason::Configuration })
        } else {
            None
        };
        if let Some(reason) = reason {
            if state.hello.is_some() {
                self.refuse(link, reason);
                return false;
            }
            let (dialled, Hello { node, meant, addresses, .. }) = (state.dialled, hello);
            self.notice(Notice::GreetingRefused { dialled, meant, node, addresses, reason });
            self.send(link, Message::Refuse(reason));
            self.close(link);
            return false;
        }
        if let Some(state) = self.links.get_mut(&link) {
            state.hello = Some(hello);
        }
        true
    }

    /// Closes every connection that has not come to anything within the election time-out.
    pub(crate) fn close_idle(&mut self, in_use: impl Fn(LinkId, &Link) -> bool) {
        let patience = self.config.timeouts.election;
        let idle: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(id, link)| self.now.since(link.opened) > patience && !in_use(**id, link))
            .map(|(id, _)| *id)
            .collect();
        for link in idle {
            probe!("link.idle-closed");
            let twin = |(used, state): &(&LinkId, &Link)| in_use(**used, state) && self.is_twin(link, **used);
            if let Some(used) = self.links.iter().find(twin).map(|(used, _)| *used) {
                self.tell_duplicate(used, link);
            }
            self.close(link);
        }
    }

    /// Whether a connection is that of a second process with the id and the data directory of one whose connection is
    /// in use, and has been heard of for as long as this one is open. A process announces the same from its start to
    /// its end, and starts on one directory are numbered.
    fn is_twin(&self, link: LinkId, used: LinkId) -> bool {
        let (Some(link), Some(used)) = (self.links.get(&link), self.links.get(&used)) else { return false };
        let (Some(one), Some(other)) = (&link.hello, &used.hello) else { return false };
        let differs = (one.boot, &one.addresses) != (other.boot, &other.addresses);
        // What an earlier start has sent may arrive after its end, but not for ever.
        let alive =
            one.boot >= other.boot || link.opened.since(used.opened) > self.config.timeouts.election * 2;
        (one.node, one.incarnation) == (other.node, other.incarnation) && differs && alive
    }

    /// A follower connects anew. That it does so at the same start as before and from elsewhere, or at an earlier one, is
    /// reported.
    pub(crate) fn check_reconnect(&mut self, new: LinkId, old: LinkId) {
        let boot =
            |link| self.links.get(&link).and_then(|link: &Link| link.hello.as_ref()).map(|hello| hello.boot);
        if boot(new) <= boot(old) && self.is_twin(new, old) {
            self.tell_duplicate(new, old);
        }
    }

    fn tell_duplicate(&mut self, served: LinkId, other: LinkId) {
        let hello = |link| self.links.get(&link).and_then(|link: &Link| link.hello.clone());
        let (Some(one), Some(two)) = (hello(served), hello(other)) else { return };
        self.send(other, Message::Duplicate(one.addresses.clone()));
        self.notice(Notice::Duplicate { peer: one.node, served: one.addresses, other: two.addresses });
    }
}
