//! `gometa-clients`: the same tests for the clients of every language; see `gometa_tests::clients`.
//!
//! ```text
//! gometa-clients conformance [--clients rust,c] [--only TEXT]
//! gometa-clients exactly-once [--increments 10000] [--every-ms 3000]
//! gometa-clients exactly-once --changes 100 [--keys 10000]
//! gometa-clients bank [--transfers 2000] [--every-ms 3000]
//! gometa-clients short-lived [--count 12000]
//! gometa-clients bench [--rounds 9]
//! ```
//!
//! The exit status is 0 if everything passed. The last line of `conformance` is a summary like that of a test
//! program, with a test for each cell.
#![forbid(unsafe_code)]

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use gometa_tests::clients::{
    Places,
    bank::{Banked, CLIENTS, bank},
    bench::bench,
    changes::{Churn, exactly_once_under_changes},
    counters::{Sum, exactly_once},
    short_lived::short_lived,
    table::{all_clients, conformance, root},
};

/// Runs the same tests for the clients of every language.
#[derive(Parser)]
struct Arguments {
    /// The clients, separated by commas; all if not given.
    #[arg(long, global = true, value_delimiter = ',')]
    clients: Vec<String>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Plays the same scenarios to each client.
    Conformance {
        /// Selects scenarios whose name or file name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Makes concurrent increments with each client while leaders are killed, or while members change.
    ExactlyOnce {
        /// The number of increments of each client; at most 500 of the command line.
        #[arg(long, default_value_t = 10_000)]
        increments: usize,
        /// The milliseconds between two kills.
        #[arg(long, default_value_t = 3_000)]
        every_ms: u64,
        /// Changes the members this many times instead, with a kill in every third change; increments go on until the end.
        #[arg(long, conflicts_with_all = ["increments", "every_ms"], value_parser = clap::value_parser!(u64).range(1..))]
        changes: Option<u64>,
        /// With --changes: the number of keys that are set meanwhile, whose values are compared in the end.
        #[arg(long, default_value_t = 10_000, requires = "changes", value_parser = clap::value_parser!(u64).range(1..))]
        keys: u64,
        /// With --changes: the seed that determines the changes and the kills; random if not given.
        #[arg(long, requires = "changes")]
        seed: Option<u64>,
    },
    /// Moves money between accounts by transactions with every client that has them, while leaders are killed.
    Bank {
        /// The number of transfers of all clients together.
        #[arg(long, default_value_t = 2_000)]
        transfers: usize,
        /// The milliseconds between two kills.
        #[arg(long, default_value_t = 3_000)]
        every_ms: u64,
    },
    /// Opens clients in each language that write once and close, one after another; none may leave a session.
    ShortLived {
        /// The number of clients in each language.
        #[arg(long, default_value_t = 12_000)]
        count: usize,
    },
    /// Compares the throughput of each client with that of the Rust client.
    Bench {
        /// The number of interleaved rounds; medians are compared.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let chosen = arguments.clients;
    let clients = if chosen.is_empty() { all_clients() } else { chosen.clone() };
    let running = std::env::current_exe()?;
    // target/release/gometa-clients
    let target: PathBuf = running.ancestors().nth(2).context("this program has a directory")?.to_owned();
    let places = Places { root: root(), target: &target };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match arguments.task {
            Task::Conformance { only } => check(&places, &clients, &only).await,
            Task::ExactlyOnce { changes: Some(count), keys, seed, .. } => {
                change(
                    &places,
                    &clients,
                    Churn { changes: count, keys, seed: seed.map_or_else(getrandom::u64, Ok)? },
                )
                .await
            }
            Task::ExactlyOnce { increments, every_ms, .. } => {
                count(&places, &clients, increments, Duration::from_millis(every_ms)).await
            }
            Task::Bank { transfers, every_ms } => {
                move_money(&places, &chosen, transfers, Duration::from_millis(every_ms)).await
            }
            Task::ShortLived { count } => run_short_lived(&places, &clients, count).await,
            Task::Bench { rounds } => measure(&places, &clients, rounds).await,
        }
    })
}

async fn check(places: &Places<'_>, clients: &[String], only: &str) -> anyhow::Result<ExitCode> {
    let results = conformance(places, clients, only).await?;
    tell(&results.text());
    results.failures().iter().for_each(|failure| tell(&format!("FAILED: {failure}\n")));
    let (passed, failed) = (results.passed(), results.failures().len());
    let word = if failed == 0 { "ok" } else { "FAILED" };
    tell(&format!("test result: {word}. {passed} passed; {failed} failed;\n"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn count(
    places: &Places<'_>,
    clients: &[String],
    increments: usize,
    every: Duration,
) -> anyhow::Result<ExitCode> {
    let (sums, kills) = exactly_once(places, clients, increments, every).await?;
    tell_sums(&sums);
    tell(&format!("every sum is exact; the leader was killed {kills} times\n"));
    Ok(ExitCode::SUCCESS)
}

async fn move_money(
    places: &Places<'_>,
    clients: &[String],
    transfers: usize,
    every: Duration,
) -> anyhow::Result<ExitCode> {
    let able: Vec<String> = CLIENTS.map(str::to_owned).to_vec();
    let clients = if clients.is_empty() { &able } else { clients };
    let Banked { made, refused, kills, revisions, took } = bank(places, clients, transfers, every).await?;
    tell(&format!(
        "{}: {made} transfers, {refused} refused, in {:.1} s; the leader was killed {kills} times\n",
        clients.join(", "),
        took.as_secs_f64()
    ));
    tell(&format!("every account is exact at {revisions} revisions, and no transfer was made twice\n"));
    Ok(ExitCode::SUCCESS)
}

fn tell_sums(sums: &[Sum]) {
    for sum in sums {
        let seconds = sum.took.as_secs_f64();
        tell(&format!(
            "{:<12} {:>6} increments, {:>6} revision mismatches, {seconds:>6.1} s\n",
            sum.client, sum.increments, sum.mismatches
        ));
    }
}

async fn change(places: &Places<'_>, clients: &[String], churn: Churn) -> anyhow::Result<ExitCode> {
    tell(&format!("{} changes of the members, --seed {}\n", churn.changes, churn.seed));
    let (sums, churned) = exactly_once_under_changes(places, clients, churn).await?;
    tell_sums(&sums);
    tell(&format!("{churned}\n"));
    tell("every sum is exact, and no acknowledged set is lost\n");
    Ok(ExitCode::SUCCESS)
}

async fn run_short_lived(places: &Places<'_>, clients: &[String], count: usize) -> anyhow::Result<ExitCode> {
    for lives in short_lived(places, clients, count).await? {
        let (seconds, sessions) = (lives.took.as_secs_f64(), lives.sessions);
        let rate = lives.count as f64 / seconds;
        tell(&format!(
            "{:<12} {:>6} clients, {seconds:>6.1} s, {rate:>6.0}/s, {sessions} session afterwards\n",
            lives.client, lives.count
        ));
    }
    tell("no client has left a session, and no call has failed\n");
    Ok(ExitCode::SUCCESS)
}

async fn measure(places: &Places<'_>, clients: &[String], rounds: usize) -> anyhow::Result<ExitCode> {
    let all = bench(places, clients, rounds).await?;
    let mut short = false;
    for rates in &all {
        let base = all.iter().find(|base| base.load == rates.load).context("a base")?.median();
        let share = 100.0 * rates.median() / base;
        let verdict = match rates.wanted {
            Some(wanted) if share < wanted => {
                short = true;
                format!("  below {wanted:.0} %")
            }
            Some(wanted) => format!("  at least {wanted:.0} % wanted"),
            None => String::new(),
        };
        tell(&format!(
            "{:<16} {:<12} {:>8.0}/s {share:>5.0} %{verdict}\n",
            rates.load,
            rates.client,
            rates.median()
        ));
    }
    Ok(if short { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes to standard output. A closed pipe is no failure.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
        assert!(root().join("Cargo.toml").is_file());
    }
}
