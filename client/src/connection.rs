//! One connection to one node: the handshake, frames out and in, answers matched to questions by id.
//!
//! A task per connection writes and reads. It writes what callers put into a bounded queue, all that is there
//! in one buffer, so that many requests in flight cost few system calls; it reads answers and completes the
//! waiting calls. Nothing a node sends makes it wait, so a node and a client cannot block each other.
//!
//! A node that owes an answer and sends nothing for the keepalive interval is sent a Ping; after the keepalive timeout
//! without a byte the connection ends, as it does for anything that is not the protocol. A node answers a Ping only
//! while it works, and its own Pings prove nothing. Idle connections ping often enough to keep the session alive.
//! When a connection ends, every call that still waits on it fails.
//!
//! Request ids count up from 1 and are never used again on a connection, so that the late answer to a cancelled
//! request cannot be taken for another's.

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
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
    time::Instant,
};

use crate::{
    incoming::{FRAME_MAX, WELCOME_MAX, sane, shown, stranger, take_frame},
    log::{Log, log},
};

/// Frames that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Bytes that are collected before they are written.
const BATCH_BYTES: usize = 64 << 10;
/// Bytes of the longest Ping, its length included.
const PING_BYTES_MAX: usize = 32;
/// An idle connection pings at least this often.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Shortest time between two looks at a connection's silence.
const LOOK_MIN: Duration = Duration::from_millis(1);
/// Why a connection ended that is not referred to any more.
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
    pub(crate) keepalive: Keepalive,
    /// The client's log.
    pub(crate) log: Log,
    /// Called with the generation after each View that the node sends.
    pub(crate) on_view: Box<dyn Fn(u64) + Send + Sync>,
}

/// When a connection on which a response is awaited is given up; see [`Builder::keepalive`](crate::Builder::keepalive).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    /// The time without a byte from the node after which it is sent a Ping.
    pub(crate) interval: Duration,
    /// The time without a byte since that Ping after which the connection is closed.
    pub(crate) timeout: Duration,
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
    /// By request id; at most as many as there are slots, and one for the end of the session.
    requests: HashMap<u64, Waiter>,
    /// Since when the node owes an answer: the first request since its last answer, also if its call has given up.
    owed: Option<Instant>,
    /// Once the connection has ended, or takes no requests any more.
    closed: Option<Closed>,
}

/// The end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) reason: Arc<str>,
    pub(crate) at: Instant,
}

struct Waiter {
    /// None: no call waits any longer, but the Cancel could not be queued and the node will answer.
    answer: Option<oneshot::Sender<Response>>,
    _slot: Option<OwnedSemaphorePermit>,
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
            waiting.closed = Some(Closed { reason: reason.into(), at: Instant::now() });
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

    /// Why and when it has ended, if it has.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.link.waiting().closed.clone()
    }

    /// Ends every call on it. Its task ends when the last of them has dropped it.
    pub(crate) fn close(&self, reason: &str) {
        self.link.close(reason);
    }

    /// How long the node has owed an answer to a call that asked at `since`, or to others before it.
    pub(crate) fn unanswered_for(&self, since: Instant) -> Duration {
        self.link.waiting().owed.map_or(since, |owed| owed.min(since)).elapsed()
    }

    /// Queues a request on a connection that takes none of calls any more; None if it has ended, or its queue is full.
    pub(crate) fn ask_last(&self, build: impl FnOnce(u64) -> Request) -> Option<oneshot::Receiver<Response>> {
        let place = self.queue.try_reserve().ok()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.link.waiting().requests.insert(id, Waiter { answer: Some(answer), _slot: None });
        place.send(ClientFrame { body: Some(client_frame::Body::Request(build(id))) });
        Some(answered)
    }

    /// Sends the request that `build` makes for an id, at the moment when it is certain to be queued, and waits
    /// for the answer. Dropping the future cancels the request.
    pub(crate) async fn call(&self, build: impl FnOnce(u64) -> Request) -> Result<Response, CallError> {
        let gone = |link: &Link| {
            let closed = link.waiting().closed.clone();
            CallError::NotSent(closed.map_or_else(|| "ended".into(), |closed| closed.reason))
        };
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| gone(&self.link))?;
        let place = self.queue.reserve().await.map_err(|_| gone(&self.link))?;
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut waiting = self.link.waiting();
            if let Some(closed) = &waiting.closed {
                return Err(CallError::NotSent(Arc::clone(&closed.reason)));
            }
            // Numbered and queued under one lock: ids rise on the wire.
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            waiting.requests.insert(id, Waiter { answer: Some(answer), _slot: Some(slot) });
            waiting.owed.get_or_insert_with(Instant::now);
            place.send(ClientFrame { body: Some(client_frame::Body::Request(build(id))) });
            id
        };
        let guard = CancelOnDrop { connection: self, id };
        let response = answered.await;
        // Answered or closed: there is nothing left to cancel.
        std::mem::forget(guard);
        response.map_err(|_| {
            CallError::Lost(
                self.closed().map_or_else(|| "the answer was lost".into(), |closed| closed.reason),
            )
        })
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
        keepalive: Keepalive {
            interval: dial.keepalive.interval.max(LOOK_MIN),
            timeout: dial.keepalive.timeout.max(LOOK_MIN),
        },
        idle_max: idle.max(Duration::from_millis(10)),
    };
    let frame_max = limits.frame_max as usize;
    let (address, log) = (Arc::clone(&dial.address), dial.log);
    tokio::spawn(async move {
        let closing = CloseOnDrop(Arc::clone(&reader.link));
        let (input, output) = stream.into_split();
        let reason = tokio::select! {
            reason = reader.run(input, buffer) => reason,
            reason = write(output, frames, frame_max) => reason,
        };
        // An end of this side's own making is no news.
        if reason == UNUSED || closing.0.waiting().closed.is_some() {
            log!(log, debug, "connection ended", address = address, reason = reason);
        } else {
            log!(log, warn, "connection ended", address = address, reason = reason);
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
    keepalive: Keepalive,
    idle_max: Duration,
}

impl Reader {
    /// Reads until the connection ends; returns why it did.
    async fn run(self, mut input: tcp::OwnedReadHalf, mut buffer: BytesMut) -> String {
        let now = Instant::now();
        let mut pulse = Pulse { heard: now, pinged: now, unanswered: None, nonce: 0 };
        let mut look = pin!(tokio::time::sleep_until(self.next_look(&pulse)));
        loop {
            loop {
                match take_frame(&mut buffer, self.frame_max) {
                    Ok(Some(body)) => {
                        // A node pings without regard to whether it works.
                        if !matches!(body, server_frame::Body::Ping(_)) {
                            pulse.hear();
                        }
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
                    // Part of a long frame is a sign of life as well.
                    Ok(_) if buffer.len() > PING_BYTES_MAX => pulse.hear(),
                    Ok(_) => {}
                    Err(error) => return plain(&error),
                },
                () = look.as_mut() => {
                    if let Some(reason) = self.look(&mut pulse) {
                        return reason;
                    }
                    look.as_mut().reset(self.next_look(&pulse));
                }
            }
        }
    }

    /// Returns why the connection ends, if it does.
    fn handle(&self, body: server_frame::Body) -> Option<String> {
        match body {
            server_frame::Body::Response(response) => {
                let waiter = {
                    let mut waiting = self.link.waiting();
                    let waiter = waiting.requests.remove(&response.id);
                    waiting.owed = (!waiting.requests.is_empty()).then(Instant::now);
                    waiter
                };
                // No call waits for the answer to a cancelled request.
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
            server_frame::Body::Pong(_) => {
                let mut waiting = self.link.waiting();
                if waiting.requests.is_empty() {
                    waiting.owed = None;
                }
            }
            server_frame::Body::Welcome(_) => {}
        }
        None
    }

    /// Since when the node has owed an answer without a byte.
    fn quiet_since(&self, pulse: &Pulse) -> Option<Instant> {
        self.link.waiting().owed.map(|owed| owed.max(pulse.heard))
    }

    /// When to look next: as soon as there can be something to do. A request that is sent until then is due no sooner
    /// than the keepalive interval from now.
    fn next_look(&self, pulse: &Pulse) -> Instant {
        let due = match (pulse.unanswered, self.quiet_since(pulse)) {
            (Some(since), _) => since + self.keepalive.timeout,
            (None, Some(since)) => (since + self.keepalive.interval).min(pulse.pinged + self.idle_max),
            (None, None) => pulse.pinged + self.idle_max,
        };
        due.min(Instant::now() + self.keepalive.interval)
    }

    /// Pings where there is reason to. Returns why the connection ends, if it does.
    fn look(&self, pulse: &mut Pulse) -> Option<String> {
        let now = Instant::now();
        if let Some(since) = pulse.unanswered {
            return (now - since >= self.keepalive.timeout)
                .then(|| format!("the node is silent, for {:.1?} now", now - pulse.heard));
        }
        let quiet = self.quiet_since(pulse).is_some_and(|since| now - since >= self.keepalive.interval);
        if quiet || now - pulse.pinged >= self.idle_max {
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
