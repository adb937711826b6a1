//! One connection to one node: frames out and in, responses matched to requests by id.
//!
//! A task per connection writes and reads. It writes what callers put into a bounded queue, all of it in one buffer, so
//! that many requests in flight cost few system calls; it reads responses and completes the calls. Reading never waits
//! for writing, so a node and a client cannot block each other.
//!
//! A node that sends nothing for the keepalive interval while a response is awaited is sent a Ping; after the keepalive
//! timeout without a byte the connection ends, as it does for any violation of the protocol. A node answers a Ping only
//! while it also carries out requests; its own Pings do not count. Idle connections send Pings often enough to keep the
//! session alive. When a connection ends, every call that waits on it fails.
//!
//! Request ids count up from 1 and are never reused on a connection, so the late response to a cancelled request cannot
//! be taken for that to another one.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use gometa_proto::{
    ErrorKind, frame,
    from_node::{FRAME_MAX, WELCOME_MAX, next_frame, one_line, with_defaults},
    v1::{
        Cancel, ClientFrame, EnsembleRef, Limits, Ping, Pong, Request, Response, Role, View, client_frame,
        server_frame,
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};

use crate::{
    handshake::{DialError, Handshake, handshake},
    log::{Log, log},
    transport::{self, Receiver, Sender},
};

/// The number of frames that wait to be written.
const QUEUE_MAX: usize = 1024;
/// The number of bytes collected before they are written.
const BATCH_BYTES: usize = 64 << 10;
/// The length of the longest Ping in bytes, its length prefix included.
const PING_BYTES_MAX: usize = 32;
/// The longest time between two Pings on an idle connection.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// The shortest keepalive interval and timeout.
const KEEPALIVE_MIN: Duration = Duration::from_millis(1);
/// The reason of a connection that ended because the client has dropped it.
const UNUSED: &str = "no longer used";

/// How to connect to a node.
pub(crate) struct Dial {
    /// `host:port`, resolved at every dial.
    pub(crate) address: Arc<str>,
    /// The number of the connection in its router.
    pub(crate) generation: u64,
    /// The name of the application, for the node's log.
    pub(crate) name: Arc<str>,
    /// The ensemble that the client knows.
    pub(crate) ensemble: Option<EnsembleRef>,
    /// Returns the id of the session in use, 0 for none.
    pub(crate) session: Box<dyn Fn() -> u64 + Send + Sync>,
    /// The time for resolving, connecting and the handshake together.
    pub(crate) timeout: Duration,
    pub(crate) keepalive: Keepalive,
    pub(crate) log: Log,
    /// Called with the generation after each View that the node sends.
    pub(crate) on_view: Box<dyn Fn(u64) + Send + Sync>,
}

/// When a connection is closed on which a response is awaited; see [`Builder::keepalive`](crate::Builder::keepalive).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    /// The time without a byte from the node after which it is sent a Ping.
    pub(crate) interval: Duration,
    /// The time without a byte since that Ping after which the connection is closed.
    pub(crate) timeout: Duration,
}

/// Why a request has no response.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The connection ended before the request was queued.
    NotSent(Arc<str>),
    /// The connection ended afterwards: the node may have received the request.
    Lost(Arc<str>),
}

/// An established connection. Dropping it ends it, after what is queued has been written.
pub(crate) struct Connection {
    pub(crate) address: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) ensemble: Option<EnsembleRef>,
    pub(crate) limits: Limits,
    /// Whether the node has answered a request on it.
    pub(crate) has_served: AtomicBool,
    shared: Arc<Shared>,
    queue: mpsc::Sender<ClientFrame>,
    /// As many permits as the node allows requests in flight.
    slots: Arc<Semaphore>,
    next_id: AtomicU64,
}

/// What a connection's task and its callers share.
struct Shared {
    pending: Mutex<Pending>,
    view: Mutex<View>,
}

/// The requests without a response.
#[derive(Default)]
struct Pending {
    /// By request id; at most as many as there are slots, and one for the end of the session.
    requests: HashMap<u64, Waiter>,
    /// Since when a response is awaited: the first request since the last response, even if its call has ended.
    awaited_since: Option<Instant>,
    /// Set once the connection has ended, or takes no more requests.
    closed: Option<Closed>,
}

/// The end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) reason: Arc<str>,
    pub(crate) at: Instant,
}

struct Waiter {
    /// None for a cancelled call whose Cancel could not be queued: the node will still answer.
    response: Option<oneshot::Sender<Response>>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, reason: impl Into<Arc<str>>) {
        let mut pending = self.pending();
        if pending.closed.is_none() {
            pending.closed = Some(Closed { reason: reason.into(), at: Instant::now() });
        }
        // Dropping the senders wakes the callers.
        pending.requests.clear();
    }
}

/// Closes the connection however its task ends, even if the runtime is shut down.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close("the connection's task was stopped");
    }
}

impl Connection {
    /// The latest View that the node has sent.
    pub(crate) fn view(&self) -> View {
        self.shared.view().clone()
    }

    /// Whether the node leads, according to its latest View.
    pub(crate) fn is_leader(&self) -> bool {
        self.shared.view().role() == Role::Leading
    }

    /// The end of the connection, if it has ended.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.shared.pending().closed.clone()
    }

    /// Fails every call on it. Its task ends once the last of them has dropped it.
    pub(crate) fn close(&self, reason: &str) {
        self.shared.close(reason);
    }

    /// The time for which a response has been awaited, at least since `since`.
    pub(crate) fn unanswered_for(&self, since: Instant) -> Duration {
        self.shared.pending().awaited_since.map_or(since, |awaited| awaited.min(since)).elapsed()
    }

    /// Queues a request on a connection that is closed for calls; None if it has ended or its queue is full.
    pub(crate) fn send_final(
        &self,
        build: impl FnOnce(u64) -> Request,
    ) -> Option<oneshot::Receiver<Response>> {
        let permit = self.queue.try_reserve().ok()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (response, receiver) = oneshot::channel();
        self.shared.pending().requests.insert(id, Waiter { response: Some(response), _slot: None });
        permit.send(ClientFrame { body: Some(client_frame::Body::Request(build(id))) });
        Some(receiver)
    }

    /// Sends the request that `build` makes for an id and waits for the response. `build` is called when it is certain
    /// that the request will be queued. Dropping the future cancels the request.
    pub(crate) async fn call(&self, build: impl FnOnce(u64) -> Request) -> Result<Response, CallError> {
        let ended = |shared: &Shared| {
            let closed = shared.pending().closed.clone();
            CallError::NotSent(closed.map_or_else(|| "ended".into(), |closed| closed.reason))
        };
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| ended(&self.shared))?;
        let permit = self.queue.reserve().await.map_err(|_| ended(&self.shared))?;
        let (response, receiver) = oneshot::channel();
        let id = {
            let mut pending = self.shared.pending();
            if let Some(closed) = &pending.closed {
                return Err(CallError::NotSent(Arc::clone(&closed.reason)));
            }
            // Numbered and queued under one lock: ids rise on the wire.
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            pending.requests.insert(id, Waiter { response: Some(response), _slot: Some(slot) });
            pending.awaited_since.get_or_insert_with(Instant::now);
            permit.send(ClientFrame { body: Some(client_frame::Body::Request(build(id))) });
            id
        };
        let guard = CancelOnDrop { connection: self, id };
        let response = receiver.await;
        // Answered or closed: there is nothing to cancel.
        std::mem::forget(guard);
        response.map_err(|_| {
            CallError::Lost(
                self.closed().map_or_else(|| "the response was lost".into(), |closed| closed.reason),
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
        let mut pending = self.connection.shared.pending();
        if !pending.requests.contains_key(&self.id) {
            return;
        }
        let cancel = ClientFrame { body: Some(client_frame::Body::Cancel(Cancel { id: self.id })) };
        if self.connection.queue.try_send(cancel).is_ok() {
            pending.requests.remove(&self.id);
        } else if let Some(waiter) = pending.requests.get_mut(&self.id) {
            // The queue is full: the request keeps its slot until the node has answered.
            waiter.response = None;
        }
    }
}

/// Connects to a node, handshake included.
pub(crate) async fn dial(dial: Dial) -> Result<Connection, DialError> {
    let established = handshake(&dial.address, &dial.name, dial.ensemble.clone());
    match tokio::time::timeout(dial.timeout, established).await {
        Ok(handshake) => Ok(start(handshake?, dial)),
        Err(_) => Err(DialError {
            address: dial.address,
            kind: ErrorKind::Unavailable,
            message: format!("no welcome within {:?}", dial.timeout),
            permanent: false,
        }),
    }
}

fn start(handshake: Handshake, dial: Dial) -> Connection {
    let Handshake { receiver, sender, buffer, welcome } = handshake;
    let limits = with_defaults(welcome.limits.unwrap_or_default());
    let (queue, frames) = mpsc::channel(QUEUE_MAX);
    let view = Mutex::new(welcome.view.unwrap_or_default());
    let shared = Arc::new(Shared { pending: Mutex::default(), view });
    let session_timeout = Duration::from_millis(limits.session_timeout_ms.into());
    let idle = if session_timeout.is_zero() { IDLE_MAX } else { (session_timeout / 3).min(IDLE_MAX) };
    let reader = Reader {
        shared: Arc::clone(&shared),
        queue: queue.downgrade(),
        frame_max: (limits.frame_max as usize).clamp(WELCOME_MAX, FRAME_MAX),
        generation: dial.generation,
        on_view: dial.on_view,
        session: dial.session,
        keepalive: Keepalive {
            interval: dial.keepalive.interval.max(KEEPALIVE_MIN),
            timeout: dial.keepalive.timeout.max(KEEPALIVE_MIN),
        },
        idle_max: idle.max(Duration::from_millis(10)),
    };
    let frame_max = limits.frame_max as usize;
    let (address, log) = (Arc::clone(&dial.address), dial.log);
    tokio::spawn(async move {
        let closing = CloseOnDrop(Arc::clone(&reader.shared));
        let reason = tokio::select! {
            reason = reader.run(receiver, buffer) => reason,
            reason = write(sender, frames, frame_max) => reason,
        };
        let expected = reason == UNUSED || closing.0.pending().closed.is_some();
        if expected {
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
        has_served: AtomicBool::new(false),
        shared,
        queue,
        next_id: AtomicU64::new(1),
    }
}

/// Writes what is queued until the connection is dropped. Returns the reason why it ended.
async fn write(mut sender: Sender, mut frames: mpsc::Receiver<ClientFrame>, frame_max: usize) -> String {
    let mut buffer = BytesMut::with_capacity(BATCH_BYTES);
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        while let Some(frame) = next {
            // Unreachable for requests: callers check the sizes of keys and values.
            if let Err(error) = frame::encode(&frame, frame_max, &mut buffer) {
                return error.to_string();
            }
            next = if buffer.len() < BATCH_BYTES { frames.try_recv().ok() } else { None };
        }
        if let Err(error) = sender.send(&buffer).await {
            return transport::reason(&error);
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
    shared: Arc<Shared>,
    /// Weak, so that the connection ends when it is dropped.
    queue: mpsc::WeakSender<ClientFrame>,
    frame_max: usize,
    generation: u64,
    on_view: Box<dyn Fn(u64) + Send + Sync>,
    session: Box<dyn Fn() -> u64 + Send + Sync>,
    keepalive: Keepalive,
    /// The time between two Pings on an idle connection.
    idle_max: Duration,
}

impl Reader {
    /// Reads until the connection ends. Returns the reason why it ended.
    async fn run(self, mut receiver: Receiver, mut buffer: BytesMut) -> String {
        let now = Instant::now();
        let mut activity = Activity { received: now, pinged: now, unanswered_ping: None, nonce: 0 };
        let mut check = pin!(tokio::time::sleep_until(self.next_check(&activity)));
        loop {
            loop {
                match next_frame(&mut buffer, self.frame_max) {
                    Ok(Some(body)) => {
                        // A node sends Pings even if it carries out no requests.
                        if !matches!(body, server_frame::Body::Ping(_)) {
                            activity.record();
                        }
                        if let Some(reason) = self.handle(body) {
                            return reason;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return format!("violation of gometa's client protocol: {error}"),
                }
            }
            buffer.reserve(BATCH_BYTES);
            tokio::select! {
                received = receiver.receive(&mut buffer) => match received {
                    Ok(0) => return "the node closed the connection".to_owned(),
                    // Part of a long frame counts as activity, too.
                    Ok(_) if buffer.len() > PING_BYTES_MAX => activity.record(),
                    Ok(_) => {}
                    Err(error) => return transport::reason(&error),
                },
                () = check.as_mut() => {
                    if let Some(reason) = self.check(&mut activity) {
                        return reason;
                    }
                    check.as_mut().reset(self.next_check(&activity));
                }
            }
        }
    }

    /// Handles a frame. Returns the reason to end the connection, if there is one.
    fn handle(&self, body: server_frame::Body) -> Option<String> {
        match body {
            server_frame::Body::Response(response) => {
                let waiter = {
                    let mut pending = self.shared.pending();
                    let waiter = pending.requests.remove(&response.id);
                    pending.awaited_since = (!pending.requests.is_empty()).then(Instant::now);
                    waiter
                };
                // No call waits for the response to a cancelled request.
                if let Some(waiting) = waiter.and_then(|waiter| waiter.response) {
                    let _ = waiting.send(response);
                }
            }
            server_frame::Body::View(view) => {
                *self.shared.view() = view;
                (self.on_view)(self.generation);
            }
            server_frame::Body::Ping(ping) => {
                self.send(client_frame::Body::Pong(Pong { nonce: ping.nonce }));
            }
            server_frame::Body::Error(error) => {
                return Some(format!("the node ended the connection: {}", one_line(&error.to_string())));
            }
            server_frame::Body::Pong(_) => {
                let mut pending = self.shared.pending();
                if pending.requests.is_empty() {
                    pending.awaited_since = None;
                }
            }
            server_frame::Body::Welcome(_) => {}
        }
        None
    }

    /// Since when a response has been awaited without a byte from the node.
    fn silent_since(&self, activity: &Activity) -> Option<Instant> {
        self.shared.pending().awaited_since.map(|awaited| awaited.max(activity.received))
    }

    /// The time of the next check. A request that is sent before then is due one keepalive interval later at the
    /// earliest.
    fn next_check(&self, activity: &Activity) -> Instant {
        let due = match (activity.unanswered_ping, self.silent_since(activity)) {
            (Some(since), _) => since + self.keepalive.timeout,
            (None, Some(since)) => (since + self.keepalive.interval).min(activity.pinged + self.idle_max),
            (None, None) => activity.pinged + self.idle_max,
        };
        due.min(Instant::now() + self.keepalive.interval)
    }

    /// Sends a Ping if one is due. Returns the reason to end the connection, if there is one.
    fn check(&self, activity: &mut Activity) -> Option<String> {
        let now = Instant::now();
        if let Some(since) = activity.unanswered_ping {
            return (now - since >= self.keepalive.timeout)
                .then(|| format!("keepalive timeout: nothing received for {:.1?}", now - activity.received));
        }
        let silent = self.silent_since(activity).is_some_and(|since| now - since >= self.keepalive.interval);
        if silent || now - activity.pinged >= self.idle_max {
            activity.nonce += 1;
            activity.pinged = now;
            // A Ping that finds the queue full counts as unanswered: the node does not read.
            activity.unanswered_ping = Some(now);
            let session = (self.session)();
            self.send(client_frame::Body::Ping(Ping { nonce: activity.nonce, session }));
        }
        None
    }

    /// Queues a frame, or drops it if the queue is full: reading must not wait for writing.
    fn send(&self, body: client_frame::Body) {
        if let Some(queue) = self.queue.upgrade() {
            let _ = queue.try_send(ClientFrame { body: Some(body) });
        }
    }
}

/// The last signs of life of a connection.
struct Activity {
    /// The time of the last byte received.
    received: Instant,
    /// The time of the last Ping sent.
    pinged: Instant,
    /// The time of the first Ping sent since the last byte received.
    unanswered_ping: Option<Instant>,
    nonce: u64,
}

impl Activity {
    fn record(&mut self) {
        self.received = Instant::now();
        self.unanswered_ping = None;
    }
}
