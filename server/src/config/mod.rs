//! The configuration: one JSON file, read and checked at the start, before anything is opened.
//!
//! A node's file lists its own three addresses (`Host`) and those of the other nodes (`Peer`); a client's file has `Peer`
//! with `RequestAddr`s only. Keys are case-insensitive. An unknown key is an error that names the most similar known one,
//! because a misspelt `Peer` would found an ensemble of one. Errors name file, line, column, and what was expected.
//! Names are not resolved and ports not opened here.

mod address;
mod client;
mod file;
mod json;
mod sections;
mod server;
mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use address::Address;
pub use client::ClientConfig;
pub(crate) use client::parse_client;
pub use file::ConfigError;
pub(crate) use file::absolute;
pub use json::UnknownKeys;
pub(crate) use json::nearest;
pub(crate) use server::parse_server;
pub use server::{Bind, DATA_DIR_DEFAULT, PORT_BASE, PORT_STRIDE, ServerConfig};
pub use settings::CLIENTS_MAX_DEFAULT;

/// Reads a node's configuration file at the path that `source` names: a flag or a variable. Errors name its absolute path.
/// `joins`: a flag names members of the ensemble to join, so that the file need not list peers.
pub fn load_server(
    path: &Path,
    source: &str,
    unknown_keys: UnknownKeys,
    joins: bool,
) -> Result<ServerConfig, ConfigError> {
    let path = absolute(path);
    parse_server(&path.display().to_string(), &file::read(&path, source)?, unknown_keys, joins)
}

/// Reads a client's configuration file at the path that `source` names: a flag or a variable. A node's file is accepted
/// as well; peers without RequestAddr are ignored.
pub fn load_client(
    path: &Path,
    source: &str,
    unknown_keys: UnknownKeys,
) -> Result<ClientConfig, ConfigError> {
    let path = absolute(path);
    parse_client(&path.display().to_string(), &file::read(&path, source)?, unknown_keys)
}
