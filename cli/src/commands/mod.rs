//! One module for each verb, and what they share.

mod add;
mod cas;
mod delete;
mod get;
mod members;
mod set;
mod status;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use gometa_client::{Client, Role, Written};
use serde_json::json;

use crate::{
    args::{Args, Call},
    output::{Failure, Format},
};

/// Bytes that are read from standard input. Above every node's limit, so that the node's is the one named.
const INPUT_MAX: u64 = 16 << 20;

/// What every command is carried out with.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) client: Client,
    /// The peers.
    pub(crate) addresses: Vec<String>,
    /// Whether somebody has named them.
    pub(crate) named: bool,
    pub(crate) timeout: Duration,
    pub(crate) format: Format,
    /// Whether a value of "-" stands for standard input.
    pub(crate) dash: bool,
}

impl Setting {
    pub(crate) fn new(args: &Args) -> Result<Setting, Failure> {
        let addresses = args.addresses()?;
        Ok(Setting {
            client: Setting::client(&addresses, args.timeout)?,
            addresses,
            named: args.names_peers(),
            timeout: args.timeout,
            format: args.output,
            dash: true,
        })
    }

    /// Another client of the same peers.
    pub(crate) fn another(&self) -> Result<Client, Failure> {
        Setting::client(&self.addresses, self.timeout)
    }

    fn client(addresses: &[String], timeout: Duration) -> Result<Client, Failure> {
        Ok(Client::builder().timeout(timeout).name("gometa-cli").build(addresses)?)
    }

    /// The value that an argument stands for: itself, or standard input for "-".
    fn value(&self, argument: &OsString) -> Result<Vec<u8>, Failure> {
        if self.dash { value(argument) } else { Ok(argument.as_bytes().to_vec()) }
    }
}

/// Carries one call out.
pub(crate) async fn run(setting: &Setting, call: &Call, out: &mut dyn Write) -> Result<(), Failure> {
    let (client, format) = (&setting.client, setting.format);
    match call {
        Call::Get(get) => get::run(client, get, format, out).await,
        Call::Set(set) => set::run(client, set, setting.value(&set.value)?, format, out).await,
        Call::Add(add) => add::run(client, add, setting.value(&add.value)?, format, out).await,
        Call::Cas(cas) => cas::run(client, cas, setting.value(&cas.value)?, format, out).await,
        Call::Delete(delete) => delete::run(client, delete, format, out).await,
        Call::Status => status::run(setting, out).await,
        Call::Members => members::run(client, format, out).await,
    }
}

/// How roles are called.
fn role_name(role: Role) -> &'static str {
    match role {
        Role::Forming => "forming",
        Role::Looking => "looking",
        Role::Following => "following",
        Role::Leading => "leading",
        Role::Learning => "learning",
        Role::Unspecified => "unknown",
    }
}

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
