//! Options of a read.

use gometa_client::{Consistency, Operation, ReadOptions};

use crate::{
    error::gometa_error_t,
    guard::guarded,
    input::invalid,
    macros::{free, handle_mut, required},
    status::gometa_status_t,
};

/// Options of a read. Free with gometa_read_options_free. Not thread-safe while it is changed.
pub struct gometa_read_options_t {
    pub(crate) options: ReadOptions,
}

/// The consistency of a read.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_consistency_t {
    /// Sees every write of any client that was acknowledged before the read began.
    GOMETA_LINEARIZABLE = 0,
    /// Reads the state of the answering node: faster, possibly stale, but never older than what this client has seen.
    GOMETA_LOCAL = 1,
}

/// Creates options of a read: GOMETA_LINEARIZABLE, no minimum revision. Free with gometa_read_options_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_read_options_new(
    options: *mut *mut gometa_read_options_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Get, error, {
        required!(Get, options).give(gometa_read_options_t { options: ReadOptions::default() });
        Ok(())
    })
}

/// Frees options. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_read_options_free(options: *mut gometa_read_options_t) {
    free!(options);
}

/// Sets the consistency. Returns GOMETA_INVALID_ARGUMENT if `consistency` is not a gometa_consistency_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_read_options_set_consistency(
    options: *mut gometa_read_options_t,
    consistency: u32,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Get, error, {
        handle_mut!(Get, options).options.consistency = match consistency {
            0 => Consistency::Linearizable,
            1 => Consistency::Local,
            _ => return Err(invalid(Operation::Get, format!("there is no consistency {consistency}"))),
        };
        Ok(())
    })
}

/// Sets the minimum revision of a GOMETA_LOCAL read: the node answers when it has applied this revision, or the call
/// times out. Default 0; a higher revision that the client has seen takes its place. Others ignore it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_read_options_set_min_revision(
    options: *mut gometa_read_options_t,
    min_revision: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Get, error, {
        handle_mut!(Get, options).options.min_revision = min_revision;
        Ok(())
    })
}
