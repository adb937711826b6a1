//! One module for each verb, and what they share.

mod add;
mod cas;
mod delete;
mod get;
mod set;
mod status;

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
};

use gometa_client::{Client, Written};
use serde_json::json;

use crate::{
    args::{Args, Command},
    output::{Failure, Format},
};

/// Bytes that are read from standard input. Above every node's limit, so that the node's is the one named.
const INPUT_MAX: u64 = 16 << 20;

/// Carries the command out.
pub(crate) async fn run(client: &Client, args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.command {
        Command::Get(get) => get::run(client, get, args.output, out).await,
        Command::Set(set) => set::run(client, set, args.output, out).await,
        Command::Add(add) => add::run(client, add, args.output, out).await,
        Command::Cas(cas) => cas::run(client, cas, args.output, out).await,
        Command::Delete(delete) => delete::run(client, delete, args.output, out).await,
        Command::Status => status::run(client, args, out).await,
    }
}

/// The value that an argument stands for: itself, or standard input for "-".
fn value(argument: &OsStr) -> Result<Vec<u8>, Failure> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut value = Vec::new();
    io::stdin().lock().take(INPUT_MAX + 1).read_to_end(&mut value)?;
    if value.len() as u64 > INPUT_MAX {
        return Err(Failure::usage(format!(
            "standard input holds more than {INPUT_MAX} bytes: too much for a value"
        )));
    }
    Ok(value)
}

fn show_written(written: Written, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let Written { revision, version } = written;
    match format {
        Format::Table => writeln!(out, "revision {revision}, version {version}")?,
        Format::Json => writeln!(out, "{}", json!({ "revision": revision, "version": version }))?,
    }
    Ok(())
}
