//! A leader that is told to stop hands over first: no call fails, and clients see a short pause.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_client::Client;
use gometa_tests::{ensemble::Ensemble, say};
use tokio::task::JoinSet;

const ROUNDS: usize = 7;
const WRITERS: usize = 3;
/// The timeout of a call: no call may fail.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A pause between two writes of one writer: a light load.
const THINK: Duration = Duration::from_millis(2);

/// Writes until it is stopped; returns the longest call. Every call succeeds.
async fn write(client: Client, writer: usize, stop: Arc<AtomicBool>) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0_u64.. {
        let began = Instant::now();
        client.set(format!("{writer}/{}", number % 100), number.to_string()).await.expect("no call fails");
        longest = longest.max(began.elapsed());
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(THINK).await;
    }
    longest
}

async fn stops(ensemble: &mut Ensemble, round: usize) -> Duration {
    let leader = ensemble.leader().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = ensemble.client_from(writer, TIMEOUT);
        client.set(format!("{writer}/begun"), round.to_string()).await.unwrap();
        writers.spawn(write(client, writer, stop.clone()));
    }
    let status = if round.is_multiple_of(2) {
        ensemble.terminate(leader).await
    } else {
        ensemble.close_stdin(leader).await
    };
    assert!(status.success());
    let log = ensemble.log(leader);
    assert!(log.contains("leadership handed over"), "{log}");
    let others = ensemble.others(leader);
    ensemble.leader_among(&others).await;
    stop.store(true, Ordering::Relaxed);
    let longest = writers.join_all().await.into_iter().max().unwrap_or_default();
    ensemble.restart(leader).await;
    let all = ensemble.all();
    ensemble.converged(&all).await;
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_hands_over_and_no_call_fails() {
    let mut ensemble = Ensemble::start(3).await;
    let mut pauses = Vec::new();
    for round in 0..ROUNDS {
        pauses.push(stops(&mut ensemble, round).await);
    }
    pauses.sort_unstable();
    say(&format!(
        "the leader stopped {ROUNDS} times: median of the longest pause {:?}, all: {pauses:?}",
        pauses[ROUNDS / 2]
    ));
    assert!(pauses[ROUNDS / 2] < Duration::from_secs(1), "the leadership is handed over: {pauses:?}");
}
