//! The nodes' port: connections to and from peers ("links"), each with a number that is never reused in the process.
//!
//! Bytes become messages and back on the connection's own task; the node interprets them. A malformed frame closes its
//! connection.
//!
//! An accepted connection is unauthenticated until its `Hello` has been received, and the node receives nothing of it: the
//! first frame is short and has a timeout. When there are too many unauthenticated connections, the oldest is closed: a
//! peer sends its `Hello` at once, and so is accepted however many there are. Larger frames need a reservation.

use std::{
    collections::BTreeMap,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use gometa_codec::message;
use gometa_node::Event;
use gometa_proto::{check, limits, v1};
use gometa_zab::{LinkId, Message, NodeId};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use tracing::{debug, error};

use crate::{
    inbox::{Inbox, Item},
    net::{
        frame_budget::FrameBudget,
        frame_reader::{Buffering, FrameReader, ReadError},
        outbox::{Bounds, Outbox, Outgoing},
        transport::{Listener, Stream},
    },
    observe::counters::Counters,
    peer::dial_errors::{self, DialErrors},
};

/// The size of a read on a link, in bytes.
const READ_SIZE: usize = 64 << 10;
/// The same before the `Hello`.
const HELLO_READ_SIZE: usize = 4 << 10;
/// The number of accepted connections whose `Hello` was received. The protocol has a lower bound of its own, and refuses
/// with a reason.
pub(crate) const LINKS_MAX: usize = 512;
/// The number of accepted connections without a `Hello`.
pub(crate) const UNAUTHENTICATED_MAX: usize = 256;
/// The time for the `Hello` of an accepted connection.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest hello, with every address of a full ensemble in it, in bytes.
const HELLO_MAX: usize = 64 << 10;
/// The longest frame that needs no reservation, in bytes.
const SMALL_FRAME_MAX: usize = 64 << 10;
/// The time between two `Heard` events for parts of a frame. A part counts as a sign of life of the peer, until the
/// frame's own timeout ([`FrameBudget::timeout`]): 10 s, and one more second for each 16 KiB received.
const HEARD_INTERVAL: Duration = Duration::from_millis(20);
/// Memory for larger frames that are being received on all links, in bytes.
pub(crate) const FRAMES_BYTES: usize = 64 << 20;
/// The time for the peer to read what is queued when a link is closed.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What the peer may still send meanwhile, in bytes.
const CLOSE_DISCARD_MAX: usize = 64 << 20;
/// The number of messages queued on one link.
const MESSAGES_MAX: usize = 65_536;
/// Bytes of messages queued on one link: more than twice what the protocol sends without an ack.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Bytes of messages queued on all links.
const TOTAL_BYTES_MAX: usize = 512 << 20;

impl Outgoing for Message {
    fn size(&self) -> usize {
        match self {
            Message::Propose { entries, .. } => {
                64 + entries.iter().map(gometa_zab::LogEntry::size).sum::<usize>()
            }
            Message::Relay(payload) | Message::Snapshot(payload) => 16 + payload.len(),
            Message::Hello(hello) => 256 + hello.voters.len() * 256,
            Message::Prepare(genesis) | Message::Formed(genesis) => 64 + genesis.voters.len() * 256,
            Message::AckEpoch { boundaries, .. } => 128 + boundaries.len() * 32,
            _ => 64,
        }
    }

    fn encode(&self, buffer: &mut BytesMut) {
        if let Err(error) = message::encode(self, buffer) {
            // The protocol bounds its batches far below the limit.
            error!(%error, "peer message not encoded");
        }
    }
}

pub(crate) struct PeerPort {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    /// Bytes of messages queued on all links.
    queued_bytes: Arc<AtomicUsize>,
    connect_timeout: Duration,
    dial_errors: Arc<DialErrors>,
    /// Memory for large frames that are being received.
    frames: FrameBudget,
    unauthenticated: Unauthenticated,
}

/// The accepted connections without a `Hello`, by age, and the signal that closes each.
#[derive(Default)]
struct Unauthenticated(Mutex<BTreeMap<LinkId, Arc<Notify>>>);

impl Unauthenticated {
    /// Adds a connection; closes the oldest if there are too many. Returns whether it did.
    fn add(&self, link: LinkId, close: Arc<Notify>) -> bool {
        let mut connections = self.0.lock();
        let oldest = if connections.len() >= UNAUTHENTICATED_MAX { connections.pop_first() } else { None };
        connections.insert(link, close);
        drop(connections);
        oldest.map(|(_, close)| close.notify_one()).is_some()
    }

    fn remove(&self, link: LinkId) {
        self.0.lock().remove(&link);
    }
}

impl PeerPort {
    pub(crate) fn new(
        inbox: Arc<Inbox>,
        counters: Arc<Counters>,
        connect_timeout: Duration,
        dial_errors: Arc<DialErrors>,
    ) -> PeerPort {
        PeerPort {
            inbox,
            counters,
            queued_bytes: Arc::default(),
            connect_timeout,
            dial_errors,
            frames: FrameBudget::new(FRAMES_BYTES),
            unauthenticated: Unauthenticated::default(),
        }
    }

    /// Accepts connections for the node's lifetime.
    pub(crate) async fn run(self: Arc<Self>, listener: Listener) {
        let slots = Arc::new(Semaphore::new(LINKS_MAX));
        loop {
            let stream = listener.accept().await;
            let (link, close) = (next_link(), Arc::new(Notify::new()));
            if self.unauthenticated.add(link, close.clone()) {
                let total = Counters::count(&self.counters.connections_refused);
                debug!(total, "too many connections without a hello, the oldest closed");
            }
            tokio::spawn(self.clone().serve_accepted(stream, link, close, slots.clone()));
        }
    }

    async fn serve_accepted(
        self: Arc<Self>,
        stream: Stream,
        link: LinkId,
        close: Arc<Notify>,
        slots: Arc<Semaphore>,
    ) {
        let mut reader = FrameReader::new(&self.frames, Buffering::Direct(HELLO_READ_SIZE), SMALL_FRAME_MAX);
        let hello = tokio::select! {
            () = close.notified() => None,
            hello = timeout(HELLO_TIMEOUT, self.read_hello(&mut reader, &stream)) => Some(hello),
        };
        self.unauthenticated.remove(link);
        let hello = match hello {
            Some(Ok(Ok(hello))) => hello,
            Some(Ok(Err(error))) => return debug!(%link, %error, "connection without a hello closed"),
            Some(Err(_)) => return debug!(%link, error = "timeout", "connection without a hello closed"),
            None => return,
        };
        let Ok(_slot) = slots.try_acquire_owned() else {
            let total = Counters::count(&self.counters.connections_refused);
            return debug!(links_max = LINKS_MAX, total, "peer connection refused, all are in use");
        };
        let accepted = gometa_zab::Event::Accepted { link };
        let hello = gometa_zab::Event::Message { link, message: hello };
        self.serve(stream, link, vec![accepted, hello], reader).await;
    }

    /// Connects to a peer and serves the link.
    pub(crate) async fn dial(self: Arc<Self>, peer: NodeId, address: String) {
        let why = match timeout(self.connect_timeout, Stream::connect(&address)).await {
            Ok(Ok(stream)) => {
                let link = next_link();
                self.dial_errors.set(peer, None);
                let connected = gometa_zab::Event::Connected { peer, link };
                let reader = FrameReader::new(&self.frames, Buffering::Direct(READ_SIZE), SMALL_FRAME_MAX);
                return self.serve(stream, link, vec![connected], reader).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        debug!(address, error = why, "cannot connect to peer");
        self.inbox.put_answer(Item::Event(Event::Zab(gometa_zab::Event::ConnectFailed { peer })));
        // After the event: the node does not wait for this lookup, which is for the log.
        let error = format!("cannot connect to {}: {why}", dial_errors::with_resolved(&address).await);
        self.dial_errors.set(peer, Some(error));
    }

    /// Serves a link, after the events `first`. `reader` holds what was read before.
    async fn serve(
        &self,
        stream: Stream,
        link: LinkId,
        first: Vec<gometa_zab::Event>,
        mut reader: FrameReader<'_>,
    ) {
        let bounds = Bounds {
            count_max: MESSAGES_MAX,
            bytes_max: MESSAGE_BYTES_MAX,
            total: self.queued_bytes.clone(),
            total_max: TOTAL_BYTES_MAX,
        };
        let outbox = Arc::new(Outbox::new(stream, bounds));
        let mut first = first.into_iter().map(Event::Zab);
        let Some(event) = first.next() else { return };
        let mut items = vec![Item::LinkUp { link, outbox: outbox.clone(), event }];
        items.extend(first.map(Item::Event));
        if self.inbox.put_peer(&mut items, 0).await.is_err() {
            return;
        }
        reader.set_buffering(Buffering::Direct(READ_SIZE));
        let closed_by_us = {
            let writing = pin!(outbox.run());
            tokio::select! {
                end = self.read_messages(&mut reader, outbox.stream(), link) => {
                    if let Err(error) = end {
                        debug!(%link, %error, "link closed");
                    }
                    false
                }
                () = writing => true,
            }
        };
        if closed_by_us {
            outbox.stream().close_gracefully(CLOSE_TIMEOUT, CLOSE_DISCARD_MAX).await;
        }
        // The driver ignores it if it has closed the link itself.
        let closed = Item::Event(Event::Zab(gometa_zab::Event::Closed { link }));
        drop(self.inbox.put_peer(&mut vec![closed], 0).await);
    }

    async fn read_hello(&self, reader: &mut FrameReader<'_>, stream: &Stream) -> Result<Message, ReadError> {
        loop {
            if let Some(frame) = self.next_frame(reader, HELLO_MAX)? {
                check::check_elements::<v1::PeerFrame>(&frame, limits::MEMBERS_MAX)
                    .map_err(|error| self.malformed(error))?;
                return match message::decode(frame).map_err(|error| self.malformed(error))? {
                    message @ Message::Hello(_) => Ok(message),
                    _ => Err(self.malformed("the first message of a connection is a Hello")),
                };
            }
            reader.read(stream).await?;
        }
    }

    /// Reads until the connection or the node ends.
    async fn read_messages(
        &self,
        reader: &mut FrameReader<'_>,
        stream: &Stream,
        link: LinkId,
    ) -> Result<(), ReadError> {
        let mut items = Vec::new();
        let mut last_heard = Instant::now();
        loop {
            let mut bytes = 0;
            while let Some(frame) = self.next_frame(reader, limits::PEER_FRAME_MAX)? {
                bytes += frame.len();
                let message = message::decode(frame).map_err(|error| self.malformed(error))?;
                items.push(Item::Event(Event::Zab(gometa_zab::Event::Message { link, message })));
            }
            if items.is_empty() && reader.buffered() > 0 && last_heard.elapsed() >= HEARD_INTERVAL {
                // On a slow line, one frame may take longer than the protocol's timeouts.
                last_heard = Instant::now();
                items.push(Item::Event(Event::Zab(gometa_zab::Event::Heard { link })));
            }
            if self.inbox.put_peer(&mut items, bytes).await.is_err() {
                return Ok(());
            }
            reader.release();
            reader.read(stream).await?;
        }
    }

    fn next_frame(&self, reader: &mut FrameReader<'_>, max: usize) -> Result<Option<Bytes>, ReadError> {
        reader.next(max).map_err(|error| self.malformed(error))
    }

    fn malformed(&self, error: impl std::fmt::Display) -> ReadError {
        let total = Counters::count(&self.counters.links_malformed);
        io::Error::other(format!("a frame that is no message: {error} ({total} so far)")).into()
    }
}

fn next_link() -> LinkId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    LinkId(NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
