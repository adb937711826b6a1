//! The clients' port: framing, hello, bounds; everything else is the node's.
//!
//! A connection begins with a `Hello` within a time-out and is answered by a `Welcome`. From then on requests
//! go to the node in the order in which they arrive, and answers come as the driver puts them. What is wrong
//! with one request is answered under its id; what is wrong with the stream is answered with an `Error` frame,
//! behind which the connection ends. Keys, values and sessions are not looked at here.
//!
//! A `Pong` and a `Welcome` vouch for the driver: without a step of it for two heartbeats they wait, and clients leave
//! a node whose sockets are served and whose driver hangs.
//!
//! Whoever connects is taken for hostile until it has said hello, and for greedy ever after: what a connection holds
//! without asking is little ([`CONNECTION_BYTES`](crate::memory::CONNECTION_BYTES)), a larger frame waits for room before it is read, no frame
//! may dawdle, and when there are too many connections those go first that say nothing.

use std::{
    cell::RefCell,
    collections::VecDeque,
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
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, timeout, timeout_at},
};
use tracing::debug;

use crate::{
    client::registry::{Admission, Client, Clients, refuse},
    inbox::Inbox,
    memory::SMALL_FRAME,
    net::{
        frame_budget::{self, FrameRoom},
        listen,
    },
    observe::counters::Counters,
};

/// How the port treats its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// A client that has not said hello after this long is closed.
    pub(crate) hello_timeout: Duration,
    /// Length of the caretaker's round.
    pub(crate) round: Duration,
    /// Silent rounds before a ping.
    pub(crate) ping_after: u64,
    /// Silent rounds before the connection is closed.
    pub(crate) close_after: u64,
    /// A node whose driver has not stepped for this long gives no sign of life: two heartbeats.
    pub(crate) driver_silence_max: Duration,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            hello_timeout: Duration::from_secs(10),
            round: Duration::from_secs(10),
            ping_after: 3,
            close_after: 9,
            driver_silence_max: Duration::from_secs(1),
        }
    }
}

/// Bytes read at a time.
const READ_ROOM: usize = 8 << 10;
/// Events taken out of what was read before they are put into the inbox: a few bytes make an event, which is much
/// larger.
const EVENTS_MAX: usize = 32;
/// A request that shares its memory with more than this, and a quarter of itself, gets memory of its own.
const COPY_MIN: usize = 256;
/// A hello and what it names are shorter than this.
const HELLO_MAX: usize = SMALL_FRAME;
/// What is written and cannot be sent yet stays here, where it is accounted, and not in the system's buffers; only
/// so much is left to those, in bytes.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 128 << 10;
/// Connections for which another one makes room, at a time; further ones are just closed.
const SUCCESSORS_MAX: usize = 64;
/// How long that may take.
const SUCCESSION: Duration = Duration::from_secs(1);
/// A client that has not read more than this is not told why it is closed, in bytes.
const UNREAD_MAX: usize = 8 << 10;
/// Connections beyond the bound that are told so at a time; further ones are just closed.
const REFUSALS_MAX: usize = 64;
/// How long a connection that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);
/// What a refused client may still send while it lingers, in bytes.
const LINGER_BYTES_MAX: usize = 64 << 20;
/// Pings of one client that wait for the driver to go on; of more, the oldest are not answered.
const PINGS_MAX: usize = 16;
/// What a client should wait before it comes back to a full node, in milliseconds.
const RETRY_AFTER_MS: u32 = 100;

/// The port.
pub(crate) struct ClientPort {
    pub(crate) clients: Arc<Clients>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
    /// Connections at a time.
    pub(crate) clients_max: usize,
    /// For large frames that are arriving.
    pub(crate) frames: FrameRoom,
    pub(crate) manners: Manners,
}

thread_local! {
    /// What is read, until it is known how much it is.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_ROOM].into());
}

impl ClientPort {
    /// Accepts clients for ever, and looks after the silent ones.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(self.clients_max));
        let successors = Arc::new(Semaphore::new(SUCCESSORS_MAX));
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
            // Where the system has no such thing, it keeps its own bounds.
            #[cfg(target_os = "linux")]
            drop(SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX));
            if let Ok(permit) = room.clone().try_acquire_owned() {
                // Known before the next one comes, for which it may have to make room.
                let client = self.clients.enter(stream, &self.inbox);
                tokio::spawn(self.clone().serve(client, permit));
                continue;
            }
            if let Ok(successor) = successors.clone().try_acquire_owned() {
                if self.clients.make_room(self.manners.ping_after) {
                    let client = self.clients.enter(stream, &self.inbox);
                    let (port, room) = (self.clone(), room.clone());
                    tokio::spawn(async move {
                        match timeout(SUCCESSION, room.acquire_owned()).await {
                            Ok(Ok(permit)) => {
                                drop(successor);
                                port.serve(client, permit).await;
                            }
                            _ => port.clients.leave(client.id),
                        }
                    });
                    continue;
                }
            } else {
                // Room is being made as fast as it can be.
                Counters::count(&self.counters.connections_refused);
                continue;
            }
            let count = Counters::count(&self.counters.connections_refused);
            debug!("a client was refused, {} are connected ({count} so far)", self.clients_max);
            if let Ok(permit) = refusals.clone().try_acquire_owned() {
                let port = self.clone();
                tokio::spawn(async move {
                    port.turn_away(stream).await;
                    drop(permit);
                });
            }
        }
    }

    /// Whether the driver has stepped of late, so that this node may give a sign of life.
    fn driver_steps(&self) -> bool {
        self.inbox.is_attended(self.manners.driver_silence_max)
    }

    async fn turn_away(&self, stream: TcpStream) {
        let client = self.clients.make(stream, &self.inbox);
        let max = self.clients_max;
        let error = v1::Error::not_applied(
            ErrorKind::ResourceExhausted,
            format!("this node serves no more than {max} connections"),
        );
        let writing = pin!(client.outbox.run());
        part(&client, error.with_retry_after_ms(RETRY_AFTER_MS), writing).await;
    }

    async fn serve(self: Arc<Self>, client: Arc<Client>, _permit: OwnedSemaphorePermit) {
        let mut writing = pin!(client.outbox.run());
        let (end, told) = {
            let mut conversation = Conversation::new(&self, &client);
            let end = tokio::select! {
                end = conversation.hold() => end,
                () = &mut writing => End::Gone,
            };
            (end, conversation.told)
        };
        // First nobody answers it any more, then the node hears that it is gone.
        self.clients.part(&client);
        if told > 0 {
            drop(self.inbox.put_client(&mut vec![(Event::ClientGone { client: client.id }, 0)]).await);
        }
        match end {
            End::Gone => {}
            End::Refused(error) => {
                debug!("client {} was refused: {error}", client.id.0);
                part(&client, error, writing).await;
            }
        }
        self.clients.leave(client.id);
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
    /// What has arrived and is no whole frame yet.
    buffer: BytesMut,
    /// Since when, if anything has.
    begun: Option<Instant>,
    /// What was there when the last frames were cut off it, in bytes: they share its memory.
    block: usize,
    /// Room for the large frame that is arriving.
    room: Option<SemaphorePermit<'a>>,
    greeted: bool,
    /// The highest id of a request so far: no id is used twice.
    last_id: Option<u64>,
    /// Nonces of pings that are answered when the driver goes on.
    pings: VecDeque<u64>,
    /// Events put into the inbox so far.
    told: u64,
}

impl<'a> Conversation<'a> {
    fn new(port: &'a ClientPort, client: &'a Arc<Client>) -> Conversation<'a> {
        let buffer = BytesMut::new();
        Conversation {
            port,
            client,
            buffer,
            begun: None,
            block: 0,
            room: None,
            greeted: false,
            last_id: None,
            pings: VecDeque::new(),
            told: 0,
        }
    }

    async fn hold(&mut self) -> End {
        match self.converse().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        let first = timeout(self.port.manners.hello_timeout, self.first()).await;
        let hello = first.map_err(|_| {
            v1::Error::not_applied(ErrorKind::DeadlineExceeded, "no Hello within the time-out")
        })??;
        let patience = self.port.manners.hello_timeout;
        timeout(patience, self.port.inbox.attended(self.port.manners.driver_silence_max)).await.map_err(
            |_| {
                let message =
                    format!("this node does not respond: its driver has not stepped for {patience:?}");
                v1::Error::not_applied(ErrorKind::Unavailable, message)
            },
        )?;
        let mut events = vec![(self.greet(hello)?, 0)];
        loop {
            let mut answered = false;
            self.block = self.buffer.len();
            while let Some(frame) = self.next()? {
                answered |= self.take(frame, &mut events)?;
                if events.len() >= EVENTS_MAX {
                    self.pass_on(&mut events).await?;
                }
            }
            if answered {
                self.client.outbox.flush();
                self.port.clients.relieve();
            }
            self.pass_on(&mut events).await?;
            self.tidy();
            self.vouch().await?;
            self.read().await?;
            self.client.hear(self.port.clients.round());
        }
    }

    async fn pass_on(&mut self, events: &mut Vec<(Event, usize)>) -> Result<(), End> {
        self.told += events.len() as u64;
        self.port.inbox.put_client(events).await.map_err(|_| End::Gone)
    }

    /// Welcomes a client; the event that tells the node who it is.
    fn greet(&mut self, hello: v1::Hello) -> Result<Event, End> {
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
        let program = format!("{:?} {:?}", name(&hello.client), name(&hello.version));
        debug!("client {} says hello: {program}", self.client.id.0);
        self.greeted = true;
        self.port.clients.welcome(self.client, hello.ensemble.as_ref())?;
        // Without the port: the connections of one program on one machine are counted together.
        let address = self.client.outbox.stream().peer_addr()?.ip().to_canonical();
        Ok(Event::ClientNamed { client: self.client.id, name: format!("{address} {program}").into() })
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
                None => {
                    self.tidy();
                    self.read().await?;
                }
            }
        }
    }

    /// The next frame, if it is there whole.
    fn next(&mut self) -> Result<Option<v1::ClientFrame>, End> {
        if let Some(length) = announced(&self.buffer) {
            if !self.greeted && (HELLO_MAX + 1..=limits::CLIENT_FRAME_MAX).contains(&length) {
                let message = format!("a first frame of {length} bytes exceeds the limit of {HELLO_MAX}");
                return Err(self.malformed(v1::Error::not_applied(ErrorKind::TooLarge, message)));
            }
            // Not even room is made for more than may arrive.
            if length <= limits::CLIENT_FRAME_MAX && self.buffer.len() < frame::PREFIX + length {
                return Ok(None);
            }
        }
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
        self.begun = None;
        // A small frame cannot have so many fields that decoding takes long.
        let checked = match bytes.len() > SMALL_FRAME {
            true => check::check_fields::<v1::ClientFrame>(&bytes, limits::CLIENT_FIELDS_MAX),
            false => Ok(()),
        };
        match checked.and_then(|()| check::decode(bytes, limits::CLIENT_ELEMENTS_MAX)) {
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

    /// Keeps of what has been read no more than what no frame was made of.
    fn tidy(&mut self) {
        if self.room.is_some() && self.begun.is_some() {
            return;
        }
        // What came of a large frame is accounted as a request by now.
        self.room = None;
        // A few bytes left must not keep the memory of all the frames before them.
        self.buffer = BytesMut::from(&self.buffer[..]);
        if !self.buffer.is_empty() {
            self.begun.get_or_insert_with(Instant::now);
        }
    }

    /// Waits until more bytes are there; for a large frame, first until there is room for it.
    async fn read(&mut self) -> Result<(), End> {
        if let Some(length) = announced(&self.buffer)
            && length > SMALL_FRAME
            && self.room.is_none()
        {
            self.room = Some(self.port.frames.take(length).await);
            let mut buffer = BytesMut::with_capacity(frame::PREFIX + length);
            buffer.extend_from_slice(&self.buffer);
            self.buffer = buffer;
            self.begun = Some(Instant::now());
        }
        loop {
            self.readable().await?;
            match self.pull() {
                Ok(0) => return Err(End::Gone),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for bytes: as long as it takes between frames, not so long within one.
    async fn readable(&self) -> Result<(), End> {
        let Some(begun) = self.begun else { return Ok(self.client.outbox.stream().readable().await?) };
        loop {
            let until = begun + self.port.frames.patience(self.buffer.len(), self.room.is_some());
            let look = (Instant::now() + frame_budget::LOOK).min(until);
            match timeout_at(look, self.client.outbox.stream().readable()).await {
                Ok(readable) => return Ok(readable?),
                Err(_) if Instant::now() >= until => {
                    let message = "a frame takes too long to arrive";
                    return Err(self.malformed(v1::Error::not_applied(ErrorKind::DeadlineExceeded, message)));
                }
                Err(_) => {}
            }
        }
    }

    /// Answers pings as soon as the driver steps, or returns when more has arrived.
    async fn vouch(&mut self) -> Result<(), End> {
        if self.pings.is_empty() || self.begun.is_some() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.port.inbox.attended(self.port.manners.driver_silence_max) => {
                if self.answer_pings() {
                    self.client.outbox.flush();
                }
                Ok(())
            }
            readable = self.client.outbox.stream().readable() => Ok(readable?),
        }
    }

    /// Says whether the outbox is to be flushed.
    fn answer_pings(&mut self) -> bool {
        let mut flush = false;
        for nonce in self.pings.drain(..) {
            let pong = v1::server_frame::Body::Pong(v1::Pong { nonce });
            flush |= self.client.put(v1::ServerFrame { body: Some(pong) });
        }
        flush
    }

    fn pull(&mut self) -> io::Result<usize> {
        let stream = self.client.outbox.stream();
        if self.room.is_some() {
            return stream.try_read_buf(&mut self.buffer);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let count = stream.try_read(scratch)?;
            self.buffer.extend_from_slice(&scratch[..count]);
            Ok(count)
        })
    }

    /// Takes in one frame; says whether the outbox is to be flushed.
    fn take(&mut self, frame: v1::ClientFrame, events: &mut Vec<(Event, usize)>) -> Result<bool, End> {
        let client = self.client.id;
        match frame.body {
            Some(v1::client_frame::Body::Request(request)) => return self.request(request, events),
            Some(v1::client_frame::Body::Cancel(v1::Cancel { id })) => {
                if self.client.end(id) {
                    events.push((Event::Cancel { client, id }, 0));
                }
            }
            Some(v1::client_frame::Body::Ping(v1::Ping { nonce, session })) => {
                if session != 0 {
                    events.push((Event::Contact { session }, 0));
                }
                if self.pings.len() >= PINGS_MAX {
                    self.pings.pop_front();
                }
                self.pings.push_back(nonce);
                return Ok(self.port.driver_steps() && self.answer_pings());
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

    fn request(&mut self, mut request: v1::Request, events: &mut Vec<(Event, usize)>) -> Result<bool, End> {
        let id = request.id;
        if let Some(last) = self.last_id.filter(|last| *last >= id) {
            // An answer under this id could be taken for the other one's.
            let message = format!("request id {id} comes after {last}: ids rise, and none is used twice");
            return Err(self.malformed(v1::Error::unknown(ErrorKind::InvalidArgument, message)));
        }
        self.last_id = Some(id);
        let Some(operation) = &mut request.operation else {
            let message = "a request of a kind that this node does not know";
            let error = v1::Error::not_applied(ErrorKind::Unsupported, message);
            return Ok(self.client.put(refuse(id, error)));
        };
        let size = operation.size();
        match self.client.admit(id, size) {
            Admission::Admitted => {
                // A few bytes that wait must not keep the memory of all that was read with them, nor of fields that
                // nobody knows.
                if self.block > size + size / 4 + COPY_MIN {
                    operation.detach();
                }
                events.push((Event::Request { client: self.client.id, request }, size));
                Ok(false)
            }
            refused @ (Admission::Full | Admission::Crowded) => {
                let (kind, message) = if !self.port.driver_steps() {
                    (
                        ErrorKind::Unavailable,
                        "this node does not respond: its driver does not step".to_owned(),
                    )
                } else if refused == Admission::Full {
                    let max = limits::REQUESTS_MAX;
                    (
                        ErrorKind::ResourceExhausted,
                        format!("more than {max} requests in flight on one connection"),
                    )
                } else {
                    (ErrorKind::ResourceExhausted, "this node has too many requests waiting".to_owned())
                };
                let error = v1::Error::not_applied(kind, message);
                Ok(self.client.put(refuse(id, error.with_retry_after_ms(RETRY_AFTER_MS))))
            }
        }
    }
}

/// The length that the first frame in a buffer announces, if that much has arrived.
fn announced(buffer: &BytesMut) -> Option<usize> {
    buffer.first_chunk::<{ frame::PREFIX }>().map(|prefix| u32::from_be_bytes(*prefix) as usize)
}

/// Tells a client why, behind what is being written to it.
async fn part(client: &Client, error: v1::Error, writing: Pin<&mut impl Future<Output = ()>>) {
    if client.outbox.behind().is_some_and(|(bytes, _)| bytes > UNREAD_MAX) {
        // It would hold all of that for as long as it takes to see that it does not read.
        return;
    }
    client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Error(error)) });
    client.outbox.close();
    if timeout(LINGER, writing).await.is_ok() {
        listen::linger(client.outbox.stream(), LINGER, LINGER_BYTES_MAX).await;
    }
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
