//! `gometa-server -inspect`: what the data directory of a stopped node contains, as text or as JSON.

use std::{
    fmt::{self, Display, Write as _},
    io::{self, BufWriter, Write},
    path::Path,
};

use gometa_proto::v1::command;
use gometa_store::decode_command;
use gometa_zab::{Kind, LogEntry};
use serde::Serialize;

use crate::{
    config,
    disk::{Damage, Inspection, Position, Report},
    process::{
        arguments::{Args, LogFormat, Revisions},
        logging,
    },
};

/// Prints what the arguments ask for.
///
/// # Errors
/// One line: why the directory cannot be inspected, or its first damage that the node does not repair.
pub(crate) fn run(dir: &Path, args: &Args) -> Result<(), String> {
    logging::abort_on_panic();
    let dir = config::absolute(dir);
    let inspection = Inspection::open(&dir, args.verify).map_err(|error| error.to_string())?;
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match args.dump_log {
        Some(range) => dump(&inspection, range, args.inspect_format, &mut out)?,
        None => print(&inspection.report, args.inspect_format, &mut out),
    };
    match printed.and_then(|()| out.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(format!("cannot write to standard output: {error}")),
        Ok(()) => {}
    }
    match inspection.report.damage.iter().find(|damage| !damage.repaired) {
        None => Ok(()),
        Some(damage) => {
            Err(format!("data directory {} is damaged: {damage}; {}", dir.display(), damage.remedy))
        }
    }
}

fn print(report: &Report, format: LogFormat, out: &mut impl Write) -> io::Result<()> {
    match format {
        LogFormat::Text => out.write_all(text(report).as_bytes()),
        LogFormat::Json => json(report, out),
    }
}

/// Writes one line.
fn json(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.epoch, self.counter)
    }
}

impl Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Lines of a name and a value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<16}{value}");
    }
}

/// A value, or that it cannot be read.
fn known(value: Option<impl Display>) -> String {
    value.map_or("unreadable".to_owned(), |value| value.to_string())
}

fn text(report: &Report) -> String {
    let mut lines = Lines::default();
    lines.add("directory", &report.directory);
    if let Some(identity) = &report.identity {
        lines.add("node", &identity.node);
        lines.add("incarnation", &identity.incarnation);
        lines.add("starts", known(identity.boot));
        if identity.never_founds {
            lines.add("", "the record of its ensemble was lost: it never founds one");
        }
    }
    match &report.ensemble {
        Some(ensemble) => {
            let sealed = if ensemble.sealed { "sealed" } else { "not sealed" };
            lines.add("ensemble", format!("{}, history {}, {sealed}", ensemble.id, ensemble.history));
            for voter in &ensemble.voters {
                let addresses = [&voter.election_address, &voter.message_address, &voter.request_address];
                lines.add("  voter", format!("{}  {}", voter.node, addresses.map(String::as_str).join("  ")));
            }
        }
        None if report.log.as_ref().is_some_and(|log| log.end.is_some()) => lines.add("ensemble", "none"),
        None => {}
    }
    if let Some(state) = &report.hard_state {
        let leader = state.accepted_leader.as_deref().unwrap_or("none");
        lines.add("accepted epoch", format!("{}, leader {leader}", state.accepted_epoch));
        lines.add("current epoch", state.current_epoch);
    }
    if let Some(log) = &report.log {
        let count = log.segments.len();
        let segments = if count == 1 { "segment" } else { "segments" };
        lines.add(&log.directory, format!("{} bytes, {count} {segments}", log.bytes));
        lines.add("  base", known(log.base));
        lines.add("  end", known(log.end));
        lines.add("  released", known(log.released));
        lines.add("  synced batch", known(log.synced_batch));
        for segment in &log.segments {
            let entries = match (segment.first, segment.last) {
                (Some(first), Some(last)) => format!("{first} to {last}"),
                _ => "no entries".to_owned(),
            };
            let (name, batches, used, bytes) =
                (&segment.name, segment.batches, segment.used_bytes, segment.bytes);
            lines.add("  segment", format!("{name}  {entries}, {batches} batches, {used} of {bytes} bytes"));
        }
    }
    if let Some(state) = &report.state {
        lines.add(&state.directory, format!("{} bytes", state.bytes));
        lines.add("  applied", known(state.applied));
        lines.add("  keys", known(state.keys));
        lines.add("  hash", known(state.hash.as_ref()));
    }
    lines.add("free", format!("{} bytes", report.free_bytes));
    report.notes.iter().for_each(|note| lines.add("note", note));
    for damage in &report.damage {
        lines.add(if damage.repaired { "repairable" } else { "damage" }, damage);
        lines.add("", damage.remedy);
    }
    let verified = report.state.as_ref().is_some_and(|state| state.verified);
    lines.add(
        "result",
        match (report.sound, verified) {
            (false, _) => "damaged",
            (true, true) => "sound; log and state were read completely, the hash is correct",
            (true, false) => "sound; the log was read completely, the records of the state were not",
        },
    );
    lines.0
}

/// An entry of the log.
#[derive(Serialize, Debug)]
struct Entry {
    epoch: u64,
    counter: u64,
    kind: String,
    level: u32,
    /// Of the payload.
    bytes: usize,
    #[serde(flatten)]
    command: Option<Command>,
}

#[derive(Serialize, Debug)]
struct Command {
    operation: String,
    /// With bytes that are not UTF-8 replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Entry {
    fn of(entry: LogEntry) -> Entry {
        let LogEntry { zxid, kind, level, payload } = entry;
        let bytes = payload.len();
        let command = (kind == Kind::Command).then(|| match decode_command(payload) {
            Ok(command) => Command::of(command.body),
            Err(_) => Command::named("malformed"),
        });
        let kind = match kind {
            Kind::Command => "command".to_owned(),
            Kind::Membership => "membership".to_owned(),
            Kind::Unknown(number) => format!("unknown-{number}"),
        };
        Entry { epoch: zxid.epoch.0, counter: zxid.counter, kind, level, bytes, command }
    }
}

impl Command {
    fn named(operation: &str) -> Command {
        Command { operation: operation.to_owned(), key: None }
    }

    fn of(body: Option<command::Body>) -> Command {
        match body {
            Some(command::Body::CreateSession(_)) => Command::named("create session"),
            Some(command::Body::EndSessions(_)) => Command::named("end sessions"),
            Some(command::Body::RaiseHorizon(_)) => Command::named("raise horizon"),
            Some(command::Body::Write(request)) => match request.operation {
                Some(operation) => Command {
                    operation: operation.kind().name().to_owned(),
                    key: operation.key().map(|key| String::from_utf8_lossy(key).into_owned()),
                },
                None => Command::named("unknown operation"),
            },
            None => Command::named("unknown"),
        }
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = Position { epoch: self.epoch, counter: self.counter };
        write!(f, "{position}  {}  {} bytes", self.kind, self.bytes)?;
        if let Some(Command { operation, key }) = &self.command {
            write!(f, "  {operation}")?;
            if let Some(key) = key {
                write!(f, "  {}", key.escape_debug())?;
            }
        }
        Ok(())
    }
}

/// Writes entries, one a line.
///
/// # Errors
/// The outer one is of the log, the inner one of the output.
fn dump(
    inspection: &Inspection,
    Revisions { from, to }: Revisions,
    format: LogFormat,
    out: &mut impl Write,
) -> Result<io::Result<()>, String> {
    let mut result = Ok(());
    inspection.entries(from, to, |entry| {
        let entry = Entry::of(entry);
        result = match format {
            LogFormat::Text => writeln!(out, "{entry}"),
            LogFormat::Json => json(&entry, out),
        };
        result.is_ok()
    })?;
    Ok(result)
}
