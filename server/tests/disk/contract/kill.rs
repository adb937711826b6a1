//! The contract under kill -9: a process that executes a plan is killed after any line of its output.

use std::{env, ffi::OsStr, io::Read, path::Path};

use gometa_sim::{
    contract::{Directory, Event, Invariant, Model, Plan, Shape, State, Violation, run},
    random::{Random, Stream},
};
use gometa_zab::Token;

use super::{
    super::support::{number, rerun},
    Rocks, first_seed, times,
};

const CHILD_DIR: &str = "GOMETA_TEST_CONTRACT_DIR";
const CHILD_SEED: &str = "GOMETA_TEST_CONTRACT_SEED";
/// The number of openings of a directory before a new one is created, so that the creation is killed as well.
const OPENINGS: u64 = 8;

fn shape(seed: u64) -> Shape {
    if seed.is_multiple_of(16) { Shape::BULKY } else { Shape::SMALL }
}

/// Not a test: the process that is killed. It prints each write before its submission, and each report.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let seed = env::var(CHILD_SEED).unwrap().parse().unwrap();
    println!("\nopening");
    let (mut rocks, found) = Rocks::open(Path::new(&dir), &mut Directory::default()).unwrap();
    println!("opened {}", rocks.opened.disk.identity.boot);
    let plan = Plan::new(seed, &found, shape(seed));
    let mut model = Model::new(found);
    let ended = run(&mut rocks, &mut model, &plan.steps, &mut |event| match event {
        Event::Submit => println!("submit"),
        Event::Stored(number) => println!("stored {number}"),
        Event::Persisted(Token(token)) => println!("persisted {token}"),
    });
    println!("ended {ended:?}");
    // Killed here, unless the killing process is gone.
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

/// Whether a line of the child is about the contract.
fn is_report(line: &str) -> bool {
    ["opening", "opened ", "submit", "persisted ", "stored ", "ended "]
        .iter()
        .any(|word| line.starts_with(word))
}

/// Runs and kills the child once; returns the state of the directory.
fn kill(
    dir: &Path,
    seed: u64,
    base: State,
    directory: &mut Directory,
    lost: &mut u64,
) -> Result<State, Violation> {
    let plan = Plan::new(seed, &base, shape(seed));
    let writes = plan.writes();
    let mut random = Random::new(seed, Stream::Machine);
    // After the last line everything is done, and the child is idle when it is killed.
    let lines_max = random.index(writes.len() * 2 + 4);
    let text = seed.to_string();
    let environment = [(CHILD_DIR, dir.as_os_str()), (CHILD_SEED, OsStr::new(&text))];
    let (mut child, lines) = rerun(&[], "contract::kill::child", &environment);
    let mut lines = lines.filter(|line| is_report(line));
    let mut reported = Vec::new();
    while reported.len() <= lines_max {
        let Some(line) = lines.next() else { break };
        let ended = line.starts_with("ended ");
        reported.push(line);
        if ended {
            break;
        }
    }
    child.kill().unwrap();
    // Lines printed before the kill count, too.
    reported.extend(lines);
    child.wait().unwrap();

    let mut model = Model::new(base);
    let mut boot = 0;
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
        if line.starts_with("ended ") && line != "ended Ok(Done)" {
            return Err(Violation::new(Invariant::Opens, format!("the child says: {line}")));
        }
    }
    if reported.is_empty() {
        return Err(Violation::new(Invariant::Opens, "the child has said nothing"));
    }
    let (rocks, found) = Rocks::open(dir, directory)?;
    if rocks.opened.disk.identity.boot <= boot {
        return Err(Violation::new(
            Invariant::Identity,
            format!("the child was boot {boot}, and so is the next"),
        ));
    }
    *lost += model.check_recovered(&found)?.lost as u64;
    Ok(found)
}

#[test]
fn the_data_directory_keeps_the_contract_under_kills() {
    let kills = times("GOMETA_TEST_KILLS", 60);
    let (mut dir, mut directory, mut base) = (None, Directory::default(), State::default());
    let mut lost = 0;
    for (round, seed) in (first_seed()..).take(kills as usize).enumerate() {
        if (round as u64).is_multiple_of(OPENINGS) {
            (dir, directory, base) = (None, Directory::default(), State::default());
        }
        let dir = dir.get_or_insert_with(|| tempfile::tempdir().unwrap());
        base = kill(dir.path(), seed, base, &mut directory, &mut lost)
            .unwrap_or_else(|violation| panic!("kill with seed {seed}, round {round}: {violation}"));
    }
    println!("{kills} kills; {lost} writes lost, none of them reported");
}
