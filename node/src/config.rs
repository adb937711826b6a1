//! What a node is told at its start.

/// Who a node is, and what it allows its clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The protocol's part.
    pub zab: gometa_zab::Config,
    /// Sessions opened through this node end after this long without contact, in milliseconds.
    pub session_timeout_ms: u32,
    /// A request that names no deadline gets this one, in milliseconds.
    pub deadline_default_ms: u32,
    /// Requests waiting in this node; beyond it they are answered with ResourceExhausted.
    pub requests_max: usize,
    /// Bytes applied that the table has not taken; from then on applying waits.
    pub unstored_bytes_max: usize,
    /// Version of the server program, for people.
    pub version: String,
}
