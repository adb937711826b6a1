//! An ensemble that has lost its quorum for ever, founded anew from a survivor (docs/recovery.md).

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use gometa_client::{Client, EnsembleId, ErrorKind, NodeStatus, ReadOptions, Role};
use gometa_tests::{
    data_directory::{copy, flip, report, tables},
    ensemble::Ensemble,
    program::program,
};

const TIMEOUT: Duration = Duration::from_secs(20);
const CONSENT: &str = "-recover=yes-lose-unreplicated-writes";
const WRITES: usize = 200;

/// Runs `gometa-server` with a flag in the directory of a node that does not run.
fn recover(directory: &Path, flag: &str) -> Output {
    let mut command = Command::new(program("gometa-server"));
    command.current_dir(directory).args([flag, "-config=node.json"]).stdin(Stdio::null());
    command.output().expect("the server can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Recovers, and returns what was printed.
fn recovered(directory: &Path) -> String {
    let output = recover(directory, CONSENT);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// The refusal, with which nothing has changed.
fn refused(ensemble: &Ensemble, node: usize, flag: &str) -> String {
    let before = report(&ensemble.data(node), &[]);
    let output = recover(ensemble.directory(node), flag);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let after = report(&ensemble.data(node), &[]);
    for part in ["ensemble", "hard_state", "identity"] {
        assert_eq!(before[part], after[part], "{part}");
    }
    assert_eq!(before["log"]["end"], after["log"]["end"]);
    let error = text(&output.stderr);
    let last = error.lines().last().unwrap_or_default().to_owned();
    assert!(last.contains("nothing was changed") || last.contains("damaged"), "{last}");
    last
}

fn history(status: &NodeStatus) -> EnsembleId {
    status.ensemble.clone().expect("it belongs to an ensemble")
}

/// Starts a node with an empty directory, which joins this one as a voter.
async fn join(ensemble: &mut Ensemble, node: usize, member: usize) {
    ensemble.wipe(node);
    let mut command = Command::new(program("gometa-server"));
    command.args([format!("-join={}", ensemble.request(member)), "-voter".to_owned()]);
    ensemble.spawn_with(node, command);
    ensemble.status_when(node, "is a voter", |status| status.votes && status.role != Role::Looking).await;
}

/// Sets keys until this revision is surely in every log.
async fn write(client: &Client) {
    for number in 0..WRITES {
        client.set(format!("k/{number:03}"), number.to_string()).await.unwrap();
    }
}

/// All keys of [`write`] are on this node.
async fn has_all(ensemble: &Ensemble, node: usize) {
    let client = ensemble.client_of(node, TIMEOUT);
    let found = client.count(gometa_client::Range::prefix("k/").options(ReadOptions::local())).await.unwrap();
    assert_eq!(found, WRITES as u64, "node {node}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_of_three_founds_the_ensemble_anew_and_the_others_join_it() {
    let mut ensemble = Ensemble::start(3).await;
    let witness = ensemble.client(TIMEOUT);
    write(&witness).await;
    ensemble.converged(&ensemble.all()).await;
    let old = history(&ensemble.status(0).await.unwrap());
    assert_eq!(witness.history_id(), Some(old.history));
    // Its session is open when everything ends.
    let holder = ensemble.client_of(0, TIMEOUT);
    holder.set("held", "x").await.unwrap();
    ensemble.converged(&ensemble.all()).await;
    ensemble.all().into_iter().for_each(|node| ensemble.kill(node));

    let said = recovered(ensemble.directory(0));
    assert!(said.contains("founded anew") && said.contains("-voter"), "{said}");
    ensemble.restart(0).await;
    let status = ensemble.status_when(0, "leads", |status| status.role == Role::Leading).await;
    let new = history(&status);
    assert!(new.id == old.id && new.history > old.history, "{old:?} {new:?}");
    assert_eq!(status.sessions, 0, "all sessions of the old history have ended");
    has_all(&ensemble, 0).await;
    let client = ensemble.client_of(0, TIMEOUT);
    let after = client.set("after", "x").await.unwrap();
    assert!(after.revision > status.commit_revision);

    // A node with the old history is refused, says why, and serves nothing new.
    ensemble.spawn(1);
    let line = ensemble.logged(1, &["WARN", "founded anew"]).await;
    assert!(line.contains("history"), "{line}");
    let left = ensemble.status(1).await.unwrap();
    assert_eq!((left.role, history(&left)), (Role::Looking, old.clone()));
    // With -join, too.
    ensemble.kill(1);
    let mut command = Command::new(program("gometa-server"));
    command.arg(format!("-join={}", ensemble.request(0)));
    ensemble.spawn_with(1, command);
    let line = ensemble.logged(1, &["WARN", "cannot join yet"]).await;
    assert!(line.contains("of its earlier history"), "{line}");
    // A client that has lived through it learns so once, and goes on; beside that node, too.
    let error = witness.set("k/000", "again").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HistoryChanged, "{error}");
    for _ in 0..10 {
        witness.set("k/000", "again").await.unwrap();
        assert_eq!(witness.get("k/000").await.unwrap().value, "again");
    }
    assert_eq!(witness.history_id(), Some(new.history));
    ensemble.kill(1);

    for node in [1, 2] {
        join(&mut ensemble, node, 0).await;
        has_all(&ensemble, node).await;
    }
    ensemble.converged(&ensemble.all()).await;
    // Each starts again, whatever its file lists; the second history goes on without the node that founded it.
    ensemble.kill(0);
    ensemble.client(TIMEOUT).set("without the founder", "x").await.unwrap();
    for node in ensemble.all() {
        if node > 0 {
            ensemble.kill(node);
        }
        ensemble.restart(node).await;
    }
    ensemble.converged(&ensemble.all()).await;
    has_all(&ensemble, 0).await;

    // A second time, from a member that has joined, with the changes of the members in its state.
    for node in ensemble.all() {
        assert!(ensemble.terminate(node).await.success());
    }
    recovered(ensemble.directory(2));
    for _ in 0..2 {
        ensemble.restart(2).await;
        ensemble.status_when(2, "leads", |status| status.role == Role::Leading).await;
        has_all(&ensemble, 2).await;
        ensemble.kill(2);
    }
    ensemble.restart(2).await;
    let third = history(&ensemble.status(2).await.unwrap());
    assert!(third.id == new.id && third.history > new.history, "{new:?} {third:?}");
    join(&mut ensemble, 0, 2).await;
    has_all(&ensemble, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_survivors_of_five_are_compared_by_the_one_that_founds_the_ensemble_anew() {
    let mut ensemble = Ensemble::start(5).await;
    write(&ensemble.client(TIMEOUT)).await;
    ensemble.converged(&ensemble.all()).await;
    // One of the two misses the last writes.
    let behind = ensemble.others(ensemble.leader().await)[0];
    ensemble.kill(behind);
    let client = ensemble.client(TIMEOUT);
    client.set("late", "x").await.unwrap();
    let up = ensemble.others(behind);
    ensemble.converged(&up).await;
    let best = up[0];
    up.iter().for_each(|node| ensemble.kill(*node));

    // While the better one can be asked, the other one is refused.
    ensemble.spawn(best);
    ensemble.status_when(best, "looks for a leader", |status| status.role == Role::Looking).await;
    let refusal = refused(&ensemble, behind, CONSENT);
    assert!(refusal.contains("it has more"), "{refusal}");
    // A second survivor that has not more does not stand against it.
    ensemble.kill(best);
    ensemble.spawn(behind);
    ensemble.status_when(behind, "looks for a leader", |status| status.role == Role::Looking).await;
    let said = recovered(ensemble.directory(best));
    assert!(said.contains("not more than this node"), "{said}");
    ensemble.kill(behind);

    ensemble.restart(best).await;
    has_all(&ensemble, best).await;
    assert_eq!(ensemble.client_of(best, TIMEOUT).get("late").await.unwrap().value, "x");
    // The other survivor has not seen it; once the ensemble is founded anew it cannot do the same.
    let refusal = refused(&ensemble, behind, CONSENT);
    assert!(refusal.contains("founded anew already"), "{refusal}");
    join(&mut ensemble, behind, best).await;
    ensemble.converged(&[best, behind]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_that_needs_no_recovery_is_not_founded_anew() {
    let mut ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    client.set("k", "v").await.unwrap();
    ensemble.converged(&ensemble.all()).await;
    let (leader, others) = (ensemble.leader().await, ensemble.others(ensemble.leader().await));
    let node = others[0];

    // It runs: its directory is locked.
    let output = recover(ensemble.directory(node), CONSENT);
    assert!(!output.status.success() && text(&output.stderr).contains("in use"), "{output:?}");
    // The others are alive.
    assert!(ensemble.terminate(node).await.success());
    let refusal = refused(&ensemble, node, CONSENT);
    assert!(refusal.contains("has a leader"), "{refusal}");
    // Together with another one that waits for it, it is a quorum.
    ensemble.kill(leader);
    ensemble.status_when(others[1], "looks for a leader", |status| status.role == Role::Looking).await;
    let refusal = refused(&ensemble, node, CONSENT);
    assert!(refusal.contains("are a quorum"), "{refusal}");
    ensemble.kill(others[1]);
    // Without consent.
    for flag in ["-recover", "-recover=ask"] {
        let refusal = refused(&ensemble, node, flag);
        assert!(refusal.contains(CONSENT), "{refusal}");
    }
    // Without the node's configuration file.
    let mut command = Command::new(program("gometa-server"));
    command.current_dir(ensemble.directory(node)).arg(CONSENT).stdin(Stdio::null());
    let output = command.output().expect("the server can be run");
    let refusal = text(&output.stderr);
    assert!(!output.status.success() && refusal.contains("name its file with -config"), "{output:?}");
    let output = recover(ensemble.directory(node), "-recover=yes");
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    // As the only voter it needs no recovery.
    recovered(ensemble.directory(node));
    let refusal = refused(&ensemble, node, CONSENT);
    assert!(refusal.contains("only voter"), "{refusal}");
    ensemble.restart(node).await;
    assert_eq!(ensemble.client_of(node, TIMEOUT).get("k").await.unwrap().value, "v");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_no_sound_voter_founds_nothing() {
    let mut ensemble = Ensemble::start(3).await;
    ensemble.client(TIMEOUT).set("k", "v").await.unwrap();
    ensemble.converged(&ensemble.all()).await;
    for node in ensemble.all() {
        assert!(ensemble.terminate(node).await.success());
    }
    // A damaged one: its log, and its state.
    let place = ensemble.scratch().join("damaged");
    copy(ensemble.directory(0), &place);
    let table = tables(&place.join("gometa-data")).pop().expect("the state was flushed");
    flip(&table, 20);
    let output = recover(&place, CONSENT);
    assert!(!output.status.success() && text(&output.stderr).contains("damaged"), "{output:?}");

    // None at all, and an empty one.
    fs::remove_dir_all(place.join("gometa-data")).unwrap();
    let output = recover(&place, CONSENT);
    assert!(text(&output.stderr).contains("no complete data directory"), "{output:?}");
    assert!(!place.join("gometa-data").exists(), "nothing is created");

    // A learner.
    let (founder, learner) = (0, 1);
    recovered(ensemble.directory(founder));
    ensemble.restart(founder).await;
    ensemble.wipe(learner);
    let mut command = Command::new(program("gometa-server"));
    command.arg(format!("-join={}", ensemble.request(founder)));
    ensemble.spawn_with(learner, command);
    ensemble.status_when(learner, "is a learner", |status| status.role == Role::Learning).await;
    ensemble.converged(&[founder]).await;
    let learned = ensemble.client_of(learner, TIMEOUT).get_with("k", ReadOptions::local()).await;
    assert_eq!(learned.map_err(|error| error.kind()).map(|entry| entry.value), Ok("v".into()));
    ensemble.kill(learner);
    ensemble.kill(founder);
    let refusal = refused(&ensemble, learner, CONSENT);
    assert!(refusal.contains("not that of a voter"), "{refusal}");
}
