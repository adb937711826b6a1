//! What is said about arguments that make no sense, and the help that was asked for.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{
    CommandFactory, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{
    args::Args,
    output::{Failure, Format, report},
};

/// Letters by which a word may differ from the command that it is taken for.
const DISTANCE_MAX: usize = 2;

/// Prints help or a usage error: as JSON if the arguments ask for it.
pub(crate) fn answer(error: Error) -> ExitCode {
    let error = suggest(error, &Args::command());
    if !is_help(&error) && wants_json(std::env::args_os().skip(1)) {
        let failure = Failure::usage(in_one_line(&error));
        // Nobody is left to tell if this fails.
        let _ = report(&failure, Format::Json, &mut io::stderr());
        return ExitCode::from(failure.exit_status());
    }
    let status = u8::try_from(error.exit_code()).unwrap_or(2);
    let _ = error.print().and_then(|()| io::stdout().flush());
    ExitCode::from(status)
}

/// Whether it is what was asked for, and no error.
pub(crate) fn is_help(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// Names the command that was probably meant, where nothing has been named yet.
pub(crate) fn suggest(mut error: Error, command: &clap::Command) -> Error {
    if error.kind() != ErrorKind::InvalidSubcommand || error.get(ContextKind::SuggestedSubcommand).is_some() {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let distance = |name: &str| strsim::damerau_levenshtein(&word.to_lowercase(), name);
    let names = command.get_subcommands().map(clap::Command::get_name);
    let nearest = names.min_by_key(|name| distance(name)).filter(|name| distance(name) <= DISTANCE_MAX);
    if let Some(name) = nearest.map(str::to_owned) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![name]));
    }
    error
}

/// The complaint, without usage and hints.
pub(crate) fn in_one_line(error: &Error) -> String {
    let text = error.to_string();
    let words: Vec<&str> =
        text.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim).collect();
    let line = words.iter().copied().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// Whether `-o json` is among the arguments, which could not be read.
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
    use super::*;

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
    fn the_command_that_was_meant_is_named() {
        let said = |word: &str| {
            let error = Args::command().try_get_matches_from(["gometa", word]).unwrap_err();
            suggest(error, &Args::command()).to_string()
        };
        for (word, meant) in
            [("gte", "'get'"), ("staus", "'status'"), ("DELETE", "'delete'"), ("shel", "'shell'")]
        {
            assert!(said(word).contains(meant), "{}", said(word));
        }
        assert!(!said("frobnicate").contains("similar"), "{}", said("frobnicate"));
    }
}
