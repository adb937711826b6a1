//! Nodes are killed with SIGKILL and restarted under load: no acknowledged write is lost, none is executed twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_client::{Client, ErrorKind, ReadOptions};
use gometa_tests::{
    ensemble::Ensemble,
    random, say,
    wait::{PATIENCE, until},
};
use tokio::task::JoinSet;

const ROUNDS: u64 = 20;
const WRITERS: usize = 4;
/// The number of concurrent sets of a writer.
const TOGETHER: usize = 8;
/// The timeout of a call, longer than any outage in these tests: no call may fail.
const TIMEOUT: Duration = Duration::from_secs(20);
const COUNTER: &str = "counter";
/// The number of concurrent reads at the end.
const READS: usize = 64;

/// The acknowledged writes of one writer.
#[derive(Default)]
struct Promised {
    /// Keys that were written once, with their revisions; the value is the key.
    sets: Vec<(String, u64)>,
    /// The number of sets of the writer's own key.
    hits: u64,
    /// The number of increments of the shared counter.
    raises: u64,
}

struct Writer {
    name: usize,
    client: Client,
    promised: Promised,
    next: u64,
    /// The number of iterations.
    progress: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    async fn run(mut self) -> Writer {
        while !self.stop.load(Ordering::Relaxed) {
            self.write_apart().await;
            self.hit().await;
            self.raise().await;
            self.add_and_delete().await;
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        self
    }

    /// Writes its own keys concurrently: each has version 1, regardless of retries.
    async fn write_apart(&mut self) {
        let mut flying = JoinSet::new();
        for _ in 0..TOGETHER {
            let key = format!("own/{}/{}", self.name, self.next);
            self.next += 1;
            let client = self.client.clone();
            flying.spawn(async move {
                let written = client.set(&key, &key).await.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(written.version, 1, "the only set of {key} happened more than once");
                (key, written.revision)
            });
        }
        self.promised.sets.extend(flying.join_all().await);
    }

    /// Sets one key repeatedly: its version counts the executions.
    async fn hit(&mut self) {
        let key = hits_key(self.name);
        let written = self.client.set(&key, self.promised.hits.to_string()).await;
        let written = written.unwrap_or_else(|error| panic!("{error}"));
        self.promised.hits += 1;
        assert_eq!(written.version, self.promised.hits, "{key} was not set once per call");
    }

    /// Increments the shared counter by compare-and-swap.
    async fn raise(&mut self) {
        let entry = self.client.get(COUNTER).await.unwrap_or_else(|error| panic!("{error}"));
        let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        match self.client.cas(COUNTER, entry.mod_revision, (count + 1).to_string()).await {
            Ok(_) => self.promised.raises += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::CasMismatch, "{error}"),
        }
    }

    /// Adds and deletes a key: a second execution of either would have another result.
    async fn add_and_delete(&mut self) {
        let key = format!("gone/{}/{}", self.name, self.next);
        let added = self.client.add(&key, "x").await.unwrap_or_else(|error| panic!("{error}"));
        let deleted = self.client.delete_if(&key, added.revision).await;
        assert!(deleted.unwrap_or_else(|error| panic!("{error}")).existed, "{key} was deleted twice");
    }
}

fn hits_key(writer: usize) -> String {
    format!("hits/{writer}")
}

/// Waits until each of these writers has made `count` more iterations.
async fn progressed(progress: &[Arc<AtomicU64>], of: &[usize], by: u64) {
    let before: Vec<u64> = of.iter().map(|writer| progress[*writer].load(Ordering::Relaxed)).collect();
    until("every client's writes go on", PATIENCE, || async {
        let slow = of
            .iter()
            .zip(&before)
            .find(|(writer, before)| progress[**writer].load(Ordering::Relaxed) < **before + by);
        slow.map_or(Ok(()), |(writer, _)| Err(format!("client {writer} stands still")))
    })
    .await;
}

/// Reads keys from one node, and compares them with the acknowledged writes.
async fn verify(client: &Client, sets: &[(String, u64)]) {
    let mut flying = JoinSet::new();
    for chunk in sets.chunks(sets.len().div_ceil(READS).max(1)) {
        let (client, chunk) = (client.clone(), chunk.to_vec());
        flying.spawn(async move {
            for (key, revision) in chunk {
                let options = ReadOptions::local().with_min_revision(revision);
                let entry = client.get_with(&key, options).await;
                let entry =
                    entry.unwrap_or_else(|error| panic!("acknowledged at revision {revision}: {error}"));
                assert_eq!(
                    (entry.value, entry.version, entry.mod_revision),
                    (key.clone().into_bytes().into(), 1, revision),
                    "{key}"
                );
            }
        });
    }
    flying.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_rounds_of_kills_lose_no_acknowledged_write_and_repeat_none() {
    let begun = Instant::now();
    let mut random = random::of_this_run("kills");
    let mut ensemble = Ensemble::start(3).await;
    let readers: Vec<Client> = ensemble.all().iter().map(|node| ensemble.client_of(*node, TIMEOUT)).collect();
    ensemble.client(TIMEOUT).add(COUNTER, "0").await.unwrap();
    let progress: Vec<Arc<AtomicU64>> = (0..WRITERS).map(|_| Arc::default()).collect();
    let mut stop = Arc::new(AtomicBool::new(false));
    let mut writers: Vec<Writer> = (0..WRITERS)
        .map(|name| Writer {
            name,
            // The last one is pinned to a node, so that its writes are forwarded while another leads.
            client: if name + 1 == WRITERS {
                ensemble.client_of(0, TIMEOUT)
            } else {
                ensemble.client_from(name, TIMEOUT)
            },
            promised: Promised::default(),
            next: 0,
            progress: progress[name].clone(),
            stop: stop.clone(),
        })
        .collect();

    let mut verified = [0; WRITERS];
    for round in 1..=ROUNDS {
        let running: Vec<_> = writers.drain(..).map(|writer| tokio::spawn(writer.run())).collect();
        progressed(&progress, &[0, 1, 2, 3], 1 + random.below(100)).await;
        let victims = if round % 5 == 0 { ensemble.all() } else { vec![ensemble.leader().await] };
        victims.iter().for_each(|victim| ensemble.kill(*victim));
        if victims.len() == 1 && random.percent(50) {
            // Half of the time the others go on before the restart.
            let free: &[usize] = if victims == [0] { &[0, 1, 2] } else { &[0, 1, 2, 3] };
            progressed(&progress, free, 1 + random.below(20)).await;
        }
        victims.iter().for_each(|victim| ensemble.spawn(*victim));
        for victim in &victims {
            ensemble.ready(*victim).await;
        }
        progressed(&progress, &[0, 1, 2, 3], 2).await;

        stop.store(true, Ordering::Relaxed);
        for writer in running {
            writers.push(writer.await.unwrap());
        }
        stop = Arc::new(AtomicBool::new(false));
        writers.iter_mut().for_each(|writer| writer.stop = stop.clone());

        ensemble.converged(&ensemble.all()).await;
        for (writer, verified) in writers.iter().zip(&mut verified) {
            for reader in &readers {
                verify(reader, &writer.promised.sets[*verified..]).await;
            }
            *verified = writer.promised.sets.len();
        }
        verify_counters(&ensemble, &writers).await;
    }

    for reader in &readers {
        for writer in &writers {
            verify(reader, &writer.promised.sets).await;
        }
    }
    ensemble.converged(&ensemble.all()).await;
    let sum = |of: fn(&Writer) -> u64| writers.iter().map(of).sum::<u64>();
    let retries: u64 = writers.iter().map(|writer| writer.client.counters().retries).sum();
    assert!(retries > 0, "no write was ever retried: the kills had no effect");
    say(&format!(
        "{ROUNDS} rounds in {:.1?}: {} sets, {} raises, {} hits acknowledged, {retries} attempts repeated; 0 lost, \
         0 doubled",
        begun.elapsed(),
        sum(|writer| writer.promised.sets.len() as u64),
        sum(|writer| writer.promised.raises),
        sum(|writer| writer.promised.hits),
    ));
}

/// Checks that the counter is the number of acknowledged increments.
async fn verify_counters(ensemble: &Ensemble, writers: &[Writer]) {
    let client = ensemble.client(TIMEOUT);
    let raises: u64 = writers.iter().map(|writer| writer.promised.raises).sum();
    let counter = client.get(COUNTER).await.unwrap();
    assert_eq!(
        (counter.value.as_ref(), counter.version),
        (raises.to_string().as_bytes(), raises + 1),
        "the counter against acknowledged raises"
    );
    for writer in writers {
        let entry = client.get(hits_key(writer.name)).await.unwrap();
        assert_eq!(
            entry.version,
            writer.promised.hits,
            "{} against acknowledged sets",
            hits_key(writer.name)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_leader_is_killed_the_next_write_is_acknowledged_within_a_moment() {
    const KILLS: usize = 20;
    const P50_MAX: Duration = Duration::from_millis(600);
    let mut ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    client.set("k", "before").await.unwrap();
    let mut times = Vec::new();
    for kill in 0..KILLS {
        let leader = ensemble.leader().await;
        // The client is connected to the leader, as it would be in use.
        client.set("k", format!("before kill {kill}")).await.unwrap();
        ensemble.kill(leader);
        let killed = Instant::now();
        client.set("k", format!("after kill {kill}")).await.unwrap();
        times.push(killed.elapsed());
        ensemble.restart(leader).await;
        ensemble.converged(&ensemble.all()).await;
    }
    times.sort();
    let (p50, max) = (times[KILLS / 2], times[KILLS - 1]);
    say(&format!("leader killed {KILLS} times: next write acknowledged after p50 {p50:.0?}, max {max:.0?}"));
    assert!(p50 < P50_MAX, "p50 is {p50:?}, {P50_MAX:?} allowed; all: {times:?}");
}
