//! Well-formed messages, votes and records with invalid values. Each differs from a valid one in one field.

use bytes::Bytes;
use gometa_codec::{
    DecodeError,
    limits::{ADDRESS_MAX, BOUNDARIES_MAX, MEMBERS_MAX, NUMBER_MAX},
    message, storage, vote,
};
use gometa_proto::v1::{self, peer_frame::Body, vote_datagram::State};
use gometa_zab::{Epoch, HardState, Kind, LogEntry, NodeId, Zxid};
use prost::Message;

/// The expected error, and the change that causes it.
type Change<T> = (&'static str, fn(&mut T));

fn decode(body: Body) -> Result<gometa_zab::Message, DecodeError> {
    message::decode(v1::PeerFrame { body: Some(body) }.encode_to_vec().into())
}

fn state_hash(counter: u64) -> v1::StateHash {
    v1::StateHash { counter, hash: vec![7; 16].into() }
}

/// Decodes `valid`, which must succeed, and `valid` with each change, which must fail with its error.
fn check_changes<T: Clone>(valid: T, body: impl Fn(T) -> Body, changes: &[Change<T>]) {
    decode(body(valid.clone())).expect("the unchanged one is valid");
    for (expected, change) in changes {
        let mut invalid = valid.clone();
        change(&mut invalid);
        let error = decode(body(invalid)).expect_err(expected);
        assert_eq!(&error.to_string(), expected);
        assert!(!error.is_newer());
    }
}

fn id() -> Bytes {
    Bytes::from(vec![7; 16])
}

fn zxid(epoch: u64, counter: u64) -> v1::Zxid {
    v1::Zxid { epoch, counter }
}

fn voter(node: u64) -> v1::Voter {
    v1::Voter { node, incarnation: id(), addresses: Some(v1::PeerAddresses::default()) }
}

fn genesis() -> v1::Genesis {
    v1::Genesis { ensemble: id(), history: 1, voters: vec![voter(1), voter(2), voter(3)], level: 0 }
}

#[test]
fn an_empty_or_unknown_message_is_refused() {
    assert_eq!(message::decode(Bytes::new()), Err(DecodeError::UnknownMessage));
    let mut newer = Vec::new();
    prost::encoding::bytes::encode(77, &vec![1, 2, 3], &mut newer);
    assert_eq!(message::decode(newer.into()), Err(DecodeError::UnknownMessage));
}

#[test]
fn hello_is_checked() {
    let valid = v1::PeerHello {
        version: 1,
        node: 1,
        incarnation: id(),
        boot: 1,
        meant: 2,
        ensemble: id(),
        history: 1,
        addresses: Some(v1::PeerAddresses { message: "[::1]:5002".into(), ..Default::default() }),
        voters: vec![voter(1), voter(2)],
        configuration: Some(zxid(0, 0)),
        level_min: 1,
        level_max: 2,
        level: 1,
    };
    check_changes(
        valid,
        Body::Hello,
        &[
            ("levels do not ascend", |hello| hello.level_min = 3),
            ("version 0 is not known here", |hello| hello.version = 0),
            ("version 2 is not known here", |hello| (hello.version, hello.node) = (2, 0)),
            ("sender is zero", |hello| hello.node = 0),
            ("incarnation is not 16 bytes long", |hello| hello.incarnation = Bytes::new()),
            ("incarnation is not 16 bytes long", |hello| hello.incarnation = vec![1; 17].into()),
            ("boot is out of range", |hello| hello.boot = u64::MAX),
            ("ensemble id is not 16 bytes long", |hello| hello.ensemble = vec![1; 15].into()),
            ("history has no ensemble", |hello| hello.ensemble = Bytes::new()),
            ("addresses are missing", |hello| hello.addresses = None),
            ("message address is too long", |hello| {
                hello.addresses.as_mut().expect("present").message = "a".repeat(ADDRESS_MAX + 1);
            }),
            ("election address has characters that no address has", |hello| {
                hello.addresses.as_mut().expect("present").election = "a\n2026 INFO all is well".into();
            }),
            ("request address has characters that no address has", |hello| {
                hello.addresses.as_mut().expect("present").request = "\u{202e}:5003".into();
            }),
            ("voters do not ascend", |hello| hello.voters.swap(0, 1)),
            ("voters do not ascend", |hello| hello.voters[1].node = 1),
            ("voters are too many", |hello| {
                hello.voters = (1..=MEMBERS_MAX as u64 + 1).map(voter).collect();
            }),
            ("voter is zero", |hello| hello.voters[0].node = 0),
            ("addresses are missing", |hello| hello.voters[0].addresses = None),
        ],
    );
    let many = v1::PeerHello {
        version: 1,
        voters: (1..=MEMBERS_MAX as u64).map(voter).collect(),
        configuration: Some(zxid(0, 0)),
        ..Default::default()
    };
    let longest = v1::PeerAddresses { election: "a".repeat(ADDRESS_MAX), ..Default::default() };
    let most = v1::PeerHello { node: 1, incarnation: id(), addresses: Some(longest), ..many };
    decode(Body::Hello(most)).expect("at the limits");
}

#[test]
fn messages_of_formation_are_checked() {
    let changes: &[Change<Option<v1::Genesis>>] = &[
        ("genesis is missing", |genesis| *genesis = None),
        ("genesis has no voters", |genesis| genesis.as_mut().expect("present").voters.clear()),
        ("ensemble id is not 16 bytes long", |genesis| genesis.as_mut().expect("present").ensemble.clear()),
        ("voters do not ascend", |genesis| genesis.as_mut().expect("present").voters.reverse()),
        ("incarnation is not 16 bytes long", |genesis| {
            genesis.as_mut().expect("present").voters[0].incarnation = vec![1].into();
        }),
    ];
    check_changes(Some(genesis()), |genesis| Body::Prepare(v1::Prepare { genesis }), changes);
    check_changes(Some(genesis()), |genesis| Body::Formed(v1::Formed { genesis }), changes);
    let none: &[Change<Bytes>] = &[("ensemble id is not 16 bytes long", |id| id.clear())];
    check_changes(id(), |ensemble| Body::Prepared(v1::Prepared { ensemble, history: 1 }), none);
    check_changes(id(), |ensemble| Body::Seal(v1::Seal { ensemble, history: 1 }), none);
}

#[test]
fn messages_of_discovery_are_checked() {
    let valid = v1::FollowerEpoch { accepted_epoch: NUMBER_MAX, configuration: Some(zxid(0, 0)) };
    check_changes(
        valid,
        Body::Cepoch,
        &[
            ("accepted epoch is out of range", |cepoch| cepoch.accepted_epoch += 1),
            ("configuration is out of range", |cepoch| cepoch.configuration = Some(zxid(u64::MAX, 1))),
            ("configuration is missing", |cepoch| cepoch.configuration = None),
        ],
    );
    check_changes(
        v1::EpochMessage { epoch: NUMBER_MAX },
        Body::NewEpoch,
        &[
            ("epoch is zero", |new_epoch| new_epoch.epoch = 0),
            ("epoch is out of range", |new_epoch| new_epoch.epoch += 1),
        ],
    );
    check_changes(
        v1::RefuseEpoch { accepted_epoch: 1, accepted_leader: 0 },
        Body::RefuseEpoch,
        &[("accepted epoch is out of range", |refuse| refuse.accepted_epoch = u64::MAX)],
    );
    check_changes(
        v1::Refuse { reason: 1 },
        Body::Refuse,
        &[
            ("reason is unknown", |refuse| refuse.reason = 0),
            ("reason is unknown", |refuse| refuse.reason = 99),
        ],
    );
}

#[test]
fn ack_epoch_is_checked() {
    let valid = v1::AckEpoch {
        epoch: 9,
        current_epoch: 8,
        last: Some(zxid(7, 70)),
        oldest: Some(zxid(3, 10)),
        boundaries: vec![zxid(3, 20), zxid(5, 50), zxid(7, 70)],
    };
    check_changes(
        valid.clone(),
        Body::AckEpoch,
        &[
            ("epoch is zero", |ack| ack.epoch = 0),
            ("current epoch is above the promised one", |ack| ack.current_epoch = 10),
            ("last zxid is missing", |ack| ack.last = None),
            ("last zxid is of a later epoch", |ack| (ack.epoch, ack.current_epoch) = (6, 6)),
            ("last zxid is not the last boundary", |ack| ack.last = Some(zxid(7, 71))),
            ("last zxid is not the last boundary", |ack| ack.boundaries.clear()),
            ("base of the log is missing", |ack| ack.oldest = None),
            ("base of the log is neither the genesis nor an entry", |ack| ack.oldest = Some(zxid(0, 10))),
            ("boundary is neither the genesis nor an entry", |ack| ack.boundaries[0].epoch = 0),
            ("boundary is out of range", |ack| ack.boundaries[2].counter = u64::MAX),
            ("boundaries do not ascend", |ack| ack.boundaries[0] = zxid(2, 20)),
            ("boundaries do not ascend", |ack| ack.boundaries[0] = zxid(3, 10)),
            ("boundaries do not ascend", |ack| ack.boundaries[1].epoch = 3),
            ("boundaries do not ascend", |ack| ack.boundaries[1].counter = 20),
            ("boundaries do not ascend", |ack| ack.boundaries.swap(0, 1)),
            ("boundaries do not ascend", |ack| ack.boundaries[0] = zxid(0, 0)),
            ("boundaries are too many", |ack| ack.boundaries = vec![zxid(7, 70); BOUNDARIES_MAX + 1]),
        ],
    );
    let empty = v1::AckEpoch { last: valid.oldest, boundaries: Vec::new(), ..valid.clone() };
    decode(Body::AckEpoch(empty)).expect("a log without entries above its base");
    let ahead = v1::AckEpoch { current_epoch: 2, ..valid };
    decode(Body::AckEpoch(ahead))
        .expect("a current epoch below that of the last entry, after a crash during synchronisation");
    let first =
        v1::AckEpoch { epoch: 1, last: Some(zxid(0, 0)), oldest: Some(zxid(0, 0)), ..Default::default() };
    decode(Body::AckEpoch(first)).expect("an empty log");
}

fn entries() -> Vec<v1::LogEntry> {
    [(2, 11), (2, 12), (4, 13)]
        .map(|(epoch, counter)| v1::LogEntry {
            zxid: Some(zxid(epoch, counter)),
            kind: 1,
            level: 1,
            payload: Bytes::from_static(b"payload"),
        })
        .into()
}

#[test]
fn propose_is_checked() {
    let valid = v1::Propose { epoch: 4, previous: Some(zxid(2, 10)), entries: entries(), commit: NUMBER_MAX };
    check_changes(
        valid,
        Body::Propose,
        &[
            ("epoch is zero", |propose| propose.epoch = 0),
            ("previous zxid is missing", |propose| propose.previous = None),
            ("previous zxid is of a later epoch", |propose| propose.previous = Some(zxid(5, 10))),
            ("previous zxid is neither the genesis nor an entry", |p| p.previous = Some(zxid(2, 0))),
            ("commit index is out of range", |propose| propose.commit += 1),
            ("entries are missing", |propose| propose.entries.clear()),
            ("entry's zxid is missing", |propose| propose.entries[1].zxid = None),
            ("entry's zxid does not follow the one before", |p| p.previous = Some(zxid(2, 9))),
            ("entry's zxid does not follow the one before", |p| p.previous = Some(zxid(2, 11))),
            ("entry's zxid does not follow the one before", |p| p.previous = Some(zxid(3, 10))),
            ("entry's zxid does not follow the one before", |p| p.previous = Some(zxid(0, 0))),
            ("entry's zxid does not follow the one before", |p| drop(p.entries.remove(1))),
            ("entry's zxid does not follow the one before", |p| p.entries.swap(0, 1)),
            ("entry's zxid does not follow the one before", |p| p.entries[1] = p.entries[0].clone()),
            ("entry's zxid does not follow the one before", |p| p.entries[1].zxid = Some(zxid(1, 12))),
            ("entry's zxid is of a later epoch", |propose| propose.epoch = 3),
            ("entry's zxid is neither the genesis nor an entry", |p| p.entries[1].zxid = Some(zxid(0, 12))),
            ("kind is zero", |propose| propose.entries[0].kind = 0),
            ("level is zero", |propose| propose.entries[0].level = 0),
        ],
    );
}

#[test]
fn an_unknown_kind_or_level_is_decoded_and_left_to_the_node() {
    let propose = |change: fn(&mut Vec<v1::LogEntry>)| {
        let mut entries = entries();
        change(&mut entries);
        decode(Body::Propose(v1::Propose { epoch: 4, previous: Some(zxid(2, 10)), entries, commit: 0 }))
    };
    let second = |message: Result<gometa_zab::Message, DecodeError>| match message {
        Ok(gometa_zab::Message::Propose { entries, .. }) => (entries[1].kind, entries[1].level),
        other => panic!("{other:?}"),
    };
    assert_eq!(second(propose(|entries| entries[1].kind = 3)).0, Kind::Unknown(3));
    assert_eq!(second(propose(|entries| entries[1].level = 2)).1, 2);
}

#[test]
fn messages_of_synchronisation_and_broadcast_are_checked() {
    let changes: &[Change<v1::ZxidMessage>] = &[
        ("epoch is zero", |message| message.epoch = 0),
        ("epoch is out of range", |message| message.epoch = u64::MAX),
    ];
    let valid = v1::ZxidMessage { epoch: 4, zxid: Some(zxid(3, 30)) };
    for body in [Body::Diff, Body::NewLeader, Body::AckNewLeader, Body::Ack, Body::Progress] {
        check_changes(valid, body, changes);
        for zxid in [None, Some(zxid(5, 30)), Some(zxid(0, 30)), Some(zxid(3, u64::MAX))] {
            let error = decode(body(v1::ZxidMessage { zxid, ..valid })).expect_err("an invalid zxid");
            assert!(matches!(error, DecodeError::Invalid { .. }), "{error}");
        }
        decode(body(v1::ZxidMessage { zxid: Some(zxid(0, 0)), ..valid })).expect("the zero zxid");
    }
    let changes: &[Change<v1::CommitMessage>] = &[
        ("epoch is zero", |message| message.epoch = 0),
        ("commit index is out of range", |message| message.commit = u64::MAX),
    ];
    for body in [Body::UpToDate, Body::Commit] {
        check_changes(v1::CommitMessage { epoch: 1, commit: 0 }, body, changes);
    }
    check_changes(
        v1::Heartbeat { epoch: 1, id: 1, commit: 1 },
        Body::Heartbeat,
        &[
            ("epoch is zero", |heartbeat| heartbeat.epoch = 0),
            ("heartbeat's id is out of range", |heartbeat| heartbeat.id = u64::MAX),
            ("commit index is out of range", |heartbeat| heartbeat.commit = u64::MAX),
        ],
    );
    check_changes(
        v1::HeartbeatAck {
            epoch: 1,
            id: 1,
            space: 0,
            hashes: vec![state_hash(8), state_hash(16)],
            damaged: false,
        },
        Body::HeartbeatAck,
        &[
            ("epoch is zero", |ack| ack.epoch = 0),
            ("heartbeat's id is out of range", |ack| ack.id = u64::MAX),
            ("disk space is unknown", |ack| ack.space = 3),
            ("state hash's counter is out of range", |ack| ack.hashes[1].counter = u64::MAX),
            ("state hash is not of 16 bytes", |ack| ack.hashes[0].hash = vec![0; 15].into()),
            ("state hashes do not ascend", |ack| ack.hashes[1].counter = 8),
            ("state hashes do not ascend", |ack| ack.hashes.reverse()),
            ("state hashes are too many", |ack| ack.hashes = (1..=17).map(state_hash).collect()),
        ],
    );
    check_changes(
        v1::Quarantine { epoch: 1, majority: Some(state_hash(8)), acknowledged: 0 },
        Body::Quarantine,
        &[
            ("epoch is zero", |order| order.epoch = 0),
            ("state hash is not of 16 bytes", |order| order.majority = Some(v1::StateHash::default())),
            ("quarantine names two faults", |order| order.acknowledged = 1),
            ("acknowledged counter is out of range", |order| {
                *order = v1::Quarantine { majority: None, acknowledged: u64::MAX, ..order.clone() };
            }),
        ],
    );
    check_changes(
        v1::Handoff { epoch: 2, target: 3, last: Some(zxid(2, 5)) },
        Body::Handoff,
        &[
            ("epoch is zero", |handoff| handoff.epoch = 0),
            ("target is zero", |handoff| handoff.target = 0),
            ("last zxid is missing", |handoff| handoff.last = None),
            ("last zxid is of a later epoch", |handoff| handoff.last = Some(zxid(3, 5))),
        ],
    );
}

/// A datagram whose version and checksum are right.
fn datagram(message: &v1::VoteDatagram) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut datagram = vec![1];
    datagram.extend(crc32c::crc32c(&body).to_be_bytes());
    datagram.extend(body);
    datagram
}

#[test]
fn votes_are_checked() {
    let valid = v1::VoteDatagram {
        ensemble: id(),
        history: 1,
        sender: 2,
        incarnation: id(),
        boot: 1,
        sequence: 1,
        state: State::Following.into(),
        round: 1,
        candidate: 3,
        candidate_epoch: 4,
        candidate_last_epoch: 5,
        candidate_last_counter: 6,
        established: Some(4),
        configuration_epoch: 0,
        configuration_counter: 0,
        tag: Bytes::from_static(b"the tag is ignored"),
        sender_address: "a:1".to_owned(),
        candidate_address: "b:1".to_owned(),
    };
    vote::decode(&datagram(&valid)).expect("the unchanged one is valid");
    let changes: &[Change<v1::VoteDatagram>] = &[
        ("ensemble id is not 16 bytes long", |vote| vote.ensemble = vec![1; 15].into()),
        ("history has no ensemble", |vote| vote.ensemble.clear()),
        ("sender is zero", |vote| vote.sender = 0),
        ("incarnation is not 16 bytes long", |vote| vote.incarnation.clear()),
        ("boot is out of range", |vote| vote.boot = u64::MAX),
        ("sequence is out of range", |vote| vote.sequence = u64::MAX),
        ("round is out of range", |vote| vote.round = u64::MAX),
        ("state is unknown", |vote| vote.state = 0),
        ("state is unknown", |vote| vote.state = 5),
        ("candidate is zero", |vote| vote.candidate = 0),
        ("candidate is the follower", |vote| vote.candidate = 2),
        ("candidate is not the leader", |vote| vote.state = State::Leading.into()),
        ("established epoch of a node that has no leader", |vote| vote.state = State::Looking.into()),
        ("established epoch of a node that has no leader", |vote| vote.state = State::Seeking.into()),
        ("epoch is zero", |vote| vote.established = Some(0)),
        ("candidate's epoch is out of range", |vote| vote.candidate_epoch = u64::MAX),
        ("candidate's last zxid is out of range", |vote| vote.candidate_last_epoch = u64::MAX),
        ("candidate's last zxid is neither the genesis nor an entry", |vote| vote.candidate_last_counter = 0),
        ("configuration is neither the genesis nor an entry", |vote| vote.configuration_epoch = 1),
        ("sender's address is too long", |vote| vote.sender_address = "a".repeat(257)),
        ("candidate's address has characters that no address has", |vote| {
            vote.candidate_address = "b :1".to_owned();
        }),
    ];
    for (expected, change) in changes {
        let mut invalid = valid.clone();
        change(&mut invalid);
        assert_eq!(&vote::decode(&datagram(&invalid)).expect_err(expected).to_string(), expected);
    }
}

/// A record whose version and checksum are right.
fn record(context: &[u8], body: &[&[u8]]) -> Bytes {
    let body = body.concat();
    let mut record = vec![1];
    record.extend(crc32c::crc32c_append(crc32c::crc32c(context), &body).to_be_bytes());
    record.extend(body);
    record.into()
}

#[test]
fn hard_states_are_checked() {
    let decode = |accepted: u64, leader: u64, current: u64| {
        let body = [accepted.to_be_bytes(), leader.to_be_bytes(), current.to_be_bytes()].concat();
        storage::decode_hard_state(&record(b"gometa hard state", &[&body]))
    };
    let valid =
        HardState { accepted_epoch: Epoch(3), accepted_leader: Some(NodeId(7)), current_epoch: Epoch(2) };
    assert_eq!(decode(3, 7, 2), Ok(valid));
    assert_eq!(decode(0, 0, 0), Ok(HardState::default()));
    for (accepted, leader, current) in [(3, 7, 4), (3, 0, 2), (0, 7, 0), (0, 0, 1), (u64::MAX, 7, 1)] {
        assert!(matches!(decode(accepted, leader, current), Err(DecodeError::Invalid { .. })));
    }
    for length in [0, 23, 25] {
        let short = storage::decode_hard_state(&record(b"gometa hard state", &[&vec![0; length]]));
        assert!(matches!(short, Err(DecodeError::Invalid { .. })));
    }
}

#[test]
fn foundings_are_checked() {
    let decode = |sealed: &[u8], genesis: v1::Genesis| {
        storage::decode_founding(&record(b"gometa founding", &[sealed, &genesis.encode_to_vec()]))
    };
    decode(&[0], genesis()).expect("prepared");
    decode(&[1], genesis()).expect("sealed");
    assert!(matches!(decode(&[2], genesis()), Err(DecodeError::Invalid { .. })));
    assert!(matches!(decode(&[], v1::Genesis::default()), Err(DecodeError::Invalid { .. })));
    assert!(matches!(decode(&[1], v1::Genesis::default()), Err(DecodeError::Invalid { .. })));
}

#[test]
fn log_entries_are_checked() {
    let decode = |counter: u64, epoch: u64, previous: u64, kind: u8, level: u32| {
        let body: [&[u8]; 4] = [&epoch.to_be_bytes(), &previous.to_be_bytes(), &[kind], &level.to_be_bytes()];
        storage::decode_log_entry(counter, record(&counter.to_be_bytes(), &body))
    };
    decode(1, 1, 0, 1, 1).expect("the first entry");
    decode(9, 5, 5, 1, 1).expect("a later entry");
    assert!(decode(9, 5, 5, 2, 1).is_err(), "an entry of kind Membership without a configuration");
    for (counter, epoch, previous, kind, level) in [
        // The zero zxid is not an entry; entries have an epoch; only the first one follows the zero zxid.
        (0, 0, 0, 1, 1),
        (0, 1, 0, 1, 1),
        (1, 0, 0, 1, 1),
        (1, 1, 1, 1, 1),
        (9, 5, 0, 1, 1),
        (9, 5, 6, 1, 1),
        (9, u64::MAX, 5, 1, 1),
        (u64::MAX, 5, 5, 1, 1),
        (9, 5, 5, 0, 1),
        (9, 5, 5, 1, 0),
    ] {
        let refused = decode(counter, epoch, previous, kind, level);
        assert!(matches!(refused, Err(DecodeError::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(decode(9, 5, 5, 3, 1), Err(DecodeError::UnknownKind(3)));
    assert_eq!(decode(9, 5, 5, 1, 2), Err(DecodeError::UnknownLevel(2)));
    let short = storage::decode_log_entry(9, record(&9u64.to_be_bytes(), &[&[0; 20]]));
    assert!(matches!(short, Err(DecodeError::Invalid { .. })));
}

#[test]
fn an_entry_with_a_configuration_has_its_version_and_valid_addresses() {
    let at = Zxid::new(5, 9);
    let decode = |payload: Bytes| {
        let entry = LogEntry { zxid: at, kind: Kind::Membership, level: 1, payload };
        storage::decode_log_entry(9, storage::encode_log_entry(Zxid::new(5, 8), &entry))
    };
    let valid = crate::strategies::configuration(at);
    decode(valid.clone()).expect("its own version");
    assert!(decode(crate::strategies::configuration(Zxid::new(4, 9))).is_err(), "another version");
    assert!(decode(valid.slice(..valid.len() - 1)).is_err(), "not whole");
    let address = valid.windows(3).position(|text| text == b"a:1").expect("an address");
    let mut spaced = valid.to_vec();
    spaced[address] = b' ';
    assert!(decode(spaced.into()).is_err(), "an address with a space");
}

#[test]
#[should_panic(expected = "cannot follow")]
fn encoding_an_entry_after_a_gap_panics() {
    let entry = LogEntry { zxid: Zxid::new(1, 3), kind: Kind::Command, level: 1, payload: Bytes::new() };
    storage::encode_log_entry(Zxid::new(1, 1), &entry);
}

#[test]
fn damaged_input_is_not_reported_as_of_a_newer_version() {
    assert!(DecodeError::UnknownKind(9).is_newer() && DecodeError::UnknownLevel(9).is_newer());
    for damaged in [DecodeError::Checksum, DecodeError::Version(2), DecodeError::UnknownMessage] {
        assert!(!damaged.is_newer());
    }
}
