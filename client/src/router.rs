//! Which node to talk to: addresses, the leader's hint, health, dialing.
//!
//! One connection is in use at a time. When there is none, the first call that needs one dials and the others
//! wait for it; candidates are the leader, then the members that the nodes have named and the seed list, those
//! first that were not tried for longest. The next candidate is dialed when one fails or takes long, so that a
//! host that is off costs little. Each address has its own back-off.
//!
//! When the node in use names another as the leader, a task of its own dials that one and swaps connections once
//! the leader has said that it leads: calls go on meanwhile through the follower, which forwards them.
//!
//! A *pinned* router uses only the seeds, in their order, and follows no hint.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gometa_proto::{
    ErrorKind,
    limits::MEMBERS_MAX,
    v1::{EnsembleRef, View},
};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

use crate::{
    call::Counts,
    connection::{self, Connection, Dial, DialError},
    peers, retry,
};

/// First pause before an address that failed is dialed again.
const REST_MIN: Duration = Duration::from_millis(20);
/// Longest pause before an address that failed is dialed again.
const REST_MAX: Duration = Duration::from_millis(500);
/// A dial that takes longer is joined by a dial of the next candidate.
const STAGGER: Duration = Duration::from_millis(250);
/// Dials at a time.
const DIALS_MAX: usize = 4;
/// How often a hinted leader is dialed before the next hint is waited for.
const MOVES_MAX: u32 = 8;
/// Why a call on a closed client fails.
const CLOSED: &str = "the client is closed";
/// Addresses whose failures are remembered.
const HEALTH_MAX: usize = 4 * MEMBERS_MAX;

/// What a router is told when it is built.
pub(crate) struct Options {
    pub(crate) seeds: Vec<Arc<str>>,
    pub(crate) name: Arc<str>,
    pub(crate) connect_timeout: Duration,
    pub(crate) quiet_max: Duration,
    pub(crate) silence_max: Duration,
    pub(crate) pinned: bool,
}

/// See the module.
pub(crate) struct Router {
    options: Options,
    session: Arc<AtomicU64>,
    counts: Arc<Counts>,
    state: Mutex<State>,
    /// Held by the call that dials.
    dialing: tokio::sync::Mutex<()>,
    generations: AtomicU64,
    /// A leader became known, or a connection to one: worth trying again at once.
    hope: Notify,
    /// The router was closed.
    closing: Notify,
    moving: AtomicBool,
}

#[derive(Default)]
struct State {
    /// For good: nothing is dialed or put to use any more.
    closed: bool,
    current: Option<Arc<Connection>>,
    /// All that were put to use and still stand, for calls wait on those before the current one too.
    installed: Vec<Weak<Connection>>,
    ensemble: Option<EnsembleRef>,
    leader: Option<Arc<str>>,
    /// The members' request addresses; at most `MEMBERS_MAX`.
    members: Vec<Arc<str>>,
    health: HashMap<Arc<str>, Health>,
    tries: u64,
    connected_before: bool,
}

#[derive(Default)]
struct Health {
    /// Failures in a row.
    failures: u32,
    /// Not to be dialed before.
    rest_until: Option<Instant>,
    /// Number of the latest try, 0 for none.
    tried: u64,
    /// Of the latest failure; empty if all is well.
    reason: String,
}

impl State {
    fn rested(&self, address: &str, now: Instant) -> bool {
        self.health.get(address).and_then(|health| health.rest_until).is_none_or(|until| until <= now)
    }

    fn penalise(&mut self, address: &Arc<str>, reason: &str) {
        if self.health.len() >= HEALTH_MAX && !self.health.contains_key(address) {
            self.health.clear();
        }
        let health = self.health.entry(Arc::clone(address)).or_default();
        let rest = REST_MIN.saturating_mul(1 << health.failures.min(8)).min(REST_MAX);
        health.failures = health.failures.saturating_add(1);
        health.rest_until = Some(Instant::now() + retry::jitter(rest));
        health.reason = reason.to_owned();
        if self.leader.as_ref() == Some(address) {
            self.leader = None;
        }
    }

    fn adopt(&mut self, view: &View) {
        let plausible = |address: &&str| peers::is_plausible(address);
        let members = view.members.iter().map(|member| member.request_address.as_str());
        let members: Vec<Arc<str>> = members.filter(plausible).take(MEMBERS_MAX).map(Arc::from).collect();
        if !members.is_empty() {
            self.members = members;
        }
        self.leader = Some(view.leader.as_str()).filter(plausible).map(Arc::from);
    }
}

impl Router {
    pub(crate) fn new(options: Options, session: Arc<AtomicU64>, counts: Arc<Counts>) -> Self {
        Self {
            options,
            session,
            counts,
            state: Mutex::default(),
            dialing: tokio::sync::Mutex::default(),
            generations: AtomicU64::new(1),
            hope: Notify::new(),
            closing: Notify::new(),
            moving: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection in use; dials until there is one.
    ///
    /// # Errors
    /// Only what trying again will not mend, and only when no other node can be had.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, DialError> {
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        let _dialing = self.dialing.lock().await;
        self.dial_any().await
    }

    /// The connection in use, unless it has ended.
    fn usable(&self) -> Option<Arc<Connection>> {
        let mut state = self.state();
        let connection = state.current.as_ref()?;
        let Some(reason) = connection.closed() else {
            return Some(Arc::clone(connection));
        };
        let address = Arc::clone(&connection.address);
        state.current = None;
        state.penalise(&address, &reason);
        None
    }

    /// Addresses in the order in which to dial them.
    fn candidates(&self, state: &State) -> Vec<Arc<str>> {
        if self.options.pinned {
            return self.options.seeds.clone();
        }
        let mut seen = HashSet::new();
        let mut known: Vec<Arc<str>> = state.members.iter().chain(&self.options.seeds).cloned().collect();
        known.sort_by_key(|address| state.health.get(address).map_or(0, |health| health.tried));
        state.leader.iter().cloned().chain(known).filter(|address| seen.insert(Arc::clone(address))).collect()
    }

    /// The next address to dial; or when there will be one, if all others rest.
    fn next_candidate(&self, dialed: &HashSet<Arc<str>>) -> Result<Arc<str>, Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let mut candidates = self.candidates(&state);
        candidates.retain(|address| !dialed.contains(address));
        if let Some(address) = candidates.iter().find(|address| state.rested(address, now)) {
            state.tries += 1;
            let tried = state.tries;
            state.health.entry(Arc::clone(address)).or_default().tried = tried;
            return Ok(Arc::clone(address));
        }
        let earliest = candidates.iter().filter_map(|address| state.health.get(address)?.rest_until).min();
        Err(earliest.unwrap_or(now + REST_MAX))
    }

    async fn dial_any(self: &Arc<Self>) -> Result<Arc<Connection>, DialError> {
        let mut lasting: Option<DialError> = None;
        let mut dials: JoinSet<Result<Connection, DialError>> = JoinSet::new();
        let mut dialed: HashSet<Arc<str>> = HashSet::new();
        let mut failed: HashSet<Arc<str>> = HashSet::new();
        loop {
            let mut closing = pin!(self.closing.notified());
            closing.as_mut().enable();
            self.check_open()?;
            // Another call, or a move to the leader, may have brought a connection meanwhile.
            if let Some(connection) = self.usable() {
                return Ok(connection);
            }
            let mut wake = Instant::now() + STAGGER;
            if dials.len() < DIALS_MAX {
                match self.next_candidate(&dialed) {
                    Ok(address) => {
                        dialed.insert(Arc::clone(&address));
                        dials.spawn(connection::dial(self.dial_options(address)));
                    }
                    Err(earliest) => {
                        // A lasting refusal is the answer once everybody has had a turn.
                        let all =
                            || self.candidates(&self.state()).iter().all(|known| failed.contains(known));
                        if let Some(error) = lasting.take_if(|_| dials.is_empty() && all()) {
                            return Err(error);
                        }
                        wake = earliest;
                    }
                }
            }
            tokio::select! {
                Some(joined) = dials.join_next() => match joined {
                    Ok(Ok(connection)) => {
                        dialed.remove(&connection.address);
                        return Ok(self.install(connection));
                    }
                    Ok(Err(error)) => {
                        dialed.remove(&error.address);
                        self.dial_failed(&error);
                        failed.insert(Arc::clone(&error.address));
                        if error.lasting {
                            lasting = Some(error);
                        }
                    }
                    // A runtime that is shutting down: this future ends with it.
                    Err(_) => {}
                },
                () = tokio::time::sleep_until(wake) => {}
                () = closing => {}
            }
        }
    }

    fn dial_failed(&self, error: &DialError) {
        let mut state = self.state();
        let first = state.health.get(&error.address).is_none_or(|health| health.failures == 0);
        state.penalise(&error.address, &error.message);
        drop(state);
        // Said aloud once until it serves again, not at every attempt.
        if first {
            tracing::warn!(address = %error.address, reason = error.message, "dial failed");
        } else {
            tracing::debug!(address = %error.address, reason = error.message, "dial failed again");
        }
    }

    fn dial_options(self: &Arc<Self>, address: Arc<str>) -> Dial {
        let router = Arc::downgrade(self);
        Dial {
            address,
            generation: self.generations.fetch_add(1, Ordering::Relaxed),
            name: Arc::clone(&self.options.name),
            ensemble: self.state().ensemble.clone(),
            session: Arc::clone(&self.session),
            timeout: self.options.connect_timeout,
            quiet_max: self.options.quiet_max,
            silence_max: self.options.silence_max,
            on_view: Box::new(move |generation| {
                if let Some(router) = Weak::upgrade(&router) {
                    router.viewed(generation);
                }
            }),
        }
    }

    /// A connection to `address` that is not put to use, and knows no ensemble and no session.
    pub(crate) async fn dial_once(&self, address: &str) -> Result<Connection, DialError> {
        connection::dial(Dial {
            address: address.into(),
            generation: 0,
            name: Arc::clone(&self.options.name),
            ensemble: None,
            session: Arc::default(),
            timeout: self.options.connect_timeout,
            quiet_max: self.options.quiet_max,
            silence_max: self.options.silence_max,
            on_view: Box::new(|_| {}),
        })
        .await
    }

    /// Puts a connection to use. What is in flight on the one before is answered there.
    fn install(self: &Arc<Self>, connection: Connection) -> Arc<Connection> {
        let connection = Arc::new(connection);
        {
            let mut state = self.state();
            if state.closed {
                // Nothing is asked on it: a call that was waiting for it finds it closed, and then the router.
                connection.close(CLOSED);
                return connection;
            }
            let (address, leads) = (&connection.address, connection.is_leader());
            if std::mem::replace(&mut state.connected_before, true) {
                self.counts.reconnects.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%address, leads, "connected again");
            } else {
                tracing::debug!(%address, leads, "connected");
            }
            if state.ensemble.is_none() {
                state.ensemble.clone_from(&connection.ensemble);
            }
            state.installed.retain(|earlier| earlier.strong_count() > 0);
            state.installed.push(Arc::downgrade(&connection));
            state.current = Some(Arc::clone(&connection));
            // After it is in use: a View in between is either in here or comes by `viewed`.
            state.adopt(&connection.view());
        }
        if connection.is_leader() {
            self.hope.notify_waiters();
        }
        self.follow_leader();
        connection
    }

    /// The connection of that generation has a new View.
    fn viewed(self: &Arc<Self>, generation: u64) {
        {
            let mut state = self.state();
            let Some(connection) = state.current.as_ref().filter(|current| current.generation == generation)
            else {
                return;
            };
            let view = connection.view();
            tracing::debug!(address = %connection.address, leader = view.leader, "view changed");
            state.adopt(&view);
            if state.leader.is_some() {
                self.hope.notify_waiters();
            }
        }
        self.follow_leader();
    }

    /// The leader's address, if it is another than the one in use.
    fn elsewhere(&self) -> Option<Arc<str>> {
        let state = self.state();
        let leader = state.leader.as_ref()?;
        let current = state.current.as_ref()?;
        // A node may be known under several addresses; what it says of itself counts.
        (!self.options.pinned && *leader != current.address && !current.is_leader())
            .then(|| Arc::clone(leader))
    }

    /// Moves to the leader beside the running calls, if the node in use names one.
    fn follow_leader(self: &Arc<Self>) {
        if self.elsewhere().is_none() || self.moving.swap(true, Ordering::AcqRel) {
            return;
        }
        let moving = Moving(Arc::downgrade(self));
        tokio::spawn(async move {
            let mut backoff = retry::Backoff::default();
            for _ in 0..MOVES_MAX {
                // Not held while pausing, so that dropping the last client ends this.
                let Some(router) = moving.0.upgrade() else { return };
                let Some(leader) = router.elsewhere() else {
                    drop(moving);
                    // A hint that came while this was ending found it still running.
                    return router.follow_leader();
                };
                match connection::dial(router.dial_options(leader)).await {
                    Ok(connection) if connection.is_leader() => {
                        router.install(connection);
                        continue;
                    }
                    Ok(connection) => tracing::debug!(address = %connection.address, "does not lead yet"),
                    Err(error) => tracing::debug!(%error, "moving to the leader failed"),
                }
                drop(router);
                tokio::time::sleep(backoff.pause()).await;
            }
        });
    }

    /// `connection` cannot serve for now: use another if one is ready, and `leader` first if it is named.
    pub(crate) fn leave(&self, connection: &Connection, reason: &str, leader: &str) {
        let mut state = self.state();
        if state.current.as_ref().is_none_or(|current| current.generation != connection.generation) {
            return;
        }
        state.penalise(&connection.address, reason);
        if !self.options.pinned && peers::is_plausible(leader) && *leader != *connection.address {
            state.leader = Some(leader.into());
        }
        let now = Instant::now();
        let other = |address: &Arc<str>| *address != connection.address && state.rested(address, now);
        // With nobody else to turn to, a connection that stands is better than none.
        if self.candidates(&state).iter().any(other) {
            state.current = None;
        }
    }

    /// `connection` has answered: what was held against its address is forgotten.
    pub(crate) fn served(&self, connection: &Connection) {
        if !connection.proven.swap(true, Ordering::Relaxed)
            && let Some(health) = self.state().health.get_mut(&connection.address)
        {
            health.failures = 0;
            health.rest_until = None;
            health.reason.clear();
        }
    }

    /// Sleeps; less, if a leader becomes known.
    pub(crate) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.hope.notified() => {}
        }
    }

    /// Ends every connection that calls wait on, with these calls; from now on there is none.
    pub(crate) fn close(&self) {
        let (current, installed) = {
            let mut state = self.state();
            state.closed = true;
            state.leader = None;
            (state.current.take(), std::mem::take(&mut state.installed))
        };
        for connection in installed.iter().filter_map(Weak::upgrade) {
            connection.close(CLOSED);
        }
        drop(current);
        self.closing.notify_waiters();
        self.hope.notify_waiters();
    }

    /// # Errors
    /// The router was closed.
    pub(crate) fn check_open(&self) -> Result<(), DialError> {
        if !self.state().closed {
            return Ok(());
        }
        Err(DialError {
            address: "".into(),
            kind: ErrorKind::Closed,
            message: CLOSED.to_owned(),
            lasting: true,
        })
    }

    /// What is held against the nodes, for people: "a: connection refused; b: …". Empty if nothing is.
    pub(crate) fn complaints(&self) -> String {
        let state = self.state();
        let complaints: Vec<String> = self
            .candidates(&state)
            .iter()
            .filter_map(|address| {
                let reason = &state.health.get(address)?.reason;
                (!reason.is_empty()).then(|| format!("{address}: {reason}"))
            })
            .take(5)
            .collect();
        complaints.join("; ")
    }

    /// The leader's address as last heard, empty if unknown.
    pub(crate) fn leader(&self) -> String {
        self.state().leader.as_deref().unwrap_or_default().to_owned()
    }
}

/// Ends a move, also when the runtime is shut down under it.
struct Moving(Weak<Router>);

impl Drop for Moving {
    fn drop(&mut self) {
        if let Some(router) = self.0.upgrade() {
            router.moving.store(false, Ordering::Release);
        }
    }
}
