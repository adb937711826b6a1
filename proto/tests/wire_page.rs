//! The frames that `docs/wire.md` shows are what the encoder makes of the messages below, byte for byte, with each field
//! named as the schema names it; `UPDATE_WIRE_PAGE=1` rewrites the page's blocks. The page lists every message, field and
//! enumeration of the client protocol's schemas, and none that they do not have.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeMap, fmt::Write, fs};

use bytes::{Bytes, BytesMut};
use gometa_proto::{
    ErrorKind, frame, limits,
    v1::{
        Cancel, Cas, ClientFrame, Compare, Delete, Deleted, EndSession, EnsembleRef, Entry, Error, Get,
        GetHistory, Hello, KeyHistory, KeyVersion, Member, MemberRecord, MembersChanged, MembersVersion,
        Membership, OpenSession, Page, Ping, Pong, PromoteMember, Range, Request, Response, Role,
        ServerFrame, SessionEnded, SessionOpened, Set, Status, Txn, TxnAnswer, TxnOperation, TxnResult, View,
        Welcome, WriteContext, Written, client_frame::Body as FromClient, compare::Operand,
        request::Operation, response::Result as Answer, server_frame::Body as FromNode,
        txn_operation::Operation as TxnOp, txn_result::Result as TxnDone,
    },
};
use prost::{Message, encoding::decode_varint};
use protox::prost_reflect::{DescriptorPool, EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
/// Bytes of a line.
const LINE: usize = 12;
/// Where the words begin.
const COLUMN: usize = 46;

/// An encoded frame, and the name of its message.
type Frame = (Bytes, &'static str);

fn encoded(message: &impl Message) -> Bytes {
    let mut buffer = BytesMut::new();
    frame::encode(message, limits::CLIENT_FRAME_MAX, &mut buffer).unwrap();
    buffer.freeze()
}

fn client(body: FromClient) -> Frame {
    (encoded(&ClientFrame { body: Some(body) }), "ClientFrame")
}

fn node(body: FromNode) -> Frame {
    (encoded(&ServerFrame { body: Some(body) }), "ServerFrame")
}

fn asks(id: u64, seq: u64, operation: Operation) -> Frame {
    let write = (seq > 0).then_some(WriteContext { session: SESSION, seq, lowest: seq });
    client(FromClient::Request(Request {
        id,
        deadline_ms: 5000,
        write,
        operation: Some(operation),
        ..Request::default()
    }))
}

fn answers(id: u64, revision: u64, result: Answer) -> Frame {
    node(FromNode::Response(Response { id, revision, result: Some(result) }))
}

const SESSION: u64 = 0x0102_0304_0506_0708;

/// Every frame on the page, by the name of its block.
fn frames() -> Vec<(&'static str, Frame)> {
    let key = Bytes::from_static(b"k");
    let view = || View {
        role: Role::Leading.into(),
        leader: "10.0.0.1:5003".to_owned(),
        members: [(0x11, 1), (0x22, 2)]
            .map(|(node, host)| Member {
                node,
                message_address: format!("10.0.0.{host}:5002"),
                request_address: format!("10.0.0.{host}:5003"),
            })
            .to_vec(),
    };
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 1,
        client: "mine".into(),
        version: "1.0".into(),
        ensemble: None,
    };
    let welcome = Welcome {
        protocol: 1,
        ensemble: Some(EnsembleRef { id: Bytes::from_static(b"sixteen bytes id"), history: 1 }),
        node: 0x11,
        version: "0.1.0".to_owned(),
        limits: Some(limits::advertised(60_000)),
        view: Some(view()),
    };
    let opened = SessionOpened { session: SESSION, timeout_ms: 60_000 };
    let entry = || Entry {
        key: key.clone(),
        value: "v".into(),
        version: 1,
        create_revision: 300,
        mod_revision: 300,
        is_group: false,
    };
    let range = Range { prefix: "a".into(), limit: 1, at_revision: 302, ..Range::default() };
    let page = Page { entries: vec![entry()], count: 1, next: "ab".into(), revision: 302 };
    let (get_history, history) = history(&key);
    let (txn, txn_answer) = transaction(&key);
    let promote = PromoteMember { node: 0x44, follows: Some(MembersVersion { epoch: 1, counter: 280 }) };
    let promoted = MembersChanged {
        membership: Some(Membership {
            version: Some(MembersVersion { epoch: 1, counter: 305 }),
            members: vec![MemberRecord {
                node: 0x44,
                incarnation: Bytes::from_static(b"sixteen bytes .."),
                election_address: "10.0.0.4:5001".to_owned(),
                message_address: "10.0.0.4:5002".to_owned(),
                request_address: "10.0.0.4:5003".to_owned(),
                votes: true,
                promised: false,
                replaces: 0,
            }],
            committed: true,
            level: 1,
        }),
        changed: true,
    };
    let mismatch =
        Error::not_applied(ErrorKind::CasMismatch, "the key is at revision 300").with_actual_revision(300);
    let not_leader =
        Error::not_applied(ErrorKind::NotLeader, "another node leads").with_leader("10.0.0.1:5003");
    let connection_error =
        Error::not_applied(ErrorKind::InvalidArgument, "the first frame of a connection is a Hello");
    vec![
        ("hello", client(FromClient::Hello(hello))),
        ("welcome", node(FromNode::Welcome(welcome))),
        (
            "open-session",
            asks(1, 0, Operation::OpenSession(OpenSession { nonce: "a random nonce.!".into() })),
        ),
        ("session-opened", answers(1, 299, Answer::SessionOpened(opened))),
        ("set", asks(2, 1, Operation::Set(Set { key: key.clone(), value: "v".into() }))),
        ("written", answers(2, 300, Answer::Written(Written { revision: 300, version: 1 }))),
        ("get", asks(3, 0, Operation::Get(Get { key: key.clone(), ..Get::default() }))),
        ("entry", answers(3, 300, Answer::Entry(entry()))),
        ("cas", asks(4, 2, Operation::Cas(Cas { key: key.clone(), revision: 7, value: "w".into() }))),
        ("cas-mismatch", answers(4, 301, Answer::Error(mismatch))),
        ("delete", asks(5, 3, Operation::Delete(Delete { key: key.clone(), revision: Some(0) }))),
        ("deleted", answers(7, 303, Answer::Deleted(Deleted { revision: 303, existed: true }))),
        ("range", asks(10, 0, Operation::Range(range))),
        ("page", answers(10, 303, Answer::Page(page))),
        ("get-history", asks(12, 0, Operation::GetHistory(get_history))),
        ("key-history", answers(12, 303, Answer::KeyHistory(history))),
        ("txn", asks(11, 4, Operation::Txn(txn))),
        ("txn-answer", answers(11, 306, Answer::Txn(txn_answer))),
        ("end-session", asks(8, 0, Operation::EndSession(EndSession { session: SESSION }))),
        ("session-ended", answers(8, 304, Answer::SessionEnded(SessionEnded { existed: true }))),
        ("promote-member", asks(9, 0, Operation::PromoteMember(promote))),
        ("members-changed", answers(9, 305, Answer::MembersChanged(promoted))),
        ("status", asks(6, 0, Operation::Status(Status {}))),
        ("cancel", client(FromClient::Cancel(Cancel { id: 6 }))),
        ("ping", client(FromClient::Ping(Ping { nonce: 1, session: SESSION }))),
        ("pong", node(FromNode::Pong(Pong { nonce: 1 }))),
        ("node-ping", node(FromNode::Ping(Ping { nonce: 7, session: 0 }))),
        ("client-pong", client(FromClient::Pong(Pong { nonce: 7 }))),
        ("not-leader", answers(2, 299, Answer::Error(not_leader))),
        ("view", node(FromNode::View(View { role: Role::Looking.into(), ..View::default() }))),
        ("connection-error", node(FromNode::Error(connection_error))),
    ]
}

/// The history of a key that was written, written again and deleted: its first page.
fn history(key: &Bytes) -> (GetHistory, KeyHistory) {
    let get = GetHistory { key: key.clone(), limit: 2, ..GetHistory::default() };
    let deletion = KeyVersion { revision: 303, deleted: true, ..KeyVersion::default() };
    let version = KeyVersion {
        revision: 302,
        deleted: false,
        version: 2,
        create_revision: 300,
        value: "w".into(),
        value_size: 1,
    };
    let versions = vec![deletion, version];
    (get, KeyHistory { versions, next_before: 302, revision: 303, oldest_revision: 120 })
}

/// A transaction that moves a value to another key, and its answer.
fn transaction(key: &Bytes) -> (Txn, TxnAnswer) {
    let when = Compare { key: key.clone(), relation: 0, operand: Some(Operand::ModRevision(300)) };
    let delete = Delete { key: key.clone(), revision: None };
    let set = Set { key: "l".into(), value: "v".into() };
    let then =
        [TxnOp::Delete(delete), TxnOp::Set(set)].map(|operation| TxnOperation { operation: Some(operation) });
    let deleted = Deleted { revision: 306, existed: true };
    let results = [TxnDone::Deleted(deleted), TxnDone::Written(Written { revision: 306, version: 1 })]
        .map(|result| TxnResult { result: Some(result) });
    let txn = Txn { when: vec![when], then: then.to_vec(), ..Txn::default() };
    (txn, TxnAnswer { revision: 306, succeeded: true, results: results.to_vec() })
}

/// Writes bytes and what they are, a few to a line.
fn line(out: &mut String, depth: usize, bytes: &[u8], words: &str) {
    for (index, chunk) in bytes.chunks(LINE).enumerate() {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = format!("{:indent$}{}", "", hex.join(" "), indent = 2 * depth);
        let words = if index == 0 { words } else { "" };
        writeln!(out, "{}", format!("{shown:COLUMN$}{words}").trim_end()).unwrap();
    }
}

/// Writes a message field by field, each under its name in the schema.
fn annotate(out: &mut String, depth: usize, mut bytes: &[u8], message: &MessageDescriptor) {
    while !bytes.is_empty() {
        let whole = bytes;
        let key = decode_varint(&mut bytes).unwrap();
        let field = message.get_field((key >> 3) as u32).unwrap();
        let name = field.name();
        let taken = |rest: &[u8]| &whole[..whole.len() - rest.len()];
        match key & 7 {
            0 => {
                let value = decode_varint(&mut bytes).unwrap();
                let value = match field.kind() {
                    Kind::Enum(kinds) => {
                        let known = kinds.get_value(value as i32).unwrap();
                        format!("{value} = {}", known.name())
                    }
                    _ => value.to_string(),
                };
                line(out, depth, taken(bytes), &format!("{name}: {value}"));
            }
            1 => {
                let (value, rest) = bytes.split_first_chunk().unwrap();
                bytes = rest;
                line(out, depth, taken(rest), &format!("{name}: 0x{:016x}", u64::from_le_bytes(*value)));
            }
            2 => {
                let length = decode_varint(&mut bytes).unwrap() as usize;
                let (body, rest) = bytes.split_at(length);
                match field.kind() {
                    Kind::Message(inner) => {
                        line(out, depth, taken(bytes), &format!("{name}, {length} bytes"));
                        annotate(out, depth + 1, body, &inner);
                    }
                    _ => {
                        let words = format!("{name}: \"{}\"", body.escape_ascii());
                        line(out, depth, taken(rest), &words);
                    }
                }
                bytes = rest;
            }
            wire => panic!("wire type {wire} in {name}"),
        }
    }
}

fn schema() -> DescriptorPool {
    let compiled = protox::compile(["gometa/v1/request.proto"], [env!("CARGO_MANIFEST_DIR")]).unwrap();
    DescriptorPool::from_file_descriptor_set(compiled).unwrap()
}

fn block(bytes: &[u8], message: &MessageDescriptor) -> String {
    let mut out = String::new();
    line(&mut out, 0, &bytes[..frame::PREFIX], &format!("length, {}", bytes.len() - frame::PREFIX));
    annotate(&mut out, 0, &bytes[frame::PREFIX..], message);
    out
}

/// The hexadecimal digits of a block.
fn bytes_of(block: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in block.lines() {
        let hex = line.get(..COLUMN).unwrap_or(line);
        bytes.extend(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

#[test]
fn the_pages_frames_are_what_the_encoder_makes() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (schema, mut renewed) = (schema(), page.clone());
    let renews = std::env::var_os("UPDATE_WIRE_PAGE").is_some_and(|value| !value.is_empty());
    for (name, (bytes, kind)) in frames() {
        let expected = block(&bytes, &schema.get_message_by_name(&format!("gometa.v1.{kind}")).unwrap());
        let start = format!("```frame {name}\n");
        let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("the page shows no frame {name}"));
        let (shown, _) = rest.split_once("```").unwrap();
        renewed = renewed.replacen(&format!("{start}{shown}"), &format!("{start}{expected}"), 1);
        if !renews {
            assert_eq!(shown, expected, "frame {name}");
            // And back: the annotations have no digits in the bytes' columns.
            assert_eq!(bytes_of(shown), bytes, "frame {name}");
        }
    }
    assert_eq!(
        page.matches("```frame ").count(),
        frames().len(),
        "the page shows frames that are not checked"
    );
    if renews {
        fs::write(PAGE, renewed).unwrap();
    }
}

/// A field's type as the page writes it.
fn type_of(field: &FieldDescriptor) -> String {
    let name = match field.kind() {
        Kind::Message(message) => message.name().to_owned(),
        Kind::Enum(kinds) => kinds.name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    if field.is_list() {
        return format!("`repeated {name}`");
    }
    match field.containing_oneof() {
        // An `optional` field is alone in a oneof that the compiler has made.
        Some(group) if group.fields().len() == 1 && group.name().starts_with('_') => {
            format!("`optional {name}`")
        }
        Some(group) => format!("`{name}`, one of `{}`", group.name()),
        None => format!("`{name}`"),
    }
}

/// The rows of a table without their last cell, which is for people.
fn rows(text: &str) -> Vec<String> {
    let cells = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells[..cells.len() - 1].join(" | ")
    };
    let rows = text.lines().filter(|line| line.starts_with('|'));
    // The heading and the line below it.
    rows.skip(2).map(cells).collect()
}

#[test]
fn the_page_lists_every_message_field_and_enumeration() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (_, reference) = page.split_once("\n## Every message\n").unwrap();
    let (reference, _) = reference.split_once("\n## ").unwrap();
    let mut sections: BTreeMap<&str, &str> =
        reference.split("\n### ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let schema = schema();
    let enumerations = sections.remove("Enumerations").unwrap();
    for message in schema.all_messages() {
        let title = format!("`{}`", message.name());
        let section =
            sections.remove(&*title).unwrap_or_else(|| panic!("the page has no section ### {title}"));
        let fields = message.fields();
        let expected: Vec<String> = fields
            .map(|field| format!("{} | `{}` | {}", field.number(), field.name(), type_of(&field)))
            .collect();
        assert_eq!(rows(section), expected, "{title}");
    }
    assert!(sections.is_empty(), "messages that the schemas do not have: {:?}", sections.keys());
    // The kinds of errors have a table of their own, which is tested below.
    let kinds = schema.all_enums().filter(|kinds| kinds.name() != "ErrorKind");
    let mut expected: Vec<String> = kinds
        .flat_map(|kinds| {
            let row = |value: EnumValueDescriptor| {
                format!("`{}` | {} | `{}`", kinds.name(), value.number(), value.name())
            };
            kinds.values().map(row).collect::<Vec<_>>()
        })
        .collect();
    let mut shown = rows(enumerations);
    expected.sort();
    shown.sort();
    assert_eq!(shown, expected);
}

#[test]
fn the_pages_limits_are_those_of_the_program() {
    let page = fs::read_to_string(PAGE).unwrap();
    let row = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
        line.split('|').nth(2).unwrap().trim().replace(',', "").parse::<u64>().unwrap()
    };
    let advertised = limits::advertised(60_000);
    for (name, value) in [
        ("key_max", advertised.key_max),
        ("value_max", advertised.value_max),
        ("frame_max", advertised.frame_max),
        ("requests_max", advertised.requests_max),
        ("window_max", advertised.window_max),
        ("sessions_max", advertised.sessions_max),
    ] {
        assert_eq!(row(name), u64::from(value), "{name}");
    }
}

#[test]
fn the_pages_errors_say_as_the_table_whether_to_retry() {
    let page = fs::read_to_string(PAGE).unwrap();
    for kind in ErrorKind::ALL {
        let retryable = if kind.retryable() { " yes " } else { " " };
        let start = format!("| {} | {} |{retryable}| ", kind.number(), kind.name());
        assert!(page.lines().any(|line| line.starts_with(&start)), "no line begins with {start:?}");
    }
}
