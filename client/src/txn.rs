//! Transactions: several operations as one.

use bytes::Bytes;
use gometa_proto::{
    ErrorKind,
    v1::{self, compare::Operand, request::Operation as Body, response, txn_operation, txn_result},
};

use crate::{
    call::message_of,
    client::Client,
    error::{Error, Operation, Result},
    range::{Page, Range},
    types::{Deleted, DeletedRange, Entry, ReadOptions, Written},
};

/// How a fact of a key, on the left, relates to an operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Relation {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// Lower. Values are ordered by their bytes.
    Less,
    /// Higher.
    Greater,
}

/// A comparison of a transaction.
#[derive(Clone, PartialEq, Debug)]
#[must_use]
pub struct Compare {
    compare: v1::Compare,
    refused: bool,
}

impl Compare {
    /// Compares the revision of the last write to a key; 0 if the key does not exist.
    pub fn mod_revision(key: impl AsRef<[u8]>, relation: Relation, revision: u64) -> Compare {
        Compare::new(key, relation, Operand::ModRevision(revision))
    }

    /// Compares the revision at which a key was created; 0 if the key does not exist.
    pub fn create_revision(key: impl AsRef<[u8]>, relation: Relation, revision: u64) -> Compare {
        Compare::new(key, relation, Operand::CreateRevision(revision))
    }

    /// Compares a key's value. Never holds if the key does not exist.
    pub fn value(key: impl AsRef<[u8]>, relation: Relation, value: impl AsRef<[u8]>) -> Compare {
        Compare::new(key, relation, Operand::Value(copied(value)))
    }

    /// The key exists.
    pub fn exists(key: impl AsRef<[u8]>) -> Compare {
        Compare::mod_revision(key, Relation::Greater, 0)
    }

    /// The key does not exist.
    pub fn absent(key: impl AsRef<[u8]>) -> Compare {
        Compare::mod_revision(key, Relation::Equal, 0)
    }

    /// The range has exactly so many keys, and none of them was written after a revision: it is as a scan at that revision found
    /// it. At most 1,000 keys, in all comparisons of a transaction together. The range has only start, end and prefix.
    pub fn range(range: Range, count: u64, revision: u64) -> Compare {
        let bounds = range.into_bounds();
        let refused = bounds.is_none();
        let (start, end, prefix) = bounds.unwrap_or_default();
        let state = v1::RangeState { start, end, prefix, count, revision };
        let compare = v1::Compare { operand: Some(Operand::Range(state)), ..v1::Compare::default() };
        Compare { compare, refused }
    }

    /// The range has no key. It has only start, end and prefix.
    pub fn empty(range: Range) -> Compare {
        Compare::range(range, 0, 0)
    }

    fn new(key: impl AsRef<[u8]>, relation: Relation, operand: Operand) -> Compare {
        let relation = match relation {
            Relation::Equal => v1::Relation::Equal,
            Relation::NotEqual => v1::Relation::NotEqual,
            Relation::Less => v1::Relation::Less,
            Relation::Greater => v1::Relation::Greater,
        };
        let compare = v1::Compare { key: copied(key), relation: relation.into(), operand: Some(operand) };
        Compare { compare, refused: false }
    }
}

/// An operation of a transaction.
#[derive(Clone, PartialEq, Debug)]
#[must_use]
pub struct Op {
    operation: v1::TxnOperation,
    refused: bool,
}

impl Op {
    /// Creates or replaces a key.
    pub fn set(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Op {
        Op::new(txn_operation::Operation::Set(v1::Set { key: copied(key), value: copied(value) }))
    }

    /// Removes a key, if it exists.
    pub fn delete(key: impl AsRef<[u8]>) -> Op {
        Op::new(txn_operation::Operation::Delete(v1::Delete { key: copied(key), revision: None }))
    }

    /// Reads a key.
    pub fn get(key: impl AsRef<[u8]>) -> Op {
        Op::new(txn_operation::Operation::Get(v1::Get { key: copied(key), ..v1::Get::default() }))
    }

    /// Reads a page of a range. The range has no revision and no options of its own. It must not stand between two writes
    /// to its keys.
    pub fn range(range: Range) -> Op {
        Op::new(txn_operation::Operation::Range(range.into_operation()))
    }

    /// Removes all keys of a range, which has a start, an end or a prefix and nothing else: at most 1,000, less the number of the
    /// other writes of the branch, with at most 1 MiB of key bytes.
    pub fn delete_range(range: Range) -> Op {
        let bounds = range.into_bounds();
        let refused = bounds.is_none();
        let (start, end, prefix) = bounds.unwrap_or_default();
        let range = v1::DeleteRange { start, end, prefix };
        Op { refused, ..Op::new(txn_operation::Operation::DeleteRange(range)) }
    }

    fn new(operation: txn_operation::Operation) -> Op {
        Op { operation: v1::TxnOperation { operation: Some(operation) }, refused: false }
    }
}

/// A transaction: several operations on any keys, executed as one, or those of another branch if a comparison does not hold. A
/// branch has at most 128 operations and writes no key twice. See [`Client::commit`].
///
/// ```
/// use gometa_client::{Compare, Op, Txn};
///
/// let take = Txn::new()
///     .when(Compare::exists("jobs/waiting/7"))
///     .when(Compare::absent("jobs/running/7"))
///     .then(Op::delete("jobs/waiting/7"))
///     .then(Op::set("jobs/running/7", "worker-3"))
///     .otherwise(Op::get("jobs/running/7"));
/// # drop(take);
/// ```
#[derive(Clone, PartialEq, Default, Debug)]
#[must_use = "it is executed by `commit`"]
pub struct Txn {
    txn: v1::Txn,
    options: ReadOptions,
    /// Whether a range has what it must not have.
    refused: bool,
}

/// The answer to a transaction.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Transacted {
    /// Whether every comparison held, so that the operations of `then` were executed; else those of `otherwise` were.
    pub succeeded: bool,
    /// The revision at which it was executed; if it writes in neither branch, the one that was read at.
    pub revision: u64,
    /// The results of the executed operations, in their order.
    pub results: Vec<OpResult>,
}

/// The result of an operation.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum OpResult {
    /// Of a set.
    Written(Written),
    /// Of a delete.
    Deleted(Deleted),
    /// Of a get; `None` if the key did not exist.
    Entry(Option<Entry>),
    /// Of a range.
    Page(Page),
    /// Of the deletion of a range.
    DeletedRange(DeletedRange),
    /// The operation was executed, but its result is not in the answer. [`ErrorKind::TooLarge`]: the answer is full; read the
    /// rest at the revision [`Error::actual_revision`]. [`ErrorKind::Compacted`]: the history begins behind the transaction now.
    Left(Error),
}

impl Client {
    /// Executes a transaction, exactly once. If it writes in neither branch, it is a read of one revision.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty key, a key that a branch writes twice, a range between two writes to its
    /// keys, and a range to compare or to delete that has more than start, end and prefix; [`ErrorKind::TooLarge`] for more than
    /// 128 comparisons, or operations in a branch, more bytes than the largest set has, and if it has to do with too much: more than 8 MiB of
    /// values of the keys that it compares or may write, or of records of the ranges that it compares, or of those that it may
    /// delete, more than 1,000 keys that a branch changes, more than 1 MiB of keys in the ranges that a branch deletes; and
    /// those of [`set`](Self::set).
    pub async fn commit(&self, txn: Txn) -> Result<Transacted> {
        let Txn { mut txn, options, refused } = txn;
        if refused {
            let message = "a range to compare or to delete has a start, an end and a prefix only";
            return Err(Error::new(ErrorKind::InvalidArgument, Operation::Txn, message));
        }
        let client = self.in_one_history();
        let (consistency, min_revision) = options.on_wire(client.seen_revision());
        (txn.consistency, txn.min_revision) = (consistency.into(), min_revision);
        client
            .call(Body::Txn(txn), |result| match result {
                response::Result::Txn(answer) => Some(Transacted::from_wire(answer)),
                _ => None,
            })
            .await
    }
}

impl Txn {
    /// A transaction without comparisons and operations.
    pub fn new() -> Txn {
        Txn::default()
    }

    /// Adds a comparison. Without any, the operations of `then` are executed.
    pub fn when(mut self, compare: Compare) -> Txn {
        self.refused |= compare.refused;
        self.txn.when.push(compare.compare);
        self
    }

    /// Adds an operation that is executed if all comparisons hold. It sees what earlier ones have written.
    pub fn then(mut self, operation: Op) -> Txn {
        self.refused |= operation.refused;
        self.txn.then.push(operation.operation);
        self
    }

    /// Adds an operation that is executed if a comparison does not hold.
    pub fn otherwise(mut self, operation: Op) -> Txn {
        self.refused |= operation.refused;
        self.txn.otherwise.push(operation.operation);
        self
    }

    /// Sets consistency and minimum revision of a transaction that writes in neither branch. On others they have no effect.
    pub fn options(self, options: ReadOptions) -> Txn {
        Txn { options, ..self }
    }

    /// Whether it writes in either branch.
    pub(crate) fn writes(&self) -> bool {
        self.txn.writes()
    }
}

impl Transacted {
    fn from_wire(answer: v1::TxnAnswer) -> Transacted {
        let v1::TxnAnswer { revision, succeeded, results } = answer;
        let results = results.into_iter().map(OpResult::from_wire).collect();
        Transacted { succeeded, revision, results }
    }
}

impl OpResult {
    fn from_wire(result: v1::TxnResult) -> OpResult {
        let left = |kind, message: &str| Error::new(kind, Operation::Txn, message);
        match result.result {
            Some(txn_result::Result::Written(v1::Written { revision, version })) => {
                OpResult::Written(Written { revision, version })
            }
            Some(txn_result::Result::Deleted(v1::Deleted { revision, existed })) => {
                OpResult::Deleted(Deleted { existed, revision })
            }
            Some(txn_result::Result::Entry(entry)) => OpResult::Entry(Some(Entry::from_wire(entry))),
            Some(txn_result::Result::Page(page)) => OpResult::Page(Page::from_wire(page)),
            Some(txn_result::Result::DeletedRange(v1::DeletedRange { revision, count })) => {
                OpResult::DeletedRange(DeletedRange { count, revision })
            }
            Some(txn_result::Result::Error(error)) if error.error_kind() == ErrorKind::NotFound => {
                OpResult::Entry(None)
            }
            Some(txn_result::Result::Error(error)) => {
                let actual = error.actual_revision;
                OpResult::Left(left(error.error_kind(), &message_of(&error)).with_actual_revision(actual))
            }
            None => OpResult::Left(left(ErrorKind::Internal, "the result is of an unknown kind")),
        }
    }
}

pub(crate) fn copied(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}
