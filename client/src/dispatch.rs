//! Calls as values, for the language bindings, which prepare a call on one thread and make it on another.
//!
//! Hidden from the documentation: the list of calls is the methods of [`Client`].

use bytes::Bytes;

use crate::{
    client::Client,
    error::{Operation, Result},
    types::{Deleted, Entry, NodeStatus, ReadOptions, View, Written},
};

/// A call and its arguments, for [`Client::perform`]. What is within bounds, and what else can be wrong, is said at the
/// client's method of the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// [`Client::add`].
    Add {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// [`Client::set`].
    Set {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// [`Client::cas`].
    Cas {
        /// The key.
        key: Bytes,
        /// The `mod_revision` that it has to have, 0 if it must not exist.
        revision: u64,
        /// Its value.
        value: Bytes,
    },
    /// [`Client::delete`], [`Client::delete_if`].
    Delete {
        /// The key.
        key: Bytes,
        /// The `mod_revision` that it has to have; none, whatever it is.
        revision: Option<u64>,
    },
    /// [`Client::get_with`].
    Get {
        /// The key.
        key: Bytes,
        /// How to read.
        options: ReadOptions,
    },
    /// [`Client::status`], [`Client::status_of`].
    Status {
        /// The node's address for clients, `host:port`; none for the node in use.
        address: Option<String>,
    },
    /// [`Client::view`].
    Members,
}

/// What a [`Request`] came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// Of add, set and cas.
    Written(Written),
    /// Of delete.
    Deleted(Deleted),
    /// Of get.
    Entry(Entry),
    /// Of status.
    Status(Box<NodeStatus>),
    /// Of members.
    Members(Box<View>),
}

impl Request {
    /// Which call it is.
    #[must_use]
    pub fn operation(&self) -> Operation {
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

    /// What it is about.
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        match self {
            Request::Add { key, .. }
            | Request::Set { key, .. }
            | Request::Cas { key, .. }
            | Request::Delete { key, .. }
            | Request::Get { key, .. } => Some(key),
            Request::Status { .. } | Request::Members => None,
        }
    }
}

impl Client {
    /// Makes a call. Key and value are sent as they are, without another copy.
    ///
    /// # Errors
    /// Those of the method that the request names.
    pub async fn perform(&self, request: Request) -> Result<Reply> {
        Ok(match request {
            Request::Add { key, value } => Reply::Written(self.add_owned(key, value).await?),
            Request::Set { key, value } => Reply::Written(self.set_owned(key, value).await?),
            Request::Cas { key, revision, value } => {
                Reply::Written(self.cas_owned(key, revision, value).await?)
            }
            Request::Delete { key, revision } => Reply::Deleted(self.delete_owned(key, revision).await?),
            Request::Get { key, options } => Reply::Entry(self.get_owned(key, options).await?),
            Request::Status { address: None } => Reply::Status(Box::new(self.status().await?)),
            Request::Status { address: Some(address) } => {
                Reply::Status(Box::new(self.status_of(&address).await?))
            }
            Request::Members => Reply::Members(Box::new(self.view().await?)),
        })
    }
}
