//! The log, on standard error; and the last line there, behind which nothing comes.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::args::LogFormat;

/// Whether the last line is out.
static SILENT: Mutex<bool> = Mutex::new(false);

/// Standard error, until the last line is out.
#[derive(Clone, Copy)]
struct UntilLast;

impl Write for UntilLast {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each event of the log comes in one call, so the last line falls between two of them.
        let silent = SILENT.lock().unwrap_or_else(PoisonError::into_inner);
        if !*silent {
            // With nobody to read it, the log is lost, and the node goes on.
            drop(io::stderr().write_all(bytes));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for UntilLast {
    type Writer = UntilLast;

    fn make_writer(&'a self) -> UntilLast {
        *self
    }
}

/// Starts the log.
pub(crate) fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(level).map_err(|error| {
        format!("-log-level={level}: {error}; expected error, warn, info, debug, trace or a filter of these")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(UntilLast);
    let started = match format {
        LogFormat::Text => {
            log.with_target(false).with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init()
        }
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("cannot start the log: {error}"))
}

/// Writes the last line, which says what happened and what to do.
pub(crate) fn last_line(line: &str) {
    let mut silent = SILENT.lock().unwrap_or_else(PoisonError::into_inner);
    if !*silent {
        *silent = true;
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        drop(writeln!(io::stderr(), "gometa-server: {line}"));
    }
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
        std::process::abort();
    }));
}
