//! The history of a key: a page of its versions.

use gometa_client::{KeyHistory, KeyVersion};

use crate::{
    input::lend,
    macros::{free, optional, read},
};

/// A part of the history of a key: at most 1,000 versions, with at most 1 MiB of values. Free with gometa_history_free.
pub struct gometa_history_t {
    versions: Vec<gometa_key_version_t>,
    next_before: u64,
    revision: u64,
    oldest_revision: u64,
}

/// What a key became at a revision: a value, or nothing. Belongs to a history: do not free it.
pub struct gometa_key_version_t {
    version: KeyVersion,
}

impl From<Box<KeyHistory>> for gometa_history_t {
    fn from(history: Box<KeyHistory>) -> gometa_history_t {
        let versions = history.versions.into_iter().map(|version| gometa_key_version_t { version });
        gometa_history_t {
            versions: versions.collect(),
            next_before: history.next_before.unwrap_or(0),
            revision: history.revision,
            oldest_revision: history.oldest_revision,
        }
    }
}

/// Returns the number of versions. 0 if the key never existed, or was deleted before the history begins.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_count(history: *const gometa_history_t) -> usize {
    read!(history, 0, |history| history.versions.len())
}

/// Returns a version by index, newest first. Valid as long as the history: do not free it. NULL if `index` is out of
/// range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_version(
    history: *const gometa_history_t,
    index: usize,
) -> *const gometa_key_version_t {
    read!(history, None, |history| history.versions.get(index)).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Returns the revision for gometa_history_options_set_before_revision of the next page. 0 after the last page.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_next_before(history: *const gometa_history_t) -> u64 {
    read!(history, 0, |history| history.next_before)
}

/// Returns the revision that was read at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_revision(history: *const gometa_history_t) -> u64 {
    read!(history, 0, |history| history.revision)
}

/// Returns where the ensemble's history begins. The version that the key had at that revision is the oldest one that is
/// kept, whatever its own revision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_oldest_revision(history: *const gometa_history_t) -> u64 {
    read!(history, 0, |history| history.oldest_revision)
}

/// Frees a history and its versions. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_free(history: *mut gometa_history_t) {
    free!(history);
}

/// Returns the revision that wrote the key, its mod_revision then, or deleted it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_key_version_revision(version: *const gometa_key_version_t) -> u64 {
    read!(version, 0, |version| version.version.revision)
}

/// Returns whether the key was deleted. It then has no value, version and create_revision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_key_version_deleted(version: *const gometa_key_version_t) -> bool {
    read!(version, false, |version| version.version.deleted)
}

/// Returns the number of writes since the key was created, from 1; 0 of a deletion.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_key_version_number(version: *const gometa_key_version_t) -> u64 {
    read!(version, 0, |version| version.version.version)
}

/// Returns the revision at which the key was created; 0 of a deletion.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_key_version_create_revision(version: *const gometa_key_version_t) -> u64 {
    read!(version, 0, |version| version.version.create_revision)
}

/// Returns the value, and its length in `*len`, which may be NULL. Valid as long as the history. Not NULL if it is empty
/// or was not read; NULL if `version` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_key_version_value(
    version: *const gometa_key_version_t,
    len: *mut usize,
) -> *const u8 {
    let length = optional!(len);
    match read!(version, None, Some) {
        Some(version) => lend(&version.version.value, length),
        None => {
            length.put(0);
            std::ptr::null()
        }
    }
}

/// Returns the size of the value in bytes, also if values were not read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_key_version_value_size(version: *const gometa_key_version_t) -> u64 {
    read!(version, 0, |version| version.version.value_size)
}
