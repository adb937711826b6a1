//! The leader: discovery, synchronisation and broadcast, on the node that won the election.
//!
//! *Discovery* chooses an epoch that a quorum promises, and ends the leadership if a voter of that quorum has a newer
//! history (rules 11 to 13). *Synchronisation* brings a quorum to the history of this node; then the leader is
//! *established* (rules 16 to 19). *Broadcast* orders proposals and commits what a quorum has acknowledged (rules 21
//! to 25).
//!
//! This file has the stages and the dispatch. The handlers of messages are in `discovery` and `replication`;
//! heartbeats, signs of life and barriers in `liveness`. What is known of each follower is in `progress`.

use alloc::{collections::BTreeMap, vec::Vec};

use bytes::Bytes;

use crate::{
    barrier::Barriers,
    comparison::Comparison,
    effect::{Effect, HardState, Notice, Rejection, Write},
    event::Event,
    latency::LatencyReport,
    message::{Candidate, Kind, LogEntry, Message, Reason, Vote, VoteState},
    plans::{OwnChanges, Transfer},
    progress::Progress,
    proposals::Proposals,
    space::DiskSpace,
    state::{Core, Next},
    types::{Epoch, Incarnation, LinkId, NodeId, Ticks, Token, Zxid},
};

mod discovery;
mod integrity;
mod liveness;
mod membership;
mod replication;
mod space;
mod transfer;

/// The stages of a leadership.
#[derive(Clone, Hash)]
enum Stage {
    /// FollowerEpochs are collected; ends when all earlier storage writes are done (rule 11a).
    Discovering,
    /// The leader's own promise is being written.
    Promising { token: Token },
    /// NewEpoch was sent; AckEpochs are collected.
    Gathering,
    /// A quorum has promised, and none of it has a newer history: the current epoch is being written (rule 13).
    Claiming { token: Token },
    /// Followers are brought to the initial history.
    Synchronising,
    /// A quorum has the initial history: broadcast.
    Established,
}

/// A node that leads, or is about to.
#[derive(Clone, Hash)]
pub(crate) struct Leader {
    stage: Stage,
    /// The epoch; 0 until discovery has chosen it.
    epoch: Epoch,
    /// The end of the initial history, from stage Synchronising on.
    initial: Zxid,
    /// This node as a candidate: a voter with a newer history ends the leadership.
    own: Candidate,
    followers: BTreeMap<LinkId, Progress>,
    /// The nodes that elected this node and were not seen looking in a later round (rule 9).
    supporters: Vec<(NodeId, Incarnation)>,
    /// What voters that are not connected have acknowledged in this epoch.
    acknowledged: BTreeMap<(NodeId, Incarnation), u64>,
    /// The time of the last sign of life of each member, within the election timeout; at first the time of the election.
    contacts: BTreeMap<(NodeId, Incarnation), Ticks>,
    next_heartbeat: Ticks,
    /// The time of the next Alive to nodes that are sent no heartbeats.
    next_alive: Ticks,
    /// The time of the next announcement to members that are not connected.
    next_announcement: Ticks,
    reported: LatencyReport,
    /// The id of the last heartbeat.
    heartbeat: u64,
    barriers: Barriers,
    proposals: Proposals,
    /// What the disk space permits to propose, as last reported.
    writable: DiskSpace,
    comparison: Comparison,
    /// The transfer of the leadership that is under way.
    transfer: Option<Transfer>,
    /// The time since which the disk of this node is slow, and those of a quorum are not.
    slow_since: Option<Ticks>,
    /// The changes of the configuration that this leader proposes by itself.
    own_changes: OwnChanges,
}

impl Leader {
    pub(crate) fn new(core: &mut Core, supporters: Vec<(NodeId, Incarnation)>) -> Leader {
        let voters = core.configuration().voters().iter();
        let mut leader = Leader {
            stage: Stage::Discovering,
            epoch: Epoch(0),
            initial: Zxid::ZERO,
            own: core.candidate(),
            followers: BTreeMap::new(),
            supporters,
            acknowledged: BTreeMap::new(),
            contacts: voters.filter_map(|voter| Some(((voter.node, voter.incarnation?), core.now))).collect(),
            next_heartbeat: core.now,
            next_alive: core.now.plus(core.config.timeouts.heartbeat),
            next_announcement: core.now,
            reported: LatencyReport::new(core.now),
            heartbeat: 0,
            barriers: Barriers::default(),
            proposals: Proposals::default(),
            writable: DiskSpace::Ample,
            comparison: Comparison::new(core.now),
            transfer: None,
            slow_since: None,
            own_changes: OwnChanges::default(),
        };
        let early: Vec<(LinkId, Epoch)> = core
            .links
            .iter()
            .filter_map(|(id, link)| link.follower_epoch.map(|accepted| (*id, accepted)))
            .collect();
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

    /// Whether a follower is connected by this link.
    pub(crate) fn uses(&self, link: LinkId) -> bool {
        self.followers.contains_key(&link)
    }

    /// When something was received last on the connection of a follower.
    pub(crate) fn heard(&self, link: LinkId) -> Option<Ticks> {
        self.followers.get(&link).map(|progress| progress.heard)
    }

    /// All followers, with their connections.
    pub(crate) fn followers(&self) -> impl Iterator<Item = (LinkId, &Progress)> + '_ {
        self.followers.iter().map(|(link, progress)| (*link, progress))
    }

    /// Whether a quorum satisfies `holds`; this node counts as one that does.
    fn has_quorum(&self, core: &Core, holds: impl Fn(&Progress) -> bool) -> bool {
        core.configuration().has_quorum(|voter| {
            (voter.node == core.me() && core.votes())
                || self.followers.values().any(|progress| progress.is(voter) && holds(progress))
        })
    }

    /// Whether NewEpoch has been sent.
    fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Discovering | Stage::Promising { .. })
    }

    // ---- Dispatch

    pub(crate) fn on_message(&mut self, core: &mut Core, link: LinkId, message: Message) -> Next {
        if let Message::FollowerEpoch { accepted, .. } = message {
            return self.on_follower_epoch(core, link, accepted);
        }
        if !self.uses(link) {
            core.close(link); // A follower begins with FollowerEpoch.
            return Next::Stay;
        }
        self.on_contact(core, link);
        planted!(any_message_confirms_barrier => if let Some(progress) = self.followers.get_mut(&link) {
            progress.heartbeat_acked = self.heartbeat;
        });
        match message {
            Message::AckEpoch { epoch, current, last, oldest, boundaries } if epoch == self.epoch => {
                self.on_ack_epoch(core, link, (current, last), oldest, boundaries)
            }
            Message::RefuseEpoch { accepted, .. } => self.on_refuse_epoch(core, link, accepted),
            Message::Progress { epoch, last } if epoch == self.epoch => self.on_progress(link, last),
            Message::AckNewLeader { epoch, last } if epoch == self.epoch => {
                self.on_ack_new_leader(core, link, last)
            }
            Message::Ack { epoch, last } if epoch == self.epoch => self.on_ack(core, link, last),
            Message::HeartbeatAck { epoch, id, space, state } if epoch == self.epoch => {
                self.on_heartbeat_ack(core, link, id, space, &state)
            }
            // Messages of another leadership (rule 21).
            Message::AckEpoch { .. }
            | Message::Progress { .. }
            | Message::AckNewLeader { .. }
            | Message::Ack { .. }
            | Message::HeartbeatAck { .. } => Next::Stay,
            Message::Relay(payload) => {
                let serving = self.followers.get(&link).is_some_and(Progress::is_serving);
                if serving && self.established().is_some() {
                    core.effects.push(Effect::Relayed { link, payload });
                }
                Next::Stay
            }
            Message::Refuse(reason) => self.on_refuse(core, link, reason),
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
            | Message::Snapshot(_)
            | Message::Quarantine { .. }
            | Message::Handoff { .. }
            | Message::Heartbeat { .. } => self.drop_follower(core, link, "it sends an unexpected message"),
        }
    }

    fn on_refuse(&mut self, core: &mut Core, link: LinkId, reason: Reason) -> Next {
        let Some(progress) = self.followers.get(&link) else { return Next::Stay };
        core.notice(Notice::RefusedBy { peer: progress.node, reason });
        self.drop_follower(core, link, "it refuses this leader")
    }

    fn drop_follower(&mut self, core: &mut Core, link: LinkId, why: &'static str) -> Next {
        if let Some(progress) = self.take_follower(core, link) {
            core.notice(Notice::LostFollower { peer: progress.node, why });
        }
        core.close(link);
        Next::Stay
    }

    /// Removes a follower, and remembers what it has acknowledged if it is a voter.
    fn take_follower(&mut self, core: &Core, link: LinkId) -> Option<Progress> {
        let progress = self.followers.remove(&link)?;
        if progress.acked > 0 && progress.is_voter(core.configuration()) {
            self.acknowledged.insert((progress.node, progress.incarnation()), progress.acked);
        }
        Some(progress)
    }

    pub(crate) fn on_closed(&mut self, core: &mut Core, link: LinkId) -> Next {
        if let Some(progress) = self.take_follower(core, link) {
            core.notice(Notice::LostFollower { peer: progress.node, why: "its connection is closed" });
        }
        self.check(core)
    }

    /// Answers a looking node. A supporter that looks in a later round is lost (rule 9).
    pub(crate) fn on_vote(&mut self, core: &mut Core, vote: &Vote) -> Next {
        if matches!(vote.state, VoteState::Looking | VoteState::Seeking) {
            self.announce(core, vote.sender);
        }
        if self.established().is_none() && vote.state == VoteState::Looking && vote.round > core.round {
            let sender = (vote.sender, vote.incarnation);
            probe!("lead.supporter-leaves", self.supporters.contains(&sender));
            self.supporters.retain(|supporter| *supporter != sender);
            let quorum = core.configuration().has_quorum(|voter| {
                self.supporters.iter().any(|(node, incarnation)| voter.is(*node, *incarnation))
                    || self.followers.values().any(|progress| progress.is(voter))
            });
            if !quorum {
                probe!("lead.support-lost");
                return Next::Look("its supporters look for another leader");
            }
        }
        Next::Stay
    }

    fn announce(&self, core: &mut Core, to: NodeId) {
        let candidate = core.candidate();
        core.send_vote(to, VoteState::Leading, candidate, self.established());
    }

    pub(crate) fn on_request(&mut self, core: &mut Core, event: Event) {
        if let Event::Propose { id, payload, level, may_wait } = event {
            let level_differs = level > core.configuration().level();
            let why = if self.established().is_none() || (self.is_transferring() && !may_wait) {
                Some(Rejection::NotLeader)
            } else if level_differs {
                Some(Rejection::Level)
            } else if self.proposals.is_full(&core.config.bounds) {
                Some(Rejection::Full)
            } else {
                None
            };
            if let Some(why) = why {
                probe!("propose.limit-reached", why == Rejection::Full);
                core.effects.push(Effect::Rejected { id, why });
                return;
            }
            if self.is_transferring() {
                probe!("transfer.proposal-waits");
                self.proposals.wait(id, level, payload);
                return;
            }
            let zxid = self.propose(core, Kind::Command, level, payload);
            core.effects.push(Effect::Proposed { id, zxid });
        } else if let Event::Barrier { id } = event {
            let waiting_max = core.config.bounds.proposals_max;
            if self.established().is_none() || !self.barriers.request(id, waiting_max) {
                core.effects.push(Effect::BarrierFailed { id });
            }
        } else if let Event::ChangeConfiguration { id, change, asked_by } = event {
            let result = self.propose_change(core, &change, asked_by);
            core.effects.push(Effect::ChangeDecided { id, result });
        } else if let Event::TransferLeadership { to } = event {
            self.request_transfer(core, to);
        } else if let Event::RelayTo { link, payload } = event
            && self.followers.get(&link).is_some_and(Progress::is_serving)
        {
            core.send(link, Message::Relay(payload));
        }
    }

    /// The zxid of the next proposal.
    fn next_zxid(&self, core: &Core) -> Zxid {
        Zxid { epoch: self.epoch, counter: core.history.last().counter + 1 }
    }

    /// Appends a proposal to the log.
    fn propose(&mut self, core: &mut Core, kind: Kind, level: u32, payload: Bytes) -> Zxid {
        let zxid = self.next_zxid(core);
        let entry = LogEntry { zxid, kind, level, payload };
        core.append(entry.clone());
        self.proposals.push(entry);
        zxid
    }

    // ---- Stages

    /// Advances the stage if the write or the quorum that it waits for is there.
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        match self.stage {
            Stage::Discovering
                if planted!(core.is_idle(), draws_epoch_with_writes_pending => true)
                    && self.has_quorum(core, |_| true) =>
            {
                // Writes that were under way at the election may have completed since.
                self.own = core.candidate();
                let highest = self.followers.values().map(|progress| progress.accepted).max();
                let highest = highest.unwrap_or_default().max(core.hard.accepted_epoch).max(core.epoch_floor);
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
                for link in self.links() {
                    core.send(link, Message::NewEpoch(self.epoch));
                }
                self.check(core)
            }
            Stage::Gathering
                if planted!(
                    self.has_quorum(core, Progress::has_promised),
                    claims_epoch_without_quorum => true
                ) =>
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
                for link in self.links() {
                    self.synchronise(core, link);
                }
                self.check(core)
            }
            Stage::Synchronising
                if planted!(
                    self.has_quorum(core, Progress::is_counted),
                    established_without_quorum => true,
                    counts_snapshot_receivers => self.has_quorum(core, |progress| {
                        progress.is_counted() || progress.receives_snapshot()
                    }),
                    counts_earlier_synchronisation => self.has_quorum(core, |progress| {
                        progress.is_counted() || core.acked_before(progress.node) > 0
                    })
                ) =>
            {
                self.stage = Stage::Established;
                probe!("lead.commits-inherited", core.commit < self.initial.counter);
                core.commit = core.commit.max(self.initial.counter);
                core.notice(Notice::Established { epoch: self.epoch, last: self.initial });
                self.next_announcement = core.now;
                Next::Stay
            }
            Stage::Discovering
            | Stage::Promising { .. }
            | Stage::Gathering
            | Stage::Claiming { .. }
            | Stage::Synchronising
            | Stage::Established => Next::Stay,
        }
    }

    fn links(&self) -> Vec<LinkId> {
        self.followers.keys().copied().collect()
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        if core.may_not_lead() {
            probe!("lead.own-disk-stalls", core.is_stalled());
            probe!("lead.own-state-stalls", core.state_stalled);
            return Next::Look("its own storage is stalled");
        }
        let timeout = core.config.timeouts.election;
        let silent = |progress: &Progress| core.now.since(progress.heard) > timeout;
        let silent: Vec<LinkId> =
            self.followers().filter(|(_, progress)| silent(progress)).map(|(link, _)| link).collect();
        for link in silent {
            probe!("lead.follower-silent");
            self.drop_follower(core, link, "it is silent");
        }
        self.drop_removed(core);
        if !planted!(self.has_contact(core), leads_without_quorum_in_reach => true) {
            probe!("lead.quorum-lost");
            return Next::Look("no quorum of followers is reachable");
        }
        self.check_own_space(core);
        self.check_own_latency(core);
        self.compare_states(core);
        self.check_transfer(core);
        self.propose_own_change(core);
        if core.now >= self.next_heartbeat && self.has_begun() {
            self.send_heartbeat(core);
        }
        planted!(self.send_alive(core), sends_no_alive => {});
        if core.now >= self.next_announcement {
            self.next_announcement = core.now.plus(timeout / 4);
            for node in core.other_members() {
                if !self.followers.values().any(|progress| progress.node == node) {
                    self.announce(core, node);
                }
            }
        }
        self.check(core)
    }

    /// Sends and writes once for all events of a step; then hands over if a transfer is ready.
    pub(crate) fn flush(&mut self, core: &mut Core) -> Next {
        let new = self.proposals.take_new();
        if !new.is_empty() {
            core.write(Write::Append(new));
        }
        let links = self.links();
        if self.established().is_some() {
            self.advance_commit(core);
            self.report_writable(core);
            for link in &links {
                self.send_up_to_date(core, *link);
            }
            // A change of the members may leave fewer voters to confirm a round, or none but this node.
            if self.barriers.is_waiting() {
                self.pass_barriers(core);
            }
            if self.barriers.is_round_due() {
                self.begin_barrier_round(core);
            }
        }
        for link in links {
            self.stream(core, link);
            self.send_commit(core, link);
        }
        if self.established().is_some() {
            core.release();
            probe!("lead.applies-before-serving", self.serves(core).is_none());
        }
        self.hand_over(core)
    }

    /// Ends the leadership: waiting proposals are rejected, barriers fail and connections are closed.
    pub(crate) fn step_down(&mut self, core: &mut Core) {
        self.reject_waiting(core);
        // The proposals of this very step are in the log already: another leader may yet commit them.
        let new = self.proposals.take_new();
        probe!("lead.ends-with-new-proposals", !new.is_empty());
        if !new.is_empty() {
            planted!(_ = core.write(Write::Append(new)), drops_last_proposals => {});
        }
        for id in self.barriers.take_all() {
            core.effects.push(Effect::BarrierFailed { id });
        }
        for link in self.links() {
            core.close(link);
        }
    }
}
