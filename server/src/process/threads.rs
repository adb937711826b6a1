//! Threads of the process: each has a name, and belongs to a node if the one that started it does.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

use crate::process::logging;

/// Starts a thread. The lines that it logs name the same node as those of the calling thread.
///
/// # Errors
/// If the system has no room for another thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let node = logging::thread_node();
    Builder::new().name(name.to_owned()).spawn(move || {
        logging::set_thread_node(node);
        body()
    })
}
