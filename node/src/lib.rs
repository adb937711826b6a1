//! One whole gometa node as a pure function.
//!
//! A [`Node`] joins the protocol ([`gometa_zab`]), the replicated store ([`gometa_store`]) and the waiting
//! requests of clients: forwarding of writes, read barriers, session clocks. Like both it is pure: time, messages and
//! finished writes come in as [`Event`]s, and outputs leave as [`Effect`]s. The server carries these out with sockets
//! and a disk, the simulator in memory; both run the same code.
//!
//! # The life of a write
//!
//! A client's request is checked, becomes a ticket and a submission (`requests`), is proposed here
//! or forwarded to the leader (`forward`), becomes a log entry that is durable on a quorum
//! ([`gometa_zab`]), is applied ([`gometa_store`]), and is answered by the node that received it, when
//! that node has applied it. The session table makes it execute once, at apply.
//!
//! # The life of a read
//!
//! A linearizable read waits for a barrier of the leader (`barrier`), then until this node has applied what the
//! leader had committed, and is answered from this node's own table. A local read is answered by any node that
//! has been synchronised once since its start. In both cases the bytes answered in a step are bounded, and so are the
//! large answers that a client has not read (`reads`). A record that is not in memory is read by the caller, while
//! everything else goes on (`fetches`). A page of keys waits until the table has what it is to see, and is read by the
//! caller as well (`ranges`).
//!
//! # Invariants
//!
//! - A request gets exactly one answer, unless its client cancels it or disconnects.
//! - The outcome *not applied* is returned only if no attempt that this node knows of can have been proposed.
//! - The answers of one step, and a client's unread large answers, are bounded in bytes.
//! - An entry is applied once, and only after the protocol core has committed it.
//! - Changes are written to the table in order; until they are written, they are read from memory.
//! - A step never waits for the table: entries and reads whose records are not in memory wait for them, entries in
//!   order. The records of entries are read when they are appended (`ahead`).
//! - A step applies and answers a bounded number of keys and bytes.
#![deny(clippy::too_many_lines)]
#![forbid(unsafe_code)]

#[macro_use(planted, probe)]
extern crate gometa_marks;

mod ahead;
mod barrier;
mod clocks;
mod compaction;
mod config;
mod effect;
mod event;
mod fetches;
mod forward;
mod horizon;
mod installation;
mod machine;
mod members;
mod openers;
mod pending;
mod ranges;
mod reads;
mod refounding;
mod requests;
mod status;
mod work;

/// Activates a planted fault in the whole process.
///
/// # Panics
/// If there is none of this name.
#[cfg(gometa_instrumented)]
pub fn activate_planted(name: &str) {
    gometa_marks::activate(Some(gometa_marks::mutant(name)));
}

pub use config::{Config, HistoryBounds, STATE_HASH_INTERVAL};
pub use effect::{BackupRequest, Effect};
pub use event::{ClientId, Event};
pub use gometa_store::{Corrupt, Purpose};
pub use installation::configuration_of;
pub use machine::Node;
pub use members::{describe_rejection, describe_transfer_rejection, membership};
pub use pending::{Pending, describe_change, describe_lost_quorum};
pub use reads::is_large;
pub use refounding::OpenSessions;
