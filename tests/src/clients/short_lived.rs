//! Short-lived clients: each opens, writes once and closes, one after another, while another client writes. None may
//! leave a session, which the ensemble would keep for an hour here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use gometa_client::Client;
use serde_json::json;

use super::{Driver, Places, line::Line};
use crate::{ensemble::Ensemble, wait::PATIENCE};

/// The session timeout.
const SESSION_TIMEOUT_MS: u64 = 3_600_000;
/// The timeout of a call.
const TIMEOUT_MS: u64 = 20_000;
/// The pause between two checks of the number of sessions.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// The result of one client.
pub struct Lives {
    /// The client's name.
    pub client: String,
    /// The number of clients that were opened and closed.
    pub count: usize,
    /// The time that it took.
    pub took: Duration,
    /// The number of sessions at the end, including the writer's.
    pub sessions: u64,
}

/// Opens and closes `count` clients in each language, one language after the other.
///
/// # Errors
/// If a call of theirs or of the other client fails, or if a session is left.
pub async fn short_lived(
    places: &Places<'_>,
    clients: &[String],
    count: usize,
) -> anyhow::Result<Vec<Lives>> {
    let mut ensemble = Ensemble::prepare(3);
    ensemble.configure_all("SessionTimeoutMs", &json!(SESSION_TIMEOUT_MS));
    ensemble.start_all().await;
    let ended = Arc::new(AtomicBool::new(false));
    let writer = ensemble.client(Duration::from_millis(TIMEOUT_MS));
    writer.set("writer", "0").await?;
    let writing = tokio::spawn(write(writer, Arc::clone(&ended)));
    let mut all = Vec::new();
    for name in clients {
        let begun = Instant::now();
        live(places, name, &ensemble.requests_from(0).join(","), count)
            .await
            .with_context(|| name.clone())?;
        let took = begun.elapsed();
        let sessions = until_one(&ensemble).await.with_context(|| name.clone())?;
        all.push(Lives { client: name.clone(), count, took, sessions });
    }
    ended.store(true, Ordering::Relaxed);
    let written = writing.await??;
    ensure!(written > 0, "the other client has not written");
    Ok(all)
}

/// Writes until `ended`, and returns the number of writes.
async fn write(writer: Client, ended: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut written = 0;
    while !ended.load(Ordering::Relaxed) {
        writer.set("writer", written.to_string()).await.context("the other client")?;
        written += 1;
    }
    writer.close().await;
    Ok(written)
}

async fn live(places: &Places<'_>, name: &str, peers: &str, count: usize) -> anyhow::Result<()> {
    let driver = Driver::start(name, places).await?;
    // Each process of the command is a client.
    let by_process = driver.without().contains("close");
    let open = Line::new("open").with("client", 1).with("peers", peers).with("timeout_ms", TIMEOUT_MS);
    let set = Line::new("set").with("client", 1).with_bytes("key", b"short-lived").with_bytes("value", b"v");
    let close = Line::new("close").with("client", 1);
    for client in 0..count {
        let steps: &[&Line] = match (by_process, client) {
            (true, 0) => &[&open, &set],
            (true, _) => &[&set],
            (false, _) => &[&open, &set, &close],
        };
        for step in steps {
            let answer = driver.call(step).await?;
            ensure!(answer.kind().is_none(), "client {}: {}: {answer}", client + 1, step.verb);
        }
    }
    driver.end().await
}

/// Waits until the writer's session is the only one.
async fn until_one(ensemble: &Ensemble) -> anyhow::Result<u64> {
    let begun = Instant::now();
    loop {
        let sessions = ensemble.status(ensemble.leader().await).await?.sessions;
        if sessions == 1 {
            return Ok(sessions);
        }
        ensure!(begun.elapsed() < PATIENCE, "{sessions} sessions are left, with one open client");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
