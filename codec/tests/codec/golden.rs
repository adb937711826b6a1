//! The exact bytes of the formats. The expected bytes were written by hand from the descriptions of the formats, not
//! printed by this code. If a test fails, nodes of two versions, or a node and its own disk, are incompatible.

use bytes::{Bytes, BytesMut};
use gometa_codec::{message, storage, vote};
use gometa_zab::{
    Addresses, Candidate, EnsembleId, Epoch, Founding, Genesis, HardState, Incarnation, Kind, LogEntry,
    Message, NodeId, Round, Vote, VoteState, Voter, Zxid,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ENSEMBLE: EnsembleId = EnsembleId { id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, history: 7 };
const INCARNATION: Incarnation = Incarnation(0x2122_2324_2526_2728_292a_2b2c_2d2e_2f30);

fn entry(kind: Kind) -> LogEntry {
    LogEntry { zxid: Zxid::new(5, 1_000_001), kind, level: 1, payload: Bytes::from_static(b"payload") }
}

#[test]
fn the_bytes_of_a_vote() {
    let vote = Vote {
        ensemble: Some(ENSEMBLE),
        sender: NodeId(0x1122_3344_5566_7788),
        incarnation: INCARNATION,
        boot: 3,
        sequence: 300,
        state: VoteState::Following,
        round: Round(9),
        candidate: Candidate {
            epoch: Epoch(4),
            last: Zxid::new(5, 1_000_000),
            node: NodeId(0x99aa_bbcc_ddee_ff00),
        },
        established: Some(Epoch(4)),
        configuration: Zxid::new(4, 17),
    };
    assert_eq!(
        hex(&vote::encode(&vote)),
        concat!(
            "01f645e6b20a100102030405060708090a0b0c0d0e0f1011070000000000000019887766554433221122",
            "102122232425262728292a2b2c2d2e2f30280330ac02380240094900ffeeddccbbaa995004580560c084",
            "3d68047004800111"
        )
    );
}

#[test]
fn the_bytes_of_a_log_entry() {
    let record = storage::encode_log_entry(Zxid::new(4, 1_000_000), &entry(Kind::Command));
    assert_eq!(hex(&record), "011aefe9b30000000000000005000000000000000401000000017061796c6f6164");
}

#[test]
fn the_bytes_of_a_hard_state() {
    let state = HardState {
        accepted_epoch: Epoch(6),
        accepted_leader: Some(NodeId(0x1122_3344_5566_7788)),
        current_epoch: Epoch(5),
    };
    assert_eq!(
        hex(&storage::encode_hard_state(&state)),
        "013fb8279c000000000000000611223344556677880000000000000005"
    );
}

#[test]
fn the_bytes_of_a_founding() {
    let voter = |node, incarnation, [election, message, request]: [&str; 3]| Voter {
        node: NodeId(node),
        incarnation,
        addresses: Addresses {
            election: election.to_owned(),
            message: message.to_owned(),
            request: request.to_owned(),
        },
    };
    let genesis = Genesis {
        ensemble: ENSEMBLE,
        voters: vec![voter(1, Some(INCARNATION), ["a:1", "a:2", "a:3"]), voter(2, None, ["b:1", "b:2", ""])],
        level: gometa_zab::FIRST_LEVEL,
    };
    assert_eq!(
        hex(&storage::encode_founding(&Founding { genesis, sealed: true })),
        concat!(
            "018f9bf4c0010a100102030405060708090a0b0c0d0e0f101107000000000000001a2c09010000000000",
            "000012102122232425262728292a2b2c2d2e2f301a0f0a03613a311203613a321a03613a331a15090200",
            "0000000000001a0a0a03623a311203623a32"
        )
    );
}

#[test]
fn the_bytes_of_a_proposal() {
    let message = Message::Propose {
        epoch: Epoch(5),
        previous: Zxid::new(4, 1_000_000),
        entries: vec![entry(Kind::Command)],
        commit: 999_999,
    };
    let mut buffer = BytesMut::new();
    message::encode(&message, &mut buffer).expect("small");
    assert_eq!(
        hex(&buffer),
        concat!(
            "00000028aa012508051206080410c0843d1a150a06080510c1843d1001180122077061796c6f616420bf",
            "843d"
        )
    );
}
