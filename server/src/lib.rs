//! The gometa server: the only place with IO. Around one pure [`gometa_node::Node`] it puts sockets, a disk,
//! a clock and threads.
//!
//! ```text
//!   UDP  vote_socket ─┐                          ┌─> disk (writer, log reader)
//!   TCP  peer_link  ──┼─> inbox ─> driver(Node) ─┼─> vote_socket, outbox per link
//!   TCP  client_port ─┘     ▲                    └─> outbox per client
//!                           └── disk: writes done, log read
//! ```
//!
//! - [`args`] (with `lenient`), [`config`]: what the process is told; `process` makes it run and end.
//! - `server` puts one node together: `listen` opens its ports, `disk` its directory; `identity` compares that with
//!   the configuration.
//! - `inbox`, `driver`, `outbox`: events in, effects out. The driver's thread owns the node and waits only for
//!   the inbox; sockets have an outbox each, and the disk has threads of its own.
//! - `vote_socket`, `peer_link`, `client_port` (with `clients`): bytes to events and back, every bound on
//!   foreign input that is not the codec's. `address_book`: who is where.
//! - `memory`: what all of them may hold, and the formula; `frame_room`, `admission`: how it is shared out;
//!   `descriptors`: how many of them there may be; `allocator`: that what is freed is given back.
//! - `narrate`, `search`, `ready`, `logging`, `ending`, `counters`: the log, the READY line, the last line. `output`: the only
//!   way to the standard streams while a node runs, which never waits for a reader.
//! - `signals`, `supervisor`, `threads`: what signals do; what systemd is notified of; threads with names.
//! - [`console`]: the interactive client.
//!
//! Deliberately not here yet: TLS, the admin port, metrics, snapshots, changes of membership.
#![forbid(unsafe_code)]

mod client;
pub mod config;
pub mod disk;
mod driver;
mod identity;
mod inbox;
mod memory;
mod net;
mod observe;
mod peer;
mod process;
mod run;
mod server;

pub use run::run;
