//! The built command.

use std::process::{Command, Stdio};

/// The command with these arguments, without an input and without peers.
pub(crate) fn gometa(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gometa"));
    command.args(arguments).env_remove("GOMETA_PEERS").stdin(Stdio::null());
    command
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
