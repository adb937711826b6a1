//! One node against everything: arbitrary peers, a disk that takes its time, crashes at any moment.
//!
//! Whatever well-formed messages arrive, in whatever state (the codec lets through nothing that breaks the rules
//! of a message by itself, and that is all it promises), the node does not panic, and nothing that it says claims
//! more than what its disk would show after a crash.

#[path = "harness/disk.rs"]
mod disk;

use bytes::Bytes;
use disk::Disk;
use gometa_zab::{
    Addresses, Bounds, Candidate, Config, Effect, EnsembleId, Epoch, Event, Founding, Genesis, Hello,
    Incarnation, Kind, LEVEL, LinkId, LogEntry, Message, NodeId, Reason, Round, Ticks, Timeouts, Vote,
    VoteState, Voter, Zab, Zxid,
};
use proptest::{collection::vec, prelude::*, sample::select};

const ME: NodeId = NodeId(2);
const HOME: EnsembleId = EnsembleId { id: 7, history: 1 };
/// The highest number that the codec lets through.
const TOP: u64 = Epoch::MAX.0 - 1;

fn voters(recorded: bool) -> Vec<Voter> {
    let voter = |node: u64| Voter {
        node: NodeId(node),
        incarnation: recorded.then_some(Incarnation(u128::from(node))),
        addresses: Addresses::default(),
    };
    (1..=3).map(voter).collect()
}

fn genesis() -> Genesis {
    Genesis { ensemble: HOME, voters: voters(true) }
}

/// What may happen; links and tokens are chosen by what there is.
#[derive(Clone, Debug)]
enum Happening {
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
enum Ask {
    Propose(usize),
    Barrier,
    RelayToLeader,
    RelayTo { link: usize },
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..6_u64, 1 => 0..200_u64, 1 => select(vec![TOP, TOP - 1, 1 << 40])]
}

fn leadership() -> impl Strategy<Value = Epoch> {
    number().prop_map(|number| Epoch(number.max(1)))
}

/// The genesis, or an entry.
fn zxid() -> impl Strategy<Value = Zxid> {
    prop_oneof![
        1 => Just(Zxid::ZERO),
        5 => (number(), number()).prop_map(|(epoch, counter)| Zxid::new(epoch.max(1), counter.max(1))),
    ]
}

/// A leadership, and a zxid of no later epoch.
fn within() -> impl Strategy<Value = (Epoch, Zxid)> {
    (leadership(), zxid()).prop_map(|(epoch, zxid)| (Epoch(epoch.0.max(zxid.epoch.0)), zxid))
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![6 => 1..4_u64, 1 => 4..6_u64].prop_map(NodeId)
}

fn incarnation(node: NodeId) -> impl Strategy<Value = Incarnation> {
    prop_oneof![5 => Just(Incarnation(u128::from(node.0))), 1 => Just(Incarnation(99))]
}

fn ensemble() -> impl Strategy<Value = Option<EnsembleId>> {
    prop_oneof![
        6 => Just(Some(HOME)),
        2 => Just(None),
        1 => Just(Some(EnsembleId { id: 8, history: 1 })),
    ]
}

fn any_genesis() -> impl Strategy<Value = Genesis> {
    prop_oneof![
        3 => Just(genesis()),
        1 => Just(Genesis { ensemble: EnsembleId { id: 8, history: 1 }, voters: voters(true) }),
        1 => Just(Genesis { ensemble: HOME, voters: voters(true).split_off(1) }),
        1 => Just(Genesis { ensemble: HOME, voters: voters(false) }),
        1 => Just(Genesis { ensemble: EnsembleId { id: 8, history: 1 }, voters: voters(true)[..1].to_vec() }),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let meant = prop_oneof![5 => Just(Some(ME)), 1 => Just(None), 1 => Just(Some(NodeId(3)))];
    let names = prop_oneof![
        5 => Just(voters(false)),
        1 => Just(Vec::new()),
        1 => Just(voters(false)[..2].to_vec()),
    ];
    let who = node().prop_flat_map(|node| (Just(node), incarnation(node)));
    (who, number(), meant, ensemble(), names).prop_map(
        |((node, incarnation), boot, meant, ensemble, voters)| Hello {
            node,
            incarnation,
            boot,
            meant,
            ensemble,
            addresses: Addresses::default(),
            voters,
        },
    )
}

/// Entries that follow each other from `previous` on, none of a later epoch than the leadership.
fn proposal() -> impl Strategy<Value = Message> {
    let commit = number();
    (within(), vec((0..3_u64, 0..40_usize), 1..5), commit, 0..12_u8).prop_map(
        |((epoch, previous), steps, commit, oddity)| {
            let mut entries: Vec<LogEntry> = Vec::new();
            let mut last = previous;
            for (rise, size) in steps {
                let rise = rise.min(epoch.0 - last.epoch.0);
                let zxid = Zxid::new((last.epoch.0 + rise).max(1), last.counter + 1);
                let kind = if oddity == 0 { Kind::Membership } else { Kind::Command };
                entries.push(LogEntry { zxid, kind, level: LEVEL, payload: Bytes::from(vec![b'x'; size]) });
                last = zxid;
            }
            Message::Propose { epoch, previous, entries, commit }
        },
    )
}

fn ack_epoch() -> impl Strategy<Value = Message> {
    (leadership(), number(), zxid(), vec((1..3_u64, 1..5_u64), 0..4)).prop_map(
        |(epoch, current, oldest, runs)| {
            let mut boundaries: Vec<Zxid> = Vec::new();
            let mut last = oldest;
            for (rise, count) in runs {
                last = Zxid::new(last.epoch.0 + rise, last.counter + count);
                boundaries.push(last);
            }
            let epoch = Epoch(epoch.0.max(last.epoch.0).min(TOP));
            Message::AckEpoch { epoch, current: Epoch(current.min(epoch.0)), last, oldest, boundaries }
        },
    )
}

fn reason() -> impl Strategy<Value = Reason> {
    select(vec![
        Reason::NotLeading,
        Reason::SnapshotNeeded,
        Reason::NoCommonPoint,
        Reason::WrongNode,
        Reason::OtherEnsemble,
        Reason::NotAMember,
        Reason::Configuration,
        Reason::Version,
        Reason::TooSoon,
    ])
}

fn message() -> impl Strategy<Value = Message> {
    let discovery = prop_oneof![
        number().prop_map(|accepted| Message::FollowerEpoch { accepted: Epoch(accepted), config_version: 0 }),
        leadership().prop_map(Message::NewEpoch),
        ack_epoch(),
        (number(), node()).prop_map(|(accepted, node)| Message::RefuseEpoch {
            accepted: Epoch(accepted),
            leader: Some(node)
        }),
        reason().prop_map(Message::Refuse),
    ];
    let sync = prop_oneof![
        within().prop_map(|(epoch, base)| Message::Diff { epoch, base }),
        proposal(),
        within().prop_map(|(epoch, last)| Message::Progress { epoch, last }),
        within().prop_map(|(epoch, last)| Message::NewLeader { epoch, last }),
        within().prop_map(|(epoch, last)| Message::AckNewLeader { epoch, last }),
        (leadership(), number()).prop_map(|(epoch, commit)| Message::UpToDate { epoch, commit }),
    ];
    let broadcast = prop_oneof![
        within().prop_map(|(epoch, last)| Message::Ack { epoch, last }),
        (leadership(), number()).prop_map(|(epoch, commit)| Message::Commit { epoch, commit }),
        (leadership(), number(), number()).prop_map(|(epoch, id, commit)| Message::Heartbeat {
            epoch,
            id,
            commit
        }),
        (leadership(), number()).prop_map(|(epoch, id)| Message::HeartbeatAck { epoch, id }),
        Just(Message::Relay(Bytes::from_static(b"relayed"))),
    ];
    let formation = prop_oneof![
        any_genesis().prop_map(Message::Prepare),
        any_genesis().prop_map(|genesis| Message::Prepared(genesis.ensemble)),
        any_genesis().prop_map(|genesis| Message::Seal(genesis.ensemble)),
        any_genesis().prop_map(Message::Formed),
        hello().prop_map(Message::Hello),
    ];
    prop_oneof![3 => discovery, 4 => sync, 4 => broadcast, 2 => formation]
}

fn vote() -> impl Strategy<Value = Vote> {
    let who = node().prop_flat_map(|node| (Just(node), incarnation(node)));
    let states = vec![VoteState::Looking, VoteState::Following, VoteState::Leading, VoteState::Seeking];
    let what = (select(states), node(), number(), zxid(), proptest::option::of(leadership()));
    (who, ensemble(), number(), 0..50_u64, number(), what).prop_map(
        |(
            (sender, incarnation),
            ensemble,
            boot,
            sequence,
            round,
            (state, candidate, epoch, last, established),
        )| {
            let node = match state {
                VoteState::Leading => sender,
                // Who follows follows another.
                VoteState::Following if candidate == sender => NodeId(sender.0 % 3 + 1),
                VoteState::Following | VoteState::Looking | VoteState::Seeking => candidate,
            };
            let settled = matches!(state, VoteState::Leading | VoteState::Following);
            Vote {
                ensemble,
                sender,
                incarnation,
                boot,
                sequence,
                state,
                round: Round(round),
                candidate: Candidate { epoch: Epoch(epoch), last, node },
                established: established.filter(|_| settled),
                config_version: 0,
            }
        },
    )
}

/// `noise` is the weight of what a well-behaved ensemble would not do.
fn happening(noise: u32) -> impl Strategy<Value = Happening> {
    let link = || 0..4_usize;
    let ask = prop_oneof![
        (0..60_usize).prop_map(Ask::Propose),
        Just(Ask::Barrier),
        Just(Ask::RelayToLeader),
        link().prop_map(|link| Ask::RelayTo { link }),
    ];
    let time = prop_oneof![30 => 1..40_u64, noise => 40..1_200_u64, 1 => Just(6_000)];
    prop_oneof![
        10 => time.prop_map(|ms| Happening::Pass { ms }),
        20 => (1..4_usize).prop_map(|count| Happening::Persist { count }),
        noise => prop_oneof![
            1 => Just(Happening::Crash),
            1 => Just(Happening::FailToConnect),
            2 => link().prop_map(|link| Happening::Close { link }),
            4 => (link(), hello()).prop_map(|(link, hello)| Happening::Greet { link, hello: Box::new(hello) }),
            8 => (link(), message()).prop_map(|(link, message)| Happening::Message { link, message }),
            8 => vote().prop_map(|vote| Happening::Vote(Box::new(vote))),
        ],
        10 => Just(Happening::Connect),
        5 => Just(Happening::Accept),
        50 => (link(), any::<u8>()).prop_map(|(link, variant)| Happening::Answer { link, variant }),
        8 => (select(vec![NodeId(1), NodeId(3)]), any::<u8>())
            .prop_map(|(peer, variant)| Happening::Support { peer, variant }),
        8 => ask.prop_map(Happening::Ask),
    ]
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    select(vec![1_u32, 5, 20]).prop_flat_map(|noise| vec(happening(noise), 1..400))
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
struct World {
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
    depth: [usize; 4],
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
    fn new(disk: Disk) -> World {
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
                let mut bytes = 0;
                let mut entries: Vec<LogEntry> = Vec::new();
                for entry in self.disk.log.iter().filter(|entry| (from..=to).contains(&entry.zxid.counter)) {
                    bytes += entry.size();
                    if !entries.is_empty() && bytes > bytes_max {
                        break;
                    }
                    entries.push(entry.clone());
                }
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
                if !matches!(message, Message::Heartbeat { .. } | Message::Commit { .. }) {
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
                meant: Some(ME),
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

    fn happen(&mut self, happening: Happening) {
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

/// What the disk holds at first: nothing, a prepared genesis, or a member's history.
fn disk() -> impl Strategy<Value = Disk> {
    (0..6_u8, vec((1..3_u64, 1..4_u64), 0..4), 0..3_u64, 0..3_u64, 0..20_u64).prop_map(
        |(kind, runs, above, below, applied)| {
            if kind == 0 {
                return Disk::default();
            }
            if kind == 1 {
                let founding = Some(Founding { genesis: genesis(), sealed: false });
                return Disk { founding, ..Disk::default() };
            }
            let mut disk =
                Disk { founding: Some(Founding { genesis: genesis(), sealed: true }), ..Disk::default() };
            for (rise, count) in runs {
                let epoch = Epoch(disk.last().epoch.0 + rise);
                for _ in 0..count {
                    let zxid = Zxid { epoch, counter: disk.last().counter + 1 };
                    disk.log.push(LogEntry {
                        zxid,
                        kind: Kind::Command,
                        level: LEVEL,
                        payload: Bytes::from_static(b"old"),
                    });
                }
            }
            let accepted = Epoch(disk.last().epoch.0 + above);
            disk.hard = gometa_zab::HardState {
                accepted_epoch: accepted,
                accepted_leader: (accepted.0 > 0).then_some(NodeId(above + 1)),
                current_epoch: Epoch(accepted.0.saturating_sub(below)),
            };
            disk.applied = applied.min(disk.last().counter);
            disk
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_message_in_any_state_makes_a_node_panic_or_say_more_than_its_disk_does(
        disk in disk(),
        happenings in happenings(),
    ) {
        let mut world = World::new(disk);
        for happening in happenings {
            world.happen(happening);
        }
    }
}

/// The test above is worth what it reaches.
#[test]
fn the_robustness_test_reaches_deep_states() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut depth = [0; 4];
    for _ in 0..300 {
        let tree = (disk(), happenings()).new_tree(&mut runner).expect("a world");
        let (disk, happenings) = tree.current();
        let mut world = World::new(disk);
        for happening in happenings {
            world.happen(happening);
        }
        for (sum, own) in depth.iter_mut().zip(world.depth) {
            *sum += own;
        }
    }
    let [established, welcomed, synchronised, applied] = depth;
    assert!(
        depth.iter().all(|count| *count >= 40),
        "established {established}, welcomed a follower {welcomed}, synchronised {synchronised}, applied {applied}"
    );
}
