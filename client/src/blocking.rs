//! The same client for programs without an asynchronous runtime: each call blocks its thread.

use std::{sync::Arc, time::Duration};

use gometa_proto::{ErrorKind, v1::NodeStatus};
use tokio::runtime::{self, Runtime};

use crate::{Builder, Deleted, Entry, ReadOptions, Result, Written, error::Error, error::Operation};

/// A client with a runtime of its own: one thread, which ends with the last clone.
///
/// Its calls, and dropping the last clone, panic on a thread that drives a tokio runtime: there,
/// use [`crate::Client`].
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

impl Client {
    /// A client with the usual settings; see [`Builder::build`].
    ///
    /// # Errors
    /// As [`Builder::build`], and [`ErrorKind::Internal`] if no thread can be started.
    pub fn new<S: AsRef<str>>(peers: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::with_settings(Builder::default(), peers)
    }

    /// A client with these settings; see [`Builder::build`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_settings<S: AsRef<str>>(
        settings: Builder,
        peers: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let client = settings.build(peers)?;
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("gometa-client")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(
                    ErrorKind::Internal,
                    Operation::Build,
                    format!("no thread for the client: {error}"),
                )
            })?;
        Ok(Self { client, runtime: Arc::new(runtime) })
    }

    /// The same client, whose calls may take this long.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { client: self.client.with_timeout(timeout), runtime: Arc::clone(&self.runtime) }
    }

    /// The asynchronous client within, for what has no blocking form.
    #[must_use]
    pub fn asynchronous(&self) -> &crate::Client {
        &self.client
    }

    /// Runs a future on this client's runtime, for several calls at a time.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// See [`crate::Client::add`].
    ///
    /// # Errors
    /// See there.
    pub fn add(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        self.block_on(self.client.add(key, value))
    }

    /// See [`crate::Client::set`].
    ///
    /// # Errors
    /// See there.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        self.block_on(self.client.set(key, value))
    }

    /// See [`crate::Client::cas`].
    ///
    /// # Errors
    /// See there.
    pub fn cas(&self, key: impl AsRef<[u8]>, revision: u64, value: impl AsRef<[u8]>) -> Result<Written> {
        self.block_on(self.client.cas(key, revision, value))
    }

    /// See [`crate::Client::delete`].
    ///
    /// # Errors
    /// See there.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<Deleted> {
        self.block_on(self.client.delete(key))
    }

    /// See [`crate::Client::delete_if`].
    ///
    /// # Errors
    /// See there.
    pub fn delete_if(&self, key: impl AsRef<[u8]>, revision: u64) -> Result<Deleted> {
        self.block_on(self.client.delete_if(key, revision))
    }

    /// See [`crate::Client::get`].
    ///
    /// # Errors
    /// See there.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Entry> {
        self.block_on(self.client.get(key))
    }

    /// See [`crate::Client::get_with`].
    ///
    /// # Errors
    /// See there.
    pub fn get_with(&self, key: impl AsRef<[u8]>, options: ReadOptions) -> Result<Entry> {
        self.block_on(self.client.get_with(key, options))
    }

    /// See [`crate::Client::status_of`].
    ///
    /// # Errors
    /// See there.
    pub fn status_of(&self, address: &str) -> Result<NodeStatus> {
        self.block_on(self.client.status_of(address))
    }
}
