//! The RocksDB of a generation: options, column families, and the state shared by its users.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use gometa_codec::storage;
use gometa_store::{Checkpoint, Space};
use gometa_zab::{HardState, Zxid};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, LogLevel, Options,
    WriteBatch, WriteOptions,
};

use super::{DiskError, Hooks, directory::Directory, error::remedy_in, records, synced::Mark};

/// Hard state, founding, checkpoint: a record each, under the keys below.
pub(super) const META: &str = "meta";
/// Counter, 8 bytes big endian → one log entry and its predecessor's zxid.
pub(super) const LOG: &str = "log";
/// The table's space of that name.
pub(super) const DATA: &str = "data";
/// The table's space of that name.
pub(super) const SESSION: &str = "session";

pub(super) const HARD_STATE_KEY: &[u8] = b"hard_state";
pub(super) const FOUNDING_KEY: &[u8] = b"founding";
pub(super) const CHECKPOINT_KEY: &[u8] = b"checkpoint";

/// Blocks, indexes and filters of all column families.
const CACHE_BYTES: usize = 24 << 20;
/// All memtables together.
const MEMTABLES_BYTES: usize = 32 << 20;
/// The bound of the write-ahead log, which opening has to read.
const WAL_BYTES: u64 = 64 << 20;
const INFO_LOG_BYTES: usize = 1 << 20;

/// An open database, its callbacks, and the lock on its directory; shared by writer, readers and table.
pub(super) struct Database {
    /// Dropped, and so closed, before the directory's lock.
    pub(super) rocks: DB,
    pub(super) directory: Directory,
    pub(super) hooks: Hooks,
    /// The number of truncations since the database was opened.
    pub(super) truncations: AtomicU64,
    failed: AtomicBool,
}

impl Database {
    pub(super) fn new(rocks: DB, directory: Directory, hooks: Hooks) -> Database {
        Database { rocks, directory, hooks, truncations: AtomicU64::new(0), failed: AtomicBool::new(false) }
    }

    /// A column family; all four are opened with the database.
    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        family(&self.rocks, name)
    }

    /// The column family of one of the table's spaces.
    pub(super) fn space(&self, space: Space) -> &ColumnFamily {
        match space {
            Space::Data => self.family(DATA),
            Space::Session => self.family(SESSION),
        }
    }

    /// Reports the first failure; later ones are its consequences.
    pub(super) fn fail(&self, action: &str, reason: &dyn std::fmt::Display) {
        if !self.failed.swap(true, Ordering::SeqCst) {
            (self.hooks.failed)(failure(self.directory.path(), action, &reason.to_string()));
        }
    }

    /// Whether a failure has been reported.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Reports a failure to read, and waits for the end of the process.
    pub(super) fn fail_and_park(&self, reason: &dyn std::fmt::Display) -> ! {
        self.fail("read from", reason);
        loop {
            thread::park();
        }
    }
}

/// The message of a failure while the directory is in use. Damaged contents have the same remedy as at the start.
fn failure(dir: &Path, action: &str, reason: &str) -> String {
    if ["Corruption: ", "is damaged", "is missing"].iter().any(|word| reason.contains(word)) {
        return DiskError::damaged(dir, reason).to_string();
    }
    // Failures of other files include it already.
    let remedy = remedy_in(reason);
    let remedy = if reason.ends_with(remedy) { "" } else { remedy };
    format!("cannot {action} data directory {}: {reason}{remedy}", dir.display())
}

/// One of the column families that the database was opened with.
pub(super) fn family<'a>(rocks: &'a DB, name: &str) -> &'a ColumnFamily {
    rocks.cf_handle(name).unwrap_or_else(|| panic!("column family {name} is opened with the database"))
}

/// Opens the database of an existing directory. RocksDB flushes its write-ahead log to synced files before this returns.
pub(super) fn open(dir: &Path, path: &Path) -> Result<DB, DiskError> {
    open_with(options(path)?, path).map_err(DiskError::database("open", dir))
}

/// Creates a database with the first hard state, durably; returns its mark.
pub(super) fn create(dir: &Path, path: &Path) -> Result<Mark, DiskError> {
    let mut options = options(path)?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_error_if_exists(true);
    let rocks = open_with(options, path).map_err(DiskError::database("create", dir))?;
    let mut batch = WriteBatch::default();
    let meta = family(&rocks, META);
    batch.put_cf(meta, HARD_STATE_KEY, storage::encode_hard_state(&HardState::default()));
    batch.put_cf(meta, CHECKPOINT_KEY, records::encode_checkpoint(&Checkpoint::default()));
    rocks.write_opt(batch, &write_options(true)).map_err(DiskError::database("write to", dir))?;
    Ok(Mark { sequence: rocks.latest_sequence_number(), last: Zxid::ZERO })
}

/// The options of a batch: always written to the write-ahead log, synced or not.
pub(super) fn write_options(sync: bool) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(sync);
    options
}

fn open_with(options: Options, path: &Path) -> Result<DB, rocksdb::Error> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    let families = [
        (META, 4 << 20, 4 << 10, false),
        (LOG, 16 << 20, 32 << 10, false),
        (DATA, 16 << 20, 4 << 10, true),
        (SESSION, 4 << 20, 4 << 10, true),
    ];
    let families = families.map(|(name, memtable_bytes, block_bytes, lookups)| {
        ColumnFamilyDescriptor::new(name, family_options(&cache, memtable_bytes, block_bytes, lookups))
    });
    DB::open_cf_descriptors(&options, path, families)
}

fn options(path: &Path) -> Result<Options, DiskError> {
    // The binding has no setter for this option. RocksDB must not resume after a failed flush or sync: it would continue
    // without the lost writes (rule 26).
    let options = Options::default().get_options_from_string("max_bgerror_resume_count=0");
    let mut options = options.map_err(DiskError::database("configure", path))?;
    options.set_paranoid_checks(true);
    // An incomplete record ends the write-ahead log. After a power loss unsynced writes look like this, with their pages in
    // any order, so it is not an error. `SYNCED` shows whether synced writes were lost.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_db_write_buffer_size(MEMTABLES_BYTES);
    // There is one writing thread.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_max_background_jobs(2);
    options.set_max_subcompactions(1);
    options.set_max_open_files(256);
    options.set_max_file_opening_threads(2);
    options.set_skip_stats_update_on_db_open(true);
    options.set_bytes_per_sync(1 << 20);
    options.set_max_manifest_file_size(16 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    Ok(options)
}

fn family_options(cache: &Cache, memtable_bytes: usize, block_bytes: usize, lookups: bool) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(block_bytes);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if lookups {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(memtable_bytes);
    options.set_max_write_buffer_number(3);
    options.set_target_file_size_base(32 << 20);
    options.set_max_bytes_for_level_base(128 << 20);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_that_is_found_later_comes_with_the_same_remedy() {
        let dir = Path::new("data");
        for reason in ["Corruption: block checksum mismatch", "log entry 7 is damaged: its checksum is wrong"]
        {
            let said = failure(dir, "read from", reason);
            assert!(said.starts_with("data directory data is damaged: ") && said.contains(reason), "{said}");
            assert!(said.contains("move it away"), "{said}");
        }
        let reason = "IO error: No space left on device: While appending to file: data/gen-1/db/000012.log: No space \
                      left on device";
        let full = failure(dir, "write to", reason);
        let said = format!("cannot write to data directory data: {reason}: free some space");
        assert_eq!(full, said);
        assert_eq!(failure(dir, "write to", &format!("{reason}: free some space")), said);
    }
}
