//! One call on its way: attempts, sessions, its deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gometa_proto::{
    ErrorKind, Outcome,
    limits::WINDOW_MAX,
    v1::{self, Limits, Request, Response, View, request::Operation as Body, response},
};
use tokio::time::Instant;

use crate::{
    Result,
    connection::{CallError, Connection},
    error::{Error, Operation},
    log::{Log, log},
    retry::{self, Attempts, Backoff, Verdict},
    router::Router,
    session::{Session, Sessions, Ticket},
    types::Counters,
};

/// Longest timeout. A request carries 49 days at most; then the node is asked again.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the clones of a client share.
pub(crate) struct Shared {
    pub(crate) router: Arc<Router>,
    pub(crate) sessions: Sessions,
    pub(crate) counts: Arc<Counts>,
    pub(crate) log: Log,
    /// The highest revision that any answer has shown.
    pub(crate) seen: AtomicU64,
}

/// See [`Counters`].
#[derive(Default, Debug)]
pub(crate) struct Counts {
    requests: AtomicU64,
    retries: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    in_flight: AtomicUsize,
}

impl Counts {
    pub(crate) fn read(&self) -> Counters {
        Counters {
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }
}

pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(TIMEOUT_MAX)
}

pub(crate) fn request(id: u64, deadline: Instant, write: Option<v1::WriteContext>, body: Body) -> Request {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    // 0 would ask for the node's default.
    let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
    Request { id, deadline_ms, write, operation: Some(body) }
}

/// A node's words, or the name of what it means if it has none.
pub(crate) fn text_of(error: &v1::Error) -> String {
    if error.message.is_empty() { error.error_kind().to_string() } else { error.message.clone() }
}

/// Why a timeout cannot be one, if it cannot.
pub(crate) fn fault_of(timeout: Duration) -> Option<String> {
    let fits = !timeout.is_zero() && timeout <= TIMEOUT_MAX;
    (!fits).then(|| format!("{timeout:?} is no timeout: it is above 0 and at most 365 days"))
}

/// Counts a call while it runs.
pub(crate) struct Counted(Arc<Counts>);

impl Counted {
    pub(crate) fn new(counts: &Arc<Counts>) -> Self {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a call is doing, for the error at its deadline.
enum Stage {
    Connecting,
    Waiting(Arc<str>),
    Pausing,
    Queueing,
}

/// Why an exchange has no result.
enum Stop {
    Failed(Error),
    /// The write may move to another session; with what the node said.
    NewSession(String),
}

/// An attempt that waits for its answer. Dropped without one, by the deadline or by the caller, it counts against the
/// node.
struct Awaiting<'a> {
    router: &'a Router,
    connection: &'a Connection,
    since: Instant,
    answered: bool,
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.router.unanswered(self.connection, self.since);
        }
    }
}

/// One call on its way.
pub(crate) struct Call {
    shared: Arc<Shared>,
    operation: Operation,
    key: Option<Bytes>,
    timeout: Duration,
    begun: Instant,
    deadline: Instant,
    attempts: Attempts,
    stage: Stage,
    /// What the latest failed attempt met with.
    setback: Option<String>,
    _counted: Counted,
}

impl Call {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        operation: Operation,
        key: Option<Bytes>,
        timeout: Duration,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            operation,
            key,
            timeout,
            begun: Instant::now(),
            deadline: deadline_in(timeout),
            attempts: Attempts::default(),
            stage: Stage::Connecting,
            setback: None,
            _counted: Counted::new(&shared.counts),
        }
    }

    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, self.operation, message).with_key(self.key.as_ref())
    }

    fn check_timeout(&self) -> Result<()> {
        fault_of(self.timeout).map_or(Ok(()), |fault| Err(self.error(ErrorKind::InvalidArgument, fault)))
    }

    /// Gets the request answered for good, or fails at the deadline.
    pub(crate) async fn run(&mut self, body: &Body) -> Result<response::Result> {
        self.check_timeout()?;
        body.check_fields().map_err(|error| self.error(error.error_kind(), error.message))?;
        let deadline = self.deadline;
        let working = async {
            if self.operation.is_write() {
                return self.write(body).await;
            }
            match self.exchange(body, None).await {
                Ok(result) => Ok(result),
                Err(Stop::Failed(error)) => Err(error),
                // Said of numbered writes only.
                Err(Stop::NewSession(message)) => Err(self.error(ErrorKind::SessionExpired, message)),
            }
        };
        let result = tokio::time::timeout_at(deadline, working).await;
        result.unwrap_or_else(|_| Err(self.late()))
    }

    /// What the node in use says of its ensemble.
    pub(crate) async fn view(&mut self) -> Result<View> {
        self.check_timeout()?;
        let connected = tokio::time::timeout_at(self.deadline, self.connection()).await;
        connected.map_or_else(|_| Err(self.late()), |connection| Ok(connection?.view()))
    }

    /// The error at the deadline. If there was no connection all the time, nothing can have been sent.
    fn late(&self) -> Error {
        let router = &self.shared.router;
        let connected = router.connected_since(self.begun);
        let mut message = match &self.stage {
            Stage::Connecting | Stage::Queueing if !connected => {
                format!("no connection to any node within {:?}", self.timeout)
            }
            Stage::Connecting => format!("no other connection within {:?}", self.timeout),
            Stage::Waiting(address) => format!("no answer from {address} within {:?}", self.timeout),
            Stage::Pausing => format!("no success within {:?}", self.timeout),
            Stage::Queueing => {
                format!("too many writes of this client are in flight: no room within {:?}", self.timeout)
            }
        };
        let dials = router.dials_since(self.begun);
        if let Some(setback) = &self.setback {
            message = format!("{message}; before: {setback}");
        } else if matches!(self.stage, Stage::Connecting) && !dials.is_empty() {
            message = format!("{message} ({dials})");
        }
        let outcome = if self.attempts.may_apply() { Outcome::Unknown } else { Outcome::NotApplied };
        let kind = if connected { ErrorKind::DeadlineExceeded } else { ErrorKind::Unavailable };
        self.error(kind, message).with_outcome(outcome).with_leader(&router.leader())
    }

    async fn connection(&mut self) -> Result<Arc<Connection>> {
        self.stage = Stage::Connecting;
        self.shared.router.connection().await.map_err(|error| {
            let outcome = if self.attempts.may_apply() { Outcome::Unknown } else { Outcome::NotApplied };
            self.error(error.kind, error.to_string()).with_outcome(outcome)
        })
    }

    /// Makes a write happen once.
    async fn write(&mut self, body: &Body) -> Result<response::Result> {
        let mut backoff = Backoff::default();
        loop {
            let (session, window_max) = self.session().await?;
            self.stage = Stage::Queueing;
            let ticket = session.reserve(window_max).await;
            match self.exchange(body, Some(&ticket)).await {
                Ok(result) => return Ok(result),
                Err(Stop::Failed(error)) => {
                    if error.kind() == ErrorKind::SessionExpired {
                        self.shared.sessions.expired(session.id());
                    }
                    return Err(error);
                }
                Err(Stop::NewSession(message)) => {
                    let log = &self.shared.log;
                    log!(log, debug, "session expired; opening another", session = session.id());
                    self.shared.sessions.expired(session.id());
                    self.shared.counts.retries.fetch_add(1, Ordering::Relaxed);
                    self.setback = Some(message);
                    self.attempts = Attempts::default();
                    drop(ticket);
                    // Not at once: an ensemble that ends sessions as soon as they are open shall not be hammered.
                    self.stage = Stage::Pausing;
                    self.shared.router.pause(backoff.pause()).await;
                }
            }
        }
    }

    /// The session in use, opened if there is none, and the size of its window.
    async fn session(&mut self) -> Result<(Arc<Session>, u64)> {
        let shared = Arc::clone(&self.shared);
        let session = match shared.sessions.current() {
            Some(session) => session,
            None => {
                let _opening = shared.sessions.opening().await;
                match shared.sessions.current() {
                    Some(session) => session,
                    None => self.open_session(&shared.sessions).await?,
                }
            }
        };
        let limit = self.connection().await?.limits.window_max;
        Ok((session, u64::from(limit).min(WINDOW_MAX)))
    }

    async fn open_session(&mut self, sessions: &Sessions) -> Result<Arc<Session>> {
        let nonce = sessions.nonce().map_err(|error| {
            self.error(ErrorKind::Internal, format!("no random numbers for a session: {error}"))
        })?;
        let result = self.exchange(&Body::OpenSession(v1::OpenSession { nonce }), None).await;
        match result {
            Ok(response::Result::SessionOpened(opened)) if opened.session != 0 => {
                let (log, timeout_ms) = (&self.shared.log, opened.timeout_ms);
                log!(log, debug, "session opened", session = opened.session, timeout_ms = timeout_ms);
                Ok(sessions.opened(opened.session))
            }
            Ok(_) => Err(self.error(ErrorKind::Internal, "the node opened no session and gave no reason")),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::NewSession(message)) => Err(self.error(ErrorKind::SessionExpired, message)),
        }
    }

    /// Sends a request until it is answered for good. A ticket makes it a numbered write.
    async fn exchange(
        &mut self,
        body: &Body,
        ticket: Option<&Ticket>,
    ) -> std::result::Result<response::Result, Stop> {
        let mut backoff = Backoff::default();
        loop {
            let connection = self.connection().await.map_err(Stop::Failed)?;
            self.check_sizes(body, &connection.limits).map_err(Stop::Failed)?;
            let failure = match self.attempt(&connection, body, ticket).await {
                Ok(result) => {
                    self.shared.router.served(&connection);
                    return Ok(result);
                }
                Err(failure) => failure,
            };
            if ticket.is_some() {
                self.attempts.failed(failure.error_outcome());
            }
            let message = format!("{}: {}", connection.address, text_of(&failure));
            match retry::judge(failure.error_kind(), ticket.is_some(), self.attempts) {
                Verdict::Fail { kind, outcome } => {
                    self.shared.router.served(&connection);
                    return Err(Stop::Failed(self.failure(kind, outcome, &failure)));
                }
                Verdict::NewSession => return Err(Stop::NewSession(message)),
                Verdict::Leave => self.shared.router.leave(&connection, &text_of(&failure), &failure.leader),
                Verdict::Stay => {}
            }
            log!(self.shared.log, debug, "trying again", setback = message);
            self.shared.counts.retries.fetch_add(1, Ordering::Relaxed);
            self.setback = Some(message);
            self.stage = Stage::Pausing;
            // A lost connection needs no pause: the router paces the dials.
            if failure.error_kind() != ErrorKind::ConnectionLost {
                let asked = Duration::from_millis(failure.retry_after_ms.into());
                self.shared.router.pause(backoff.pause().max(asked)).await;
            }
        }
    }

    /// Sends a request once.
    async fn attempt(
        &mut self,
        connection: &Connection,
        body: &Body,
        ticket: Option<&Ticket>,
    ) -> std::result::Result<response::Result, v1::Error> {
        self.stage = Stage::Waiting(Arc::clone(&connection.address));
        let (deadline, attempts) = (self.deadline, &mut self.attempts);
        let build = |id| {
            let context = ticket.map(|ticket| {
                attempts.sent();
                ticket.context()
            });
            request(id, deadline, context, body.clone())
        };
        let router = &*self.shared.router;
        let mut awaiting = Awaiting { router, connection, since: Instant::now(), answered: false };
        let result = connection.call(build).await;
        // That the node gave up itself is no answer.
        awaiting.answered = !matches!(&result, Ok(Response { result: Some(response::Result::Error(error)), .. })
            if error.error_kind() == ErrorKind::DeadlineExceeded);
        drop(awaiting);
        let response = result.map_err(|error| match error {
            CallError::NotSent(reason) => v1::Error::not_applied(ErrorKind::ConnectionLost, &*reason),
            CallError::Lost(reason) => v1::Error::unknown(ErrorKind::ConnectionLost, &*reason),
        })?;
        self.shared.note(&response);
        match response.result {
            Some(response::Result::Error(error)) => Err(error),
            Some(result) => Ok(result),
            None => Err(v1::Error::unknown(
                ErrorKind::Internal,
                "the node's answer holds nothing that is known here",
            )),
        }
    }

    fn failure(&self, kind: ErrorKind, outcome: Outcome, failure: &v1::Error) -> Error {
        let error = self.error(kind, text_of(failure)).with_outcome(outcome).with_leader(&failure.leader);
        match kind {
            ErrorKind::AlreadyExists | ErrorKind::CasMismatch => {
                error.with_actual_revision(failure.actual_revision)
            }
            _ => error,
        }
    }

    /// Refuses what the node would refuse, before a frame that is too large ends the connection for everybody.
    fn check_sizes(&self, body: &Body, limits: &Limits) -> Result<()> {
        body.check_sizes(limits).map_err(|error| {
            let outcome = if self.attempts.may_apply() { Outcome::Unknown } else { Outcome::NotApplied };
            self.error(error.error_kind(), error.message).with_outcome(outcome)
        })
    }
}

impl Shared {
    /// Remembers how far the ensemble is known to be.
    fn note(&self, response: &Response) {
        let made = match &response.result {
            Some(response::Result::Written(written)) => written.revision,
            Some(response::Result::Deleted(deleted)) => deleted.revision,
            _ => 0,
        };
        self.seen.fetch_max(response.revision.max(made), Ordering::Relaxed);
    }
}
