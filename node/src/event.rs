//! The inputs of a node.

use std::sync::Arc;

use bytes::Bytes;
use gometa_proto::v1::Request;
use gometa_store::Found;

/// A client's connection to this node. Numbers are never used again in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

/// One input.
#[derive(Clone, Debug)]
pub enum Event {
    /// An input of the protocol core: time, votes, connections between nodes, finished writes and reads. The caller
    /// passes `Tick`, `Datagram`, `Connected`, `ConnectFailed`, `Accepted`, `Message`, `Closed`, `Persisted`,
    /// `LogRead`, `SnapshotBegun` and `SnapshotReceived`; the others are made by this crate.
    Zab(gometa_zab::Event),
    /// The table contains every batch of [`Effect::Store`](crate::Effect::Store) through this number.
    Stored {
        /// The number of the batch.
        number: u64,
    },
    /// The table is durable through this counter: a restart finds it there or above. Rises.
    Flushed {
        /// The counter.
        counter: u64,
    },
    /// Which part of the log is within its bounds in bytes; what is below may be deleted, whatever
    /// [`Config`](crate::Config) says of numbers of entries.
    LogBounds {
        /// The log above this counter is within the bound of what is kept.
        kept_above: u64,
        /// The log above this counter is within the bound of what is kept while a follower needs it.
        held_above: u64,
    },
    /// The answer to [`Effect::Fetch`](crate::Effect::Fetch), or a part of it.
    Fetched {
        /// The number of the read.
        id: u64,
        /// Keys, each with its encoded record; `None` if the table has no record.
        records: Vec<(Bytes, Option<Bytes>)>,
    },
    /// The answer to [`Effect::Query`](crate::Effect::Query).
    Queried {
        /// The number of the query.
        id: u64,
        /// What was read; or the horizon, if a revision below it is to be read.
        result: Result<Found, u64>,
    },
    /// A client's Hello has been received. Clients without one are counted together.
    ClientNamed {
        /// The client.
        client: ClientId,
        /// The address and program, for people. Clients with the same name are counted together.
        name: Arc<str>,
    },
    /// A client's request. It gets exactly one [`Effect::Respond`](crate::Effect::Respond), unless the client cancels
    /// it or disconnects first.
    Request {
        /// The client.
        client: ClientId,
        /// The request, unchecked.
        request: Request,
    },
    /// A client has cancelled a request.
    Cancel {
        /// The client.
        client: ClientId,
        /// The request's id.
        id: u64,
    },
    /// A keepalive of a session has been received.
    Contact {
        /// The session's id.
        session: u64,
    },
    /// Every answer to a client so far has left through its socket. Must follow answers for which
    /// [`is_large`](crate::is_large) holds, whether they were sent or dropped: the client's further reads may
    /// wait for it. One event after the last of several such answers is enough.
    Sent {
        /// The client.
        client: ClientId,
    },
    /// A client's connection has closed.
    ClientGone {
        /// The client.
        client: ClientId,
    },
}
