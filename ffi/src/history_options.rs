//! Which versions of a key to read, and how; and the operation, in the forms of [`operations`](crate::operations).

use std::ffi::c_void;

use gometa_client::{Error, HistoryOptions, Operation, ReadOptions, Request};

use crate::{
    client::{gometa_client_t, with_client},
    error::gometa_error_t,
    future::{gometa_future_t, take_reply},
    guard::guarded,
    history::gometa_history_t,
    macros::{bytes, free, handle_mut, read, required},
    operations::{block, start},
    read_options::gometa_read_options_t,
    status::gometa_status_t,
};

/// Which versions of a key to read, and how. Free with gometa_history_options_free. Not thread-safe while it is changed.
#[derive(Default)]
pub struct gometa_history_options_t {
    before_revision: u64,
    limit: u64,
    keys_only: bool,
    options: ReadOptions,
}

impl gometa_history_options_t {
    fn options(&self) -> HistoryOptions {
        let options = HistoryOptions::default()
            .before_revision(self.before_revision)
            .limit(self.limit)
            .options(self.options);
        if self.keys_only { options.keys_only() } else { options }
    }
}

/// Creates options: the newest versions, with their values. Free with gometa_history_options_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_options_new(
    options: *mut *mut gometa_history_options_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(GetHistory, error, {
        required!(GetHistory, options).give(gometa_history_options_t::default());
        Ok(())
    })
}

/// Frees options. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_options_free(options: *mut gometa_history_options_t) {
    free!(options);
}

/// Sets that only versions with a lower revision are read: gometa_history_next_before of the page before. 0, the
/// default, means all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_options_set_before_revision(
    options: *mut gometa_history_options_t,
    before_revision: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(GetHistory, error, {
        handle_mut!(GetHistory, options).before_revision = before_revision;
        Ok(())
    })
}

/// Sets the maximum number of versions. 0, the default, and whatever is above 1,000, means 1,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_options_set_limit(
    options: *mut gometa_history_options_t,
    limit: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(GetHistory, error, {
        handle_mut!(GetHistory, options).limit = limit;
        Ok(())
    })
}

/// Sets whether values are left out: the versions then have empty ones, and their sizes. Default false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_options_set_keys_only(
    options: *mut gometa_history_options_t,
    keys_only: bool,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(GetHistory, error, {
        handle_mut!(GetHistory, options).keys_only = keys_only;
        Ok(())
    })
}

/// Sets the options of the read, which are copied. NULL means the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_history_options_set_read_options(
    options: *mut gometa_history_options_t,
    read_options: *const gometa_read_options_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(GetHistory, error, {
        handle_mut!(GetHistory, options).options =
            read!(read_options, ReadOptions::default(), |options| options.options);
        Ok(())
    })
}

unsafe fn request(
    key: *const c_void,
    key_len: usize,
    options: *const gometa_history_options_t,
) -> Result<Request, Error> {
    let options = read!(options, HistoryOptions::default(), gometa_history_options_t::options);
    Ok(Request::History { key: bytes!(GetHistory, key, key_len), options })
}

/// Reads the versions of a key that the ensemble keeps, newest first: one page. A deletion is a version too. Blocks.
/// `options` may be NULL. Free `*history` with gometa_history_free.
///
/// Versions never change, so pages have no gap and no duplicate, whenever each is read. If the ensemble drops history
/// meanwhile, the list ends earlier. It is no error if the key does not exist.
///
/// Returns GOMETA_INVALID_ARGUMENT, GOMETA_TOO_LARGE, GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED
/// like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_history(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    options: *const gometa_history_options_t,
    history: *mut *mut gometa_history_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(GetHistory, client, error, request(key, key_len, options), History => new history)
}

/// Starts gometa_client_history. Read the result with gometa_future_history.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_history_async(
    client: *const gometa_client_t,
    key: *const c_void,
    key_len: usize,
    options: *const gometa_history_options_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(GetHistory, client, future, error, request(key, key_len, options))
}
