//! Clients of scripted nodes.

use std::time::Duration;

use gometa_client::{Builder, Client, Entry, Error, Written};
pub(crate) use gometa_testkit::scripted_server::*;
use tokio::task::JoinHandle;

/// A builder with a short keepalive.
pub(crate) fn builder() -> Builder {
    Client::builder().keepalive(Duration::from_millis(100), Duration::from_millis(200))
}

pub(crate) fn client(nodes: &[&Node]) -> Client {
    builder().build(nodes.iter().map(|node| &node.address)).expect("addresses are fine")
}

/// Starts to get the key.
pub(crate) fn get(client: &Client, key: &'static str) -> JoinHandle<Result<Entry, Error>> {
    let client = client.clone();
    tokio::spawn(async move { client.get(key).await })
}

/// Starts to set the key.
pub(crate) fn set(client: &Client, key: &'static str) -> JoinHandle<Result<Written, Error>> {
    let client = client.clone();
    tokio::spawn(async move { client.set(key, "v").await })
}

/// A client with the open session 7, and its connection.
pub(crate) async fn opened(nodes: &[&Node]) -> (Client, Link) {
    let client = client(nodes);
    let call = set(&client, "first");
    let mut link = nodes[0].accept().await;
    assert_eq!(link.open_session(7).await.len(), 16);
    assert_eq!(numbers(&link.answer_next(written(1)).await), (7, 1, 1));
    let written = call.await.unwrap().unwrap();
    assert_eq!((written.revision, written.version), (1, 1));
    (client, link)
}
