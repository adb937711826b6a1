//! The port with raw connections; the test takes the driver's part.

mod hello;
mod keepalive;
mod overload;
mod requests;

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use gometa_node::{ClientId, Event};
use gometa_proto::{ErrorKind, frame, limits, v1};
use gometa_zab::{EnsembleId, NodeId};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use v1::{client_frame::Body as Sent, request::Operation, server_frame::Body as Received};

use crate::{
    client::{
        connection::{HELLO_MAX, KeepaliveConfig, PortContext},
        port::ClientPort,
        registry::Clients,
    },
    inbox::{Inbox, Item, Taken},
    memory::ClientLimits,
    net::{frame_budget::FrameBudget, transport::Listener},
    observe::counters::Counters,
};

struct Port {
    clients: Arc<Clients>,
    inbox: Arc<Inbox>,
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

const ENSEMBLE: EnsembleId = EnsembleId { id: 0xabcd, history: 1 };

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Port {
    async fn open(keepalive: KeepaliveConfig) -> Port {
        Port::open_with(keepalive, ClientLimits { clients_max: 100, bytes: 256 << 20 }).await
    }

    async fn open_with(keepalive: KeepaliveConfig, limits: ClientLimits) -> Port {
        let port = Port::of_no_ensemble(keepalive, limits);
        port.clients.set_ensemble(ENSEMBLE);
        port
    }

    /// The port of a node that belongs to no ensemble yet.
    fn of_no_ensemble(keepalive: KeepaliveConfig, limits: ClientLimits) -> Port {
        let counters = Arc::new(Counters::default());
        let clients = Arc::new(Clients::new(NodeId(7), 60_000, limits, counters.clone()));
        let inbox = Arc::new(Inbox::new());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let port = ClientPort {
            context: PortContext {
                clients: clients.clone(),
                inbox: inbox.clone(),
                counters,
                frames: FrameBudget::new(limits.frames()),
                keepalive,
            },
            clients_max: limits.clients_max,
        };
        let task = tokio::spawn(Arc::new(port).run(Listener::from_std(listener).unwrap()));
        Port { clients, inbox, address, task }
    }

    async fn connect(&self) -> Connection {
        Connection { stream: TcpStream::connect(self.address).await.unwrap(), buffer: BytesMut::new() }
    }

    /// A connection that has received its `Welcome`.
    async fn greet(&self) -> Connection {
        let mut connection = self.connect().await;
        connection.send(hello(1, 1, None)).await;
        let Some(Received::Welcome(_)) = connection.receive().await else { panic!("no welcome") };
        connection
    }

    /// The next events of the driver, without those that name clients.
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

    /// The client of the next request.
    async fn requester(&self) -> ClientId {
        let Event::Request { client, .. } = self.events(1).await[0] else { panic!("no request") };
        client
    }

    fn respond(&self, client: ClientId, id: u64) {
        let written = v1::Written { revision: 9, version: 1 };
        self.respond_with(client, id, v1::response::Result::Written(written));
    }

    /// Answers with a value of this length.
    fn respond_value(&self, client: ClientId, id: u64, length: usize) {
        let entry = v1::Entry { value: vec![0; length].into(), ..v1::Entry::default() };
        self.respond_with(client, id, v1::response::Result::Entry(entry));
    }

    fn respond_with(&self, client: ClientId, id: u64, result: v1::response::Result) {
        let response = v1::Response { id, revision: 9, result: Some(result) };
        self.clients.answer([(client, response)].into_iter()).iter().for_each(|client| client.outbox.flush());
    }

    /// Connects until a connection is accepted.
    async fn greet_when_possible(&self) {
        loop {
            let mut connection = self.connect().await;
            connection.send(hello(1, 1, None)).await;
            if let Some(Received::Welcome(_)) = connection.receive().await {
                break;
            }
        }
    }

    /// Waits until the driver counts as stalled.
    async fn stall(&self) {
        while self.inbox.was_taken_within(short_stall().driver_stall_max) {
            tokio::task::yield_now().await;
        }
    }
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    async fn send(&mut self, body: Sent) {
        self.send_frame(&v1::ClientFrame { body: Some(body) }.encode_to_vec()).await;
    }

    /// Sends bytes as one frame. The node may have closed the connection.
    async fn send_frame(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        drop(self.stream.write_all(&[&length[..], frame].concat()).await);
    }

    async fn ping(&mut self, nonce: u64) {
        self.send(Sent::Ping(v1::Ping { nonce, session: 0 })).await;
    }

    /// The next frame, or `None` if the node has closed the connection.
    async fn receive(&mut self) -> Option<Received> {
        loop {
            if let Some(bytes) = frame::decode_frame(&mut self.buffer, limits::CLIENT_FRAME_MAX).unwrap() {
                return Some(v1::ServerFrame::decode(bytes).unwrap().body.unwrap());
            }
            // An evicted connection is reset.
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The error with which the node closes the connection.
    async fn closing_error(&mut self) -> v1::Error {
        let Some(Received::Error(error)) = self.receive().await else { panic!("no error") };
        assert_eq!(self.receive().await, None, "the connection is closed after an error");
        error
    }

    /// Waits until the node closes the connection with an error of this kind, whose message contains `text`.
    async fn closed_with(&mut self, kind: ErrorKind, text: &str) {
        let error = self.closing_error().await;
        assert_eq!(error.error_kind(), kind);
        assert!(error.message.contains(text), "{}", error.message);
    }

    async fn response(&mut self) -> v1::Response {
        match self.receive().await {
            Some(Received::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }
}

fn hello(protocol_min: u32, protocol_max: u32, ensemble: Option<v1::EnsembleRef>) -> Sent {
    Sent::Hello(v1::Hello {
        protocol_min,
        protocol_max,
        client: "test".into(),
        version: "1".into(),
        ensemble,
    })
}

fn get(id: u64) -> Sent {
    let operation = Some(Operation::Get(v1::Get { key: "k".into(), ..v1::Get::default() }));
    Sent::Request(v1::Request { id, operation, ..v1::Request::default() })
}

fn response_error(response: v1::Response) -> v1::Error {
    match response.result {
        Some(v1::response::Result::Error(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A configuration that detects a stalled driver soon.
fn short_stall() -> KeepaliveConfig {
    KeepaliveConfig { driver_stall_max: Duration::from_millis(20), ..KeepaliveConfig::default() }
}

/// Runs a future while the driver takes events.
async fn driven<T>(port: &Port, connection: impl Future<Output = T>) -> T {
    let stepping = async {
        loop {
            port.inbox.take(&mut Taken::default(), std::time::Instant::now());
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = connection => done,
        never = stepping => never,
    }
}

fn small_limits(clients_max: usize) -> ClientLimits {
    ClientLimits { clients_max, bytes: 16 << 20 }
}
