//! One node, its disk, and whatever a test lets happen around it: what the tests of robustness and the fuzz target
//! (`fuzz/`, which includes this file) drive, each with happenings of its own making.

use bytes::Bytes;
use gometa_zab::{
    Addresses, Bounds, Candidate, Config, Effect, EnsembleId, Epoch, Event, Founding, Genesis, HardState,
    Hello, Incarnation, Kind, LEVEL, LinkId, LogEntry, Message, NodeId, Ticks, Timeouts, Vote, VoteState,
    Voter, Zab, Zxid,
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
    Genesis { ensemble: HOME, voters: voters(true) }
}

/// What may happen; links and tokens are chosen by what there is.
#[derive(Clone, Debug)]
pub enum Happening {
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
    /// What a well-behaved other side would say next, so that deep states are reached.
    Answer {
        link: usize,
        variant: u8,
    },
    Vote(Box<Vote>),
    /// A voter backs whom the node backs, or the node itself, or leads.
    Support {
        peer: NodeId,
        variant: u8,
    },
    Ask(Ask),
}

#[derive(Clone, Debug)]
pub enum Ask {
    Propose(usize),
    Barrier,
    RelayToLeader,
    RelayTo { link: usize },
}

/// The other end of a connection, as far as it must be known to give sensible answers.
struct Wire {
    link: LinkId,
    /// Whom the node dialled.
    peer: Option<NodeId>,
    greeted: bool,
    /// How far the other side is in what it does by itself.
    stage: u8,
    /// The last leadership that was spoken of, in either direction.
    epoch: Epoch,
    /// The last heartbeat sent or received.
    beat: u64,
    /// The other side's log ends here.
    last: Zxid,
    /// What was said to this side last.
    heard: Option<Message>,
}

/// A node, its disk, and what stands around it.
pub struct World {
    zab: Zab,
    disk: Disk,
    now: Ticks,
    boot: u64,
    links: Vec<Wire>,
    dials: Vec<NodeId>,
    next_link: u64,
    next_ask: u64,
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
    }
}

impl World {
    pub fn new(disk: Disk) -> World {
        let mut world = World {
            zab: Zab::new(config(1), disk.recover(), Ticks(0)),
            applied: disk.applied,
            disk,
            now: Ticks(0),
            boot: 1,
            links: Vec::new(),
            dials: Vec::new(),
            next_link: 0,
            next_ask: 0,
            asked: 0,
            answered: 0,
            vote: None,
            sequence: 0,
            stopped: false,
            depth: [0; 4],
        };
        world.step(Vec::new());
        world
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

    fn wire(&mut self, choice: usize) -> Option<&mut Wire> {
        if self.links.is_empty() {
            return None;
        }
        let index = choice % self.links.len();
        self.links.get_mut(index)
    }

    fn add_wire(&mut self, peer: Option<NodeId>) -> LinkId {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let wire = Wire {
            link,
            peer,
            greeted: false,
            stage: 0,
            epoch: Epoch(1),
            beat: 0,
            last: Zxid::ZERO,
            heard: None,
        };
        self.links.push(wire);
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
                self.obey(effect, &mut events);
            }
            if events.is_empty() || self.stopped {
                return;
            }
        }
        panic!("the node does not come to rest");
    }

    fn obey(&mut self, effect: Effect, events: &mut Vec<Event>) {
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
                let wire = self.links.iter_mut().find(|wire| wire.link == link);
                let wire = wire.expect("nothing is sent on a connection that is not there");
                match &message {
                    Message::NewEpoch(epoch)
                    | Message::Diff { epoch, .. }
                    | Message::AckEpoch { epoch, .. }
                    | Message::NewLeader { epoch, .. } => wire.epoch = *epoch,
                    Message::Heartbeat { id, .. } => wire.beat = *id,
                    _ => {}
                }
                match &message {
                    Message::Diff { base, .. } => wire.last = *base,
                    Message::Propose { entries, .. } => {
                        wire.last = entries.last().map_or(wire.last, |entry| entry.zxid);
                    }
                    Message::AckEpoch { last, .. } => wire.last = *last,
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
                    wire.heard = Some(message);
                }
            }
            Effect::Close { link } => self.links.retain(|wire| wire.link != link),
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
            Effect::Notice(gometa_zab::Notice::Established { .. }) => self.depth[0] += 1,
            Effect::Stop(_) => self.stopped = true,
            Effect::Datagram { vote, .. } => self.vote = Some(vote),
            Effect::Relayed { .. } | Effect::Role(_) | Effect::Notice(_) => {}
        }
        assert!(self.answered <= self.asked, "every request is answered once");
    }

    fn message(&mut self, choice: usize, message: Message) {
        let Some(wire) = self.wire(choice) else { return };
        let link = wire.link;
        if let Message::Hello(_) = message {
            wire.greeted = true;
        }
        self.step(vec![Event::Message { link, message }]);
    }

    /// What a correct peer would do now, roughly.
    fn answer(&mut self, choice: usize, variant: u8) {
        let own = self.disk.hard;
        let log = self.disk.recover().boundaries;
        let own_last = self.zab.last();
        let formed = self.zab.ensemble();
        let Some(wire) = self.wire(choice) else { return };
        let peer = wire.peer.unwrap_or(NodeId(if variant.is_multiple_of(2) { 1 } else { 3 }));
        if !wire.greeted {
            let hello = Hello {
                node: peer,
                incarnation: Incarnation(u128::from(peer.0)),
                boot: 1,
                expected: Some(ME),
                ensemble: formed,
                addresses: Addresses::default(),
                voters: if formed.is_some() { Vec::new() } else { voters(false) },
            };
            return self.message(choice, Message::Hello(hello));
        }
        let epoch = wire.epoch;
        let last = wire.last;
        let beat = wire.beat;
        let heard = wire.heard.take();
        let answer = match heard {
            // The node follows: this side leads.
            Some(Message::FollowerEpoch { accepted, .. }) => {
                wire.epoch = Epoch((accepted.0 + 1 + u64::from(variant % 2)).min(TOP));
                Message::NewEpoch(wire.epoch)
            }
            Some(Message::AckEpoch { epoch, last, .. }) => {
                let cut = if variant < 64 { u64::from(variant % 3) } else { 0 };
                let keep = last.counter.saturating_sub(cut);
                let base = log
                    .iter()
                    .find(|end| end.counter >= keep)
                    .map_or(Zxid::ZERO, |end| Zxid { epoch: end.epoch, counter: keep });
                wire.last = if keep == 0 { Zxid::ZERO } else { base };
                wire.stage = 2;
                Message::Diff { epoch, base: wire.last }
            }
            Some(Message::AckNewLeader { epoch, last }) => {
                wire.stage = 4;
                Message::UpToDate { epoch, commit: last.counter }
            }
            // The node leads: this side follows.
            Some(Message::NewEpoch(epoch)) => Message::AckEpoch {
                epoch,
                current: own.current_epoch.min(epoch),
                last: log.last().copied().unwrap_or(Zxid::ZERO),
                oldest: Zxid::ZERO,
                boundaries: log,
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
            // Nothing asked for: what a leader, or a follower, says of itself.
            _ if wire.peer.is_none() && wire.stage == 0 => {
                wire.stage = 1;
                Message::FollowerEpoch { accepted: own.accepted_epoch, config_version: 0 }
            }
            _ if wire.peer.is_none() => match variant % 4 {
                0 | 1 => Message::HeartbeatAck { epoch, id: beat },
                2 => Message::Relay(Bytes::from_static(b"forwarded")),
                _ => Message::Ack { epoch, last },
            },
            _ => match (wire.stage, variant % 4) {
                (2, 0) => {
                    wire.stage = 3;
                    Message::NewLeader { epoch, last: own_last }
                }
                (2.., 1 | 2) => {
                    let zxid = Zxid { epoch, counter: own_last.counter + 1 };
                    let payload = Bytes::from_static(b"y");
                    let entry = LogEntry { zxid, kind: Kind::Command, level: LEVEL, payload };
                    Message::Propose { epoch, previous: own_last, entries: vec![entry], commit: 0 }
                }
                (4, 3) => Message::Commit { epoch, commit: own_last.counter },
                _ => {
                    wire.beat += 1;
                    Message::Heartbeat { epoch, id: wire.beat, commit: 0 }
                }
            },
        };
        self.message(choice, answer);
    }

    /// Lets something happen; whatever the node says that it may not say panics here.
    pub fn happen(&mut self, happening: Happening) {
        if self.stopped {
            return self.restart();
        }
        match happening {
            Happening::Pass { ms } => {
                self.now = self.now.plus(ms * 1_000);
                self.step(vec![Event::Tick]);
            }
            Happening::Persist { count } => {
                let mut last = None;
                for _ in 0..count {
                    last = self.disk.persist().or(last);
                }
                if let Some(token) = last {
                    self.step(vec![Event::Persisted(token)]);
                }
            }
            Happening::Crash => self.restart(),
            Happening::Connect => {
                if let Some(peer) = self.dials.pop() {
                    let link = self.add_wire(Some(peer));
                    self.step(vec![Event::Connected { peer, link }]);
                }
            }
            Happening::FailToConnect => {
                if let Some(peer) = self.dials.pop() {
                    self.step(vec![Event::ConnectFailed { peer }]);
                }
            }
            Happening::Accept => {
                let link = self.add_wire(None);
                self.step(vec![Event::Accepted { link }]);
            }
            Happening::Greet { link, hello } => self.message(link, Message::Hello(*hello)),
            Happening::Close { link } => {
                if let Some(wire) = self.wire(link) {
                    let link = wire.link;
                    self.links.retain(|wire| wire.link != link);
                    self.step(vec![Event::Closed { link }]);
                }
            }
            Happening::Message { link, message } => self.message(link, message),
            Happening::Answer { link, variant } => self.answer(link, variant),
            Happening::Support { peer, variant } => {
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
            Happening::Vote(vote) => self.step(vec![Event::Datagram(*vote)]),
            Happening::Ask(ask) => {
                self.next_ask += 1;
                let id = self.next_ask;
                let event = match ask {
                    Ask::Propose(size) => Event::Propose { id, payload: Bytes::from(vec![b'p'; size]) },
                    Ask::Barrier => Event::Barrier { id },
                    Ask::RelayToLeader => Event::RelayToLeader(Bytes::from_static(b"to the leader")),
                    Ask::RelayTo { link } => {
                        let link = self.wire(link).map_or(LinkId(0), |wire| wire.link);
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
            disk.log.push(LogEntry { zxid, kind: Kind::Command, level: LEVEL, payload });
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
