//! The console against a node that keeps its keys in a map.

use std::{collections::BTreeMap, io::Cursor, thread};

use bytes::{Bytes, BytesMut};
use gometa_proto::{
    ErrorKind, frame, limits,
    v1::{
        ClientFrame, Deleted, Entry, Error, Response, Role, ServerFrame, SessionOpened, View, Welcome,
        Written, client_frame::Body as FromClient, request::Operation, response,
        server_frame::Body as FromNode,
    },
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// Starts a node that executes all requests and names another one as the leader; returns its address. It runs until the
/// test process ends.
fn start_node() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (listener, mut keys) = (TcpListener::from_std(listener).unwrap(), BTreeMap::new());
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &mut keys).await;
            }
        });
    });
    address
}

async fn serve(mut stream: TcpStream, keys: &mut BTreeMap<Bytes, Bytes>) {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(bytes) = frame::decode_frame(&mut buffer, limits::CLIENT_FRAME_MAX).unwrap() {
            let body = match ClientFrame::decode(bytes).unwrap().body.unwrap() {
                FromClient::Hello(_) => FromNode::Welcome(Welcome {
                    protocol: 1,
                    limits: Some(limits::advertised(30_000)),
                    view: Some(View {
                        role: Role::Following.into(),
                        leader: "127.0.0.1:1".to_owned(),
                        members: Vec::new(),
                    }),
                    ..Welcome::default()
                }),
                FromClient::Request(request) => {
                    let result = Some(answer(request.operation.unwrap(), keys));
                    FromNode::Response(Response { id: request.id, revision: 1, result })
                }
                _ => continue,
            };
            let mut out = BytesMut::new();
            frame::encode(&ServerFrame { body: Some(body) }, limits::CLIENT_FRAME_MAX, &mut out).unwrap();
            if stream.write_all(&out).await.is_err() {
                return;
            }
        }
        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

fn answer(operation: Operation, keys: &mut BTreeMap<Bytes, Bytes>) -> response::Result {
    let written = response::Result::Written(Written { revision: 7, version: 1 });
    let error = |kind: ErrorKind| response::Result::Error(Error::not_applied(kind, kind.text()));
    match operation {
        Operation::OpenSession(_) => {
            response::Result::SessionOpened(SessionOpened { session: 1, timeout_ms: 30_000 })
        }
        Operation::Add(add) if keys.contains_key(&add.key) => error(ErrorKind::AlreadyExists),
        Operation::Add(add) => {
            keys.insert(add.key, add.value);
            written
        }
        Operation::Set(set) => {
            keys.insert(set.key, set.value);
            written
        }
        Operation::Delete(delete) => {
            let existed = keys.remove(&delete.key).is_some();
            response::Result::Deleted(Deleted { revision: if existed { 9 } else { 0 }, existed })
        }
        Operation::Get(get) => match keys.get(&get.key) {
            Some(value) => {
                response::Result::Entry(Entry { key: get.key, value: value.clone(), ..Entry::default() })
            }
            None => error(ErrorKind::NotFound),
        },
        _ => error(ErrorKind::Unsupported),
    }
}

/// The output for an input, without prompts.
fn dialogue(hosts: &[String], input: impl AsRef<[u8]>) -> Vec<String> {
    dialogue_on(hosts, input, false)
}

/// The same on a terminal or not.
fn dialogue_on(hosts: &[String], input: impl AsRef<[u8]>, terminal: bool) -> Vec<String> {
    let mut output = Vec::new();
    let settings = Client::builder().timeout(Duration::from_millis(500));
    run_with(hosts, settings, Cursor::new(input), &mut output, terminal).unwrap();
    let prompts = ["Enter ", "Select ", "\t"];
    String::from_utf8_lossy(&output)
        .lines()
        .filter(|line| !line.is_empty() && !prompts.iter().any(|prompt| line.starts_with(prompt)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn commands_are_executed_by_the_selected_host() {
    let hosts = ["127.0.0.1:1".to_owned(), start_node()];
    let input =
        "1\nAdd\nk\nv\n1\nadd\nk\nv\n\nSET\nk\nw\n1\nGet\nk\n1\nDelete\nk\n1\ndelete\nk\n1\nGet\nk\n1\n";
    let lines = dialogue(&hosts, input);
    assert_eq!(
        lines,
        [
            "Result = revision 7, version 1",
            "Error : add \"k\": already exists",
            "Result = revision 7, version 1",
            "Result = w, len(result) = 1",
            "Result = deleted at revision 9",
            "Result = no such key",
            "Error : get \"k\": not found",
        ]
    );
}

#[test]
fn repetition_numbers_keys_and_values_and_prints_the_rate() {
    let hosts = [start_node()];
    let lines = dialogue(
        &hosts,
        "0\nSet\nkey\nvalue\n1000\nGet\nkey-999\n1\nGet\nkey\n3\nDelete\nkey\n1000\nGet\nkey-0\n1\n",
    );
    assert_eq!(lines[0], "100 of 1000, up to key-99");
    assert_eq!(lines[9], "1000 of 1000, up to key-999");
    assert!(lines[10].starts_with("1000 sent, 0 failed, in ") && lines[10].contains("/s"), "{lines:?}");
    assert_eq!(lines[11], "Result = value-999, len(result) = 9");
    assert_eq!(lines[12..15], [0, 1, 2].map(|number| format!("Result = value-{number}, len(result) = 7")));
    assert!(lines[15].starts_with("3 sent, 0 failed"), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "Error : get \"key-0\": not found");
}

#[test]
fn failures_of_a_repetition_are_printed_up_to_a_bound() {
    let hosts = [start_node()];
    let lines = dialogue(&hosts, "0\nAdd\nk\nv\n50\nAdd\nk\nv\n50\n");
    assert_eq!(lines.iter().filter(|line| line.contains("already exists")).count(), FAILURES_SHOWN_MAX);
    assert!(lines.last().unwrap().starts_with("50 sent, 50 failed"), "{lines:?}");
}

#[test]
fn invalid_input_is_reported_and_the_loop_goes_on() {
    let hosts = [start_node()];
    let mut input = b"7\nx\n0\nnonsense\n\nGet\nk\nmany\nGet\nk\n0\nGet\n\n1\nGet\n".to_vec();
    input.extend(vec![b'k'; 3 << 20]);
    input.extend(b"\nk\n1\n");
    let lines = dialogue(&hosts, input);
    assert_eq!(
        lines,
        [
            "Error : 7 is not a number from 0 to 0",
            "Error : x is not a number from 0 to 0",
            "Error : unknown command nonsense: enter Add, Set, Delete or Get",
            "Error : no command: enter Add, Set, Delete or Get",
            "Error : a repetition is a number, 1 or higher",
            "Error : a repetition is a number, 1 or higher",
            "Error : get \"\": the key is empty; keys have at least 1 byte",
            "Error : a line has at most 2097152 bytes; enter it again",
            "Error : get \"k\": not found",
        ]
    );
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let hosts = [start_node()];
    let input = b"0\nSet\nk\na\x1b[2Jb\xff\n1\nGet\nk\n1\n";
    let get = |terminal| dialogue_on(&hosts, input, terminal).pop().unwrap();
    assert_eq!(get(true), "Result = a\\x1b[2Jb\\xff, len(result) = 7");
    assert_eq!(get(false), "Result = a\x1b[2Jb\u{fffd}, len(result) = 7");
}

#[test]
fn a_byte_order_mark_carriage_returns_and_aliases_of_commands_are_accepted() {
    let hosts = [start_node()];
    let input = "\u{feff}0\r\nput\r\nk\r\nv\r\n\r\nget\r\nk\r\n1\r\nrm\r\nk\r\n1\r\nls\r\nVersion\r\n";
    let lines = dialogue(&hosts, input);
    assert_eq!(
        lines,
        [
            "Result = revision 7, version 1".to_owned(),
            "Result = v, len(result) = 1".to_owned(),
            "Result = deleted at revision 9".to_owned(),
            "Error : this console lists no keys; `gometa ls` and `gometa scan` do".to_owned(),
            format!(
                "Error : this is gometa-server {}; enter Add, Set, Delete or Get",
                env!("CARGO_PKG_VERSION")
            ),
        ]
    );
}

#[test]
fn the_end_of_input_ends_the_console_at_any_prompt() {
    let hosts = ["127.0.0.1:1".to_owned()];
    for input in ["", "0", "0\n", "0\nAdd\n", "0\nAdd\nk\n", "0\nAdd\nk\nv\n"] {
        assert!(dialogue(&hosts, input).is_empty(), "{input:?}");
    }
}

#[test]
fn an_unreachable_host_is_an_error_and_ends_a_repetition() {
    let hosts = [{
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }];
    let lines = dialogue(&hosts, "0\nGet\nk\n1\nSet\nk\nv\n1000\n");
    assert!(lines[0].starts_with("Error : get \"k\": no connection to any node within 500ms"), "{lines:?}");
    assert!(lines[0].contains("connection refused"), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("Error : stopped after 32 failures in a row"), "{lines:?}");
}
