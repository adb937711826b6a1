//! A call that is under way: waited for, polled, called back for, put into a queue, or cancelled.
//!
//! The call runs on the process's runtime and leaves its result in [`Pending`]. Whoever is to be told (a waiting thread, a
//! callback, a queue) is told from there, once. A callback runs on a thread of the library, one at a time for each
//! client, where it may call the library as any thread may.

use std::{
    collections::VecDeque,
    ffi::c_void,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gometa_client::{Client, Error, ErrorKind, OnSharedRuntime, Operation, Reply, Request};
use tokio::{runtime::Handle, task::AbortHandle};

use crate::{
    client::{gometa_deleted_t, gometa_written_t},
    entry::gometa_entry_t,
    error::gometa_error_t,
    guard::guard,
    input::{self, Arguments, Output},
    members::gometa_members_t,
    node_status::gometa_node_status_t,
    queue::{Mailbox, gometa_queue_t},
    status::gometa_status_t,
};

/// Waits that end later than this end then.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A call under way. Free it with gometa_future_free. One thread at a time, but for gometa_future_cancel,
/// which any thread may call meanwhile.
pub struct gometa_future_t {
    pending: OnSharedRuntime<Arc<Pending>>,
    operation: Operation,
}

/// Called when a future is ready, on a thread of the library. *context* is what gometa_future_on_ready was
/// given.
pub type gometa_callback_t = Option<unsafe extern "C" fn(context: *mut c_void, future: *mut gometa_future_t)>;

struct Pending {
    state: Mutex<State>,
    ready: Condvar,
    callbacks: Callbacks,
}

#[derive(Default)]
struct State {
    result: Option<Result<Reply, Error>>,
    listener: Option<Listener>,
    /// Somebody has been named, once and for all.
    named: bool,
    /// The future was freed: nobody is to be told any more.
    freed: bool,
    task: Option<AbortHandle>,
}

/// Whom to tell beside waiting threads.
enum Listener {
    Callback(Callback),
    Mailbox { mailbox: Arc<Mailbox>, tag: u64 },
}

/// What the caller asked to be called back with.
struct Callback {
    function: unsafe extern "C" fn(*mut c_void, *mut gometa_future_t),
    context: *mut c_void,
    future: *mut gometa_future_t,
}

// SAFETY: the pointers are only handed back to the caller's function, which expects to be called on another thread.
unsafe impl Send for Callback {}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the result, unless there is one already, and tells everybody.
    fn complete(self: &Arc<Pending>, runtime: &Handle, result: Result<Reply, Error>) {
        let listener = {
            let mut state = self.lock();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result);
            state.task = None;
            state.listener.take()
        };
        self.ready.notify_all();
        if let Some(listener) = listener {
            self.tell(runtime, listener);
        }
    }

    fn tell(self: &Arc<Pending>, runtime: &Handle, listener: Listener) {
        match listener {
            Listener::Mailbox { mailbox, tag } => {
                mailbox.put(tag, usize::MAX);
            }
            Listener::Callback(callback) => self.callbacks.enqueue(runtime, Arc::clone(self), callback),
        }
    }

    /// Has the listener told when the result is there, which may be at once.
    fn listen(
        self: &Arc<Pending>,
        runtime: &Handle,
        operation: Operation,
        listener: Listener,
    ) -> Result<(), Error> {
        let now = {
            let mut state = self.lock();
            if std::mem::replace(&mut state.named, true) {
                return Err(Arguments(operation).invalid("this future tells somebody already"));
            }
            if state.result.is_none() {
                state.listener = Some(listener);
                return Ok(());
            }
            listener
        };
        self.tell(runtime, now);
        Ok(())
    }

    /// Waits for the result; says whether it is there.
    fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout.min(WAIT_MAX);
        let mut state = self.lock();
        while state.result.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The callbacks of one client that are due: they come one after the other.
#[derive(Clone, Default)]
pub(crate) struct Callbacks(Arc<Mutex<Due>>);

#[derive(Default)]
struct Due {
    /// At most one for each future.
    waiting: VecDeque<(Arc<Pending>, Callback)>,
    /// A thread is at work on them.
    running: bool,
}

impl Callbacks {
    fn lock(&self) -> MutexGuard<'_, Due> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, runtime: &Handle, pending: Arc<Pending>, callback: Callback) {
        {
            let mut due = self.lock();
            due.waiting.push_back((pending, callback));
            if std::mem::replace(&mut due.running, true) {
                return;
            }
        }
        let callbacks = self.clone();
        runtime.spawn_blocking(move || callbacks.run());
    }

    fn run(&self) {
        loop {
            let (pending, callback) = {
                let mut due = self.lock();
                let Some(next) = due.waiting.pop_front() else {
                    due.running = false;
                    return;
                };
                next
            };
            if !pending.lock().freed {
                // SAFETY: the caller gave this function to be called so, and has not freed the future.
                unsafe { (callback.function)(callback.context, callback.future) };
            }
        }
    }
}

impl gometa_future_t {
    /// Starts a call.
    pub(crate) fn start(
        client: &OnSharedRuntime<Client>,
        callbacks: &Callbacks,
        request: Request,
    ) -> Result<gometa_future_t, Error> {
        let operation = request.operation();
        let (_, runtime) = client.get(operation)?;
        let pending = Arc::new(Pending {
            state: Mutex::default(),
            ready: Condvar::new(),
            callbacks: callbacks.clone(),
        });
        let task = runtime.spawn({
            let (handle, pending) = (runtime.clone(), Arc::clone(&pending));
            let closing = Abandoned { pending: Arc::clone(&pending), handle: handle.clone(), operation };
            let client = client.get(operation)?.0.clone();
            async move {
                let result = client.perform(request).await;
                drop(client);
                pending.complete(&handle, result);
                drop(closing);
            }
        });
        {
            let mut state = pending.lock();
            if state.result.is_none() {
                state.task = Some(task.abort_handle());
            }
        }
        Ok(gometa_future_t { pending: client.map(|_| pending), operation })
    }

    fn with_result<T>(
        &self,
        take: impl FnOnce(&Result<Reply, Error>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (pending, _) = self.pending.get(self.operation)?;
        let state = pending.lock();
        match &state.result {
            Some(result) => take(result),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                self.operation,
                "the future is not ready; wait for it first",
            )),
        }
    }

    fn cancel(&self) -> Result<(), Error> {
        let (pending, runtime) = self.pending.get(self.operation)?;
        let task = pending.lock().task.take();
        let message = "the call was cancelled";
        let mut error = Error::new(ErrorKind::Cancelled, self.operation, message);
        if self.operation.is_write() {
            error = error.with_unknown_outcome();
        }
        pending.complete(runtime, Err(error));
        if let Some(task) = task {
            task.abort();
        }
        Ok(())
    }
}

impl Drop for gometa_future_t {
    fn drop(&mut self) {
        // In a forked child there is nothing to tell anybody.
        if let Ok((pending, _)) = self.pending.get(self.operation) {
            let task = {
                let mut state = pending.lock();
                state.freed = true;
                state.listener = None;
                state.task.take()
            };
            if let Some(task) = task {
                task.abort();
            }
        }
    }
}

/// Completes the future also if the runtime is shut down under its task.
struct Abandoned {
    pending: Arc<Pending>,
    handle: Handle,
    operation: Operation,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let mut error = Error::new(ErrorKind::Closed, self.operation, "the client is closed");
        if self.operation.is_write() {
            error = error.with_unknown_outcome();
        }
        self.pending.complete(&self.handle, Err(error));
    }
}

/// Waits until the future is ready, at most timeout_ms milliseconds; 0 only looks. The call's own deadline
/// ends it in any case. GOMETA_OK if it is ready, however the call ended; GOMETA_DEADLINE_EXCEEDED if it is
/// not; GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_wait(
    future: *const gometa_future_t,
    timeout_ms: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let body = || {
        // SAFETY: NULL, or what the caller holds.
        let future = unsafe { Arguments(Operation::Status).handle(future, "future") }?;
        let (pending, _) = future.pending.get(future.operation)?;
        if pending.wait(Duration::from_millis(timeout_ms)) {
            return Ok(());
        }
        let message = format!("the call is not done within {timeout_ms} ms, and goes on");
        Err(Error::new(ErrorKind::DeadlineExceeded, future.operation, message).with_unknown_outcome())
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Status, error, body) }
}

/// Whether the future is ready. False for NULL and in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_is_ready(future: *const gometa_future_t) -> bool {
    // SAFETY: NULL, or what the caller holds.
    let future = unsafe { future.as_ref() };
    future.is_some_and(|future| future.with_result(|_| Ok(())).is_ok())
}

/// Ends the call: the future is ready then, with GOMETA_CANCELLED, if it was not before. A write may take
/// effect all the same. Any thread, at any time before gometa_future_free. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_cancel(future: *const gometa_future_t) {
    let body = || {
        // SAFETY: NULL, or what the caller holds.
        let future = unsafe { Arguments(Operation::Status).handle(future, "future") }?;
        future.cancel()
    };
    // SAFETY: there is no place for an error.
    unsafe { guard(Operation::Status, std::ptr::null_mut(), body) };
}

/// Frees a future. A call that is not done is cancelled, and neither its callback nor its queue hears of it
/// any more; but a callback that runs at this moment is not waited for, so free a future that has one in the
/// callback or behind it. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_free(future: *mut gometa_future_t) {
    // SAFETY: NULL, or a future that the caller gives up.
    unsafe { input::free(future) };
}

/// Has *callback* called with *context* and the future, once, when it is ready, which may be at once, on a
/// thread of the library, never within a call of the caller's. Callbacks of one client come one after
/// another. A future tells one callback or one queue, and one time: GOMETA_INVALID_ARGUMENT otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_on_ready(
    future: *mut gometa_future_t,
    context: *mut c_void,
    callback: gometa_callback_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let arguments = Arguments(Operation::Status);
    let body = || {
        // SAFETY: NULL, or what the caller holds.
        let held = unsafe { arguments.handle(future, "future") }?;
        let function = callback.ok_or_else(|| arguments.invalid("callback is NULL"))?;
        let (pending, runtime) = held.pending.get(held.operation)?;
        let listener = Listener::Callback(Callback { function, context, future });
        pending.listen(runtime, held.operation, listener)
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Status, error, body) }
}

/// Has *tag* put into *queue* when the future is ready, which may be at once. A future tells one callback or
/// one queue, and one time: GOMETA_INVALID_ARGUMENT otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_enqueue(
    future: *const gometa_future_t,
    queue: *const gometa_queue_t,
    tag: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let arguments = Arguments(Operation::Status);
    let body = || {
        // SAFETY: NULL, or what the caller holds.
        let future = unsafe { arguments.handle(future, "future") }?;
        // SAFETY: NULL, or what the caller holds.
        let queue = unsafe { arguments.handle(queue, "queue") }?;
        let (pending, runtime) = future.pending.get(future.operation)?;
        let mailbox = Arc::clone(queue.mailbox(future.operation)?);
        pending.listen(runtime, future.operation, Listener::Mailbox { mailbox, tag })
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Status, error, body) }
}

/// The result of a future, which it keeps.
///
/// # Safety
/// `future` is NULL or points to a future; `error` is NULL or may be written to.
unsafe fn result<T>(
    future: *const gometa_future_t,
    error: *mut *mut gometa_error_t,
    pick: impl FnOnce(&Reply) -> Option<T>,
    put: impl FnOnce(T),
) -> gometa_status_t {
    let body = || {
        // SAFETY: the caller's promise.
        let future = unsafe { Arguments(Operation::Status).handle(future, "future") }?;
        let picked = future.with_result(|result| match result {
            Ok(reply) => pick(reply).ok_or_else(|| {
                let message = format!("the future of \"{}\" has another kind of result", future.operation);
                Arguments(future.operation).invalid(message)
            }),
            Err(error) => Err(error.clone()),
        });
        put(picked?);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { guard(Operation::Status, error, body) }
}

/// The result of a future of add, set and cas; it can be had again. The call's own failure,
/// GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is another call's,
/// GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_written(
    future: *const gometa_future_t,
    written: *mut gometa_written_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(written) };
    let pick = |reply: &Reply| match reply {
        Reply::Written(written) => Some((*written).into()),
        _ => None,
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { result(future, error, pick, |written: gometa_written_t| place.put(written)) }
}

/// The result of a future of delete and delete_if; it can be had again. The call's own failure,
/// GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is another call's,
/// GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_deleted(
    future: *const gometa_future_t,
    deleted: *mut gometa_deleted_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(deleted) };
    let pick = |reply: &Reply| match reply {
        Reply::Deleted(deleted) => Some((*deleted).into()),
        _ => None,
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { result(future, error, pick, |deleted: gometa_deleted_t| place.put(deleted)) }
}

/// The result of a future of get and get_with; it can be had again. Free *entry* with gometa_entry_free. The
/// call's own failure, GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is
/// another call's, GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_entry(
    future: *const gometa_future_t,
    entry: *mut *mut gometa_entry_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(entry) };
    let pick = |reply: &Reply| match reply {
        Reply::Entry(entry) => Some(entry.clone().into()),
        _ => None,
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { result(future, error, pick, |entry: gometa_entry_t| place.give(entry)) }
}

/// The result of a future of status; it can be had again. Free *status* with gometa_node_status_free. The
/// call's own failure, GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is
/// another call's, GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_status(
    future: *const gometa_future_t,
    status: *mut *mut gometa_node_status_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(status) };
    let pick = |reply: &Reply| match reply {
        Reply::Status(status) => Some((**status).clone().into()),
        _ => None,
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { result(future, error, pick, |status: gometa_node_status_t| place.give(status)) }
}

/// The result of a future of members; it can be had again. Free *members* with gometa_members_free. The
/// call's own failure, GOMETA_UNAVAILABLE if the future is not ready, GOMETA_INVALID_ARGUMENT if it is
/// another call's, GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_members(
    future: *const gometa_future_t,
    members: *mut *mut gometa_members_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    // SAFETY: NULL, or a place of the caller's.
    let place = unsafe { Output::optional(members) };
    let pick = |reply: &Reply| match reply {
        Reply::Members(members) => Some((**members).clone().into()),
        _ => None,
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { result(future, error, pick, |members: gometa_members_t| place.give(members)) }
}
