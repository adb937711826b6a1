//! The formation of ensembles: no error in a configuration file forms a second one beside the first.

use std::{process::Command, time::Duration};

use gometa_tests::{ensemble::Ensemble, program::program};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns a node's configuration with `Peer` under another key.
fn renamed(configuration: &Value, key: &str) -> Value {
    json!({"Host": configuration["Host"], key: configuration["Peer"]})
}

/// Starts a node with `-lenient-flags` and flags of another version.
fn spawn_leniently(ensemble: &mut Ensemble, node: usize, further: &[&str]) {
    let mut command = Command::new(program("gometa-server"));
    command.arg("-lenient-flags").args(further);
    ensemble.spawn_with(node, command);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_list_of_peers_forms_nothing_and_misleads_no_client() {
    let mut ensemble = Ensemble::prepare(3);
    let proper = ensemble.configuration(2);
    ensemble.spawn(0);
    ensemble.spawn(1);

    ensemble.configure(2, &renamed(&proper, "Peers"));
    ensemble.spawn(2);
    let (status, line) = ensemble.end(2).await;
    assert!(
        !status.success() && line.contains("unknown key Peers") && line.contains("did you mean Peer?"),
        "{line}"
    );
    let file = ensemble.directory(2).join("node.json").display().to_string();
    assert!(line.contains(&file), "{line}");

    for (configuration, words) in [
        (renamed(&proper, "Peers"), "Peer is missing"),
        (renamed(&proper, "Mirrors"), "Peer is missing"),
        (json!({"Host": proper["Host"], "Peer": null}), "invalid type: null"),
        (json!({"Host": proper["Host"], "Peer": [proper["Host"]]}), "Peer lists this node only"),
    ] {
        ensemble.configure(2, &configuration);
        spawn_leniently(&mut ensemble, 2, &[]);
        let (status, line) = ensemble.end(2).await;
        assert!(!status.success() && line.contains(words) && line.contains("[]"), "{line}");
        assert!(!ensemble.data(2).exists(), "nothing is made");
    }

    // Until the ensemble is formed, clients are led to no other node.
    for node in [0, 1] {
        let members = ensemble.client_of(node, TIMEOUT).members().await.unwrap();
        let addresses: Vec<&str> =
            members.iter().filter_map(|member| member.request_address.as_deref()).collect();
        assert_eq!(addresses, [ensemble.request(node)]);
    }

    ensemble.configure(2, &proper);
    ensemble.spawn(2);
    for node in ensemble.all() {
        ensemble.ready(node).await;
        let members = ensemble.client_of(node, TIMEOUT).members().await.unwrap();
        assert_eq!(members.len(), 3, "{members:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lenience_makes_unknown_keys_and_flags_warnings() {
    let mut ensemble = Ensemble::prepare(1);
    let mut configuration = ensemble.configuration(0);
    configuration["Ensmble"] = json!("later");
    ensemble.configure(0, &configuration);
    spawn_leniently(&mut ensemble, 0, &["-shine=bright", "-log-levl", "debug"]);
    ensemble.ready(0).await;
    ensemble.logged(0, &["WARN", "unknown key Ensmble", "did you mean Ensemble?"]).await;
    ensemble.logged(0, &["WARN", "unknown flag -shine"]).await;
    ensemble.logged(0, &["WARN", "unknown flag -log-levl", "did you mean -log-level?", "debug"]).await;
    ensemble.terminate(0).await;

    let mut command = Command::new(program("gometa-server"));
    command.env("GOMETA_LENIENT_FLAGS", "true");
    ensemble.spawn_with(0, command);
    ensemble.ready(0).await;
    ensemble.terminate(0).await;

    ensemble.spawn(0);
    let (status, line) = ensemble.end(0).await;
    assert!(!status.success() && line.contains("did you mean Ensemble?"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_was_founded_alone_does_not_serve_beside_the_peers() {
    let mut ensemble = Ensemble::prepare(3);
    let proper = ensemble.configuration(0);
    let mut alone = proper.clone();
    alone["Peer"] = json!([]);
    ensemble.configure(0, &alone);
    ensemble.restart(0).await;
    ensemble.client_of(0, TIMEOUT).set("k", "of the trial").await.unwrap();
    assert!(ensemble.terminate(0).await.success());

    ensemble.configure(0, &proper);
    ensemble.spawn(1);
    ensemble.spawn(2);
    ensemble.spawn(0);
    let (status, line) = ensemble.end(0).await;
    assert!(!status.success(), "{line}");
    let data = ensemble.data(0).display().to_string();
    for words in [data.as_str(), "ensemble of one node", "cannot join others", "\"Peer\": []"] {
        assert!(line.contains(words), "{words} is not in {line}");
    }
    for node in ensemble.all() {
        let address = ensemble.addresses(node).message.to_string();
        assert!(line.contains(&address), "{address} is not in {line}");
    }

    // It goes on alone if configured so, and joins the others after the command.
    ensemble.configure(0, &alone);
    ensemble.restart(0).await;
    assert_eq!(ensemble.client_of(0, TIMEOUT).get("k").await.unwrap().value, "of the trial");
    ensemble.terminate(0).await;
    ensemble.configure(0, &proper);
    let command = line.split("run: ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    assert!(command.starts_with("mv "), "{command}");
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    ensemble.restart(0).await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert_eq!((statuses.len(), statuses[0].keys), (3, 0));
}

/// Starts a node with `-bootstrap=quorum`.
fn spawn_with_quorum(ensemble: &mut Ensemble, node: usize) {
    let mut command = Command::new(program("gometa-server"));
    command.arg("-bootstrap=quorum");
    ensemble.spawn_with(node, command);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_form_an_ensemble_if_started_so_and_the_third_becomes_a_voter_later() {
    let mut ensemble = Ensemble::prepare(3);
    let absent = ensemble.addresses(2).message.to_string();
    for node in [0, 1] {
        spawn_with_quorum(&mut ensemble, node);
    }
    for node in [0, 1] {
        ensemble.ready(node).await;
    }
    let formed = [0, 1].map(|node| ensemble.log(node)).concat();
    let warning = formed.lines().find(|line| line.contains("forming the ensemble without all voters"));
    assert!(warning.is_some_and(|line| line.contains("WARN") && line.contains(&absent)), "{formed}");
    let client = ensemble.client_of(0, TIMEOUT);
    client.set("k", "of two").await.unwrap();
    assert!(ensemble.status(0).await.unwrap().peers.iter().any(|peer| peer.member.message_address == absent));

    // It has an empty directory, and waits for all voters if it is to form an ensemble.
    ensemble.spawn(2);
    ensemble.logged(2, &["member of the ensemble, without a vote"]).await;
    ensemble.ready(2).await;
    ensemble.status_when(2, "is a voter", |status| status.votes).await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert!(statuses.iter().all(|status| status.votes && status.ensemble == statuses[0].ensemble));

    // Each of the three counts now, and the flag is ignored.
    ensemble.kill(0);
    ensemble.client_of(2, TIMEOUT).set("k", "of the other two").await.unwrap();
    spawn_with_quorum(&mut ensemble, 0);
    ensemble.ready(0).await;
    assert_eq!(ensemble.client_of(0, TIMEOUT).get("k").await.unwrap().value, "of the other two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_for_all_voters_is_in_no_quorum_that_does_not() {
    let mut ensemble = Ensemble::prepare(3);
    ensemble.spawn(1);
    spawn_with_quorum(&mut ensemble, 0);
    // Later than the quorum would have formed it.
    for node in [0, 1] {
        ensemble.logged(node, &["ensemble not formed"]).await;
    }
    for node in [0, 1] {
        assert!(ensemble.status(node).await.unwrap().ensemble.is_none());
    }
    ensemble.spawn(2);
    ensemble.all_ready().await;
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert!(statuses.iter().all(|status| status.votes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_other_difference_from_the_formed_ensemble_is_one_warning() {
    let mut ensemble = Ensemble::start(3).await;
    ensemble.client(TIMEOUT).set("k", "v").await.unwrap();
    ensemble.terminate(0).await;
    let mut configuration = ensemble.configuration(0);
    let lost = configuration["Peer"].as_array_mut().unwrap().pop().unwrap();
    configuration["Peer"]
        .as_array_mut()
        .unwrap()
        .push(json!({"ElectionAddr": "127.0.0.1:1", "MessageAddr": "127.0.0.1:2"}));
    ensemble.configure(0, &configuration);
    ensemble.restart(0).await;
    let lost = lost["MessageAddr"].as_str().unwrap();
    ensemble
        .logged(0, &["WARN", lost, "127.0.0.1:2", "configuration differs from the ensemble's members"])
        .await;
    let warnings = ensemble.log(0).lines().filter(|line| line.contains("WARN")).count();
    assert_eq!(warnings, if ensemble.log(0).contains("without encryption") { 2 } else { 1 });
    let members = ensemble.client_of(0, TIMEOUT).members().await.unwrap();
    assert!(members.iter().any(|member| member.message_address == lost), "{members:?}");
    ensemble.converged(&ensemble.all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_that_are_missing_are_named_with_the_reason_while_it_lasts() {
    let mut ensemble = Ensemble::prepare(3);
    let [one, two] = [1, 2].map(|node| ensemble.addresses(node).message.to_string());
    let refused = |address: &str| format!("{address}: cannot connect to {address}: Connection refused");
    ensemble.spawn(0);
    let line = ensemble.logged(0, &["WARN", "ensemble not formed", "seconds=10"]).await;
    assert!(line.contains(&refused(&one)) && line.contains(&refused(&two)), "{line}");
    ensemble.spawn(1);
    ensemble.spawn(2);
    for node in ensemble.all() {
        ensemble.ready(node).await;
    }
    // One is not running, and one is paused.
    ensemble.kill(1);
    ensemble.pause(2);
    let line = ensemble.logged(0, &["WARN", "no leader found", "seconds=10"]).await;
    assert!(line.contains("votes=1 votes_needed=2 voters=3"), "{line}");
    assert!(line.contains(&refused(&one)), "{line}");
    assert!(line.contains(&format!("{two}: {two} accepts connections and does not answer")), "{line}");
    ensemble.resume(2);
    ensemble.leader_among(&[0, 2]).await;
}
