//! The figures of storage for status reports, collected on a thread of its own: they cost calls of the file system.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gometa_proto::v1;

use crate::{
    disk::Usage,
    inbox::{Inbox, Item},
    process::{
        queue::{Queue, Taken},
        threads,
    },
    snapshot::Transfers,
};

const THREAD: &str = "gometa-storage";
/// The time between two measurements.
const INTERVAL: Duration = Duration::from_secs(1);

/// Puts the figures into the inbox once a second. Dropping it ends that.
pub(crate) struct StorageObserver {
    /// Nothing is put into it; closing it ends the thread.
    end: Arc<Queue<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StorageObserver {
    pub(crate) fn start(
        usage: Usage,
        transfers: Arc<Transfers>,
        inbox: Arc<Inbox>,
    ) -> io::Result<StorageObserver> {
        let end = Arc::new(Queue::new());
        let thread = threads::spawn(THREAD, {
            let end = end.clone();
            move || {
                loop {
                    inbox.put_answer(Item::Storage(status(&usage, &transfers)));
                    let next = Instant::now() + INTERVAL;
                    if end.take(&mut VecDeque::new(), Some(next)) == Taken::Closed {
                        return;
                    }
                }
            }
        })?;
        Ok(StorageObserver { end, thread: Some(thread) })
    }
}

impl Drop for StorageObserver {
    fn drop(&mut self) {
        self.end.close();
        if let Some(thread) = self.thread.take() {
            // The panic was logged by its thread.
            let _ = thread.join();
        }
    }
}

/// The figures now; base and end of the log are the node's.
pub(crate) fn status(usage: &Usage, transfers: &Transfers) -> v1::StorageStatus {
    let measured = usage.measure();
    v1::StorageStatus {
        log_base: 0,
        log_end: 0,
        log_bytes: measured.log_bytes,
        state_bytes: measured.state_bytes,
        history_bytes: measured.history_bytes,
        free_bytes: measured.free_bytes,
        reserve_bytes: measured.reserve_bytes,
        flushed_revision: measured.flushed,
        flush_age_ms: u64::try_from(measured.flush_age.as_millis()).unwrap_or(u64::MAX),
        snapshot: transfers.status(Instant::now()),
    }
}
