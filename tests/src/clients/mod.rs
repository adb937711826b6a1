//! The ways to use gometa, side by side: the same scenarios, counters and loads for each.
//!
//! `tests/clients/README.md` says what a client is and how its driver is spoken to.
//!
//! - [`mod@line`]: what is said to a driver, and its answers.
//! - [`driver`]: a driver that is a process of its own; [`command`]: the command line, a process for each call.
//! - [`cluster`]: an ensemble whose answers to clients can be withheld, and its faults; [`proxy`]: the proxies for that.
//! - [`scenario`]: scenarios as they stand in `tests/conformance/`; [`play`]: one of them against one client;
//!   [`table`]: all of them against all clients.
//! - [`counters`]: concurrent increments while leaders are killed, which must sum exactly.
//! - [`mod@short_lived`]: clients that come and go, which leave no session.
//! - [`mod@bench`]: what each client costs over the Rust client.

pub mod bench;
pub mod cluster;
pub mod command;
pub mod counters;
pub mod line;
pub mod play;
pub mod process;
pub mod proxy;
pub mod scenario;
pub mod short_lived;
pub mod table;

use std::{collections::BTreeSet, path::Path};

use self::{
    command::Commands,
    line::{Answer, Line},
    process::Process,
};

/// Something that does calls as it is told.
pub enum Driver {
    /// A driver.
    Process(Process),
    /// The command line.
    Commands(Commands),
}

/// All clients, in the order of the table.
pub const NAMES: [&str; 8] = ["rust", "c", "python", "python-aio", "go", "cli", "raw-python", "raw-erlang"];

/// Where the drivers are.
pub struct Places<'a> {
    /// The root of the repository.
    pub root: &'a Path,
    /// The build's directory: `release/`, and what the languages' own stages put beside it.
    pub target: &'a Path,
}

impl Driver {
    /// Starts a client by its name.
    ///
    /// # Errors
    /// If its driver is not there, or does not say what it is.
    pub async fn start(name: &str, places: &Places<'_>) -> anyhow::Result<Driver> {
        let Places { root, target } = places;
        let script = |path: &str| root.join("tests/clients").join(path).into_os_string();
        let python = target.join("python/venv/bin/python").into_os_string();
        let command = match name {
            "rust" => vec![crate::program::program("gometa-client-driver").into_os_string()],
            "c" => vec![target.join("clients/c-driver").into_os_string()],
            "python" => vec![python, script("driver.py")],
            "python-aio" => vec![python, script("driver_aio.py")],
            "go" => vec![target.join("clients/go-driver").into_os_string()],
            "cli" => return Ok(Driver::Commands(Commands::new())),
            "raw-python" => vec!["python3".into(), script("driver_raw.py")],
            "raw-erlang" => vec!["escript".into(), script("driver.escript")],
            _ => anyhow::bail!("there is no client {name}; there are {}", NAMES.join(", ")),
        };
        // A library that was built and not installed.
        let libraries = [("LD_LIBRARY_PATH".to_owned(), target.join("clients").into_os_string())];
        Ok(Driver::Process(Process::start(name, &command, &libraries).await?))
    }

    /// The verbs that it cannot do.
    pub fn without(&self) -> &BTreeSet<String> {
        match self {
            Driver::Process(process) => process.without(),
            Driver::Commands(commands) => commands.without(),
        }
    }

    /// Why there are such verbs.
    pub fn why_without(&self) -> &str {
        match self {
            Driver::Process(process) => process.why_without(),
            Driver::Commands(_) => "each call is a process of its own",
        }
    }

    /// Begins a call, and gives its number and what will be its answer.
    pub fn begin(&self, line: &Line) -> (u64, impl Future<Output = anyhow::Result<Answer>> + Send + use<>) {
        match self {
            Driver::Process(process) => {
                let (number, answer) = process.begin(line);
                (number, whichever(Some(answer), None))
            }
            Driver::Commands(commands) => (0, whichever(None, Some(commands.begin(line)))),
        }
    }

    /// A call from its begin to its answer.
    ///
    /// # Errors
    /// If the driver ends, or does not speak as it should.
    pub async fn call(&self, line: &Line) -> anyhow::Result<Answer> {
        self.begin(line).1.await
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// If it does not.
    pub async fn end(self) -> anyhow::Result<()> {
        match self {
            Driver::Process(process) => process.end().await,
            Driver::Commands(_) => Ok(()),
        }
    }
}

/// Whichever of the two there is.
async fn whichever<A, B>(one: Option<A>, other: Option<B>) -> anyhow::Result<Answer>
where
    A: Future<Output = anyhow::Result<Answer>>,
    B: Future<Output = anyhow::Result<Answer>>,
{
    match (one, other) {
        (Some(one), _) => one.await,
        (None, Some(other)) => other.await,
        (None, None) => anyhow::bail!("nobody was asked"),
    }
}
