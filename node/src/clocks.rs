//! Session clocks: which sessions this node has heard of, and, on a leader, which have been silent too long.
//!
//! Only the leader ends sessions, through the log, and on its own monotonic clock: a new leader starts every
//! clock afresh, so a change of leader can lengthen a session's life and never shorten it. Followers report
//! whom they have heard of.

use std::collections::{BTreeMap, BTreeSet};

use gometa_zab::{Ticks, mutant};

/// Sessions named in one command or report at most.
const NAMED_MAX: usize = 256;

/// How often silent sessions are looked for, in microseconds.
const LOOK_EVERY: u64 = 250_000;

#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// A leader's: when each session ends unless it is heard of. `None` on other nodes.
    ends: Option<BTreeMap<u64, Ticks>>,
    /// A follower's: sessions heard of since the last report.
    heard: BTreeSet<u64>,
    next_look: Ticks,
    next_report: Ticks,
}

impl Clocks {
    /// This node is established: every session begins its time-out now.
    pub(crate) fn lead(&mut self, now: Ticks, sessions: impl Iterator<Item = (u64, u32)>) {
        self.ends = Some(sessions.map(|(session, timeout_ms)| (session, after(now, timeout_ms))).collect());
        self.heard.clear();
    }

    /// This node does not lead.
    pub(crate) fn rest(&mut self) {
        self.ends = None;
        self.heard.clear();
    }

    /// A session of this time-out gave a sign of life.
    pub(crate) fn contact(&mut self, now: Ticks, session: u64, timeout_ms: u32) {
        match &mut self.ends {
            Some(ends) => {
                ends.insert(session, after(now, if mutant!(M40) { timeout_ms / 8 } else { timeout_ms }));
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

    /// A leader's silent sessions; each is named once per time-out until its end is applied.
    pub(crate) fn silent(&mut self, now: Ticks, timeout_ms: impl Fn(u64) -> Option<u32>) -> Vec<u64> {
        let Some(ends) = &mut self.ends else { return Vec::new() };
        if now < self.next_look {
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
    pub(crate) fn report(&mut self, now: Ticks, every_ms: u32) -> Vec<u64> {
        if self.ends.is_some() || self.heard.is_empty() || now < self.next_report {
            return Vec::new();
        }
        let report: Vec<u64> = self.heard.iter().copied().take(NAMED_MAX).collect();
        for session in &report {
            self.heard.remove(session);
        }
        if self.heard.is_empty() {
            self.next_report = after(now, every_ms);
        }
        report
    }
}

fn after(now: Ticks, ms: u32) -> Ticks {
    now.plus(u64::from(ms) * 1_000)
}
