//! `-lenient-flags`: a command line that was written for another version of the program is taken as far as it goes.
//!
//! Flags that are not known are removed before the command line is parsed, each with a warning. A word behind such a
//! flag that does not begin with a hyphen is taken for its value: no other word stands alone on this command line.

use std::ffi::OsString;

use crate::process::arguments;

const FLAG: &str = "lenient-flags";
const VARIABLE: &str = "GOMETA_LENIENT_FLAGS";

/// Removes the flags that `command` does not know, if the command line or the environment asks for that. The arguments
/// have two dashes, the program's name first.
pub(crate) fn pass_over_unknown(
    arguments: Vec<OsString>,
    command: &clap::Command,
) -> (Vec<OsString>, Vec<String>) {
    if !is_asked_for(&arguments) {
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
        let unknown = arguments::unknown_flag(&format!("-{name}"), command);
        warnings.push(match value {
            Some(value) => format!("ignored: {unknown}, with its value {:?}", value.to_string_lossy()),
            None => format!("ignored: {unknown}"),
        });
    }
    (kept, warnings)
}

fn is_asked_for(arguments: &[OsString]) -> bool {
    let flag = |argument: &OsString| {
        let rest = argument.to_str()?.strip_prefix("--")?.strip_prefix(FLAG)?;
        match rest.strip_prefix('=') {
            None => rest.is_empty().then_some(true),
            Some(value) => arguments::parse_bool(value).ok(),
        }
    };
    let flags = arguments.iter().take_while(|argument| *argument != "--").filter_map(flag);
    let variable = || std::env::var(VARIABLE).ok().and_then(|value| arguments::parse_bool(&value).ok());
    flags.last().or_else(variable).unwrap_or(false)
}
