//! The replicated metadata: keys and sessions, as a pure state machine over a table.
//!
//! # What this is
//!
//! Every node of an ensemble feeds the same commands, in the same order, to its own [`Store`]. [`Store::apply`]
//! is deterministic: the same commands on the same state give the same outcomes, the same state and the same
//! hash everywhere. Failures such as `AlreadyExists` are outcomes like all others. There is no clock, no
//! randomness and no IO in here; sessions end because a command says so.
//!
//! # Where it sits
//!
//! `node` owns a store, hands it committed log entries, and passes the batches that come out of it to storage:
//!
//! 1. [`Store::apply`] (or [`Store::skip`], for entries that are not commands) changes the state in memory.
//! 2. [`Store::take_batch`] hands out everything that has changed since the last call. Until the batch is
//!    reported by [`Store::batch_written`], its keys are read from the *overlay* in memory; then from the
//!    [`Table`]. Any number of batches may be outstanding: bounding them is the caller's business.
//! 3. After a restart [`Store::open`] stands where the table's [`Checkpoint`] stands. Entries above it are
//!    applied again, with the same outcomes.
//!
//! # Invariants
//!
//! - *Exactly once.* A write of a session, known by its seq, executes at most once, however often it stands in
//!   the log. A repetition gets the recorded outcome, or `Forgotten` once the client has said that it awaits
//!   the answer no more. A session's id is the counter of the entry that created it, so it is never used again,
//!   and a session that has ended can execute nothing.
//! - *Revisions are unique.* A key's `mod_revision` is the counter of the entry that wrote it.
//! - *The hash depends on the records alone*, not on their order, on batches or on restarts; [`rehash`]
//!   computes it from the table.
//! - *No payload can panic.* What does not decode or breaks a limit has an outcome, the same on every node.
//!   Only damage to the table ends the process: a node that went on would differ from the others.
//! - *Memory is bounded*: by [`limits::SESSIONS_MAX`](gometa_proto::limits::SESSIONS_MAX) sessions, each with at
//!   most [`limits::WINDOW_MAX`](gometa_proto::limits::WINDOW_MAX) recorded outcomes, and by the batches
//!   outstanding.
//!
//! # What it leaves out, so far
//!
//! Transactions over several keys, scans, watches, leases. The records' formats leave room for them.
//!
//! # Reading order
//!
//! `entry` (what a log entry carries) · `table` (where records go) · `keys` (the operations, the overlay) ·
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

/// The outcome of a command that failed; `actual` is the key's mod_revision where the kind speaks of one.
fn failure(kind: ErrorKind, actual: u64) -> CommandOutcome {
    let failure = Failure { kind: kind.number(), actual_revision: actual };
    CommandOutcome { result: Some(command_outcome::Result::Failure(failure)) }
}
