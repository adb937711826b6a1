//! A node: the phases, the dispatch of events, and the transitions between phases.

use alloc::{boxed::Box, format, vec::Vec};

use crate::{
    config::{Config, Recovered},
    configuration::Configuration,
    effect::{ChangeRejection, Effect, Notice, Rejection, Role, TransferRejection},
    election::Looking,
    event::Event,
    follower::Follower,
    formation::{self, Forming},
    leader::Leader,
    membership::Change,
    message::{Hello, Message, Reason, Vote, VoteState},
    state::{Core, Next},
    types::{Incarnation, LinkId, NodeId, Ticks},
};

mod status;

#[derive(Clone, Hash)]
enum Phase {
    Forming(Forming),
    Looking(Looking),
    Following(Follower),
    Leading(Box<Leader>),
    /// [`Effect::Stop`] was emitted: all further events are ignored.
    Stopped,
}

impl Phase {
    /// Ends what this phase has begun, and closes its connections.
    fn leave(&mut self, core: &mut Core) {
        match self {
            Phase::Leading(leader) => leader.step_down(core),
            Phase::Following(follower) => {
                probe!("install.leader-lost", core.is_installing());
                if follower.leader_failed() {
                    core.candidate_failed(follower.leader());
                }
                if let Some(link) = follower.link() {
                    core.close(link);
                }
            }
            Phase::Forming(_) => {
                let links: Vec<LinkId> = core.links.keys().copied().collect();
                for link in links {
                    core.close(link);
                }
            }
            Phase::Looking(_) | Phase::Stopped => {}
        }
    }
}

/// A node of the protocol. It does no IO: the caller delivers events and carries out effects.
#[derive(Clone, Hash)]
pub struct Zab {
    pub(crate) core: Core,
    phase: Phase,
    role: Role,
}

/// The status of a follower or learner, as seen by its leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerStatus {
    /// The id of the node.
    pub node: NodeId,
    /// Whether it is counted in quorums.
    pub votes: bool,
    /// Whether it is up to date.
    pub serving: bool,
    /// The last counter acknowledged in this epoch; 0 if none.
    pub acked: u64,
    /// The connection.
    pub link: LinkId,
    /// The last counter reported as durable in this epoch, during synchronisation too; 0 if none.
    pub durable: u64,
}

/// A change of the configuration that is not made yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PendingChange {
    /// It is in the log of this node, and not known to be committed.
    Logged {
        /// The configuration before it.
        before: Configuration,
        /// The configuration after it, which is in force.
        after: Configuration,
        /// What it waits for.
        waits_for: WaitsFor,
    },
    /// This leader is to propose it by itself, and cannot yet.
    Waits {
        /// The change.
        change: Change,
        /// The reason.
        why: ChangeRejection,
    },
}

/// What a change in the log waits for, as far as the node knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WaitsFor {
    /// This node is elected: these voters have not acknowledged it.
    Acknowledgements(Vec<NodeId>),
    /// This node follows an established leader, which knows.
    Leader(NodeId),
    /// There is no leader: these voters were not heard lately.
    Voters(Vec<NodeId>),
}

impl Zab {
    /// Creates a node with the recovered state. Its first effects are returned by the first step.
    ///
    /// # Panics
    ///
    /// If `recovered` is inconsistent: promises below the log or the current epoch, released beyond the log, epochs that do
    /// not ascend. Storage refuses such a directory before.
    pub fn new(config: Config, recovered: Recovered, now: Ticks) -> Zab {
        let mut core = Core::new(config, recovered, now);
        let (level, levels) = (core.configuration().level(), core.config.levels);
        let phase = if core.ensemble().is_some() && !levels.contains(level) {
            core.stop(format!(
                "the ensemble of this data directory runs at feature level {level}, this program supports {levels}: install \
                 a version that supports it"
            ));
            Phase::Stopped
        } else if core.ensemble().is_some() {
            Phase::Looking(Looking::new(&mut core, "the node has started"))
        } else {
            Phase::Forming(Forming::new(&core))
        };
        Zab { core, phase, role: Role::Forming }
    }

    /// Handles events in order and returns the effects, in order.
    ///
    /// Messages are batched per step: one append and one Propose to each follower for all proposals, one Ack for all
    /// writes, one Commit for all acks.
    ///
    /// Time does not go back: an earlier `now` counts as the latest one.
    pub fn step(&mut self, now: Ticks, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        self.core.now = self.core.now.max(now);
        for event in events {
            if !self.core.stopped {
                let next = self.handle(event);
                self.transition(next);
            }
        }
        if !self.core.stopped {
            let next = self.tick();
            self.transition(next);
        }
        let next = match &mut self.phase {
            Phase::Following(follower) => {
                follower.flush(&mut self.core);
                Next::Stay
            }
            Phase::Leading(leader) => leader.flush(&mut self.core),
            Phase::Forming(_) | Phase::Looking(_) | Phase::Stopped => Next::Stay,
        };
        self.transition(next);
        self.compact();
        let role = self.role();
        if role != self.role {
            self.role = role;
            self.core.effects.push(Effect::Role(role));
        }
        core::mem::take(&mut self.core.effects)
    }

    fn compact(&mut self) {
        match &mut self.phase {
            Phase::Leading(leader) => leader.compact(&mut self.core),
            Phase::Forming(_) | Phase::Looking(_) | Phase::Following(_) => self.core.compact(None),
            Phase::Stopped => {}
        }
    }

    fn handle(&mut self, event: Event) -> Next {
        let core = &mut self.core;
        match event {
            Event::Tick => Next::Stay, // Every step ends with `tick`.
            Event::Datagram(vote) => self.on_vote(&vote),
            Event::Connected { peer, link } => {
                core.dialling.remove(&peer);
                core.open(link, Some(peer));
                match &mut self.phase {
                    Phase::Forming(forming) => forming.on_connected(core, peer, link),
                    Phase::Following(follower) => follower.on_connected(core, peer, link),
                    Phase::Looking(_) | Phase::Leading(_) | Phase::Stopped => {
                        probe!("connection.no-longer-needed");
                        core.close(link);
                    }
                }
                Next::Stay
            }
            Event::ConnectFailed { peer } => {
                core.dialling.remove(&peer);
                match &mut self.phase {
                    Phase::Forming(forming) => {
                        forming.on_connect_failed(core, peer);
                        Next::Stay
                    }
                    Phase::Following(follower) => follower.on_connect_failed(core, peer),
                    Phase::Looking(_) | Phase::Leading(_) | Phase::Stopped => Next::Stay,
                }
            }
            Event::Accepted { link } => {
                core.open(link, None);
                Next::Stay
            }
            Event::Message { link, message } => self.on_message(link, message),
            Event::Heard { link } => {
                self.on_contact(link);
                Next::Stay
            }
            Event::Closed { link } => {
                if core.links.remove(&link).is_none() {
                    return Next::Stay;
                }
                match &mut self.phase {
                    Phase::Forming(forming) => {
                        forming.on_closed(core, link);
                        Next::Stay
                    }
                    Phase::Following(follower) => follower.on_closed(link),
                    Phase::Leading(leader) => leader.on_closed(core, link),
                    Phase::Looking(_) | Phase::Stopped => Next::Stay,
                }
            }
            Event::Persisted(token) => {
                core.persist(token);
                match &mut self.phase {
                    Phase::Forming(forming) => forming.check(core),
                    Phase::Following(follower) => follower.check(core),
                    Phase::Leading(leader) => leader.check(core),
                    Phase::Looking(_) | Phase::Stopped => Next::Stay,
                }
            }
            Event::LogRead { .. }
            | Event::MayCompact { .. }
            | Event::SnapshotBegun { .. }
            | Event::SnapshotReceived { .. } => self.on_storage(event),
            Event::DiskSpace(_) | Event::StateStalled(_) | Event::StateHash(_) | Event::Damaged => {
                core.on_report(&event);
                Next::Stay
            }
            Event::Applied { counter } => {
                core.applied(counter);
                Next::Stay
            }
            Event::Hints(nodes) => {
                core.hints = nodes.into_iter().filter(|node| *node != core.me()).collect();
                if let Phase::Forming(forming) = &mut self.phase {
                    forming.ask_hinted(core);
                }
                Next::Stay
            }
            Event::Propose { .. }
            | Event::ChangeConfiguration { .. }
            | Event::TransferLeadership { .. }
            | Event::Barrier { .. }
            | Event::RelayToLeader(_)
            | Event::RelayTo { .. } => {
                self.on_request(event);
                Next::Stay
            }
        }
    }

    /// Storage reports something other than a completed write.
    fn on_storage(&mut self, event: Event) -> Next {
        let core = &mut self.core;
        if let Event::MayCompact { through, forced } = event {
            core.set_compaction(through, forced);
        } else if let Event::LogRead { id, entries } = event {
            if let Phase::Leading(leader) = &mut self.phase {
                leader.on_log_read(core, id, entries);
            } else {
                probe!("sync.read-after-leadership");
            }
        } else if let (Event::SnapshotBegun { link, zxid }, Phase::Leading(leader)) =
            (&event, &mut self.phase)
        {
            leader.on_snapshot_begun(core, *link, *zxid);
        } else if let (Event::SnapshotReceived { link, zxid, configuration }, Phase::Following(follower)) =
            (&event, &mut self.phase)
            && follower.link() == Some(*link)
        {
            return follower.on_snapshot_received(core, *zxid, configuration.as_ref());
        }
        Next::Stay
    }

    /// A request of the upper half. What only a leader can serve is rejected elsewhere.
    fn on_request(&mut self, event: Event) {
        let core = &mut self.core;
        match (&mut self.phase, event) {
            (Phase::Leading(leader), event) => leader.on_request(core, event),
            (Phase::Following(follower), Event::RelayToLeader(payload)) => follower.relay(core, payload),
            (_, Event::Propose { id, .. }) => {
                probe!("propose.without-leader");
                core.effects.push(Effect::Rejected { id, why: Rejection::NotLeader });
            }
            (_, Event::ChangeConfiguration { id, .. }) => {
                let result = Err(ChangeRejection::NotLeader);
                core.effects.push(Effect::ChangeDecided { id, result });
            }
            (_, Event::TransferLeadership { to }) => {
                core.notice(Notice::TransferRejected { to, why: TransferRejection::NotLeader });
            }
            (_, Event::Barrier { id }) => {
                probe!("barrier.without-leader");
                core.effects.push(Effect::BarrierFailed { id });
            }
            _ => {}
        }
    }

    fn on_vote(&mut self, vote: &Vote) -> Next {
        let core = &mut self.core;
        if !core.accept_vote(vote) {
            return Next::Stay;
        }
        match &mut self.phase {
            Phase::Looking(looking) => looking.on_vote(core, vote),
            Phase::Leading(leader) => leader.on_vote(core, vote),
            Phase::Following(follower) => {
                if matches!(vote.state, VoteState::Looking | VoteState::Seeking) {
                    core.send_vote(
                        vote.sender,
                        VoteState::Following,
                        follower.vote(),
                        follower.established(),
                    );
                }
                Next::Stay
            }
            Phase::Forming(_) | Phase::Stopped => Next::Stay,
        }
    }

    fn on_hello(&mut self, link: LinkId, hello: &Hello) -> Next {
        let core = &mut self.core;
        if !core.accept_hello(link, hello.clone()) {
            return match &mut self.phase {
                Phase::Forming(forming) => {
                    forming.on_closed(core, link);
                    Next::Stay
                }
                Phase::Following(follower) => follower.on_closed(link),
                Phase::Looking(_) | Phase::Leading(_) | Phase::Stopped => Next::Stay,
            };
        }
        let formed = hello.ensemble.is_some();
        match &mut self.phase {
            Phase::Forming(forming) => {
                forming.on_hello(core, link, hello);
                forming.check(core)
            }
            Phase::Following(follower) if follower.link() == Some(link) => {
                follower.on_hello(core, link, formed)
            }
            Phase::Looking(_) | Phase::Following(_) | Phase::Leading(_) => {
                if !formed {
                    probe!("formation.sends-genesis");
                    formation::send_genesis(core, link, hello);
                }
                Next::Stay
            }
            Phase::Stopped => Next::Stay,
        }
    }

    fn on_message(&mut self, link: LinkId, message: Message) -> Next {
        let core = &mut self.core;
        // The last messages of a closed connection may still arrive; they are ignored.
        probe!("connection.message-after-close", !core.links.contains_key(&link));
        let Some(state) = core.links.get(&link) else { return Next::Stay };
        if let Message::Hello(hello) = message {
            return self.on_hello(link, &hello);
        }
        let peer = state.hello.as_ref().map(|hello| hello.node);
        if peer.is_none() && !matches!(message, Message::Refuse(_)) {
            core.refuse(link, Reason::Version);
            return self.on_refused(link);
        }
        if let Message::Alive { write_latency } = message {
            return self.on_alive(link, write_latency);
        }
        if let Message::Duplicate(addresses) = message {
            if let Some(peer) = peer {
                core.notice(Notice::DuplicateOfSelf { peer, addresses });
            }
            core.close(link);
            if let Phase::Leading(leader) = &mut self.phase {
                return leader.on_closed(core, link);
            }
            return self.on_refused(link);
        }
        if let Message::Snapshot(_) = message {
            self.on_contact(link);
            return Next::Stay;
        }
        match &mut self.phase {
            Phase::Forming(forming) => forming.on_message(core, link, message),
            Phase::Leading(leader) => leader.on_message(core, link, message),
            Phase::Following(follower) if follower.link() == Some(link) => follower.on_message(core, message),
            Phase::Following(follower) => {
                if let Message::FollowerEpoch { accepted, .. } = message {
                    if core.is_peer(link, follower.leader()) {
                        probe!("follow.leader-follows");
                        core.keep_early_follower(link, accepted);
                        return Next::Look("the leader follows this node");
                    }
                    probe!("follow.rejects-follower");
                    core.refuse(link, Reason::NotLeading);
                } else {
                    core.close(link);
                }
                Next::Stay
            }
            Phase::Looking(looking) => {
                // Its sender has elected this node, which may learn of it next.
                if let Message::FollowerEpoch { accepted, .. } = message {
                    probe!("lead.follower-before-elected");
                    core.keep_early_follower(link, accepted);
                    looking.check(core)
                } else {
                    core.close(link);
                    Next::Stay
                }
            }
            Phase::Stopped => Next::Stay,
        }
    }

    fn on_alive(&mut self, link: LinkId, write_latency: u64) -> Next {
        let core = &mut self.core;
        let Some(state) = core.links.get_mut(&link) else { return Next::Stay };
        state.write_latency = write_latency;
        if let Some(node) = state.hello.as_ref().map(|hello| hello.node) {
            core.report_slow_storage(node, write_latency);
        }
        match &self.phase {
            // The sender is about to follow this node, which follows another one.
            Phase::Following(follower) if follower.link() != Some(link) => {
                core.refuse(link, Reason::NotLeading);
            }
            Phase::Forming(_)
            | Phase::Looking(_)
            | Phase::Following(_)
            | Phase::Leading(_)
            | Phase::Stopped => {
                self.on_contact(link);
            }
        }
        Next::Stay
    }

    /// Something was received on a connection that is in use, or about to be.
    fn on_contact(&mut self, link: LinkId) {
        let core = &mut self.core;
        match &mut self.phase {
            Phase::Following(follower) if follower.link() == Some(link) => follower.on_contact(core),
            Phase::Leading(leader) => leader.on_contact(core, link),
            Phase::Looking(_) => {
                // Its sender may have elected this node, which may learn of it next.
                if let Some(state) = core.links.get_mut(&link).filter(|state| state.hello.is_some()) {
                    state.opened = core.now;
                }
            }
            Phase::Forming(_) | Phase::Following(_) | Phase::Stopped => {}
        }
    }

    /// This node has closed a connection because of a message on it.
    fn on_refused(&mut self, link: LinkId) -> Next {
        match &mut self.phase {
            Phase::Forming(forming) => {
                forming.on_closed(&self.core, link);
                Next::Stay
            }
            Phase::Following(follower) => follower.on_closed(link),
            Phase::Looking(_) | Phase::Leading(_) | Phase::Stopped => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let core = &mut self.core;
        core.report_slow_storage(core.me(), core.slow_latency());
        let next = match &mut self.phase {
            Phase::Forming(forming) => forming.tick(core),
            Phase::Looking(looking) => looking.tick(core),
            Phase::Following(follower) => follower.tick(core),
            Phase::Leading(leader) => leader.tick(core),
            Phase::Stopped => Next::Stay,
        };
        let phase = &self.phase;
        core.close_idle(|link, state| match phase {
            Phase::Forming(_) => state.hello.as_ref().map(|_| state.opened),
            Phase::Following(follower) => (follower.link() == Some(link)).then_some(follower.heard),
            Phase::Leading(leader) => leader.heard(link),
            Phase::Looking(_) | Phase::Stopped => None,
        });
        next
    }

    /// Begins to lead, with the support of these nodes.
    fn lead(&mut self, supporters: Vec<(NodeId, Incarnation)>) -> Next {
        let mut leader = Leader::new(&mut self.core, supporters);
        let next = leader.check(&mut self.core);
        self.phase = Phase::Leading(Box::new(leader));
        next
    }

    /// Changes the phase, until it does not change any more.
    fn transition(&mut self, mut next: Next) {
        loop {
            if self.core.stopped {
                self.phase = Phase::Stopped;
                return;
            }
            let core = &mut self.core;
            next = match next {
                Next::Stay => return,
                Next::Look(why) => {
                    self.phase.leave(core);
                    let mut looking = Looking::new(core, why);
                    let next = looking.check(core);
                    self.phase = Phase::Looking(looking);
                    next
                }
                Next::Lead => {
                    let supporters = if let Phase::Looking(looking) = &self.phase {
                        looking.supporters(core)
                    } else {
                        Vec::new()
                    };
                    self.lead(supporters)
                }
                Next::Succeed(candidate) if candidate.node == core.me() => {
                    probe!("transfer.succeeds");
                    self.phase.leave(core);
                    core.begin_round();
                    // All voters were told to follow this node.
                    let voters = core.configuration().voters().iter();
                    let supporters =
                        voters.filter_map(|voter| Some((voter.node, voter.incarnation?))).collect();
                    self.lead(supporters)
                }
                Next::Succeed(candidate) => {
                    self.phase.leave(core);
                    core.begin_round();
                    self.phase = Phase::Following(Follower::of_successor(core, candidate));
                    Next::Stay
                }
                Next::Follow(vote) => {
                    let early: Vec<LinkId> = core
                        .links
                        .iter()
                        .filter(|(_, link)| link.follower_epoch.is_some())
                        .map(|(link, _)| *link)
                        .collect();
                    for link in early {
                        probe!("follow.rejects-early-follower");
                        core.refuse(link, Reason::NotLeading);
                    }
                    self.phase = Phase::Following(Follower::new(core, vote));
                    Next::Stay
                }
            };
        }
    }
}
