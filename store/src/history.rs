//! The history: what each revision changed, and the versions of keys that were superseded. It ends below at the *horizon*,
//! the lowest revision at which the state can be read.
//!
//! Apply writes the history and never reads it: what it does depends on the present only. The state hash covers the horizon
//! and the sum of the hashes of all changes, dropped ones included. The record of each change has the sum before it, so a
//! scan of the changes that are kept can be compared with the sum.

use bytes::{BufMut, Bytes, BytesMut};
use gometa_proto::v1::{self, ChangeRecord, HistoryRecord};
use prost::Message;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    change::{Change, ChangedKey, past_key},
    hash::record_hash,
    session::Corrupt,
    table::{Space, Table},
};

/// The key of the history's record.
pub const HISTORY_KEY: &[u8] = b"history";

/// The horizon, by the record of the history; without that it is 0.
///
/// # Errors
/// [`Corrupt`] if the record cannot be decoded.
pub fn horizon_of(record: &[u8]) -> Result<u64, Corrupt> {
    let record = HistoryRecord::decode(record);
    record
        .map(|record| record.horizon)
        .map_err(|error| Corrupt::new(format!("the record of the history: {error}")))
}

/// Whether a revision can be read.
///
/// # Errors
/// The horizon, if the revision is below it.
pub fn check_horizon(revision: u64, horizon: u64) -> Result<(), u64> {
    if planted!(revision < horizon, reads_below_horizon => false) { Err(horizon) } else { Ok(()) }
}

/// The keys in the history of the versions that a revision superseded, by its record.
///
/// # Errors
/// [`Corrupt`] if the record cannot be decoded.
pub fn superseded_by(revision: u64, record: &[u8]) -> Result<Vec<Bytes>, Corrupt> {
    let (record, _) = decode_change(revision, record)?;
    let superseded = record.keys.iter().filter(|changed| !changed.created);
    Ok(superseded.map(|changed| past_key(&changed.key, revision)).collect())
}

/// The keys that a revision deleted, by its record.
///
/// # Errors
/// [`Corrupt`] if the record cannot be decoded.
pub(crate) fn deleted_by(revision: u64, record: &[u8]) -> Result<Vec<Bytes>, Corrupt> {
    let (record, _) = decode_change(revision, record)?;
    Ok(record.keys.into_iter().filter(|changed| changed.deleted).map(|changed| changed.key).collect())
}

fn decode_change(revision: u64, record: &[u8]) -> Result<(ChangeRecord, u128), Corrupt> {
    let corrupt =
        || Corrupt::new(format!("the record of the changes of revision {revision} cannot be decoded"));
    let record = ChangeRecord::decode(record).map_err(|_| corrupt())?;
    let before = <[u8; 16]>::try_from(&*record.sum_before).map_err(|_| corrupt())?;
    Ok((record, u128::from_be_bytes(before)))
}

/// Compares the records of all changes with each other and with the record of the history.
///
/// # Errors
/// [`Corrupt`] if one cannot be decoded, or they do not belong together.
pub fn verify_changes(table: &impl Table) -> Result<(), Corrupt> {
    let expected = History::load(table)?;
    let mut sum = None;
    let mut result = Ok(());
    table.scan_changes(&mut |revision, record| {
        let added = decode_change(revision, record).and_then(|(record, before)| {
            if sum.is_some_and(|sum| sum != before) || revision <= expected.horizon {
                return Err(Corrupt::new(format!(
                    "the changes before revision {revision} are not the expected ones"
                )));
            }
            sum = Some(before.wrapping_add(change_hash(revision, &record.keys)));
            Ok(())
        });
        if result.is_ok() {
            result = added;
        }
    });
    result?;
    match sum {
        Some(sum) if sum != expected.sum => {
            Err(Corrupt::new("the last changes are not the expected ones".to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}

/// The hash of what a revision changed.
fn change_hash(revision: u64, keys: &[v1::ChangedKey]) -> u128 {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.put_u64(revision);
    for changed in keys {
        bytes.put_u32(changed.key.len() as u32);
        bytes.put_slice(&changed.key);
        bytes.put_u8(u8::from(changed.created) | u8::from(changed.deleted) << 1);
    }
    xxh3_128(&bytes)
}

/// The present state of the history.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) horizon: u64,
    sum: u128,
    /// The changes since the last batch.
    changes: Vec<Change>,
    /// Whether the record differs from the one in the last batch.
    changed: bool,
    /// Whether the horizon does.
    raised: bool,
    pending_bytes: usize,
}

impl History {
    /// Loads the record of a table.
    ///
    /// # Errors
    /// [`Corrupt`] if it cannot be decoded, or there is another one beside it.
    pub(crate) fn load(table: &impl Table) -> Result<History, Corrupt> {
        let mut loaded = Ok(History::default());
        table.scan(Space::History, &mut |key, record| {
            loaded = Self::decode(key, record)
                .ok_or_else(|| Corrupt::new("the record of the history cannot be decoded".to_owned()));
        });
        loaded
    }

    fn decode(key: &[u8], record: &[u8]) -> Option<History> {
        let record = HistoryRecord::decode(record).ok().filter(|_| key == HISTORY_KEY)?;
        let sum = u128::from_be_bytes(<[u8; 16]>::try_from(&*record.sum).ok()?);
        Some(History { horizon: record.horizon, sum, ..History::default() })
    }

    fn record(&self) -> Option<Bytes> {
        if (self.horizon, self.sum) == (0, 0) {
            return None;
        }
        let sum = Bytes::copy_from_slice(&self.sum.to_be_bytes());
        Some(HistoryRecord { horizon: self.horizon, sum }.encode_to_vec().into())
    }

    /// Adds a key that the log entry at `revision` has changed.
    pub(crate) fn add(&mut self, revision: u64, key: ChangedKey) {
        self.pending_bytes += key.size();
        match self.changes.last_mut() {
            Some(change) if change.revision == revision => change.keys.push(key),
            _ => self.changes.push(Change { revision, sum_before: 0, keys: vec![key] }),
        }
    }

    /// Ends a log entry: what it has changed is complete.
    pub(crate) fn end_entry(&mut self, revision: u64) {
        let Some(change) = self.changes.last_mut().filter(|change| change.revision == revision) else {
            return;
        };
        change.keys.sort_by(|one, other| one.key.cmp(&other.key));
        change.sum_before = self.sum;
        self.sum = self.sum.wrapping_add(change_hash(revision, &change.changed_keys()));
        self.changed = true;
    }

    /// Raises the horizon; a lower one is ignored.
    pub(crate) fn raise(&mut self, horizon: u64) {
        if horizon > self.horizon {
            self.horizon = horizon;
            (self.changed, self.raised) = (true, true);
        }
    }

    pub(crate) fn hash(&self) -> u128 {
        self.record().map_or(0, |record| record_hash(Space::History, HISTORY_KEY, &record))
    }

    /// Adds the record to a batch if it has changed; returns the changes since the last batch, and the horizon if that has
    /// been raised.
    pub(crate) fn take(
        &mut self,
        writes: &mut Vec<(Space, Bytes, Option<Bytes>)>,
    ) -> (Vec<Change>, Option<u64>) {
        self.pending_bytes = 0;
        if std::mem::take(&mut self.changed) {
            writes.push((Space::History, Bytes::from_static(HISTORY_KEY), self.record()));
        }
        let dropped = planted!(self.horizon, drops_history_above_horizon => self.horizon + 2);
        let raised = std::mem::take(&mut self.raised).then_some(dropped);
        (std::mem::take(&mut self.changes), raised)
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }
}
