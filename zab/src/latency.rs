//! The write latency of this node's storage: when it is too slow to lead, and what is reported to other nodes.

use crate::types::Ticks;

/// The measured latency of a storage that completes writes in order, sometimes several together.
#[derive(Clone)]
pub(crate) struct WriteLatency {
    /// The start of the write under way: the last completion, or the time at which an idle storage got work.
    started: Ticks,
    /// The moving average, in microseconds.
    average: u64,
}

impl WriteLatency {
    pub(crate) fn new(now: Ticks) -> WriteLatency {
        WriteLatency { started: now, average: 0 }
    }

    /// A write is issued to an idle storage.
    pub(crate) fn start(&mut self, now: Ticks) {
        self.started = now;
    }

    /// Writes were completed, together.
    pub(crate) fn complete(&mut self, now: Ticks) {
        self.average = (self.average * 3 + now.since(self.started)) / 4;
        self.started = now;
    }

    /// The time that the write under way has taken so far, in microseconds. Time in the queue behind other writes is
    /// not included: a slow storage that makes progress is not stalled.
    pub(crate) fn current(&self, now: Ticks) -> u64 {
        now.since(self.started)
    }

    /// The moving average of the latency, in microseconds.
    pub(crate) fn average(&self) -> u64 {
        self.average
    }
}

/// The last report of this node's write latency to another node.
#[derive(Clone, Hash)]
pub(crate) struct LatencyReport {
    at: Ticks,
    latency: u64,
}

impl LatencyReport {
    pub(crate) fn new(now: Ticks) -> LatencyReport {
        LatencyReport { at: now, latency: 0 }
    }

    /// Whether a report is due: every five heartbeats while the storage is slow, and once when it no longer is.
    pub(crate) fn is_due(&self, now: Ticks, heartbeat: u64, latency: u64) -> bool {
        now.since(self.at) >= heartbeat * 5 && (latency > 0 || self.latency > 0)
    }

    /// This latency is reported; 0 if the storage is not slow.
    pub(crate) fn sent(&mut self, now: Ticks, latency: u64) {
        *self = LatencyReport { at: now, latency };
    }
}
