//! The client for programs without an asynchronous runtime: each call blocks its thread.

use std::{path::Path, time::Duration};

use bytes::Bytes;

use crate::{
    backup::{self, BackupInfo, SaveError, Saved},
    client::{self, Builder},
    error::{Operation, Result},
    membership::{MembersChanged, MembersVersion, Membership, StopAdvice},
    range::{self, Page, Range},
    runtime::OnSharedRuntime,
    transaction::{self, TxnAttempts},
    txn::{Transacted, Txn},
    types::{Counters, Deleted, Entry, Member, NodeStatus, ReadOptions, Setting, View, Written},
    versions::{HistoryOptions, KeyHistory},
};

/// A blocking client. All blocking clients of a process share one runtime with one thread, which stops with the last of
/// them.
///
/// Calls panic on a thread of a tokio runtime: use [`crate::Client`] there. In a forked child of the process they fail
/// with [`ErrorKind::Forked`](crate::ErrorKind::Forked), and dropping the client does nothing.
///
/// [`close`](Self::close), and dropping the last clone, end its session, which takes at most 200 ms.
#[derive(Clone, Debug)]
pub struct Client {
    inner: OnSharedRuntime<client::Client>,
}

impl Client {
    /// Builds a client with default settings; see [`Builder::build`].
    ///
    /// # Errors
    /// Those of [`Builder::build`], and [`ErrorKind::Internal`](crate::ErrorKind::Internal) if no thread can be started.
    pub fn new<S: AsRef<str>>(peers: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::with_settings(Builder::default(), peers)
    }

    /// Builds a client with these settings; see [`Builder::build`].
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn with_settings<S: AsRef<str>>(
        settings: Builder,
        peers: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        Ok(Self { inner: OnSharedRuntime::new(settings.build(peers)?)? })
    }

    /// The same client with another timeout of calls.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { inner: self.inner.map(|client| client.with_timeout(timeout)) }
    }

    /// The same client with a guard: see [`Client::with_guard`](client::Client::with_guard).
    #[must_use]
    pub fn with_guard(&self, key: impl AsRef<[u8]>, create_revision: u64) -> Self {
        Self { inner: self.inner.map(|client| client.with_guard(key, create_revision)) }
    }

    /// The asynchronous client inside, and its runtime, for what has no blocking form.
    #[doc(hidden)]
    #[must_use]
    pub fn inner(&self) -> &OnSharedRuntime<client::Client> {
        &self.inner
    }

    /// See [`crate::Client::close`]. Waits for the end of the session, at most 200 ms, but not on a thread of a tokio
    /// runtime. Does nothing in a forked child.
    pub fn close(&self) {
        self.inner.close();
    }

    /// See [`crate::Client::add`].
    ///
    /// # Errors
    /// See there.
    pub fn add(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        let (client, runtime) = self.inner.get(Operation::Add)?;
        runtime.block_on(client.add(key, value))
    }

    /// See [`crate::Client::set`].
    ///
    /// # Errors
    /// See there.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        let (client, runtime) = self.inner.get(Operation::Set)?;
        runtime.block_on(client.set(key, value))
    }

    /// See [`crate::Client::cas`].
    ///
    /// # Errors
    /// See there.
    pub fn cas(&self, key: impl AsRef<[u8]>, revision: u64, value: impl AsRef<[u8]>) -> Result<Written> {
        let (client, runtime) = self.inner.get(Operation::Cas)?;
        runtime.block_on(client.cas(key, revision, value))
    }

    /// See [`crate::Client::delete`].
    ///
    /// # Errors
    /// See there.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<Deleted> {
        let (client, runtime) = self.inner.get(Operation::Delete)?;
        runtime.block_on(client.delete(key))
    }

    /// See [`crate::Client::delete_if`].
    ///
    /// # Errors
    /// See there.
    pub fn delete_if(&self, key: impl AsRef<[u8]>, revision: u64) -> Result<Deleted> {
        let (client, runtime) = self.inner.get(Operation::Delete)?;
        runtime.block_on(client.delete_if(key, revision))
    }

    /// See [`crate::Client::get`].
    ///
    /// # Errors
    /// See there.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Entry> {
        let (client, runtime) = self.inner.get(Operation::Get)?;
        runtime.block_on(client.get(key))
    }

    /// See [`crate::Client::get_local`].
    ///
    /// # Errors
    /// See there.
    pub fn get_local(&self, key: impl AsRef<[u8]>) -> Result<Entry> {
        self.get_with(key, ReadOptions::local())
    }

    /// See [`crate::Client::get_with`].
    ///
    /// # Errors
    /// See there.
    pub fn get_with(&self, key: impl AsRef<[u8]>, options: ReadOptions) -> Result<Entry> {
        let (client, runtime) = self.inner.get(Operation::Get)?;
        runtime.block_on(client.get_with(key, options))
    }

    /// See [`crate::Client::get_at`].
    ///
    /// # Errors
    /// See there.
    pub fn get_at(&self, key: impl AsRef<[u8]>, revision: u64) -> Result<Entry> {
        let (client, runtime) = self.inner.get(Operation::Get)?;
        runtime.block_on(client.get_at(key, revision))
    }

    /// See [`crate::Client::range`].
    ///
    /// # Errors
    /// See there.
    pub fn range(&self, range: Range) -> Result<Page> {
        let (client, runtime) = self.inner.get(Operation::Range)?;
        runtime.block_on(client.range(range))
    }

    /// See [`crate::Client::scan`].
    pub fn scan(&self, range: Range) -> Scan {
        Scan { inner: self.inner.map(|client| client.scan(range)) }
    }

    /// See [`crate::Client::count`].
    ///
    /// # Errors
    /// See there.
    pub fn count(&self, range: Range) -> Result<u64> {
        let (client, runtime) = self.inner.get(Operation::Range)?;
        runtime.block_on(client.count(range))
    }

    /// See [`crate::Client::history`].
    ///
    /// # Errors
    /// See there.
    pub fn history(&self, key: impl AsRef<[u8]>) -> Result<KeyHistory> {
        self.history_with(key, HistoryOptions::default())
    }

    /// See [`crate::Client::history_with`].
    ///
    /// # Errors
    /// See there.
    pub fn history_with(&self, key: impl AsRef<[u8]>, options: HistoryOptions) -> Result<KeyHistory> {
        let (client, runtime) = self.inner.get(Operation::GetHistory)?;
        runtime.block_on(client.history_with(key, options))
    }

    /// See [`crate::Client::delete_prefix`].
    ///
    /// # Errors
    /// See there.
    pub fn delete_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<u64> {
        let (client, runtime) = self.inner.get(Operation::Delete)?;
        runtime.block_on(client.delete_prefix(prefix))
    }

    /// See [`crate::Client::commit`].
    ///
    /// # Errors
    /// See there.
    pub fn commit(&self, txn: Txn) -> Result<Transacted> {
        let (client, runtime) = self.inner.get(Operation::Txn)?;
        runtime.block_on(client.commit(txn))
    }

    /// See [`crate::Client::transaction`].
    ///
    /// # Errors
    /// See there.
    pub fn transaction<T>(&self, function: impl Fn(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let (client, runtime) = self.inner.get(Operation::Txn)?;
        let attempts = TxnAttempts::new(client);
        loop {
            let transaction = Transaction { inner: attempts.begin(), runtime };
            match function(&transaction) {
                Ok(returned) => {
                    if runtime.block_on(attempts.commit(&transaction.inner))? {
                        return Ok(returned);
                    }
                }
                Err(error) => runtime.block_on(attempts.failed(&transaction.inner, error))?,
            }
        }
    }

    /// See [`crate::Client::status`].
    ///
    /// # Errors
    /// See there.
    pub fn status(&self) -> Result<NodeStatus> {
        let (client, runtime) = self.inner.get(Operation::Status)?;
        runtime.block_on(client.status())
    }

    /// See [`crate::Client::view`].
    ///
    /// # Errors
    /// See there.
    pub fn view(&self) -> Result<View> {
        let (client, runtime) = self.inner.get(Operation::Members)?;
        runtime.block_on(client.view())
    }

    /// See [`crate::Client::members`].
    ///
    /// # Errors
    /// See there.
    pub fn members(&self) -> Result<Vec<Member>> {
        Ok(self.view()?.members)
    }

    /// See [`crate::Client::membership`].
    ///
    /// # Errors
    /// See there.
    pub fn membership(&self) -> Result<Membership> {
        let (client, runtime) = self.inner.get(Operation::ListMembers)?;
        runtime.block_on(client.membership())
    }

    /// See [`crate::Client::settings`].
    ///
    /// # Errors
    /// See there.
    pub fn settings(&self) -> Result<Vec<Setting>> {
        let (client, runtime) = self.inner.get(Operation::ListSettings)?;
        runtime.block_on(client.settings())
    }

    /// See [`crate::Client::set_setting`].
    ///
    /// # Errors
    /// See there.
    pub fn set_setting(&self, name: &str, value: Option<u64>) -> Result<u64> {
        let (client, runtime) = self.inner.get(Operation::SetSetting)?;
        runtime.block_on(client.set_setting(name, value))
    }

    /// See [`crate::Client::promote_member`].
    ///
    /// # Errors
    /// See there.
    pub fn promote_member(&self, node: u64, follows: Option<MembersVersion>) -> Result<MembersChanged> {
        let (client, runtime) = self.inner.get(Operation::PromoteMember)?;
        runtime.block_on(client.promote_member(node, follows))
    }

    /// See [`crate::Client::remove_member`].
    ///
    /// # Errors
    /// See there.
    pub fn remove_member(&self, node: u64, follows: Option<MembersVersion>) -> Result<MembersChanged> {
        let (client, runtime) = self.inner.get(Operation::RemoveMember)?;
        runtime.block_on(client.remove_member(node, follows))
    }

    /// See [`crate::Client::replace_member`].
    ///
    /// # Errors
    /// See there.
    pub fn replace_member(
        &self,
        node: u64,
        replacement: u64,
        follows: Option<MembersVersion>,
    ) -> Result<MembersChanged> {
        let (client, runtime) = self.inner.get(Operation::ReplaceMember)?;
        runtime.block_on(client.replace_member(node, replacement, follows))
    }

    /// See [`crate::Client::cancel_promotion`].
    ///
    /// # Errors
    /// See there.
    pub fn cancel_promotion(&self, node: u64, follows: Option<MembersVersion>) -> Result<MembersChanged> {
        let (client, runtime) = self.inner.get(Operation::CancelPromotion)?;
        runtime.block_on(client.cancel_promotion(node, follows))
    }

    /// See [`crate::Client::transfer_leadership`].
    ///
    /// # Errors
    /// See there.
    pub fn transfer_leadership(&self, to: Option<u64>) -> Result<u64> {
        let (client, runtime) = self.inner.get(Operation::TransferLeadership)?;
        runtime.block_on(client.transfer_leadership(to))
    }

    /// See [`crate::Client::finalize_upgrade`].
    ///
    /// # Errors
    /// See there.
    pub fn finalize_upgrade(&self, level: u32) -> Result<MembersChanged> {
        let (client, runtime) = self.inner.get(Operation::FinalizeUpgrade)?;
        runtime.block_on(client.finalize_upgrade(level))
    }

    /// See [`crate::Client::safe_to_stop`].
    ///
    /// # Errors
    /// See there.
    pub fn safe_to_stop(&self, nodes: impl Into<Vec<u64>>) -> Result<StopAdvice> {
        let (client, runtime) = self.inner.get(Operation::SafeToStop)?;
        runtime.block_on(client.safe_to_stop(nodes))
    }

    /// See [`crate::Client::seen_revision`]; 0 in a forked child.
    #[must_use]
    pub fn seen_revision(&self) -> u64 {
        self.inner.get(Operation::Get).map_or(0, |(client, _)| client.seen_revision())
    }

    /// See [`crate::Client::history_id`]; `None` in a forked child.
    #[must_use]
    pub fn history_id(&self) -> Option<u64> {
        self.inner.get(Operation::Get).ok().and_then(|(client, _)| client.history_id())
    }

    /// See [`crate::Client::counters`]; all 0 in a forked child.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.get(Operation::Get).map(|(client, _)| client.counters()).unwrap_or_default()
    }

    /// See [`crate::Client::status_of`].
    ///
    /// # Errors
    /// See there.
    pub fn status_of(&self, address: &str) -> Result<NodeStatus> {
        let (client, runtime) = self.inner.get(Operation::Status)?;
        runtime.block_on(client.status_of(address))
    }
}

impl Client {
    /// See [`crate::Client::backup`].
    ///
    /// # Errors
    /// See there.
    pub fn backup(&self) -> Result<Backup> {
        let (client, runtime) = self.inner.get(Operation::BeginBackup)?;
        let backup = runtime.block_on(client.backup())?;
        Ok(Backup { inner: self.inner.map(|_| backup) })
    }

    /// See [`crate::Client::backup_of`].
    ///
    /// # Errors
    /// See there.
    pub fn backup_of(&self, address: &str) -> Result<Backup> {
        let (client, runtime) = self.inner.get(Operation::BeginBackup)?;
        let backup = runtime.block_on(client.backup_of(address))?;
        Ok(Backup { inner: self.inner.map(|_| backup) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.inner.release();
    }
}

/// What the function of [`Client::transaction`] reads and writes.
#[derive(Debug)]
pub struct Transaction<'a> {
    inner: transaction::Transaction,
    runtime: &'a tokio::runtime::Handle,
}

impl Transaction<'_> {
    /// See [`crate::Transaction::get`].
    ///
    /// # Errors
    /// See there.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        self.runtime.block_on(self.inner.get(key))
    }

    /// See [`crate::Transaction::range`].
    ///
    /// # Errors
    /// See there.
    pub fn range(&self, range: Range) -> Result<Page> {
        self.runtime.block_on(self.inner.range(range))
    }

    /// See [`crate::Transaction::set`].
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.inner.set(key, value);
    }

    /// See [`crate::Transaction::delete`].
    pub fn delete(&self, key: impl AsRef<[u8]>) {
        self.inner.delete(key);
    }
}

/// A backup that is being read; see [`crate::Backup`].
#[derive(Debug)]
pub struct Backup {
    inner: OnSharedRuntime<backup::Backup>,
}

impl Backup {
    /// Its description.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`](crate::ErrorKind::Forked).
    pub fn info(&self) -> Result<&BackupInfo> {
        Ok(self.inner.get(Operation::ReadBackup)?.0.info())
    }

    /// See [`crate::Backup::save`].
    ///
    /// # Errors
    /// See there.
    pub fn save(
        &mut self,
        path: &Path,
        replace: bool,
        progress: impl FnMut(&backup::Backup),
    ) -> std::result::Result<Saved, SaveError> {
        let (backup, runtime) = self.inner.get_mut(Operation::ReadBackup)?;
        let runtime = runtime.clone();
        runtime.block_on(backup.save(path, replace, progress))
    }
}

/// The bytes of the backup; see [`crate::Backup::next`]. After an error there are none.
impl Iterator for Backup {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Result<Bytes>> {
        match self.inner.get_mut(Operation::ReadBackup) {
            Ok((backup, runtime)) => {
                let runtime = runtime.clone();
                runtime.block_on(backup.next()).transpose()
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// The entries of a range; see [`crate::Client::scan`].
#[must_use]
#[derive(Debug)]
pub struct Scan {
    inner: OnSharedRuntime<range::Scan>,
}

impl Scan {
    /// See [`crate::Scan::revision`].
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        let (scan, _) = self.inner.get(Operation::Range).ok()?;
        scan.revision()
    }
}

impl Iterator for Scan {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        match self.inner.get_mut(Operation::Range) {
            Ok((scan, runtime)) => {
                let runtime = runtime.clone();
                runtime.block_on(scan.next())
            }
            Err(error) => Some(Err(error)),
        }
    }
}
