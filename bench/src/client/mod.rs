//! A client of each system: one TCP connection, any number of concurrent calls.

mod etcd;
mod gometa;
pub(crate) mod zookeeper;

use std::{ops::Range, sync::Arc};

use anyhow::{Result, bail};
use bytes::Bytes;

use crate::{args::System, data::Values};

/// A client of one system, connected to one node.
pub(crate) enum Client {
    Gometa(gometa::Client),
    Etcd(etcd::Client),
    ZooKeeper(zookeeper::Client),
}

impl Client {
    /// Connects to the node at `address`.
    pub(crate) async fn connect(system: System, address: &str) -> Result<Client> {
        Ok(match system {
            System::Gometa => Client::Gometa(gometa::Client::connect(address).await?),
            System::Etcd => Client::Etcd(etcd::Client::connect(address).await?),
            System::ZooKeeper => Client::ZooKeeper(zookeeper::Client::connect(address).await?),
        })
    }

    /// Replaces the value of an existing key.
    pub(crate) async fn set(&self, key: u32, value: Bytes) -> Result<()> {
        match self {
            Client::Gometa(client) => client.set(key, value).await,
            Client::Etcd(client) => client.set(key, value).await,
            Client::ZooKeeper(client) => client.set(key, value).await,
        }
    }

    /// Reads an existing key, and returns the length of its value.
    pub(crate) async fn get(&self, key: u32, local: bool) -> Result<usize> {
        match self {
            Client::Gometa(client) => client.get(key, local).await,
            Client::Etcd(client) => client.get(key, local).await,
            Client::ZooKeeper(client) => client.get(key, local).await,
        }
    }

    /// Reads the keys from this one on, [`PAGE_KEYS`](crate::data::PAGE_KEYS) at most, and returns their number.
    pub(crate) async fn page(&self, key: u32) -> Result<usize> {
        match self {
            Client::Gometa(client) => client.page(key).await,
            Client::Etcd(client) => client.page(key).await,
            Client::ZooKeeper(_) => bail!("ZooKeeper has no pages"),
        }
    }

    /// Replaces the values of two existing keys as one.
    pub(crate) async fn set_both(&self, keys: [u32; 2], value: Bytes) -> Result<()> {
        match self {
            Client::Gometa(client) => client.set_both(keys, value).await,
            Client::Etcd(client) => client.set_both(keys, value).await,
            Client::ZooKeeper(client) => client.set_both(keys, value).await,
        }
    }

    /// Creates keys, many at a time. They do not exist before.
    pub(crate) async fn create(&self, keys: Range<u32>, values: &Arc<Values>) -> Result<()> {
        match self {
            Client::Gometa(client) => client.create(keys, values).await,
            Client::Etcd(client) => client.create(keys, values).await,
            Client::ZooKeeper(client) => client.create(keys, values).await,
        }
    }

    /// Ends the session, if the system has sessions, and closes the connection.
    pub(crate) async fn close(self) {
        match self {
            Client::Gometa(client) => client.close().await,
            Client::Etcd(_) => {}
            Client::ZooKeeper(client) => client.close().await,
        }
    }
}

/// Whether the node at `address` leads its ensemble.
pub(crate) async fn leads(system: System, address: &str) -> Result<bool> {
    match system {
        System::Gometa => gometa::leads(address).await,
        System::Etcd => etcd::leads(address).await,
        System::ZooKeeper => zookeeper::leads(address).await,
    }
}
