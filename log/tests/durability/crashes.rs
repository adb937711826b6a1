//! Random operations with a crash, a loss of power or a failing operation at every step: what was reported durable is
//! there, and nothing else than what was written.

use crate::model::{Kind, Run, seeds};

/// One run for each seed: operations until a fault ends them, recovery, and so on.
fn run(seed: u64, block: usize) {
    let mut run = Run::new(seed, block);
    for _ in 0..40 {
        run.operations();
        run.recover();
    }
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn what_was_reported_survives_any_crash() {
    for seed in 0..seeds(300) {
        run(seed, if seed % 2 == 0 { 512 } else { 4_096 });
    }
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn every_step_of_an_operation_may_be_the_last() {
    for kind in [Kind::Append, Kind::Truncate, Kind::Compact, Kind::Roll, Kind::HardState] {
        for seed in 0..seeds(20) {
            for step in 0.. {
                let mut run = Run::new(seed, 512);
                run.warm_up();
                if !run.crash_in(kind, step) {
                    break;
                }
                run.recover();
            }
        }
    }
}
