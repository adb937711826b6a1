//! Results on their way into an event loop.
//!
//! A call for asyncio runs as a task on the runtime, and leaves its result in the mailbox of the loop that asked. The first
//! result in an empty mailbox is announced to the courier: a thread of Python's, which has the loop empty the mailbox, by
//! `call_soon_threadsafe`. Whatever arrives until the loop gets to it comes along, so that many calls cost the loop one
//! wake-up, and the runtime's thread never waits for the interpreter.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use gometa_client::{Client, Error, ErrorKind, OnSharedRuntime, Operation};
use pyo3::{PyTraverseError, PyVisit, intern, prelude::*};
use tokio::task::AbortHandle;

use crate::{
    core::release,
    error::exception,
    log,
    reply::{self, Reply},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names the mailboxes that hold something, one after the other. Of one process.
#[pyclass(frozen, module = "gometa._gometa")]
pub(crate) struct Courier(Arc<Due>);

#[derive(Default)]
struct Due {
    /// Each mailbox at most once.
    mailboxes: Mutex<VecDeque<u64>>,
    announced: Condvar,
}

#[pymethods]
impl Courier {
    #[new]
    fn new() -> Courier {
        Courier(Arc::default())
    }

    /// Waits for a mailbox that holds something, and names all that do.
    fn due(&self, py: Python<'_>) -> Vec<u64> {
        py.detach(|| {
            let mut mailboxes = lock(&self.0.mailboxes);
            while mailboxes.is_empty() {
                mailboxes = self.0.announced.wait(mailboxes).unwrap_or_else(PoisonError::into_inner);
            }
            mailboxes.drain(..).collect()
        })
    }
}

/// Where calls leave their results.
struct Mailbox {
    /// Its name in the process.
    id: u64,
    due: Arc<Due>,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    /// By number of the call; at most one for each call under way.
    results: Vec<(u64, Result<Reply, Error>)>,
    announced: bool,
}

impl Mailbox {
    fn put(&self, call: u64, result: Result<Reply, Error>) {
        {
            let mut contents = lock(&self.contents);
            contents.results.push((call, result));
            if std::mem::replace(&mut contents.announced, true) {
                return;
            }
        }
        lock(&self.due.mailboxes).push_back(self.id);
        self.due.announced.notify_one();
    }
}

/// Puts a call's result into the mailbox, and something also if its task ends without one.
struct Slip {
    mailbox: Arc<Mailbox>,
    call: u64,
    operation: Operation,
    used: bool,
}

impl Slip {
    fn put(mut self, result: Result<Reply, Error>) {
        self.used = true;
        self.mailbox.put(self.call, result);
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        if !self.used {
            let mut error = Error::new(ErrorKind::Internal, self.operation, "the call's task was stopped");
            if self.operation.is_write() {
                error = error.with_unknown_outcome();
            }
            self.mailbox.put(self.call, Err(error));
        }
    }
}

/// The calls of one event loop. Used on that loop's thread.
#[pyclass(frozen, weakref, module = "gometa._gometa")]
pub(crate) struct Inbox {
    create_future: Mutex<Option<Py<PyAny>>>,
    mailbox: Arc<Mailbox>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    last: u64,
    open: HashMap<u64, Open>,
}

/// A call under way.
struct Open {
    future: Py<PyAny>,
    task: AbortHandle,
    /// The runtime that its task is on.
    client: Arc<OnSharedRuntime<Client>>,
}

impl Inbox {
    /// Starts a call, whose client `hosted` is; gives a future of the loop's, and the call's number for
    /// [`cancel`](Self::cancel).
    pub(crate) fn start(
        &self,
        py: Python<'_>,
        hosted: Arc<OnSharedRuntime<Client>>,
        operation: Operation,
        work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        let create = lock(&self.create_future).as_ref().map(|create| create.clone_ref(py));
        let create = create.ok_or_else(|| {
            let error = Error::new(ErrorKind::Closed, operation, "the event loop is gone");
            exception(py, &error)
        })?;
        let future = create.call0(py)?;
        let (_, runtime) = hosted.get(operation).map_err(|error| exception(py, &error))?;
        let mut calls = lock(&self.calls);
        calls.last += 1;
        let call = calls.last;
        let slip = Slip { mailbox: Arc::clone(&self.mailbox), call, operation, used: false };
        let task = runtime.spawn(async move {
            // With it goes what it holds of the client.
            let result = work.await;
            slip.put(result);
        });
        let open = Open { future: future.clone_ref(py), task: task.abort_handle(), client: hosted };
        calls.open.insert(call, open);
        drop(calls);
        (future, call).into_pyobject(py).map(|pair| pair.into_any().unbind())
    }
}

fn complete(py: Python<'_>, future: &Py<PyAny>, result: Result<Reply, Error>) -> PyResult<()> {
    // Its task was cancelled, and has not come to say so yet.
    if future.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
        return Ok(());
    }
    match reply::object(py, result) {
        Ok(value) => future.call_method1(py, intern!(py, "set_result"), (value,))?,
        Err(error) => future.call_method1(py, intern!(py, "set_exception"), (error.into_value(py),))?,
    };
    Ok(())
}

#[pymethods]
impl Inbox {
    #[new]
    fn new(id: u64, courier: &Courier, create_future: Py<PyAny>) -> Inbox {
        let mailbox = Mailbox { id, due: Arc::clone(&courier.0), contents: Mutex::default() };
        Inbox {
            create_future: Mutex::new(Some(create_future)),
            mailbox: Arc::new(mailbox),
            calls: Mutex::default(),
        }
    }

    /// Completes the futures of the results that are there.
    fn empty(&self, py: Python<'_>) -> PyResult<()> {
        let results = {
            let mut contents = lock(&self.mailbox.contents);
            contents.announced = false;
            std::mem::take(&mut contents.results)
        };
        for (call, result) in results {
            // A call that was cancelled has gone.
            let Some(open) = lock(&self.calls).open.remove(&call) else { continue };
            let Open { future, client, .. } = open;
            release(client);
            if let Err(error) = complete(py, &future, result) {
                error.write_unraisable(py, Some(future.bind(py)));
            }
        }
        log::deliver(py)
    }

    /// Gives a call up, if it is still under way.
    fn cancel(&self, call: u64) {
        let open = lock(&self.calls).open.remove(&call);
        if let Some(Open { task, client, .. }) = open {
            task.abort();
            release(client);
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Nobody holds these while objects are made, which is when the collector runs.
        if let Ok(calls) = self.calls.try_lock() {
            for open in calls.open.values() {
                visit.call(&open.future)?;
            }
        }
        if let Ok(create) = self.create_future.try_lock() {
            visit.call(&*create)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let open = std::mem::take(&mut lock(&self.calls).open);
        let create = lock(&self.create_future).take();
        for call in open.values() {
            call.task.abort();
        }
        drop((open, create));
    }
}
