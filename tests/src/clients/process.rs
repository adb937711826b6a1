//! A driver that is a process: it reads calls and writes answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::line::{Answer, Line};
use crate::{lock, program::memory_kib};

/// The deadline for a driver's first line, which includes the start of an interpreter.
const START_MAX: Duration = Duration::from_secs(20);
/// The deadline for its exit.
const END_MAX: Duration = Duration::from_secs(20);
/// The capacity of the queue of lines: as many calls as a scenario starts at once.
const LINES_MAX: usize = 4_096;

/// A driver's process. Dropping it kills the process.
pub struct Process {
    name: String,
    child: Child,
    lines: mpsc::Sender<String>,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU64,
    without: BTreeSet<String>,
    why_without: String,
}

/// The calls in flight, and the reason why no more are accepted.
#[derive(Default)]
struct Waiting {
    calls: BTreeMap<u64, oneshot::Sender<Answer>>,
    ended: Option<String>,
}

impl Process {
    /// Starts a driver, with these additional environment variables.
    pub async fn start(
        name: &str,
        command: &[OsString],
        variables: &[(String, OsString)],
    ) -> anyhow::Result<Process> {
        let (program, arguments) = command.split_first().context("a command has a program")?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("client {name}: {} does not start", program.to_string_lossy()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (mut stdin, stdout) = (stdin.context("it has an input")?, stdout.context("it has an output")?);
        let mut said = BufReader::new(stdout).lines();
        let first = timeout(START_MAX, said.next_line()).await.context("no first line")??;
        let first = first.with_context(|| format!("client {name} exits at once"))?;
        anyhow::ensure!(first.starts_with(&format!("client {name}")), "client {name} begins with {first:?}");
        let (without, why) = match first.split_once(" without ") {
            Some((_, rest)) => rest
                .split_once(": ")
                .with_context(|| format!("client {name}: no reason for what it lacks"))?,
            None => ("", ""),
        };
        let without = without.split(',').filter(|verb| !verb.is_empty()).map(str::to_owned).collect();
        let why_without = why.to_owned();
        let (lines, mut to_write) = mpsc::channel::<String>(LINES_MAX);
        tokio::spawn(async move {
            while let Some(line) = to_write.recv().await {
                if stdin.write_all(line.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        tokio::spawn({
            let waiting = waiting.clone();
            async move {
                let why = loop {
                    match said.next_line().await {
                        Ok(Some(line)) => match Answer::parse(&line) {
                            Ok((number, answer)) => match lock(&waiting).calls.remove(&number) {
                                // The caller may have timed out.
                                Some(call) => drop(call.send(answer)),
                                None => break format!("unexpected answer: {line}"),
                            },
                            Err(error) => break format!("{line}: {error}"),
                        },
                        Ok(None) => break "it has exited".to_owned(),
                        Err(error) => break error.to_string(),
                    }
                };
                let mut waiting = lock(&waiting);
                waiting.calls.clear();
                waiting.ended = Some(why);
            }
        });
        Ok(Process {
            name: name.to_owned(),
            child,
            lines,
            waiting,
            next: AtomicU64::new(1),
            without,
            why_without,
        })
    }

    /// Returns the highest resident memory so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.child.id().map_or(0, |id| memory_kib(id, "VmHWM:"))
    }

    /// Returns the verbs that it does not support.
    pub fn without(&self) -> &BTreeSet<String> {
        &self.without
    }

    /// Returns the reason.
    pub fn why_without(&self) -> &str {
        &self.why_without
    }

    /// Starts a call, and returns its number and a future of its answer.
    pub fn begin(&self, line: &Line) -> (u64, impl Future<Output = anyhow::Result<Answer>> + Send + use<>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let ended = {
            let mut waiting = lock(&self.waiting);
            waiting.calls.insert(number, sender);
            waiting.ended.clone()
        };
        let sent = self.lines.try_send(format!("{number} {line}\n"));
        let (name, waiting) = (self.name.clone(), self.waiting.clone());
        let waited = async move {
            if let Some(why) = ended {
                anyhow::bail!("client {name}: {why}");
            }
            sent.with_context(|| format!("client {name} takes no more lines"))?;
            answer.await.map_err(|_| {
                let why = lock(&waiting).ended.clone().unwrap_or_default();
                anyhow::anyhow!("client {name}: {why}")
            })
        };
        (number, waited)
    }

    /// Closes its input, and waits for its exit.
    pub async fn end(self) -> anyhow::Result<()> {
        let Process { name, mut child, lines, .. } = self;
        drop(lines);
        let status = timeout(END_MAX, child.wait()).await;
        let status =
            status.with_context(|| format!("client {name} does not exit at the end of its input"))??;
        anyhow::ensure!(status.success(), "client {name} ended with {status}");
        Ok(())
    }
}
