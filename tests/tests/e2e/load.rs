//! A minimum throughput, far below that of a benchmark.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_client::Client;
use gometa_tests::{ensemble::Ensemble, say};
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_set_small_values_at_a_decent_rate() {
    const CLIENTS: usize = 64;
    const TIME: Duration = Duration::from_secs(3);
    const RATE_MIN: f64 = 1_000.0;
    let ensemble = Ensemble::start(3).await;
    // Each has its own connection and session, and one write in flight.
    let clients: Vec<Client> = (0..CLIENTS).map(|_| ensemble.client(TIMEOUT)).collect();
    let mut opening = JoinSet::new();
    for client in clients.clone() {
        opening.spawn(async move { client.set("warm", "up").await.unwrap() });
    }
    opening.join_all().await;

    let count = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let count = count.clone();
        running.spawn(async move {
            let (key, value) = (format!("key/{number}"), [b'v'; 128]);
            let mut times = Vec::new();
            while begun.elapsed() < TIME {
                let sent = Instant::now();
                client.set(&key, value).await.unwrap_or_else(|error| panic!("{error}"));
                times.push(sent.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
            }
            times
        });
    }
    let mut times: Vec<Duration> = running.join_all().await.concat();
    let rate = count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    say(&format!(
        "{CLIENTS} clients, 128-byte values, three nodes: {rate:.0} sets/s; p50 {:.1?}, p99 {:.1?}, max {:.1?}",
        at(50),
        at(99),
        at(100)
    ));
    assert!(rate > RATE_MIN, "{rate:.0}/s");
    ensemble.converged(&ensemble.all()).await;
}
