//! The connection in use: which node, dialing, moving to the leader.
//!
//! One connection is in use at a time. When there is none, calls wait, and a task of the router dials for them, so that a
//! dial outlives the call that started it: calls that are shorter than a handshake find the connection that an earlier
//! one has started. The task starts dials only while calls wait. The next candidate (see [`Addresses`]) is dialed when a
//! dial fails or takes long, so that a host that does not answer costs little. Each address has its own backoff.
//!
//! A node that reports that it cannot serve, or that has not answered for the keepalive interval when the deadline of a
//! call passes, is replaced by another one, if one can be dialed.
//!
//! When the node in use names another one as the leader, a task dials that one and swaps connections once the leader
//! confirms that it leads. Meanwhile calls go through the follower, which forwards them.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gometa_proto::{ErrorKind, v1};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

use crate::{
    addresses::{Addresses, REDIAL_MAX},
    connection::{self, Closed, Connection, Dial, Keepalive},
    counters::Counts,
    handshake::{DialError, Failures},
    history::{Histories, History, Scope},
    log::{Log, log},
    retry,
};

/// The time after which a dial is joined by a dial of the next candidate.
const STAGGER: Duration = Duration::from_millis(250);
/// The number of dials at a time.
const DIALS_MAX: usize = 4;
/// The number of attempts to move to a leader before the next View is awaited.
const MOVES_MAX: u32 = 8;
/// Why a call on a closed client fails.
const CLOSED: &str = "the client is closed";

/// A router's settings.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) name: Arc<str>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keepalive: Keepalive,
    pub(crate) log: Log,
}

/// See the module.
pub(crate) struct Router {
    options: Options,
    counts: Arc<Counts>,
    state: Mutex<State>,
    /// Whether the dialing task runs.
    dialing: AtomicBool,
    /// Wakes the dialing task: a call waits, or the router is gone.
    dial_wanted: Arc<Notify>,
    /// The number of calls that wait for a connection.
    waiting: AtomicUsize,
    /// Wakes calls that wait: there is a connection or a permanent error, the dialing task has ended, or the router was
    /// closed.
    changed: Notify,
    generations: AtomicU64,
    /// Wakes calls that pause between two attempts: a leader became known, or a connection to it.
    leader_known: Notify,
    /// Whether the task that moves to the leader runs.
    moving: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Whether the router was closed: nothing is dialed or used any more.
    closed: bool,
    current: Option<Arc<Connection>>,
    /// All connections that were in use and are still open: calls may wait on earlier ones, too.
    open: Vec<Weak<Connection>>,
    /// Whether there ever was a connection.
    connected: bool,
    /// When the connection in use ended or was replaced, if there was one.
    lost: Option<Instant>,
    /// The latest permanent error, which ends every waiting call, and their number.
    permanent: Option<DialError>,
    permanents: u64,
    histories: Histories,
    addresses: Addresses,
}

impl State {
    /// The connection in use has ended, or is not used any more.
    fn drop_current(&mut self, at: Instant) {
        self.current = None;
        self.lost = self.lost.max(Some(at));
    }
}

impl Router {
    pub(crate) fn new(addresses: Addresses, options: Options, counts: Arc<Counts>) -> Self {
        Self {
            options,
            counts,
            state: Mutex::new(State { addresses, ..State::default() }),
            dialing: AtomicBool::new(false),
            dial_wanted: Arc::default(),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
            generations: AtomicU64::new(1),
            leader_known: Notify::new(),
            moving: AtomicBool::new(false),
        }
    }

    /// A router with the same settings that uses one address alone.
    pub(crate) fn pinned_to(&self, address: Arc<str>) -> Self {
        let options = self.options.clone();
        Self::new(Addresses::new(vec![address], true), options, Arc::clone(&self.counts))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history in use.
    pub(crate) fn history(&self) -> Arc<History> {
        Arc::clone(self.state().histories.current())
    }

    /// The ensemble, with the history in use, if it is known.
    pub(crate) fn ensemble(&self) -> Option<v1::EnsembleRef> {
        self.state().histories.ensemble().cloned()
    }

    /// The id of the history in use, if it is known.
    pub(crate) fn history_id(&self) -> Option<u64> {
        self.ensemble().map(|ensemble| ensemble.history)
    }

    /// The scope of calls that begin now.
    pub(crate) fn scope(&self) -> Scope {
        self.state().histories.scope()
    }

    /// See [`Histories::unreported`]. Calls on a closed client fail because of that.
    pub(crate) fn unreported_change(&self) -> Option<Arc<History>> {
        let state = self.state();
        if state.closed { None } else { state.histories.unreported().cloned() }
    }

    /// See [`Histories::reported`].
    pub(crate) fn change_reported(&self, ended: &Arc<History>) {
        self.state().histories.reported(ended);
    }

    /// The connection in use, to a node of this history; waits until there is one.
    ///
    /// # Errors
    /// The history has ended; a permanent error, once every address has failed; or the router was closed.
    pub(crate) async fn connection(
        self: &Arc<Self>,
        history: &History,
    ) -> Result<Arc<Connection>, DialError> {
        let permanents = self.state().permanents;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            self.check_open()?;
            let usable = self.usable();
            // Afterwards: a history ends before a connection to a node of the next one is in use.
            if let Some(end) = history.end() {
                return Err(DialError::of_client(ErrorKind::HistoryChanged, end));
            }
            if let Some(connection) = usable {
                return Ok(connection);
            }
            {
                let state = self.state();
                if let Some(error) = state.permanent.as_ref().filter(|_| state.permanents != permanents) {
                    return Err(error.clone());
                }
            }
            let _waiting = Waiting::new(&self.waiting);
            self.dial();
            changed.await;
        }
    }

    /// The connection in use, unless it has ended.
    fn usable(&self) -> Option<Arc<Connection>> {
        let mut state = self.state();
        let connection = state.current.as_ref()?;
        let Some(Closed { reason, at }) = connection.closed() else {
            return Some(Arc::clone(connection));
        };
        let address = Arc::clone(&connection.address);
        state.drop_current(at);
        state.addresses.failed(&address, &reason, Duration::ZERO);
        None
    }

    /// Whether there was a connection at any time since `begun`.
    pub(crate) fn connected_since(&self, begun: Instant) -> bool {
        let state = self.state();
        let closed = state.current.as_ref().map(|current| current.closed());
        match closed {
            Some(None) => true,
            Some(Some(closed)) => closed.at >= begun,
            None => state.lost.is_some_and(|lost| lost >= begun),
        }
    }

    /// Wakes the dialing task, or starts it if it does not run.
    fn dial(self: &Arc<Self>) {
        if self.dialing.swap(true, Ordering::AcqRel) {
            self.dial_wanted.notify_one();
            return;
        }
        let dialing = Dialing(Arc::downgrade(self));
        tokio::spawn(dialing.run(Arc::clone(&self.dial_wanted)));
    }

    /// Fails every waiting call with a permanent error.
    fn fail_waiting(&self, error: DialError) {
        let mut state = self.state();
        state.permanent = Some(error);
        state.permanents += 1;
        drop(state);
        self.changed.notify_waiters();
    }

    fn dial_failed(&self, error: &DialError) {
        let first = self.state().addresses.failed(&error.address, &error.message, Duration::ZERO);
        let (log, address, reason) = (&self.options.log, &error.address, &error.message);
        if first {
            log!(log, warn, "dial failed", address = address, reason = reason);
        } else {
            log!(log, debug, "dial failed again", address = address, reason = reason);
        }
    }

    fn dial_options(self: &Arc<Self>, address: Arc<str>) -> Dial {
        let (router, of_session) = (Arc::downgrade(self), Arc::downgrade(self));
        Dial {
            generation: self.generations.fetch_add(1, Ordering::Relaxed),
            ensemble: self.state().histories.ensemble().cloned(),
            session: Box::new(move || {
                Weak::upgrade(&of_session).map_or(0, |router| router.history().sessions.id())
            }),
            on_view: Box::new(move |generation| {
                if let Some(router) = Weak::upgrade(&router) {
                    router.view_received(generation);
                }
            }),
            ..self.detached_dial(address)
        }
    }

    /// The options of a connection that knows no router, no ensemble and no session.
    fn detached_dial(&self, address: Arc<str>) -> Dial {
        Dial {
            address,
            generation: 0,
            name: Arc::clone(&self.options.name),
            ensemble: None,
            session: Box::new(|| 0),
            timeout: self.options.connect_timeout,
            keepalive: self.options.keepalive,
            log: self.options.log.clone(),
            on_view: Box::new(|_| {}),
        }
    }

    /// Opens a connection to `address` that is independent of the one in use.
    pub(crate) async fn dial_once(&self, address: &str) -> Result<Connection, DialError> {
        connection::dial(self.detached_dial(address.into())).await
    }

    /// Makes a connection the one in use. Requests in flight on the previous one are answered there, unless the history has
    /// changed: then every earlier connection is closed.
    ///
    /// # Errors
    /// The node belongs to another ensemble, or to an older history than the one in use by now.
    fn install(self: &Arc<Self>, connection: Connection) -> Result<(), DialError> {
        let connection = Arc::new(connection);
        {
            let mut state = self.state();
            if state.closed {
                connection.close(CLOSED);
                return Ok(());
            }
            let (address, leads) = (&connection.address, connection.is_leader());
            let log = &self.options.log;
            let adopted = state.histories.adopt(connection.ensemble.as_ref());
            if adopted.map_err(|refusal| DialError::unsuitable(address, refusal))? {
                let history = state.histories.ensemble().map_or(0, |ensemble| ensemble.history);
                log!(log, warn, "history changed", address = address, history = history);
                state.drop_current(Instant::now());
                for earlier in std::mem::take(&mut state.open).iter().filter_map(Weak::upgrade) {
                    earlier.close("the history of the ensemble has changed");
                }
            }
            let moved = state.current.as_ref().is_some_and(|current| current.closed().is_none());
            if moved {
                log!(log, debug, "moved to the leader", address = address);
            } else if !state.connected {
                log!(log, debug, "connected", address = address, leads = leads);
            } else {
                self.counts.reconnects.fetch_add(1, Ordering::Relaxed);
                log!(log, info, "connected again", address = address, leads = leads);
            }
            state.open.retain(|earlier| earlier.strong_count() > 0);
            state.open.push(Arc::downgrade(&connection));
            state.connected = true;
            state.current = Some(Arc::clone(&connection));
            // Once it is in use: a View in between is either read here or by `view_received`.
            state.addresses.apply(&connection.view());
        }
        self.changed.notify_waiters();
        if connection.is_leader() {
            self.leader_known.notify_waiters();
        }
        self.follow_leader();
        Ok(())
    }

    /// Takes over a new View of the connection of that generation.
    fn view_received(self: &Arc<Self>, generation: u64) {
        {
            let mut state = self.state();
            let Some(connection) = state.current.as_ref().filter(|current| current.generation == generation)
            else {
                return;
            };
            let view = connection.view();
            let log = &self.options.log;
            log!(log, debug, "view changed", address = connection.address, leader = view.leader);
            state.addresses.apply(&view);
            if state.addresses.leader().is_some() {
                self.leader_known.notify_waiters();
            }
        }
        self.follow_leader();
    }

    /// The leader's address and the end of its backoff, if another node than the one in use leads.
    fn other_leader(&self) -> Option<(Arc<str>, Option<Instant>)> {
        let state = self.state();
        // A node may be known under several addresses, so its own role is checked as well.
        let current = state.current.as_ref().filter(|current| !current.is_leader())?;
        state.addresses.other_leader(&current.address)
    }

    /// Moves to the leader, if the node in use names another one, while calls go on.
    fn follow_leader(self: &Arc<Self>) {
        if self.other_leader().is_none() || self.moving.swap(true, Ordering::AcqRel) {
            return;
        }
        let moving = Moving(Arc::downgrade(self));
        tokio::spawn(async move {
            let mut backoff = retry::Backoff::default();
            for _ in 0..MOVES_MAX {
                // Not held while pausing, so that dropping the last client ends this task.
                let Some(router) = moving.0.upgrade() else { return };
                let Some((leader, backoff_until)) = router.other_leader() else {
                    drop(moving);
                    // For a View that arrived before `moving` was reset.
                    return router.follow_leader();
                };
                if let Some(until) = backoff_until {
                    drop(router);
                    tokio::time::sleep_until(until).await;
                    continue;
                }
                let log = router.options.log.clone();
                match connection::dial(router.dial_options(leader)).await {
                    Ok(connection) if connection.is_leader() => match router.install(connection) {
                        Ok(()) => continue,
                        Err(error) => log!(log, debug, "moving to the leader failed", reason = error),
                    },
                    Ok(connection) => log!(log, debug, "does not lead yet", address = connection.address),
                    Err(error) => log!(log, debug, "moving to the leader failed", reason = error),
                }
                drop(router);
                tokio::time::sleep(backoff.pause()).await;
            }
        });
    }

    /// Replaces `connection`, which cannot serve for now, if another node can be dialed; `leader` first, if it is named.
    pub(crate) fn fail_over(&self, connection: &Connection, reason: &str, leader: &str) {
        self.replace(connection, reason, leader, Duration::ZERO);
    }

    /// Replaces `connection` if it has not answered for the keepalive interval. For a call that waited on it since
    /// `since` and has ended without a response.
    pub(crate) fn unanswered(&self, connection: &Connection, since: Instant) {
        let time = connection.unanswered_for(since);
        if time >= self.options.keepalive.interval {
            self.replace(connection, &format!("no answer for {time:.1?}"), "", REDIAL_MAX);
        }
    }

    fn replace(&self, connection: &Connection, reason: &str, leader: &str, backoff_min: Duration) {
        let mut state = self.state();
        if state.current.as_ref().is_none_or(|current| current.generation != connection.generation) {
            return;
        }
        let address = &connection.address;
        state.addresses.failed(address, reason, backoff_min);
        if *leader != **address {
            state.addresses.set_leader(leader);
        }
        // Without an alternative, the open connection stays in use.
        if state.addresses.has_alternative(address) {
            state.drop_current(Instant::now());
            log!(self.options.log, debug, "trying another node", address = address, reason = reason);
        }
    }

    /// Records that `connection` has answered a request.
    pub(crate) fn served(&self, connection: &Connection) {
        if !connection.has_served.swap(true, Ordering::Relaxed) {
            self.state().addresses.served(&connection.address);
        }
    }

    /// Sleeps for `pause`, or until a leader becomes known.
    pub(crate) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.leader_known.notified() => {}
        }
    }

    /// Closes the router and every connection, which fails their calls. Returns the connection that was in use, if it is
    /// open, for a final request.
    pub(crate) fn close(&self) -> Option<Arc<Connection>> {
        let (current, open) = {
            let mut state = self.state();
            state.closed = true;
            (state.current.take(), std::mem::take(&mut state.open))
        };
        let last = current.filter(|connection| connection.closed().is_none());
        for connection in open.iter().filter_map(Weak::upgrade) {
            connection.close(CLOSED);
        }
        self.changed.notify_waiters();
        self.dial_wanted.notify_one();
        self.leader_known.notify_waiters();
        last
    }

    /// # Errors
    /// The router was closed.
    pub(crate) fn check_open(&self) -> Result<(), DialError> {
        if !self.state().closed {
            return Ok(());
        }
        Err(DialError::of_client(ErrorKind::Closed, CLOSED))
    }

    /// See [`Addresses::failures_since`].
    pub(crate) fn failures_since(&self, begun: Instant) -> String {
        self.state().addresses.failures_since(begun)
    }

    /// The leader's address, empty if it is not known.
    pub(crate) fn leader(&self) -> String {
        self.state().addresses.leader().map(|leader| leader.to_string()).unwrap_or_default()
    }
}

/// A call that waits for a connection.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The dialing task. If its runtime is shut down, calls on another runtime start it again.
struct Dialing(Weak<Router>);

impl Dialing {
    /// Dials until there is a connection, or no call waits for one and no dial is under way.
    async fn run(self, dial_wanted: Arc<Notify>) {
        let mut dials: JoinSet<Result<Connection, DialError>> = JoinSet::new();
        let mut failures = Failures::default();
        let mut next_dial = Instant::now();
        loop {
            let wake = {
                // Not held while waiting, so that dropping the last client ends this task.
                let Some(router) = self.0.upgrade() else { return };
                // A move to the leader may have made a connection meanwhile.
                if router.check_open().is_err() || router.usable().is_some() {
                    return;
                }
                let needed = router.waiting.load(Ordering::Acquire) > 0;
                if !needed && dials.is_empty() {
                    return;
                }
                let now = Instant::now();
                if !needed || dials.len() >= DIALS_MAX {
                    None
                } else if now < next_dial {
                    Some(next_dial)
                } else {
                    // In a statement of its own, so that the lock is not held below.
                    let next = router.state().addresses.next();
                    match next {
                        Ok(address) => {
                            dials.spawn(connection::dial(router.dial_options(address)));
                            next_dial = now + STAGGER;
                            Some(next_dial)
                        }
                        Err(earliest) => {
                            let candidates = router.state().addresses.candidates();
                            if dials.is_empty()
                                && let Some(error) = failures.take_permanent(&candidates)
                            {
                                router.fail_waiting(error);
                            }
                            Some(earliest)
                        }
                    }
                }
            };
            let due = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            let joined = tokio::select! {
                Some(joined) = dials.join_next() => joined,
                () = due => continue,
                () = dial_wanted.notified() => continue,
            };
            let Some(router) = self.0.upgrade() else { return };
            // A dial that cannot be joined was stopped by a runtime that is shutting down, which stops this task, too.
            let Ok(result) = joined else { continue };
            let address = match &result {
                Ok(connection) => &connection.address,
                Err(error) => &error.address,
            };
            router.state().addresses.dialed(address);
            match result.and_then(|connection| router.install(connection)) {
                Ok(()) => return,
                Err(error) => {
                    router.dial_failed(&error);
                    next_dial = Instant::now();
                    failures.record(error);
                }
            }
        }
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        if let Some(router) = self.0.upgrade() {
            router.state().addresses.dials_stopped();
            router.dialing.store(false, Ordering::Release);
            // Calls that began to wait meanwhile start the task again.
            router.changed.notify_waiters();
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.dial_wanted.notify_one();
    }
}

/// Resets [`Router::moving`] however the task ends, even if the runtime is shut down.
struct Moving(Weak<Router>);

impl Drop for Moving {
    fn drop(&mut self) {
        if let Some(router) = self.0.upgrade() {
            router.moving.store(false, Ordering::Release);
        }
    }
}
