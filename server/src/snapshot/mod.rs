//! The transfer of snapshots between this node and its peers, and of backups to clients.
//!
//! A leader makes a checkpoint of its state and sends the manifest. The follower requests one chunk after another, a few at
//! a time: its requests are the flow control, and after a broken connection it goes on where it was, if the leader still
//! has the same checkpoint. Heartbeats and proposals wait behind the few chunks in flight at most. The protocol core knows
//! when a transfer begins and when a snapshot is complete, and nothing in between.

mod backups;
mod progress;
mod receiver;
mod sender;
mod ticket;
mod transfers;

pub(crate) use self::{
    receiver::SnapshotReceiver,
    sender::SnapshotSender,
    ticket::{Labels, Ticket},
    transfers::Transfers,
};

use std::{sync::Arc, time::Duration};

use gometa_codec::snapshot::{self, Frame};
use gometa_zab::Message;

use crate::net::outbox::{Outbox, Put};

/// The data of one chunk, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// The number of chunks that a receiver requests ahead.
const CHUNKS_IN_FLIGHT: usize = 4;

/// The time for which a checkpoint without a receiver is kept: for those whose connection is broken.
const KEPT: Duration = Duration::from_secs(60);

/// Sends a frame. A connection that does not take it is closed: the other end reads too slowly.
fn send(outbox: &Arc<Outbox<Message>>, frame: &Frame) {
    match outbox.put(Message::Snapshot(snapshot::encode(frame))) {
        Put::First => outbox.flush(),
        Put::Queued | Put::Closed => {}
        Put::Full => outbox.abort(),
    }
}
