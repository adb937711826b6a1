//! `gometa health`: whether the ensemble, or one node, serves reads; for supervisors, load balancers and scripts.
//!
//! The ensemble is healthy if a linearizable read passes, which needs a leader and a quorum. A node is healthy if it
//! answers a local read: it has been brought up to date since it started. A node without a leader is healthy as well, for
//! restarting it would not help.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use gometa_client::{Client, Error, ErrorKind, Layout, ReadOptions, printable};
use serde_json::json;

use super::{Setting, UNHEALTHY};
use crate::{
    args::Health,
    output::{Failure, Format, write_json},
};

/// The key that is read. That it does not exist is an answer too.
const KEY: &str = "gometa/health";
/// Time between the end of a test that failed and the next, which is not begun for less time than this.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(setting: &Setting, args: &Health, out: &mut dyn Write) -> Result<u8, Failure> {
    let client = match &args.node {
        Some(address) => setting.one_node(address)?,
        None => setting.client.clone(),
    };
    let (read, options) = match args.node {
        Some(_) => ("local", ReadOptions::local()),
        None => ("linearizable", ReadOptions::default()),
    };
    let begun = Instant::now();
    let until = begun + args.wait.unwrap_or_default();
    let result = loop {
        let result = test(&client, options, setting.timeout, until).await;
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
    match setting.format {
        Format::Table => {
            let word = if result.is_ok() { "healthy" } else { "unhealthy" };
            let node = args.node.as_deref().map(|node| format!("{node} is ")).unwrap_or_default();
            writeln!(out, "{}", printable(format!("{node}{word}: {message}").as_bytes(), Layout::OneLine))?;
        }
        Format::Json => {
            let fields = json!({
                "healthy": result.is_ok(),
                "node": args.node,
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

/// Reads once; returns how long it took, at most `timeout`, and no longer than `until` unless that has passed already:
/// the one test without `--wait` has its whole time.
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
