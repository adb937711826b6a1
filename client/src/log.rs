//! Logs of a client: `tracing` events, and the same as records for a function of the application.

use std::{fmt, sync::Arc, time::SystemTime};

/// The level of a log record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum LogLevel {
    /// A node cannot be reached, or a connection was lost.
    Warn,
    /// A lost connection was replaced.
    Info,
    /// Everything else: attempts, sessions, moves to the leader.
    Debug,
}

/// A log record.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LogRecord {
    /// The time of the event.
    pub time: SystemTime,
    /// The level.
    pub level: LogLevel,
    /// A fixed phrase and its fields, in one line: `dial failed address=127.0.0.1:5003 reason=connection refused`.
    pub message: String,
}

type Sink = Arc<dyn Fn(LogRecord) + Send + Sync>;

/// The receiver of a client's records, besides `tracing`.
#[derive(Clone, Default)]
pub(crate) struct Log(Option<(LogLevel, Sink)>);

impl Log {
    pub(crate) fn new(level: LogLevel, sink: impl Fn(LogRecord) + Send + Sync + 'static) -> Self {
        Self(Some((level, Arc::new(sink))))
    }

    pub(crate) fn record(&self, level: LogLevel, message: fmt::Arguments<'_>) {
        if let Some((max, sink)) = &self.0
            && level <= *max
        {
            sink(LogRecord { time: SystemTime::now(), level, message: message.to_string() });
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.0.as_ref().map(|(level, _)| level)).finish()
    }
}

/// Logs to `tracing` and to the client's own log: `log!(log, warn, "dial failed", address = a, reason = r)`.
/// Fields are formatted by `Display`.
macro_rules! log {
    ($log:expr, $level:ident, $message:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        tracing::$level!($($name = %$value,)* $message);
        $log.record(
            $crate::log::level::$level,
            format_args!(concat!($message $(, " ", stringify!($name), "={}")*), $($value),*),
        );
    }};
}
pub(crate) use log;

/// The levels by the names of the macros of `tracing`.
#[allow(non_upper_case_globals, reason = "named like the macros of tracing")]
pub(crate) mod level {
    use super::LogLevel;

    pub(crate) const warn: LogLevel = LogLevel::Warn;
    pub(crate) const info: LogLevel = LogLevel::Info;
    pub(crate) const debug: LogLevel = LogLevel::Debug;
}
