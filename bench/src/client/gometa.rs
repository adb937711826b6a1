//! gometa, through its Rust client.

use std::{ops::Range, sync::Arc};

use anyhow::{Context, Result};
use bytes::Bytes;
use gometa_client::{ReadOptions, Role};
use tokio::task::JoinSet;

use crate::data::{Values, key_name};

/// The concurrent writes of one client while keys are created; there are no transactions to put many into one write.
const PRELOAD_IN_FLIGHT: u32 = 256;

pub(crate) struct Client(gometa_client::Client);

impl Client {
    /// Connects to one node, and stays with it.
    pub(super) async fn connect(address: &str) -> Result<Client> {
        let client = gometa_client::Client::builder().pinned(true).name("gometa-bench").build([address])?;
        client.members().await?;
        Ok(Client(client))
    }

    pub(super) async fn set(&self, key: u32, value: Bytes) -> Result<()> {
        self.0.set(key_name(key), value).await?;
        Ok(())
    }

    /// Returns the length of the value.
    pub(super) async fn get(&self, key: u32, local: bool) -> Result<usize> {
        let options = if local { ReadOptions::local() } else { ReadOptions::default() };
        Ok(self.0.get_with(key_name(key), options).await?.value.len())
    }

    pub(super) async fn create(&self, keys: Range<u32>, values: &Arc<Values>) -> Result<()> {
        let mut tasks = JoinSet::new();
        for share in 0..PRELOAD_IN_FLIGHT {
            let (client, keys, values) = (self.0.clone(), keys.clone(), values.clone());
            tasks.spawn(async move {
                for key in keys.skip(share as usize).step_by(PRELOAD_IN_FLIGHT as usize) {
                    client.set(key_name(key), values.at(key.into())).await?;
                }
                anyhow::Ok(())
            });
        }
        tasks.join_all().await.into_iter().collect()
    }

    pub(super) async fn close(self) {
        self.0.close().await;
    }
}

/// Whether the node leads.
pub(super) async fn leads(address: &str) -> Result<bool> {
    let client = gometa_client::Client::builder().pinned(true).name("gometa-bench").build([address])?;
    let status = client.status().await.context("status")?;
    Ok(status.role == Role::Leading)
}
