//! Settings of a client before it is made.

use std::{ffi::c_char, time::Duration};

use gometa_client::{Builder, Error, Operation};

use crate::{
    error::gometa_error_t,
    guard::guard,
    input::{self, Arguments},
    status::gometa_status_t,
};

const ARGUMENTS: Arguments = Arguments(Operation::Build);
/// The longest timeout: 365 days.
const MILLISECONDS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// Settings of a client. Free them with gometa_options_free, also after gometa_client_new, which copies them.
/// One thread at a time.
pub struct gometa_options_t {
    pub(crate) builder: Builder,
}

impl Default for gometa_options_t {
    fn default() -> gometa_options_t {
        gometa_options_t { builder: Builder::default().name("gometa-c") }
    }
}

/// The usual settings. Cannot fail but for a NULL in *options*.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_new(
    options: *mut *mut gometa_options_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let body = || {
        // SAFETY: NULL, or a place of the caller's.
        let place = unsafe { ARGUMENTS.output(options, "options") }?;
        place.give(gometa_options_t::default());
        Ok(())
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Build, error, body) }
}

/// Frees settings. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_free(options: *mut gometa_options_t) {
    // SAFETY: NULL, or settings that the caller gives up.
    unsafe { input::free(options) };
}

/// What a call may take, everything included, in milliseconds; 5,000 if not set. GOMETA_INVALID_ARGUMENT for
/// 0 and for more than 31,536,000,000 (365 days).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_timeout_ms(
    options: *mut gometa_options_t,
    timeout_ms: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let change = |builder: Builder| Ok(builder.timeout(duration(timeout_ms, "timeout_ms")?));
    // SAFETY: NULL, or what the caller holds.
    unsafe { set(options, error, change) }
}

/// What resolving a name, connecting and the handshake with one node may take together, in milliseconds;
/// 2,000 if not set. GOMETA_INVALID_ARGUMENT for 0 and for more than 365 days.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_connect_timeout_ms(
    options: *mut gometa_options_t,
    timeout_ms: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let change = |builder: Builder| Ok(builder.connect_timeout(duration(timeout_ms, "timeout_ms")?));
    // SAFETY: NULL, or what the caller holds.
    unsafe { set(options, error, change) }
}

/// How silent a node may be that owes an answer, in milliseconds: it is asked for a sign of life after
/// quiet_ms (500 if not set), and left silence_ms later (1,000 if not set). A node that has owed an answer for
/// quiet_ms when a call's deadline passes is left too. GOMETA_INVALID_ARGUMENT for a 0 and for more than
/// 365 days.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_silence_ms(
    options: *mut gometa_options_t,
    quiet_ms: u64,
    silence_ms: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let change = |builder: Builder| {
        Ok(builder.keepalive(duration(quiet_ms, "quiet_ms")?, duration(silence_ms, "silence_ms")?))
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { set(options, error, change) }
}

/// The application's name in the nodes' logs; its first 16 characters count. "gometa-c" if not set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_name(
    options: *mut gometa_options_t,
    name: *const c_char,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let change = |builder: Builder| {
        // SAFETY: NULL, or a string of the caller's.
        let name = unsafe { ARGUMENTS.text(name, "name") }?;
        Ok(builder.name(name))
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { set(options, error, change) }
}

/// Whether to use only the given addresses, in their order, and to follow neither the leader's hint nor the
/// members' addresses: for tools that examine one node. False if not set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_pinned(
    options: *mut gometa_options_t,
    pinned: bool,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    // SAFETY: NULL, or what the caller holds.
    unsafe { set(options, error, |builder| Ok(builder.pinned(pinned))) }
}

/// A timeout that the client takes.
pub(crate) fn duration(milliseconds: u64, name: &str) -> Result<Duration, Error> {
    if milliseconds == 0 || milliseconds > MILLISECONDS_MAX {
        let message = format!(
            "{name} is {milliseconds}; it is a number of milliseconds from 1 to {MILLISECONDS_MAX} (365 days)"
        );
        return Err(ARGUMENTS.invalid(message));
    }
    Ok(Duration::from_millis(milliseconds))
}

/// Changes one setting.
///
/// # Safety
/// `options` is NULL or settings that only this thread uses; `error` is NULL or may be written to.
pub(crate) unsafe fn set(
    options: *mut gometa_options_t,
    error: *mut *mut gometa_error_t,
    change: impl FnOnce(Builder) -> Result<Builder, Error>,
) -> gometa_status_t {
    let body = || {
        // SAFETY: the caller's promise.
        let options = unsafe { options.as_mut() }.ok_or_else(|| ARGUMENTS.invalid("options is NULL"))?;
        options.builder = change(options.builder.clone())?;
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { guard(Operation::Build, error, body) }
}
