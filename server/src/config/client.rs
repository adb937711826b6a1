//! A client's configuration.

use super::{
    address::Address,
    file::{self, ConfigError},
    json::UnknownKeys,
    sections::{Host, Peer},
};

/// The configuration of the interactive client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// The addresses to connect to, in the file's order; at least one.
    pub request_addresses: Vec<Address>,
    /// Warnings to print.
    pub warnings: Vec<String>,
}

pub(crate) fn parse_client(
    file: &str,
    text: &str,
    unknown_keys: UnknownKeys,
) -> Result<ClientConfig, ConfigError> {
    let (document, warnings) = file::parse_document(file, text, unknown_keys)?;
    let expected = "expected \"Peer\": [{\"RequestAddr\": \"host:port\"}, …]";
    let whole = |what: String| ConfigError::whole(file, what);
    let mut request_addresses: Vec<Address> = Vec::new();
    let host = document.host.and_then(|Host(host)| host.request);
    let peers = document.peers.unwrap_or_default();
    let is_server_file = host.is_some();
    request_addresses.extend(host);
    for (index, Peer(peer)) in peers.into_iter().enumerate() {
        match peer.request {
            Some(address) if request_addresses.iter().any(|a| a.canonical() == address.canonical()) => {
                if !is_server_file {
                    return Err(whole(format!(
                        "RequestAddr {} appears twice: list each node once",
                        address.text
                    )));
                }
            }
            Some(address) => request_addresses.push(address),
            None if is_server_file => {}
            None => {
                return Err(whole(format!(
                    "RequestAddr is missing in Peer number {}: {expected}",
                    index + 1
                )));
            }
        }
    }
    if request_addresses.is_empty() {
        return Err(whole(format!("Peer is missing or empty: {expected}")));
    }
    Ok(ClientConfig { request_addresses, warnings })
}
