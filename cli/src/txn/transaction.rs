//! A transaction that was read.

use gometa_client::{Compare, Op, Range, Txn};

/// A transaction that was read.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Transaction {
    pub(crate) when: Vec<Compare>,
    pub(crate) then: Vec<Operation>,
    pub(crate) otherwise: Vec<Operation>,
}

/// An operation, with what its result is shown with.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Operation {
    /// `set`, `delete`, `get` or `range`.
    pub(crate) verb: &'static str,
    /// The key, of a range its prefix.
    pub(crate) key: Vec<u8>,
    /// Whether it is a range without values.
    pub(crate) keys_only: bool,
    pub(super) op: Op,
}

impl Operation {
    pub(super) fn set(key: Vec<u8>, value: &[u8]) -> Operation {
        Operation::new("set", Op::set(&key, value), key)
    }

    pub(super) fn delete(key: Vec<u8>) -> Operation {
        Operation::new("delete", Op::delete(&key), key)
    }

    pub(super) fn get(key: Vec<u8>) -> Operation {
        Operation::new("get", Op::get(&key), key)
    }

    pub(super) fn range(keys: Keys) -> Operation {
        let Keys { prefix, start, end, delimiter, limit, reverse, keys_only } = keys;
        let mut range = Range::prefix(&prefix).start(start).end(end).delimiter(delimiter).limit(limit);
        if reverse {
            range = range.reverse();
        }
        if keys_only {
            range = range.keys_only();
        }
        Operation { keys_only, ..Operation::new("range", Op::range(range), prefix) }
    }

    fn new(verb: &'static str, op: Op, key: Vec<u8>) -> Operation {
        Operation { verb, key, keys_only: false, op }
    }

    fn writes(&self) -> bool {
        matches!(self.verb, "set" | "delete")
    }
}

/// The keys of a range, and how to read them. Empty bounds are none, a limit of 0 is none.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) prefix: Vec<u8>,
    pub(super) start: Vec<u8>,
    pub(super) end: Vec<u8>,
    pub(super) delimiter: Vec<u8>,
    pub(super) limit: u64,
    pub(super) reverse: bool,
    pub(super) keys_only: bool,
}

impl Transaction {
    /// Whether one of its branches writes.
    pub(crate) fn writes(&self) -> bool {
        self.then.iter().chain(&self.otherwise).any(Operation::writes)
    }

    /// The request.
    pub(crate) fn to_txn(&self) -> Txn {
        let mut txn = Txn::new();
        for compare in &self.when {
            txn = txn.when(compare.clone());
        }
        for operation in &self.then {
            txn = txn.then(operation.op.clone());
        }
        for operation in &self.otherwise {
            txn = txn.otherwise(operation.op.clone());
        }
        txn
    }
}
