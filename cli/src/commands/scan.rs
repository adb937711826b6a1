//! `gometa scan`, `gometa ls` and `gometa count`: keys in order.

use std::{
    borrow::Cow,
    ffi::OsString,
    io::{self, IsTerminal, Write},
    os::unix::ffi::OsStrExt,
};

use gometa_client::{Entry, Range};
use serde_json::json;

use super::progress::Progress;
use crate::{
    context::{Context, read_options},
    output::{Failure, Format, entry_fields, write_json},
};

/// The number of entries whose columns are aligned together.
const ALIGNED: usize = 1_000;

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

    /// With --local: wait until the node has applied this revision
    #[arg(long, value_name = "REVISION", requires = "local", default_value_t = 0)]
    min_revision: u64,
}

impl Keys {
    fn range(&self) -> Range {
        let bytes = |argument: &Option<OsString>| {
            argument.as_ref().map_or_else(Vec::new, |argument| argument.as_bytes().to_vec())
        };
        let options = read_options(self.local, self.min_revision);
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

    /// Count keys that share what comes before this text, behind the prefix, as one: as `ls` lists them
    #[arg(long, value_name = "TEXT")]
    delimiter: Option<OsString>,
}

impl Count {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let delimiter = self.delimiter.as_deref().unwrap_or_default().as_bytes();
        let count = context.client.count(self.keys.range().delimiter(delimiter)).await?;
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
    let mut progress = Progress::new(!context.terminal && io::stderr().is_terminal());
    while let Some(entry) = scan.next().await {
        let entry = entry?;
        progress.count(entry.key.len() + entry.value.len());
        match context.format {
            Format::Json => {
                let mut fields = entry_fields(&entry, keys_only);
                fields.insert("revision".to_owned(), scan.revision().into());
                write_json(out, &fields)?;
            }
            Format::Table => lines.push(entry),
        }
        if lines.len() == ALIGNED {
            table(context, &std::mem::take(&mut lines), keys_only, "", out)?;
        }
    }
    table(context, &lines, keys_only, "", out)?;
    Ok(0)
}

/// Writes a line for each entry; the values begin in the same column.
pub(super) fn table(
    context: &Context,
    entries: &[Entry],
    keys_only: bool,
    indent: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let keys: Vec<Cow<'_, [u8]>> = entries.iter().map(|entry| context.shown(&entry.key)).collect();
    let width = keys.iter().map(|key| key.len()).max().unwrap_or(0);
    for (entry, key) in entries.iter().zip(keys) {
        out.write_all(indent.as_bytes())?;
        out.write_all(&key)?;
        if !keys_only && !entry.is_group {
            out.write_all(&vec![b' '; width - key.len() + 2])?;
            out.write_all(&context.shown(&entry.value))?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}
