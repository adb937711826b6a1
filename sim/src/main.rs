//! `gometa-sim`: runs simulated ensembles, seed by seed, until one violates an invariant.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    panic,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{
    Parser,
    builder::{PossibleValue, PossibleValuesParser},
};
use gometa_sim::{
    changes::{Changes, KNOBS, Knob, parse_time},
    coverage::{self, Coverage},
    mutants::{self, Mutant},
    runner::{self, Outcome, Plan, Summary},
    shrink::{Budget, Shrunk, shrink},
    small_scope::{CHANGES, Limits, report},
};
use serde_json::{Map, Value, json};

/// Violations of one kind that are printed in full.
const SHOWN_MAX: u64 = 3;

/// Seeds must have met everything that runs are counted for.
const ALL_COUNTS_SEEDS: u64 = 1_000;

/// Seeds must have hit every probe.
const ALL_PROBES_SEEDS: u64 = 10_000;

/// Runs whole ensembles in one thread each, with seeded faults, and checks the protocol's invariants.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Run this one only.
    #[arg(long, conflicts_with_all = ["seeds", "start"])]
    seed: Option<u64>,
    /// With --seed: print what happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With --seed: take away from a failing run what it does not need to fail, and print the command for the smaller
    /// run. After many seeds this is done for the first that fails, for half a minute at most.
    #[arg(long, requires = "seed", conflicts_with = "trace")]
    shrink: bool,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
    /// How many threads; all cores if left out.
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a violation.
    #[arg(long)]
    all: bool,
    /// Print the hash of each run's trace, which a change that only moves or renames code leaves as it is.
    #[arg(long, conflicts_with_all = ["trace", "shrink", "json", "all", "probes", "mutants"])]
    hashes: bool,
    /// Print how often each probe was hit. Only in the instrumented program, as all below.
    #[arg(long)]
    probes: bool,
    /// Run with this planted fault.
    #[arg(long, value_parser = PossibleValuesParser::new(mutants::MUTANTS.iter().map(|mutant| mutant.id)))]
    #[arg(hide_possible_values = true)]
    mutant: Option<String>,
    /// Run each planted fault until it is caught, at most as many seeds as given, and print which invariant caught it.
    #[arg(long, conflicts_with_all = ["seed", "trace", "start", "all", "mutant", "probes"])]
    mutants: bool,
    /// With --mutants: write their table into this document.
    #[arg(long, value_name = "FILE", requires = "mutants", conflicts_with = "only")]
    evidence: Option<PathBuf>,
    /// With --mutants or --exhaustive: only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[command(flatten)]
    changes: ChangeArguments,
    #[command(flatten)]
    scope: Scope,
}

/// Changes to the runs of the seeds.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "In what runs differ from those of their seeds")]
struct ChangeArguments {
    /// Leave these kinds of faults out.
    #[arg(long, value_delimiter = ',', value_parser = knob_names(), conflicts_with = "mutants")]
    without: Vec<String>,
    /// The number of nodes.
    #[arg(long, value_parser = at_least_one, conflicts_with = "mutants")]
    nodes: Option<usize>,
    /// The number of clients.
    #[arg(long, value_parser = at_least_one, conflicts_with = "mutants")]
    clients: Option<usize>,
    /// The number of keys.
    #[arg(long, value_parser = at_least_one, conflicts_with = "mutants")]
    keys: Option<usize>,
    /// The number of operations of one client in flight at most.
    #[arg(long, value_parser = at_least_one, conflicts_with = "mutants")]
    in_flight: Option<usize>,
    /// The time at which faults end, such as 3.2s or 900ms.
    #[arg(long, value_parser = parse_time, value_name = "TIME", conflicts_with = "mutants")]
    until: Option<u64>,
    /// Run the same settings with other random numbers, one run for each number.
    #[arg(long, default_value_t = 0, value_name = "NUMBER", conflicts_with = "mutants")]
    variant: u64,
}

fn knob_names() -> PossibleValuesParser {
    KNOBS.iter().map(|knob| PossibleValue::new(knob.name).help(knob.what)).collect::<Vec<_>>().into()
}

/// All scenarios in which members change.
const ALL: &str = "all";

fn change_names() -> PossibleValuesParser {
    let scenarios = CHANGES.iter().map(|scenario| PossibleValue::new(scenario.name).help(scenario.what));
    scenarios.chain([PossibleValue::new(ALL)]).collect::<Vec<_>>().into()
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number >= 1).ok_or_else(|| "must be a number from 1".to_owned())
}

/// The search through every state of a small ensemble.
#[derive(clap::Args, Debug)]
struct Scope {
    /// Search every state of three nodes, breadth first, instead of running seeds.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "start", "trace", "all", "threads", "json"])]
    exhaustive: bool,
    /// With --exhaustive: let more happen than the search is likely to come to the end of.
    #[arg(long, requires = "exhaustive")]
    wide: bool,
    /// With --exhaustive: search scenarios in which members change, all or these.
    #[arg(long, requires = "exhaustive", value_delimiter = ',', value_parser = change_names())]
    change: Vec<String>,
    /// With --exhaustive: steps from where a scenario begins.
    #[arg(long, requires = "exhaustive", default_value_t = 1_000)]
    depth: u32,
    /// With --exhaustive: distinct states, shared among the scenarios.
    #[arg(long, requires = "exhaustive", default_value_t = 20_000_000)]
    states: u64,
    /// With --exhaustive: minutes, shared among the scenarios.
    #[arg(long, requires = "exhaustive", default_value_t = 10.0)]
    minutes: f64,
}

impl Arguments {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)).max(1)
    }

    fn changes(&self) -> Changes {
        let ChangeArguments { without, nodes, clients, keys, in_flight, until, variant } = &self.changes;
        let mut changes = Changes {
            without: Vec::new(),
            nodes: *nodes,
            clients: *clients,
            keys: *keys,
            in_flight: *in_flight,
            until: *until,
            variant: *variant,
        };
        for knob in without.iter().filter_map(|name| Knob::of_name(name)) {
            changes.leave_out(knob);
        }
        changes
    }

    fn mutant(&self) -> Option<&'static Mutant> {
        self.mutant.as_deref().and_then(mutants::of_id)
    }

    /// The command that repeats a run.
    fn command(&self, seed: u64, changes: &Changes) -> String {
        let mutant = self.mutant().map_or_else(String::new, |mutant| format!(" --mutant {}", mutant.id));
        format!("gometa-sim --seed {seed}{changes}{mutant} --trace")
    }

    /// Whether the runs are those of their seeds, in the program that is meant.
    fn is_plain(&self) -> bool {
        self.seed.is_none() && self.mutant.is_none() && self.changes().is_none()
    }
}

/// The result all.
struct Report {
    summary: Summary,
    coverage: Option<Coverage>,
    /// The first failing run, made small.
    shrunk: Option<Shrunk>,
    seconds: f64,
    threads: usize,
    /// Time that cores gave to the runs, in seconds.
    processor_seconds: f64,
}

impl Report {
    /// Of one core: what else runs on the machine is not counted.
    fn times_real_time(&self) -> f64 {
        self.summary.simulated_seconds() / self.processor_seconds
    }

    /// Of one core.
    fn seeds_a_minute(&self) -> f64 {
        (self.summary.seeds + self.summary.twice) as f64 * 60.0 / self.processor_seconds
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.mutants || arguments.probes || arguments.mutant.is_some() {
        is_instrumented()?;
    }
    if arguments.scope.exhaustive {
        let Scope { depth, states, minutes, wide, .. } = arguments.scope;
        let mut changes = arguments.scope.change.clone();
        let scope = if changes.is_empty() { report::Scope::Voters } else { report::Scope::Changes };
        changes.retain(|name| name != ALL);
        anyhow::ensure!(minutes > 0.0, "--minutes is {minutes}: expected a number above 0");
        let limits = Limits { depth, states, time: Duration::try_from_secs_f64(minutes * 60.0)?, wide };
        let mut out = io::stdout().lock();
        let good = if arguments.mutants {
            report::print_planted(&mut out, scope, (&changes, &arguments.only), limits)?
        } else {
            let scenarios = if scope == report::Scope::Changes { &changes } else { &arguments.only };
            report::print(&mut out, scope, scenarios, limits)?
        };
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if arguments.mutants {
        return mutants(&arguments);
    }
    // A panic in a node is reported with its seed, as a violation; here it only says where.
    panic::set_hook(Box::new(|info| {
        let written = writeln!(io::stderr(), "\n{info}");
        debug_assert!(written.is_ok());
    }));
    mutants::choose(arguments.mutant());
    if arguments.hashes {
        let start = arguments.seed.unwrap_or(arguments.start);
        let seeds = if arguments.seed.is_some() { 1 } else { arguments.seeds };
        for seed in start..start.saturating_add(seeds) {
            let outcome = runner::run_changed(seed, &arguments.changes(), None);
            writeln!(io::stdout(), "{seed:>8} {:016x}", outcome.trace_hash)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let began = Instant::now();
    let (summary, threads) = match arguments.seed {
        Some(seed) => (one(seed, &arguments), 1),
        None => (many(&arguments), arguments.threads()),
    };
    let seconds = began.elapsed().as_secs_f64().max(1e-6);
    let processor_seconds = processor_seconds().unwrap_or(seconds * threads as f64).max(1e-6);
    let coverage = coverage::taken();
    let shrunk = if arguments.seed.is_none() || arguments.shrink {
        panic::set_hook(Box::new(|_| ()));
        let budget = if arguments.shrink { Budget::FULL } else { Budget::SHORT };
        let first = summary.failures.first();
        first.and_then(|failure| shrink(failure.seed, &arguments.changes(), budget))
    } else {
        None
    };
    let report = Report { summary, coverage, shrunk, seconds, threads, processor_seconds };
    print(&arguments, &report)?;
    let Report { summary, coverage, .. } = report;
    let plain = arguments.is_plain();
    let missing = plain && summary.seeds >= ALL_COUNTS_SEEDS && !summary.missing().is_empty();
    let unhit = coverage.is_some_and(|coverage| !coverage.unhit().is_empty());
    let unhit = plain && summary.seeds >= ALL_PROBES_SEEDS && unhit;
    let good = summary.failures.is_empty() && !missing && !unhit;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long this process has kept cores busy so far, in seconds; None where the system does not say it like Linux.
fn processor_seconds() -> Option<f64> {
    /// Linux counts in these, whatever the machine.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name in brackets, which may hold anything: user and system time are the 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS_A_SECOND)
}

/// Fails in a program without mutants and probes, and in one that has them and does not say so.
fn is_instrumented() -> anyhow::Result<()> {
    anyhow::ensure!(
        mutants::is_built_in(),
        "this program has neither mutants nor probes: `make mutants` builds one that has"
    );
    // A marker that linking drops would show nothing in other programs.
    #[cfg(gometa_instrumented)]
    {
        let program = std::fs::read(std::env::current_exe()?)?;
        let marked = program.windows(gometa_marks::MARKER.len()).any(|bytes| bytes == gometa_marks::MARKER);
        anyhow::ensure!(marked, "this program is instrumented and does not contain the marker of that build");
    }
    Ok(())
}

/// Judges the planted faults; fails if a harmful one survives or a benign one is caught.
fn mutants(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // A panic is what some of them are caught by.
    panic::set_hook(Box::new(|_| ()));
    let mut out = io::stdout().lock();
    let mut verdicts = Vec::new();
    let wanted = |id: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == id);
    if !arguments.json {
        writeln!(out, "  id   {:<70}   seeds  caught by", "what it does")?;
    }
    for mutant in mutants::MUTANTS.iter().filter(|mutant| wanted(mutant.id)) {
        let verdict = mutants::judge(mutant, arguments.seeds, arguments.threads());
        if !arguments.json {
            writeln!(out, "{verdict}")?;
            out.flush()?;
        }
        verdicts.push(verdict);
    }
    if let Some(path) = &arguments.evidence {
        let document = std::fs::read_to_string(path)?;
        let document =
            mutants::with_table(&document, &verdicts).context("the document has no table of mutants")?;
        std::fs::write(path, document)?;
    }
    let bad = verdicts.iter().filter(|verdict| !verdict.is_good()).count();
    if arguments.json {
        let table: Vec<_> = verdicts.iter().map(verdict_json).collect();
        writeln!(out, "{}", json!({ "mutants": table, "bad": bad }))?;
    } else {
        let benign = verdicts.iter().filter(|verdict| verdict.mutant.is_benign()).count();
        let harmful = verdicts.len() - benign;
        writeln!(out, "{harmful} harmful mutants, {benign} benign ones: {bad} not as they ought to be")?;
    }
    Ok(if bad == 0 && !verdicts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verdict_json(verdict: &mutants::Verdict) -> Value {
    json!({
        "id": verdict.mutant.id,
        "name": verdict.mutant.name,
        "what": verdict.mutant.what,
        "breaks": verdict.mutant.breaks,
        "seeds": verdict.seeds,
        "caught_by": verdict.caught.as_ref().map(|(invariant, _)| *invariant),
        "detail": verdict.caught.as_ref().map(|(_, detail)| detail),
        "seconds": verdict.took.as_secs_f64(),
    })
}

fn one(seed: u64, arguments: &Arguments) -> Summary {
    let sink = arguments.trace.then(|| -> gometa_sim::trace::Sink {
        let mut out = io::BufWriter::new(io::stdout());
        Box::new(move |line| {
            // A reader that has gone needs no more lines.
            let written = writeln!(out, "{line}");
            debug_assert!(written.is_ok() || !line.is_empty());
        })
    });
    let outcome = runner::run_changed(seed, &arguments.changes(), sink);
    let failures = if outcome.violation.is_some() { vec![outcome.clone()] } else { Vec::new() };
    Summary { seeds: 1, twice: 0, counts: outcome.counts, failures }
}

fn many(arguments: &Arguments) -> Summary {
    let plan = Plan {
        start: arguments.start,
        seeds: arguments.seeds,
        threads: arguments.threads(),
        all: arguments.all,
        changes: arguments.changes(),
    };
    let show = io::stderr().is_terminal();
    let mut last = Instant::now();
    let summary = runner::run_many(&plan, |summary, elapsed| {
        if !show && last.elapsed().as_secs() < 10 {
            return;
        }
        last = Instant::now();
        let (done, all) = (summary.seeds, plan.seeds);
        let (simulated, faults) = (span(summary.simulated_seconds()), summary.faults());
        let failed = summary.failures.len();
        let rate = done as f64 * 60.0 / elapsed.as_secs_f64().max(0.001);
        let end = if show { "\r" } else { "\n" };
        let written = write!(
            io::stderr(),
            "{done}/{all} seeds, {simulated} simulated, {faults} faults, {failed} violations, \
             {rate:.0} seeds a minute {end}"
        );
        debug_assert!(written.is_ok());
    });
    if show {
        let written = writeln!(io::stderr());
        debug_assert!(written.is_ok());
    }
    summary
}

/// A time for people.
fn span(seconds: f64) -> String {
    let minutes = (seconds / 60.0) as u64;
    if minutes < 1 {
        format!("{seconds:.1} s")
    } else {
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    }
}

fn print(arguments: &Arguments, report: &Report) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let Report { summary, coverage, shrunk, seconds, threads, processor_seconds } = report;
    if arguments.json {
        writeln!(out, "{}", report_json(arguments, report))?;
        return Ok(());
    }
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for failure in &summary.failures {
        let kind = failure.violation.as_ref().map_or("", |violation| violation.invariant);
        let count = kinds.entry(kind).or_default();
        *count += 1;
        if *count > SHOWN_MAX {
            continue;
        }
        if let Some(violation) = &failure.violation {
            writeln!(out, "seed {}: {}", failure.seed, violation.invariant)?;
            writeln!(out, "    {}", violation.detail)?;
            writeln!(out, "    replay: {}", arguments.command(failure.seed, &arguments.changes()))?;
        }
    }
    if let Some(shrunk) = shrunk {
        let (before, after) = shrunk.sizes;
        writeln!(out, "seed {}, shrunk in {} runs", shrunk.seed, shrunk.runs)?;
        writeln!(out, "    from    {before}")?;
        writeln!(out, "    to      {after}")?;
        writeln!(out, "    {}: {}", shrunk.failure.violation.invariant, shrunk.failure.violation.detail)?;
        writeln!(out, "    replay: {}", arguments.command(shrunk.seed, &shrunk.changes))?;
    } else if arguments.shrink {
        writeln!(out, "nothing to shrink: this run does not fail")?;
    }
    for (kind, count) in kinds {
        writeln!(out, "{count:>14}  × {kind}")?;
    }
    if arguments.probes {
        for (name, hits) in coverage.iter().flat_map(|coverage| &coverage.probes).rev() {
            writeln!(out, "{hits:>14}  {name}")?;
        }
    }
    for (name, value) in runner::fields(&summary.counts) {
        writeln!(out, "{value:>14}  {}", name.replace('_', " "))?;
    }
    if summary.seeds > 1 && !summary.missing().is_empty() {
        writeln!(out, "never happened: {}", summary.missing().join(", "))?;
    }
    if let Some(coverage) = coverage {
        writeln!(out, "{coverage}")?;
    }
    let (simulated, times) = (span(summary.simulated_seconds()), report.times_real_time());
    let rate = report.seeds_a_minute();
    writeln!(
        out,
        "{simulated} simulated in {processor_seconds:.1} s of processor time ({threads} threads): a core runs {times:.0} × \
         real time, {rate:.0} seeds a minute"
    )?;
    let (seeds, twice, faults, violations) =
        (summary.seeds, summary.twice, summary.faults(), summary.failures.len());
    writeln!(
        out,
        "{seeds} seeds ({twice} run twice) in {seconds:.1} s: {faults} faults, {violations} violations"
    )?;
    Ok(())
}

fn report_json(arguments: &Arguments, report: &Report) -> Value {
    let Report { summary, coverage, shrunk, seconds, threads, processor_seconds } = report;
    let counts: Map<String, Value> = runner::fields(&summary.counts)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let probes = coverage.as_ref().map(|coverage| {
        let hits = coverage.probes.iter().map(|(name, hits)| ((*name).to_owned(), (*hits).into()));
        hits.collect::<Map<String, Value>>()
    });
    let failures: Vec<_> = summary.failures.iter().map(|failure| failure_json(arguments, failure)).collect();
    json!({
        "seeds": summary.seeds,
        "run_twice": summary.twice,
        "seconds": seconds,
        "threads": threads,
        "processor_seconds": processor_seconds,
        "simulated_seconds": summary.simulated_seconds(),
        "times_real_time_per_core": report.times_real_time(),
        "seeds_per_minute_and_core": report.seeds_a_minute(),
        "faults": summary.faults(),
        "counts": counts,
        "missing": summary.missing(),
        "probes": probes,
        "unhit": coverage.as_ref().map(Coverage::unhit),
        "violations": failures,
        "shrunk": shrunk.as_ref().map(|shrunk| shrunk_json(arguments, shrunk)),
    })
}

fn failure_json(arguments: &Arguments, failure: &Outcome) -> Value {
    let violation = failure.violation.as_ref();
    json!({
        "seed": failure.seed,
        "invariant": violation.map(|violation| violation.invariant),
        "detail": violation.map(|violation| &violation.detail),
        "replay": arguments.command(failure.seed, &arguments.changes()),
    })
}

fn shrunk_json(arguments: &Arguments, shrunk: &Shrunk) -> Value {
    let size = |size: gometa_sim::shrink::Size| json!({ "kinds": size.kinds, "until_us": size.until, "nodes": size.nodes, "clients": size.clients });
    json!({
        "seed": shrunk.seed,
        "invariant": shrunk.failure.violation.invariant,
        "detail": shrunk.failure.violation.detail,
        "replay": arguments.command(shrunk.seed, &shrunk.changes),
        "from": size(shrunk.sizes.0),
        "to": size(shrunk.sizes.1),
        "runs": shrunk.runs,
    })
}
