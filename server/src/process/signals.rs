//! What signals do: some end the process in order, the others end nothing.

use std::sync::Arc;

use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ,
    },
    iterator::Signals,
};
use tracing::info;

use crate::process::{
    shutdown::{Ending, Reason},
    threads,
};

/// Signals that end the process in order, with their names.
const ENDING: [(i32, &str); 3] = [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT"), (SIGQUIT, "SIGQUIT")];
/// Signals whose default would end the process without a last line. A write beyond the limit on the size of files
/// (SIGXFSZ) fails then, which is a failure of the disk like others.
const IGNORED: [i32; 7] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXFSZ];

/// Watches signals from now on, on a thread of its own.
///
/// # Errors
/// One line, if the system refuses.
pub(crate) fn watch(ending: &Arc<Ending>) -> Result<(), String> {
    let watched = ENDING.iter().map(|(signal, _)| *signal).chain([SIGHUP]).chain(IGNORED);
    let mut signals =
        Signals::new(watched).map_err(|error| format!("cannot watch signals: {error}; report this"))?;
    let ending = ending.clone();
    let watching = move || {
        for signal in signals.forever() {
            if let Some((_, name)) = ENDING.iter().find(|(ends, _)| *ends == signal) {
                ending.end(Reason::Asked((*name).to_owned()));
            } else if signal == SIGHUP {
                info!("ignores SIGHUP: the configuration is read at the start only");
            }
        }
    };
    threads::spawn("gometa-signals", watching)
        .map(drop)
        .map_err(|error| format!("cannot start threads: {error}; look at the limits of this process"))
}
