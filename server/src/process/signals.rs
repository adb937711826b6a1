//! Signal handling: some signals shut the process down, the others have no effect.

use std::sync::Arc;

use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ,
    },
    iterator::Signals,
};
use tracing::info;

use crate::process::{
    shutdown::{Reason, Shutdown},
    threads,
};

/// Signals that shut the process down, with their names.
const TERMINATING: [(i32, &str); 3] = [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT"), (SIGQUIT, "SIGQUIT")];
/// Signals whose default action would end the process without a last line. With SIGXFSZ ignored, a write beyond the file
/// size limit fails like any other failed write.
const IGNORED: [i32; 7] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXFSZ];

/// Starts a thread that handles signals.
///
/// # Errors
/// One line, if the system refuses.
pub(crate) fn watch(shutdown: &Arc<Shutdown>) -> Result<(), String> {
    let watched = TERMINATING.iter().map(|(signal, _)| *signal).chain([SIGHUP]).chain(IGNORED);
    let mut signals =
        Signals::new(watched).map_err(|error| format!("cannot watch signals: {error}; report this"))?;
    let shutdown = shutdown.clone();
    let watching = move || {
        for signal in signals.forever() {
            if let Some((_, name)) = TERMINATING.iter().find(|(number, _)| *number == signal) {
                shutdown.request(Reason::Requested((*name).to_owned()));
            } else if signal == SIGHUP {
                info!("SIGHUP ignored, the configuration is read at the start only");
            }
        }
    };
    threads::spawn("gometa-signals", watching)
        .map(drop)
        .map_err(|error| format!("cannot start threads: {error}; look at the limits of this process"))
}
