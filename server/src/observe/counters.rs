//! What was dropped or refused at the doors, counted. Metrics will read these.

use std::sync::atomic::{AtomicU64, Ordering};

/// One node's counts since its start.
#[derive(Default, Debug)]
pub(crate) struct Counters {
    /// Datagrams that were no vote.
    pub(crate) datagrams_malformed: AtomicU64,
    /// Votes for which there was no room.
    pub(crate) datagrams_dropped: AtomicU64,
    /// Votes that could not be sent at once.
    pub(crate) datagrams_unsent: AtomicU64,
    /// Links closed because of a frame that was no message.
    pub(crate) links_malformed: AtomicU64,
    /// Links closed because the peer read too slowly.
    pub(crate) links_slow: AtomicU64,
    /// Connections of peers or clients refused because there were too many.
    pub(crate) connections_refused: AtomicU64,
    /// Clients refused because of a frame that was no message.
    pub(crate) clients_malformed: AtomicU64,
    /// Clients closed because they read too slowly.
    pub(crate) clients_slow: AtomicU64,
}

impl Counters {
    /// Counts one, and says how many there were.
    pub(crate) fn count(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Ordering::Relaxed) + 1
    }
}
