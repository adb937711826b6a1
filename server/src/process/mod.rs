//! The process: command line, console, log, shutdown, signals, systemd, limits of the system.

pub(crate) mod allocator;
pub(crate) mod arguments;
pub(crate) mod console;
pub(crate) mod fd_limit;
pub(crate) mod flag_syntax;
pub(crate) mod log_format;
pub(crate) mod logging;
pub(crate) mod output;
pub(crate) mod shutdown;
pub(crate) mod signals;
pub(crate) mod supervisor;
pub(crate) mod threads;
