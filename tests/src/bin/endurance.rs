//! Long loads on three nodes on this machine: `gometa-endurance growth`, `join`, `scan` and `return`.
//!
//! Needs gometa-server beside it (`make build`). docs/evidence.md has results.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use gometa_tests::{
    clients::{Places, table::root},
    endurance::{Absence, Disk, SCANNING, Scans, UnderLoad, growth, joins, returns, scans},
    print_line,
};

#[derive(Parser)]
#[command(about = "Long loads on three nodes: their directories and memory, and followers that come back")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Set few keys many times; measure rate, latency, directories and memory each second
    Growth {
        /// The number of sets
        #[arg(long, default_value_t = 10_000_000)]
        sets: u64,
        /// The number of keys
        #[arg(long, default_value_t = 10_000)]
        keys: u64,
        /// Draw the picture into this file, as SVG
        #[arg(long, value_name = "FILE")]
        plot: Option<PathBuf>,
    },
    /// Let a fourth node join under load, promote it, and remove a follower and the leader; fails if a bound is broken
    Join {
        /// The number of keys, with values of 128 bytes
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        keys: u64,
        /// The load, in sets a second
        #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// The seconds for which the load is measured before
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
        before: u64,
    },
    /// Have each language scan all keys under load, one after the other; fails if a scan is wrong or a bound is broken
    Scan {
        /// The number of keys, with values of 128 bytes
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        keys: u64,
        /// The load, in sets a second
        #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// The seconds for which the load is measured before
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
        before: u64,
        /// The clients, separated by commas
        #[arg(long, value_delimiter = ',', default_values_t = SCANNING.map(str::to_owned))]
        clients: Vec<String>,
    },
    /// Kill a follower, let it miss sets, and measure its return under load
    Return {
        /// The number of keys, with values of 128 bytes
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
        keys: u64,
        /// The sets that it misses
        #[arg(long, default_value_t = 80_000)]
        missed: u64,
        /// Let it come back with an empty directory
        #[arg(long, conflicts_with = "damaged")]
        wiped: bool,
        /// Let it come back with flipped bits in the table files of its state
        #[arg(long)]
        damaged: bool,
        /// The load while it comes back, in sets a second
        #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// The seconds for which the load is measured before
        #[arg(long, default_value_t = 60)]
        before: u64,
    },
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match Arguments::parse().what {
        What::Growth { sets, keys, plot } => match growth(sets, keys).await {
            Ok(grown) => {
                print_line(&grown.text());
                let Some(path) = plot else { return ExitCode::SUCCESS };
                if let Err(error) = std::fs::write(&path, grown.svg()) {
                    print_line(&format!("{}: {error}", path.display()));
                    return ExitCode::FAILURE;
                }
            }
            Err(error) => {
                print_line(&format!("a data directory cannot be read: {error}"));
                return ExitCode::FAILURE;
            }
        },
        What::Join { keys, rate, before } => {
            let joined = joins(UnderLoad { keys, rate, before: Duration::from_secs(before) }).await;
            print_line(&joined.text());
            if !joined.broken().is_empty() {
                return ExitCode::FAILURE;
            }
        }
        What::Scan { keys, rate, before, clients } => {
            let before = Duration::from_secs(before);
            match scan(&clients, UnderLoad { keys, rate, before }).await {
                Ok(scans) => {
                    print_line(&scans.text());
                    if !scans.broken().is_empty() {
                        return ExitCode::FAILURE;
                    }
                }
                Err(error) => {
                    print_line(&format!("{error:#}"));
                    return ExitCode::FAILURE;
                }
            }
        }
        What::Return { keys, missed, wiped, damaged, rate, before } => {
            let before = Duration::from_secs(before);
            let (disk, said) = match (wiped, damaged) {
                (true, _) => (Disk::Wiped, ", directory wiped"),
                (_, true) => (Disk::Damaged, ", state damaged"),
                _ => (Disk::Kept, ""),
            };
            let back = returns(Absence { keys, missed, disk, rate, before }).await;
            print_line(&format!(
                "{keys} keys, {missed} sets missed{said}: complete after {:.2} s by {}; {} sets at {rate}/s meanwhile: p99 \
                 {:.1?}, worst {:.1?}; p99 before {:.1?}",
                back.time.as_secs_f64(),
                if back.snapshot { "snapshot" } else { "log entries" },
                back.sets,
                back.p99,
                back.worst,
                back.p99_before,
            ));
        }
    }
    ExitCode::SUCCESS
}

async fn scan(clients: &[String], load: UnderLoad) -> anyhow::Result<Scans> {
    let running = std::env::current_exe()?;
    // target/release/gometa-endurance
    let target = running.ancestors().nth(2).context("this program has a directory")?;
    scans(&Places { root: root(), target }, clients, load).await
}
