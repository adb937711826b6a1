//! What belongs to the process that made it: a forked child has none of the tasks that it waits for.

use std::process;

use gometa_client::{Error, ErrorKind, Operation};
use pyo3::prelude::*;

use crate::error::exception;

/// A value that only the process that made it may use.
pub(crate) struct Own<T> {
    value: T,
    process: u32,
}

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Own<T> {
        Own { value, process: process::id() }
    }

    /// The value; [`ErrorKind::Forked`] in a forked child.
    pub(crate) fn get(&self, py: Python<'_>, operation: Operation) -> PyResult<&T> {
        if process::id() == self.process {
            return Ok(&self.value);
        }
        let message = "this process was forked after it was begun; begin another one here";
        Err(exception(py, &Error::new(ErrorKind::Forked, operation, message)))
    }
}
