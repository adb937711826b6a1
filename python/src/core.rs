//! The client behind both classes of the package.

use std::{
    cell::Cell,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use gometa_client::{Builder, Client, Counters, Error, ErrorKind, OnSharedRuntime, Operation};
use pyo3::{
    prelude::*,
    types::{PyBool, PyTuple},
};

use crate::{
    arguments,
    asyncio::LoopCalls,
    error::exception,
    log,
    release::release,
    reply::{self, Reply},
    request::Request,
    txn::Attempts,
    wait::wait,
};

/// How often a main thread that blocks checks for signals: half of the 100 ms within which Ctrl-C takes effect.
const SIGNALS_INTERVAL: Duration = Duration::from_millis(50);

/// A client, which connects on its first call in this process, and again in a forked child.
#[pyclass(frozen, module = "gometa._gometa")]
pub(crate) struct Core {
    builder: Builder,
    peers: Vec<String>,
    state: Mutex<State>,
}

enum State {
    Unused,
    Open(Arc<OnSharedRuntime<Client>>),
    /// With the last counters, the highest revision seen and the history known.
    Closed(Counters, u64, Option<u64>),
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process's client.
    fn client(&self, operation: Operation) -> Result<Arc<OnSharedRuntime<Client>>, Error> {
        let mut state = self.state();
        match &*state {
            State::Open(client) if !client.is_forked() => Ok(Arc::clone(client)),
            State::Closed(..) => Err(Error::new(ErrorKind::Closed, operation, "the client is closed")),
            State::Unused | State::Open(_) => {
                let client = Arc::new(OnSharedRuntime::new(self.builder.clone().build(&self.peers)?)?);
                *state = State::Open(Arc::clone(&client));
                Ok(client)
            }
        }
    }

    /// The request of an operation, its timeout, and the client for it.
    fn prepare(
        &self,
        py: Python<'_>,
        operation: &str,
        arguments: &Bound<'_, PyTuple>,
        timeout: Option<&Bound<'_, PyAny>>,
        guard: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(Request, Options, Arc<OnSharedRuntime<Client>>)> {
        let request = Request::new(operation, arguments)?;
        let options = Options::new(request.operation(), timeout, guard)?;
        let client = self.client(request.operation());
        let client = client.map_err(|error| exception(py, &error.with_key(request.key())))?;
        Ok((request, options, client))
    }

    /// Closes the client. Returns the handle and, if there is a session to end, the future that ends it.
    fn take(
        &self,
    ) -> Option<(Arc<OnSharedRuntime<Client>>, Option<impl Future<Output = ()> + Send + 'static>)> {
        let mut state = self.state();
        let (closed, closing) = match &*state {
            State::Closed(..) => return None,
            State::Unused => (State::Closed(Counters::default(), 0, None), None),
            State::Open(client) => match client.get(Operation::Build) {
                Ok((client, _)) => {
                    let closing = client.close();
                    (
                        State::Closed(client.counters(), client.seen_revision(), client.history_id()),
                        Some(closing),
                    )
                }
                // A forked child has nothing to close.
                Err(_) => (State::Closed(Counters::default(), 0, None), None),
            },
        };
        match std::mem::replace(&mut *state, closed) {
            State::Open(client) => Some((client, closing)),
            State::Unused | State::Closed(..) => None,
        }
    }
}

/// The options of a call.
struct Options {
    timeout: Option<Duration>,
    /// Key and `create_revision`.
    guard: Option<(Bytes, u64)>,
}

impl Options {
    fn new(
        operation: Operation,
        timeout: Option<&Bound<'_, PyAny>>,
        guard: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Options> {
        let timeout = timeout.map(|timeout| arguments::seconds(timeout, operation, "timeout")).transpose()?;
        let guard = guard.map(|guard| arguments::guard(guard, operation)).transpose()?;
        Ok(Options { timeout, guard })
    }

    /// The client with these options.
    fn of(self, client: &Client) -> Client {
        let client = self.timeout.map_or_else(|| client.clone(), |timeout| client.with_timeout(timeout));
        match self.guard {
            Some((key, create_revision)) => client.with_guard(key, create_revision),
            None => client,
        }
    }
}

/// Whether this is the process's main thread, in Python's sense.
fn on_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        /// The answer, and the process it is for: in a forked child, the thread that forked is the main one.
        static KNOWN: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
    }
    let process = process::id();
    if let Some((_, known)) = KNOWN.get().filter(|(of, _)| *of == process) {
        return Ok(known);
    }
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    let known = main.eq(threading.call_method0("get_ident")?)?;
    KNOWN.set(Some((process, known)));
    Ok(known)
}

#[pymethods]
impl Core {
    #[new]
    fn new(
        peers: Vec<Bound<'_, PyAny>>,
        timeout: &Bound<'_, PyAny>,
        connect_timeout: &Bound<'_, PyAny>,
        keepalive_interval: &Bound<'_, PyAny>,
        keepalive_timeout: &Bound<'_, PyAny>,
        name: &Bound<'_, PyAny>,
        pinned: &Bound<'_, PyBool>,
    ) -> PyResult<Core> {
        let operation = Operation::Build;
        let seconds = |value, name| arguments::seconds(value, operation, name);
        let interval = seconds(keepalive_interval, "keepalive_interval")?;
        let builder = Builder::default()
            .timeout(seconds(timeout, "timeout")?)
            .connect_timeout(seconds(connect_timeout, "connect_timeout")?)
            .keepalive(interval, seconds(keepalive_timeout, "keepalive_timeout")?)
            .name(arguments::text(name, operation, "name")?)
            .pinned(pinned.is_true());
        let peers = peers.iter().map(|peer| arguments::text(peer, operation, "a peer"));
        let peers = peers.collect::<PyResult<Vec<String>>>()?;
        // Invalid addresses fail here and not on the first call.
        builder.clone().build(&peers).map_err(|error| exception(pinned.py(), &error))?;
        log::follow_level(pinned.py());
        Ok(Core { builder, peers, state: Mutex::new(State::Unused) })
    }

    fn peers(&self) -> String {
        self.peers.join(",")
    }

    /// Makes a call and blocks until its result.
    #[pyo3(signature = (operation, arguments, timeout, guard=None))]
    fn call(
        &self,
        py: Python<'_>,
        operation: &str,
        arguments: &Bound<'_, PyTuple>,
        timeout: Option<&Bound<'_, PyAny>>,
        guard: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let (request, options, client) = self.prepare(py, operation, arguments, timeout, guard)?;
        // Python handles signals on the main thread.
        let interval = on_main_thread(py)?.then_some(SIGNALS_INTERVAL);
        let check = || {
            Python::attach(|py| {
                log::deliver(py)?;
                py.check_signals()
            })
        };
        let waited = py.detach(move || {
            let result = match client.get(request.operation()) {
                Ok((client, runtime)) => {
                    let client = options.of(client);
                    wait(runtime, request.perform(&client), interval, check)
                }
                Err(error) => Ok(Err(error)),
            };
            // May be the last handle, whose drop waits for the runtime's thread: not with the interpreter held.
            drop(client);
            result
        });
        let reply = reply::object(py, waited?);
        log::deliver(py)?;
        reply
    }

    /// Starts a call; returns its future and its id.
    #[pyo3(signature = (operation, arguments, timeout, calls, guard=None))]
    fn start(
        &self,
        py: Python<'_>,
        operation: &str,
        arguments: &Bound<'_, PyTuple>,
        timeout: Option<&Bound<'_, PyAny>>,
        calls: &Bound<'_, LoopCalls>,
        guard: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let (request, options, client) = self.prepare(py, operation, arguments, timeout, guard)?;
        let operation = request.operation();
        let own = client.get(operation).map(|(client, _)| options.of(client));
        let own = own.map_err(|error| exception(py, &error))?;
        calls.get().start(py, client, operation, async move { request.perform(&own).await })
    }

    /// Begins a transaction.
    #[pyo3(signature = (timeout, guard=None))]
    fn transaction(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
        guard: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Attempts> {
        let operation = Operation::Txn;
        let options = Options::new(operation, timeout, guard)?;
        let made = self.client(operation).and_then(|client| {
            let (client, _) = client.get(operation)?;
            Ok(Attempts::new(&options.of(client)))
        });
        made.map_err(|error| exception(py, &error))
    }

    /// Closes the client and ends its session, for which it blocks.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Some((client, closing)) = self.take() {
            if let (Some(closing), Ok((_, runtime))) = (closing, client.get(Operation::Build)) {
                py.detach(|| runtime.block_on(closing));
            }
            release(client);
        }
        log::deliver(py)
    }

    /// Closes the client and starts to end its session; returns the future and the id of that call, or None if there is no
    /// session to end.
    fn start_close(&self, py: Python<'_>, calls: &Bound<'_, LoopCalls>) -> PyResult<Py<PyAny>> {
        let mut future = py.None();
        match self.take() {
            Some((client, Some(closing))) => {
                let work = async {
                    closing.await;
                    Ok(Reply::Nothing)
                };
                future = calls.get().start(py, client, Operation::Build, work)?;
            }
            Some((client, None)) => release(client),
            None => {}
        }
        log::deliver(py)?;
        Ok(future)
    }

    fn counters(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (counters, seen) = match &*self.state() {
            State::Unused => (Counters::default(), 0),
            State::Closed(counters, seen, _) => (*counters, *seen),
            State::Open(client) => match client.get(Operation::Status) {
                Ok((client, _)) => (client.counters(), client.seen_revision()),
                Err(_) => (Counters::default(), 0),
            },
        };
        reply::counters(py, counters, seen)
    }

    fn history_id(&self) -> Option<u64> {
        match &*self.state() {
            State::Unused => None,
            State::Closed(.., history) => *history,
            State::Open(client) => client.get(Operation::Status).ok()?.0.history_id(),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let State::Open(client) = std::mem::replace(&mut *self.state(), State::Unused) {
            release(client);
        }
    }
}
