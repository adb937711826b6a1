//! The throughput of each client compared with the Rust client: the same load, interleaved in rounds.

use anyhow::{Context as _, ensure};

use super::{
    Driver, Places,
    cluster::Cluster,
    line::{Answer, Line},
};

/// A load.
pub struct Load {
    /// The name.
    pub name: &'static str,
    /// The verb.
    pub call: &'static str,
    /// The number of concurrent callers.
    pub callers: usize,
    /// The number of calls in each round.
    pub count: usize,
    /// The minimum rates of some clients, in percent of the Rust client's rate.
    pub shares: &'static [(&'static str, f64)],
}

/// One caller that reads, and 64 that write concurrently.
pub const LOADS: [Load; 2] = [
    Load {
        name: "get, 1 caller",
        call: "get",
        callers: 1,
        count: 4_000,
        shares: &[("c", 90.0), ("python", 60.0)],
    },
    Load {
        name: "set, 64 callers",
        call: "set",
        callers: 64,
        count: 16_000,
        shares: &[("python-aio", 50.0)],
    },
];

/// A client's rates in calls per second, one for each round.
pub struct Rates {
    /// The load's name.
    pub load: &'static str,
    /// The client's name.
    pub client: String,
    /// The rates in the order of the rounds.
    pub rates: Vec<f64>,
    /// The minimum share of the Rust client's rate in percent, if there is one.
    pub wanted: Option<f64>,
}

impl Rates {
    /// Returns the median.
    pub fn median(&self) -> f64 {
        let mut sorted = self.rates.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Measures every client that has a benchmark, interleaved; the others are compared with the first one.
pub async fn bench(places: &Places<'_>, clients: &[String], rounds: usize) -> anyhow::Result<Vec<Rates>> {
    let cluster = Cluster::start().await;
    // No proxies here.
    let peers = cluster.direct().join(",");
    cluster.observer().set("bench", [b'v'; 128]).await?;
    let mut running = Vec::new();
    for name in clients {
        let driver = Driver::start(name, places).await?;
        if driver.without().contains("bench") {
            continue;
        }
        let line = Line::new("open").with("client", 1).with("peers", &peers).with("timeout_ms", 10_000);
        let opened = driver.call(&line).await?;
        ensure!(matches!(opened, Answer::Ok(_)), "{name}: {opened}");
        running.push((name, driver));
    }
    let mut all = Vec::new();
    for load in &LOADS {
        let mut rates: Vec<Rates> = running
            .iter()
            .map(|(name, _)| Rates {
                load: load.name,
                client: (*name).clone(),
                rates: Vec::new(),
                wanted: load.shares.iter().find(|(client, _)| client == name).map(|(_, share)| *share),
            })
            .collect();
        // The first round warms caches and connections, and does not count.
        for round in 0..=rounds {
            for ((name, driver), rates) in running.iter().zip(&mut rates) {
                let line = Line::new("bench")
                    .with("client", 1)
                    .with("call", load.call)
                    .with_bytes("key", b"bench")
                    .with_bytes("value", &[b'v'; 128])
                    .with("count", load.count)
                    .with("callers", load.callers);
                let answer = driver.call(&line).await?;
                let Answer::Ok(fields) = &answer else { anyhow::bail!("{name}: {answer}") };
                ensure!(fields.get("failed").is_some_and(|failed| failed == "0"), "{name}: {answer}");
                let seconds: f64 = fields.get("seconds").context("bench says its seconds")?.parse()?;
                if round > 0 {
                    rates.rates.push(load.count as f64 / seconds);
                }
            }
        }
        all.extend(rates);
    }
    for (_, driver) in running {
        driver.end().await?;
    }
    Ok(all)
}
