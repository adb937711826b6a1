//! Blocked outputs: standard output and standard error of every node are a full pipe, as under a container
//! runtime that hangs. The ensemble still serves clients, and stops on request.

use std::{
    io::{BufRead, BufReader},
    net::UdpSocket,
    process::Command,
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use gometa_tests::{
    ensemble::Ensemble,
    program::program,
    wait::{PATIENCE, until},
};

/// The deadline from the leader's death to the next acknowledged write; an election takes about a second.
const SERVED_MAX: Duration = Duration::from_secs(10);
/// The deadline from a signal to the exit: the data directory is closed, and the process waits 200 ms for the outputs.
const END_MAX: Duration = Duration::from_secs(3);
/// The number of datagrams sent to an election port; the system may drop some.
const DATAGRAMS: usize = 200_000;

async fn with_blocked_outputs(nodes: usize) -> Ensemble {
    let mut ensemble = Ensemble::prepare(nodes);
    ensemble.block_outputs();
    ensemble.start_all().await;
    ensemble
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_whose_outputs_are_blocked_outlives_its_leader_and_ends_when_asked() {
    let mut ensemble = with_blocked_outputs(3).await;
    let client = ensemble.client(PATIENCE);
    client.set("before", "x").await.unwrap();

    let leader = ensemble.leader().await;
    ensemble.kill(leader);
    let struck = Instant::now();
    client.set("after", "x").await.unwrap();
    assert!(struck.elapsed() < SERVED_MAX, "the next write took {:?}", struck.elapsed());
    assert_eq!(client.get("before").await.unwrap().value, "x");

    ensemble.restart(leader).await;
    ensemble.converged(&ensemble.all()).await;
    for node in ensemble.all() {
        let asked = Instant::now();
        let status = ensemble.terminate(node).await;
        assert_eq!(status.code(), Some(0), "node {node}");
        assert!(asked.elapsed() < END_MAX, "node {node} took {:?} to end", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_ends_a_node_whose_outputs_are_blocked() {
    let mut ensemble = Ensemble::prepare(1);
    ensemble.block_outputs();
    ensemble.spawn(0);
    ensemble.ready(0).await;
    ensemble.limit_files(0, 64 << 10);
    let client = ensemble.client_of(0, Duration::from_secs(1));
    let value = "x".repeat(64 << 10);
    until("the node's files are full", PATIENCE, || async {
        match client.set("key", &*value).await {
            Ok(_) if ensemble.process(0).ended().is_none() => Err("it takes writes".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let (status, _) = ensemble.end(0).await;
    assert_eq!(status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_were_dropped_while_an_output_was_blocked_are_counted_when_it_is_read_again() {
    let mut ensemble = Ensemble::prepare(1);
    ensemble.block_outputs();
    let mut command = Command::new(program("gometa-server"));
    command.arg("-log-level=debug");
    ensemble.spawn_with(0, command);
    ensemble.ready(0).await;
    // Each received datagram is a line of the log, whose queue has room for some thousands.
    let noise = UdpSocket::bind((ensemble.addresses(0).election.ip(), 0)).unwrap();
    for _ in 0..DATAGRAMS {
        noise.send_to(b"no vote", ensemble.addresses(0).election).unwrap();
    }
    ensemble.client_of(0, PATIENCE).set("key", "x").await.unwrap();
    let pipe = ensemble.unblock(0);
    let (sender, lines) = sync_channel(2 * DATAGRAMS);
    let reader = thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok).filter(|line| !line.is_empty());
        lines.for_each(|line| drop(sender.send(line)));
    });
    let mut queued = 0;
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{queued} lines, and no count"));
        if line.contains("log lines dropped") {
            break;
        }
        queued += usize::from(line.contains("malformed datagram dropped"));
    }
    assert!(queued > 0, "nothing was queued");
    let status = ensemble.terminate(0).await;
    assert_eq!(status.code(), Some(0));
    let rest: Vec<String> = lines.iter().collect();
    reader.join().unwrap();
    assert!(rest.last().is_some_and(|line| line.ends_with("stopped reason=SIGTERM")), "{rest:?}");
}
