//! The proposals of one leadership that are not yet both committed and durable on the leader.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{config::Bounds, message::LogEntry};

/// The open proposals of a leader.
#[derive(Clone, Hash, Default)]
pub(crate) struct Proposals {
    /// The proposals of this step, appended together at its end.
    new: Vec<LogEntry>,
    /// All open proposals: (counter, bytes).
    open: VecDeque<(u64, usize)>,
    /// The sum of the bytes in `open`.
    open_bytes: usize,
}

impl Proposals {
    /// Whether no further proposal is accepted.
    pub(crate) fn is_full(&self, bounds: &Bounds) -> bool {
        self.open.len() >= bounds.proposals_max || self.open_bytes >= bounds.proposal_bytes_max
    }

    pub(crate) fn push(&mut self, entry: LogEntry) {
        self.open.push_back((entry.zxid.counter, entry.size()));
        self.open_bytes += entry.size();
        self.new.push(entry);
    }

    /// Removes and returns the proposals of this step.
    pub(crate) fn take_new(&mut self) -> Vec<LogEntry> {
        core::mem::take(&mut self.new)
    }

    /// Closes the proposals through this counter.
    pub(crate) fn close(&mut self, through: u64) {
        while self.open.front().is_some_and(|(counter, _)| *counter <= through) {
            self.open_bytes -= self.open.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }
}
