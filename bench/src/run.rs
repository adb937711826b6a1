//! The schedule of a run: ensembles, keys, warm-up, and rounds in which the systems take turns.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    args::Args,
    client::Client,
    data::Values,
    disk::Syncs,
    ensemble::Ensemble,
    load::{self, Data},
    procfs::{self, Usage},
    report::{Measurement, Memory, Report, Version, digits},
    workload::Workload,
};

/// The load before the measured window: connections are open and queues filled when it begins.
const RAMP: Duration = Duration::from_secs(1);
/// The connections that create the keys.
const PRELOAD_CONNECTIONS: usize = 4;
/// The time of one look at the processor time of processes that should be idle.
const IDLE_LOOK: Duration = Duration::from_millis(250);
/// The share of one processor up to which the three processes of an ensemble count as idle.
const IDLE_SHARE: f64 = 0.12;
/// How long the work that a load leaves behind is waited for.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs everything and adds the results to `report`, so that those of an interrupted run are not lost.
pub(crate) async fn run(args: &Args, directory: &Path, report: &mut Report) -> Result<()> {
    let mut ensembles = Vec::new();
    for system in &args.systems {
        progress(format_args!("starting {}", system.name()));
        let ensemble = Ensemble::start(*system, args, directory).await?;
        report.versions.push(Version {
            system: *system,
            version: ensemble.version(args).await?,
            command: ensemble.command().to_owned(),
        });
        ensembles.push(ensemble);
    }
    let values = Arc::new(Values::new(args.value_size as usize));
    let mut created = 0;
    for &keys in &args.keys {
        for ensemble in &ensembles {
            create(ensemble, args, created..keys, &values).await?;
        }
        created = keys;
        let data = Arc::new(Data { keys, values: values.clone() });
        measure_all(args, directory, &mut ensembles, &data, report).await?;
        for ensemble in &ensembles {
            let resident_bytes = ensemble.resident_bytes()?;
            report.memory.push(Memory { keys, system: ensemble.system(), resident_bytes });
        }
    }
    Ok(())
}

/// Warms up, then measures every workload on every system in each round.
async fn measure_all(
    args: &Args,
    directory: &Path,
    ensembles: &mut [Ensemble],
    data: &Arc<Data>,
    report: &mut Report,
) -> Result<()> {
    let workloads = report.workloads.clone();
    if args.warm_up() > Duration::ZERO {
        for workload in &workloads {
            for ensemble in ensembles.iter_mut().filter(|one| one.system().has(workload.operation)) {
                progress(format_args!("warm-up: {}, {}", workload.description(), ensemble.system().name()));
                measure(args, ensemble, *workload, data, args.warm_up()).await?;
            }
        }
    }
    for round in 1..=args.rounds() {
        report.syncs.push(Syncs::measure(directory).await?);
        // Each system is the first of a round in turn.
        ensembles.rotate_left(usize::from(round > 1 && ensembles.len() > 1));
        for workload in &workloads {
            for ensemble in ensembles.iter_mut().filter(|one| one.system().has(workload.operation)) {
                let mut measurement = measure(args, ensemble, *workload, data, args.duration()).await?;
                measurement.round = round;
                progress(format_args!(
                    "round {round} of {}, {} keys, {}: {} {}/s",
                    args.rounds(),
                    digits(data.keys.into(), 0),
                    workload.description(),
                    ensemble.system().name(),
                    digits(measurement.per_second, 0),
                ));
                report.measurements.push(measurement);
            }
        }
    }
    Ok(())
}

/// One workload on one system.
async fn measure(
    args: &Args,
    ensemble: &mut Ensemble,
    workload: Workload,
    data: &Arc<Data>,
    duration: Duration,
) -> Result<Measurement> {
    let measured = measure_inner(args, ensemble, workload, data, duration).await;
    // A process that has ended explains more than the errors of its clients.
    ensemble.check_alive()?;
    measured.with_context(|| format!("{}, {}", ensemble.system().name(), workload.description()))
}

/// The counters at the start or the end of the window.
struct Counters {
    at: Instant,
    busy: Duration,
    servers: Usage,
    generator: Usage,
}

impl Counters {
    fn read(ensemble: &Ensemble) -> Result<Counters> {
        let generator = Usage::of(std::process::id())?;
        Ok(Counters { at: Instant::now(), busy: procfs::busy_time()?, servers: ensemble.usage()?, generator })
    }
}

async fn measure_inner(
    args: &Args,
    ensemble: &Ensemble,
    workload: Workload,
    data: &Arc<Data>,
    duration: Duration,
) -> Result<Measurement> {
    let leader = ensemble.leader().await?.to_owned();
    let clients = ensemble.connect(workload.connections, args.placement).await?;
    let clients: Vec<Arc<Client>> = clients.into_iter().map(Arc::new).collect();
    let first = Counters::read(ensemble)?;
    let at = || Counters::read(ensemble);
    let (done, start, end) = load::run(&clients, workload, data, (RAMP, duration), at).await?;
    let generator = Usage::of(std::process::id())?.since(first.generator);
    for client in clients {
        // All callers have ended, so this is the last handle.
        if let Some(client) = Arc::into_inner(client) {
            client.close().await;
        }
    }
    until_idle(ensemble).await?;
    let servers = ensemble.usage()?.since(first.servers);

    let seconds = (end.at - start.at).as_secs_f64();
    let cores = |used: Duration| used.as_secs_f64() / seconds;
    let server_cores = cores(end.servers.since(start.servers).cpu);
    let generator_cores = cores(end.generator.since(start.generator).cpu);
    let operations = (done.completed_in_all as f64).max(1.0);
    let per_operation_us = |cpu: Duration| cpu.as_secs_f64() * 1e6 / operations;
    Ok(Measurement {
        system: ensemble.system(),
        workload,
        keys: data.keys,
        round: 0,
        completed: done.completed,
        per_second: done.completed as f64 / seconds,
        latency: done.latencies.percentiles(),
        errors: done.errors,
        first_error: done.first_error,
        not_started: done.not_started,
        server_cpu_us: per_operation_us(servers.cpu),
        generator_cpu_us: per_operation_us(generator.cpu),
        disk_bytes: servers.written_bytes as f64 / operations,
        server_cores,
        generator_cores,
        other_cores: (cores(end.busy.saturating_sub(start.busy)) - server_cores - generator_cores).max(0.0),
        leader_changed: ensemble.leader().await.ok() != Some(leader.as_str()),
    })
}

/// Waits until the processes have done what the load has left to them, such as compactions, for a limited time.
async fn until_idle(ensemble: &Ensemble) -> Result<()> {
    let begun = Instant::now();
    let mut before = ensemble.usage()?;
    while begun.elapsed() < IDLE_TIMEOUT {
        tokio::time::sleep(IDLE_LOOK).await;
        let now = ensemble.usage()?;
        if now.since(before).cpu <= IDLE_LOOK.mul_f64(IDLE_SHARE) {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Creates keys over several connections.
async fn create(
    ensemble: &Ensemble,
    args: &Args,
    keys: std::ops::Range<u32>,
    values: &Arc<Values>,
) -> Result<()> {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let share = keys.len().div_ceil(PRELOAD_CONNECTIONS) as u32;
    let clients = ensemble.connect(PRELOAD_CONNECTIONS, args.placement).await?;
    for (number, client) in (0..).zip(clients) {
        let first = keys.start + number * share;
        let (own, values) = (first..(first + share).min(keys.end), values.clone());
        tasks.spawn(async move {
            let created = client.create(own, &values).await;
            client.close().await;
            created
        });
    }
    let name = ensemble.system().name();
    tasks.join_all().await.into_iter().collect::<Result<()>>().with_context(|| format!("{name}: keys"))?;
    until_idle(ensemble).await?;
    progress(format_args!(
        "{name}: {} keys created in {:.0} s",
        digits(keys.len() as f64, 0),
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Prints a line to standard error. That it cannot be printed is no reason to stop.
fn progress(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
