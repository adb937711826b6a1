//! The first steps of a new user: the README's files, the interactive client, the command.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use gometa_tests::{
    ensemble::{Addresses, Ensemble},
    program::program,
};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the interactive client with these lines as its input.
fn console(directory: &Path, lines: &[&str]) -> String {
    run_with_input(directory, &["-client=true", "-config=client.json"], lines)
}

/// Runs the server with these lines as its input.
fn run_with_input(directory: &Path, flags: &[&str], lines: &[&str]) -> String {
    let mut child = Command::new(program("gometa-server"))
        .current_dir(directory)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("{}\n", lines.join("\n")).as_bytes()).unwrap();
    drop(input);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let (said, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "the end of input ends it in order: {status}\n{said}\n{errors}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_interactive_client_adds_sets_gets_and_deletes_through_each_of_three_nodes() {
    // Three files with Host and Peer, and each process in its own directory: as in the README, except for the
    // ports.
    let ensemble = Ensemble::start(3).await;
    let peers: Vec<_> =
        ensemble.all().iter().map(|node| json!({"RequestAddr": ensemble.request(*node)})).collect();
    fs::write(ensemble.scratch().join("client.json"), json!({ "Peer": peers }).to_string()).unwrap();
    for (node, number) in ensemble.all().into_iter().zip(["0", "1", "2"]) {
        let (one, many) = (format!("one{number}"), format!("many{number}"));
        let said = console(
            ensemble.scratch(),
            &[
                number, // the host
                "Add", &one, "first", "1", //
                "Add", &one, "again", "1", //
                "Set", &many, "value", "1000", //
                "Get", &one, "1", //
                "Delete", &one, "1", //
                "Get", &one, "1", //
                "nonsense",
            ],
        );
        for node in ensemble.all() {
            assert!(said.contains(&format!("{node} - {}", ensemble.request(node))), "{said}");
        }
        assert!(said.contains("Select Host (number)"), "{said}");
        assert!(said.contains("1000 sent, 0 failed"), "{said}");
        assert!(said.contains("Result = first"), "{said}");
        // The second Add, the second Get, and the invalid line: each is an error, and the loop goes on.
        assert_eq!(said.matches("Error :").count(), 3, "{said}");

        let client = ensemble.client_of(node, TIMEOUT);
        for index in [0, 1, 500, 999] {
            let entry = client.get(format!("{many}-{index}")).await.unwrap();
            assert_eq!(entry.value, format!("value-{index}"));
        }
        client.get(format!("{many}-1000")).await.unwrap_err();
    }
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert_eq!(statuses[0].keys, 3_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_answers_from_its_own_copy_and_leaves_the_ensemble() {
    let ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    client.set("colour", "green").await.unwrap();
    // As in the original: the file of the watcher lists itself and the nodes.
    let own = Addresses::free(ensemble.addresses(0).message.ip()).json();
    let peers: Vec<_> = ensemble.all().iter().map(|node| ensemble.addresses(*node).json()).collect();
    let file = json!({"Host": own, "Peer": peers}).to_string();
    fs::write(ensemble.scratch().join("watcher.json"), file).unwrap();
    let flags = ["-watcher=true", "-config=watcher.json", "-data-dir=watcher"];
    for _ in 0..2 {
        let said = run_with_input(ensemble.scratch(), &flags, &["colour", "shape"]);
        assert_eq!(said.matches("Enter Key to Retrieve").count(), 3, "{said}");
        assert!(said.contains("Result = green, len(result) = 5"), "{said}");
        assert_eq!(said.matches("Error : ").count(), 1, "{said}");
        assert!(said.contains("\"role\":\"learner\""), "{said}");
        let membership = client.membership().await.unwrap();
        assert!(membership.members.len() == 3 && membership.version.revision > 0, "{membership:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_stop_in_order_on_a_signal_and_at_the_end_of_standard_input() {
    let mut ensemble = Ensemble::start(3).await;
    ensemble.client(TIMEOUT).set("k", "kept").await.unwrap();
    assert!(ensemble.terminate(0).await.success());
    for node in [1, 2] {
        assert!(ensemble.close_stdin(node).await.success());
    }
    ensemble.start_all().await;
    assert_eq!(ensemble.client(TIMEOUT).get("k").await.unwrap().value, "kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_is_an_ensemble() {
    let mut ensemble = Ensemble::start(1).await;
    let client = ensemble.client(TIMEOUT);
    for number in 0..10 {
        client.set("k", number.to_string()).await.unwrap();
    }
    ensemble.kill(0);
    ensemble.restart(0).await;
    assert_eq!(client.get("k").await.unwrap().version, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_reads_and_writes_and_shows_who_is_missing() {
    let mut ensemble = Ensemble::start(3).await;
    let gometa = |arguments: &[&str]| {
        let peers = ensemble.requests_from(0).join(",");
        let output =
            Command::new(program("gometa")).env("GOMETA_PEERS", peers).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    };
    assert_eq!(gometa(&["set", "k", "v"]).0, 0);
    assert_eq!(gometa(&["get", "k"]), (0, "v\n".to_owned()));
    assert_eq!(gometa(&["get", "--raw", "k"]), (0, "v".to_owned()));
    assert_eq!(gometa(&["add", "k", "w"]).0, 4);
    assert_eq!(gometa(&["cas", "k", "0", "w"]).0, 4);
    assert_eq!(gometa(&["delete", "k"]).0, 0);
    assert_eq!(gometa(&["get", "k"]).0, 3);
    let leader = ensemble.leader().await;
    let (status, shown) = gometa(&["status"]);
    assert_eq!(status, 0);
    for node in ensemble.all() {
        assert!(shown.contains(&ensemble.request(node)), "{shown}");
    }
    ensemble.kill(leader);
    let peers = ensemble.requests_from(0).join(",");
    let output = Command::new(program("gometa")).args(["--peers", &peers, "status"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let line = shown.lines().find(|line| line.contains(&ensemble.request(leader)));
    assert!(line.is_some_and(|line| line.contains("missing")), "{shown}");
}
