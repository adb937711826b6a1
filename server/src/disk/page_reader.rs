//! Reads pages, on threads of their own, each from one moment of the state.

use std::{collections::VecDeque, mem, sync::Arc, thread::JoinHandle};

use gometa_proto::v1::{Page, Range};
use gometa_store::{Cursor, HISTORY_KEY, check_horizon, horizon_of, read_page};
use parking_lot::{Condvar, Mutex};
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions, Snapshot};

use super::{
    DiskError, RocksTable,
    database::{CHECKPOINT_KEY, DATA, Database, META, PAST},
    error::one_line,
    records,
};
use crate::process::threads;

/// The pages that are read at a time.
const THREADS: usize = 4;
const THREAD: &str = "gometa-page";

/// The hook for an answer: the page, or the horizon if the page is below it.
type PageRead = dyn Fn(u64, Result<Page, u64>) + Send + Sync;

/// Reads pages. Dropping it waits for the reads that were begun.
pub struct PageReader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    answered: Box<PageRead>,
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    database: Arc<Database>,
    /// Bounded: the node bounds the pages that it has read.
    pages: VecDeque<(u64, Range)>,
    closing: bool,
}

impl PageReader {
    pub(super) fn start(database: &Arc<Database>, answered: Box<PageRead>) -> Result<PageReader, DiskError> {
        let queue = Queue { database: database.clone(), pages: VecDeque::new(), closing: false };
        let shared = Arc::new(Shared { answered, queue: Mutex::new(queue), wake: Condvar::new() });
        let mut reader = PageReader { shared, threads: Vec::new() };
        for _ in 0..THREADS {
            let shared = reader.shared.clone();
            let thread = threads::spawn(THREAD, move || shared.run());
            reader.threads.push(thread.map_err(|source| DiskError::Thread { name: THREAD, source })?);
        }
        Ok(reader)
    }

    /// Requests a page as specified by [`Effect::ReadPage`](gometa_node::Effect::ReadPage). It is answered through
    /// [`Hooks::page_read`](super::Hooks). Never blocks.
    pub fn submit(&self, id: u64, range: Range) {
        self.shared.queue.lock().pages.push_back((id, range));
        self.shared.wake.notify_one();
    }

    /// Reads another table from now on. Pages that are being read are still answered, others that were requested before are
    /// not.
    pub fn exchange(&self, table: &RocksTable) {
        let mut queue = self.shared.queue.lock();
        queue.pages.clear();
        let old = mem::replace(&mut queue.database, table.database.clone());
        drop(queue);
        drop(old);
    }
}

impl Drop for PageReader {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.closing = true;
        queue.pages.clear();
        drop(queue);
        self.shared.wake.notify_all();
        self.threads.drain(..).for_each(threads::join);
    }
}

impl Shared {
    fn next(&self) -> Option<(Arc<Database>, u64, Range)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closing {
                return None;
            }
            if let Some((id, range)) = queue.pages.pop_front() {
                return Some((queue.database.clone(), id, range));
            }
            self.wake.wait(&mut queue);
        }
    }

    fn run(&self) {
        while let Some((database, id, range)) = self.next() {
            match read(&database, &range) {
                Ok(result) => {
                    drop(database);
                    (self.answered)(id, result);
                }
                Err(what) => return database.failure.fail("read from", &what),
            }
        }
    }
}

/// Reads a page; the inner error is the horizon.
fn read(database: &Database, range: &Range) -> Result<Result<Page, u64>, String> {
    let snapshot = database.rocks.snapshot();
    let meta =
        |key: &[u8]| snapshot.get_pinned_cf(database.family(META), key).map_err(|error| one_line(&error));
    let checkpoint = meta(CHECKPOINT_KEY)?.and_then(|bytes| records::decode_checkpoint(&bytes));
    let applied = checkpoint.ok_or("the state's checkpoint is missing or damaged")?.applied;
    let horizon = match meta(HISTORY_KEY)? {
        Some(record) => horizon_of(&record).map_err(|error| error.to_string())?,
        None => 0,
    };
    let revision = if range.at_revision == 0 { applied } else { range.at_revision };
    if let Err(horizon) = check_horizon(revision, horizon) {
        return Ok(Err(horizon));
    }
    let mut data = Records::new(database, &snapshot, DATA);
    // At the present revision every key has its latest record.
    let mut past = (revision < applied).then(|| Records::new(database, &snapshot, PAST));
    let page = read_page(range, revision, &mut data, past.as_mut());
    for cursor in [Some(data), past].into_iter().flatten() {
        cursor.records.status().map_err(|error| one_line(&error))?;
    }
    page.map(Ok).map_err(|error| error.to_string())
}

/// A place in the records of one family.
struct Records<'a> {
    records: DBRawIteratorWithThreadMode<'a, DB>,
}

impl<'a> Records<'a> {
    fn new(database: &'a Database, snapshot: &'a Snapshot<'a>, family: &str) -> Records<'a> {
        let mut options = ReadOptions::default();
        // A scan must not push out what applying needs.
        options.fill_cache(false);
        Records { records: snapshot.raw_iterator_cf_opt(database.family(family), options) }
    }
}

impl Cursor for Records<'_> {
    fn seek(&mut self, key: &[u8]) {
        // Mostly the key is the next one.
        if self.records.key().is_some_and(|at| at < key) {
            self.records.next();
            if self.records.key().is_some_and(|at| at >= key) {
                return;
            }
        }
        self.records.seek(key);
    }

    fn seek_before(&mut self, key: &[u8]) {
        if self.records.key().is_some_and(|at| at >= key) {
            self.records.prev();
            if self.records.key().is_some_and(|at| at < key) {
                return;
            }
        }
        self.records.seek_for_prev(key);
        if self.records.key() == Some(key) {
            self.records.prev();
        }
    }

    fn seek_to_last(&mut self) {
        self.records.seek_to_last();
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.records.item()
    }
}
