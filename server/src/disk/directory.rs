//! The files beside log and state: lock, format, identity, boot count, live generation, damage.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use gometa_zab::{Founding, Incarnation, NodeId};
use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use super::{
    DiskError, Identity,
    copies::Voters,
    database, log_writer,
    sealed::{field, read_sealed, write_sealed, write_whole},
};

/// The layout and the encoding of log entries that this program writes, and the only ones that it reads.
pub(super) const FORMAT_VERSION: u64 = 4;
pub(super) const FORMAT_TITLE: &str = "gometa data directory";

const LOCK: &str = "LOCK";
pub(super) const CREATING: &str = "CREATING";
pub(super) const RESTORING: &str = "RESTORING";
pub(super) const FORMAT: &str = "FORMAT";
pub(super) const IDENTITY: &str = "IDENTITY";
pub(super) const BOOT: &str = "BOOT";
pub(super) const GENERATION: &str = "GENERATION";
pub(super) const DAMAGED: &str = "DAMAGED";
/// The prefix of what is kept of a damaged pair.
const KEPT: &str = "damaged-";
/// The line of `IDENTITY` that says that the node never founds an ensemble.
const FOUNDS_NEVER: &str = "founds never\n";
/// The prefix of the directory of a checkpoint.
const CHECKPOINT: &str = "checkpoint-";
/// The suffix of a file that is being written.
pub(super) const UNFINISHED: &str = ".new";
/// A directory that new file systems contain.
const LOST_AND_FOUND: &str = "lost+found";

pub(super) const PRIVATE_DIRECTORY: u32 = 0o700;
pub(super) const PRIVATE_FILE: u32 = 0o600;

/// The live pair: the directories of the log and of the state that belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Generation {
    pub(super) log: u64,
    pub(super) state: u64,
}

impl Generation {
    pub(super) const FIRST: Generation = Generation { log: 1, state: 1 };

    pub(super) fn log_in(&self, dir: &Path) -> PathBuf {
        dir.join(format!("log-{}", self.log))
    }

    pub(super) fn state_in(&self, dir: &Path) -> PathBuf {
        dir.join(format!("state-{}", self.state))
    }
}

/// A locked data directory with a valid format.
pub(super) struct Directory {
    dir: PathBuf,
    pub(super) node: NodeId,
    incarnation: Incarnation,
    /// Whether the record of the node's ensemble is lost: it never founds one.
    never_founds: bool,
    boot: u64,
    /// The memory for blocks of the state's files.
    cache_bytes: usize,
    /// The damage of the live pair that was found in an earlier run.
    damage: Option<String>,
    generation: Mutex<Generation>,
    /// Whether other nodes have what this one has: the next start puts a damaged directory into quarantine.
    pub(super) copied: AtomicBool,
    /// What is to be recorded of the voters.
    pub(super) voters: Mutex<Option<Voters>>,
    /// Locked while that is recorded.
    pub(super) recording: Mutex<()>,
    /// Logs and states that are not live any more.
    replaced: Mutex<Vec<PathBuf>>,
    /// Locked while it is open.
    _lock: Lock,
}

impl Directory {
    /// Locks the directory; creates its files if it is missing or empty.
    pub(super) fn open(dir: &Path, node: NodeId, cache_bytes: usize) -> Result<Directory, DiskError> {
        make_directory(dir)?;
        // Before the lock file is created: a foreign directory must stay unchanged.
        refuse_foreign(dir, &names(dir)?)?;
        let lock = lock(dir)?;
        let names = names(dir)?;
        let has = |name: &str| names.iter().any(|other| other == name);
        refuse_foreign(dir, &names)?;
        if has(FORMAT) {
            check_format(dir)?;
        }
        if has(RESTORING) {
            return Err(DiskError::Restoring { dir: dir.to_owned() });
        }
        if has(IDENTITY) {
            if !has(FORMAT) {
                return Err(DiskError::damaged(dir, format!("{FORMAT} is missing")));
            }
            if has(CREATING) {
                remove(&dir.join(CREATING), dir)?;
            }
        } else if has(CREATING) || names.is_empty() {
            create(dir, node, &names)?;
        } else {
            return Err(DiskError::damaged(dir, format!("{IDENTITY} is missing")));
        }
        let (node, incarnation, never_founds) = read_identity(dir)?;
        let boot = read_boot(dir)?;
        let generation = read_generation(dir)?;
        let mut damage = None;
        if has(DAMAGED) {
            let (damaged, what) = read_damage(dir)?;
            if damaged == generation {
                damage = Some(what);
            } else {
                // An interrupted quarantine has got this far.
                set_aside(dir, generation)?;
            }
        }
        // If one is missing, what is there may be kept.
        if missing(dir, generation)?.is_none() {
            remove_leftovers(dir, generation)?;
        }
        let generation = Mutex::new(generation);
        Ok(Directory {
            dir: dir.to_owned(),
            node,
            incarnation,
            never_founds,
            boot,
            cache_bytes,
            damage,
            generation,
            copied: AtomicBool::new(false),
            voters: Mutex::default(),
            recording: Mutex::default(),
            replaced: Mutex::default(),
            _lock: lock,
        })
    }

    /// The identity of the directory.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The path of the live log.
    pub(super) fn log(&self) -> PathBuf {
        self.generation.lock().log_in(&self.dir)
    }

    /// The memory for blocks of the state's files.
    pub(super) fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    /// The path of the live state.
    pub(super) fn state(&self) -> PathBuf {
        self.generation.lock().state_in(&self.dir)
    }

    /// The path for a state that is being received.
    pub(super) fn next_state(&self) -> PathBuf {
        let Generation { log, state } = *self.generation.lock();
        Generation { log, state: state + 1 }.state_in(&self.dir)
    }

    /// The path for a log that begins at a received state.
    pub(super) fn next_log(&self) -> PathBuf {
        let Generation { log, state } = *self.generation.lock();
        Generation { log: log + 1, state }.log_in(&self.dir)
    }

    /// The path for a checkpoint of the state, to be sent.
    pub(super) fn checkpoint(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{CHECKPOINT}{number}"))
    }

    /// Makes [`next_log`](Directory::next_log) and [`next_state`](Directory::next_state) the live ones, durably and both or
    /// neither. The old ones stay, for [`remove_replaced`](Directory::remove_replaced).
    pub(super) fn switch(&self) -> Result<(), DiskError> {
        sync_directory(&self.dir)?;
        let mut generation = self.generation.lock();
        let next = Generation { log: generation.log + 1, state: generation.state + 1 };
        write_generation(&self.dir, next)?;
        self.replaced.lock().extend([generation.log_in(&self.dir), generation.state_in(&self.dir)]);
        *generation = next;
        Ok(())
    }

    /// Removes the logs and states that are not live any more. Nobody may use them.
    pub(super) fn remove_replaced(&self) -> Result<(), DiskError> {
        let replaced = std::mem::take(&mut *self.replaced.lock());
        replaced.iter().try_for_each(|path| fs::remove_dir_all(path).map_err(DiskError::file("remove", path)))
    }

    /// The free and all bytes of the file system, as far as this process may use them; `None` if the system does not say.
    pub(super) fn space(&self) -> Option<(u64, u64)> {
        space(&self.dir)
    }

    /// The free bytes of the file system, as far as this process may use them; 0 if the system does not say.
    pub(super) fn free_bytes(&self) -> u64 {
        free_bytes(&self.dir)
    }

    /// The data directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// The directory of the live pair that is missing.
    pub(super) fn missing(&self) -> Result<Option<String>, DiskError> {
        missing(&self.dir, *self.generation.lock())
    }

    /// The damage of the live pair that was found in an earlier run.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Records durably that the live pair is damaged, for the next start.
    pub(super) fn note_damage(&self, what: &str) -> Result<(), DiskError> {
        let Generation { log, state } = *self.generation.lock();
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        write_sealed(&self.dir, DAMAGED, &format!("log {log}\nstate {state}\nfound {what}\n"))
    }

    /// Replaces the damaged live pair by an empty one, under a new incarnation, and returns the names under which the damaged
    /// one is kept. `founding` is the sealed founding record, if it can still be read; without it the node never founds an
    /// ensemble.
    ///
    /// The incarnation is durable before the empty pair is live: with the old one, the node would vote without its promises.
    /// A crash leaves the note of the damage, so that the next start begins again or completes this.
    pub(super) fn quarantine(
        &mut self,
        founding: Option<Founding>,
        what: &str,
    ) -> Result<Vec<String>, DiskError> {
        let dir = &self.dir;
        self.note_damage(what)?;
        self.incarnation = draw_incarnation(dir)?;
        self.never_founds = founding.is_none();
        write_identity(dir, self.node, self.incarnation, self.never_founds)?;
        let next = next_generation(dir, *self.generation.lock())?;
        database::create(dir, &next.state_in(dir))?;
        log_writer::create(&next.log_in(dir), founding)?;
        sync_directory(dir)?;
        write_generation(dir, next)?;
        *self.generation.lock() = next;
        self.damage = None;
        set_aside(dir, next)?;
        kept(dir)
    }

    /// Removes what is kept of damaged pairs, and returns the names.
    pub(super) fn remove_kept(&self) -> Result<Vec<String>, DiskError> {
        let kept = kept(&self.dir)?;
        for name in &kept {
            let path = self.dir.join(name);
            fs::remove_dir_all(&path).map_err(DiskError::file("remove", &path))?;
        }
        Ok(kept)
    }

    /// Increments the boot count, durably.
    pub(super) fn raise_boot(&self) -> Result<Identity, DiskError> {
        let boot = self.boot + 1;
        write_sealed(&self.dir, BOOT, &format!("boot {boot}\n"))?;
        let Directory { node, incarnation, never_founds, .. } = *self;
        Ok(Identity { node, incarnation, boot, never_founds })
    }
}

/// The free and all bytes of a directory's file system, as far as this process may use them; `None` if the system does not say.
pub(super) fn space(dir: &Path) -> Option<(u64, u64)> {
    let space = rustix::fs::statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    Some((bytes(space.f_bavail), bytes(space.f_blocks)))
}

/// The free bytes of a directory's file system, as far as this process may use them; 0 if the system does not say.
pub(super) fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize))
}

pub(super) fn make_directory(dir: &Path) -> Result<(), DiskError> {
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => {
            let source = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(DiskError::file("use", dir)(source));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(DiskError::file("open", dir)(error)),
    }
    create_nested(dir, &mut sync_directory)
}

/// Creates a directory and its missing parents, from the top. Each is durable in its parent before anything is created in
/// it.
fn create_nested(dir: &Path, sync: &mut dyn FnMut(&Path) -> Result<(), DiskError>) -> Result<(), DiskError> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if fs::metadata(parent).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        create_nested(parent, sync)?;
    }
    match DirBuilder::new().mode(PRIVATE_DIRECTORY).create(dir) {
        Ok(()) => sync(parent),
        // Created by another process, which may not have synced it yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => sync(parent),
        Err(error) => Err(DiskError::file("create", dir)(error)),
    }
}

/// The names in the directory, without those that are ignored.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, DiskError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(DiskError::file("read", dir))? {
        let name = entry.map_err(DiskError::file("read", dir))?.file_name().to_string_lossy().into_owned();
        if name != LOCK && name != LOST_AND_FOUND {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

pub(super) fn is_ours(name: &str) -> bool {
    let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
    [CREATING, RESTORING, FORMAT, IDENTITY, BOOT, GENERATION, DAMAGED].contains(&name) || is_store(name)
}

pub(super) fn refuse_foreign(dir: &Path, names: &[String]) -> Result<(), DiskError> {
    match names.first() {
        Some(name) if !names.iter().any(|name| is_ours(name)) => {
            Err(DiskError::Foreign { dir: dir.to_owned(), name: name.clone() })
        }
        _ => Ok(()),
    }
}

/// Whether this is the directory of a log, a state or a checkpoint.
pub(super) fn is_store(name: &str) -> bool {
    let numbered = |prefix| name.strip_prefix(prefix).is_some_and(|number| number.parse::<u64>().is_ok());
    ["log-", "state-", CHECKPOINT].into_iter().any(numbered)
}

fn remove_leftovers(dir: &Path, generation: Generation) -> Result<(), DiskError> {
    let live = [generation.log_in(dir), generation.state_in(dir)];
    for name in names(dir)?.iter().filter(|name| is_store(name)) {
        let path = dir.join(name);
        if !live.contains(&path) {
            fs::remove_dir_all(&path).map_err(DiskError::file("remove", &path))?;
        }
    }
    Ok(())
}

/// The name of a live directory that does not exist.
pub(super) fn missing(dir: &Path, generation: Generation) -> Result<Option<String>, DiskError> {
    for path in [generation.log_in(dir), generation.state_in(dir)] {
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => continue,
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::file("look at", &path)(error));
            }
            Ok(_) | Err(_) => return Ok(path.file_name().map(|name| name.to_string_lossy().into_owned())),
        }
    }
    Ok(None)
}

/// The pair after the live one, with numbers that nothing in the directory has.
fn next_generation(dir: &Path, live: Generation) -> Result<Generation, DiskError> {
    let names = names(dir)?;
    let free = |prefix: &str, live: u64| {
        let numbers = names.iter().filter_map(|name| name.strip_prefix(prefix)?.parse::<u64>().ok());
        numbers.chain([live]).max().unwrap_or(live) + 1
    };
    Ok(Generation { log: free("log-", live.log), state: free("state-", live.state) })
}

/// What is kept of damaged pairs.
pub(super) fn kept(dir: &Path) -> Result<Vec<String>, DiskError> {
    let mut names = names(dir)?;
    names.retain(|name| name.strip_prefix(KEPT).is_some_and(is_store));
    Ok(names)
}

/// Keeps the damaged pair that `DAMAGED` names, and what else is not live, and completes the quarantine. If an earlier pair is
/// kept, this one is removed: the node has had no vote since then.
fn set_aside(dir: &Path, live: Generation) -> Result<(), DiskError> {
    let (damaged, _) = read_damage(dir)?;
    let damaged = [damaged.log_in(dir), damaged.state_in(dir)];
    let live = [live.log_in(dir), live.state_in(dir)];
    let as_kept = |path: &Path| dir.join(format!("{KEPT}{}", path.file_name().unwrap_or_default().display()));
    let own = damaged.each_ref().map(|path| as_kept(path));
    let has_earlier = kept(dir)?.iter().any(|name| !own.contains(&dir.join(name)));
    let names = names(dir)?;
    let stores = names.iter().filter(|name| is_store(name) && !name.starts_with(CHECKPOINT));
    let mut paths: Vec<PathBuf> =
        stores.map(|name| dir.join(name)).filter(|path| !live.contains(path)).collect();
    // First: what else is kept must not look like an earlier pair after a crash.
    paths.sort_by_key(|path| !damaged.contains(path));
    for path in paths {
        if has_earlier {
            fs::remove_dir_all(&path).map_err(DiskError::file("remove", &path))?;
        } else {
            let kept = as_kept(&path);
            fs::rename(&path, &kept).map_err(DiskError::file("rename to", &kept))?;
        }
    }
    sync_directory(dir)?;
    remove(&dir.join(DAMAGED), dir)
}

/// The lock of a directory.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: between fork and exec a child process holds it, too. On failure the lock ends with
        // the process.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

pub(super) fn lock(dir: &Path) -> Result<Lock, DiskError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE_FILE).open(&path);
    let file = file.map_err(DiskError::file("create", &path))?;
    lock_file(dir, file, FlockOperation::NonBlockingLockExclusive)
}

/// Keeps processes from opening a directory. Changes nothing; `None` if nothing was ever opened in it.
pub(super) fn lock_shared(dir: &Path) -> Result<Option<Lock>, DiskError> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::file("open", &path)(error)),
    };
    lock_file(dir, file, FlockOperation::NonBlockingLockShared).map(Some)
}

fn lock_file(dir: &Path, file: File, operation: FlockOperation) -> Result<Lock, DiskError> {
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DiskError::InUse { dir: dir.to_owned() }),
        Err(error) => Err(DiskError::file("lock", &dir.join(LOCK))(error)),
    }
}

/// Refuses other formats than this program's.
pub(super) fn check_format(dir: &Path) -> Result<(), DiskError> {
    let path = dir.join(FORMAT);
    let text = fs::read(&path).map_err(DiskError::file("read", &path))?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT_TITLE) {
        return Err(DiskError::Foreign { dir: dir.to_owned(), name: FORMAT.to_owned() });
    }
    let found = lines.next().and_then(|line| line.strip_prefix("format ")?.parse::<u64>().ok());
    match found {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) if found > FORMAT_VERSION => {
            Err(DiskError::Newer { dir: dir.to_owned(), found, known: FORMAT_VERSION })
        }
        Some(found) => Err(DiskError::Older { dir: dir.to_owned(), found, known: FORMAT_VERSION }),
        None => Err(DiskError::damaged(dir, format!("{FORMAT} names no format"))),
    }
}

/// Creates all files, `IDENTITY` last. The remains of an interrupted attempt, `names`, are removed first: without an
/// identity the node has sent nothing, so no peer depends on them.
fn create(dir: &Path, node: NodeId, names: &[String]) -> Result<(), DiskError> {
    let mode = fs::Permissions::from_mode(PRIVATE_DIRECTORY);
    fs::set_permissions(dir, mode).map_err(DiskError::file("change the mode of", dir))?;
    let creating = dir.join(CREATING);
    if !names.iter().any(|name| name == CREATING) {
        let made =
            OpenOptions::new().create(true).truncate(true).write(true).mode(PRIVATE_FILE).open(&creating);
        made.map_err(DiskError::file("create", &creating))?;
        sync_directory(dir)?;
    }
    for name in names.iter().filter(|name| is_ours(name) && *name != CREATING) {
        let path = dir.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(DiskError::file("remove", &path))?;
    }
    write_whole(dir, FORMAT, format!("{FORMAT_TITLE}\nformat {FORMAT_VERSION}\n").as_bytes())?;
    let generation = Generation::FIRST;
    database::create(dir, &generation.state_in(dir))?;
    log_writer::create(&generation.log_in(dir), None)?;
    sync_directory(dir)?;
    write_generation(dir, generation)?;
    write_sealed(dir, BOOT, "boot 0\n")?;
    write_identity(dir, node, draw_incarnation(dir)?, false)?;
    remove(&creating, dir)
}

pub(super) fn draw_incarnation(dir: &Path) -> Result<Incarnation, DiskError> {
    let mut random = [0; 16];
    if let Err(error) = getrandom::fill(&mut random) {
        return Err(DiskError::file("draw an identity for", dir)(io::Error::other(error)));
    }
    Ok(Incarnation(u128::from_be_bytes(random)))
}

pub(super) fn write_identity(
    dir: &Path,
    node: NodeId,
    incarnation: Incarnation,
    never_founds: bool,
) -> Result<(), DiskError> {
    let mark = if never_founds { FOUNDS_NEVER } else { "" };
    write_sealed(dir, IDENTITY, &format!("node {node}\nincarnation {incarnation}\n{mark}"))
}

/// Node id, incarnation, and whether the node never founds an ensemble.
pub(super) fn read_identity(dir: &Path) -> Result<(NodeId, Incarnation, bool), DiskError> {
    let body = read_sealed(dir, IDENTITY)?;
    let node = field(&body, "node").and_then(|text| u64::from_str_radix(text, 16).ok());
    let incarnation = field(&body, "incarnation").and_then(|text| u128::from_str_radix(text, 16).ok());
    match (node, incarnation) {
        (Some(node), Some(incarnation)) => {
            Ok((NodeId(node), Incarnation(incarnation), body.contains(FOUNDS_NEVER)))
        }
        _ => Err(DiskError::damaged(dir, format!("{IDENTITY} is malformed"))),
    }
}

/// The number of starts.
pub(super) fn read_boot(dir: &Path) -> Result<u64, DiskError> {
    let body = read_sealed(dir, BOOT)?;
    let number = field(&body, "boot").and_then(|text| text.parse().ok());
    number.ok_or_else(|| DiskError::damaged(dir, format!("{BOOT} is malformed")))
}

pub(super) fn write_generation(dir: &Path, Generation { log, state }: Generation) -> Result<(), DiskError> {
    write_sealed(dir, GENERATION, &format!("log {log}\nstate {state}\n"))
}

pub(super) fn read_generation(dir: &Path) -> Result<Generation, DiskError> {
    let body = read_sealed(dir, GENERATION)?;
    let number = |label| field(&body, label).and_then(|text| text.parse().ok());
    let (Some(log), Some(state)) = (number("log"), number("state")) else {
        return Err(DiskError::damaged(dir, format!("{GENERATION} is malformed")));
    };
    Ok(Generation { log, state })
}

/// The pair that is damaged, and how.
pub(super) fn read_damage(dir: &Path) -> Result<(Generation, String), DiskError> {
    let body = read_sealed(dir, DAMAGED)?;
    let number = |label| field(&body, label).and_then(|text| text.parse().ok());
    match (number("log"), number("state"), field(&body, "found")) {
        (Some(log), Some(state), Some(what)) => Ok((Generation { log, state }, what.to_owned())),
        _ => Err(DiskError::damaged(dir, format!("{DAMAGED} is malformed"))),
    }
}

/// The log and the state with these names, if there is one of each.
pub(super) fn only_generation(names: &[String]) -> Option<Generation> {
    let only = |prefix: &str| {
        let numbers = names.iter().filter_map(|name| name.strip_prefix(prefix)?.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        (numbers.len() == 1).then(|| numbers[0])
    };
    Some(Generation { log: only("log-")?, state: only("state-")? })
}

pub(super) fn remove(path: &Path, dir: &Path) -> Result<(), DiskError> {
    fs::remove_file(path).map_err(DiskError::file("remove", path))?;
    sync_directory(dir)
}

pub(super) fn sync_directory(dir: &Path) -> Result<(), DiskError> {
    let synced = File::open(dir).and_then(|file| file.sync_all());
    synced.map_err(DiskError::file("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_new_directory_is_synced_in_its_parent() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut synced = Vec::new();
        let mut sync = |dir: &Path| {
            assert!(dir.is_dir());
            synced.push(dir.to_owned());
            Ok(())
        };
        create_nested(&root.join("a/b/c"), &mut sync).unwrap();
        create_nested(&root.join("a/d"), &mut sync).unwrap();
        assert_eq!(synced, [root.to_owned(), root.join("a"), root.join("a/b"), root.join("a")]);
        let mode = fs::metadata(root.join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE_DIRECTORY);
    }
}
