//! Read access to the applied records, for the store.

use std::sync::Arc;

use bytes::Bytes;
use gometa_store::{Checkpoint, Lookup, Space, Table, verify_changes};
use rocksdb::{ErrorKind, ReadOptions, ReadTier};

use super::{
    database::{CHANGES, CHECKPOINT_KEY, Database, META, PAST, parse_revision_key, read_all, read_family},
    error::one_line,
    records,
};

/// The table in the data directory. A batch is visible before its token is reported.
///
/// If storage fails, the failure is reported through the hooks, and the call never returns: it waits for the end of the
/// process.
#[derive(Clone)]
pub struct RocksTable {
    pub(super) database: Arc<Database>,
    /// For lookups.
    in_memory: Arc<ReadOptions>,
}

impl RocksTable {
    pub(super) fn new(database: Arc<Database>) -> RocksTable {
        let mut in_memory = ReadOptions::default();
        in_memory.set_read_tier(ReadTier::BlockCache);
        RocksTable { database, in_memory: Arc::new(in_memory) }
    }
}

impl RocksTable {
    /// Reads every record of a table that is not in use yet.
    ///
    /// # Errors
    /// The first thing that is wrong with a block or a record.
    pub(super) fn verify(&self) -> Result<(), String> {
        let checkpoint = self.database.rocks.get_pinned_cf(self.database.family(META), CHECKPOINT_KEY);
        let checkpoint = checkpoint.map_err(|error| one_line(&error))?;
        if checkpoint.is_none_or(|bytes| records::decode_checkpoint(&bytes).is_none()) {
            return Err("its checkpoint is missing or damaged".to_owned());
        }
        for space in Space::ALL {
            read_all(&self.database.rocks, space, |_, _| Ok(()))?;
        }
        read_family(&self.database.rocks, PAST, |_, _| Ok(()))?;
        read_family(&self.database.rocks, CHANGES, |_, _| Ok(()))?;
        verify_changes(self).map_err(|error| error.to_string())
    }
}

impl Table for RocksTable {
    fn checkpoint(&self) -> Checkpoint {
        let meta = self.database.family(META);
        match self.database.rocks.get_pinned_cf(meta, CHECKPOINT_KEY) {
            Ok(Some(bytes)) => records::decode_checkpoint(&bytes)
                .unwrap_or_else(|| self.database.failure.fail_and_park(&"the checkpoint is damaged")),
            Ok(None) => self.database.failure.fail_and_park(&"the checkpoint is missing"),
            Err(error) => self.database.failure.fail_and_park(&one_line(&error)),
        }
    }

    fn lookup(&self, space: Space, key: &[u8]) -> Lookup {
        let family = self.database.space(space);
        match self.database.rocks.get_pinned_cf_opt(family, key, &self.in_memory) {
            Ok(found) => found.map(|bytes| Bytes::copy_from_slice(&bytes)).into(),
            Err(error) if error.kind() == ErrorKind::Incomplete => Lookup::NotInMemory,
            Err(error) => self.database.failure.fail_and_park(&one_line(&error)),
        }
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        let read = read_all(&self.database.rocks, space, |key, record| {
            visit(key, record);
            Ok(())
        });
        if let Err(error) = read {
            self.database.failure.fail_and_park(&error);
        }
    }

    fn scan_changes(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        let read = read_family(&self.database.rocks, CHANGES, |key, record| {
            visit(parse_revision_key(key)?, record);
            Ok(())
        });
        if let Err(error) = read {
            self.database.failure.fail_and_park(&error);
        }
    }
}
