//! A key as it was read.

use gometa_client::Entry;

use crate::input::{self, lend};

/// A key as it was read. Free it with gometa_entry_free. Any thread may read it.
pub struct gometa_entry_t {
    entry: Entry,
}

impl From<Entry> for gometa_entry_t {
    fn from(entry: Entry) -> gometa_entry_t {
        gometa_entry_t { entry }
    }
}

/// Its name, and in *len* (may be NULL) how many bytes that is. It lives as long as the entry. NULL and 0 for
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_key(entry: *const gometa_entry_t, len: *mut usize) -> *const u8 {
    // SAFETY: NULL, or what the caller holds.
    let entry = unsafe { entry.as_ref() };
    // SAFETY: NULL, or a place of the caller's.
    entry.map_or_else(|| unsafe { nothing(len) }, |entry| unsafe { lend(&entry.entry.key, len) })
}

/// Its value, and in *len* (may be NULL) how many bytes that is; the pointer is not NULL where the length is
/// 0. It lives as long as the entry. NULL and 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_value(entry: *const gometa_entry_t, len: *mut usize) -> *const u8 {
    // SAFETY: NULL, or what the caller holds.
    let entry = unsafe { entry.as_ref() };
    // SAFETY: NULL, or a place of the caller's.
    entry.map_or_else(|| unsafe { nothing(len) }, |entry| unsafe { lend(&entry.entry.value, len) })
}

/// 1, 2, ... since the key was created. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_version(entry: *const gometa_entry_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { entry.as_ref() }.map_or(0, |entry| entry.entry.version)
}

/// The revision that created the key. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_create_revision(entry: *const gometa_entry_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { entry.as_ref() }.map_or(0, |entry| entry.entry.create_revision)
}

/// The revision that changed the key last: what gometa_client_cas compares. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_mod_revision(entry: *const gometa_entry_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { entry.as_ref() }.map_or(0, |entry| entry.entry.mod_revision)
}

/// Frees an entry. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_free(entry: *mut gometa_entry_t) {
    // SAFETY: NULL, or an entry that the caller gives up.
    unsafe { input::free(entry) };
}

/// The bytes of no entry.
///
/// # Safety
/// `length` is NULL or may be written to.
unsafe fn nothing(length: *mut usize) -> *const u8 {
    // SAFETY: the caller's promise.
    unsafe { input::Output::optional(length) }.put(0);
    std::ptr::null()
}
