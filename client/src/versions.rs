//! The history of a key: the versions of it that the ensemble keeps.

use bytes::Bytes;
use gometa_proto::v1::{self, request::Operation as Body, response};

use crate::{client::Client, error::Result, types::ReadOptions};

/// Which versions of a key to read, and how.
///
/// ```
/// use gometa_client::HistoryOptions;
///
/// let last_ten = HistoryOptions::default().limit(10).keys_only();
/// # drop(last_ten);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[must_use]
pub struct HistoryOptions {
    before_revision: u64,
    limit: u64,
    keys_only: bool,
    options: ReadOptions,
}

impl HistoryOptions {
    /// Leaves out this revision and those above it: [`KeyHistory::next_before`] of the page before. 0 leaves out none.
    pub fn before_revision(self, revision: u64) -> HistoryOptions {
        HistoryOptions { before_revision: revision, ..self }
    }

    /// Reads at most so many versions; 0, and whatever is above 1,000, is 1,000.
    pub fn limit(self, limit: u64) -> HistoryOptions {
        HistoryOptions { limit, ..self }
    }

    /// Reads no values; their sizes are there.
    pub fn keys_only(self) -> HistoryOptions {
        HistoryOptions { keys_only: true, ..self }
    }

    /// Sets consistency and minimum revision.
    pub fn options(self, options: ReadOptions) -> HistoryOptions {
        HistoryOptions { options, ..self }
    }
}

/// A part of the history of a key.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct KeyHistory {
    /// The versions, newest first. Empty if the key never existed, or was deleted before the history begins.
    pub versions: Vec<KeyVersion>,
    /// The [`before_revision`](HistoryOptions::before_revision) of the next page; `None` after the last one.
    pub next_before: Option<u64>,
    /// The revision that was read at.
    pub revision: u64,
    /// Where the ensemble's history begins. The version that the key had at that revision is the oldest one that is kept,
    /// whatever its own revision.
    pub oldest_revision: u64,
}

/// What a key became at a revision: a value, or nothing.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct KeyVersion {
    /// The revision that wrote the key, its `mod_revision` then, or deleted it.
    pub revision: u64,
    /// Whether the key was deleted. All other fields are then 0 or empty.
    pub deleted: bool,
    /// The number of writes since the key was created, from 1.
    pub version: u64,
    /// The revision that created the key.
    pub create_revision: u64,
    /// The value; empty with [`HistoryOptions::keys_only`].
    pub value: Bytes,
    /// The size of the value, in bytes, also with [`HistoryOptions::keys_only`].
    pub value_size: u64,
}

impl KeyHistory {
    fn from_wire(history: v1::KeyHistory) -> KeyHistory {
        let v1::KeyHistory { versions, next_before, revision, oldest_revision } = history;
        let versions = versions.into_iter().map(KeyVersion::from_wire).collect();
        let next_before = Some(next_before).filter(|next| *next > 0);
        KeyHistory { versions, next_before, revision, oldest_revision }
    }
}

impl KeyVersion {
    fn from_wire(version: v1::KeyVersion) -> KeyVersion {
        let v1::KeyVersion { revision, deleted, version, create_revision, value, value_size } = version;
        KeyVersion { revision, deleted, version, create_revision, value, value_size }
    }
}

impl Client {
    /// Reads the newest versions of `key` that the ensemble keeps, deletions included: at most 1,000, with at most 1 MiB of
    /// values. See [`history_with`](Self::history_with) for more of them.
    ///
    /// # Errors
    /// As [`get`](Self::get), but it is no error if the key does not exist.
    pub async fn history(&self, key: impl AsRef<[u8]>) -> Result<KeyHistory> {
        self.history_with(key, HistoryOptions::default()).await
    }

    /// Reads versions of `key` with options. Versions never change, so pages have no gap and no duplicate, whenever each is
    /// read. If the ensemble drops history meanwhile, the list ends earlier.
    ///
    /// # Errors
    /// As [`history`](Self::history).
    pub async fn history_with(&self, key: impl AsRef<[u8]>, options: HistoryOptions) -> Result<KeyHistory> {
        self.history_owned(Bytes::copy_from_slice(key.as_ref()), options).await
    }

    pub(crate) async fn history_owned(&self, key: Bytes, options: HistoryOptions) -> Result<KeyHistory> {
        let HistoryOptions { before_revision, limit, keys_only, options } = options;
        let client = self.in_one_history();
        let (consistency, min_revision) = options.on_wire(client.seen_revision());
        let consistency = consistency.into();
        let body = v1::GetHistory { key, before_revision, limit, keys_only, consistency, min_revision };
        client
            .call(Body::GetHistory(body), |result| match result {
                response::Result::KeyHistory(history) => Some(KeyHistory::from_wire(history)),
                _ => None,
            })
            .await
    }
}
