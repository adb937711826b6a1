//! The results of futures: for each type of result a function that reads it.

use gometa_client::{Error, Operation, Reply};

use crate::{
    entry::gometa_entry_t,
    error::gometa_error_t,
    future::{gometa_future_t, other_reply, take_reply},
    guard::guarded,
    history::gometa_history_t,
    input::Output,
    macros::{handle, optional, required},
    members::gometa_members_t,
    membership::{gometa_membership_t, gometa_stop_advice_t},
    node_status::gometa_node_status_t,
    page::gometa_page_t,
    settings::gometa_settings_t,
    status::gometa_status_t,
    txn_result::gometa_txn_result_t,
    types::{gometa_deleted_t, gometa_written_t},
    value::gometa_value_t,
};

/// The body of a function that reads a result: into a struct, which may be NULL, or a `new` object.
macro_rules! result {
    ($future:ident, $error:ident, $reply:ident => $output:ident) => {
        guarded!(Status, $error, {
            let (future, output) = (handle!(Status, $future), optional!($output));
            take_reply!(future.operation(), future.result()?, $reply => output.put)
        })
    };
    ($future:ident, $error:ident, $reply:ident => new $output:ident) => {
        guarded!(Status, $error, {
            let (future, output) = (handle!(Status, $future), required!(Status, $output));
            take_reply!(future.operation(), future.result()?, $reply => output.give)
        })
    };
}

/// Reads the result of add, set or cas. It can be read repeatedly. `written` may be NULL.
///
/// Returns the call's error if it failed, GOMETA_INVALID_ARGUMENT if the future is not ready or of another operation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_written(
    future: *const gometa_future_t,
    written: *mut gometa_written_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Written => written)
}

/// Reads the result of delete or delete_if, like gometa_future_written. `deleted` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_deleted(
    future: *const gometa_future_t,
    deleted: *mut gometa_deleted_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Deleted => deleted)
}

/// Reads the result of get, get_with or get_at, like gometa_future_written. Free `*entry` with gometa_entry_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_entry(
    future: *const gometa_future_t,
    entry: *mut *mut gometa_entry_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Entry => new entry)
}

/// Writes the page of a reply to an output; NULL after the last page of a scan.
pub(crate) fn give_page(
    operation: Operation,
    reply: Reply,
    output: Output<*mut gometa_page_t>,
) -> Result<(), Error> {
    match reply {
        Reply::NextPage(page) => {
            output.give_or_null(page.map(gometa_page_t::from));
            Ok(())
        }
        reply => take_reply!(operation, reply, Page => output.give),
    }
}

/// Reads the result of range or of scan_next, like gometa_future_written; after the last page of a scan `*page` is NULL.
/// Free `*page` with gometa_page_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_page(
    future: *const gometa_future_t,
    page: *mut *mut gometa_page_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let (future, output) = (handle!(Status, future), required!(Status, page));
        give_page(future.operation(), future.result()?, output)
    })
}

/// Reads the result of history, like gometa_future_written. Free `*history` with gometa_history_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_history(
    future: *const gometa_future_t,
    history: *mut *mut gometa_history_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, History => new history)
}

/// Reads the result of count or delete_prefix, like gometa_future_written. `count` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_count(
    future: *const gometa_future_t,
    count: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Count => count)
}

/// Reads the result of commit, like gometa_future_written. Free `*result` with gometa_txn_result_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_txn_result(
    future: *const gometa_future_t,
    result: *mut *mut gometa_txn_result_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Transacted => new result)
}

/// Writes the value of a reply to an output; NULL if the key does not exist.
pub(crate) fn give_value(
    operation: Operation,
    reply: Reply,
    output: Output<*mut gometa_value_t>,
) -> Result<(), Error> {
    let Reply::Value(value) = reply else { return Err(other_reply(operation)) };
    output.give_or_null(value.map(gometa_value_t::from));
    Ok(())
}

/// Reads the result of transaction_get, like gometa_future_written; `*value` is NULL if the key does not exist. Free
/// `*value` with gometa_value_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_value(
    future: *const gometa_future_t,
    value: *mut *mut gometa_value_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let (future, output) = (handle!(Status, future), required!(Status, value));
        give_value(future.operation(), future.result()?, output)
    })
}

/// Reads the result of transaction_commit, like gometa_future_written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_committed(
    future: *const gometa_future_t,
    committed: *mut bool,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let (future, output) = (handle!(Status, future), required!(Status, committed));
        take_reply!(future.operation(), future.result()?, Over => output.put)
    })
}

/// Reads the result of status, like gometa_future_written. Free `*status` with gometa_node_status_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_status(
    future: *const gometa_future_t,
    status: *mut *mut gometa_node_status_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Status => new status)
}

/// Reads the result of members, like gometa_future_written. Free `*members` with gometa_members_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_members(
    future: *const gometa_future_t,
    members: *mut *mut gometa_members_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Members => new members)
}

/// Reads the result of membership, promote_member, remove_member, replace_member or cancel_promotion, like
/// gometa_future_written. Free `*membership` with gometa_membership_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_membership(
    future: *const gometa_future_t,
    membership: *mut *mut gometa_membership_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let (future, output) = (handle!(Status, future), required!(Status, membership));
        match future.result()? {
            Reply::MembersChanged(changed) => {
                output.give(changed.into());
                Ok(())
            }
            reply => take_reply!(future.operation(), reply, Membership => output.give),
        }
    })
}

/// Reads the result of transfer_leadership, like gometa_future_written. `leader` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_leader(
    future: *const gometa_future_t,
    leader: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Leader => leader)
}

/// Reads the result of safe_to_stop, like gometa_future_written. Free `*advice` with gometa_stop_advice_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_stop_advice(
    future: *const gometa_future_t,
    advice: *mut *mut gometa_stop_advice_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, StopAdvice => new advice)
}

/// Reads the result of settings, like gometa_future_written. Free `*settings` with gometa_settings_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_settings(
    future: *const gometa_future_t,
    settings: *mut *mut gometa_settings_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Settings => new settings)
}

/// Reads the result of set_setting, like gometa_future_written. `revision` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_future_revision(
    future: *const gometa_future_t,
    revision: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    result!(future, error, Revision => revision)
}
