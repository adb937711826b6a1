//! What can be asked, whether the caller waits for the answer or not.

use bytes::Bytes;
use gometa_client::{Client, Deleted, Entry, Error, NodeStatus, Operation, ReadOptions, View, Written};

/// A call and its arguments.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Add {
        key: Bytes,
        value: Bytes,
    },
    Set {
        key: Bytes,
        value: Bytes,
    },
    Cas {
        key: Bytes,
        revision: u64,
        value: Bytes,
    },
    Delete {
        key: Bytes,
        revision: Option<u64>,
    },
    Get {
        key: Bytes,
        options: ReadOptions,
    },
    /// Of the node in use, or of the one at an address.
    Status {
        address: Option<String>,
    },
    Members,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Written(Written),
    Deleted(Deleted),
    Entry(Entry),
    Status(Box<NodeStatus>),
    Members(Box<View>),
}

impl Request {
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Request::Add { .. } => Operation::Add,
            Request::Set { .. } => Operation::Set,
            Request::Cas { .. } => Operation::Cas,
            Request::Delete { .. } => Operation::Delete,
            Request::Get { .. } => Operation::Get,
            Request::Status { .. } => Operation::Status,
            Request::Members => Operation::Members,
        }
    }

    /// Makes the call.
    pub(crate) async fn perform(self, client: &Client) -> Result<Reply, Error> {
        Ok(match self {
            Request::Add { key, value } => Reply::Written(client.add(key, value).await?),
            Request::Set { key, value } => Reply::Written(client.set(key, value).await?),
            Request::Cas { key, revision, value } => Reply::Written(client.cas(key, revision, value).await?),
            Request::Delete { key, revision: None } => Reply::Deleted(client.delete(key).await?),
            Request::Delete { key, revision: Some(revision) } => {
                Reply::Deleted(client.delete_if(key, revision).await?)
            }
            Request::Get { key, options } => Reply::Entry(client.get_with(key, options).await?),
            Request::Status { address: None } => Reply::Status(Box::new(client.status().await?)),
            Request::Status { address: Some(address) } => {
                Reply::Status(Box::new(client.status_of(&address).await?))
            }
            Request::Members => Reply::Members(Box::new(client.view().await?)),
        })
    }
}
