//! The configuration of a node.

/// The interval of counters at which nodes compare their state hashes. A node that has another one cannot be compared, so it
/// must not change.
pub const STATE_HASH_INTERVAL: u64 = 4_096;

/// The identity of a node, its protocol settings, and its bounds on clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The settings of the protocol core.
    pub zab: gometa_zab::Config,
    /// The timeout of sessions opened through this node, in milliseconds without contact.
    pub session_timeout_ms: u32,
    /// The deadline of requests that name none, in milliseconds.
    pub deadline_default_ms: u32,
    /// The most requests waiting in this node; more are answered with ResourceExhausted.
    pub requests_max: usize,
    /// The most bytes applied and not yet written to the table; at this bound applying waits.
    pub unstored_bytes_max: usize,
    /// The number of log entries that are kept, if there are so many and the bounds in bytes permit it
    /// ([`Event::LogBounds`](crate::Event::LogBounds)); `u64::MAX` keeps all.
    pub log_kept: u64,
    /// The number of further log entries that are kept while a follower needs them.
    pub log_held_max: u64,
    /// The interval of counters at which nodes compare their state hashes. The same on all nodes:
    /// [`STATE_HASH_INTERVAL`], except in tests.
    pub state_hash_interval: u64,
    /// The bounds of the history that are no settings of the ensemble, and the values of those that are not set. Those of the
    /// leader count.
    pub history: HistoryBounds,
    /// The version of the server program, for people.
    pub version: String,
}

/// How much history is kept: superseded versions of keys, and which keys each revision changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryBounds {
    /// A revision that is younger is kept, in microseconds, unless the history exceeds `bytes_max`.
    pub age_us: u64,
    /// So many revisions are kept, however old, unless the history exceeds `bytes_max`.
    pub revisions_min: u64,
    /// The bytes on disk above which older revisions are dropped.
    pub bytes_max: u64,
    /// The highest `bytes_max` that this node's file system has room for.
    pub bytes_limit: u64,
    /// The time between two raises of the horizon, in microseconds.
    pub interval_us: u64,
}

impl HistoryBounds {
    /// An hour, 10,000 revisions, 1 GiB, every ten seconds.
    pub const DEFAULT: HistoryBounds = HistoryBounds {
        age_us: 3_600_000_000,
        revisions_min: 10_000,
        bytes_max: 1 << 30,
        bytes_limit: u64::MAX,
        interval_us: 10_000_000,
    };
}
