//! The log: where events go, and the last line of a process that fails.

use std::io::{self, IsTerminal};

use tracing::error;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::process::{log_format, output};

/// Starts the log. Errors name `source`, where the level comes from.
pub(crate) fn start(level: &str, source: &str) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(level).map_err(|error| {
        format!("{source}={level}: {error}; expected error, warn, info, debug, trace or a filter of these")
    })?;
    let colours = !log_format::is_json() && io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Queued).with_ansi(colours);
    // The subscriber would report formatting errors by a direct write, which may block.
    let started = log.log_internal_errors(false).event_format(log_format::Lines).try_init();
    started.map_err(|error| format!("cannot start the log: {error}"))
}

/// Queues the last line of a process that fails: cause and remedy.
pub(crate) fn last_line(text: &str) {
    output::last(log_format::last_line(text));
}

/// Makes a panic in any thread abort the process, with its location in the last line: a node must not go on without one
/// of its threads.
pub(crate) fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let what = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let backtrace = std::backtrace::Backtrace::capture();
        error!(thread, location, what, %backtrace, "panic");
        last_line(&format!(
            "internal error in thread {thread} at {location}: {what}; start it again, and report this with the log"
        ));
        output::finish();
        std::process::abort();
    }));
}

/// Writes events to the queue of standard error.
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

    /// Makes this test panic as the server does.
    const PANICS: &str = "GOMETA_TEST_PANICS";
    const TIMEOUT: Duration = Duration::from_secs(30);

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
                None if begun.elapsed() < TIMEOUT => thread::sleep(Duration::from_millis(5)),
                ended => break ended,
            }
        };
        drop(child.kill());
        drop(child.wait());
        assert_eq!(ended.and_then(|status| status.signal()), Some(signal_hook::consts::SIGABRT));
    }
}
