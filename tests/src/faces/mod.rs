//! The ways to use gometa, side by side: the same scenarios, counters and loads for each.
//!
//! `tests/faces/README.md` says what a face is and how its runner is spoken to.
//!
//! - [`mod@line`]: what is said to a runner, and its answers.
//! - [`runner`]: a runner that is a process of its own; [`command`]: the command line, a process for each call.
//! - [`arena`]: an ensemble whose answers to clients can be withheld, and its faults; [`front`]: the proxies for that.
//! - [`scenario`]: scenarios as they stand in `tests/conformance/`; [`play`]: one of them against one face;
//!   [`table`]: all of them against all faces.
//! - [`counters`]: concurrent increments while leaders are killed, which must sum exactly.
//! - [`mod@short_lived`]: clients that come and go, which leave no session.
//! - [`mod@bench`]: what each face costs over the Rust client.

pub mod arena;
pub mod bench;
pub mod command;
pub mod counters;
pub mod front;
pub mod line;
pub mod play;
pub mod runner;
pub mod scenario;
pub mod short_lived;
pub mod table;

use std::{collections::BTreeSet, path::Path};

use self::{
    command::Commands,
    line::{Answer, Line},
    runner::Runner,
};

/// Something that does calls as it is told.
pub enum Face {
    /// A runner.
    Runner(Runner),
    /// The command line.
    Commands(Commands),
}

/// All faces, in the order of the table.
pub const NAMES: [&str; 8] = ["rust", "c", "python", "python-aio", "go", "cli", "raw-python", "raw-erlang"];

/// Where the runners are.
pub struct Places<'a> {
    /// The root of the repository.
    pub root: &'a Path,
    /// The build's directory: `release/`, and what the languages' own stages put beside it.
    pub target: &'a Path,
}

impl Face {
    /// Starts a face by its name.
    ///
    /// # Errors
    /// If its runner is not there, or does not say what it is.
    pub async fn start(name: &str, places: &Places<'_>) -> anyhow::Result<Face> {
        let Places { root, target } = places;
        let script = |path: &str| root.join("tests/faces").join(path).into_os_string();
        let python = target.join("python/venv/bin/python").into_os_string();
        let command = match name {
            "rust" => vec![crate::program::program("gometa-face").into_os_string()],
            "c" => vec![target.join("faces/c-face").into_os_string()],
            "python" => vec![python, script("face.py")],
            "python-aio" => vec![python, script("face_aio.py")],
            "go" => vec![target.join("faces/go-face").into_os_string()],
            "cli" => return Ok(Face::Commands(Commands::new())),
            "raw-python" => vec!["python3".into(), script("face_raw.py")],
            "raw-erlang" => vec!["escript".into(), script("face.escript")],
            _ => anyhow::bail!("there is no face {name}; there are {}", NAMES.join(", ")),
        };
        // A library that was built and not installed.
        let libraries = [("LD_LIBRARY_PATH".to_owned(), target.join("faces").into_os_string())];
        Ok(Face::Runner(Runner::start(name, &command, &libraries).await?))
    }

    /// The verbs that it cannot do.
    pub fn without(&self) -> &BTreeSet<String> {
        match self {
            Face::Runner(runner) => runner.without(),
            Face::Commands(commands) => commands.without(),
        }
    }

    /// Why there are such verbs.
    pub fn why_without(&self) -> &str {
        match self {
            Face::Runner(runner) => runner.why_without(),
            Face::Commands(_) => "each call is a process of its own",
        }
    }

    /// Begins a call, and gives its number and what will be its answer.
    pub fn begin(&self, line: &Line) -> (u64, impl Future<Output = anyhow::Result<Answer>> + Send + use<>) {
        match self {
            Face::Runner(runner) => {
                let (number, answer) = runner.begin(line);
                (number, whichever(Some(answer), None))
            }
            Face::Commands(commands) => (0, whichever(None, Some(commands.begin(line)))),
        }
    }

    /// A call from its begin to its answer.
    ///
    /// # Errors
    /// If the runner ends, or does not speak as it should.
    pub async fn call(&self, line: &Line) -> anyhow::Result<Answer> {
        self.begin(line).1.await
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// If it does not.
    pub async fn end(self) -> anyhow::Result<()> {
        match self {
            Face::Runner(runner) => runner.end().await,
            Face::Commands(_) => Ok(()),
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
