//! The nodes' port: connections to and from peers, each with a number that is never used again in the process.
//!
//! Here bytes become messages and back, on the connection's own task; what they mean is the node's affair. A
//! frame that is no message ends its connection and nothing else.
//!
//! Whoever connects is a stranger until it has said `Hello`, and until then the node does not hear of it: the first
//! frame is short and soon there, or the connection ends. When there are too many strangers, the oldest goes: a peer
//! says hello at once, and so gets in however many there are. Larger frames wait for room before they are read.

use std::{
    collections::BTreeMap,
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gometa_codec::message;
use gometa_node::Event;
use gometa_proto::{check, frame, limits, v1};
use gometa_zab::{LinkId, Message, NodeId};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, error};

use crate::{
    inbox::{Inbox, Item},
    net::{
        frame_budget::{self, FrameRoom},
        listen,
        outbox::{Bounds, Outbox, Outgoing},
    },
    observe::counters::Counters,
    peer::search::{self, DialErrors},
};

/// Room for this much is made before each read, in bytes.
const READ_ROOM: usize = 64 << 10;
/// Connections accepted that have said hello, at a time. The protocol has a lower bound of its own, and refuses in
/// words.
pub(crate) const LINKS_MAX: usize = 512;
/// Connections accepted that have not said hello.
pub(crate) const STRANGERS_MAX: usize = 256;
/// A connection that was accepted and has not said hello after this long is closed.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest hello, with every address of a full ensemble in it, in bytes.
const HELLO_MAX: usize = 64 << 10;
/// What a stranger sends is read so much at a time, in bytes.
const STRANGER_READ: usize = 4 << 10;
/// A frame up to this length is taken in without asking for room, in bytes.
const SMALL_FRAME: usize = 64 << 10;
/// Between two reports that a part of a frame has arrived. A part counts as a sign of life of the other end, and so
/// do all parts until the frame's own time limit ([`FrameRoom::patience`]) has passed: 10 s, and a second more for
/// each 16 KiB that have arrived.
const HEARD_EVERY: Duration = Duration::from_millis(20);
/// Room for larger frames that are arriving on all links, in bytes.
pub(crate) const FRAMES_BYTES: usize = 64 << 20;
/// How long a connection that is closed may take to read what was sent on it.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
/// What a peer may still send while it reads that, in bytes.
const FAREWELL_BYTES_MAX: usize = 64 << 20;
/// Messages waiting on one link.
const MESSAGES_MAX: usize = 65_536;
/// Bytes of messages waiting on one link: twice what the protocol sends without an acknowledgement, and more.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Bytes of messages waiting on all links.
const TOGETHER_MAX: usize = 512 << 20;

impl Outgoing for Message {
    fn size(&self) -> usize {
        match self {
            Message::Propose { entries, .. } => {
                64 + entries.iter().map(gometa_zab::LogEntry::size).sum::<usize>()
            }
            Message::Relay(payload) => 16 + payload.len(),
            Message::Hello(hello) => 256 + hello.voters.len() * 256,
            Message::Prepare(genesis) | Message::Formed(genesis) => 64 + genesis.voters.len() * 256,
            Message::AckEpoch { boundaries, .. } => 128 + boundaries.len() * 32,
            _ => 64,
        }
    }

    fn encode(&self, buffer: &mut BytesMut) {
        if let Err(error) = message::encode(self, buffer) {
            // The protocol bounds its batches far below the limit.
            error!("a message to a peer was not sent: {error}");
        }
    }
}

/// The port.
pub(crate) struct PeerPort {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) together: Arc<AtomicUsize>,
    /// How long dialling may take.
    pub(crate) connect_timeout: Duration,
    /// What came of it, for the log.
    pub(crate) dial_errors: Arc<DialErrors>,
    /// For large frames that are arriving.
    pub(crate) frames: FrameRoom,
    pub(crate) strangers: Strangers,
}

/// Those who have not said hello, by age, and how each is told to go.
#[derive(Default)]
pub(crate) struct Strangers(Mutex<BTreeMap<LinkId, Arc<Notify>>>);

impl Strangers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; if they are too many, the oldest goes. Says whether one did.
    fn add(&self, link: LinkId, leave: Arc<Notify>) -> bool {
        let mut strangers = self.lock();
        let oldest = if strangers.len() >= STRANGERS_MAX { strangers.pop_first() } else { None };
        strangers.insert(link, leave);
        drop(strangers);
        oldest.map(|(_, leave)| leave.notify_one()).is_some()
    }

    fn remove(&self, link: LinkId) {
        self.lock().remove(&link);
    }
}

/// A link that is read.
struct Reading<'a> {
    port: &'a PeerPort,
    link: LinkId,
    buffer: BytesMut,
    /// Since when the frame arrives that is not whole.
    begun: Option<Instant>,
    /// Room for it, if it is large.
    room: Option<SemaphorePermit<'a>>,
    /// When the node was last told that a part of a frame has arrived.
    told: Instant,
}

impl PeerPort {
    /// Accepts peers for ever.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(LINKS_MAX));
        loop {
            let stream = listen::accept(&listener).await;
            let port = self.clone();
            let (link, leave) = (next_link(), Arc::new(Notify::new()));
            if self.strangers.add(link, leave.clone()) {
                let count = Counters::count(&self.counters.connections_refused);
                debug!("a connection gave way that had not said hello ({count} so far)");
            }
            let room = room.clone();
            tokio::spawn(async move {
                let mut reading = Reading::new(&port, link);
                let first = tokio::select! {
                    () = leave.notified() => None,
                    first = timeout(HELLO_TIMEOUT, reading.hello(&stream)) => Some(first),
                };
                port.strangers.remove(link);
                let hello = match first {
                    Some(Ok(Ok(hello))) => hello,
                    Some(Ok(Err(error))) => return debug!("a stranger is closed: {error}"),
                    Some(Err(_)) => return debug!("a stranger is closed: no hello in time"),
                    None => return,
                };
                let Ok(_permit) = room.try_acquire_owned() else {
                    let count = Counters::count(&port.counters.connections_refused);
                    return debug!("a peer was refused, {LINKS_MAX} are connected ({count} so far)");
                };
                let Reading { buffer, .. } = reading;
                let accepted = gometa_zab::Event::Accepted { link };
                let hello = gometa_zab::Event::Message { link, message: hello };
                port.serve(stream, link, vec![accepted, hello], buffer).await;
            });
        }
    }

    /// Dials a peer and serves the connection.
    pub(crate) async fn dial(self: Arc<Self>, peer: NodeId, address: String) {
        let connect = async {
            let stream = TcpStream::connect(&address).await?;
            listen::prepare(&stream)?;
            io::Result::Ok(stream)
        };
        let why = match timeout(self.connect_timeout, connect).await {
            Ok(Ok(stream)) => {
                let link = next_link();
                self.dial_errors.set(peer, None);
                let connected = gometa_zab::Event::Connected { peer, link };
                return self.serve(stream, link, vec![connected], BytesMut::new()).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        debug!("cannot connect to {address}: {why}");
        self.inbox.put_answer(Item::Event(Event::Zab(gometa_zab::Event::ConnectFailed { peer })));
        // The node does not wait for what is looked up for people.
        let error = format!("cannot connect to {}: {why}", search::with_meaning(&address).await);
        self.dial_errors.set(peer, Some(error));
    }

    /// Serves a connection of which the node is told by `first`, the rest of what was read with it in `buffer`.
    async fn serve(&self, stream: TcpStream, link: LinkId, first: Vec<gometa_zab::Event>, buffer: BytesMut) {
        let bounds = Bounds {
            count_max: MESSAGES_MAX,
            bytes_max: MESSAGE_BYTES_MAX,
            together: self.together.clone(),
            together_max: TOGETHER_MAX,
        };
        let outbox = Arc::new(Outbox::new(stream, bounds));
        let mut first = first.into_iter().map(Event::Zab);
        let Some(event) = first.next() else { return };
        let mut items = vec![Item::LinkUp { link, outbox: outbox.clone(), event }];
        items.extend(first.map(Item::Event));
        if self.inbox.put_peer(&mut items, 0).await.is_err() {
            return;
        }
        let closed_by_us = {
            let writing = pin!(outbox.run());
            let mut reading = Reading::new(self, link);
            reading.buffer = buffer;
            tokio::select! {
                end = reading.run(outbox.stream()) => {
                    if let Err(error) = end {
                        debug!("{link} ends: {error}");
                    }
                    false
                }
                () = writing => true,
            }
        };
        if closed_by_us {
            listen::linger(outbox.stream(), FAREWELL, FAREWELL_BYTES_MAX).await;
        }
        // The driver knows whether it has closed the link itself.
        let closed = Item::Event(Event::Zab(gometa_zab::Event::Closed { link }));
        drop(self.inbox.put_peer(&mut vec![closed], 0).await);
    }

    fn malformed(&self, error: impl std::fmt::Display) -> io::Error {
        let count = Counters::count(&self.counters.links_malformed);
        io::Error::other(format!("a frame that is no message: {error} ({count} so far)"))
    }
}

impl<'a> Reading<'a> {
    fn new(port: &'a PeerPort, link: LinkId) -> Reading<'a> {
        Reading { port, link, buffer: BytesMut::new(), begun: None, room: None, told: Instant::now() }
    }

    /// The first message of a stranger.
    async fn hello(&mut self, stream: &TcpStream) -> io::Result<Message> {
        loop {
            if let Some(frame) = self.next(HELLO_MAX)? {
                check::check_elements::<v1::PeerFrame>(&frame, limits::MEMBERS_MAX)
                    .map_err(|error| self.port.malformed(error))?;
                let message = message::decode(frame).map_err(|error| self.port.malformed(error))?;
                return match message {
                    Message::Hello(_) => Ok(message),
                    _ => Err(self.port.malformed("the first message of a connection is a Hello")),
                };
            }
            pull(stream, &mut self.buffer, STRANGER_READ).await?;
        }
    }

    /// The next frame, if it is there whole.
    fn next(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        if let Some(length) = announced(&self.buffer)
            && length <= max
            && self.buffer.len() < frame::PREFIX + length
        {
            // Not even room is made for what may never arrive.
            return Ok(None);
        }
        let frame = frame::decode_frame(&mut self.buffer, max).map_err(|error| self.port.malformed(error))?;
        if frame.is_some() {
            self.begun = None;
        }
        Ok(frame)
    }

    /// Reads until the connection or the node ends.
    async fn run(&mut self, stream: &TcpStream) -> io::Result<()> {
        let (port, link) = (self.port, self.link);
        let mut items = Vec::new();
        loop {
            let mut bytes = 0;
            while let Some(frame) = self.next(limits::PEER_FRAME_MAX)? {
                bytes += frame.len();
                let message = message::decode(frame).map_err(|error| port.malformed(error))?;
                items.push(Item::Event(Event::Zab(gometa_zab::Event::Message { link, message })));
            }
            if items.is_empty() && !self.buffer.is_empty() && self.told.elapsed() >= HEARD_EVERY {
                // A slow line may take longer for one frame than the node waits for a sign of life.
                self.told = Instant::now();
                items.push(Item::Event(Event::Zab(gometa_zab::Event::Heard { link })));
            }
            if port.inbox.put_peer(&mut items, bytes).await.is_err() {
                return Ok(());
            }
            self.fill(stream).await?;
        }
    }

    /// Waits until more bytes are there; for a large frame, first until there is room for it.
    async fn fill(&mut self, stream: &TcpStream) -> io::Result<()> {
        if self.begun.is_none() {
            // What came of a large frame is in the inbox by now.
            self.room = None;
        }
        if self.buffer.is_empty() {
            return pull(stream, &mut self.buffer, READ_ROOM).await;
        }
        if let Some(length) = announced(&self.buffer)
            && length > SMALL_FRAME
            && self.room.is_none()
        {
            self.room = Some(self.port.frames.take(length).await);
            self.buffer.reserve(frame::PREFIX + length - self.buffer.len());
            self.begun = Some(Instant::now());
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let room = if self.room.is_some() { 1 } else { READ_ROOM };
        loop {
            let until = begun + self.port.frames.patience(self.buffer.len(), self.room.is_some());
            let look = (Instant::now() + frame_budget::LOOK).min(until);
            match timeout_at(look, pull(stream, &mut self.buffer, room)).await {
                Ok(pulled) => return pulled,
                Err(_) if Instant::now() >= until => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "a frame takes too long to arrive"));
                }
                Err(_) => {}
            }
        }
    }
}

/// The length that the first frame in a buffer announces, if that much has arrived.
fn announced(buffer: &BytesMut) -> Option<usize> {
    buffer.first_chunk::<{ frame::PREFIX }>().map(|prefix| u32::from_be_bytes(*prefix) as usize)
}

fn next_link() -> LinkId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    LinkId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until more bytes are there, and reads them; makes room for so many.
async fn pull(stream: &TcpStream, buffer: &mut BytesMut, room: usize) -> io::Result<()> {
    loop {
        stream.readable().await?;
        buffer.reserve(room);
        match stream.try_read_buf(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
