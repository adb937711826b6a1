//! The client: its settings and its methods.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gometa_proto::{
    ErrorKind, Outcome,
    v1::{self, request::Operation as Body, response},
};
use tracing::Instrument;

use crate::{
    addresses::Addresses,
    call::{Call, Shared, check_timeout, deadline_in, message_of, request},
    connection::{CallError, Keepalive},
    counters::{Counts, InFlight},
    error::{Error, Operation, Result},
    history::Scope,
    log::{Log, LogLevel, LogRecord, log},
    peers,
    router::{self, Router},
    types::{Counters, Deleted, Entry, Member, NodeStatus, ReadOptions, View, Written},
};

/// The default timeout of a call.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The default timeout of resolving, connecting and the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The default keepalive of connections.
const KEEPALIVE: Keepalive =
    Keepalive { interval: Duration::from_millis(500), timeout: Duration::from_secs(1) };

/// The message of an error for a response of another operation.
const UNEXPECTED: &str = "the node's answer does not fit the request";

/// A client of an ensemble. A clone is cheap: clones share one connection, one session and one set of counters.
///
/// Calls must be made inside a tokio runtime; [`blocking::Client`](crate::blocking::Client) has its own.
///
/// Await [`close`](Self::close) when done: it ends the client's session, which otherwise stays open on the ensemble until
/// its timeout. Dropping the last clone sends the same request without waiting; it is lost if the runtime ends at that
/// moment.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
    guard: Option<v1::Guard>,
    /// Where its calls belong; `None`: each to the history in use when it begins.
    scope: Option<Scope>,
}

/// The settings of a client; see [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    timeout: Duration,
    connect_timeout: Duration,
    keepalive: Keepalive,
    name: String,
    pinned: bool,
    log: Log,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            keepalive: KEEPALIVE,
            name: "gometa-rust".to_owned(),
            pinned: false,
            log: Log::default(),
        }
    }
}

impl Builder {
    /// Sets the timeout of calls, which covers connecting, waiting and retries; 5 s by default. All timeouts must be above
    /// 0 and at most 365 days.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the timeout of resolving a name, connecting and the handshake with one node together; 2 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the keepalive of connections. A node that sends nothing for `interval` (0.5 s by default) while a response is
    /// awaited is sent a Ping. If it sends nothing for another `timeout` (1 s by default), the connection is closed and
    /// the calls are retried on another node. A node that has not answered for `interval` when the deadline of a call
    /// passes is replaced by another one, if one can be reached.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keepalive = Keepalive { interval, timeout };
        self
    }

    /// Sets the name of the application in the nodes' logs: 16 characters, the rest is ignored. `gometa-rust` by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Restricts the client to the given addresses, in their order: it does not move to the leader, nor to other members.
    /// For tools that examine one node, which forwards what it cannot execute itself.
    #[must_use]
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Sets a function that receives the client's log records up to `level`; `tracing` receives them, too. `sink` is
    /// called on the threads that make calls and on those of the runtime: it must neither block nor use the client.
    #[must_use]
    pub fn log(mut self, level: LogLevel, sink: impl Fn(LogRecord) + Send + Sync + 'static) -> Self {
        self.log = Log::new(level, sink);
        self
    }

    /// Builds the client, without IO: it succeeds even if no node can be reached. Each item of `peers` is an address,
    /// `host:port`, or a comma-separated list of addresses.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if there is no address, or for an invalid address or timeout.
    pub fn build<S: AsRef<str>>(self, peers: impl IntoIterator<Item = S>) -> Result<Client> {
        for (name, timeout) in [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
            ("keepalive interval", self.keepalive.interval),
            ("keepalive timeout", self.keepalive.timeout),
        ] {
            check_timeout(timeout).map_err(|message| {
                Error::new(ErrorKind::InvalidArgument, Operation::Build, format!("{name}: {message}"))
            })?;
        }
        let seeds = peers::collect(peers)?.into_iter().map(Arc::from).collect();
        let counts = Arc::new(Counts::default());
        let options = router::Options {
            name: self.name.into(),
            connect_timeout: self.connect_timeout,
            keepalive: self.keepalive,
            log: self.log.clone(),
        };
        let addresses = Addresses::new(seeds, self.pinned);
        let router = Arc::new(Router::new(addresses, options, Arc::clone(&counts)));
        let shared = Shared { router, counts, log: self.log };
        Ok(Client { shared: Arc::new(shared), timeout: self.timeout, guard: None, scope: None })
    }
}

impl Client {
    /// Builds a client with default settings; see [`Builder::build`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if there is no address, or for an invalid address.
    pub fn new<S: AsRef<str>>(peers: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::builder().build(peers)
    }

    /// Default settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The history to which calls that begin now belong.
    pub(crate) fn scope(&self) -> Scope {
        self.scope.clone().unwrap_or_else(|| self.shared.router.scope())
    }

    /// The same client, for calls that belong together: once the history has changed, they fail.
    pub(crate) fn within(&self, scope: Scope) -> Self {
        Self { scope: Some(scope), ..self.clone() }
    }

    /// [`within`](Self::within) the history in use.
    pub(crate) fn in_one_history(&self) -> Self {
        self.within(self.scope())
    }

    /// Passes on the error of an early request to a caller. If it is that the history has changed, no other call fails for it.
    pub(crate) fn reports(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::HistoryChanged {
            self.shared.router.change_reported(self.scope().history());
        }
        error
    }

    /// The ensemble, with the history in use, if it is known.
    pub(crate) fn ensemble(&self) -> Option<v1::EnsembleRef> {
        self.shared.router.ensemble()
    }

    /// A client of one node alone, with the settings of this one. It has connections of its own.
    ///
    /// # Errors
    /// The text is not one address.
    pub(crate) fn pinned_to(&self, address: &str) -> Result<Self> {
        let addresses = peers::parse_peers(address)?;
        let [address] = addresses.as_slice() else {
            return Err(Error::new(ErrorKind::InvalidArgument, Operation::Build, "expected one address"));
        };
        let router = Arc::new(self.shared.router.pinned_to(address.as_str().into()));
        let (counts, log) = (Arc::clone(&self.shared.counts), self.shared.log.clone());
        let shared = Arc::new(Shared { router, counts, log });
        Ok(Self { shared, timeout: self.timeout, guard: None, scope: None })
    }

    /// The same client with another timeout of calls. If it is invalid (see [`Builder::timeout`]), calls fail with
    /// [`ErrorKind::InvalidArgument`].
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The same client with a guard: every write, transactions included, fails with [`ErrorKind::GuardFailed`] unless `key`
    /// exists and was created at `create_revision`, its [`Entry::create_revision`], which is above 0. It replaces the guard
    /// of this client. Reads have no guard.
    ///
    /// With the key of a lock it excludes the writes of an owner that has lost the lock without noticing: `create_revision`
    /// is a fencing token that the ensemble checks.
    #[must_use]
    pub fn with_guard(&self, key: impl AsRef<[u8]>, create_revision: u64) -> Self {
        Self { guard: Some(v1::Guard { key: copied(key), create_revision }), ..self.clone() }
    }

    /// Closes the client and its clones at once: calls in progress fail with [`ErrorKind::Closed`] and, for writes, with
    /// the outcome that is known; so do all later ones. Idempotent.
    ///
    /// Await the result: it asks the node in use to end the client's session, and takes at most 200 ms.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.close()
    }

    /// Drops this handle. Returns what [`close`](Self::close) returns if it was the last one and no call runs.
    pub(crate) fn release(self) -> Option<impl Future<Output = ()> + Send + use<>> {
        Arc::into_inner(self.shared).map(|shared| shared.close())
    }

    /// The counters of this client and its clones.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counts.read()
    }

    /// Creates `key`.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], with the key's revision, and those of every write: see [`set`](Self::set).
    pub async fn add(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        self.call(Body::Add(v1::Add { key: copied(key), value: copied(value) }), written).await
    }

    /// Creates or replaces `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty key, [`ErrorKind::TooLarge`], [`ErrorKind::Unavailable`] if there was
    /// no connection to any node until the deadline, [`ErrorKind::DeadlineExceeded`] if there was one and no answer in
    /// time, [`ErrorKind::SessionExpired`] if the session ended between two attempts, [`ErrorKind::HistoryChanged`] (see
    /// [`history_id`](Self::history_id)), [`ErrorKind::Closed`], and refusals of all nodes. [`Error::outcome`] tells whether
    /// the write may have taken effect.
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        self.call(Body::Set(v1::Set { key: copied(key), value: copied(value) }), written).await
    }

    /// Replaces `key` if its `mod_revision` is `revision`, or creates it if `revision` is 0 and it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::CasMismatch`], with the actual revision, and those of every write: see [`set`](Self::set).
    pub async fn cas(
        &self,
        key: impl AsRef<[u8]>,
        revision: u64,
        value: impl AsRef<[u8]>,
    ) -> Result<Written> {
        let cas = v1::Cas { key: copied(key), revision, value: copied(value) };
        self.call(Body::Cas(cas), written).await
    }

    /// Removes `key`. It is no error if the key does not exist.
    ///
    /// # Errors
    /// Those of every write: see [`set`](Self::set).
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Deleted> {
        self.call(Body::Delete(v1::Delete { key: copied(key), revision: None }), deleted).await
    }

    /// Removes `key` if its `mod_revision` is `revision`.
    ///
    /// # Errors
    /// [`ErrorKind::CasMismatch`], with the actual revision, and those of every write: see [`set`](Self::set).
    pub async fn delete_if(&self, key: impl AsRef<[u8]>, revision: u64) -> Result<Deleted> {
        let delete = v1::Delete { key: copied(key), revision: Some(revision) };
        self.call(Body::Delete(delete), deleted).await
    }

    /// Reads `key`. The read is linearizable: it sees every write that was acknowledged before.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidArgument`] for an empty key, [`ErrorKind::TooLarge`],
    /// [`ErrorKind::Unavailable`], [`ErrorKind::DeadlineExceeded`], and refusals of all nodes.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Entry> {
        self.get_with(key, ReadOptions::default()).await
    }

    /// Reads `key` from what the node in use has applied: faster, and possibly stale, but never older than what this
    /// client has seen.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_local(&self, key: impl AsRef<[u8]>) -> Result<Entry> {
        self.get_with(key, ReadOptions::local()).await
    }

    /// Reads `key` with options.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_with(&self, key: impl AsRef<[u8]>, options: ReadOptions) -> Result<Entry> {
        self.get_owned(copied(key), options).await
    }

    pub(crate) async fn get_owned(&self, key: Bytes, options: ReadOptions) -> Result<Entry> {
        let client = self.in_one_history();
        let (consistency, min_revision) = options.on_wire(client.seen_revision());
        let body = Body::Get(v1::Get { key, consistency: consistency.into(), min_revision });
        client
            .call(body, |result| match result {
                response::Result::Entry(entry) => Some(Entry::from_wire(entry)),
                _ => None,
            })
            .await
    }

    /// The highest revision that this client has seen in the history in use, 0 before its first response.
    #[must_use]
    pub fn seen_revision(&self) -> u64 {
        self.scope().history().seen_revision()
    }

    /// The id of the ensemble's history that this client knows; `None` before the first connection to a formed ensemble. It
    /// rises when the ensemble is founded anew from old data: then calls in progress fail with
    /// [`ErrorKind::HistoryChanged`], and so do those that begin before one of them has returned it, at least one; later calls
    /// work with the new history.
    #[must_use]
    pub fn history_id(&self) -> Option<u64> {
        self.shared.router.history_id()
    }

    /// Returns the status of the node in use.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::DeadlineExceeded`], and refusals of all nodes.
    pub async fn status(&self) -> Result<NodeStatus> {
        self.call(Body::Status(v1::Status {}), status).await
    }

    /// Returns the status of the node at `address`, over a connection of its own and without retries. The node may
    /// belong to another ensemble.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an invalid address, [`ErrorKind::Unavailable`] if the node cannot be reached,
    /// [`ErrorKind::ConnectionLost`], [`ErrorKind::DeadlineExceeded`], and the node's refusals.
    pub async fn status_of(&self, address: &str) -> Result<NodeStatus> {
        let operation = Operation::Status;
        let addresses = peers::parse_peers(address)?;
        let [address] = addresses.as_slice() else {
            return Err(Error::new(ErrorKind::InvalidArgument, operation, "expected one address"));
        };
        let router = &self.shared.router;
        router.check_open().map_err(|error| Error::new(error.kind, operation, error.to_string()))?;
        check_timeout(self.timeout)
            .map_err(|message| Error::new(ErrorKind::InvalidArgument, operation, message))?;
        let error =
            |kind, message: &dyn fmt::Display| Error::new(kind, operation, format!("{address}: {message}"));
        let deadline = deadline_in(self.timeout);
        let connected = AtomicBool::new(false);
        let exchange = async {
            let connection = (router.dial_once(address).await)
                .map_err(|error| Error::new(error.kind, operation, error.to_string()))?;
            connected.store(true, Ordering::Relaxed);
            let build = |id| request(id, deadline, Body::Status(v1::Status {}));
            let response = connection.call(build).await.map_err(|lost| {
                let (CallError::NotSent(reason) | CallError::Lost(reason)) = lost;
                error(ErrorKind::ConnectionLost, &reason)
            })?;
            match response.result {
                Some(response::Result::Status(status)) => Ok(NodeStatus::from_wire(status)),
                Some(response::Result::Error(failure)) => {
                    Err(error(failure.error_kind(), &message_of(&failure)).with_leader(&failure.leader))
                }
                _ => Err(error(ErrorKind::Internal, &UNEXPECTED)),
            }
        };
        let _in_flight = InFlight::new(&self.shared.counts);
        let timeout = self.timeout;
        match tokio::time::timeout_at(deadline, exchange).await {
            Ok(result) => result,
            Err(_) if connected.load(Ordering::Relaxed) => {
                Err(error(ErrorKind::DeadlineExceeded, &format_args!("no answer within {timeout:?}")))
            }
            Err(_) => Err(error(ErrorKind::Unavailable, &format_args!("no connection within {timeout:?}"))),
        }
    }

    /// Returns the role of the node in use, the leader and the members. Connects if there is no connection.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::DeadlineExceeded`], and refusals of all nodes.
    pub async fn view(&self) -> Result<View> {
        let view = Call::new(&self.shared, self.scope.as_ref(), Operation::Members, None, self.timeout)
            .view()
            .await?;
        Ok(View::from_wire(view))
    }

    /// Returns the members, as the node in use knows them. Connects if there is no connection.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn members(&self) -> Result<Vec<Member>> {
        Ok(self.view().await?.members)
    }

    pub(crate) async fn call<T>(
        &self,
        body: Body,
        decode: impl FnOnce(response::Result) -> Option<T>,
    ) -> Result<T> {
        let (operation, key) = (body.kind(), body.key().cloned());
        let span = tracing::debug_span!("gometa", %operation, key = %Key(key.as_ref()));
        async move {
            let call = Call::new(&self.shared, self.scope.as_ref(), operation, key, self.timeout);
            let mut call = call.with_guard(self.guard.clone());
            let result = call.run(&body).await;
            let result = result.and_then(|result| {
                decode(result).ok_or_else(|| {
                    let outcome = if operation.has_effect() { Outcome::Unknown } else { Outcome::NotApplied };
                    call.error(ErrorKind::Internal, UNEXPECTED).with_outcome(outcome)
                })
            });
            if let Err(error) = &result {
                let (log, kind) = (&self.shared.log, error.kind().name());
                log!(log, debug, "call failed", kind = kind, outcome = error.outcome(), error = error);
            }
            result
        }
        .instrument(span)
        .await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn copied(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

pub(crate) fn written(result: response::Result) -> Option<Written> {
    match result {
        response::Result::Written(v1::Written { revision, version }) => Some(Written { revision, version }),
        _ => None,
    }
}

pub(crate) fn deleted(result: response::Result) -> Option<Deleted> {
    match result {
        response::Result::Deleted(v1::Deleted { existed, revision }) => Some(Deleted { existed, revision }),
        _ => None,
    }
}

fn status(result: response::Result) -> Option<NodeStatus> {
    match result {
        response::Result::Status(status) => Some(NodeStatus::from_wire(status)),
        _ => None,
    }
}

/// A key as a span shows it.
struct Key<'a>(Option<&'a Bytes>);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.map(|key| &key[..key.len().min(64)]).unwrap_or_default();
        write!(f, "{}", key.escape_ascii())
    }
}
