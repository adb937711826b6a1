//! `gometa-chaos`: faults on real processes; see `gometa_tests::chaos`.
//!
//! Runs for a time, or until there were enough valid faults of each kind. The last lines are the summary.
//! The exit status is 0 if nothing was violated and as many faults were valid as were asked for (at least one), 1
//! otherwise, 130 if it was interrupted: then the summary has what was done so far, and names what was not checked.
//! With `--evidence` a line is added to that document.
//!
//! `--self-check` shows that violations are found, `--failovers` measures the time without a leader.
#![forbid(unsafe_code)]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use gometa_tests::{
    chaos::{
        Counts, Outputs, Plan, SharedTally, Tally, failover::failovers, plot::svg, run,
        self_check::self_check,
    },
    lock, print_line,
};
use tokio::signal::unix::{SignalKind, signal};

/// The heading of the record of long runs.
const HEADING: &str = "## Soaks";
/// The exit status of a run that was interrupted.
const INTERRUPTED: u8 = 130;

/// Injects faults into three real nodes, one after the other, and checks the clients' histories.
#[derive(Parser)]
struct Arguments {
    /// The time of the faults in seconds; starting and checking come on top.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The same in hours, instead.
    #[arg(long)]
    hours: Option<f64>,
    /// Runs until there were this many valid faults of each kind instead: kill=300,power-cut=50,pause=100.
    #[arg(long, conflicts_with = "hours")]
    counts: Option<Counts>,
    /// Begins no further fault after this many minutes, and checks what was done; for --counts.
    #[arg(long, requires = "counts", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit_minutes: Option<u64>,
    /// The seed that determines the order of the faults; random if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs all nodes with blocked outputs: full pipes that are not read.
    #[arg(long, conflicts_with_all = ["self_check", "failovers"])]
    blocked_outputs: bool,
    /// Runs cases with violations instead, each of which has to be found: forged histories, old images of
    /// all disks, disks that drop writes.
    #[arg(long)]
    self_check: bool,
    /// Kills the leader this many times instead, and measures the time to the next acknowledged write.
    #[arg(long)]
    failovers: Option<usize>,
    /// With --failovers: slow disks, each sync takes this many milliseconds longer.
    #[arg(long, requires = "failovers", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    sync_ms: Option<u64>,
    /// The SVG file for a plot of these times.
    #[arg(long, requires = "failovers")]
    plot: Option<PathBuf>,
    /// A document to which a line with the result is added.
    #[arg(long, requires = "note")]
    evidence: Option<PathBuf>,
    /// The start of that line: date, commit, command.
    #[arg(long)]
    note: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(begin(Arguments::parse()))
}

/// Returns the value of a future, `None` if the program is interrupted meanwhile.
async fn unless_interrupted<T>(task: impl Future<Output = T>) -> anyhow::Result<Option<T>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        value = task => Some(value),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    })
}

async fn begin(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let seed = arguments.seed.map_or_else(getrandom::u64, Ok)?;
    if arguments.self_check {
        return Ok(unless_interrupted(show_self_check(seed)).await?.unwrap_or(INTERRUPTED.into()));
    }
    if let Some(count) = arguments.failovers {
        let measured = measure(seed, count, arguments.sync_ms, arguments.plot);
        return unless_interrupted(measured).await?.unwrap_or(Ok(INTERRUPTED.into()));
    }
    chaos(seed, arguments).await
}

async fn chaos(seed: u64, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let plan = match (&arguments.counts, arguments.hours) {
        (Some(counts), _) => Plan::Counts(counts.clone()),
        (None, Some(hours)) => {
            anyhow::ensure!(hours > 0.0, "--hours is {hours}: expected a number above 0");
            Plan::Time(Duration::try_from_secs_f64(hours * 3_600.0).context("--hours")?)
        }
        (None, None) => Plan::Time(Duration::from_secs(arguments.seconds)),
    };
    let outputs = if arguments.blocked_outputs { Outputs::Blocked } else { Outputs::Kept };
    print_line(&format!("chaos, --seed {seed}: {plan:?}, outputs of the nodes: {outputs:?}"));
    let limit = arguments.limit_minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let tally = SharedTally::default();
    let ended = unless_interrupted(run(seed, plan, outputs, limit, &tally)).await?;
    let tally = lock(&tally).clone();
    print_line(&format!("\n{}", tally.table()));
    let met = arguments.counts.as_ref().is_none_or(|counts| are_met(counts, &tally));
    if ended.is_none() {
        let unchecked = tally.fault_counts().0 - tally.faults_judged;
        print_line(&format!("interrupted: {unchecked} valid faults are not checked"));
        return Ok(INTERRUPTED.into());
    }
    if let (Some(path), Some(note)) = (&arguments.evidence, &arguments.note) {
        let old = fs::read_to_string(path).unwrap_or_else(|_| "# Evidence\n".to_owned());
        let new = with_line(&old, &format!("- {note}, seed {seed}: {}", tally.line()));
        fs::write(path, new).with_context(|| path.display().to_string())?;
    }
    if !met {
        print_line("fewer faults than asked for");
        return Ok(ExitCode::FAILURE);
    }
    Ok(status(&tally))
}

/// Prints the number of valid faults of each wanted group, and returns whether there are enough.
fn are_met(counts: &Counts, tally: &Tally) -> bool {
    let mut met = true;
    for (group, count) in counts.each() {
        let struck = tally.group(group);
        met &= struck.valid >= count;
        print_line(&format!(
            "{group}: {} valid faults of {count} asked for, on {} processes, {} invalid",
            struck.valid, struck.processes, struck.invalid
        ));
    }
    met
}

async fn show_self_check(seed: u64) -> ExitCode {
    print_line(&format!("what must be found, --seed {seed}"));
    let cases = self_check(seed).await;
    for case in &cases {
        let found = match &case.found {
            Ok(how) => format!("found: {how}"),
            Err(seen) => format!("NOT FOUND: {seen}"),
        };
        print_line(&format!("{:<60} {found}", case.name));
    }
    let missed = cases.iter().filter(|case| case.found.is_err()).count();
    print_line(&format!("{} cases, {missed} not found", cases.len()));
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure(
    seed: u64,
    count: usize,
    sync_ms: Option<u64>,
    plot: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let slow = sync_ms.map_or(String::new(), |ms| format!(", each sync takes {ms} ms longer"));
    print_line(&format!("the leader is killed {count} times{slow}, --seed {seed}"));
    let measured = failovers(seed, count, sync_ms).await;
    print_line(&format!("\n{}", measured.table()));
    if let Some(path) = plot {
        let panels: [(&str, &[Duration]); 2] = [
            ("until any client has a write acknowledged", &measured.first),
            ("until every client has", &measured.every),
        ];
        let title = format!("leader killed {count} times: time to the next acknowledged write");
        fs::write(&path, svg(&title, &panels)).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(tally: &Tally) -> ExitCode {
    let (valid, _) = tally.fault_counts();
    if valid == 0 {
        print_line("no fault was valid: this run shows nothing");
    }
    if tally.is_clean() && valid > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Adds a line to the record of long runs at the end of the document, which is begun if there is none.
fn with_line(document: &str, line: &str) -> String {
    let document = &format!("{}\n", document.trim_end());
    let Some(start) = document.find(&format!("\n{HEADING}\n")) else {
        return format!("{document}\n{HEADING}\n\n{line}\n");
    };
    let body = start + 1 + HEADING.len();
    let end = document[body..].find("\n## ").map_or(document.len(), |next| body + next);
    let (before, after) = (document[..end].trim_end(), &document[end..]);
    let after = if after.is_empty() { "\n".to_owned() } else { format!("\n{after}") };
    // A blank line follows the heading.
    let gap = if before.ends_with(HEADING) { "\n\n" } else { "\n" };
    format!("{before}{gap}{line}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_where_they_belong() {
        let one = with_line("# Evidence\n\ntext\n", "- a");
        assert_eq!(one, "# Evidence\n\ntext\n\n## Soaks\n\n- a\n");
        assert_eq!(with_line(&one, "- b"), "# Evidence\n\ntext\n\n## Soaks\n\n- a\n- b\n");
        let more = "# Evidence\n\n## Soaks\n\n- a\n\n## More\n\ntext\n";
        assert_eq!(with_line(more, "- b"), "# Evidence\n\n## Soaks\n\n- a\n- b\n\n## More\n\ntext\n");
        assert_eq!(with_line("# E\n\n## Soaks\n", "- a"), "# E\n\n## Soaks\n\n- a\n");
    }
}
