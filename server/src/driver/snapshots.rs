//! Snapshots and backups, as far as the driver takes part: their checkpoints need what the node knows.

use bytes::Bytes;
use gometa_codec::snapshot::{self, Frame};
use gometa_node::{Event, membership};
use gometa_proto::v1;
use gometa_store::Checkpoint;
use gometa_zab::LinkId;
use tracing::warn;

use super::{Driver, Reason};
use crate::snapshot::{Labels, Ticket};

impl Driver {
    pub(super) fn discard_received(&mut self) {
        self.received = None;
        self.environment.receiver.settled(false);
    }

    /// A snapshot is made for a follower.
    pub(super) fn begin_transfer(
        &mut self,
        link: LinkId,
        id: u64,
        checkpoint: &Checkpoint,
        events: &mut Vec<Event>,
    ) {
        let Some(outbox) = self.links.get(&link) else { return };
        match self.node.snapshot_zxid(checkpoint) {
            Some(zxid) => {
                let level = self.node.level();
                self.environment.sender.send_manifest(link, outbox.clone(), id, zxid, level);
                events.push(Event::Zab(gometa_zab::Event::SnapshotBegun { link, zxid }));
            }
            // The log begins above it by now.
            None => self.environment.sender.begin(link, self.environment.state.checkpoints()),
        }
    }

    /// A checkpoint is made for a backup.
    pub(super) fn label_backup(&mut self, ticket: Ticket, id: u64, checkpoint: &Checkpoint) {
        let sender = &self.environment.sender;
        let (Some(zxid), Some(ensemble)) = (self.node.snapshot_zxid(checkpoint), self.node.ensemble()) else {
            return sender.label_backup(ticket, id, None);
        };
        let labels = Labels {
            zxid,
            ensemble: v1::EnsembleRef {
                id: Bytes::copy_from_slice(&ensemble.id.to_be_bytes()),
                history: ensemble.history,
            },
            members: membership(self.node.configuration(), u64::MAX).members,
            node: self.node.id().0,
            level: self.node.level(),
        };
        sender.label_backup(ticket, id, Some(labels));
    }

    /// A part of the transfer of a snapshot.
    pub(super) fn snapshot_frame(&mut self, link: LinkId, frame: Bytes) {
        let Some(outbox) = self.links.get(&link) else { return };
        match snapshot::decode(frame) {
            Ok(Frame::Request(request)) => self.environment.sender.send_chunk(link, outbox.clone(), request),
            Ok(Frame::Damaged(id)) => self.environment.sender.refused(outbox.clone(), id),
            Ok(frame) => self.environment.receiver.take(link, outbox, frame),
            Err(error) => {
                warn!(%link, %error, "invalid snapshot frame, link closed");
                outbox.abort();
            }
        }
    }

    /// The received snapshot is live: the node goes on with it.
    pub(super) fn exchange_state(&mut self) {
        self.installation = None;
        let (_, received) = self.received.take().expect("the installed snapshot was received");
        let exchanged = self.environment.snapshots.begin(*received).map_err(|error| error.to_string());
        let exchanged = exchanged.and_then(|(store, state)| {
            self.environment.record_reader.exchange(store.table());
            self.environment.query_reader.exchange(store.table());
            self.node.install(store);
            let old = std::mem::replace(&mut self.environment.state, state);
            self.environment.receiver.settled(true);
            self.environment.snapshots.retire(old).map_err(|error| error.to_string())
        });
        if let Err(reason) = exchanged {
            self.environment.shutdown.request(Reason::Failed(reason));
            self.stopped = true;
        }
    }
}
