//! Founds an ensemble anew in the data directory of a stopped node, after its quorum is lost (`gometa-server -recover`).

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::Path};

use gometa_log::{Log, OsDirectory};
use gometa_proto::v1::{self, Command, command::Body};
use gometa_store::{Space, decode_command, encode_command};
use gometa_zab::{
    Configuration, EnsembleId, Epoch, Incarnation, Kind, LEVEL, LogEntry, NodeId, NotRefounded, Recovered,
    Zxid, configuration_in_force, next_history, refound,
};
use rocksdb::DB;

use super::{
    DiskError, database,
    directory::{CREATING, DAMAGED, Directory, FORMAT, IDENTITY},
    recovery,
};

/// The bytes of the log that are read at once.
const READ_BYTES: usize = 1 << 20;
/// The sessions that one entry ends, so that no entry takes long to apply.
const SESSIONS_PER_ENTRY: usize = 1_000;
/// The memory for blocks of the state's files.
const CACHE_BYTES: usize = 8 << 20;

/// An opened data directory that is about to found its ensemble anew. It stays locked.
pub(crate) struct Survivor {
    directory: Directory,
    rocks: DB,
    log: Log<OsDirectory>,
    recovered: Recovered,
    incarnation: Incarnation,
}

/// What was founded.
pub(crate) struct Refounded {
    pub(crate) ensemble: EnsembleId,
    /// The zxid of the entry since which this node is the only voter.
    pub(crate) at: Zxid,
    /// The number of sessions that end.
    pub(crate) sessions: usize,
}

/// The entries after `at`, of its epoch, that end these sessions.
pub(super) fn end_sessions(sessions: &[u64], at: Zxid) -> Vec<LogEntry> {
    let entry = |(number, some): (usize, &[u64])| {
        let body = Body::EndSessions(v1::EndSessions { sessions: some.to_vec() });
        LogEntry {
            zxid: Zxid { epoch: at.epoch, counter: at.counter + 1 + number as u64 },
            kind: Kind::Command,
            level: LEVEL,
            payload: encode_command(&Command { body: Some(body) }),
        }
    };
    sessions.chunks(SESSIONS_PER_ENTRY).enumerate().map(entry).collect()
}

impl Survivor {
    /// Opens the directory of a stopped node. Nothing is put into quarantine, and of what was put there nothing is removed.
    ///
    /// # Errors
    /// The directory is missing, in use, or damaged, or belongs to another user.
    pub(crate) fn open(dir: &Path, node: NodeId) -> Result<Survivor, String> {
        let has = |name: &str| dir.join(name).is_file();
        if !has(FORMAT) || !has(IDENTITY) || has(CREATING) {
            return Err(format!(
                "{} is no complete data directory of gometa; nothing was changed",
                dir.display()
            ));
        }
        if has(DAMAGED) {
            return Err(format!(
                "data directory {} was found damaged: recover on another survivor; nothing was changed",
                dir.display()
            ));
        }
        let owner =
            fs::metadata(dir).map_err(|error| format!("cannot open {}: {error}", dir.display()))?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(format!(
                "data directory {} belongs to the user with the id {owner}: run this command as that user, or the node \
                 cannot open what is written; nothing was changed",
                dir.display()
            ));
        }
        let text = |error: DiskError| error.to_string();
        let directory = Directory::open(dir, node, CACHE_BYTES).map_err(text)?;
        let opened = recovery::open(&directory).map_err(text)?;
        let recovery::Opened { rocks, log, mut recovered, .. } = opened;
        recovered.configuration = database::configuration(&rocks)?;
        let incarnation = directory.incarnation();
        Ok(Survivor { directory, rocks, log, recovered, incarnation })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.directory.node
    }

    /// The ensemble, with its present history; `None` if the node belongs to none.
    pub(crate) fn ensemble(&self) -> Option<EnsembleId> {
        let founding = self.recovered.founding.as_ref().filter(|founding| founding.sealed);
        founding.map(|founding| founding.genesis.ensemble)
    }

    /// The configuration in force.
    pub(crate) fn configuration(&self) -> Option<Configuration> {
        configuration_in_force(&self.recovered)
    }

    /// The last epoch that the node has led or followed in, and the last entry of its log.
    pub(crate) fn position(&self) -> (Epoch, Zxid) {
        let last = self.recovered.boundaries.last().copied().unwrap_or(self.recovered.oldest);
        (self.recovered.hard_state.current_epoch, last)
    }

    /// Whether the ensemble can be founded anew from this directory.
    pub(crate) fn check(&self) -> Result<(), NotRefounded> {
        refound(&self.recovered, (self.node(), self.incarnation), 0).map(|_| ())
    }

    /// Founds the ensemble anew: with one write to the log, durable when this returns.
    ///
    /// # Errors
    /// The directory cannot be read or written. If a write fails, the directory is as before, or as after; a second attempt finds
    /// out.
    pub(crate) fn refound(mut self) -> Result<Refounded, String> {
        let mut random = [0; 4];
        getrandom::fill(&mut random)
            .map_err(|error| format!("the system gives no random numbers: {error}"))?;
        let history = self.ensemble().map_or(0, |ensemble| ensemble.history);
        let history = next_history(history, u32::from_be_bytes(random));
        let records = refound(&self.recovered, (self.node(), self.incarnation), history)
            .map_err(|error| format!("{error:?}"))?;
        let sessions = self.sessions()?;
        let ensemble = records.founding.genesis.ensemble;
        let mut entries = records.entries;
        let at = entries.last().map(|entry| entry.zxid).ok_or("no member is removed")?;
        entries.extend(end_sessions(&sessions, at));
        // First: with damage, a start would empty a directory of which others have copies.
        self.directory.record_alone(ensemble.id).map_err(|error| error.to_string())?;
        let released = self.recovered.released;
        let write = || {
            self.log.hard_state(released, records.hard_state)?;
            self.log.founding(released, records.founding)?;
            self.log.append(released, &entries)?;
            self.log.commit()?;
            self.log.sync_mark()
        };
        write().map_err(|error| format!("cannot write to {}: {error}", self.directory.path().display()))?;
        Ok(Refounded { ensemble, at, sessions: sessions.len() })
    }

    /// All sessions that may be open at the end of the log, ascending.
    fn sessions(&self) -> Result<Vec<u64>, String> {
        let mut sessions = BTreeSet::new();
        database::read_all(&self.rocks, Space::Session, |key, _| {
            let id = <[u8; 8]>::try_from(key).map_err(|_| "the state has a session without an id")?;
            sessions.insert(u64::from_be_bytes(id));
            Ok(())
        })?;
        let (reader, end) = (self.log.reader(), self.position().1.counter);
        let mut next = self.recovered.applied + 1;
        while next <= end {
            let entries = reader.read(next, end, READ_BYTES).map_err(|error| error.to_string())?;
            let last = entries.last().ok_or_else(|| format!("the log lacks revision {next}"))?;
            next = last.zxid.counter + 1;
            for entry in entries.into_iter().filter(|entry| entry.kind == Kind::Command) {
                let counter = entry.zxid.counter;
                if let Ok(Command { body: Some(Body::CreateSession(_)) }) = decode_command(entry.payload) {
                    sessions.insert(counter);
                }
            }
        }
        Ok(sessions.into_iter().collect())
    }
}
