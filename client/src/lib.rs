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
//! It connects an application to the client ports of an ensemble, by the messages of `proto/gometa/v1/request.proto`.
//! Clients in other languages are built on it.
//!
//! Guarantees:
//!
//! - **Every call ends by its deadline**, which covers connecting, waiting, retries and backoff. Building a client does
//!   no IO. A dial that has started is completed even if its call has ended.
//! - **Writes are idempotent**: each happens at most once, however often it is sent. The first write opens a session;
//!   every write has a sequence number in it, which all its attempts share (`session`, `retry`).
//! - **[`Outcome::NotApplied`] is certain**: no attempt of the call can take effect any more. Otherwise the outcome is
//!   [`Outcome::Unknown`].
//! - **A response reaches the call that it belongs to.** A call whose future is dropped is cancelled, and a late response
//!   to it is dropped by its id (`connection`).
//! - **Reads of one client are monotonic**, local reads on different nodes included: they name the highest revision that
//!   the client has seen.
//! - **No call mixes two histories of the ensemble.** When it is founded anew from old data, calls in progress fail
//!   with [`ErrorKind::HistoryChanged`], and so do those that begin before one of them has returned it; nothing is retried in
//!   the new history (`history`).
//! - **A closed client leaves no session open**, as far as its node can be reached (`closing`).
//! - **Every queue and loop is bounded**: requests in flight, frames that wait to be written, concurrent dials, the
//!   session's window, backoff.
//!
//! Modules, top down: [`blocking`], `runtime` and `dispatch` (for bindings); `client`; `range`, `versions`, `txn`, `backup`; `call` (attempts and
//! deadline), `closing`; `retry`; `router` (the connection in use), `addresses`; `history`, `session`; `connection`, `handshake`, `transport`.
//!
//! Not supported yet: TLS, authentication, watches.
#![deny(clippy::too_many_lines)]
#![forbid(unsafe_code)]

mod addresses;
mod backup;
pub mod blocking;
mod call;
mod client;
mod closing;
mod connection;
mod counters;
mod dispatch;
mod error;
mod handshake;
mod history;
mod log;
mod membership;
mod peers;
mod printable;
mod range;
mod retry;
mod router;
mod runtime;
mod session;
mod settings;
mod transaction;
mod transport;
mod txn;
mod types;
mod versions;

pub use backup::{
    Backup, BackupInfo, BackupReader, BackupWriter, FormatError, SaveError, Saved, verify_backup,
};
pub use client::{Builder, Client};
#[doc(hidden)]
pub use dispatch::{MemberChange, Reply, Request, SharedPages, SharedTransaction};
pub use error::{Error, Operation, Result};
#[doc(hidden)]
pub use gometa_proto::Arguments;
#[doc(inline)]
pub use gometa_proto::{ErrorKind, Outcome};
pub use log::{LogLevel, LogRecord};
pub use membership::{MemberRecord, MembersChanged, MembersVersion, Membership, NewMember, StopAdvice};
pub use peers::{parse_peers, peers_from_json, peers_from_json_leniently};
#[doc(hidden)]
pub use printable::{Layout, controls_terminal, printable};
#[doc(hidden)]
pub use range::Pages;
pub use range::{Page, Range, Scan};
#[doc(hidden)]
pub use runtime::OnSharedRuntime;
pub use transaction::Transaction;
#[doc(hidden)]
pub use transaction::TxnAttempts;
pub use txn::{Compare, Op, OpResult, Relation, Transacted, Txn};
pub use types::{
    Consistency, Counters, Deleted, DeletedRange, EnsembleId, Entry, Member, NodeStatus, PeerStatus,
    ReadOptions, Role, Setting, SnapshotStatus, StorageStatus, View, Written,
};
pub use versions::{HistoryOptions, KeyHistory, KeyVersion};
