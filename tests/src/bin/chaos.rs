//! `gometa-chaos`: faults on real processes for as long as it is told; see `gometa_tests::chaos`.
//!
//! The last lines are the summary. The exit status is 0 if nothing was violated and at least one fault was valid, 1
//! otherwise, 130 if it was interrupted. With `--evidence` a line is added to that document.
#![forbid(unsafe_code)]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use gometa_tests::chaos::{Tally, run, tell};
use tokio::signal::unix::{SignalKind, signal};

/// Under this heading the record of long runs stands.
const HEADING: &str = "## Soaks";

/// Faults on three real nodes, one after the other, and a verdict.
#[derive(Parser)]
struct Arguments {
    /// How long faults strike; starting and judging come on top.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same in hours, instead.
    #[arg(long)]
    hours: Option<f64>,
    /// Repeats the order of the faults of a run; random if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Shows that lost syncs are noticed, by the nodes at their start or by the verdict: no sync does anything, and
    /// all power is cut. Succeeds only if there are violations.
    #[arg(long)]
    lying_disks: bool,
    /// A document that gets a line with the result.
    #[arg(long, requires = "note")]
    evidence: Option<PathBuf>,
    /// What that line begins with: date, commit, command.
    #[arg(long)]
    note: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(chaos(Arguments::parse()))
}

async fn chaos(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let time = match arguments.hours {
        Some(hours) => Duration::try_from_secs_f64(hours * 3_600.0).context("--hours")?,
        None => Duration::from_secs(arguments.seconds),
    };
    let seed = arguments.seed.map_or_else(getrandom::u64, Ok)?;
    tell(&format!("chaos for {time:?}, --seed {seed}"));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let tally = tokio::select! {
        tally = run(seed, time, arguments.lying_disks) => tally,
        _ = terminate.recv() => return Ok(ExitCode::from(130)),
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
    };
    tell(&format!("\n{}", tally.table()));
    if arguments.lying_disks {
        let found = !tally.is_clean();
        tell(if found { "as it should be: the disks lied" } else { "the disks lied, and nothing was found" });
        return Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if let (Some(path), Some(note)) = (&arguments.evidence, &arguments.note) {
        let old = fs::read_to_string(path).unwrap_or_else(|_| "# Evidence\n".to_owned());
        let new = with_line(&old, &format!("- {note}, seed {seed}: {}", tally.line()));
        fs::write(path, new).with_context(|| path.display().to_string())?;
    }
    Ok(status(&tally))
}

fn status(tally: &Tally) -> ExitCode {
    let (valid, _) = tally.struck();
    if valid == 0 {
        tell("no fault was valid: this run shows nothing");
    }
    if tally.is_clean() && valid > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The document with a line more at the end of its record of long runs, which begins here if it has none.
fn with_line(document: &str, line: &str) -> String {
    let document = &format!("{}\n", document.trim_end());
    let Some(start) = document.find(&format!("\n{HEADING}\n")) else {
        return format!("{document}\n{HEADING}\n\n{line}\n");
    };
    let body = start + 1 + HEADING.len();
    let end = document[body..].find("\n## ").map_or(document.len(), |next| body + next);
    let (before, after) = (document[..end].trim_end(), &document[end..]);
    let after = if after.is_empty() { "\n".to_owned() } else { format!("\n{after}") };
    // The first line stands apart from the heading.
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
