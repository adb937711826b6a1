//! A node whose every answer is the test's own.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use gometa_client::{Builder, Client};
use gometa_proto::{
    ErrorKind, frame, limits,
    v1::{
        self, ClientFrame, EnsembleRef, Entry, Error, Hello, Limits, Member, Pong, Request, Response, Role,
        ServerFrame, SessionOpened, View, Welcome, Written, client_frame::Body as FromClient,
        request::Operation, response, server_frame::Body as FromNode,
    },
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Fails a test that hangs.
pub(crate) async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs")
}

/// A builder that notices silence soon.
pub(crate) fn builder() -> Builder {
    Client::builder().keepalive(Duration::from_millis(100), Duration::from_millis(200))
}

pub(crate) fn client(nodes: &[&Node]) -> Client {
    builder().build(nodes.iter().map(|node| &node.address)).expect("addresses are fine")
}

pub(crate) struct Node {
    listener: TcpListener,
    pub(crate) address: String,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    /// An address at which nothing listens.
    pub(crate) async fn nowhere() -> String {
        Self::start().await.address
    }

    pub(crate) async fn accept_raw(&self) -> TcpStream {
        let (stream, _): (TcpStream, SocketAddr) = self.listener.accept().await.unwrap();
        stream
    }

    /// Reads the Hello of the next connection; the answer is the test's.
    pub(crate) async fn accept_hello(&self) -> Link {
        let mut link =
            Link { stream: self.accept_raw().await, buffer: BytesMut::new(), hello: Hello::default() };
        match link.frame().await {
            Some(FromClient::Hello(hello)) => link.hello = hello,
            other => panic!("expected a Hello, got {other:?}"),
        }
        link
    }

    /// Takes the next connection with this Welcome.
    pub(crate) async fn accept_with(&self, welcome: Welcome) -> Link {
        let mut link = self.accept_hello().await;
        link.send(FromNode::Welcome(welcome)).await;
        link
    }

    /// Takes the next connection as a leader that names no members.
    pub(crate) async fn accept(&self) -> Link {
        self.accept_with(welcome(view(Role::Leading, &self.address, &[]))).await
    }
}

pub(crate) fn ensemble(number: u8) -> EnsembleRef {
    EnsembleRef { id: Bytes::from(vec![number; 16]), history: 1 }
}

pub(crate) fn view(role: Role, leader: &str, members: &[&str]) -> View {
    let member = |(index, address): (usize, &&str)| Member {
        node: index as u64 + 1,
        message_address: String::new(),
        request_address: (*address).to_owned(),
    };
    View {
        role: role.into(),
        leader: leader.to_owned(),
        members: members.iter().enumerate().map(member).collect(),
    }
}

pub(crate) fn welcome(view: View) -> Welcome {
    Welcome {
        protocol: 1,
        ensemble: Some(ensemble(1)),
        node: 1,
        version: "test".to_owned(),
        limits: Some(limits::advertised(30_000)),
        view: Some(view),
    }
}

pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> Welcome {
    let mut welcome = welcome(view(Role::Leading, "", &[]));
    change(welcome.limits.as_mut().unwrap());
    welcome
}

pub(crate) struct Link {
    stream: TcpStream,
    buffer: BytesMut,
    pub(crate) hello: Hello,
}

impl Link {
    /// The next frame, None at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<FromClient> {
        loop {
            if let Some(bytes) = frame::decode_frame(&mut self.buffer, limits::CLIENT_FRAME_MAX).unwrap() {
                return Some(ClientFrame::decode(bytes).unwrap().body.expect("a frame says something"));
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next request, None at the end of the stream; answers Pings and passes over Cancels on the way.
    pub(crate) async fn next_request(&mut self) -> Option<Request> {
        loop {
            match self.frame().await? {
                FromClient::Request(request) => return Some(request),
                FromClient::Ping(ping) => self.send(FromNode::Pong(Pong { nonce: ping.nonce })).await,
                FromClient::Cancel(_) => {}
                other => panic!("expected a request, got {other:?}"),
            }
        }
    }

    pub(crate) async fn request(&mut self) -> Request {
        self.next_request().await.expect("a request, not the end of the stream")
    }

    pub(crate) async fn send(&mut self, body: FromNode) {
        let mut buffer = BytesMut::new();
        frame::encode(&ServerFrame { body: Some(body) }, limits::CLIENT_FRAME_MAX, &mut buffer).unwrap();
        self.send_raw(&buffer).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        // The client may be gone already; the test finds out elsewhere.
        let _ = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn answer(&mut self, request: &Request, result: response::Result) {
        self.send(FromNode::Response(Response { id: request.id, revision: 0, result: Some(result) })).await;
    }

    /// Expects the client to open a session and gives it this id; returns the nonce.
    pub(crate) async fn open_session(&mut self, session: u64) -> Bytes {
        let request = self.request().await;
        let Some(Operation::OpenSession(open)) = &request.operation else {
            panic!("expected OpenSession, got {request:?}");
        };
        let nonce = open.nonce.clone();
        let opened = SessionOpened { session, timeout_ms: 30_000 };
        self.answer(&request, response::Result::SessionOpened(opened)).await;
        nonce
    }

    /// Answers everything as a healthy node would, with its name as every key's value, until the stream ends.
    pub(crate) async fn serve(mut self, name: &'static str) {
        let mut revision = 0;
        while let Some(request) = self.next_request().await {
            revision += 1;
            let result = match request.operation.as_ref().unwrap() {
                Operation::OpenSession(_) => {
                    response::Result::SessionOpened(SessionOpened { session: 1, timeout_ms: 30_000 })
                }
                Operation::Get(get) => entry(&get.key, name.as_bytes()),
                _ => written(revision),
            };
            self.answer(&request, result).await;
        }
    }
}

pub(crate) fn entry(key: &[u8], value: &[u8]) -> response::Result {
    response::Result::Entry(Entry {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        version: 1,
        create_revision: 1,
        mod_revision: 1,
    })
}

pub(crate) fn written(revision: u64) -> response::Result {
    response::Result::Written(Written { revision, version: 1 })
}

pub(crate) fn not_applied(kind: ErrorKind) -> response::Result {
    response::Result::Error(Error::not_applied(kind, kind.text()))
}

pub(crate) fn unknown(kind: ErrorKind) -> response::Result {
    response::Result::Error(Error::unknown(kind, kind.text()))
}

/// The (session, seq, lowest) of a write.
pub(crate) fn numbers(request: &Request) -> (u64, u64, u64) {
    let v1::WriteContext { session, seq, lowest } = request.write.expect("writes are numbered");
    (session, seq, lowest)
}
