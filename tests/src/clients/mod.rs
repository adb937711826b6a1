//! The clients of every language, side by side: the same scenarios, counters and loads for each.
//!
//! `tests/clients/README.md` describes the clients, their drivers and the protocol between test and driver.
//!
//! - [`mod@line`]: the lines of that protocol.
//! - [`process`]: a driver that is a process; [`command`]: the command line, a process for each call.
//! - [`cluster`]: an ensemble with faults; [`proxy`]: proxies that withhold its answers to clients.
//! - [`scenario`]: the scenarios in `tests/conformance/`; [`play`]: one of them with one client;
//!   [`table`]: all of them with all clients.
//! - [`counters`]: concurrent increments while leaders are killed, whose sums must be exact; [`changes`]: the same while
//!   members change.
//! - [`digest`]: the digest of what a scan has returned.
//! - [`mod@bank`]: transfers between accounts by every client, while leaders are killed.
//! - [`mod@short_lived`]: short-lived clients, which leave no session.
//! - [`mod@bench`]: the throughput of each client compared with the Rust client.

pub mod bank;
pub mod bench;
pub mod changes;
pub mod cluster;
pub mod command;
pub mod counters;
pub mod digest;
pub mod line;
pub mod play;
pub mod process;
pub mod proxy;
pub mod scenario;
pub mod short_lived;
pub mod table;
pub mod txn;

use std::{collections::BTreeSet, path::Path, pin::Pin};

use self::{
    command::Commands,
    line::{Answer, Line},
    process::Process,
};

/// The driver of a client.
pub enum Driver {
    /// A process that reads calls.
    Process(Process),
    /// The command line, a process for each call.
    Commands(Commands),
}

/// The names of all clients, in the order of the table.
pub const NAMES: [&str; 8] = ["rust", "c", "python", "python-aio", "go", "cli", "raw-python", "raw-erlang"];

/// The directories of the drivers.
pub struct Places<'a> {
    /// The root of the repository.
    pub root: &'a Path,
    /// The build directory, with `release/` and the products of the languages' own stages.
    pub target: &'a Path,
}

impl Driver {
    /// Starts the driver of a client by its name.
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
            "cli" => return Ok(Driver::Commands(Commands::default())),
            "raw-python" => vec!["python3".into(), script("driver_raw.py")],
            "raw-erlang" => vec!["escript".into(), script("driver.escript")],
            _ => anyhow::bail!("there is no client {name}; there are {}", NAMES.join(", ")),
        };
        let variables = [
            // The built library, which is not installed.
            ("LD_LIBRARY_PATH".to_owned(), target.join("clients").into_os_string()),
            // Erlang leaves no dump in the working directory.
            ("ERL_CRASH_DUMP_SECONDS".to_owned(), "0".into()),
        ];
        Ok(Driver::Process(Process::start(name, &command, &variables).await?))
    }

    /// Returns the highest resident memory of its process so far, in KiB; 0 if each call has a process.
    pub fn peak_kib(&self) -> u64 {
        match self {
            Driver::Process(process) => process.peak_kib(),
            Driver::Commands(_) => 0,
        }
    }

    /// Returns the verbs that it does not support.
    pub fn without(&self) -> &BTreeSet<String> {
        match self {
            Driver::Process(process) => process.without(),
            Driver::Commands(commands) => commands.without(),
        }
    }

    /// Returns the reason why it does not support one of them.
    pub fn why_without(&self, verb: &str) -> &str {
        match self {
            Driver::Process(process) => process.why_without(),
            Driver::Commands(commands) => commands.why_without(verb),
        }
    }

    /// Starts a call, and returns its number and a future of its answer.
    pub fn begin(&self, line: &Line) -> (u64, Pin<Box<dyn Future<Output = anyhow::Result<Answer>> + Send>>) {
        match self {
            Driver::Process(process) => {
                let (number, answer) = process.begin(line);
                (number, Box::pin(answer))
            }
            Driver::Commands(commands) => (0, Box::pin(commands.begin(line))),
        }
    }

    /// Makes a call.
    pub async fn call(&self, line: &Line) -> anyhow::Result<Answer> {
        self.begin(line).1.await
    }

    /// Closes the driver's input, and waits for its exit.
    pub async fn end(self) -> anyhow::Result<()> {
        match self {
            Driver::Process(process) => process.end().await,
            Driver::Commands(_) => Ok(()),
        }
    }
}
