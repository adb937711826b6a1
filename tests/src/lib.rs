//! Shared code of the tests of real processes: starting `gometa-server`s, waiting for them, stopping them.
//!
//! - [`ensemble`]: several nodes under supervision; [`members`]: nodes that join it; [`program`]: one process.
//! - [`network`]: proxies between the nodes, with partitions, delays and losses.
//! - [`chaos`]: faults on a whole ensemble, and checks of its history; the program `gometa-chaos`.
//! - [`clients`]: the same scenarios for the clients of every language; the program `gometa-clients`.
//! - [`endurance`]: long loads; the program `gometa-endurance`.
//! - [`impostors`]: other servers at addresses where a client expects a node.
//! - [`wait`]: conditions with deadlines; [`random`]: seeds.
//!
//! A function that fails, or waits beyond its deadline, panics with the cause, unless it returns a `Result`: these are
//! tests. The repository's own rules are in `tests/repo/` and use none of it.
#![forbid(unsafe_code)]

pub mod chaos;
pub mod clients;
pub mod data_directory;
pub mod endurance;
pub mod ensemble;
pub mod impostors;
pub mod members;
pub mod network;
pub mod program;
pub mod random;
mod svg;
pub mod wait;

use std::{
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Writes a line to standard output.
pub fn print_line(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Writes to standard error, indented. Shown also by tests that pass.
pub fn say(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "\n    {}", text.replace('\n', "\n    ")));
}

/// Locks a mutex, also after a panic elsewhere.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
