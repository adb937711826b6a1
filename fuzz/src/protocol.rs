//! The protocol, one node of it, against everything that the codec lets through.

use arbitrary::{Result, Unstructured};
use bytes::{Bytes, BytesMut};
use gometa_codec::{limits::PEER_FRAME_MAX, message, vote};
use gometa_proto::frame;
use gometa_testkit::{
    disk::Disk,
    one_node::{self, Action, HOME, ME, OneNode, Request, TOP, genesis, voters},
};
use gometa_zab::{
    Addresses, Candidate, DiskSpace, EnsembleId, Epoch, FIRST_LEVEL, Fault, Genesis, Hello, Incarnation,
    Kind, Levels, LogEntry, Message, NodeId, Reason, Round, StateHash, StateReport, Vote, VoteState, Zxid,
};

/// The maximum number of actions in one run.
const ACTIONS_MAX: usize = 400;

/// What happens to one node, chosen by the bytes: time, its disk, crashes, connections, messages and votes, those that
/// a well-behaved ensemble would send and any others that survive being encoded and decoded.
///
/// Nothing panics, nothing is sent that the disk would not hold after a crash, every request has one answer, and the
/// node comes to rest.
pub fn protocol(data: &[u8]) {
    reached(data);
}

/// As [`protocol`]; how often the node was established, welcomed a follower, synchronised, applied.
pub fn reached(data: &[u8]) -> [usize; 4] {
    let mut u = Unstructured::new(data);
    let Ok(disk) = disk(&mut u) else { return [0; 4] };
    let Ok(calm) = u.ratio(2_u8, 3) else { return [0; 4] };
    let mut node = OneNode::new(disk);
    for _ in 0..ACTIONS_MAX {
        if u.is_empty() {
            break;
        }
        match action(&mut u, calm) {
            Ok(Some(action)) => node.perform(action),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    node.depth
}

fn disk(u: &mut Unstructured<'_>) -> Result<Disk> {
    Ok(match u.int_in_range(0..=5_u8)? {
        0 => Disk::default(),
        1 => one_node::prepared(),
        _ => {
            let count = u.int_in_range(0..=3_u8)?;
            let run = |u: &mut Unstructured<'_>| Ok((u.int_in_range(1..=2)?, u.int_in_range(1..=3)?));
            let runs = (0..count).map(|_| run(u)).collect::<Result<Vec<_>>>()?;
            one_node::member(&runs, u.int_in_range(0..=2)?, u.int_in_range(0..=2)?, u.int_in_range(0..=20)?)
        }
    })
}

/// What happens next; `None` if the codec would not let it through. In a calm life nearly everything is what a
/// well-behaved ensemble would do: only so are there times when the node leads, follows and serves.
fn action(u: &mut Unstructured<'_>, calm: bool) -> Result<Option<Action>> {
    let kind = match u.arbitrary::<u8>()? {
        // Now and then something that disturbs.
        251.. => u.int_in_range(47..=63)?,
        kind if calm => kind % 47,
        kind => kind % 64,
    };
    let mut link = || u.int_in_range(0..=3_usize);
    Ok(Some(match kind {
        0..=21 => Action::Answer { link: link()?, variant: u.arbitrary()? },
        22..=30 => Action::Persist { count: u.int_in_range(1..=3)? },
        31..=35 => Action::Pass { ms: u.int_in_range(1..=40)? },
        36..=39 => Action::Connect,
        40 | 41 => Action::Accept,
        42..=44 => {
            let peer = *u.choose(&[NodeId(1), NodeId(3)])?;
            Action::Support { peer, variant: u.arbitrary()? }
        }
        45 => Action::Request(request(u)?),
        46 => storage(u)?,
        47 => Action::Pass { ms: u.int_in_range(40..=1_200)? },
        48 => Action::Pass { ms: 6_000 },
        49 => Action::Crash,
        50 => Action::FailToConnect,
        51 | 52 => Action::Close { link: link()? },
        53 | 54 => {
            let link = link()?;
            let Some(Message::Hello(hello)) = passed(Message::Hello(hello(u)?)) else { return Ok(None) };
            Action::Greet { link, hello: Box::new(hello) }
        }
        55..=60 => {
            let link = link()?;
            let Some(message) = passed(message(u)?) else { return Ok(None) };
            Action::Message { link, message }
        }
        _ => {
            let sent = vote(u)?;
            let Ok(received) = vote::decode(&vote::encode(&sent)) else { return Ok(None) };
            assert_eq!(received, sent);
            Action::Vote(Box::new(received))
        }
    }))
}

fn storage(u: &mut Unstructured<'_>) -> Result<Action> {
    Ok(match u.int_in_range(0..=5_u8)? {
        0 => Action::Request(request(u)?),
        5 => Action::DiskSpace(disk_space(u)?),
        1 => Action::Compact { keep: u.int_in_range(0..=3)?, forced: u.arbitrary()? },
        2 => Action::SnapshotBegun { link: u.int_in_range(0..=3)? },
        _ => {
            let link = u.int_in_range(0..=3)?;
            Action::SnapshotReceived { link, above: u.arbitrary()?, below: u.int_in_range(0..=2)? }
        }
    })
}

/// The message as it arrives, if it does.
fn passed(message: Message) -> Option<Message> {
    let mut buffer = BytesMut::new();
    message::encode(&message, &mut buffer).ok()?;
    let bytes = frame::decode_frame(&mut buffer, PEER_FRAME_MAX).ok()??;
    let received = message::decode(bytes).ok()?;
    assert_eq!(received, message);
    Some(received)
}

fn request(u: &mut Unstructured<'_>) -> Result<Request> {
    Ok(match u.int_in_range(0..=5_u8)? {
        0..=2 => Request::Propose(u.int_in_range(0..=60)?),
        3 => Request::Barrier,
        4 => Request::RelayToLeader,
        _ => Request::RelayTo { link: u.int_in_range(0..=3)? },
    })
}

fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u.arbitrary::<u8>()? {
        small @ 0..=199 => u64::from(small % 8),
        wide @ 200..=247 => u64::from(wide - 200) * 5,
        248 | 249 => TOP,
        250 | 251 => TOP - 1,
        252 => 1 << 40,
        _ => u.arbitrary()?,
    })
}

fn epoch(u: &mut Unstructured<'_>) -> Result<Epoch> {
    number(u).map(Epoch)
}

fn disk_space(u: &mut Unstructured<'_>) -> Result<DiskSpace> {
    Ok(*u.choose(&[DiskSpace::Ample, DiskSpace::Low, DiskSpace::Critical])?)
}

/// Some of three hashes at each of a few counters.
fn state_report(u: &mut Unstructured<'_>) -> Result<StateReport> {
    let mut hashes = Vec::new();
    for counter in 1..=4 {
        if u.arbitrary()? {
            hashes.push(StateHash { counter, hash: u.int_in_range(0..=2)? });
        }
    }
    Ok(StateReport { hashes, damaged: u.ratio(1, 8)? })
}

fn fault(u: &mut Unstructured<'_>) -> Result<Fault> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Fault::Damaged,
        5 => Fault::Outdated { acknowledged: u.int_in_range(1..=4)? },
        counter => Fault::Diverged(StateHash { counter, hash: u.int_in_range(0..=2)? }),
    })
}

fn zxid(u: &mut Unstructured<'_>) -> Result<Zxid> {
    Ok(Zxid { epoch: epoch(u)?, counter: number(u)? })
}

fn node(u: &mut Unstructured<'_>) -> Result<NodeId> {
    u.int_in_range(0..=5).map(NodeId)
}

fn incarnation(u: &mut Unstructured<'_>, node: NodeId) -> Result<Incarnation> {
    Ok(Incarnation(if u.ratio(5, 6)? { u128::from(node.0) } else { 99 }))
}

fn ensemble_id(u: &mut Unstructured<'_>) -> Result<EnsembleId> {
    Ok(if u.ratio(6, 7)? { HOME } else { EnsembleId { id: 8, history: 1 } })
}

fn ensemble(u: &mut Unstructured<'_>) -> Result<Option<EnsembleId>> {
    Ok(if u.ratio(3, 4)? { Some(ensemble_id(u)?) } else { None })
}

fn founding(u: &mut Unstructured<'_>) -> Result<Genesis> {
    if u.ratio(1, 2)? {
        return Ok(genesis());
    }
    let mut voters = voters(u.arbitrary()?);
    let keep: u8 = u.arbitrary()?;
    let mut at = 0;
    voters.retain(|_| {
        at += 1;
        keep & (1 << at) != 0
    });
    Ok(Genesis { ensemble: ensemble_id(u)?, voters, level: FIRST_LEVEL })
}

/// The version of a configuration, mostly the genesis's.
fn version(u: &mut Unstructured<'_>) -> Result<Zxid> {
    if u.ratio(1, 8)? { zxid(u) } else { Ok(Zxid::ZERO) }
}

fn hello(u: &mut Unstructured<'_>) -> Result<Hello> {
    let node = node(u)?;
    let names = match u.int_in_range(0..=6_u8)? {
        0..=4 => voters(false),
        5 => Vec::new(),
        _ => founding(u)?.voters,
    };
    let expected = match u.int_in_range(0..=6_u8)? {
        0..=4 => Some(ME),
        5 => None,
        _ => Some(self::node(u)?).filter(|node| node.0 > 0),
    };
    let ensemble = ensemble(u)?;
    let level = if u.ratio(1, 8)? { 2 } else { FIRST_LEVEL };
    Ok(Hello {
        node,
        incarnation: incarnation(u, node)?,
        boot: number(u)?,
        expected,
        ensemble,
        addresses: Addresses::default(),
        voters: names,
        configuration: version(u)?,
        levels: Levels { min: FIRST_LEVEL, max: level },
        level: ensemble.map(|_| level),
    })
}

fn vote(u: &mut Unstructured<'_>) -> Result<Vote> {
    let sender = node(u)?;
    let state =
        *u.choose(&[VoteState::Looking, VoteState::Following, VoteState::Leading, VoteState::Seeking])?;
    let candidate = match state {
        VoteState::Leading => sender,
        VoteState::Following | VoteState::Looking | VoteState::Seeking => node(u)?,
    };
    let settled = matches!(state, VoteState::Leading | VoteState::Following);
    Ok(Vote {
        ensemble: ensemble(u)?,
        sender,
        incarnation: incarnation(u, sender)?,
        boot: number(u)?,
        sequence: number(u)?,
        state,
        round: Round(number(u)?),
        candidate: Candidate { epoch: epoch(u)?, last: zxid(u)?, node: candidate },
        established: if settled && u.ratio(2, 3)? { Some(epoch(u)?) } else { None },
        configuration: version(u)?,
    })
}

const REASONS: [Reason; 11] = [
    Reason::NotLeading,
    Reason::SnapshotNeeded,
    Reason::NoCommonPoint,
    Reason::WrongNode,
    Reason::OtherEnsemble,
    Reason::NotAMember,
    Reason::Configuration,
    Reason::Version,
    Reason::TooSoon,
    Reason::NeverFounds,
    Reason::FoundsWithAll,
];

fn message(u: &mut Unstructured<'_>) -> Result<Message> {
    Ok(match u.int_in_range(0..=27_u8)? {
        0 => Message::Prepare(founding(u)?),
        1 => Message::Prepared(ensemble_id(u)?),
        2 => Message::Seal(ensemble_id(u)?),
        3 => Message::Formed(founding(u)?),
        4 => {
            let configuration = version(u)?;
            Message::FollowerEpoch { accepted: epoch(u)?, configuration }
        }
        5 => Message::NewEpoch(epoch(u)?),
        6 | 7 => {
            let oldest = if u.ratio(3, 4)? { Zxid::ZERO } else { zxid(u)? };
            let count = u.int_in_range(0..=3_u8)?;
            let mut last = oldest;
            let mut boundaries = Vec::new();
            for _ in 0..count {
                let (rise, run) = (u.int_in_range(0..=3)?, u.int_in_range(0..=4)?);
                last = Zxid::new(last.epoch.0.saturating_add(rise), last.counter.saturating_add(run));
                boundaries.push(last);
            }
            if u.ratio(1, 8)? {
                last = zxid(u)?;
            }
            Message::AckEpoch { epoch: epoch(u)?, current: epoch(u)?, last, oldest, boundaries }
        }
        8 => Message::RefuseEpoch { accepted: epoch(u)?, leader: Some(node(u)?).filter(|node| node.0 > 0) },
        9 => Message::Refuse(*u.choose(&REASONS)?),
        10 => Message::Diff { epoch: epoch(u)?, base: zxid(u)? },
        11..=13 => {
            let (epoch, previous) = (epoch(u)?, zxid(u)?);
            let count = u.int_in_range(1..=4_u8)?;
            let mut last = previous;
            let mut entries = Vec::new();
            for _ in 0..count {
                let rise = u.int_in_range(0..=2)?;
                last = Zxid::new(last.epoch.0.saturating_add(rise), last.counter.saturating_add(1));
                let (kind, level) = match u.int_in_range(0..=15_u8)? {
                    0 => (Kind::Membership, FIRST_LEVEL),
                    1 => (Kind::Unknown(u.int_in_range(7..=9)?), FIRST_LEVEL),
                    2 => (Kind::Command, u.int_in_range(0..=3)?),
                    _ => (Kind::Command, FIRST_LEVEL),
                };
                let payload = Bytes::from(vec![b'x'; u.int_in_range(0..=40)?]);
                entries.push(LogEntry { zxid: last, kind, level, payload });
            }
            Message::Propose { epoch, previous, entries, commit: number(u)? }
        }
        14 => Message::Progress { epoch: epoch(u)?, last: zxid(u)? },
        15 => Message::NewLeader { epoch: epoch(u)?, last: zxid(u)? },
        16 => Message::AckNewLeader { epoch: epoch(u)?, last: zxid(u)? },
        17 => Message::UpToDate { epoch: epoch(u)?, commit: number(u)? },
        18 => Message::Ack { epoch: epoch(u)?, last: zxid(u)? },
        19 => Message::Commit { epoch: epoch(u)?, commit: number(u)? },
        20 => Message::Heartbeat { epoch: epoch(u)?, id: number(u)?, commit: number(u)? },
        21 => Message::HeartbeatAck {
            epoch: epoch(u)?,
            id: number(u)?,
            space: disk_space(u)?,
            state: state_report(u)?,
        },
        22 if u.ratio(7, 8)? => Message::Relay(Bytes::from_static(b"relayed")),
        22 => Message::Duplicate(hello(u)?.addresses),
        23 => Message::Alive { write_latency: number(u)? },
        24 => Message::Snapshot(Bytes::from_static(b"part")),
        25 => Message::Quarantine { epoch: epoch(u)?, fault: fault(u)? },
        26 => Message::Handoff { epoch: epoch(u)?, target: node(u)?, last: zxid(u)? },
        _ => Message::Hello(hello(u)?),
    })
}
