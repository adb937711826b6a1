//! A key and its value.

use gometa_client::Entry;

use crate::{
    input::lend,
    macros::{free, optional, read},
};

/// A key, its value and its revisions (not a log entry). Free with gometa_entry_free, unless it belongs to a page.
pub struct gometa_entry_t {
    entry: Entry,
}

impl From<Entry> for gometa_entry_t {
    fn from(entry: Entry) -> gometa_entry_t {
        gometa_entry_t { entry }
    }
}

/// The body of a getter of bytes.
macro_rules! lend_bytes {
    ($entry:ident, $length:ident, $field:ident) => {{
        let length = optional!($length);
        match read!($entry, None, Some) {
            Some(entry) => lend(&entry.entry.$field, length),
            None => {
                length.put(0);
                std::ptr::null()
            }
        }
    }};
}

/// Returns the key, and its length in `*len`, which may be NULL. Valid as long as the entry. NULL if `entry` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_key(entry: *const gometa_entry_t, len: *mut usize) -> *const u8 {
    lend_bytes!(entry, len, key)
}

/// Returns the value, and its length in `*len`, which may be NULL. Not NULL if it is empty; NULL if `entry` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_value(entry: *const gometa_entry_t, len: *mut usize) -> *const u8 {
    lend_bytes!(entry, len, value)
}

/// Returns the number of writes to the key since it was created.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_version(entry: *const gometa_entry_t) -> u64 {
    read!(entry, 0, |entry| entry.entry.version)
}

/// Returns the revision at which the key was created.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_create_revision(entry: *const gometa_entry_t) -> u64 {
    read!(entry, 0, |entry| entry.entry.create_revision)
}

/// Returns the revision of the last write to the key, which gometa_client_cas compares.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_mod_revision(entry: *const gometa_entry_t) -> u64 {
    read!(entry, 0, |entry| entry.entry.mod_revision)
}

/// Returns whether this is a group: it stands for all keys that begin with its key, which ends with the delimiter of
/// the range (gometa_range_set_delimiter). It has no value, version and revisions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_is_group(entry: *const gometa_entry_t) -> bool {
    read!(entry, false, |entry| entry.entry.is_group)
}

/// Frees an entry, but not one of a page, which gometa_page_free frees. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_entry_free(entry: *mut gometa_entry_t) {
    free!(entry);
}
