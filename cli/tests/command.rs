//! The built command against a scripted node: output, exit status, errors.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::{Command, Stdio};

use gometa_proto::{
    ErrorKind,
    v1::{
        Deleted, Entry, Error, Member, NodeStatus, Page, PeerStatus, Request, Role, request::Operation,
        response,
    },
};
use gometa_testkit::scripted_server::{Node, ensemble, entry, written};

use crate::common::{gometa, operation, run, run_with, text};

#[tokio::test]
async fn get_prints_the_value_and_a_newline() {
    let answer = |request: &Request| match operation(request) {
        Operation::Get(get) => entry(&get.key, b"v\xff"),
        other => panic!("{other:?}"),
    };
    let output = run(&["get", "k"], b"", answer).await;
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"v\xff\n"[..]), "{output:?}");
    let output = run(&["get", "k", "--raw"], b"", answer).await;
    assert_eq!(output.stdout, b"v\xff");
    let output = run(&["get", "k", "-o", "json"], b"", answer).await;
    assert_eq!(
        text(&output.stdout),
        "{\"create_revision\":1,\"key\":\"k\",\"mod_revision\":1,\"value_base64\":\"dv8=\",\"version\":1}\n"
    );
    let output =
        run(&["get", "k", "--local", "--min-revision", "9"], b"", |request| match operation(request) {
            Operation::Get(get) => {
                assert_eq!((get.consistency, get.min_revision), (1, 9));
                entry(&get.key, b"")
            }
            other => panic!("{other:?}"),
        })
        .await;
    assert_eq!(output.stdout, b"\n");
}

#[tokio::test]
async fn writes_print_revision_and_version() {
    let output = run(&["set", "k", "v"], b"", |_| written(12)).await;
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "revision 12, version 1\n"),
        "{output:?}"
    );
    let output = run(&["-o", "json", "add", "k", "v"], b"", |_| written(12)).await;
    assert_eq!(text(&output.stdout), "{\"revision\":12,\"version\":1}\n");
    let output = run(&["cas", "k", "7", "v"], b"", |request| match operation(request) {
        Operation::Cas(cas) => written(cas.revision + 1),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(text(&output.stdout), "revision 8, version 1\n");
    for (existed, expected) in [(true, "deleted at revision 5\n"), (false, "there was no such key\n")] {
        let revision = if existed { 5 } else { 0 };
        let output =
            run(&["delete", "k"], b"", |_| response::Result::Deleted(Deleted { revision, existed })).await;
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected));
    }
}

#[tokio::test]
async fn dash_reads_the_value_from_standard_input() {
    let output = run(&["set", "k", "-"], b"a\n\xff\0", |request| match operation(request) {
        Operation::Set(set) => {
            assert_eq!(set.value, &b"a\n\xff\0"[..]);
            written(1)
        }
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn failures_have_an_exit_status_and_advice() {
    let error = |kind: ErrorKind, revision: u64| {
        move |_: &Request| {
            response::Result::Error(Error::not_applied(kind, kind.text()).with_actual_revision(revision))
        }
    };
    for (arguments, kind, revision, status, advice) in [
        (&["get", "k"][..], ErrorKind::NotFound, 0, 3, "create it with: gometa set k VALUE"),
        (&["add", "k", "v"], ErrorKind::AlreadyExists, 7, 4, "gometa cas k 7 VALUE"),
        (&["cas", "k", "1", "v"], ErrorKind::CasMismatch, 7, 4, "the key is at revision 7 now"),
        (&["cas", "k", "1", "v"], ErrorKind::CasMismatch, 0, 4, "gometa cas k 0 VALUE"),
        (&["delete", "k", "--revision", "3"], ErrorKind::CasMismatch, 7, 4, "revision 7 now"),
        (&["set", "k", "v"], ErrorKind::PermissionDenied, 0, 1, ""),
        (&["set", "k", "v"], ErrorKind::TooLarge, 0, 2, ""),
        (
            &["set", "k", "v"],
            ErrorKind::Forgotten,
            0,
            6,
            "read the key before repeating the write: gometa get k",
        ),
    ] {
        let output = run(arguments, b"", error(kind, revision)).await;
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        let message = text(&output.stderr);
        assert!(message.starts_with("gometa: ") && message.contains(advice), "{message}");
        assert!(output.stdout.is_empty());
    }
    let output = run(&["add", "k", "v", "-o", "json"], b"", error(ErrorKind::AlreadyExists, 7)).await;
    let message = text(&output.stderr);
    for part in [
        "\"kind\":\"AlreadyExists\"",
        "\"actual_revision\":7",
        "\"outcome\":\"not_applied\"",
        "\"key\":\"k\"",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn unreachable_nodes_are_an_error_with_advice_within_the_timeout() {
    let nowhere = Node::nowhere().await;
    for command in ["status", "get k"] {
        let mut arguments = vec!["--peers", &nowhere, "--timeout", "200ms"];
        arguments.extend(command.split(' '));
        let output = gometa(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        let message = text(&output.stderr);
        assert!(
            message.contains("connection refused") && message.contains("is the ensemble running"),
            "{message}"
        );
        assert!(message.contains("(from --peers)"), "{message}");
        assert!(command != "status" || !message.contains("gometa status"), "it advises itself: {message}");
    }
}

#[tokio::test]
async fn health_is_one_line_and_an_exit_status() {
    let absent = |_: &Request| {
        response::Result::Error(Error::not_applied(ErrorKind::NotFound, "there is no such key"))
    };
    // A read of a key that does not exist passes, too.
    let output = run(&["health"], b"", absent).await;
    let shown = text(&output.stdout);
    assert_eq!((output.status.code(), shown.lines().count()), (Some(0), 1), "{output:?}");
    assert!(
        shown.starts_with("healthy: a linearizable read took ") && output.stderr.is_empty(),
        "{output:?}"
    );
    let output = run(&["-o", "json", "health"], b"", absent).await;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&shown["healthy"], &shown["node"], &shown["kind"]), (&true.into(), &().into(), &().into()));

    let refuses = |_: &Request| {
        let message = "this node has no leader, or the leader no quorum";
        response::Result::Error(Error::not_applied(ErrorKind::Unavailable, message))
    };
    let arguments = ["health", "--timeout", "300ms"];
    let output = run(&arguments, b"", refuses).await;
    let shown = text(&output.stdout);
    assert_eq!((output.status.code(), shown.lines().count()), (Some(5), 1), "{output:?}");
    assert!(shown.starts_with("unhealthy: no linearizable read: ") && shown.contains("no quorum"), "{shown}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let output = run(&["-o", "json", "health", "--timeout", "300ms"], b"", refuses).await;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &shown["healthy"]), (Some(5), &false.into()), "{shown}");
    assert!(shown["kind"].is_string() && shown["message"].as_str().unwrap().contains("no quorum"), "{shown}");
}

#[tokio::test]
async fn health_of_a_node_is_a_local_read_from_it_alone() {
    let (node, nowhere) = (Node::start().await, Node::nowhere().await);
    let mut command = gometa(&["health", "--node", &node.address]);
    command.env("GOMETA_PEERS", &nowhere);
    let output = run_with(command, b"", &node, |request| match operation(request) {
        Operation::Get(get) => {
            assert_eq!((get.consistency, get.min_revision), (1, 0));
            entry(&get.key, b"")
        }
        other => panic!("{other:?}"),
    })
    .await;
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(shown.starts_with(&format!("{} is healthy: a local read took ", node.address)), "{shown}");

    let mut command = gometa(&["health", "--node", &nowhere, "--timeout", "200ms"]);
    command.env("GOMETA_PEERS", &node.address);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(text(&output.stdout).contains("connection refused"), "{output:?}");
    for (value, expected) in
        [("a:1,b:1", "expected one address"), ("nonsense", "port is missing"), ("", "no peers")]
    {
        let output = gometa(&["health", "--node", value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
}

#[tokio::test]
async fn health_waits_until_it_passes() {
    let mut refusals = 0;
    let output = run(&["health", "--timeout", "100ms", "--wait", "1m"], b"", |request| {
        refusals += 1;
        match operation(request) {
            Operation::Get(get) if refusals > 20 => entry(&get.key, b""),
            _ => response::Result::Error(Error::not_applied(ErrorKind::Unavailable, "no leader yet")),
        }
    })
    .await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(refusals > 20 && text(&output.stdout).starts_with("healthy"), "{output:?}");
}

#[test]
fn results_and_help_that_cannot_be_written_are_an_error() {
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    for arguments in [
        &["--help"][..],
        &["help", "get"],
        &["--version"],
        &["version"],
        &["completion", "bash"],
        &["-o", "json", "--help"],
    ] {
        let output = gometa(arguments).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let message = text(&output.stderr);
        assert!(message.contains("cannot write to standard output: No space left"), "{message}");
    }
    // Fails even if the message cannot be written.
    let output = gometa(&["--help"]).stdout(full()).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = gometa(&["nonsense"]).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test]
async fn a_result_that_cannot_be_written_is_an_error() {
    let node = Node::start().await;
    for arguments in
        [&["get", "k"][..], &["get", "k", "--raw"], &["set", "k", "v"], &["members"], &["health"]]
    {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" > /dev/full", env!("CARGO_BIN_EXE_gometa")]);
        command.args(arguments).env("GOMETA_PEERS", &node.address);
        let output = run_with(command, b"", &node, |request| match operation(request) {
            Operation::Get(get) => entry(&get.key, b"v"),
            _ => written(1),
        })
        .await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(text(&output.stderr).contains("cannot write to standard output: No space"), "{output:?}");
    }
}

#[tokio::test]
async fn closed_standard_input_is_not_an_empty_value() {
    let node = Node::start().await;
    let run_in_shell = |redirection: &'static str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" set k - {redirection}"), env!("CARGO_BIN_EXE_gometa")]);
        command.env("GOMETA_PEERS", &node.address);
        run_with(command, b"", &node, |request| match operation(request) {
            Operation::Set(set) => {
                assert!(set.value.is_empty());
                written(1)
            }
            other => panic!("{other:?}"),
        })
    };
    let output = run_in_shell("<&-").await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    assert!(text(&output.stderr).contains("cannot read standard input: it is closed"), "{output:?}");
    // Empty inputs are empty values.
    for redirection in ["", "< /dev/null"] {
        let output = run_in_shell(redirection).await;
        assert_eq!(output.status.code(), Some(0), "{redirection}: {output:?}");
    }
    let shell = "exec \"$0\" shell <&-";
    let output = Command::new("sh").args(["-c", shell, env!("CARGO_BIN_EXE_gometa")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test]
async fn commands_of_other_stores_are_recognised() {
    let output = run(&["put", "k", "v"], b"", |request| match operation(request) {
        Operation::Set(_) => written(12),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(text(&output.stdout), "revision 12, version 1\n", "{output:?}");
    let output = run(&["rm", "k"], b"", |request| match operation(request) {
        Operation::Delete(_) => response::Result::Deleted(Deleted { revision: 5, existed: true }),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(text(&output.stdout), "deleted at revision 5\n", "{output:?}");
    let [version, flag] = ["version", "--version"].map(|word| gometa(&[word]).output().unwrap().stdout);
    assert_eq!(text(&version), text(&flag));
    for arguments in [&["keys"][..], &["list", "/config", "-l"]] {
        let output = gometa(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let message = text(&output.stderr);
        assert!(message.contains("keys are listed with `gometa ls PREFIX`"), "{message}");
        assert!(!message.contains("cas"), "{message}");
    }
}

#[tokio::test]
async fn configuration_files_of_other_systems_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.json");
    let node = Node::start().await;
    let text = format!("\u{feff}{{\r\n\"Peer\": [\r\n{{\"RequestAddr\": \"{}\"}}]\r\n}}\r\n", node.address);
    std::fs::write(&file, text).unwrap();
    let command = gometa(&["--config", file.to_str().unwrap(), "get", "k"]);
    let output = run_with(command, b"", &node, |request| match operation(request) {
        Operation::Get(get) => entry(&get.key, b"v"),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"v\n"[..]), "{output:?}");
}

#[test]
fn messages_name_the_source_of_the_peers() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], peers: Option<&std::ffi::OsStr>| {
        let mut command = gometa(&["--timeout", "100ms"]);
        command.args(arguments).current_dir(directory.path());
        if let Some(peers) = peers {
            command.env("GOMETA_PEERS", peers);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let path = std::fs::canonicalize(directory.path()).unwrap();
    for (arguments, peers, status, expected) in [
        (&["--peers", "x", "get", "k"][..], None, 2, "--peers: peer \"x\": a port is missing".to_owned()),
        (&["get", "k"], Some(&b"x"[..]), 2, "GOMETA_PEERS: peer \"x\": a port is missing".to_owned()),
        (&["get", "k"], Some(b"a\xff:1,x"), 2, "GOMETA_PEERS: peer".to_owned()),
        (
            &["--config", "no.json", "get", "k"],
            None,
            2,
            format!("cannot read {}/no.json: No such", path.display()),
        ),
        (&["--config", "bad.json", "get", "k"], None, 2, format!("{}/bad.json: not JSON", path.display())),
        (&["--config", ".", "get", "k"], None, 2, format!("cannot read {}: Is a directory", path.display())),
        (&["--config", "/dev/zero", "get", "k"], None, 2, "larger than 1048576 bytes".to_owned()),
        // An empty variable counts as not set.
        (&["--peers", "127.0.0.1:1", "get", "k"], Some(b""), 5, "(from --peers)".to_owned()),
        (&["get", "k"], Some(b"127.0.0.1:1"), 5, "(from GOMETA_PEERS)".to_owned()),
    ] {
        std::fs::write(directory.path().join("bad.json"), "x").unwrap();
        let (code, message) = run(arguments, peers.map(std::ffi::OsStr::from_bytes));
        assert_eq!(code, Some(status), "{arguments:?}: {message}");
        assert!(message.contains(&expected), "{arguments:?}: {message}");
    }
}

#[test]
fn zero_and_infinite_times_are_refused() {
    for option in [
        &["--timeout", "0", "get", "k"][..],
        &["--timeout", "1e300", "get", "k"],
        &["--timeout=-1s", "get", "k"],
        &["bench", "-d", "0s"],
        &["bench", "-d", "1e19s"],
        &["health", "--wait", "0ms"],
        &["health", "--wait", "inf"],
        &["bench", "-n", "0"],
        &["bench", "-c", "0"],
    ] {
        let output = gometa(option).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option:?}: {output:?}");
    }
}

#[test]
fn wrong_usage_and_configuration_end_with_status_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.json");
    std::fs::write(&file, "{\n\"Peer\": [").unwrap();
    let file = file.to_str().unwrap();
    let misspelt = directory.path().join("client2.json");
    std::fs::write(&misspelt, "{\"Peers\": [{\"RequestAddr\": \"127.0.0.1:1\"}]}").unwrap();
    let misspelt = misspelt.to_str().unwrap();
    for (arguments, expected) in [
        (&["nonsense"][..], "unrecognized subcommand"),
        (&["get"], "<KEY>"),
        (&["get", ""], "the key is empty"),
        (&["--peers", "nonsense", "status"], "port is missing"),
        (&["--config", "/nowhere/client.json", "status"], "cannot read /nowhere/client.json"),
        (&["--config", file, "status"], "line 2"),
        (&["--config", misspelt, "status"], "client2.json: unknown key \"Peers\"; did you mean Peer?"),
        (&["--timeout", "5h", "status"], "unknown unit"),
    ] {
        let output = gometa(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
}

#[test]
fn help_documents_the_exit_status_and_the_peers() {
    let output = gometa(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    for part in ["Exit status:", "3  get: the key does not exist", "GOMETA_PEERS", "127.0.0.1:7003"] {
        assert!(text(&output.stdout).contains(part), "{part}");
    }
}

#[tokio::test]
async fn status_shows_nodes_that_answer_and_missing_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.json");
    let (node, nowhere) = (Node::start().await, Node::nowhere().await);
    std::fs::write(&file, format!("{{\"Peer\": [{{\"RequestAddr\": \"{}\"}}]}}", node.address)).unwrap();
    let status = NodeStatus {
        node: 1,
        role: Role::Leading.into(),
        leader: 1,
        epoch: 3,
        last_revision: 9,
        commit_revision: 9,
        applied_revision: 9,
        state_hash: vec![0xab; 16].into(),
        votes: true,
        ensemble: Some(ensemble(1)),
        peers: vec![PeerStatus {
            member: Some(Member {
                node: 2,
                message_address: "127.0.0.1:6002".into(),
                request_address: nowhere.clone(),
            }),
            votes: true,
            ..PeerStatus::default()
        }],
        ..NodeStatus::default()
    };
    for format in ["table", "json"] {
        let command = gometa(&["--config", file.to_str().unwrap(), "-o", format, "status"]);
        let output = run_with(command, b"", &node, |_| response::Result::Status(status.clone())).await;
        assert_eq!(output.status.code(), Some(5), "one of two voters is no quorum: {output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        let shown = text(&output.stdout);
        let parts = match format {
            "table" => [
                format!("missing: {nowhere}"),
                "connection refused".to_owned(),
                "abababab".to_owned(),
                "1 of 2 voters up to date, quorum 2: no writes and no linearizable reads".to_owned(),
            ],
            _ => [
                format!("\"missing\":[\"{nowhere}\"]"),
                "\"epoch\":3".to_owned(),
                "\"lag\":0".to_owned(),
                "\"voters\":2,\"up_to_date\":1,\"quorum\":2,\"may_fail\":null".to_owned(),
            ],
        };
        for part in parts {
            assert!(shown.contains(&part), "{part} in {shown}");
        }
    }
}

#[tokio::test]
async fn members_are_shown_with_their_leader() {
    let node = Node::start().await;
    let shows = |format: &'static str| {
        let mut command = gometa(&["-o", format, "members"]);
        command.env("GOMETA_PEERS", &node.address);
        run_with(command, b"", &node, |request| panic!("{request:?}"))
    };
    let output = shows("table").await;
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(shown.contains(&format!("0000000000000001            {}  yes", node.address)), "{shown}");
    let output = shows("json").await;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        shown,
        serde_json::json!({
            "leader": node.address,
            "role": "leading",
            "members": [{
                "node": "0000000000000001",
                "message_address": "",
                "request_address": node.address,
                "leader": true,
            }],
        })
    );
}

#[tokio::test]
async fn a_load_is_measured_and_its_keys_are_removed() {
    let mut keys = std::collections::BTreeSet::new();
    let mut seen = [0; 3];
    let arguments =
        ["-o", "json", "bench", "-n", "200", "-c", "1", "--in-flight", "4", "-k", "5", "--prefix", "p/"];
    let output = run(&arguments, b"", |request| match operation(request) {
        Operation::Set(set) => {
            assert_eq!(set.value.len(), 128);
            seen[0] += 1;
            keys.insert(set.key);
            written(1)
        }
        Operation::Get(get) => {
            seen[1] += 1;
            entry(&get.key, b"v")
        }
        Operation::Delete(delete) => {
            seen[2] += 1;
            assert!(keys.remove(&delete.key));
            response::Result::Deleted(Deleted { revision: 2, existed: true })
        }
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |part: &str| shown[part]["count"].as_u64().unwrap();
    assert_eq!(count("reads") + count("writes"), 200, "{shown}");
    // Before the measurement every key is written once, and one is read.
    assert_eq!(seen, [count("writes") + 5, count("reads") + 1, 5]);
    assert!(keys.is_empty() && shown["left_behind"].is_null(), "{shown}");
    for field in ["p50_us", "p99_us", "max_us"] {
        assert!(shown["reads"][field].as_u64().unwrap() > 0, "{shown}");
    }
}

#[tokio::test]
async fn a_load_reports_errors() {
    let mut sets = 0;
    let arguments = ["bench", "-n", "20", "-c", "1", "-k", "2", "-r", "0", "--keep"];
    let output = run(&arguments, b"", |request| match operation(request) {
        Operation::Set(_) if sets < 2 => {
            sets += 1;
            written(1)
        }
        Operation::Get(get) => entry(&get.key, b"v"),
        _ => response::Result::Error(Error::not_applied(ErrorKind::PermissionDenied, "not today")),
    })
    .await;
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "nothing succeeded: {shown}");
    assert!(shown.contains("20 errors") && shown.contains("PermissionDenied     20"), "{shown}");
    assert!(shown.contains("not today"), "{shown}");
    let output = run(&arguments, b"", |_| {
        response::Result::Error(Error::not_applied(ErrorKind::PermissionDenied, "not today"))
    })
    .await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("not today"), "{output:?}");
}

#[test]
fn completion_works_in_bash_and_is_there_for_others() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = gometa(&["completion", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        for word in ["members", "min-revision"] {
            assert!(text(&output.stdout).contains(word), "{shell}: {word}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gometa.bash");
    std::fs::write(&file, gometa(&["completion", "bash"]).output().unwrap().stdout).unwrap();
    for (words, expected) in [
        ("gometa me", "members member"),
        ("gometa get k --lo", "--local"),
        ("gometa -o j", "json"),
        ("gometa completion f", "fish"),
    ] {
        let complete = "source \"$0\"; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                        _gometa gometa \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"";
        let output =
            Command::new("bash").args(["--norc", "-c", complete]).arg(&file).arg(words).output().unwrap();
        assert_eq!(text(&output.stdout).trim(), expected, "{words}: {output:?}");
    }
}

#[test]
fn usage_errors_are_json_on_request_and_suggest_a_command() {
    let output = gometa(&["-o", "json", "gte", "k"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let shown: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&shown["error"]["kind"], &shown["error"]["number"]), (&"InvalidArgument".into(), &1.into()));
    assert!(shown["error"]["message"].as_str().unwrap().contains("'get'"), "{shown}");
    let output = gometa(&["gte", "k"]).output().unwrap();
    assert!(text(&output.stderr).contains("a similar subcommand exists: 'get'"), "{output:?}");
    for arguments in [&["--help"][..], &["help", "bench"], &["shell", "--help"], &["--version"]] {
        let output = gometa(arguments).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
    }
}

#[tokio::test]
async fn another_server_at_the_address_is_recognised_with_advice() {
    for (speech, reason, advice) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "an HTTP server answers there",
            "another program listens there",
        ),
        (b"", "closed the connection before its welcome", "ElectionAddr and MessageAddr are for nodes only"),
    ] {
        let node = Node::start().await;
        let mut command = gometa(&["--timeout", "300ms", "get", "k"]);
        command.env("GOMETA_PEERS", &node.address);
        let running = tokio::task::spawn_blocking(move || command.output().unwrap());
        let serving = async {
            loop {
                // Unread bytes would reset the connection.
                let mut link = node.accept_hello().await;
                link.send_raw(speech).await;
            }
        };
        let output = tokio::select! {
            output = running => output.unwrap(),
            () = serving => unreachable!("it never ends"),
        };
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{message}");
        assert!(message.contains(reason) && message.contains(advice), "{message}");
    }
    let output = gometa(&["--timeout", "300ms", "--peers", "nosuch.invalid:1", "get", "k"]).output().unwrap();
    assert!(text(&output.stderr).contains("check the host name"), "{output:?}");
}

#[tokio::test]
async fn keys_and_values_are_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = gometa(&["-o", "json", "get"]);
    command.arg(std::ffi::OsStr::from_bytes(b"k\xff"));
    let node = Node::start().await;
    command.env("GOMETA_PEERS", &node.address);
    let output = run_with(command, b"", &node, |request| match operation(request) {
        Operation::Get(get) => entry(&get.key, &get.key),
        other => panic!("{other:?}"),
    })
    .await;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&shown["key_base64"], &shown["value_base64"]), (&"a/8=".into(), &"a/8=".into()), "{shown}");
    let output = run(&["set", "k", "--", "-5"], b"", |request| match operation(request) {
        Operation::Set(set) => {
            assert_eq!(set.value, &b"-5"[..]);
            written(1)
        }
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn local_reads_of_ranges_have_a_minimum_revision() {
    for command in ["scan", "ls", "count"] {
        let output = run(&[command, "p/", "--local", "--min-revision", "9"], b"", |request| {
            let Operation::Range(range) = operation(request) else { panic!("{request:?}") };
            assert_eq!((range.consistency, range.min_revision, &range.prefix[..]), (1, 9, &b"p/"[..]));
            response::Result::Page(Page { revision: 9, ..Page::default() })
        })
        .await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let output = gometa(&[command, "--min-revision", "9"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains("--local"), "{output:?}");
    }
}

#[tokio::test]
async fn groups_are_counted_on_request() {
    for (arguments, delimiter) in
        [(&["count", "p/"][..], &b""[..]), (&["count", "p/", "--delimiter", "/"], b"/")]
    {
        let output = run(arguments, b"", |request| {
            let Operation::Range(range) = operation(request) else { panic!("{request:?}") };
            assert_eq!((range.count_only, &range.delimiter[..]), (true, delimiter));
            response::Result::Page(Page { count: 3, revision: 9, ..Page::default() })
        })
        .await;
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "3\n"), "{output:?}");
    }
}

#[tokio::test]
async fn each_entry_of_a_scan_has_its_revision_in_json() {
    let page = |request: &Request| {
        let Operation::Range(range) = operation(request) else { panic!("{request:?}") };
        let entry = |key: &'static str, is_group| Entry { key: key.into(), is_group, ..Entry::default() };
        let entries = vec![entry("a", false), entry("b/", !range.delimiter.is_empty())];
        response::Result::Page(Page { entries, count: 2, revision: 9, ..Page::default() })
    };
    let output = run(&["-o", "json", "scan", "--keys-only"], b"", page).await;
    let line = |key| {
        format!(
            "{{\"create_revision\":0,\"key\":\"{key}\",\"mod_revision\":0,\"revision\":9,\"version\":0}}\n"
        )
    };
    assert_eq!(text(&output.stdout), line("a") + &line("b/"), "{output:?}");
    let output = run(&["-o", "json", "ls"], b"", page).await;
    let group = "{\"is_group\":true,\"key\":\"b/\",\"revision\":9}\n";
    assert_eq!(text(&output.stdout), line("a") + group, "{output:?}");
}
