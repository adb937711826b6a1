//! Calls of asyncio event loops.
//!
//! A call runs as a task on the runtime and queues its result with its event loop's results. The first result in an empty
//! queue is announced to a thread of Python's, which has the loop take its results by `call_soon_threadsafe`. Results
//! that arrive before the loop gets to it are taken along: many calls cost the loop one wake-up, and the runtime's
//! thread never waits for the interpreter.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use gometa_client::{Client, Error, ErrorKind, OnSharedRuntime, Operation};
use pyo3::{PyTraverseError, PyVisit, prelude::*};
use tokio::task::AbortHandle;

use crate::{
    error::exception,
    log,
    release::release,
    reply::{self, Reply},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The event loops that have results, of one process.
#[pyclass(frozen, module = "gometa._gometa")]
pub(crate) struct ReadyLoops(Arc<Ready>);

#[derive(Default)]
struct Ready {
    /// By id; each loop at most once.
    loops: Mutex<VecDeque<u64>>,
    announced: Condvar,
}

#[pymethods]
impl ReadyLoops {
    #[new]
    fn new() -> ReadyLoops {
        ReadyLoops(Arc::default())
    }

    /// Waits for event loops that have results; returns their ids.
    fn wait(&self, py: Python<'_>) -> Vec<u64> {
        py.detach(|| {
            let mut loops = lock(&self.0.loops);
            while loops.is_empty() {
                loops = self.0.announced.wait(loops).unwrap_or_else(PoisonError::into_inner);
            }
            loops.drain(..).collect()
        })
    }
}

/// The results for one event loop.
struct Results {
    /// The loop's id.
    id: u64,
    ready: Arc<Ready>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// By id of the call; at most one for each call.
    results: Vec<(u64, Result<Reply, Error>)>,
    announced: bool,
}

impl Results {
    fn put(&self, call: u64, result: Result<Reply, Error>) {
        {
            let mut queue = lock(&self.queue);
            queue.results.push((call, result));
            if std::mem::replace(&mut queue.announced, true) {
                return;
            }
        }
        lock(&self.ready.loops).push_back(self.id);
        self.ready.announced.notify_one();
    }
}

/// Queues the result of a call; an error if its task ends without one.
struct ResultSender {
    results: Arc<Results>,
    call: u64,
    operation: Operation,
    sent: bool,
}

impl ResultSender {
    fn send(mut self, result: Result<Reply, Error>) {
        self.sent = true;
        self.results.put(self.call, result);
    }
}

impl Drop for ResultSender {
    fn drop(&mut self) {
        if !self.sent {
            let mut error = Error::new(ErrorKind::Internal, self.operation, "the call's task was stopped");
            if self.operation.has_effect() {
                error = error.with_unknown_outcome();
            }
            self.results.put(self.call, Err(error));
        }
    }
}

/// The calls in flight of one event loop. Used on that loop's thread.
#[pyclass(frozen, weakref, module = "gometa._gometa")]
pub(crate) struct LoopCalls {
    create_future: Mutex<Option<Py<PyAny>>>,
    results: Arc<Results>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    last_id: u64,
    in_flight: HashMap<u64, Call>,
}

struct Call {
    future: Py<PyAny>,
    task: AbortHandle,
    /// Keeps the runtime of the task.
    client: Arc<OnSharedRuntime<Client>>,
}

impl LoopCalls {
    /// Starts a call of a client; returns a future of the event loop, and the call's id for [`cancel`](Self::cancel).
    pub(crate) fn start(
        &self,
        py: Python<'_>,
        client: Arc<OnSharedRuntime<Client>>,
        operation: Operation,
        work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        let create = lock(&self.create_future).as_ref().map(|create| create.clone_ref(py));
        let create = create.ok_or_else(|| {
            exception(py, &Error::new(ErrorKind::Closed, operation, "the event loop is gone"))
        })?;
        let future = create.call0(py)?;
        let (_, runtime) = client.get(operation).map_err(|error| exception(py, &error))?;
        let mut calls = lock(&self.calls);
        calls.last_id += 1;
        let id = calls.last_id;
        let sender = ResultSender { results: Arc::clone(&self.results), call: id, operation, sent: false };
        let task = runtime.spawn(async move {
            // `work` and its handle on the client are dropped before the result is sent.
            let result = work.await;
            sender.send(result);
        });
        let call = Call { future: future.clone_ref(py), task: task.abort_handle(), client };
        calls.in_flight.insert(id, call);
        drop(calls);
        (future, id).into_pyobject(py).map(|pair| pair.into_any().unbind())
    }
}

fn complete(py: Python<'_>, future: &Py<PyAny>, result: Result<Reply, Error>) -> PyResult<()> {
    // Cancelled by its task, which has not called `cancel` yet.
    if future.call_method0(py, "done")?.is_truthy(py)? {
        return Ok(());
    }
    match reply::object(py, result) {
        Ok(value) => future.call_method1(py, "set_result", (value,))?,
        Err(error) => future.call_method1(py, "set_exception", (error.into_value(py),))?,
    };
    Ok(())
}

#[pymethods]
impl LoopCalls {
    #[new]
    fn new(id: u64, ready: &ReadyLoops, create_future: Py<PyAny>) -> LoopCalls {
        let results = Results { id, ready: Arc::clone(&ready.0), queue: Mutex::default() };
        LoopCalls {
            create_future: Mutex::new(Some(create_future)),
            results: Arc::new(results),
            calls: Mutex::default(),
        }
    }

    /// Completes the futures of the calls that have results.
    fn complete(&self, py: Python<'_>) -> PyResult<()> {
        let results = {
            let mut queue = lock(&self.results.queue);
            queue.announced = false;
            std::mem::take(&mut queue.results)
        };
        for (id, result) in results {
            // A cancelled call is not there any more.
            let Some(call) = lock(&self.calls).in_flight.remove(&id) else { continue };
            let Call { future, client, .. } = call;
            release(client);
            if let Err(error) = complete(py, &future, result) {
                error.write_unraisable(py, Some(future.bind(py)));
            }
        }
        log::deliver(py)
    }

    /// Cancels a call, if it is in flight.
    fn cancel(&self, call: u64) {
        let call = lock(&self.calls).in_flight.remove(&call);
        if let Some(Call { task, client, .. }) = call {
            task.abort();
            release(client);
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // These locks are not held while objects are made, which is when the collector runs.
        if let Ok(calls) = self.calls.try_lock() {
            for call in calls.in_flight.values() {
                visit.call(&call.future)?;
            }
        }
        if let Ok(create) = self.create_future.try_lock() {
            visit.call(&*create)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let in_flight = std::mem::take(&mut lock(&self.calls).in_flight);
        let create = lock(&self.create_future).take();
        for call in in_flight.values() {
            call.task.abort();
        }
        drop((in_flight, create));
    }
}
