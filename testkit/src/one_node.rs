//! One node, its disk, and peers that do anything: driven by zab's tests of robustness and by a fuzz target, each with
//! actions that it generates.

use bytes::Bytes;
use gometa_zab::{
    Addresses, Bounds, Candidate, Config, DiskSpace, Effect, EnsembleId, Epoch, Event, FIRST_LEVEL, Founding,
    Genesis, HardState, Hello, Incarnation, Kind, Levels, LinkId, LogEntry, Message, NodeId, StateReport,
    Ticks, Timeouts, Vote, VoteState, Voter, Zab, Zxid,
};

use crate::disk::Disk;

pub const ME: NodeId = NodeId(2);
pub const HOME: EnsembleId = EnsembleId { id: 7, history: 1 };
/// The highest number that the codec lets through.
pub const TOP: u64 = Epoch::MAX.0 - 1;

pub fn voters(recorded: bool) -> Vec<Voter> {
    let voter = |node: u64| Voter {
        node: NodeId(node),
        incarnation: recorded.then_some(Incarnation(u128::from(node))),
        addresses: Addresses::default(),
    };
    (1..=3).map(voter).collect()
}

pub fn genesis() -> Genesis {
    Genesis { ensemble: HOME, voters: voters(true), level: FIRST_LEVEL }
}

/// One action; links are chosen among the open ones.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "few exist at a time")]
pub enum Action {
    Pass {
        ms: u64,
    },
    Persist {
        count: usize,
    },
    Crash,
    Connect,
    FailToConnect,
    Accept,
    Greet {
        link: usize,
        hello: Box<Hello>,
    },
    Close {
        link: usize,
    },
    Message {
        link: usize,
        message: Message,
    },
    /// What a well-behaved peer would send next, so that deep states are reached.
    Answer {
        link: usize,
        variant: u8,
    },
    Vote(Box<Vote>),
    /// The disk space of the node changes.
    DiskSpace(DiskSpace),
    /// The log may be compacted, but for the last `keep` applied entries.
    Compact {
        keep: u64,
        forced: bool,
    },
    /// A snapshot of the node's state is sent.
    SnapshotBegun {
        link: usize,
    },
    /// A snapshot is complete, so far above the end of the log, or below it, in an epoch so far below the promise.
    SnapshotReceived {
        link: usize,
        above: i8,
        below: u8,
    },
    /// A voter votes for the candidate of the node, or for the node itself, or leads.
    Support {
        peer: NodeId,
        variant: u8,
    },
    Request(Request),
}

#[derive(Clone, Debug)]
pub enum Request {
    Propose(usize),
    Barrier,
    RelayToLeader,
    RelayTo { link: usize },
}

/// The other end of a connection, as far as sensible answers need it.
struct Peer {
    link: LinkId,
    /// The peer that the node dialled.
    peer: Option<NodeId>,
    greeted: bool,
    /// How far the other side is in what it does by itself.
    stage: u8,
    /// The last epoch in a message, in either direction.
    epoch: Epoch,
    /// The last heartbeat sent or received.
    beat: u64,
    /// The other side's log ends here.
    last: Zxid,
    /// The last message of the node that asks for an answer.
    received: Option<Message>,
}

/// A node, its disk, and its peers.
pub struct OneNode {
    zab: Zab,
    disk: Disk,
    now: Ticks,
    boot: u64,
    links: Vec<Peer>,
    dials: Vec<NodeId>,
    next_link: u64,
    next_request: u64,
    asked: usize,
    answered: usize,
    applied: u64,
    /// The node's last vote.
    vote: Option<Vote>,
    sequence: u64,
    stopped: bool,
    /// How often it was established, welcomed a follower, synchronised, applied.
    pub depth: [usize; 4],
}

fn config(boot: u64) -> Config {
    Config {
        node: ME,
        incarnation: Incarnation(2),
        boot,
        addresses: Addresses::default(),
        voters: voters(false),
        seed: u128::from(boot) * 77,
        timeouts: Timeouts::from_ms(100, 1_000),
        bounds: Bounds {
            proposals_max: 8,
            proposal_bytes_max: 1_000,
            window_bytes_max: 400,
            batch_bytes_max: 200,
            tail_bytes: 300,
            links_max: 8,
            round_jump_max: 1_000,
        },
        levels: Levels::SUPPORTED,
        never_founds: false,
        founds_with_quorum: false,
    }
}

impl OneNode {
    pub fn new(disk: Disk) -> OneNode {
        let mut node = OneNode {
            zab: Zab::new(config(1), disk.recover(), Ticks(0)),
            applied: disk.applied,
            disk,
            now: Ticks(0),
            boot: 1,
            links: Vec::new(),
            dials: Vec::new(),
            next_link: 0,
            next_request: 0,
            asked: 0,
            answered: 0,
            vote: None,
            sequence: 0,
            stopped: false,
            depth: [0; 4],
        };
        node.step(Vec::new());
        node
    }

    fn restart(&mut self) {
        self.disk.crash();
        self.boot += 1;
        self.links.clear();
        self.dials.clear();
        self.applied = self.disk.applied;
        self.stopped = false;
        (self.asked, self.answered) = (0, 0);
        self.zab = Zab::new(config(self.boot), self.disk.recover(), self.now);
        self.step(Vec::new());
    }

    fn peer_end(&mut self, choice: usize) -> Option<&mut Peer> {
        if self.links.is_empty() {
            return None;
        }
        let index = choice % self.links.len();
        self.links.get_mut(index)
    }

    fn add_link(&mut self, peer: Option<NodeId>) -> LinkId {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let peer_end = Peer {
            link,
            peer,
            greeted: false,
            stage: 0,
            epoch: Epoch(1),
            beat: 0,
            last: Zxid::ZERO,
            received: None,
        };
        self.links.push(peer_end);
        link
    }

    fn step(&mut self, events: Vec<Event>) {
        let mut events = events;
        // One round for what happened, and more for reads and applied entries, which are answered at once.
        for _ in 0..10_000 {
            let effects = self.zab.step(self.now, core::mem::take(&mut events));
            for effect in effects {
                assert!(
                    !self.stopped
                        || matches!(
                            effect,
                            Effect::Role(_) | Effect::Rejected { .. } | Effect::BarrierFailed { .. }
                        ),
                    "{effect:?} after Stop"
                );
                self.disk.vouch(ME, &effect);
                self.carry_out(effect, &mut events);
            }
            if events.is_empty() || self.stopped {
                return;
            }
        }
        panic!("the node does not come to rest");
    }

    fn carry_out(&mut self, effect: Effect, events: &mut Vec<Event>) {
        match effect {
            Effect::Write { token, write } => self.disk.pending.push_back((token, write)),
            Effect::Read { id, from, to, bytes_max } => {
                assert!(from <= to, "an empty read");
                let entries = self.disk.read(from, to, bytes_max);
                events.push(Event::LogRead { id, entries });
            }
            Effect::Connect { peer } => {
                assert!(!self.dials.contains(&peer), "one dial at a time");
                self.dials.push(peer);
            }
            Effect::Send { link, message } => {
                let peer_end = self.links.iter_mut().find(|peer_end| peer_end.link == link);
                let peer_end = peer_end.expect("nothing is sent on a connection that is not there");
                match &message {
                    Message::NewEpoch(epoch)
                    | Message::Diff { epoch, .. }
                    | Message::AckEpoch { epoch, .. }
                    | Message::NewLeader { epoch, .. } => peer_end.epoch = *epoch,
                    Message::Heartbeat { id, .. } => peer_end.beat = *id,
                    _ => {}
                }
                match &message {
                    Message::Diff { base, .. } => peer_end.last = *base,
                    Message::Propose { entries, .. } => {
                        peer_end.last = entries.last().map_or(peer_end.last, |entry| entry.zxid);
                    }
                    Message::AckEpoch { last, .. } => peer_end.last = *last,
                    _ => {}
                }
                match &message {
                    Message::UpToDate { .. } => self.depth[1] += 1,
                    Message::AckNewLeader { .. } => self.depth[2] += 1,
                    _ => {}
                }
                let aside = matches!(
                    message,
                    Message::Heartbeat { .. } | Message::Commit { .. } | Message::Alive { .. }
                );
                if !aside {
                    peer_end.received = Some(message);
                }
            }
            Effect::Close { link } => self.links.retain(|peer_end| peer_end.link != link),
            Effect::Commit { counter } => {
                assert!(counter > self.applied, "invariant 15: applied once, in order");
                self.applied = counter;
                self.disk.applied = counter;
                self.depth[3] += 1;
                events.push(Event::Applied { counter });
            }
            Effect::Rejected { .. }
            | Effect::Proposed { .. }
            | Effect::BarrierPassed { .. }
            | Effect::BarrierFailed { .. } => self.answered += 1,
            Effect::ChangeDecided { .. } => panic!("no change was requested"),
            Effect::Notice(gometa_zab::Notice::Established { .. }) => self.depth[0] += 1,
            Effect::Stop(_) | Effect::Quarantine(_) => self.stopped = true,
            Effect::Datagram { vote, .. } => self.vote = Some(vote),
            Effect::SendSnapshot { .. }
            | Effect::DiscardSnapshot
            | Effect::Relayed { .. }
            | Effect::Role(_)
            | Effect::Notice(_) => {}
        }
        assert!(self.answered <= self.asked, "every request is answered once");
    }

    fn message(&mut self, choice: usize, message: Message) {
        let Some(peer_end) = self.peer_end(choice) else { return };
        let link = peer_end.link;
        if let Message::Hello(_) = message {
            peer_end.greeted = true;
        }
        self.step(vec![Event::Message { link, message }]);
    }

    /// Sends about what a correct peer would send now.
    fn answer(&mut self, choice: usize, variant: u8) {
        let own = self.disk.hard;
        let (base, log) = (self.disk.base, self.disk.recover().boundaries);
        let own_last = self.zab.last();
        let formed = self.zab.ensemble();
        let Some(peer_end) = self.peer_end(choice) else { return };
        let peer = peer_end.peer.unwrap_or(NodeId(if variant.is_multiple_of(2) { 1 } else { 3 }));
        if !peer_end.greeted {
            let hello = Hello {
                node: peer,
                incarnation: Incarnation(u128::from(peer.0)),
                boot: 1,
                expected: Some(ME),
                ensemble: formed,
                addresses: Addresses::default(),
                voters: if formed.is_some() { Vec::new() } else { voters(false) },
                configuration: Zxid::ZERO,
                levels: Levels::SUPPORTED,
                level: formed.map(|_| FIRST_LEVEL),
            };
            return self.message(choice, Message::Hello(hello));
        }
        let epoch = peer_end.epoch;
        let last = peer_end.last;
        let beat = peer_end.beat;
        let received = peer_end.received.take();
        let answer = match received {
            // The node follows: this side leads.
            Some(Message::FollowerEpoch { accepted, .. }) => {
                peer_end.epoch = Epoch((accepted.0 + 1 + u64::from(variant % 2)).min(TOP));
                Message::NewEpoch(peer_end.epoch)
            }
            Some(Message::AckEpoch { epoch, last, .. }) => {
                let cut = if variant < 64 { u64::from(variant % 3) } else { 0 };
                let keep = last.counter.saturating_sub(cut);
                let base = log
                    .iter()
                    .find(|end| end.counter >= keep)
                    .map_or(base, |end| Zxid { epoch: end.epoch, counter: keep });
                peer_end.last = if keep == 0 { Zxid::ZERO } else { base };
                peer_end.stage = 2;
                Message::Diff { epoch, base: peer_end.last }
            }
            Some(Message::AckNewLeader { epoch, last }) => {
                peer_end.stage = 4;
                Message::UpToDate { epoch, commit: last.counter }
            }
            // The node leads: this side follows.
            Some(Message::NewEpoch(epoch)) => Message::AckEpoch {
                epoch,
                current: own.current_epoch.min(epoch),
                // Sometimes it has nothing.
                last: if variant < 240 { log.last().copied().unwrap_or(base) } else { Zxid::ZERO },
                oldest: if variant < 240 { base } else { Zxid::ZERO },
                boundaries: if variant < 240 { log } else { Vec::new() },
            },
            Some(Message::NewLeader { epoch, .. }) => Message::AckNewLeader { epoch, last },
            Some(Message::Propose { epoch, .. }) if variant.is_multiple_of(2) => {
                Message::Progress { epoch, last }
            }
            Some(Message::Propose { epoch, .. }) | Some(Message::UpToDate { epoch, .. }) => {
                Message::Ack { epoch, last }
            }
            // Formation.
            Some(Message::Prepare(genesis)) => Message::Prepared(genesis.ensemble),
            _ if formed.is_none() => Message::Prepare(genesis()),
            // Nothing to answer: what a leader, or a follower, sends by itself.
            _ if peer_end.peer.is_none() && peer_end.stage == 0 => {
                peer_end.stage = 1;
                Message::FollowerEpoch { accepted: own.accepted_epoch, configuration: Zxid::ZERO }
            }
            _ if peer_end.peer.is_none() => match variant % 4 {
                0 | 1 => Message::HeartbeatAck {
                    epoch,
                    id: beat,
                    space: DiskSpace::Ample,
                    state: StateReport::default(),
                },
                2 => Message::Relay(Bytes::from_static(b"forwarded")),
                _ => Message::Ack { epoch, last },
            },
            _ => match (peer_end.stage, variant % 4) {
                (2, 0) => {
                    peer_end.stage = 3;
                    Message::NewLeader { epoch, last: own_last }
                }
                (2.., 1 | 2) => {
                    let zxid = Zxid { epoch, counter: own_last.counter + 1 };
                    let payload = Bytes::from_static(b"y");
                    let entry = LogEntry { zxid, kind: Kind::Command, level: FIRST_LEVEL, payload };
                    Message::Propose { epoch, previous: own_last, entries: vec![entry], commit: 0 }
                }
                (4, 3) => Message::Commit { epoch, commit: own_last.counter },
                _ => {
                    peer_end.beat += 1;
                    Message::Heartbeat { epoch, id: peer_end.beat, commit: 0 }
                }
            },
        };
        self.message(choice, answer);
    }

    /// Performs an action; panics if the node sends what it may not send.
    pub fn perform(&mut self, action: Action) {
        if self.stopped {
            return self.restart();
        }
        match action {
            Action::Pass { ms } => {
                self.now = self.now.plus(ms * 1_000);
                self.step(vec![Event::Tick]);
            }
            Action::Persist { count } => {
                let mut last = None;
                for _ in 0..count {
                    last = self.disk.persist().or(last);
                }
                self.applied = self.applied.max(self.disk.applied);
                if let Some(token) = last {
                    self.step(vec![Event::Persisted(token)]);
                }
            }
            Action::Crash => self.restart(),
            Action::Connect => {
                if let Some(peer) = self.dials.pop() {
                    let link = self.add_link(Some(peer));
                    self.step(vec![Event::Connected { peer, link }]);
                }
            }
            Action::FailToConnect => {
                if let Some(peer) = self.dials.pop() {
                    self.step(vec![Event::ConnectFailed { peer }]);
                }
            }
            Action::Accept => {
                let link = self.add_link(None);
                self.step(vec![Event::Accepted { link }]);
            }
            Action::Greet { link, hello } => self.message(link, Message::Hello(*hello)),
            Action::Close { link } => {
                if let Some(peer_end) = self.peer_end(link) {
                    let link = peer_end.link;
                    self.links.retain(|peer_end| peer_end.link != link);
                    self.step(vec![Event::Closed { link }]);
                }
            }
            Action::Message { link, message } => self.message(link, message),
            Action::Answer { link, variant } => self.answer(link, variant),
            Action::Support { peer, variant } => {
                let Some(own) = self.vote.clone() else { return };
                self.sequence += 1;
                let leads = variant.is_multiple_of(4);
                let me = Candidate { node: ME, ..own.candidate };
                let candidate = if leads {
                    Candidate { node: peer, ..own.candidate }
                } else if variant.is_multiple_of(2) && own.state == VoteState::Looking {
                    own.candidate
                } else {
                    me
                };
                let vote = Vote {
                    sender: peer,
                    incarnation: Incarnation(u128::from(peer.0)),
                    boot: 5,
                    sequence: self.sequence,
                    state: if leads { VoteState::Leading } else { VoteState::Looking },
                    candidate,
                    established: leads.then_some(Epoch(own.candidate.epoch.0 + 1)),
                    ..own
                };
                self.step(vec![Event::Datagram(vote)]);
            }
            Action::DiskSpace(space) => self.step(vec![Event::DiskSpace(space)]),
            Action::Compact { keep, forced } => {
                let through = self.applied.saturating_sub(keep);
                self.step(vec![Event::MayCompact { through, forced: if forced { through } else { 0 } }]);
            }
            Action::SnapshotBegun { link } => {
                let zxid = self.zab.zxid_at(self.applied);
                if let (Some(peer_end), Some(zxid)) = (self.peer_end(link), zxid) {
                    let link = peer_end.link;
                    self.step(vec![Event::SnapshotBegun { link, zxid }]);
                }
            }
            Action::SnapshotReceived { link, above, below } => {
                let epoch = Epoch(self.disk.hard.accepted_epoch.0.saturating_sub(u64::from(below)));
                let counter = self.zab.last().counter.saturating_add_signed(i64::from(above));
                if let Some(peer_end) = self.peer_end(link) {
                    let link = peer_end.link;
                    let zxid = Zxid { epoch, counter };
                    self.step(vec![Event::SnapshotReceived { link, zxid, configuration: None }]);
                }
            }
            Action::Vote(vote) => self.step(vec![Event::Datagram(*vote)]),
            Action::Request(ask) => {
                self.next_request += 1;
                let id = self.next_request;
                let event = match ask {
                    Request::Propose(size) => Event::Propose {
                        id,
                        payload: Bytes::from(vec![b'p'; size]),
                        level: FIRST_LEVEL,
                        may_wait: !id.is_multiple_of(8),
                    },
                    Request::Barrier => Event::Barrier { id },
                    Request::RelayToLeader => Event::RelayToLeader(Bytes::from_static(b"to the leader")),
                    Request::RelayTo { link } => {
                        let link = self.peer_end(link).map_or(LinkId(0), |peer_end| peer_end.link);
                        Event::RelayTo { link, payload: Bytes::from_static(b"an answer") }
                    }
                };
                self.asked += usize::from(matches!(event, Event::Propose { .. } | Event::Barrier { .. }));
                self.step(vec![event]);
            }
        }
    }
}

/// A member's disk at the start: its log from runs of entries, each (how much the epoch rises, how many entries); how
/// far its promise is above its log's end, and its own epoch below that; how much is applied.
pub fn member(runs: &[(u64, u64)], above: u64, below: u64, applied: u64) -> Disk {
    let founding = Some(Founding { genesis: genesis(), sealed: true });
    let mut disk = Disk { founding, ..Disk::default() };
    for &(rise, count) in runs {
        let epoch = Epoch(disk.last().epoch.0 + rise);
        for _ in 0..count {
            let zxid = Zxid { epoch, counter: disk.last().counter + 1 };
            let payload = Bytes::from_static(b"old");
            disk.log.push(LogEntry { zxid, kind: Kind::Command, level: FIRST_LEVEL, payload });
        }
    }
    let accepted = Epoch(disk.last().epoch.0 + above);
    disk.hard = HardState {
        accepted_epoch: accepted,
        accepted_leader: (accepted.0 > 0).then_some(NodeId(above + 1)),
        current_epoch: Epoch(accepted.0.saturating_sub(below)),
    };
    disk.applied = applied.min(disk.last().counter);
    disk
}

/// The disk of a node that has prepared and not sealed.
pub fn prepared() -> Disk {
    Disk { founding: Some(Founding { genesis: genesis(), sealed: false }), ..Disk::default() }
}
