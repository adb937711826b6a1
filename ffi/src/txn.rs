//! The builder of a transaction: comparisons, and the operations of two branches.

use std::{ffi::c_void, mem};

use gometa_client::{Compare, Error, Op, Operation, ReadOptions, Relation, Txn};

use crate::{
    error::gometa_error_t,
    guard::guarded,
    input::invalid,
    macros::{bytes, free, handle, handle_mut, read, required},
    range::gometa_range_t,
    read_options::gometa_read_options_t,
    status::gometa_status_t,
};

/// Several operations on any keys, executed as one, for gometa_client_commit: those of GOMETA_THEN if every comparison
/// holds, which is so without any, else those of GOMETA_OTHERWISE. Each operation sees what earlier ones have written.
/// At most 128 comparisons, and 128 operations in each branch, which writes no key twice. It can be committed
/// repeatedly. Free with gometa_txn_free. Not thread-safe while it is changed.
#[derive(Default)]
pub struct gometa_txn_t {
    txn: Txn,
}

/// How a fact of a key, on the left, relates to an operand. Values are ordered by their bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_relation_t {
    /// The same.
    GOMETA_EQUAL = 0,
    /// Another.
    GOMETA_NOT_EQUAL = 1,
    /// Lower.
    GOMETA_LESS = 2,
    /// Higher.
    GOMETA_GREATER = 3,
}

/// A branch of a transaction.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_branch_t {
    /// Executed if every comparison holds.
    GOMETA_THEN = 0,
    /// Executed if a comparison does not hold.
    GOMETA_OTHERWISE = 1,
}

impl gometa_txn_t {
    /// A copy for a commit.
    pub(crate) fn txn(&self) -> Txn {
        self.txn.clone()
    }

    fn when(&mut self, compare: Compare) {
        self.txn = mem::take(&mut self.txn).when(compare);
    }

    fn add(&mut self, branch: u32, operation: Op) -> Result<(), Error> {
        let add = match branch {
            0 => Txn::then,
            1 => Txn::otherwise,
            _ => return Err(invalid(Operation::Txn, format!("there is no branch {branch}"))),
        };
        self.txn = add(mem::take(&mut self.txn), operation);
        Ok(())
    }
}

fn relation_of(number: u32) -> Result<Relation, Error> {
    match number {
        0 => Ok(Relation::Equal),
        1 => Ok(Relation::NotEqual),
        2 => Ok(Relation::Less),
        3 => Ok(Relation::Greater),
        _ => Err(invalid(Operation::Txn, format!("there is no relation {number}"))),
    }
}

/// Creates a transaction without comparisons and operations. Free `*txn` with gometa_txn_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_new(
    txn: *mut *mut gometa_txn_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        required!(Txn, txn).give(gometa_txn_t::default());
        Ok(())
    })
}

/// Frees a transaction. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_free(txn: *mut gometa_txn_t) {
    free!(txn);
}

/// Adds a comparison of the revision of the last write to a key; 0 if the key does not exist. So GOMETA_EQUAL with 0
/// means that it does not exist, GOMETA_GREATER with 0 that it does.
///
/// Returns GOMETA_INVALID_ARGUMENT if `relation` is not a gometa_relation_t. Keys and limits are checked by commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_when_mod_revision(
    txn: *mut gometa_txn_t,
    key: *const c_void,
    key_len: usize,
    relation: u32,
    revision: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        txn.when(Compare::mod_revision(bytes!(Txn, key, key_len), relation_of(relation)?, revision));
        Ok(())
    })
}

/// Adds a comparison of the revision at which a key was created, like gometa_txn_when_mod_revision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_when_create_revision(
    txn: *mut gometa_txn_t,
    key: *const c_void,
    key_len: usize,
    relation: u32,
    revision: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        txn.when(Compare::create_revision(bytes!(Txn, key, key_len), relation_of(relation)?, revision));
        Ok(())
    })
}

/// Adds a comparison of a key's value, like gometa_txn_when_mod_revision. It never holds if the key does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_when_value(
    txn: *mut gometa_txn_t,
    key: *const c_void,
    key_len: usize,
    relation: u32,
    value: *const c_void,
    value_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        let (key, value) = (bytes!(Txn, key, key_len), bytes!(Txn, value, value_len));
        txn.when(Compare::value(key, relation_of(relation)?, value));
        Ok(())
    })
}

/// Adds a comparison of a range, which is copied: it holds if the range has exactly `count` keys, and none of them was
/// written after `revision`, so that the range is as a scan at that revision found it. With a `count` of 0: the range
/// has no key. All such comparisons of a transaction have at most 1,000 keys together. The range has a prefix, a start
/// and an end only: else commit returns GOMETA_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_when_range(
    txn: *mut gometa_txn_t,
    range: *const gometa_range_t,
    count: u64,
    revision: u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        let range = handle!(Txn, range).range();
        txn.when(Compare::range(range, count, revision));
        Ok(())
    })
}

/// Adds an operation to a branch: creates or replaces a key. Its result is a GOMETA_RESULT_WRITTEN.
///
/// Returns GOMETA_INVALID_ARGUMENT if `branch` is not a gometa_branch_t. Keys and limits are checked by commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_set(
    txn: *mut gometa_txn_t,
    branch: u32,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        let (key, value) = (bytes!(Txn, key, key_len), bytes!(Txn, value, value_len));
        txn.add(branch, Op::set(key, value))
    })
}

/// Adds an operation, like gometa_txn_set: deletes a key, if it exists. Its result is a GOMETA_RESULT_DELETED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_delete(
    txn: *mut gometa_txn_t,
    branch: u32,
    key: *const c_void,
    key_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        let key = bytes!(Txn, key, key_len);
        txn.add(branch, Op::delete(key))
    })
}

/// Adds an operation, like gometa_txn_set: deletes all keys of a range, which is copied, at most 1,000 less the number
/// of the other writes of the branch. The range has a prefix, a start or an end, and nothing else. The branch writes
/// none of its keys otherwise. Its result is a GOMETA_RESULT_DELETED_RANGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_delete_range(
    txn: *mut gometa_txn_t,
    branch: u32,
    range: *const gometa_range_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        let range = handle!(Txn, range).range();
        txn.add(branch, Op::delete_range(range))
    })
}

/// Adds an operation, like gometa_txn_set: reads a key. Its result is a GOMETA_RESULT_ENTRY or a GOMETA_RESULT_ABSENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_get(
    txn: *mut gometa_txn_t,
    branch: u32,
    key: *const c_void,
    key_len: usize,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        let key = bytes!(Txn, key, key_len);
        txn.add(branch, Op::get(key))
    })
}

/// Adds an operation, like gometa_txn_set: reads the first page of a range, which is copied. The range has no revision
/// and no read options, and must not stand between two writes to its keys. Its result is a GOMETA_RESULT_PAGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_range(
    txn: *mut gometa_txn_t,
    branch: u32,
    range: *const gometa_range_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        let range = handle!(Txn, range).range();
        txn.add(branch, Op::range(range))
    })
}

/// Sets the options of a transaction that writes in neither branch, which are copied. On others they have no effect.
/// NULL means the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_txn_set_read_options(
    txn: *mut gometa_txn_t,
    options: *const gometa_read_options_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Txn, error, {
        let txn = handle_mut!(Txn, txn);
        let options = read!(options, ReadOptions::default(), |options| options.options);
        txn.txn = mem::take(&mut txn.txn).options(options);
        Ok(())
    })
}
