//! The form of log lines: one event a line, as text or as a JSON object. Each names the time, the level and the node.
//!
//! An event is a fixed phrase with fields. As text the fields follow the phrase as `key=value`, the value in double quotes
//! where it is not a single word.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use crate::process::{arguments::LogFormat, threads};

/// Whether lines are JSON.
static JSON: AtomicBool = AtomicBool::new(false);
/// The name of the process, for lines that are not about one of several nodes.
static PROCESS: OnceLock<Arc<str>> = OnceLock::new();

/// Sets the form of all later lines.
pub(crate) fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Sets the name in lines of threads that work for no node. The first call counts.
pub(crate) fn set_process(name: &str) {
    PROCESS.get_or_init(|| name.into());
}

/// The name in lines of the calling thread.
fn node() -> Option<Arc<str>> {
    threads::node().or_else(|| PROCESS.get().cloned())
}

/// The line that ends the log of a failed process: cause and remedy.
pub(crate) fn last_line(text: &str) -> Vec<u8> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = if is_json() {
        json(Level::ERROR, "gometa_server", vec![("message", text.into())])
    } else {
        match node() {
            Some(node) => format!("gometa-server: {text} (node {node})\n"),
            None => format!("gometa-server: {text}\n"),
        }
    };
    line.into_bytes()
}

/// The line that counts dropped lines.
pub(crate) fn dropped_lines(count: u64) -> Vec<u8> {
    const MESSAGE: &str = "log lines dropped, standard error was not read in time";
    let line = if is_json() {
        json(Level::WARN, "gometa_server::output", vec![("message", MESSAGE.into()), ("count", count.into())])
    } else {
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ = begin(&mut Writer::new(&mut line), Level::WARN);
        format!("{line}{MESSAGE} count={count}\n")
    };
    line.into_bytes()
}

pub(crate) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if is_json() {
            return writer.write_str(&json(*metadata.level(), metadata.target(), fields.0));
        }
        begin(&mut writer, *metadata.level())?;
        writeln!(writer, "{}", text(fields.0))
    }
}

/// The beginning of a line of text: time, level, node.
fn begin(writer: &mut Writer<'_>, level: Level) -> fmt::Result {
    SystemTime.format_time(writer)?;
    if writer.has_ansi_escapes() {
        let colour = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            _ => 35,
        };
        write!(writer, " \x1b[{colour}m{level:>5}\x1b[0m ")?;
    } else {
        write!(writer, " {level:>5} ")?;
    }
    node().map_or(Ok(()), |node| write!(writer, "{node} "))
}

/// An event as text: the phrase, then the fields.
fn text(fields: Vec<(&str, Value)>) -> String {
    let (mut line, mut rest) = (String::new(), String::new());
    for (key, value) in fields {
        let value = match value {
            Value::String(value) => value,
            other => other.to_string(),
        };
        if key == "message" {
            line = value;
            continue;
        }
        let is_word = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
        // Writing to a String cannot fail.
        let _ = if !value.is_empty() && value.chars().all(is_word) {
            write!(rest, " {key}={value}")
        } else {
            write!(rest, " {key}={}", Value::String(value))
        };
    }
    line + &rest
}

/// An event as JSON: time, level, node, target, and its fields.
fn json(level: Level, target: &str, fields: Vec<(&str, Value)>) -> String {
    let mut time = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), time.into());
    line.insert("level".to_owned(), level.as_str().into());
    if let Some(node) = node() {
        line.insert("node".to_owned(), (*node).into());
    }
    line.insert("target".to_owned(), target.into());
    line.extend(fields.into_iter().map(|(key, value)| (key.to_owned(), value)));
    format!("{}\n", Value::Object(line))
}

/// The fields of an event.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_the_phrase_and_are_quoted_unless_they_are_one_word() {
        let fields = vec![
            ("peer", "[::1]:5002".into()),
            ("message", "follower lost".into()),
            ("epoch", 7.into()),
            ("reason", "the connection \"x\"\nhas ended".into()),
            ("empty", "".into()),
            ("votes", true.into()),
        ];
        assert_eq!(
            text(fields),
            r#"follower lost peer=[::1]:5002 epoch=7 reason="the connection \"x\"\nhas ended" empty="" votes=true"#
        );
    }
}
