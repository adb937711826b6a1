//! Which node to talk to: addresses, the leader's hint, health, dialing.
//!
//! One connection is in use at a time. When there is none, calls wait, and a task of the router's own dials for them,
//! so that a dial outlives the call that it began for: calls that are shorter than a handshake find the connection that
//! an earlier one has begun. The task dials new addresses only while calls wait. Candidates are the leader, then the
//! members that the nodes have named and the seed list, those first that were not tried for longest. The next candidate
//! is dialed when one fails or takes long, so that a host that is off costs little. Each address has its own back-off.
//!
//! A node that lets a call's deadline pass, and has owed an answer for the keepalive interval or longer by then, is left as one
//! that says that it cannot serve: it rests, and the next call goes to another if there is one.
//!
//! When the node in use names another as the leader, a task of its own dials that one and swaps connections once
//! the leader has said that it leads: calls go on meanwhile through the follower, which forwards them. An address that
//! rests is not moved to.
//!
//! A *pinned* router uses only the seeds, in their order, and follows no hint.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
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
    connection::{self, Closed, Connection, Dial, DialError, Keepalive},
    log::{Log, log},
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

/// A router's settings.
pub(crate) struct Options {
    pub(crate) seeds: Vec<Arc<str>>,
    pub(crate) name: Arc<str>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keepalive: Keepalive,
    pub(crate) pinned: bool,
    pub(crate) log: Log,
}

/// See the module.
pub(crate) struct Router {
    options: Options,
    session: Arc<AtomicU64>,
    counts: Arc<Counts>,
    state: Mutex<State>,
    /// The dialing task runs.
    dialing: AtomicBool,
    /// Wakes the dialing task: a call waits, or the router is gone.
    wanted: Arc<Notify>,
    /// Calls that wait for a connection.
    waiting: AtomicUsize,
    /// Wakes calls that wait: there is a connection or a lasting refusal, the dialing task has ended, or the router was
    /// closed.
    news: Notify,
    generations: AtomicU64,
    /// A leader became known, or a connection to one: worth trying again at once.
    hope: Notify,
    moving: AtomicBool,
}

#[derive(Default)]
struct State {
    /// For good: nothing is dialed or put to use any more.
    closed: bool,
    current: Option<Arc<Connection>>,
    /// All that were put to use and still stand, for calls wait on those before the current one too.
    installed: Vec<Weak<Connection>>,
    /// There was one.
    connected: bool,
    /// When the connection in use was lost or left, if there was one.
    lost: Option<Instant>,
    /// Addresses that are being dialed, and since when; at most `DIALS_MAX`.
    dialed: Vec<(Arc<str>, Instant)>,
    /// The latest lasting refusal that was the answer to every waiting call, and how many there were.
    refusal: Option<DialError>,
    refusals: u64,
    ensemble: Option<EnsembleRef>,
    leader: Option<Arc<str>>,
    /// The members' request addresses; at most `MEMBERS_MAX`.
    members: Vec<Arc<str>>,
    health: HashMap<Arc<str>, Health>,
    tries: u64,
}

#[derive(Default)]
struct Health {
    /// Failures in a row.
    failures: u32,
    /// Not to be dialed before.
    rest_until: Option<Instant>,
    /// Number of the latest try, 0 for none.
    tried: u64,
    /// The latest failure and when it happened; none since the address last served.
    failure: Option<(String, Instant)>,
}

impl State {
    fn rested(&self, address: &str, now: Instant) -> bool {
        self.health.get(address).and_then(|health| health.rest_until).is_none_or(|until| until <= now)
    }

    /// Has an address rest, for at least `rest_min`.
    fn penalise(&mut self, address: &Arc<str>, reason: &str, rest_min: Duration) {
        if self.health.len() >= HEALTH_MAX && !self.health.contains_key(address) {
            self.health.clear();
        }
        let health = self.health.entry(Arc::clone(address)).or_default();
        let rest = REST_MIN.saturating_mul(1 << health.failures.min(8)).min(REST_MAX);
        health.failures = health.failures.saturating_add(1);
        let now = Instant::now();
        health.rest_until = Some(now + retry::jitter(rest).max(rest_min));
        health.failure = Some((reason.to_owned(), now));
        if self.leader.as_ref() == Some(address) {
            self.leader = None;
        }
    }

    /// The connection in use has ended, or is in use no longer.
    fn lose(&mut self, at: Instant) {
        self.current = None;
        self.lost = self.lost.max(Some(at));
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
            dialing: AtomicBool::new(false),
            wanted: Arc::default(),
            waiting: AtomicUsize::new(0),
            news: Notify::new(),
            generations: AtomicU64::new(1),
            hope: Notify::new(),
            moving: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection in use; waits until there is one.
    ///
    /// # Errors
    /// Only what trying again will not mend, and only when no other node can be had.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, DialError> {
        let refusals = self.state().refusals;
        loop {
            let mut news = pin!(self.news.notified());
            news.as_mut().enable();
            self.check_open()?;
            if let Some(connection) = self.usable() {
                return Ok(connection);
            }
            {
                let state = self.state();
                if let Some(error) = state.refusal.as_ref().filter(|_| state.refusals != refusals) {
                    return Err(error.clone());
                }
            }
            let _waiting = Waiting::new(&self.waiting);
            self.dial();
            news.await;
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
        state.lose(at);
        state.penalise(&address, &reason, Duration::ZERO);
        None
    }

    /// Whether there was a connection at any time since `begun`.
    pub(crate) fn connected_since(&self, begun: Instant) -> bool {
        let state = self.state();
        let stands = state.current.as_ref().map(|current| current.closed());
        match stands {
            Some(None) => true,
            Some(Some(closed)) => closed.at >= begun,
            None => state.lost.is_some_and(|lost| lost >= begun),
        }
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
    fn next_candidate(&self) -> Result<Arc<str>, Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let mut candidates = self.candidates(&state);
        candidates.retain(|address| !state.dialed.iter().any(|(dialed, _)| dialed == address));
        if let Some(address) = candidates.iter().find(|address| state.rested(address, now)) {
            state.tries += 1;
            let tried = state.tries;
            state.health.entry(Arc::clone(address)).or_default().tried = tried;
            state.dialed.push((Arc::clone(address), now));
            return Ok(Arc::clone(address));
        }
        let earliest = candidates.iter().filter_map(|address| state.health.get(address)?.rest_until).min();
        Err(earliest.unwrap_or(now + REST_MAX))
    }

    /// Has the dialing task look for a connection; starts it if it does not run.
    fn dial(self: &Arc<Self>) {
        if self.dialing.swap(true, Ordering::AcqRel) {
            self.wanted.notify_one();
            return;
        }
        let dialing = Dialing(Arc::downgrade(self));
        tokio::spawn(dialing.run(Arc::clone(&self.wanted)));
    }

    /// The answer to every call that waits: trying again will not help.
    fn refuse(&self, error: DialError) {
        let mut state = self.state();
        state.refusal = Some(error);
        state.refusals += 1;
        drop(state);
        self.news.notify_waiters();
    }

    fn dial_failed(&self, error: &DialError) {
        let mut state = self.state();
        let first = state.health.get(&error.address).is_none_or(|health| health.failures == 0);
        state.penalise(&error.address, &error.message, Duration::ZERO);
        drop(state);
        // At level warn once until it serves again, not at every attempt.
        if first {
            log!(self.options.log, warn, "dial failed", address = error.address, reason = error.message);
        } else {
            log!(
                self.options.log,
                debug,
                "dial failed again",
                address = error.address,
                reason = error.message
            );
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
            keepalive: self.options.keepalive,
            log: self.options.log.clone(),
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
            keepalive: self.options.keepalive,
            log: self.options.log.clone(),
            on_view: Box::new(|_| {}),
        })
        .await
    }

    /// Puts a connection to use. What is in flight on the one before is answered there.
    fn install(self: &Arc<Self>, connection: Connection) {
        let connection = Arc::new(connection);
        {
            let mut state = self.state();
            if state.closed {
                // Nothing is asked on it: a call that was waiting for it finds the router closed.
                connection.close(CLOSED);
                return;
            }
            let (address, leads) = (&connection.address, connection.is_leader());
            let log = &self.options.log;
            let moved = state.current.as_ref().is_some_and(|current| current.closed().is_none());
            if moved {
                log!(log, debug, "moved to the leader", address = address);
            } else if !state.connected {
                log!(log, debug, "connected", address = address, leads = leads);
            } else {
                self.counts.reconnects.fetch_add(1, Ordering::Relaxed);
                log!(log, info, "connected again", address = address, leads = leads);
            }
            if state.ensemble.is_none() {
                state.ensemble.clone_from(&connection.ensemble);
            }
            state.installed.retain(|earlier| earlier.strong_count() > 0);
            state.installed.push(Arc::downgrade(&connection));
            state.connected = true;
            state.current = Some(Arc::clone(&connection));
            // After it is in use: a View in between is either in here or comes by `viewed`.
            state.adopt(&connection.view());
        }
        self.news.notify_waiters();
        if connection.is_leader() {
            self.hope.notify_waiters();
        }
        self.follow_leader();
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
            let log = &self.options.log;
            log!(log, debug, "view changed", address = connection.address, leader = view.leader);
            state.adopt(&view);
            if state.leader.is_some() {
                self.hope.notify_waiters();
            }
        }
        self.follow_leader();
    }

    /// The leader's address, if it is another than the one in use, and when it may be dialed.
    fn elsewhere(&self) -> Option<(Arc<str>, Option<Instant>)> {
        let state = self.state();
        let leader = state.leader.as_ref()?;
        let current = state.current.as_ref()?;
        // A node may be known under several addresses; what it says of itself counts.
        (!self.options.pinned && *leader != current.address && !current.is_leader()).then(|| {
            let rest_until = state.health.get(leader).and_then(|health| health.rest_until);
            (Arc::clone(leader), rest_until.filter(|until| *until > Instant::now()))
        })
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
                let Some((leader, rest_until)) = router.elsewhere() else {
                    drop(moving);
                    // A hint that came while this was ending found it still running.
                    return router.follow_leader();
                };
                if let Some(until) = rest_until {
                    drop(router);
                    tokio::time::sleep_until(until).await;
                    continue;
                }
                let log = router.options.log.clone();
                match connection::dial(router.dial_options(leader)).await {
                    Ok(connection) if connection.is_leader() => {
                        router.install(connection);
                        continue;
                    }
                    Ok(connection) => log!(log, debug, "does not lead yet", address = connection.address),
                    Err(error) => log!(log, debug, "moving to the leader failed", reason = error),
                }
                drop(router);
                tokio::time::sleep(backoff.pause()).await;
            }
        });
    }

    /// `connection` cannot serve for now: use another if one is ready, and `leader` first if it is named.
    pub(crate) fn leave(&self, connection: &Connection, reason: &str, leader: &str) {
        self.leave_for(connection, reason, leader, Duration::ZERO);
    }

    /// A call that asked on `connection` at `since` waits no longer: too late, or given up.
    pub(crate) fn unanswered(&self, connection: &Connection, since: Instant) {
        let owed = connection.unanswered_for(since);
        if owed >= self.options.keepalive.interval {
            self.leave_for(connection, &format!("no answer for {owed:.1?}"), "", REST_MAX);
        }
    }

    fn leave_for(&self, connection: &Connection, reason: &str, leader: &str, rest_min: Duration) {
        let mut state = self.state();
        if state.current.as_ref().is_none_or(|current| current.generation != connection.generation) {
            return;
        }
        state.penalise(&connection.address, reason, rest_min);
        if !self.options.pinned && peers::is_plausible(leader) && *leader != *connection.address {
            state.leader = Some(leader.into());
        }
        let now = Instant::now();
        let other = |address: &Arc<str>| *address != connection.address && state.rested(address, now);
        // With no other to turn to, a connection that stands is better than none.
        if self.candidates(&state).iter().any(other) {
            state.lose(now);
            let log = &self.options.log;
            log!(log, debug, "node left", address = connection.address, reason = reason);
        }
    }

    /// `connection` has answered: what was held against its address is forgotten.
    pub(crate) fn served(&self, connection: &Connection) {
        if !connection.proven.swap(true, Ordering::Relaxed)
            && let Some(health) = self.state().health.get_mut(&connection.address)
        {
            health.failures = 0;
            health.rest_until = None;
            health.failure = None;
        }
    }

    /// Sleeps; less, if a leader becomes known.
    pub(crate) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.hope.notified() => {}
        }
    }

    /// Ends every connection that calls wait on, with these calls; from now on there is none. Returns the one that was
    /// in use, if it stands, for a last request.
    pub(crate) fn close(&self) -> Option<Arc<Connection>> {
        let (current, installed) = {
            let mut state = self.state();
            state.closed = true;
            state.leader = None;
            (state.current.take(), std::mem::take(&mut state.installed))
        };
        let last = current.filter(|connection| connection.closed().is_none());
        for connection in installed.iter().filter_map(Weak::upgrade) {
            connection.close(CLOSED);
        }
        self.news.notify_waiters();
        self.wanted.notify_one();
        self.hope.notify_waiters();
        last
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

    /// What dialing met with since `begun`, for people: "a: connection refused; b: still connecting". Of an address that
    /// rested all the time it says why. Empty if there is nothing to say.
    pub(crate) fn dials_since(&self, begun: Instant) -> String {
        let state = self.state();
        let tried = |address: &Arc<str>| {
            let health = state.health.get(address);
            let failure = health.and_then(|health| health.failure.as_ref());
            if let Some((reason, _)) = failure.filter(|(_, at)| *at >= begun) {
                return Some(format!("{address}: {reason}"));
            }
            if let Some((_, since)) = state.dialed.iter().find(|(dialed, _)| dialed == address) {
                return Some(format!("{address}: still connecting, for {:.1?} now", since.elapsed()));
            }
            let rested = health.and_then(|health| health.rest_until).is_some_and(|until| until > begun);
            let (reason, at) = failure.filter(|_| rested)?;
            Some(format!("{address}: {reason}, {:.1?} before this call", begun - *at))
        };
        self.candidates(&state).iter().filter_map(tried).take(5).collect::<Vec<_>>().join("; ")
    }

    /// The leader's address as last heard, empty if unknown.
    pub(crate) fn leader(&self) -> String {
        self.state().leader.as_deref().unwrap_or_default().to_owned()
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

/// The dialing task. Ends in order also when the runtime is shut down under it: calls on another runtime start it again.
struct Dialing(Weak<Router>);

impl Dialing {
    /// Dials until there is a connection, or no call waits for one and no dial is under way.
    async fn run(self, wanted: Arc<Notify>) {
        let mut dials: JoinSet<Result<Connection, DialError>> = JoinSet::new();
        let mut lasting: Option<DialError> = None;
        let mut failed: HashSet<Arc<str>> = HashSet::new();
        // A slow dial is joined by the next one only then.
        let mut next_dial = Instant::now();
        loop {
            let wake = {
                // Not held while waiting, so that dropping the last client ends this.
                let Some(router) = self.0.upgrade() else { return };
                // A move to the leader may have brought a connection meanwhile.
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
                    match router.next_candidate() {
                        Ok(address) => {
                            dials.spawn(connection::dial(router.dial_options(address)));
                            next_dial = now + STAGGER;
                            Some(next_dial)
                        }
                        Err(earliest) => {
                            // A lasting refusal is the answer once every address has had a turn.
                            let all = || {
                                let state = router.state();
                                router.candidates(&state).iter().all(|known| failed.contains(known))
                            };
                            if let Some(error) = lasting.take_if(|_| dials.is_empty() && all()) {
                                failed.clear();
                                router.refuse(error);
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
                () = wanted.notified() => continue,
            };
            let Some(router) = self.0.upgrade() else { return };
            // What cannot be joined was stopped by a runtime that is shutting down, which ends this too.
            let Ok(result) = joined else { continue };
            let address = match &result {
                Ok(connection) => &connection.address,
                Err(error) => &error.address,
            };
            router.state().dialed.retain(|(dialed, _)| dialed != address);
            match result {
                Ok(connection) => return router.install(connection),
                Err(error) => {
                    router.dial_failed(&error);
                    next_dial = Instant::now();
                    failed.insert(Arc::clone(&error.address));
                    if error.lasting {
                        lasting = Some(error);
                    }
                }
            }
        }
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        if let Some(router) = self.0.upgrade() {
            router.state().dialed.clear();
            router.dialing.store(false, Ordering::Release);
            // Calls that began to wait while this was ending start it again.
            router.news.notify_waiters();
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.wanted.notify_one();
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
