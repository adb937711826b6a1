//! Arguments, checked and converted.

use std::time::Duration;

use bytes::Bytes;
use gometa_client::{Consistency, HistoryOptions, MembersVersion, Operation, Range, ReadOptions};
use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError},
    prelude::*,
    types::{PyByteArray, PyBytes, PyMemoryView, PyString, PyTuple},
};

use crate::error::invalid;

/// The longest timeout: 365 days.
const SECONDS_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

fn type_error(value: &Bound<'_, PyAny>, name: &str, expected: &str) -> PyErr {
    let found = value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{name} must be {expected}, not {found}"))
}

/// A copy of a key or a value; of a string, its UTF-8.
pub(crate) fn bytes(value: &Bound<'_, PyAny>, operation: Operation, name: &str) -> PyResult<Bytes> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        Ok(Bytes::copy_from_slice(bytes.as_bytes()))
    } else if value.is_instance_of::<PyString>() {
        text(value, operation, name).map(Bytes::from)
    } else if let Ok(array) = value.cast::<PyByteArray>() {
        Ok(Bytes::from(array.to_vec()))
    } else if value.is_instance_of::<PyMemoryView>() {
        // It may have strides, and the stable ABI of 3.9 has no buffer protocol.
        let copy = value.call_method0("tobytes")?;
        Ok(Bytes::copy_from_slice(copy.cast::<PyBytes>()?.as_bytes()))
    } else {
        Err(type_error(value, name, "str, bytes, bytearray or memoryview"))
    }
}

/// A string without surrogates, which UTF-8 cannot encode.
pub(crate) fn text(value: &Bound<'_, PyAny>, operation: Operation, name: &str) -> PyResult<String> {
    let py = value.py();
    let string = value.cast::<PyString>().map_err(|_| type_error(value, name, "str"))?;
    string.to_cow().map(|text| text.into_owned()).map_err(|error| {
        if !error.is_instance_of::<PyUnicodeEncodeError>(py) {
            return error;
        }
        let better = invalid(py, operation, format!("{name} is not UTF-8: it holds surrogates"));
        better.set_cause(py, Some(error));
        better
    })
}

/// A revision, or the id of a node.
pub(crate) fn number(value: &Bound<'_, PyAny>, operation: Operation, name: &str) -> PyResult<u64> {
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            invalid(value.py(), operation, format!("{name} is a number from 0 to 2^64-1"))
        } else {
            type_error(value, name, "int")
        }
    })
}

/// A guard, or an entry: its key and the revision at which that was created.
pub(crate) fn guard(value: &Bound<'_, PyAny>, operation: Operation) -> PyResult<(Bytes, u64)> {
    let (Ok(key), Ok(create_revision)) = (value.getattr("key"), value.getattr("create_revision")) else {
        return Err(type_error(value, "guard", "a Guard or an Entry"));
    };
    Ok((bytes(&key, operation, "guard.key")?, number(&create_revision, operation, "guard.create_revision")?))
}

/// The version of the members that a change is to follow: a pair of numbers, or none.
pub(crate) fn follows(value: &Bound<'_, PyAny>, operation: Operation) -> PyResult<Option<MembersVersion>> {
    if value.is_none() {
        return Ok(None);
    }
    let pair = value.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
    let pair = pair.ok_or_else(|| type_error(value, "follows", "MembersVersion"))?;
    let epoch = number(&pair.get_item(0)?, operation, "follows.epoch")?;
    let revision = number(&pair.get_item(1)?, operation, "follows.revision")?;
    Ok(Some(MembersVersion { epoch, revision }))
}

/// The ids of nodes.
pub(crate) fn nodes(value: &Bound<'_, PyAny>, operation: Operation) -> PyResult<Vec<u64>> {
    value.try_iter()?.map(|node| number(&node?, operation, "a node")).collect()
}

/// A number of seconds.
pub(crate) fn seconds(value: &Bound<'_, PyAny>, operation: Operation, name: &str) -> PyResult<Duration> {
    let seconds: f64 = value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            invalid(value.py(), operation, format!("{name} is too large"))
        } else {
            type_error(value, name, "a number of seconds")
        }
    })?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && duration <= SECONDS_MAX => Ok(duration),
        _ => {
            let message = format!(
                "{name} is {seconds}; it is a number of seconds above 0, at most 31536000 (365 days)"
            );
            Err(invalid(value.py(), operation, message))
        }
    }
}

/// The options of a read.
pub(crate) fn read_options(
    consistency: &Bound<'_, PyAny>,
    min_revision: &Bound<'_, PyAny>,
) -> PyResult<ReadOptions> {
    let min_revision = number(min_revision, Operation::Get, "min_revision")?;
    let mut options = ReadOptions::default().with_min_revision(min_revision);
    options.consistency = match text(consistency, Operation::Get, "consistency")?.as_str() {
        "linearizable" => Consistency::Linearizable,
        "local" => Consistency::Local,
        other => {
            let message = format!("consistency is {other:?}; it is \"linearizable\" or \"local\"");
            return Err(invalid(consistency.py(), Operation::Get, message));
        }
    };
    Ok(options)
}

/// Which versions of a key, by the order of arguments that `gometa/_client.py` uses.
pub(crate) fn history_options(arguments: &Bound<'_, PyTuple>) -> PyResult<HistoryOptions> {
    let count = |place: usize, name| number(&arguments.get_item(place)?, Operation::GetHistory, name);
    let options = HistoryOptions::default()
        .before_revision(count(1, "before_revision")?)
        .limit(count(2, "limit")?)
        .options(read_options(&arguments.get_item(4)?, &arguments.get_item(5)?)?);
    Ok(if arguments.get_item(3)?.is_truthy()? { options.keys_only() } else { options })
}

/// A range, by the order of arguments that `gometa/_client.py` uses.
pub(crate) fn range(arguments: &Bound<'_, PyTuple>) -> PyResult<Range> {
    let operation = Operation::Range;
    let part = |place: usize, name| bytes(&arguments.get_item(place)?, operation, name);
    let count = |place: usize, name| number(&arguments.get_item(place)?, operation, name);
    let flag = |place: usize| arguments.get_item(place)?.is_truthy();
    let mut range = Range::prefix(part(0, "prefix")?)
        .start(part(1, "start")?)
        .end(part(2, "end")?)
        .at_revision(count(3, "at_revision")?)
        .limit(count(4, "limit")?)
        .delimiter(part(7, "delimiter")?)
        .options(read_options(&arguments.get_item(8)?, &arguments.get_item(9)?)?);
    if flag(5)? {
        range = range.reverse();
    }
    if flag(6)? {
        range = range.keys_only();
    }
    Ok(range)
}
