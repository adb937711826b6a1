//! Reads records of keys that are not in memory, on threads of their own.
//!
//! Records for applying have threads of their own, so that they do not wait for clients' reads. A thread takes one key at
//! a time, and answers it at once: a read that hangs, or is slow, delays no other as long as a thread is left.
//!
//! Most reads take microseconds, and waking a thread takes as long. So one thread reads, and the others join it only when
//! a key has waited for [`PATIENCE`]. To notice that, one of them looks at the queue now and then while keys are read.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gometa_node::Purpose;
use gometa_store::Space;
use parking_lot::{Condvar, Mutex};

use super::{DiskError, RocksTable, database::Database, error::one_line};
use crate::process::threads;

/// The number of threads for each purpose: the reads that slow storage serves at a time.
const THREADS: usize = 16;

/// How long a key waits before another thread joins those that read.
const PATIENCE: Duration = Duration::from_millis(1);

/// The duration of a read from which on its answer does not wait for the next one.
const SLOW: Duration = Duration::from_micros(100);

/// The hook for an answer. The last argument says whether the next answer follows within microseconds.
type Fetched = dyn Fn(u64, Bytes, Option<Bytes>, bool) + Send + Sync;

/// A key to read.
struct Wanted {
    /// The number of the read.
    id: u64,
    key: Bytes,
    since: Instant,
}

/// Reads records. Dropping it waits for the reads that were begun.
pub struct RecordReader {
    apply: Pool,
    get: Pool,
}

/// The threads for one purpose.
struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    fetched: Arc<Fetched>,
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    database: Arc<Database>,
    /// Bounded: the node bounds the keys that it has read.
    keys: VecDeque<Wanted>,
    /// The number of threads that are reading.
    reading: usize,
    /// The number of keys that were taken.
    taken: u64,
    /// Whether a thread looks at the queue now and then.
    watched: bool,
    closing: bool,
}

impl RecordReader {
    pub(super) fn start(database: &Arc<Database>, fetched: Box<Fetched>) -> Result<RecordReader, DiskError> {
        let fetched: Arc<Fetched> = fetched.into();
        Ok(RecordReader {
            apply: Pool::start(database, &fetched, "gometa-read-a")?,
            get: Pool::start(database, &fetched, "gometa-read-g")?,
        })
    }

    /// Requests the records of keys; each is answered once through [`Hooks::fetched`](super::Hooks), in any order. Never
    /// blocks.
    pub fn submit(&self, id: u64, purpose: Purpose, keys: Vec<Bytes>) {
        match purpose {
            Purpose::Apply => self.apply.submit(id, keys),
            Purpose::Get => self.get.submit(id, keys),
        }
    }

    /// Reads another table from now on. Keys that are being read are still answered, others that were requested before are
    /// not.
    pub fn exchange(&self, table: &RocksTable) {
        self.apply.exchange(&table.database);
        self.get.exchange(&table.database);
    }
}

impl Pool {
    fn start(
        database: &Arc<Database>,
        fetched: &Arc<Fetched>,
        name: &'static str,
    ) -> Result<Pool, DiskError> {
        let queue = Queue {
            database: database.clone(),
            keys: VecDeque::new(),
            reading: 0,
            taken: 0,
            watched: false,
            closing: false,
        };
        let shared =
            Arc::new(Shared { fetched: fetched.clone(), queue: Mutex::new(queue), wake: Condvar::new() });
        let mut pool = Pool { shared, threads: Vec::new() };
        for _ in 0..THREADS {
            let shared = pool.shared.clone();
            let thread = threads::spawn(name, move || shared.run());
            pool.threads.push(thread.map_err(|source| DiskError::Thread { name, source })?);
        }
        Ok(pool)
    }

    fn submit(&self, id: u64, keys: Vec<Bytes>) {
        let since = Instant::now();
        let mut queue = self.shared.queue.lock();
        queue.keys.extend(keys.into_iter().map(|key| Wanted { id, key, since }));
        let wakes = queue.reading == 0 || !queue.watched;
        drop(queue);
        if wakes {
            self.shared.wake.notify_one();
        }
    }

    fn exchange(&self, database: &Arc<Database>) {
        let mut queue = self.shared.queue.lock();
        queue.keys.clear();
        let old = mem::replace(&mut queue.database, database.clone());
        drop(queue);
        drop(old);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.closing = true;
        queue.keys.clear();
        drop(queue);
        self.shared.wake.notify_all();
        self.threads.drain(..).for_each(threads::join);
    }
}

impl Shared {
    /// Waits for a key that the calling thread is to read; `None` at the end.
    fn next(&self) -> Option<(Arc<Database>, Wanted)> {
        let mut queue = self.queue.lock();
        // Whether this thread has watched, and nothing has happened.
        let mut quiet = false;
        loop {
            if queue.closing {
                return None;
            }
            let waits = queue.keys.front().map(|wanted| wanted.since.elapsed());
            if waits.is_some_and(|waits| queue.reading == 0 || waits >= PATIENCE)
                && let Some(wanted) = queue.keys.pop_front()
            {
                queue.reading += 1;
                queue.taken += 1;
                if !queue.keys.is_empty() && !queue.watched {
                    self.wake.notify_one();
                }
                return Some((queue.database.clone(), wanted));
            }
            if queue.reading > 0 && !queue.watched && !quiet {
                let taken = queue.taken;
                queue.watched = true;
                self.wake.wait_for(&mut queue, PATIENCE.saturating_sub(waits.unwrap_or_default()));
                queue.watched = false;
                quiet = taken == queue.taken && queue.keys.is_empty();
            } else {
                self.wake.wait(&mut queue);
                quiet = false;
            }
        }
    }

    fn run(&self) {
        while let Some((database, Wanted { id, key, .. })) = self.next() {
            let begun = Instant::now();
            match database.rocks.get_pinned_cf(database.space(Space::Data), &key) {
                Ok(record) => {
                    let record = record.map(|record| Bytes::copy_from_slice(&record));
                    let quick = begun.elapsed() < SLOW;
                    let mut queue = self.queue.lock();
                    queue.reading -= 1;
                    let more = quick && !queue.keys.is_empty();
                    drop(queue);
                    (self.fetched)(id, key, record, more);
                }
                Err(error) => {
                    database.failure.fail("read from", &one_line(&error));
                    return;
                }
            }
        }
    }
}
