//! The shell: interactive, with editing, history and completion; and executing lines of standard input.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use gometa_proto::{
    ErrorKind,
    v1::{Deleted, Error, Role, SessionEnded, SessionOpened, request::Operation, response},
};
use gometa_testkit::scripted_server::{Node, entry, view, welcome, written};
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

/// The time limit of every wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a node that stores keys until the process ends. Returns its address, and a receiver that is notified of each
/// get of the key `slow`, which is never answered.
fn store() -> (String, mpsc::Receiver<()>) {
    let (named, name) = mpsc::sync_channel(1);
    let (tell, asked) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = Node::start_without_time_limit().await;
            named.send(node.address.clone()).unwrap();
            let mut values: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
            let mut revision = 0;
            loop {
                let leading = welcome(view(Role::Leading, &node.address, &[&node.address]));
                let mut link = node.accept_with(leading).await;
                while let Some(request) = link.next_request().await {
                    let result = match request.operation.clone().unwrap() {
                        Operation::OpenSession(_) => {
                            response::Result::SessionOpened(SessionOpened { session: 1, timeout_ms: 30_000 })
                        }
                        Operation::EndSession(_) => {
                            response::Result::SessionEnded(SessionEnded { existed: true })
                        }
                        Operation::Set(set) => {
                            revision += 1;
                            values.insert(set.key.to_vec(), set.value.to_vec());
                            written(revision)
                        }
                        Operation::Get(get) if get.key == "slow" => {
                            tell.send(()).unwrap();
                            continue;
                        }
                        Operation::Get(get) => match values.get(&get.key[..]) {
                            Some(value) => entry(&get.key, value),
                            None => response::Result::Error(Error::not_applied(
                                ErrorKind::NotFound,
                                "there is no such key",
                            )),
                        },
                        Operation::Delete(delete) => {
                            let existed = values.remove(&delete.key[..]).is_some();
                            response::Result::Deleted(Deleted { revision, existed })
                        }
                        other => panic!("{other:?}"),
                    };
                    link.answer(&request, result).await;
                }
            }
        });
    });
    (name.recv_timeout(PATIENCE).unwrap(), asked)
}

fn gometa(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gometa"));
    command.args(arguments).env_remove("GOMETA_PEERS").env_remove("GOMETA_HISTORY");
    command
}

/// The command on a pseudo-terminal.
struct Terminal {
    keys: File,
    output: mpsc::Receiver<Vec<u8>>,
    /// The output that was not returned yet, without colours and cursor movements.
    shown: String,
    child: Child,
}

impl Terminal {
    /// Starts a shell and waits for its prompt.
    fn start(address: &str, history: &Path) -> Terminal {
        let arguments = ["--peers", address, "shell", "--history", history.to_str().unwrap()];
        let mut terminal = Terminal::run(&arguments);
        terminal.wait_for("gometa> ");
        terminal
    }

    fn run(arguments: &[&str]) -> Terminal {
        Terminal::run_in(arguments, &[])
    }

    fn run_in(arguments: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap();
        let screen =
            open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let screen = || Stdio::from(screen.try_clone().unwrap());
        let child = gometa(arguments)
            .envs(variables.iter().copied())
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(screen())
            .stdout(screen())
            .stderr(screen())
            .spawn()
            .unwrap();
        let keys = File::from(keys);
        let mut reading = keys.try_clone().unwrap();
        let (tell, output) = mpsc::sync_channel(1024);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails once no process has the terminal open.
            while let Ok(count @ 1..) = reading.read(&mut bytes) {
                if tell.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { keys, output, shown: String::new(), child }
    }

    /// Sends the signal of Ctrl-C. The terminal sends it only to the leader of a session, which the command is not.
    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown. Returns the output before it.
    fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at].to_owned();
                self.shown.drain(..at + text.len());
                return before;
            }
            match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.shown.push_str(&without_escapes(&bytes)),
                Err(_) => panic!("{text:?} is not shown: {:?}", self.shown),
            }
        }
    }

    /// Types a line. Returns the output between it and the next prompt.
    fn line(&mut self, keys: &str) -> String {
        self.type_keys(keys);
        self.type_keys("\r");
        // The line is shown again with each key and ends at the first line feed.
        self.wait_for("\n");
        self.wait_for("gometa> ")
    }

    fn end(mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(Instant::now() < until, "the shell does not end: {:?}", self.shown);
            // The command must not block on its output.
            let _ = self.output.recv_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text without escape sequences.
fn without_escapes(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::new();
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        if sign != '\u{1b}' {
            plain.push(sign);
        } else if signs.next() == Some('[') {
            signs.by_ref().find(|end| ('@'..='~').contains(end));
        }
    }
    plain
}

#[test]
fn lines_are_edited_completed_and_remembered() {
    let (address, _asked) = store();
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("state/history");

    let mut terminal = Terminal::start(&address, &history);
    // A letter inserted after two moves to the left; start and end of the line.
    assert!(terminal.line("set kex vaue\u{1b}[D\u{1b}[Dl").contains("revision 1, version 1"));
    assert_eq!(terminal.line("kex\u{1}get \u{5}").trim(), "value");
    // Completion of a command, an option and its value.
    let shown = terminal.line("g\tkex -\u{8}--ou\tj\t");
    assert!(shown.contains("\"key\":\"kex\"") && shown.contains("\"value\":\"value\""), "{shown}");
    // The line before the last one, edited.
    assert!(terminal.line("\u{1b}[A\u{1b}[A\u{17}nope").contains("no such key"));
    // Cancelled and not sent.
    terminal.type_keys("set kex other\u{3}");
    terminal.wait_for("gometa> ");
    assert_eq!(terminal.line("get kex").trim(), "value");
    // A line that is not saved.
    assert!(terminal.line(" set secret s3cret").contains("revision 2"));
    assert!(terminal.line("frobnicate").contains("unrecognized subcommand 'frobnicate'"));
    terminal.type_keys("\u{4}");
    assert_eq!(terminal.end(), 3, "the first failure was a key that is not there");

    let kept = std::fs::read_to_string(&history).unwrap();
    assert!(kept.contains("set kex value") && !kept.contains("s3cret"), "{kept}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);

    // Another shell has the history of the first.
    let mut terminal = Terminal::start(&address, &history);
    assert_eq!(terminal.line("\u{12}get k").trim(), "value");
    terminal.type_keys("\u{4}");
    terminal.end();
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let (address, _asked) = store();
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&address, &directory.path().join("history"));
    terminal.line("set k \"\\x1b]0;title\\x07one\\ntwo\\rthree\"");
    assert_eq!(terminal.line("get k").trim().replace('\r', ""), "\\x1b]0;title\\x07one\ntwo\\rthree");
    terminal.type_keys("get k --raw\r");
    terminal.wait_for("\n");
    // The test drops escape sequences, but not the bell.
    assert!(terminal.wait_for("gometa> ").contains("\u{7}one"));
    // A key in an error.
    let shown = terminal.line("get \"\\x1b[2Jkey\"");
    assert!(shown.contains("\\x1b[2Jkey"), "{shown}");
    terminal.type_keys("\u{4}");
    terminal.end();
}

#[test]
fn the_history_is_in_the_file_of_the_option_the_variable_or_the_default() {
    let (address, _asked) = store();
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".local/state/gometa/history");
    let named = home.path().join("named");
    let types = |arguments: &[&str], variable: &str| {
        let mut all = vec!["--peers", &address, "shell"];
        all.extend(arguments);
        let home = home.path().to_str().unwrap();
        let mut terminal =
            Terminal::run_in(&all, &[("HOME", home), ("XDG_STATE_HOME", ""), ("GOMETA_HISTORY", variable)]);
        terminal.wait_for("gometa> ");
        terminal.line("set k v");
        terminal.type_keys("\u{4}");
        assert_eq!(terminal.end(), 0);
        let kept = (state.exists(), named.exists());
        let _ = (std::fs::remove_file(&state), std::fs::remove_file(&named));
        kept
    };
    let named_text = named.to_str().unwrap();
    assert_eq!(types(&[], ""), (true, false), "an empty variable is none");
    assert_eq!(types(&[], named_text), (false, true));
    assert_eq!(types(&["--history", named_text], ""), (false, true));
    assert_eq!(types(&["--history", ""], named_text), (false, false), "nowhere");
}

#[test]
fn ctrl_c_interrupts_a_call_and_not_the_shell() {
    let (address, asked) = store();
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&address, &directory.path().join("history"));
    terminal.type_keys("get slow --timeout 1m\r");
    terminal.wait_for("\n");
    asked.recv_timeout(PATIENCE).unwrap();
    terminal.interrupt();
    terminal.wait_for("interrupted");
    terminal.wait_for("gometa> ");
    assert!(terminal.line("set k v").contains("revision 1"));
    terminal.type_keys("exit\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_load_shows_progress_and_its_summary_when_interrupted() {
    let (address, _asked) = store();
    // Writes only: a summary has no line for calls of a kind of which there were none.
    let load = ["bench", "-c", "1", "-r", "0", "-k", "9", "-d", "1m", "--prefix", "b/"];
    let mut terminal = Terminal::run(&[&["--peers", &address], &load[..]].concat());
    terminal.wait_for(" of 60 s: ");
    terminal.wait_for("0 errors");
    terminal.interrupt();
    terminal.wait_for("writes ");
    terminal.wait_for(" 0 errors, interrupted");
    assert_eq!(terminal.end(), 0);
    let output = script(&address, &[], b"get b/0\nget b/8\n");
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(3), 0),
        "the keys were removed: {output:?}"
    );
}

/// Runs a shell with these lines as standard input.
fn script(address: &str, arguments: &[&str], lines: &'static [u8]) -> Output {
    let mut child = gometa(&["--peers", address, "shell"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // The shell may have exited before.
    std::thread::spawn(move || input.write_all(lines));
    child.wait_with_output().unwrap()
}

#[test]
fn lines_of_standard_input_are_executed_and_the_first_failure_is_the_status() {
    let (address, _asked) = store();
    let lines =
        b"# a script\n\n set 'a b' \"x\\ty\\xff\"\nget \"a b\"\nget nope\nset 'open\nset - -\nget -\n\
                  get 'a b' -o json\nexit\nget nope\n";
    let output = script(&address, &[], lines);
    assert_eq!(
        output.stdout,
        b"revision 1, version 1\nx\ty\xff\nrevision 2, version 1\n-\n{\"create_revision\":1,\"key\":\"a b\",\
          \"mod_revision\":1,\"value_base64\":\"eAl5/w==\",\"version\":1}\n",
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("no such key") && errors.contains("unclosed quote '"), "{errors}");

    // Byte order mark and CRLF of other systems' editors.
    let output =
        script(&address, &[], b"\xef\xbb\xbfset k 'v'\r\nget k\r\n\r\n# end\r\nset k \"a\\r\"\r\nget k");
    assert_eq!(output.stdout, b"revision 3, version 1\nv\nrevision 4, version 1\na\r\n", "{output:?}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = script(&address, &[], b"version\nkeys\nstatu\nsett k v\n");
    let (shown, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), shown.starts_with("gometa 0.")), (Some(2), true), "{shown}");
    assert!(errors.contains("keys are listed with"), "{errors}");
    assert!(errors.contains("'status'") && !errors.contains("'set'"), "{errors}");

    let output = script(&address, &["-e"], b"get nope\nset k v\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0), "{output:?}");
    let output = script(&address, &["-o", "json"], b"set k v\ncas k\n");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("{\"error\":{\"kind\":\"InvalidArgument\""), "{errors}");
    let output = script(&address, &[], b"help\nhelp get\nget --help");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(
        shown.contains("members") && shown.contains("exit") && shown.contains("--min-revision"),
        "{shown}"
    );
}
