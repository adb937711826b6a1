//! Session clocks: the sessions that this node had contact with, and, on a leader, those that have expired.
//!
//! Only the leader ends sessions, through the log, by its own monotonic clock: a new leader starts every
//! clock anew, so a change of leader can lengthen a session and never shorten it. Followers report their contacts to
//! the leader.
//!
//! The clock counts *attended time*: between two steps at most 100 ms count. While a process is paused, keepalives
//! wait in sockets and queues, so a pause must not expire a session.

use std::collections::{BTreeMap, BTreeSet};

use gometa_zab::Ticks;

/// The most sessions in one command or report.
const NAMED_MAX: usize = 256;

/// The interval between two searches for expired sessions, in microseconds.
const CHECK_EVERY: u64 = 250_000;

/// The most that counts between two steps, in microseconds; ten ticks of the server.
const GAP_MAX: u64 = 100_000;

#[derive(Debug)]
pub(crate) struct Clocks {
    /// The time of the last step.
    stepped: Ticks,
    /// Attended time.
    now: Ticks,
    /// The current step comes late: keepalives may be waiting that have not been handled yet.
    late: bool,
    /// On a leader: when each session expires without further contact. `None` on other nodes.
    expires: Option<BTreeMap<u64, Ticks>>,
    /// On a follower: the sessions with contact since the last report.
    contacts: BTreeSet<u64>,
    next_check: Ticks,
    next_report: Ticks,
}

impl Clocks {
    pub(crate) fn new(now: Ticks) -> Clocks {
        Clocks {
            stepped: now,
            now: Ticks(0),
            late: false,
            expires: None,
            contacts: BTreeSet::new(),
            next_check: Ticks(0),
            next_report: Ticks(0),
        }
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, now: Ticks) {
        let gap = now.since(self.stepped);
        self.stepped = now;
        self.late = gap > GAP_MAX;
        probe!("session.pause-not-counted", self.late && self.expires.is_some());
        self.now = self.now.plus(planted!(gap.min(GAP_MAX), pause_counts_as_session_silence => gap));
    }

    /// Starts the clocks of all sessions: this node leads.
    pub(crate) fn start(&mut self, sessions: impl Iterator<Item = (u64, u32)>) {
        let now = self.now;
        self.expires =
            Some(sessions.map(|(session, timeout_ms)| (session, after(now, timeout_ms))).collect());
        self.contacts.clear();
    }

    /// Stops the clocks: this node no longer leads.
    pub(crate) fn stop(&mut self) {
        self.expires = None;
        self.contacts.clear();
    }

    /// Restarts the clock of a session, or notes the contact for the next report.
    pub(crate) fn contact(&mut self, session: u64, timeout_ms: u32) {
        match &mut self.expires {
            Some(expires) => {
                let timeout = planted!(timeout_ms, expires_sessions_early => timeout_ms / 8);
                expires.insert(session, after(self.now, timeout));
            }
            None => {
                self.contacts.insert(session);
            }
        }
    }

    /// Forgets a session that has ended.
    pub(crate) fn end(&mut self, session: u64) {
        if let Some(expires) = &mut self.expires {
            expires.remove(&session);
        }
        self.contacts.remove(&session);
    }

    /// Forgets the sessions that do not live any more.
    pub(crate) fn retain(&mut self, lives: impl Fn(u64) -> bool) {
        if let Some(expires) = &mut self.expires {
            expires.retain(|session, _| lives(*session));
        }
        self.contacts.retain(|session| lives(*session));
    }

    /// The expired sessions, on a leader; each is returned once per timeout until its end is applied. Empty in a late
    /// step.
    pub(crate) fn expired(&mut self, timeout_ms: impl Fn(u64) -> Option<u32>) -> Vec<u64> {
        let now = self.now;
        let Some(expires) = &mut self.expires else { return Vec::new() };
        if now < self.next_check || planted!(self.late, expires_sessions_in_late_step => false) {
            return Vec::new();
        }
        self.next_check = now.plus(CHECK_EVERY);
        let expired: Vec<u64> = expires
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(session, _)| *session)
            .take(NAMED_MAX)
            .collect();
        for session in &expired {
            match timeout_ms(*session) {
                Some(timeout_ms) => expires.insert(*session, after(now, timeout_ms)),
                None => expires.remove(session),
            };
        }
        expired
    }

    /// The sessions to report to the leader, on a follower, when a report is due.
    pub(crate) fn report(&mut self, every_ms: u32) -> Vec<u64> {
        if self.expires.is_some() || self.contacts.is_empty() || self.now < self.next_report {
            return Vec::new();
        }
        let report: Vec<u64> = self.contacts.iter().copied().take(NAMED_MAX).collect();
        for session in &report {
            self.contacts.remove(session);
        }
        if self.contacts.is_empty() {
            self.next_report = after(self.now, every_ms);
        }
        report
    }
}

fn after(now: Ticks, ms: u32) -> Ticks {
    now.plus(u64::from(ms) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Ticks {
        Ticks(ms * 1_000)
    }

    #[test]
    fn a_session_expires_after_its_timeout_of_attended_time_and_not_in_a_late_step() {
        let mut clocks = Clocks::new(at(0));
        clocks.start([(7, 1_000)].into_iter());
        let mut expired = |ms| {
            clocks.step(at(ms));
            clocks.expired(|_| Some(1_000))
        };
        for ms in (0..=900).step_by(50) {
            assert_eq!(expired(ms), [], "{ms}");
        }
        // An hour passes between two steps: 100 ms of it count, and the step is late.
        assert_eq!(expired(3_600_900), []);
        assert_eq!(expired(3_600_901), [7]);
    }

    #[test]
    fn a_keepalive_that_is_handled_after_a_pause_counts() {
        let mut clocks = Clocks::new(at(0));
        clocks.start([(7, 1_000)].into_iter());
        for ms in (0..=900).step_by(50) {
            clocks.step(at(ms));
        }
        clocks.step(at(60_000));
        assert_eq!(clocks.expired(|_| Some(1_000)), []);
        clocks.contact(7, 1_000);
        clocks.step(at(60_090));
        assert_eq!(clocks.expired(|_| Some(1_000)), []);
    }
}
