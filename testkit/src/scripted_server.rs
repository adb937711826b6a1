//! A node of the client port whose answers a test writes itself.

use std::{
    io::{self, Write},
    net::SocketAddr,
    process, thread,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
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

pub struct Node {
    listener: TcpListener,
    pub address: String,
}

impl Node {
    /// A node of a test that takes less than a minute: after that the test's process is ended.
    pub async fn start() -> Self {
        let test = thread::current().name().unwrap_or_default().to_owned();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            // `eprintln` would be captured, and lost with the process.
            let _ = writeln!(io::stderr(), "the test {test} hangs");
            process::exit(1);
        });
        Self::start_without_time_limit().await
    }

    pub async fn start_without_time_limit() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    /// An address at which nothing listens.
    pub async fn nowhere() -> String {
        Self::start().await.address
    }

    pub async fn accept_raw(&self) -> TcpStream {
        let (stream, _): (TcpStream, SocketAddr) = self.listener.accept().await.unwrap();
        stream
    }

    /// Reads the Hello of the next connection; the answer is the test's.
    pub async fn accept_hello(&self) -> Link {
        let mut link =
            Link { stream: self.accept_raw().await, buffer: BytesMut::new(), hello: Hello::default() };
        match link.frame().await {
            Some(FromClient::Hello(hello)) => link.hello = hello,
            other => panic!("expected a Hello, got {other:?}"),
        }
        link
    }

    /// Takes the next connection with this Welcome.
    pub async fn accept_with(&self, welcome: Welcome) -> Link {
        let mut link = self.accept_hello().await;
        link.send(FromNode::Welcome(welcome)).await;
        link
    }

    /// Takes the next connection as a leader that names no members.
    pub async fn accept(&self) -> Link {
        self.accept_with(welcome(view(Role::Leading, &self.address, &[]))).await
    }
}

pub fn ensemble(number: u8) -> EnsembleRef {
    EnsembleRef { id: Bytes::from(vec![number; 16]), history: 1 }
}

pub fn view(role: Role, leader: &str, members: &[&str]) -> View {
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

pub fn welcome(view: View) -> Welcome {
    Welcome {
        protocol: 1,
        ensemble: Some(ensemble(1)),
        node: 1,
        version: "test".to_owned(),
        limits: Some(limits::advertised(30_000)),
        view: Some(view),
    }
}

pub fn limited(change: impl FnOnce(&mut Limits)) -> Welcome {
    let mut welcome = welcome(view(Role::Leading, "", &[]));
    change(welcome.limits.as_mut().unwrap());
    welcome
}

pub struct Link {
    stream: TcpStream,
    buffer: BytesMut,
    pub hello: Hello,
}

impl Link {
    /// The next frame, None at the end of the stream.
    pub async fn frame(&mut self) -> Option<FromClient> {
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
    pub async fn next_request(&mut self) -> Option<Request> {
        loop {
            match self.frame().await? {
                FromClient::Request(request) => return Some(request),
                FromClient::Ping(ping) => self.send(FromNode::Pong(Pong { nonce: ping.nonce })).await,
                FromClient::Cancel(_) => {}
                other => panic!("expected a request, got {other:?}"),
            }
        }
    }

    pub async fn request(&mut self) -> Request {
        self.next_request().await.expect("a request, not the end of the stream")
    }

    pub async fn send(&mut self, body: FromNode) {
        let mut buffer = BytesMut::new();
        frame::encode(&ServerFrame { body: Some(body) }, limits::CLIENT_FRAME_MAX, &mut buffer).unwrap();
        self.send_raw(&buffer).await;
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        // The client may be gone already; the test finds out elsewhere.
        let _ = self.stream.write_all(bytes).await;
    }

    pub async fn answer(&mut self, request: &Request, result: response::Result) {
        self.send(FromNode::Response(Response { id: request.id, revision: 0, result: Some(result) })).await;
    }

    /// Answers the next request, and returns it.
    pub async fn answer_next(&mut self, result: response::Result) -> Request {
        let request = self.request().await;
        self.answer(&request, result).await;
        request
    }

    /// Expects the client to open a session and gives it this id; returns the nonce.
    pub async fn open_session(&mut self, session: u64) -> Bytes {
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
    pub async fn serve(mut self, name: &'static str) {
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

pub fn entry(key: &[u8], value: &[u8]) -> response::Result {
    response::Result::Entry(Entry {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        version: 1,
        create_revision: 1,
        mod_revision: 1,
        is_group: false,
    })
}

pub fn written(revision: u64) -> response::Result {
    response::Result::Written(Written { revision, version: 1 })
}

pub fn not_applied(kind: ErrorKind) -> response::Result {
    response::Result::Error(Error::not_applied(kind, kind.text()))
}

pub fn unknown(kind: ErrorKind) -> response::Result {
    response::Result::Error(Error::unknown(kind, kind.text()))
}

/// The (session, seq, lowest) of a write.
pub fn numbers(request: &Request) -> (u64, u64, u64) {
    let v1::WriteContext { session, seq, lowest } = request.write.expect("writes are numbered");
    (session, seq, lowest)
}
