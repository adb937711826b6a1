//! The terminal sessions of the user documentation: its blocks `console` are run by a shell, and print what the page shows.
//!
//! A line that begins with `$ ` is a command, lines with `> ` directly behind it continue it, the others are its output.
//! In output, "…" stands for any text, or as a line of its own for any number of lines; numbers and the width of gaps may
//! differ.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use gometa_tests::{
    ensemble::{Ensemble, loopback_address},
    program::program,
    wait::PATIENCE,
};
use rustix::process::{Pid, Signal, kill_process_group};

/// The host of a page whose nodes are started by its own commands.
const HOST: &str = "127.0.0.1";
/// The line that ends the output of a command.
const END: &str = "-- end";
/// The lines of an output that a message shows.
const TAIL_LINES: usize = 40;
/// The time for a page in one session, in which several nodes are started and stopped.
const SESSION_PATIENCE: Duration = PATIENCE.saturating_mul(3);

/// A command with the output that the page shows.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Command {
    /// Its line, with continuations.
    text: String,
    /// The lines of its output.
    shown: Vec<String>,
}

/// A page of the documentation, and how it is run.
pub(crate) struct Page {
    name: &'static str,
    blocks_min: usize,
    one_session: bool,
    variables: Vec<(String, String)>,
    host: Option<IpAddr>,
}

impl Page {
    /// A page, with at least this many blocks. Each block is a terminal session of its own, and what it has started ends with it.
    pub(crate) fn of(name: &'static str, blocks_min: usize) -> Page {
        Page { name, blocks_min, one_session: false, variables: Vec::new(), host: None }
    }

    /// The commands use this ensemble if they name no other one.
    pub(crate) fn with(self, ensemble: &Ensemble) -> Page {
        self.variable("GOMETA_PEERS", ensemble.requests_from(0).join(","))
    }

    /// Sets a variable of the shell.
    pub(crate) fn variable(mut self, name: &str, value: impl Into<String>) -> Page {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The whole page is one terminal session, whose commands start and stop nodes on 127.0.0.1. These run on an unused
    /// loopback address, with the ports of the page.
    pub(crate) fn in_one_session(mut self) -> Page {
        self.one_session = true;
        self.host = Some(loopback_address());
        self
    }

    /// Runs the sessions in a directory.
    ///
    /// # Panics
    /// If a command prints something else than the page shows.
    pub(crate) async fn run(self, directory: &Path) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(self.name);
        let mut text = std::fs::read_to_string(path).unwrap();
        if let Some(host) = self.host {
            text = text.replace(HOST, &host.to_string());
        }
        let blocks = sessions(&text);
        assert!(blocks.len() >= self.blocks_min, "only {} blocks found", blocks.len());
        let (sessions, patience) = match self.one_session {
            true => (vec![blocks.concat()], SESSION_PATIENCE),
            false => (blocks, PATIENCE),
        };
        for session in sessions {
            self.run_session(&session, directory, patience).await;
        }
    }

    /// Runs commands in one shell, and compares their output.
    async fn run_session(&self, session: &[Command], directory: &Path, patience: Duration) {
        let output = output_file(directory);
        let mut shell = self.shell(session, directory, &output);
        let group = shell.id().and_then(|id| Pid::from_raw(id as i32)).unwrap();
        let ended = tokio::time::timeout(patience, shell.wait()).await;
        if ended.is_err() {
            // With the nodes that it has started.
            kill_process_group(group, Signal::KILL).unwrap();
        }
        let said = String::from_utf8(std::fs::read(&output).unwrap()).unwrap();
        std::fs::remove_file(&output).unwrap();
        let end = format!("{END}\n");
        let mut printed = said.split(&end);
        for Command { text, shown } in session {
            let lines = printed.next().unwrap_or_default();
            let lines: Vec<String> =
                lines.lines().filter(|line| !is_notice(line)).map(without_leader).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert!(
                are_as_shown(&lines, shown) && has_status(text, &lines, shown),
                "$ {text}\n{:#?}\nis not\n{shown:#?}",
                tail(&lines)
            );
        }
        assert!(ended.is_ok(), "the session does not end");
    }

    /// Starts a shell with these commands, whose output goes to a file.
    fn shell(&self, session: &[Command], directory: &Path, output: &Path) -> tokio::process::Child {
        let programs = program("gometa").parent().unwrap().to_path_buf();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        // As in a terminal; a marker line ends the output of each command.
        let mut script = String::from("exec 2>&1; trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n");
        for Command { text, .. } in session {
            script += &format!("{text}\nstatus=$?; echo \"{END}\"; (exit $status)\n");
        }
        let mut command = tokio::process::Command::new("bash");
        command
            .args(["--norc", "-c", &script])
            .env("PATH", &path)
            .env("HOSTNAME", "here")
            .env_remove("GOMETA_PEERS");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(std::fs::File::create(output).unwrap()).stderr(Stdio::inherit());
        command.current_dir(directory).process_group(0).kill_on_drop(true).spawn().unwrap()
    }
}

/// Where a session's output is written: not in its directory, which its commands may list.
fn output_file(directory: &Path) -> PathBuf {
    let name = directory.file_name().unwrap().to_string_lossy();
    directory.with_file_name(format!("{name}.output"))
}

/// Returns the last of many lines.
fn tail<'a>(lines: &'a [&'a str]) -> &'a [&'a str] {
    &lines[lines.len().saturating_sub(TAIL_LINES)..]
}

/// Returns the blocks of a page: commands, each with its output.
fn sessions(page: &str) -> Vec<Vec<Command>> {
    let blocks = page.split("```console\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    blocks.map(commands).collect()
}

/// Returns the commands of a block.
fn commands(block: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for line in block.lines() {
        if let Some(text) = line.strip_prefix("$ ") {
            commands.push(Command { text: text.to_owned(), shown: Vec::new() });
            continue;
        }
        let last = commands.last_mut().unwrap_or_else(|| panic!("printed by no command: {line}"));
        match line.strip_prefix("> ") {
            Some(more) if last.shown.is_empty() => last.text += &format!("\n{more}"),
            _ => last.shown.push(line.to_owned()),
        }
    }
    commands
}

/// Whether the shell has written this line, when a process that it has started was killed.
fn is_notice(line: &str) -> bool {
    line.starts_with("bash: line ") && line.contains(" Killed ")
}

/// Replaces numbers and the width of gaps, which may differ.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    for sign in line.chars() {
        let sign = if sign.is_ascii_digit() { '0' } else { sign };
        if !(plain.ends_with(sign) && (sign == '0' || sign == ' ')) {
            plain.push(sign);
        }
    }
    plain
}

/// Whether a line matches the page, where "…" stands for any text.
fn is_as_shown(printed: &str, shown: &str) -> bool {
    let (printed, shown) = (plain(printed), plain(shown));
    let mut parts = shown.split('…');
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Removes the leader's address from an error: only a follower adds it.
fn without_leader(line: &str) -> String {
    match line.split_once("\"leader\":\"") {
        Some((before, rest)) if line.starts_with("{\"error\"") => {
            before.to_owned() + rest.split_once("\",").map_or("", |(_, behind)| behind)
        }
        _ => line.to_owned(),
    }
}

/// Whether the exit status that a command prints last is the one on the page: other numbers may differ.
fn has_status(text: &str, printed: &[&str], shown: &[String]) -> bool {
    !text.ends_with("echo $?") || printed.last().copied() == shown.last().map(String::as_str)
}

/// Whether lines match the page, where a line "…" stands for any number of lines.
fn are_as_shown(printed: &[&str], shown: &[String]) -> bool {
    match (printed, shown) {
        ([], []) => true,
        (_, [line, shown @ ..]) if line == "…" => {
            (0..=printed.len()).any(|skipped| are_as_shown(&printed[skipped..], shown))
        }
        ([first, printed @ ..], [line, shown @ ..]) => {
            is_as_shown(first, line) && are_as_shown(printed, shown)
        }
        _ => false,
    }
}

#[test]
fn output_is_compared_with_the_page() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (printed, shown, same) in [
        ("revision 12", "revision 3", true),
        ("revision x", "revision 3", false),
        ("a 1\nb\nc", "a …\n…", true),
        ("a\nb\nc", "a\nc", false),
        ("a\nb\nc", "…\nc", true),
        ("a  b, c", "a … c", true),
        ("a  b, d", "a … c", false),
        ("", "x", false),
    ] {
        let printed: Vec<&str> = printed.lines().collect();
        assert_eq!(are_as_shown(&printed, &lines(shown)), same, "{printed:?} {shown:?}");
    }
}

#[test]
fn exit_statuses_are_compared_exactly() {
    let shown = ["text 3".to_owned(), "5".to_owned()];
    assert!(has_status("false; echo $?", &["text 4", "5"], &shown));
    assert!(!has_status("false; echo $?", &["text 3", "4"], &shown));
    assert!(has_status("echo 4", &["text 3", "4"], &shown));
}

#[test]
fn commands_may_have_several_lines() {
    let block = "$ cat <<END\n> text\n> END\ntext\n$ echo '> x'\n> x\n$ true\n";
    let found = commands(block);
    let texts: Vec<&str> = found.iter().map(|command| command.text.as_str()).collect();
    assert_eq!(texts, ["cat <<END\ntext\nEND", "echo '> x'\nx", "true"]);
    assert_eq!(found[0].shown, ["text"]);
    assert!(is_notice("bash: line 7: 4711 Killed                  gometa-server"));
}
