//! The command line, in Go's flag style: `-config=x`, `--config x` and `-config x` mean the same.
//!
//! Each flag may also be set by an environment variable, `GOMETA_…`; an empty variable counts as unset. An error is one
//! line that names the flag or the variable, whichever the value came from, and the remedy.

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::{
    ArgAction, ArgMatches, Command, CommandFactory, Parser, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use crate::{
    config::{Address, PORT_BASE, PORT_STRIDE, UnknownKeys},
    process::flag_syntax::{double_dash, parse_bool, remove_unknown, unknown_flag},
};

/// The parsed command line.
#[derive(Parser, Clone, PartialEq, Eq, Debug)]
#[command(
    name = "gometa-server",
    about = "One node of a gometa ensemble: a small metadata store, replicated by Zab",
    after_help = AFTER_HELP,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true
)]
pub(crate) struct Args {
    /// Configuration file (JSON). Without it: an ensemble of one node on 127.0.0.1:5001, 5002 and 5003
    #[arg(long, env = "GOMETA_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Run the interactive client on the RequestAddrs that the configuration file lists
    #[arg(long, env = "GOMETA_CLIENT", value_name = "BOOL", value_parser = parse_bool, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) client: bool,

    /// Run a learner with a console that prompts for keys: it joins the members that the configuration lists, and leaves them
    /// when it ends
    #[arg(long, env = "GOMETA_WATCHER", value_name = "BOOL", value_parser = parse_bool, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) watcher: bool,

    /// Join the ensemble of these members, as a learner; overrides the configuration's Join. Ignored by a node that is a
    /// member already
    #[arg(long, env = "GOMETA_JOIN", value_name = "HOST:PORT,…", value_delimiter = ',', value_parser = parse_join)]
    pub(crate) join: Vec<String>,

    /// With -join or Join: become a voter as soon as the node is up to date
    #[arg(long, env = "GOMETA_VOTER", value_name = "BOOL", value_parser = parse_bool, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) voter: bool,

    /// Shut down at a newline or the end of standard input; auto: only if it is a pipe
    #[arg(long, env = "GOMETA_WATCH_STDIN", value_name = "WHEN", default_value = "auto")]
    pub(crate) watch_stdin: WatchStdin,

    /// Data directory; overrides the configuration's DataDir
    #[arg(long, env = "GOMETA_DATA_DIR", value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Run N nodes (default 3) in this process, for development: ports 5001…5003, 6001…6003, …
    #[arg(long, env = "GOMETA_DEV", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=7),
          num_args = 0..=1, require_equals = true, default_missing_value = "3")]
    pub(crate) dev: Option<u16>,

    /// With -dev: the first node's ports are PORT+1, PORT+2 and PORT+3, the next one's are 1000 higher, and so on
    #[arg(long, env = "GOMETA_DEV_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..),
          default_value_t = PORT_BASE)]
    pub(crate) dev_port: u16,

    /// Format of the log on standard error
    #[arg(long, env = "GOMETA_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Log level: error, warn, info, debug, trace, or a filter such as info,gometa_server::driver=debug
    #[arg(long, env = "GOMETA_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,

    /// Validate the configuration, print it, and exit
    #[arg(long, env = "GOMETA_CHECK", value_name = "BOOL", value_parser = parse_bool, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) check: bool,

    /// Report what the data directory of a stopped node contains, change nothing, and exit; 1 if it is damaged
    #[arg(long, env = "GOMETA_INSPECT", value_name = "DIRECTORY")]
    pub(crate) inspect: Option<PathBuf>,

    /// Format of the report of -inspect and of the entries of -dump-log
    #[arg(long, env = "GOMETA_INSPECT_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) inspect_format: LogFormat,

    /// With -inspect: print the log instead, an entry a line; all, or from a revision, or from one through another
    #[arg(long, env = "GOMETA_DUMP_LOG", value_name = "FROM[-TO]", value_parser = parse_range,
          num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub(crate) dump_log: Option<Revisions>,

    /// With -inspect: read every record of the state, too, and recompute its hash
    #[arg(long, env = "GOMETA_VERIFY", value_name = "BOOL", value_parser = parse_bool, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) verify: bool,

    /// After a majority of the voters is lost permanently: found the ensemble anew from the data of this stopped node, as the only
    /// voter, and exit. Writes that only the others have are lost. Without the value, a terminal is asked for it
    #[arg(long, value_name = CONSENT, value_parser = [CONSENT, ASK], hide_possible_values = true,
          num_args = 0..=1, require_equals = true, default_missing_value = ASK)]
    pub(crate) recover: Option<String>,

    /// Found a new ensemble, of this node alone, from the file of a backup, in an empty data directory, and exit
    #[arg(long, value_name = "FILE")]
    pub(crate) restore: Option<PathBuf>,

    /// Voters that must run when the ensemble is formed: all; or a quorum, if all of that quorum have this flag. The risk of
    /// quorum: if absent voters hold an ensemble's data, or one of the quorum loses its disk before the absent ones have
    /// joined, a second, empty ensemble can be formed beside the first one. never: a node with an empty data directory forms
    /// none, in case its disk is not mounted
    #[arg(long, env = "GOMETA_BOOTSTRAP", value_name = "VOTERS", default_value = "all")]
    pub(crate) bootstrap: Bootstrap,

    /// Ignore unknown flags and unknown configuration keys, with a warning each
    #[arg(long, env = "GOMETA_LENIENT_FLAGS", value_name = "BOOL", value_parser = parse_bool, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) lenient_flags: bool,

    /// The ignored flags, for the log.
    #[arg(skip)]
    pub(crate) warnings: Vec<String>,

    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,

    /// Print this help
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,

    /// The ids of flags whose value came from the environment.
    #[arg(skip)]
    from_environment: BTreeSet<String>,
}

/// The value of `-recover` with which the operator agrees.
pub(crate) const CONSENT: &str = "yes-lose-unreplicated-writes";
/// The value of `-recover` if none is given: the operator is asked.
pub(crate) const ASK: &str = "ask";
/// The number of ports of one node.
const PORTS: u16 = 3;

const AFTER_HELP: &str = "\
Flags take one dash or two, and `=` or a space before the value. Switches accept =true and =false.
The command line overrides the environment; an empty variable counts as unset.
Exit status: 0 after a requested shutdown, or if -inspect finds no damage; otherwise the last line on standard error names cause and remedy.";

/// Whether the end of standard input shuts the process down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum WatchStdin {
    /// Only if it is a pipe.
    Auto,
    /// Always.
    True,
    /// Never.
    False,
}

/// The format of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text lines.
    Text,
    /// One JSON object a line.
    Json,
}

/// The revisions from one through another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Revisions {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Parses `FROM` or `FROM-TO`.
fn parse_range(text: &str) -> Result<Revisions, String> {
    let (from, to) = text.split_once('-').map_or((text, None), |(from, to)| (from, Some(to)));
    let number = |text: &str| text.parse::<u64>().ok();
    let revisions = number(from).zip(to.map_or(Some(u64::MAX), number));
    let revisions = revisions.map(|(from, to)| Revisions { from, to }).filter(|range| range.from <= range.to);
    revisions.ok_or_else(|| "expected a revision, or two as in 10-20".to_owned())
}

/// Parses the request address of a member.
fn parse_join(text: &str) -> Result<String, String> {
    let address = Address::parse_announced(text.trim()).map_err(|why| format!("{text:?} {why}"))?;
    Ok(address.text)
}

/// The voters that must run when the ensemble is formed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Bootstrap {
    /// Every configured voter.
    All,
    /// A majority of them.
    Quorum,
    /// None is formed.
    Never,
}

/// Why the program exits without running a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// A requested text; exit status 0.
    Print(String),
    /// One line of error; exit status not 0.
    Refuse(String),
}

impl Args {
    /// The source of a flag's value, for messages: `-data-dir` or `GOMETA_DATA_DIR`.
    pub(crate) fn source(&self, flag: &str) -> String {
        let given = self.from_environment.contains(&flag.replace('-', "_"));
        if given { variable(flag) } else { format!("-{flag}") }
    }

    /// The treatment of unknown keys in the configuration file.
    pub(crate) fn unknown_keys(&self) -> UnknownKeys {
        if self.lenient_flags { UnknownKeys::Warn } else { UnknownKeys::Refuse }
    }
}

/// The environment variable of a flag.
fn variable(flag: &str) -> String {
    format!("GOMETA_{}", flag.replace('-', "_").to_uppercase())
}

/// The clap command, without variables that are set and empty.
fn command() -> Command {
    let is_empty = |variable: &OsStr| env::var_os(variable).is_some_and(|value| value.is_empty());
    Args::command().version(env!("CARGO_PKG_VERSION")).mut_args(|argument| match argument.get_env() {
        Some(variable) if is_empty(variable) => argument.env(None::<&'static str>),
        _ => argument,
    })
}

/// Parses the command line, the program's name first, and the environment.
///
/// # Errors
/// A requested text to print, or an error line.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Args, Exit> {
    let mut verbatim = false;
    let arguments: Vec<OsString> = arguments
        .into_iter()
        .enumerate()
        .map(|(position, argument)| {
            verbatim |= argument == "--";
            if position == 0 || verbatim { argument } else { double_dash(argument) }
        })
        .collect();
    let command = command();
    let (arguments, warnings) = remove_unknown(arguments, &command);
    let mut args = command
        .try_get_matches_from(&arguments)
        .and_then(|matches| {
            let mut args = <Args as clap::FromArgMatches>::from_arg_matches(&matches)?;
            args.from_environment = from_environment(&matches);
            Ok(args)
        })
        .map_err(|error| explain(&error, &arguments))?;
    args.warnings = warnings;
    check(&args).map_err(Exit::Refuse)?;
    Ok(args)
}

fn from_environment(matches: &ArgMatches) -> BTreeSet<String> {
    let given = |id: &&str| matches.value_source(id) == Some(ValueSource::EnvVariable);
    matches.ids().map(clap::Id::as_str).filter(given).map(str::to_owned).collect()
}

/// The log format of a command line that may be invalid otherwise.
pub(crate) fn log_format(arguments: impl IntoIterator<Item = OsString>) -> LogFormat {
    let mut format = env::var_os(variable("log-format")).unwrap_or_default();
    let mut after_flag = false;
    for argument in arguments.into_iter().map(double_dash) {
        if after_flag {
            format.clone_from(&argument);
        } else if let Some(value) = argument.to_str().and_then(|text| text.strip_prefix("--log-format=")) {
            format = value.into();
        }
        after_flag = argument == "--log-format";
    }
    if format == "json" { LogFormat::Json } else { LogFormat::Text }
}

/// Checks what clap does not.
fn check(args: &Args) -> Result<(), String> {
    let excluded = [("voter", args.voter), ("client", args.client), ("dev", args.dev.is_some())];
    if let Some((flag, _)) = excluded.iter().find(|(_, given)| *given && args.watcher) {
        let (watcher, other) = (args.source("watcher"), args.source(flag));
        return Err(format!(
            "{watcher} and {other} exclude each other: a watcher is a learner of a running ensemble"
        ));
    }
    let excluded = [
        ("client", args.client),
        ("watcher", args.watcher),
        ("dev", args.dev.is_some()),
        ("join", !args.join.is_empty()),
        ("check", args.check),
        ("inspect", args.inspect.is_some()),
    ];
    if let Some((flag, _)) = excluded.iter().find(|(_, given)| *given && args.recover.is_some()) {
        return Err(format!("-recover and {} exclude each other", args.source(flag)));
    }
    if let Some((flag, _)) = excluded.iter().find(|(_, given)| *given && args.restore.is_some()) {
        return Err(format!("-restore and {} exclude each other", args.source(flag)));
    }
    if args.restore.is_some() && args.recover.is_some() {
        return Err(
            "-restore and -recover exclude each other: one uses a backup, the other the data of this node"
                .to_owned(),
        );
    }
    let of_inspect = [("dump-log", args.dump_log.is_some()), ("verify", args.verify)];
    if let Some((flag, _)) = of_inspect.iter().find(|(_, given)| *given && args.inspect.is_none()) {
        return Err(format!("{} needs -inspect=DIRECTORY", args.source(flag)));
    }
    if args.dump_log.is_some() && args.verify {
        let (dump, verify) = (args.source("dump-log"), args.source("verify"));
        return Err(format!(
            "{dump} and {verify} exclude each other: one prints entries, the other a report"
        ));
    }
    if args.dev.is_some() && args.config.is_some() {
        let (dev, config) = (args.source("dev"), args.source("config"));
        return Err(format!(
            "{dev} and {config} exclude each other: {dev} uses a configuration of its own; set one of them"
        ));
    }
    let dev = args.source("dev");
    if args.dev.is_some() && (!args.join.is_empty() || args.bootstrap != Bootstrap::All) {
        let other = args.source(if args.join.is_empty() { "bootstrap" } else { "join" });
        return Err(format!("{dev} and {other} exclude each other: {dev} forms an ensemble of its own"));
    }
    if args.client && args.config.is_none() {
        let client = args.source("client");
        return Err(format!("{client} needs -config=FILE with the RequestAddrs to connect to"));
    }
    let highest = u16::MAX - PORTS - PORT_STRIDE * (args.dev.unwrap_or(1).max(1) - 1);
    let source = args.source("dev-port");
    if args.dev_port != PORT_BASE && args.dev.is_none() {
        return Err(format!("{source} needs -dev: without it, the configuration names the ports"));
    }
    if args.dev_port > highest {
        let (dev, nodes) = (args.source("dev"), args.dev.unwrap_or(1));
        return Err(format!("{source}={}: expected at most {highest} with {dev}={nodes}", args.dev_port));
    }
    Ok(())
}

/// The flag of an error, or the variable that its value came from.
fn name_source(flag: &str, arguments: &[OsString]) -> String {
    let is_given = arguments.iter().filter_map(|argument| argument.to_str()).any(|argument| {
        argument
            .strip_prefix('-')
            .and_then(|rest| rest.strip_prefix(flag))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    let variable = variable(flag.trim_start_matches('-'));
    if !is_given && env::var_os(&variable).is_some_and(|value| !value.is_empty()) {
        return variable;
    }
    flag.to_owned()
}

/// Turns an error of clap into one line.
fn explain(error: &clap::Error, arguments: &[OsString]) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Exit::Print(error.render().to_string());
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = text(ContextKind::InvalidArg).unwrap_or_default();
    // "--config <FILE>" → "-config"
    let flag = flag.split([' ', '=', '[']).next().unwrap_or_default();
    let flag = flag.strip_prefix('-').filter(|rest| rest.starts_with('-')).unwrap_or(flag);
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let line = match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            format!("{} (-help lists all flags)", unknown_flag(flag, &Args::command()))
        }
        ErrorKind::UnknownArgument => {
            format!("unexpected argument {flag:?}: write the value of a switch after `=`, as in -client=true")
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{flag} needs a value, as in {flag}=…"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let expected = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(words)) => format!("expected one of {}", words.join(", ")),
                _ => std::error::Error::source(error).map(ToString::to_string).unwrap_or_default(),
            };
            format!("{}={value}: {expected}", name_source(flag, arguments))
        }
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            format!("{} (-help lists all flags)", first.strip_prefix("error: ").unwrap_or(first))
        }
    };
    Exit::Refuse(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Args, Exit> {
        parse(std::iter::once("gometa-server").chain(words.iter().copied()).map(OsString::from))
    }

    fn error_of(words: &[&str]) -> String {
        match parse_words(words) {
            Err(Exit::Refuse(line)) => line,
            other => panic!("{words:?} gave {other:?}"),
        }
    }

    #[test]
    fn one_dash_or_two_and_equals_or_space_mean_the_same() {
        let expected = parse_words(&["--config=node.json"]).unwrap();
        assert_eq!(expected.config.as_deref(), Some(std::path::Path::new("node.json")));
        for words in [&["-config=node.json"][..], &["-config", "node.json"], &["--config", "node.json"]] {
            assert_eq!(parse_words(words).unwrap(), expected);
        }
    }

    #[test]
    fn switches_take_go_booleans() {
        for on in ["-check", "--check", "-check=true", "-check=1", "-check=T"] {
            assert!(parse_words(&[on]).unwrap().check, "{on}");
        }
        for off in ["-check=false", "--check=0", "-check=F"] {
            assert!(!parse_words(&[off]).unwrap().check, "{off}");
        }
        assert!(parse_words(&["-client", "-config=c.json"]).unwrap().client);
        assert!(!parse_words(&["-watcher=false"]).unwrap().watcher);
    }

    #[test]
    fn the_defaults() {
        let args = parse_words(&[]).unwrap();
        assert_eq!(
            (args.config, args.dev, args.watch_stdin, args.log_format, args.log_level.as_str()),
            (None, None, WatchStdin::Auto, LogFormat::Text, "info")
        );
        assert_eq!(args.dev_port, 5_000);
        assert_eq!(args.bootstrap, Bootstrap::All);
    }

    #[test]
    fn dev_counts_its_nodes() {
        assert_eq!(parse_words(&["-dev"]).unwrap().dev, Some(3));
        assert_eq!(parse_words(&["-dev=1"]).unwrap().dev, Some(1));
        assert_eq!(parse_words(&["--dev=5"]).unwrap().dev, Some(5));
    }

    #[test]
    fn lenient_flags_removes_unknown_flags_with_their_values() {
        let words = ["-confg=x", "-lenient-flags", "--zzz", "value", "-log-level=debug", "-dvv", "-check"];
        let args = parse_words(&words).unwrap();
        assert!(args.lenient_flags && args.check);
        assert_eq!((args.config.clone(), args.log_level.as_str()), (None, "debug"));
        assert_eq!(
            args.warnings,
            [
                "ignored: unknown flag -confg; did you mean -config?",
                "ignored: unknown flag -zzz, with its value \"value\"",
                "ignored: unknown flag -dvv; did you mean -dev?",
            ]
        );
        assert_eq!(error_of(&["-lenient-flags=false", "-zzz"]), "unknown flag -zzz (-help lists all flags)");
        // Values of known flags stay, and a word without a flag is an error.
        let args = parse_words(&["-lenient-flags", "-log-level", "warn", "-data-dir", "--zzz"]);
        assert_eq!(args.unwrap_err(), Exit::Refuse("-data-dir needs a value, as in -data-dir=…".to_owned()));
        assert_eq!(
            error_of(&["-lenient-flags", "word"]),
            "unexpected argument \"word\": write the value of a switch after `=`, as in -client=true"
        );
    }

    #[test]
    fn the_log_is_dumped_from_a_revision_through_another() {
        let range = |flag: &str| {
            let Revisions { from, to } = parse_words(&["-inspect=d", flag]).unwrap().dump_log.unwrap();
            (from, to)
        };
        assert_eq!(range("-dump-log"), (1, u64::MAX));
        assert_eq!(range("-dump-log=10"), (10, u64::MAX));
        assert_eq!(range("-dump-log=10-20"), (10, 20));
    }

    #[test]
    fn dev_may_have_other_ports() {
        assert_eq!(parse_words(&["-dev=3", "-dev-port=21000"]).unwrap().dev_port, 21_000);
        assert_eq!(parse_words(&["-dev=7", "-dev-port=59532"]).unwrap().dev_port, 59_532);
    }

    #[test]
    fn the_log_format_is_known_even_if_the_command_line_is_invalid() {
        let of = |words: &[&str]| log_format(words.iter().map(OsString::from));
        for words in [&["x", "-log-format=json", "-nonsense"][..], &["x", "--log-format", "json"]] {
            assert_eq!(of(words), LogFormat::Json, "{words:?}");
        }
        for words in
            [&["x", "json"][..], &["x", "-log-format=json", "-log-format=text"], &["x", "-log-format"]]
        {
            assert_eq!(of(words), LogFormat::Text, "{words:?}");
        }
    }

    #[test]
    fn the_last_value_wins() {
        assert_eq!(parse_words(&["-log-level=info", "-log-level=debug"]).unwrap().log_level, "debug");
    }

    #[test]
    fn help_and_version_are_printed() {
        let Err(Exit::Print(help)) = parse_words(&["-help"]) else { panic!("no help") };
        assert!(help.contains("--watch-stdin") && help.contains("GOMETA_CONFIG"), "{help}");
        let Err(Exit::Print(version)) = parse_words(&["-version"]) else { panic!("no version") };
        assert_eq!(version.trim(), format!("gometa-server {}", env!("CARGO_PKG_VERSION")));
        assert!(matches!(parse_words(&["-h"]), Err(Exit::Print(_))));
    }

    #[test]
    fn errors_are_one_line_that_names_the_flag_and_the_remedy() {
        for (words, expected) in [
            (&["-confg=x"][..], "unknown flag -confg; did you mean -config? (-help lists all flags)"),
            (&["--zzz"], "unknown flag -zzz (-help lists all flags)"),
            (
                &["-client", "true"],
                "unexpected argument \"true\": write the value of a switch after `=`, as in -client=true",
            ),
            (&["-config"], "-config needs a value, as in -config=…"),
            (&["-client=maybe"], "-client=maybe: expected true or false"),
            (&["-log-format=xml"], "-log-format=xml: expected one of text, json"),
            (&["-watch-stdin=perhaps"], "-watch-stdin=perhaps: expected one of auto, true, false"),
            (
                &["-watcher", "-dev"],
                "-watcher and -dev exclude each other: a watcher is a learner of a running ensemble",
            ),
            (
                &["-dev", "-bootstrap=quorum"],
                "-dev and -bootstrap exclude each other: -dev forms an ensemble of its own",
            ),
            (
                &["-dev", "-config=x"],
                "-dev and -config exclude each other: -dev uses a configuration of its own; set one of them",
            ),
            (&["-dev=0"], "-dev=0: 0 is not in 1..=7"),
            (&["-dev=7", "-dev-port=59533"], "-dev-port=59533: expected at most 59532 with -dev=7"),
            (&["-dev", "-dev-port=0"], "-dev-port=0: 0 is not in 1..=65535"),
            (&["-dev-port=21000"], "-dev-port needs -dev: without it, the configuration names the ports"),
            (&["-verify"], "-verify needs -inspect=DIRECTORY"),
            (&["-dump-log"], "-dump-log needs -inspect=DIRECTORY"),
            (&["-inspect"], "-inspect needs a value, as in -inspect=…"),
            (&["-inspect=d", "-dump-log=20-10"], "-dump-log=20-10: expected a revision, or two as in 10-20"),
            (
                &["-inspect=d", "-dump-log", "-verify"],
                "-dump-log and -verify exclude each other: one prints entries, the other a report",
            ),
            (&["-client"], "-client needs -config=FILE with the RequestAddrs to connect to"),
        ] {
            assert_eq!(error_of(words), expected, "{words:?}");
        }
    }
}
