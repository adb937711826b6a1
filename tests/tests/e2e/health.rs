//! The exit statuses of `gometa status` and `gometa health` while nodes go down one by one, and while they come back.

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use gometa_tests::{
    ensemble::Ensemble,
    program::program,
    wait::{PATIENCE, until},
};
use serde_json::Value;

/// The timeout of commands that must fail.
const SHORT: &str = "500ms";

/// Returns exit status, standard output and standard error.
type Ended = (i32, String, String);

fn command(ensemble: &Ensemble, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("gometa"));
    command.env("GOMETA_PEERS", ensemble.requests_from(0).join(",")).args(arguments);
    command
}

fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn gometa(ensemble: &Ensemble, arguments: &[&str]) -> Ended {
    ended(command(ensemble, arguments).output().unwrap())
}

/// Returns the report of `gometa status` and its exit status.
fn status(ensemble: &Ensemble) -> (i32, Value) {
    let (code, report, errors) = gometa(ensemble, &["-o", "json", "status"]);
    (code, serde_json::from_str(&report).unwrap_or_else(|_| panic!("no report: {report}{errors}")))
}

/// Waits until `gometa status` exits with this status, and returns its summary.
async fn status_becomes(ensemble: &Ensemble, code: i32, up_to_date: u64) -> String {
    until(&format!("status {code} with {up_to_date} up to date"), PATIENCE, || async {
        let (found, report) = status(ensemble);
        if found == code && report["up_to_date"] == up_to_date {
            Ok(report["summary"].as_str().unwrap().to_owned())
        } else {
            Err(format!("{found}: {report}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exit_status_of_status_and_health_is_that_of_the_ensemble() {
    let mut ensemble = Ensemble::start(3).await;
    let leader = ensemble.leader().await;
    let followers = ensemble.others(leader);

    let summary = status_becomes(&ensemble, 0, 3).await;
    assert_eq!(summary, "3 of 3 voters up to date, quorum 2: 1 further node may fail");
    let (code, line, errors) = gometa(&ensemble, &["health"]);
    assert_eq!((code, line.lines().count(), &*errors), (0, 1, ""), "{line}");
    assert!(line.starts_with("healthy: a linearizable read took "), "{line}");

    // One down.
    ensemble.kill(followers[0]);
    let summary = status_becomes(&ensemble, 0, 2).await;
    assert_eq!(summary, "2 of 3 voters up to date, quorum 2: no further node may fail");
    assert_eq!(gometa(&ensemble, &["health"]).0, 0);
    let down = ensemble.request(followers[0]);
    let (code, line, _) = gometa(&ensemble, &["health", "--node", &down, "--timeout", SHORT]);
    assert_eq!((code, line.lines().count()), (5, 1), "{line}");
    assert!(line.starts_with(&format!("{down} is unhealthy: ")) && line.contains("refused"), "{line}");

    // Two down, and therefore no leader: the third one answers, which is not enough.
    ensemble.kill(leader);
    let alone = followers[1];
    ensemble.status_when(alone, "has no leader", |status| status.leader.is_none()).await;
    let summary = status_becomes(&ensemble, 5, 0).await;
    assert_eq!(summary, "0 of 3 voters up to date, quorum 2: no writes and no linearizable reads");
    let (code, table, errors) = gometa(&ensemble, &["status"]);
    assert_eq!((code, &*errors), (5, ""));
    assert!(
        table.contains("1 of 3 nodes answer, no leader, missing: ") && table.contains(&summary),
        "{table}"
    );
    let (code, line, _) = gometa(&ensemble, &["health", "--timeout", SHORT]);
    assert_eq!(code, 5, "{line}");
    assert!(line.starts_with("unhealthy: no linearizable read: "), "{line}");
    // It has been up to date, and serves local reads.
    let (code, line, _) = gometa(&ensemble, &["health", "--node", &ensemble.request(alone)]);
    assert_eq!(code, 0, "{line}");

    // All down.
    ensemble.kill(alone);
    let (code, report, errors) = gometa(&ensemble, &["status"]);
    assert_eq!((code, &*report), (5, ""));
    assert!(errors.contains("is the ensemble running") && errors.contains("from GOMETA_PEERS"), "{errors}");
    assert!(!errors.contains("gometa status"), "it advises itself: {errors}");
    let (code, line, errors) = gometa(&ensemble, &["-o", "json", "health", "--timeout", SHORT]);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((code, &line["healthy"], &*errors), (5, &Value::Bool(false), ""), "{line}");

    // A script waits for the ensemble, and for each node, while the nodes start.
    let waits = |arguments: &[&str]| {
        let mut command = command(&ensemble, arguments);
        command.args(["--timeout", SHORT, "--wait", "1m"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let requests = ensemble.requests_from(0);
    let mut waiting = vec![waits(&["health"])];
    waiting.extend(requests.iter().map(|request| waits(&["health", "--node", request])));
    ensemble.start_all().await;
    for child in waiting {
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let (code, line, errors) = ended(output);
        assert_eq!((code, &*errors), (0, ""), "{line}");
    }
    status_becomes(&ensemble, 0, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_that_is_not_formed_is_unhealthy_and_the_wait_for_it_ends() {
    let mut ensemble = Ensemble::prepare(3);
    ensemble.spawn(0);
    let begun = Instant::now();
    let (code, line, _) = gometa(&ensemble, &["health", "--timeout", SHORT, "--wait", "2s"]);
    assert_eq!(code, 5, "{line}");
    assert!(begun.elapsed() > Duration::from_millis(1500), "it has not waited: {line}");
    until("the node answers for its status", PATIENCE, || async {
        let (code, report, errors) = gometa(&ensemble, &["status"]);
        assert_eq!(code, 5, "{report}{errors}");
        if report.contains("forming") { Ok(()) } else { Err(report + &errors) }
    })
    .await;
    let node = ensemble.request(0);
    let (code, line, _) = gometa(&ensemble, &["health", "--node", &node, "--timeout", SHORT]);
    assert_eq!(code, 5, "a node that has never been up to date serves nothing: {line}");
}
