//! Strategies for valid messages, votes and records.

use bytes::Bytes;
use gometa_codec::limits::NUMBER_MAX;
use gometa_zab::{
    Addresses, Candidate, Change, Configuration, DiskSpace, EnsembleId, Epoch, Fault, Founding, Genesis,
    HardState, Hello, Incarnation, Kind, Levels, LogEntry, Message, NodeId, Reason, Round, STATE_HASHES_MAX,
    StateHash, StateReport, Vote, VoteState, Voter, Zxid,
};
use proptest::{collection::vec, option, prelude::*};

/// A number up to the limit; both ends are more likely than in a uniform distribution.
pub(crate) fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 0..1000u64, 0..=NUMBER_MAX, Just(NUMBER_MAX)]
}

fn epoch_number() -> impl Strategy<Value = u64> {
    prop_oneof![1..1000u64, 1..=NUMBER_MAX]
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![1..10u64, 1..=u64::MAX].prop_map(NodeId)
}

pub(crate) fn zxid() -> impl Strategy<Value = Zxid> {
    prop_oneof![
        1 => Just(Zxid::ZERO),
        4 => (epoch_number(), epoch_number()).prop_map(|(epoch, counter)| Zxid::new(epoch, counter)),
    ]
}

/// An epoch, and a zxid of that epoch or an earlier one.
fn epoch_and_zxid() -> impl Strategy<Value = (Epoch, Zxid)> {
    (epoch_number(), zxid()).prop_map(|(epoch, zxid)| (Epoch(epoch.max(zxid.epoch.0)), zxid))
}

fn ensemble() -> impl Strategy<Value = EnsembleId> {
    (any::<u128>(), any::<u64>()).prop_map(|(id, history)| EnsembleId { id, history })
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u128>().prop_map(Incarnation)
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9.-]{1,40}:[0-9]{1,5}", "\\[[0-9a-f:]{2,39}\\]:[0-9]{1,5}"]
}

fn addresses() -> impl Strategy<Value = Addresses> {
    (address(), address(), address()).prop_map(|(election, message, request)| Addresses {
        election,
        message,
        request,
    })
}

fn voters(min: usize) -> impl Strategy<Value = Vec<Voter>> {
    prop::collection::btree_map(node(), (option::of(incarnation()), addresses()), min..9).prop_map(|voters| {
        voters
            .into_iter()
            .map(|(node, (incarnation, addresses))| Voter { node, incarnation, addresses })
            .collect()
    })
}

fn genesis() -> impl Strategy<Value = Genesis> {
    (ensemble(), voters(1), 1..9_u32).prop_map(|(ensemble, voters, level)| Genesis {
        ensemble,
        voters,
        level,
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Command), Just(Kind::Membership)]
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..100).prop_map(Bytes::from)
}

/// The payload of an entry with a configuration.
pub(crate) fn configuration(version: Zxid) -> Bytes {
    let addresses = Addresses { message: "a:1".to_owned(), ..Addresses::default() };
    let voter = Voter { node: NodeId(1), incarnation: Some(Incarnation(1)), addresses: addresses.clone() };
    let learner = gometa_zab::Learner {
        node: NodeId(2),
        incarnation: Incarnation(2),
        addresses,
        desired: gometa_zab::DesiredRole::Voter,
    };
    let added = Configuration::new(vec![voter]).after(&Change::AddLearner(learner), version);
    added.expect("the learner is new").encode()
}

/// A zxid, and entries that follow it without a gap.
fn entries() -> impl Strategy<Value = (Zxid, Vec<LogEntry>)> {
    let small = prop_oneof![
        Just(Zxid::ZERO),
        (1..1u64 << 40, 1..1u64 << 40).prop_map(|(epoch, counter)| Zxid::new(epoch, counter)),
    ];
    let step = prop_oneof![5 => Just(0), 1 => 1..1000u64];
    (small, vec((step, kind(), 1..=gometa_zab::FIRST_LEVEL, payload()), 1..20)).prop_map(
        |(previous, steps)| {
            let mut zxid = previous;
            let entries = steps
                .into_iter()
                .map(|(step, kind, level, payload)| {
                    zxid = Zxid::new((zxid.epoch.0 + step).max(1), zxid.counter + 1);
                    let payload = if kind == Kind::Membership { configuration(zxid) } else { payload };
                    LogEntry { zxid, kind, level, payload }
                })
                .collect();
            (previous, entries)
        },
    )
}

fn propose() -> impl Strategy<Value = Message> {
    (entries(), 0..3u64, number()).prop_map(|((previous, entries), later, commit)| {
        let epoch = Epoch(entries.last().expect("at least one").zxid.epoch.0 + later);
        Message::Propose { epoch, previous, entries, commit }
    })
}

fn ack_epoch() -> impl Strategy<Value = Message> {
    let small = prop_oneof![
        Just(Zxid::ZERO),
        (1..1u64 << 40, 1..1u64 << 40).prop_map(|(epoch, counter)| Zxid::new(epoch, counter)),
    ];
    let steps = vec((1..1u64 << 20, 1..1u64 << 20), 0..20);
    (small, any::<bool>(), steps, 0..3u64, 0..3u64).prop_map(|(oldest, same_epoch, steps, later, behind)| {
        let mut last = oldest;
        let mut boundaries = Vec::new();
        for (epochs, counters) in steps {
            let stays = same_epoch && boundaries.is_empty() && oldest != Zxid::ZERO;
            last = Zxid::new(last.epoch.0 + if stays { 0 } else { epochs }, last.counter + counters);
            boundaries.push(last);
        }
        let epoch = last.epoch.0 + later + 1;
        Message::AckEpoch {
            epoch: Epoch(epoch),
            current: Epoch(epoch.saturating_sub(behind)),
            last,
            oldest,
            boundaries,
        }
    })
}

fn hello() -> impl Strategy<Value = Message> {
    let who = (node(), incarnation(), number(), option::of(node()), option::of(ensemble()));
    let levels = (1..5_u32, 0..5_u32, 1..9_u32);
    (who, addresses(), voters(0), zxid(), levels).prop_map(
        |(
            (node, incarnation, boot, expected, ensemble),
            addresses,
            voters,
            configuration,
            (min, more, level),
        )| {
            Message::Hello(Hello {
                node,
                incarnation,
                boot,
                expected,
                ensemble,
                addresses,
                voters,
                configuration,
                levels: Levels { min, max: min + more },
                level: ensemble.map(|_| level),
            })
        },
    )
}

fn state_hash() -> impl Strategy<Value = StateHash> {
    (number(), any::<u128>()).prop_map(|(counter, hash)| StateHash { counter, hash })
}

fn state_report() -> impl Strategy<Value = StateReport> {
    let hashes = proptest::collection::btree_map(number(), any::<u128>(), 0..=STATE_HASHES_MAX);
    (hashes, any::<bool>()).prop_map(|(hashes, damaged)| {
        let hashes = hashes.into_iter().map(|(counter, hash)| StateHash { counter, hash }).collect();
        StateReport { hashes, damaged }
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let outdated = (1..=1_u64 << 50).prop_map(|acknowledged| Fault::Outdated { acknowledged });
    prop_oneof![Just(Fault::Damaged), state_hash().prop_map(Fault::Diverged), outdated]
}

fn space() -> impl Strategy<Value = DiskSpace> {
    prop::sample::select(vec![DiskSpace::Ample, DiskSpace::Low, DiskSpace::Critical])
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(vec![
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
    ])
}

/// Messages of every variant.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let epoch = || epoch_number().prop_map(Epoch);
    // Two groups, since `prop_oneof!` has a limit.
    let until_discovery = prop_oneof![
        hello(),
        genesis().prop_map(Message::Prepare),
        ensemble().prop_map(Message::Prepared),
        ensemble().prop_map(Message::Seal),
        genesis().prop_map(Message::Formed),
        (number(), zxid()).prop_map(|(accepted, configuration)| {
            Message::FollowerEpoch { accepted: Epoch(accepted), configuration }
        }),
        epoch().prop_map(Message::NewEpoch),
        ack_epoch(),
        (number(), option::of(node()))
            .prop_map(|(accepted, leader)| Message::RefuseEpoch { accepted: Epoch(accepted), leader }),
        reason().prop_map(Message::Refuse),
    ];
    let from_synchronisation = prop_oneof![
        epoch_and_zxid().prop_map(|(epoch, base)| Message::Diff { epoch, base }),
        propose(),
        epoch_and_zxid().prop_map(|(epoch, last)| Message::Progress { epoch, last }),
        epoch_and_zxid().prop_map(|(epoch, last)| Message::NewLeader { epoch, last }),
        epoch_and_zxid().prop_map(|(epoch, last)| Message::AckNewLeader { epoch, last }),
        (epoch(), number()).prop_map(|(epoch, commit)| Message::UpToDate { epoch, commit }),
        epoch_and_zxid().prop_map(|(epoch, last)| Message::Ack { epoch, last }),
        (epoch(), number()).prop_map(|(epoch, commit)| Message::Commit { epoch, commit }),
        (epoch(), number(), number()).prop_map(|(epoch, id, commit)| Message::Heartbeat {
            epoch,
            id,
            commit
        }),
        (epoch(), number(), space(), state_report())
            .prop_map(|(epoch, id, space, state)| { Message::HeartbeatAck { epoch, id, space, state } }),
        (epoch(), fault()).prop_map(|(epoch, fault)| Message::Quarantine { epoch, fault }),
        (epoch(), node(), zxid()).prop_map(|(epoch, target, last)| {
            Message::Handoff { epoch: epoch.max(last.epoch), target, last }
        }),
        number().prop_map(|write_latency| Message::Alive { write_latency }),
        payload().prop_map(Message::Relay),
        payload().prop_map(Message::Snapshot),
        addresses().prop_map(Message::Duplicate),
    ];
    prop_oneof![until_discovery, from_synchronisation]
}

pub(crate) fn vote() -> impl Strategy<Value = Vote> {
    let state = prop_oneof![
        Just(VoteState::Looking),
        Just(VoteState::Following),
        Just(VoteState::Leading),
        Just(VoteState::Seeking),
    ];
    let candidate = (node(), number(), zxid());
    let sender = (option::of(ensemble()), node(), incarnation(), number(), number());
    (sender, state, number(), candidate, option::of(epoch_number()), zxid(), any::<bool>()).prop_map(
        |(sender, state, round, (candidate, epoch, last), established, configuration, no_candidate)| {
            let (ensemble, sender, incarnation, boot, sequence) = sender;
            let (candidate, established) = match state {
                VoteState::Looking => (candidate, None),
                VoteState::Following if candidate == sender => (NodeId(sender.0 ^ 1 << 63), established),
                VoteState::Following => (candidate, established),
                VoteState::Leading => (sender, established),
                VoteState::Seeking if no_candidate => (NodeId(0), None),
                VoteState::Seeking => (candidate, None),
            };
            Vote {
                ensemble,
                sender,
                incarnation,
                boot,
                sequence,
                state,
                round: Round(round),
                candidate: Candidate { epoch: Epoch(epoch), last, node: candidate },
                established: established.map(Epoch),
                configuration,
            }
        },
    )
}

pub(crate) fn hard_state() -> impl Strategy<Value = HardState> {
    prop_oneof![
        1 => Just(HardState::default()),
        9 => (epoch_number(), node(), number()).prop_map(|(accepted, leader, current)| HardState {
            accepted_epoch: Epoch(accepted),
            accepted_leader: Some(leader),
            current_epoch: Epoch(current.min(accepted)),
        }),
    ]
}

pub(crate) fn founding() -> impl Strategy<Value = Founding> {
    (genesis(), any::<bool>()).prop_map(|(genesis, sealed)| Founding { genesis, sealed })
}

/// A log entry, and the zxid before it.
pub(crate) fn log_entry() -> impl Strategy<Value = (Zxid, LogEntry)> {
    entries().prop_map(|(previous, mut entries)| {
        let last = entries.pop().expect("at least one");
        (entries.last().map_or(previous, |entry| entry.zxid), last)
    })
}
