//! Reads the data directory of a stopped node, and changes nothing: `gometa-server -inspect`.
//!
//! It reports everything that it can read, and all damage instead of the first. A running process is noticed by its
//! lock, which the inspection holds meanwhile, shared with other inspections.

use std::path::{Path, PathBuf};

use gometa_log::OsDirectory;
use gometa_proto::v1::{HistoryRecord, KeyRecord, SessionRecord, SettingsRecord};
use gometa_store::{Checkpoint, Space, record_hash};
use gometa_zab::{Configuration, LogEntry, Recovered, Zxid, configuration_in_force};
use prost::Message;
use rocksdb::DB;
use serde::Serialize;

use super::{
    DiskError, copies, database,
    directory::{self, BOOT, CREATING, DAMAGED, FORMAT, GENERATION, Generation, IDENTITY, Lock, RESTORING},
    recovery, usage,
};

/// The mark of what is synced, in the directory of the log.
const MARK: &str = "SYNCED";
const MOVE_AWAY: &str = "move the directory away and keep it; with an empty one the node comes back without a vote, and \
                         the others bring it up to date";
const START: &str = "check the disk and start the node: it keeps the damaged files aside, comes back without a vote, and \
                     the others bring it up to date";
const START_WITH_PEERS: &str = "check the disk and start the node with a configuration that lists its peers: it keeps the \
                                damaged files aside, comes back without a vote, and the others bring it up to date";
const ALONE: &str = "there is no other copy, for the ensemble has no other voter: restore one, or move the directory away \
                     and begin without its data";
const MIXED: &str = "log and IDENTITY belong together: restore the whole directory from one copy";
const REPAIRED: &str = "start the node: it deletes this segment and those before it, which it does not need";

type Log = gometa_log::Inspection<OsDirectory>;

/// What a data directory contains.
#[derive(Serialize, Debug)]
pub(crate) struct Report {
    pub(crate) directory: String,
    pub(crate) identity: Option<Identity>,
    pub(crate) ensemble: Option<Ensemble>,
    pub(crate) configuration: Option<Members>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) log: Option<LogReport>,
    pub(crate) state: Option<StateReport>,
    /// The free bytes of the file system, as far as this process may use them.
    pub(crate) free_bytes: u64,
    /// Facts that need no action.
    pub(crate) notes: Vec<String>,
    pub(crate) damage: Vec<Damage>,
    /// Whether nothing is damaged but what the node repairs.
    pub(crate) sound: bool,
}

/// Ids are hexadecimal.
#[derive(Serialize, Debug)]
pub(crate) struct Identity {
    pub(crate) node: String,
    pub(crate) incarnation: String,
    /// The number of starts; `None` if it cannot be read.
    pub(crate) boot: Option<u64>,
    /// Whether the record of the node's ensemble was lost.
    pub(crate) never_founds: bool,
}

/// The genesis.
#[derive(Serialize, Debug)]
pub(crate) struct Ensemble {
    pub(crate) id: String,
    pub(crate) history: u64,
    pub(crate) sealed: bool,
    pub(crate) voters: Vec<Voter>,
}

#[derive(Serialize, Debug)]
pub(crate) struct Voter {
    pub(crate) node: String,
    pub(crate) incarnation: Option<String>,
    pub(crate) election_address: String,
    pub(crate) message_address: String,
    pub(crate) request_address: String,
}

/// The configuration in force: the last one of the log, else that of the state, else the genesis.
#[derive(Serialize, Debug)]
pub(crate) struct Members {
    pub(crate) version: Position,
    pub(crate) voters: Vec<Voter>,
    pub(crate) learners: Vec<Voter>,
}

#[derive(Serialize, Debug)]
pub(crate) struct HardState {
    pub(crate) accepted_epoch: u64,
    pub(crate) accepted_leader: Option<String>,
    pub(crate) current_epoch: u64,
}

/// A zxid.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    pub(crate) counter: u64,
}

#[derive(Serialize, Debug)]
pub(crate) struct LogReport {
    /// The name of its directory.
    pub(crate) directory: String,
    /// The log has the entries above it.
    pub(crate) base: Option<Position>,
    pub(crate) end: Option<Position>,
    /// The counter through which entries had been released to be applied.
    pub(crate) released: Option<u64>,
    /// The last batch that is known to be synced.
    pub(crate) synced_batch: Option<u64>,
    /// What its files occupy.
    pub(crate) bytes: u64,
    pub(crate) segments: Vec<Segment>,
}

#[derive(Serialize, Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    /// The size of the file.
    pub(crate) bytes: u64,
    /// Through the last batch.
    pub(crate) used_bytes: u64,
    pub(crate) batches: u64,
    /// Where it goes on.
    pub(crate) continues: Position,
    pub(crate) first: Option<Position>,
    pub(crate) last: Option<Position>,
}

#[derive(Serialize, Debug)]
pub(crate) struct StateReport {
    /// The name of its directory.
    pub(crate) directory: String,
    pub(crate) applied: Option<u64>,
    pub(crate) keys: Option<u64>,
    /// The hash of all records, hexadecimal.
    pub(crate) hash: Option<String>,
    /// What its files occupy.
    pub(crate) bytes: u64,
    /// Whether every record was read and the hash recomputed.
    pub(crate) verified: bool,
}

/// What is damaged, and so what is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// One of the small files: the node refuses to start.
    File,
    /// Log or state, in a way that a start finds.
    Pair,
    /// A record of the state, which a start does not read.
    Record,
    /// Files of several nodes.
    Mixed,
    /// Something that the node does not need any more.
    Unneeded,
}

/// Something that must not be so.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Damage {
    /// A file, relative to the data directory.
    pub(crate) file: String,
    /// The place in it, if known.
    pub(crate) offset: Option<u64>,
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
    /// Whether the node repairs it at the start and keeps its vote.
    pub(crate) repaired: bool,
    #[serde(skip)]
    place: Place,
}

/// A data directory that is locked, and read as far as possible.
pub(crate) struct Inspection {
    pub(crate) report: Report,
    dir: PathBuf,
    /// The configuration that the state records.
    recorded: Option<Configuration>,
    log: Option<Log>,
    _lock: Option<Lock>,
}

impl Inspection {
    /// Reads the directory; with `verify`, every record of the state, too. The log is always read completely.
    ///
    /// # Errors
    /// Whatever keeps it from reading: a running process, another format, an error of the file system.
    pub(crate) fn open(dir: &Path, verify: bool) -> Result<Inspection, DiskError> {
        let names = directory::names(dir)?;
        directory::refuse_foreign(dir, &names)?;
        let has = |name: &str| names.iter().any(|other| other == name);
        let mut inspection = Inspection {
            report: Report {
                directory: dir.display().to_string(),
                identity: None,
                ensemble: None,
                configuration: None,
                hard_state: None,
                log: None,
                state: None,
                free_bytes: directory::free_bytes(dir),
                notes: Vec::new(),
                damage: Vec::new(),
                sound: true,
            },
            dir: dir.to_owned(),
            recorded: None,
            log: None,
            _lock: directory::lock_shared(dir)?,
        };
        if names.is_empty() {
            let note = "the directory is empty: the next start creates a data directory in it";
            inspection.report.notes.push(note.to_owned());
            return Ok(inspection);
        }
        if has(FORMAT) {
            match directory::check_format(dir) {
                Err(DiskError::Damaged { what, .. }) => inspection.damaged(FORMAT, None, what, Place::File),
                Err(DiskError::Foreign { .. }) if has(IDENTITY) => {
                    inspection.damaged(FORMAT, None, "it names no format".to_owned(), Place::File);
                }
                result => result?,
            }
        } else if has(IDENTITY) {
            inspection.damaged(FORMAT, None, "it is missing".to_owned(), Place::File);
        }
        if has(RESTORING) {
            return Err(DiskError::Restoring { dir: dir.to_owned() });
        }
        if has(CREATING) && !has(IDENTITY) {
            let note = "the directory was not created completely: the next start creates it anew";
            inspection.report.notes.push(note.to_owned());
            return Ok(inspection);
        }
        inspection.identity()?;
        if let Some(generation) = inspection.generation(&names)? {
            inspection.others(generation, &names)?;
            let applied = inspection.state(generation, verify)?;
            inspection.log(generation, applied)?;
        }
        inspection.conclude();
        Ok(inspection)
    }

    /// Gives `each` the entries of the log from one counter through another, in order, until it returns false.
    ///
    /// # Errors
    /// An entry cannot be read.
    pub(crate) fn entries(
        &self,
        from: u64,
        to: u64,
        each: impl FnMut(LogEntry) -> bool,
    ) -> Result<(), String> {
        let Some(log) = &self.log else { return Ok(()) };
        log.entries(from, to, each).map_err(|error| error.to_string())
    }

    fn damaged(&mut self, file: &str, offset: Option<u64>, what: String, place: Place) {
        let repaired = place == Place::Unneeded;
        self.report.damage.push(Damage {
            file: file.to_owned(),
            offset,
            what,
            remedy: REPAIRED,
            repaired,
            place,
        });
    }

    /// Records damage of a file, and returns other errors.
    fn or_damage<T>(
        &mut self,
        file: &str,
        place: Place,
        result: Result<T, DiskError>,
    ) -> Result<Option<T>, DiskError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(DiskError::Damaged { what, .. } | DiskError::Lost { what, .. }) => {
                self.damaged(file, None, what, place);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Decides what is to be done about the damage: that depends on whether there are other copies.
    fn conclude(&mut self) {
        self.compare_with_ensemble();
        let report = &mut self.report;
        let founders = report.ensemble.as_ref().map(|ensemble| ensemble.voters.len() > 1);
        let others = copies::recorded(&self.dir).map(|voters| voters.others).or(founders);
        for damage in &mut report.damage {
            damage.remedy = match (damage.place, others) {
                (Place::Unneeded, _) => REPAIRED,
                (Place::Mixed, _) => MIXED,
                (_, Some(false)) => ALONE,
                (Place::Pair, Some(true)) => START,
                (Place::Pair, None) => START_WITH_PEERS,
                (Place::File | Place::Record, _) => MOVE_AWAY,
            };
        }
        report.sound = report.damage.iter().all(|damage| damage.repaired);
    }

    /// Compares the node with the ensemble of its log: it is the one that it was a member of last, or a voter of its genesis.
    fn compare_with_ensemble(&mut self) {
        let (Some(identity), Some(ensemble)) = (&self.report.identity, &self.report.ensemble) else { return };
        let belongs = match copies::recorded(&self.dir) {
            Some(voters) => ensemble.id == format!("{:032x}", voters.ensemble),
            None => ensemble.voters.iter().any(|voter| voter.node == identity.node),
        };
        if !belongs {
            let what =
                format!("node {} is no voter of the ensemble of the log, {}", identity.node, ensemble.id);
            self.damaged(IDENTITY, None, what, Place::Mixed);
        }
    }

    fn identity(&mut self) -> Result<(), DiskError> {
        let identity = directory::read_identity(&self.dir);
        let identity = self.or_damage(IDENTITY, Place::File, identity)?;
        let boot = directory::read_boot(&self.dir);
        let boot = self.or_damage(BOOT, Place::File, boot)?;
        self.report.identity = identity.map(|(node, incarnation, never_founds)| Identity {
            node: node.to_string(),
            incarnation: incarnation.to_string(),
            boot,
            never_founds,
        });
        Ok(())
    }

    /// The live log and state. If that cannot be read, those that exist, if there is one of each.
    fn generation(&mut self, names: &[String]) -> Result<Option<Generation>, DiskError> {
        let read = directory::read_generation(&self.dir);
        let read = self.or_damage(GENERATION, Place::File, read)?;
        Ok(read.or_else(|| directory::only_generation(names)))
    }

    /// What is beside the live pair, and damage that the node has noted.
    fn others(&mut self, generation: Generation, names: &[String]) -> Result<(), DiskError> {
        if names.iter().any(|name| name == DAMAGED) {
            let noted = directory::read_damage(&self.dir);
            match self.or_damage(DAMAGED, Place::File, noted)? {
                Some((damaged, what)) if damaged == generation => {
                    self.damaged(DAMAGED, None, format!("the node has found: {what}"), Place::Pair);
                }
                Some(_) => {
                    let note = "a quarantine was interrupted: the next start completes it";
                    self.report.notes.push(note.to_owned());
                }
                None => {}
            }
        }
        for name in directory::kept(&self.dir)? {
            let note = format!("{name} is a damaged one: the node deletes it when it is complete again");
            self.report.notes.push(note);
        }
        let live = [generation.log_in(&self.dir), generation.state_in(&self.dir)];
        for name in names.iter().filter(|name| directory::is_store(name)) {
            if !live.contains(&self.dir.join(name)) {
                self.report.notes.push(format!("{name} is left over: the next start deletes it"));
            }
        }
        Ok(())
    }

    /// Reads the state; returns the counter through which it is applied.
    fn state(&mut self, generation: Generation, verify: bool) -> Result<Option<u64>, DiskError> {
        let path = generation.state_in(&self.dir);
        let name = name_of(&path);
        if !path.is_dir() {
            self.damaged(&name, None, "it is missing".to_owned(), Place::Pair);
            return Ok(None);
        }
        let (rocks, checkpoint) = match self.open_state(&name, &path)? {
            Some((rocks, checkpoint)) => (Some(rocks), checkpoint),
            None => (None, None),
        };
        // One damage is enough.
        let mut readable = checkpoint.is_some();
        if let (Some(rocks), true) = (&rocks, readable) {
            let recorded = database::configuration(rocks).map_err(|what| DiskError::damaged(&self.dir, what));
            let recorded = self.or_damage(&name, Place::Pair, recorded)?;
            readable = recorded.is_some();
            self.recorded = recorded.flatten();
        }
        let mut verified = false;
        if let (Some(rocks), Some(checkpoint), true) = (rocks, checkpoint, verify && readable) {
            verified = true;
            if let Err(what) = verify_state(&rocks, checkpoint) {
                self.damaged(&name, None, what, Place::Record);
            }
        }
        self.report.state = Some(StateReport {
            directory: name,
            applied: checkpoint.map(|checkpoint| checkpoint.applied),
            keys: checkpoint.map(|checkpoint| checkpoint.keys),
            hash: checkpoint.map(|checkpoint| format!("{:032x}", checkpoint.hash)),
            bytes: usage::size(&path).map_err(DiskError::file("read", &path))?,
            verified,
        });
        Ok(checkpoint.map(|checkpoint| checkpoint.applied))
    }

    fn open_state(&mut self, name: &str, path: &Path) -> Result<Option<(DB, Option<Checkpoint>)>, DiskError> {
        let opened = database::open_read_only(&self.dir, path);
        let Some(rocks) = self.or_damage(name, Place::Pair, opened)? else { return Ok(None) };
        let checkpoint = database::checkpoint(&self.dir, &rocks);
        let checkpoint = self.or_damage(name, Place::Pair, checkpoint)?;
        Ok(Some((rocks, checkpoint)))
    }

    fn log(&mut self, generation: Generation, applied: Option<u64>) -> Result<(), DiskError> {
        let path = generation.log_in(&self.dir);
        let name = name_of(&path);
        if !path.is_dir() {
            self.damaged(&name, None, "it is missing".to_owned(), Place::Pair);
            return Ok(());
        }
        let files = OsDirectory::open(&path).map_err(DiskError::file("open", &path))?;
        let log = Log::read(files.clone()).map_err(|error| DiskError::log(&self.dir, error))?;
        let needed = self.log_damage(&log, applied);
        if let Some(found) = &log.recovered {
            let end = found.boundaries.last().copied().unwrap_or(found.base);
            let recovered = Recovered {
                hard_state: found.hard_state,
                founding: found.founding.clone(),
                oldest: found.base,
                boundaries: found.boundaries.clone(),
                applied: applied.unwrap_or(0),
                released: found.released,
                configuration: self.recorded.clone(),
                logged: found.logged.clone(),
            };
            self.report.configuration = configuration_in_force(&recovered).as_ref().map(members);
            if applied.is_some() && !needed {
                let checked = recovery::check(&self.dir, &recovered);
                self.or_damage(&name, Place::Pair, checked)?;
            }
            self.report.hard_state = Some(HardState {
                accepted_epoch: found.hard_state.accepted_epoch.0,
                accepted_leader: found.hard_state.accepted_leader.map(|leader| leader.to_string()),
                current_epoch: found.hard_state.current_epoch.0,
            });
            self.report.ensemble = found.founding.as_ref().map(ensemble);
            self.report.log = Some(log_report(&log, name, &path, Some((found.base, end, found.released)))?);
        } else {
            let founding = gometa_log::founding(&files).map_err(|error| DiskError::log(&self.dir, error))?;
            self.report.ensemble = founding.as_ref().map(ensemble);
            self.report.log = Some(log_report(&log, name, &path, None)?);
        }
        self.log = Some(log);
        Ok(())
    }

    /// Adds the damage of the log. Damage below what the state needs is repaired at the start; returns whether there is other.
    fn log_damage(&mut self, log: &Log, applied: Option<u64>) -> bool {
        let base = log.recovered.as_ref().map(|found| found.base.counter);
        let reaches = base.zip(applied).is_some_and(|(base, applied)| base <= applied);
        let mut needed = false;
        for damage in &log.damage {
            let file = Path::new(&damage.file).strip_prefix(&self.dir).map_or(damage.file.clone(), described);
            let repaired = reaches && !is_at_end(log, damage);
            needed |= !repaired;
            let place = if repaired { Place::Unneeded } else { Place::Pair };
            self.damaged(&file, Some(damage.offset), damage.what.clone(), place);
        }
        needed
    }
}

/// Whether damage concerns the end of the log, and not only what is below it.
fn is_at_end(log: &Log, damage: &gometa_log::Damage) -> bool {
    let last = log.segments.last().is_some_and(|last| last.file == damage.file);
    // At offset 0 there is the header, which contradicts the segment before.
    (last && damage.offset > 0) || name_of(Path::new(&damage.file)) == MARK
}

/// Reads all data blocks of a state, and recomputes the hash of its records.
pub(super) fn verify_state(rocks: &DB, expected: Checkpoint) -> Result<(), String> {
    let mut computed = Checkpoint { applied: expected.applied, ..Checkpoint::default() };
    for space in Space::ALL {
        database::read_all(rocks, space, |key, record| {
            check_record(space, record).map_err(|error| {
                let (key, family) = (String::from_utf8_lossy(key), database::name_of(space));
                format!("the record of {key:?} in {family} is malformed: {error}")
            })?;
            computed.hash = computed.hash.wrapping_add(record_hash(space, key, record));
            computed.keys += u64::from(space == Space::Data);
            Ok(())
        })?;
    }
    for family in [database::PAST, database::CHANGES] {
        database::read_family(rocks, family, |_, _| Ok(()))?;
    }
    if computed == expected {
        return Ok(());
    }
    Err(format!(
        "its records have the hash {:032x} and {} keys, and its checkpoint says {:032x} and {}",
        computed.hash, computed.keys, expected.hash, expected.keys
    ))
}

fn check_record(space: Space, record: &[u8]) -> Result<(), String> {
    let decoded = match space {
        Space::Data => KeyRecord::decode(record).map(drop),
        Space::Session => SessionRecord::decode(record).map(drop),
        Space::Configuration => {
            let decoded = Configuration::decode(record).map(drop);
            return decoded.ok_or_else(|| "it is not a configuration".to_owned());
        }
        Space::History => HistoryRecord::decode(record).map(drop),
        Space::Settings => SettingsRecord::decode(record).map(drop),
    };
    decoded.map_err(|error| error.to_string())
}

fn log_report(
    log: &Log,
    directory: String,
    path: &Path,
    found: Option<(Zxid, Zxid, u64)>,
) -> Result<LogReport, DiskError> {
    let segment = |segment: &gometa_log::SegmentSummary| Segment {
        name: name_of(Path::new(&segment.file)),
        bytes: segment.size,
        used_bytes: segment.used,
        batches: segment.batches,
        continues: position(segment.continues),
        first: segment.first.map(position),
        last: segment.last.map(position),
    };
    Ok(LogReport {
        directory,
        base: found.map(|(base, ..)| position(base)),
        end: found.map(|(_, end, _)| position(end)),
        released: found.map(|(.., released)| released),
        synced_batch: log.synced,
        bytes: usage::size(path).map_err(DiskError::file("read", path))?,
        segments: log.segments.iter().map(segment).collect(),
    })
}

fn voter(voter: &gometa_zab::Voter) -> Voter {
    Voter {
        node: voter.node.to_string(),
        incarnation: voter.incarnation.map(|incarnation| incarnation.to_string()),
        election_address: voter.addresses.election.clone(),
        message_address: voter.addresses.message.clone(),
        request_address: voter.addresses.request.clone(),
    }
}

fn members(configuration: &Configuration) -> Members {
    let learner = |member: &gometa_zab::Voter| configuration.learner(member.node).is_some();
    let (learners, voters): (Vec<_>, Vec<_>) = configuration.members().into_iter().partition(learner);
    Members {
        version: position(configuration.version()),
        voters: voters.iter().map(voter).collect(),
        learners: learners.iter().map(voter).collect(),
    }
}

fn ensemble(founding: &gometa_zab::Founding) -> Ensemble {
    Ensemble {
        id: format!("{:032x}", founding.genesis.ensemble.id),
        history: founding.genesis.ensemble.history,
        sealed: founding.sealed,
        voters: founding.genesis.voters.iter().map(voter).collect(),
    }
}

fn position(zxid: Zxid) -> Position {
    Position { epoch: zxid.epoch.0, counter: zxid.counter }
}

fn described(path: &Path) -> String {
    path.components().as_path().display().to_string()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
