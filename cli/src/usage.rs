//! Usage errors, help and version.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{
    Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::output::{self, Failure, Format};

/// The edit distance up to which a command is suggested for an unknown word.
const DISTANCE_MAX: usize = 2;
/// Commands that are suggested for an unknown word: those that only read, as a suggestion may be followed blindly.
const SUGGESTED: &[&str] = &[
    "get",
    "scan",
    "ls",
    "count",
    "history",
    "export",
    "status",
    "health",
    "members",
    "shell",
    "completion",
    "version",
    "help",
    "exit",
];
/// Commands of other stores that do not exist, and what to do instead.
const PLANNED: &[(&[&str], &str)] = &[
    (&["list", "keys", "range"], "keys are listed with `gometa ls PREFIX` and `gometa scan PREFIX`"),
    (&["watch"], "watching keys is planned and not available yet; `gometa get KEY` reads one key"),
    (&["lease", "lock", "elect"], "planned and not available yet; `gometa help` lists the commands"),
];

/// Prints help or a usage error of `command`, as JSON if the arguments contain `-o json`.
pub(crate) fn answer(error: Error, command: &Command) -> ExitCode {
    let error = suggest(error, command);
    let format = if wants_json(std::env::args_os().skip(1)) { Format::Json } else { Format::Table };
    if is_help(&error) && !error.use_stderr() {
        let printed = error.print().and_then(|()| io::stdout().flush());
        return output::exit(printed.map(|()| 0).map_err(Failure::from), format, "");
    }
    if let Some(message) = planned(&error) {
        return output::exit(Err(Failure::Usage(message)), format, "");
    }
    if !is_help(&error) && format == Format::Json {
        return output::exit(Err(Failure::Usage(in_one_line(&error))), format, "");
    }
    // By clap, for its colours. If standard error cannot be written, the exit status remains.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The message for a command of another store.
pub(crate) fn planned(error: &Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (_, message) = PLANNED.iter().find(|(words, _)| words.contains(&&*word.to_lowercase()))?;
    Some(format!("{word}: {message}"))
}

/// Whether it is help or the version, which is no error.
pub(crate) fn is_help(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// Suggests a command for an unknown word.
pub(crate) fn suggest(mut error: Error, command: &clap::Command) -> Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    // clap's own suggestions include commands that write.
    error.remove(ContextKind::SuggestedSubcommand);
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let distance = |name: &str| strsim::damerau_levenshtein(&word.to_lowercase(), name);
    let known = command.get_subcommands().map(clap::Command::get_name);
    // A word that is as near to a command that writes is not taken for one that reads either.
    let nearest = known.min_by_key(|name| (distance(name), SUGGESTED.contains(name)));
    let nearest = nearest.filter(|name| distance(name) <= DISTANCE_MAX && SUGGESTED.contains(name));
    if let Some(name) = nearest.map(str::to_owned) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![name]));
    }
    error
}

/// The message in one line, without usage and hints.
pub(crate) fn in_one_line(error: &Error) -> String {
    let text = error.to_string();
    let words: Vec<&str> =
        text.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim).collect();
    let line = words.iter().copied().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// Whether `-o json` is among the arguments, which could not be parsed.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut after_option = false;
    for argument in arguments {
        let argument = argument.to_string_lossy();
        if argument == "--" {
            return false;
        }
        if after_option && argument == "json" || ["-ojson", "-o=json", "--output=json"].contains(&&*argument)
        {
            return true;
        }
        after_option = argument == "-o" || argument == "--output";
    }
    false
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::{args::Args, commands::ShellLine};

    #[test]
    fn json_is_recognised_where_it_is_meant() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        for line in ["-o json nonsense", "get --output json", "-ojson", "x --output=json"] {
            assert!(wants(line), "{line}");
        }
        for line in ["json", "-o table", "set k -- -o json", "get -o"] {
            assert!(!wants(line), "{line}");
        }
    }

    #[test]
    fn a_misspelt_command_is_suggested() {
        let answered = |word: &str| {
            let error = Args::command().try_get_matches_from(["gometa", word]).unwrap_err();
            suggest(error, &Args::command()).to_string()
        };
        for (word, expected) in [
            ("gte", "'get'"),
            ("staus", "'status'"),
            ("STATUS", "'status'"),
            ("shel", "'shell'"),
            ("healt", "'health'"),
            ("exprt", "'export'"),
        ] {
            assert!(answered(word).contains(expected), "{}", answered(word));
        }
        for word in
            ["frobnicate", "DELETE", "delet", "st", "sett", "ad", "cass", "bnch", "puts", "rmm", "imprt"]
        {
            assert!(!answered(word).contains("similar"), "{}", answered(word));
        }
    }

    #[test]
    fn every_command_is_suggested_or_writes() {
        // `recover` writes nothing, but is near to `remove`.
        let others = [
            "set", "add", "cas", "delete", "txn", "import", "settings", "bench", "member", "leader",
            "recover", "backup", "restore", "upgrade",
        ];
        for command in [Args::command(), ShellLine::command()] {
            for name in command.get_subcommands().map(clap::Command::get_name) {
                assert!(SUGGESTED.contains(&name) != others.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn planned_commands_are_known() {
        let answered = |word: &str| {
            planned(&Args::command().try_get_matches_from(["gometa", word, "/x", "--all"]).unwrap_err())
        };
        for (word, words) in [("LIST", "gometa ls"), ("keys", "gometa scan"), ("watch", "not available yet")]
        {
            assert!(answered(word).is_some_and(|message| message.contains(words)), "{word}");
        }
        assert_eq!(answered("frobnicate"), None);
        for word in PLANNED.iter().flat_map(|(words, _)| *words) {
            assert!(
                Args::command().get_subcommands().all(|command| command.get_name() != *word),
                "{word} exists"
            );
        }
    }
}
