//! The commands: writes here, every other one in a module of its own.

mod delete;
mod get;
mod health;
mod members;
mod status;

use std::{
    ffi::{OsStr, OsString},
    io::{self, IsTerminal, Read, Write},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use gometa_client::{Client, Written, parse_peers};
use serde_json::json;

use crate::{
    args::{Add, Args, Call, Cas, Set, Source},
    input,
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
    /// Whether they were named, and are not the default.
    pub(crate) named: bool,
    /// Where they come from, for messages.
    pub(crate) source: String,
    pub(crate) timeout: Duration,
    pub(crate) format: Format,
    /// Whether results go to a terminal.
    pub(crate) terminal: bool,
    /// Whether a value of "-" stands for standard input.
    pub(crate) dash: bool,
}

impl Setting {
    pub(crate) fn new(args: &Args) -> Result<Setting, Failure> {
        let (addresses, source) = (args.addresses()?, args.source());
        Ok(Setting {
            client: Setting::client(&addresses, args.timeout)?,
            addresses,
            named: source != Source::Default,
            source: source.to_string(),
            timeout: args.timeout,
            format: args.output,
            terminal: io::stdout().is_terminal(),
            dash: true,
        })
    }

    /// Another client of the same peers.
    pub(crate) fn another(&self) -> Result<Client, Failure> {
        Setting::client(&self.addresses, self.timeout)
    }

    /// A client of one node alone, wherever the leader is.
    fn one_node(&self, address: &str) -> Result<Client, Failure> {
        let usage = |message: &str| Failure::usage(format!("--node {address}: {message}"));
        let [address] = &*parse_peers(address).map_err(|error| usage(error.message()))? else {
            return Err(usage("name one node"));
        };
        let settings = Client::builder().timeout(self.timeout).name("gometa-cli").pinned(true);
        Ok(settings.build([address])?)
    }

    fn client(addresses: &[String], timeout: Duration) -> Result<Client, Failure> {
        Ok(Client::builder().timeout(timeout).name("gometa-cli").build(addresses)?)
    }

    /// The value that an argument stands for: itself, or standard input for "-".
    fn value(&self, argument: &OsString) -> Result<Vec<u8>, Failure> {
        if self.dash { value(argument) } else { Ok(argument.as_bytes().to_vec()) }
    }
}

/// Carries one call out; returns the exit status.
pub(crate) async fn run(setting: &Setting, call: &Call, out: &mut dyn Write) -> Result<u8, Failure> {
    let (client, format) = (&setting.client, setting.format);
    match call {
        Call::Status => return status::run(setting, out).await,
        Call::Health(health) => return health::run(setting, health, out).await,
        Call::Get(get) => get::run(setting, get, out).await,
        Call::Set(Set { key, value }) => {
            show_written(client.set(key.as_bytes(), setting.value(value)?).await?, format, out)
        }
        Call::Add(Add { key, value }) => {
            show_written(client.add(key.as_bytes(), setting.value(value)?).await?, format, out)
        }
        Call::Cas(Cas { key, revision, value }) => {
            show_written(client.cas(key.as_bytes(), *revision, setting.value(value)?).await?, format, out)
        }
        Call::Delete(delete) => delete::run(client, delete, format, out).await,
        Call::Members => members::run(client, format, out).await,
    }
    .map(|()| 0)
}

/// The exit status of `status` and `health` where something is wrong.
const UNHEALTHY: u8 = 5;

fn value(argument: &OsStr) -> Result<Vec<u8>, Failure> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut value = Vec::new();
    let input = input::lock().map_err(Failure::input)?;
    input.take(INPUT_MAX + 1).read_to_end(&mut value).map_err(Failure::input)?;
    if value.len() as u64 > INPUT_MAX {
        return Err(Failure::usage(format!(
            "standard input holds more than {INPUT_MAX} bytes: too much for a value"
        )));
    }
    Ok(value)
}

fn show_written(written: Written, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let Written { revision, version, .. } = written;
    match format {
        Format::Table => writeln!(out, "revision {revision}, version {version}")?,
        Format::Json => writeln!(out, "{}", json!({ "revision": revision, "version": version }))?,
    }
    Ok(())
}
