//! gometa, through its Rust client.

use std::{ops, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use gometa_client::{Compare, Op, Range, ReadOptions, Role, Txn};
use tokio::task::JoinSet;

use crate::data::{KEYS_PREFIX, PAGE_KEYS, Values, key_name};

/// The concurrent writes of one client while keys are created.
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

    pub(super) async fn page(&self, key: u32) -> Result<usize> {
        let range = Range::prefix(KEYS_PREFIX).start(key_name(key)).limit(PAGE_KEYS.into());
        Ok(self.0.range(range).await?.entries.len())
    }

    pub(super) async fn set_both(&self, keys: [u32; 2], value: Bytes) -> Result<()> {
        let txn = keys
            .map(key_name)
            .iter()
            .fold(Txn::new(), |txn, key| txn.when(Compare::exists(key)).then(Op::set(key, &value)));
        ensure!(self.0.commit(txn).await?.succeeded, "a key does not exist");
        Ok(())
    }

    pub(super) async fn create(&self, keys: ops::Range<u32>, values: &Arc<Values>) -> Result<()> {
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
