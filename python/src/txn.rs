//! Transactions from Python's arguments.

use gometa_client::{Client, Compare, Op, Operation, Range, Relation, SharedTransaction, Txn};
use pyo3::{exceptions::PyValueError, prelude::*, types::PyTuple};

use crate::{
    arguments::{bytes, number, range, read_options, text},
    own::Own,
};

const OPERATION: Operation = Operation::Txn;

/// The attempts of a transaction, for the operations `read` and `end_attempt`.
#[pyclass(frozen, module = "gometa._gometa")]
pub(crate) struct Attempts(Own<SharedTransaction>);

impl Attempts {
    pub(crate) fn new(client: &Client) -> Attempts {
        Attempts(Own::new(SharedTransaction::new(client)))
    }

    pub(crate) fn transaction(&self, py: Python<'_>) -> PyResult<&SharedTransaction> {
        self.0.get(py, OPERATION)
    }
}

#[pymethods]
impl Attempts {
    fn set(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let transaction = self.transaction(key.py())?.present();
        transaction.set(bytes(key, OPERATION, "key")?, bytes(value, OPERATION, "value")?);
        Ok(())
    }

    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.transaction(key.py())?.present().delete(bytes(key, OPERATION, "key")?);
        Ok(())
    }
}

/// A transaction, by the order of arguments that `gometa/_txn.py` uses.
pub(crate) fn txn(arguments: &Bound<'_, PyTuple>) -> PyResult<Txn> {
    let part = |place| arguments.get_item(place)?.try_iter();
    let mut txn = Txn::new().options(read_options(&arguments.get_item(3)?, &arguments.get_item(4)?)?);
    for comparison in part(0)? {
        txn = txn.when(compare(&comparison?)?);
    }
    for operation in part(1)? {
        txn = txn.then(op(&operation?)?);
    }
    for operation in part(2)? {
        txn = txn.otherwise(op(&operation?)?);
    }
    Ok(txn)
}

type Part<'py> = Bound<'py, PyAny>;

/// A range with bounds only.
fn bounds(prefix: &Part<'_>, start: &Part<'_>, end: &Part<'_>) -> PyResult<Range> {
    let prefix = bytes(prefix, OPERATION, "prefix")?;
    Ok(Range::prefix(prefix).start(bytes(start, OPERATION, "start")?).end(bytes(end, OPERATION, "end")?))
}

fn compare(comparison: &Bound<'_, PyAny>) -> PyResult<Compare> {
    let (key, fact, relation, operand): (Part<'_>, Part<'_>, Part<'_>, Part<'_>) = comparison.extract()?;
    let fact = text(&fact, OPERATION, "fact")?;
    if fact == "range" {
        let (prefix, start, end, count, revision): (Part<'_>, Part<'_>, Part<'_>, Part<'_>, Part<'_>) =
            operand.extract()?;
        let range = bounds(&prefix, &start, &end)?;
        let (count, revision) =
            (number(&count, OPERATION, "count")?, number(&revision, OPERATION, "revision")?);
        return Ok(Compare::range(range, count, revision));
    }
    let key = bytes(&key, OPERATION, "key")?;
    let relation = match text(&relation, OPERATION, "relation")?.as_str() {
        "=" => Relation::Equal,
        "!=" => Relation::NotEqual,
        "<" => Relation::Less,
        ">" => Relation::Greater,
        other => {
            let message = format!("relation is {other:?}; it is one of \"=\", \"!=\", \"<\", \">\"");
            return Err(crate::error::invalid(comparison.py(), OPERATION, message));
        }
    };
    Ok(match fact.as_str() {
        "mod_revision" => Compare::mod_revision(key, relation, number(&operand, OPERATION, "revision")?),
        "create_revision" => {
            Compare::create_revision(key, relation, number(&operand, OPERATION, "revision")?)
        }
        "value" => Compare::value(key, relation, bytes(&operand, OPERATION, "value")?),
        other => return Err(PyValueError::new_err(format!("{other:?} is no fact of a key"))),
    })
}

fn op(operation: &Bound<'_, PyAny>) -> PyResult<Op> {
    let (kind, arguments): (Bound<'_, PyAny>, Bound<'_, PyTuple>) = operation.extract()?;
    let part = |place: usize, name| bytes(&arguments.get_item(place)?, OPERATION, name);
    Ok(match text(&kind, OPERATION, "kind")?.as_str() {
        "set" => Op::set(part(0, "key")?, part(1, "value")?),
        "delete" => Op::delete(part(0, "key")?),
        "get" => Op::get(part(0, "key")?),
        "range" => Op::range(range(&arguments)?),
        "delete_range" => {
            let (prefix, start, end): (Part<'_>, Part<'_>, Part<'_>) = arguments.extract()?;
            Op::delete_range(bounds(&prefix, &start, &end)?)
        }
        other => return Err(PyValueError::new_err(format!("{other:?} is no operation of a transaction"))),
    })
}
