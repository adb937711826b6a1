//! The storage contract (`gometa_sim::contract`) on the data directory: after a regular close, kills, and power cuts.

mod kill;
mod power;

use std::{env, path::Path};

use gometa_server::disk::DiskError;
use gometa_sim::{
    contract::{
        Directory, Ended, Invariant, Model, Opening, Plan, Report, Shape, State, Storage, Violation, Write,
        run,
    },
    random::{Random, Stream},
};
use gometa_store::{Batch, Table};
use gometa_zab::{LogEntry, Token, Write as LogWrite};

use super::support::Opened;

/// An open data directory, for the contract.
struct Rocks {
    opened: Opened,
    /// The number of reports received.
    received: usize,
}

impl Rocks {
    /// Opens the directory and reads all of it.
    fn open(dir: &Path, directory: &mut Directory) -> Result<(Rocks, State), Violation> {
        let opened = Opened::open(dir)
            .map_err(|error: DiskError| Violation::new(Invariant::Opens, error.to_string()))?;
        let identity = opened.disk.identity;
        let opening = Opening {
            incarnation: identity.incarnation,
            boot: identity.boot,
            recovered: opened.disk.recovered.clone(),
        };
        directory.opened(opening.incarnation, opening.boot)?;
        let mut rocks = Rocks { opened, received: 0 };
        let state = State::found(&mut rocks, &opening)?;
        Ok((rocks, state))
    }
}

impl Storage for Rocks {
    fn submit(&mut self, token: Token, write: LogWrite, _released: u64) {
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

    fn read(&mut self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        self.opened.read(from, to, bytes_max)
    }
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
            let (mut rocks, found) = Rocks::open(dir.path(), &mut directory)?;
            assert!(found == base, "an opening that follows a closing finds what was closed");
            let shape = if round % 10 == 9 { Shape::BULKY } else { Shape::SMALL };
            let plan = Plan::new(random.word(), &found, shape);
            let mut model = Model::new(found);
            let ended = run(&mut rocks, &mut model, &plan.steps, &mut |_| {})?;
            assert_eq!(ended, Ended::Done);
            model.closed();
            Ok(model.issued().clone())
        };
        base = checked().unwrap_or_else(|violation| panic!("seed {seed}, round {round}: {violation}"));
    }
}
