//! The outputs of a node. The caller carries them out, in order.

use std::sync::Arc;

use bytes::Bytes;
use gometa_proto::v1::{Response, View};
use gometa_store::{Batch, Purpose, Query};
use gometa_zab::{Fault, LinkId, Message, NodeId, Notice, Role, Token, Vote, Write};

use crate::event::ClientId;

/// A request for a backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackupRequest {
    /// Make a checkpoint of the table with at least this revision, which is in the table or in batches that were issued before.
    Begin {
        /// The revision.
        min_revision: u64,
    },
    /// Read a part of one.
    Read {
        /// The backup.
        backup: u64,
        /// The first byte.
        offset: u64,
        /// The number of bytes, 1 to [`BACKUP_CHUNK_MAX`](gometa_proto::limits::BACKUP_CHUNK_MAX).
        length: usize,
    },
}

/// One output. Many variants are those of [`gometa_zab::Effect`].
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Write to the log, in order; report the token with `Persisted` when the write is durable.
    Write {
        /// The number of the write.
        token: Token,
        /// The write.
        write: Write,
        /// The counter through which entries were released to be applied when the write was issued, to be recorded with
        /// it. What a later effect of the same step releases may be above the end of the log after this write.
        released: u64,
    },
    /// Write the changes of applied commands to the table, atomically and in order; report the number with
    /// [`Event::Stored`](crate::Event::Stored) when they are readable. A crash may lose the last batches: the log is
    /// then applied again from the checkpoint of the last batch that is left.
    Store {
        /// The number of the batch: 1 for the first, then one more each.
        number: u64,
        /// The changes.
        batch: Batch,
    },
    /// Read records of keys from the table, whose lookup has not found them in memory. Answer each key once with
    /// [`Event::Fetched`](crate::Event::Fetched), in parts and in any order. The table as of any moment from now on will
    /// do, for each key another one.
    Fetch {
        /// The number of the read.
        id: u64,
        /// What for. Reads for [`Purpose::Apply`] must not wait for reads of clients.
        purpose: Purpose,
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// Read from one moment of the table with [`Query::read`], now or later. Answer with
    /// [`Event::Queried`](crate::Event::Queried). Must not delay reads of records. [`Query::Ranges`] must not wait for other
    /// queries: applying waits for it.
    Query {
        /// The number of the query.
        id: u64,
        /// What to read.
        query: Box<Query>,
    },
    /// Read log entries; answer with `LogRead`.
    Read {
        /// The number of the read.
        id: u64,
        /// The first counter wanted.
        from: u64,
        /// The last counter wanted.
        to: u64,
        /// The most bytes to read; the first entry is read whatever its size.
        bytes_max: usize,
    },
    /// Send a datagram.
    Datagram {
        /// The receiver.
        to: NodeId,
        /// The content.
        vote: Vote,
    },
    /// Dial a peer.
    Connect {
        /// The node to connect to.
        peer: NodeId,
    },
    /// Send on a connection.
    Send {
        /// The connection.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Close a connection after everything sent on it is written.
    Close {
        /// The connection.
        link: LinkId,
    },
    /// Make a snapshot of the table, and send it on this connection; then report
    /// [`SnapshotBegun`](gometa_zab::Event::SnapshotBegun), or close the connection. A second one for the same connection
    /// replaces the first.
    SendSnapshot {
        /// The connection.
        link: LinkId,
    },
    /// Delete the snapshot that [`SnapshotReceived`](gometa_zab::Event::SnapshotReceived) reported.
    DiscardSnapshot,
    /// Carry out a request for a backup of the table, and answer it.
    Backup {
        /// The client.
        client: ClientId,
        /// The id of the request.
        id: u64,
        /// What is requested.
        request: BackupRequest,
    },
    /// Answer a client.
    Respond {
        /// The client.
        client: ClientId,
        /// The answer.
        response: Response,
    },
    /// Role, leader or members have changed: for the next Welcome, and for all connected clients.
    View(View),
    /// The role has changed.
    Role(Role),
    /// An event for logs and metrics.
    Notice(Notice),
    /// At least three quarters of the sessions are in use; reported once a minute.
    SessionsShort {
        /// The number of live sessions.
        live: usize,
        /// The clients that opened most of them through this node, by the names of
        /// [`Event::ClientNamed`](crate::Event::ClientNamed), with the number of sessions of each.
        openers: Vec<(Arc<str>, usize)>,
    },
    /// Go into quarantine for this reason: the process must end, and come back with an empty log and an empty state, under
    /// another incarnation.
    Quarantine(Fault),
    /// The process must end, for this reason.
    Stop(String),
}
