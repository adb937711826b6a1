//! Refusals to start: the last line names the cause and the remedy, within
//! two seconds, and the exit status is not 0.

use std::{
    fs,
    net::{IpAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use gometa_tests::{
    ensemble::{Addresses, loopback_address},
    program::{Process, program},
    wait::{PATIENCE, until},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The deadline for a refusal.
const REFUSAL_MAX: Duration = Duration::from_secs(2);

/// A scratch directory with room for configurations and data.
struct Place {
    directory: TempDir,
    ip: IpAddr,
}

impl Place {
    fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap(), ip: loopback_address() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn host(&self) -> Value {
        Addresses::free(self.ip).json()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("gometa-server"));
        command.current_dir(self.directory.path()).args(arguments);
        command
    }

    fn start(&self, name: &str, configuration: &str) -> Process {
        fs::write(self.path("node.json"), configuration).unwrap();
        let data = format!("-data-dir={}", self.path(name).display());
        Process::start(&mut self.command(&["-config=node.json", &data]), self.directory.path(), name)
    }

    /// Starts a node with this configuration, waits for its refusal, and returns its last line.
    async fn refusal(&self, name: &str, configuration: &str) -> String {
        refusal(self.start(name, configuration)).await
    }
}

async fn refusal(process: Process) -> String {
    let started = Instant::now();
    let status = process.end(PATIENCE).await;
    let took = started.elapsed();
    let said = process.err();
    assert!(!status.success(), "it ended with status 0: {said}");
    assert!(took < REFUSAL_MAX, "it took {took:?}: {said}");
    assert_eq!(process.out(), "", "nothing is said on standard output");
    let last = said.lines().last().unwrap_or_default();
    let line = last.strip_prefix("gometa-server: ");
    line.unwrap_or_else(|| panic!("the last line is not the program's: {said}")).to_owned()
}

fn assert_has(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_configurations_are_refused_with_place_and_remedy() {
    let place = Place::new();
    let host = place.host();
    let with = |key: &str, value: Value| {
        let mut host = host.clone();
        host[key] = value;
        json!({ "Host": host, "Peer": [] })
    };
    let without = |key: &str| {
        let mut host = host.clone();
        host.as_object_mut().unwrap().remove(key);
        json!({ "Host": host, "Peer": [] })
    };
    let message = host["MessageAddr"].as_str().unwrap().to_owned();
    // A missing quote, as in the original's README.
    let quote = "{\n  \"Host\": {\n    \"ElectionAddr\": \"127.0.0.1:5001,\n  }\n}".to_owned();
    let cases: [(&str, String, &[&str]); 9] = [
        ("missing quote", quote, &["node.json:3:", "closing"]),
        ("no JSON at all", "Host = 127.0.0.1".to_owned(), &["node.json:1:1", "expected"]),
        ("no host", json!({"Peer": []}).to_string(), &["Host is missing", "expected"]),
        ("no address", without("MessageAddr").to_string(), &["MessageAddr is missing", "host:port"]),
        ("no port", with("MessageAddr", json!("127.0.0.1")).to_string(), &["node.json:1:", "MessageAddr", "port"]),
        ("two in one", with("RequestAddr", json!(message)).to_string(), &[&message, "own port"]),
        (
            "a peer that is the host",
            json!({"Host": host, "Peer": [{"ElectionAddr": host["ElectionAddr"], "MessageAddr": "127.9.9.9:1"}]})
                .to_string(),
            &["ElectionAddr", "Peer number 1", "own port"],
        ),
        (
            "an unknown host",
            with("RequestAddr", json!("no-such-host.invalid:5003")).to_string(),
            &["cannot resolve RequestAddr no-such-host.invalid:5003", "correct"],
        ),
        ("an address elsewhere", with("MessageAddr", json!("192.0.2.1:5002")).to_string(), &["192.0.2.1:5002", "Bind"]),
    ];
    for (name, configuration, words) in cases {
        assert_has(&place.refusal(name, &configuration).await, words);
    }
    // Files are named by absolute paths.
    let absent = format!("{}: cannot be read", place.path("nowhere.json").display());
    for (arguments, words) in [
        (&["-config=nowhere.json"][..], &[absent.as_str()][..]),
        (&["-confg=node.json"], &["-confg", "did you mean -config"]),
        (&["-log-level=loud=loud", "-config=node.json"], &["-log-level"]),
    ] {
        let process = Process::start(&mut place.command(arguments), place.directory.path(), "flags");
        assert_has(&refusal(process).await, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_that_are_taken_are_named() {
    let place = Place::new();
    let host = place.host();
    let configuration = json!({ "Host": host, "Peer": [] }).to_string();
    let address = |key: &str| host[key].as_str().unwrap().to_owned();
    let taken = UdpSocket::bind(address("ElectionAddr")).unwrap();
    let line = place.refusal("udp", &configuration).await;
    assert_has(&line, &["ElectionAddr", &address("ElectionAddr"), "taken", "another port"]);
    drop(taken);
    for key in ["MessageAddr", "RequestAddr"] {
        let taken = TcpListener::bind(address(key)).unwrap();
        let line = place.refusal("tcp", &configuration).await;
        assert_has(&line, &[key, &address(key), "taken", "another port"]);
        drop(taken);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_directories_that_cannot_be_used_are_named() {
    let place = Place::new();
    let configuration = || json!({ "Host": place.host(), "Peer": [] }).to_string();

    let first = place.start("data", &configuration());
    until("the first is ready", PATIENCE, || async {
        if first.out().contains("GOMETA READY") { Ok(()) } else { Err(first.err()) }
    })
    .await;
    // Only the output's name differs.
    fs::write(place.path("second.json"), configuration()).unwrap();
    let data = place.path("data").display().to_string();
    let mut second = place.command(&["-config=second.json", "-data-dir", &data]);
    let line = refusal(Process::start(&mut second, place.directory.path(), "second")).await;
    assert_has(&line, &[&data, "in use by another process", "another directory"]);
    drop(first);

    let spoil = |file: &str, text: &str| fs::write(Path::new(&data).join(file), text).unwrap();
    let format = fs::read_to_string(place.path("data").join("FORMAT")).unwrap();
    spoil("FORMAT", "gometa data directory\nformat 99\n");
    assert_has(&place.refusal("data", &configuration()).await, &[&data, "format 99", "newer gometa-server"]);
    spoil("FORMAT", &format);
    let identity = fs::read_to_string(place.path("data").join("IDENTITY")).unwrap();
    spoil("IDENTITY", &identity.replace("incarnation ", "incarnation f"));
    assert_has(
        &place.refusal("data", &configuration()).await,
        &[&data, "damaged", "IDENTITY", "move it away"],
    );

    fs::create_dir(place.path("foreign")).unwrap();
    fs::write(place.path("foreign").join("thesis.tex"), "x").unwrap();
    assert_has(&place.refusal("foreign", &configuration()).await, &["foreign", "thesis.tex", "empty"]);
    fs::write(place.path("file"), "x").unwrap();
    assert_has(&place.refusal("file", &configuration()).await, &["file", "director"]);
    // Not even root can create a directory there.
    let mut command = place.command(&["-config=node.json", "-data-dir=/proc/gometa-data"]);
    let process = Process::start(&mut command, place.directory.path(), "unwritable");
    assert_has(&refusal(process).await, &["/proc/gometa-data", "cannot create"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_cannot_be_resolved_is_warned_about_and_waited_for() {
    let place = Place::new();
    let peer =
        json!({"ElectionAddr": "no-such-host.invalid:6001", "MessageAddr": "no-such-host.invalid:6002"});
    let configuration = json!({"Host": place.host(), "Peer": [peer]}).to_string();
    let process = place.start("data", &configuration);
    for words in [
        &["WARN", "cannot resolve peer address", "no-such-host.invalid:6001"][..],
        &["waiting for voters", "no-such-host.invalid:6002"],
    ] {
        until(&format!("the log says {words:?}"), PATIENCE, || async {
            let log = process.err();
            let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            if found { Ok(()) } else { Err(log) }
        })
        .await;
    }
    assert!(process.ended().is_none(), "{}", process.err());
}
