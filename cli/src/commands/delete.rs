//! `gometa delete`: removes a key.

use std::{io::Write, os::unix::ffi::OsStrExt};

use gometa_client::{Client, Deleted};
use serde_json::json;

use crate::{
    args::Delete,
    output::{Failure, Format},
};

pub(super) async fn run(
    client: &Client,
    args: &Delete,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let key = args.key.as_bytes();
    let Deleted { existed, revision, .. } = match args.revision {
        Some(revision) => client.delete_if(key, revision).await?,
        None => client.delete(key).await?,
    };
    match format {
        Format::Json => writeln!(out, "{}", json!({ "existed": existed, "revision": revision }))?,
        Format::Table if existed => writeln!(out, "deleted at revision {revision}")?,
        Format::Table => writeln!(out, "there was no such key")?,
    }
    Ok(())
}
