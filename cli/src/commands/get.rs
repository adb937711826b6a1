//! `gometa get`: prints a key's value.

use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt};

use gometa_client::{Layout, printable};

use crate::{
    context::{Context, read_options},
    output::{Failure, Format, entry_fields, write_json},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Get {
    key: OsString,

    /// Print the bytes of the value and nothing else; otherwise, on a terminal, control characters are escaped
    #[arg(long)]
    raw: bool,

    /// Read from the answering node without confirmation by a quorum: faster, possibly stale
    #[arg(long)]
    local: bool,

    /// With --local: wait until the node has applied this revision
    #[arg(long, value_name = "REVISION", requires = "local", default_value_t = 0)]
    min_revision: u64,

    /// Read what the key was at this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "local")]
    at: Option<u64>,
}

impl Get {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let options = read_options(self.local, self.min_revision);
        let key = self.key.as_bytes();
        let entry = match self.at {
            Some(revision) => context.client.get_at(key, revision).await?,
            None => context.client.get_with(key, options).await?,
        };
        match context.format {
            _ if self.raw => out.write_all(&entry.value)?,
            Format::Table => {
                match context.terminal {
                    true => out.write_all(printable(&entry.value, Layout::Lines).as_bytes())?,
                    false => out.write_all(&entry.value)?,
                }
                out.write_all(b"\n")?;
            }
            Format::Json => write_json(out, &entry_fields(&entry, false))?,
        }
        Ok(0)
    }
}
