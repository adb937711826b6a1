//! `gometa-bench`: the same load on gometa, etcd and ZooKeeper, each three processes on loopback.
//!
//! docs/benchmarks.md describes what is measured and how the systems are run. Modules, top down: `run` (the schedule),
//! `ensemble` (processes), `load` (the load generator), `client` (a client of each system), `report`.
#![forbid(unsafe_code)]

mod args;
mod client;
mod data;
mod disk;
mod ensemble;
mod load;
mod machine;
mod procfs;
mod report;
mod run;
mod stats;
mod workload;

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Args, Placement},
    machine::{FileSystem, Machine},
    report::{Report, Settings},
};

/// The exit status after a signal.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.sync_probe {
        Some(file) => disk::sync_probe(file, args.duration(), &mut io::stdout()).map(|()| ExitCode::SUCCESS),
        None => compare(&args),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "gometa-bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs the comparison, prints the table and writes the JSON file.
fn compare(args: &Args) -> Result<ExitCode> {
    args.check().map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.threads as usize)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let name = |path: &std::path::Path| path.display().to_string();
        fs::create_dir_all(&args.data_dir).with_context(|| name(&args.data_dir))?;
        if FileSystem::of(&args.data_dir)?.is_in_memory() {
            bail!(
                "{} is in memory, where a sync does nothing: choose another --data-dir",
                name(&args.data_dir)
            );
        }
        let directory =
            tempfile::Builder::new().prefix("run-").tempdir_in(fs::canonicalize(&args.data_dir)?)?;
        let mut report = report(args, Machine::describe(directory.path())?);
        let ended = tokio::select! {
            result = run::run(args, directory.path(), &mut report) => Some(result),
            result = interrupted() => {
                result?;
                None
            }
        };
        // All processes have ended: they were dropped with the future.
        if args.keep {
            writeln!(io::stderr(), "data and logs: {}", directory.keep().display())?;
        }
        report.incomplete = !matches!(ended, Some(Ok(())));
        if !report.measurements.is_empty() {
            if let Some(parent) = args.json.parent() {
                fs::create_dir_all(parent).with_context(|| name(parent))?;
            }
            fs::write(&args.json, format!("{:#}\n", report.to_json())).with_context(|| name(&args.json))?;
            let mut out = io::stdout().lock();
            write!(out, "{}\nevery measurement: {}\n", report.table(), args.json.display())?;
            out.flush()?;
        }
        match ended {
            Some(result) => result.map(|()| ExitCode::SUCCESS),
            None => Ok(ExitCode::from(INTERRUPTED)),
        }
    })
}

fn report(args: &Args, machine: Machine) -> Report {
    let settings = Settings {
        systems: args.systems.clone(),
        rounds: args.rounds(),
        seconds: args.duration().as_secs(),
        warm_up_seconds: args.warm_up().as_secs(),
        value_bytes: args.value_size,
        placement: match args.placement {
            Placement::Leader => "the leader".to_owned(),
            Placement::Spread => "all nodes".to_owned(),
        },
        generator_threads: args.threads,
        zookeeper_heap_mib: args.zookeeper_heap(),
        quick: args.quick,
    };
    Report {
        command_line: std::env::args().collect::<Vec<_>>().join(" "),
        begun: SystemTime::now(),
        machine,
        settings,
        workloads: args.workloads(),
        versions: Vec::new(),
        measurements: Vec::new(),
        syncs: Vec::new(),
        memory: Vec::new(),
        incomplete: true,
    }
}

/// Ends when the process receives a signal that asks it to end.
async fn interrupted() -> io::Result<()> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(interrupt), Ok(terminate), Ok(hangup)] = &mut signals else {
        return Err(io::Error::other("signals cannot be received"));
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
