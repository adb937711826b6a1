//! The process: its output, its exit status, its errors.
#![expect(clippy::unwrap_used, reason = "tests may")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::ioctl_fionbio,
    process::{Pid, Signal, kill_process},
};

/// The time for an error at the start.
const ERROR_TIME_MAX: Duration = Duration::from_secs(2);

struct Scratch {
    directory: tempfile::TempDir,
    ports: [u16; 3],
}

impl Scratch {
    /// A directory with a `node.json` for an ensemble of one, on free ports.
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
            "{{\"Peer\": [], \"Host\": {{\"ElectionAddr\": \"127.0.0.1:{election}\", \"MessageAddr\": \"127.0.0.1:{message}\", \
             \"RequestAddr\": \"127.0.0.1:{request}\"}}{more}}}"
        )
    }

    /// The directory's canonical path.
    fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
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

    /// Starts the server and waits for its READY line.
    fn start(&self, flags: &[&str], stdin: Stdio) -> (Running, String) {
        let mut child = self.command(flags).stdin(stdin).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        (Running { child }, line.trim_end().to_owned())
    }

    /// The standard error of a run that fails.
    fn failing_run(&self, flags: &[&str]) -> String {
        let output = self.run(flags);
        assert!(!output.status.success(), "{flags:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The last line on standard error of a run that fails in time.
    fn last_error(&self, flags: &[&str]) -> String {
        let start = Instant::now();
        let output = self.run(flags);
        assert!(start.elapsed() < ERROR_TIME_MAX, "{flags:?} took {:?}", start.elapsed());
        assert!(!output.status.success(), "{flags:?}");
        assert!(output.stdout.is_empty(), "{flags:?}");
        last_line(&output.stderr)
    }
}

/// A server that is killed with its test.
struct Running {
    child: Child,
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Requests the shutdown, which must succeed; returns standard error.
    fn stop(self, signal: Signal) -> String {
        self.signal(signal);
        let (status, log) = self.end();
        assert_eq!(status, Some(0), "{signal:?}: {log}");
        log
    }

    /// Waits for the end; returns the exit status and standard error.
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
fn a_node_prints_the_ready_line_and_shuts_down_on_a_signal() {
    let scratch = Scratch::new();
    for start in 1..=2 {
        let (server, line) = scratch.start(&["-config=node.json"], Stdio::null());
        let [election, message, request] = scratch.ports;
        assert!(line.starts_with("GOMETA READY {\"node\":\""), "{line}");
        let rest = format!(
            "\",\"role\":\"leader\",\"election\":\"127.0.0.1:{election}\",\"message\":\"127.0.0.1:{message}\",\
             \"request\":\"127.0.0.1:{request}\"}}"
        );
        assert!(line.ends_with(&rest), "{line}");
        assert!(scratch.directory.path().join("gometa-data").is_dir());
        let log = server.stop(Signal::TERM);
        assert!(log.contains(&format!("boot={start} ")), "{log}");
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
    second.stop(Signal::TERM);
}

#[test]
fn standard_input_is_watched_if_it_is_a_pipe() {
    let scratch = Scratch::new();
    let (mut server, line) = scratch.start(&["-config=node.json"], Stdio::piped());
    assert!(line.starts_with("GOMETA READY"), "{line}");
    drop(server.child.stdin.take());
    assert_eq!(server.end().0, Some(0));
    // Other inputs are watched on request only.
    let output = scratch.run(&["-config=node.json", "-watch-stdin=true"]);
    assert_eq!(output.status.code(), Some(0));
    let last = last_line(&output.stderr);
    assert!(last.ends_with("stopped reason=\"end of standard input\""), "{last}");
}

#[test]
fn ports_and_directories_in_use_are_named() {
    let scratch = Scratch::new();
    let (_server, _) = scratch.start(&["-config=node.json"], Stdio::null());
    let error = scratch.last_error(&["-config=node.json"]);
    let expected = format!("gometa-server: ElectionAddr 127.0.0.1:{} (UDP) is taken", scratch.ports[0]);
    assert!(error.starts_with(&expected), "{error}");
    // Other ports, the same directory.
    let other = Scratch::new();
    let data = scratch.directory.path().join("gometa-data");
    let error = other.last_error(&["-config=node.json", "-data-dir", data.to_str().unwrap()]);
    assert!(error.contains(&data.display().to_string()), "{error}");
    assert!(error.contains("is in use by another process"), "{error}");
}

#[test]
fn errors_are_the_last_line_on_standard_error() {
    let scratch = Scratch::new();
    scratch.write("broken.json", "{\n  \"Host\": {\n");
    scratch.write("host.json", &scratch.host("").replacen("127.0.0.1", "no-such-host.invalid", 1));
    scratch.write("file", "");
    let path = |name: &str| scratch.path().join(name).display().to_string();
    for (flags, expected) in [
        (&["-config=broken.json"][..], &*format!("gometa-server: {}:2:", path("broken.json"))),
        (&["-config=host.json"], "gometa-server: cannot resolve ElectionAddr no-such-host.invalid:"),
        (
            &["-config=node.json", "-data-dir=file"],
            &format!("gometa-server: cannot use {}: not a directory: use a directory", path("file")),
        ),
        (&["-config=node.json", "-log-level=a=b=c"], "gometa-server: -log-level=a=b=c: "),
        (&["-confg=node.json"], "gometa-server: unknown flag -confg; did you mean -config?"),
    ] {
        let error = scratch.last_error(flags);
        assert!(error.starts_with(expected), "{flags:?}: {error}");
    }
    assert!(!scratch.directory.path().join("gometa-data").exists());
}

#[test]
fn the_configuration_can_be_checked_without_starting() {
    let scratch = Scratch::new();
    scratch.write("more.json", &scratch.host(", \"HeartbeatMS\": 50, \"Datadirectory\": \"x\""));
    let output = scratch.run(&["-config=more.json", "-check", "-lenient-flags"]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let (file, data) = (scratch.path().join("more.json"), scratch.path().join("gometa-data"));
    assert!(stdout.starts_with(&format!("{} is valid\n", file.display())), "{stdout}");
    assert!(stdout.contains(&format!("data directory    {}\n", data.display())), "{stdout}");
    assert!(stdout.contains("heartbeat         50 ms"), "{stdout}");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("ignored: unknown key Datadirectory in the configuration; did you mean DataDir?"),
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
    let expected = format!("data directory    {}", scratch.path().join("elsewhere").display());
    assert!(String::from_utf8(output.stdout).unwrap().contains(&expected));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let scratch = Scratch::new();
    let help = String::from_utf8(scratch.run(&["-help"]).stdout).unwrap();
    let variables = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    assert_eq!(variables.clone().filter(|variable| variable.starts_with("GOMETA_")).count(), 18, "{help}");
    let output = scratch
        .command(&["-config=node.json", "-check"])
        .envs(variables.map(|variable| (variable, "")))
        .env("NOTIFY_SOCKET", "")
        .env("GLIBC_TUNABLES", "")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn errors_name_the_source_of_a_value() {
    let scratch = Scratch::new();
    scratch.write("data-dir.json", &scratch.host(", \"DataDir\": \"/proc/none\""));
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (absent, data_dir) = (path("absent.json"), path("data-dir.json"));
    let cannot_be_read = |source: &str| {
        let error = "No such file or directory (os error 2)";
        format!("{absent}: cannot be read: {error}; check the path given with {source}")
    };
    for (flags, variable, expected) in [
        (&["-client=maybe"][..], ("", ""), "-client=maybe: expected true or false".to_owned()),
        (&[], ("GOMETA_CLIENT", "maybe"), "GOMETA_CLIENT=maybe: expected true or false".to_owned()),
        (&[], ("GOMETA_DEV", "9"), "GOMETA_DEV=9: 9 is not in 1..=7".to_owned()),
        (&[], ("GOMETA_LOG_LEVEL", "a=b=c"), "GOMETA_LOG_LEVEL=a=b=c: ".to_owned()),
        (&[], ("GOMETA_WATCHER", "true"), "GOMETA_WATCHER needs the RequestAddrs of members".to_owned()),
        (&["-dev"], ("GOMETA_CONFIG", "x"), "-dev and GOMETA_CONFIG exclude each other".to_owned()),
        (&["-config=absent.json"], ("", ""), cannot_be_read("-config")),
        (&[], ("GOMETA_CONFIG", "absent.json"), cannot_be_read("GOMETA_CONFIG")),
        (&["-config=node.json", "-data-dir=/proc/none"], ("GOMETA_DATA_DIR", "x"), "-data-dir".to_owned()),
        (&["-config=node.json"], ("GOMETA_DATA_DIR", "/proc/none"), "GOMETA_DATA_DIR".to_owned()),
        (&["-config=data-dir.json"], ("", ""), format!("DataDir in {data_dir}")),
    ] {
        let mut command = scratch.command(flags);
        if !variable.0.is_empty() {
            command.env(variable.0, variable.1);
        }
        let output = command.output().unwrap();
        let last = last_line(&output.stderr);
        assert!(!output.status.success(), "{flags:?} {variable:?}: {last}");
        if last.contains("/proc/none") {
            let expected = format!("; the directory comes from {expected} (node ");
            assert!(last.starts_with("gometa-server: cannot create /proc/none"), "{last}");
            assert!(last.contains(&expected), "{last}");
        } else {
            assert!(last.starts_with(&format!("gometa-server: {expected}")), "{expected}: {last}");
        }
    }
}

#[test]
fn signals_shut_a_node_down_or_have_no_effect() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::QUIT, "SIGQUIT")] {
        let scratch = Scratch::new();
        let (server, _) = scratch.start(&["-config=node.json"], Stdio::null());
        for ignored in [
            Signal::HUP,
            Signal::USR1,
            Signal::USR2,
            Signal::ALARM,
            Signal::VTALARM,
            Signal::PROF,
            Signal::IO,
            Signal::XFSZ,
        ] {
            server.signal(ignored);
        }
        let log = server.stop(signal);
        assert_eq!(log.matches("SIGHUP ignored").count(), 1, "{log}");
        assert!(log.lines().last().unwrap().ends_with(&format!("stopped reason={name}")), "{log}");
    }
}

#[test]
fn lines_can_be_json_and_name_the_node() {
    let scratch = Scratch::new();
    let lines = |log: &str| -> Vec<serde_json::Value> {
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    };
    let node = format!("127.0.0.1:{}", scratch.ports[1]);
    let flags = ["-config=node.json", "-log-format=json", "-log-level=debug"];
    let (server, _) = scratch.start(&flags, Stdio::null());
    let taken = lines(&scratch.failing_run(&flags));
    let log = lines(&server.stop(Signal::TERM));
    for line in log.iter().chain(&taken) {
        assert_eq!(line["node"], *node, "{line}");
        assert!(
            line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
    let last = log.last().unwrap();
    assert_eq!((&last["message"], &last["reason"]), (&"stopped".into(), &"SIGTERM".into()));
    let last = taken.last().unwrap();
    assert_eq!(last["level"], "ERROR", "{last}");
    assert!(last["message"].as_str().unwrap().contains("is taken by another process"), "{last}");
    // Also with an invalid command line.
    let last = lines(&scratch.failing_run(&["-log-format=json", "-nonsense"]));
    assert!(last[0]["message"].as_str().unwrap().starts_with("unknown flag -nonsense"), "{last:?}");

    let (server, _) = scratch.start(&["-config=node.json", "-log-level=debug"], Stdio::null());
    let log = server.stop(Signal::TERM);
    assert!(log.lines().all(|line| line.contains(&format!(" {node} "))), "{log}");
}

#[test]
fn nodes_of_one_process_have_their_own_ports_and_names_in_the_log() {
    // Three free ports, and those 1,000 and 2,000 above; another process may take one before the nodes do.
    for _ in 0..20 {
        let scratch = Scratch::new();
        let port = scratch.ports[1] % 20_000 + 20_000;
        let flags = ["-dev=3", &format!("-dev-port={port}"), "-log-level=debug"];
        let (server, line) = scratch.start(&flags, Stdio::null());
        if line.is_empty() {
            let (_, log) = server.end();
            assert!(log.contains("is taken by another process"), "{log}");
            assert!(log.contains(&format!("-dev=3 -dev-port={port}")), "{log}");
            continue;
        }
        let requests =
            [0, 1_000, 2_000].map(|above| format!("\"request\":\"127.0.0.1:{}\"", port + above + 3));
        assert!(requests.iter().any(|request| line.contains(request)), "{line}");
        let log = server.stop(Signal::TERM);
        let nodes = [0, 1_000, 2_000].map(|above| format!(" 127.0.0.1:{} ", port + above + 2));
        for node in &nodes {
            assert!(log.lines().any(|line| line.contains(node)), "{node}: {log}");
        }
        for line in log.lines() {
            assert!(line.contains(" -dev=3 ") || nodes.iter().any(|node| line.contains(node)), "{line}");
        }
        assert!(scratch.path().join(format!("gometa-dev-{port}")).is_dir());
        return;
    }
    panic!("no free ports");
}

#[test]
fn a_failed_write_of_requested_text_is_an_error() {
    let scratch = Scratch::new();
    for flags in [&["-help"][..], &["-version"], &["-config=node.json", "-check"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = scratch.command(flags).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        let last = last_line(&output.stderr);
        let expected = "gometa-server: cannot write to standard output: No space left on device";
        assert!(last.starts_with(expected), "{flags:?}: {last}");
    }
}

#[test]
fn systemd_is_notified_when_all_nodes_are_ready_and_at_the_shutdown() {
    for is_abstract in [false, true] {
        let scratch = Scratch::new();
        let name = scratch.path().join("notify").display().to_string();
        let (address, variable) = if is_abstract {
            (SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}"))
        } else {
            (SocketAddr::from_pathname(&name).unwrap(), name)
        };
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let next = || {
            let mut bytes = [0; 256];
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let mut command = scratch.command(&["-config=node.json"]);
        let server = Running { child: command.env("NOTIFY_SOCKET", variable).spawn().unwrap() };
        assert_eq!(next(), "READY=1");
        server.signal(Signal::TERM);
        assert_eq!(next(), "STOPPING=1");
        assert_eq!(server.end().0, Some(0));
    }
}

#[test]
fn a_blocked_standard_error_does_not_delay_the_ready_line() {
    let scratch = Scratch::new();
    let (_unread, mut full) = std::io::pipe().unwrap();
    ioctl_fionbio(&full, true).unwrap();
    while full.write(&[0; 4_096]).is_ok() {}
    ioctl_fionbio(&full, false).unwrap();
    let mut command = scratch.command(&["-config=node.json"]);
    let mut server = Running { child: command.stderr(full).spawn().unwrap() };
    let mut stdout = BufReader::new(server.child.stdout.take().unwrap());
    let (sender, first) = sync_channel(1);
    thread::spawn(move || {
        let mut line = String::new();
        drop(stdout.read_line(&mut line).map(|_| sender.send(line)));
    });
    let line = first.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(line.starts_with("GOMETA READY"), "{line}");
    server.signal(Signal::TERM);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}
