//! `gometa add`: creates a key that does not exist yet.

use std::{io::Write, os::unix::ffi::OsStrExt};

use gometa_client::Client;

use super::show_written;
use crate::{
    args::Add,
    output::{Failure, Format},
};

pub(super) async fn run(
    client: &Client,
    args: &Add,
    value: Vec<u8>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let written = client.add(args.key.as_bytes(), value).await?;
    show_written(written, format, out)
}
