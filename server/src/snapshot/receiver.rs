//! Receiving: one thread, one snapshot at a time.

use std::{sync::Arc, thread::JoinHandle, time::Instant};

use gometa_codec::snapshot::{Chunk, Frame, Manifest};
use gometa_zab::{LinkId, Message};
use tracing::{error, info, warn};

use super::{progress::Progress, send, transfers::Transfers};
use crate::{
    disk::{DiskError, Incoming, Snapshots},
    inbox::{Inbox, Item},
    net::outbox::Outbox,
    process::{queue::Queue, threads},
};

const THREAD: &str = "gometa-snapshot-receive";

/// Receives snapshots. Dropping it ends the transfer.
pub(crate) struct SnapshotReceiver {
    queue: Arc<Queue<Work>>,
    thread: Option<JoinHandle<()>>,
}

enum Work {
    Manifest {
        link: LinkId,
        outbox: Arc<Outbox<Message>>,
        manifest: Manifest,
    },
    Chunk {
        link: LinkId,
        chunk: Chunk,
    },
    /// What is received in part is deleted, for its space.
    Discard,
    /// The snapshot that was ready is installed, or is not wanted.
    Settled {
        installed: bool,
    },
    UpToDate,
}

impl SnapshotReceiver {
    pub(crate) fn start(
        snapshots: Snapshots,
        inbox: Arc<Inbox>,
        transfers: Arc<Transfers>,
    ) -> Result<SnapshotReceiver, DiskError> {
        let queue = Arc::new(Queue::<Work>::new());
        let mut worker = Worker { inbox, snapshots, transfers, transfer: None, ready: false };
        let thread = threads::spawn(THREAD, {
            let queue = queue.clone();
            move || {
                while let Some(work) = queue.pop() {
                    if let Err(error) = worker.handle(work) {
                        return worker.snapshots.fail(&error);
                    }
                }
            }
        });
        let thread = thread.map_err(|source| DiskError::Thread { name: THREAD, source })?;
        Ok(SnapshotReceiver { queue, thread: Some(thread) })
    }

    /// Takes a frame from this node's leader. [`Item::SnapshotReady`] follows the last one. Requests belong to the
    /// [`SnapshotSender`](super::SnapshotSender).
    pub(crate) fn take(&self, link: LinkId, outbox: &Arc<Outbox<Message>>, frame: Frame) {
        match frame {
            Frame::Manifest(manifest) => {
                self.queue.put(Work::Manifest { link, outbox: outbox.clone(), manifest });
            }
            Frame::Chunk(chunk) => self.queue.put(Work::Chunk { link, chunk }),
            Frame::Request(_) | Frame::Damaged(_) => {}
        }
    }

    /// The node is up to date: it does not need a snapshot that is received in part.
    pub(crate) fn up_to_date(&self) {
        self.queue.put(Work::UpToDate);
    }

    /// Deletes what is received in part. This node connects to its leader again.
    pub(crate) fn discard(&self) {
        self.queue.put(Work::Discard);
    }

    /// The snapshot that was ready is installed, or is not wanted. Nobody uses it in the second case.
    pub(crate) fn settled(&self, installed: bool) {
        self.queue.put(Work::Settled { installed });
    }
}

impl Drop for SnapshotReceiver {
    fn drop(&mut self) {
        self.queue.clear();
        self.queue.close();
        self.thread.take().into_iter().for_each(threads::join);
    }
}

struct Worker {
    inbox: Arc<Inbox>,
    snapshots: Snapshots,
    transfers: Arc<Transfers>,
    transfer: Option<Transfer>,
    /// A snapshot was reported, and is not settled.
    ready: bool,
}

struct Transfer {
    link: LinkId,
    outbox: Arc<Outbox<Message>>,
    incoming: Incoming,
    progress: Progress,
    begun: Instant,
}

impl Worker {
    fn handle(&mut self, work: Work) -> Result<(), DiskError> {
        match work {
            Work::Manifest { link, outbox, manifest } => self.begin(link, outbox, manifest),
            Work::Chunk { link, chunk } => self.take(link, &chunk),
            Work::Discard => {
                let Some(transfer) = self.transfer.take() else { return Ok(()) };
                transfer.outbox.abort();
                drop(transfer);
                self.snapshots.discard()
            }
            Work::Settled { installed } => {
                self.ready = false;
                if installed { Ok(()) } else { self.snapshots.discard() }
            }
            Work::UpToDate => self.drop_incomplete(),
        }
    }

    fn drop_incomplete(&mut self) -> Result<(), DiskError> {
        let Some(transfer) = self.transfer.take() else { return Ok(()) };
        let (revision, received) = (transfer.incoming.manifest.zxid.counter, transfer.progress.received());
        drop(transfer);
        self.transfers.end_receiving();
        info!(revision, received, "incomplete snapshot discarded, the node is up to date");
        self.snapshots.discard()
    }

    fn begin(
        &mut self,
        link: LinkId,
        outbox: Arc<Outbox<Message>>,
        manifest: Manifest,
    ) -> Result<(), DiskError> {
        if self.ready {
            // The leader begins anew when this node has settled the last one.
            outbox.abort();
            return Ok(());
        }
        if let Some(why) = self.snapshots.refusal(&manifest) {
            error!(
                revision = manifest.zxid.counter,
                bytes = manifest.bytes(),
                reason = why,
                "snapshot refused"
            );
            outbox.abort();
            return Ok(());
        }
        let transfer = match self.transfer.take() {
            Some(mut transfer) if transfer.incoming.manifest == manifest => {
                transfer.progress.restart();
                let received = transfer.progress.received();
                info!(
                    revision = manifest.zxid.counter,
                    received,
                    bytes = manifest.bytes(),
                    "receiving the snapshot, continued"
                );
                Transfer { link, outbox, ..transfer }
            }
            other => {
                drop(other);
                info!(
                    revision = manifest.zxid.counter,
                    bytes = manifest.bytes(),
                    keys = manifest.keys,
                    "receiving a snapshot"
                );
                let incoming = self.snapshots.receive(manifest)?;
                Transfer { link, outbox, incoming, progress: Progress::new(), begun: Instant::now() }
            }
        };
        let (manifest, received) = (&transfer.incoming.manifest, transfer.progress.received());
        self.transfers.begin_receiving(manifest.zxid.counter, manifest.bytes(), received);
        self.go_on(transfer)
    }

    fn take(&mut self, link: LinkId, chunk: &Chunk) -> Result<(), DiskError> {
        // Stale ones come from connections that have been replaced since.
        let current =
            |transfer: &mut Transfer| transfer.link == link && transfer.incoming.manifest.id == chunk.id;
        let Some(mut transfer) = self.transfer.take_if(current) else { return Ok(()) };
        if !transfer.progress.accept(chunk) {
            warn!(file = chunk.file, offset = chunk.offset, "unexpected snapshot chunk, link closed");
            transfer.outbox.abort();
            self.transfer = Some(transfer);
            return Ok(());
        }
        transfer.incoming.write(chunk)?;
        self.transfers.received(chunk.data.len() as u64);
        self.go_on(transfer)
    }

    /// Requests the next chunks, or completes the transfer.
    fn go_on(&mut self, mut transfer: Transfer) -> Result<(), DiskError> {
        let manifest = &transfer.incoming.manifest;
        for request in transfer.progress.requests(manifest) {
            send(&transfer.outbox, &Frame::Request(request));
        }
        if !transfer.progress.is_complete(manifest) {
            self.transfer = Some(transfer);
            return Ok(());
        }
        let (id, revision, bytes) = (manifest.id, manifest.zxid.counter, manifest.bytes());
        let milliseconds = transfer.begun.elapsed().as_millis() as u64;
        self.transfers.end_receiving();
        match transfer.incoming.finish()? {
            Ok(received) => {
                info!(revision, bytes, milliseconds, "snapshot complete and verified");
                self.ready = true;
                let item = Item::SnapshotReady { link: transfer.link, received: Box::new(received) };
                self.inbox.put_answer(item);
            }
            Err(why) => {
                error!(revision, bytes, reason = why, "snapshot damaged, another one is requested");
                // The sender closes the connection.
                send(&transfer.outbox, &Frame::Damaged(id));
                drop(transfer);
                self.snapshots.discard()?;
            }
        }
        Ok(())
    }
}
