//! The client: what a call is, from its arguments to its deadline.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
    Result,
    call::{Call, Counted, Counts, Shared, deadline_in, fault_of, request, text_of},
    connection::{CallError, Keepalive},
    error::{Error, Operation},
    log::{Log, LogLevel, LogRecord, log},
    peers,
    router::{self, Router},
    session::Sessions,
    types::{Consistency, Counters, Deleted, Entry, Member, NodeStatus, ReadOptions, View, Written},
};

/// What a call may take unless it is said otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What resolving, connecting and the handshake may take unless it is said otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The keepalive of connections unless it is set.
const KEEPALIVE: Keepalive =
    Keepalive { interval: Duration::from_millis(500), timeout: Duration::from_secs(1) };

/// A handle on an ensemble. Clones share one connection, one session and one set of counters; cloning is cheap.
///
/// [`close`](Self::close) it at its end: that ends its session, which otherwise stays with the ensemble for its session
/// timeout. Dropping the last clone sends the same request without waiting, which comes to nothing if the runtime ends
/// at the same time.
///
/// Calls must be made inside a tokio runtime; [`blocking::Client`](crate::blocking::Client) brings its own.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
}

/// Settings of a client before it is built.
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
    /// What a call may take, everything included; 5 s if not set. [`build`](Self::build) refuses 0 and more than
    /// 365 days, as it does for every timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What resolving a name, connecting and the handshake with one node may take together; 2 s if not set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the keepalive of connections. A node that sends nothing for `interval` (0.5 s if not set) while a request
    /// waits for its response is sent a Ping. If it sends nothing for another `timeout` (1 s if not set), the connection
    /// is closed and its requests are retried on another node. A node that has not answered for `interval` when the
    /// deadline of a call passes is not used again for a while, if there is another one.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keepalive = Keepalive { interval, timeout };
        self
    }

    /// The application's name in the nodes' logs; its first 16 characters count.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Use only the given addresses, in their order, and follow neither the leader's hint nor the members'
    /// addresses. For tools that examine one node; what it cannot do itself it forwards.
    #[must_use]
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Has `sink` called with what the client reports of its connections, up to `level`; it is reported to `tracing` in
    /// any case. `sink` is called on the threads that make calls and on those of the runtime: it must not block, nor use
    /// the client.
    #[must_use]
    pub fn log(mut self, level: LogLevel, sink: impl Fn(LogRecord) + Send + Sync + 'static) -> Self {
        self.log = Log::new(level, sink);
        self
    }

    /// The client. Does no IO, so it succeeds with every peer down. Each item is an address, `host:port`, or a
    /// comma-separated list of them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if there is no address or one that cannot be an address, and for a timeout that is
    /// none.
    pub fn build<S: AsRef<str>>(self, peers: impl IntoIterator<Item = S>) -> Result<Client> {
        for (name, timeout) in [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
            ("keepalive interval", self.keepalive.interval),
            ("keepalive timeout", self.keepalive.timeout),
        ] {
            if let Some(fault) = fault_of(timeout) {
                let message = format!("{name}: {fault}");
                return Err(Error::new(ErrorKind::InvalidArgument, Operation::Build, message));
            }
        }
        let seeds = peers::collect(peers)?.into_iter().map(Arc::from).collect();
        let counts = Arc::new(Counts::default());
        let sessions = Sessions::default();
        let options = router::Options {
            seeds,
            name: self.name.into(),
            connect_timeout: self.connect_timeout,
            keepalive: self.keepalive,
            pinned: self.pinned,
            log: self.log.clone(),
        };
        let router = Arc::new(Router::new(options, sessions.id(), Arc::clone(&counts)));
        let shared = Shared { router, sessions, counts, log: self.log, seen: AtomicU64::new(0) };
        Ok(Client { shared: Arc::new(shared), timeout: self.timeout })
    }
}

impl Client {
    /// A client with the usual settings; see [`Builder::build`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if there is no address or one that cannot be an address.
    pub fn new<S: AsRef<str>>(peers: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::builder().build(peers)
    }

    /// Settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same client, whose calls may take this long. With a timeout that is none (see [`Builder::timeout`]) they fail
    /// with [`ErrorKind::InvalidArgument`].
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), timeout }
    }

    /// Ends the client and its clones, at once: calls that run fail with [`ErrorKind::Closed`], and so does every later
    /// one. A write under way then has the outcome that is known of it. Closing again does nothing.
    ///
    /// The result is to be awaited: it asks the node in use to end the client's session, and takes 200 ms at most. Only
    /// the first [`close`](Self::close) has a session to end.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.close()
    }

    /// Gives this handle up; as [`close`](Self::close) if it is the last one and no call runs.
    pub(crate) fn release(self) -> Option<impl Future<Output = ()> + Send + use<>> {
        Arc::into_inner(self.shared).map(|shared| shared.close())
    }

    /// What this client and its clones have done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counts.read()
    }

    /// Creates `key`.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], with the revision at which it is, and what every write can meet: see
    /// [`set`](Self::set).
    pub async fn add(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        self.add_owned(copied(key), copied(value)).await
    }

    pub(crate) async fn add_owned(&self, key: Bytes, value: Bytes) -> Result<Written> {
        self.call(Operation::Add, Some(key.clone()), Body::Add(v1::Add { key, value }), written).await
    }

    /// Creates or replaces `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty key, [`ErrorKind::TooLarge`],
    /// [`ErrorKind::Unavailable`] if there was no connection to any node until the deadline,
    /// [`ErrorKind::DeadlineExceeded`] if there was one and no answer in time,
    /// [`ErrorKind::SessionExpired`] if the session ended between two attempts, and refusals of all nodes.
    /// [`Error::outcome`] says whether the write may have taken effect.
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        self.set_owned(copied(key), copied(value)).await
    }

    pub(crate) async fn set_owned(&self, key: Bytes, value: Bytes) -> Result<Written> {
        self.call(Operation::Set, Some(key.clone()), Body::Set(v1::Set { key, value }), written).await
    }

    /// Replaces `key` if its `mod_revision` is `revision`; 0 stands for "it does not exist".
    ///
    /// # Errors
    /// [`ErrorKind::CasMismatch`], with the actual revision, and what every write can meet: see
    /// [`set`](Self::set).
    pub async fn cas(
        &self,
        key: impl AsRef<[u8]>,
        revision: u64,
        value: impl AsRef<[u8]>,
    ) -> Result<Written> {
        self.cas_owned(copied(key), revision, copied(value)).await
    }

    pub(crate) async fn cas_owned(&self, key: Bytes, revision: u64, value: Bytes) -> Result<Written> {
        let body = Body::Cas(v1::Cas { key: key.clone(), revision, value });
        self.call(Operation::Cas, Some(key), body, written).await
    }

    /// Removes `key`, whether it is there or not.
    ///
    /// # Errors
    /// What every write can meet: see [`set`](Self::set).
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Deleted> {
        self.delete_owned(copied(key), None).await
    }

    /// Removes `key` if its `mod_revision` is `revision`.
    ///
    /// # Errors
    /// [`ErrorKind::CasMismatch`], with the actual revision, and what every write can meet: see
    /// [`set`](Self::set).
    pub async fn delete_if(&self, key: impl AsRef<[u8]>, revision: u64) -> Result<Deleted> {
        self.delete_owned(copied(key), Some(revision)).await
    }

    pub(crate) async fn delete_owned(&self, key: Bytes, revision: Option<u64>) -> Result<Deleted> {
        let body = Body::Delete(v1::Delete { key: key.clone(), revision });
        self.call(Operation::Delete, Some(key), body, |result| match result {
            response::Result::Deleted(deleted) => {
                Some(Deleted { existed: deleted.existed, revision: deleted.revision })
            }
            _ => None,
        })
        .await
    }

    /// Reads `key`, seeing every write that was acknowledged before.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidArgument`] for an empty key, [`ErrorKind::TooLarge`],
    /// [`ErrorKind::Unavailable`], [`ErrorKind::DeadlineExceeded`], and refusals of all nodes.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Entry> {
        self.get_with(key, ReadOptions::default()).await
    }

    /// Reads `key` from what the node in use has applied: quicker, and possibly behind, but never behind what this
    /// client has seen.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_local(&self, key: impl AsRef<[u8]>) -> Result<Entry> {
        self.get_with(key, ReadOptions::local()).await
    }

    /// Reads `key` as `options` say.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_with(&self, key: impl AsRef<[u8]>, options: ReadOptions) -> Result<Entry> {
        self.get_owned(copied(key), options).await
    }

    pub(crate) async fn get_owned(&self, key: Bytes, options: ReadOptions) -> Result<Entry> {
        let (consistency, min_revision) = match options.consistency {
            Consistency::Linearizable => (v1::Consistency::Linearizable, 0),
            Consistency::Local => (v1::Consistency::Local, options.min_revision.max(self.seen_revision())),
        };
        let body = Body::Get(v1::Get { key: key.clone(), consistency: consistency.into(), min_revision });
        self.call(Operation::Get, Some(key), body, |result| match result {
            response::Result::Entry(entry) => Some(Entry::from_wire(entry)),
            _ => None,
        })
        .await
    }

    /// The highest revision that this client has seen, 0 before its first answer.
    #[must_use]
    pub fn seen_revision(&self) -> u64 {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// How the node in use is.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::DeadlineExceeded`], and refusals of all nodes.
    pub async fn status(&self) -> Result<NodeStatus> {
        self.call(Operation::Status, None, Body::Status(v1::Status {}), status).await
    }

    /// How the node at `address` is, over a connection of its own, asked once. It may be of another ensemble.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what cannot be an address, [`ErrorKind::Unavailable`] if it cannot be
    /// reached, [`ErrorKind::ConnectionLost`], [`ErrorKind::DeadlineExceeded`], and its refusals.
    pub async fn status_of(&self, address: &str) -> Result<NodeStatus> {
        let addresses = peers::parse_peers(address)?;
        let [address] = addresses.as_slice() else {
            return Err(Error::new(ErrorKind::InvalidArgument, Operation::Status, "one address at a time"));
        };
        let operation = Operation::Status;
        let router = &self.shared.router;
        router.check_open().map_err(|error| Error::new(error.kind, operation, error.to_string()))?;
        if let Some(fault) = fault_of(self.timeout) {
            return Err(Error::new(ErrorKind::InvalidArgument, operation, fault));
        }
        let deadline = deadline_in(self.timeout);
        let connected = AtomicBool::new(false);
        let asking = async {
            let connection = (router.dial_once(address).await)
                .map_err(|error| Error::new(error.kind, operation, error.to_string()))?;
            connected.store(true, Ordering::Relaxed);
            let build = |id| request(id, deadline, None, Body::Status(v1::Status {}));
            let response = connection.call(build).await.map_err(|error| {
                let (CallError::NotSent(reason) | CallError::Lost(reason)) = error;
                Error::new(ErrorKind::ConnectionLost, operation, format!("{address}: {reason}"))
            })?;
            match response.result {
                Some(response::Result::Status(status)) => Ok(NodeStatus::from_wire(status)),
                Some(response::Result::Error(error)) => {
                    let message = format!("{address}: {}", text_of(&error));
                    Err(Error::new(error.error_kind(), operation, message).with_leader(&error.leader))
                }
                _ => Err(Error::new(
                    ErrorKind::Internal,
                    operation,
                    format!("{address}: answered something else"),
                )),
            }
        };
        let _counted = Counted::new(&self.shared.counts);
        match tokio::time::timeout_at(deadline, asking).await {
            Ok(result) => result,
            Err(_) if connected.load(Ordering::Relaxed) => {
                let message = format!("{address}: no answer within {:?}", self.timeout);
                Err(Error::new(ErrorKind::DeadlineExceeded, operation, message))
            }
            Err(_) => {
                let message = format!("{address}: no connection within {:?}", self.timeout);
                Err(Error::new(ErrorKind::Unavailable, operation, message))
            }
        }
    }

    /// What the node in use says of role, leader and members; connects if need be.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::DeadlineExceeded`], and refusals of all nodes.
    pub async fn view(&self) -> Result<View> {
        let view = Call::new(&self.shared, Operation::Members, None, self.timeout).view().await?;
        Ok(View::from_wire(view))
    }

    /// The members, as the node in use knows them; connects if need be.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub async fn members(&self) -> Result<Vec<Member>> {
        Ok(self.view().await?.members)
    }

    async fn call<T>(
        &self,
        operation: Operation,
        key: Option<Bytes>,
        body: Body,
        take: impl FnOnce(response::Result) -> Option<T>,
    ) -> Result<T> {
        let span = tracing::debug_span!("gometa", %operation, key = %Key(key.as_ref()));
        async move {
            let mut call = Call::new(&self.shared, operation, key, self.timeout);
            let result = call.run(&body).await;
            let result = result.and_then(|result| {
                take(result).ok_or_else(|| {
                    let doubt = if operation.is_write() { Outcome::Unknown } else { Outcome::NotApplied };
                    call.error(ErrorKind::Internal, "the node answered something else").with_outcome(doubt)
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

fn written(result: response::Result) -> Option<Written> {
    match result {
        response::Result::Written(written) => {
            Some(Written { revision: written.revision, version: written.version })
        }
        _ => None,
    }
}

fn status(result: response::Result) -> Option<NodeStatus> {
    match result {
        response::Result::Status(status) => Some(NodeStatus::from_wire(status)),
        _ => None,
    }
}

/// Shows a key in a span.
struct Key<'a>(Option<&'a Bytes>);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.map(|key| &key[..key.len().min(64)]).unwrap_or_default();
        write!(f, "{}", key.escape_ascii())
    }
}
