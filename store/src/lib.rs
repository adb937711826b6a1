//! The replicated metadata: keys and sessions, as a pure state machine over a table.
//!
//! # What this is
//!
//! Every node of an ensemble applies the same commands, in the same order, to its own [`Store`]. [`Store::apply`]
//! is deterministic: the same commands on the same state give the same outcomes, the same state and the same
//! hash on every node. Failures such as `AlreadyExists` are outcomes like all others. The crate has no clock, no
//! randomness and no IO; sessions are ended by commands.
//!
//! # Where it sits
//!
//! `node` owns a store, applies committed log entries to it, and passes its batches to storage:
//!
//! 1. [`Store::apply`] (or [`Store::skip`], for entries that are not commands) changes the state in memory.
//! 2. [`Store::take_batch`] returns all changes since the last call. Until the batch is
//!    reported by [`Store::batch_written`], its keys are read from the *overlay* in memory; then from the
//!    [`Table`]. The caller bounds the number of outstanding batches.
//! 3. After a restart [`Store::open`] continues at the table's [`Checkpoint`]. Entries above it are
//!    applied again, with the same outcomes.
//!
//! # Invariants
//!
//! - *Exactly once.* A write of a session, identified by its seq, executes at most once, however often it is in
//!   the log. A repetition gets the recorded outcome, or `Forgotten` after the client has stopped waiting for
//!   the answer. A session's id is the counter of the entry that created it, so it is never used again,
//!   and writes of a session that has ended do not execute.
//! - *Revisions are unique.* A key's `mod_revision` is the counter of the entry that wrote it.
//! - *The hash depends on the records alone*, not on their order, on batches or on restarts; [`rehash`]
//!   computes it from the table.
//! - *No payload can panic.* A payload that does not decode or exceeds a limit has an outcome, the same on every node.
//!   Only damage to the table ends the process: a node that continued would differ from the others.
//! - *Memory is bounded*: by [`limits::SESSIONS_MAX`](gometa_proto::limits::SESSIONS_MAX) sessions, each with at
//!   most [`limits::WINDOW_MAX`](gometa_proto::limits::WINDOW_MAX) recorded outcomes, and by the batches
//!   outstanding.
//!
//! # Not here yet
//!
//! Transactions over several keys, scans, watches, leases.
//!
//! # Reading order
//!
//! `entry` (payloads of log entries) · `table` (storage of records) · `keys` (execution of operations, the overlay) ·
//! `session` (the table of sessions) · `apply` (the store itself) · `hash`.
#![forbid(unsafe_code)]

#[macro_use(planted, probe)]
extern crate gometa_marks;

mod apply;
mod entry;
mod hash;
mod keys;
mod session;
mod table;

pub use apply::{Applied, Origin, Store};
pub use entry::{Malformed, decode_command, encode_command};
pub use hash::rehash;
pub use session::{Corrupt, Recall};
pub use table::{Batch, Checkpoint, MemoryTable, Space, Table};

use gometa_proto::{
    ErrorKind,
    v1::{CommandOutcome, Failure, command_outcome},
};

/// The outcome of a failed command; `actual` is the key's mod_revision for kinds that have one, else 0.
fn failure(kind: ErrorKind, actual: u64) -> CommandOutcome {
    let failure = Failure { kind: kind.number(), actual_revision: actual };
    CommandOutcome { result: Some(command_outcome::Result::Failure(failure)) }
}
