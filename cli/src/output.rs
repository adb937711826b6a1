//! Output: results and failures, as text or as JSON, and the exit status.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use gometa_client::{Entry, Error, ErrorKind, Layout, Outcome, Written, controls_terminal, printable};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{advice, base64};

/// The exit status of `txn` if a comparison does not hold, as that of a `cas` of another revision.
pub(crate) const OTHERWISE: u8 = 4;
/// The exit status of `status`, `health` and `bench` if something is wrong.
pub(crate) const UNHEALTHY: u8 = 5;
/// The exit status after Ctrl-C, as in other programs.
pub(crate) const INTERRUPTED: u8 = 130;

/// The format of results.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Format {
    /// Text
    Table,
    /// One JSON value per result, on one line; errors as JSON on standard error
    Json,
}

/// The failure of a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Invalid arguments.
    Usage(String),
    /// A call failed.
    Call(Error),
    /// No node answered a request for its status.
    NoAnswer(String),
    /// Standard input, standard output or the terminal failed.
    Io {
        /// The operation that failed.
        what: &'static str,
        error: io::Error,
    },
    /// A failure in the words of the command.
    Explained(Box<Explained>),
}

/// A failure with a message of its command, such as how far that has come. Kind, exit status and outcome are those of the
/// cause.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) cause: Failure,
    pub(crate) message: String,
    pub(crate) advice: Option<String>,
    /// Further fields in JSON.
    pub(crate) fields: Map<String, Value>,
}

/// Whether a change of the members may have been made.
fn is_unknown_change(error: &Error) -> bool {
    let operation = error.operation();
    operation.has_effect() && !operation.is_write() && error.outcome() == Outcome::Unknown
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Standard input cannot be read.
    pub(crate) fn input(error: io::Error) -> Self {
        Self::Io { what: "cannot read standard input", error }
    }

    /// Whether the reader of standard output has closed it, which is no error.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit status, as documented by `gometa --help`.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Io { .. } => 1,
            Self::Usage(_) => 2,
            Self::NoAnswer(_) => 5,
            Self::Explained(explained) => explained.cause.exit_status(),
            Self::Call(error) => match error.kind() {
                // Of a write, these are the outcome of all attempts.
                ErrorKind::NotFound if !is_unknown_change(error) => 3,
                ErrorKind::AlreadyExists | ErrorKind::CasMismatch | ErrorKind::GuardFailed => 4,
                _ if error.operation().has_effect() && error.outcome() == Outcome::Unknown => 6,
                ErrorKind::FailedPrecondition => 4,
                ErrorKind::InvalidArgument | ErrorKind::TooLarge => 2,
                ErrorKind::DeadlineExceeded
                | ErrorKind::Unavailable
                | ErrorKind::NotLeader
                | ErrorKind::ConnectionLost
                | ErrorKind::ResourceExhausted
                | ErrorKind::SessionExpired => 5,
                _ => 1,
            },
        }
    }

    /// What to try next, in one line. `source` names where the peers' addresses come from.
    pub(crate) fn advice(&self, source: &str) -> Option<String> {
        match self {
            Self::Call(error) => advice::for_error(error, source),
            Self::NoAnswer(reasons) => Some(advice::for_no_answer(reasons, source)),
            Self::Io { error, .. } if error.kind() == io::ErrorKind::NotConnected => Some(
                "provide input, or the value or the file as an argument; an empty value is \"\"".to_owned(),
            ),
            Self::Explained(explained) => explained.advice.clone(),
            Self::Usage(_) | Self::Io { .. } => None,
        }
    }

    pub(crate) fn to_json(&self, source: &str) -> Value {
        let mut fields = self.fields();
        if let Some(advice) = self.advice(source) {
            fields.insert("advice".to_owned(), advice.into());
        }
        json!({ "error": fields })
    }

    /// The fields in JSON, without the advice.
    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        match self {
            Self::Explained(explained) => {
                fields = explained.cause.fields();
                fields.extend(explained.fields.clone());
                fields.insert("message".to_owned(), explained.message.as_str().into());
            }
            Self::Call(error) => {
                put_kind(&mut fields, error.kind());
                fields.insert("operation".to_owned(), error.operation().name().into());
                if let Some(key) = error.key() {
                    put_bytes(&mut fields, "key", key);
                }
                fields.insert("message".to_owned(), error.message().into());
                let outcome = match error.outcome() {
                    Outcome::NotApplied => "not_applied",
                    Outcome::Unknown => "unknown",
                };
                fields.insert("outcome".to_owned(), outcome.into());
                if let Some(revision) = error.actual_revision() {
                    fields.insert("actual_revision".to_owned(), revision.into());
                }
                if let Some(leader) = error.leader() {
                    fields.insert("leader".to_owned(), leader.into());
                }
            }
            Self::Usage(message) | Self::NoAnswer(message) => {
                let usage = matches!(self, Self::Usage(_));
                put_kind(
                    &mut fields,
                    if usage { ErrorKind::InvalidArgument } else { ErrorKind::Unavailable },
                );
                fields.insert("outcome".to_owned(), "not_applied".into());
                fields.insert("message".to_owned(), message.as_str().into());
            }
            Self::Io { .. } => {
                fields.insert("kind".to_owned(), "Io".into());
                fields.insert("message".to_owned(), self.to_string().into());
            }
        }
        fields
    }
}

/// Turns the result of a command into the exit status of the process; reports a failure on standard error.
pub(crate) fn exit(result: Result<u8, Failure>, format: Format, source: &str) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error cannot be written, the exit status remains.
            let _ = report(&failure, format, source, &mut io::stderr());
            ExitCode::from(failure.exit_status())
        }
    }
}

/// Writes a failure and what to try next. `source` names where the peers' addresses come from.
pub(crate) fn report(failure: &Failure, format: Format, source: &str, err: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => write_json(err, &failure.to_json(source)),
        Format::Table => {
            // Parts of the text are untrusted: they come from nodes and from files.
            let line = |text: String| printable(text.as_bytes(), Layout::OneLine);
            writeln!(err, "gometa: {}", line(failure.to_string()))?;
            match failure.advice(source) {
                Some(advice) => writeln!(err, "  {}", line(advice)),
                None => Ok(()),
            }
        }
    }
}

pub(crate) fn put_kind(fields: &mut Map<String, Value>, kind: ErrorKind) {
    fields.insert("kind".to_owned(), kind.name().into());
    fields.insert("number".to_owned(), kind.number().into());
    fields.insert("retryable".to_owned(), kind.retryable().into());
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::NoAnswer(message) => f.write_str(message),
            Self::Call(error) => write!(f, "{error}"),
            Self::Io { what, error } => write!(f, "{what}: {error}"),
            Self::Explained(explained) => f.write_str(&explained.message),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

/// An error that is not converted explicitly is one of standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io { what: "cannot write to standard output", error }
    }
}

/// Writes the result of set, add and cas.
pub(crate) fn write_written(out: &mut dyn Write, format: Format, written: Written) -> Result<u8, Failure> {
    let Written { revision, version, .. } = written;
    match format {
        Format::Table => writeln!(out, "revision {revision}, version {version}")?,
        Format::Json => writeln!(out, "{}", json!({ "revision": revision, "version": version }))?,
    }
    Ok(0)
}

/// Writes a line of JSON. Characters that control a terminal and are valid in JSON strings are escaped.
pub(crate) fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if controls_terminal(character) {
            line.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// Inserts bytes as `name` if they are UTF-8, else in base64 as `name_base64`.
pub(crate) fn put_bytes(fields: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => fields.insert(name.to_owned(), text.into()),
        Err(_) => fields.insert(format!("{name}_base64"), base64::encode(bytes).into()),
    };
}

/// The fields of an entry of a read. A group has its key only.
pub(crate) fn entry_fields(entry: &Entry, keys_only: bool) -> Map<String, Value> {
    let mut fields = Map::new();
    put_bytes(&mut fields, "key", &entry.key);
    if entry.is_group {
        fields.insert("is_group".to_owned(), true.into());
        return fields;
    }
    if !keys_only {
        put_bytes(&mut fields, "value", &entry.value);
    }
    fields.insert("version".to_owned(), entry.version.into());
    fields.insert("create_revision".to_owned(), entry.create_revision.into());
    fields.insert("mod_revision".to_owned(), entry.mod_revision.into());
    fields
}

/// Writes rows in aligned columns. Cells are escaped to one line each.
pub(crate) fn write_table(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let printed = |row: &Vec<String>| -> Vec<String> {
        row.iter().map(|cell| printable(cell.as_bytes(), Layout::OneLine)).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(printed).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gometa_client::Operation;

    use super::*;

    #[test]
    fn every_kind_of_error_has_a_status_and_all_its_fields() {
        let unsent = |kind: ErrorKind| match kind {
            ErrorKind::NotFound => 3,
            ErrorKind::AlreadyExists
            | ErrorKind::CasMismatch
            | ErrorKind::GuardFailed
            | ErrorKind::FailedPrecondition => 4,
            ErrorKind::InvalidArgument | ErrorKind::TooLarge => 2,
            ErrorKind::DeadlineExceeded
            | ErrorKind::Unavailable
            | ErrorKind::NotLeader
            | ErrorKind::ConnectionLost
            | ErrorKind::ResourceExhausted
            | ErrorKind::SessionExpired => 5,
            _ => 1,
        };
        for &kind in ErrorKind::ALL {
            for operation in [Operation::Get, Operation::Set] {
                let error = Error::new(kind, operation, "what happened");
                let unknown = Failure::Call(error.clone().with_unknown_outcome());
                let failure = Failure::Call(error);
                assert_eq!(failure.exit_status(), unsent(kind), "{kind:?}");
                let replied = matches!(
                    kind,
                    ErrorKind::NotFound
                        | ErrorKind::AlreadyExists
                        | ErrorKind::CasMismatch
                        | ErrorKind::GuardFailed
                );
                let expected = if operation == Operation::Set && !replied { 6 } else { unsent(kind) };
                assert_eq!(unknown.exit_status(), expected, "{kind:?}");
                let shown = &failure.to_json("")["error"];
                assert_eq!(shown["kind"], kind.name());
                assert_eq!(shown["number"], kind.number());
                assert_eq!(shown["retryable"], kind.retryable());
                assert_eq!(shown["outcome"], "not_applied");
                assert_eq!(unknown.to_json("")["error"]["outcome"], "unknown");
                assert_eq!(
                    (&shown["operation"], &shown["message"]),
                    (&operation.name().into(), &"what happened".into())
                );
            }
        }
    }

    #[test]
    fn text_from_a_node_cannot_control_the_terminal() {
        let error = Error::new(ErrorKind::Internal, Operation::Get, "\x1b]0;title\x07 two\nlines");
        let mut err = Vec::new();
        report(&Failure::Call(error), Format::Table, "", &mut err).unwrap();
        let text = String::from_utf8(err).unwrap();
        assert!(text.starts_with("gometa: get: \\x1b]0;title\\x07 two\\nlines\n"), "{text:?}");
        let mut out = Vec::new();
        write_table(&mut out, &[vec!["\x1b[31m".to_owned(), "b\nc".to_owned()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\\x1b[31m  b\\nc\n");
    }

    #[test]
    fn json_is_equivalent_and_cannot_control_the_terminal() {
        let value = json!({ "é日🦀": "\x1b[2J\x07\x7f\u{9b}31m\u{202e}\n\"" });
        let mut out = Vec::new();
        write_json(&mut out, &value).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
        let line = line.strip_suffix('\n').unwrap();
        assert_eq!(printable(line.as_bytes(), Layout::OneLine), line);
        assert!(line.contains("\\u009b31m\\u202e"), "{line}");
    }

    #[test]
    fn tables_line_up() {
        let rows = [["A", "LONG"], ["wide", "é"]].map(|row| row.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        write_table(&mut out, &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A     LONG\nwide  é\n");
    }
}
