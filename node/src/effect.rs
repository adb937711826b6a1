//! What a node does about it; the caller carries these out, in order.

use std::sync::Arc;

use gometa_proto::v1::{Response, View};
use gometa_store::Batch;
use gometa_zab::{LinkId, Message, NodeId, Notice, Role, Token, Vote};

use crate::event::ClientId;

/// One write to storage.
#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// Log, hard state and founding record: durable before its token is reported.
    Zab(gometa_zab::Write),
    /// What applied commands changed: atomic, readable from the table before its token is reported, and
    /// durable no later than the next write of the other kind. Losing it in a crash is harmless: the log
    /// is applied again from where the table ends.
    Apply(Batch),
}

/// One thing to do. Variants without a word here are those of [`gometa_zab::Effect`].
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Write to storage, in order; report the token with `Persisted`.
    Write {
        /// Its name.
        token: Token,
        /// What.
        write: Write,
    },
    /// Read log entries; answer with `LogRead`.
    Read {
        /// Its name.
        id: u64,
        /// The first counter wanted.
        from: u64,
        /// The last counter wanted.
        to: u64,
        /// Stop before the entry that exceeds this sum of sizes, but not before the first.
        bytes_max: usize,
    },
    /// Send a datagram.
    Datagram {
        /// To whom.
        to: NodeId,
        /// What.
        vote: Vote,
    },
    /// Dial a peer.
    Connect {
        /// Whom.
        peer: NodeId,
    },
    /// Send on a connection.
    Send {
        /// The connection.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Close a connection once what was sent on it is out.
    Close {
        /// The connection.
        link: LinkId,
    },
    /// Answer a client.
    Respond {
        /// Who asked.
        client: ClientId,
        /// The answer.
        response: Response,
    },
    /// What clients are told of role, leader and members has changed: for the next Welcome, and for all who
    /// are connected.
    View(View),
    /// The role has changed.
    Role(Role),
    /// For logs and metrics.
    Notice(Notice),
    /// Three quarters of the sessions, or more, are in use; reported once a minute.
    SessionsShort {
        /// How many are.
        live: usize,
        /// The clients that opened most of them through this node, as [`Event::ClientNamed`](crate::Event::ClientNamed)
        /// named them, and how many each of them did.
        openers: Vec<(Arc<str>, usize)>,
    },
    /// The process must end, for this reason.
    Stop(String),
}
