//! The records of a file that is imported: keys with values, in order.
//!
//! A thread reads and parses the file, so that a slow one holds up no answer of a node. It is ahead of its receiver by a
//! bounded number of records.

mod etcd;
mod lines;
mod record;

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    thread,
};

use tokio::sync::mpsc;

pub(crate) use self::record::{Fault, Record};
use self::record::{Sink, Stop};
use crate::{input, output::Failure};

/// The number of records that are read and not taken yet.
const READ_AHEAD: usize = 32;
/// The size of the buffer of a file in bytes.
const BUFFER: usize = 64 << 10;

/// The format of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// A line of JSON for each record.
    Lines,
    /// The output of `etcdctl get -w json`: one JSON object with all records.
    Etcd,
}

impl Format {
    /// The name of a record in messages. Positions count from 1; the elements of `kvs` are shown with their index.
    pub(crate) fn place(self, position: u64) -> String {
        match self {
            Format::Lines => format!("line {position}"),
            Format::Etcd => format!("kvs[{}]", position.saturating_sub(1)),
        }
    }

    /// The name of several records.
    pub(crate) fn places(self, first: u64, last: u64) -> String {
        match self {
            _ if first == last => self.place(first),
            Format::Lines => format!("lines {first} to {last}"),
            Format::Etcd => format!("{} to {}", self.place(first), self.place(last)),
        }
    }
}

/// What a reader sends: a record, or `None` at the end of a file that is sound.
pub(crate) type Item = Result<Option<Record>, Fault>;

/// Where records are read from.
#[derive(Debug)]
pub(crate) enum Source {
    StandardInput,
    File(File),
}

/// Starts a thread that reads a source. The receiver has the records, and then the end of the file or
/// its first fault.
///
/// A regular file of etcd is read twice: no record is sent unless all of it is sound.
///
/// # Errors
/// Standard input is closed, or the thread cannot be started.
pub(crate) fn read(source: Source, format: Format) -> Result<mpsc::Receiver<Item>, Failure> {
    if let Source::StandardInput = source {
        drop(input::lock().map_err(Failure::input)?);
    }
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let reading = move || {
        let stopped = match source {
            Source::StandardInput => input::lock()
                .map_err(|error| Fault::of_input(None, error))
                .and_then(|input| send(input, format, &sender)),
            Source::File(file) => check(&file, format, &sender).and_then(|()| send(file, format, &sender)),
        };
        let last = match stopped {
            Ok(()) => Ok(None),
            Err(Stop::Fault(fault)) => Err(fault),
            Err(Stop::Closed) => return,
        };
        // If this fails, the command has ended.
        let _ = sender.blocking_send(last);
    };
    let started = thread::Builder::new().name("reader".to_owned()).spawn(reading);
    started.map_err(|error| Failure::Io { what: "cannot start threads", error })?;
    Ok(receiver)
}

/// Sends the records of an input.
fn send(input: impl Read, format: Format, sender: &mpsc::Sender<Item>) -> Result<(), Stop> {
    records(input, format, &mut |record| sender.blocking_send(Ok(Some(record))).map_err(|_| Stop::Closed))
}

/// Reads all of a regular file of etcd, without sending anything.
fn check(mut file: &File, format: Format, sender: &mpsc::Sender<Item>) -> Result<(), Stop> {
    if format == Format::Lines || !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    let (mut count, mut has_value) = (0_u64, false);
    records(file, format, &mut |record| {
        count += 1;
        has_value |= !record.set.value.is_empty();
        if sender.is_closed() { Err(Stop::Closed) } else { Ok(()) }
    })?;
    if count > 0 && !has_value {
        // Such an output does not tell that it has no values, and the values that exist would be replaced.
        let message = "none of its keys has a value: write it without --keys-only; if all values are empty, import it \
                       from standard input";
        return Err(Fault::of_text(None, message));
    }
    file.rewind().map_err(|error| Fault::of_input(None, error))
}

/// Passes on the records of an input, each of which has valid sizes.
fn records(input: impl Read, format: Format, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let input = BufReader::with_capacity(BUFFER, input);
    let mut checked = |record: Record| sink(record.checked()?);
    match format {
        Format::Lines => lines::read(input, &mut checked),
        Format::Etcd => etcd::read(input, &mut checked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_shown_as_in_the_file() {
        assert_eq!(Format::Lines.places(1, 812), "lines 1 to 812");
        assert_eq!(Format::Lines.places(7, 7), "line 7");
        assert_eq!(Format::Etcd.places(1, 812), "kvs[0] to kvs[811]");
        assert_eq!(Format::Etcd.places(7, 7), "kvs[6]");
    }

    #[test]
    fn a_receiver_that_is_gone_ends_the_reading() {
        let mut taken = 0;
        let stopped = records(
            &b"{\"key\":\"a\",\"value\":\"\"}\n{\"key\":\"b\",\"value\":\"\"}\n{"[..],
            Format::Lines,
            &mut |_| {
                taken += 1;
                if taken == 2 { Err(Stop::Closed) } else { Ok(()) }
            },
        );
        assert!(matches!(stopped, Err(Stop::Closed)));
        assert_eq!(taken, 2);
    }
}
