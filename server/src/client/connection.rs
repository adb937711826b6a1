//! One client's connection: framing, hello, requests.
//!
//! A connection begins with a `Hello`, within a timeout, which is answered by a `Welcome`. Then requests are passed to the
//! node in the order in which they arrive, and the driver queues the answers. An error of one request is answered under
//! its id; an error of the stream is answered by an `Error` frame, and the connection is closed. Keys, values and
//! sessions are checked by the node.
//!
//! `Welcome` and `Pong` are sent only while the driver steps, so that clients leave a node whose sockets are served and
//! whose driver hangs.
//!
//! Clients are not trusted. Before its `Hello` a connection may send one small frame; a connection uses little memory
//! that is not counted ([`CONNECTION_BYTES`](crate::memory::CONNECTION_BYTES)); a larger frame needs a reservation before it is
//! read, and an incomplete one has a timeout.

use std::{collections::VecDeque, convert::Infallible, io, sync::Arc, time::Duration};

use gometa_node::Event;
use gometa_proto::{ErrorKind, check, limits, v1};
use tokio::time::timeout;
use tracing::debug;

use crate::{
    client::registry::{Admission, Client, Clients, error_response},
    inbox::Inbox,
    memory::SMALL_FRAME_MAX,
    net::{
        frame_budget::FrameBudget,
        frame_reader::{Buffering, FrameReader, ReadError},
    },
    observe::counters::Counters,
};

/// The number of events that are put into the inbox at a time. A few bytes make an event, which is much larger.
const EVENTS_MAX: usize = 32;
/// A request that shares its memory with more bytes than this, and a quarter of itself, is copied.
const SHARED_BYTES_MAX: usize = 256;
/// The longest first frame, in bytes.
pub(super) const HELLO_MAX: usize = SMALL_FRAME_MAX;
/// The number of unanswered pings of one client while the driver does not step; the oldest are dropped.
const PINGS_MAX: usize = 16;
/// The delay that a full node asks clients for, in milliseconds.
pub(super) const RETRY_AFTER_MS: u32 = 100;

/// When connections without traffic are pinged and closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepaliveConfig {
    /// The time for a new connection's `Hello`.
    pub(crate) hello_timeout: Duration,
    /// The time between two keepalive ticks.
    pub(crate) interval: Duration,
    /// The number of idle ticks before a ping.
    pub(crate) ping_after: u64,
    /// The number of idle ticks before the connection is closed.
    pub(crate) close_after: u64,
    /// The time without a step of the driver after which the node sends no `Pong` and no `Welcome`: two heartbeats.
    pub(crate) driver_stall_max: Duration,
}

impl Default for KeepaliveConfig {
    fn default() -> KeepaliveConfig {
        KeepaliveConfig {
            hello_timeout: Duration::from_secs(10),
            interval: Duration::from_secs(10),
            ping_after: 3,
            close_after: 9,
            driver_stall_max: Duration::from_secs(1),
        }
    }
}

/// What all connections of the port use.
pub(crate) struct PortContext {
    pub(crate) clients: Arc<Clients>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
    /// Memory for large frames that are being received.
    pub(crate) frames: FrameBudget,
    pub(crate) keepalive: KeepaliveConfig,
}

impl PortContext {
    /// Whether the driver has stepped recently, so that the node may send a `Pong`.
    fn driver_steps(&self) -> bool {
        self.inbox.was_taken_within(self.keepalive.driver_stall_max)
    }
}

/// Why a connection ends.
pub(super) enum End {
    /// The client has closed it, or the node stops.
    Closed,
    /// It is closed with this error.
    Refused(v1::Error),
}

impl From<v1::Error> for End {
    fn from(error: v1::Error) -> End {
        End::Refused(error)
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Closed
    }
}

/// The incoming half of a connection.
pub(super) struct Connection<'a> {
    context: &'a PortContext,
    client: &'a Arc<Client>,
    reader: FrameReader<'a>,
    /// The bytes buffered when the latest frames were cut off: the frames share their memory.
    shared_bytes: usize,
    is_greeted: bool,
    /// The highest request id so far: ids rise.
    last_id: Option<u64>,
    /// The nonces of pings that are not answered yet.
    pings: VecDeque<u64>,
    has_sent_events: bool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(context: &'a PortContext, client: &'a Arc<Client>) -> Connection<'a> {
        Connection {
            context,
            client,
            reader: FrameReader::new(&context.frames, Buffering::Compact, SMALL_FRAME_MAX),
            shared_bytes: 0,
            is_greeted: false,
            last_id: None,
            pings: VecDeque::new(),
            has_sent_events: false,
        }
    }

    /// Whether the node has received events of this client.
    pub(super) fn has_sent_events(&self) -> bool {
        self.has_sent_events
    }

    /// Reads until the connection ends.
    pub(super) async fn run(&mut self) -> End {
        match self.read_frames().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn read_frames(&mut self) -> Result<Infallible, End> {
        let KeepaliveConfig { hello_timeout, driver_stall_max, .. } = self.context.keepalive;
        let hello = timeout(hello_timeout, self.read_hello()).await.map_err(|_| {
            v1::Error::not_applied(ErrorKind::DeadlineExceeded, "no Hello within the time-out")
        })??;
        timeout(hello_timeout, self.context.inbox.taken_within(driver_stall_max)).await.map_err(|_| {
            let message =
                format!("this node does not respond: its driver has not stepped for {hello_timeout:?}");
            v1::Error::not_applied(ErrorKind::Unavailable, message)
        })?;
        let mut events = vec![(self.welcome(hello)?, 0)];
        loop {
            let mut flush = false;
            self.shared_bytes = self.reader.buffered();
            while let Some(frame) = self.next_frame()? {
                flush |= self.handle(frame, &mut events)?;
                if events.len() >= EVENTS_MAX {
                    self.send_events(&mut events).await?;
                }
            }
            if flush {
                self.client.outbox.flush();
                self.context.clients.shed_load();
            }
            self.send_events(&mut events).await?;
            self.reader.release();
            self.answer_delayed_pings().await?;
            self.read().await?;
            self.client.set_active(self.context.clients.tick());
        }
    }

    async fn send_events(&mut self, events: &mut Vec<(Event, usize)>) -> Result<(), End> {
        self.has_sent_events |= !events.is_empty();
        self.context.inbox.put_client(events).await.map_err(|_| End::Closed)
    }

    /// Answers the `Hello`; returns the event that names the client.
    fn welcome(&mut self, hello: v1::Hello) -> Result<Event, End> {
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
        // Without the port: the connections of one program on one machine are counted together.
        let name = format!("{} {program}", self.client.outbox.stream().peer_ip()?);
        debug!(client = self.client.id.0, name, "client connected");
        self.is_greeted = true;
        self.context.clients.welcome(self.client, hello.ensemble.as_ref())?;
        Ok(Event::ClientNamed { client: self.client.id, name: name.into() })
    }

    async fn read_hello(&mut self) -> Result<v1::Hello, End> {
        loop {
            match self.next_frame()? {
                Some(v1::ClientFrame { body: Some(v1::client_frame::Body::Hello(hello)) }) => {
                    return Ok(hello);
                }
                Some(_) => {
                    let message = "the first frame of a connection is a Hello";
                    return Err(v1::Error::not_applied(ErrorKind::InvalidArgument, message).into());
                }
                None => {
                    self.reader.release();
                    self.read().await?;
                }
            }
        }
    }

    /// The next frame, if it is complete.
    fn next_frame(&mut self) -> Result<Option<v1::ClientFrame>, End> {
        if !self.is_greeted
            && let Some(length) = self.reader.announced_length()
            && (HELLO_MAX + 1..=limits::CLIENT_FRAME_MAX).contains(&length)
        {
            let message = format!("a first frame of {length} bytes exceeds the limit of {HELLO_MAX}");
            return Err(self.malformed(ErrorKind::TooLarge, message));
        }
        let bytes = match self.reader.next(limits::CLIENT_FRAME_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(too_large) => {
                let message =
                    format!("a frame of {} bytes exceeds the limit of {}", too_large.length, too_large.max);
                return Err(self.malformed(ErrorKind::TooLarge, message));
            }
        };
        // A small frame cannot have so many fields that decoding takes long.
        let checked = match bytes.len() > SMALL_FRAME_MAX {
            true => check::check_fields::<v1::ClientFrame>(&bytes, limits::CLIENT_FIELDS_MAX),
            false => Ok(()),
        };
        match checked.and_then(|()| check::decode(bytes, limits::CLIENT_ELEMENTS_MAX)) {
            Ok(frame) => Ok(Some(frame)),
            Err(error) => {
                let message = format!("a frame that is no ClientFrame: {error}");
                Err(self.malformed(ErrorKind::InvalidArgument, message))
            }
        }
    }

    /// Counts a violation of the protocol.
    fn malformed(&self, kind: ErrorKind, message: impl Into<String>) -> End {
        Counters::count(&self.context.counters.clients_malformed);
        v1::Error::not_applied(kind, message).into()
    }

    /// Waits for more bytes.
    async fn read(&mut self) -> Result<(), End> {
        match self.reader.read(self.client.outbox.stream()).await {
            Ok(()) => Ok(()),
            Err(error @ ReadError::FrameTimeout) => {
                Err(self.malformed(ErrorKind::DeadlineExceeded, error.to_string()))
            }
            Err(ReadError::Closed | ReadError::Io(_)) => Err(End::Closed),
        }
    }

    /// Answers pings as soon as the driver steps, or returns when more bytes have arrived.
    async fn answer_delayed_pings(&mut self) -> Result<(), End> {
        if self.pings.is_empty() || self.reader.is_inside_frame() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.context.inbox.taken_within(self.context.keepalive.driver_stall_max) => {
                if self.answer_pings() {
                    self.client.outbox.flush();
                }
                Ok(())
            }
            readable = self.client.outbox.stream().readable() => Ok(readable?),
        }
    }

    /// Returns whether to flush.
    fn answer_pings(&mut self) -> bool {
        let mut flush = false;
        for nonce in self.pings.drain(..) {
            let pong = v1::server_frame::Body::Pong(v1::Pong { nonce });
            flush |= self.client.put(v1::ServerFrame { body: Some(pong) });
        }
        flush
    }

    /// Handles one frame. Returns whether to flush.
    fn handle(&mut self, frame: v1::ClientFrame, events: &mut Vec<(Event, usize)>) -> Result<bool, End> {
        let client = self.client.id;
        match frame.body {
            Some(v1::client_frame::Body::Request(request)) => return self.handle_request(request, events),
            Some(v1::client_frame::Body::Cancel(v1::Cancel { id })) => {
                if self.client.complete(id) {
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
                return Ok(self.context.driver_steps() && self.answer_pings());
            }
            Some(v1::client_frame::Body::Pong(_)) => {}
            Some(v1::client_frame::Body::Hello(_)) => {
                return Err(self.malformed(ErrorKind::InvalidArgument, "a second Hello on one connection"));
            }
            None => {
                let message = "a frame of a kind that this node does not know";
                return Err(self.malformed(ErrorKind::Unsupported, message));
            }
        }
        Ok(false)
    }

    fn handle_request(
        &mut self,
        mut request: v1::Request,
        events: &mut Vec<(Event, usize)>,
    ) -> Result<bool, End> {
        let id = request.id;
        if let Some(last) = self.last_id.filter(|last| *last >= id) {
            // An answer under this id could be taken for the other one's.
            let message = format!("request id {id} comes after {last}: ids rise, and none is used twice");
            Counters::count(&self.context.counters.clients_malformed);
            return Err(v1::Error::unknown(ErrorKind::InvalidArgument, message).into());
        }
        self.last_id = Some(id);
        if request.operation.is_none() {
            let message = "a request of a kind that this node does not know";
            let error = v1::Error::not_applied(ErrorKind::Unsupported, message);
            return Ok(self.client.put(error_response(id, error)));
        }
        let size = request.size();
        let (kind, message) = match self.client.admit(id, size) {
            Admission::Admitted => {
                // A small request must not keep the memory of all frames that were read with it, nor of its unknown
                // fields.
                if self.shared_bytes > size + size / 4 + SHARED_BYTES_MAX {
                    request.detach();
                }
                events.push((Event::Request { client: self.client.id, request }, size));
                return Ok(false);
            }
            _ if !self.context.driver_steps() => {
                (ErrorKind::Unavailable, "this node does not respond: its driver does not step".to_owned())
            }
            Admission::ConnectionFull => (
                ErrorKind::ResourceExhausted,
                format!("more than {} requests in flight on one connection", limits::REQUESTS_MAX),
            ),
            Admission::NodeFull => {
                (ErrorKind::ResourceExhausted, "this node has too many requests waiting".to_owned())
            }
        };
        let error = v1::Error::not_applied(kind, message).with_retry_after_ms(RETRY_AFTER_MS);
        Ok(self.client.put(error_response(id, error)))
    }
}
