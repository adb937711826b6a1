//! The queue of messages to be written to one connection.
//!
//! The driver puts messages and never waits for a socket. A small amount is written at once by the calling thread, which
//! saves a wake-up for every answer; anything more, and whatever the socket does not accept, is left to the
//! connection's task. The order is kept either way. A full outbox means that the other end reads too slowly, and the
//! connection is closed.
//!
//! Queued messages are charged by their size to this outbox and to a total over all outboxes of the port, from the put
//! until the socket has accepted them. [`Outbox::backlog`] also returns their age, so that load shedding can tell a
//! client that does not read from one that reads much.
//!
//! [`Outbox::notify_when_sent`] gives flow control for large messages: a callback when the socket has accepted them. At
//! most one notification is pending at a time.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::net::transport::Stream;

/// The largest amount that the calling thread encodes and writes itself, in bytes.
const INLINE_MAX: usize = 32 << 10;
/// The amount that the task takes out at a time, in bytes.
const CHUNK: usize = 256 << 10;
/// The largest capacity that an empty buffer keeps, in bytes: there may be ten thousand outboxes.
const BUFFER_KEPT_MAX: usize = 2 << 10;
/// The largest capacity that an empty queue keeps, in messages.
const QUEUE_KEPT_MAX: usize = 16;

/// A message that can be sent.
pub(crate) trait Outgoing: Send {
    /// The approximate encoded length, in bytes.
    fn size(&self) -> usize;
    /// Appends the encoded message, length prefix included.
    fn encode(&self, buffer: &mut BytesMut);
}

/// The bounds of an outbox.
#[derive(Clone)]
pub(crate) struct Bounds {
    /// The number of queued messages.
    pub(crate) count_max: usize,
    /// The bytes of queued messages. A single message may exceed it.
    pub(crate) bytes_max: usize,
    /// The bytes queued in all outboxes of a port.
    pub(crate) total: Arc<AtomicUsize>,
    /// The bound of `total`. An empty outbox accepts a message beyond it.
    pub(crate) total_max: usize,
}

/// A callback; must not wait.
type OnSent = Box<dyn Fn() + Send + Sync>;

/// The outgoing half of one connection; owns its socket.
pub(crate) struct Outbox<T> {
    stream: Stream,
    bounds: Bounds,
    on_sent: Option<OnSent>,
    state: Mutex<State<T>>,
    /// Wakes the task.
    wake: Notify,
}

struct State<T> {
    queue: VecDeque<T>,
    /// The encoded length of `queue`.
    queue_bytes: usize,
    /// The bytes that the task is writing.
    task_bytes: usize,
    /// The bytes charged: `queue` with the size of its messages in memory, `buffer`, and `task_bytes`.
    charged: usize,
    /// Once this many messages have been sent, no message put before `checkpoint_time` is left.
    checkpoint: u64,
    checkpoint_time: Instant,
    /// The number of messages put since the start.
    put: u64,
    /// The number of messages that have left `queue` since the start.
    dequeued: u64,
    /// The callback is due when this many messages have been sent.
    notify_at: Option<u64>,
    /// The callback was called, and [`Outbox::acknowledge_sent`] was not called since.
    notification_pending: bool,
    /// Encoded bytes that the socket has not accepted yet.
    buffer: BytesMut,
    /// Only the task writes to the socket.
    task_writes: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// No more messages are accepted; queued ones are still sent.
    Closing,
    /// Nothing is sent any more.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put {
    /// Queued first: the caller calls [`Outbox::flush`] after its last put.
    First,
    /// Queued behind others.
    Queued,
    /// Not queued: a bound is reached.
    Full,
    /// Not queued: the connection is being closed.
    Closed,
}

impl<T: Outgoing> Outbox<T> {
    pub(crate) fn new(stream: Stream, bounds: Bounds) -> Outbox<T> {
        let state = State {
            queue: VecDeque::new(),
            queue_bytes: 0,
            task_bytes: 0,
            charged: 0,
            checkpoint: 0,
            checkpoint_time: Instant::now(),
            put: 0,
            dequeued: 0,
            notify_at: None,
            notification_pending: false,
            buffer: BytesMut::new(),
            task_writes: false,
            phase: Phase::Open,
        };
        Outbox { stream, bounds, on_sent: None, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Sets the callback of [`Outbox::notify_when_sent`], which must not wait.
    pub(crate) fn with_on_sent(mut self, on_sent: impl Fn() + Send + Sync + 'static) -> Outbox<T> {
        self.on_sent = Some(Box::new(on_sent));
        self
    }

    /// The socket, for reading.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Queues a message.
    pub(crate) fn put(&self, message: T) -> Put {
        let size = message.size();
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Put::Closed;
        }
        let charge = size + size_of::<T>();
        if state.charged > 0 {
            let total = self.bounds.total.load(Ordering::Relaxed) + charge;
            if state.queue.len() >= self.bounds.count_max
                || state.charged + charge > self.bounds.bytes_max
                || total > self.bounds.total_max
            {
                return Put::Full;
            }
        } else {
            state.checkpoint = state.put + 1;
            state.checkpoint_time = Instant::now();
        }
        let first = state.queue.is_empty();
        self.bounds.total.fetch_add(charge, Ordering::Relaxed);
        state.charged += charge;
        state.queue_bytes += size;
        state.put += 1;
        state.queue.push_back(message);
        if first { Put::First } else { Put::Queued }
    }

    /// Charges the bytes that are queued now.
    fn update_charge(&self, state: &mut State<T>) {
        let charge =
            state.queue_bytes + state.queue.len() * size_of::<T>() + state.buffer.len() + state.task_bytes;
        let before = std::mem::replace(&mut state.charged, charge);
        if charge >= before {
            self.bounds.total.fetch_add(charge - before, Ordering::Relaxed);
        } else {
            self.bounds.total.fetch_sub(before - charge, Ordering::Relaxed);
        }
        let sent = state.buffer.is_empty() && state.task_bytes == 0;
        if sent && charge > 0 && state.dequeued >= state.checkpoint {
            state.checkpoint = state.put;
            state.checkpoint_time = Instant::now();
        }
    }

    /// The bytes charged and a lower bound of the oldest message's age; `None` if everything was sent.
    pub(crate) fn backlog(&self) -> Option<(usize, Duration)> {
        let state = self.state.lock();
        (state.charged > 0).then(|| (state.charged, state.checkpoint_time.elapsed()))
    }

    /// Requests the callback for when the socket has accepted everything put so far; the caller flushes afterwards. A
    /// second request replaces the first. A connection that is closed before never calls it.
    pub(crate) fn notify_when_sent(&self) {
        let mut state = self.state.lock();
        state.notify_at = Some(state.put);
    }

    /// Acknowledges a call of the callback. Returns false if it was requested again since, and so will be called again.
    pub(crate) fn acknowledge_sent(&self) -> bool {
        let mut state = self.state.lock();
        state.notification_pending = false;
        state.notify_at.is_none()
    }

    /// Whether to call the callback. Everything taken from the queue must be sent.
    fn is_notification_due(&self, state: &mut State<T>) -> bool {
        if state.notify_at.is_none_or(|at| state.dequeued < at) {
            return false;
        }
        state.notify_at = None;
        // A pending one covers this request as well.
        !std::mem::replace(&mut state.notification_pending, true)
    }

    fn notify(&self) {
        if let Some(on_sent) = &self.on_sent {
            on_sent();
        }
    }

    /// Sends the queued messages, or wakes the task to send them.
    pub(crate) fn flush(&self) {
        let mut state = self.state.lock();
        if state.task_writes || state.phase == Phase::Closed {
            return;
        }
        if state.queue_bytes <= INLINE_MAX {
            self.encode(&mut state, usize::MAX);
            while !state.buffer.is_empty() {
                match self.stream.try_write(&state.buffer) {
                    Ok(written) => state.buffer.advance(written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        self.discard(&mut state);
                        break;
                    }
                }
            }
        }
        let notify = state.buffer.is_empty() && self.is_notification_due(&mut state);
        let done = state.buffer.is_empty() && state.queue.is_empty() && state.phase == Phase::Open;
        if done {
            shrink(&mut state.buffer);
            shrink_queue(&mut state.queue);
        }
        self.update_charge(&mut state);
        state.task_writes = !done;
        drop(state);
        if notify {
            self.notify();
        }
        if !done {
            self.wake.notify_one();
        }
    }

    /// Moves messages from the queue to the buffer until it holds `enough` bytes.
    fn encode(&self, state: &mut State<T>, enough: usize) {
        while state.buffer.len() < enough {
            let Some(message) = state.queue.pop_front() else { break };
            state.queue_bytes -= message.size();
            state.dequeued += 1;
            message.encode(&mut state.buffer);
        }
    }

    /// Accepts no more messages; [`Outbox::run`] returns when the queued ones are sent.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.flush();
    }

    /// Discards the queued messages and resets the connection, so that the system frees its buffers at once, too.
    pub(crate) fn abort(&self) {
        self.stream.reset_on_drop();
        let mut state = self.state.lock();
        self.discard(&mut state);
        drop(state);
        self.wake.notify_one();
    }

    fn discard(&self, state: &mut State<T>) {
        state.phase = Phase::Closed;
        state.queue_bytes = 0;
        state.queue = VecDeque::new();
        state.buffer = BytesMut::new();
        // The task drops its bytes when it sees the phase.
        state.task_bytes = 0;
        self.update_charge(state);
    }

    /// The connection's task. Writes until the outbox is closed and everything is sent, or the connection failed.
    pub(crate) async fn run(&self) {
        let mut chunk = BytesMut::new();
        loop {
            self.wake.notified().await;
            loop {
                let (messages, bytes, notify, phase) = {
                    let mut state = self.state.lock();
                    if state.phase == Phase::Closed {
                        return;
                    }
                    state.task_bytes = 0;
                    self.update_charge(&mut state);
                    let notify = state.buffer.is_empty() && self.is_notification_due(&mut state);
                    std::mem::swap(&mut chunk, &mut state.buffer);
                    let (messages, bytes) = take_chunk(&mut state);
                    state.task_writes = !chunk.is_empty() || !messages.is_empty();
                    state.task_bytes = chunk.len() + bytes;
                    if !state.task_writes {
                        shrink_queue(&mut state.queue);
                    }
                    (messages, bytes, notify, state.phase)
                };
                if notify {
                    self.notify();
                }
                if chunk.is_empty() && messages.is_empty() {
                    if phase == Phase::Closing {
                        return;
                    }
                    break;
                }
                // Encoded outside the lock: these may be large.
                if !messages.is_empty() {
                    chunk.reserve(bytes);
                    messages.into_iter().for_each(|message| message.encode(&mut chunk));
                }
                if self.write(&mut chunk).await.is_err() {
                    self.discard(&mut self.state.lock());
                    return;
                }
                shrink(&mut chunk);
            }
        }
    }

    async fn write(&self, chunk: &mut BytesMut) -> io::Result<()> {
        while !chunk.is_empty() {
            tokio::select! {
                writable = self.stream.writable() => writable?,
                // While the task writes, only an abort wakes it.
                () = self.wake.notified() => {}
            }
            if self.state.lock().phase == Phase::Closed {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match self.stream.try_write(chunk) {
                Ok(written) => {
                    chunk.advance(written);
                    let mut state = self.state.lock();
                    if state.phase != Phase::Closed {
                        state.task_bytes = chunk.len();
                        self.update_charge(&mut state);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.bounds.total.fetch_sub(state.charged, Ordering::Relaxed);
    }
}

/// Takes messages from the queue for the task; returns their encoded length, too.
fn take_chunk<T: Outgoing>(state: &mut State<T>) -> (Vec<T>, usize) {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while bytes < CHUNK {
        let Some(message) = state.queue.pop_front() else { break };
        bytes += message.size();
        messages.push(message);
    }
    state.queue_bytes -= bytes;
    state.dequeued += messages.len() as u64;
    (messages, bytes)
}

/// Frees the capacity for many messages.
fn shrink_queue<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > QUEUE_KEPT_MAX {
        *queue = VecDeque::new();
    }
}

/// Frees the capacity for many bytes, or reuses a small one from its start.
fn shrink(buffer: &mut BytesMut) {
    debug_assert!(buffer.is_empty());
    if buffer.capacity() > BUFFER_KEPT_MAX {
        *buffer = BytesMut::new();
    } else {
        buffer.clear();
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
