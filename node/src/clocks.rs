//! Session clocks: which sessions this node has heard of, and, on a leader, which have been silent too long.
//!
//! Only the leader ends sessions, through the log, and on its own monotonic clock: a new leader starts every
//! clock afresh, so a change of leader can lengthen a session's life and never shorten it. Followers report
//! which ones they have heard of.
//!
//! The clock shows *attended time*: between two steps at most 100 ms count. While a process is paused, what its
//! clients send waits in sockets and queues, and their silence is the process's own.

use std::collections::{BTreeMap, BTreeSet};

use gometa_zab::Ticks;

/// Sessions named in one command or report at most.
const NAMED_MAX: usize = 256;

/// How often silent sessions are looked for, in microseconds.
const LOOK_EVERY: u64 = 250_000;

/// What counts between two steps at most, in microseconds; ten ticks of the server.
const GAP_MAX: u64 = 100_000;

#[derive(Debug)]
pub(crate) struct Clocks {
    /// The time of the last step.
    stepped: Ticks,
    /// Attended time.
    now: Ticks,
    /// The step under way comes late: what arrived since the one before has not all been seen.
    late: bool,
    /// A leader's: when each session ends unless it is heard of. `None` on other nodes.
    ends: Option<BTreeMap<u64, Ticks>>,
    /// A follower's: sessions heard of since the last report.
    heard: BTreeSet<u64>,
    next_look: Ticks,
    next_report: Ticks,
}

impl Clocks {
    pub(crate) fn new(now: Ticks) -> Clocks {
        Clocks {
            stepped: now,
            now: Ticks(0),
            late: false,
            ends: None,
            heard: BTreeSet::new(),
            next_look: Ticks(0),
            next_report: Ticks(0),
        }
    }

    /// A step begins.
    pub(crate) fn step(&mut self, now: Ticks) {
        let gap = now.since(self.stepped);
        self.stepped = now;
        self.late = gap > GAP_MAX;
        probe!("session.pause-does-not-count", self.late && self.ends.is_some());
        self.now = self.now.plus(planted!(gap.min(GAP_MAX), pause_counts_as_session_silence => gap));
    }

    /// This node is established: every session begins its time-out now.
    pub(crate) fn lead(&mut self, sessions: impl Iterator<Item = (u64, u32)>) {
        let now = self.now;
        self.ends = Some(sessions.map(|(session, timeout_ms)| (session, after(now, timeout_ms))).collect());
        self.heard.clear();
    }

    /// This node does not lead.
    pub(crate) fn rest(&mut self) {
        self.ends = None;
        self.heard.clear();
    }

    /// A session of this time-out gave a sign of life.
    pub(crate) fn contact(&mut self, session: u64, timeout_ms: u32) {
        match &mut self.ends {
            Some(ends) => {
                let timeout = planted!(timeout_ms, expires_sessions_early => timeout_ms / 8);
                ends.insert(session, after(self.now, timeout));
            }
            None => {
                self.heard.insert(session);
            }
        }
    }

    /// A session has ended.
    pub(crate) fn end(&mut self, session: u64) {
        if let Some(ends) = &mut self.ends {
            ends.remove(&session);
        }
        self.heard.remove(&session);
    }

    /// A leader's silent sessions; each is named once per time-out until its end is applied. None in a late step.
    pub(crate) fn silent(&mut self, timeout_ms: impl Fn(u64) -> Option<u32>) -> Vec<u64> {
        let now = self.now;
        let Some(ends) = &mut self.ends else { return Vec::new() };
        if now < self.next_look || planted!(self.late, expires_sessions_in_late_step => false) {
            return Vec::new();
        }
        self.next_look = now.plus(LOOK_EVERY);
        let silent: Vec<u64> =
            ends.iter().filter(|(_, at)| **at <= now).map(|(session, _)| *session).take(NAMED_MAX).collect();
        for session in &silent {
            match timeout_ms(*session) {
                Some(timeout_ms) => ends.insert(*session, after(now, timeout_ms)),
                None => ends.remove(session),
            };
        }
        silent
    }

    /// A follower's report, when it is due.
    pub(crate) fn report(&mut self, every_ms: u32) -> Vec<u64> {
        if self.ends.is_some() || self.heard.is_empty() || self.now < self.next_report {
            return Vec::new();
        }
        let report: Vec<u64> = self.heard.iter().copied().take(NAMED_MAX).collect();
        for session in &report {
            self.heard.remove(session);
        }
        if self.heard.is_empty() {
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
    fn a_session_is_silent_after_its_time_out_of_attended_time_and_not_in_a_late_step() {
        let mut clocks = Clocks::new(at(0));
        clocks.lead([(7, 1_000)].into_iter());
        let mut silent = |ms| {
            clocks.step(at(ms));
            clocks.silent(|_| Some(1_000))
        };
        for ms in (0..=900).step_by(50) {
            assert_eq!(silent(ms), [], "{ms}");
        }
        // An hour passes between two steps: 100 ms of it count, and the step is late.
        assert_eq!(silent(3_600_900), []);
        assert_eq!(silent(3_600_901), [7]);
    }

    #[test]
    fn a_sign_of_life_that_is_seen_after_a_pause_counts() {
        let mut clocks = Clocks::new(at(0));
        clocks.lead([(7, 1_000)].into_iter());
        for ms in (0..=900).step_by(50) {
            clocks.step(at(ms));
        }
        clocks.step(at(60_000));
        assert_eq!(clocks.silent(|_| Some(1_000)), []);
        clocks.contact(7, 1_000);
        clocks.step(at(60_090));
        assert_eq!(clocks.silent(|_| Some(1_000)), []);
    }
}
