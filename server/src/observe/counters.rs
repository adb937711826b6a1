//! Counters of dropped and refused input. Metrics will read them.

use std::sync::atomic::{AtomicU64, Ordering};

/// One node's counters since its start.
#[derive(Default, Debug)]
pub(crate) struct Counters {
    /// Datagrams that are not a valid vote.
    pub(crate) datagrams_malformed: AtomicU64,
    /// Votes dropped because the inbox was full.
    pub(crate) datagrams_dropped: AtomicU64,
    /// Votes that could not be sent.
    pub(crate) datagrams_unsent: AtomicU64,
    /// Links closed because of a malformed frame.
    pub(crate) links_malformed: AtomicU64,
    /// Links closed because the peer read too slowly.
    pub(crate) links_slow: AtomicU64,
    /// Connections of peers or clients refused because all were in use.
    pub(crate) connections_refused: AtomicU64,
    /// Clients refused because of a malformed frame.
    pub(crate) clients_malformed: AtomicU64,
    /// Clients closed because they read too slowly.
    pub(crate) clients_slow: AtomicU64,
}

impl Counters {
    /// Adds one; returns the new value.
    pub(crate) fn count(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Ordering::Relaxed) + 1
    }
}
