//! Reading keys in order: pages, scans, counts, earlier revisions.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;
use gometa_proto::{
    Bounds, ErrorKind,
    v1::{self, request::Operation as Body, response},
};
use tokio::task::{JoinHandle, JoinSet};

use crate::{
    client::Client,
    error::{Error, Operation, Result},
    history::Scope,
    types::{Entry, ReadOptions},
};

/// The number of deletions in flight of [`Client::delete_prefix`].
const DELETIONS_MAX: usize = 64;

/// Which keys to read, and how. Keys are ordered by their bytes.
///
/// ```
/// use gometa_client::Range;
///
/// let children = Range::prefix("services/").delimiter("/").keys_only();
/// let last_ten = Range::all().reverse().limit(10);
/// # drop((children, last_ten));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[must_use]
pub struct Range {
    start: Bytes,
    end: Bytes,
    prefix: Bytes,
    at_revision: u64,
    limit: u64,
    pub(crate) reverse: bool,
    pub(crate) keys_only: bool,
    delimiter: Bytes,
    options: ReadOptions,
}

impl Range {
    /// All keys.
    pub fn all() -> Range {
        Range::default()
    }

    /// The keys that begin with these bytes.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Range {
        Range { prefix: copied(prefix), ..Range::default() }
    }

    /// Leaves out the keys below this one.
    pub fn start(self, start: impl AsRef<[u8]>) -> Range {
        Range { start: copied(start), ..self }
    }

    /// Leaves out this key and those above it. Empty: leaves out none.
    pub fn end(self, end: impl AsRef<[u8]>) -> Range {
        Range { end: copied(end), ..self }
    }

    /// Reads what was there at a revision; 0 is the present. It must not be older than the ensemble's history:
    /// [`ErrorKind::Compacted`].
    pub fn at_revision(self, revision: u64) -> Range {
        Range { at_revision: revision, ..self }
    }

    /// Reads at most so many entries; 0 for no bound. A page has at most 1,000 in any case.
    pub fn limit(self, limit: u64) -> Range {
        Range { limit, ..self }
    }

    /// Reads in descending order, from the last key on.
    pub fn reverse(self) -> Range {
        Range { reverse: true, ..self }
    }

    /// Reads no values.
    pub fn keys_only(self) -> Range {
        Range { keys_only: true, ..self }
    }

    /// Reads keys that share what comes before the first occurrence of the delimiter behind the prefix as one entry, a group:
    /// one level of a hierarchy. At most 16 bytes.
    pub fn delimiter(self, delimiter: impl AsRef<[u8]>) -> Range {
        Range { delimiter: copied(delimiter), ..self }
    }

    /// Sets consistency and minimum revision, of a scan those of its first page.
    pub fn options(self, options: ReadOptions) -> Range {
        Range { options, ..self }
    }

    /// The request for a page, without count, consistency and minimum revision.
    fn into_wire(self) -> v1::Range {
        let Range { start, end, prefix, at_revision, limit, reverse, keys_only, delimiter, options: _ } =
            self;
        v1::Range {
            start,
            end,
            prefix,
            at_revision,
            limit,
            reverse,
            keys_only,
            delimiter,
            ..v1::Range::default()
        }
    }

    /// The operation of a transaction. What it must not have is refused with the transaction.
    pub(crate) fn into_operation(self) -> v1::Range {
        let (consistency, _) = self.options.on_wire(0);
        v1::Range { consistency: consistency.into(), ..self.into_wire() }
    }

    /// The same keys, without anything else.
    pub(crate) fn bounds_only(&self) -> Range {
        let Range { start, end, prefix, .. } = self.clone();
        Range { start, end, prefix, ..Range::default() }
    }

    /// Start, end and prefix; `None` if it has anything else.
    pub(crate) fn into_bounds(self) -> Option<(Bytes, Bytes, Bytes)> {
        let bounds = self.bounds_only();
        (bounds == self).then_some((bounds.start, bounds.end, bounds.prefix))
    }

    /// Checks that it has nothing but start, end, prefix, direction and whether values are read.
    pub(crate) fn check_of_transaction(&self) -> Result<()> {
        let Range { at_revision, limit, delimiter, options, .. } = self;
        if (*at_revision, *limit) == (0, 0) && delimiter.is_empty() && *options == ReadOptions::default() {
            return Ok(());
        }
        let message =
            "a range that a transaction reads has no revision, limit, delimiter and options of its own";
        Err(Error::new(ErrorKind::InvalidArgument, Operation::Txn, message))
    }

    /// Its keys.
    pub(crate) fn key_bounds(&self) -> Bounds {
        self.clone().into_wire().bounds()
    }

    /// What a page has left is to be read from this key on.
    pub(crate) fn continues_at(&mut self, next: Bytes, revision: u64) {
        self.at_revision = revision;
        *if self.reverse { &mut self.end } else { &mut self.start } = next;
        // The first page has fixed the moment.
        self.options = ReadOptions::local();
    }
}

/// A part of a range, read at one revision.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The entries, in the order of the range.
    pub entries: Vec<Entry>,
    /// Where the next page begins: its `start`, or its `end` if the range is reversed. `None` after the last page. A page
    /// may be short, even empty, and not be the last.
    pub next: Option<Bytes>,
    /// The revision that was read at.
    pub revision: u64,
}

impl Page {
    pub(crate) fn from_wire(page: v1::Page) -> Page {
        let v1::Page { entries, next, revision, .. } = page;
        let entries = entries.into_iter().map(Entry::from_wire).collect();
        Page { entries, next: Some(next).filter(|next| !next.is_empty()), revision }
    }
}

impl Client {
    /// Reads the first page of a range: at most 1,000 entries and 1 MiB. See [`scan`](Self::scan) for all of it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a start above the end and for a revision in the future, [`ErrorKind::TooLarge`],
    /// [`ErrorKind::Compacted`] for a revision below the ensemble's history, with its oldest revision
    /// ([`Error::actual_revision`]), and those of [`get`](Self::get).
    pub async fn range(&self, range: Range) -> Result<Page> {
        let (page, _) = self.page(range, false).await?;
        Ok(page)
    }

    /// Reads a range in pages, all at one revision. Each page is requested while the one before is consumed.
    pub fn scan(&self, range: Range) -> Scan {
        Scan { client: self.clone(), pages: Pages::new(range), page: VecDeque::new(), revision: None }
    }

    /// Counts the keys of a range at one revision; with a delimiter, each group once.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub async fn count(&self, mut range: Range) -> Result<u64> {
        let limit = std::mem::take(&mut range.limit);
        let (client, mut counted) = (self.in_one_history(), 0);
        loop {
            let (page, count) = client.page(range.clone(), true).await?;
            counted += count;
            match page.next {
                Some(next) if limit == 0 || counted < limit => range.continues_at(next, page.revision),
                _ => return Ok(if limit == 0 { counted } else { counted.min(limit) }),
            }
        }
    }

    /// Reads `key` as it was at a revision.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Compacted`] and [`ErrorKind::InvalidArgument`] as for [`range`](Self::range),
    /// and those of [`get`](Self::get).
    pub async fn get_at(&self, key: impl AsRef<[u8]>, revision: u64) -> Result<Entry> {
        let key = key.as_ref();
        let page = self.page_of_key(key, revision, Operation::Get).await?;
        page.entries.into_iter().next().ok_or_else(|| {
            let message = "there was no such key at that revision";
            Error::new(ErrorKind::NotFound, Operation::Get, message).with_key(Some(&copied(key)))
        })
    }

    /// Reads a key as it was at a revision, 0 for the present one, as a page of at most one entry. Errors are those of this
    /// operation.
    pub(crate) async fn page_of_key(&self, key: &[u8], revision: u64, operation: Operation) -> Result<Page> {
        if key.is_empty() {
            let message = "the key is empty; keys have at least 1 byte";
            return Err(Error::new(ErrorKind::InvalidArgument, operation, message));
        }
        let range = Range::all().start(key).end([key, &[0]].concat()).at_revision(revision);
        let page = self.range(range).await;
        page.map_err(|error| error.with_operation(operation).with_key(Some(&copied(key))))
    }

    /// Removes the keys that begin with `prefix`, one after the other: **not atomic**. Keys that are created meanwhile may be
    /// left. Returns the number of removed keys.
    ///
    /// # Errors
    /// Those of [`range`](Self::range) and [`delete`](Self::delete). Keys that were removed before stay removed, so the outcome
    /// is [`Unknown`](crate::Outcome::Unknown) once a deletion has begun.
    pub async fn delete_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<u64> {
        let mut begun = false;
        let client = self.in_one_history();
        let result = client.delete_each(client.scan(Range::prefix(prefix).keys_only()), &mut begun).await;
        result.map_err(|error| if begun { error.with_unknown_outcome() } else { error })
    }

    /// Removes the keys of a scan; `begun` is set before the first deletion.
    async fn delete_each(&self, mut keys: Scan, begun: &mut bool) -> Result<u64> {
        let mut deletions = JoinSet::new();
        let mut deleted = 0;
        let mut count = |ended: std::result::Result<Result<bool>, _>| match ended {
            Ok(existed) => {
                deleted += u64::from(existed?);
                Ok(())
            }
            // It has panicked; the runtime has reported that.
            Err(_) => Err(Error::new(ErrorKind::Internal, Operation::Delete, "a deletion was interrupted")),
        };
        while let Some(entry) = keys.next().await {
            let (client, key) = (self.clone(), entry?.key);
            if deletions.len() >= DELETIONS_MAX
                && let Some(ended) = deletions.join_next().await
            {
                count(ended)?;
            }
            *begun = true;
            deletions.spawn(async move { Ok(client.delete(&key).await?.existed) });
        }
        while let Some(ended) = deletions.join_next().await {
            count(ended)?;
        }
        Ok(deleted)
    }

    /// Reads the first page of a range, or counts it; returns the number of its entries too.
    async fn page(&self, range: Range, count_only: bool) -> Result<(Page, u64)> {
        let client = self.in_one_history();
        let (consistency, min_revision) = range.options.on_wire(client.seen_revision());
        let body = v1::Range {
            count_only,
            consistency: consistency.into(),
            // The revision alone tells what a later page shows.
            min_revision: if range.at_revision == 0 { min_revision } else { 0 },
            ..range.into_wire()
        };
        client
            .call(Body::Range(body), |result| match result {
                response::Result::Page(page) => {
                    let count = page.count;
                    Some((Page::from_wire(page), count))
                }
                _ => None,
            })
            .await
    }
}

/// The pages of a range, all at one revision. Each is requested while the one before is consumed.
///
/// For bindings in other languages: see [`Client::scan`].
#[doc(hidden)]
pub struct Pages {
    /// How many entries may follow.
    left: u64,
    next: Next,
    /// The history in which it began, once it has.
    scope: Option<Scope>,
    /// A page that was read by a call, and not taken by its caller.
    put_back: Option<Result<Page>>,
}

/// What follows.
enum Next {
    /// A page that was not requested.
    Page(Range),
    /// A page that is on its way, and its range.
    Requested(Requested, Range),
    /// Nothing.
    End,
}

/// A page on its way. Dropping it cancels the request.
struct Requested(JoinHandle<Result<Page>>);

impl Drop for Requested {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pages {
    /// The pages of a range.
    #[must_use]
    pub fn new(range: Range) -> Pages {
        let left = if range.limit == 0 { u64::MAX } else { range.limit };
        Pages { left, next: Next::Page(range), scope: None, put_back: None }
    }

    /// Makes this the result of the next call: the caller of the last one has given up.
    pub(crate) fn put_back(&mut self, result: Result<Page>) {
        self.put_back = Some(result);
    }

    /// The next page; `None` after the last one, and after an error. If the future is dropped, the next call reads the
    /// same page.
    ///
    /// # Errors
    /// As [`Client::range`]; [`ErrorKind::HistoryChanged`] if the history in which it began is no longer in use.
    pub async fn next(&mut self, client: &Client) -> Option<Result<Page>> {
        let scope = self.scope.get_or_insert_with(|| client.scope()).clone();
        let ended = scope.history().end().is_some();
        // A page that has arrived before the end of its history is dropped.
        if let Some(result) = self.put_back.take().filter(|result| result.is_err() || !ended) {
            return Some(result);
        }
        let client = client.within(scope.clone());
        let page = match &mut self.next {
            Next::End => return None,
            Next::Requested(_, range) if ended => client.range(range.clone()).await,
            Next::Page(range) => client.range(range.clone()).await,
            Next::Requested(requested, range) => match (&mut requested.0).await {
                Ok(Ok(page)) => Ok(page),
                Ok(Err(error)) if !error.is_retryable() => Err(client.reports(error)),
                // It was requested early, and may have timed out before it was wanted.
                Ok(Err(_)) | Err(_) => {
                    let range = range.clone();
                    self.next = Next::Page(range.clone());
                    client.range(range).await
                }
            },
        };
        let (Next::Page(mut range) | Next::Requested(_, mut range)) =
            std::mem::replace(&mut self.next, Next::End)
        else {
            return None;
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => return Some(Err(error)),
        };
        self.left -= (page.entries.len() as u64).min(self.left);
        if let Some(next) = page.next.clone().filter(|_| self.left > 0) {
            range.continues_at(next, page.revision);
            if range.limit > 0 {
                range.limit = self.left;
            }
            let (client, ahead) = (client.within(scope.unawaited()), range.clone());
            let requested = tokio::spawn(async move { client.range(ahead).await });
            self.next = Next::Requested(Requested(requested), range);
        }
        Some(Ok(page))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// The entries of a range, see [`Client::scan`].
#[must_use]
#[derive(Debug)]
pub struct Scan {
    client: Client,
    pages: Pages,
    page: VecDeque<Entry>,
    revision: Option<u64>,
}

impl Scan {
    /// The next entry; `None` after the last one, and after an error.
    ///
    /// # Errors
    /// As [`Client::range`]; also [`ErrorKind::Compacted`] if the scan takes longer than the ensemble keeps history.
    pub async fn next(&mut self) -> Option<Result<Entry>> {
        while self.page.is_empty() {
            match self.pages.next(&self.client).await? {
                Ok(page) => {
                    self.revision = Some(page.revision);
                    self.page.extend(page.entries);
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.page.pop_front().map(Ok)
    }

    /// The revision that is read at, once the first page has arrived.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.revision
    }
}

fn copied(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}
