//! The messages and datagrams of a flood.

use std::sync::Arc;

use bytes::BytesMut;
use gometa_codec::{message, vote};
use gometa_proto::{
    frame,
    limits::{CLIENT_FRAME_MAX, PEER_FRAME_MAX, PROTOCOL_VERSION, VALUE_MAX},
    v1::{self, client_frame, request::Operation},
};
use gometa_tests::random::Random;
use gometa_zab::{
    Addresses, Candidate, EnsembleId, Epoch, Hello, Incarnation, Message, NodeId, Round, Vote, VoteState,
    Zxid,
};
use prost::Message as _;

/// The length of the large value in bytes.
pub(crate) const VALUE: usize = VALUE_MAX;
/// The deadline of an operation in milliseconds: the maximum.
const DEADLINE_MS: u32 = 3_600_000;

fn framed(body: client_frame::Body) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame::encode(&v1::ClientFrame { body: Some(body) }, CLIENT_FRAME_MAX, &mut bytes).unwrap();
    bytes.to_vec()
}

fn prefixed(length: usize, bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(length).unwrap().to_be_bytes()[..], bytes].concat()
}

/// Returns a Hello in a frame.
pub(crate) fn hello() -> Vec<u8> {
    let (protocol_min, protocol_max) = (PROTOCOL_VERSION, PROTOCOL_VERSION);
    let hello = v1::Hello { protocol_min, protocol_max, client: "flood".to_owned(), ..v1::Hello::default() };
    framed(client_frame::Body::Hello(hello))
}

fn get(id: u64, key: &str) -> v1::Request {
    let get = v1::Get { key: key.to_owned().into(), ..v1::Get::default() };
    v1::Request {
        id,
        deadline_ms: DEADLINE_MS,
        operation: Some(Operation::Get(get)),
        ..v1::Request::default()
    }
}

/// Returns a Hello and `count` reads of one key.
pub(crate) fn gets(key: &str, count: u64) -> Vec<u8> {
    let asked = (1..=count).flat_map(|id| framed(client_frame::Body::Request(get(id, key))));
    hello().into_iter().chain(asked).collect()
}

/// Returns a length-delimited field.
fn field(number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut bytes);
    prost::encoding::encode_varint(body.len() as u64, &mut bytes);
    bytes.extend(body);
    bytes
}

/// Returns a read in a frame of maximum length, which is full of unknown fields.
pub(crate) fn padded_get(key: &str) -> Vec<u8> {
    padded(&get(1, key))
}

fn padded(request: &v1::Request) -> Vec<u8> {
    let padding = field(60, &vec![0; CLIENT_FRAME_MAX - 200]);
    let body = field(2, &[request.encode_to_vec(), padding].concat());
    prefixed(body.len(), &body)
}

/// Returns a Hello, and all but the last byte of a frame.
pub(crate) fn half_frame() -> Vec<u8> {
    let mut bytes = padded_get("half");
    bytes.pop();
    [hello(), bytes].concat()
}

/// Returns messages whose decoded form is much larger, or claims to be; each after a Hello, several times.
pub(crate) fn all(key: &str) -> Vec<Arc<Vec<u8>>> {
    let full = CLIENT_FRAME_MAX - 16;
    // Nested empty requests; a million of them in sequence; unknown fields.
    let mut nested = Vec::new();
    while nested.len() < 2_000 {
        nested = field(2, &nested);
    }
    let whole = |body: Vec<u8>| prefixed(body.len(), &body);
    // Reads of future revisions, with as many unknown fields as allowed.
    let never = |id: u64| {
        let mut request = get(id, key);
        if let Some(Operation::Get(get)) = &mut request.operation {
            get.min_revision = u64::MAX;
            get.set_consistency(v1::Consistency::Local);
        }
        request
    };
    let waiting: Vec<u8> =
        (1..=1_000).flat_map(|id| framed(client_frame::Body::Request(never(id)))).collect();
    let padded_waiting: Vec<u8> = (1..=32).flat_map(|id| padded(&never(id))).collect();
    let ping = framed(client_frame::Body::Ping(v1::Ping { nonce: 1, session: u64::MAX }));
    let bombs = [
        whole(field(2, &[]).repeat(full / 2)),
        whole(nested),
        whole(field(2, &field(3, &[]).repeat(full / 2 - 8))),
        whole(field(1, &field(5, &[]).repeat(full / 2 - 8))),
        whole([0x80].repeat(full)),
        prefixed(0xffff_ffff, &[0; 64]),
        prefixed(CLIENT_FRAME_MAX, &[0xff; 64]),
        ping.repeat(50_000),
        prefixed(0, &[]),
    ];
    let padded_gets: Vec<u8> = (1..=4).flat_map(|id| padded(&get(id, key))).collect();
    let repeated = bombs.into_iter().map(|bomb| bomb.repeat(4)).chain([padded_gets, waiting, padded_waiting]);
    repeated.map(|bomb| Arc::new([hello(), bomb].concat())).collect()
}

fn peer_frame(message: &Message) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message::encode(message, &mut bytes).unwrap();
    bytes.to_vec()
}

/// Returns the bytes that are sent to the nodes' port: none, few, too many, random ones, and a Hello from another ensemble to
/// each of these nodes.
pub(crate) fn peer_messages(nodes: &[u64]) -> Vec<Arc<Vec<u8>>> {
    let unknown_node = |node: &u64| {
        peer_frame(&Message::Hello(Hello {
            node: NodeId(99),
            incarnation: Incarnation(7),
            boot: 1,
            expected: Some(NodeId(*node)),
            ensemble: Some(EnsembleId { id: 0xbad, history: 1 }),
            addresses: Addresses {
                election: "127.0.0.1:1".to_owned(),
                message: "127.0.0.1:2".to_owned(),
                request: "127.0.0.1:3".to_owned(),
            },
            voters: Vec::new(),
            configuration: Zxid::ZERO,
            levels: gometa_zab::Levels::SUPPORTED,
            level: Some(1),
        }))
    };
    let heartbeat = Message::Heartbeat { epoch: Epoch(1), id: 1, commit: 0 };
    let mut messages = vec![
        Vec::new(),
        vec![0],
        prefixed(PEER_FRAME_MAX, &vec![0; 64 << 10]),
        prefixed(60 << 10, &vec![0; 50 << 10]),
        prefixed(0xffff_ffff, &[]),
        prefixed(40_000, &field(1, &field(9, &[]).repeat(19_990))),
        peer_frame(&heartbeat),
    ];
    messages.extend(nodes.iter().map(unknown_node));
    messages.into_iter().map(Arc::new).collect()
}

/// Returns a datagram similar to a vote: random, truncated, damaged, of another ensemble, of an unknown node.
pub(crate) fn datagram(random: &mut Random) -> Vec<u8> {
    if random.percent(20) {
        let length = random.below(600) as usize;
        return random.bytes(length);
    }
    let node = NodeId(1 + random.word() % 1_000);
    let mut bytes = vote::encode(&Vote {
        ensemble: Some(EnsembleId { id: 0xbad, history: 1 }),
        sender: node,
        incarnation: Incarnation(u128::from(random.word())),
        boot: u64::from(u32::MAX),
        sequence: random.word(),
        state: VoteState::Looking,
        round: Round(random.below(1 << 40)),
        candidate: Candidate { epoch: Epoch(9), last: Zxid::new(9, 9), node },
        established: None,
        configuration: Zxid::ZERO,
    })
    .to_vec();
    match random.below(3) {
        0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
        1 => {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1;
        }
        _ => {}
    }
    bytes
}
