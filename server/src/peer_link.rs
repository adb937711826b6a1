//! The nodes' port: connections to and from peers, each with a number that is never used again in the process.
//!
//! Here bytes become messages and back, on the connection's own task; what they mean is the node's affair. A
//! frame that is no message ends its connection and nothing else.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use gometa_codec::message;
use gometa_node::Event;
use gometa_proto::{frame, limits};
use gometa_zab::{LinkId, Message, NodeId};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tracing::{debug, error};

use crate::{
    counters::Counters,
    inbox::{Inbox, Item},
    listen,
    outbox::{Bounds, Outbox, Outgoing},
};

/// Room for this much is made before each read, in bytes.
const READ_ROOM: usize = 64 << 10;
/// Connections accepted at a time. The protocol has a lower bound of its own, and refuses in words.
const LINKS_MAX: usize = 512;
/// A connection that was accepted and says nothing for this long is closed.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
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
}

impl PeerPort {
    /// Accepts peers for ever.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(LINKS_MAX));
        loop {
            let stream = listen::accept(&listener).await;
            let Ok(permit) = room.clone().try_acquire_owned() else {
                let count = Counters::count(&self.counters.connections_refused);
                debug!("a peer was refused, {LINKS_MAX} are connected ({count} so far)");
                continue;
            };
            let port = self.clone();
            tokio::spawn(async move {
                let link = next_link();
                port.serve(stream, link, gometa_zab::Event::Accepted { link }, Some(HELLO_TIMEOUT)).await;
                drop(permit);
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
                return self.serve(stream, link, gometa_zab::Event::Connected { peer, link }, None).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        debug!("cannot connect to {address}: {why}");
        self.inbox.put_answer(Item::Event(Event::Zab(gometa_zab::Event::ConnectFailed { peer })));
    }

    async fn serve(
        &self,
        stream: TcpStream,
        link: LinkId,
        event: gometa_zab::Event,
        first_within: Option<Duration>,
    ) {
        let bounds = Bounds {
            count_max: MESSAGES_MAX,
            bytes_max: MESSAGE_BYTES_MAX,
            together: self.together.clone(),
            together_max: TOGETHER_MAX,
        };
        let outbox = Arc::new(Outbox::new(stream, bounds));
        let up = Item::LinkUp { link, outbox: outbox.clone(), event: Event::Zab(event) };
        if self.inbox.put_peer(&mut vec![up], 0).await.is_err() {
            return;
        }
        let closed_by_us = {
            let writing = pin!(outbox.run());
            tokio::select! {
                end = self.read(link, outbox.stream(), first_within) => {
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

    /// Reads until the connection or the node ends.
    async fn read(&self, link: LinkId, stream: &TcpStream, first_within: Option<Duration>) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        match first_within {
            Some(within) => timeout(within, fill(stream, &mut buffer)).await??,
            None => fill(stream, &mut buffer).await?,
        }
        let mut items = Vec::new();
        loop {
            let mut bytes = 0;
            loop {
                match frame::decode_frame(&mut buffer, limits::PEER_FRAME_MAX) {
                    Ok(Some(frame)) => {
                        bytes += frame.len();
                        let message = message::decode(frame).map_err(|error| self.malformed(&error))?;
                        items.push(Item::Event(Event::Zab(gometa_zab::Event::Message { link, message })));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        Counters::count(&self.counters.links_malformed);
                        return Err(io::Error::other(error));
                    }
                }
            }
            if self.inbox.put_peer(&mut items, bytes).await.is_err() {
                return Ok(());
            }
            fill(stream, &mut buffer).await?;
        }
    }

    fn malformed(&self, error: &gometa_codec::DecodeError) -> io::Error {
        let count = Counters::count(&self.counters.links_malformed);
        io::Error::other(format!("a frame that is no message: {error} ({count} so far)"))
    }
}

fn next_link() -> LinkId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    LinkId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until more bytes are there.
async fn fill(stream: &TcpStream, buffer: &mut BytesMut) -> io::Result<()> {
    loop {
        stream.readable().await?;
        buffer.reserve(READ_ROOM);
        match stream.try_read_buf(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[path = "peer_link_tests.rs"]
mod tests;
