//! Futures that are ready, for event loops: their tags, and a descriptor that is readable while there are any.

use std::{sync::Arc, time::Duration};

use gometa_client::{Error, OnSharedRuntime, Operation};

use crate::{
    error::gometa_error_t,
    guard::guard,
    input::{self, Arguments},
    mailbox,
    status::gometa_status_t,
};

const ARGUMENTS: Arguments = Arguments(Operation::Status);

/// Tags of futures: at most one for each that was put here and not freed.
pub(crate) type Mailbox = mailbox::Mailbox<u64>;

/// Tags of futures that are ready, in the order in which they became so. Any number of threads may use it at
/// a time. Free it with gometa_queue_free.
pub struct gometa_queue_t {
    mailbox: OnSharedRuntime<Arc<Mailbox>>,
    descriptor: i32,
}

impl gometa_queue_t {
    pub(crate) fn mailbox(&self, operation: Operation) -> Result<&Arc<Mailbox>, Error> {
        self.mailbox.get(operation).map(|(mailbox, _)| mailbox)
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
        let mailbox = Mailbox::new("queue")?;
        let descriptor = mailbox.descriptor();
        place.give(gometa_queue_t { mailbox: OnSharedRuntime::new(Arc::new(mailbox))?, descriptor });
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
        place.put(queue.mailbox(Operation::Status)?.next(Duration::from_millis(timeout_ms))?);
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
        queue.mailbox(Operation::Status)?.close(false);
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
