//! The storage contract on the simulated disk: a crash at every step of every plan, and faults that must be detected.

mod machine;

use gometa_sim::{
    contract::{Ended, Model, Plan, Shape, State, Violation, drain, run},
    random::{Random, Stream},
};

use machine::{Fault, Machine};

/// The maximum number of plans until a fault is detected.
const SEEDS_MAX: u64 = 20;
const SEEDS: u64 = 400;
/// The number of openings of one directory.
const OPENINGS: usize = 4;

#[derive(Default, Debug)]
struct Counts {
    crashes: u64,
    writes: u64,
    lost: u64,
    failures: u64,
}

/// Crashes at each step of the seed's plan, and after each of these at a random step of some further plans.
fn every_step(seed: u64, fault: Option<Fault>, counts: &mut Counts) -> Result<(), Violation> {
    let first = Plan::new(seed, &State::default(), Shape::SMALL);
    for step in 0..=first.steps.len() {
        crashes(seed, step, &first, fault, counts).map_err(|violation| Violation {
            what: format!("seed {seed}, step {step}: {}", violation.what),
            ..violation
        })?;
    }
    Ok(())
}

fn crashes(
    seed: u64,
    step: usize,
    first: &Plan,
    fault: Option<Fault>,
    counts: &mut Counts,
) -> Result<(), Violation> {
    let seed = seed << 8 | step as u64;
    let mut random = Random::new(seed, Stream::Shape);
    let mut machine = Machine::new(seed, fault);
    let mut base = machine.open()?;
    assert_eq!(base, State::default(), "a new directory is empty");
    for opening in 0..OPENINGS {
        let next;
        let steps = if opening == 0 {
            &first.steps[..step]
        } else {
            next = Plan::new(random.word(), &base, Shape::SMALL);
            &next.steps[..random.index(next.steps.len() + 1)]
        };
        let mut model = Model::new(base);
        let mut ended = run(&mut machine, &mut model, steps, &mut |_| {})?;
        if ended == Ended::Done && random.one_in(2) {
            ended = drain(&mut machine, &mut model)?;
        }
        counts.failures += u64::from(ended != Ended::Done);
        machine.crash();
        let found = machine.open()?;
        let outcome = model.check_recovered(&found)?;
        counts.crashes += 1;
        counts.writes += model.submitted() as u64;
        counts.lost += outcome.lost as u64;
        base = found;
    }
    Ok(())
}

#[test]
fn the_simulated_disk_keeps_the_contract_at_every_step() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        if let Err(violation) = every_step(seed, None, &mut counts) {
            panic!("{violation}");
        }
    }
    println!("{SEEDS} seeds: {counts:?}");
    // Crashes must lose some of the writes and keep some.
    assert!(counts.lost > counts.crashes / 2 && counts.lost < counts.writes / 2, "{counts:?}");
    assert!(counts.failures > 100, "{counts:?}");
}

#[test]
fn every_planted_fault_is_detected() {
    let mut silent = Vec::new();
    for fault in Fault::ALL {
        let caught = (0..SEEDS_MAX).find_map(|seed| {
            every_step(seed, Some(fault), &mut Counts::default()).err().map(|violation| (seed, violation))
        });
        match caught {
            Some((seed, violation)) => {
                println!("{fault:?}: {:?}, after {} seeds", violation.invariant, seed + 1)
            }
            None => silent.push(fault),
        }
    }
    assert!(silent.is_empty(), "not caught within {SEEDS_MAX} seeds: {silent:?}");
}
