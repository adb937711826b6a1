//! The operations on the settings of the ensemble, in the forms of [`operations`](crate::operations).

use std::ffi::c_char;

use gometa_client::{Error, Operation, Request};

use crate::{
    client::{gometa_client_t, with_client},
    error::gometa_error_t,
    future::{gometa_future_t, take_reply},
    macros::{optional, read, required, text},
    operations::{block, start},
    settings::gometa_settings_t,
    status::gometa_status_t,
};

unsafe fn listing() -> Result<Request, Error> {
    Ok(Request::Settings)
}

/// Returns the settings of the ensemble, as the node that the client is connected to has applied them. Blocks. Free
/// `*settings` with gometa_settings_free.
///
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_settings(
    client: *const gometa_client_t,
    settings: *mut *mut gometa_settings_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(ListSettings, client, error, listing(), Settings => new settings)
}

/// Starts gometa_client_settings. Read the result with gometa_future_settings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_settings_async(
    client: *const gometa_client_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(ListSettings, client, future, error, listing())
}

unsafe fn change(name: *const c_char, value: *const u64) -> Result<Request, Error> {
    let name = text!(SetSetting, name).to_owned();
    Ok(Request::SetSetting { name, value: read!(value, None, |value| Some(*value)) })
}

/// Changes a setting of the ensemble; it is a write. Blocks. NULL for `value` means the default. `revision`, that of the
/// change, may be NULL.
///
/// Returns GOMETA_INVALID_ARGUMENT if there is no setting `name`, or the value is out of its bounds; the error's message
/// lists the names or the bounds.
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED, GOMETA_SESSION_EXPIRED and GOMETA_CLOSED like
/// gometa_client_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_set_setting(
    client: *const gometa_client_t,
    name: *const c_char,
    value: *const u64,
    revision: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(SetSetting, client, error, change(name, value), Revision => revision)
}

/// Starts gometa_client_set_setting. Read the result with gometa_future_revision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_set_setting_async(
    client: *const gometa_client_t,
    name: *const c_char,
    value: *const u64,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(SetSetting, client, future, error, change(name, value))
}
