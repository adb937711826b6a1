//! The client's errors as Python's exceptions. `gometa/_errors.py` creates a class for each kind of the table.

use gometa_client::{Error, ErrorKind, Operation, Outcome};
use pyo3::{prelude::*, sync::PyOnceLock, types::PyBytes};

/// A row of the table: number, name, description, whether it is retryable.
pub(crate) type Row = (u32, &'static str, &'static str, bool);

pub(crate) fn table() -> Vec<Row> {
    ErrorKind::ALL.iter().map(|kind| (kind.number(), kind.name(), kind.text(), kind.retryable())).collect()
}

/// The function that makes an exception, looked up once.
pub(crate) fn maker(py: Python<'_>) -> PyResult<&Py<PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    MAKE.get_or_try_init(py, || Ok(py.import("gometa._errors")?.getattr("from_core")?.unbind()))
}

/// The exception of an error.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let make = || -> PyResult<Bound<'_, PyAny>> {
        let make = maker(py)?;
        let outcome = match error.outcome() {
            Outcome::NotApplied => "not_applied",
            Outcome::Unknown => "unknown",
        };
        make.bind(py).call1((
            error.kind().number(),
            error.to_string(),
            error.message(),
            error.operation().name(),
            error.key().map(|key| PyBytes::new(py, key)),
            outcome,
            error.leader(),
            error.actual_revision(),
        ))
    };
    match make() {
        Ok(exception) => PyErr::from_value(exception),
        Err(failure) => failure,
    }
}

/// The exception for an invalid argument.
pub(crate) fn invalid(py: Python<'_>, operation: Operation, message: impl Into<String>) -> PyErr {
    exception(py, &Error::new(ErrorKind::InvalidArgument, operation, message))
}
