//! `gometa import`: sets the keys of a file.
//!
//! Up to [`IN_FLIGHT_MAX`] sets are in flight, each of another key, so that the last line of a key wins. After a failure
//! nothing more is sent, and the error tells which lines are imported for sure, and which may be.

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use gometa_client::{Client, Error, ErrorKind, Operation, Outcome, Written};
use serde_json::{Map, Value};
use tokio::{sync::mpsc::Receiver, task::JoinSet};

use super::progress::{Progress, keys};
use crate::{
    context::Context,
    options::absolute,
    output::{Explained, Failure, Format},
    records::{self, Fault, Item, Record, Source},
};

/// The number of sets in flight.
const IN_FLIGHT_MAX: usize = 64;
/// The bytes of their keys and values, unless it is one.
const BYTES_MAX: usize = 8 << 20;

/// The formats of files.
pub(crate) const FORMAT_HELP: &str = "\
A line is {\"key\":\"a\",\"value\":\"b\"}, as `gometa export` writes it; key_base64 and value_base64 have any bytes in base64.
Empty lines are skipped. Lines are imported in order, 64 at a time; the last line of a key wins. It is not atomic: after an
error, which names its line, the lines before it stay imported.

From etcd: etcdctl get --prefix \"\" -w json > FILE, without --keys-only, --limit and --hex. A regular file is checked to
its end before the first key is set. Revisions, versions and leases are not carried over.";

#[derive(clap::Args, Debug)]
pub(crate) struct Import {
    /// The file to be read, "-" for standard input
    file: PathBuf,

    /// Fail at the first key that exists, with exit status 4; otherwise keys that exist are replaced
    #[arg(long)]
    only_new: bool,

    /// The file is the output of `etcdctl get -w json`
    #[arg(long)]
    from_etcd_json: bool,
}

impl Import {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let format = if self.from_etcd_json { records::Format::Etcd } else { records::Format::Lines };
        let (name, source) = self.source(context)?;
        let incoming = records::read(source, format)?;
        let mut flight = Flight::new(context.client.clone(), self.only_new);
        let stopped = flight.send_all(incoming).await;
        if flight.leases > 0 {
            let count = keys(flight.leases);
            warn(&format!("leases are not imported: {count} had one in etcd"));
        }
        if self.from_etcd_json && flight.progress.keys() > 0 && !flight.has_value {
            let count = keys(flight.progress.keys());
            warn(&format!("no value in {count}: an output of etcdctl with --keys-only has none"));
        }
        if let Some(fault) = stopped {
            return Err(self.failed(&name, format, fault, &flight));
        }
        let count = flight.progress.keys();
        match context.format {
            Format::Table => writeln!(out, "{} imported", keys(count))?,
            Format::Json => {
                let mut fields = Map::from_iter([("imported".to_owned(), count.into())]);
                if self.from_etcd_json {
                    fields.insert("leases".to_owned(), flight.leases.into());
                }
                writeln!(out, "{}", Value::Object(fields))?;
            }
        }
        Ok(0)
    }

    /// The input, and its name.
    fn source(&self, context: &Context) -> Result<(String, Source), Failure> {
        if self.file.as_os_str() == "-" {
            if !context.dash {
                let message = "import: standard input is the source of the shell's lines: name a file";
                return Err(Failure::usage(message));
            }
            return Ok(("standard input".to_owned(), Source::StandardInput));
        }
        let name = absolute(&self.file).display().to_string();
        let opened = File::open(&self.file).and_then(|file| match file.metadata()?.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Ok(file),
        });
        match opened {
            Ok(file) => Ok((name, Source::File(file))),
            Err(error) => Err(Failure::usage(format!("cannot read {name}: {error}"))),
        }
    }

    /// The failure of an import that has stopped.
    fn failed(&self, name: &str, format: records::Format, fault: Fault, flight: &Flight) -> Failure {
        let Fault { position, cause } = fault;
        let mut extent = flight.extent.known(position);
        let anew = matches!(&cause, Failure::Call(error) if error.kind() == ErrorKind::HistoryChanged);
        if anew {
            // What was acknowledged before may be lost.
            extent.certain = 0;
        }
        let place = position.map(|position| format!("{}: ", format.place(position))).unwrap_or_default();
        let message = format!("{name}: {place}{cause}; {}", extent.text(format));
        let advice = match &cause {
            Failure::Call(error) if error.kind() == ErrorKind::AlreadyExists => {
                Some("without --only-new, keys that exist are replaced".to_owned())
            }
            Failure::Call(_) if anew => Some(
                "the ensemble was founded anew, and may have lost what was imported: repeat the import"
                    .to_owned(),
            ),
            Failure::Call(error) if error.outcome() == Outcome::Unknown && !self.only_new => {
                Some("repeat the import: it sets the keys that are imported once more".to_owned())
            }
            _ if format == records::Format::Lines && message.contains("unknown field `header`") => {
                Some("for the output of etcdctl, add --from-etcd-json".to_owned())
            }
            _ => None,
        };
        let mut fields = Map::new();
        if let Some(position) = position {
            fields.insert("position".to_owned(), position.into());
        }
        fields.insert("imported_through".to_owned(), extent.certain.into());
        fields.insert("possibly_through".to_owned(), extent.possible.into());
        Failure::Explained(Box::new(Explained { cause, message, advice, fields }))
    }
}

/// Writes a warning. If standard error cannot be written, it is lost.
fn warn(message: &str) {
    let _ = writeln!(io::stderr(), "gometa: {message}");
}

/// How far an import has come, in positions of records.
#[derive(Default)]
struct Extent {
    /// Those that were sent and not acknowledged.
    unacknowledged: BTreeSet<u64>,
    last_sent: u64,
    /// The last one that was acknowledged, or may have been executed.
    last_possible: u64,
}

impl Extent {
    fn sent(&mut self, position: u64) {
        self.unacknowledged.insert(position);
        self.last_sent = position;
    }

    fn acknowledged(&mut self, position: u64) {
        self.unacknowledged.remove(&position);
        self.last_possible = self.last_possible.max(position);
    }

    fn unknown(&mut self, position: u64) {
        self.last_possible = self.last_possible.max(position);
    }

    /// What is known when nothing is in flight. `fault`: a record that was not imported, or was not acknowledged.
    fn known(&self, fault: Option<u64>) -> Known {
        let first = self.unacknowledged.first().copied().into_iter().chain(fault).min();
        let certain = first.map_or(self.last_sent, |first| self.last_sent.min(first - 1));
        Known { certain, possible: self.last_possible.max(certain) }
    }
}

/// What is known of an import that has failed.
#[derive(PartialEq, Eq, Debug)]
struct Known {
    /// All records through this one are imported. 0 for none.
    certain: u64,
    /// None behind this one is imported.
    possible: u64,
}

impl Known {
    fn text(&self, format: records::Format) -> String {
        let Known { certain, possible } = *self;
        let imported = match certain {
            0 => None,
            1 => Some(format!("{} is imported", format.place(1))),
            last => Some(format!("{} are imported", format.places(1, last))),
        };
        let rest = format.places(certain + 1, possible.max(certain + 1));
        match (imported, possible.saturating_sub(certain)) {
            (None, 0) => "nothing is imported".to_owned(),
            (None, 1) => format!("{rest} may be imported"),
            (None, _) => format!("of {rest} some may be imported"),
            (Some(imported), 0) => imported,
            (Some(imported), 1) => format!("{imported}, {rest} may be"),
            (Some(imported), _) => format!("{imported}, of {rest} some may be"),
        }
    }
}

/// A set that has ended.
type Ended = (Record, Result<Written, Error>);

/// The sets in flight.
struct Flight {
    client: Client,
    only_new: bool,
    sets: JoinSet<Ended>,
    /// The keys of `sets`.
    keys: HashSet<Vec<u8>>,
    /// The bytes of their keys and values.
    bytes: usize,
    extent: Extent,
    progress: Progress,
    /// The number of imported keys that had a lease.
    leases: u64,
    /// Whether an imported key has a value that is not empty.
    has_value: bool,
}

impl Flight {
    fn new(client: Client, only_new: bool) -> Flight {
        Flight {
            client,
            only_new,
            sets: JoinSet::new(),
            keys: HashSet::new(),
            bytes: 0,
            extent: Extent::default(),
            progress: Progress::new(io::stderr().is_terminal()),
            leases: 0,
            has_value: false,
        }
    }

    /// Sends all records, and waits for the answers. Returns the fault with the lowest position, if there is one.
    async fn send_all(&mut self, mut incoming: Receiver<Item>) -> Option<Fault> {
        let mut stopped = self.send_until_fault(&mut incoming).await;
        drop(incoming);
        while let Some(ended) = self.sets.join_next().await {
            if let Err(fault) = self.end(ended.ok()) {
                let position = |fault: &Fault| fault.position.unwrap_or(u64::MAX);
                stopped = Some(fault).into_iter().chain(stopped).min_by_key(position);
            }
        }
        stopped
    }

    /// Sends records until there are no more, or one cannot be imported.
    async fn send_until_fault(&mut self, incoming: &mut Receiver<Item>) -> Option<Fault> {
        let mut next: Option<Record> = None;
        loop {
            if let Some(record) = next.take_if(|record| self.has_room_for(record)) {
                self.send(record);
            }
            tokio::select! {
                Some(ended) = self.sets.join_next() => {
                    if let Err(fault) = self.end(ended.ok()) {
                        return Some(fault);
                    }
                }
                received = incoming.recv(), if next.is_none() => match received {
                    Some(Ok(Some(record))) => next = Some(record),
                    Some(Ok(None)) => return None,
                    Some(Err(fault)) => return Some(fault),
                    // The reader has panicked, which the runtime has reported.
                    None => return Some(interrupted("reading was interrupted")),
                },
            }
        }
    }

    /// Whether a record may be sent: an earlier one of the same key must have been acknowledged.
    fn has_room_for(&self, record: &Record) -> bool {
        let fits = self.sets.len() < IN_FLIGHT_MAX && self.bytes + record.size() <= BYTES_MAX;
        (fits || self.sets.is_empty()) && !self.keys.contains(&record.set.key[..])
    }

    fn send(&mut self, record: Record) {
        self.extent.sent(record.position);
        self.keys.insert(record.set.key.to_vec());
        self.bytes += record.size();
        let (client, only_new) = (self.client.clone(), self.only_new);
        self.sets.spawn(async move {
            let (key, value) = (&record.set.key, &record.set.value);
            let written = if only_new { client.add(key, value).await } else { client.set(key, value).await };
            (record, written)
        });
    }

    /// Takes the result of a set; `None` if it has panicked, which the runtime has reported.
    fn end(&mut self, ended: Option<Ended>) -> Result<(), Fault> {
        let Some((record, result)) = ended else {
            self.extent.unknown(self.extent.last_sent);
            return Err(interrupted("a set was interrupted"));
        };
        self.keys.remove(&record.set.key[..]);
        self.bytes -= record.size();
        match result {
            Ok(_) => {
                self.extent.acknowledged(record.position);
                self.progress.count(record.size());
                self.leases += u64::from(record.has_lease);
                self.has_value |= !record.set.value.is_empty();
                Ok(())
            }
            Err(error) => {
                if error.outcome() == Outcome::Unknown {
                    self.extent.unknown(record.position);
                }
                Err(Fault { position: Some(record.position), cause: Failure::Call(error) })
            }
        }
    }
}

/// The fault of a thread or task that has panicked.
fn interrupted(message: &str) -> Fault {
    let error = Error::new(ErrorKind::Internal, Operation::Set, message).with_unknown_outcome();
    Fault { position: None, cause: Failure::Call(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_imported_for_sure_ends_before_the_first_record_without_an_acknowledgement() {
        let mut extent = Extent::default();
        assert_eq!(extent.known(Some(1)), Known { certain: 0, possible: 0 });
        // Line 3 is empty.
        [1, 2, 4, 5, 6].into_iter().for_each(|position| extent.sent(position));
        [6, 1, 4].into_iter().for_each(|position| extent.acknowledged(position));
        assert_eq!(extent.known(None), Known { certain: 1, possible: 6 });
        extent.acknowledged(2);
        assert_eq!(extent.known(Some(5)), Known { certain: 4, possible: 6 });
        extent.acknowledged(5);
        assert_eq!(extent.known(None), Known { certain: 6, possible: 6 });
        assert_eq!(
            extent.known(Some(9)),
            Known { certain: 6, possible: 6 },
            "7 and 8 were read, and not sent"
        );
        extent.sent(9);
        extent.unknown(9);
        assert_eq!(extent.known(Some(9)), Known { certain: 8, possible: 9 });
    }

    #[test]
    fn the_extent_is_told_in_words() {
        for (certain, possible, expected) in [
            (0, 0, "nothing is imported"),
            (0, 1, "line 1 may be imported"),
            (0, 9, "of lines 1 to 9 some may be imported"),
            (1, 1, "line 1 is imported"),
            (812, 812, "lines 1 to 812 are imported"),
            (812, 813, "lines 1 to 812 are imported, line 813 may be"),
            (812, 876, "lines 1 to 812 are imported, of lines 813 to 876 some may be"),
        ] {
            assert_eq!(Known { certain, possible }.text(records::Format::Lines), expected);
        }
        let known = Known { certain: 2, possible: 4 };
        assert_eq!(
            known.text(records::Format::Etcd),
            "kvs[0] to kvs[1] are imported, of kvs[2] to kvs[3] some may be"
        );
    }
}
