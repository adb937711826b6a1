//! The log: one line an event, each with the node that it is about, and a last line behind which nothing comes. As
//! text for people, or as one JSON object a line. Where the lines go is the affair of [`output`](crate::process::output).

use std::{
    cell::RefCell,
    fmt,
    io::{self, IsTerminal},
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
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use crate::process::{arguments::LogFormat, output};

/// Whether lines are JSON.
static JSON: AtomicBool = AtomicBool::new(false);
/// The name of the whole process in lines that are not about one node of several.
static PROCESS: OnceLock<Arc<str>> = OnceLock::new();

thread_local! {
    static NODE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Sets the form of all lines from now on.
pub(crate) fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Names the process in lines of threads that belong to no node. The first name counts.
pub(crate) fn set_process(name: &str) {
    PROCESS.get_or_init(|| name.into());
}

/// Names the node that the calling thread works for, by the message address that it announces.
pub(crate) fn set_thread_node(node: Option<Arc<str>>) {
    NODE.with(|slot| *slot.borrow_mut() = node);
}

/// The node that the calling thread works for.
pub(crate) fn thread_node() -> Option<Arc<str>> {
    NODE.with(|slot| slot.borrow().clone())
}

/// What lines of the calling thread name.
fn node() -> Option<Arc<str>> {
    thread_node().or_else(|| PROCESS.get().cloned())
}

/// Starts the log. An error names `source`, where the level comes from.
pub(crate) fn start(level: &str, source: &str) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(level).map_err(|error| {
        format!("{source}={level}: {error}; expected error, warn, info, debug, trace or a filter of these")
    })?;
    let colours = !JSON.load(Ordering::Relaxed) && io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Queued).with_ansi(colours);
    // What cannot be formatted is not reported by a direct write, which may block.
    let started = log.log_internal_errors(false).event_format(Lines).try_init();
    started.map_err(|error| format!("cannot start the log: {error}"))
}

/// Queues the last line, which says what happened and what to do.
pub(crate) fn last_line(line: &str) {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = if JSON.load(Ordering::Relaxed) {
        json(Level::ERROR, "gometa_server", Map::from_iter([("message".to_owned(), line.into())]))
    } else {
        match node() {
            Some(node) => format!("gometa-server: {line} (node {node})\n"),
            None => format!("gometa-server: {line}\n"),
        }
    };
    output::last(line.into_bytes());
}

/// The line that reports dropped ones.
pub(crate) fn dropped_lines(count: u64) -> Vec<u8> {
    let message =
        format!("{count} lines of the log were dropped: standard error could not be written in time");
    let line = if JSON.load(Ordering::Relaxed) {
        json(Level::WARN, "gometa_server::output", Map::from_iter([("message".to_owned(), message.into())]))
    } else {
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ = begin(&mut Writer::new(&mut line), Level::WARN);
        line + &message + "\n"
    };
    line.into_bytes()
}

/// From now on a panic in any thread ends the process, with its place as the last line: a node that has lost
/// one of its threads must not go on.
pub(crate) fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let words = payload.downcast_ref::<String>().map(String::as_str);
        let what = words.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!("panic in thread {thread} at {place}: {what}\n{trace}");
        last_line(&format!(
            "internal error in thread {thread} at {place}: {what}; start it again, and report this with the log"
        ));
        output::finish();
        std::process::abort();
    }));
}

/// The way from the log to the queue.
#[derive(Clone, Copy)]
struct Queued;

impl io::Write for Queued {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each event comes in one call.
        output::log(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queued {
    type Writer = Queued;

    fn make_writer(&'a self) -> Queued {
        *self
    }
}

/// The form of an event's line.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if JSON.load(Ordering::Relaxed) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            return writer.write_str(&json(*metadata.level(), metadata.target(), fields.0));
        }
        begin(&mut writer, *metadata.level())?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// What a line of text begins with: time, level, node.
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

/// A line of JSON: time, level, node, target, and the event's fields.
fn json(level: Level, target: &str, fields: Map<String, Value>) -> String {
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
    line.extend(fields);
    format!("{}\n", Value::Object(line))
}

/// An event's fields as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
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
    use std::{
        env,
        io::Write,
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// Has this test panic as the server does.
    const PANICS: &str = "GOMETA_TEST_PANICS";
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_panic_ends_a_process_whose_standard_error_is_blocked() {
        if env::var_os(PANICS).is_some() {
            abort_on_panic();
            panic!("on purpose");
        }
        let (_unread, mut full) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&full, true).unwrap();
        while full.write(&[0; 4_096]).is_ok() {}
        rustix::io::ioctl_fionbio(&full, false).unwrap();
        let name = thread::current().name().unwrap().to_owned();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &name, "--nocapture"]).env(PANICS, "1");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(full).spawn().unwrap();
        let begun = Instant::now();
        let ended = loop {
            match child.try_wait().unwrap() {
                None if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                ended => break ended,
            }
        };
        drop(child.kill());
        drop(child.wait());
        assert_eq!(ended.and_then(|status| status.signal()), Some(signal_hook::consts::SIGABRT));
    }
}
