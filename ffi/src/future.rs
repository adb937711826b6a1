//! The future: a call in flight, to wait for, to poll, to cancel, or to be notified of by a callback or a queue.
//!
//! The call runs on the process's runtime and leaves its result in [`Pending`], which notifies waiting threads and the
//! listener, once. Callbacks run on a thread of the library, one at a time for each client; they may call the library.

use std::{
    collections::VecDeque,
    ffi::c_void,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gometa_client::{Client, Error, ErrorKind, OnSharedRuntime, Operation, Reply, Request};
use tokio::{runtime::Handle, task::AbortHandle};

use crate::{
    error::gometa_error_t,
    guard::guarded,
    input::invalid,
    macros::{free, handle, read},
    mailbox::WAIT_MAX,
    queue::{Mailbox, gometa_queue_t},
    status::gometa_status_t,
};

/// A call in flight, and its result. Free with gometa_future_free. Thread-safe.
pub struct gometa_future_t {
    pending: OnSharedRuntime<Arc<Pending>>,
    operation: Operation,
    /// Whether the call may change something.
    has_effect: bool,
}

/// A function that is called when a future is ready. `context` is the pointer given to gometa_future_on_ready.
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
    /// Whether the one listener has been set.
    listened: bool,
    /// Whether the future was freed: nothing is notified any more.
    freed: bool,
    task: Option<AbortHandle>,
}

/// What is notified besides waiting threads.
enum Listener {
    Callback(Callback),
    Mailbox { mailbox: Arc<Mailbox>, tag: u64 },
}

/// The arguments of gometa_future_on_ready.
struct Callback {
    function: unsafe extern "C" fn(*mut c_void, *mut gometa_future_t),
    context: *mut c_void,
    future: *mut gometa_future_t,
}

// SAFETY: the pointers are only passed to the caller's function, which the header says runs on another thread.
unsafe impl Send for Callback {}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the result, and notifies waiting threads and the listener. Returns the result if another one is set, or the
    /// future was freed.
    fn complete(
        self: &Arc<Pending>,
        runtime: &Handle,
        result: Result<Reply, Error>,
    ) -> Option<Result<Reply, Error>> {
        let listener = {
            let mut state = self.lock();
            if state.result.is_some() || state.freed {
                return Some(result);
            }
            state.result = Some(result);
            state.task = None;
            state.listener.take()
        };
        self.ready.notify_all();
        if let Some(listener) = listener {
            self.notify(runtime, listener);
        }
        None
    }

    fn notify(self: &Arc<Pending>, runtime: &Handle, listener: Listener) {
        match listener {
            Listener::Mailbox { mailbox, tag } => {
                mailbox.put(tag, usize::MAX);
            }
            Listener::Callback(callback) => self.callbacks.enqueue(runtime, Arc::clone(self), callback),
        }
    }

    /// Sets the listener. If the result is there, the listener is notified at once.
    fn listen(
        self: &Arc<Pending>,
        runtime: &Handle,
        operation: Operation,
        listener: Listener,
    ) -> Result<(), Error> {
        {
            let mut state = self.lock();
            if std::mem::replace(&mut state.listened, true) {
                return Err(invalid(operation, "this future has a callback or a queue already"));
            }
            if state.result.is_none() {
                state.listener = Some(listener);
                return Ok(());
            }
        }
        self.notify(runtime, listener);
        Ok(())
    }

    /// Waits for the result; returns whether it is there.
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

/// The pending callbacks of one client, which run one after another.
#[derive(Clone, Default)]
pub(crate) struct Callbacks(Arc<Mutex<PendingCallbacks>>);

#[derive(Default)]
struct PendingCallbacks {
    /// At most one for each future.
    waiting: VecDeque<(Arc<Pending>, Callback)>,
    /// Whether a thread is running them.
    running: bool,
}

impl Callbacks {
    fn lock(&self) -> MutexGuard<'_, PendingCallbacks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, runtime: &Handle, pending: Arc<Pending>, callback: Callback) {
        {
            let mut callbacks = self.lock();
            callbacks.waiting.push_back((pending, callback));
            if std::mem::replace(&mut callbacks.running, true) {
                return;
            }
        }
        let callbacks = self.clone();
        runtime.spawn_blocking(move || callbacks.run());
    }

    fn run(&self) {
        loop {
            let (pending, callback) = {
                let mut callbacks = self.lock();
                let Some(next) = callbacks.waiting.pop_front() else {
                    callbacks.running = false;
                    return;
                };
                next
            };
            if !pending.lock().freed {
                // SAFETY: the caller asked for this call, and has not freed the future.
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
        let (operation, has_effect) = (request.operation(), request.has_effect());
        let (_, runtime) = client.get(operation)?;
        let pending = Arc::new(Pending {
            state: Mutex::default(),
            ready: Condvar::new(),
            callbacks: callbacks.clone(),
        });
        let task = runtime.spawn({
            let (handle, pending) = (runtime.clone(), Arc::clone(&pending));
            let on_shutdown =
                CloseOnDrop { pending: Arc::clone(&pending), handle: handle.clone(), operation, has_effect };
            let client = client.get(operation)?.0.clone();
            async move {
                client.deliver(request, |result| pending.complete(&handle, result)).await;
                drop(on_shutdown);
            }
        });
        {
            let mut state = pending.lock();
            if state.result.is_none() {
                state.task = Some(task.abort_handle());
            }
        }
        Ok(gometa_future_t { pending: client.map(|_| pending), operation, has_effect })
    }

    /// The operation of the call.
    pub(crate) fn operation(&self) -> Operation {
        self.operation
    }

    /// A copy of the result.
    pub(crate) fn result(&self) -> Result<Reply, Error> {
        let (pending, _) = self.pending.get(self.operation)?;
        pending
            .lock()
            .result
            .clone()
            .unwrap_or_else(|| Err(invalid(self.operation, "the future is not ready; wait for it first")))
    }

    fn is_ready(&self) -> bool {
        self.pending.get(self.operation).is_ok_and(|(pending, _)| pending.lock().result.is_some())
    }

    fn cancel(&self) -> Result<(), Error> {
        let (pending, runtime) = self.pending.get(self.operation)?;
        let task = pending.lock().task.take();
        let error = Error::new(ErrorKind::Cancelled, self.operation, "the call was cancelled");
        pending.complete(runtime, Err(interrupted(error, self.has_effect)));
        if let Some(task) = task {
            task.abort();
        }
        Ok(())
    }
}

impl Drop for gometa_future_t {
    fn drop(&mut self) {
        // In a forked child there is nothing to notify.
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

/// The error of a call that ended without an answer.
fn interrupted(error: Error, has_effect: bool) -> Error {
    if has_effect { error.with_unknown_outcome() } else { error }
}

/// Completes the future if the runtime is shut down while its task runs.
struct CloseOnDrop {
    pending: Arc<Pending>,
    handle: Handle,
    operation: Operation,
    has_effect: bool,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let error = Error::new(ErrorKind::Closed, self.operation, "the client is closed");
        self.pending.complete(&self.handle, Err(interrupted(error, self.has_effect)));
    }
}

/// Waits until the future is ready, for at most `timeout_ms`; 0 means not at all. A future is ready when its call
/// has succeeded or failed, which happens within the call's timeout.
///
/// Returns GOMETA_OK if the future is ready, GOMETA_DEADLINE_EXCEEDED if it is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_wait(
    future: *const gometa_future_t,
    timeout_ms: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let future = handle!(Status, future);
        let (pending, _) = future.pending.get(future.operation)?;
        if pending.wait(Duration::from_millis(timeout_ms)) {
            return Ok(());
        }
        let message = format!("the call has not ended within {timeout_ms} ms; it is still in flight");
        Err(Error::new(ErrorKind::DeadlineExceeded, future.operation, message).with_unknown_outcome())
    })
}

/// Returns whether the future is ready. False if `future` is NULL, and in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_is_ready(future: *const gometa_future_t) -> bool {
    read!(future, false, |future| future.is_ready())
}

/// Cancels the call: unless the future is ready, it becomes ready with GOMETA_CANCELLED. A write may still be applied.
/// NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_cancel(future: *const gometa_future_t) {
    let error = std::ptr::null_mut();
    guarded!(Status, error, handle!(Status, future).cancel());
}

/// Frees a future. Its call is cancelled if it is in flight, and its callback or queue is no longer notified. A callback
/// that is already running is not waited for, so free the future in its callback or after it. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_free(future: *mut gometa_future_t) {
    free!(future);
}

/// Calls `callback` with `context` and the future once it is ready, also if it is ready already.
///
/// Callbacks run on a thread of the library, never on the calling thread, one at a time for each client. They may free
/// the future, and may make blocking calls, which delay the client's other callbacks.
///
/// Returns GOMETA_INVALID_ARGUMENT if `callback` is NULL or the future has a callback or a queue already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_on_ready(
    future: *mut gometa_future_t,
    context: *mut c_void,
    callback: gometa_callback_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let held = handle!(Status, future);
        let function = callback.ok_or_else(|| invalid(Operation::Status, "callback is NULL"))?;
        let (pending, runtime) = held.pending.get(held.operation)?;
        let listener = Listener::Callback(Callback { function, context, future });
        pending.listen(runtime, held.operation, listener)
    })
}

/// Puts `tag` into `queue` once the future is ready, also if it is ready already. The caller chooses the tag.
///
/// Returns GOMETA_INVALID_ARGUMENT if `queue` is NULL or the future has a callback or a queue already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_enqueue(
    future: *const gometa_future_t,
    queue: *const gometa_queue_t,
    tag: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let future = handle!(Status, future);
        let queue = handle!(Status, queue);
        let (pending, runtime) = future.pending.get(future.operation)?;
        let mailbox = Arc::clone(queue.mailbox(future.operation)?);
        pending.listen(runtime, future.operation, Listener::Mailbox { mailbox, tag })
    })
}

/// Writes a reply to an output, or returns an error if it is a reply to another operation.
macro_rules! take_reply {
    ($operation:expr, $result:expr, $reply:ident => $output:ident.$write:ident) => {
        match $result {
            gometa_client::Reply::$reply(reply) => {
                $output.$write(reply.into());
                Ok(())
            }
            _ => Err($crate::future::other_reply($operation)),
        }
    };
}
pub(crate) use take_reply;

/// The error for reading a result as that of another operation.
pub(crate) fn other_reply(operation: Operation) -> Error {
    let message = format!("the future of \"{operation}\" has a result of another type");
    invalid(operation, message)
}
