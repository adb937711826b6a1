//! `gometa set`: creates or replaces a key.

use std::{io::Write, os::unix::ffi::OsStrExt};

use gometa_client::Client;

use super::show_written;
use crate::{
    args::Set,
    output::{Failure, Format},
};

pub(super) async fn run(
    client: &Client,
    args: &Set,
    value: Vec<u8>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let written = client.set(args.key.as_bytes(), value).await?;
    show_written(written, format, out)
}
