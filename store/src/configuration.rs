//! The configuration of the ensemble, as the last log entry with one recorded it: one record, opaque here.

use bytes::Bytes;

use crate::{
    hash::record_hash,
    session::Corrupt,
    table::{Space, Table},
};

/// The key of the record.
pub const CONFIGURATION_KEY: &[u8] = b"configuration";

/// The record, and whether it is in the table.
#[derive(Default)]
pub(crate) struct Recorded {
    record: Option<Bytes>,
    changed: bool,
}

impl Recorded {
    /// Loads the record of a table.
    ///
    /// # Errors
    /// [`Corrupt`] if there is another record beside it.
    pub(crate) fn load(table: &impl Table) -> Result<Recorded, Corrupt> {
        let mut recorded = Recorded::default();
        let mut unknown = None;
        table.scan(Space::Configuration, &mut |key, record| {
            if key == CONFIGURATION_KEY {
                recorded.record = Some(Bytes::copy_from_slice(record));
            } else {
                unknown = Some(Corrupt::new(format!("there is a record {:?}", Bytes::copy_from_slice(key))));
            }
        });
        unknown.map_or(Ok(recorded), Err)
    }

    pub(crate) fn get(&self) -> Option<&Bytes> {
        self.record.as_ref()
    }

    pub(crate) fn set(&mut self, record: Bytes) {
        *self = Recorded { record: Some(record), changed: true };
    }

    pub(crate) fn hash(&self) -> u128 {
        self.record.as_ref().map_or(0, |record| record_hash(Space::Configuration, CONFIGURATION_KEY, record))
    }

    /// Adds the record to a batch if it has changed since the last one.
    pub(crate) fn take(&mut self, writes: &mut Vec<(Space, Bytes, Option<Bytes>)>) {
        if std::mem::take(&mut self.changed) {
            writes.push((Space::Configuration, Bytes::from_static(CONFIGURATION_KEY), self.record.clone()));
        }
    }

    /// The memory of the record, if it is not in a batch yet.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.record.as_ref().filter(|_| self.changed).map_or(0, Bytes::len)
    }
}
