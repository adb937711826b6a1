//! The clients' port: framing, hello, bounds; everything else is the node's.
//!
//! A connection begins with a `Hello` within a time-out and is answered by a `Welcome`. From then on requests
//! go to the node in the order in which they arrive, and answers come as the driver puts them. What is wrong
//! with one request is answered under its id; what is wrong with the stream is answered with an `Error` frame,
//! behind which the connection ends. Keys, values and sessions are not looked at here.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gometa_node::Event;
use gometa_proto::{
    ErrorKind, check,
    frame::{self, FrameError},
    limits, v1,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tracing::debug;

use crate::{
    clients::{Admission, Client, Clients, refuse},
    counters::Counters,
    inbox::Inbox,
    listen,
};

/// How the port treats its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Connections at a time.
    pub(crate) connections_max: usize,
    /// A client that has not said hello after this long is closed.
    pub(crate) hello_timeout: Duration,
    /// Length of the caretaker's round.
    pub(crate) round: Duration,
    /// Silent rounds before a ping.
    pub(crate) ping_after: u64,
    /// Silent rounds before the connection is closed.
    pub(crate) close_after: u64,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            connections_max: 10_000,
            hello_timeout: Duration::from_secs(10),
            round: Duration::from_secs(10),
            ping_after: 3,
            close_after: 9,
        }
    }
}

/// Room for this much is made before each read, in bytes.
const READ_ROOM: usize = 8 << 10;
/// Connections beyond the bound that are told so at a time; further ones are just closed.
const REFUSALS_MAX: usize = 64;
/// How long a connection that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);
/// What a refused client may still send while it lingers, in bytes.
const LINGER_BYTES_MAX: usize = 64 << 20;
/// What a client should wait before it comes back to a full node, in milliseconds.
const RETRY_AFTER_MS: u32 = 100;

/// The port.
pub(crate) struct ClientPort {
    pub(crate) clients: Arc<Clients>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) manners: Manners,
}

impl ClientPort {
    /// Accepts clients for ever, and looks after the silent ones.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(self.manners.connections_max));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let mut rounds = tokio::time::interval(self.manners.round);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stream = tokio::select! {
                stream = listen::accept(&listener) => stream,
                _ = rounds.tick() => {
                    self.clients.care(self.manners.ping_after, self.manners.close_after);
                    continue;
                }
            };
            let port = self.clone();
            if let Ok(permit) = room.clone().try_acquire_owned() {
                tokio::spawn(async move {
                    port.serve(stream).await;
                    drop(permit);
                });
                continue;
            }
            let count = Counters::count(&self.counters.connections_refused);
            debug!("a client was refused, {} are connected ({count} so far)", self.manners.connections_max);
            if let Ok(permit) = refusals.clone().try_acquire_owned() {
                tokio::spawn(async move {
                    port.turn_away(stream).await;
                    drop(permit);
                });
            }
        }
    }

    async fn turn_away(&self, stream: TcpStream) {
        let client = self.clients.make(stream, &self.inbox);
        let max = self.manners.connections_max;
        let error = v1::Error::not_applied(
            ErrorKind::ResourceExhausted,
            format!("this node serves no more than {max} connections"),
        );
        let writing = pin!(client.outbox.run());
        part(&client, error.with_retry_after_ms(RETRY_AFTER_MS), writing).await;
    }

    async fn serve(&self, stream: TcpStream) {
        let client = self.clients.make(stream, &self.inbox);
        let mut conversation = Conversation { port: self, client: &client, buffer: BytesMut::new(), told: 0 };
        let mut writing = pin!(client.outbox.run());
        let end = tokio::select! {
            end = conversation.hold() => end,
            () = &mut writing => End::Gone,
        };
        // First nobody answers it any more, then the node hears that it is gone.
        self.clients.remove(client.id);
        if conversation.told > 0 {
            drop(self.inbox.put_client(&mut vec![(Event::ClientGone { client: client.id }, 0)]).await);
        }
        match end {
            End::Gone => {}
            End::Refused(error) => {
                debug!("client {} was refused: {error}", client.id.0);
                part(&client, error, writing).await;
            }
        }
    }
}

/// Why a conversation is over.
enum End {
    /// The client went, or the node ends.
    Gone,
    /// The client is told this first.
    Refused(v1::Error),
}

impl From<v1::Error> for End {
    fn from(error: v1::Error) -> End {
        End::Refused(error)
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

/// One client's side of a connection.
struct Conversation<'a> {
    port: &'a ClientPort,
    client: &'a Arc<Client>,
    buffer: BytesMut,
    /// Events put into the inbox so far.
    told: u64,
}

impl Conversation<'_> {
    async fn hold(&mut self) -> End {
        match self.converse().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        let hello = timeout(self.port.manners.hello_timeout, self.first()).await.map_err(|_| {
            v1::Error::not_applied(ErrorKind::DeadlineExceeded, "no Hello within the time-out")
        })??;
        if !(hello.protocol_min..=hello.protocol_max).contains(&limits::PROTOCOL_VERSION) {
            let message = format!(
                "this node speaks protocol {}, the client {} to {}",
                limits::PROTOCOL_VERSION,
                hello.protocol_min,
                hello.protocol_max
            );
            return Err(v1::Error::not_applied(ErrorKind::Unsupported, message).into());
        }
        let name = |text: &str| text.chars().take(limits::NAME_MAX).collect::<String>();
        debug!(
            "client {} says hello: {:?} {:?}",
            self.client.id.0,
            name(&hello.client),
            name(&hello.version)
        );
        self.port.clients.welcome(self.client, hello.ensemble.as_ref())?;

        let mut events = Vec::new();
        loop {
            let mut answered = false;
            while let Some(frame) = self.next()? {
                answered |= self.take(frame, &mut events)?;
            }
            if answered {
                self.client.outbox.flush();
            }
            self.told += events.len() as u64;
            self.port.inbox.put_client(&mut events).await.map_err(|_| End::Gone)?;
            self.read().await?;
            self.client.hear(self.port.clients.round());
        }
    }

    /// The hello.
    async fn first(&mut self) -> Result<v1::Hello, End> {
        loop {
            match self.next()? {
                Some(v1::ClientFrame { body: Some(v1::client_frame::Body::Hello(hello)) }) => {
                    return Ok(hello);
                }
                Some(_) => {
                    let message = "the first frame of a connection is a Hello";
                    return Err(v1::Error::not_applied(ErrorKind::InvalidArgument, message).into());
                }
                None => self.read().await?,
            }
        }
    }

    /// The next frame, if it is there whole.
    fn next(&mut self) -> Result<Option<v1::ClientFrame>, End> {
        let bytes: Bytes = match frame::decode_frame(&mut self.buffer, limits::CLIENT_FRAME_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(FrameError::TooLarge(too_large)) => {
                let message =
                    format!("a frame of {} bytes exceeds the limit of {}", too_large.length, too_large.max);
                return Err(self.malformed(v1::Error::not_applied(ErrorKind::TooLarge, message)));
            }
            Err(error) => {
                return Err(
                    self.malformed(v1::Error::not_applied(ErrorKind::InvalidArgument, error.to_string()))
                );
            }
        };
        match check::decode(bytes, limits::CLIENT_ELEMENTS_MAX) {
            Ok(frame) => Ok(Some(frame)),
            Err(error) => {
                let message = format!("a frame that is no ClientFrame: {error}");
                Err(self.malformed(v1::Error::not_applied(ErrorKind::InvalidArgument, message)))
            }
        }
    }

    fn malformed(&self, error: v1::Error) -> End {
        Counters::count(&self.port.counters.clients_malformed);
        error.into()
    }

    /// Waits until more bytes are there.
    async fn read(&mut self) -> io::Result<()> {
        loop {
            self.client.outbox.stream().readable().await?;
            self.buffer.reserve(READ_ROOM);
            match self.client.outbox.stream().try_read_buf(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes in one frame; says whether the outbox is to be flushed.
    fn take(&mut self, frame: v1::ClientFrame, events: &mut Vec<(Event, usize)>) -> Result<bool, End> {
        let client = self.client.id;
        match frame.body {
            Some(v1::client_frame::Body::Request(request)) => return self.request(request, events),
            Some(v1::client_frame::Body::Cancel(v1::Cancel { id })) => {
                if self.client.cancel(id) {
                    events.push((Event::Cancel { client, id }, 0));
                }
            }
            Some(v1::client_frame::Body::Ping(v1::Ping { nonce, session })) => {
                if session != 0 {
                    events.push((Event::Contact { session }, 0));
                }
                let pong = v1::server_frame::Body::Pong(v1::Pong { nonce });
                return Ok(self.client.put(v1::ServerFrame { body: Some(pong) }));
            }
            Some(v1::client_frame::Body::Pong(_)) => {}
            Some(v1::client_frame::Body::Hello(_)) => {
                let message = "a second Hello on one connection";
                return Err(self.malformed(v1::Error::not_applied(ErrorKind::InvalidArgument, message)));
            }
            None => {
                let message = "a frame of a kind that this node does not know";
                return Err(self.malformed(v1::Error::not_applied(ErrorKind::Unsupported, message)));
            }
        }
        Ok(false)
    }

    fn request(&mut self, request: v1::Request, events: &mut Vec<(Event, usize)>) -> Result<bool, End> {
        let id = request.id;
        let Some(operation) = &request.operation else {
            let message = "a request of a kind that this node does not know";
            let error = v1::Error::not_applied(ErrorKind::Unsupported, message);
            return Ok(self.client.put(refuse(id, error)));
        };
        let size = size(operation);
        match self.client.admit(id) {
            Admission::Admitted => {
                events.push((Event::Request { client: self.client.id, request }, size));
                Ok(false)
            }
            Admission::Full => {
                let message =
                    format!("more than {} requests in flight on one connection", limits::REQUESTS_MAX);
                let error = v1::Error::not_applied(ErrorKind::ResourceExhausted, message);
                Ok(self.client.put(refuse(id, error.with_retry_after_ms(RETRY_AFTER_MS))))
            }
            // An answer under this id would be taken for the other one's.
            Admission::Doubled => {
                let message = format!("request id {id} is in flight already");
                Err(self.malformed(v1::Error::unknown(ErrorKind::InvalidArgument, message)))
            }
        }
    }
}

/// What a request holds in memory beyond its struct, in bytes.
fn size(operation: &v1::request::Operation) -> usize {
    use v1::request::Operation::{Add, Cas, Delete, Get, OpenSession, Set, Status};
    match operation {
        Add(add) => add.key.len() + add.value.len(),
        Set(set) => set.key.len() + set.value.len(),
        Cas(cas) => cas.key.len() + cas.value.len(),
        Delete(delete) => delete.key.len(),
        Get(get) => get.key.len(),
        OpenSession(open) => open.nonce.len(),
        Status(_) => 0,
    }
}

/// Tells a client why, behind what is being written to it.
async fn part(client: &Client, error: v1::Error, writing: Pin<&mut impl Future<Output = ()>>) {
    client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Error(error)) });
    client.outbox.close();
    if timeout(LINGER, writing).await.is_ok() {
        listen::linger(client.outbox.stream(), LINGER, LINGER_BYTES_MAX).await;
    }
}

#[cfg(test)]
#[path = "client_port_tests.rs"]
mod tests;
