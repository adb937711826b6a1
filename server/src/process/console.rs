//! The interactive client, `gometa-server -client=true -config=client.json`.
//!
//! It lists the RequestAddrs of its file with numbers, prompts for one, then repeatedly for a command (Add, Set, Delete,
//! Get), a key, a value and a repetition. With a repetition n above 1 it sends key-0 … key-(n-1) with value-0 …
//! value-(n-1), several at a time, and prints the progress and the rate. Errors are printed; the end of input ends it.
//!
//! It connects to the selected node only, so that forwarding to the leader can be tested. `gometa` is the client for
//! general use.

use std::{
    collections::VecDeque,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use gometa_client::{Builder, Client, Error, Layout, Operation, blocking, printable};

use crate::config::{self, UnknownKeys};

/// The longest line, in bytes; longer than the longest value.
const LINE_MAX: u64 = 2 << 20;
/// The number of requests of one repetition in flight.
const IN_FLIGHT_MAX: usize = 32;
/// The number of successive retryable failures that ends a repetition.
const FAILURES_MAX: usize = 32;
/// The number of failures of one repetition that are printed; others are counted.
const FAILURES_SHOWN_MAX: usize = 10;
/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Runs on standard input and output, with the addresses in a file; `source` names the flag of the file.
///
/// # Errors
/// An invalid file, and failures of standard input and output.
pub(crate) fn run(
    config: &Path,
    source: &str,
    unknown_keys: UnknownKeys,
    warnings: &[String],
) -> anyhow::Result<ExitCode> {
    let config = config::load_client(config, source, unknown_keys)?;
    let mut errors = io::stderr().lock();
    for warning in warnings.iter().chain(&config.warnings) {
        writeln!(errors, "{warning}")?;
    }
    let hosts: Vec<String> = config.request_addresses.iter().map(|address| address.text.clone()).collect();
    let (output, terminal) = (io::stdout().lock(), io::stdout().is_terminal());
    match run_with(&hosts, Client::builder().timeout(TIMEOUT), io::stdin().lock(), output, terminal) {
        // The reader of the output has closed it.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS).context("the interactive client ended early"),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Runs on any input and output. On a `terminal`, control characters in values are escaped. Must not be called on a
/// thread of a tokio runtime.
///
/// # Errors
/// Failures of input and output, and invalid addresses.
pub(crate) fn run_with(
    hosts: &[String],
    settings: Builder,
    input: impl BufRead,
    output: impl Write,
    terminal: bool,
) -> anyhow::Result<()> {
    let mut console = Console { input, output, terminal, at_start: true };
    let Some(host) = console.select(hosts)? else { return Ok(()) };
    let client = blocking::Client::with_settings(settings.name("gometa-console").pinned(true), [host])?;
    while let Some(task) = console.task()? {
        match task {
            Ok(task) => console.execute(&client, &task)?,
            Err(error) => console.print(&format!("Error : {error}"))?,
        }
    }
    console.print("")?;
    Ok(())
}

/// Prompts for keys, and prints what the node of the client has applied of each; the console of a watcher. Must not be called
/// on a thread of a tokio runtime.
///
/// # Errors
/// Failures of input and output.
pub(crate) fn retrieve(
    client: &blocking::Client,
    input: impl BufRead,
    output: impl Write,
    terminal: bool,
) -> anyhow::Result<()> {
    let mut console = Console { input, output, terminal, at_start: true };
    while let Some(key) = console.prompt("Enter Key to Retrieve")? {
        match client.get_local(key) {
            Ok(entry) => console.show(&Done::Value(entry.value.to_vec()))?,
            Err(error) => console.print(&failure_line(&error))?,
        }
    }
    console.print("")?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Add,
    Set,
    Delete,
    Get,
}

impl Verb {
    /// Parses a command or an alias of it, in any case.
    fn parse(command: &[u8]) -> Result<Verb, String> {
        match command.to_ascii_lowercase().as_slice() {
            b"add" => Ok(Verb::Add),
            b"set" | b"put" => Ok(Verb::Set),
            b"delete" | b"rm" => Ok(Verb::Delete),
            b"get" => Ok(Verb::Get),
            b"" => Err("no command: enter Add, Set, Delete or Get".to_owned()),
            b"ls" | b"list" => Err("this console lists no keys; `gometa ls` and `gometa scan` do".to_owned()),
            b"version" => Err(format!(
                "this is gometa-server {}; enter Add, Set, Delete or Get",
                env!("CARGO_PKG_VERSION")
            )),
            _ => Err(format!("unknown command {}: enter Add, Set, Delete or Get", command.escape_ascii())),
        }
    }
}

/// A command with its arguments.
#[derive(Debug)]
struct Task {
    verb: Verb,
    key: Vec<u8>,
    value: Vec<u8>,
    repetition: u32,
}

struct Console<I, O> {
    input: I,
    output: O,
    /// Whether the output is a terminal.
    terminal: bool,
    /// Whether nothing has been read yet.
    at_start: bool,
}

impl<I: BufRead, O: Write> Console<I, O> {
    /// Prints a line and flushes it.
    fn print(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.output, "{line}")?;
        self.output.flush()
    }

    /// Prompts for a line, and trims it; None at the end of input.
    fn prompt(&mut self, prompt: &str) -> io::Result<Option<Vec<u8>>> {
        self.print(prompt)?;
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut self.input).take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            if line.len() as u64 == LINE_MAX && !line.ends_with(b"\n") {
                self.skip_line()?;
                self.print(&format!("Error : a line has at most {LINE_MAX} bytes; enter it again"))?;
                continue;
            }
            // Some editors write a byte order mark.
            let mark: &[u8] = if std::mem::take(&mut self.at_start) { b"\xef\xbb\xbf" } else { b"" };
            let line = line.strip_prefix(mark).unwrap_or(&line);
            return Ok(Some(line.trim_ascii().to_vec()));
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let available = self.input.fill_buf()?;
            let (length, end) = match available.iter().position(|byte| *byte == b'\n') {
                Some(position) => (position + 1, true),
                None => (available.len(), available.is_empty()),
            };
            self.input.consume(length);
            if end {
                return Ok(());
            }
        }
    }

    /// Prompts for the number of a host; None at the end of input.
    fn select<'a>(&mut self, hosts: &'a [String]) -> io::Result<Option<&'a String>> {
        for (number, host) in hosts.iter().enumerate() {
            self.print(&format!("\t{number} - {host}"))?;
        }
        loop {
            let Some(line) = self.prompt("Select Host (number)")? else { return Ok(None) };
            let number = std::str::from_utf8(&line).ok().and_then(|text| text.parse::<usize>().ok());
            match number.and_then(|number| hosts.get(number)) {
                Some(host) => return Ok(Some(host)),
                None => self.print(&format!(
                    "Error : {} is not a number from 0 to {}",
                    line.escape_ascii(),
                    hosts.len().saturating_sub(1)
                ))?,
            }
        }
    }

    /// Prompts for the next command; None at the end of input.
    fn task(&mut self) -> io::Result<Option<Result<Task, String>>> {
        let Some(command) = self.prompt("Enter command(Add, Set, Delete, Get)")? else { return Ok(None) };
        let verb = match Verb::parse(&command) {
            Ok(verb) => verb,
            Err(why) => return Ok(Some(Err(why))),
        };
        let Some(key) = self.prompt("Enter Key")? else { return Ok(None) };
        let value = match verb {
            Verb::Add | Verb::Set => match self.prompt("Enter Value")? {
                Some(value) => value,
                None => return Ok(None),
            },
            Verb::Delete | Verb::Get => Vec::new(),
        };
        let Some(repetition) = self.prompt("Enter Repetition (1 if empty)")? else { return Ok(None) };
        let repetition = match repetition.as_slice() {
            b"" => Ok(1),
            text => std::str::from_utf8(text).unwrap_or_default().parse(),
        };
        Ok(Some(match repetition {
            Ok(repetition @ 1..) => Ok(Task { verb, key, value, repetition }),
            _ => Err("a repetition is a number, 1 or higher".to_owned()),
        }))
    }

    fn execute(&mut self, client: &blocking::Client, task: &Task) -> io::Result<()> {
        let (client, runtime) = client.inner().get(Operation::Status).map_err(io::Error::other)?;
        if task.repetition > 1 {
            return runtime.block_on(self.repeat(client, task));
        }
        let result = runtime.block_on(send(client.clone(), task.verb, task.key.clone(), task.value.clone()));
        match result {
            Ok(result) => self.show(&result),
            Err(error) => self.print(&failure_line(&error)),
        }
    }

    fn show(&mut self, result: &Done) -> io::Result<()> {
        match result {
            Done::Text(text) => self.print(&format!("Result = {text}")),
            Done::Value(value) => {
                self.output.write_all(b"Result = ")?;
                match self.terminal {
                    true => self.output.write_all(printable(value, Layout::Lines).as_bytes())?,
                    false => self.output.write_all(value)?,
                }
                self.print(&format!(", len(result) = {}", value.len()))
            }
        }
    }

    /// Sends all requests of a repetition, several at a time, and prints the results in order.
    async fn repeat(&mut self, client: &Client, task: &Task) -> io::Result<()> {
        let started = Instant::now();
        let total = task.repetition;
        let step = (total / 10).max(1);
        let (mut sent, mut answered, mut failed, mut failed_in_row) = (0, 0, 0, 0);
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT_MAX);
        loop {
            while sent < total && in_flight.len() < IN_FLIGHT_MAX && failed_in_row < FAILURES_MAX {
                let (key, value) = (numbered(&task.key, sent), numbered(&task.value, sent));
                in_flight.push_back((sent, tokio::spawn(send(client.clone(), task.verb, key, value))));
                sent += 1;
            }
            let Some((number, answer)) = in_flight.pop_front() else { break };
            let answer = answer.await.map_err(io::Error::other)?;
            answered += 1;
            match answer {
                Ok(done) => {
                    failed_in_row = 0;
                    if task.verb == Verb::Get {
                        self.show(&done)?;
                    }
                }
                Err(error) => {
                    failed += 1;
                    failed_in_row = if error.is_retryable() { failed_in_row + 1 } else { 0 };
                    if failed <= FAILURES_SHOWN_MAX {
                        self.print(&failure_line(&error))?;
                    }
                }
            }
            if answered % step == 0 && task.verb != Verb::Get {
                self.print(&format!(
                    "{answered} of {total}, up to {}",
                    numbered(&task.key, number).escape_ascii()
                ))?;
            }
        }
        let elapsed = started.elapsed().as_secs_f64();
        let rate = f64::from(answered) / elapsed.max(1e-9);
        self.print(&format!(
            "{answered} sent, {failed} failed, in {elapsed:.3} s: {rate:.0}/s, {IN_FLIGHT_MAX} at a time"
        ))?;
        if sent < total {
            let rest = total - sent;
            self.print(&format!("Error : stopped after {FAILURES_MAX} failures in a row, {rest} not sent"))?;
        }
        Ok(())
    }
}

/// The line of a failure. Its text may come from a node.
fn failure_line(error: &Error) -> String {
    format!("Error : {}", printable(error.to_string().as_bytes(), Layout::OneLine))
}

/// The result of a request.
enum Done {
    Text(String),
    Value(Vec<u8>),
}

async fn send(client: Client, verb: Verb, key: Vec<u8>, value: Vec<u8>) -> Result<Done, Error> {
    let written = match verb {
        Verb::Add => client.add(&key, &value).await?,
        Verb::Set => client.set(&key, &value).await?,
        Verb::Delete => {
            let deleted = client.delete(&key).await?;
            return Ok(Done::Text(match deleted.existed {
                true => format!("deleted at revision {}", deleted.revision),
                false => "no such key".to_owned(),
            }));
        }
        Verb::Get => return Ok(Done::Value(client.get(&key).await?.value.to_vec())),
    };
    Ok(Done::Text(format!("revision {}, version {}", written.revision, written.version)))
}

/// `name-number`.
fn numbered(name: &[u8], number: u32) -> Vec<u8> {
    [name, b"-", number.to_string().as_bytes()].concat()
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
