//! Reads and verifies the state of a data directory.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gometa_codec::storage;
use gometa_zab::{Recovered, Zxid};
use rocksdb::{DB, ReadOptions};
use tracing::info;

use super::{
    DiskError,
    boundaries::Boundaries,
    database::{CHECKPOINT_KEY, FOUNDING_KEY, HARD_STATE_KEY, LOG, META, family},
    records,
    synced::Mark,
};

/// The read-ahead for reading the whole log.
const READAHEAD_BYTES: usize = 4 << 20;
/// The time between two log lines about a long verification.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// The number of entries between two reads of the clock.
const PROGRESS_STEP: u64 = 1_024;

/// Reads and verifies everything but the table's records, which have RocksDB's checksums.
pub(super) fn recover(dir: &Path, rocks: &DB, synced: Mark) -> Result<(Recovered, Boundaries), DiskError> {
    let sequence = rocks.latest_sequence_number();
    if sequence < synced.sequence {
        let what = format!("the database ends at write {sequence}, and {} was synced", synced.sequence);
        return Err(DiskError::Lost { dir: dir.to_owned(), what });
    }
    let damaged = |what: String| DiskError::damaged(dir, what);
    let meta = |key: &[u8]| rocks.get_cf(family(rocks, META), key).map_err(DiskError::database("read", dir));

    let hard_state = meta(HARD_STATE_KEY)?.ok_or_else(|| damaged("the hard state is missing".to_owned()))?;
    let hard_state = storage::decode_hard_state(&hard_state);
    let hard_state = hard_state.map_err(|reason| damaged(format!("the hard state: {reason}")))?;
    let founding = meta(FOUNDING_KEY)?.map(|bytes| storage::decode_founding(&bytes)).transpose();
    let founding = founding.map_err(|reason| damaged(format!("the founding record: {reason}")))?;
    let checkpoint = meta(CHECKPOINT_KEY)?.as_deref().and_then(records::decode_checkpoint);
    let checkpoint =
        checkpoint.ok_or_else(|| damaged("the table's checkpoint is missing or damaged".to_owned()))?;

    // The genesis, until snapshots exist.
    let oldest = Zxid::ZERO;
    let boundaries = read_log(dir, rocks, oldest)?;
    let last = boundaries.last();
    if last < synced.last {
        let what = format!("the log ends at {last}, below {}, which it had synced", synced.last);
        return Err(DiskError::Lost { dir: dir.to_owned(), what });
    }
    if last.counter < checkpoint.applied {
        let what = format!("the log ends at {last}, below {}, which was applied", checkpoint.applied);
        return Err(DiskError::Lost { dir: dir.to_owned(), what });
    }
    if last != oldest && !founding.as_ref().is_some_and(|founding| founding.sealed) {
        return Err(damaged(format!("the log ends at {last}, and no ensemble is sealed")));
    }
    // Rule 10; the rest is checked by decoding. An epoch in the log above the *current* epoch is valid: a crash during
    // synchronisation leaves it.
    if hard_state.accepted_epoch < last.epoch {
        let accepted = hard_state.accepted_epoch;
        return Err(damaged(format!("accepted epoch {accepted} is below the log's end {last}")));
    }
    let recovered = Recovered {
        hard_state,
        founding,
        oldest,
        boundaries: boundaries.ends().to_vec(),
        applied: checkpoint.applied,
        released: checkpoint.applied,
    };
    Ok((recovered, boundaries))
}

/// Verifies every record: its checksum, its position, and its link to the previous one.
fn read_log(dir: &Path, rocks: &DB, oldest: Zxid) -> Result<Boundaries, DiskError> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_readahead_size(READAHEAD_BYTES);
    options.set_verify_checksums(true);
    let mut stored = rocks.raw_iterator_cf_opt(family(rocks, LOG), options);
    let mut boundaries = Boundaries::new(oldest);
    stored.seek_to_last();
    let mut progress = Progress::new(stored.key().and_then(|key| storage::decode_log_key(key).ok()));
    stored.seek_to_first();
    while let Some((key, value)) = stored.item() {
        let previous = boundaries.last();
        let wanted = previous.counter + 1;
        let damaged = |what: String| DiskError::damaged(dir, format!("log entry {wanted} {what}"));
        if key != storage::log_key(wanted) {
            return Err(damaged("is missing".to_owned()));
        }
        let record = match storage::decode_log_entry(wanted, Bytes::copy_from_slice(value)) {
            Ok(record) => record,
            Err(error) if error.is_newer() => {
                return Err(DiskError::NewerEntry {
                    dir: dir.to_owned(),
                    counter: wanted,
                    what: error.to_string(),
                });
            }
            Err(error) => return Err(damaged(format!("is damaged: {error}"))),
        };
        if record.previous != previous {
            return Err(damaged(format!("follows {}, and the one before it is {previous}", record.previous)));
        }
        if !boundaries.append(record.entry.zxid) {
            return Err(damaged(format!("holds {}, which cannot follow {previous}", record.entry.zxid)));
        }
        if let Some((last, percent)) = progress.report(wanted, Instant::now) {
            info!(verified = wanted, entries = last, percent, "verifying the log");
        }
        stored.next();
    }
    stored.status().map_err(DiskError::database("read", dir))?;
    Ok(boundaries)
}

/// The progress of a verification that takes long, for the log.
struct Progress {
    /// The last entry's counter, if it is known.
    last: Option<u64>,
    next: Instant,
}

impl Progress {
    fn new(last: Option<u64>) -> Progress {
        Progress { last, next: Instant::now() + PROGRESS_INTERVAL }
    }

    /// Returns the last entry and the percentage verified, if a log line is due after this entry.
    fn report(&mut self, verified: u64, now: impl FnOnce() -> Instant) -> Option<(u64, u64)> {
        if !verified.is_multiple_of(PROGRESS_STEP) {
            return None;
        }
        let now = now();
        if now < self.next {
            return None;
        }
        self.next = now + PROGRESS_INTERVAL;
        let last = self.last.filter(|last| *last >= verified)?;
        let percent = u128::from(verified) * 100 / u128::from(last);
        Some((last, percent as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_a_long_verification_is_logged_at_intervals() {
        let begun = Instant::now();
        let mut progress = Progress::new(Some(10_000));
        // A thousandth of the interval for each entry.
        let at = |entry: u64| begun + PROGRESS_INTERVAL * entry as u32 / 1_000;
        let reports: Vec<(u64, u64)> =
            (1..=10_000).filter_map(|entry| progress.report(entry, || at(entry))).collect();
        assert_eq!(reports.len(), 9, "{reports:?}");
        assert_eq!((reports[0], reports[8]), ((10_000, 10), (10_000, 92)));
    }
}
