//! The contract under power cuts: a file system that stops at once, without writing its cached pages.
//!
//! The file system is stopped during a plan. Synced writes are in its image, others are lost.

use std::{env, ffi::OsStr, path::Path};

use gometa_sim::{
    contract::{Directory, Ended, Invariant, Model, Report, State, Step, Violation, run},
    random::{Random, Stream},
};

use super::{
    super::{
        machine::{self, Machine, say, say_skipped},
        shim,
        support::{append, apply, founding, number, promise, truncate},
    },
    Stores, check_flushed, first_seed, plan, table_files, times, was_amid_flush,
};

const CHILD_CUTS: &str = "GOMETA_TEST_POWER_CUTS";
/// The number of openings of a directory before a new one is created.
const OPENINGS: u64 = 10;

#[derive(Default)]
struct Counts {
    writes: u64,
    reported: u64,
    lost: u64,
    batches_lost: u64,
    /// The number of cuts before which a flush was reported.
    flushed: u64,
    /// The number of cuts during writes.
    amid: u64,
    /// The number of cuts during a flush, of those that are known.
    amid_flush: u64,
}

/// What was written before a cut.
struct Cut {
    model: Model,
    /// The counter through which the state was flushed.
    flushed: u64,
}

/// A prefix of the plan of a seed.
fn part_of_plan(seed: u64, found: &State) -> Vec<Step> {
    let mut steps = plan(seed, seed, found).steps;
    let mut random = Random::new(seed, Stream::Machine);
    // With large records most of it, so that something is flushed.
    let least = if matches!(seed % 8, 3 | 5) { steps.len() * 3 / 4 } else { 0 };
    steps.truncate(least + random.index(steps.len() - least + 1));
    steps
}

/// One opening, which ends with a cut after these steps. Returns its writes, for the check at the next opening.
fn cut(
    machine: &mut Machine,
    dir: &Path,
    steps: &dyn Fn(&State) -> Vec<Step>,
    before: Option<&Cut>,
    directory: &mut Directory,
    counts: &mut Counts,
) -> Result<Cut, Violation> {
    let tables = table_files(dir);
    let (mut stores, found) = Stores::open(dir, directory)?;
    counts.amid_flush += u64::from(was_amid_flush(dir, &tables));
    check_recovered(before, &found, counts)?;
    let (steps, recovered) = (steps(&found), found.checkpoint.applied);
    let mut model = Model::new(found);
    let ended = run(&mut stores, &mut model, &steps, &mut |_| {})?;
    if ended != Ended::Done {
        return Err(Violation::new(Invariant::Opens, format!("before the cut: {ended:?}")));
    }
    let Stores { opened, received } = stores;
    // What was reported before the cut must be synced. Not what is reported later: ext4 lets a sync that is under way during
    // the shutdown succeed though its data is lost, while a machine without power reports nothing.
    let (reports, flushed) = (opened.reports(), opened.flushed());
    machine.cut().unwrap();
    drop(opened);
    for report in reports.into_iter().skip(received) {
        match report {
            Report::Persisted(token) => model.report(token)?,
            Report::Stored(number) => model.report_stored(number)?,
            Report::Failed(_) | Report::Nothing => {}
        }
    }
    machine.unmount().unwrap();
    machine.start().unwrap();
    counts.amid += u64::from(model.reported() < model.submitted());
    counts.flushed += u64::from(flushed > recovered);
    Ok(Cut { model, flushed })
}

fn check_recovered(cut: Option<&Cut>, found: &State, counts: &mut Counts) -> Result<(), Violation> {
    let Some(Cut { model, flushed }) = cut else { return Ok(()) };
    let outcome = model.check_recovered(found)?;
    check_flushed(*flushed, found)?;
    counts.batches_lost += outcome.batches_lost as u64;
    counts.writes += model.submitted() as u64;
    counts.reported += model.reported() as u64;
    counts.lost += outcome.lost as u64;
    Ok(())
}

/// Cuts the power repeatedly, with a new directory after every [`OPENINGS`] openings.
fn cuts(machine: &mut Machine, cuts: u64) -> (Counts, Result<(), String>) {
    let mut counts = Counts::default();
    let (mut before, mut directory) = (None, Directory::default());
    for (round, seed) in (first_seed()..).take(cuts as usize).enumerate() {
        let generation = round as u64 / OPENINGS;
        let dir = machine.mounted.join(format!("data-{generation}"));
        if (round as u64).is_multiple_of(OPENINGS) {
            (before, directory) = (None, Directory::default());
            if generation > 0 {
                std::fs::remove_dir_all(machine.mounted.join(format!("data-{}", generation - 1))).unwrap();
            }
        }
        let steps = |found: &State| part_of_plan(seed, found);
        match cut(machine, &dir, &steps, before.as_ref(), &mut directory, &mut counts) {
            Ok(cut) => before = Some(cut),
            Err(violation) => {
                return (counts, Err(format!("power cut with seed {seed}, round {round}: {violation}")));
            }
        }
    }
    (counts, Ok(()))
}

/// A truncation to the end of the log writes nothing, but is reported: the writes before it must be synced.
fn cut_after_an_idle_truncation(machine: &mut Machine) -> Result<(), Violation> {
    let steps = |_: &State| {
        let writes = [founding(true), promise(1, 1), append(1, 1..=3), apply(2), truncate(1, 3)];
        let each =
            writes.into_iter().zip(1..).flat_map(|(write, count)| [Step::Write(write), Step::Settle(count)]);
        each.collect()
    };
    let (mut directory, mut counts) = (Directory::default(), Counts::default());
    let dir = machine.mounted.join("idle-truncation");
    let cut = cut(machine, &dir, &steps, None, &mut directory, &mut counts)?;
    check_recovered(Some(&cut), &Stores::open(&dir, &mut directory)?.1, &mut counts)
}

/// Not a test: the process with its own mount namespace.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some(machine) = Machine::of_child() else { return };
    let mut machine = match machine {
        Ok(machine) => machine,
        Err(reason) => return println!("\nunable {reason}"),
    };
    let wanted = env::var(CHILD_CUTS).unwrap().parse().unwrap();
    let (counts, result) = cuts(&mut machine, wanted);
    let result = result.and_then(|()| {
        let idle = cut_after_an_idle_truncation(&mut machine);
        idle.map_err(|violation| format!("power cut behind an idle truncation: {violation}"))
    });
    match result {
        Ok(()) => println!(
            "\nkept {wanted} power cuts, {} of them amid writes, {} amid a flush: {} writes, {} reported, {} others to the log \
             lost; {} of the cuts behind a flush, {} batches lost",
            counts.amid,
            counts.amid_flush,
            counts.writes,
            counts.reported,
            counts.lost,
            counts.flushed,
            counts.batches_lost
        ),
        Err(violation) => println!("\nbroken {violation}"),
    }
    println!("amid {}", counts.amid);
    println!("lost {}", counts.lost);
    println!("flushed {}", counts.flushed);
}

/// The output of the child, or why there can be none.
fn run_child(cuts: u64, environment: &[(&str, &OsStr)]) -> Result<Vec<String>, String> {
    let cuts = cuts.to_string();
    let mut all = vec![(CHILD_CUTS, OsStr::new(&cuts))];
    all.extend_from_slice(environment);
    machine::in_own_mounts("contract::power::child", &all)
}

#[test]
fn the_data_directory_keeps_the_contract_without_power() {
    let lines = run_child(times("GOMETA_TEST_POWER_CUTS", 40), &[]);
    let Ok(lines) = lines.map_err(say_skipped) else { return };
    let found = |word| lines.iter().find_map(|line| number(line, word));
    let kept = lines.iter().find(|line| line.starts_with("kept "));
    say(kept.unwrap_or_else(|| panic!("{}", lines.join("\n"))));
    // Cuts without lost writes and flushes prove nothing.
    for word in ["amid ", "lost ", "flushed "] {
        assert!(found(word) > Some(0), "{word}: {}", lines.join("\n"));
    }
}

/// What is wrong if syncs of these files do nothing.
fn without_syncs_of(files: &str) {
    let dir = tempfile::tempdir().unwrap();
    let lines = shim::build(dir.path()).and_then(|library| {
        run_child(30, &[("LD_PRELOAD", library.as_os_str()), (shim::SKIP_SYNCS, OsStr::new(files))])
    });
    let Ok(lines) = lines.map_err(say_skipped) else { return };
    let broken = lines.iter().find(|line| line.starts_with("broken "));
    let broken = broken.unwrap_or_else(|| panic!("not detected: {}", lines.join("\n")));
    say(&format!("without syncs of {files}: {broken}"));
}

#[test]
fn a_sync_of_the_log_that_does_nothing_is_detected() {
    without_syncs_of(shim::SEGMENTS);
}

#[test]
fn a_sync_of_a_table_file_that_does_nothing_is_detected() {
    without_syncs_of(shim::TABLES);
}
