//! What a command is executed with: the client, and how to print.

use std::{
    borrow::Cow,
    ffi::OsStr,
    io::{self, IsTerminal},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use gometa_client::{Client, Layout, ReadOptions, parse_peers, printable};

use crate::{
    input,
    options::{Options, Source},
    output::{Failure, Format},
};

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    /// The peers' addresses.
    pub(crate) addresses: Vec<String>,
    /// Whether the peers were given, rather than the default.
    pub(crate) named: bool,
    /// Where the peers' addresses come from, for messages.
    pub(crate) source: String,
    pub(crate) timeout: Duration,
    pub(crate) format: Format,
    /// Whether results are written to a terminal.
    pub(crate) terminal: bool,
    /// Whether a value of "-" is read from standard input.
    pub(crate) dash: bool,
}

impl Context {
    pub(crate) fn new(options: &Options) -> Result<Context, Failure> {
        let (addresses, source) = (options.addresses()?, options.source());
        Ok(Context {
            client: Context::client(&addresses, options.timeout)?,
            addresses,
            named: source != Source::Default,
            source: source.to_string(),
            timeout: options.timeout,
            format: options.output,
            terminal: io::stdout().is_terminal(),
            dash: true,
        })
    }

    /// A second client of the same peers.
    pub(crate) fn new_client(&self) -> Result<Client, Failure> {
        Context::client(&self.addresses, self.timeout)
    }

    /// A client of one node alone.
    pub(crate) fn client_of(&self, address: &str) -> Result<Client, Failure> {
        let usage = |message: &str| Failure::usage(format!("--node {address}: {message}"));
        let [address] = &*parse_peers(address).map_err(|error| usage(error.message()))? else {
            return Err(usage("expected one address"));
        };
        let builder = Client::builder().timeout(self.timeout).name("gometa-cli").pinned(true);
        Ok(builder.build([address])?)
    }

    fn client(addresses: &[String], timeout: Duration) -> Result<Client, Failure> {
        Ok(Client::builder().timeout(timeout).name("gometa-cli").build(addresses)?)
    }

    /// The value of an argument, which may be "-" for standard input.
    pub(crate) fn value(&self, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        if argument != "-" || !self.dash {
            return Ok(argument.as_bytes().to_vec());
        }
        Context::standard_input()
    }

    /// All of standard input.
    pub(crate) fn standard_input() -> Result<Vec<u8>, Failure> {
        let read = input::lock().and_then(input::read_all);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => Failure::usage(format!("standard input: {error}")),
            _ => Failure::input(error),
        })
    }

    /// Bytes of a key or a value as they are printed in a line of text: on a terminal escaped, elsewhere unchanged.
    pub(crate) fn shown<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self.terminal {
            true => printable(bytes, Layout::OneLine).into_bytes().into(),
            false => bytes.into(),
        }
    }
}

/// The options of a read with the arguments `--local` and `--min-revision`.
pub(crate) fn read_options(local: bool, min_revision: u64) -> ReadOptions {
    match local {
        true => ReadOptions::local().with_min_revision(min_revision),
        false => ReadOptions::default(),
    }
}
