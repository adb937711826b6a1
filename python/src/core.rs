//! A client, as both of the package's classes use it.

use std::{
    cell::Cell,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gometa_client::{Builder, Client, Counters, Error, ErrorKind, OnSharedRuntime, Operation, Request};
use pyo3::{prelude::*, types::PyBool};

use crate::{arguments, error::exception, inbox::Inbox, log, reply, wait::wait};

/// How often a blocked main thread looks for signals: half of what a person notices of Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// A client of either class. It connects in the process that uses it: first here, and again in a forked child.
#[pyclass(frozen, module = "gometa._gometa")]
pub(crate) struct Core {
    builder: Builder,
    peers: Vec<String>,
    state: Mutex<State>,
}

enum State {
    /// Not used yet.
    Fresh,
    Open(Arc<OnSharedRuntime<Client>>),
    /// With what it had counted, and the highest revision it had seen.
    Closed(Counters, u64),
}

/// Gives a client up without waiting: neither for the end of its session, if that was the last of it, nor for the runtime,
/// which may end with it.
pub(crate) fn release(hosted: Arc<OnSharedRuntime<Client>>) {
    let Some(mut hosted) = Arc::into_inner(hosted) else { return };
    // A runtime is not waited for where one is entered. In a forked child there is none to enter.
    let runtime = hosted.get(Operation::Build).ok().map(|(_, runtime)| runtime.clone());
    let _entered = runtime.as_ref().map(|runtime| runtime.enter());
    hosted.release();
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process's client.
    fn hosted(&self, operation: Operation) -> Result<Arc<OnSharedRuntime<Client>>, Error> {
        let mut state = self.state();
        match &*state {
            State::Open(hosted) if !hosted.is_forked() => Ok(Arc::clone(hosted)),
            State::Closed(..) => Err(Error::new(ErrorKind::Closed, operation, "the client is closed")),
            State::Fresh | State::Open(_) => {
                let hosted = Arc::new(OnSharedRuntime::new(self.builder.clone().build(&self.peers)?)?);
                *state = State::Open(Arc::clone(&hosted));
                Ok(hosted)
            }
        }
    }

    /// Makes a call: blocks and gives its result, or gives an inbox's future for it.
    fn call(
        &self,
        py: Python<'_>,
        request: reply::Request,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        let operation = request.operation();
        let timeout = match timeout {
            Some(timeout) => Some(arguments::seconds(timeout, operation, "timeout")?),
            None => None,
        };
        let hosted = self.hosted(operation).map_err(|error| exception(py, &error.with_key(request.key())))?;
        match inbox {
            Some(inbox) => {
                let client = hosted.get(operation).map(|(client, _)| limited(client, timeout));
                let client = client.map_err(|error| exception(py, &error))?;
                let work = async move { request.perform(&client).await };
                inbox.get().start(py, hosted, operation, work)
            }
            None => block(py, hosted, timeout, request),
        }
    }
}

/// The client within, with a time limit of its own if there is one.
fn limited(client: &Client, timeout: Option<Duration>) -> Client {
    timeout.map_or_else(|| client.clone(), |timeout| client.with_timeout(timeout))
}

fn block(
    py: Python<'_>,
    hosted: Arc<OnSharedRuntime<Client>>,
    timeout: Option<Duration>,
    request: reply::Request,
) -> PyResult<Py<PyAny>> {
    // Only the main thread hears of signals.
    let every = on_main_thread(py)?.then_some(LOOK);
    let look = || {
        Python::attach(|py| {
            log::deliver(py)?;
            py.check_signals()
        })
    };
    let waited = py.detach(move || {
        let operation = request.operation();
        let result = match hosted.get(operation) {
            Ok((client, runtime)) => {
                let client = limited(client, timeout);
                wait(runtime, request.perform(&client), every, look)
            }
            Err(error) => Ok(Err(error)),
        };
        // Closed meanwhile, this may be the last of it; then its thread is waited for, and not with the lock.
        drop(hosted);
        result
    });
    let reply = reply::object(py, waited?);
    log::deliver(py)?;
    reply
}

/// Whether this is the process's main thread, in Python's sense.
fn on_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        /// What is known, and of which process: in a forked child, the thread that forked is the main one.
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
        quiet: &Bound<'_, PyAny>,
        silence: &Bound<'_, PyAny>,
        name: &Bound<'_, PyAny>,
        pinned: &Bound<'_, PyBool>,
    ) -> PyResult<Core> {
        let operation = Operation::Build;
        let seconds = |value, name| arguments::seconds(value, operation, name);
        let builder = Builder::default()
            .timeout(seconds(timeout, "timeout")?)
            .connect_timeout(seconds(connect_timeout, "connect_timeout")?)
            .keepalive(seconds(quiet, "quiet")?, seconds(silence, "silence")?)
            .name(arguments::text(name, operation, "name")?)
            .pinned(pinned.is_true());
        let peers = peers.iter().map(|peer| arguments::text(peer, operation, "a peer"));
        let peers = peers.collect::<PyResult<Vec<String>>>()?;
        // Nonsense is refused here and not by the first call.
        builder.clone().build(&peers).map_err(|error| exception(pinned.py(), &error))?;
        log::follow_level(pinned.py());
        Ok(Core { builder, peers, state: Mutex::new(State::Fresh) })
    }

    fn peers(&self) -> String {
        self.peers.join(",")
    }

    /// Closes the client, at once, then has its session ended: waits for that, or gives an inbox's future for it; None if
    /// there is nothing to wait for.
    fn close(&self, py: Python<'_>, inbox: Option<&Bound<'_, Inbox>>) -> PyResult<Py<PyAny>> {
        let (known, closing) = {
            let mut state = self.state();
            let (closed, closing) = match &*state {
                State::Closed(..) => return Ok(py.None()),
                State::Fresh => (State::Closed(Counters::default(), 0), None),
                State::Open(hosted) => match hosted.get(Operation::Build) {
                    Ok((client, _)) => {
                        let closing = client.close();
                        (State::Closed(client.counters(), client.seen_revision()), Some(closing))
                    }
                    // A child closes what its parent opened: there is nothing to close, nor a session to end.
                    Err(_) => (State::Closed(Counters::default(), 0), None),
                },
            };
            (std::mem::replace(&mut *state, closed), closing)
        };
        let State::Open(hosted) = known else { return Ok(py.None()) };
        let mut future = py.None();
        match (closing, inbox) {
            (Some(closing), Some(inbox)) => {
                let work = async {
                    closing.await;
                    Ok(reply::Reply::Nothing)
                };
                future = inbox.get().start(py, hosted, Operation::Build, work)?;
            }
            (Some(closing), None) => {
                if let Ok((_, runtime)) = hosted.get(Operation::Build) {
                    py.detach(|| runtime.block_on(closing));
                }
                release(hosted);
            }
            (None, _) => release(hosted),
        }
        log::deliver(py)?;
        Ok(future)
    }

    fn counters(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (counters, seen) = match &*self.state() {
            State::Fresh => (Counters::default(), 0),
            State::Closed(counters, seen) => (*counters, *seen),
            State::Open(hosted) => match hosted.get(Operation::Status) {
                Ok((client, _)) => (client.counters(), client.seen_revision()),
                Err(_) => (Counters::default(), 0),
            },
        };
        reply::counters(py, counters, seen)
    }

    fn add(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        let key = arguments::bytes(key, Operation::Add, "key")?;
        let value = arguments::bytes(value, Operation::Add, "value")?;
        self.call(py, Request::Add { key, value }.into(), timeout, inbox)
    }

    fn set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        let key = arguments::bytes(key, Operation::Set, "key")?;
        let value = arguments::bytes(value, Operation::Set, "value")?;
        self.call(py, Request::Set { key, value }.into(), timeout, inbox)
    }

    fn cas(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        revision: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        let key = arguments::bytes(key, Operation::Cas, "key")?;
        let revision = arguments::revision(revision, Operation::Cas, "revision")?;
        let value = arguments::bytes(value, Operation::Cas, "value")?;
        self.call(py, Request::Cas { key, revision, value }.into(), timeout, inbox)
    }

    fn delete(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        revision: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        let key = arguments::bytes(key, Operation::Delete, "key")?;
        let revision = match revision {
            Some(revision) => Some(arguments::revision(revision, Operation::Delete, "revision")?),
            None => None,
        };
        self.call(py, Request::Delete { key, revision }.into(), timeout, inbox)
    }

    fn get(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        consistency: &Bound<'_, PyAny>,
        min_revision: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        let key = arguments::bytes(key, Operation::Get, "key")?;
        let options = arguments::read_options(consistency, min_revision)?;
        self.call(
            py,
            reply::Request { call: Request::Get { key, options }, value_only: true },
            timeout,
            inbox,
        )
    }

    fn entry(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        consistency: &Bound<'_, PyAny>,
        min_revision: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        let key = arguments::bytes(key, Operation::Get, "key")?;
        let options = arguments::read_options(consistency, min_revision)?;
        self.call(py, Request::Get { key, options }.into(), timeout, inbox)
    }

    fn status(
        &self,
        py: Python<'_>,
        address: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        let address = match address {
            Some(address) => Some(arguments::text(address, Operation::Status, "address")?),
            None => None,
        };
        self.call(py, Request::Status { address }.into(), timeout, inbox)
    }

    fn members(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
        inbox: Option<&Bound<'_, Inbox>>,
    ) -> PyResult<Py<PyAny>> {
        self.call(py, Request::Members.into(), timeout, inbox)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let State::Open(hosted) = std::mem::replace(&mut *self.state(), State::Fresh) {
            release(hosted);
        }
    }
}
