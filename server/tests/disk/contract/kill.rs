//! The contract under kill -9: a process that executes a plan is killed after any line of its output.

use std::{env, ffi::OsStr, io::Read, path::Path};

use gometa_sim::{
    contract::{Directory, Event, Invariant, Model, State, Violation, run},
    random::{Random, Stream},
};
use gometa_zab::Token;

use super::{
    super::support::{number, rerun},
    Stores, check_flushed, first_seed, plan, table_files, times, was_amid_flush,
};

const CHILD_DIR: &str = "GOMETA_TEST_CONTRACT_DIR";
const CHILD_SEED: &str = "GOMETA_TEST_CONTRACT_SEED";
/// The number of openings of a directory before a new one is created, so that the creation is killed as well.
const OPENINGS: u64 = 8;

/// Not a test: the process that is killed. It prints each write before its submission, and each report; in the end it
/// closes the directory.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let seed = env::var(CHILD_SEED).unwrap().parse().unwrap();
    println!("\nopening");
    let flushed = |counter| println!("flushed {counter}");
    let (mut stores, found) = Stores::open_with(Path::new(&dir), &mut Directory::default(), flushed).unwrap();
    println!("opened {}", stores.opened.disk.identity.boot);
    let plan = plan(seed, seed, &found);
    let mut model = Model::new(found);
    let ended = run(&mut stores, &mut model, &plan.steps, &mut |event| match event {
        Event::Submit => println!("submit"),
        Event::Stored(number) => println!("stored {number}"),
        Event::Persisted(Token(token)) => println!("persisted {token}"),
    });
    println!("ended {ended:?}");
    println!("closing");
    let failed = stores.opened.failed();
    drop(stores);
    println!("closed {failed:?}");
    // Killed here, unless the killing process is gone.
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

/// Whether a line of the child is about the contract.
fn is_report(line: &str) -> bool {
    ["opening", "opened ", "submit", "persisted ", "stored ", "flushed ", "ended ", "closing", "closed "]
        .iter()
        .any(|word| line.starts_with(word))
}

#[derive(Default)]
struct Counts {
    lost: u64,
    batches_lost: u64,
    amid_flush: u64,
    amid_closing: u64,
}

/// Runs and kills the child once; returns the state of the directory.
fn kill(
    dir: &Path,
    seed: u64,
    base: State,
    directory: &mut Directory,
    counts: &mut Counts,
) -> Result<State, Violation> {
    let writes = plan(seed, seed, &base).writes();
    let mut random = Random::new(seed, Stream::Machine);
    // Killed after some line; or amid the closing, or behind it, when the child is idle.
    let lines_max = random.index(writes.len() * 2 + 4);
    let last = ["", "", "closing", "closed "][random.index(4)];
    // Killed when it has begun to write a table file.
    let amid_flush = random.one_in(2);
    let text = seed.to_string();
    let environment = [(CHILD_DIR, dir.as_os_str()), (CHILD_SEED, OsStr::new(&text))];
    let (mut child, lines) = rerun(&[], "contract::kill::child", &environment);
    let mut lines = lines.filter(|line| is_report(line));
    let mut reported: Vec<String> = Vec::new();
    let mut tables = None;
    while !last.is_empty() || reported.len() <= lines_max {
        let Some(line) = lines.next() else { break };
        let stop = line.starts_with("closed ") || (!last.is_empty() && line.starts_with(last));
        if line.starts_with("opened ") {
            tables = Some(table_files(dir).len());
        }
        reported.push(line);
        if stop || (amid_flush && tables.is_some_and(|tables| table_files(dir).len() > tables)) {
            break;
        }
    }
    child.kill().unwrap();
    // Lines printed before the kill count, too.
    reported.extend(lines);
    child.wait().unwrap();

    let mut model = Model::new(base);
    let (mut boot, mut flushed) = (0, 0);
    for line in &reported {
        boot = number(line, "opened ").unwrap_or(boot);
        if line == "submit" {
            model.submit(writes.get(model.submitted()).expect("the child follows the same plan"));
        }
        if let Some(batch) = number(line, "stored ") {
            model.report_stored(batch)?;
        }
        if let Some(token) = number(line, "persisted ") {
            model.report(Token(token))?;
        }
        flushed = number(line, "flushed ").unwrap_or(flushed);
        if line.starts_with("closed ") {
            if line != "closed []" {
                return Err(Violation::new(Invariant::Opens, format!("the child says: {line}")));
            }
            model.closed();
        }
        if line.starts_with("ended ") && line != "ended Ok(Done)" {
            return Err(Violation::new(Invariant::Opens, format!("the child says: {line}")));
        }
    }
    if reported.is_empty() {
        return Err(Violation::new(Invariant::Opens, "the child has said nothing"));
    }
    let closing = reported.iter().any(|line| line == "closing")
        && !reported.iter().any(|line| line.starts_with("closed "));
    counts.amid_closing += u64::from(closing);
    let before = table_files(dir);
    let (stores, found) = Stores::open(dir, directory)?;
    counts.amid_flush += u64::from(was_amid_flush(dir, &before));
    check_flushed(flushed, &found)?;
    if stores.opened.disk.identity.boot <= boot {
        return Err(Violation::new(
            Invariant::Identity,
            format!("the child was boot {boot}, and so is the next"),
        ));
    }
    let outcome = model.check_recovered(&found)?;
    counts.lost += outcome.lost as u64;
    counts.batches_lost += outcome.batches_lost as u64;
    Ok(found)
}

#[test]
fn the_data_directory_keeps_the_contract_under_kills() {
    let kills = times("GOMETA_TEST_KILLS", 60);
    let (mut dir, mut directory, mut base) = (None, Directory::default(), State::default());
    let mut counts = Counts::default();
    for (round, seed) in (first_seed()..).take(kills as usize).enumerate() {
        if (round as u64).is_multiple_of(OPENINGS) {
            (dir, directory, base) = (None, Directory::default(), State::default());
        }
        let dir = dir.get_or_insert_with(|| tempfile::tempdir().unwrap());
        base = kill(dir.path(), seed, base, &mut directory, &mut counts)
            .unwrap_or_else(|violation| panic!("kill with seed {seed}, round {round}: {violation}"));
    }
    let Counts { lost, batches_lost, amid_flush, amid_closing } = counts;
    println!(
        "{kills} kills, {amid_flush} amid a flush, {amid_closing} amid the closing; {lost} writes to the log lost, none of \
         them reported, and {batches_lost} batches, none of them flushed"
    );
    assert!(kills < 60 || (amid_flush > 0 && amid_closing > 0), "these kills prove nothing");
}
