//! `gometa shell`: many commands over one connection and in one session.
//!
//! Interactive on a terminal, with editing, completion and a history; otherwise it executes the lines of standard input,
//! so that a script need not start a process per call.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{CommandFactory, Parser, Subcommand};
use rustyline::{
    CompletionType, Config, Editor, Helper, Highlighter, Hinter, Validator,
    completion::{Completer, Pair},
    config::Configurer,
    error::ReadlineError,
    history::FileHistory,
};
use tokio::runtime::Runtime;

use super::Call;
use crate::{
    context::Context,
    input,
    options::{absolute, parse_duration, variable},
    output::{Failure, Format, INTERRUPTED, report},
    usage,
    words::{before_cursor, split},
};

const PROMPT: &str = "gometa> ";
/// The environment variable that names the file of the history.
const HISTORY_VARIABLE: &str = "GOMETA_HISTORY";
/// The number of lines in the history.
const HISTORY_MAX: usize = 1000;
/// The length of the longest line in bytes: room for a value in escapes.
const LINE_MAX: u64 = 8 << 20;

/// The syntax of lines.
pub(crate) const SHELL_HELP: &str = "\
A line is a command without the word `gometa`. Words are separated by spaces.
  'single quotes'  no escapes inside
  \"double quotes\"  escapes inside: \\n \\t \\r \\0 \\\\ \\\" and \\xff for any byte
  outside quotes   the same escapes; a backslash before any other character stands for that character
  # at the start of a line begins a comment";

#[derive(clap::Args, Debug)]
pub(crate) struct Shell {
    /// Exit at the first command that fails; otherwise its exit status is that of the shell
    #[arg(short = 'e', long)]
    exit_on_error: bool,

    /// The file of the history, none if empty; lines that begin with a space are not saved. By default, the file
    /// named by GOMETA_HISTORY, else gometa/history below $XDG_STATE_HOME or ~/.local/state
    #[arg(long, value_name = "FILE")]
    history: Option<OsString>,
}

/// A line.
#[derive(Parser, Debug)]
#[command(name = "gometa", no_binary_name = true, after_help = SHELL_HELP, max_term_width = 110)]
#[command(override_usage = "COMMAND [OPTIONS] ARGUMENTS")]
pub(crate) struct ShellLine {
    /// The format of this result
    #[arg(short, long, global = true, value_enum)]
    output: Option<Format>,

    /// The time limit of this call
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,

    #[command(subcommand)]
    command: ShellCommand,
}

#[derive(Subcommand, Debug)]
enum ShellCommand {
    #[command(flatten)]
    Call(Call),
    /// Print the version
    Version,
    /// Exit the shell, as does the end of input (Ctrl-D)
    #[command(alias = "quit")]
    Exit,
}

/// The result of a line.
enum Done {
    /// Executed or failed, with the exit status.
    Line(u8),
    Interrupted,
    Exit,
}

impl Shell {
    /// Executes lines until the end of input. Returns the exit status of the first that failed.
    pub(crate) fn run(
        &self,
        context: &Context,
        runtime: &Runtime,
        out: &mut dyn Write,
    ) -> Result<u8, Failure> {
        // Standard input is the source of lines, not of values.
        let context = Context { dash: false, ..context.clone() };
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            return self.interactive(&context, runtime, out);
        }
        self.read_input(&context, runtime, out)
    }

    /// Executes the lines of standard input.
    fn read_input(&self, context: &Context, runtime: &Runtime, out: &mut dyn Write) -> Result<u8, Failure> {
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
            // Line endings and byte order mark of other systems' editors.
            let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
            let text = if number == 1 { input::without_byte_order_mark(text) } else { text };
            let status = match execute(context, text, runtime, out)? {
                Done::Exit => return Ok(first),
                Done::Interrupted => return Ok(INTERRUPTED),
                Done::Line(status) => status,
            };
            // The next line may arrive much later.
            out.flush()?;
            if first == 0 {
                first = status;
            }
            if first != 0 && self.exit_on_error {
                break;
            }
        }
        Ok(first)
    }

    /// Executes lines typed on a terminal.
    fn interactive(&self, context: &Context, runtime: &Runtime, out: &mut dyn Write) -> Result<u8, Failure> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY_MAX)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(terminal_error)?
            .history_ignore_space(true)
            .build();
        let mut editor: Editor<EditorHelper, FileHistory> =
            Editor::with_config(config).map_err(terminal_error)?;
        editor.set_auto_add_history(true);
        editor.set_helper(Some(EditorHelper { completer: CommandCompleter::new() }));
        let history = self.history();
        if let Some((path, _)) = &history {
            // The file may not exist yet.
            let _ = editor.load_history(path);
        }
        writeln!(out, "gometa {}, peers {}", env!("CARGO_PKG_VERSION"), context.addresses.join(","))?;
        writeln!(out, "help lists the commands, Tab completes them, Ctrl-D exits")?;
        out.flush()?;
        let mut first = 0;
        let end = loop {
            let line = match editor.readline(PROMPT) {
                Ok(line) => line,
                // Ctrl-C cancels the line, not the shell.
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => break Ok(first),
                Err(error) => break Err(terminal_error(error)),
            };
            match execute(context, line.as_bytes(), runtime, out) {
                Ok(Done::Exit) => break Ok(first),
                Ok(Done::Interrupted) => {
                    writeln!(io::stderr(), "interrupted; a write may have taken effect")?
                }
                Ok(Done::Line(status)) if first == 0 => first = status,
                Ok(Done::Line(_)) => {}
                Err(failure) => break Err(failure),
            }
            out.flush()?;
            if first != 0 && self.exit_on_error {
                break Ok(first);
            }
        };
        if let Some((path, source)) = &history {
            let saved =
                create_history(path).and_then(|()| editor.append_history(path).map_err(io::Error::other));
            if let Err(error) = saved {
                let path = path.display();
                writeln!(io::stderr(), "gometa: cannot save the history in {path} (from {source}): {error}")?;
            }
        }
        end
    }

    /// The file of the history, absolute, and the source of its name. None if it is disabled, or without a home directory.
    fn history(&self) -> Option<(PathBuf, &'static str)> {
        if let Some(named) = &self.history {
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
}

/// The failure of the terminal.
fn terminal_error(error: ReadlineError) -> Failure {
    let error = match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error),
    };
    Failure::Io { what: "cannot use the terminal", error }
}

/// Creates the history and its directory, readable by the user only: values may be secrets.
fn create_history(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

/// Executes one line. A failure is reported; only a failure of the output is returned.
fn execute(context: &Context, line: &[u8], runtime: &Runtime, out: &mut dyn Write) -> Result<Done, Failure> {
    let fail = |failure: Failure, format| -> Result<Done, Failure> {
        report(&failure, format, &context.source, &mut io::stderr())?;
        Ok(Done::Line(failure.exit_status()))
    };
    let words = match split(line) {
        Ok(words) if words.is_empty() => return Ok(Done::Line(0)),
        Ok(words) => words,
        Err(message) => return fail(Failure::usage(message), context.format),
    };
    let ShellLine { output, timeout, command } = match ShellLine::try_parse_from(words) {
        Ok(line) => line,
        Err(error) => {
            let error = usage::suggest(error, &ShellLine::command());
            if usage::is_help(&error) {
                write!(out, "{error}")?;
                return Ok(Done::Line(0));
            }
            if let Some(message) = usage::planned(&error) {
                return fail(Failure::Usage(message), context.format);
            }
            let message = usage::in_one_line(&error);
            return fail(Failure::usage(format!("{message}; help lists the commands")), context.format);
        }
    };
    let call = match command {
        ShellCommand::Call(call) => call,
        ShellCommand::Version => {
            writeln!(out, "gometa {}", env!("CARGO_PKG_VERSION"))?;
            return Ok(Done::Line(0));
        }
        ShellCommand::Exit => return Ok(Done::Exit),
    };
    let format = output.unwrap_or(context.format);
    let mut context = Context { format, ..context.clone() };
    if let Some(timeout) = timeout {
        context.client = context.client.with_timeout(timeout);
        context.timeout = timeout;
    }
    let done = runtime.block_on(async {
        tokio::select! {
            result = call.run(&context, out) => Some(result),
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

/// The completion of commands, options and their values.
struct CommandCompleter(clap::Command);

impl CommandCompleter {
    fn new() -> CommandCompleter {
        let mut command = ShellLine::command();
        command.build();
        CommandCompleter(command)
    }

    /// The possible words after `before`, sorted.
    fn after(&self, before: &[String]) -> Vec<String> {
        let Some(name) = before.first() else {
            return self.0.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        };
        if name == "help" {
            return self.after(&[]);
        }
        let Some(command) = self.0.find_subcommand(name) else { return Vec::new() };
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

/// The extensions of the editor: completion alone.
#[derive(Helper, rustyline::Completer, Hinter, Highlighter, Validator)]
struct EditorHelper {
    #[rustyline(Completer)]
    completer: CommandCompleter,
}

impl Completer for CommandCompleter {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = line.get(..at).unwrap_or(line);
        let Some((before, start)) = before_cursor(line) else { return Ok((at, Vec::new())) };
        let begun = &line[start..];
        // Options are completed after a hyphen only: the word may be a key or a value.
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
        let completer = CommandCompleter::new();
        let history = FileHistory::new();
        let complete = |line: &str| {
            let (start, pairs) =
                completer.complete(line, line.len(), &rustyline::Context::new(&history)).unwrap();
            (start, pairs.into_iter().map(|pair| pair.replacement.trim_end().to_owned()).collect::<Vec<_>>())
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(complete("s"), (0, words(&["scan", "set", "settings", "status"])));
        assert_eq!(complete("h"), (0, words(&["history", "health", "help"])));
        assert_eq!(complete("help me"), (5, words(&["members", "member"])));
        assert_eq!(complete("get k --l"), (6, words(&["--local"])));
        assert_eq!(complete("get k -o j"), (9, words(&["json"])));
        assert_eq!(complete("get k"), (4, vec![]), "keys are not known");
        assert_eq!(complete("set k 'a "), (9, vec![]));
        assert!(complete("").1.contains(&"exit".to_owned()));
    }
}
