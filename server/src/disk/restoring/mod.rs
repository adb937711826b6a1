//! Founds an ensemble from a backup, in an empty data directory (`gometa-server -restore`).
//!
//! The state of the backup is written and verified record by record, as one that a leader sends. Then its configuration is
//! replaced by that of this node alone, and a log is made that begins above it. The ensemble has a new id, so that no node and no
//! client of the old one takes this one for it. While `RESTORING` exists nothing is started in the directory, and a second attempt
//! begins anew.

use std::{
    cell::RefCell,
    fs::{DirBuilder, File, OpenOptions},
    io::BufReader,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes, BytesMut};
use gometa_client::{BackupInfo, BackupReader};
use gometa_codec::snapshot::{self, Frame, Manifest};
use gometa_log::Start;
use gometa_node::OpenSessions;
use gometa_store::{CONFIGURATION_KEY, Checkpoint, Lookup, Space, Table, record_hash, verify_changes};
use gometa_zab::{Configuration, EnsembleId, Epoch, FoundedOnState, Levels, Voter, Zxid, found_on_state};
use rocksdb::{DB, WriteBatch};

mod target;

use target::Target;

use super::{
    DiskError, database, directory, inspection, log_writer, records,
    snapshot::{FORMAT, name, write_current},
    space,
};

/// The longest manifest: more than that of the largest number of files.
const MANIFEST_MAX: usize = 4 << 20;
const READ_BUFFER: usize = 1 << 20;

/// A backup whose bytes were all read and found to be what was written.
pub(crate) struct Checked {
    path: PathBuf,
    pub(crate) info: BackupInfo,
    /// The length of the file.
    pub(crate) bytes: u64,
    manifest: Manifest,
}

/// What was founded.
pub(crate) struct Restored {
    pub(crate) ensemble: EnsembleId,
    /// The number of sessions that end.
    pub(crate) sessions: usize,
    /// The last entry of the log.
    pub(crate) last: Zxid,
}

/// Reads a whole file, and checks that this program can restore it, and that the directory is empty.
///
/// # Errors
/// What is wrong with it, in one line.
pub(crate) fn check(path: &Path, dir: &Path) -> Result<Checked, String> {
    // First: reading a large file takes a while.
    target::check(dir).map_err(|error| error.to_string())?;
    let describe = |what: String| format!("cannot restore {}: {what}", path.display());
    let mut reader = open(path).map_err(describe)?;
    let mut content = Content::default();
    while let Some(part) = reader.read().map_err(|error| describe(error.to_string()))? {
        content.take(part, &mut |_, _, _| Ok(())).map_err(describe)?;
    }
    let (info, bytes) = (reader.info().clone(), reader.position());
    let manifest = content.finish().map_err(describe)?;
    let zxid = Zxid { epoch: Epoch(info.epoch()), counter: info.revision() };
    let same = manifest.zxid == zxid
        && manifest.keys == info.keys()
        && info.state_hash()[..] == manifest.hash.to_be_bytes()
        && (manifest.format, manifest.level) == (info.format(), info.level());
    if !same {
        return Err(describe("its description and its content differ; use another backup".to_owned()));
    }
    if manifest.format != FORMAT || !Levels::SUPPORTED.contains(manifest.level) {
        let (format, level) = (manifest.format, manifest.level);
        return Err(describe(format!(
            "its records have format {format} and level {level}, and this program reads format {FORMAT} and {}: \
             restore it with the version {} of gometa-server, or a newer one",
            Levels::SUPPORTED,
            info.version()
        )));
    }
    if zxid.counter == 0 {
        return Err(describe("nothing was ever written to its ensemble: form a new one instead".to_owned()));
    }
    Ok(Checked { path: path.to_owned(), info, bytes, manifest })
}

fn open(path: &Path) -> Result<BackupReader<BufReader<File>>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("it is no regular file, which could be read twice: copy it to one first".to_owned());
    }
    let reader = BackupReader::new(BufReader::with_capacity(READ_BUFFER, file));
    reader.map_err(|error| error.to_string())
}

/// Takes bytes of a file: the manifest, the position of the file in it and the offset, and the bytes.
type WritePart<'a> = dyn FnMut(&Manifest, (usize, u64), &[u8]) -> Result<(), String> + 'a;

/// Takes the bytes of a backup apart.
#[derive(Default)]
struct Content {
    /// What precedes the files, while it is incomplete.
    head: BytesMut,
    manifest: Option<Manifest>,
    /// The next byte: a file, and an offset in it.
    at: (usize, u64),
}

impl Content {
    /// Takes the next bytes, and passes on those of files.
    fn take(&mut self, mut part: Bytes, write: &mut WritePart<'_>) -> Result<(), String> {
        const PREFIX: usize = 4;
        if self.manifest.is_none() {
            self.head.extend_from_slice(&part);
            let Some(prefix) = self.head.first_chunk::<PREFIX>() else { return Ok(()) };
            let length = u32::from_be_bytes(*prefix) as usize;
            if length > MANIFEST_MAX {
                return Err("the list of its files is too long".to_owned());
            }
            if self.head.len() < PREFIX + length {
                return Ok(());
            }
            let mut head = std::mem::take(&mut self.head).freeze();
            head.advance(PREFIX);
            match snapshot::decode(head.split_to(length)) {
                Ok(Frame::Manifest(manifest)) => self.manifest = Some(manifest),
                Ok(_) => return Err("it has no list of its files".to_owned()),
                Err(error) => return Err(format!("the list of its files cannot be decoded: {error}")),
            }
            part = head;
        }
        let Some(manifest) = &self.manifest else { return Ok(()) };
        while !part.is_empty() {
            let (file, offset) = self.at;
            let Some(described) = manifest.files.get(file) else {
                return Err("it has more bytes than its files".to_owned());
            };
            let left = described.length - offset;
            let bytes = part.split_to(part.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            write(manifest, self.at, &bytes)?;
            self.at = match bytes.len() as u64 == left {
                true => (file + 1, 0),
                false => (file, offset + bytes.len() as u64),
            };
        }
        Ok(())
    }

    /// The manifest, after the last byte.
    fn finish(self) -> Result<Manifest, String> {
        let manifest = self.manifest.ok_or("it has no list of its files")?;
        if self.at != (manifest.files.len(), 0) {
            return Err("it has fewer bytes than its files".to_owned());
        }
        Ok(manifest)
    }
}

/// Founds an ensemble whose only voter is this node, from a backup. Durable when it returns.
///
/// # Errors
/// The directory is not empty, in use, or cannot be written; or the records of the backup are not what it says. In the latter
/// cases it is not started before a restore into it succeeds.
pub(crate) fn restore(checked: &Checked, dir: &Path, own: &Voter) -> Result<Restored, String> {
    let text = |error: DiskError| error.to_string();
    let target = Target::begin(dir).map_err(text)?;
    let (free, total) = target.space().unwrap_or((u64::MAX, 0));
    let needed = checked.manifest.bytes() + space::reserve(total, 0) / 2;
    if needed > free {
        target.give_up();
        return Err(format!(
            "cannot restore into {}: {needed} bytes are needed there, and {free} are free; free some space",
            dir.display()
        ));
    }
    let state = target.state();
    extract(checked, &state).map_err(|what| format!("cannot restore {}: {what}", checked.path.display()))?;
    let ensemble = EnsembleId { id: random()?, history: 1 };
    let own = Voter { incarnation: Some(target.incarnation()), ..own.clone() };
    let founded = found_on_state(checked.manifest.zxid, own.clone(), ensemble, checked.manifest.level);
    let sessions = adopt(checked, dir, &state, &founded.configuration)?;
    let last = make_log(checked.manifest.zxid, &target.log(), founded, &sessions)?;
    target.finish(own.node, ensemble).map_err(text)?;
    Ok(Restored { ensemble, sessions: sessions.count(), last })
}

fn random() -> Result<u128, String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(u128::from_be_bytes(random))
}

/// Writes the files of the state, durably except for the name of their directory.
fn extract(checked: &Checked, state: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("cannot write {}: {error}", path.display());
    DirBuilder::new().mode(0o700).create(state).map_err(|error| failed(state, error))?;
    let mut reader = open(&checked.path)?;
    let mut content = Content::default();
    let mut open: Option<(usize, File)> = None;
    let mut write = |manifest: &Manifest, (index, offset): (usize, u64), bytes: &[u8]| {
        let described = manifest.files[index];
        let path = state.join(name(described.kind, described.number));
        let file = match open.take() {
            Some((at, file)) if at == index => file,
            _ => OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(|error| failed(&path, error))?,
        };
        file.write_all_at(bytes, offset).map_err(|error| failed(&path, error))?;
        if offset + bytes.len() as u64 == described.length {
            file.sync_all().map_err(|error| failed(&path, error))?;
        } else {
            open = Some((index, file));
        }
        Ok(())
    };
    while let Some(part) = reader.read().map_err(|error| error.to_string())? {
        content.take(part, &mut write)?;
    }
    if content.finish()? != checked.manifest {
        return Err("the file has changed meanwhile".to_owned());
    }
    write_current(&checked.manifest, state).map_err(|error| error.to_string())?;
    directory::sync_directory(state).map_err(|error| error.to_string())
}

/// Verifies all records of the state, and replaces its configuration by that of this node alone. Returns its sessions.
fn adopt(checked: &Checked, dir: &Path, state: &Path, alone: &Configuration) -> Result<OpenSessions, String> {
    let Manifest { zxid, hash, keys, .. } = checked.manifest;
    let expected = Checkpoint { applied: zxid.counter, hash, keys };
    let invalid = |what: String| {
        format!(
            "the content of {} is not what it says, although its bytes are those that were written: {what}; use another \
             backup",
            checked.path.display()
        )
    };
    let rocks = database::open_read_only(dir, state).map_err(|error| invalid(error.to_string()))?;
    let recorded = database::checkpoint(dir, &rocks).map_err(|error| invalid(error.to_string()))?;
    if recorded != expected {
        return Err(invalid(format!("its checkpoint is {recorded:?}, and {expected:?} is expected")));
    }
    inspection::verify_state(&rocks, expected).map_err(invalid)?;
    verify_history(&rocks, expected).map_err(invalid)?;
    database::configuration(&rocks).map_err(invalid)?;
    let sessions = sessions(&rocks).map_err(invalid)?;
    drop(rocks);
    let rocks = database::open(dir, state, 0).map_err(|error| error.to_string())?;
    replace_configuration(&rocks, expected, alone).map_err(|error| {
        format!("cannot write the configuration of the restored ensemble in {}: {error}", dir.display())
    })?;
    Ok(sessions)
}

/// Verifies that the changes of the history have the sum that the state records.
fn verify_history(rocks: &DB, checkpoint: Checkpoint) -> Result<(), String> {
    let table = ReadTable { rocks, checkpoint, failure: RefCell::new(None) };
    let verified = verify_changes(&table).map_err(|error| error.to_string());
    table.failure.into_inner().map_or(verified, Err)
}

/// A table that is scanned once.
struct ReadTable<'a> {
    rocks: &'a DB,
    checkpoint: Checkpoint,
    /// Why it cannot be read.
    failure: RefCell<Option<String>>,
}

impl ReadTable<'_> {
    fn note(&self, read: Result<(), String>) {
        if let Err(error) = read {
            self.failure.borrow_mut().get_or_insert(error);
        }
    }
}

impl Table for ReadTable<'_> {
    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    fn lookup(&self, _: Space, _: &[u8]) -> Lookup {
        Lookup::NotInMemory
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.note(database::read_all(self.rocks, space, |key, record| {
            visit(key, record);
            Ok(())
        }));
    }

    fn scan_changes(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        self.note(database::read_family(self.rocks, database::CHANGES, |key, record| {
            visit(database::parse_revision_key(key)?, record);
            Ok(())
        }));
    }
}

fn sessions(rocks: &DB) -> Result<OpenSessions, String> {
    let mut sessions = OpenSessions::default();
    database::read_all(rocks, Space::Session, |key, _| Ok(sessions.add_recorded(key)?))?;
    Ok(sessions)
}

/// Replaces the configuration of a state that is not in use, durably. The state hash covers it.
fn replace_configuration(rocks: &DB, mut checkpoint: Checkpoint, new: &Configuration) -> Result<(), String> {
    let meta = database::family(rocks, database::META);
    let mut batch = WriteBatch::default();
    database::read_all(rocks, Space::Configuration, |key, record| {
        checkpoint.hash = checkpoint.hash.wrapping_sub(record_hash(Space::Configuration, key, record));
        batch.delete_cf(meta, key);
        Ok(())
    })?;
    let (key, record) = (CONFIGURATION_KEY, new.encode());
    checkpoint.hash = checkpoint.hash.wrapping_add(record_hash(Space::Configuration, key, &record));
    batch.put_cf(meta, key, &record);
    batch.put_cf(meta, database::CHECKPOINT_KEY, records::encode_checkpoint(&checkpoint));
    rocks.write_opt(batch, &database::write_options()).map_err(|error| error.to_string())?;
    database::flush(rocks).map_err(|error| error.to_string())?;
    inspection::verify_state(rocks, checkpoint)
}

/// Makes a log that begins above the state, and ends its sessions. Returns its last entry.
fn make_log(
    base: Zxid,
    path: &Path,
    founded: FoundedOnState,
    sessions: &OpenSessions,
) -> Result<Zxid, String> {
    let FoundedOnState { hard_state, founding, configuration } = founded;
    let epoch = hard_state.current_epoch;
    let start = Start {
        base,
        hard_state,
        founding: Some(founding),
        configuration: Default::default(),
        released: base.counter,
    };
    let mut log = log_writer::create_log(path, start).map_err(|error| error.to_string())?;
    let entries = sessions.end_behind(Zxid { epoch, counter: base.counter }, configuration.level());
    let last = entries.last().map_or(base, |entry| entry.zxid);
    if !entries.is_empty() {
        let mut write = || {
            log.append(base.counter, &entries)?;
            log.commit()?;
            log.sync_mark()
        };
        write().map_err(|error| format!("cannot write to {}: {error}", path.display()))?;
    }
    Ok(last)
}
