//! `gometa scan`, `gometa ls` and `gometa count`: keys in order.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    os::unix::ffi::OsStrExt,
    time::{Duration, Instant},
};

use gometa_client::{Entry, Layout, Range, ReadOptions, printable};
use serde_json::{Map, Value, json};

use crate::{
    context::Context,
    output::{Failure, Format, put_bytes, write_json},
};

/// The number of entries whose columns are aligned together.
const ALIGNED: usize = 1_000;
/// The time between two lines about the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Which keys.
#[derive(clap::Args, Debug)]
struct Keys {
    /// The keys that begin with this; all if it is left out
    prefix: Option<OsString>,

    /// Leave out the keys below this one
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,

    /// Leave out this key and those above it
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,

    /// Read what was there at this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    at: u64,

    /// Read from the answering node without confirmation by a quorum: faster, possibly stale
    #[arg(long)]
    local: bool,
}

impl Keys {
    fn range(&self) -> Range {
        let bytes = |argument: &Option<OsString>| {
            argument.as_ref().map_or_else(Vec::new, |argument| argument.as_bytes().to_vec())
        };
        let options = if self.local { ReadOptions::local() } else { ReadOptions::default() };
        Range::prefix(bytes(&self.prefix))
            .start(bytes(&self.start))
            .end(bytes(&self.end))
            .at_revision(self.at)
            .options(options)
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct Scan {
    #[command(flatten)]
    keys: Keys,

    /// At most so many keys
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: u64,

    /// In descending order
    #[arg(long)]
    reverse: bool,

    /// Print the keys only
    #[arg(long)]
    keys_only: bool,
}

impl Scan {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let mut range = self.keys.range().limit(self.limit);
        if self.reverse {
            range = range.reverse();
        }
        if self.keys_only {
            range = range.keys_only();
        }
        print(context, range, self.keys_only, out).await
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    keys: Keys,

    /// What ends a level
    #[arg(long, value_name = "TEXT", default_value = "/")]
    delimiter: OsString,
}

impl List {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let range = self.keys.range().keys_only().delimiter(self.delimiter.as_bytes());
        print(context, range, true, out).await
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct Count {
    #[command(flatten)]
    keys: Keys,
}

impl Count {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let count = context.client.count(self.keys.range()).await?;
        match context.format {
            Format::Table => writeln!(out, "{count}")?,
            Format::Json => writeln!(out, "{}", json!({ "count": count }))?,
        }
        Ok(0)
    }
}

async fn print(context: &Context, range: Range, keys_only: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut scan = context.client.scan(range);
    let mut lines = Vec::new();
    let mut progress = Progress::new(context);
    while let Some(entry) = scan.next().await {
        let entry = entry?;
        progress.count();
        match context.format {
            Format::Json => write_json(out, &fields(&entry, keys_only))?,
            Format::Table => lines.push(entry),
        }
        if lines.len() == ALIGNED {
            table(context, &std::mem::take(&mut lines), keys_only, out)?;
        }
    }
    table(context, &lines, keys_only, out)?;
    Ok(0)
}

fn fields(entry: &Entry, keys_only: bool) -> Value {
    let mut fields = Map::new();
    put_bytes(&mut fields, "key", &entry.key);
    if entry.is_group {
        fields.insert("is_group".to_owned(), true.into());
        return Value::Object(fields);
    }
    if !keys_only {
        put_bytes(&mut fields, "value", &entry.value);
    }
    fields.insert("version".to_owned(), entry.version.into());
    fields.insert("create_revision".to_owned(), entry.create_revision.into());
    fields.insert("mod_revision".to_owned(), entry.mod_revision.into());
    Value::Object(fields)
}

/// Writes a line for each entry; the values begin in the same column.
fn table(context: &Context, entries: &[Entry], keys_only: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let shown = |bytes: &[u8]| match context.terminal {
        true => printable(bytes, Layout::OneLine).into_bytes(),
        false => bytes.to_vec(),
    };
    let keys: Vec<Vec<u8>> = entries.iter().map(|entry| shown(&entry.key)).collect();
    let width = keys.iter().map(Vec::len).max().unwrap_or(0);
    for (entry, key) in entries.iter().zip(keys) {
        out.write_all(&key)?;
        if !keys_only && !entry.is_group {
            out.write_all(&vec![b' '; width - key.len() + 2])?;
            out.write_all(&shown(&entry.value))?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Reports on a terminal how far a scan is whose output goes elsewhere.
struct Progress {
    shown: bool,
    count: u64,
    next: Instant,
}

impl Progress {
    fn new(context: &Context) -> Progress {
        let shown = !context.terminal && io::stderr().is_terminal();
        Progress { shown, count: 0, next: Instant::now() + PROGRESS_INTERVAL }
    }

    fn count(&mut self) {
        self.count += 1;
        if self.shown && self.count.is_multiple_of(100) && Instant::now() >= self.next {
            self.next = Instant::now() + PROGRESS_INTERVAL;
            // If it cannot be written, the scan goes on.
            let _ = writeln!(io::stderr(), "{} keys", self.count);
        }
    }
}
