//! Carries out queries, on threads of their own, each from one moment of the state.

use std::{collections::VecDeque, mem, sync::Arc, thread::JoinHandle};

use bytes::Bytes;
use gometa_proto::Bounds;
use gometa_store::{Cursor, Found, HISTORY_KEY, Query, check_horizon, horizon_of, past_bounds, revision_key};
use parking_lot::{Condvar, Mutex};
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions, Snapshot};

use super::{
    DiskError, RocksTable,
    database::{CHANGES, CHECKPOINT_KEY, DATA, Database, META, PAST},
    error::one_line,
    records,
};
use crate::process::threads;

/// The number of lanes: clients' queries, and those for which applying waits, which no query of a client is before.
const LANES: usize = 2;
/// The threads of each lane.
const THREADS: [usize; LANES] = [4, 1];
const THREAD: &str = "gometa-query";

/// The hook for an answer: what was found, or the horizon if a revision below it is to be read.
type Queried = dyn Fn(u64, Result<Found, u64>) + Send + Sync;

/// Carries out queries. Dropping it waits for those that were begun.
pub struct QueryReader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    answered: Box<Queried>,
    queue: Mutex<Queue>,
    /// By lane.
    wake: [Condvar; LANES],
}

struct Queue {
    database: Arc<Database>,
    /// By lane. Bounded: the node bounds the queries that are under way.
    queries: [VecDeque<(u64, Box<Query>)>; LANES],
    closing: bool,
}

impl QueryReader {
    pub(super) fn start(database: &Arc<Database>, answered: Box<Queried>) -> Result<QueryReader, DiskError> {
        let queue = Queue { database: database.clone(), queries: Default::default(), closing: false };
        let shared = Arc::new(Shared { answered, queue: Mutex::new(queue), wake: Default::default() });
        let mut reader = QueryReader { shared, threads: Vec::new() };
        let lanes =
            THREADS.iter().enumerate().flat_map(|(lane, threads)| std::iter::repeat_n(lane, *threads));
        for lane in lanes {
            let shared = reader.shared.clone();
            let thread = threads::spawn(THREAD, move || shared.run(lane));
            reader.threads.push(thread.map_err(|source| DiskError::Thread { name: THREAD, source })?);
        }
        Ok(reader)
    }

    /// Requests a query as specified by [`Effect::Query`](gometa_node::Effect::Query). It is answered through
    /// [`Hooks::queried`](super::Hooks). Never blocks.
    pub fn submit(&self, id: u64, query: Box<Query>) {
        let lane = usize::from(matches!(*query, Query::Ranges(_)));
        self.shared.queue.lock().queries[lane].push_back((id, query));
        self.shared.wake[lane].notify_one();
    }

    /// Reads another table from now on. Queries that have begun are still answered, others that were requested before are not.
    pub fn exchange(&self, table: &RocksTable) {
        let mut queue = self.shared.queue.lock();
        queue.queries.iter_mut().for_each(VecDeque::clear);
        let old = mem::replace(&mut queue.database, table.database.clone());
        drop(queue);
        drop(old);
    }
}

impl Drop for QueryReader {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.closing = true;
        queue.queries.iter_mut().for_each(VecDeque::clear);
        drop(queue);
        for wake in &self.shared.wake {
            wake.notify_all();
        }
        self.threads.drain(..).for_each(threads::join);
    }
}

impl Shared {
    fn next(&self, lane: usize) -> Option<(Arc<Database>, u64, Box<Query>)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closing {
                return None;
            }
            if let Some((id, query)) = queue.queries[lane].pop_front() {
                return Some((queue.database.clone(), id, query));
            }
            self.wake[lane].wait(&mut queue);
        }
    }

    fn run(&self, lane: usize) {
        while let Some((database, id, query)) = self.next(lane) {
            match read(&database, &query) {
                Ok(result) => {
                    drop(database);
                    (self.answered)(id, result);
                }
                Err(what) => return database.failure.fail("read from", &what),
            }
        }
    }
}

/// Carries out a query; the inner error is the horizon.
fn read(database: &Database, query: &Query) -> Result<Result<Found, u64>, String> {
    let snapshot = database.rocks.snapshot();
    let meta =
        |key: &[u8]| snapshot.get_pinned_cf(database.family(META), key).map_err(|error| one_line(&error));
    let checkpoint = meta(CHECKPOINT_KEY)?.and_then(|bytes| records::decode_checkpoint(&bytes));
    let applied = checkpoint.ok_or("the state's checkpoint is missing or damaged")?.applied;
    let horizon = match meta(HISTORY_KEY)? {
        Some(record) => horizon_of(&record).map_err(|error| error.to_string())?,
        None => 0,
    };
    if let Err(horizon) = check_horizon(query.lowest(applied), horizon) {
        return Ok(Err(horizon));
    }
    // Without bounds, the end of the range would be looked for behind it, over all keys that are deleted and not compacted yet.
    let keys = query.bounds();
    let keys = keys.map(|keys| if keys.is_empty() { Bounds::of_key(&keys.start) } else { keys });
    let mut data = Records::new(database, &snapshot, DATA, keys.clone().map(|keys| (keys.start, keys.end)));
    let mut past = query
        .reads_past(applied)
        .then(|| Records::new(database, &snapshot, PAST, keys.as_ref().map(past_bounds)));
    let change = query.change().map(|revision| {
        snapshot
            .get_pinned_cf(database.family(CHANGES), revision_key(revision))
            .map_err(|error| one_line(&error))
    });
    let change = change.transpose()?.flatten();
    let found = query.read((horizon, applied), &mut data, past.as_mut(), change.as_deref());
    for cursor in [Some(data), past].into_iter().flatten() {
        cursor.records.status().map_err(|error| one_line(&error))?;
    }
    found.map(Ok).map_err(|error| error.to_string())
}

/// A place in the records of one family.
struct Records<'a> {
    records: DBRawIteratorWithThreadMode<'a, DB>,
}

impl<'a> Records<'a> {
    fn new(
        database: &'a Database,
        snapshot: &'a Snapshot<'a>,
        family: &str,
        bounds: Option<(Bytes, Option<Bytes>)>,
    ) -> Records<'a> {
        let mut options = ReadOptions::default();
        if let Some((start, end)) = bounds {
            options.set_iterate_lower_bound(start);
            if let Some(end) = end {
                options.set_iterate_upper_bound(end);
            }
        }
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
