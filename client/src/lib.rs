//! The asynchronous gometa client: the core that every other client stands on.
//!
//! ```no_run
//! # async fn example() -> Result<(), gometa_client::Error> {
//! use gometa_client::Client;
//!
//! let client = Client::new(["127.0.0.1:5003", "127.0.0.1:6003"])?; // no IO yet
//! let written = client.set("k", "v").await?;
//! let entry = client.get("k").await?;
//! assert_eq!(entry.mod_revision, written.revision);
//! # Ok(())
//! # }
//! ```
//!
//! It sits between an application and the client ports of an ensemble, and knows nothing of an ensemble's
//! inside but what `proto/gometa/v1/request.proto` says.
//!
//! What holds:
//!
//! - **Every call ends by its deadline.** Connecting, waiting for room, retrying and backing off all happen
//!   inside it. Building a client does no IO. A connection, once begun, is completed also if its call has ended.
//! - **A write happens at most once**, however often it had to be sent. The first write opens a session;
//!   every write has a number in it and keeps that number over all its attempts (`session`, `retry`).
//! - **"Not applied" is a promise.** An error says [`Outcome::NotApplied`] only if no attempt of the call can
//!   take effect any more; otherwise it says [`Outcome::Unknown`].
//! - **An answer reaches only the call that asked.** A call whose future is dropped is cancelled; its late
//!   answer is dropped by its id (`connection`).
//! - **Reads by one client never go back**, also local ones on different nodes: they name the highest
//!   revision that the client has seen.
//! - **A client that is closed leaves no session behind**, as far as its node can be reached (`closing`).
//! - **Every queue and loop has a maximum**: requests in flight, frames waiting to be written, dials at a
//!   time, the session's window, back-off.
//!
//! Reading order: `client`, `dispatch` and `call` (what a call is), `retry` (what may be repeated), `session` (exactly once),
//! `router` (which node), `connection` and `incoming` (frames), `closing`; `log`; [`blocking`] and `runtime` for programs
//! without one.
//!
//! Left out for now: TLS and authentication, watches, transactions, scans; the wire has none of them yet.
#![forbid(unsafe_code)]

pub mod blocking;
mod call;
mod client;
mod closing;
mod connection;
mod dispatch;
mod error;
mod incoming;
mod log;
mod peers;
mod printable;
mod retry;
mod router;
mod runtime;
mod session;
mod types;

pub use client::{Builder, Client};
#[doc(hidden)]
pub use dispatch::{Reply, Request};
pub use error::{Error, Operation};
#[doc(inline)]
pub use gometa_proto::{ErrorKind, Outcome};
pub use log::{LogLevel, LogRecord};
pub use peers::{parse_peers, peers_from_json, peers_from_json_leniently};
#[doc(hidden)]
pub use printable::{Layout, controls_terminal, printable};
#[doc(hidden)]
pub use runtime::OnSharedRuntime;
pub use types::{
    Consistency, Counters, Deleted, EnsembleId, Entry, Member, NodeStatus, PeerStatus, ReadOptions, Role,
    View, Written,
};

/// What calls return.
pub type Result<T> = std::result::Result<T, Error>;
