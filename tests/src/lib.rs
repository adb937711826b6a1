//! What the tests of real processes share: starting `gometa-server`s, waiting for them, stopping them.
//!
//! - [`ensemble`]: a supervisor of several nodes; [`program`]: one process.
//! - [`network`]: proxies between the nodes, to cut, delay and lose what passes.
//! - [`chaos`]: faults on a whole ensemble, and the verdict; the program `gometa-chaos` runs it.
//! - [`clients`]: the ways to use gometa, held to one behaviour; the program `gometa-clients` runs it.
//! - [`impostors`]: what else may listen where a client expects a node.
//! - [`wait`]: conditions with deadlines; [`random`]: seeds.
//!
//! What is amiss is told by panicking: these are tests. The repository's own rules are in `tests/repo/` and need
//! none of it.
#![forbid(unsafe_code)]

pub mod chaos;
pub mod clients;
pub mod ensemble;

pub mod impostors;
pub mod network;
pub mod program;
pub mod random;
pub mod wait;

use std::io::Write;

/// Writes a line to standard output.
pub fn print_line(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Writes to standard error, indented. Shown also by tests that pass.
pub fn say(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "\n    {}", text.replace('\n', "\n    ")));
}
