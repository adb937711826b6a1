//! `gometa shell`: commands one after another, over one connection and in one session.
//!
//! On a terminal with editing, completion and a history; else it reads lines and carries them out, so that a script can
//! make many calls without starting a program for each.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use rustyline::{
    Completer, CompletionType, Config, Context, Editor, Helper, Highlighter, Hinter, Validator,
    completion::{Completer as Completing, Pair},
    config::Configurer,
    error::ReadlineError,
    history::FileHistory,
};
use tokio::runtime::Runtime;

use crate::{
    args::{Args, HISTORY_VARIABLE, Line, LineCommand, Shell, absolute, variable},
    commands::{self, Setting},
    input,
    output::{Failure, report},
    usage,
    words::{before_cursor, split},
};

const PROMPT: &str = "gometa> ";
/// Lines that the history holds.
const HISTORY_MAX: usize = 1000;
/// Bytes of the longest line: a value in escapes, and what stands around it.
const LINE_MAX: u64 = 8 << 20;
/// Exit status after Ctrl-C, as everywhere.
const INTERRUPTED: u8 = 130;

/// What became of a line.
enum Done {
    /// Carried out, or there was nothing to do; or failed, with the exit status of that.
    Line(u8),
    Interrupted,
    Exit,
}

/// Carries lines out until there are no more; gives the exit status of the first that failed.
pub(crate) fn run(
    setting: &Setting,
    options: &Shell,
    runtime: &Runtime,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    // There is no other input that a value of "-" could be read from.
    let setting = Setting { dash: false, ..setting.clone() };
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return typed(&setting, options, runtime, out);
    }
    let mut first = 0;
    let mut input = input::lock().map_err(Failure::input)?;
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        input.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut line).map_err(Failure::input)?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 > LINE_MAX {
            return Err(Failure::usage(format!("line {number} has more than {LINE_MAX} bytes")));
        }
        // As an editor of another system may have written it.
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
        let text = if number == 1 { input::without_byte_order_mark(text) } else { text };
        let status = match carry_out(&setting, text, runtime, out)? {
            Done::Exit => return Ok(first),
            Done::Interrupted => return Ok(INTERRUPTED),
            Done::Line(status) => status,
        };
        // Before the next line comes, which may be much later.
        out.flush()?;
        if first == 0 {
            first = status;
        }
        if first != 0 && options.exit_on_error {
            break;
        }
    }
    Ok(first)
}

/// Lines from a terminal.
fn typed(setting: &Setting, options: &Shell, runtime: &Runtime, out: &mut dyn Write) -> Result<u8, Failure> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY_MAX)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(broken)?
        .history_ignore_space(true)
        .build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config).map_err(broken)?;
    editor.set_auto_add_history(true);
    editor.set_helper(Some(Words { verbs: Verbs::new() }));
    let history = history(options);
    if let Some((path, _)) = &history {
        // There may be none yet.
        let _ = editor.load_history(path);
    }
    writeln!(out, "gometa {}, peers {}", env!("CARGO_PKG_VERSION"), setting.addresses.join(","))?;
    writeln!(out, "help lists the commands, Tab completes them, Ctrl-D ends")?;
    out.flush()?;
    let mut first = 0;
    let end = loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            // The line is given up, not the shell.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break Ok(first),
            Err(error) => break Err(broken(error)),
        };
        match carry_out(setting, line.as_bytes(), runtime, out) {
            Ok(Done::Exit) => break Ok(first),
            Ok(Done::Interrupted) => writeln!(io::stderr(), "interrupted; a write may have taken effect")?,
            Ok(Done::Line(status)) if first == 0 => first = status,
            Ok(Done::Line(_)) => {}
            Err(failure) => break Err(failure),
        }
        out.flush()?;
        if first != 0 && options.exit_on_error {
            break Ok(first);
        }
    };
    if let Some((path, source)) = &history {
        let saved = prepare(path).and_then(|()| editor.append_history(path).map_err(io::Error::other));
        if let Err(error) = saved {
            let path = path.display();
            writeln!(io::stderr(), "gometa: the history is not kept in {path} (from {source}): {error}")?;
        }
    }
    end
}

/// The terminal cannot be used.
fn broken(error: ReadlineError) -> Failure {
    let error = match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error),
    };
    Failure::Io { what: "cannot use the terminal", error }
}

/// The file of the history, absolute, and where its name comes from. None if an option says so, or without a home.
fn history(options: &Shell) -> Option<(PathBuf, &'static str)> {
    if let Some(named) = &options.history {
        return (!named.is_empty()).then(|| (absolute(Path::new(named)), "--history"));
    }
    if let Some(named) = variable(HISTORY_VARIABLE) {
        return Some((absolute(Path::new(&named)), HISTORY_VARIABLE));
    }
    let directory = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let (state, source) = match directory("XDG_STATE_HOME") {
        Some(state) => (state, "XDG_STATE_HOME"),
        None => (directory("HOME")?.join(".local/state"), "HOME"),
    };
    Some((state.join("gometa/history"), source))
}

/// Makes the directory of the history, and a file that nobody else may read: values may be secrets.
fn prepare(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

/// Carries one line out. What fails is reported; only failing output is an error.
fn carry_out(
    setting: &Setting,
    line: &[u8],
    runtime: &Runtime,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let fail = |failure: Failure, format| -> Result<Done, Failure> {
        report(&failure, format, &setting.source, &mut io::stderr())?;
        Ok(Done::Line(failure.exit_status()))
    };
    let words = match split(line) {
        Ok(words) if words.is_empty() => return Ok(Done::Line(0)),
        Ok(words) => words,
        Err(message) => return fail(Failure::usage(message), setting.format),
    };
    let Line { output, timeout, command } = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(error) => {
            let error = usage::suggest(error, &Line::command());
            if usage::is_help(&error) {
                write!(out, "{error}")?;
                return Ok(Done::Line(0));
            }
            if let Some(message) = usage::planned(&error) {
                return fail(Failure::Usage(message), setting.format);
            }
            let message = usage::in_one_line(&error);
            return fail(Failure::usage(format!("{message}; help lists the commands")), setting.format);
        }
    };
    let call = match command {
        LineCommand::Call(call) => call,
        LineCommand::Version => {
            write!(out, "{}", Args::command().render_version())?;
            return Ok(Done::Line(0));
        }
        LineCommand::Exit => return Ok(Done::Exit),
    };
    let format = output.unwrap_or(setting.format);
    let mut setting = Setting { format, ..setting.clone() };
    if let Some(timeout) = timeout {
        setting.client = setting.client.with_timeout(timeout);
        setting.timeout = timeout;
    }
    let done = runtime.block_on(async {
        tokio::select! {
            result = commands::run(&setting, &call, out) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match done {
        Some(Ok(status)) => Ok(Done::Line(status)),
        Some(Err(failure @ Failure::Io { .. })) => Err(failure),
        Some(Err(failure)) => fail(failure, format),
        None => Ok(Done::Interrupted),
    }
}

/// The shell's commands, their options, and what those take.
struct Verbs(clap::Command);

impl Verbs {
    fn new() -> Verbs {
        let mut command = Line::command();
        command.build();
        Verbs(command)
    }

    /// What the word after `before` may be, sorted.
    fn after(&self, before: &[String]) -> Vec<String> {
        let Some(verb) = before.first() else {
            return self.0.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        };
        if verb == "help" {
            return self.after(&[]);
        }
        let Some(command) = self.0.find_subcommand(verb) else { return Vec::new() };
        let names = |argument: &clap::Arg| {
            let short = argument.get_short().map(|short| format!("-{short}"));
            short.into_iter().chain(argument.get_long().map(|long| format!("--{long}"))).collect::<Vec<_>>()
        };
        if let Some(last) = before.last().filter(|_| before.len() > 1)
            && let Some(option) = command.get_arguments().find(|argument| names(argument).contains(last))
            && option.get_action().takes_values()
        {
            return option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        }
        let mut options: Vec<String> = command.get_arguments().flat_map(names).collect();
        options.sort();
        options
    }
}

/// What the editor asks for help with.
#[derive(Helper, Completer, Hinter, Highlighter, Validator)]
struct Words {
    #[rustyline(Completer)]
    verbs: Verbs,
}

impl Completing for Verbs {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = line.get(..at).unwrap_or(line);
        let Some((before, start)) = before_cursor(line) else { return Ok((at, Vec::new())) };
        let begun = &line[start..];
        // Only what begins with a hyphen may be an option: keys and values are not known here.
        let wanted = |word: &String| {
            let option = word.starts_with('-');
            word.starts_with(begun) && (!option || begun.starts_with('-'))
        };
        let pair = |word: String| Pair { replacement: format!("{word} "), display: word };
        Ok((start, self.after(&before).into_iter().filter(wanted).map(pair).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_complete() {
        let verbs = Verbs::new();
        let history = FileHistory::new();
        let complete = |line: &str| {
            let (start, pairs) = verbs.complete(line, line.len(), &Context::new(&history)).unwrap();
            (start, pairs.into_iter().map(|pair| pair.replacement.trim_end().to_owned()).collect::<Vec<_>>())
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(complete("s"), (0, words(&["set", "status"])));
        assert_eq!(complete("h"), (0, words(&["health", "help"])));
        assert_eq!(complete("help me"), (5, words(&["members"])));
        assert_eq!(complete("get k --l"), (6, words(&["--local"])));
        assert_eq!(complete("get k -o j"), (9, words(&["json"])));
        assert_eq!(complete("get k"), (4, vec![]), "keys are not known");
        assert_eq!(complete("set k 'a "), (9, vec![]));
        assert!(complete("").1.contains(&"exit".to_owned()));
    }
}
