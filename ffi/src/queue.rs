//! Futures that are ready, for event loops: their tags, and a descriptor that is readable while there are any.

use std::{
    collections::VecDeque,
    io::{ErrorKind as Io, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gometa_client::{Error, ErrorKind, Hosted, Operation};

use crate::{
    error::gometa_error_t,
    guard::guard,
    input::{self, Arguments},
    status::gometa_status_t,
};

const ARGUMENTS: Arguments = Arguments(Operation::Status);
/// Waits that end later than this end then.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Tags of futures that are ready, in the order in which they became so. Any number of threads may use it at
/// a time. Free it with gometa_queue_free.
pub struct gometa_queue_t {
    mailbox: Hosted<Arc<Mailbox>>,
    descriptor: i32,
}

impl gometa_queue_t {
    pub(crate) fn mailbox(&self, operation: Operation) -> Result<&Arc<Mailbox>, Error> {
        self.mailbox.get(operation).map(|(mailbox, _)| mailbox)
    }
}

/// Where tags arrive.
pub(crate) struct Mailbox {
    content: Mutex<Content>,
    arrived: Condvar,
    /// Holds one byte while there are tags.
    signal: UnixStream,
    /// What an event loop looks at: the signal's other end.
    watched: UnixStream,
}

#[derive(Default)]
struct Content {
    /// At most one for each future that was put here and not freed.
    tags: VecDeque<u64>,
    closed: bool,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A future is ready.
    pub(crate) fn put(&self, tag: u64) {
        let mut content = self.lock();
        if content.closed {
            return;
        }
        content.tags.push_back(tag);
        if content.tags.len() == 1 {
            self.raise();
        }
        self.arrived.notify_one();
    }

    /// Makes the descriptor readable. It is not; there is room for one byte.
    fn raise(&self) {
        let written = (&self.signal).write(&[1]);
        debug_assert!(written.is_ok());
    }

    fn lower(&self) {
        let mut bytes = [0; 16];
        while matches!((&self.watched).read(&mut bytes), Err(error) if error.kind() == Io::Interrupted) {}
    }

    /// The next tag, none if none arrives in time.
    fn next(&self, timeout: Duration) -> Result<Option<u64>, Error> {
        let until = Instant::now() + timeout.min(WAIT_MAX);
        let mut content = self.lock();
        loop {
            if content.closed {
                return Err(Error::new(ErrorKind::Closed, Operation::Status, "the queue is closed"));
            }
            if let Some(tag) = content.tags.pop_front() {
                if content.tags.is_empty() {
                    self.lower();
                }
                return Ok(Some(tag));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            content = self.arrived.wait_timeout(content, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wakes everybody, for good; the descriptor stays readable.
    fn close(&self) {
        let mut content = self.lock();
        if content.closed {
            return;
        }
        content.closed = true;
        if content.tags.is_empty() {
            self.raise();
        }
        content.tags.clear();
        self.arrived.notify_all();
    }
}

/// A queue. GOMETA_RESOURCE_EXHAUSTED if there is no descriptor to be had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_new(
    queue: *mut *mut gometa_queue_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let body = || {
        // SAFETY: NULL, or a place of the caller's.
        let place = unsafe { ARGUMENTS.output(queue, "queue") }?;
        let pair = || {
            let (signal, watched) = UnixStream::pair()?;
            signal.set_nonblocking(true)?;
            watched.set_nonblocking(true)?;
            Ok::<_, std::io::Error>((signal, watched))
        };
        let (signal, watched) = pair().map_err(|error| {
            let message = format!("no descriptor for a queue: {error}");
            Error::new(ErrorKind::ResourceExhausted, Operation::Build, message)
        })?;
        let descriptor = watched.as_raw_fd();
        let mailbox = Mailbox { content: Mutex::default(), arrived: Condvar::new(), signal, watched };
        place.give(gometa_queue_t { mailbox: Hosted::new(Arc::new(mailbox))?, descriptor });
        Ok(())
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Build, error, body) }
}

/// A descriptor that is readable while the queue holds a tag, or is closed: for poll, epoll and their like.
/// Do not read from it and do not close it; it lives as long as the queue. -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_fd(queue: *const gometa_queue_t) -> i32 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { queue.as_ref() }.map_or(-1, |queue| queue.descriptor)
}

/// The next tag; waits for one, at most timeout_ms milliseconds; 0 only looks. GOMETA_DEADLINE_EXCEEDED if
/// there is none, GOMETA_CLOSED, GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_next(
    queue: *const gometa_queue_t,
    timeout_ms: u64,
    tag: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let body = || {
        // SAFETY: NULL, or what the caller holds.
        let queue = unsafe { ARGUMENTS.handle(queue, "queue") }?;
        // SAFETY: NULL, or a place of the caller's.
        let place = unsafe { ARGUMENTS.output(tag, "tag") }?;
        let next = queue.mailbox(Operation::Status)?.next(Duration::from_millis(timeout_ms))?;
        place.put(next.ok_or_else(|| {
            let message = format!("no future of the queue is ready within {timeout_ms} ms");
            Error::new(ErrorKind::DeadlineExceeded, Operation::Status, message)
        })?);
        Ok(())
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Status, error, body) }
}

/// Wakes every thread that waits in gometa_queue_next, which says GOMETA_CLOSED from now on. Closing again
/// does nothing, nor does NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_close(queue: *const gometa_queue_t) {
    let body = || {
        // SAFETY: NULL, or what the caller holds.
        let queue = unsafe { ARGUMENTS.handle(queue, "queue") }?;
        queue.mailbox(Operation::Status)?.close();
        Ok(())
    };
    // SAFETY: there is no place for an error.
    unsafe { guard(Operation::Status, std::ptr::null_mut(), body) };
}

/// Frees a queue, which nobody may use any more; futures that would have told it tell nobody. NULL is
/// nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_free(queue: *mut gometa_queue_t) {
    // SAFETY: NULL, or a queue that the caller gives up.
    unsafe { input::free(queue) };
}
