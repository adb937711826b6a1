//! `gometa add`: creates a key that does not exist yet.

use std::{io::Write, os::unix::ffi::OsStrExt};

use gometa_client::Client;

use super::{show_written, value};
use crate::{
    args::Add,
    output::{Failure, Format},
};

pub(super) async fn run(
    client: &Client,
    args: &Add,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let written = client.add(args.key.as_bytes(), value(&args.value)?).await?;
    show_written(written, format, out)
}
