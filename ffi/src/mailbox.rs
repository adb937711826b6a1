//! A queue of items for the caller's threads, with a blocking take and a descriptor that is readable while it has items.

use std::{
    collections::VecDeque,
    io::{ErrorKind as Io, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gometa_client::{Error, ErrorKind, Operation};

/// The longest wait: a longer timeout is cut to it.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A queue with a descriptor.
pub(crate) struct Mailbox<T> {
    /// The noun for error messages: "queue".
    name: &'static str,
    content: Mutex<Content<T>>,
    arrived: Condvar,
    /// Holds one byte while there are items.
    signal: UnixStream,
    /// The other end, which the caller polls.
    watched: UnixStream,
}

struct Content<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Mailbox<T> {
    /// # Errors
    /// [`ErrorKind::ResourceExhausted`] if no file descriptor is available.
    pub(crate) fn new(name: &'static str) -> Result<Mailbox<T>, Error> {
        let pair = || {
            let (signal, watched) = UnixStream::pair()?;
            signal.set_nonblocking(true)?;
            watched.set_nonblocking(true)?;
            Ok::<_, std::io::Error>((signal, watched))
        };
        let (signal, watched) = pair().map_err(|error| {
            let message = format!("no file descriptor for a {name}: {error}");
            Error::new(ErrorKind::ResourceExhausted, Operation::Build, message)
        })?;
        let content = Mutex::new(Content { items: VecDeque::new(), closed: false });
        Ok(Mailbox { name, content, arrived: Condvar::new(), signal, watched })
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.watched.as_raw_fd()
    }

    fn lock(&self) -> MutexGuard<'_, Content<T>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item, unless the mailbox has `max` items or is closed; returns whether it was added.
    pub(crate) fn put(&self, item: T, max: usize) -> bool {
        let mut content = self.lock();
        if content.closed || content.items.len() >= max {
            return false;
        }
        content.items.push_back(item);
        if content.items.len() == 1 {
            self.raise();
        }
        self.arrived.notify_one();
        true
    }

    /// Makes the descriptor readable, which it is not: the socket's buffer is empty.
    fn raise(&self) {
        let written = (&self.signal).write(&[1]);
        debug_assert!(written.is_ok());
    }

    fn lower(&self) {
        let mut bytes = [0; 16];
        while matches!((&self.watched).read(&mut bytes), Err(error) if error.kind() == Io::Interrupted) {}
    }

    /// Takes the next item; waits for at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::DeadlineExceeded`] if there is none, [`ErrorKind::Closed`] if the mailbox is closed and empty.
    pub(crate) fn next(&self, timeout: Duration) -> Result<T, Error> {
        let until = Instant::now() + timeout.min(WAIT_MAX);
        let mut content = self.lock();
        loop {
            if let Some(item) = content.items.pop_front() {
                // The descriptor of a closed mailbox stays readable.
                if content.items.is_empty() && !content.closed {
                    self.lower();
                }
                return Ok(item);
            }
            if content.closed {
                let message = format!("the {} is closed", self.name);
                return Err(Error::new(ErrorKind::Closed, Operation::Status, message));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!("the {} was empty for {timeout:?}", self.name);
                return Err(Error::new(ErrorKind::DeadlineExceeded, Operation::Status, message));
            }
            content = self.arrived.wait_timeout(content, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes the mailbox: wakes waiting threads, and the descriptor stays readable. With `keep`, its items can still be
    /// taken.
    pub(crate) fn close(&self, keep: bool) {
        let mut content = self.lock();
        if content.closed {
            return;
        }
        content.closed = true;
        if content.items.is_empty() {
            self.raise();
        }
        if !keep {
            content.items.clear();
        }
        self.arrived.notify_all();
    }
}
