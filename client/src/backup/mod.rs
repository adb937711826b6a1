//! Backups: the whole state of an ensemble at one revision, read from one node under load.
//!
//! The node keeps a checkpoint of its state while it is read, part by part, and for a minute after the last part. All parts come
//! from that node, over any number of connections. `format` has the file, `save` writes it.

mod format;
mod info;
mod save;

pub use format::{BackupReader, BackupWriter, FormatError, verify_backup};
pub use info::BackupInfo;
pub use save::{SaveError, Saved};

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use gometa_proto::{
    ErrorKind,
    limits::BACKUP_CHUNK_MAX,
    v1::{self, request::Operation as Body, response},
};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    client::Client,
    error::{Error, Operation, Result},
};

/// The number of parts that are requested at a time.
const PARTS_IN_FLIGHT: usize = 4;
/// The longest time for a follower to have applied what was acknowledged before, and to begin; then another node is asked.
const BEGIN_MAX: Duration = Duration::from_secs(5);
/// The longest time for which a part is requested again when its node cannot be reached: it keeps the backup as long.
const PART_TIMEOUT: Duration = Duration::from_secs(60);
/// A key that is read for the revision of the ensemble. It need not exist.
const ANY_KEY: &[u8] = b"\0";

/// A backup that is being read from a node. Dropping it ends the reading.
#[derive(Debug)]
pub struct Backup {
    /// Uses its node only.
    client: Client,
    address: String,
    info: BackupInfo,
    /// The first byte that is not requested yet.
    next: u64,
    /// The first byte that is not returned yet.
    returned: u64,
    parts: VecDeque<JoinHandle<Result<Bytes>>>,
    /// Why it cannot be read on: the bytes that failed are missing.
    failed: Option<Error>,
}

impl Client {
    /// Begins a backup of everything that was acknowledged before this call. It is read from a follower if one answers, else from
    /// the leader. Each follower has 5 s to begin it, the last node asked as long as the timeout of calls.
    ///
    /// # Errors
    /// Those of a linearizable read, see [`get`](Self::get); then [`ErrorKind::Unavailable`] and
    /// [`ErrorKind::ResourceExhausted`] if no node can begin it, and [`ErrorKind::Unsupported`] if the nodes run an earlier
    /// version.
    pub async fn backup(&self) -> Result<Backup> {
        match self.get(ANY_KEY).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error.with_operation(Operation::BeginBackup));
            }
            _ => {}
        }
        let revision = self.seen_revision();
        let view = self.view().await?;
        let (mut others, mut last): (Vec<String>, Vec<String>) = view
            .members
            .into_iter()
            .filter_map(|member| member.request_address)
            .partition(|address| view.leader.as_ref() != Some(address));
        others.append(&mut last);
        let mut failure = None;
        let count = others.len();
        for (number, address) in others.into_iter().enumerate() {
            let timeout = if number + 1 < count { self.timeout().min(BEGIN_MAX) } else { self.timeout() };
            match self.begin_backup(&address, revision, timeout).await {
                Ok(backup) => return Ok(backup),
                Err(error) => failure = Some(error),
            }
        }
        let none = || Error::new(ErrorKind::Unavailable, Operation::BeginBackup, "no node is known");
        Err(failure.unwrap_or_else(none))
    }

    /// Begins a backup of what the node at `address` has applied, also if the ensemble has no leader: what was acknowledged by
    /// other nodes may be missing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an invalid address, [`ErrorKind::FailedPrecondition`] if the node belongs to another
    /// ensemble than this client's, [`ErrorKind::Unavailable`] if the node cannot be reached or belongs
    /// to no ensemble, [`ErrorKind::ResourceExhausted`] if it has too many backups, and [`ErrorKind::Unsupported`] if it runs an
    /// earlier version.
    pub async fn backup_of(&self, address: &str) -> Result<Backup> {
        self.begin_backup(address, 0, self.timeout()).await
    }

    async fn begin_backup(&self, address: &str, min_revision: u64, timeout: Duration) -> Result<Backup> {
        let client = self.pinned_to(address)?.with_timeout(timeout);
        let body = Body::BeginBackup(v1::BeginBackup { min_revision });
        let manifest = client
            .call(body, |result| match result {
                response::Result::Backup(manifest) => Some(manifest),
                _ => None,
            })
            .await?;
        let theirs = manifest.ensemble.as_ref().map(|ensemble| (&ensemble.id, ensemble.history));
        let own = self.ensemble();
        if own.as_ref().is_some_and(|own| Some((&own.id, own.history)) != theirs) {
            let message =
                format!("the node at {address} belongs to another ensemble, or to an earlier history of it");
            return Err(Error::new(ErrorKind::FailedPrecondition, Operation::BeginBackup, message));
        }
        let client = client.with_timeout(PART_TIMEOUT.max(self.timeout()));
        let (address, info) = (address.to_owned(), BackupInfo { manifest });
        Ok(Backup { client, address, info, next: 0, returned: 0, parts: VecDeque::new(), failed: None })
    }
}

impl Backup {
    /// Its description.
    #[must_use]
    pub fn info(&self) -> &BackupInfo {
        &self.info
    }

    /// The address of its node.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The number of bytes returned so far, of [`BackupInfo::length`].
    #[must_use]
    pub fn position(&self) -> u64 {
        self.returned
    }

    /// The next bytes, at most 256 KiB; `None` after the last ones. If the node cannot be reached, it is tried again for a minute. If this future
    /// is dropped before it is ready, no byte is lost.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`] if the node does not keep the backup any more: begin another one.
    /// [`ErrorKind::DeadlineExceeded`] and [`ErrorKind::Unavailable`] if the node cannot be reached. After an error every call
    /// returns it again.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let length = self.info.length();
        while self.parts.len() < PARTS_IN_FLIGHT && self.next < length {
            let wanted = (length - self.next).min(BACKUP_CHUNK_MAX as u64);
            let part = read_part(self.client.clone(), self.info.id(), self.next, wanted);
            self.parts.push_back(tokio::spawn(part));
            self.next += wanted;
        }
        let Some(part) = self.parts.front_mut() else { return Ok(None) };
        let result = part.await;
        self.parts.pop_front();
        let broken = |_| Error::new(ErrorKind::Closed, Operation::ReadBackup, "the runtime is shut down");
        let bytes = result
            .map_err(broken)
            .and_then(|part| part)
            .inspect_err(|error| self.failed = Some(error.clone()))?;
        self.returned += bytes.len() as u64;
        Ok(Some(bytes))
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        self.parts.iter().for_each(JoinHandle::abort);
    }
}

/// Reads a part, again and again until it is there.
async fn read_part(client: Client, id: u64, offset: u64, length: u64) -> Result<Bytes> {
    let read = v1::ReadBackup { id, offset, length: length as u32 };
    let begun = Instant::now();
    loop {
        let read = client.call(Body::ReadBackup(read), |result| match result {
            response::Result::BackupChunk(chunk) => Some(chunk),
            _ => None,
        });
        let chunk = read.await?;
        if chunk.id == id
            && chunk.offset == offset
            && chunk.data.len() as u64 == length
            && crc32c::crc32c(&chunk.data) == chunk.crc
        {
            return Ok(chunk.data);
        }
        if begun.elapsed() > PART_TIMEOUT {
            let message = "the node returns other bytes than were requested, or damaged ones";
            return Err(Error::new(ErrorKind::Internal, Operation::ReadBackup, message));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
