//! The range: which keys to read, and how.

use std::ffi::c_void;

use bytes::Bytes;
use gometa_client::{Range, ReadOptions};

use crate::{
    error::gometa_error_t,
    guard::guarded,
    macros::{bytes, free, handle_mut, read, required},
    read_options::gometa_read_options_t,
    status::gometa_status_t,
};

/// Which keys to read, and how: those that begin with the prefix, are not below the start, and are below the end. Keys
/// are ordered by their bytes. Free with gometa_range_free. Not thread-safe while it is changed.
#[derive(Default)]
pub struct gometa_range_t {
    prefix: Bytes,
    start: Bytes,
    end: Bytes,
    at_revision: u64,
    limit: u64,
    reverse: bool,
    keys_only: bool,
    delimiter: Bytes,
    options: ReadOptions,
}

impl gometa_range_t {
    pub(crate) fn range(&self) -> Range {
        let mut range = Range::prefix(&self.prefix)
            .start(&self.start)
            .end(&self.end)
            .at_revision(self.at_revision)
            .limit(self.limit)
            .delimiter(&self.delimiter)
            .options(self.options);
        if self.reverse {
            range = range.reverse();
        }
        if self.keys_only {
            range = range.keys_only();
        }
        range
    }
}

/// Creates a range of all keys, read at the present. Free with gometa_range_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_new(
    range: *mut *mut gometa_range_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        required!(Range, range).give(gometa_range_t::default());
        Ok(())
    })
}

/// Frees a range. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_free(range: *mut gometa_range_t) {
    free!(range);
}

/// Sets the prefix: keys that do not begin with it are left out. Empty, the default, means no bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_prefix(
    range: *mut gometa_range_t,
    prefix: *const c_void,
    prefix_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).prefix = bytes!(Range, prefix, prefix_len);
        Ok(())
    })
}

/// Sets the start: keys below it are left out. Empty, the default, means no bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_start(
    range: *mut gometa_range_t,
    start: *const c_void,
    start_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).start = bytes!(Range, start, start_len);
        Ok(())
    })
}

/// Sets the end: this key and those above it are left out. Empty, the default, means no bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_end(
    range: *mut gometa_range_t,
    end: *const c_void,
    end_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).end = bytes!(Range, end, end_len);
        Ok(())
    })
}

/// Sets the revision to read at. 0, the default, means the present.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_at_revision(
    range: *mut gometa_range_t,
    at_revision: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).at_revision = at_revision;
        Ok(())
    })
}

/// Sets the maximum number of entries. 0, the default, means no maximum; a page has at most 1,000 in any case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_limit(
    range: *mut gometa_range_t,
    limit: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).limit = limit;
        Ok(())
    })
}

/// Sets whether the range is read in descending order, from its last key on. Default false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_reverse(
    range: *mut gometa_range_t,
    reverse: bool,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).reverse = reverse;
        Ok(())
    })
}

/// Sets whether values are left out: the entries then have empty ones. Default false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_keys_only(
    range: *mut gometa_range_t,
    keys_only: bool,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).keys_only = keys_only;
        Ok(())
    })
}

/// Sets the delimiter, at most 16 bytes: keys that share what comes before its first occurrence behind the prefix are
/// one entry, a group (gometa_entry_is_group). So "/" reads one level of a hierarchy. Empty, the default, means none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_delimiter(
    range: *mut gometa_range_t,
    delimiter: *const c_void,
    delimiter_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).delimiter = bytes!(Range, delimiter, delimiter_len);
        Ok(())
    })
}

/// Sets the options of the read, which are copied; of a scan, those of its first page. NULL means the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_range_set_read_options(
    range: *mut gometa_range_t,
    options: *const gometa_read_options_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        handle_mut!(Range, range).options = read!(options, ReadOptions::default(), |options| options.options);
        Ok(())
    })
}
