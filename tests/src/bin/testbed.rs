//! `gometa-testbed`: runs a command beside an ensemble of real nodes, for tests in other languages.
//!
//! ```text
//! gometa-testbed [--nodes 3] -- COMMAND…
//! ```
//!
//! The environment of the command has
//!
//! - `GOMETA_PEERS`: the nodes' addresses for clients, separated by commas;
//! - `GOMETA_TESTBED`: the address that takes the requests below;
//! - `GOMETA_HTTP`, `GOMETA_NOISE`, `GOMETA_SILENT`, `GOMETA_DEAD`: addresses without a node: an HTTP server,
//!   a server that sends random bytes, one that accepts and sends nothing, no listener.
//!
//! Everything ends with the command, and the exit status is the command's. A connection to `GOMETA_TESTBED` takes
//! lines; each is answered, when it is done, by one that begins with `ok` or `error`. Nodes are numbered from 1:
//!
//! - `leader`: `ok N`;
//! - `kill N`, `start N`, `pause N`, `resume N`;
//! - `kill-leader`: kills the leader, waits until another leads, starts it again: `ok N`, the killed node;
//! - `ready`: waits until all running nodes have the same leader and state.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Parser;
use gometa_tests::{ensemble::Ensemble, impostors::Impostors};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::Mutex,
};

/// The maximum bytes of a request.
const LINE_MAX: u64 = 256;

/// Runs a command beside an ensemble of real nodes.
#[derive(Parser)]
struct Arguments {
    /// The number of nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: u8,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// The ensemble and its running nodes.
struct Bed {
    ensemble: Ensemble,
    running: BTreeSet<usize>,
    paused: BTreeSet<usize>,
}

fn main() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(Arguments::parse()))
}

async fn serve(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let impostors = Impostors::start().await;
    let ensemble = Ensemble::start(usize::from(arguments.nodes)).await;
    let faults = TcpListener::bind("127.0.0.1:0").await?;
    let [program, rest @ ..] = arguments.command.as_slice() else { unreachable!("clap wants one at least") };
    let mut command = Command::new(program);
    command
        .args(rest)
        .env("GOMETA_PEERS", ensemble.requests_from(0).join(","))
        .env("GOMETA_TESTBED", faults.local_addr()?.to_string())
        .env("GOMETA_HTTP", impostors.http.to_string())
        .env("GOMETA_NOISE", impostors.noise.to_string())
        .env("GOMETA_SILENT", impostors.silent.to_string())
        .env("GOMETA_DEAD", impostors.dead.to_string())
        .kill_on_drop(true);
    let running = ensemble.all().into_iter().collect();
    let bed = Arc::new(Mutex::new(Bed { ensemble, running, paused: BTreeSet::new() }));
    let mut child =
        command.spawn().with_context(|| format!("{} does not start", program.to_string_lossy()))?;
    let asked = tokio::spawn({
        let bed = bed.clone();
        async move {
            while let Ok((stream, _)) = faults.accept().await {
                let bed = bed.clone();
                tokio::spawn(async move { answer(stream, &bed).await });
            }
        }
    });
    let status = end_of(&mut child).await?;
    asked.abort();
    Ok(exit_code(status))
}

/// Waits for the command; a signal that ends this program ends the command.
async fn end_of(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        ended = child.wait() => return Ok(ended?),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    child.kill().await?;
    Ok(child.wait().await?)
}

/// Returns the exit status as a shell reports it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

async fn answer(stream: TcpStream, bed: &Mutex<Bed>) -> std::io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    loop {
        let mut line = String::new();
        let mut limited = tokio::io::AsyncReadExt::take(&mut from, LINE_MAX);
        if limited.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let said = match bed.lock().await.obey(line.trim()).await {
            Ok(said) => format!("ok {said}\n"),
            Err(error) => format!("error {error}\n"),
        };
        to.write_all(said.replace("ok \n", "ok\n").as_bytes()).await?;
    }
}

impl Bed {
    async fn obey(&mut self, line: &str) -> Result<String, String> {
        let (verb, number) = line.split_once(' ').map_or((line, None), |(verb, rest)| (verb, Some(rest)));
        let node = match number.map(str::parse::<usize>) {
            None => None,
            Some(Ok(number @ 1..)) if number <= self.ensemble.size() => Some(number - 1),
            Some(_) => return Err(format!("nodes are 1 to {}", self.ensemble.size())),
        };
        match (verb, node) {
            ("leader", None) => Ok((self.leader().await? + 1).to_string()),
            ("kill", Some(node)) => self.kill(node),
            ("start", Some(node)) => self.start(node).await,
            ("pause", Some(node)) if self.serves(node) => {
                self.ensemble.pause(node);
                self.paused.insert(node);
                Ok(String::new())
            }
            ("resume", Some(node)) if self.paused.remove(&node) => {
                self.ensemble.resume(node);
                Ok(String::new())
            }
            ("kill-leader", None) => {
                let node = self.leader().await?;
                self.kill(node)?;
                self.leader().await?;
                self.start(node).await?;
                Ok((node + 1).to_string())
            }
            ("ready", None) => {
                let nodes: Vec<usize> = self.serving();
                self.majority()?;
                self.ensemble.converged(&nodes).await;
                Ok(String::new())
            }
            _ => Err(format!("cannot do {line:?} now")),
        }
    }

    fn serves(&self, node: usize) -> bool {
        self.running.contains(&node) && !self.paused.contains(&node)
    }

    fn serving(&self) -> Vec<usize> {
        self.running.difference(&self.paused).copied().collect()
    }

    fn majority(&self) -> Result<(), String> {
        let few = self.serving().len() * 2 <= self.ensemble.size();
        if few { Err("too few nodes run for a quorum".to_owned()) } else { Ok(()) }
    }

    async fn leader(&self) -> Result<usize, String> {
        self.majority()?;
        Ok(self.ensemble.leader_among(&self.serving()).await)
    }

    fn kill(&mut self, node: usize) -> Result<String, String> {
        if !self.running.remove(&node) {
            return Err("it does not run".to_owned());
        }
        self.paused.remove(&node);
        self.ensemble.kill(node);
        Ok(String::new())
    }

    async fn start(&mut self, node: usize) -> Result<String, String> {
        if !self.running.insert(node) {
            return Err("it runs already".to_owned());
        }
        self.ensemble.spawn(node);
        // Without a quorum it is not ready until others have started.
        if self.majority().is_ok() {
            self.ensemble.ready(node).await;
        }
        Ok(String::new())
    }
}
