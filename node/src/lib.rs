//! One whole gometa node as a pure function.
//!
//! A [`Node`] joins the protocol ([`gometa_zab`]), the replicated store ([`gometa_store`]) and everyone who
//! waits for them: clients' requests, writes on their way to the leader, read barriers, session clocks. Like
//! both it is pure: time, messages and finished writes come in as [`Event`]s, and what is to be done goes out
//! as [`Effect`]s. The server carries them out with sockets and a disk, the simulator with neither, and there
//! is nothing of gometa's behaviour that the two do not share.
//!
//! # The life of a write
//!
//! A client's request is checked, becomes a ticket and a submission (`requests`), is proposed here
//! or relayed to the leader (`forward`), gets its place in the log and is made durable by a quorum
//! ([`gometa_zab`]), is applied ([`gometa_store`]), and is answered by the node that the client asked, when
//! that node has applied it. Whether it happens once is decided at apply alone, by the session table.
//!
//! # The life of a read
//!
//! A linearizable read joins a question to the leader (`barrier`), waits until this node has applied what the
//! leader had committed, and is answered from this node's own table. A local read is answered by any node that
//! has been up to date once since its start, leader or not. Either way a step answers only so much, and a client
//! that does not read its answers gets no more large ones (`reads`).
//!
//! # Invariants
//!
//! - A request gets exactly one answer, unless its client cancels it or goes.
//! - *Not applied* is said only if no attempt that this node knows of can have been proposed.
//! - The answers of one step, and what a client has not read of them, are bounded in bytes.
//! - Nothing is applied that the protocol has not released, and nothing twice.
//! - What is applied is written to the table in order; until the table has it, it is read from memory.
#![forbid(unsafe_code)]

#[macro_use(planted, probe)]
extern crate gometa_marks;

mod announced;
mod barrier;
mod clocks;
mod config;
mod effect;
mod event;
mod forward;
mod machine;
mod openers;
mod reads;
mod requests;
mod status;

pub use config::Config;
pub use effect::{Effect, Write};
pub use event::{ClientId, Event};
pub use gometa_store::Corrupt;
pub use machine::Node;
pub use reads::is_large;
