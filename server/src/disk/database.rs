//! The RocksDB of the state: options, column families, flushes.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use gometa_store::{Checkpoint as Applied, HISTORY_KEY, SETTINGS_KEY, Space, revision_key, superseded_by};
use gometa_zab::Configuration;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DataBlockIndexType, FlushOptions,
    LogLevel, LruCacheOptions, Options, ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
    properties,
};

use super::{DiskError, compaction::Sizes, directory::Directory, error::one_line, failure::Failure, records};

/// The checkpoint, under [`CHECKPOINT_KEY`], and the table's spaces with one record: the configuration and the history.
pub(super) const META: &str = "meta";
/// The table's space of that name.
pub(super) const DATA: &str = "data";
/// The table's space of that name.
pub(super) const SESSION: &str = "session";
/// The superseded versions of keys.
pub(super) const PAST: &str = "past";
/// What each revision changed.
pub(super) const CHANGES: &str = "changes";
/// All column families.
pub(super) const FAMILIES: [&str; 5] = [META, DATA, SESSION, PAST, CHANGES];

pub(super) const CHECKPOINT_KEY: &[u8] = b"checkpoint";

/// Whether what is under a key in the family of a space is a record of the table.
///
/// The checkpoint, the configuration, the history and the settings are in the same family.
pub(super) fn is_record(space: Space, key: &[u8]) -> bool {
    match space {
        Space::Data | Space::Session => true,
        Space::History => key == HISTORY_KEY,
        Space::Settings => key == SETTINGS_KEY,
        Space::Configuration => ![CHECKPOINT_KEY, HISTORY_KEY, SETTINGS_KEY].contains(&key),
    }
}

/// The name of the column family of one of the table's spaces.
pub(super) fn name_of(space: Space) -> &'static str {
    match space {
        Space::Data => DATA,
        Space::Session => SESSION,
        Space::Configuration | Space::History | Space::Settings => META,
    }
}

/// The cache of a database that is read once.
const CACHE_BYTES_MIN: usize = 8 << 20;
/// The binary logarithm of the number of the cache's parts. Each must be large beside the index or the filter of a file,
/// half a megabyte.
const CACHE_SHARD_BITS: i32 = 2;
/// All memtables together.
pub(super) const MEMTABLES_BYTES: usize = 32 << 20;
const INFO_LOG_BYTES: usize = 1 << 20;

/// The open state; shared by its writer, its readers and the table.
pub(super) struct Database {
    /// Dropped, and so closed, before the directory's lock.
    pub(super) rocks: DB,
    pub(super) failure: Arc<Failure>,
    pub(super) directory: Arc<Directory>,
    pub(super) sizes: Sizes,
    /// Whether RocksDB may compact in the background.
    pub(super) compacts: AtomicBool,
}

impl Database {
    pub(super) fn new(rocks: DB, failure: Arc<Failure>, directory: Arc<Directory>) -> Database {
        let sizes = Sizes::at(directory.path());
        Database { rocks, failure, directory, sizes, compacts: AtomicBool::new(true) }
    }

    /// A column family; all are opened with the database.
    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        family(&self.rocks, name)
    }

    /// The column family of one of the table's spaces.
    pub(super) fn space(&self, space: Space) -> &ColumnFamily {
        self.family(name_of(space))
    }

    /// Makes everything written so far durable.
    ///
    /// All families, with one call: under `atomic_flush` the plain `flush` flushes the default family only, which is empty,
    /// and a flush of one family leaves a checkpoint that does not belong to the records.
    pub(super) fn flush(&self) -> Result<(), rocksdb::Error> {
        flush(&self.rocks)
    }

    /// Deletes what the table has of the history up to a horizon.
    ///
    /// # Errors
    /// A description: the changes up to there cannot be read.
    pub(super) fn drop_history(&self, horizon: u64, write: &mut WriteBatch) -> Result<(), String> {
        let end = revision_key(horizon.saturating_add(1));
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_iterate_upper_bound(end.to_vec());
        let mut changes = self.rocks.raw_iterator_cf_opt(self.family(CHANGES), options);
        changes.seek_to_first();
        while let Some((key, record)) = changes.item() {
            let revision = parse_revision_key(key)?;
            for past in superseded_by(revision, record).map_err(|error| error.to_string())? {
                write.delete_cf(self.family(PAST), past);
            }
            changes.next();
        }
        changes.status().map_err(|error| one_line(&error))?;
        write.delete_range_cf(self.family(CHANGES), revision_key(0), end);
        Ok(())
    }

    /// Makes a checkpoint of everything written so far: a directory with links to the table files.
    pub(super) fn checkpoint(&self, path: &Path) -> Result<(), rocksdb::Error> {
        // The size of the write-ahead log, which is empty, above which the memtables are flushed.
        Checkpoint::new(&self.rocks)?.create_checkpoint_with_log_size(path, 0)
    }

    /// The number of background errors: failed flushes and compactions, which nothing else reports.
    pub(super) fn background_errors(&self) -> u64 {
        self.property(properties::BACKGROUND_ERRORS)
    }

    /// The error for which RocksDB accepts no writes any more, such as a damaged block that a compaction has read.
    pub(super) fn stopped_by(&self) -> Option<String> {
        let nothing = self.rocks.write_opt(WriteBatch::default(), &write_options());
        nothing.err().map(|error| one_line(&error))
    }

    /// The memory of all memtables, in bytes.
    pub(super) fn memtable_bytes(&self) -> u64 {
        FAMILIES.iter().map(|name| self.size_of(name, properties::CUR_SIZE_ACTIVE_MEM_TABLE)).sum()
    }

    /// About how many bytes the history takes.
    pub(super) fn history_bytes(&self) -> u64 {
        let sizes = [properties::ESTIMATE_LIVE_DATA_SIZE, properties::CUR_SIZE_ALL_MEM_TABLES];
        [PAST, CHANGES].iter().flat_map(|name| sizes.iter().map(|size| self.size_of(name, size))).sum()
    }

    /// Whether the history takes more than half of what it may take of its file system, of which less than half is free.
    pub(super) fn history_is_large(&self) -> bool {
        let Some((free, total)) = self.directory.space() else { return false };
        free < total / 2 && self.history_bytes() > history_limit(total) / 2
    }

    fn size_of(&self, family: &str, property: &properties::PropName) -> u64 {
        self.rocks.property_int_value_cf(self.family(family), property).ok().flatten().unwrap_or(0)
    }

    fn property(&self, name: &properties::PropName) -> u64 {
        self.rocks.property_int_value(name).ok().flatten().unwrap_or(0)
    }
}

/// The most bytes that the history may take of a file system with so many: it also has room for the log, for a snapshot that is
/// received, and for one that is sent.
pub(super) fn history_limit(total: u64) -> u64 {
    total / 8
}

/// Makes everything written so far durable; see [`Database::flush`].
pub(super) fn flush(rocks: &DB) -> Result<(), rocksdb::Error> {
    let families = FAMILIES.map(|name| family(rocks, name));
    let mut options = FlushOptions::default();
    options.set_wait(true);
    rocks.flush_cfs_opt(&families.each_ref(), &options)
}

/// One of the column families that the database was opened with.
pub(super) fn family<'a>(rocks: &'a DB, name: &str) -> &'a ColumnFamily {
    rocks.cf_handle(name).unwrap_or_else(|| panic!("column family {name} is opened with the database"))
}

/// Opens the state of an existing directory as of its last flush.
///
/// `cache_bytes` are the memory for blocks, indexes and filters.
pub(super) fn open(dir: &Path, path: &Path, cache_bytes: usize) -> Result<DB, DiskError> {
    open_with(options(path)?, path, cache_bytes).map_err(DiskError::database("open", dir))
}

/// Opens the state in a directory for reading only.
pub(super) fn open_read_only(dir: &Path, path: &Path) -> Result<DB, DiskError> {
    let families = families(path, CACHE_BYTES_MIN);
    let opened = DB::open_cf_descriptors_read_only(&options(path)?, path, families, false);
    opened.map_err(DiskError::database("open", dir))
}

/// Creates an empty state, durably except for the name of its directory.
pub(super) fn create(dir: &Path, path: &Path) -> Result<(), DiskError> {
    let mut options = options(path)?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_error_if_exists(true);
    let rocks = open_with(options, path, CACHE_BYTES_MIN).map_err(DiskError::database("create", dir))?;
    let checkpoint = records::encode_checkpoint(&Applied::default());
    let mut batch = WriteBatch::default();
    batch.put_cf(family(&rocks, META), CHECKPOINT_KEY, checkpoint);
    rocks.write_opt(batch, &write_options()).map_err(DiskError::database("write to", dir))?;
    flush(&rocks).map_err(DiskError::database("write to", dir))
}

/// The checkpoint of the last flush.
pub(super) fn checkpoint(dir: &Path, rocks: &DB) -> Result<Applied, DiskError> {
    let bytes =
        rocks.get_pinned_cf(family(rocks, META), CHECKPOINT_KEY).map_err(DiskError::database("read", dir))?;
    let checkpoint = bytes.and_then(|bytes| records::decode_checkpoint(&bytes));
    checkpoint.ok_or_else(|| DiskError::damaged(dir, "the state's checkpoint is missing or damaged"))
}

/// Reads all records of one of the table's spaces in order, with their checksums, and keeps none of them in the cache.
///
/// # Errors
/// The first error of `visit`, or of reading.
pub(super) fn read_all(
    rocks: &DB,
    space: Space,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    read_family(
        rocks,
        name_of(space),
        |key, record| {
            if is_record(space, key) { visit(key, record) } else { Ok(()) }
        },
    )
}

/// The same for a column family.
pub(super) fn read_family(
    rocks: &DB,
    name: &str,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_verify_checksums(true);
    options.set_readahead_size(2 << 20);
    let mut records = rocks.raw_iterator_cf_opt(family(rocks, name), options);
    records.seek_to_first();
    while let Some((key, record)) = records.item() {
        visit(key, record)?;
        records.next();
    }
    records.status().map_err(|error| one_line(&error))
}

/// The configuration that the state records; `None` if the genesis is in force in it.
pub(super) fn configuration(rocks: &DB) -> Result<Option<Configuration>, String> {
    let mut found = None;
    read_all(rocks, Space::Configuration, |_, record| {
        let decoded = Configuration::decode(record);
        found = Some(decoded.ok_or("the record of the state's configuration cannot be decoded")?);
        Ok(())
    })?;
    Ok(found)
}

/// The revision whose changes are recorded under a key.
///
/// # Errors
/// If the key is none.
pub(super) fn parse_revision_key(key: &[u8]) -> Result<u64, String> {
    let key = <[u8; 8]>::try_from(key).map_err(|_| format!("the changes have a record {key:02x?}"))?;
    Ok(u64::from_be_bytes(key))
}

/// The options of every write: none goes into a write-ahead log, for the node's own log has all of it.
pub(super) fn write_options() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn open_with(options: Options, path: &Path, cache_bytes: usize) -> Result<DB, rocksdb::Error> {
    DB::open_cf_descriptors(&options, path, families(path, cache_bytes))
}

fn families(path: &Path, cache_bytes: usize) -> [ColumnFamilyDescriptor; 5] {
    let sizes = Sizes::at(path);
    let mut cache = LruCacheOptions::default();
    cache.set_capacity(cache_bytes);
    cache.set_num_shard_bits(CACHE_SHARD_BITS);
    let cache = Cache::new_lru_cache_opts(&cache);
    let families = [
        (META, 4 << 20, 4 << 10, false),
        (DATA, 32 << 20, 4 << 10, true),
        (SESSION, 4 << 20, 4 << 10, true),
        (PAST, 32 << 20, 4 << 10, false),
        (CHANGES, 16 << 20, 16 << 10, false),
    ];
    families.map(|(name, memtable_bytes, block_bytes, lookups)| {
        let mut options = family_options(&cache, sizes, memtable_bytes, block_bytes, lookups);
        if name == PAST {
            // What the horizon deletes is no longer read over soon.
            options.add_compact_on_deletion_collector_factory(4_096, 2_048, 0.5);
        }
        ColumnFamilyDescriptor::new(name, options)
    })
}

fn options(path: &Path) -> Result<Options, DiskError> {
    // The binding has no setters for these options. RocksDB must not resume after a failed flush: it would continue as if
    // nothing had happened (rule 26). Every file is read once after it was written.
    let options = "max_bgerror_resume_count=0;paranoid_file_checks=true";
    let options = Options::default().get_options_from_string(options);
    let mut options = options.map_err(DiskError::database("configure", path))?;
    options.set_paranoid_checks(true);
    // Without a write-ahead log a crash leaves the last flush. All families are flushed together, so that the checkpoint and
    // the records belong together.
    options.set_atomic_flush(true);
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

fn family_options(
    cache: &Cache,
    sizes: Sizes,
    memtable_bytes: usize,
    block_bytes: usize,
    lookups: bool,
) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(block_bytes);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    if lookups {
        table.set_bloom_filter(10.0, false);
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        table.set_data_block_hash_ratio(0.75);
        // Most keys that are looked up are not in the memtables.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.05);
    }
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(memtable_bytes);
    options.set_max_write_buffer_number(3);
    options.set_target_file_size_base(sizes.file);
    options.set_max_bytes_for_level_base(sizes.base);
    options.set_max_compaction_bytes(sizes.compaction());
    options
}
