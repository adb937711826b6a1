//! The gometa server: runs [`gometa_node::Node`], which is pure, with sockets, a disk, a clock and threads. All IO of a
//! node is here.
//!
//! ```text
//!   UDP  peer::vote_socket ─┐                          ┌─> disk (writer, log reader)
//!   TCP  peer::link ────────┼─> inbox ─> driver(Node) ─┼─> vote_socket, one outbox per link
//!   TCP  client::port ──────┘     ▲                    └─> one outbox per client
//!                                 └── disk: finished writes, log entries
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `run`, `server`, `driver`, `inbox` | the process, one node of it, the node's thread and its queue |
//! | `identity` | the data directory compared with the configuration |
//! | `inspect` | the report about the data directory of a stopped node |
//! | `memory` | the bound of a node's memory |
//! | `process` | command line, console, log, shutdown, signals, systemd, limits of the system |
//! | [`config`] | the configuration file |
//! | `observe` | log events, counters, the READY line |
//! | `net` | what both TCP ports use: sockets, streams, incoming frames, outgoing messages |
//! | `client` | the clients' port: connections, admission of requests, overload |
//! | `peer` | the nodes' ports: links, votes, addresses of peers, the search for a leader |
//! | `snapshot` | the transfer of snapshots between this node and its peers |
//! | [`disk`] | the data directory |
//!
//! Imports go downwards: `run` and `server` use `driver`; that uses `client`, `peer` and `disk`; these use `inbox`, `observe`, `net`;
//! these use `process` and `config`. TLS, the admin port, metrics and membership changes are planned.
#![deny(clippy::too_many_lines)]
#![forbid(unsafe_code)]

mod client;
pub mod config;
pub mod disk;
mod driver;
mod identity;
mod inbox;
mod inspect;
mod memory;
mod net;
mod observe;
mod peer;
mod process;
mod recover;
mod restore;
mod run;
mod server;
mod snapshot;

pub use run::run;
