//! The progress of one follower or learner, as its leader sees it.
//!
//! One cursor walks the leader's log for the follower, while it catches up and afterwards, so no entry can be
//! missed between synchronisation and broadcast (rule 16). The window bounds what is in flight (rule 25).

use alloc::collections::VecDeque;

use crate::{
    configuration::Configuration,
    history::Epochs,
    integrity::{Fault, StateHashes, StateReport},
    message::{Hello, Voter},
    space::DiskSpace,
    types::{Epoch, Incarnation, NodeId, Ticks, Zxid},
};

/// The stages of a follower.
#[derive(Clone, Hash)]
enum State {
    /// FollowerEpoch was received.
    Connected,
    /// AckEpoch was received: the follower has promised the epoch and described its log.
    Promised { log: Epochs },
    /// The follower is sent a snapshot, and will describe its log again. `pinned` is the snapshot's counter, once it is
    /// made: the log is kept above it.
    Snapshot { pinned: Option<u64> },
    /// Diff was sent: what the follower holds behind it is a prefix of the leader's log.
    Streaming,
    /// AckNewLeader was received: acks are counted. UpToDate is due when `target` is acknowledged.
    Acknowledged { target: u64 },
    /// UpToDate was sent.
    Serving,
}

/// A follower or learner of this leader, on one connection.
#[derive(Clone, Hash)]
pub(crate) struct Progress {
    /// The id of the follower.
    pub(crate) node: NodeId,
    /// The incarnation of the follower; it is counted only if the configuration records this one.
    incarnation: Incarnation,
    /// The accepted epoch in its FollowerEpoch.
    pub(crate) accepted: Epoch,
    state: State,
    /// The cursor: the counter of the next entry to send.
    next: u64,
    /// Whether NewLeader was sent, which happens when the cursor passes the initial history.
    new_leader_sent: bool,
    /// The last counter acknowledged in this epoch; 0 before AckNewLeader.
    pub(crate) acked: u64,
    /// The last counter reported as durable, counted or not; for status and the window.
    pub(crate) durable: u64,
    /// The highest commit index sent.
    commit_sent: u64,
    /// The batches sent and not yet reported as durable: (last counter, bytes).
    window: VecDeque<(u64, usize)>,
    /// The sum of the bytes in `window`.
    window_bytes: usize,
    /// The id of the storage read under way for the next entries; nothing else is sent meanwhile.
    reading: Option<u64>,
    /// The time of the last sign of life.
    pub(crate) heard: Ticks,
    /// The id of the last heartbeat acknowledged.
    pub(crate) heartbeat_acked: u64,
    /// The disk space, as last reported.
    pub(crate) space: DiskSpace,
    /// The last state hashes reported on this connection.
    pub(crate) hashes: StateHashes,
    /// Whether the follower has found damage in its log or its state.
    pub(crate) damaged: bool,
    /// The fault for which the follower was ordered into quarantine on this connection, and which it has not confirmed.
    pub(crate) unconfirmed: Option<Fault>,
    /// What the follower has acknowledged earlier in this epoch, if it came back with less: it runs on an older copy of its
    /// data directory, has lost promises, and is not counted.
    pub(crate) outdated: Option<u64>,
}

impl Progress {
    /// The progress of a follower whose FollowerEpoch was received now.
    pub(crate) fn new(hello: &Hello, accepted: Epoch, now: Ticks) -> Progress {
        Progress {
            node: hello.node,
            incarnation: hello.incarnation,
            accepted,
            state: State::Connected,
            next: 0,
            new_leader_sent: false,
            acked: 0,
            durable: 0,
            commit_sent: 0,
            window: VecDeque::new(),
            window_bytes: 0,
            reading: None,
            heard: now,
            heartbeat_acked: 0,
            space: DiskSpace::Ample,
            hashes: StateHashes::default(),
            damaged: false,
            unconfirmed: None,
            outdated: None,
        }
    }

    /// Whether the follower is this voter, with the recorded incarnation and all that it has acknowledged.
    pub(crate) fn is(&self, voter: &Voter) -> bool {
        self.node == voter.node
            && self.outdated.is_none()
            && planted!(
                voter.incarnation == Some(self.incarnation),
                counts_acks_of_unrecorded_incarnation => true
            )
    }

    /// The incarnation of the follower.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Takes over what the follower reports of its state.
    pub(crate) fn take_report(&mut self, report: &StateReport) {
        if !self.receives_snapshot() {
            self.damaged = report.damaged;
            report.hashes.iter().for_each(|hash| self.hashes.add(*hash));
        }
    }

    /// Whether the follower is counted in quorums of this configuration.
    pub(crate) fn is_voter(&self, configuration: &Configuration) -> bool {
        configuration.voters().iter().any(|voter| self.is(voter))
    }

    /// Whether AckEpoch was received.
    pub(crate) fn has_promised(&self) -> bool {
        !matches!(self.state, State::Connected)
    }

    /// The description of the follower's log, from AckEpoch until synchronisation begins.
    pub(crate) fn log(&self) -> Option<&Epochs> {
        match &self.state {
            State::Promised { log } => Some(log),
            State::Connected
            | State::Snapshot { .. }
            | State::Streaming
            | State::Acknowledged { .. }
            | State::Serving => None,
        }
    }

    /// Whether AckEpoch is expected: the first one, or another one after a snapshot.
    pub(crate) fn awaits_ack_epoch(&self) -> bool {
        matches!(self.state, State::Connected | State::Snapshot { .. })
    }

    /// Whether a snapshot is made for the follower, or sent to it.
    pub(crate) fn receives_snapshot(&self) -> bool {
        matches!(self.state, State::Snapshot { .. })
    }

    /// A snapshot is requested for the follower. What it has reported of its present state does not matter any more.
    pub(crate) fn request_snapshot(&mut self) {
        self.state = State::Snapshot { pinned: None };
        self.hashes.clear();
        self.damaged = false;
    }

    /// A snapshot at this counter is sent to the follower.
    pub(crate) fn pin(&mut self, counter: u64) {
        self.state = State::Snapshot { pinned: Some(counter) };
    }

    /// The counter above which the follower needs the leader's log; `None` if it needs none of it yet. A snapshot that is
    /// not made yet will be at `base` or above.
    pub(crate) fn needs_above(&self, base: u64) -> Option<u64> {
        match self.state {
            State::Connected | State::Promised { .. } => None,
            State::Snapshot { pinned } => Some(pinned.unwrap_or(base)),
            State::Streaming | State::Acknowledged { .. } | State::Serving => Some(self.next - 1),
        }
    }

    /// Whether Diff was sent.
    pub(crate) fn is_streamed(&self) -> bool {
        matches!(self.state, State::Streaming | State::Acknowledged { .. } | State::Serving)
    }

    /// Whether AckNewLeader is expected.
    pub(crate) fn awaits_ack_new_leader(&self) -> bool {
        matches!(self.state, State::Streaming) && self.new_leader_sent
    }

    /// Whether AckNewLeader was received, so that acks are counted (rule 23).
    pub(crate) fn is_counted(&self) -> bool {
        matches!(self.state, State::Acknowledged { .. } | State::Serving)
    }

    /// Whether UpToDate is due.
    pub(crate) fn is_up_to_date(&self) -> bool {
        let State::Acknowledged { target } = self.state else { return false };
        probe!("sync.behind-target", self.acked < target);
        self.acked >= target
    }

    /// Whether UpToDate was sent.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving)
    }

    /// AckEpoch was received.
    pub(crate) fn promise(&mut self, log: Epochs) {
        self.state = State::Promised { log };
    }

    /// Diff is sent: the cursor starts behind the common point.
    pub(crate) fn stream_from(&mut self, base: Zxid) {
        self.next = base.counter + 1;
        self.state = State::Streaming;
    }

    /// AckNewLeader was received: everything through `last` is durable; UpToDate is due at `target`.
    pub(crate) fn acknowledge_new_leader(&mut self, last: u64, target: u64) {
        self.acked = last;
        self.report_durable(last);
        self.state = State::Acknowledged { target };
    }

    /// Ack was received: everything through `last` is durable.
    pub(crate) fn acknowledge(&mut self, last: u64) {
        self.acked = last;
        self.report_durable(last);
    }

    /// UpToDate is sent.
    pub(crate) fn serve(&mut self) {
        self.state = State::Serving;
    }

    /// Everything through this counter is durable at the follower: frees the window.
    pub(crate) fn report_durable(&mut self, through: u64) {
        self.durable = self.durable.max(through);
        while self.window.front().is_some_and(|(counter, _)| *counter <= through) {
            self.window_bytes -= self.window.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// The counter of the next entry to send.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The last entry that the follower may be sent: `last`, or the end of the initial history while its disk has no space
    /// for more.
    pub(crate) fn limit(&self, last: u64, initial: Zxid) -> u64 {
        let full = self.space == DiskSpace::Critical;
        probe!("space.entries-withheld", full && self.next > initial.counter && self.next <= last);
        if full { last.min(initial.counter) } else { last }
    }

    /// Whether an entry through `last` may be sent now.
    pub(crate) fn can_send(&self, last: u64, window_bytes_max: usize) -> bool {
        self.next <= last && self.reading.is_none() && self.window_bytes < window_bytes_max
    }

    /// Whether sending waits for the window.
    #[cfg(gometa_instrumented)]
    pub(crate) fn is_window_full(&self, last: u64) -> bool {
        self.next <= last && self.reading.is_none()
    }

    /// A storage read of the next entries is issued.
    pub(crate) fn start_reading(&mut self, read: u64) {
        self.reading = Some(read);
    }

    /// Whether this storage read is under way for the follower.
    pub(crate) fn is_reading(&self, read: u64) -> bool {
        self.reading == Some(read)
    }

    /// The storage read has returned.
    pub(crate) fn finish_reading(&mut self) {
        self.reading = None;
    }

    /// A batch of entries is sent: advances the cursor.
    pub(crate) fn sent(&mut self, entries: usize, bytes: usize) {
        self.next += entries as u64;
        self.window.push_back((self.next - 1, bytes));
        self.window_bytes += bytes;
    }

    /// Whether NewLeader is due, since the cursor has passed the initial history; returns true once.
    pub(crate) fn take_new_leader(&mut self, initial: Zxid) -> bool {
        self.next > initial.counter && !core::mem::replace(&mut self.new_leader_sent, true)
    }

    /// A commit index is sent.
    pub(crate) fn commit_sent(&mut self, commit: u64) {
        self.commit_sent = self.commit_sent.max(commit);
    }

    /// Whether the follower serves and was not sent this commit index.
    pub(crate) fn needs_commit(&self, commit: u64) -> bool {
        self.is_serving() && commit > self.commit_sent
    }
}
