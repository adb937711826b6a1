//! `gometa cas`: replaces a key if it is still at a revision.

use std::{io::Write, os::unix::ffi::OsStrExt};

use gometa_client::Client;

use super::show_written;
use crate::{
    args::Cas,
    output::{Failure, Format},
};

pub(super) async fn run(
    client: &Client,
    args: &Cas,
    value: Vec<u8>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let written = client.cas(args.key.as_bytes(), args.revision, value).await?;
    show_written(written, format, out)
}
