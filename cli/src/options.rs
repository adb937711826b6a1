//! The options of every command, and the peers that they name.

use std::{
    env,
    ffi::OsString,
    fmt,
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use gometa_client::{parse_peers, peers_from_json, peers_from_json_leniently};

use crate::output::{Failure, Format};

/// The request addresses of a local ensemble.
const PEERS_DEFAULT: &str = "127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003";
/// The environment variable that turns unknown keys of a configuration file into warnings.
const LENIENT_VARIABLE: &str = "GOMETA_LENIENT_FLAGS";
/// The environment variable that names the peers.
const PEERS_VARIABLE: &str = "GOMETA_PEERS";
/// The size limit of a configuration file in bytes.
const CONFIG_MAX: u64 = 1 << 20;
/// The shortest and the longest TIME: a request carries milliseconds in 32 bits.
const TIMES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(u32::MAX as u64));

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Request addresses, host:port,host:port,…
    #[arg(long, global = true, value_name = "ADDRESSES", conflicts_with = "config")]
    pub(crate) peers: Option<String>,

    /// A JSON file with the addresses: {"Peer": [{"RequestAddr": "host:port"}, …]}
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The format of results
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    /// The time limit of a call, retries included: 500ms, 5s, 2m; without a unit, seconds
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// Where the peers' addresses come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Flag,
    /// A file, by its absolute path.
    File(PathBuf),
    Variable,
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("--peers"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable => f.write_str(PEERS_VARIABLE),
            Self::Default => f.write_str("the default"),
        }
    }
}

impl Options {
    /// Where the peers' addresses come from.
    pub(crate) fn source(&self) -> Source {
        if self.peers.is_some() {
            return Source::Flag;
        }
        match &self.config {
            Some(path) => Source::File(absolute(path)),
            None if variable(PEERS_VARIABLE).is_some() => Source::Variable,
            None => Source::Default,
        }
    }

    /// The peers' addresses.
    pub(crate) fn addresses(&self) -> Result<Vec<String>, Failure> {
        let source = self.source();
        let addresses = match &source {
            Source::Flag => parse_peers(self.peers.as_deref().unwrap_or_default()),
            Source::File(path) => {
                let text =
                    read(path).map_err(|why| Failure::usage(format!("cannot read {source}: {why}")))?;
                if is_lenient() {
                    peers_from_json_leniently(&text).map(|read| warn_of_unknown(&source, read))
                } else {
                    peers_from_json(&text)
                }
            }
            Source::Variable => {
                let peers = variable(PEERS_VARIABLE).unwrap_or_default();
                // Bytes that are not UTF-8 are reported as part of an invalid address.
                parse_peers(&peers.to_string_lossy())
            }
            Source::Default => parse_peers(PEERS_DEFAULT),
        };
        addresses.map_err(|error| Failure::usage(format!("{source}: {}", error.message())))
    }
}

/// The value of an environment variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// `path` as an absolute path, for messages; unchanged if there is no working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Reads a configuration file. The error is a message.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(CONFIG_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > CONFIG_MAX {
        return Err(format!("larger than {CONFIG_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())
}

/// Logs a warning for the unknown keys of a file, and returns its peers.
fn warn_of_unknown(source: &Source, (peers, unknown): (Vec<String>, Option<String>)) -> Vec<String> {
    if let Some(unknown) = unknown {
        // If standard error cannot be written, the warning is lost.
        let _ = writeln!(std::io::stderr(), "gometa: {source}: ignored: {unknown}");
    }
    peers
}

/// Whether unknown keys of a file are warnings, as for gometa-server with this variable.
fn is_lenient() -> bool {
    std::env::var(LENIENT_VARIABLE)
        .is_ok_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Parses a TIME. The error is a message.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        unit => return Err(format!("unknown unit {unit:?}: use ms, s or m")),
    };
    let number: f64 = digits.parse().map_err(|_| "write it like 500ms, 5s or 2m".to_owned())?;
    let (min, max) = TIMES;
    match Duration::try_from_secs_f64(number * seconds_per_unit) {
        Ok(duration) if (min..=max).contains(&duration) => Ok(duration),
        _ => Err("it must be from 1ms to 71582m, which is 49 days".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected_ms) in
            [("500ms", 500), ("5s", 5000), ("5", 5000), ("1.5s", 1500), ("2m", 120_000), ("1ms", 1)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected_ms)), "{text}");
        }
        assert_eq!(parse_duration("4294967295ms"), Ok(TIMES.1));
        assert!(parse_duration("71582m").is_ok());
        for text in [
            "",
            "s",
            "5h",
            "-1s",
            "0",
            "0ms",
            "0.9ms",
            "1e-9",
            "71583m",
            "4294967296ms",
            "1e18",
            "1e400",
            "inf",
            "ms",
            "nan",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
