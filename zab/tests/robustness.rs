//! Property test of one node with arbitrary peers, a slow disk, and crashes at any time.
//!
//! For every sequence of well-formed messages (the codec checks each message by itself, and nothing more) the node does
//! not panic, and its messages claim nothing that its disk would not contain after a crash.

use bytes::Bytes;
use gometa_testkit::{
    disk::Disk,
    one_node::{self, Action, HOME, ME, OneNode, Request, TOP, genesis, voters},
};
use gometa_zab::{
    Addresses, Candidate, DiskSpace, EnsembleId, Epoch, FIRST_LEVEL, Fault, Genesis, Hello, Incarnation,
    Kind, LogEntry, Message, NodeId, Reason, Round, STATE_HASHES_MAX, StateHash, StateReport, Vote,
    VoteState, Zxid,
};
use proptest::{collection::vec, prelude::*, sample::select};

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

/// An epoch, and a zxid of no later one.
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
        1 => Just(Genesis { ensemble: EnsembleId { id: 8, history: 1 }, voters: voters(true), level: gometa_zab::FIRST_LEVEL }),
        1 => Just(Genesis { ensemble: HOME, voters: voters(true).split_off(1), level: gometa_zab::FIRST_LEVEL }),
        1 => Just(Genesis { ensemble: HOME, voters: voters(false), level: gometa_zab::FIRST_LEVEL }),
        1 => Just(Genesis { ensemble: EnsembleId { id: 8, history: 1 }, voters: voters(true)[..1].to_vec(), level: FIRST_LEVEL }),
    ]
}

/// The version of a configuration.
fn version() -> impl Strategy<Value = Zxid> {
    prop_oneof![7 => Just(Zxid::ZERO), 1 => zxid()]
}

fn hello() -> impl Strategy<Value = Hello> {
    let expected = prop_oneof![5 => Just(Some(ME)), 1 => Just(None), 1 => Just(Some(NodeId(3)))];
    let names = prop_oneof![
        5 => Just(voters(false)),
        1 => Just(Vec::new()),
        1 => Just(voters(false)[..2].to_vec()),
    ];
    let who = node().prop_flat_map(|node| (Just(node), incarnation(node)));
    (who, number(), expected, ensemble(), names, version()).prop_map(
        |((node, incarnation), boot, expected, ensemble, voters, configuration)| Hello {
            node,
            incarnation,
            boot,
            expected,
            ensemble,
            addresses: Addresses::default(),
            voters,
            levels: gometa_zab::Levels::SUPPORTED,
            level: ensemble.map(|_| FIRST_LEVEL),
            configuration,
        },
    )
}

/// Entries that follow each other from `previous` on, none of a later epoch than the given one.
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
                entries.push(LogEntry {
                    zxid,
                    kind,
                    level: FIRST_LEVEL,
                    payload: Bytes::from(vec![b'x'; size]),
                });
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
    prop_oneof![Just(Fault::Damaged), state_hash().prop_map(Fault::Diverged)]
}

fn space() -> impl Strategy<Value = DiskSpace> {
    select(vec![DiskSpace::Ample, DiskSpace::Low, DiskSpace::Critical])
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
        Reason::NeverFounds,
    ])
}

fn message() -> impl Strategy<Value = Message> {
    let discovery = prop_oneof![
        (number(), version()).prop_map(|(accepted, configuration)| Message::FollowerEpoch {
            accepted: Epoch(accepted),
            configuration
        }),
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
        (leadership(), number(), space(), state_report())
            .prop_map(|(epoch, id, space, state)| { Message::HeartbeatAck { epoch, id, space, state } }),
        (leadership(), fault()).prop_map(|(epoch, fault)| Message::Quarantine { epoch, fault }),
        (leadership(), node(), zxid()).prop_map(|(epoch, target, last)| Message::Handoff {
            epoch,
            target,
            last
        }),
        number().prop_map(|write_latency| Message::Alive { write_latency }),
        Just(Message::Relay(Bytes::from_static(b"relayed"))),
        Just(Message::Snapshot(Bytes::from_static(b"part"))),
        Just(Message::Duplicate(Addresses::default())),
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
                // A follower does not follow itself.
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
                configuration: Zxid::ZERO,
            }
        },
    )
}

/// `noise` is the weight of actions that do not occur in a correct ensemble.
fn action(noise: u32) -> impl Strategy<Value = Action> {
    let link = || 0..4_usize;
    let ask = prop_oneof![
        (0..60_usize).prop_map(Request::Propose),
        Just(Request::Barrier),
        Just(Request::RelayToLeader),
        link().prop_map(|link| Request::RelayTo { link }),
    ];
    let time = prop_oneof![30 => 1..40_u64, noise => 40..1_200_u64, 1 => Just(6_000)];
    prop_oneof![
        10 => time.prop_map(|ms| Action::Pass { ms }),
        20 => (1..4_usize).prop_map(|count| Action::Persist { count }),
        noise => prop_oneof![
            1 => Just(Action::Crash),
            1 => Just(Action::FailToConnect),
            2 => link().prop_map(|link| Action::Close { link }),
            4 => (link(), hello()).prop_map(|(link, hello)| Action::Greet { link, hello: Box::new(hello) }),
            8 => (link(), message()).prop_map(|(link, message)| Action::Message { link, message }),
            8 => vote().prop_map(|vote| Action::Vote(Box::new(vote))),
        ],
        10 => Just(Action::Connect),
        5 => Just(Action::Accept),
        50 => (link(), any::<u8>()).prop_map(|(link, variant)| Action::Answer { link, variant }),
        8 => (select(vec![NodeId(1), NodeId(3)]), any::<u8>())
            .prop_map(|(peer, variant)| Action::Support { peer, variant }),
        8 => ask.prop_map(Action::Request),
        2 => space().prop_map(Action::DiskSpace),
        2 => (0..4_u64, any::<bool>()).prop_map(|(keep, forced)| Action::Compact { keep, forced }),
        1 => link().prop_map(|link| Action::SnapshotBegun { link }),
        2 => (link(), -2..5_i8, 0..3_u8)
            .prop_map(|(link, above, below)| Action::SnapshotReceived { link, above, below }),
    ]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    select(vec![1_u32, 5, 20]).prop_flat_map(|noise| vec(action(noise), 1..400))
}
/// The initial disk: empty, with a prepared genesis, or with a member's history.
fn disk() -> impl Strategy<Value = Disk> {
    (0..6_u8, vec((1..3_u64, 1..4_u64), 0..4), 0..3_u64, 0..3_u64, 0..20_u64).prop_map(
        |(kind, runs, above, below, applied)| match kind {
            0 => Disk::default(),
            1 => one_node::prepared(),
            _ => one_node::member(&runs, above, below, applied),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_message_in_any_state_makes_a_node_panic_or_say_more_than_its_disk_does(
        disk in disk(),
        actions in actions(),
    ) {
        let mut node = OneNode::new(disk);
        for action in actions {
            node.perform(action);
        }
    }
}

/// Checks the coverage of the test above.
#[test]
fn the_robustness_test_reaches_deep_states() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut depth = [0; 4];
    for _ in 0..600 {
        let tree = (disk(), actions()).new_tree(&mut runner).expect("a node");
        let (disk, actions) = tree.current();
        let mut node = OneNode::new(disk);
        for action in actions {
            node.perform(action);
        }
        for (sum, own) in depth.iter_mut().zip(node.depth) {
            *sum += own;
        }
    }
    let [established, welcomed, synchronised, applied] = depth;
    assert!(
        depth.iter().all(|count| *count >= 70),
        "established {established}, welcomed a follower {welcomed}, synchronised {synchronised}, applied {applied}"
    );
}
