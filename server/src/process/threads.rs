//! Threads of the process. Each has a name; one that works for a node has the node's name, too, for its log lines.

use std::{
    cell::RefCell,
    io,
    sync::Arc,
    thread::{self, Builder, JoinHandle},
};

thread_local! {
    static NODE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Sets the node that the calling thread works for, by the message address that it announces.
pub(crate) fn set_node(node: Option<Arc<str>>) {
    NODE.with(|slot| *slot.borrow_mut() = node);
}

/// The node that the calling thread works for.
pub(crate) fn node() -> Option<Arc<str>> {
    NODE.with(|slot| slot.borrow().clone())
}

/// Waits for the end of a thread, unless it is the calling one.
pub(crate) fn join<T>(handle: JoinHandle<T>) {
    if handle.thread().id() != thread::current().id() {
        // A panic was logged by the thread itself.
        let _ = handle.join();
    }
}

/// Starts a thread that works for the same node as the calling one.
///
/// # Errors
/// If the system has no room for another thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let node = node();
    Builder::new().name(name.to_owned()).spawn(move || {
        set_node(node);
        body()
    })
}
