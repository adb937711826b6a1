//! The program as a supervisor sees it: what it prints, how it ends, what it refuses.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A refusal comes within this.
const REFUSAL_MAX: Duration = Duration::from_secs(2);

struct Scratch {
    directory: tempfile::TempDir,
    ports: [u16; 3],
}

impl Scratch {
    /// A directory with a `node.json` for an ensemble of one, on ports that are free.
    fn new() -> Scratch {
        let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (udp, message, request) = (UdpSocket::bind("127.0.0.1:0").unwrap(), tcp(), tcp());
        let ports = [
            udp.local_addr().unwrap().port(),
            message.local_addr().unwrap().port(),
            request.local_addr().unwrap().port(),
        ];
        let scratch = Scratch { directory: tempfile::tempdir().unwrap(), ports };
        scratch.write("node.json", &scratch.host(""));
        scratch
    }

    fn host(&self, more: &str) -> String {
        let [election, message, request] = self.ports;
        format!(
            "{{\"Host\": {{\"ElectionAddr\": \"127.0.0.1:{election}\", \"MessageAddr\": \"127.0.0.1:{message}\", \
             \"RequestAddr\": \"127.0.0.1:{request}\"}}{more}}}"
        )
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gometa-server"));
        command.args(flags).current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().unwrap()
    }

    /// Starts it and waits for its line.
    fn start(&self, flags: &[&str], stdin: Stdio) -> (Running, String) {
        let mut child = self.command(flags).stdin(stdin).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        (Running { child }, line.trim_end().to_owned())
    }

    /// The last line on standard error of a run that fails in time.
    fn refusal(&self, flags: &[&str]) -> String {
        let start = Instant::now();
        let output = self.run(flags);
        assert!(start.elapsed() < REFUSAL_MAX, "{flags:?} took {:?}", start.elapsed());
        assert!(!output.status.success(), "{flags:?}");
        assert!(output.stdout.is_empty(), "{flags:?}");
        last_line(&output.stderr)
    }
}

/// A server that does not outlive its test.
struct Running {
    child: Child,
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the exit status and what stands on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn last_line(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_node_says_that_it_is_ready_and_ends_when_asked() {
    for (signal, restarts) in [(Signal::TERM, 2), (Signal::INT, 1)] {
        let scratch = Scratch::new();
        for start in 1..=restarts {
            let (server, line) = scratch.start(&["-config=node.json"], Stdio::null());
            let [election, message, request] = scratch.ports;
            assert!(line.starts_with("GOMETA READY {\"node\":\""), "{line}");
            let rest = format!(
                "\",\"role\":\"leader\",\"election\":\"127.0.0.1:{election}\",\"message\":\"127.0.0.1:{message}\",\
                 \"request\":\"127.0.0.1:{request}\"}}"
            );
            assert!(line.ends_with(&rest), "{line}");
            assert!(scratch.directory.path().join("gometa-data").is_dir());
            server.signal(signal);
            let (status, log) = server.end();
            assert_eq!(status, Some(0), "{log}");
            assert!(log.contains(&format!("start number {start}")), "{log}");
        }
    }
}

#[test]
fn a_killed_node_comes_back() {
    let scratch = Scratch::new();
    let (first, _) = scratch.start(&["-config=node.json", "-log-format=json"], Stdio::null());
    first.signal(Signal::KILL);
    let (status, log) = first.end();
    assert_eq!(status, None);
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    let (second, line) = scratch.start(&["-config=node.json"], Stdio::null());
    assert!(line.starts_with("GOMETA READY"), "{line}");
    second.signal(Signal::TERM);
    assert_eq!(second.end().0, Some(0));
}

#[test]
fn standard_input_is_watched_if_it_is_a_pipe() {
    let scratch = Scratch::new();
    let (mut server, line) = scratch.start(&["-config=node.json"], Stdio::piped());
    assert!(line.starts_with("GOMETA READY"), "{line}");
    drop(server.child.stdin.take());
    assert_eq!(server.end().0, Some(0));
    // The end of what is no pipe counts only on demand.
    let output = scratch.run(&["-config=node.json", "-watch-stdin=true"]);
    assert_eq!(output.status.code(), Some(0));
    let last = last_line(&output.stderr);
    assert!(last.ends_with("ended: end of standard input"), "{last}");
}

#[test]
fn ports_and_directories_in_use_are_named() {
    let scratch = Scratch::new();
    let (_server, _) = scratch.start(&["-config=node.json"], Stdio::null());
    let refusal = scratch.refusal(&["-config=node.json"]);
    let expected = format!("gometa-server: ElectionAddr 127.0.0.1:{} (UDP) is taken", scratch.ports[0]);
    assert!(refusal.starts_with(&expected), "{refusal}");
    // Other ports, the same directory.
    let other = Scratch::new();
    let data = scratch.directory.path().join("gometa-data");
    let refusal = other.refusal(&["-config=node.json", "-data-dir", data.to_str().unwrap()]);
    assert!(refusal.contains(&data.display().to_string()), "{refusal}");
    assert!(refusal.contains("is in use by another process"), "{refusal}");
}

#[test]
fn refusals_are_the_last_line_on_standard_error() {
    let scratch = Scratch::new();
    scratch.write("broken.json", "{\n  \"Host\": {\n");
    scratch.write("host.json", &scratch.host("").replacen("127.0.0.1", "no-such-host.invalid", 1));
    scratch.write("file", "");
    for (flags, expected) in [
        (&["-config=broken.json"][..], "gometa-server: broken.json:2:"),
        (&["-config=absent.json"], "gometa-server: absent.json: cannot be read: No such file"),
        (&["-config=host.json"], "gometa-server: cannot resolve ElectionAddr no-such-host.invalid:"),
        (&["-config=node.json", "-data-dir=file"], "gometa-server: "),
        (&["-config=node.json", "-log-level=a=b=c"], "gometa-server: -log-level=a=b=c: "),
        (&["-confg=node.json"], "gometa-server: unknown flag -confg; did you mean -config?"),
        (&["-watcher"], "gometa-server: -watcher: the observer mode of the original is not offered yet"),
    ] {
        let refusal = scratch.refusal(flags);
        assert!(refusal.starts_with(expected), "{flags:?}: {refusal}");
    }
    assert!(!scratch.directory.path().join("gometa-data").exists());
}

#[test]
fn the_configuration_can_be_checked_without_starting() {
    let scratch = Scratch::new();
    scratch.write("more.json", &scratch.host(", \"HeartbeatMS\": 50, \"Datadirectory\": \"x\""));
    let output = scratch.run(&["-config=more.json", "-check"]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("more.json is valid\n"), "{stdout}");
    assert!(stdout.contains("heartbeat         50 ms"), "{stdout}");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("unknown key Datadirectory in the configuration is ignored; did you mean DataDir?"),
        "{log}"
    );
    assert!(!Path::new("gometa-data").exists());
}

#[test]
fn flags_may_come_from_the_environment() {
    let scratch = Scratch::new();
    let output = scratch
        .command(&["-check"])
        .env("GOMETA_CONFIG", "node.json")
        .env("GOMETA_DATA_DIR", "elsewhere")
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("data directory    elsewhere"));
}
