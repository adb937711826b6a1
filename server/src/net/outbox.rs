//! What waits to be written to one connection.
//!
//! The driver puts and goes on; it never waits for a socket. A little that waits is written at once, from the
//! thread that put it, which saves a wake-up for every answer; anything more, and whatever the socket does
//! not take, is left to the connection's task. Order is kept either way. A full outbox means that the other
//! end is too slow, and the connection is given up.
//!
//! What waits is *charged*: from the put until the socket has taken it, in whichever form it waits, to this outbox
//! and to all outboxes of its kind together. How long it has waited is known too ([`Outbox::behind`]), so that
//! whoever must make room can tell those who do not read from those who only read much.
//!
//! Whoever puts large things and wants to be told when the socket has taken them asks for a *report*. There is
//! at most one on its way, and it is overtaken by nothing: see [`Outbox::report`].

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::{net::TcpStream, sync::Notify};

/// Up to this much is encoded and written by whoever puts it, in bytes.
const INLINE_MAX: usize = 32 << 10;
/// What the task takes out at a time, in bytes.
const CHUNK: usize = 256 << 10;
/// A buffer larger than this is not kept, in bytes: there may be ten thousand.
const BUFFER_KEPT_MAX: usize = 2 << 10;
/// Nor is room for more items than this.
const ITEMS_KEPT_MAX: usize = 16;

/// Something that is sent.
pub(crate) trait Outgoing: Send {
    /// Its length when encoded, in bytes, roughly.
    fn size(&self) -> usize;
    /// Appends it, length prefix included.
    fn encode(&self, buffer: &mut BytesMut);
}

/// How much may wait.
#[derive(Clone)]
pub(crate) struct Bounds {
    /// Items.
    pub(crate) count_max: usize,
    /// Bytes. One item alone may exceed it.
    pub(crate) bytes_max: usize,
    /// Bytes that wait on all connections of a kind together, and their bound.
    pub(crate) together: Arc<AtomicUsize>,
    /// Beyond this, connections that something waits for already take no more.
    pub(crate) together_max: usize,
}

/// Sends a report; must not wait.
type Reporter = Box<dyn Fn() + Send + Sync>;

/// The way out of one connection; holds its socket.
pub(crate) struct Outbox<T> {
    stream: TcpStream,
    bounds: Bounds,
    reporter: Option<Reporter>,
    state: Mutex<State<T>>,
    /// Tells the task that it has something to do.
    wake: Notify,
}

struct State<T> {
    queue: VecDeque<T>,
    /// What the queue will be when encoded.
    queue_bytes: usize,
    /// Encoded and in the hands of the task.
    writing: usize,
    /// What is charged for all that waits: at each settlement the queue with its items' own size, the buffer, and
    /// what the task writes.
    charged: usize,
    /// When this many items have been taken and are out, ...
    mark: u64,
    /// ... nothing waits any more of what was put before this.
    marked: Instant,
    /// Items that have been put, and those of them that have left the queue, since the beginning.
    put: u64,
    taken: u64,
    /// A report is owed when this many items are out.
    report_at: Option<u64>,
    /// A report has been sent and not been received.
    reported: bool,
    /// Encoded, and not yet taken by the socket.
    buffer: BytesMut,
    /// The task writes; others only put.
    task_writes: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing more is put; what waits still goes out.
    Closing,
    /// Nothing more goes out.
    Dead,
}

/// What became of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put {
    /// It is the first that waits: the caller calls [`Outbox::flush`] when it has put all it has.
    First,
    /// It waits behind others.
    Behind,
    /// There is no room.
    Full,
    /// The connection is about to end.
    Closed,
}

impl<T: Outgoing> Outbox<T> {
    pub(crate) fn new(stream: TcpStream, bounds: Bounds) -> Outbox<T> {
        let state = State {
            queue: VecDeque::new(),
            queue_bytes: 0,
            writing: 0,
            charged: 0,
            mark: 0,
            marked: Instant::now(),
            put: 0,
            taken: 0,
            report_at: None,
            reported: false,
            buffer: BytesMut::new(),
            task_writes: false,
            phase: Phase::Open,
        };
        Outbox { stream, bounds, reporter: None, state: Mutex::new(state), wake: Notify::new() }
    }

    /// The same, for [`Outbox::report`].
    pub(crate) fn reporting(mut self, reporter: impl Fn() + Send + Sync + 'static) -> Outbox<T> {
        self.reporter = Some(Box::new(reporter));
        self
    }

    /// The socket, for reading.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, item: T) -> Put {
        let size = item.size();
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Put::Closed;
        }
        let charge = size + size_of::<T>();
        if state.charged > 0 {
            let together = self.bounds.together.load(Ordering::Relaxed) + charge;
            if state.queue.len() >= self.bounds.count_max
                || state.charged + charge > self.bounds.bytes_max
                || together > self.bounds.together_max
            {
                return Put::Full;
            }
        } else {
            state.mark = state.put + 1;
            state.marked = Instant::now();
        }
        let first = state.queue.is_empty();
        self.bounds.together.fetch_add(charge, Ordering::Relaxed);
        state.charged += charge;
        state.queue_bytes += size;
        state.put += 1;
        state.queue.push_back(item);
        if first { Put::First } else { Put::Behind }
    }

    /// Charges what waits now, and no more.
    fn settle(&self, state: &mut State<T>) {
        let charge =
            state.queue_bytes + state.queue.len() * size_of::<T>() + state.buffer.len() + state.writing;
        let before = std::mem::replace(&mut state.charged, charge);
        if charge >= before {
            self.bounds.together.fetch_add(charge - before, Ordering::Relaxed);
        } else {
            self.bounds.together.fetch_sub(before - charge, Ordering::Relaxed);
        }
        let out = state.buffer.is_empty() && state.writing == 0;
        if out && charge > 0 && state.taken >= state.mark {
            state.mark = state.put;
            state.marked = Instant::now();
        }
    }

    /// How many bytes are charged for what waits, and at least for how long the oldest of it has waited; `None`
    /// when nothing waits.
    pub(crate) fn behind(&self) -> Option<(usize, Duration)> {
        let state = self.lock();
        (state.charged > 0).then(|| (state.charged, state.marked.elapsed()))
    }

    /// Asks for a report when the socket has taken everything put so far; the caller flushes afterwards. If one
    /// is owed already, it comes later instead. None comes from a connection that ends first.
    pub(crate) fn report(&self) {
        let mut state = self.lock();
        state.report_at = Some(state.put);
    }

    /// A report has arrived: whether it holds. If not, another has been asked for since, which will come.
    pub(crate) fn report_holds(&self) -> bool {
        let mut state = self.lock();
        state.reported = false;
        state.report_at.is_none()
    }

    /// Whether to send a report; everything taken from the queue must be out.
    fn due(&self, state: &mut State<T>) -> bool {
        if state.report_at.is_none_or(|at| state.taken < at) {
            return false;
        }
        state.report_at = None;
        // One that is on its way serves for this one as well.
        !std::mem::replace(&mut state.reported, true)
    }

    fn send_report(&self) {
        if let Some(reporter) = &self.reporter {
            reporter();
        }
    }

    /// Sends what waits, or has the task do it.
    pub(crate) fn flush(&self) {
        let mut state = self.lock();
        if state.task_writes || state.phase == Phase::Dead {
            return;
        }
        if state.queue_bytes <= INLINE_MAX {
            self.encode(&mut state, usize::MAX);
            while !state.buffer.is_empty() {
                match self.stream.try_write(&state.buffer) {
                    Ok(written) => state.buffer.advance(written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        self.die(&mut state);
                        break;
                    }
                }
            }
        }
        let report = state.buffer.is_empty() && self.due(&mut state);
        let done = state.buffer.is_empty() && state.queue.is_empty() && state.phase == Phase::Open;
        if done {
            shrink(&mut state.buffer);
            shrink_queue(&mut state.queue);
        }
        self.settle(&mut state);
        state.task_writes = !done;
        drop(state);
        if report {
            self.send_report();
        }
        if !done {
            self.wake.notify_one();
        }
    }

    /// Moves items from the queue to the buffer until it holds `enough` bytes.
    fn encode(&self, state: &mut State<T>, enough: usize) {
        while state.buffer.len() < enough {
            let Some(item) = state.queue.pop_front() else { break };
            let size = item.size();
            state.queue_bytes -= size;
            state.taken += 1;
            item.encode(&mut state.buffer);
        }
    }

    /// Lets go out what waits, takes nothing more, and then ends [`Outbox::run`].
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.flush();
    }

    /// Ends [`Outbox::run`] without sending what waits, and the connection without the system doing so: what it has
    /// taken for one who does not read is its memory.
    pub(crate) fn abort(&self) {
        drop(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
        let mut state = self.lock();
        self.die(&mut state);
        drop(state);
        self.wake.notify_one();
    }

    fn die(&self, state: &mut State<T>) {
        state.phase = Phase::Dead;
        state.queue_bytes = 0;
        state.queue = VecDeque::new();
        state.buffer = BytesMut::new();
        // The task lets go of what it holds as soon as it notices.
        state.writing = 0;
        self.settle(state);
    }

    /// The connection's task: writes what is left to it, until the outbox is closed and empty, or dead.
    pub(crate) async fn run(&self) {
        let mut chunk = BytesMut::new();
        loop {
            self.wake.notified().await;
            loop {
                let (items, bytes, report, phase) = {
                    let mut state = self.lock();
                    if state.phase == Phase::Dead {
                        return;
                    }
                    state.writing = 0;
                    self.settle(&mut state);
                    let report = state.buffer.is_empty() && self.due(&mut state);
                    std::mem::swap(&mut chunk, &mut state.buffer);
                    let (items, bytes) = take_chunk(&mut state);
                    state.task_writes = !chunk.is_empty() || !items.is_empty();
                    state.writing = chunk.len() + bytes;
                    if !state.task_writes {
                        shrink_queue(&mut state.queue);
                    }
                    (items, bytes, report, state.phase)
                };
                if report {
                    self.send_report();
                }
                if chunk.is_empty() && items.is_empty() {
                    if phase == Phase::Closing {
                        return;
                    }
                    break;
                }
                // Encoded outside the lock: these may be large.
                if !items.is_empty() {
                    chunk.reserve(bytes);
                    items.into_iter().for_each(|item| item.encode(&mut chunk));
                }
                if self.write(&mut chunk).await.is_err() {
                    self.die(&mut self.lock());
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
                // While the task writes, only an abort has something to tell it.
                () = self.wake.notified() => {}
            }
            if self.lock().phase == Phase::Dead {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match self.stream.try_write(chunk) {
                Ok(written) => {
                    chunk.advance(written);
                    let mut state = self.lock();
                    if state.phase != Phase::Dead {
                        state.writing = chunk.len();
                        self.settle(&mut state);
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
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.bounds.together.fetch_sub(state.charged, Ordering::Relaxed);
    }
}

/// Takes items from the queue for the task, and says how long they will be when encoded.
fn take_chunk<T: Outgoing>(state: &mut State<T>) -> (Vec<T>, usize) {
    let (mut items, mut bytes) = (Vec::new(), 0);
    while bytes < CHUNK {
        let Some(item) = state.queue.pop_front() else { break };
        bytes += item.size();
        items.push(item);
    }
    state.queue_bytes -= bytes;
    state.taken += items.len() as u64;
    (items, bytes)
}

/// Room for many items is not kept.
fn shrink_queue<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > ITEMS_KEPT_MAX {
        *queue = VecDeque::new();
    }
}

/// An emptied buffer starts at the front of its memory again, if that is worth keeping.
fn shrink(buffer: &mut BytesMut) {
    debug_assert!(buffer.is_empty());
    if buffer.capacity() > BUFFER_KEPT_MAX {
        *buffer = BytesMut::new();
    } else {
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    struct Blob(u8, usize);

    /// Reports that have arrived.
    type Reports = Arc<AtomicUsize>;

    impl Outgoing for Blob {
        fn size(&self) -> usize {
            self.1
        }

        fn encode(&self, buffer: &mut BytesMut) {
            buffer.put_bytes(self.0, self.1);
        }
    }

    fn bounds(count_max: usize, bytes_max: usize) -> Bounds {
        Bounds { count_max, bytes_max, together: Arc::default(), together_max: 1 << 30 }
    }

    async fn pair(bounds: Bounds) -> (Arc<Outbox<Blob>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (Arc::new(Outbox::new(ours, bounds)), theirs)
    }

    async fn reporting_pair() -> (Arc<Outbox<Blob>>, TcpStream, Reports) {
        let (outbox, far) = pair(bounds(1_000, 1 << 30)).await;
        let reports = Reports::default();
        outbox.stream().writable().await.unwrap();
        let outbox = Arc::into_inner(outbox).unwrap().reporting({
            let reports = reports.clone();
            move || {
                reports.fetch_add(1, Ordering::Relaxed);
            }
        });
        (Arc::new(outbox), far, reports)
    }

    #[tokio::test]
    async fn a_little_is_written_by_the_one_who_puts_it() {
        let (outbox, mut far) = pair(bounds(10, 1_000)).await;
        outbox.stream().writable().await.unwrap();
        assert_eq!(outbox.put(Blob(1, 3)), Put::First);
        assert_eq!(outbox.put(Blob(2, 2)), Put::Behind);
        outbox.flush();
        let mut read = [0; 5];
        // No task runs.
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(read, [1, 1, 1, 2, 2]);
        assert_eq!(outbox.bounds.together.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn everything_arrives_in_order_and_closing_sends_what_waits() {
        let (outbox, mut far) = pair(bounds(1_000, 1 << 30)).await;
        let task = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.run().await }
        });
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        });
        for number in 0..200 {
            outbox.put(Blob(number, 1 + usize::from(number) * 331));
            if number % 3 == 0 {
                outbox.flush();
            }
        }
        outbox.close();
        assert_eq!(outbox.put(Blob(0, 1)), Put::Closed);
        task.await.unwrap();
        let together = outbox.bounds.together.clone();
        drop(outbox);
        let all = reader.await.unwrap();
        assert!(all.is_sorted());
        assert_eq!(all.len(), (0..200).map(|number| 1 + number * 331).sum::<usize>());
        assert_eq!(together.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_full_outbox_says_so() {
        let (outbox, _far) = pair(bounds(2, 100)).await;
        // One alone may be larger than the bound.
        assert_eq!(outbox.put(Blob(0, 500)), Put::First);
        assert_eq!(outbox.put(Blob(0, 1)), Put::Full);
        let (outbox, _far) = pair(bounds(2, 100)).await;
        assert_eq!(outbox.put(Blob(0, 1)), Put::First);
        assert_eq!(outbox.put(Blob(0, 1)), Put::Behind);
        assert_eq!(outbox.put(Blob(0, 1)), Put::Full);
        let together = outbox.bounds.together.clone();
        assert_eq!(together.load(Ordering::Relaxed), 2 * (1 + size_of::<Blob>()));
        outbox.abort();
        assert_eq!(outbox.put(Blob(0, 1)), Put::Closed);
        assert_eq!(together.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_reader_that_stalls_never_blocks_the_one_who_puts() {
        let (outbox, far) = pair(bounds(1_000, 32 << 20)).await;
        let task = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.run().await }
        });
        let mut full = false;
        for _ in 0..1_000 {
            full = outbox.put(Blob(0, 1 << 20)) == Put::Full;
            if full {
                break;
            }
            outbox.flush();
            tokio::task::yield_now().await;
        }
        assert!(full);
        outbox.abort();
        task.await.unwrap();
        drop(far);
    }

    #[tokio::test]
    async fn a_report_comes_once_when_it_was_asked_for() {
        let (outbox, _far, reports) = reporting_pair().await;
        outbox.put(Blob(0, 1));
        outbox.flush();
        assert_eq!(reports.load(Ordering::Relaxed), 0, "nobody has asked");
        outbox.put(Blob(0, 1));
        outbox.report();
        outbox.put(Blob(0, 1));
        outbox.report();
        assert_eq!(reports.load(Ordering::Relaxed), 0, "nothing is out");
        outbox.flush();
        assert_eq!(reports.load(Ordering::Relaxed), 1);
        assert!(outbox.report_holds());
        outbox.put(Blob(0, 1));
        outbox.flush();
        assert_eq!(reports.load(Ordering::Relaxed), 1, "once");
        // With nothing put since, it is due at once.
        outbox.report();
        outbox.flush();
        assert_eq!(reports.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn no_two_reports_are_on_their_way_and_an_overtaken_one_does_not_hold() {
        let (outbox, _far, reports) = reporting_pair().await;
        for _ in 0..3 {
            outbox.put(Blob(0, 1));
            outbox.report();
            outbox.flush();
        }
        assert_eq!(reports.load(Ordering::Relaxed), 1);
        assert!(outbox.report_holds(), "all three are out");
        outbox.put(Blob(0, 1));
        outbox.report();
        outbox.flush();
        assert_eq!(reports.load(Ordering::Relaxed), 2);
        outbox.put(Blob(0, 1));
        outbox.report();
        assert!(!outbox.report_holds(), "something has been put since");
        outbox.flush();
        assert_eq!(reports.load(Ordering::Relaxed), 3, "and so there is another");
        assert!(outbox.report_holds());
    }

    #[tokio::test]
    async fn the_task_reports_when_the_socket_has_taken_it_all() {
        /// More than the two sockets hold.
        const LARGE: usize = 64 << 20;
        let (outbox, mut far, reports) = reporting_pair().await;
        let task = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.run().await }
        });
        outbox.put(Blob(7, LARGE));
        outbox.report();
        outbox.flush();
        let mut buffer = vec![0; 1 << 20];
        let mut read = far.read(&mut buffer).await.unwrap();
        assert_eq!(reports.load(Ordering::Relaxed), 0, "most of it waits");
        while read < LARGE {
            read += far.read(&mut buffer).await.unwrap();
        }
        outbox.put(Blob(8, 1));
        outbox.close();
        task.await.unwrap();
        assert_eq!(reports.load(Ordering::Relaxed), 1);
        // Who is given up reports nothing.
        let (outbox, _far, reports) = reporting_pair().await;
        let task = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.run().await }
        });
        outbox.put(Blob(7, LARGE));
        outbox.report();
        outbox.flush();
        outbox.abort();
        task.await.unwrap();
        assert_eq!(reports.load(Ordering::Relaxed), 0);
    }
}
