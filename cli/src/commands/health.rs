//! `gometa health`: tests whether the ensemble, or one node, serves reads; for supervisors, load balancers and scripts.
//!
//! The ensemble is healthy if a linearizable read succeeds, which needs a leader and a quorum. A node is healthy if it
//! answers a local read: it has caught up with the ensemble since it started. A node without a leader is healthy, too,
//! because a restart would not help.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use gometa_client::{Client, Error, ErrorKind, Layout, ReadOptions, printable};
use serde_json::json;

use crate::{
    context::Context,
    options::parse_duration,
    output::{Failure, Format, UNHEALTHY, write_json},
};

/// The key that is read. It need not exist.
pub(super) const KEY: &str = "gometa/health";
/// The pause between two tests, and the shortest time for another test.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(clap::Args, Debug)]
pub(crate) struct Health {
    /// Test the node at this request address alone: whether it answers a local read
    #[arg(long, value_name = "ADDRESS")]
    node: Option<String>,

    /// Repeat the test until it passes, for at most this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

impl Health {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let client = match &self.node {
            Some(address) => context.client_of(address)?,
            None => context.client.clone(),
        };
        let (read, options) = match self.node {
            Some(_) => ("local", ReadOptions::local()),
            None => ("linearizable", ReadOptions::default()),
        };
        let begun = Instant::now();
        let until = begun + self.wait.unwrap_or_default();
        let result = loop {
            let result = test(&client, options, context.timeout, until).await;
            let left = until.saturating_duration_since(Instant::now());
            if result.is_ok() || left < 2 * PAUSE {
                break result;
            }
            tokio::time::sleep(PAUSE).await;
        };
        let message = match &result {
            Ok(took) => format!("a {read} read took {:.1} ms", took.as_secs_f64() * 1e3),
            Err(error) => format!("no {read} read: {}", error.message()),
        };
        match context.format {
            Format::Table => {
                let word = if result.is_ok() { "healthy" } else { "unhealthy" };
                let node = self.node.as_deref().map(|node| format!("{node} is ")).unwrap_or_default();
                writeln!(
                    out,
                    "{}",
                    printable(format!("{node}{word}: {message}").as_bytes(), Layout::OneLine)
                )?;
            }
            Format::Json => {
                let fields = json!({
                    "healthy": result.is_ok(),
                    "node": self.node,
                    "read": read,
                    "seconds": begun.elapsed().as_secs_f64(),
                    "kind": result.as_ref().err().map(|error| error.kind().name()),
                    "message": message,
                });
                write_json(out, &fields)?;
            }
        }
        Ok(if result.is_ok() { 0 } else { UNHEALTHY })
    }
}

/// Reads once. Returns the time that it took: at most `timeout`, and, unless `until` has already passed, at most until
/// then.
async fn test(
    client: &Client,
    options: ReadOptions,
    timeout: Duration,
    until: Instant,
) -> Result<Duration, Error> {
    let begun = Instant::now();
    let timeout = match until.saturating_duration_since(begun) {
        Duration::ZERO => timeout,
        left => timeout.min(left),
    };
    match client.with_timeout(timeout).get_with(KEY, options).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(begun.elapsed()),
    }
}
