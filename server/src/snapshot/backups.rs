//! Backups: checkpoints of the state that clients read part by part.
//!
//! A backup is a sequence of bytes: the length of a manifest, the manifest, as followers receive it, and the files that it lists.
//! Whoever reads it need not know what a state consists of.

use std::{sync::Arc, time::Instant};

use bytes::{BufMut, Bytes, BytesMut};
use gometa_codec::snapshot::{self, Frame};
use gometa_proto::{
    ErrorKind,
    v1::{self, response::Result as Answer},
};
use gometa_zab::Zxid;
use tracing::info;

use super::{KEPT, ticket::Ticket};
use crate::{
    client::registry::Clients,
    disk::{DiskError, Outgoing},
};

/// The number of backups that are kept at a time, each with a checkpoint of its own.
pub(super) const BACKUPS_MAX: usize = 2;
/// The number of clients that wait for a checkpoint.
pub(super) const WAITING_MAX: usize = 64;
/// The delay that clients are asked for before they try again, in milliseconds.
const RETRY_AFTER_MS: u32 = 500;

/// What the driver knows of a checkpoint, and the checkpoint does not.
pub(crate) struct Labels {
    /// The last entry that is applied in it.
    pub(crate) zxid: Zxid,
    pub(crate) ensemble: v1::EnsembleRef,
    /// The members, if the state records none.
    pub(crate) members: Vec<v1::MemberRecord>,
    /// This node.
    pub(crate) node: u64,
    /// The feature level of the ensemble.
    pub(crate) level: u32,
}

/// The use of a checkpoint as a backup.
pub(super) struct Backup {
    /// What precedes the files.
    head: Bytes,
    manifest: v1::BackupManifest,
    /// The number of clients that have begun it and have not read its end.
    readers: usize,
    used: Instant,
}

impl Backup {
    /// Describes a checkpoint.
    pub(super) fn new(id: u64, outgoing: &Outgoing, labels: Labels) -> Result<Backup, DiskError> {
        let Labels { zxid, ensemble, members, node, level } = labels;
        let contents = outgoing.contents()?;
        let snapshot = outgoing.manifest(id, zxid, level);
        let files = snapshot.bytes();
        let (hash, format) = (snapshot.hash, snapshot.format);
        let frame = snapshot::encode(&Frame::Manifest(snapshot));
        let mut head = BytesMut::with_capacity(4 + frame.len());
        head.put_u32(u32::try_from(frame.len()).expect("the number of files is bounded"));
        head.put(frame);
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let manifest = v1::BackupManifest {
            id,
            ensemble: Some(ensemble),
            epoch: zxid.epoch.0,
            revision: zxid.counter,
            hash: Bytes::copy_from_slice(&hash.to_be_bytes()),
            keys: outgoing.checkpoint.keys,
            sessions: contents.sessions,
            oldest_revision: contents.horizon,
            format,
            level,
            members: contents.members.unwrap_or(members),
            node,
            created_unix_ms: since_epoch.map_or(0, |time| time.as_millis() as u64),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            length: head.len() as u64 + files,
        };
        Ok(Backup { head: head.freeze(), manifest, readers: 0, used: Instant::now() })
    }

    /// A client has begun it.
    pub(super) fn begin(&mut self) -> v1::BackupManifest {
        self.readers += 1;
        self.used = Instant::now();
        self.manifest.clone()
    }

    /// When it was begun or read last.
    pub(super) fn used(&self) -> Instant {
        self.used
    }

    /// Whether a client is about to read more of it.
    pub(super) fn is_read(&self, now: Instant) -> bool {
        self.readers > 0 && now < self.used + KEPT
    }

    /// Reads a part; `None` if the offset is not below the length.
    pub(super) fn read(
        &mut self,
        outgoing: &mut Outgoing,
        offset: u64,
        length: usize,
    ) -> Result<Option<v1::BackupChunk>, DiskError> {
        let (head, total) = (self.head.len() as u64, self.manifest.length);
        if offset >= total {
            return Ok(None);
        }
        self.used = Instant::now();
        let end = offset.saturating_add(length as u64).min(total);
        let mut data = BytesMut::with_capacity((end - offset) as usize);
        if offset < head {
            data.put(&self.head[offset as usize..end.min(head) as usize]);
        }
        while offset + (data.len() as u64) < end {
            let at = offset + data.len() as u64;
            let part = outgoing.read_at(at - head, (end - at) as usize)?;
            // The sum of the lengths of the files does not change.
            let Some(part) = part else { return Ok(None) };
            data.put(part);
        }
        let data = data.freeze();
        if end == total && self.readers > 0 {
            self.readers -= 1;
            let (id, revision) = (format!("{:016x}", self.manifest.id), self.manifest.revision);
            info!(id, revision, bytes = total, "backup read");
        }
        Ok(Some(v1::BackupChunk { id: self.manifest.id, offset, crc: crc32c::crc32c(&data), data }))
    }
}

/// Answers a request.
pub(super) fn respond(clients: &Arc<Clients>, ticket: Ticket, revision: u64, result: Answer) {
    let response = v1::Response { id: ticket.id, revision, result: Some(result) };
    for client in clients.answer(std::iter::once((ticket.client, response))) {
        client.outbox.flush();
    }
}

/// Refuses a request.
pub(super) fn refuse(clients: &Arc<Clients>, ticket: Ticket, kind: ErrorKind, message: &str) {
    let error = v1::Error::not_applied(kind, message);
    let error = match kind {
        ErrorKind::ResourceExhausted | ErrorKind::Unavailable => error.with_retry_after_ms(RETRY_AFTER_MS),
        _ => error,
    };
    respond(clients, ticket, 0, Answer::Error(error));
}
