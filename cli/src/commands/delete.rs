//! `gometa delete`: removes a key.

use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt};

use gometa_client::Deleted;
use serde_json::json;

use crate::{
    context::Context,
    output::{Failure, Format},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Delete {
    key: OsString,

    /// Only if this is the key's mod_revision
    #[arg(long)]
    revision: Option<u64>,
}

impl Delete {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let key = self.key.as_bytes();
        let Deleted { existed, revision, .. } = match self.revision {
            Some(revision) => context.client.delete_if(key, revision).await?,
            None => context.client.delete(key).await?,
        };
        match context.format {
            Format::Json => writeln!(out, "{}", json!({ "existed": existed, "revision": revision }))?,
            Format::Table if existed => writeln!(out, "deleted at revision {revision}")?,
            Format::Table => writeln!(out, "there was no such key")?,
        }
        Ok(0)
    }
}
