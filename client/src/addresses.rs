//! The known addresses of nodes: which to dial next, and what failed on them. Plain data; the router acts on it.
//!
//! Candidates are the leader, then the members that nodes have named and the seeds, the least recently dialed first.
//! An address that failed is not dialed again before its backoff has passed. A *pinned* list is the seeds alone, in
//! their order.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use gometa_proto::{limits::MEMBERS_MAX, v1::View};
use tokio::time::Instant;

use crate::{peers, retry};

/// The shortest backoff of an address that failed.
const REDIAL_MIN: Duration = Duration::from_millis(20);
/// The longest backoff of an address that failed.
pub(crate) const REDIAL_MAX: Duration = Duration::from_millis(500);
/// The number of addresses whose failures are remembered.
const HEALTH_MAX: usize = 4 * MEMBERS_MAX;

/// See the module.
#[derive(Default)]
pub(crate) struct Addresses {
    seeds: Vec<Arc<str>>,
    pinned: bool,
    leader: Option<Arc<str>>,
    /// The members' request addresses; at most `MEMBERS_MAX`.
    members: Vec<Arc<str>>,
    health: HashMap<Arc<str>, Health>,
    /// The number of dials so far.
    dials: u64,
    /// The addresses that are being dialed, and since when.
    dialing: Vec<(Arc<str>, Instant)>,
}

#[derive(Default)]
struct Health {
    /// The number of failures since the address last served.
    failures: u32,
    /// The end of its backoff.
    backoff_until: Option<Instant>,
    /// The number of its latest dial, 0 for none.
    last_dial: u64,
    /// The latest failure since the address last served, and its time.
    failure: Option<(String, Instant)>,
}

impl Addresses {
    pub(crate) fn new(seeds: Vec<Arc<str>>, pinned: bool) -> Self {
        Self { seeds, pinned, ..Self::default() }
    }

    /// The leader's address, if it is known.
    pub(crate) fn leader(&self) -> Option<&Arc<str>> {
        self.leader.as_ref()
    }

    /// Takes over `leader` as the leader's address, unless it cannot be one.
    pub(crate) fn set_leader(&mut self, leader: &str) {
        if !self.pinned && peers::is_plausible(leader) {
            self.leader = Some(leader.into());
        }
    }

    /// Takes over the leader and the members of a View.
    pub(crate) fn apply(&mut self, view: &View) {
        let plausible = |address: &&str| peers::is_plausible(address);
        let members = view.members.iter().map(|member| member.request_address.as_str());
        let members: Vec<Arc<str>> = members.filter(plausible).take(MEMBERS_MAX).map(Arc::from).collect();
        if !members.is_empty() {
            self.members = members;
        }
        self.leader = Some(view.leader.as_str()).filter(plausible).map(Arc::from);
    }

    /// The addresses in the order in which to dial them.
    pub(crate) fn candidates(&self) -> Vec<Arc<str>> {
        if self.pinned {
            return self.seeds.clone();
        }
        let mut seen = HashSet::new();
        let mut known: Vec<Arc<str>> = self.members.iter().chain(&self.seeds).cloned().collect();
        known.sort_by_key(|address| self.health.get(address).map_or(0, |health| health.last_dial));
        self.leader.iter().cloned().chain(known).filter(|address| seen.insert(Arc::clone(address))).collect()
    }

    /// The leader's address and the end of its backoff, if it is another one than `current`.
    pub(crate) fn other_leader(&self, current: &str) -> Option<(Arc<str>, Option<Instant>)> {
        let leader = self.leader.as_ref().filter(|leader| !self.pinned && ***leader != *current)?;
        Some((Arc::clone(leader), self.backoff_until(leader).filter(|until| *until > Instant::now())))
    }

    /// Whether an address other than `current` can be dialed now.
    pub(crate) fn has_alternative(&self, current: &str) -> bool {
        let now = Instant::now();
        self.candidates().iter().any(|address| **address != *current && self.is_due(address, now))
    }

    fn backoff_until(&self, address: &str) -> Option<Instant> {
        self.health.get(address)?.backoff_until
    }

    fn is_due(&self, address: &str, now: Instant) -> bool {
        self.backoff_until(address).is_none_or(|until| until <= now)
    }

    /// The next address to dial, which counts as being dialed until [`dialed`](Self::dialed); or the time at which there
    /// will be one.
    pub(crate) fn next(&mut self) -> Result<Arc<str>, Instant> {
        let now = Instant::now();
        let mut candidates = self.candidates();
        candidates.retain(|address| !self.dialing.iter().any(|(dialing, _)| dialing == address));
        if let Some(address) = candidates.iter().find(|address| self.is_due(address, now)) {
            self.dials += 1;
            self.health.entry(Arc::clone(address)).or_default().last_dial = self.dials;
            self.dialing.push((Arc::clone(address), now));
            return Ok(Arc::clone(address));
        }
        let earliest = candidates.iter().filter_map(|address| self.backoff_until(address)).min();
        Err(earliest.unwrap_or(now + REDIAL_MAX))
    }

    /// The dial of `address` has ended.
    pub(crate) fn dialed(&mut self, address: &str) {
        self.dialing.retain(|(dialing, _)| **dialing != *address);
    }

    /// All dials have ended.
    pub(crate) fn dials_stopped(&mut self) {
        self.dialing.clear();
    }

    /// Records a failure; the address is not dialed for its backoff, or `backoff_min` if that is longer. Returns whether
    /// it is the first failure since the address last served.
    pub(crate) fn failed(&mut self, address: &Arc<str>, reason: &str, backoff_min: Duration) -> bool {
        if self.health.len() >= HEALTH_MAX && !self.health.contains_key(address) {
            self.health.clear();
        }
        let health = self.health.entry(Arc::clone(address)).or_default();
        let first = health.failures == 0;
        let backoff = REDIAL_MIN.saturating_mul(1 << health.failures.min(8)).min(REDIAL_MAX);
        health.failures = health.failures.saturating_add(1);
        let now = Instant::now();
        health.backoff_until = Some(now + retry::jitter(backoff).max(backoff_min));
        health.failure = Some((reason.to_owned(), now));
        if self.leader.as_ref() == Some(address) {
            self.leader = None;
        }
        first
    }

    /// The node at `address` has answered a request: its failures are forgotten.
    pub(crate) fn served(&mut self, address: &str) {
        if let Some(health) = self.health.get_mut(address) {
            health.failures = 0;
            health.backoff_until = None;
            health.failure = None;
        }
    }

    /// The failures and the pending dials since `begun`, in words: `a:1: connection refused; b:1: still connecting, …`.
    /// For an address whose backoff began before, its earlier failure. Empty if there are none.
    pub(crate) fn failures_since(&self, begun: Instant) -> String {
        let failure = |address: &Arc<str>| {
            let health = self.health.get(address);
            let failure = health.and_then(|health| health.failure.as_ref());
            if let Some((reason, _)) = failure.filter(|(_, at)| *at >= begun) {
                return Some(format!("{address}: {reason}"));
            }
            if let Some((_, since)) = self.dialing.iter().find(|(dialing, _)| dialing == address) {
                return Some(format!("{address}: still connecting, for {:.1?} now", since.elapsed()));
            }
            let in_backoff = self.backoff_until(address).is_some_and(|until| until > begun);
            let (reason, at) = failure.filter(|_| in_backoff)?;
            Some(format!("{address}: {reason}, {:.1?} before this call", begun - *at))
        };
        self.candidates().iter().filter_map(failure).take(5).collect::<Vec<_>>().join("; ")
    }
}
