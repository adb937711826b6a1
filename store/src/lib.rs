//! The replicated metadata: keys with their history, sessions and the configuration of the ensemble, as a pure state machine
//! over a table.
//!
//! # Overview
//!
//! Every node of an ensemble applies the same commands (payloads of log entries), in the same order, to its own [`Store`]. [`Store::apply`] is
//! deterministic: the same commands on the same state give the same outcomes, the same state and the same state hash on
//! every node. A failed operation, such as an `add` of an existing key, is an outcome too. The crate has no clock, no
//! randomness and no IO. Sessions are ended by commands; the leader decides on timeouts.
//!
//! # Use by `node`
//!
//! `node` owns a store, applies released (committed and locally durable) log entries to it, and passes its batches to storage:
//!
//! 1. [`Store::apply`] changes the state in memory; [`Store::configure`] records the configuration of the ensemble, which is opaque to it.
//!    [`Store::get`] and `apply` need the record of a key in memory, and report if it is not. `node` then has it read:
//!    [`Store::begin_read`], [`Store::enter`], [`Store::end_read`]. For entries that will be applied soon it does so
//!    ahead, and keeps their records with [`Store::hold`].
//! 2. [`Store::take_batch`] returns all changes since the last call. Their keys are read from the *overlay* in memory
//!    until the batch is reported by [`Store::batch_written`], then from the [`Table`]. The caller bounds the number of
//!    outstanding batches.
//! 3. After a restart, [`Store::open`] resumes at the table's [`Checkpoint`]; log entries after `applied` must be applied
//!    again. They give the same outcomes.
//!
//! # Invariants
//!
//! - *Exactly once.* A write is identified by (session, seq) and executes at most once, however often it occurs in the
//!   log. A duplicate gets the recorded outcome, or `Forgotten` if its seq is below the session's floor. Writes of an
//!   ended session do not execute. A session's id is the counter of the log entry that created it, so ids are never
//!   reused.
//! - *Unique revisions.* A key's `mod_revision` is the counter of the log entry that last wrote it.
//! - *The state hash depends on the records only*, not on their order, on batches or on restarts;
//!   [`recompute_checkpoint`] computes it from the table.
//! - *No payload causes a panic.* A payload that cannot be decoded or exceeds a limit yields an error outcome, the same
//!   on every node. A damaged table does end the node, because it would diverge from the others: [`Store::open`] returns
//!   [`Corrupt`] for a damaged session; reading a key whose record cannot be decoded panics.
//! - *History.* The state can be read at every revision from the horizon on, with the caller's table alone: [`Query`].
//!   Apply decides from the present only.
//! - *Bounded memory*: at most [`limits::SESSIONS_MAX`](gometa_proto::limits::SESSIONS_MAX) sessions, each with at most
//!   [`limits::WINDOW_MAX`](gometa_proto::limits::WINDOW_MAX) recorded outcomes, the changes that are not yet in the
//!   table, which the caller bounds by [`Store::pending_bytes`] and [`Batch::size`], and the records that are held, which
//!   it bounds by [`Store::held_bytes`].
//!
//! # Not implemented
//!
//! Watches, leases.
//!
//! # Reading order
//!
//! `entry` (payloads of log entries) · `table` (storage of records) · `overlay` (records in memory) · `keys` (execution
//! of operations) · `change`, `history` (what revisions changed and superseded) · `record`, `range` (pages) · `versions` (histories of keys) · `ranges`, `txn`, `query` (ranges of transactions, transactions, and reads beside apply) · `session` (deduplication of writes) · `configuration` · `apply` (the store itself) · `hash`.
#![forbid(unsafe_code)]

// `planted!(right, name => wrong)` is `right` unless a test activates the fault; `probe!` counts rare paths.
#[macro_use(planted, probe)]
extern crate gometa_marks;

mod apply;
mod change;
mod configuration;
mod entry;
mod hash;
mod history;
mod keys;
mod memory;
mod overlay;
mod query;
mod range;
mod ranges;
mod record;
mod session;
mod settings;
mod table;
mod txn;
mod versions;

pub use apply::{Applied, Origin, Store};
pub use change::{Change, ChangedKey, past_bounds, revision_key};
pub use configuration::CONFIGURATION_KEY;
pub use entry::{Decoded, Malformed, decode_command, encode_command};
pub use hash::{recompute_checkpoint, record_hash};
pub use history::{HISTORY_KEY, check_horizon, horizon_of, superseded_by, verify_changes};
pub use memory::MemoryTable;
pub use overlay::Purpose;
pub use query::{Found, Query, compacted_answer};
pub use range::{Cursor, read_page};
pub use ranges::RangesFound;
pub use session::{Corrupt, WriteLookup};
pub use settings::SETTINGS_KEY;
pub use table::{Batch, Checkpoint, Lookup, Space, Table};

use gometa_proto::{
    ErrorKind,
    v1::{CommandOutcome, Failure, command_outcome},
};

/// The outcome of a failed command. `actual_revision` is the key's `mod_revision` for `AlreadyExists` and `CasMismatch`, the
/// `create_revision` of the guard's key for `GuardFailed`, else 0.
fn failure(kind: ErrorKind, actual_revision: u64) -> CommandOutcome {
    let failure = Failure { kind: kind.number(), actual_revision };
    CommandOutcome { result: Some(command_outcome::Result::Failure(failure)) }
}
