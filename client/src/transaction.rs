//! Transactions that are repeated while other writes change what they read.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use gometa_proto::{
    ErrorKind,
    limits::{TXN_COMPARED_KEYS_MAX, TXN_VALUES_MAX},
};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use crate::{
    call::deadline_in,
    client::Client,
    error::{Error, Operation, Result},
    range::{Page, Range},
    retry::Backoff,
    txn::{Compare, Op, Relation, Txn, copied},
    types::Entry,
};

impl Client {
    /// Calls a function that reads and writes keys, and makes its writes take effect as one, if nothing that it has read has
    /// changed meanwhile. Otherwise it is called again, until the client's timeout. What it reads is from one revision, with its
    /// own writes. It is also called again if that revision has left the history.
    ///
    /// ```no_run
    /// # async fn example(client: gometa_client::Client) -> gometa_client::Result<()> {
    /// let length = client
    ///     .transaction(|txn| async move {
    ///         let line = txn.get("line").await?.unwrap_or_default();
    ///         txn.set("line", [&line, &b"x"[..]].concat());
    ///         Ok(line.len() + 1)
    ///     })
    ///     .await?;
    /// # drop(length);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the function, of [`range`](Self::range) and of [`commit`](Self::commit). [`ErrorKind::DeadlineExceeded`] with
    /// the outcome [`NotApplied`](crate::Outcome::NotApplied) if other writes have changed what it reads each time, and with
    /// [`Unknown`](crate::Outcome::Unknown) if the time ends while a commit awaits its answer.
    pub async fn transaction<T, F>(&self, function: impl Fn(Transaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let attempts = TxnAttempts::new(self);
        loop {
            let transaction = attempts.begin();
            match function(transaction.clone()).await {
                Ok(returned) => {
                    if attempts.commit(&transaction).await? {
                        return Ok(returned);
                    }
                }
                Err(error) => attempts.failed(&transaction, error).await?,
            }
        }
    }
}

/// The attempts to make a transaction take effect.
///
/// For bindings in other languages: see [`Client::transaction`].
#[doc(hidden)]
#[derive(Debug)]
pub struct TxnAttempts {
    client: Client,
    deadline: Instant,
    conflicts: Mutex<(Backoff, u64)>,
}

impl TxnAttempts {
    /// The attempts of a client, until its timeout.
    #[must_use]
    pub fn new(client: &Client) -> TxnAttempts {
        let deadline = deadline_in(client.timeout());
        TxnAttempts { client: client.in_one_history(), deadline, conflicts: Mutex::default() }
    }

    /// Begins an attempt.
    #[must_use]
    pub fn begin(&self) -> Transaction {
        Transaction(Arc::new(Attempt {
            client: self.client.clone(),
            deadline: self.deadline,
            reads: AsyncMutex::default(),
            written: Mutex::new(Some(BTreeMap::new())),
        }))
    }

    /// Ends an attempt whose function has succeeded. Returns whether its writes took effect; if not, another may begin. They
    /// have no effect if what it reads had left the history, though the function has succeeded.
    ///
    /// # Errors
    /// As [`Client::transaction`]; [`ErrorKind::InvalidArgument`] if the attempt has ended.
    pub async fn commit(&self, transaction: &Transaction) -> Result<bool> {
        let compacted = transaction.0.reads.lock().await.compacted.clone();
        if let Some(error) = compacted {
            return self.failed(transaction, error).await.map(|()| false);
        }
        if transaction.0.commit().await? {
            return Ok(true);
        }
        self.pause().await.map(|()| false)
    }

    /// Ends an attempt whose function has failed. If another may begin, there is no error.
    ///
    /// # Errors
    /// That of the function, and as [`Client::transaction`].
    pub async fn failed(&self, transaction: &Transaction, error: Error) -> Result<()> {
        let reads_past = transaction.0.reads.lock().await.revision > 0;
        if error.kind() == ErrorKind::Compacted && reads_past { self.pause().await } else { Err(error) }
    }

    async fn pause(&self) -> Result<()> {
        let (pause, conflicts) = {
            let mut conflicts = lock(&self.conflicts);
            conflicts.1 += 1;
            (conflicts.0.pause(), conflicts.1)
        };
        let until = (Instant::now() + pause).min(self.deadline);
        tokio::time::sleep_until(until).await;
        if until < self.deadline {
            return Ok(());
        }
        let message = format!("other writes changed what the transaction reads, {conflicts} times");
        Err(Error::new(ErrorKind::DeadlineExceeded, Operation::Txn, message))
    }
}

/// What the function of [`Client::transaction`] reads and writes. A clone is the same transaction.
#[derive(Clone)]
pub struct Transaction(Arc<Attempt>);

/// One attempt to make a transaction take effect.
struct Attempt {
    client: Client,
    deadline: Instant,
    /// Locked while a key is read, so that all reads are at one revision.
    reads: AsyncMutex<Reads>,
    /// The keys that were written; `None` if they are deleted. Itself `None` once the attempt has ended.
    written: Mutex<Option<BTreeMap<Bytes, Option<Bytes>>>>,
}

#[derive(Default)]
struct Reads {
    /// The revision that is read at; 0 until something is read.
    revision: u64,
    /// The keys that were read, with their `mod_revision` and value.
    keys: BTreeMap<Bytes, (u64, Option<Bytes>)>,
    /// The ranges that were read, with the number of their keys.
    ranges: Vec<(Range, u64)>,
    /// The bytes of their values.
    range_bytes: usize,
    /// The error of a read, if the revision has left the history.
    compacted: Option<Error>,
}

impl Reads {
    /// Notes what a read has found.
    fn note(&mut self, page: Result<Page>) -> Result<Page> {
        match &page {
            Ok(page) => self.revision = page.revision,
            Err(error) if error.kind() == ErrorKind::Compacted => self.compacted = Some(error.clone()),
            Err(_) => {}
        }
        page
    }
}

impl Transaction {
    /// Reads a key's value: the one that this transaction has set, or that of the revision that it reads at. `None` if the key
    /// does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::DeadlineExceeded`] when the time of the whole transaction is over, and those of [`Client::range`].
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        let key = copied(key);
        if let Some(value) = lock(&self.0.written).as_ref().and_then(|written| written.get(&key)) {
            return Ok(value.clone());
        }
        let mut reads = self.0.reads.lock().await;
        if let Some((_, value)) = reads.keys.get(&key) {
            return Ok(value.clone());
        }
        let client = in_time(&self.0.client, self.0.deadline)?;
        let page = client.page_of_key(&key, reads.revision, Operation::Txn).await;
        let page = reads.note(page)?;
        let entry = page.entries.into_iter().next();
        let (revision, value) = entry.map_or((0, None), |entry| (entry.mod_revision, Some(entry.value)));
        reads.keys.insert(key, (revision, value.clone()));
        Ok(value)
    }

    /// Reads all keys of a range, which has start, end, prefix, direction, and whether values are read: those that this
    /// transaction has set, whose version and revisions are 0, and others as of the revision that it reads at. The page is the
    /// only one.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] if the ranges that the transaction reads have more than 1,000 keys, or 8 MiB of values, together
    /// (with [`Range::keys_only`] the commit fails, which counts values that were not read, too);
    /// [`ErrorKind::InvalidArgument`] if the range has anything else; and those of [`get`](Self::get).
    pub async fn range(&self, range: Range) -> Result<Page> {
        range.check_of_transaction()?;
        let mut reads = self.0.reads.lock().await;
        let bounds = range.bounds_only();
        // The same range again has the same keys.
        let others = reads.ranges.iter().filter(|(read, _)| *read != bounds);
        let mut left = TXN_COMPARED_KEYS_MAX as u64 - others.map(|(_, count)| count).sum::<u64>();
        let client = in_time(&self.0.client, self.0.deadline)?;
        let (mut entries, mut rest) = (BTreeMap::new(), bounds.clone().at_revision(reads.revision));
        rest.keys_only = range.keys_only;
        loop {
            let page = client.range(rest.clone()).await.map_err(|error| error.with_operation(Operation::Txn));
            let page = reads.note(page)?;
            reads.range_bytes += page.entries.iter().map(|entry| entry.value.len()).sum::<usize>();
            if reads.range_bytes > TXN_VALUES_MAX {
                let message = format!(
                    "the ranges that the transaction reads have more than {TXN_VALUES_MAX} bytes of values together"
                );
                return Err(Error::new(ErrorKind::TooLarge, Operation::Txn, message));
            }
            left = left.checked_sub(page.entries.len() as u64).ok_or_else(|| {
                let message = format!(
                    "the ranges that the transaction reads have more than {TXN_COMPARED_KEYS_MAX} keys together"
                );
                Error::new(ErrorKind::TooLarge, Operation::Txn, message)
            })?;
            entries.extend(page.entries.into_iter().map(|entry| (entry.key.clone(), entry)));
            let Some(next) = page.next else { break };
            rest.continues_at(next, page.revision);
        }
        if !reads.ranges.iter().any(|(read, _)| *read == bounds) {
            reads.ranges.push((bounds.clone(), entries.len() as u64));
        }
        let keys = bounds.key_bounds();
        for (key, value) in lock(&self.0.written).iter().flatten().filter(|(key, _)| keys.contains(key)) {
            match value {
                None => drop(entries.remove(key)),
                Some(value) => {
                    let value = if range.keys_only { Bytes::new() } else { value.clone() };
                    entries.insert(key.clone(), Entry::of_transaction(key.clone(), value));
                }
            }
        }
        let mut entries: Vec<Entry> = entries.into_values().collect();
        if range.reverse {
            entries.reverse();
        }
        Ok(Page { entries, next: None, revision: reads.revision })
    }

    /// Creates or replaces a key, if the transaction takes effect.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.0.write(copied(key), Some(copied(value)));
    }

    /// Removes a key, if the transaction takes effect.
    pub fn delete(&self, key: impl AsRef<[u8]>) {
        self.0.write(copied(key), None);
    }
}

impl Attempt {
    /// Notes a write. Without effect once the attempt has ended.
    fn write(&self, key: Bytes, value: Option<Bytes>) {
        if let Some(written) = &mut *lock(&self.written) {
            written.insert(key, value);
        }
    }

    /// Makes the writes, if nothing that was read has changed; returns whether that is so.
    async fn commit(&self) -> Result<bool> {
        let written = lock(&self.written).take();
        let written = written.ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, Operation::Txn, "the transaction has ended")
        })?;
        // What was read is from one revision.
        if written.is_empty() {
            return Ok(true);
        }
        let client = in_time(&self.client, self.deadline)?;
        let mut txn = Txn::new();
        let reads = self.reads.lock().await;
        for (key, (revision, _)) in &reads.keys {
            txn = txn.when(Compare::mod_revision(key, Relation::Equal, *revision));
        }
        for (range, count) in &reads.ranges {
            txn = txn.when(Compare::range(range.clone(), *count, reads.revision));
        }
        drop(reads);
        for (key, value) in &written {
            txn = txn.then(match value {
                Some(value) => Op::set(key, value),
                None => Op::delete(key),
            });
        }
        Ok(client.commit(txn).await?.succeeded)
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = lock(&self.0.written).as_ref().map(BTreeMap::len);
        f.debug_struct("Transaction").field("written", &written).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client with the time that is left.
fn in_time(client: &Client, deadline: Instant) -> Result<Client> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        let message = "the time of the transaction is over";
        return Err(Error::new(ErrorKind::DeadlineExceeded, Operation::Txn, message));
    }
    Ok(client.with_timeout(left))
}
