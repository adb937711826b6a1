//! One connection to one node: the handshake, frames out and in, answers matched to questions by id.
//!
//! A task per connection writes and reads. It writes what callers put into a bounded queue, all that is there
//! in one buffer, so that many requests in flight cost few system calls; it reads answers and completes the
//! waiting calls. Nothing a node sends makes it wait, so a node and a client cannot block each other.
//!
//! A node that is silent while an answer is awaited is asked with a Ping; if that brings nothing either, the
//! connection is given up, as it is for anything that is not the protocol. Idle connections ping often enough
//! to keep the session alive. When a connection ends, every call that still waits on it is told so.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use gometa_proto::{
    ErrorKind, frame, limits,
    v1::{
        Cancel, ClientFrame, EnsembleRef, Hello, Limits, Ping, Pong, Request, Response, Role, View, Welcome,
        client_frame, server_frame,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};

use crate::incoming::{FRAME_MAX, WELCOME_MAX, sane, shown, stranger, take_frame};

/// Frames that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Bytes that are collected before they are written.
const BATCH_BYTES: usize = 64 << 10;
/// An idle connection says at least this often that it is there.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Why a connection ended that nobody holds any more.
const UNUSED: &str = "no longer used";

/// How to dial.
pub(crate) struct Dial {
    /// "host:port"; resolved now.
    pub(crate) address: Arc<str>,
    /// Name of this connection in its router.
    pub(crate) generation: u64,
    /// Name of the application, for the node's logs.
    pub(crate) name: Arc<str>,
    /// The ensemble that the client knows.
    pub(crate) ensemble: Option<EnsembleRef>,
    /// The id of the session in use, 0 for none.
    pub(crate) session: Arc<AtomicU64>,
    /// For resolving, connecting and the handshake together.
    pub(crate) timeout: Duration,
    /// While an answer is awaited: a Ping after this long without a byte …
    pub(crate) quiet_max: Duration,
    /// … and the end of the connection after this long without one since.
    pub(crate) silence_max: Duration,
    /// Called with the generation after each View that the node sends.
    pub(crate) on_view: Box<dyn Fn(u64) + Send + Sync>,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) struct DialError {
    /// Empty if the failure is no node's.
    pub(crate) address: Arc<str>,
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// Dialing the same address again will end in the same way.
    pub(crate) lasting: bool,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.address.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.address, self.message)
    }
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The connection ended before the request was put into its queue.
    NotSent(Arc<str>),
    /// The connection ended afterwards: the node may have had it.
    Lost(Arc<str>),
}

/// An established connection. It ends when this is dropped, after what is queued has been written.
pub(crate) struct Connection {
    pub(crate) address: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) ensemble: Option<EnsembleRef>,
    pub(crate) limits: Limits,
    /// Whether a request has succeeded on it.
    pub(crate) proven: AtomicBool,
    link: Arc<Link>,
    queue: mpsc::Sender<ClientFrame>,
    /// As many as the node allows requests in flight.
    slots: Arc<Semaphore>,
    next_id: AtomicU64,
}

/// What a connection's task and its callers share.
struct Link {
    waiting: Mutex<Waiting>,
    view: Mutex<View>,
}

#[derive(Default)]
struct Waiting {
    /// By request id; at most as many as there are slots.
    requests: HashMap<u64, Waiter>,
    /// Why the connection has ended, once it has.
    closed: Option<Arc<str>>,
}

struct Waiter {
    /// None: nobody waits any longer, but the node has not been told and will answer.
    answer: Option<oneshot::Sender<Response>>,
    _slot: OwnedSemaphorePermit,
}

impl Link {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, reason: impl Into<Arc<str>>) {
        let mut waiting = self.waiting();
        if waiting.closed.is_none() {
            waiting.closed = Some(reason.into());
        }
        // Dropping the senders wakes the callers.
        waiting.requests.clear();
    }
}

/// Closes the link however its task ends, also when the runtime is shut down under it.
struct CloseOnDrop(Arc<Link>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close("the connection's task was stopped");
    }
}

impl Connection {
    /// What the node says of its ensemble, most recently.
    pub(crate) fn view(&self) -> View {
        self.link.view().clone()
    }

    /// Whether the node leads, as far as it has said.
    pub(crate) fn is_leader(&self) -> bool {
        self.link.view().role() == Role::Leading
    }

    /// Why it has ended, if it has.
    pub(crate) fn closed(&self) -> Option<Arc<str>> {
        self.link.waiting().closed.clone()
    }

    /// Ends every call on it. Its task ends when the last of them has dropped it.
    pub(crate) fn close(&self, reason: &str) {
        self.link.close(reason);
    }

    /// Sends the request that `build` makes for an id, at the moment when it is certain to be queued, and waits
    /// for the answer. Dropping the future cancels the request.
    pub(crate) async fn call(&self, build: impl FnOnce(u64) -> Request) -> Result<Response, CallError> {
        let gone =
            |link: &Link| CallError::NotSent(link.waiting().closed.clone().unwrap_or_else(|| "ended".into()));
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| gone(&self.link))?;
        let place = self.queue.reserve().await.map_err(|_| gone(&self.link))?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.link.waiting();
            if let Some(reason) = &waiting.closed {
                return Err(CallError::NotSent(Arc::clone(reason)));
            }
            waiting.requests.insert(id, Waiter { answer: Some(answer), _slot: slot });
        }
        let guard = CancelOnDrop { connection: self, id };
        place.send(ClientFrame { body: Some(client_frame::Body::Request(build(id))) });
        let response = answered.await;
        // Answered or closed: there is nothing left to cancel.
        std::mem::forget(guard);
        response.map_err(|_| CallError::Lost(self.closed().unwrap_or_else(|| "the answer was lost".into())))
    }
}

/// Cancels a request whose call is dropped.
struct CancelOnDrop<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let mut waiting = self.connection.link.waiting();
        if !waiting.requests.contains_key(&self.id) {
            return;
        }
        let cancel = ClientFrame { body: Some(client_frame::Body::Cancel(Cancel { id: self.id })) };
        if self.connection.queue.try_send(cancel).is_ok() {
            waiting.requests.remove(&self.id);
        } else if let Some(waiter) = waiting.requests.get_mut(&self.id) {
            // The queue is full: the node counts the request until it answers, and so do we.
            waiter.answer = None;
        }
    }
}

/// Connects, says Hello, waits for the Welcome.
pub(crate) async fn dial(dial: Dial) -> Result<Connection, DialError> {
    let (address, timeout) = (Arc::clone(&dial.address), dial.timeout);
    let fail =
        |kind, message: String, lasting| DialError { address: Arc::clone(&address), kind, message, lasting };
    match tokio::time::timeout(timeout, establish(dial, &fail)).await {
        Ok(result) => result,
        Err(_) => Err(fail(ErrorKind::Unavailable, format!("no welcome within {timeout:?}"), false)),
    }
}

async fn establish(
    dial: Dial,
    fail: &impl Fn(ErrorKind, String, bool) -> DialError,
) -> Result<Connection, DialError> {
    let io = |error: std::io::Error| fail(ErrorKind::Unavailable, plain(&error), false);
    let mut stream = TcpStream::connect(&*dial.address).await.map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    let hello = Hello {
        protocol_min: limits::PROTOCOL_VERSION,
        protocol_max: limits::PROTOCOL_VERSION,
        client: dial.name.chars().take(limits::NAME_MAX / 4).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ensemble: dial.ensemble.clone(),
    };
    let mut buffer = BytesMut::with_capacity(1024);
    let hello = ClientFrame { body: Some(client_frame::Body::Hello(hello)) };
    frame::encode(&hello, WELCOME_MAX, &mut buffer)
        .map_err(|error| fail(ErrorKind::Internal, error.to_string(), true))?;
    stream.write_all(&buffer).await.map_err(io)?;
    buffer.clear();

    let foreign = |what: String| {
        fail(ErrorKind::Unavailable, format!("does not speak gometa's client protocol: {what}"), false)
    };
    let welcome = loop {
        let first: [u8; 4] = buffer.first_chunk().copied().unwrap_or_default();
        let frame = take_frame(&mut buffer, WELCOME_MAX);
        match frame.map_err(|what| foreign(stranger(&first).map_or(what, str::to_owned)))? {
            Some(server_frame::Body::Welcome(welcome)) => break welcome,
            Some(server_frame::Body::Error(error)) => {
                let kind = error.error_kind();
                return Err(fail(kind, format!("refused: {}", shown(&error.to_string())), is_lasting(kind)));
            }
            Some(_) => return Err(foreign("its first frame is no welcome".to_owned())),
            None => {
                if stream.read_buf(&mut buffer).await.map_err(io)? == 0 {
                    return Err(fail(
                        ErrorKind::Unavailable,
                        "closed the connection before its welcome".to_owned(),
                        false,
                    ));
                }
            }
        }
    };
    if welcome.protocol != limits::PROTOCOL_VERSION {
        let message =
            format!("speaks version {} of the protocol, not {}", welcome.protocol, limits::PROTOCOL_VERSION);
        return Err(fail(ErrorKind::Unsupported, message, true));
    }
    if let (Some(known), Some(found)) = (&dial.ensemble, &welcome.ensemble)
        && known != found
    {
        return Err(fail(
            ErrorKind::InvalidArgument,
            "belongs to another ensemble than the one this client knows; name only the peers of one"
                .to_owned(),
            true,
        ));
    }
    Ok(start(stream, buffer, welcome, dial))
}

fn start(stream: TcpStream, buffer: BytesMut, welcome: Welcome, dial: Dial) -> Connection {
    let limits = sane(welcome.limits.unwrap_or_default());
    let (queue, frames) = mpsc::channel(QUEUE_MAX);
    let link =
        Arc::new(Link { waiting: Mutex::default(), view: Mutex::new(welcome.view.unwrap_or_default()) });
    let session_timeout = Duration::from_millis(limits.session_timeout_ms.into());
    let idle = if session_timeout.is_zero() { IDLE_MAX } else { (session_timeout / 3).min(IDLE_MAX) };
    let reader = Reader {
        link: Arc::clone(&link),
        queue: queue.downgrade(),
        frame_max: (limits.frame_max as usize).clamp(WELCOME_MAX, FRAME_MAX),
        generation: dial.generation,
        on_view: dial.on_view,
        session: dial.session,
        quiet_max: dial.quiet_max,
        silence_max: dial.silence_max,
        idle_max: idle.max(Duration::from_millis(10)),
    };
    let frame_max = limits.frame_max as usize;
    let address = Arc::clone(&dial.address);
    tokio::spawn(async move {
        let closing = CloseOnDrop(Arc::clone(&reader.link));
        let (input, output) = stream.into_split();
        let reason = tokio::select! {
            reason = reader.run(input, buffer) => reason,
            reason = write(output, frames, frame_max) => reason,
        };
        if reason == UNUSED {
            tracing::debug!(%address, reason, "connection ended");
        } else {
            tracing::warn!(%address, reason, "connection ended");
        }
        closing.0.close(reason);
    });
    Connection {
        address: dial.address,
        generation: dial.generation,
        ensemble: welcome.ensemble,
        slots: Arc::new(Semaphore::new((limits.requests_max as usize).min(Semaphore::MAX_PERMITS))),
        limits,
        proven: AtomicBool::new(false),
        link,
        queue,
        next_id: AtomicU64::new(1),
    }
}

/// Refusals that the next dial will meet with again.
fn is_lasting(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unauthenticated
            | ErrorKind::PermissionDenied
            | ErrorKind::Unsupported
            | ErrorKind::InvalidArgument
    )
}

/// Writes what is queued until the connection is dropped; returns why it ended.
async fn write(
    mut output: tcp::OwnedWriteHalf,
    mut frames: mpsc::Receiver<ClientFrame>,
    frame_max: usize,
) -> String {
    let mut buffer = BytesMut::with_capacity(BATCH_BYTES);
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        while let Some(frame) = next {
            // Callers check keys and values, so this is a limit that no request can meet.
            if let Err(error) = frame::encode(&frame, frame_max, &mut buffer) {
                return error.to_string();
            }
            next = if buffer.len() < BATCH_BYTES { frames.try_recv().ok() } else { None };
        }
        if let Err(error) = output.write_all(&buffer).await {
            return plain(&error);
        }
        if buffer.capacity() > 16 * BATCH_BYTES {
            buffer = BytesMut::with_capacity(BATCH_BYTES);
        }
        buffer.clear();
    }
    UNUSED.to_owned()
}

/// The reading half of a connection's task.
struct Reader {
    link: Arc<Link>,
    /// Weak, so that the connection ends when it is dropped.
    queue: mpsc::WeakSender<ClientFrame>,
    frame_max: usize,
    generation: u64,
    on_view: Box<dyn Fn(u64) + Send + Sync>,
    session: Arc<AtomicU64>,
    quiet_max: Duration,
    silence_max: Duration,
    idle_max: Duration,
}

impl Reader {
    /// Reads until the connection ends; returns why it did.
    async fn run(self, mut input: tcp::OwnedReadHalf, mut buffer: BytesMut) -> String {
        let period =
            self.quiet_max.min(self.silence_max / 2).min(self.idle_max).max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pulse = Pulse { heard: Instant::now(), pinged: Instant::now(), unanswered: None, nonce: 0 };
        loop {
            loop {
                match take_frame(&mut buffer, self.frame_max) {
                    Ok(Some(body)) => {
                        if let Some(reason) = self.handle(body) {
                            return reason;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return format!("sent what is not gometa's client protocol: {error}"),
                }
            }
            buffer.reserve(BATCH_BYTES);
            tokio::select! {
                read = input.read_buf(&mut buffer) => match read {
                    Ok(0) => return "the node closed the connection".to_owned(),
                    Ok(_) => pulse.hear(),
                    Err(error) => return plain(&error),
                },
                _ = ticks.tick() => if let Some(reason) = self.tick(&mut pulse) {
                    return reason;
                },
            }
        }
    }

    /// Returns why the connection ends, if it does.
    fn handle(&self, body: server_frame::Body) -> Option<String> {
        match body {
            server_frame::Body::Response(response) => {
                let waiter = self.link.waiting().requests.remove(&response.id);
                // The answer to a cancelled request finds nobody.
                if let Some(answer) = waiter.and_then(|waiter| waiter.answer) {
                    let _ = answer.send(response);
                }
            }
            server_frame::Body::View(view) => {
                *self.link.view() = view;
                (self.on_view)(self.generation);
            }
            server_frame::Body::Ping(ping) => {
                self.send(client_frame::Body::Pong(Pong { nonce: ping.nonce }));
            }
            server_frame::Body::Error(error) => {
                return Some(format!("the node ended the connection: {}", shown(&error.to_string())));
            }
            server_frame::Body::Pong(_) | server_frame::Body::Welcome(_) => {}
        }
        None
    }

    /// Returns why the connection ends, if it does.
    fn tick(&self, pulse: &mut Pulse) -> Option<String> {
        let now = Instant::now();
        match pulse.unanswered {
            Some(since) if now - since >= self.silence_max => {
                return Some(format!("the node is silent, for {:?} now", now - pulse.heard));
            }
            Some(_) => return None,
            None => {}
        }
        let awaited = !self.link.waiting().requests.is_empty();
        if (awaited && now - pulse.heard >= self.quiet_max) || now - pulse.pinged >= self.idle_max {
            pulse.nonce += 1;
            pulse.pinged = now;
            // A Ping that finds the queue full counts as unanswered: then the node does not read.
            pulse.unanswered = Some(now);
            let session = self.session.load(Ordering::Relaxed);
            self.send(client_frame::Body::Ping(Ping { nonce: pulse.nonce, session }));
        }
        None
    }

    /// Queues a frame that may be lost if there is no room: reading must not wait for writing.
    fn send(&self, body: client_frame::Body) {
        if let Some(queue) = self.queue.upgrade() {
            let _ = queue.try_send(ClientFrame { body: Some(body) });
        }
    }
}

/// Signs of life.
struct Pulse {
    /// The last byte.
    heard: Instant,
    /// Our last Ping.
    pinged: Instant,
    /// Our first Ping since the last byte.
    unanswered: Option<Instant>,
    nonce: u64,
}

impl Pulse {
    fn hear(&mut self) {
        self.heard = Instant::now();
        self.unanswered = None;
    }
}

/// An IO error in the words that people know, without its number.
fn plain(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::ConnectionRefused => "connection refused".to_owned(),
        Io::ConnectionReset => "connection reset".to_owned(),
        Io::BrokenPipe => "the node closed the connection".to_owned(),
        _ => error.to_string(),
    }
}
