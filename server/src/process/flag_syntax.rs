//! Go's flag syntax, and unknown flags.
//!
//! With `-lenient-flags` a command line for another version of the program is accepted: unknown flags are removed before
//! it is parsed, each with a warning. A word after such a flag is its value unless it begins with a hyphen, because this
//! command line has no positional arguments.

use std::ffi::OsString;

use crate::config;

const FLAG: &str = "lenient-flags";
const VARIABLE: &str = "GOMETA_LENIENT_FLAGS";

/// Turns `-flag…` into `--flag…`; leaves `-h` and everything else.
pub(crate) fn double_dash(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
            format!("-{text}").into()
        }
        _ => argument,
    }
}

/// Parses a boolean as Go's `flag` package does.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// The error for an unknown flag, with the most similar known one.
pub(crate) fn unknown_flag(flag: &str, command: &clap::Command) -> String {
    let names: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
    match config::nearest(flag.trim_start_matches('-'), &names) {
        Some(near) => format!("unknown flag {flag}; did you mean -{near}?"),
        None => format!("unknown flag {flag}"),
    }
}

/// Removes the flags that `command` does not know, if `-lenient-flags` or its variable is set. Returns a warning for each.
/// The arguments have two dashes, the program's name first.
pub(crate) fn remove_unknown(
    arguments: Vec<OsString>,
    command: &clap::Command,
) -> (Vec<OsString>, Vec<String>) {
    if !is_lenient(&arguments) {
        return (arguments, Vec::new());
    }
    let (mut kept, mut warnings) = (Vec::new(), Vec::new());
    let mut words = arguments.into_iter().peekable();
    kept.extend(words.next());
    while let Some(word) = words.next() {
        if word == "--" {
            kept.push(word);
            kept.extend(words.by_ref());
            break;
        }
        let text = word.to_string_lossy().into_owned();
        let Some((name, joined)) =
            text.strip_prefix("--").map(|rest| (rest.split('=').next().unwrap_or(rest), rest.contains('=')))
        else {
            kept.push(word);
            continue;
        };
        let known = command.get_arguments().find(|argument| argument.get_long() == Some(name));
        let takes_next = !joined
            && known.is_none_or(|known| known.get_action().takes_values() && !known.is_require_equals_set());
        let value = words.next_if(|next| takes_next && !next.to_string_lossy().starts_with('-'));
        if known.is_some() {
            kept.push(word);
            kept.extend(value);
            continue;
        }
        let unknown = unknown_flag(&format!("-{name}"), command);
        warnings.push(match value {
            Some(value) => format!("ignored: {unknown}, with its value {:?}", value.to_string_lossy()),
            None => format!("ignored: {unknown}"),
        });
    }
    (kept, warnings)
}

fn is_lenient(arguments: &[OsString]) -> bool {
    let flag = |argument: &OsString| {
        let rest = argument.to_str()?.strip_prefix("--")?.strip_prefix(FLAG)?;
        match rest.strip_prefix('=') {
            None => rest.is_empty().then_some(true),
            Some(value) => parse_bool(value).ok(),
        }
    };
    let flags = arguments.iter().take_while(|argument| *argument != "--").filter_map(flag);
    let variable = || std::env::var(VARIABLE).ok().and_then(|value| parse_bool(&value).ok());
    flags.last().or_else(variable).unwrap_or(false)
}
