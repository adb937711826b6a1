//! Reads records of keys that are not in memory, on threads of their own.
//!
//! Records for applying have threads of their own, so that they do not wait for clients' reads. A thread takes one key at
//! a time, and answers it at once: a read that hangs, or is slow, delays no other as long as a thread is left.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use gometa_node::Purpose;
use gometa_store::Space;
use parking_lot::{Condvar, Mutex};

use super::{DiskError, RocksTable, database::Database, error::one_line};
use crate::process::threads;

/// The number of threads for each purpose. Storage that is slow for one read serves some at a time.
const THREADS: usize = 4;

/// The hook for an answer.
type Fetched = dyn Fn(u64, Bytes, Option<Bytes>) + Send + Sync;

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
    keys: VecDeque<(u64, Bytes)>,
    /// The number of threads that wait for a key.
    idle: usize,
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
        let queue = Queue { database: database.clone(), keys: VecDeque::new(), idle: 0, closing: false };
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
        let mut queue = self.shared.queue.lock();
        let woken = queue.idle.min(keys.len());
        queue.keys.extend(keys.into_iter().map(|key| (id, key)));
        drop(queue);
        for _ in 0..woken {
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
        for thread in self.threads.drain(..) {
            if thread.thread().id() != thread::current().id() {
                // The panic was logged by its thread.
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn next(&self) -> Option<(Arc<Database>, u64, Bytes)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closing {
                return None;
            }
            if let Some((id, key)) = queue.keys.pop_front() {
                return Some((queue.database.clone(), id, key));
            }
            queue.idle += 1;
            self.wake.wait(&mut queue);
            queue.idle -= 1;
        }
    }

    fn run(&self) {
        while let Some((database, id, key)) = self.next() {
            match database.rocks.get_pinned_cf(database.space(Space::Data), &key) {
                Ok(record) => {
                    let record = record.map(|record| Bytes::copy_from_slice(&record));
                    (self.fetched)(id, key, record);
                }
                Err(error) => {
                    database.failure.fail("read from", &one_line(&error));
                    return;
                }
            }
        }
    }
}
