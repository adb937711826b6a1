//! Options of a client.

use std::{ffi::c_char, time::Duration};

use gometa_client::{Builder, Error, Operation};

use crate::{
    error::gometa_error_t,
    guard::guarded,
    input::invalid,
    log::gometa_log_t,
    macros::{free, handle, handle_mut, required, text},
    status::gometa_status_t,
};

/// The longest timeout: 365 days.
const MILLISECONDS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// Options of a client. Free with gometa_options_free. Not thread-safe while they are changed.
pub struct gometa_options_t {
    pub(crate) builder: Builder,
}

impl gometa_options_t {
    /// The settings of a client without options.
    pub(crate) fn defaults() -> Builder {
        Builder::default().name("gometa-c")
    }

    fn change(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.builder = change(self.builder.clone());
    }
}

/// Creates options with defaults. Free `*options` with gometa_options_free, also after gometa_client_new.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_new(
    options: *mut *mut gometa_options_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        required!(Build, options).give(gometa_options_t { builder: gometa_options_t::defaults() });
        Ok(())
    })
}

/// Frees options. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_free(options: *mut gometa_options_t) {
    free!(options);
}

/// Sets the timeout of a call in milliseconds, retries included. Default 5,000.
///
/// Returns GOMETA_INVALID_ARGUMENT if `timeout_ms` is 0 or above 31,536,000,000 (365 days).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_timeout_ms(
    options: *mut gometa_options_t,
    timeout_ms: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        let timeout = duration(timeout_ms, "timeout_ms")?;
        handle_mut!(Build, options).change(|builder| builder.timeout(timeout));
        Ok(())
    })
}

/// Sets the timeout of connecting to one node in milliseconds, name resolution and handshake included. Default 2,000.
///
/// Returns GOMETA_INVALID_ARGUMENT if `timeout_ms` is 0 or above 365 days.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_connect_timeout_ms(
    options: *mut gometa_options_t,
    timeout_ms: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        let timeout = duration(timeout_ms, "timeout_ms")?;
        handle_mut!(Build, options).change(|builder| builder.connect_timeout(timeout));
        Ok(())
    })
}

/// Sets the keepalive of the connection in milliseconds. While a response is pending and nothing is received for
/// `interval_ms` (default 500), the client sends a ping; it closes the connection if nothing is received for another
/// `timeout_ms` (default 1,000), and connects to another node. It also closes a connection when a call times out
/// that has waited for its response for at least `interval_ms`.
///
/// Returns GOMETA_INVALID_ARGUMENT if either is 0 or above 365 days.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_keepalive_ms(
    options: *mut gometa_options_t,
    interval_ms: u64,
    timeout_ms: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        let interval = duration(interval_ms, "interval_ms")?;
        let timeout = duration(timeout_ms, "timeout_ms")?;
        handle_mut!(Build, options).change(|builder| builder.keepalive(interval, timeout));
        Ok(())
    })
}

/// Sets the application's name, which the nodes log; cut after 16 characters. Default "gometa-c".
///
/// Returns GOMETA_INVALID_ARGUMENT if `name` is NULL or not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_name(
    options: *mut gometa_options_t,
    name: *const c_char,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        let name = text!(Build, name);
        handle_mut!(Build, options).change(|builder| builder.name(name));
        Ok(())
    })
}

/// Sets whether the client uses only the given addresses, in their order, and ignores the leader's address and
/// the members that nodes send: for tools that examine one node. Default false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_pinned(
    options: *mut gometa_options_t,
    pinned: bool,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        handle_mut!(Build, options).change(|builder| builder.pinned(pinned));
        Ok(())
    })
}

/// Sets the log that receives the client's records. One log may serve several clients, and may be freed before them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_log(
    options: *mut gometa_options_t,
    log: *const gometa_log_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        let (level, sink) = handle!(Build, log).sink()?;
        handle_mut!(Build, options).change(|builder| builder.log(level, sink));
        Ok(())
    })
}

/// A timeout in milliseconds, from 1 to [`MILLISECONDS_MAX`].
pub(crate) fn duration(milliseconds: u64, name: &str) -> Result<Duration, Error> {
    if milliseconds == 0 || milliseconds > MILLISECONDS_MAX {
        let message = format!(
            "{name} is {milliseconds}; it is a number of milliseconds from 1 to {MILLISECONDS_MAX} (365 days)"
        );
        return Err(invalid(Operation::Build, message));
    }
    Ok(Duration::from_millis(milliseconds))
}
