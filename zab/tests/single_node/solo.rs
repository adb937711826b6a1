//! One node with its disk; the test sends what its peers would send.

use bytes::Bytes;
use gometa_testkit::disk::Disk;
use gometa_zab::{
    Addresses, Bounds, Candidate, Config, DiskSpace, Effect, EnsembleId, Epoch, Event, FIRST_LEVEL, Founding,
    Genesis, HardState, Hello, Incarnation, Kind, Levels, LinkId, LogEntry, Message, NodeId, Notice, Reason,
    Role, Round, StateReport, Ticks, Timeouts, Vote, VoteState, Voter, Zab, Zxid,
};

pub(crate) const HOME: EnsembleId = EnsembleId { id: 7, history: 1 };
/// Microseconds.
pub(crate) const MS: u64 = 1_000;
/// The election timeout of every test, in microseconds; ten heartbeat intervals.
pub(crate) const ELECTION: u64 = 1_000 * MS;

pub(crate) fn zxid(epoch: u64, counter: u64) -> Zxid {
    Zxid::new(epoch, counter)
}

pub(crate) fn voter(node: u64, recorded: bool) -> Voter {
    let addresses = Addresses { message: format!("n{node}"), ..Addresses::default() };
    Voter { node: NodeId(node), incarnation: recorded.then_some(Incarnation(u128::from(node))), addresses }
}

pub(crate) fn voters(count: u64, recorded: bool) -> Vec<Voter> {
    (1..=count).map(|node| voter(node, recorded)).collect()
}

pub(crate) fn genesis(count: u64) -> Genesis {
    Genesis { ensemble: HOME, voters: voters(count, true), level: gometa_zab::FIRST_LEVEL }
}

/// An entry of the given size, as [`LogEntry::size`] counts it; at least 64.
pub(crate) fn entry(epoch: u64, counter: u64, size: usize) -> LogEntry {
    let payload = Bytes::from(vec![b'x'; size - 64]);
    LogEntry { zxid: zxid(epoch, counter), kind: Kind::Command, level: FIRST_LEVEL, payload }
}

/// A member's disk. `log` lists epochs and the last counter of each; entries have 100 bytes. The promised and current
/// epochs are that of the last entry.
pub(crate) fn member(count: u64, log: &[(u64, u64)]) -> Disk {
    let mut disk =
        Disk { founding: Some(Founding { genesis: genesis(count), sealed: true }), ..Disk::default() };
    for &(epoch, through) in log {
        for counter in disk.last().counter + 1..=through {
            disk.log.push(entry(epoch, counter, 100));
        }
    }
    let epoch = disk.last().epoch;
    promise(&mut disk, epoch.0, 1);
    disk.hard.current_epoch = epoch;
    disk
}

/// Puts this promise on the disk.
pub(crate) fn promise(disk: &mut Disk, epoch: u64, leader: u64) {
    disk.hard.accepted_epoch = Epoch(epoch);
    disk.hard.accepted_leader = (epoch > 0).then_some(NodeId(leader));
}

/// The vote of a looking voter for `candidate`, which has no history, in this round.
pub(crate) fn vote(sender: u64, candidate: u64, round: u64) -> Vote {
    Vote {
        ensemble: Some(HOME),
        sender: NodeId(sender),
        incarnation: Incarnation(u128::from(sender)),
        boot: 1,
        sequence: 0,
        state: VoteState::Looking,
        round: Round(round),
        candidate: Candidate { epoch: Epoch(0), last: Zxid::ZERO, node: NodeId(candidate) },
        established: None,
        configuration: Zxid::ZERO,
    }
}

/// The vote of an established leader.
pub(crate) fn leads(sender: u64, epoch: u64, round: u64) -> Vote {
    let vote = vote(sender, sender, round);
    Vote { state: VoteState::Leading, established: Some(Epoch(epoch)), ..vote }
}

pub(crate) struct Solo {
    pub(crate) zab: Zab,
    pub(crate) disk: Disk,
    pub(crate) me: u64,
    pub(crate) count: u64,
    /// The feature levels that it and its peers support.
    pub(crate) levels: Levels,
    now: Ticks,
    next_link: u64,
    sequence: u64,
    /// The effects of the start.
    pub(crate) first: Vec<Effect>,
}

impl Solo {
    pub(crate) fn new(me: u64, count: u64, disk: Disk, bounds: Bounds) -> Solo {
        Solo::start(me, count, disk, bounds, Levels::SUPPORTED, (false, false))
    }

    /// A node that founds an ensemble with a quorum.
    pub(crate) fn founding_with_quorum(me: u64, count: u64, disk: Disk) -> Solo {
        Solo::start(me, count, disk, Bounds::default(), Levels::SUPPORTED, (false, true))
    }

    /// A node that has lost the record of its ensemble.
    pub(crate) fn never_founding(me: u64, count: u64) -> Solo {
        Solo::start(me, count, Disk::default(), Bounds::default(), Levels::SUPPORTED, (true, false))
    }

    /// A node with a program that supports these feature levels, as do its peers.
    pub(crate) fn with_levels(me: u64, count: u64, disk: Disk, levels: Levels) -> Solo {
        Solo::start(me, count, disk, Bounds::default(), levels, (false, false))
    }

    fn start(
        me: u64,
        count: u64,
        disk: Disk,
        bounds: Bounds,
        levels: Levels,
        (never_founds, founds_with_quorum): (bool, bool),
    ) -> Solo {
        let config = Config {
            node: NodeId(me),
            incarnation: Incarnation(u128::from(me)),
            boot: 1,
            addresses: voter(me, false).addresses,
            voters: voters(count, false),
            seed: 5,
            timeouts: Timeouts::from_ms(100, 1_000),
            bounds,
            levels,
            never_founds,
            founds_with_quorum,
        };
        let now = Ticks(77 * MS);
        let zab = Zab::new(config, disk.recover(), now);
        let mut solo =
            Solo { zab, disk, me, count, levels, now, next_link: 0, sequence: 0, first: Vec::new() };
        solo.first = solo.step(Vec::new());
        solo
    }

    pub(crate) fn step(&mut self, events: Vec<Event>) -> Vec<Effect> {
        let effects = self.zab.step(self.now, events);
        for effect in &effects {
            self.disk.vouch(NodeId(self.me), effect);
            if let Effect::Write { token, write } = effect {
                self.disk.pending.push_back((*token, write.clone()));
            }
        }
        effects
    }

    /// Advances the time and delivers a tick.
    pub(crate) fn after(&mut self, micros: u64) -> Vec<Effect> {
        self.now = self.now.plus(micros);
        self.step(vec![Event::Tick])
    }

    /// Restarts the process; writes that were not durable are lost.
    pub(crate) fn restart(self, bounds: Bounds) -> Solo {
        let mut disk = self.disk;
        disk.crash();
        Solo::new(self.me, self.count, disk, bounds)
    }

    /// Makes all writes durable.
    pub(crate) fn persist(&mut self) -> Vec<Effect> {
        let mut last = None;
        while let Some(token) = self.disk.persist() {
            last = Some(token);
        }
        last.map_or_else(Vec::new, |token| self.step(vec![Event::Persisted(token)]))
    }

    /// Makes only the oldest write durable.
    pub(crate) fn persist_one(&mut self) -> Vec<Effect> {
        let token = self.disk.persist();
        token.map_or_else(Vec::new, |token| self.step(vec![Event::Persisted(token)]))
    }

    fn link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    pub(crate) fn hello(&self, node: u64) -> Hello {
        Hello {
            node: NodeId(node),
            incarnation: Incarnation(u128::from(node)),
            boot: 1,
            expected: Some(NodeId(self.me)),
            ensemble: Some(HOME),
            addresses: voter(node, false).addresses,
            voters: Vec::new(),
            configuration: Zxid::ZERO,
            levels: self.levels,
            level: Some(FIRST_LEVEL),
        }
    }

    /// Accepts a connection and receives this Hello on it.
    pub(crate) fn accept_as(&mut self, hello: Hello) -> (LinkId, Vec<Effect>) {
        let link = self.link();
        self.step(vec![Event::Accepted { link }]);
        (link, self.receive(link, Message::Hello(hello)))
    }

    /// Accepts a connection without a Hello.
    pub(crate) fn accept_without_hello(&mut self) -> LinkId {
        let link = self.link();
        self.step(vec![Event::Accepted { link }]);
        link
    }

    /// Accepts a connection of a member.
    pub(crate) fn accept(&mut self, node: u64) -> LinkId {
        self.accept_as(self.hello(node)).0
    }

    /// Opens the connection that the node requested; nothing was received on it.
    pub(crate) fn connected(&mut self, node: u64) -> LinkId {
        let link = self.link();
        self.step(vec![Event::Connected { peer: NodeId(node), link }]);
        link
    }

    pub(crate) fn connect_failed(&mut self, node: u64) -> Vec<Effect> {
        self.step(vec![Event::ConnectFailed { peer: NodeId(node) }])
    }

    pub(crate) fn receive(&mut self, link: LinkId, message: Message) -> Vec<Effect> {
        self.step(vec![Event::Message { link, message }])
    }

    /// Receives a vote with the next sequence number.
    pub(crate) fn receive_vote(&mut self, vote: Vote) -> Vec<Effect> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.step(vec![Event::Datagram(Vote { sequence, ..vote })])
    }

    pub(crate) fn propose(&mut self, id: u64, size: usize) -> Vec<Effect> {
        let payload = entry(1, 1, size).payload;
        self.step(vec![Event::Propose { id, payload, level: gometa_zab::FIRST_LEVEL, may_wait: true }])
    }

    pub(crate) fn role(&self) -> Role {
        self.zab.role()
    }

    /// Elects the node in its first round, with the votes of all others.
    pub(crate) fn elected(&mut self) -> Vec<Effect> {
        let round = rounds(&self.first).last().copied().expect("a looking node sends votes");
        let (me, mut effects) = (self.me, Vec::new());
        for node in (1..=self.count).filter(|node| *node != me) {
            effects = self.receive_vote(vote(node, me, round));
        }
        assert_eq!(self.role(), Role::Leading { established: None });
        effects
    }

    /// Elects the node; these voters have sent FollowerEpoch, its own promise is durable, and NewEpoch was sent.
    pub(crate) fn discovering(&mut self, peers: &[u64]) -> Vec<LinkId> {
        self.elected();
        let links: Vec<LinkId> = peers.iter().map(|node| self.accept(*node)).collect();
        for link in &links {
            self.receive(*link, promised(0));
        }
        self.persist();
        links
    }

    /// The epoch of its leadership, established or not.
    pub(crate) fn epoch(&self) -> Epoch {
        self.disk.hard.accepted_epoch
    }

    /// The AckEpoch of a follower with the same history as this node.
    pub(crate) fn ack_epoch(&self) -> Message {
        let last = self.disk.last();
        Message::AckEpoch {
            epoch: self.epoch(),
            current: Epoch(0),
            last,
            oldest: Zxid::ZERO,
            boundaries: self.disk.recover().boundaries,
        }
    }

    /// Lets the node synchronise these voters, which have the same history; none has sent AckNewLeader.
    pub(crate) fn synchronising(&mut self, peers: &[u64]) -> Vec<LinkId> {
        let links = self.discovering(peers);
        for link in &links {
            self.receive(*link, self.ack_epoch());
        }
        self.persist();
        links
    }

    /// Establishes the node as leader; these voters are up to date, and everything is durable.
    pub(crate) fn established(&mut self, peers: &[u64]) -> Vec<LinkId> {
        let links = self.synchronising(peers);
        let (epoch, last) = (self.epoch(), self.disk.last());
        for link in &links {
            self.receive(*link, Message::AckNewLeader { epoch, last });
        }
        self.apply();
        assert_eq!(self.role(), Role::Leading { established: Some(epoch) });
        links
    }

    /// Lets the node follow `leader` in this epoch, until it has sent AckEpoch.
    pub(crate) fn acknowledged(&mut self, leader: u64, epoch: u64) -> LinkId {
        self.receive_vote(leads(leader, epoch, 1));
        let link = self.connected(leader);
        self.receive(link, Message::Hello(Hello { expected: None, ..self.hello(leader) }));
        self.receive(link, Message::NewEpoch(Epoch(epoch)));
        self.persist();
        link
    }

    /// Lets the node follow `leader` in this epoch until it serves; their histories are equal.
    pub(crate) fn serves(&mut self, leader: u64, epoch: u64) -> LinkId {
        let link = self.acknowledged(leader, epoch);
        let (epoch, base) = (Epoch(epoch), self.disk.last());
        self.receive(link, Message::Diff { epoch, base });
        self.receive(link, Message::NewLeader { epoch, last: base });
        self.persist();
        self.receive(link, Message::UpToDate { epoch, commit: base.counter });
        self.apply();
        assert_eq!(self.role(), Role::Following { leader: NodeId(leader), established: Some(epoch) });
        link
    }

    /// Applies what must be applied before the node serves, if it does not serve yet.
    fn apply(&mut self) {
        let serves = matches!(
            self.role(),
            Role::Leading { established: Some(_) } | Role::Following { established: Some(_), .. }
        );
        if let Some(counter) = self.zab.serves_from().filter(|_| !serves) {
            self.step(vec![Event::Applied { counter }]);
        }
    }
}

/// A FollowerEpoch with this promise.
pub(crate) fn promised(accepted: u64) -> Message {
    Message::FollowerEpoch { accepted: Epoch(accepted), configuration: Zxid::ZERO }
}

/// A HeartbeatAck of a node with ample disk space and nothing to report of its state.
pub(crate) fn heartbeat_ack(epoch: Epoch, id: u64) -> Message {
    Message::HeartbeatAck { epoch, id, space: DiskSpace::Ample, state: StateReport::default() }
}

/// The AckEpoch of a follower without log entries.
pub(crate) fn ack_epoch_of_empty_log(epoch: Epoch) -> Message {
    let (last, oldest, boundaries) = (Zxid::ZERO, Zxid::ZERO, Vec::new());
    Message::AckEpoch { epoch, current: Epoch(0), last, oldest, boundaries }
}

/// The counter through which entries may be applied, if it was raised.
pub(crate) fn applies(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit { counter } => Some(*counter),
        _ => None,
    })
}

/// The messages sent on this connection.
pub(crate) fn sent(effects: &[Effect], link: LinkId) -> Vec<Message> {
    let on = |effect: &Effect| match effect {
        Effect::Send { link: to, message } if *to == link => Some(message.clone()),
        _ => None,
    };
    effects.iter().filter_map(on).collect()
}

pub(crate) fn closes(effects: &[Effect], link: LinkId) -> bool {
    effects.contains(&Effect::Close { link })
}

/// Whether the connection was refused for this reason and closed.
pub(crate) fn refuses(effects: &[Effect], link: LinkId, reason: Reason) -> bool {
    sent(effects, link).contains(&Message::Refuse(reason)) && closes(effects, link)
}

/// The votes sent, and their receivers.
pub(crate) fn votes(effects: &[Effect]) -> Vec<(u64, Vote)> {
    let datagram = |effect: &Effect| match effect {
        Effect::Datagram { to, vote } => Some((to.0, vote.clone())),
        _ => None,
    };
    effects.iter().filter_map(datagram).collect()
}

/// The receivers of votes.
pub(crate) fn vote_receivers(effects: &[Effect]) -> Vec<u64> {
    votes(effects).into_iter().map(|(to, _)| to).collect()
}

/// The rounds of the votes sent.
pub(crate) fn rounds(effects: &[Effect]) -> Vec<u64> {
    votes(effects).into_iter().map(|(_, vote)| vote.round.0).collect()
}

/// The reason for which the node began to look for a leader, if it did.
pub(crate) fn looking(effects: &[Effect]) -> Option<&'static str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Notice(Notice::Looking { why, .. }) => Some(*why),
        _ => None,
    })
}

/// The lost followers, and the reasons.
pub(crate) fn lost_followers(effects: &[Effect]) -> Vec<(u64, &'static str)> {
    let lost = |effect: &Effect| match effect {
        Effect::Notice(Notice::LostFollower { peer, why }) => Some((peer.0, *why)),
        _ => None,
    };
    effects.iter().filter_map(lost).collect()
}

/// The nodes dialled.
pub(crate) fn dials(effects: &[Effect]) -> Vec<u64> {
    let dial = |effect: &Effect| match effect {
        Effect::Connect { peer } => Some(peer.0),
        _ => None,
    };
    effects.iter().filter_map(dial).collect()
}

/// The reason to stop, if there was one.
pub(crate) fn stop_reason(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|effect| match effect {
        Effect::Stop(why) => Some(why.clone()),
        _ => None,
    })
}

/// The hard states written.
pub(crate) fn hard_states(effects: &[Effect]) -> Vec<HardState> {
    let hard = |effect: &Effect| match effect {
        Effect::Write { write: gometa_zab::Write::HardState(hard), .. } => Some(*hard),
        _ => None,
    };
    effects.iter().filter_map(hard).collect()
}
