//! The proposals of one leadership that are not yet both committed and durable on the leader.

use alloc::{collections::VecDeque, vec::Vec};

use bytes::Bytes;

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
    /// The proposals that wait for the end of a transfer of the leadership, in order: (id, level, payload).
    waiting: Vec<(u64, u32, Bytes)>,
    /// The sum of the bytes in `waiting`.
    waiting_bytes: usize,
}

impl Proposals {
    /// Whether no further proposal is accepted.
    pub(crate) fn is_full(&self, bounds: &Bounds) -> bool {
        self.open.len() + self.waiting.len() >= bounds.proposals_max
            || self.open_bytes + self.waiting_bytes >= bounds.proposal_bytes_max
    }

    /// Keeps a proposal until the transfer ends.
    pub(crate) fn wait(&mut self, id: u64, level: u32, payload: Bytes) {
        self.waiting_bytes += payload.len();
        self.waiting.push((id, level, payload));
    }

    /// Removes and returns the proposals that wait, in order.
    pub(crate) fn take_waiting(&mut self) -> Vec<(u64, u32, Bytes)> {
        self.waiting_bytes = 0;
        core::mem::take(&mut self.waiting)
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
