//! One call in progress: attempts, sessions, its deadline.

use std::{
    sync::{Arc, atomic::Ordering},
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
    connection::{CallError, Connection},
    counters::{Counts, InFlight},
    error::{Error, Operation, Result},
    history::{History, Scope},
    log::{Log, log},
    retry::{self, Attempts, Backoff, Decision},
    router::Router,
    session::{Session, Sessions, Ticket},
};

/// The longest timeout. A request carries 49 days at most; a call that takes longer sends it again.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the clones of a client share.
pub(crate) struct Shared {
    pub(crate) router: Arc<Router>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) log: Log,
}

pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(TIMEOUT_MAX)
}

pub(crate) fn request(id: u64, deadline: Instant, body: Body) -> Request {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    // 0 stands for the node's default.
    let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
    Request { id, deadline_ms, operation: Some(body), ..Request::default() }
}

/// The message of a node's error, or the name of its kind if it has none.
pub(crate) fn message_of(error: &v1::Error) -> String {
    if error.message.is_empty() { error.error_kind().to_string() } else { error.message.clone() }
}

/// Checks a timeout. The error is a message.
pub(crate) fn check_timeout(timeout: Duration) -> std::result::Result<(), String> {
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err(format!("invalid timeout {timeout:?}: must be above 0 and at most 365 days"));
    }
    Ok(())
}

/// What a call is doing, for the error at its deadline.
enum Stage {
    Connecting,
    AwaitingAnswer(Arc<str>),
    Pausing,
    AwaitingWindow,
}

/// Why an exchange has no result.
enum Stop {
    Failed(Error),
    /// The write may move to another session; with the node's message.
    NewSession(String),
}

/// An attempt without an answer yet. Dropped before the answer, by the deadline or by the caller, it may make the router
/// use another node.
struct PendingAttempt<'a> {
    router: &'a Router,
    connection: &'a Connection,
    since: Instant,
    answered: bool,
}

impl Drop for PendingAttempt<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.router.unanswered(self.connection, self.since);
        }
    }
}

/// See the module.
pub(crate) struct Call {
    shared: Arc<Shared>,
    operation: Operation,
    key: Option<Bytes>,
    timeout: Duration,
    /// That of a write.
    guard: Option<v1::Guard>,
    begun: Instant,
    deadline: Instant,
    attempts: Attempts,
    stage: Stage,
    /// The failure of the latest attempt.
    last_failure: Option<String>,
    scope: Scope,
    _in_flight: InFlight,
}

impl Call {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        scope: Option<&Scope>,
        operation: Operation,
        key: Option<Bytes>,
        timeout: Duration,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            operation,
            key,
            timeout,
            guard: None,
            begun: Instant::now(),
            deadline: deadline_in(timeout),
            attempts: Attempts::default(),
            stage: Stage::Connecting,
            last_failure: None,
            scope: scope.cloned().unwrap_or_else(|| shared.router.scope()),
            _in_flight: InFlight::new(&shared.counts),
        }
    }

    /// The same call with a guard, if it is a write.
    pub(crate) fn with_guard(self, guard: Option<v1::Guard>) -> Self {
        Self { guard, ..self }
    }

    /// An error of this call, not applied.
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, self.operation, message).with_key(self.key.as_ref())
    }

    /// The outcome if the call fails now.
    fn outcome(&self) -> Outcome {
        if self.attempts.may_apply() { Outcome::Unknown } else { Outcome::NotApplied }
    }

    fn check_timeout(&self) -> Result<()> {
        check_timeout(self.timeout).map_err(|message| self.error(ErrorKind::InvalidArgument, message))
    }

    /// Sends the request until it is answered or the deadline passes.
    pub(crate) async fn run(&mut self, body: &Body) -> Result<response::Result> {
        self.check_timeout()?;
        let guard = self.guard.as_ref().filter(|_| body.is_write());
        let checked = body.check_fields().and_then(|()| guard.map_or(Ok(()), v1::Guard::check));
        checked.map_err(|error| self.error(error.error_kind(), error.message))?;
        self.check_history()?;
        let (deadline, history) = (self.deadline, Arc::clone(self.history()));
        let work = async {
            if body.is_write() {
                return self.write(body).await;
            }
            match self.exchange(body, None).await {
                Ok(result) => Ok(result),
                Err(Stop::Failed(error)) => Err(error),
                // Returned for numbered writes only.
                Err(Stop::NewSession(message)) => Err(self.error(ErrorKind::SessionExpired, message)),
            }
        };
        within(deadline, &history, work).await.unwrap_or_else(|cut| Err(self.cut(cut)))
    }

    fn history(&self) -> &Arc<History> {
        self.scope.history()
    }

    /// Fails if the history in which the call began is no longer in use, or if no call has reported yet that it has changed.
    fn check_history(&self) -> Result<()> {
        let ended = match self.history().end() {
            Some(_) => Some(Arc::clone(self.history())),
            None if self.scope.is_awaited() => self.shared.router.unreported_change(),
            None => None,
        };
        ended.map_or(Ok(()), |ended| Err(self.changed(&ended)))
    }

    /// The error of a call that fails because this history has ended.
    fn changed(&self, ended: &Arc<History>) -> Error {
        if self.scope.is_awaited() {
            self.shared.router.change_reported(ended);
        }
        self.error(ErrorKind::HistoryChanged, ended.end().unwrap_or_default()).with_outcome(self.outcome())
    }

    /// The error of a call that was cut short.
    fn cut(&self, cut: Cut) -> Error {
        match cut {
            Cut::Deadline => self.deadline_error(),
            Cut::History => self.changed(self.history()),
        }
    }

    /// The latest View of the node in use.
    pub(crate) async fn view(&mut self) -> Result<View> {
        self.check_timeout()?;
        self.check_history()?;
        let (deadline, history) = (self.deadline, Arc::clone(self.history()));
        let connected = within(deadline, &history, self.connection()).await;
        Ok(connected.unwrap_or_else(|cut| Err(self.cut(cut)))?.view())
    }

    /// The error at the deadline. Without any connection during the call, nothing can have been sent.
    fn deadline_error(&self) -> Error {
        let router = &self.shared.router;
        let connected = router.connected_since(self.begun);
        let mut message = match &self.stage {
            Stage::Connecting | Stage::AwaitingWindow if !connected => {
                format!("no connection to any node within {:?}", self.timeout)
            }
            Stage::Connecting => format!("no other connection within {:?}", self.timeout),
            Stage::AwaitingAnswer(address) => format!("no answer from {address} within {:?}", self.timeout),
            Stage::Pausing => format!("no success within {:?}", self.timeout),
            Stage::AwaitingWindow => {
                format!("too many writes of this client are in flight, for {:?}", self.timeout)
            }
        };
        let dials = router.failures_since(self.begun);
        if let Some(failure) = &self.last_failure {
            message = format!("{message}; before: {failure}");
        } else if matches!(self.stage, Stage::Connecting) && !dials.is_empty() {
            message = format!("{message} ({dials})");
        }
        let kind = if connected { ErrorKind::DeadlineExceeded } else { ErrorKind::Unavailable };
        self.error(kind, message).with_outcome(self.outcome()).with_leader(&router.leader())
    }

    async fn connection(&mut self) -> Result<Arc<Connection>> {
        self.stage = Stage::Connecting;
        let connection = self.shared.router.connection(self.scope.history()).await;
        connection.map_err(|error| match error.kind {
            ErrorKind::HistoryChanged => self.changed(self.history()),
            kind => self.error(kind, error.to_string()).with_outcome(self.outcome()),
        })
    }

    /// Executes a write exactly once.
    async fn write(&mut self, body: &Body) -> Result<response::Result> {
        let mut backoff = Backoff::default();
        loop {
            let (session, window_max) = self.session().await?;
            self.stage = Stage::AwaitingWindow;
            let ticket = session.reserve(window_max).await;
            match self.exchange(body, Some(&ticket)).await {
                Ok(result) => return Ok(result),
                Err(Stop::Failed(error)) => {
                    if error.kind() == ErrorKind::SessionExpired {
                        self.history().sessions.expired(session.id());
                    }
                    return Err(error);
                }
                Err(Stop::NewSession(message)) => {
                    let log = &self.shared.log;
                    log!(log, debug, "session expired; opening another", session = session.id());
                    self.history().sessions.expired(session.id());
                    self.shared.counts.retries.fetch_add(1, Ordering::Relaxed);
                    self.last_failure = Some(message);
                    self.attempts = Attempts::default();
                    drop(ticket);
                    // For an ensemble that ends sessions as soon as they are open.
                    self.stage = Stage::Pausing;
                    self.shared.router.pause(backoff.pause()).await;
                }
            }
        }
    }

    /// The session in use, opened if there is none, and the size of its window.
    async fn session(&mut self) -> Result<(Arc<Session>, u64)> {
        let history = Arc::clone(self.history());
        let sessions = &history.sessions;
        let session = match sessions.current() {
            Some(session) => session,
            None => {
                let _opening = sessions.opening().await;
                match sessions.current() {
                    Some(session) => session,
                    None => self.open_session(sessions).await?,
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

    /// Sends a request until the answer is final. With a ticket it is a numbered write.
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
            if body.has_effect() {
                self.attempts.failed(failure.error_outcome());
            }
            let message = format!("{}: {}", connection.address, message_of(&failure));
            match retry::decide(failure.error_kind(), ticket.is_some(), self.attempts) {
                Decision::Fail { kind, outcome } => {
                    self.shared.router.served(&connection);
                    return Err(Stop::Failed(self.failure(kind, outcome, &failure)));
                }
                Decision::NewSession => return Err(Stop::NewSession(message)),
                Decision::OtherNode => {
                    self.shared.router.fail_over(&connection, &message_of(&failure), &failure.leader);
                }
                Decision::SameNode => {}
            }
            log!(self.shared.log, debug, "retrying", reason = message);
            self.shared.counts.retries.fetch_add(1, Ordering::Relaxed);
            self.last_failure = Some(message);
            self.stage = Stage::Pausing;
            // A lost connection needs no pause: the router paces the dials.
            if failure.error_kind() != ErrorKind::ConnectionLost {
                let pause_min = Duration::from_millis(failure.retry_after_ms.into());
                self.shared.router.pause(backoff.pause().max(pause_min)).await;
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
        self.stage = Stage::AwaitingAnswer(Arc::clone(&connection.address));
        let (deadline, guard, attempts) = (self.deadline, self.guard.clone(), &mut self.attempts);
        let build = |id| {
            if body.has_effect() {
                attempts.sent();
            }
            let write = ticket.map(Ticket::context);
            let guard = ticket.and(guard);
            Request { write, guard, ..request(id, deadline, body.clone()) }
        };
        let router = &*self.shared.router;
        let mut pending = PendingAttempt { router, connection, since: Instant::now(), answered: false };
        let result = connection.call(build).await;
        // A deadline that passed on the node is not an answer.
        pending.answered = !matches!(&result, Ok(Response { result: Some(response::Result::Error(error)), .. })
            if error.error_kind() == ErrorKind::DeadlineExceeded);
        drop(pending);
        let response = result.map_err(|error| match error {
            CallError::NotSent(reason) => v1::Error::not_applied(ErrorKind::ConnectionLost, &*reason),
            CallError::Lost(reason) => v1::Error::unknown(ErrorKind::ConnectionLost, &*reason),
        })?;
        self.history().saw(revision_of(&response));
        match response.result {
            Some(response::Result::Error(error)) => Err(error),
            Some(result) => Ok(result),
            None => Err(v1::Error::unknown(ErrorKind::Internal, "the node's answer is of an unknown kind")),
        }
    }

    fn failure(&self, kind: ErrorKind, outcome: Outcome, failure: &v1::Error) -> Error {
        let error = self.error(kind, message_of(failure)).with_outcome(outcome).with_leader(&failure.leader);
        match kind {
            ErrorKind::AlreadyExists
            | ErrorKind::CasMismatch
            | ErrorKind::GuardFailed
            | ErrorKind::Compacted => error.with_actual_revision(failure.actual_revision),
            _ => error,
        }
    }

    /// Checks what the node would refuse: a frame that is too large ends the connection for all calls.
    fn check_sizes(&self, body: &Body, limits: &Limits) -> Result<()> {
        let check = body.check_sizes(limits);
        check.map_err(|error| self.error(error.error_kind(), error.message).with_outcome(self.outcome()))
    }
}

/// What has cut a call short.
enum Cut {
    Deadline,
    /// Its history is no longer in use.
    History,
}

/// The result of work that ends before the deadline and while the history is in use.
async fn within<T>(
    deadline: Instant,
    history: &History,
    work: impl Future<Output = Result<T>>,
) -> std::result::Result<Result<T>, Cut> {
    tokio::select! {
        biased;
        ended = tokio::time::timeout_at(deadline, work) => ended.map_err(|_| Cut::Deadline),
        _ = history.ended() => Err(Cut::History),
    }
}

/// The highest revision in a response.
fn revision_of(response: &Response) -> u64 {
    let made = match &response.result {
        Some(response::Result::Written(written)) => written.revision,
        Some(response::Result::Deleted(deleted)) => deleted.revision,
        Some(response::Result::Txn(answer)) => answer.revision,
        _ => 0,
    };
    response.revision.max(made)
}
