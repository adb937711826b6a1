//! Leading: discovery, synchronisation, broadcast, as seen from the node that won the election.
//!
//! The stages are those of the paper. *Discovery* finds an epoch that a quorum promises and makes sure that
//! nobody in that quorum knows more (rules 11–13). *Synchronisation* brings a quorum to this node's history;
//! with that the leader is *established* (rules 16–19). *Broadcast* gives proposals their places and commits
//! what a quorum holds (rules 21–25).
//!
//! Towards each follower there is one cursor, [`Peer::next`], that walks this node's log: old entries are
//! read from storage, recent ones are in memory. It is the same cursor while a follower catches up and
//! afterwards, so there is no moment between *sync* and *live* at which an entry could be missed (rule 16),
//! and what is in flight to one follower is bounded whatever its lag (rule 25).

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use crate::{
    effect::{Effect, HardState, Notice, Rejection, Write},
    event::Event,
    history::Epochs,
    message::{Candidate, Kind, LEVEL, LogEntry, Message, Reason, Vote, VoteState},
    peer::{Peer, Sync},
    state::{Core, Next},
    sync::{Plan, plan},
    types::{Epoch, LinkId, NodeId, Ticks, Token, Zxid},
};

mod life;

/// Barrier rounds under way at once; later ones wait and share the next.
const ROUNDS_MAX: usize = 16;

#[derive(Clone, Hash)]
enum Stage {
    /// Collects promises (CEPOCH); begins when every earlier write is done (rule 11a).
    Discovering,
    /// This node's own promise is being written.
    Promising { token: Token },
    /// NewEpoch is out; collects acknowledgements.
    Gathering,
    /// A quorum has promised, and knows nothing newer: the current epoch is being written (rule 13).
    Claiming { token: Token },
    /// Followers are brought to the initial history.
    Synchronising,
    /// A quorum holds the initial history: broadcast.
    Established,
}

/// A barrier round under way: its heartbeat's id, the commit index to read at, and who asked.
#[derive(Clone, Hash)]
struct BarrierRound {
    id: u64,
    commit: u64,
    asked: Vec<u64>,
}

/// A node that leads, or is about to.
#[derive(Clone, Hash)]
pub(crate) struct Leader {
    stage: Stage,
    epoch: Epoch,
    /// The end of the initial history.
    initial: Zxid,
    /// What this node was, as a candidate, when it won: followers that know more end this leadership.
    own: Candidate,
    peers: BTreeMap<LinkId, Peer>,
    /// Who backed this node in the election and has not been seen looking again (rule 9).
    supporters: Vec<NodeId>,
    /// When each voter was last heard of; the time of the election for those that were not.
    contact: BTreeMap<NodeId, Ticks>,
    heartbeat_at: Ticks,
    /// When those are next shown a sign of life that are sent no heartbeats.
    alive_at: Ticks,
    /// When the followers were last told how slow this node's storage is, and what.
    reported: (Ticks, u64),
    announce_at: Ticks,
    /// The last heartbeat's id.
    beat: u64,
    asked: Vec<u64>,
    rounds: VecDeque<BarrierRound>,
    /// Proposals of this step, appended and sent together.
    fresh: Vec<LogEntry>,
    /// Proposed and not both committed and durable here: (counter, bytes).
    inflight: VecDeque<(u64, usize)>,
    inflight_bytes: usize,
}

impl Leader {
    pub(crate) fn new(core: &mut Core, supporters: Vec<NodeId>) -> Leader {
        let mut leader = Leader {
            stage: Stage::Discovering,
            epoch: Epoch(0),
            initial: Zxid::ZERO,
            own: core.candidate(),
            peers: BTreeMap::new(),
            supporters,
            contact: core.members.voters().iter().map(|voter| (voter.node, core.now)).collect(),
            heartbeat_at: core.now,
            alive_at: core.now.plus(core.config.timeouts.heartbeat),
            reported: (core.now, 0),
            announce_at: core.now,
            beat: 0,
            asked: Vec::new(),
            rounds: VecDeque::new(),
            fresh: Vec::new(),
            inflight: VecDeque::new(),
            inflight_bytes: 0,
        };
        let early: Vec<(LinkId, Epoch)> =
            core.links.iter().filter_map(|(id, link)| link.cepoch.map(|accepted| (*id, accepted))).collect();
        for (link, accepted) in early {
            probe!("lead.early-follower");
            leader.admit(core, link, accepted);
        }
        leader
    }

    /// The epoch in which this leader is established.
    pub(crate) fn established(&self) -> Option<Epoch> {
        matches!(self.stage, Stage::Established).then_some(self.epoch)
    }

    /// The counter through which this leader must have applied before it serves: the end of the initial history.
    /// `None` until it is established.
    pub(crate) fn serves_from(&self) -> Option<u64> {
        self.established().map(|_| self.initial.counter)
    }

    /// The epoch in which this leader serves: established, and its initial history applied.
    pub(crate) fn serves(&self, core: &Core) -> Option<Epoch> {
        let applied = |from: &u64| planted!(core.history.applied() >= *from, serves_before_applied => true);
        self.serves_from().filter(applied).map(|_| self.epoch)
    }

    pub(crate) fn uses(&self, link: LinkId) -> bool {
        self.peers.contains_key(&link)
    }

    /// Every follower, with its connection.
    pub(crate) fn followers(&self) -> impl Iterator<Item = (LinkId, &Peer)> + '_ {
        self.peers.iter().map(|(link, peer)| (*link, peer))
    }

    // ---- Discovery

    /// A follower's promise has come.
    fn admit(&mut self, core: &mut Core, link: LinkId, accepted: Epoch) {
        let Some(hello) = core.links.get_mut(&link).and_then(|link| {
            link.cepoch = None;
            link.hello.clone()
        }) else {
            return core.close(link);
        };
        if hello.ensemble != core.ensemble() {
            return core.refuse(link, Reason::OtherEnsemble); // Nobody counts before its seal is durable.
        }
        if !core.plausible(accepted) {
            return core.refuse(link, Reason::Version);
        }
        // A node has one connection to its leader; an older one is a leftover.
        let old = self.peers.iter().find(|(_, peer)| peer.node == hello.node).map(|(id, _)| *id);
        if let Some(old) = old {
            probe!("lead.follower-connects-anew");
            core.replaces(link, old);
            self.drop_peer(core, old, "it has connected anew");
        }
        let votes = planted!(
            core.members.is_voter(hello.node, hello.incarnation),
            counts_acks_of_unrecorded_incarnation => true
        );
        if !votes {
            probe!("lead.follower-without-vote");
            core.notice(Notice::Amnesiac { peer: hello.node });
        }
        let peer = Peer::new(hello.node, votes, accepted, core.now);
        self.peers.insert(link, peer);
        if votes {
            self.contact.insert(hello.node, core.now);
        }
        if !matches!(self.stage, Stage::Discovering | Stage::Promising { .. }) {
            probe!("lead.late-joiner");
            core.send(link, Message::NewEpoch(self.epoch));
        }
    }

    /// A node that has promised this epoch or a later one to another leader can never join this leadership:
    /// run discovery again, above its promise; not too often (rule 14).
    fn outbid(&mut self, core: &mut Core, link: LinkId, accepted: Epoch) -> Next {
        core.epoch_floor = core.epoch_floor.max(accepted);
        let patience = core.config.timeouts.election * 2;
        let due = core.rediscovered.is_none_or(|at| core.now.since(at) >= patience);
        if planted!(due, ignores_higher_promise => false) {
            probe!("lead.outbid");
            probe!("lead.outbid-when-established", self.established().is_some());
            core.rediscovered = Some(core.now);
            // The connection stays: its promise is the first of the next discovery.
            if !self.peers.contains_key(&link)
                && let Some(state) = core.links.get_mut(&link)
            {
                state.cepoch = Some(accepted);
            }
            return Next::Look("a node has promised a later epoch");
        }
        self.peers.remove(&link);
        core.refuse(link, Reason::TooSoon);
        Next::Stay
    }

    pub(crate) fn on_message(&mut self, core: &mut Core, link: LinkId, message: Message) -> Next {
        if let Message::FollowerEpoch { accepted, .. } = message {
            if self.peers.contains_key(&link) {
                return Next::Stay;
            }
            if !matches!(self.stage, Stage::Discovering) && accepted > self.epoch && core.plausible(accepted)
            {
                return self.outbid(core, link, accepted);
            }
            self.admit(core, link, accepted);
            return self.check(core);
        }
        let Some(peer) = self.peers.get_mut(&link) else {
            core.close(link); // Only a follower speaks here, and it begins with its promise.
            return Next::Stay;
        };
        peer.heard = core.now;
        if peer.votes {
            self.contact.insert(peer.node, core.now);
        }
        planted!(any_message_confirms_barrier => peer.beat = self.beat);
        match message {
            Message::AckEpoch { epoch, current, last, oldest, boundaries } => {
                if epoch != self.epoch || peer.promised() {
                    return Next::Stay;
                }
                let Some(log) = Epochs::new(oldest, boundaries).filter(|log| log.last() == last) else {
                    self.drop_peer(core, link, "it describes a log that cannot be");
                    return Next::Stay;
                };
                // Rule 12, for as long as the quorum is not closed. Afterwards a voter may well hold more: an
                // unacknowledged tail, which is cut.
                let newer = planted!(
                    (current, last) > (self.own.epoch, self.own.last),
                    leads_with_older_history => false
                );
                if peer.votes && newer && matches!(self.stage, Stage::Promising { .. } | Stage::Gathering) {
                    probe!("lead.abdicates");
                    return Next::Look("a follower knows a newer history");
                }
                probe!("lead.voter-holds-more", peer.votes && newer);
                peer.sync = Sync::Acknowledged { log };
                if matches!(self.stage, Stage::Synchronising | Stage::Established) {
                    self.synchronise(core, link);
                }
                self.check(core)
            }
            Message::RefuseEpoch { accepted, .. } => {
                if accepted >= self.epoch && core.plausible(accepted) {
                    self.outbid(core, link, accepted)
                } else {
                    self.drop_peer(core, link, "it refuses the epoch");
                    Next::Stay
                }
            }
            Message::Progress { epoch, last } => {
                if epoch == self.epoch {
                    peer.release_window(last.counter);
                    planted!(counts_progress_as_ack => peer.acked = peer.acked.max(last.counter));
                }
                Next::Stay
            }
            Message::AckNewLeader { epoch, last } => {
                if epoch != self.epoch || !matches!(peer.sync, Sync::Streaming) || !peer.new_leader_sent {
                    return Next::Stay;
                }
                let ours = core.history.epochs().at(last.counter) == Some(last) && last.counter < peer.next;
                if !ours || last < self.initial {
                    self.drop_peer(core, link, "it acknowledges a log that is not this leader's");
                    return Next::Stay;
                }
                probe!("lead.follower-holds-more-than-initial", last > self.initial);
                peer.acked = planted!(
                    last.counter,
                    counts_acks_of_earlier_epochs => last.counter.max(core.acked_before(peer.node))
                );
                #[cfg(gometa_instrumented)]
                core.remember(peer.node, last.counter);
                peer.release_window(last.counter);
                peer.sync = Sync::Following { target: core.commit };
                self.check(core)
            }
            Message::Ack { epoch, last } => {
                planted!(ack_confirms_barrier => peer.beat = self.beat);
                // One that came before AckNewLeader counts for nothing, and is no fault (rule 23).
                if epoch != self.epoch || !matches!(peer.sync, Sync::Following { .. } | Sync::Serving) {
                    return Next::Stay;
                }
                if last.counter > peer.acked {
                    if last.counter >= peer.next || core.history.epochs().at(last.counter) != Some(last) {
                        self.drop_peer(core, link, "it acknowledges what it was not sent");
                        return Next::Stay;
                    }
                    peer.acked = last.counter;
                    #[cfg(gometa_instrumented)]
                    core.remember(peer.node, last.counter);
                    peer.release_window(last.counter);
                }
                self.check(core)
            }
            Message::HeartbeatAck { epoch, id } => {
                if epoch == self.epoch && peer.promised() && id <= self.beat {
                    let confirmed = planted!(id, any_heartbeat_ack_confirms_barrier => self.beat);
                    peer.beat = peer.beat.max(confirmed);
                    self.pass_barriers(core);
                }
                Next::Stay
            }
            Message::Relay(payload) => {
                if let (Stage::Established, Sync::Serving) = (&self.stage, &peer.sync) {
                    core.effects.push(Effect::Relayed { link, payload });
                }
                Next::Stay
            }
            Message::Refuse(reason) => {
                core.notice(Notice::RefusedBy { peer: peer.node, reason });
                if reason == Reason::NoCommonPoint {
                    core.send(link, Message::Refuse(Reason::SnapshotNeeded));
                }
                self.drop_peer(core, link, "it refuses this leader");
                Next::Stay
            }
            Message::Hello(_)
            | Message::Prepare(_)
            | Message::Prepared(_)
            | Message::Seal(_)
            | Message::Formed(_)
            | Message::FollowerEpoch { .. }
            | Message::Duplicate(_)
            | Message::NewEpoch(_)
            | Message::Diff { .. }
            | Message::Propose { .. }
            | Message::NewLeader { .. }
            | Message::UpToDate { .. }
            | Message::Commit { .. }
            | Message::Alive { .. }
            | Message::Heartbeat { .. } => {
                self.drop_peer(core, link, "it speaks like a leader");
                Next::Stay
            }
        }
    }

    fn drop_peer(&mut self, core: &mut Core, link: LinkId, why: &'static str) {
        if let Some(peer) = self.peers.remove(&link) {
            core.notice(Notice::LostFollower { peer: peer.node, why });
        }
        core.close(link);
    }

    pub(crate) fn closed(&mut self, core: &mut Core, link: LinkId) -> Next {
        if let Some(peer) = self.peers.remove(&link) {
            core.notice(Notice::LostFollower { peer: peer.node, why: "the connection has ended" });
        }
        self.check(core)
    }

    /// A looking node is told what this node is; a supporter that backs another is lost (rule 9).
    pub(crate) fn on_vote(&mut self, core: &mut Core, vote: &Vote) -> Next {
        if matches!(vote.state, VoteState::Looking | VoteState::Seeking) {
            self.announce(core, vote.sender);
        }
        if self.established().is_none() && vote.state == VoteState::Looking && vote.round > core.round {
            probe!("lead.supporter-leaves", self.supporters.contains(&vote.sender));
            self.supporters.retain(|node| *node != vote.sender);
            let follows = |node| self.peers.values().any(|peer| peer.node == node && peer.votes);
            if !core.members.quorum(|node| self.supporters.contains(&node) || follows(node)) {
                probe!("lead.supporters-gone");
                return Next::Look("its supporters are looking again");
            }
        }
        Next::Stay
    }

    fn announce(&self, core: &mut Core, to: NodeId) {
        let candidate = core.candidate();
        core.send_vote(to, VoteState::Leading, candidate, self.established());
    }

    /// The voters for which this holds, this node included if `own` does.
    fn quorum(&self, core: &Core, own: bool, holds: impl Fn(&Peer) -> bool) -> bool {
        core.members.quorum(|node| {
            (node == core.me() && own && core.votes())
                || self.peers.values().any(|peer| peer.node == node && peer.votes && holds(peer))
        })
    }

    /// Goes on where a write or a quorum was waited for.
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        match self.stage {
            Stage::Discovering
                if planted!(core.settled(), draws_epoch_with_writes_pending => true)
                    && self.quorum(core, true, |_| true) =>
            {
                // What was in flight when this node won may have landed since.
                self.own = core.candidate();
                let highest = self.peers.values().map(|peer| peer.accepted).max().unwrap_or_default();
                let highest = highest.max(core.hard.accepted_epoch).max(core.epoch_floor);
                self.epoch = Epoch(highest.0 + planted!(1, reuses_promised_epoch => 0));
                let token = core.write(Write::HardState(HardState {
                    accepted_epoch: self.epoch,
                    accepted_leader: Some(core.me()),
                    current_epoch: core.hard.current_epoch,
                }));
                self.stage = Stage::Promising { token };
                Next::Stay
            }
            Stage::Promising { token } if planted!(core.persisted(token), proposes_epoch_before_own_sync => true) =>
            {
                self.stage = Stage::Gathering;
                let links: Vec<LinkId> = self.peers.keys().copied().collect();
                for link in links {
                    core.send(link, Message::NewEpoch(self.epoch));
                }
                self.check(core)
            }
            Stage::Gathering if planted!(self.quorum(core, true, Peer::promised), claims_epoch_without_quorum => true) =>
            {
                let hard = HardState { current_epoch: self.epoch, ..core.hard };
                let token = core.write(Write::HardState(hard));
                self.stage = Stage::Claiming { token };
                Next::Stay
            }
            Stage::Claiming { token } if planted!(core.persisted(token), synchronises_before_claim_sync => true) =>
            {
                self.initial = core.history.last();
                self.stage = Stage::Synchronising;
                core.notice(Notice::Discovered { epoch: self.epoch, last: self.initial });
                let links: Vec<LinkId> = self.peers.keys().copied().collect();
                for link in links {
                    self.synchronise(core, link);
                }
                self.check(core)
            }
            Stage::Synchronising
                if planted!(
                    self.quorum(core, true, Peer::counts),
                    established_without_quorum => true,
                    counts_earlier_synchronisation =>
                        self.quorum(core, true, |peer| peer.counts() || core.acked_before(peer.node) > 0)
                ) =>
            {
                self.stage = Stage::Established;
                probe!("lead.commits-inherited", core.commit < self.initial.counter);
                core.commit = core.commit.max(self.initial.counter);
                core.notice(Notice::Established { epoch: self.epoch, last: self.initial });
                self.announce_at = core.now;
                Next::Stay
            }
            _ => Next::Stay,
        }
    }

    // ---- Synchronisation

    /// Tells a follower where to begin; the rest is [`Leader::pump`].
    fn synchronise(&mut self, core: &mut Core, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        let Sync::Acknowledged { log } = &peer.sync else { return };
        match plan(core.history.epochs(), log) {
            Plan::Diff { base: common } => {
                let base = planted!(common, truncates_one_entry_too_many => {
                    core.history.epochs().at(common.counter.saturating_sub(1)).unwrap_or(common)
                });
                let (node, votes, from) = (peer.node, peer.votes, log.last());
                peer.next = base.counter + 1;
                peer.sync = Sync::Streaming;
                core.notice(Notice::Synchronising { peer: node, votes, from, base });
                core.send(link, Message::Diff { epoch: self.epoch, base });
            }
            Plan::Snapshot => {
                self.peers.remove(&link);
                core.refuse(link, Reason::SnapshotNeeded);
            }
        }
    }

    /// The commit index that followers may know whose logs are prefixes of this one's: an established leader's, so
    /// that they apply while they are streamed to (rule 20); 0 before that.
    fn commit_to_tell(&self, core: &Core) -> u64 {
        match self.established() {
            Some(_) => core.commit,
            None => planted!(0, sends_commit_before_established => self.initial.counter),
        }
    }

    /// Sends a follower what its cursor has not passed, within its window.
    fn pump(&mut self, core: &mut Core, link: LinkId) {
        let commit = self.commit_to_tell(core);
        let Some(peer) = self.peers.get_mut(&link) else { return };
        if !peer.is_streamed() {
            return;
        }
        let last = core.history.last().counter;
        let bounds = core.config.bounds;
        while peer.next <= last && peer.reading.is_none() && peer.window_bytes < bounds.window_bytes_max {
            let recent_from = core.history.recent_from();
            if peer.next < recent_from {
                probe!("sync.from-disk");
                let id = core.allocate_read();
                peer.reading = Some(id);
                let (from, to) = (peer.next, recent_from - 1);
                core.effects.push(Effect::Read { id, from, to, bytes_max: bounds.batch_bytes_max });
                return;
            }
            let mut entries = Vec::new();
            let mut bytes = 0;
            while let Some(entry) = core.history.recent(peer.next + entries.len() as u64) {
                let full = bytes + entry.size() > bounds.batch_bytes_max;
                if !entries.is_empty() && planted!(full, sends_entries_one_by_one => true) {
                    break;
                }
                bytes += entry.size();
                entries.push(entry.clone());
            }
            Self::propose_to(core, link, peer, (self.epoch, commit), entries, bytes);
        }
        probe!("sync.window-full", peer.next <= last && peer.reading.is_none());
        if peer.next > self.initial.counter && !peer.new_leader_sent {
            peer.new_leader_sent = true;
            core.send(link, Message::NewLeader { epoch: self.epoch, last: self.initial });
        }
    }

    fn propose_to(
        core: &mut Core,
        link: LinkId,
        peer: &mut Peer,
        (epoch, commit): (Epoch, u64),
        entries: Vec<LogEntry>,
        bytes: usize,
    ) {
        let Some(previous) = core.history.epochs().at(peer.next - 1) else { return };
        peer.next += entries.len() as u64;
        peer.window.push_back((peer.next - 1, bytes));
        peer.window_bytes += bytes;
        peer.commit_sent = peer.commit_sent.max(commit);
        core.send(link, Message::Propose { epoch, previous, entries, commit });
    }

    /// Entries for a follower have come from storage.
    pub(crate) fn on_read(&mut self, core: &mut Core, id: u64, entries: Vec<LogEntry>) {
        let commit = self.commit_to_tell(core);
        let Some((link, peer)) = self.peers.iter_mut().find(|(_, peer)| peer.reading == Some(id)) else {
            probe!("sync.read-for-nobody");
            return;
        };
        peer.reading = None;
        let fits = entries.first().is_some_and(|entry| entry.zxid.counter == peer.next)
            && entries.iter().all(|entry| core.history.epochs().at(entry.zxid.counter) == Some(entry.zxid));
        assert!(fits, "storage returns the log entries that it was asked for");
        let bytes = entries.iter().map(LogEntry::size).sum();
        Self::propose_to(core, *link, peer, (self.epoch, commit), entries, bytes);
    }

    // ---- Broadcast

    pub(crate) fn on_request(&mut self, core: &mut Core, event: Event) {
        match event {
            Event::Propose { id, payload } => {
                let why = if self.established().is_none() {
                    Some(Rejection::NotLeader)
                } else if self.inflight.len() >= core.config.bounds.proposals_max
                    || self.inflight_bytes >= core.config.bounds.proposal_bytes_max
                {
                    Some(Rejection::Full)
                } else {
                    None
                };
                if let Some(why) = why {
                    probe!("propose.too-many", why == Rejection::Full);
                    core.effects.push(Effect::Rejected { id, why });
                    return;
                }
                let zxid = Zxid { epoch: self.epoch, counter: core.history.last().counter + 1 };
                let entry = LogEntry { zxid, kind: Kind::Command, level: LEVEL, payload };
                self.inflight.push_back((zxid.counter, entry.size()));
                self.inflight_bytes += entry.size();
                core.history.push(entry.clone());
                self.fresh.push(entry);
                core.effects.push(Effect::Proposed { id, zxid });
            }
            Event::Barrier { id } => {
                planted!(joins_started_barrier_round => if let Some(round) = self.rounds.back_mut() {
                    return round.asked.push(id);
                });
                if self.established().is_some() && self.asked.len() < core.config.bounds.proposals_max {
                    self.asked.push(id);
                } else {
                    core.effects.push(Effect::BarrierFailed { id });
                }
            }
            Event::RelayTo { link, payload }
                if self.peers.get(&link).is_some_and(|peer| matches!(peer.sync, Sync::Serving)) =>
            {
                core.send(link, Message::Relay(payload));
            }
            _ => {}
        }
    }

    /// Commits what a quorum holds (rule 23).
    fn advance_commit(&mut self, core: &mut Core) {
        let durable = planted!(core.history.durable(), leader_counts_unsynced_entries => core.history.last());
        let own = if core.votes() { durable.counter } else { 0 };
        let me = core.me();
        let reached = core.members.quorum_value(|node| {
            if planted!(node == me, commits_without_quorum => true) {
                return own;
            }
            let counts = |peer: &Peer| planted!(peer.counts(), counts_progress_as_ack => peer.votes);
            let peers = self.peers.values().filter(|peer| peer.node == node && counts(peer));
            let before = planted!(0, counts_acks_of_disconnected_voters => core.acked_before(node));
            peers.map(|peer| peer.acked).max().unwrap_or(before)
        });
        probe!("commit.without-own-disk", reached > own);
        core.learn_commit(reached);
        let done = core.commit.min(core.history.durable().counter);
        while self.inflight.front().is_some_and(|(counter, _)| *counter <= done) {
            self.inflight_bytes -= self.inflight.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn beat(&mut self, core: &mut Core) {
        let told = self.commit_to_tell(core);
        self.beat += 1;
        let heartbeat = core.config.timeouts.heartbeat;
        self.heartbeat_at = core.now.plus(planted!(heartbeat, halves_heartbeat_rate => heartbeat * 2));
        for (link, peer) in &mut self.peers {
            if peer.promised() {
                let commit = if peer.is_streamed() { told } else { 0 };
                peer.commit_sent = peer.commit_sent.max(commit);
                core.send(*link, Message::Heartbeat { epoch: self.epoch, id: self.beat, commit });
            }
        }
    }

    /// Begins a round for the barriers asked for since the last one (protocol.md 6.2): the commit index is taken
    /// after the last of them has joined and before the first heartbeat leaves.
    fn begin_round(&mut self, core: &mut Core) {
        let asked = core::mem::take(&mut self.asked);
        probe!("barrier.shared", asked.len() > 1);
        let commit = planted!(core.commit, barrier_has_older_commit_index => core.commit.saturating_sub(1));
        self.beat(core);
        self.rounds.push_back(BarrierRound { id: self.beat, commit, asked });
        self.pass_barriers(core);
    }

    fn pass_barriers(&mut self, core: &mut Core) {
        while let Some(round) = self.rounds.pop_front() {
            let confirms = |peer: &Peer| {
                planted!(
                    peer.beat >= round.id,
                    previous_heartbeat_confirms_barrier => peer.beat + 1 >= round.id,
                    recent_contact_confirms_barrier => peer.beat >= round.id
                        || core.now.since(peer.heard) <= core.config.timeouts.election
                )
            };
            if !planted!(self.quorum(core, true, confirms), passes_barrier_without_quorum => true) {
                self.rounds.push_front(round);
                return;
            }
            for id in round.asked {
                core.effects.push(Effect::BarrierPassed { id, commit: round.commit });
            }
        }
    }

    /// What is written and said once for all that happened in a step.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        if !self.fresh.is_empty() {
            let entries = core::mem::take(&mut self.fresh);
            core.write(Write::Append(entries));
        }
        let links: Vec<LinkId> = self.peers.keys().copied().collect();
        if self.established().is_some() {
            self.advance_commit(core);
            for link in &links {
                self.welcome(core, *link);
            }
            if !self.asked.is_empty() && self.rounds.len() < ROUNDS_MAX {
                self.begin_round(core);
            }
        }
        for link in links {
            self.pump(core, link);
            let Some(peer) = self.peers.get_mut(&link) else { continue };
            if matches!(peer.sync, Sync::Serving) && core.commit > peer.commit_sent {
                peer.commit_sent = core.commit;
                core.send(link, Message::Commit { epoch: self.epoch, commit: core.commit });
                planted!(sends_commit_twice => {
                    core.send(link, Message::Commit { epoch: self.epoch, commit: core.commit })
                });
            }
        }
        if self.established().is_some() {
            core.release();
            probe!("lead.applies-before-it-serves", self.serves(core).is_none());
        }
    }

    /// A follower that has caught up may serve (rule 19): it is told the commit index of now.
    fn welcome(&mut self, core: &mut Core, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        let Sync::Following { target } = peer.sync else { return };
        if peer.acked < target {
            probe!("sync.behind-its-target");
            return;
        }
        peer.sync = Sync::Serving;
        peer.commit_sent = core.commit;
        let last = core.history.epochs().at(peer.acked).unwrap_or_default();
        core.notice(Notice::Synchronised { peer: peer.node, last });
        core.send(link, Message::UpToDate { epoch: self.epoch, commit: core.commit });
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        if core.stalled() {
            probe!("lead.own-disk-stalls");
            return Next::Look("its own disk does not answer");
        }
        let patience = core.config.timeouts.election;
        let silent: Vec<LinkId> = self
            .peers
            .iter()
            .filter(|(_, peer)| core.now.since(peer.heard) > patience)
            .map(|(link, _)| *link)
            .collect();
        for link in silent {
            probe!("lead.follower-silent");
            self.drop_peer(core, link, "it is silent");
        }
        let me = core.me();
        let in_reach = core.members.quorum(|node| {
            node == me || self.contact.get(&node).is_some_and(|at| core.now.since(*at) <= patience)
        });
        if !planted!(in_reach, leads_without_quorum_in_reach => true) {
            probe!("lead.quorum-lost");
            return Next::Look("a quorum of followers is out of reach");
        }
        if core.now >= self.heartbeat_at
            && !matches!(self.stage, Stage::Discovering | Stage::Promising { .. })
        {
            self.beat(core);
        }
        planted!(self.show_life(core), sends_no_alive => {});
        if core.now >= self.announce_at {
            self.announce_at = core.now.plus(patience / 4);
            for node in core.others() {
                if !self.peers.values().any(|peer| peer.node == node) {
                    self.announce(core, node);
                }
            }
        }
        self.check(core)
    }

    /// The leadership ends: nobody is left waiting.
    pub(crate) fn leave(&mut self, core: &mut Core) {
        probe!("lead.ends-with-fresh-proposals", !self.fresh.is_empty());
        // What was proposed in this very step still has its place in the log: it is written, and may yet be
        // committed by another leader.
        if !self.fresh.is_empty() {
            let entries = core::mem::take(&mut self.fresh);
            planted!(_ = core.write(Write::Append(entries)), drops_last_proposals => {});
        }
        let rounds = core::mem::take(&mut self.rounds);
        let asked = core::mem::take(&mut self.asked);
        probe!("lead.ends-with-barriers", !rounds.is_empty());
        for id in rounds.into_iter().flat_map(|round| round.asked).chain(asked) {
            core.effects.push(Effect::BarrierFailed { id });
        }
        let links: Vec<LinkId> = self.peers.keys().copied().collect();
        for link in links {
            core.close(link);
        }
    }
}
