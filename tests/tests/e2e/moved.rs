//! Nodes whose addresses change, and a second process on a copy of a data directory.

use std::{fs, path::Path, process::Command, time::Duration};

use gometa_client::{Client, ReadOptions};
use gometa_tests::{
    ensemble::{Addresses, Ensemble},
    program::{Process, program},
    wait::{PATIENCE, until},
};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the output of `gometa status` through one node.
fn status_through(address: &str) -> Value {
    let output = Command::new(program("gometa"))
        .args(["--peers", address, "--timeout", "5s", "-o", "json", "status"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_new_request_address_is_shown_there_and_reached_there() {
    let mut ensemble = Ensemble::start(3).await;
    ensemble.client(TIMEOUT).set("k", "v").await.unwrap();
    ensemble.converged(&ensemble.all()).await;
    let leader = ensemble.leader().await;
    let followers = ensemble.others(leader);
    let (moved, other) = (followers[0], followers[1]);
    assert!(ensemble.terminate(moved).await.success());
    let (before, ip) = (ensemble.request(moved), ensemble.addresses(moved).request.ip());
    let after = Addresses::free(ip).request.to_string();
    let mut configuration = ensemble.configuration(moved);
    configuration["Host"]["RequestAddr"] = json!(after);
    ensemble.configure(moved, &configuration);
    let ready = ensemble.restart(moved).await;
    assert_eq!(ready["request"], json!(after));

    // Through the leader, which has the address from the node, and through the other follower, which has it from the leader.
    for through in [leader, other] {
        until("gometa status shows the new address", PATIENCE, || async {
            let status = status_through(&ensemble.request(through));
            let nodes = status["nodes"].as_array().unwrap();
            let row = nodes.iter().find(|row| row["address"] == json!(after));
            let whole = status["missing"] == json!([]) && nodes.len() == 3;
            if whole && row.is_some_and(|row| row["role"] == json!("following")) {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
        let members = ensemble.client_of(through, TIMEOUT).members().await.unwrap();
        let addresses: Vec<&str> =
            members.iter().filter_map(|member| member.request_address.as_deref()).collect();
        assert!(
            addresses.contains(&after.as_str()) && !addresses.contains(&before.as_str()),
            "{addresses:?}"
        );
    }

    // A client that knew the other follower only finds the node when no other node is left.
    let client = Client::builder().timeout(TIMEOUT).build([ensemble.request(other)]).unwrap();
    assert_eq!(client.get("k").await.unwrap().value, "v");
    ensemble.kill(leader);
    ensemble.kill(other);
    let local = ReadOptions::local();
    until("the client reads from the node that has moved", PATIENCE, || async {
        match client.get_with("k", local).await {
            Ok(entry) if entry.value == "v" => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_data_directory_and_its_copy_are_reported_by_the_leader_and_the_copy() {
    let mut ensemble = Ensemble::start(3).await;
    let leader = ensemble.leader().await;
    let (cloned, third) = (ensemble.others(leader)[0], ensemble.others(leader)[1]);
    assert!(ensemble.terminate(cloned).await.success());
    let place = ensemble.scratch().join("copy");
    copy(&ensemble.data(cloned), &place.join("gometa-data"));
    ensemble.restart(cloned).await;

    let own = Addresses::free(ensemble.addresses(cloned).message.ip());
    let peers = json!([ensemble.addresses(leader).json(), ensemble.addresses(third).json()]);
    let configuration = json!({"Host": own.json(), "Peer": peers});
    fs::write(place.join("node.json"), configuration.to_string()).unwrap();
    let mut command = Command::new(program("gometa-server"));
    command.current_dir(&place).arg("-config=node.json").arg("-watch-stdin=true");
    let copy = Process::start(&mut command, &place, "copy");

    let (one, two) = (ensemble.addresses(cloned).message.to_string(), own.message.to_string());
    ensemble.logged(leader, &["WARN", "two processes use one data directory", &one, &two]).await;
    until("the copy reports it, too", PATIENCE, || async {
        let log = copy.err();
        let words = ["WARN", "another process uses the same data directory", &one, &two];
        let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        if found { Ok(()) } else { Err(log) }
    })
    .await;
    // It has no effect.
    ensemble.client(TIMEOUT).set("k", "v").await.unwrap();
    ensemble.converged(&ensemble.all()).await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            copy(&path, &target)
        } else {
            let _bytes = fs::copy(&path, &target).unwrap();
        }
    }
}
