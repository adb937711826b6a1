//! Clients of scripted nodes.

use std::time::Duration;

use gometa_client::{Builder, Client};
pub(crate) use gometa_testkit::scripted_server::*;

/// A builder with a short keepalive.
pub(crate) fn builder() -> Builder {
    Client::builder().keepalive(Duration::from_millis(100), Duration::from_millis(200))
}

pub(crate) fn client(nodes: &[&Node]) -> Client {
    builder().build(nodes.iter().map(|node| &node.address)).expect("addresses are fine")
}
