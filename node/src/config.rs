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
    /// The version of the server program, for people.
    pub version: String,
}
