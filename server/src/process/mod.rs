pub(crate) mod allocator;
pub(crate) mod arguments;
pub(crate) mod console;
pub(crate) mod execute;
pub(crate) mod fd_limit;
pub(crate) mod flag_syntax;
pub(crate) mod log_format;
pub(crate) mod logging;
pub(crate) mod output;
#[cfg(gometa_instrumented)]
pub(crate) mod planted;
pub(crate) mod queue;
pub(crate) mod shutdown;
pub(crate) mod signals;
pub(crate) mod supervisor;
pub(crate) mod threads;
pub(crate) mod watcher;
