//! What happens to a node.

use std::sync::Arc;

use gometa_proto::v1::Request;

/// One client's connection to this node; numbers are never used again in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// To the protocol: time, votes, connections between nodes, finished writes and reads. The caller passes
    /// on `Tick`, `Datagram`, `Connected`, `ConnectFailed`, `Accepted`, `Message`, `Closed`, `Persisted` and
    /// `LogRead`; the others are this crate's own to make.
    Zab(gometa_zab::Event),
    /// A client has said who it is; clients that never do are counted together.
    ClientNamed {
        /// The client.
        client: ClientId,
        /// Address and program, for people; the same for clients that are to be counted together.
        name: Arc<str>,
    },
    /// A client asks; answered by exactly one [`Effect::Respond`](crate::Effect::Respond), unless the client
    /// cancels or goes first.
    Request {
        /// Who asks.
        client: ClientId,
        /// What; nothing in it has been checked.
        request: Request,
    },
    /// A client no longer waits for an answer.
    Cancel {
        /// The client.
        client: ClientId,
        /// The request's id.
        id: u64,
    },
    /// A client of this session gave a sign of life.
    Contact {
        /// The session's id.
        session: u64,
    },
    /// Every answer given to a client so far is out of its socket. Owed after answers for which
    /// [`is_large`](crate::is_large) holds, whether they were sent or dropped: the client's further reads may
    /// wait for it. One report for several such answers is enough, if it comes behind the last.
    Sent {
        /// The client.
        client: ClientId,
    },
    /// A client's connection has ended.
    ClientGone {
        /// The client.
        client: ClientId,
    },
}
