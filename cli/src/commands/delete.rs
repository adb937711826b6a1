//! `gometa delete`: removes a key.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    os::unix::ffi::OsStrExt,
};

use gometa_client::{Client, Deleted};
use serde_json::json;

use crate::{
    context::Context,
    guard::Guarded,
    output::{Failure, Format},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Delete {
    #[arg(required_unless_present = "prefix")]
    key: Option<OsString>,

    /// Only if this is the key's mod_revision
    #[arg(long, conflicts_with = "prefix")]
    revision: Option<u64>,

    /// Remove all keys that begin with this, one after the other: not atomic, and keys that are created meanwhile may be left
    #[arg(long, conflicts_with = "key")]
    prefix: Option<OsString>,

    #[command(flatten)]
    guarded: Guarded,
}

impl Delete {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let client = self.guarded.client(context);
        if let Some(prefix) = &self.prefix {
            return Self::all(prefix.as_bytes(), &client, context.format, out).await;
        }
        let key = self.key.as_deref().map_or(&[][..], OsStr::as_bytes);
        let Deleted { existed, revision, .. } = match self.revision {
            Some(revision) => client.delete_if(key, revision).await?,
            None => client.delete(key).await?,
        };
        match context.format {
            Format::Json => writeln!(out, "{}", json!({ "existed": existed, "revision": revision }))?,
            Format::Table if existed => writeln!(out, "deleted at revision {revision}")?,
            Format::Table => writeln!(out, "there was no such key")?,
        }
        Ok(0)
    }

    async fn all(prefix: &[u8], client: &Client, format: Format, out: &mut dyn Write) -> Result<u8, Failure> {
        if prefix.is_empty() {
            let message = "--prefix is empty, which would remove every key: name the beginning of the keys";
            return Err(Failure::usage(message));
        }
        let deleted = client.delete_prefix(prefix).await?;
        match format {
            Format::Json => writeln!(out, "{}", json!({ "deleted": deleted }))?,
            Format::Table if deleted == 1 => writeln!(out, "1 key deleted")?,
            Format::Table => writeln!(out, "{deleted} keys deleted, one after the other")?,
        }
        Ok(0)
    }
}
