//! Arguments, and the client that they ask for.

use std::{
    env,
    ffi::OsString,
    fmt,
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Parser, Subcommand};
use gometa_client::{parse_peers, peers_from_json, peers_from_json_leniently};

use crate::output::{Failure, Format};

/// Where an ensemble on one machine listens.
pub(crate) const PEERS_DEFAULT: &str = "127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003";
/// The environment variable that makes unknown keys of a file warnings.
const LENIENT_VARIABLE: &str = "GOMETA_LENIENT_FLAGS";
/// The environment variable that names the peers. Empty, it counts as not set.
pub(crate) const PEERS_VARIABLE: &str = "GOMETA_PEERS";
/// The environment variable that names the shell's history. Empty, it counts as not set.
pub(crate) const HISTORY_VARIABLE: &str = "GOMETA_HISTORY";
/// Bytes of the longest configuration file.
const CONFIG_MAX: u64 = 1 << 20;
/// The shortest and the longest time that an option takes: what the wire can say, in milliseconds.
const TIMES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(u32::MAX as u64));

const AFTER_HELP: &str = "\
Keys and values are bytes. A value of \"-\" is read from standard input, all of it, newlines included;
one that begins with a hyphen stands behind \"--\". Any node will do as a peer: the others are found
through it.

Peers are taken from --peers, else --config, else GOMETA_PEERS, else
127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003.

Exit status:
  0  done
  1  another error
  2  wrong usage, configuration or argument
  3  the key was not found
  4  add: the key exists already; cas, delete --revision: its revision is another one
  5  no node could be had, or none answered in time; a write was not applied;
     status: no leader, or no quorum that is up to date; health: unhealthy
  6  a write may or may not have taken effect: read before you repeat it
130  interrupted";

/// Where the scripts belong.
const COMPLETION_HELP: &str = "\
  bash  gometa completion bash > ~/.local/share/bash-completion/completions/gometa
  zsh   gometa completion zsh > ~/.zfunc/_gometa     (with ~/.zfunc in fpath, before compinit)
  fish  gometa completion fish > ~/.config/fish/completions/gometa.fish";

/// How lines of the shell are written.
const SHELL_HELP: &str = "\
A line is a command as after `gometa`, without its name. Words are separated by spaces.
  'single quotes'  hold everything as it is
  \"double quotes\"  hold everything but escapes: \\n \\t \\r \\0 \\\\ \\\" and \\xff for any byte
  outside quotes   the same escapes, and a backslash before any other character stands for that character
  # at a line's start begins a comment";

/// Read and write the metadata of a gometa ensemble.
#[derive(Parser, Debug)]
#[command(name = "gometa", version, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Args {
    /// Request addresses, host:port,host:port,…
    #[arg(long, global = true, value_name = "ADDRESSES", conflicts_with = "config")]
    pub(crate) peers: Option<String>,

    /// A JSON file that names them: {"Peer": [{"RequestAddr": "host:port"}, …]}
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// How results are shown
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    /// How long to try: 500ms, 5s, 2m; without a unit, seconds
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    #[command(flatten)]
    Call(Call),
    /// Type commands one after another, with editing and a history; or read them from standard input
    #[command(after_help = SHELL_HELP)]
    Shell(Shell),
    /// Put a load on the ensemble for a moment, and say how fast it was
    Bench(Bench),
    /// Print the version
    Version,
    /// Print a script that makes a shell complete this command's words
    #[command(after_help = COMPLETION_HELP)]
    Completion(Completion),
}

/// A line of the shell.
#[derive(Parser, Debug)]
#[command(name = "gometa", no_binary_name = true, after_help = SHELL_HELP, max_term_width = 110)]
#[command(override_usage = "COMMAND [OPTIONS] ARGUMENTS")]
pub(crate) struct Line {
    /// How this result is shown
    #[arg(short, long, global = true, value_enum)]
    pub(crate) output: Option<Format>,

    /// How long to try
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    #[command(subcommand)]
    pub(crate) command: LineCommand,
}

/// What a line of the shell may ask for.
#[derive(Subcommand, Debug)]
pub(crate) enum LineCommand {
    #[command(flatten)]
    Call(Call),
    /// Print the version
    Version,
    /// Leave the shell; so does the end of input, Ctrl-D
    #[command(alias = "quit")]
    Exit,
}

/// One call, or a few.
#[derive(Subcommand, Debug)]
pub(crate) enum Call {
    /// Print the value of a key, and a newline
    Get(Get),
    /// Create or replace a key
    #[command(visible_alias = "put")]
    Set(Set),
    /// Create a key that does not exist yet
    Add(Add),
    /// Replace a key if it is still at a revision
    Cas(Cas),
    /// Remove a key; one that does not exist is no error
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Show every node: role, epoch, how far it is, who is missing; exit status 5 without leader or quorum
    Status,
    /// Test whether the ensemble, or one node, serves reads: exit status 0 or 5
    Health(Health),
    /// Show who the members are and who leads, as one node knows it
    Members,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Shell {
    /// End at the first command that fails; else the first failure is only the exit status
    #[arg(short = 'e', long)]
    pub(crate) exit_on_error: bool,

    /// Where the lines typed are kept, nowhere if empty; lines that begin with a space are not. If not given:
    /// the file that GOMETA_HISTORY names, else gometa/history below $XDG_STATE_HOME or ~/.local/state
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<OsString>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Bench {
    /// Clients, each with a connection and a session of its own
    #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) clients: u32,

    /// Calls of each client that are under way at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: u32,

    /// Bytes of a value
    #[arg(short = 's', long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) value_size: u32,

    /// Per cent of the calls that are reads
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) read_share: u32,

    /// Read what the answering node has, without asking for confirmation
    #[arg(long)]
    pub(crate) local: bool,

    /// How long
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,

    /// How many calls, instead of how long
    #[arg(short = 'n', long, conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// Different keys
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) keys: u32,

    /// What the keys begin with; if not given, gometa-bench/ and a random number
    #[arg(long)]
    pub(crate) prefix: Option<String>,

    /// Leave the keys where they are afterwards
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Completion {
    /// For which shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Get {
    pub(crate) key: OsString,

    /// Print the value's bytes and nothing else; without it, a terminal is shown control characters as \x1b
    #[arg(long)]
    pub(crate) raw: bool,

    /// Read what the answering node has, without asking for confirmation: quicker, possibly behind
    #[arg(long)]
    pub(crate) local: bool,

    /// With --local: wait until the node has got as far as this revision
    #[arg(long, value_name = "REVISION", requires = "local", default_value_t = 0)]
    pub(crate) min_revision: u64,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Health {
    /// Test the node at this request address alone: whether it answers a local read
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) node: Option<String>,

    /// Test until it passes, for at most this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Set {
    pub(crate) key: OsString,
    /// "-" reads it from standard input
    pub(crate) value: OsString,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Add {
    pub(crate) key: OsString,
    /// "-" reads it from standard input
    pub(crate) value: OsString,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Cas {
    pub(crate) key: OsString,
    /// The mod_revision that the key must have, 0 if it must not exist; `gometa get KEY -o json` shows it
    pub(crate) revision: u64,
    /// "-" reads it from standard input
    pub(crate) value: OsString,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Delete {
    pub(crate) key: OsString,

    /// Only if this is the key's mod_revision
    #[arg(long)]
    pub(crate) revision: Option<u64>,
}

/// Where the peers' addresses come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Flag,
    /// Absolute.
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
            Self::Default => f.write_str("the default; none were named"),
        }
    }
}

impl Args {
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

    /// The peers, as addresses; no IO but reading the file.
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
                // What is not UTF-8 is no address either.
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

/// `path` from the root, for messages; as it is if there is no working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The text of a configuration file, or what is wrong with it.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(CONFIG_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > CONFIG_MAX {
        return Err(format!("it is longer than {CONFIG_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// Warns of the unknown keys of a file that was read leniently, and returns its peers.
fn warn_of_unknown(source: &Source, (peers, unknown): (Vec<String>, Option<String>)) -> Vec<String> {
    if let Some(unknown) = unknown {
        // Without a standard error, the peers are as good.
        let _ = writeln!(std::io::stderr(), "gometa: {source}: ignored: {unknown}");
    }
    peers
}

/// Whether unknown keys of a file are passed over with a warning, as gometa-server does with this variable.
fn is_lenient() -> bool {
    std::env::var(LENIENT_VARIABLE)
        .is_ok_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Reads a time as people write it.
fn parse_duration(text: &str) -> Result<Duration, String> {
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
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }

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

    #[test]
    fn options_may_stand_before_and_after_the_command() {
        let args =
            Args::parse_from(["gometa", "--peers", "a:1", "get", "k", "-o", "json", "--timeout", "1s"]);
        assert_eq!((args.output, args.timeout), (Format::Json, Duration::from_secs(1)));
        assert_eq!(args.addresses().unwrap(), ["a:1"]);
        assert!(Args::try_parse_from(["gometa", "--peers", "a:1", "--config", "f", "status"]).is_err());
        assert!(Args::try_parse_from(["gometa", "get", "k", "--min-revision", "3"]).is_err());
    }
}
