//! The transaction that is repeated: it reads keys, notes writes, and makes them take effect if nothing that it has read
//! has changed.

use std::ffi::c_void;

use bytes::Bytes;
use gometa_client::{Error, OnSharedRuntime, Operation, Range, Request, SharedTransaction};

use crate::{
    client::{gometa_client_t, with_client},
    error::gometa_error_t,
    future::{gometa_future_t, take_reply},
    future_results::give_value,
    guard::guarded,
    macros::{bytes, free, handle, required},
    page::gometa_page_t,
    range::gometa_range_t,
    status::gometa_status_t,
    value::gometa_value_t,
};

/// Reads and writes of keys that take effect as one, if nothing that was read has changed meanwhile. Free with
/// gometa_transaction_free. It keeps its client's connection, also after the client is freed.
pub struct gometa_transaction_t {
    /// Dropped before the client, of which it has handles.
    transaction: OnSharedRuntime<SharedTransaction>,
    client: gometa_client_t,
}

impl gometa_transaction_t {
    fn shared(&self) -> Result<&SharedTransaction, Error> {
        self.transaction.get(Operation::Txn).map(|(transaction, _)| transaction)
    }

    fn read(&self, key: Bytes) -> Result<Request, Error> {
        Ok(Request::Read { transaction: self.shared()?.clone(), key })
    }

    fn read_range(&self, range: Range) -> Result<Request, Error> {
        Ok(Request::ReadRange { transaction: self.shared()?.clone(), range: Box::new(range) })
    }

    fn end(&self) -> Result<Request, Error> {
        Ok(Request::EndAttempt(self.shared()?.clone(), None))
    }
}

/// Begins a transaction. Does no IO. Read keys, note writes, and commit; repeat that while gometa_transaction_commit
/// sets `*committed` to false. The timeout of `client` begins now, and is that of all attempts together. An attempt that
/// writes may read 128 keys and ranges and write 128 keys, within the limits of gometa_client_commit; else commit
/// returns GOMETA_TOO_LARGE. Free `*transaction` with gometa_transaction_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_transaction(
    client: *const gometa_client_t,
    transaction: *mut *mut gometa_transaction_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    with_client!(Txn, client, error, |client: &gometa_client_t| {
        let output = required!(Txn, transaction);
        let transaction = client.hold(SharedTransaction::new)?;
        output.give(gometa_transaction_t { transaction, client: client.other()? });
        Ok(())
    })
}

/// Reads a key: the value that the transaction has set, or that of the revision that it reads at, which its first read
/// fixes. `*value` is NULL if the key does not exist. Blocks. Free `*value` with gometa_value_free.
///
/// Returns GOMETA_INVALID_ARGUMENT if the key is empty, GOMETA_TOO_LARGE if it is too long.
/// Returns GOMETA_COMPACTED if the revision has left the ensemble's history. Then commit writes nothing and begins
/// another attempt.
/// Returns GOMETA_DEADLINE_EXCEEDED also when the time of all attempts is over.
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_get(
    transaction: *mut gometa_transaction_t,
    key: *const c_void,
    key_len: usize,
    value: *mut *mut gometa_value_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let transaction = handle!(Txn, transaction);
        let output = required!(Txn, value);
        let key = bytes!(Txn, key, key_len);
        transaction
            .client
            .close_on_panic(|client| give_value(Operation::Txn, client.call(transaction.read(key)?)?, output))
    })
}

/// Starts gometa_transaction_get. Read the result with gometa_future_value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_get_async(
    transaction: *mut gometa_transaction_t,
    key: *const c_void,
    key_len: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let transaction = handle!(Txn, transaction);
        let output = required!(Txn, future);
        let key = bytes!(Txn, key, key_len);
        transaction.client.close_on_panic(|client| {
            output.give(client.start(transaction.read(key)?)?);
            Ok(())
        })
    })
}

/// Reads all keys of a range: those that the transaction has set, whose version and revisions are 0, and others as of
/// the revision that it reads at. The range has a prefix, a start, an end, a direction, and whether values are read.
/// Blocks. Free `*page`, which is the only one, with gometa_page_free.
///
/// Returns GOMETA_INVALID_ARGUMENT if the range has anything else.
/// Returns GOMETA_TOO_LARGE if the ranges that the transaction reads have more than 1,000 keys together.
/// Returns the other errors of gometa_transaction_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_range(
    transaction: *mut gometa_transaction_t,
    range: *const gometa_range_t,
    page: *mut *mut gometa_page_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let transaction = handle!(Txn, transaction);
        let output = required!(Txn, page);
        let range = handle!(Txn, range).range();
        transaction.client.close_on_panic(
            |client| take_reply!(Operation::Txn, client.call(transaction.read_range(range)?)?, Page => output.give),
        )
    })
}

/// Starts gometa_transaction_range. Read the result with gometa_future_page.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_range_async(
    transaction: *mut gometa_transaction_t,
    range: *const gometa_range_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let transaction = handle!(Txn, transaction);
        let output = required!(Txn, future);
        let range = handle!(Txn, range).range();
        transaction.client.close_on_panic(|client| {
            output.give(client.start(transaction.read_range(range)?)?);
            Ok(())
        })
    })
}

/// Notes that a key is created or replaced by commit, which also checks key and value. Does no IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_set(
    transaction: *mut gometa_transaction_t,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let transaction = handle!(Txn, transaction).shared()?.present();
        transaction.set(bytes!(Txn, key, key_len), bytes!(Txn, value, value_len));
        Ok(())
    })
}

/// Notes that a key is deleted by commit, if it exists. Does no IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_delete(
    transaction: *mut gometa_transaction_t,
    key: *const c_void,
    key_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let transaction = handle!(Txn, transaction).shared()?.present();
        transaction.delete(bytes!(Txn, key, key_len));
        Ok(())
    })
}

/// Makes the writes take effect, once, if nothing that was read has changed. Blocks. `*committed` is false if something
/// has changed: then nothing was written, and another attempt has begun, without reads and writes. After true, and after
/// an error, the transaction has ended: free it.
///
/// Returns GOMETA_DEADLINE_EXCEEDED, with GOMETA_OUTCOME_NOT_APPLIED, if other writes have changed what was read each
/// time; with GOMETA_OUTCOME_UNKNOWN, if the time ends while the commit awaits its answer.
/// Returns the errors of gometa_client_commit; GOMETA_INVALID_ARGUMENT also if the transaction has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_commit(
    transaction: *mut gometa_transaction_t,
    committed: *mut bool,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let transaction = handle!(Txn, transaction);
        let output = required!(Txn, committed);
        transaction.client.close_on_panic(
            |client| take_reply!(Operation::Txn, client.call(transaction.end()?)?, Over => output.put),
        )
    })
}

/// Starts gometa_transaction_commit. Read the result with gometa_future_committed. Until the future is ready, only
/// gometa_transaction_free may be called with the transaction: a write that is noted meanwhile may be lost. If the
/// future is cancelled, or freed before it is ready, the writes may take effect; free the transaction then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_commit_async(
    transaction: *mut gometa_transaction_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let transaction = handle!(Txn, transaction);
        let output = required!(Txn, future);
        transaction.client.close_on_panic(|client| {
            output.give(client.start(transaction.end()?)?);
            Ok(())
        })
    })
}

/// Frees a transaction; what it has not committed has no effect. Its futures continue. If it is the last handle of its
/// client, it ends the session like gometa_client_free. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_transaction_free(transaction: *mut gometa_transaction_t) {
    free!(transaction);
}
