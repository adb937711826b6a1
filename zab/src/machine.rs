//! The node: phases, dispatch, every transition between phases.

use alloc::vec::Vec;

use crate::{
    config::{Config, Recovered},
    configuration::Configuration,
    effect::{Effect, Notice, Rejection, Role},
    election::Looking,
    event::Event,
    follower::Follower,
    formation::{self, Forming},
    leader::Leader,
    message::{Hello, LogEntry, Message, Reason, Vote, VoteState, Voter},
    state::{Core, Next},
    types::{EnsembleId, Epoch, LinkId, NodeId, Ticks, Token, Zxid},
};

#[derive(Clone, Hash)]
enum Phase {
    Forming(Forming),
    Looking(Looking),
    Following(Follower),
    Leading(Leader),
    /// An [`Effect::Stop`] was given: nothing is done any more.
    Stopped,
}

/// One node of the protocol.
///
/// The caller feeds it events and carries out effects; the node itself does nothing but think.
#[derive(Clone, Hash)]
pub struct Zab {
    pub(crate) core: Core,
    phase: Phase,
    role: Role,
}

/// A member as a leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerStatus {
    /// The follower or learner.
    pub node: NodeId,
    /// Counted in quorums.
    pub votes: bool,
    /// Up to date, and serving.
    pub serving: bool,
    /// The last counter it has acknowledged in this epoch; 0 before the first.
    pub acked: u64,
    /// Its connection.
    pub link: LinkId,
    /// The last counter that it has reported to hold durably in this epoch, acknowledged or not; 0 before the first.
    pub held: u64,
}

impl Zab {
    /// A node at its start, with what its storage held. What it does first comes with the first step.
    ///
    /// # Panics
    ///
    /// If `recovered` cannot be true: promises below the log or the current epoch, a table beyond the log,
    /// epochs that do not ascend. Storage has refused such a directory before.
    pub fn new(config: Config, recovered: Recovered, now: Ticks) -> Zab {
        let mut core = Core::new(config, recovered, now);
        let phase = if core.ensemble().is_some() {
            Phase::Looking(Looking::new(&mut core, "it has started"))
        } else {
            Phase::Forming(Forming::new(&core))
        };
        Zab { core, phase, role: Role::Forming }
    }

    /// Takes in what happened, in order, and says what to do about all of it, in order.
    ///
    /// What is sent in answer is gathered over the whole step: one append and one proposal to each follower
    /// for all proposals, one acknowledgement for all writes, one commit for all acknowledgements.
    ///
    /// `now` never goes back; a step with an earlier time counts as one at the latest time.
    pub fn step(&mut self, now: Ticks, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        self.core.now = self.core.now.max(now);
        for event in events {
            if !self.core.stopped {
                let next = self.take(event);
                self.turn(next);
            }
        }
        if !self.core.stopped {
            let next = self.tick();
            self.turn(next);
        }
        match &mut self.phase {
            Phase::Following(follower) => follower.flush(&mut self.core),
            Phase::Leading(leader) => leader.flush(&mut self.core),
            Phase::Forming(_) | Phase::Looking(_) | Phase::Stopped => {}
        }
        let role = self.role();
        if role != self.role {
            self.role = role;
            self.core.effects.push(Effect::Role(role));
        }
        core::mem::take(&mut self.core.effects)
    }

    fn take(&mut self, event: Event) -> Next {
        let core = &mut self.core;
        match event {
            Event::Tick => Next::Stay, // Every step looks at the clock.
            Event::Datagram(vote) => self.on_vote(&vote),
            Event::Connected { peer, link } => {
                core.dialling.remove(&peer);
                core.open(link, Some(peer));
                match &mut self.phase {
                    Phase::Forming(forming) => forming.connected(core, peer, link),
                    Phase::Following(follower) => follower.connected(core, peer, link),
                    Phase::Looking(_) | Phase::Leading(_) | Phase::Stopped => {
                        probe!("link.dialled-too-late");
                        core.close(link);
                    }
                }
                Next::Stay
            }
            Event::ConnectFailed { peer } => {
                core.dialling.remove(&peer);
                match &mut self.phase {
                    Phase::Forming(forming) => {
                        forming.connect_failed(core, peer);
                        Next::Stay
                    }
                    Phase::Following(follower) => follower.connect_failed(core, peer),
                    Phase::Looking(_) | Phase::Leading(_) | Phase::Stopped => Next::Stay,
                }
            }
            Event::Accepted { link } => {
                core.open(link, None);
                Next::Stay
            }
            Event::Message { link, message } => self.on_message(link, message),
            Event::Heard { link } => {
                self.heard(link);
                Next::Stay
            }
            Event::Closed { link } => {
                if core.links.remove(&link).is_none() {
                    return Next::Stay;
                }
                match &mut self.phase {
                    Phase::Forming(forming) => {
                        forming.closed(core, link);
                        Next::Stay
                    }
                    Phase::Following(follower) => follower.closed(link),
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
            Event::LogRead { id, entries } => {
                if let Phase::Leading(leader) = &mut self.phase {
                    leader.on_log_read(core, id, entries);
                } else {
                    probe!("sync.read-after-leadership");
                }
                Next::Stay
            }
            Event::Applied { counter } => {
                core.history.set_applied(counter);
                Next::Stay
            }
            Event::Propose { .. }
            | Event::Barrier { .. }
            | Event::RelayToLeader(_)
            | Event::RelayTo { .. } => {
                self.on_request(event);
                Next::Stay
            }
        }
    }

    fn on_request(&mut self, event: Event) {
        let core = &mut self.core;
        match &mut self.phase {
            Phase::Following(follower) => follower.on_request(core, event),
            Phase::Leading(leader) => leader.on_request(core, event),
            Phase::Forming(_) | Phase::Looking(_) | Phase::Stopped => {
                if let Event::Propose { id, .. } = event {
                    probe!("propose.without-leader");
                    core.effects.push(Effect::Rejected { id, why: Rejection::NotLeader });
                } else if let Event::Barrier { id } = event {
                    probe!("barrier.without-leader");
                    core.effects.push(Effect::BarrierFailed { id });
                }
            }
        }
    }

    fn on_vote(&mut self, vote: &Vote) -> Next {
        let core = &mut self.core;
        if !core.admit(vote) {
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

    fn on_message(&mut self, link: LinkId, message: Message) -> Next {
        let core = &mut self.core;
        // A closed connection's last messages may still be on their way: nothing from it is believed.
        probe!("link.message-after-its-end", !core.links.contains_key(&link));
        let Some(state) = core.links.get(&link) else { return Next::Stay };
        let message = match message {
            Message::Hello(hello) => {
                if !core.greet(link, hello.clone()) {
                    return match &mut self.phase {
                        Phase::Forming(forming) => {
                            forming.closed(core, link);
                            Next::Stay
                        }
                        Phase::Following(follower) => follower.closed(link),
                        Phase::Looking(_) | Phase::Leading(_) | Phase::Stopped => Next::Stay,
                    };
                }
                let joined = hello.ensemble.is_some();
                return match &mut self.phase {
                    Phase::Forming(forming) => {
                        forming.greeted(core, link, &hello);
                        forming.check(core)
                    }
                    Phase::Following(follower) if follower.link() == Some(link) => {
                        follower.greeted(core, link, joined)
                    }
                    Phase::Stopped => Next::Stay,
                    _ => {
                        if !joined {
                            probe!("formation.informs");
                            formation::inform(core, link, &hello);
                        }
                        Next::Stay
                    }
                };
            }
            Message::Duplicate(addresses) if state.hello.is_some() => {
                if let Some(hello) = &state.hello {
                    let peer = hello.node;
                    core.notice(Notice::DuplicateOfThis { peer, addresses });
                }
                core.close(link);
                if let Phase::Leading(leader) = &mut self.phase {
                    return leader.on_closed(core, link);
                }
                return self.lost(link);
            }
            Message::Alive { storage } if state.hello.is_some() => return self.on_alive(link, storage),
            message if state.hello.is_none() && !matches!(message, Message::Refuse(_)) => {
                core.refuse(link, Reason::Version);
                return self.lost(link);
            }
            message => message,
        };
        match &mut self.phase {
            Phase::Forming(forming) => forming.on_message(core, link, message),
            Phase::Leading(leader) => leader.on_message(core, link, message),
            Phase::Following(follower) if follower.link() == Some(link) => follower.on_message(core, message),
            Phase::Following(_) => {
                if matches!(message, Message::FollowerEpoch { .. }) {
                    probe!("follow.refuses-a-follower");
                    core.refuse(link, Reason::NotLeading);
                } else {
                    core.close(link);
                }
                Next::Stay
            }
            Phase::Looking(_) => {
                match message {
                    // Its sender has elected this node, which may find out in a moment.
                    Message::FollowerEpoch { accepted, .. } => {
                        probe!("lead.follower-before-victory");
                        if let Some(state) = core.links.get_mut(&link) {
                            state.cepoch = Some(accepted);
                            state.opened = core.now;
                        }
                    }
                    _ => core.close(link),
                }
                Next::Stay
            }
            Phase::Stopped => Next::Stay,
        }
    }

    /// The other end of a connection is at work.
    fn on_alive(&mut self, link: LinkId, storage: u64) -> Next {
        let core = &mut self.core;
        let Some(state) = core.links.get_mut(&link) else { return Next::Stay };
        state.storage = storage;
        if let Some(node) = state.hello.as_ref().map(|hello| hello.node) {
            core.tell_slowness(node, storage);
        }
        match &self.phase {
            // It is about to follow this node, which follows another.
            Phase::Following(follower) if follower.link() != Some(link) => {
                core.refuse(link, Reason::NotLeading);
            }
            Phase::Forming(_)
            | Phase::Looking(_)
            | Phase::Following(_)
            | Phase::Leading(_)
            | Phase::Stopped => {
                self.heard(link);
            }
        }
        Next::Stay
    }

    /// Something came by a connection that is in use, or about to be.
    fn heard(&mut self, link: LinkId) {
        let core = &mut self.core;
        match &mut self.phase {
            Phase::Following(follower) if follower.link() == Some(link) => follower.heard(core),
            Phase::Leading(leader) => leader.on_contact(core, link),
            Phase::Looking(_) => {
                // Its sender has elected this node, which may find out in a moment.
                if let Some(state) = core.links.get_mut(&link).filter(|state| state.hello.is_some()) {
                    state.opened = core.now;
                }
            }
            Phase::Forming(_) | Phase::Following(_) | Phase::Stopped => {}
        }
    }

    /// A connection was closed by this node for what came on it.
    fn lost(&mut self, link: LinkId) -> Next {
        match &mut self.phase {
            Phase::Forming(forming) => {
                forming.closed(&self.core, link);
                Next::Stay
            }
            Phase::Following(follower) => follower.closed(link),
            Phase::Looking(_) | Phase::Leading(_) | Phase::Stopped => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let core = &mut self.core;
        core.tell_slowness(core.me(), core.slow_latency());
        let next = match &mut self.phase {
            Phase::Forming(forming) => forming.tick(core),
            Phase::Looking(looking) => looking.tick(core),
            Phase::Following(follower) => follower.tick(core),
            Phase::Leading(leader) => leader.tick(core),
            Phase::Stopped => Next::Stay,
        };
        let phase = &self.phase;
        core.close_idle(|link, state| match phase {
            Phase::Forming(_) => state.hello.is_some(),
            Phase::Following(follower) => follower.link() == Some(link),
            Phase::Leading(leader) => leader.uses(link),
            Phase::Looking(_) | Phase::Stopped => false,
        });
        next
    }

    /// Changes the phase until nothing is left to change.
    fn turn(&mut self, mut next: Next) {
        loop {
            if self.core.stopped {
                self.phase = Phase::Stopped;
                return;
            }
            let core = &mut self.core;
            next = match next {
                Next::Stay => return,
                Next::Look(why) => {
                    match &mut self.phase {
                        Phase::Leading(leader) => leader.step_down(core),
                        Phase::Following(follower) => {
                            if follower.failed() {
                                core.failed(follower.leader());
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
                    let mut looking = Looking::new(core, why);
                    let next = looking.check(core);
                    self.phase = Phase::Looking(looking);
                    next
                }
                Next::Lead => {
                    let supporters = match &self.phase {
                        Phase::Looking(looking) => looking.supporters().collect(),
                        _ => Vec::new(),
                    };
                    let mut leader = Leader::new(core, supporters);
                    let next = leader.check(core);
                    self.phase = Phase::Leading(leader);
                    next
                }
                Next::Follow(vote) => {
                    let early: Vec<LinkId> = core
                        .links
                        .iter()
                        .filter(|(_, link)| link.cepoch.is_some())
                        .map(|(link, _)| *link)
                        .collect();
                    for link in early {
                        probe!("follow.refuses-an-early-follower");
                        core.refuse(link, Reason::NotLeading);
                    }
                    self.phase = Phase::Following(Follower::new(core, vote));
                    Next::Stay
                }
            };
        }
    }

    // ---- What the caller may know

    /// What this node does.
    pub fn role(&self) -> Role {
        match &self.phase {
            Phase::Forming(_) => Role::Forming,
            Phase::Looking(_) | Phase::Stopped => Role::Looking,
            Phase::Following(follower) => {
                Role::Following { leader: follower.leader(), established: follower.serves(&self.core) }
            }
            Phase::Leading(leader) => Role::Leading { established: leader.serves(&self.core) },
        }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.core.me()
    }

    /// Whether this node is counted in quorums.
    pub fn votes(&self) -> bool {
        self.core.ensemble().is_some() && self.core.votes()
    }

    /// The ensemble, once joined.
    pub fn ensemble(&self) -> Option<EnsembleId> {
        self.core.ensemble()
    }

    /// The ensemble's members; before formation, the configured voters.
    pub fn configuration(&self) -> &Configuration {
        &self.core.configuration
    }

    /// The durable current epoch.
    pub fn current_epoch(&self) -> Epoch {
        self.core.hard.current_epoch
    }

    /// The last log entry, durable or not.
    pub fn last(&self) -> Zxid {
        self.core.history.last()
    }

    /// The last durable log entry.
    pub fn durable(&self) -> Zxid {
        self.core.history.durable()
    }

    /// The last counter known to be committed.
    pub fn commit(&self) -> u64 {
        self.core.commit
    }

    /// How slow a node's storage is, this one's or that of one that it is connected with, in microseconds for a write;
    /// 0 if it is not slow, or not known.
    pub fn storage_of(&self, node: NodeId) -> u64 {
        if node == self.core.me() {
            return self.core.slow_latency();
        }
        let of = |link: &&crate::state::Link| link.hello.as_ref().is_some_and(|hello| hello.node == node);
        self.core.links.values().filter(of).map(|link| link.storage).max().unwrap_or(0)
    }

    /// The counter through which this node must have applied before it serves (rule 20): the commit index of
    /// UpToDate on a follower, the end of the initial history on an established leader. `None` until it is known.
    pub fn serves_from(&self) -> Option<u64> {
        match &self.phase {
            Phase::Following(follower) => follower.serves_from(),
            Phase::Leading(leader) => leader.serves_from(),
            Phase::Forming(_) | Phase::Looking(_) | Phase::Stopped => None,
        }
    }

    /// A leader's followers and learners.
    pub fn followers(&self) -> Vec<FollowerStatus> {
        match &self.phase {
            Phase::Leading(leader) => leader
                .followers()
                .map(|(link, progress)| FollowerStatus {
                    node: progress.node,
                    votes: self.core.configuration.voters().iter().any(|voter| progress.is(voter)),
                    serving: progress.is_serving(),
                    acked: progress.acked,
                    held: progress.durable,
                    link,
                })
                .collect(),
            Phase::Forming(_) | Phase::Looking(_) | Phase::Following(_) | Phase::Stopped => Vec::new(),
        }
    }

    /// The members that this node leads or follows now, as recorded, and what each said of itself when it connected.
    /// Those with another data directory than the recorded one are left out.
    pub fn connected_members(&self) -> impl Iterator<Item = (&Voter, &Hello)> {
        self.core
            .links
            .iter()
            .filter(|(link, _)| match &self.phase {
                Phase::Leading(leader) => leader.uses(**link),
                Phase::Following(follower) => follower.link() == Some(**link),
                Phase::Forming(_) | Phase::Looking(_) | Phase::Stopped => false,
            })
            .filter_map(|(_, link)| {
                let hello = link.hello.as_ref()?;
                let voter = self.core.configuration.voter(hello.node, hello.incarnation)?;
                Some((voter, hello))
            })
    }

    /// The log entry at this counter, if it is in memory; storage has it otherwise.
    pub fn recent(&self, counter: u64) -> Option<&LogEntry> {
        self.core.history.recent(counter)
    }

    /// A token for a write of the caller's own, in the one order of all writes.
    pub fn allocate_token(&mut self) -> Token {
        self.core.allocate_token()
    }

    /// A number for a read of the caller's own.
    pub fn allocate_read(&mut self) -> u64 {
        self.core.allocate_read()
    }
}
