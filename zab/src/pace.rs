//! How fast this node's own storage is: what it may keep others waiting for, and what it reports of itself.

use crate::types::Ticks;

/// The speed of a storage that does one write after the other, some of them together.
#[derive(Clone)]
pub(crate) struct Pace {
    /// Since when the storage has been at what it does now: the last time that it reported something, or was given
    /// something while it had nothing to do.
    since: Ticks,
    /// How long a write takes, of late, in microseconds.
    typical: u64,
}

impl Pace {
    pub(crate) fn new(now: Ticks) -> Pace {
        Pace { since: now, typical: 0 }
    }

    /// A write is issued to a storage that has nothing else to do.
    pub(crate) fn begins(&mut self, now: Ticks) {
        self.since = now;
    }

    /// Storage has done some writes, together.
    pub(crate) fn ends(&mut self, now: Ticks) {
        self.typical = (self.typical * 3 + now.since(self.since)) / 4;
        self.since = now;
    }

    /// How long the storage has been at the write under way, in microseconds. Time in the queue behind others does not
    /// count: a slow storage that makes progress is at work.
    pub(crate) fn waited(&self, now: Ticks) -> u64 {
        now.since(self.since)
    }

    /// How long a write takes, of late, in microseconds.
    pub(crate) fn typical(&self) -> u64 {
        self.typical
    }
}
