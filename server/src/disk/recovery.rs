//! What a data directory holds, proven before anything is made of it.

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

/// The log is read from start to end, once, in pieces of this size.
const READAHEAD_BYTES: usize = 4 << 20;
/// Between two lines about a log that takes long to verify.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Entries between two looks at the clock.
const PROGRESS_STEP: u64 = 1_024;

/// Reads and checks everything but the table's records; those carry RocksDB's checksums.
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
    // Rule 10; the rest of it is checked as the record is decoded. An epoch of the log above the *current* epoch
    // is legal: a crash in mid-synchronisation leaves it.
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
    };
    Ok((recovered, boundaries))
}

/// Every record, with its checksum, its place, and its link to the one before.
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
        if let Some(line) = progress.line(wanted, Instant::now) {
            info!("{line}");
        }
        stored.next();
    }
    stored.status().map_err(DiskError::database("read", dir))?;
    Ok(boundaries)
}

/// What is logged while a log is verified that takes long.
struct Progress {
    /// The last entry's counter, if it is known.
    last: Option<u64>,
    next: Instant,
}

impl Progress {
    fn new(last: Option<u64>) -> Progress {
        Progress { last, next: Instant::now() + PROGRESS_INTERVAL }
    }

    /// The line that is due after this entry, if one is.
    fn line(&mut self, verified: u64, now: impl FnOnce() -> Instant) -> Option<String> {
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
        Some(format!("verifies the log: {verified} of {last} entries ({percent} %)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_takes_long_to_verify_is_reported_on_now_and_then() {
        let begun = Instant::now();
        let mut progress = Progress::new(Some(10_000));
        // A thousandth of the interval for each entry.
        let at = |entry: u64| begun + PROGRESS_INTERVAL * entry as u32 / 1_000;
        let lines: Vec<String> =
            (1..=10_000).filter_map(|entry| progress.line(entry, || at(entry))).collect();
        assert_eq!(lines.len(), 9, "{lines:?}");
        assert_eq!(lines[0], "verifies the log: 1024 of 10000 entries (10 %)");
        assert!(lines[8].contains("(92 %)"), "{lines:?}");
    }
}
