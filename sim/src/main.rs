//! `gometa-sim`: runs simulated ensembles, seed by seed, until one breaks a promise.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    panic,
    process::ExitCode,
    thread,
    time::Instant,
};

use clap::Parser;
use gometa_sim::{
    mutants,
    runner::{self, Outcome, Plan, Summary},
};
use serde_json::{Map, Value, json};

/// Violations of one kind that are printed in full.
const SHOWN_MAX: u64 = 3;

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
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
    /// How many threads; all cores if left out.
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a violation.
    #[arg(long)]
    all: bool,
    /// Run each planted fault until it is caught, at most as many seeds as given, and print who caught it. Only
    /// in the program that `make mutants` builds.
    #[arg(long, conflicts_with_all = ["seed", "trace", "start", "all"])]
    mutants: bool,
    /// With --mutants: only these.
    #[arg(long, requires = "mutants", value_delimiter = ',')]
    only: Vec<String>,
}

impl Arguments {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.mutants {
        return mutants(&arguments);
    }
    // A panic in a node is reported with its seed, as a violation; here it only says where.
    panic::set_hook(Box::new(|info| {
        let written = writeln!(io::stderr(), "\n{info}");
        debug_assert!(written.is_ok());
    }));
    let began = Instant::now();
    let summary = match arguments.seed {
        Some(seed) => one(seed, arguments.trace),
        None => many(&arguments),
    };
    report(&arguments, &summary, began)?;
    let missing = arguments.seed.is_none() && summary.seeds >= 1_000 && !summary.missing().is_empty();
    Ok(if summary.failures.is_empty() && !missing { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Judges the planted faults; fails if a harmful one survives or a benign one is caught.
fn mutants(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !mutants::is_built_in() {
        anyhow::bail!("this program has no mutants: `make mutants` builds one that has");
    }
    // A marker that linking drops would show nothing in other programs.
    #[cfg(gometa_mutants)]
    anyhow::ensure!(
        std::fs::read(std::env::current_exe()?)?.windows(32).any(|bytes| bytes == mutants::MARKER),
        "this program has mutants and does not bear their mark"
    );
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
        "what": verdict.mutant.what,
        "breaks": verdict.mutant.breaks,
        "seeds": verdict.seeds,
        "caught_by": verdict.caught.as_ref().map(|(invariant, _)| *invariant),
        "detail": verdict.caught.as_ref().map(|(_, detail)| detail),
        "seconds": verdict.took.as_secs_f64(),
    })
}

fn one(seed: u64, trace: bool) -> Summary {
    let sink = trace.then(|| -> gometa_sim::trace::Sink {
        let mut out = io::BufWriter::new(io::stdout());
        Box::new(move |line| {
            // A reader that has gone needs no more lines.
            let written = writeln!(out, "{line}");
            debug_assert!(written.is_ok() || !line.is_empty());
        })
    });
    let outcome = runner::run(seed, sink);
    let failures = if outcome.violation.is_some() { vec![outcome.clone()] } else { Vec::new() };
    Summary { seeds: 1, twice: 0, counts: outcome.counts, failures }
}

fn many(arguments: &Arguments) -> Summary {
    let plan = Plan {
        start: arguments.start,
        seeds: arguments.seeds,
        threads: arguments.threads(),
        all: arguments.all,
    };
    let show = io::stderr().is_terminal();
    let mut last = Instant::now();
    let summary = runner::run_many(&plan, |summary, elapsed| {
        if !show && last.elapsed().as_secs() < 10 {
            return;
        }
        last = Instant::now();
        let (done, all, failed) = (summary.seeds, plan.seeds, summary.failures.len());
        let rate = done as f64 * 60.0 / elapsed.as_secs_f64().max(0.001);
        let end = if show { "\r" } else { "\n" };
        let written =
            write!(io::stderr(), "{done}/{all} seeds, {rate:.0} a minute, {failed} violations {end}");
        debug_assert!(written.is_ok());
    });
    if show {
        let written = writeln!(io::stderr());
        debug_assert!(written.is_ok());
    }
    summary
}

fn report(arguments: &Arguments, summary: &Summary, began: Instant) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let seconds = began.elapsed().as_secs_f64();
    let fields = runner::fields(&summary.counts);
    if arguments.json {
        let counts: Map<String, Value> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let failures: Vec<_> = summary.failures.iter().map(failure_json).collect();
        let value = json!({
            "seeds": summary.seeds,
            "run_twice": summary.twice,
            "seconds": seconds,
            "counts": counts,
            "missing": summary.missing(),
            "violations": failures,
        });
        writeln!(out, "{value}")?;
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
            writeln!(out, "    replay: gometa-sim --seed {} --trace", failure.seed)?;
        }
    }
    for (kind, count) in kinds {
        writeln!(out, "{count:>14}  × {kind}")?;
    }
    for (name, value) in fields {
        writeln!(out, "{value:>14}  {}", name.replace('_', " "))?;
    }
    if summary.seeds > 1 && !summary.missing().is_empty() {
        writeln!(out, "never happened: {}", summary.missing().join(", "))?;
    }
    let (seeds, twice, violations) = (summary.seeds, summary.twice, summary.failures.len());
    writeln!(out, "{seeds} seeds ({twice} run twice) in {seconds:.1} s: {violations} violations")?;
    Ok(())
}

fn failure_json(failure: &Outcome) -> Value {
    let violation = failure.violation.as_ref();
    json!({
        "seed": failure.seed,
        "invariant": violation.map(|violation| violation.invariant),
        "detail": violation.map(|violation| &violation.detail),
    })
}
