//! Runs the search through all scenarios, or some, and says its outcome.

use std::{
    fs,
    io::{self, Write},
    panic,
    time::Duration,
};

use super::{
    scenarios::{CHANGES, SCENARIOS, Scenario},
    search::{Counterexample, Limits, Reach, Search},
};
use crate::mutants::{self, MUTANTS, Mutant};

/// The planted faults that violate an invariant within the scope. The others of the protocol's own keep an ensemble
/// from coming to rest (M12, M22, M39, M41, M42), need a directory that was lost (M15, M26), or are of
/// formation or of changes of the members.
const MUST_BE_FOUND: [&str; 26] = [
    "M01", "M02", "M03", "M04", "M05", "M06", "M07", "M08", "M09", "M10", "M11", "M13", "M14", "M16", "M17",
    "M18", "M19", "M20", "M21", "M23", "M24", "M25", "M27", "M28", "M43", "M72",
];

/// The planted faults of changes of the members, and of lost directories, that violate an invariant where members change. Not
/// within the scope: M86 needs a snapshot behind a change, M87 a second configuration in a log that was truncated; M93 and
/// M99 keep an ensemble from coming to rest.
const MUST_BE_FOUND_IN_CHANGES: [&str; 8] = ["M15", "M26", "M88", "M89", "M90", "M91", "M92", "M100"];

/// Which scenarios are searched.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scope {
    /// Those of three voters.
    Voters,
    /// Those in which members change.
    Changes,
}

impl Scope {
    fn scenarios(self) -> &'static [Scenario] {
        match self {
            Scope::Voters => &SCENARIOS,
            Scope::Changes => &CHANGES,
        }
    }

    /// The planted faults that must be found in it.
    fn must_be_found(self) -> &'static [&'static str] {
        match self {
            Scope::Voters => &MUST_BE_FOUND,
            Scope::Changes => &MUST_BE_FOUND_IN_CHANGES,
        }
    }
}

/// What became of a run through the scenarios.
pub struct Report {
    /// Each scenario, and how far it was searched; up to the one that violated an invariant.
    pub scenarios: Vec<(&'static str, Reach)>,
    /// The first violation.
    pub broken: Option<Box<Counterexample>>,
    /// Distinct states in all.
    pub states: u64,
    /// Steps taken in all.
    pub transitions: u64,
    /// Distinct nodes, connections, judgements, and steps of one node.
    pub sizes: [usize; 4],
    /// How long it took.
    pub took: Duration,
}

/// Searches each scenario whose name is asked for, all if none is. What one of them leaves of the states and of the
/// time goes to those behind it.
pub fn run(
    scope: Scope,
    only: &[String],
    limits: Limits,
    mut progress: impl FnMut(&str, &Search, &Reach),
) -> Report {
    let mut search = Search::new();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|it| it == name);
    let wanted: Vec<_> = scope.scenarios().iter().enumerate().filter(|(_, it)| wanted(it.name)).collect();
    let mut scenarios = Vec::new();
    let mut broken = None;
    for (done, (number, scenario)) in wanted.iter().enumerate() {
        let waiting = (wanted.len() - done) as u32;
        let share = Limits {
            depth: limits.depth,
            states: limits.states.saturating_sub(search.states()) / u64::from(waiting),
            time: limits.time.saturating_sub(search.elapsed()) / waiting,
            wide: limits.wide,
        };
        match search
            .explore(*number as u8, scenario, share, |search, reach| progress(scenario.name, search, reach))
        {
            Ok(reach) => scenarios.push((scenario.name, reach)),
            Err(found) => {
                broken = Some(found);
                break;
            }
        }
    }
    Report {
        transitions: scenarios.iter().map(|(_, reach)| reach.transitions).sum(),
        scenarios,
        broken,
        states: search.states(),
        sizes: search.sizes(),
        took: search.elapsed(),
    }
}

/// Runs with a progress line on standard error and a report on `out`; true if no invariant was violated.
///
/// # Errors
/// If `out` cannot be written.
pub fn print(out: &mut impl Write, scope: Scope, only: &[String], limits: Limits) -> io::Result<bool> {
    // What the code checks itself is reported with the way there.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let report = run(scope, only, limits, |name, search, reach| {
        let written = writeln!(
            io::stderr(),
            "{name}: depth {}, {} states, {} steps; {} states in all, {:.0} s",
            reach.depth,
            reach.states,
            reach.transitions,
            search.states(),
            search.elapsed().as_secs_f64()
        );
        debug_assert!(written.is_ok());
    });
    panic::set_hook(hook);
    writeln!(out, "{:<12} {:>10} {:>12} {:>6}", "scenario", "states", "steps", "depth")?;
    for (name, reach) in &report.scenarios {
        let end = if reach.exhausted { "all there is" } else { "and more" };
        writeln!(out, "{name:<12} {:>10} {:>12} {:>6}  {end}", reach.states, reach.transitions, reach.depth)?;
    }
    if let Some(found) = &report.broken {
        writeln!(out, "{}: {}, after {} steps:", found.scenario, found.violation, found.depth)?;
        for (at, line) in found.steps.iter().enumerate() {
            writeln!(out, "{at:>5}  {line}")?;
        }
    }
    let Report { states, transitions, sizes: [nodes, links, judgements, steps], took, .. } = report;
    writeln!(
        out,
        "made of {nodes} nodes, {links} connections, {judgements} judgements, {steps} steps of one node"
    )?;
    let memory = memory_kib().map_or_else(String::new, |kib| {
        format!(", {} MiB, {} bytes a state", kib / 1_024, kib * 1_024 / states.max(1))
    });
    let verdict =
        if report.broken.is_some() { "an invariant is violated" } else { "no invariant is violated" };
    writeln!(
        out,
        "{states} distinct states, {transitions} steps in {:.1} s{memory}: {verdict}",
        took.as_secs_f64()
    )?;
    Ok(report.broken.is_none())
}

/// Runs through all scenarios of a scope, or those in `scenarios`, with each planted fault that must be found in turn,
/// and the benign ones, or with those in `only`; true if those that must be found are found, and no benign one is.
///
/// # Errors
/// If `out` cannot be written.
pub fn print_planted(
    out: &mut impl Write,
    scope: Scope,
    (scenarios, only): (&[String], &[String]),
    limits: Limits,
) -> io::Result<bool> {
    let must_be_found = scope.must_be_found();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let wanted = |mutant: &Mutant| {
        let usual = mutant.is_benign() || must_be_found.contains(&mutant.id);
        if only.is_empty() { usual } else { only.iter().any(|it| it == mutant.id) }
    };
    let mut bad = 0;
    let mut found = 0;
    writeln!(out, "  id   {:<70}  {:>8}  found", "what it does", "states")?;
    for mutant in MUTANTS.iter().filter(|mutant| wanted(mutant)) {
        mutants::choose(Some(mutant));
        let report = run(scope, scenarios, limits, |_, _, _| ());
        mutants::choose(None);
        let is_good = match &report.broken {
            Some(_) => !mutant.is_benign(),
            None => !must_be_found.contains(&mutant.id),
        };
        bad += usize::from(!is_good);
        found += usize::from(report.broken.is_some());
        let result = report.broken.map_or_else(
            || "nothing".to_owned(),
            |broken| {
                let Counterexample { scenario, violation, depth, .. } = *broken;
                let detail: String = violation.detail.chars().take(60).collect();
                let detail = if violation.invariant == "no panic" { detail } else { String::new() };
                format!("{depth} steps into {scenario:?}: {} {detail}", violation.invariant)
            },
        );
        let flag = if is_good { " " } else { "!" };
        writeln!(out, "{flag} {}  {:<70}  {:>8}  {result}", mutant.id, mutant.what, report.states)?;
        out.flush()?;
    }
    panic::set_hook(hook);
    writeln!(out, "{found} found, {bad} not as they ought to be")?;
    Ok(bad == 0)
}

/// The most memory that this process ever had, where the system says so.
fn memory_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
