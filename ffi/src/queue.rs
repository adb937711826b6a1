//! The queue: tags of futures that are ready, for event loops.

use std::{sync::Arc, time::Duration};

use gometa_client::{Error, OnSharedRuntime, Operation};

use crate::{
    error::gometa_error_t,
    guard::guarded,
    macros::{free, handle, read, required},
    mailbox,
    status::gometa_status_t,
};

/// Tags of futures: at most one for each future that was enqueued and not freed.
pub(crate) type Mailbox = mailbox::Mailbox<u64>;

/// The tags of futures that are ready, in the order of their completion. Thread-safe. Free with gometa_queue_free.
pub struct gometa_queue_t {
    mailbox: OnSharedRuntime<Arc<Mailbox>>,
    descriptor: i32,
}

impl gometa_queue_t {
    pub(crate) fn mailbox(&self, operation: Operation) -> Result<&Arc<Mailbox>, Error> {
        self.mailbox.get(operation).map(|(mailbox, _)| mailbox)
    }
}

/// Creates a queue. Free `*queue` with gometa_queue_free.
///
/// Returns GOMETA_RESOURCE_EXHAUSTED if no file descriptor is available.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_new(
    queue: *mut *mut gometa_queue_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        let output = required!(Build, queue);
        let mailbox = Mailbox::new("queue")?;
        let descriptor = mailbox.descriptor();
        output.give(gometa_queue_t { mailbox: OnSharedRuntime::new(Arc::new(mailbox))?, descriptor });
        Ok(())
    })
}

/// Returns a file descriptor for poll or epoll, readable while it has a tag or is closed (level-triggered). Do not
/// read from it or close it. Valid as long as the queue. -1 if `queue` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_fd(queue: *const gometa_queue_t) -> i32 {
    read!(queue, -1, |queue| queue.descriptor)
}

/// Takes the next tag; waits for at most `timeout_ms`, 0 means not at all.
///
/// Returns GOMETA_DEADLINE_EXCEEDED if there is no tag, GOMETA_CLOSED if the queue is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_next(
    queue: *const gometa_queue_t,
    timeout_ms: u64,
    tag: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let mailbox = handle!(Status, queue).mailbox(Operation::Status)?;
        let output = required!(Status, tag);
        output.put(mailbox.next(Duration::from_millis(timeout_ms))?);
        Ok(())
    })
}

/// Closes a queue and drops its tags: waiting threads are woken, and gometa_queue_next returns GOMETA_CLOSED.
/// Thread-safe. A second close is a no-op, and so is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_close(queue: *const gometa_queue_t) {
    let error = std::ptr::null_mut();
    guarded!(Status, error, {
        handle!(Status, queue).mailbox(Operation::Status)?.close(false);
        Ok(())
    });
}

/// Frees a queue, which no thread may be using. Tags of futures that complete later are dropped. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_queue_free(queue: *mut gometa_queue_t) {
    free!(queue);
}
