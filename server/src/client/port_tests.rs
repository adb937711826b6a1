//! Conversations with the port, byte by byte, against a driver that is played by the test.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use gometa_node::{ClientId, Event};
use gometa_proto::{ErrorKind, frame, limits, v1};
use gometa_zab::{EnsembleId, NodeId};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use v1::{client_frame::Body as Ask, request::Operation, server_frame::Body as Answer};

use super::*;
use crate::{
    inbox::{Item, Taken},
    memory::Allowance,
};

struct Port {
    clients: Arc<Clients>,
    inbox: Arc<Inbox>,
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Port {
    async fn open(manners: Manners) -> Port {
        Port::open_with(manners, Allowance { clients_max: 100, bytes: 256 << 20 }).await
    }

    async fn open_with(manners: Manners, allowance: Allowance) -> Port {
        let counters = Arc::new(Counters::default());
        let clients = Arc::new(Clients::new(NodeId(7), 60_000, allowance, counters.clone()));
        clients.set_ensemble(EnsembleId { id: 0xabcd, history: 1 });
        let inbox = Arc::new(Inbox::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let port = ClientPort {
            clients: clients.clone(),
            inbox: inbox.clone(),
            counters,
            clients_max: allowance.clients_max,
            frames: FrameRoom::new(allowance.frames()),
            manners,
        };
        let task = tokio::spawn(Arc::new(port).run(listener));
        Port { clients, inbox, address, task }
    }

    async fn connect(&self) -> Talk {
        Talk { stream: TcpStream::connect(self.address).await.unwrap(), buffer: BytesMut::new() }
    }

    /// A connection that has been welcomed.
    async fn greet(&self) -> Talk {
        let mut talk = self.connect().await;
        talk.ask(hello(1, 1, None)).await;
        let Some(Answer::Welcome(_)) = talk.answer().await else { panic!("no welcome") };
        talk
    }

    /// The next events that the driver would see.
    async fn all_events(&self, count: usize) -> Vec<Event> {
        self.events_but(count, |_| false).await
    }

    /// The same without those that name clients.
    async fn events(&self, count: usize) -> Vec<Event> {
        self.events_but(count, |event| matches!(event, Event::ClientNamed { .. })).await
    }

    async fn events_but(&self, count: usize, skipped: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let mut taken = Taken::default();
            self.inbox.take(&mut taken, std::time::Instant::now());
            events.extend(taken.clients.into_iter().filter(|event| !skipped(event)));
            tokio::task::yield_now().await;
        }
        events
    }

    fn respond(&self, client: ClientId, id: u64) {
        let written = v1::Written { revision: 9, version: 1 };
        let response = v1::Response { id, revision: 9, result: Some(v1::response::Result::Written(written)) };
        self.clients.answer([(client, response)].into_iter()).iter().for_each(|client| client.outbox.flush());
    }
}

struct Talk {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Talk {
    async fn ask(&mut self, body: Ask) {
        let mut bytes = BytesMut::new();
        frame::encode(&v1::ClientFrame { body: Some(body) }, limits::CLIENT_FRAME_MAX, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next frame, or `None` if the node has closed the connection.
    async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some(bytes) = frame::decode_frame(&mut self.buffer, limits::CLIENT_FRAME_MAX).unwrap() {
                return Some(v1::ServerFrame::decode(bytes).unwrap().body.unwrap());
            }
            // A connection that gives way is reset.
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The error that ends the connection.
    async fn farewell(&mut self) -> v1::Error {
        let Some(Answer::Error(error)) = self.answer().await else { panic!("no error") };
        assert_eq!(self.answer().await, None, "the connection ends behind an error");
        error
    }

    async fn response(&mut self) -> v1::Response {
        match self.answer().await {
            Some(Answer::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }
}

fn hello(protocol_min: u32, protocol_max: u32, ensemble: Option<v1::EnsembleRef>) -> Ask {
    Ask::Hello(v1::Hello { protocol_min, protocol_max, client: "test".into(), version: "1".into(), ensemble })
}

fn get(id: u64) -> Ask {
    let operation = Some(Operation::Get(v1::Get { key: "k".into(), ..v1::Get::default() }));
    Ask::Request(v1::Request { id, operation, ..v1::Request::default() })
}

fn refusal(response: v1::Response) -> v1::Error {
    match response.result {
        Some(v1::response::Result::Error(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hello_is_answered_with_ensemble_limits_and_view() {
    let port = Port::open(Manners::default()).await;
    port.clients.set_view(v1::View { role: v1::Role::Leading.into(), leader: "a:3".into(), members: vec![] });
    let mut talk = port.connect().await;
    let known = v1::EnsembleRef { id: 0xabcd_u128.to_be_bytes().to_vec().into(), history: 1 };
    talk.ask(hello(0, 9, Some(known.clone()))).await;
    let Some(Answer::Welcome(welcome)) = talk.answer().await else { panic!("no welcome") };
    assert_eq!((welcome.protocol, welcome.node, welcome.ensemble), (1, 7, Some(known)));
    assert_eq!(welcome.limits, Some(limits::advertised(60_000)));
    assert_eq!(welcome.view.unwrap().leader, "a:3");
}

#[tokio::test]
async fn hellos_that_do_not_fit_are_refused_in_words() {
    let port = Port::open(Manners::default()).await;
    let stranger = v1::EnsembleRef { id: vec![1; 16].into(), history: 1 };
    for (ask, kind, words) in [
        (hello(2, 5, None), ErrorKind::Unsupported, "this node speaks protocol 1, the client 2 to 5"),
        (hello(1, 1, Some(stranger)), ErrorKind::InvalidArgument, "another ensemble"),
        (get(1), ErrorKind::InvalidArgument, "the first frame of a connection is a Hello"),
    ] {
        let mut talk = port.connect().await;
        talk.ask(ask).await;
        let error = talk.farewell().await;
        assert_eq!(error.error_kind(), kind);
        assert!(error.message.contains(words), "{}", error.message);
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let manners = Manners { hello_timeout: Duration::from_millis(1), ..Manners::default() };
    let port = Port::open(manners).await;
    assert_eq!(port.connect().await.farewell().await.error_kind(), ErrorKind::DeadlineExceeded);
}

#[tokio::test]
async fn requests_go_in_order_and_answers_come_as_they_are_given() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    for id in 1..=3 {
        talk.ask(get(id)).await;
    }
    let events = port.events(3).await;
    let mut client = None;
    for (event, expected) in events.iter().zip(1..) {
        let Event::Request { client: from, request } = event else { panic!("{event:?}") };
        assert_eq!(request.id, expected);
        client = Some(*from);
    }
    for id in [2, 3, 1] {
        port.respond(client.unwrap(), id);
        assert_eq!(talk.response().await.id, id);
    }
}

#[tokio::test]
async fn a_cancelled_request_is_not_answered() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    talk.ask(get(1)).await;
    talk.ask(Ask::Cancel(v1::Cancel { id: 1 })).await;
    // One that nobody waits for changes nothing.
    talk.ask(Ask::Cancel(v1::Cancel { id: 99 })).await;
    talk.ask(get(2)).await;
    let events = port.events(3).await;
    let Event::Request { client, .. } = events[0] else { panic!("{events:?}") };
    assert!(matches!(events[1], Event::Cancel { id: 1, .. }), "{events:?}");
    assert!(matches!(&events[2], Event::Request { request, .. } if request.id == 2), "{events:?}");
    port.respond(client, 1);
    port.respond(client, 2);
    assert_eq!(talk.response().await.id, 2);
}

#[tokio::test]
async fn a_ping_is_answered_at_once_and_is_a_contact_of_its_session() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    talk.ask(Ask::Ping(v1::Ping { nonce: 5, session: 0 })).await;
    talk.ask(Ask::Ping(v1::Ping { nonce: 6, session: 77 })).await;
    for nonce in [5, 6] {
        assert_eq!(talk.answer().await, Some(Answer::Pong(v1::Pong { nonce })));
    }
    assert!(matches!(port.events(1).await[0], Event::Contact { session: 77 }));
}

#[tokio::test]
async fn an_unknown_request_is_unsupported_and_the_connection_goes_on() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    // Field 60 of a Request: an operation that is not made yet.
    let mut request = v1::Request { id: 4, ..v1::Request::default() }.encode_to_vec();
    request.extend([0xe2, 0x03, 0x00]);
    let mut bytes = vec![0x12, request.len() as u8];
    bytes.extend(request);
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    talk.stream.write_all(&[&length[..], &bytes].concat()).await.unwrap();
    let response = talk.response().await;
    assert_eq!(response.id, 4);
    let error = refusal(response);
    assert_eq!((error.error_kind(), error.outcome), (ErrorKind::Unsupported, v1::Outcome::NotApplied as i32));
    talk.ask(Ask::Ping(v1::Ping { nonce: 1, session: 0 })).await;
    assert!(matches!(talk.answer().await, Some(Answer::Pong(_))));
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection_with_the_reason() {
    let port = Port::open(Manners::default()).await;
    for (bytes, kind, words) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], ErrorKind::TooLarge, "exceeds the limit of 1114112"),
        (&[0, 0, 0, 2, 0x12, 0x7f], ErrorKind::InvalidArgument, "no ClientFrame"),
        (&[0, 0, 0, 0], ErrorKind::Unsupported, "kind that this node does not know"),
        (&[0xff, 0xff, 0xff, 0xff], ErrorKind::TooLarge, "4294967295 bytes"),
    ] {
        for greeted in [false, true] {
            let mut talk = if greeted { port.greet().await } else { port.connect().await };
            talk.stream.write_all(bytes).await.unwrap();
            let error = talk.farewell().await;
            if greeted || kind != ErrorKind::Unsupported {
                assert_eq!(error.error_kind(), kind);
                assert!(error.message.contains(words), "{}", error.message);
            }
        }
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_even_while_it_is_still_being_sent() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    let length = 2 * limits::CLIENT_FRAME_MAX;
    let (mut read, mut write) = talk.stream.into_split();
    let sender = tokio::spawn(async move {
        write.write_all(&u32::try_from(length).unwrap().to_be_bytes()).await.unwrap();
        write.write_all(&vec![0; length]).await
    });
    while read.read_buf(&mut talk.buffer).await.unwrap() > 0 {}
    let bytes = frame::decode_frame(&mut talk.buffer, limits::CLIENT_FRAME_MAX).unwrap().unwrap();
    let Some(Answer::Error(error)) = v1::ServerFrame::decode(bytes).unwrap().body else { panic!("no error") };
    assert_eq!(error.error_kind(), ErrorKind::TooLarge);
    assert_eq!(
        error.message,
        format!("a frame of {length} bytes exceeds the limit of {}", limits::CLIENT_FRAME_MAX)
    );
    sender.await.unwrap().unwrap();
}

#[tokio::test]
async fn too_many_requests_in_flight_are_refused_one_by_one() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    let max = limits::REQUESTS_MAX as u64;
    for id in 1..=max + 1 {
        talk.ask(get(id)).await;
    }
    let response = talk.response().await;
    assert_eq!(response.id, max + 1);
    let error = refusal(response);
    assert_eq!(error.error_kind(), ErrorKind::ResourceExhausted);
    assert!(error.retry_after_ms > 0);
    // An answer makes room for another.
    let events = port.events(max as usize).await;
    let Event::Request { client, .. } = events[0] else { panic!("{events:?}") };
    port.respond(client, 1);
    assert_eq!(talk.response().await.id, 1);
    talk.ask(get(max + 2)).await;
    assert!(matches!(&port.events(1).await[0], Event::Request { request, .. } if request.id == max + 2));
}

#[tokio::test]
async fn an_id_that_does_not_rise_ends_the_connection() {
    let port = Port::open(Manners::default()).await;
    for (first, second) in [(1, 1), (5, 4), (u64::MAX, 0), (0, 0)] {
        let mut talk = port.greet().await;
        talk.ask(get(first)).await;
        // Not even when nobody waits for the first one any more.
        talk.ask(Ask::Cancel(v1::Cancel { id: first })).await;
        talk.ask(get(second)).await;
        let error = talk.farewell().await;
        assert_eq!(error.error_kind(), ErrorKind::InvalidArgument);
        let message = format!("request id {second} comes after {first}: ids rise, and none is used twice");
        assert_eq!(error.message, message);
    }
}

/// Manners of a node whose driver is soon missed, and the driver at work until the guard goes.
fn soon_missed() -> Manners {
    Manners { driver_silence_max: Duration::from_millis(20), ..Manners::default() }
}

async fn driven<T>(port: &Port, talk: impl Future<Output = T>) -> T {
    let stepping = async {
        loop {
            port.inbox.take(&mut Taken::default(), std::time::Instant::now());
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = talk => done,
        never = stepping => never,
    }
}

#[tokio::test]
async fn a_node_whose_driver_hangs_answers_no_ping_before_it_goes_on() {
    let port = Port::open(soon_missed()).await;
    let mut talk = driven(&port, port.greet()).await;
    driven(&port, async {
        talk.ask(Ask::Ping(v1::Ping { nonce: 1, session: 0 })).await;
        assert_eq!(talk.answer().await, Some(Answer::Pong(v1::Pong { nonce: 1 })));
    })
    .await;
    // The driver hangs.
    while port.inbox.is_attended(soon_missed().driver_silence_max) {
        tokio::task::yield_now().await;
    }
    for nonce in 2..=4 {
        talk.ask(Ask::Ping(v1::Ping { nonce, session: 0 })).await;
    }
    // That it has read them shows in what it answers without the driver: a request of no known kind.
    talk.ask(Ask::Request(v1::Request { id: 1, ..v1::Request::default() })).await;
    assert_eq!(talk.response().await.id, 1);
    for nonce in 5..=6 {
        talk.ask(Ask::Ping(v1::Ping { nonce, session: 0 })).await;
    }
    driven(&port, async {
        for nonce in 2..=6 {
            assert_eq!(talk.answer().await, Some(Answer::Pong(v1::Pong { nonce })));
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_whose_driver_hangs_welcomes_nobody() {
    let manners = Manners { hello_timeout: Duration::from_millis(100), ..soon_missed() };
    let port = Port::open(manners).await;
    while port.inbox.is_attended(manners.driver_silence_max) {
        tokio::task::yield_now().await;
    }
    let mut talk = port.connect().await;
    talk.ask(hello(1, 1, None)).await;
    let error = talk.farewell().await;
    assert_eq!(error.error_kind(), ErrorKind::Unavailable);
    assert!(error.message.contains("its driver has not stepped"), "{}", error.message);
    driven(&port, port.greet()).await;
}

#[tokio::test]
async fn a_node_whose_driver_hangs_does_not_blame_its_clients() {
    let port = Port::open(soon_missed()).await;
    let mut talk = driven(&port, port.greet()).await;
    while port.inbox.is_attended(soon_missed().driver_silence_max) {
        tokio::task::yield_now().await;
    }
    for id in 1..=limits::REQUESTS_MAX as u64 + 1 {
        talk.ask(get(id)).await;
    }
    let error = refusal(talk.response().await);
    assert_eq!(error.error_kind(), ErrorKind::Unavailable);
    assert_eq!(error.outcome, v1::Outcome::NotApplied as i32);
}

#[tokio::test]
async fn the_node_hears_which_program_on_which_machine_a_client_is() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.connect().await;
    let name = "line\n".to_owned() + &"x".repeat(100);
    talk.ask(Ask::Hello(v1::Hello {
        protocol_min: 1,
        protocol_max: 1,
        client: name,
        version: "1".into(),
        ensemble: None,
    }))
    .await;
    talk.ask(get(1)).await;
    let events = port.all_events(2).await;
    let Event::ClientNamed { client, name } = &events[0] else { panic!("{events:?}") };
    assert_eq!(**name, *format!("127.0.0.1 \"line\\n{}\" \"1\"", "x".repeat(59)));
    assert!(matches!(&events[1], Event::Request { client: who, .. } if who == client), "{events:?}");
}

#[tokio::test]
async fn the_node_hears_when_a_client_is_gone() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    talk.ask(get(1)).await;
    let Event::Request { client, .. } = port.events(1).await[0] else { panic!("no request") };
    drop(talk);
    let gone = port.events(1).await;
    assert!(matches!(&gone[0], Event::ClientGone { client: who } if *who == client), "{gone:?}");
    // Nobody is there to take it.
    port.respond(client, 1);
}

#[tokio::test]
async fn a_changed_view_is_told_to_everybody() {
    let port = Port::open(Manners::default()).await;
    let (mut one, mut two) = (port.greet().await, port.greet().await);
    let view = v1::View { role: v1::Role::Following.into(), leader: "b:3".into(), members: vec![] };
    port.clients.set_view(view.clone());
    for talk in [&mut one, &mut two] {
        assert_eq!(talk.answer().await, Some(Answer::View(view.clone())));
    }
}

#[tokio::test]
async fn connections_are_bounded() {
    let port = Port::open_with(Manners::default(), Allowance { clients_max: 1, bytes: 256 << 20 }).await;
    let first = port.greet().await;
    let error = port.connect().await.farewell().await;
    assert_eq!(error.error_kind(), ErrorKind::ResourceExhausted);
    assert!(error.message.contains("no more than 1 connections"), "{}", error.message);
    drop(first);
    // Room again, as soon as the port has noticed.
    loop {
        let mut talk = port.connect().await;
        talk.ask(hello(1, 1, None)).await;
        if let Some(Answer::Welcome(_)) = talk.answer().await {
            break;
        }
    }
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_then_closed() {
    let round = Duration::from_millis(5);
    let port = Port::open(Manners { round, ping_after: 2, close_after: 40, ..Manners::default() }).await;
    let mut talk = port.greet().await;
    assert!(matches!(talk.answer().await, Some(Answer::Ping(_))));
    while let Some(frame) = talk.answer().await {
        assert!(matches!(frame, Answer::Ping(_)), "{frame:?}");
    }
}

#[tokio::test]
async fn that_large_answers_are_out_is_reported_once() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    let respond = |client, id, length: usize| {
        let entry = v1::Entry { value: vec![0; length].into(), ..v1::Entry::default() };
        let response = v1::Response { id, revision: 0, result: Some(v1::response::Result::Entry(entry)) };
        port.clients.answer([(client, response)].into_iter()).iter().for_each(|client| client.outbox.flush());
    };
    let ask = async |talk: &mut Talk, id| {
        talk.ask(get(id)).await;
        let Event::Request { client, .. } = port.events(1).await[0] else { panic!("no request") };
        client
    };
    let reports = || {
        let mut taken = Taken::default();
        port.inbox.take(&mut taken, std::time::Instant::now());
        assert!(taken.clients.is_empty());
        let reported = |item| match item {
            Item::Event(Event::Sent { client }) => client,
            _ => panic!("not a report"),
        };
        taken.peers.into_iter().map(reported).collect::<Vec<_>>()
    };
    let client = ask(&mut talk, 1).await;
    respond(client, 1, 100);
    talk.response().await;
    assert_eq!(reports(), [], "it is small");
    ask(&mut talk, 2).await;
    ask(&mut talk, 3).await;
    respond(client, 2, 5_000);
    respond(client, 3, 5_000);
    talk.response().await;
    talk.response().await;
    // Written by the one who answered, since the socket takes as much as this.
    assert_eq!(reports(), [client]);
    assert!(port.clients.report_holds(client));
    // The node does not know that the client has cancelled.
    ask(&mut talk, 4).await;
    talk.ask(Ask::Cancel(v1::Cancel { id: 4 })).await;
    assert!(matches!(port.events(1).await[0], Event::Cancel { id: 4, .. }));
    respond(client, 4, limits::VALUE_MAX);
    assert_eq!(reports(), [client]);
    // Nobody asks for those who have gone.
    drop(talk);
    assert!(matches!(port.events(1).await[0], Event::ClientGone { .. }));
    assert!(!port.clients.report_holds(client));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let port = Port::open(Manners::default()).await;
    let (mut slow, mut other) = (port.greet().await, port.greet().await);
    let value = bytes::Bytes::from(vec![0; limits::VALUE_MAX]);
    let mut gone = false;
    for id in 0..200 {
        // In the end the connection is closed.
        let mut bytes = BytesMut::new();
        frame::encode(&v1::ClientFrame { body: Some(get(id)) }, limits::CLIENT_FRAME_MAX, &mut bytes)
            .unwrap();
        drop(slow.stream.write_all(&bytes).await);
        match port.events(1).await[0] {
            Event::Request { client, .. } => {
                let entry = v1::Entry { value: value.clone(), ..v1::Entry::default() };
                let result = Some(v1::response::Result::Entry(entry));
                let response = v1::Response { id, revision: 0, result };
                let touched = port.clients.answer([(client, response)].into_iter());
                touched.iter().for_each(|client| client.outbox.flush());
            }
            Event::ClientGone { .. } => {
                gone = true;
                break;
            }
            ref event => panic!("{event:?}"),
        }
    }
    assert!(gone);
    other.ask(get(1)).await;
    assert!(matches!(&port.events(1).await[0], Event::Request { request, .. } if request.id == 1));
}

fn allowance(clients_max: usize) -> Allowance {
    Allowance { clients_max, bytes: 16 << 20 }
}

#[tokio::test]
async fn whoever_says_nothing_gives_way_to_whoever_speaks() {
    let port = Port::open_with(Manners::default(), allowance(2)).await;
    let mut greeted = port.greet().await;
    let mut silent = port.connect().await;
    let mut newest = port.greet().await;
    assert_eq!(silent.answer().await, None, "the silent one is closed");
    // Nobody is left who says nothing.
    let error = port.connect().await.farewell().await;
    assert_eq!(error.error_kind(), ErrorKind::ResourceExhausted);
    for talk in [&mut greeted, &mut newest] {
        talk.ask(Ask::Ping(v1::Ping { nonce: 1, session: 0 })).await;
        assert!(matches!(talk.answer().await, Some(Answer::Pong(_))));
    }
}

#[tokio::test]
async fn whoever_answers_no_ping_gives_way() {
    let round = Duration::from_millis(5);
    let manners = Manners { round, ping_after: 1, close_after: u64::MAX, ..Manners::default() };
    let port = Port::open_with(manners, allowance(1)).await;
    let mut dumb = port.greet().await;
    assert!(matches!(dumb.answer().await, Some(Answer::Ping(_))));
    // As soon as a round has passed.
    loop {
        let mut talk = port.connect().await;
        talk.ask(hello(1, 1, None)).await;
        if let Some(Answer::Welcome(_)) = talk.answer().await {
            break;
        }
    }
    while let Some(frame) = dumb.answer().await {
        assert!(matches!(frame, Answer::Ping(_)), "{frame:?}");
    }
}

#[tokio::test]
async fn a_hello_is_short() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.connect().await;
    talk.stream.write_all(&(HELLO_MAX as u32 + 1).to_be_bytes()).await.unwrap();
    let error = talk.farewell().await;
    assert_eq!(error.error_kind(), ErrorKind::TooLarge);
    assert!(error.message.contains("exceeds the limit of 4096"), "{}", error.message);
}

/// A connection that announces a frame of the maximal length, and sends some of it.
async fn announce(port: &Port) -> Talk {
    let mut talk = port.greet().await;
    let length = u32::try_from(limits::CLIENT_FRAME_MAX).unwrap().to_be_bytes();
    talk.stream.write_all(&[&length[..], &[0; 100]].concat()).await.unwrap();
    talk
}

#[tokio::test]
async fn whoever_has_room_for_a_frame_and_dawdles_makes_room_for_others() {
    let port = Port::open_with(Manners::default(), allowance(10)).await;
    // Room for three, and a little.
    let mut dawdlers = Vec::new();
    for _ in 0..3 {
        dawdlers.push(announce(&port).await);
    }
    let mut honest = port.greet().await;
    let value = bytes::Bytes::from(vec![1; limits::VALUE_MAX]);
    let set = Operation::Set(v1::Set { key: "k".into(), value: value.clone() });
    honest.ask(Ask::Request(v1::Request { id: 1, operation: Some(set), ..v1::Request::default() })).await;
    let request = loop {
        // Before it, those may be reported gone who have dawdled.
        let mut events = port.events(1).await.into_iter();
        if let Some(Event::Request { request, .. }) =
            events.find(|event| matches!(event, Event::Request { .. }))
        {
            break request;
        }
    };
    assert!(matches!(&request.operation, Some(Operation::Set(set)) if set.value == value));
    let error = dawdlers[0].farewell().await;
    assert_eq!(error.error_kind(), ErrorKind::DeadlineExceeded);
}

#[tokio::test]
async fn a_request_keeps_no_more_memory_than_it_is_counted_for() {
    let port = Port::open(Manners::default()).await;
    let mut talk = port.greet().await;
    // A small key behind a megabyte of a field that nobody knows.
    let request = v1::Request {
        id: 1,
        operation: Some(Operation::Get(v1::Get { key: "key".into(), ..v1::Get::default() })),
        ..v1::Request::default()
    };
    let mut body = vec![0xe2, 0x03];
    prost::encoding::encode_varint(limits::VALUE_MAX as u64, &mut body);
    body.extend(vec![0; limits::VALUE_MAX]);
    body.extend(request.encode_to_vec());
    let mut frame = vec![0x12];
    prost::encoding::encode_varint(body.len() as u64, &mut frame);
    frame.extend(body);
    let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
    talk.stream.write_all(&[&length[..], &frame].concat()).await.unwrap();
    let Event::Request { request, .. } = port.events(1).await.remove(0) else { panic!("no request") };
    let Some(Operation::Get(v1::Get { key, .. })) = request.operation else { panic!("no get") };
    assert_eq!(key, "key");
    // It shares its memory with nothing: what can be made mutable has one owner, and ends where it ends.
    assert_eq!(key.try_into_mut().expect("its own").capacity(), 3);
}

#[tokio::test]
async fn a_client_that_has_more_waiting_than_is_left_is_refused_and_another_is_not() {
    let port = Port::open_with(Manners::default(), allowance(10)).await;
    let (mut greedy, mut other) = (port.greet().await, port.greet().await);
    // 4 MiB for requests: half of them for one alone.
    let add = |id| {
        let add = v1::Add { key: "k".into(), value: vec![0; 500_000].into() };
        Ask::Request(v1::Request { id, operation: Some(Operation::Add(add)), ..v1::Request::default() })
    };
    for id in 1..=5 {
        greedy.ask(add(id)).await;
    }
    let response = greedy.response().await;
    assert_eq!(response.id, 5);
    let error = refusal(response);
    assert_eq!(error.error_kind(), ErrorKind::ResourceExhausted);
    assert!(error.message.contains("this node has too many requests waiting"), "{}", error.message);
    other.ask(add(1)).await;
    assert_eq!(port.events(5).await.len(), 5);
    // What a client had is free when it has gone.
    drop(greedy);
    assert!(matches!(port.events(1).await[0], Event::ClientGone { .. }));
    other.ask(add(2)).await;
    other.ask(add(3)).await;
    assert_eq!(port.events(2).await.len(), 2);
}

#[tokio::test]
async fn when_answers_exceed_their_bound_those_go_who_do_not_read() {
    const DEAF: usize = 12;
    let port = Port::open_with(Manners::default(), allowance(100)).await;
    let answer = |client: ClientId, id: u64| {
        let entry = v1::Entry { value: vec![0; limits::VALUE_MAX].into(), ..v1::Entry::default() };
        let response = v1::Response { id, revision: 0, result: Some(v1::response::Result::Entry(entry)) };
        port.clients.answer([(client, response)].into_iter()).iter().for_each(|client| client.outbox.flush());
    };
    let mut honest = port.greet().await;
    let mut deaf = Vec::new();
    let mut gone = 0;
    for number in 0..DEAF {
        let mut talk = port.greet().await;
        talk.ask(get(1)).await;
        talk.ask(get(2)).await;
        let mut events = port.events(2).await;
        while !matches!(&events[..], [Event::Request { .. }, Event::Request { .. }]) {
            gone += events.iter().filter(|event| matches!(event, Event::ClientGone { .. })).count();
            events.retain(|event| !matches!(event, Event::ClientGone { .. }));
            let missing = 2 - events.len();
            events.extend(port.events(missing).await);
        }
        let Event::Request { client, .. } = events[0] else { panic!("{events:?}") };
        answer(client, 1);
        answer(client, 2);
        deaf.push(talk);
        // One who reads all along, as much at a time as the deaf ones were given.
        honest.ask(get(number as u64)).await;
        let client = loop {
            match port.events(1).await.remove(0) {
                Event::Request { client, .. } => break client,
                Event::ClientGone { .. } => gone += 1,
                event => panic!("{event:?}"),
            }
        };
        answer(client, number as u64);
        assert_eq!(honest.response().await.id, number as u64);
    }
    assert!(gone > 0, "8 MiB hold no 24 MiB");
}
