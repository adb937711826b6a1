//! What a leader knows of one follower: how far it is, and what is in flight to it.

use alloc::collections::VecDeque;

use crate::{
    history::Epochs,
    types::{Epoch, NodeId, Ticks},
};

/// How far a follower is.
#[derive(Clone, Hash)]
pub(crate) enum Sync {
    /// Its promise (CEPOCH) has come.
    Promised,
    /// It has promised this epoch, and waits until synchronisation begins.
    Acknowledged { log: Epochs },
    /// It is being brought to the initial history.
    Streaming,
    /// Its AckNewLeader has come: it counts. UpToDate goes out when it has acked through `target`.
    Following { target: u64 },
    /// UpToDate is sent.
    Serving,
}

/// A follower or learner of this leader.
#[derive(Clone, Hash)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    /// Counted in quorums.
    pub(crate) votes: bool,
    pub(crate) accepted: Epoch,
    pub(crate) sync: Sync,
    /// The next counter to send.
    pub(crate) next: u64,
    pub(crate) new_leader_sent: bool,
    /// The last counter it has acknowledged as durable in this epoch.
    pub(crate) acked: u64,
    /// The last counter that it holds durably, as far as it has reported; for status only.
    pub(crate) held: u64,
    pub(crate) commit_sent: u64,
    /// Sent and neither acknowledged nor reported as written: (last counter, bytes).
    pub(crate) window: VecDeque<(u64, usize)>,
    pub(crate) window_bytes: usize,
    /// The read from storage that its next entries come from.
    pub(crate) reading: Option<u64>,
    pub(crate) heard: Ticks,
    /// The last heartbeat it has answered.
    pub(crate) beat: u64,
}

impl Peer {
    /// A follower whose promise (CEPOCH) has just come.
    pub(crate) fn new(node: NodeId, votes: bool, accepted: Epoch, now: Ticks) -> Peer {
        Peer {
            node,
            votes,
            accepted,
            sync: Sync::Promised,
            next: 0,
            new_leader_sent: false,
            acked: 0,
            held: 0,
            commit_sent: 0,
            window: VecDeque::new(),
            window_bytes: 0,
            reading: None,
            heard: now,
            beat: 0,
        }
    }

    pub(crate) fn counts(&self) -> bool {
        self.votes && matches!(self.sync, Sync::Following { .. } | Sync::Serving)
    }

    /// Whether UpToDate is sent.
    pub(crate) fn is_up_to_date(&self) -> bool {
        matches!(self.sync, Sync::Serving)
    }

    /// Whether the Diff has been sent: what the follower holds behind it is a prefix of the leader's log.
    pub(crate) fn is_streamed(&self) -> bool {
        matches!(self.sync, Sync::Streaming | Sync::Following { .. } | Sync::Serving)
    }

    pub(crate) fn promised(&self) -> bool {
        !matches!(self.sync, Sync::Promised)
    }

    pub(crate) fn release_window(&mut self, through: u64) {
        self.held = self.held.max(through);
        while self.window.front().is_some_and(|(counter, _)| *counter <= through) {
            self.window_bytes -= self.window.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }
}
