//! Sending: one thread for all followers, and for clients that make backups.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gometa_codec::snapshot::{Chunk, Frame, Request};
use gometa_node::{BackupRequest, Event};
use gometa_proto::{ErrorKind, v1::response::Result as Answer};
use gometa_store::Checkpoint;
use gometa_zab::{LinkId, Message, Zxid};
use tracing::{debug, info, warn};

use super::{
    KEPT,
    backups::{self, BACKUPS_MAX, Backup, Labels, WAITING_MAX},
    send,
    ticket::Ticket,
    transfers::Transfers,
};
use crate::{
    client::registry::Clients,
    disk::{DiskError, Outgoing, Snapshots, StateCheckpoints},
    inbox::{Inbox, Item},
    net::outbox::Outbox,
    process::{
        queue::{Queue, Taken},
        threads,
    },
};

const THREAD: &str = "gometa-snapshot-send";
const JUDGE_THREAD: &str = "gometa-snapshot-judge";
/// The age up to which a checkpoint is sent to a further follower. A newer one may be smaller: a follower may have had no room
/// for this one.
const REUSED_MAX: Duration = Duration::from_secs(10);

/// Sends snapshots. Dropping it ends the transfers.
pub(crate) struct SnapshotSender {
    queue: Arc<Queue<Work>>,
    thread: Option<JoinHandle<()>>,
}

enum Work {
    Begin {
        link: LinkId,
        state: StateCheckpoints,
    },
    /// A checkpoint is made in this directory.
    Made {
        path: PathBuf,
    },
    Manifest {
        link: LinkId,
        outbox: Arc<Outbox<Message>>,
        id: u64,
        zxid: Zxid,
        /// The feature level of the ensemble.
        level: u32,
    },
    Request {
        link: LinkId,
        outbox: Arc<Outbox<Message>>,
        request: Request,
    },
    Closed {
        link: LinkId,
    },
    /// The receiver of this snapshot says that it is damaged.
    Refused {
        outbox: Arc<Outbox<Message>>,
        id: u64,
    },
    /// A client requests a backup, or a part of one.
    Backup {
        ticket: Ticket,
        state: StateCheckpoints,
    },
    /// The checkpoint with this id is to be read as a backup.
    BackupLabels {
        ticket: Ticket,
        id: u64,
        /// `None` if the log begins above the checkpoint by now.
        labels: Option<Box<Labels>>,
    },
    /// All checkpoints are deleted, for their space.
    Discard,
}

impl SnapshotSender {
    pub(crate) fn start(
        snapshots: Snapshots,
        inbox: Arc<Inbox>,
        transfers: Arc<Transfers>,
        clients: Arc<Clients>,
    ) -> Result<SnapshotSender, DiskError> {
        let queue = Arc::new(Queue::new());
        let worker = Worker {
            queue: queue.clone(),
            inbox,
            snapshots,
            transfers,
            clients,
            kept: Vec::new(),
            waiting: Vec::new(),
            tickets: Vec::new(),
            making: None,
            judging: None,
        };
        let thread = threads::spawn(THREAD, move || worker.run());
        let thread = thread.map_err(|source| DiskError::Thread { name: THREAD, source })?;
        Ok(SnapshotSender { queue, thread: Some(thread) })
    }

    /// Begins a transfer on a link: [`Item::SnapshotMade`] follows. If one was begun on it before, a newer snapshot takes its
    /// place.
    pub(crate) fn begin(&self, link: LinkId, state: StateCheckpoints) {
        self.queue.put(Work::Begin { link, state });
    }

    /// Sends the manifest of the snapshot that [`Item::SnapshotMade`] names.
    pub(crate) fn send_manifest(
        &self,
        link: LinkId,
        outbox: Arc<Outbox<Message>>,
        id: u64,
        zxid: Zxid,
        level: u32,
    ) {
        self.queue.put(Work::Manifest { link, outbox, id, zxid, level });
    }

    /// Sends a chunk.
    pub(crate) fn send_chunk(&self, link: LinkId, outbox: Arc<Outbox<Message>>, request: Request) {
        self.queue.put(Work::Request { link, outbox, request });
    }

    /// The receiver of a snapshot says that it is damaged.
    pub(crate) fn refused(&self, outbox: Arc<Outbox<Message>>, id: u64) {
        self.queue.put(Work::Refused { outbox, id });
    }

    /// Carries out a client's request for a backup. [`Item::BackupMade`] follows the first one.
    pub(crate) fn backup(&self, ticket: Ticket, state: StateCheckpoints) {
        self.queue.put(Work::Backup { ticket, state });
    }

    /// Labels the backup that [`Item::BackupMade`] names, and answers its request. `None`: the log begins above it by now.
    pub(crate) fn label_backup(&self, ticket: Ticket, id: u64, labels: Option<Labels>) {
        self.queue.put(Work::BackupLabels { ticket, id, labels: labels.map(Box::new) });
    }

    /// Deletes all checkpoints. Those who receive one connect again.
    pub(crate) fn discard(&self) {
        self.queue.put(Work::Discard);
    }

    /// A link is closed.
    pub(crate) fn closed(&self, link: LinkId) {
        self.queue.put(Work::Closed { link });
    }
}

impl Drop for SnapshotSender {
    fn drop(&mut self) {
        self.queue.clear();
        self.queue.close();
        self.thread.take().into_iter().for_each(threads::join);
    }
}

struct Worker {
    queue: Arc<Queue<Work>>,
    inbox: Arc<Inbox>,
    snapshots: Snapshots,
    transfers: Arc<Transfers>,
    clients: Arc<Clients>,
    /// Oldest first.
    kept: Vec<Kept>,
    /// The links that wait for the next checkpoint.
    waiting: Vec<LinkId>,
    /// The clients that wait for the next checkpoint; at most [`WAITING_MAX`].
    tickets: Vec<Ticket>,
    /// The state of which a checkpoint is being made.
    making: Option<StateCheckpoints>,
    /// The thread that verifies a refused snapshot.
    judging: Option<JoinHandle<()>>,
}

/// A checkpoint, and who receives it.
struct Kept {
    id: u64,
    outgoing: Outgoing,
    links: Vec<LinkId>,
    /// Its use as a backup.
    backup: Option<Backup>,
    /// The clients that wait for the labels of the backup.
    tickets: usize,
    /// Whether the log begins above it.
    is_old: bool,
    made: Instant,
    /// The last time at which a link received it.
    used: Instant,
}

impl Kept {
    /// Whether a link receives it, or a client has asked for it, or may read on.
    fn is_in_use(&self, now: Instant) -> bool {
        !self.links.is_empty()
            || self.tickets > 0
            || self.backup.as_ref().is_some_and(|backup| now < backup.used() + KEPT)
    }

    /// When it is deleted, if nobody uses it again.
    fn until(&self) -> Instant {
        self.backup.as_ref().map_or(self.used, |backup| self.used.max(backup.used())) + KEPT
    }

    /// Whether it counts as a backup that is being read.
    fn is_backup(&self, now: Instant) -> bool {
        self.tickets > 0 || self.backup.as_ref().is_some_and(|backup| backup.is_read(now))
    }
}

impl Worker {
    fn run(mut self) {
        let mut work = VecDeque::new();
        loop {
            let next = self.kept.iter().map(Kept::until).min();
            if self.queue.take(&mut work, next) == Taken::Closed {
                return;
            }
            for work in work.drain(..) {
                if let Err(error) = self.handle(work) {
                    return self.snapshots.fail(&error);
                }
            }
            let now = Instant::now();
            self.kept.retain_mut(|kept| {
                if !kept.links.is_empty() || kept.tickets > 0 {
                    kept.used = now;
                }
                now < kept.until()
            });
        }
    }

    fn handle(&mut self, work: Work) -> Result<(), DiskError> {
        match work {
            Work::Begin { link, state } => {
                let again = self.forget(link);
                match self.kept.last_mut() {
                    Some(last) if !again && last.made.elapsed() < REUSED_MAX => {
                        last.links.push(link);
                        report(&self.inbox, link, last);
                    }
                    _ => {
                        self.waiting.push(link);
                        self.make(state);
                    }
                }
            }
            Work::Made { path } => {
                self.making = None;
                self.made(&path)?;
            }
            Work::Manifest { link, outbox, id, zxid, level } => {
                if let Some(kept) = self.kept.iter().find(|kept| kept.id == id && kept.links.contains(&link))
                {
                    let manifest = kept.outgoing.manifest(id, zxid, level);
                    self.transfers.begin_sending(link, zxid.counter, manifest.bytes());
                    send(&outbox, &Frame::Manifest(manifest));
                }
            }
            Work::Request { link, outbox, request } => self.answer(link, &outbox, &request)?,
            Work::Closed { link } => {
                self.forget(link);
            }
            Work::Refused { outbox, id } => {
                outbox.abort();
                if let Some(at) = self.kept.iter().position(|kept| kept.id == id) {
                    let refused = self.kept.remove(at);
                    self.judge(refused.outgoing)?;
                }
            }
            Work::Backup { ticket, state } => self.backup(ticket, state)?,
            Work::BackupLabels { ticket, id, labels } => self.begin_backup(ticket, id, labels)?,
            Work::Discard => self.kept.clear(),
        }
        Ok(())
    }

    /// Forgets a link; returns whether it received something or waited for it.
    fn forget(&mut self, link: LinkId) -> bool {
        self.transfers.end_sending(link);
        let lists = self.kept.iter_mut().map(|kept| &mut kept.links).chain([&mut self.waiting]);
        let mut found = false;
        for links in lists {
            let before = links.len();
            links.retain(|other| *other != link);
            found |= links.len() < before;
        }
        found
    }

    fn make(&mut self, state: StateCheckpoints) {
        // A checkpoint of a state that was replaced since is never made.
        if self.making.as_ref().is_some_and(|making| making.is_same(&state)) {
            return;
        }
        let (path, queue) = (self.snapshots.checkpoint_path(), self.queue.clone());
        state.make(path.clone(), move || queue.put(Work::Made { path }));
        self.making = Some(state);
    }

    fn made(&mut self, path: &Path) -> Result<(), DiskError> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| DiskError::random("name a snapshot in", path, error))?;
        let now = Instant::now();
        let kept = Kept {
            id: u64::from_be_bytes(id),
            outgoing: self.snapshots.open_checkpoint(path)?,
            links: std::mem::take(&mut self.waiting),
            backup: None,
            tickets: 0,
            is_old: false,
            made: now,
            used: now,
        };
        let (revision, bytes) = (kept.outgoing.checkpoint.applied, kept.outgoing.bytes_before(usize::MAX));
        debug!(revision, bytes, files = kept.outgoing.files.len(), "checkpoint of the state made");
        kept.links.iter().for_each(|link| report(&self.inbox, *link, &kept));
        // Nobody requests an earlier checkpoint that is not in use, and its files take space.
        self.kept.retain(|earlier| earlier.is_in_use(now));
        self.kept.push(kept);
        for ticket in std::mem::take(&mut self.tickets) {
            self.report_backup(ticket);
        }
        Ok(())
    }

    fn backup(&mut self, ticket: Ticket, state: StateCheckpoints) -> Result<(), DiskError> {
        match ticket.request {
            BackupRequest::Begin { .. } => {
                self.request_backup(ticket, state);
                Ok(())
            }
            BackupRequest::Read { backup, offset, length } => {
                self.read_backup(ticket, (backup, offset, length))
            }
        }
    }

    /// Uses the last checkpoint, or makes a new one.
    fn request_backup(&mut self, ticket: Ticket, state: StateCheckpoints) {
        let now = Instant::now();
        let kept = self.kept.iter().filter(|kept| kept.is_backup(now)).count();
        if let Some(last) = self.kept.last()
            && (last.is_backup(now) || kept < BACKUPS_MAX)
            && last.made.elapsed() < REUSED_MAX
            && !last.is_old
            && last.outgoing.checkpoint.applied >= ticket.min_revision()
        {
            return self.report_backup(ticket);
        }
        if kept >= BACKUPS_MAX || self.tickets.len() >= WAITING_MAX {
            let message =
                format!("{kept} backups are being read from this node: wait for them, or use another node");
            return backups::refuse(&self.clients, ticket, ErrorKind::ResourceExhausted, &message);
        }
        self.tickets.push(ticket);
        self.make(state);
    }

    /// Reports the last checkpoint for a client.
    fn report_backup(&mut self, ticket: Ticket) {
        let Some(last) = self.kept.last_mut() else { return };
        let Checkpoint { applied, .. } = last.outgoing.checkpoint;
        if applied < ticket.min_revision() {
            let message = format!("the state of this node has revision {applied}, below the requested one");
            return backups::refuse(&self.clients, ticket, ErrorKind::Unavailable, &message);
        }
        last.tickets += 1;
        let (id, checkpoint) = (last.id, last.outgoing.checkpoint);
        self.inbox.put_answer(Item::BackupMade { ticket, id, checkpoint });
    }

    fn begin_backup(
        &mut self,
        ticket: Ticket,
        id: u64,
        labels: Option<Box<Labels>>,
    ) -> Result<(), DiskError> {
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.id == id) else {
            let message = "the checkpoint for the backup was deleted, as disk space is short on this node";
            backups::refuse(&self.clients, ticket, ErrorKind::ResourceExhausted, message);
            return Ok(());
        };
        kept.tickets = kept.tickets.saturating_sub(1);
        let Some(labels) = labels else {
            kept.is_old = true;
            let message = "the log of this node begins above the checkpoint by now: try again";
            backups::refuse(&self.clients, ticket, ErrorKind::Unavailable, message);
            return Ok(());
        };
        let backup = match &mut kept.backup {
            Some(backup) => backup,
            none => none.insert(Backup::new(id, &kept.outgoing, *labels)?),
        };
        let manifest = backup.begin();
        let (revision, bytes) = (manifest.revision, manifest.length);
        info!(id = format!("{id:016x}"), client = ticket.client.0, revision, bytes, "backup begun");
        backups::respond(&self.clients, ticket, revision, Answer::Backup(manifest));
        Ok(())
    }

    fn read_backup(
        &mut self,
        ticket: Ticket,
        (id, offset, length): (u64, u64, usize),
    ) -> Result<(), DiskError> {
        let found = self.kept.iter_mut().find(|kept| kept.id == id);
        let Some((backup, outgoing)) =
            found.and_then(|kept| Some((kept.backup.as_mut()?, &mut kept.outgoing)))
        else {
            let message = format!(
                "this node does not keep the backup {id:016x}: it is deleted 60 s after its last use, when disk space is short, \
                 and when the node stops; begin another one"
            );
            backups::refuse(&self.clients, ticket, ErrorKind::FailedPrecondition, &message);
            return Ok(());
        };
        match backup.read(outgoing, offset, length)? {
            Some(chunk) => {
                let revision = outgoing.checkpoint.applied;
                backups::respond(&self.clients, ticket, revision, Answer::BackupChunk(chunk));
            }
            None => {
                let message = format!("the backup {id:016x} has no byte at {offset}");
                backups::refuse(&self.clients, ticket, ErrorKind::InvalidArgument, &message);
            }
        }
        Ok(())
    }

    /// Verifies a snapshot that its receiver has refused, on a thread of its own, one at a time. It has the files of this
    /// node's state: if it is damaged here, so is the state.
    fn judge(&mut self, outgoing: Outgoing) -> Result<(), DiskError> {
        if self.judging.as_ref().is_some_and(|judging| !judging.is_finished()) {
            return Ok(());
        }
        let (inbox, snapshots) = (self.inbox.clone(), self.snapshots.clone());
        let revision = outgoing.checkpoint.applied;
        let judge = move || match outgoing.verify(&snapshots) {
            Ok(()) => warn!(revision, "snapshot refused by its receiver, it is sound on this node"),
            Err(damage) => {
                warn!(
                    revision,
                    damage, "snapshot refused by its receiver, the state of this node is damaged"
                );
                inbox.put_answer(Item::Event(Event::Zab(gometa_zab::Event::Damaged)));
            }
        };
        let thread = threads::spawn(JUDGE_THREAD, judge);
        self.judging = Some(thread.map_err(|source| DiskError::Thread { name: JUDGE_THREAD, source })?);
        Ok(())
    }

    fn answer(
        &mut self,
        link: LinkId,
        outbox: &Arc<Outbox<Message>>,
        request: &Request,
    ) -> Result<(), DiskError> {
        let Request { id, file, offset, length } = *request;
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.id == id) else {
            // The follower connects again, and gets another one.
            debug!(id, "request for a deleted snapshot, link closed");
            outbox.abort();
            return Ok(());
        };
        match kept.outgoing.read(file, offset, length)? {
            Some(data) => {
                let (bytes, before) = (data.len() as u64, kept.outgoing.bytes_before(file));
                send(outbox, &Frame::Chunk(Chunk { id, file, offset, data }));
                let (done, total) = (before + offset + bytes, kept.outgoing.bytes_before(usize::MAX));
                self.transfers.sent(link, bytes, done);
                // Parts are requested in order.
                if done == total {
                    let milliseconds = kept.made.elapsed().as_millis() as u64;
                    let revision = kept.outgoing.checkpoint.applied;
                    info!(%link, revision, bytes = total, milliseconds, "snapshot sent");
                    kept.links.retain(|other| *other != link);
                    kept.used = Instant::now();
                    self.transfers.end_sending(link);
                }
            }
            None => {
                warn!(id, file, offset, "invalid snapshot request, link closed");
                outbox.abort();
            }
        }
        Ok(())
    }
}

fn report(inbox: &Inbox, link: LinkId, kept: &Kept) {
    let checkpoint = kept.outgoing.checkpoint;
    inbox.put_answer(Item::SnapshotMade { link, id: kept.id, checkpoint });
}
