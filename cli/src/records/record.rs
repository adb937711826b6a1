//! A record, and why reading stops.

use std::io;

use gometa_client::{Error, Operation};
use gometa_proto::v1::{Set, request};

use crate::output::Failure;

/// A key and its value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Record {
    /// The number of the line or of the element, from 1.
    pub(crate) position: u64,
    pub(crate) set: Set,
    /// Whether the key had a lease in etcd.
    pub(crate) has_lease: bool,
}

impl Record {
    pub(super) fn new(position: u64, key: Vec<u8>, value: Vec<u8>, has_lease: bool) -> Record {
        Record { position, set: Set { key: key.into(), value: value.into() }, has_lease }
    }

    /// The bytes of key and value.
    pub(crate) fn size(&self) -> usize {
        self.set.key.len() + self.set.value.len()
    }

    /// The record, if key and value have valid sizes.
    pub(super) fn checked(self) -> Result<Record, Stop> {
        match request::Operation::Set(self.set.clone()).check() {
            Ok(()) => Ok(self),
            Err(error) => {
                let error = Error::new(error.error_kind(), Operation::Set, error.message);
                let cause = Failure::Call(error.with_key(Some(&self.set.key)));
                Err(Stop::Fault(Fault { position: Some(self.position), cause }))
            }
        }
    }
}

/// Why a file cannot be read to its end.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The position of the record that is wrong, or cannot be read. None if it is not that of a record.
    pub(crate) position: Option<u64>,
    pub(crate) cause: Failure,
}

impl Fault {
    pub(super) fn of_text(position: Option<u64>, message: impl Into<String>) -> Stop {
        Stop::Fault(Fault { position, cause: Failure::usage(message) })
    }

    pub(super) fn of_input(position: Option<u64>, error: io::Error) -> Stop {
        Stop::Fault(Fault { position, cause: Failure::Io { what: "cannot read it", error } })
    }
}

/// Why reading has stopped.
pub(super) enum Stop {
    Fault(Fault),
    /// The receiver takes no more records.
    Closed,
}

/// The receiver of the records of a file.
pub(super) type Sink<'a> = dyn FnMut(Record) -> Result<(), Stop> + 'a;

/// The message of a parser with the place in front of it, which `place` writes of line and column.
pub(super) fn with_place(error: &serde_json::Error, place: impl FnOnce(usize, usize) -> String) -> String {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    match message.strip_suffix(&format!(" at line {line} column {column}")) {
        Some(message) => format!("{}: {message}", place(line, column)),
        // It is about the whole.
        None => message,
    }
}

/// The records that a function passes on, with valid sizes, and the position and the message of its fault.
#[cfg(test)]
pub(super) fn collected(
    read: impl FnOnce(&mut Sink<'_>) -> Result<(), Stop>,
) -> (Vec<Record>, Option<(Option<u64>, String)>) {
    let mut found = Vec::new();
    let stopped = read(&mut |record| {
        found.push(record.checked()?);
        Ok(())
    });
    let fault = stopped.err().map(|stop| match stop {
        Stop::Fault(Fault { position, cause }) => (position, cause.to_string()),
        Stop::Closed => panic!("all records are taken"),
    });
    (found, fault)
}
