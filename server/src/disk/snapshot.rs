//! The files of snapshots: checkpoints of the state to be sent, and states that are being received.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use gometa_codec::snapshot::{self, Chunk, FileKind, Manifest};
use gometa_node::{HistoryBounds, configuration_of, membership};
use gometa_proto::v1;
use gometa_store::{Checkpoint, Space, Store, Table, horizon_of, recompute_checkpoint};
use gometa_zab::{Configuration, DiskSpace, Levels, Zxid};
use tracing::{info, warn};

use super::{
    DiskError, RocksTable, SpaceWatch, StateWriter,
    database::{self, Database},
    directory::{self, Directory},
    failure::Failure,
    log_reader::LiveLog,
    scrub::LiveState,
    space,
    usage::{LastFlush, Usage},
};
use crate::process::threads;

/// The version of the encoding of the state's records.
pub(super) const FORMAT: u32 = 2;
/// The file of a database that names its list of tables.
const CURRENT: &str = "CURRENT";
const REMOVE_THREAD: &str = "gometa-remove";

/// What snapshots need of the data directory; clones are handles of the same one.
#[derive(Clone)]
pub struct Snapshots {
    pub(super) directory: Arc<Directory>,
    pub(super) failure: Arc<Failure>,
    pub(super) log_bytes: Arc<AtomicU64>,
    pub(super) stored: Arc<dyn Fn(u64) + Send + Sync>,
    pub(super) flushed: Arc<dyn Fn(u64) + Send + Sync>,
    pub(super) last_flush: LastFlush,
    /// The reader of the live log.
    pub(super) live: LiveLog,
    /// The live state.
    pub(super) state: LiveState,
    /// The number of the last checkpoint.
    pub(super) checkpoints: Arc<AtomicU64>,
}

impl Snapshots {
    /// A path for [`StateWriter::checkpoint`].
    pub(crate) fn checkpoint_path(&self) -> PathBuf {
        self.directory.checkpoint(self.checkpoints.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Opens a checkpoint that was made.
    pub(crate) fn open_checkpoint(&self, path: &Path) -> Result<Outgoing, DiskError> {
        Outgoing::open(self.directory.path(), path)
    }

    /// Why this node cannot take such a snapshot, if it cannot.
    pub(crate) fn refusal(&self, manifest: &Manifest) -> Option<String> {
        if manifest.format != FORMAT || manifest.level > Levels::SUPPORTED.max {
            let (format, level) = (manifest.format, manifest.level);
            return Some(format!("it has format {format} and level {level}: run the newer gometa-server"));
        }
        let (free, total) = self.directory.space()?;
        let reserve = space::reserve(total, 0) / 2;
        (manifest.bytes() + reserve > free).then(|| format!("{free} bytes are free: free some space"))
    }

    /// Makes room for a snapshot from another node; discards one that was received in part.
    pub(crate) fn receive(&self, manifest: Manifest) -> Result<Incoming, DiskError> {
        Incoming::create(self.clone(), manifest)
    }

    /// Removes a snapshot that was received in part, if there is one.
    pub(crate) fn discard(&self) -> Result<(), DiskError> {
        let path = self.directory.next_state();
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(DiskError::file("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Measures the data directory. `reserve_mb` is the configured reserve, 0 for the default.
    pub(crate) fn usage(&self, reserve_mb: u64) -> Usage {
        Usage::new(self.directory.clone(), self.last_flush.clone(), self.state.clone(), reserve_mb)
    }

    /// How much history is kept.
    pub(crate) fn history_bounds(&self) -> HistoryBounds {
        let total = self.directory.space().map_or(u64::MAX, |(_, total)| total);
        HistoryBounds { bytes_limit: database::history_limit(total), ..HistoryBounds::DEFAULT }
    }

    /// Starts to write to a state that is durable through `applied`.
    pub(super) fn start(&self, database: Arc<Database>, applied: u64) -> Result<StateWriter, DiskError> {
        self.last_flush.set(applied);
        *self.state.lock() = Arc::downgrade(&database);
        let (log_bytes, stored, flushed) =
            (self.log_bytes.clone(), self.stored.clone(), self.flushed.clone());
        StateWriter::start(database, applied, log_bytes, stored, flushed)
    }

    /// Reports that a record of the state makes no sense, which ends the process.
    pub(crate) fn fail_damaged(&self, error: &dyn std::error::Error) {
        self.failure.fail("read from", &format!("the state is damaged: {error}"));
    }

    /// Removes what is kept of a damaged log and state, on a thread of its own: the node is complete again.
    pub fn remove_kept(&self) {
        let directory = self.directory.clone();
        let thread = threads::spawn(REMOVE_THREAD, move || match directory.remove_kept() {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => info!(removed = %removed.join(", "), "node complete again, damaged files removed"),
            Err(error) => warn!(%error, "damaged files not removed"),
        });
        if let Err(error) = thread {
            warn!(%error, "damaged files not removed");
        }
    }

    /// Watches the free space of the data directory's file system.
    pub(crate) fn watch_space(
        &self,
        reserve_mb: u64,
        report: impl Fn(DiskSpace) + Send + 'static,
    ) -> Result<SpaceWatch, DiskError> {
        SpaceWatch::start(self.directory.clone(), reserve_mb, report)
    }

    /// Reports a failure of storage, which ends the process.
    pub(crate) fn fail(&self, error: &DiskError) {
        self.failure.fail("use", error);
    }
}

/// A checkpoint of the state, to be sent. Its directory is removed when it is dropped.
pub(crate) struct Outgoing {
    path: PathBuf,
    /// What is applied in it, by its own record.
    pub(crate) checkpoint: Checkpoint,
    pub(crate) files: Vec<snapshot::File>,
    /// The file that was read last.
    open: Option<(usize, File)>,
}

impl Outgoing {
    fn open(dir: &Path, path: &Path) -> Result<Outgoing, DiskError> {
        let mut outgoing = Outgoing {
            path: path.to_owned(),
            checkpoint: Checkpoint::default(),
            files: Vec::new(),
            open: None,
        };
        let rocks = database::open_read_only(dir, path)?;
        outgoing.checkpoint = database::checkpoint(dir, &rocks)?;
        drop(rocks);
        for item in fs::read_dir(path).map_err(DiskError::file("read", path))? {
            let item = item.map_err(DiskError::file("read", path))?;
            let Some((kind, number)) = parse_name(&item.file_name().to_string_lossy()) else { continue };
            let length = item.metadata().map_err(DiskError::file("look at", &item.path()))?.len();
            outgoing.files.push(snapshot::File { kind, number, length });
        }
        outgoing.files.sort_by_key(|file| file.number);
        Ok(outgoing)
    }

    /// The description of this snapshot, whose last applied entry is at `zxid`. `level` is the feature level of the ensemble now:
    /// that of the snapshot is not higher.
    pub(crate) fn manifest(&self, id: u64, zxid: Zxid, level: u32) -> Manifest {
        let Checkpoint { applied, hash, keys } = self.checkpoint;
        assert_eq!(zxid.counter, applied, "the zxid is that of the snapshot");
        Manifest { id, zxid, hash, keys, format: FORMAT, level, files: self.files.clone() }
    }

    /// The bytes of the files before this one; of all if there are fewer.
    pub(crate) fn bytes_before(&self, file: usize) -> u64 {
        self.files.iter().take(file).map(|file| file.length).sum()
    }

    /// Reads a part of a file; fewer bytes at its end. `None` if there is no such part.
    pub(crate) fn read(
        &mut self,
        file: usize,
        offset: u64,
        length: usize,
    ) -> Result<Option<Bytes>, DiskError> {
        let Some(snapshot::File { kind, number, length: size }) = self.files.get(file).copied() else {
            return Ok(None);
        };
        let length = (length as u64).min(size.saturating_sub(offset)) as usize;
        if length == 0 {
            return Ok(None);
        }
        let path = self.path.join(name(kind, number));
        let open = match self.open.take() {
            Some((open, handle)) if open == file => handle,
            _ => File::open(&path).map_err(DiskError::file("open", &path))?,
        };
        let mut bytes = vec![0; length];
        open.read_exact_at(&mut bytes, offset).map_err(DiskError::file("read", &path))?;
        self.open = Some((file, open));
        Ok(Some(bytes.into()))
    }

    /// Reads a part of the files, one after the other in their order; fewer bytes at the end of a file. `None` if there is no
    /// such part.
    pub(crate) fn read_at(&mut self, offset: u64, length: usize) -> Result<Option<Bytes>, DiskError> {
        let mut offset = offset;
        for (index, file) in self.files.iter().enumerate() {
            if offset < file.length {
                return self.read(index, offset, length);
            }
            offset -= file.length;
        }
        Ok(None)
    }

    /// What is in it, for people.
    pub(crate) fn contents(&self) -> Result<Contents, DiskError> {
        let rocks = database::open_read_only(&self.path, &self.path)?;
        let damaged = |what: String| DiskError::damaged(&self.path, what);
        let (mut sessions, mut horizon) = (0, 0);
        database::read_all(&rocks, Space::Session, |_, _| {
            sessions += 1;
            Ok(())
        })
        .map_err(damaged)?;
        database::read_all(&rocks, Space::History, |_, record| {
            horizon = horizon_of(record).map_err(|error| error.to_string())?;
            Ok(())
        })
        .map_err(damaged)?;
        let configuration = database::configuration(&rocks).map_err(damaged)?;
        let members = configuration.map(|configuration| membership(&configuration, u64::MAX).members);
        Ok(Contents { sessions, horizon, members })
    }

    /// Reads every record, and compares their sum with the checkpoint's.
    pub(crate) fn verify(&self, snapshots: &Snapshots) -> Result<(), String> {
        snapshots.verify(&self.path, self.checkpoint)
    }
}

/// What is in a checkpoint, for people.
pub(crate) struct Contents {
    /// The number of sessions.
    pub(crate) sessions: u64,
    /// The revision from which the history is complete.
    pub(crate) horizon: u64,
    /// The members; `None` if the genesis is in force in it.
    pub(crate) members: Option<Vec<v1::MemberRecord>>,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // What is left is removed at the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A state that is being received, in a directory of its own.
pub(crate) struct Incoming {
    snapshots: Snapshots,
    path: PathBuf,
    pub(crate) manifest: Manifest,
    /// The file that is being written.
    open: Option<(usize, File)>,
}

impl Incoming {
    fn create(snapshots: Snapshots, manifest: Manifest) -> Result<Incoming, DiskError> {
        snapshots.discard()?;
        let path = snapshots.directory.next_state();
        DirBuilder::new().mode(0o700).create(&path).map_err(DiskError::file("create", &path))?;
        Ok(Incoming { snapshots, path, manifest, open: None })
    }

    /// Writes a part of a file. The last part of a file syncs it. Parts of one file come in order.
    pub(crate) fn write(&mut self, chunk: &Chunk) -> Result<(), DiskError> {
        let file = self.manifest.files[chunk.file];
        let path = self.path.join(name(file.kind, file.number));
        let open = match self.open.take() {
            Some((open, handle)) if open == chunk.file => handle,
            _ => OpenOptions::new()
                .create(true)
                .truncate(chunk.offset == 0)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(DiskError::file("create", &path))?,
        };
        open.write_all_at(&chunk.data, chunk.offset).map_err(DiskError::file("write", &path))?;
        if chunk.offset + chunk.data.len() as u64 == file.length {
            open.sync_data().map_err(DiskError::file("sync", &path))?;
        } else {
            self.open = Some((chunk.file, open));
        }
        Ok(())
    }

    /// All files are complete: makes them durable, verifies every record, and opens the state.
    ///
    /// # Errors
    /// The outer one is of this node's storage; the inner one says what is wrong with the snapshot.
    pub(crate) fn finish(&mut self) -> Result<Result<Received, String>, DiskError> {
        self.open = None;
        let dir = self.snapshots.directory.path();
        write_current(&self.manifest, &self.path)?;
        directory::sync_directory(&self.path)?;
        let Manifest { zxid, hash, keys, .. } = self.manifest;
        if let Err(what) = self.snapshots.verify(&self.path, Checkpoint { applied: zxid.counter, hash, keys })
        {
            return Ok(Err(what));
        }
        let Snapshots { directory, failure, .. } = &self.snapshots;
        let rocks = match database::open(dir, &self.path, directory.cache_bytes()) {
            Err(error @ DiskError::Damaged { .. }) => return Ok(Err(error.to_string())),
            opened => opened?,
        };
        let database = Arc::new(Database::new(rocks, failure.clone(), directory.clone()));
        match Store::open(RocksTable::new(database.clone())) {
            Ok(store) => Ok(configuration_of(&store)
                .map(|configuration| Received { zxid: self.manifest.zxid, configuration, store, database })
                .map_err(|error| error.to_string())),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}

/// Writes the file that names the list of tables of a state.
pub(super) fn write_current(manifest: &Manifest, state: &Path) -> Result<(), DiskError> {
    let list = manifest.files.iter().find(|file| file.kind == FileKind::Manifest);
    let number = list.expect("a manifest has one list of tables").number;
    let path = state.join(CURRENT);
    let write = || {
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        file.write_all_at(format!("{}\n", name(FileKind::Manifest, number)).as_bytes(), 0)?;
        file.sync_all()
    };
    write().map_err(DiskError::file("write", &path))
}

/// A complete and verified state, not live yet.
pub(crate) struct Received {
    pub(crate) zxid: Zxid,
    /// The configuration that it records.
    pub(crate) configuration: Option<Configuration>,
    pub(crate) store: Store<RocksTable>,
    pub(super) database: Arc<Database>,
}

impl Snapshots {
    /// Reads every record of a state that is not in use, and compares their sum with what is expected.
    fn verify(&self, path: &Path, expected: Checkpoint) -> Result<(), String> {
        let Snapshots { directory, failure, .. } = self;
        let rocks = database::open_read_only(directory.path(), path).map_err(|error| error.to_string())?;
        let table = RocksTable::new(Arc::new(Database::new(rocks, failure.clone(), directory.clone())));
        table.verify()?;
        let (said, computed) = (table.checkpoint(), recompute_checkpoint(&table));
        if said == expected && computed == expected {
            return Ok(());
        }
        Err(format!("its records make {computed:?}, its checkpoint is {said:?}, {expected:?} is expected"))
    }

    /// Starts to write to a received state, which is live now; returns it with its writer.
    pub(crate) fn begin(&self, received: Received) -> Result<(Store<RocksTable>, StateWriter), DiskError> {
        let Received { zxid, store, database, .. } = received;
        Ok((store, self.start(database, zxid.counter)?))
    }

    /// Ends the writer of a state that is not live any more, and removes its files and those of its log, on a thread of its
    /// own. The table must not be in use any more.
    pub(crate) fn retire(&self, state: StateWriter) -> Result<(), DiskError> {
        let (directory, failure) = (self.directory.clone(), self.failure.clone());
        let thread = threads::spawn(REMOVE_THREAD, move || {
            state.discard();
            if let Err(error) = directory.remove_replaced() {
                failure.fail("write to", &error);
            }
        });
        thread.map(|_| ()).map_err(|source| DiskError::Thread { name: REMOVE_THREAD, source })
    }
}

/// The name of a file of a database.
pub(super) fn name(kind: FileKind, number: u64) -> String {
    match kind {
        FileKind::Table => format!("{number:06}.sst"),
        FileKind::Manifest => format!("MANIFEST-{number:06}"),
    }
}

/// The opposite of [`name`].
fn parse_name(text: &str) -> Option<(FileKind, u64)> {
    if let Some(number) = text.strip_suffix(".sst") {
        return Some((FileKind::Table, number.parse().ok()?));
    }
    Some((FileKind::Manifest, text.strip_prefix("MANIFEST-")?.parse().ok()?))
}
