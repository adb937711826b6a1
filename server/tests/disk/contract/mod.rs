//! The storage contract (`gometa_sim::contract`) on the data directory: after a regular close, kills, and power cuts.

mod kill;
mod power;

use std::{
    env,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use gometa_server::disk::DiskError;
use gometa_sim::{
    contract::{
        Directory, Ended, Invariant, Model, Opening, Plan, Report, Shape, State, Step, Storage, Violation,
        Write, run,
    },
    random::{Random, Stream},
};
use gometa_store::{Batch, Space, Table};
use gometa_zab::{LogEntry, Token, Write as LogWrite};

use super::support::{NODE, Opened, state_files};

/// The size of a record in the plans that fill the memtables.
const RECORD_BYTES: usize = 1 << 20;

/// An open data directory, for the contract.
struct Stores {
    opened: Opened,
    /// The number of reports received.
    received: usize,
}

impl Stores {
    /// Opens the directory and reads all of it.
    fn open(dir: &Path, directory: &mut Directory) -> Result<(Stores, State), Violation> {
        Stores::open_with(dir, directory, |_| {})
    }

    /// Opens the directory and reads all of it; `flushed` receives what is flushed from then on.
    fn open_with(
        dir: &Path,
        directory: &mut Directory,
        flushed: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(Stores, State), Violation> {
        let opened = Opened::open_with(dir, NODE, true, flushed)
            .map_err(|error: DiskError| Violation::new(Invariant::Opens, error.to_string()))?;
        if let Some(quarantined) = &opened.disk.quarantined {
            return Err(Violation::new(Invariant::Opens, quarantined.damage.clone()));
        }
        let identity = opened.disk.identity;
        let opening = Opening {
            incarnation: identity.incarnation,
            boot: identity.boot,
            recovered: opened.disk.recovered.clone(),
        };
        directory.opened(opening.incarnation, opening.boot)?;
        let mut stores = Stores { opened, received: 0 };
        let state = State::found(&mut stores, &opening)?;
        Ok((stores, state))
    }
}

impl Storage for Stores {
    fn submit(&mut self, token: Token, write: LogWrite, released: u64) {
        assert_eq!(self.opened.released(), released);
        assert_eq!(self.opened.submit(Write::Log(write)), token.0);
    }

    fn store(&mut self, number: u64, batch: Batch) {
        assert_eq!(self.opened.submit(Write::Table(batch)), number);
    }

    fn report(&mut self, wait: bool) -> Report {
        let report = self.opened.report_after(self.received, wait);
        self.received += usize::from(matches!(report, Report::Persisted(_) | Report::Stored(_)));
        report
    }

    fn table(&self) -> &dyn Table {
        &self.opened.disk.table
    }

    fn fetch(&mut self, keys: Vec<Bytes>) -> Vec<(Bytes, Option<Bytes>)> {
        self.opened.fetch(keys)
    }

    fn read(&mut self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        self.opened.read(from, to, bytes_max)
    }
}

/// A plan of one of four kinds: small; with a large log; with large records in one space or the other, so that the state is
/// flushed several times, by the writer or by RocksDB.
fn plan(seed: u64, kind: u64, found: &State) -> Plan {
    match kind % 8 {
        7 => Plan::new(seed, found, Shape::BULKY),
        3 | 5 => {
            let large = if kind % 8 == 3 { Space::Data } else { Space::Session };
            let mut plan = Plan::new(seed, found, Shape { payload_max: 2_000, ..Shape::BULKY });
            let writes = plan.steps.iter_mut().filter_map(|step| match step {
                Step::Write(Write::Table(batch)) => Some(&mut batch.writes),
                _ => None,
            });
            for (_, _, value) in writes.flatten().filter(|(space, ..)| *space == large) {
                *value = value.take().map(|value| value.repeat(RECORD_BYTES / value.len()).into());
            }
            plan
        }
        _ => Plan::new(seed, found, Shape::SMALL),
    }
}

/// The table files of a directory, before it is opened.
fn table_files(dir: &Path) -> Vec<PathBuf> {
    state_files(dir, "sst")
}

/// Whether a crash was amid a flush: it left table files that belong to no version of the database, and that the opening
/// has removed.
fn was_amid_flush(dir: &Path, before: &[PathBuf]) -> bool {
    let after = table_files(dir);
    before.iter().any(|file| !after.contains(file))
}

/// What was flushed must be there.
fn check_flushed(flushed: u64, found: &State) -> Result<(), Violation> {
    let applied = found.checkpoint.applied;
    if applied < flushed {
        let what = format!("{flushed} was flushed, and the state ends at {applied}");
        return Err(Violation::new(Invariant::Durable, what));
    }
    Ok(())
}

/// The number in this variable, `usual` if it is empty or unset.
fn times(variable: &str, usual: u64) -> u64 {
    let value = env::var(variable).ok().filter(|value| !value.is_empty());
    value.map_or(usual, |value| value.parse().unwrap())
}

/// The first seed; the following ones are used, too.
fn first_seed() -> u64 {
    times("GOMETA_TEST_SEED", 1)
}

#[test]
fn a_directory_that_is_closed_regularly_keeps_everything() {
    let seed = first_seed();
    let mut random = Random::new(seed, Stream::Shape);
    let dir = tempfile::tempdir().unwrap();
    let mut directory = Directory::default();
    let mut base = State::default();
    for round in 0..30 {
        let mut checked = || -> Result<State, Violation> {
            let (mut stores, found) = Stores::open(dir.path(), &mut directory)?;
            assert!(found == base, "an opening that follows a closing finds what was closed");
            let plan = plan(random.word(), round, &found);
            let mut model = Model::new(found);
            let ended = run(&mut stores, &mut model, &plan.steps, &mut |_| {})?;
            assert_eq!(ended, Ended::Done);
            model.closed();
            Ok(model.issued().clone())
        };
        base = checked().unwrap_or_else(|violation| panic!("seed {seed}, round {round}: {violation}"));
    }
}
