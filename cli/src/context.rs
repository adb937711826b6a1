//! What a command is executed with: the client, and how to print.

use std::{
    ffi::OsStr,
    io::{self, IsTerminal, Read},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use gometa_client::{Client, parse_peers};

use crate::{
    input,
    options::{Options, Source},
    output::{Failure, Format},
};

/// The number of bytes read from standard input: more than any node's limit, so that errors name the node's limit.
const INPUT_MAX: u64 = 16 << 20;

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
        let mut value = Vec::new();
        let input = input::lock().map_err(Failure::input)?;
        input.take(INPUT_MAX + 1).read_to_end(&mut value).map_err(Failure::input)?;
        if value.len() as u64 > INPUT_MAX {
            return Err(Failure::usage(format!("standard input exceeds {INPUT_MAX} bytes")));
        }
        Ok(value)
    }
}
