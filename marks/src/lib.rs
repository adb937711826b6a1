//! Marks in the code for the simulator: probes count rare paths, planted faults show that the simulator finds faults.
//!
//! Both macros expand to nothing but the correct code in every build except the one with
//! `--cfg gometa_instrumented`, which `make sim` and `make mutants` make in a target directory of their own. A `cfg`
//! and not a feature, because cargo would unify a feature that the simulator needs into the server.
//!
//! All names are in the tables [`PROBES`] and [`MUTANTS`]: a name that is missing there does not compile in the
//! instrumented build, and a test finds names that are not used in the code.
#![no_std]
#![forbid(unsafe_code)]

mod names;

#[cfg(gometa_instrumented)]
mod instrumented;

#[cfg(gometa_instrumented)]
pub use instrumented::{choose, hit, hits, is_chosen, mutant, probe};
pub use names::{MUTANTS, PROBES};

/// The bytes that only an instrumented program contains.
pub const MARKER: [u8; 32] = *b"this program has gometa's marks!";

/// Counts executions of a path: `probe!("sync.trunc")`, or `probe!("sync.trunc-everything", base == Zxid::ZERO)` to
/// count only where the condition holds. The condition must have no side effects.
#[cfg(not(gometa_instrumented))]
#[macro_export]
macro_rules! probe {
    ($name:literal $(, $condition:expr)?) => {{}};
}

/// Counts executions of a path: `probe!("sync.trunc")`, or `probe!("sync.trunc-everything", base == Zxid::ZERO)` to
/// count only where the condition holds. The condition must have no side effects.
#[cfg(gometa_instrumented)]
#[macro_export]
macro_rules! probe {
    ($name:literal) => {
        $crate::hit(const { $crate::probe($name) })
    };
    ($name:literal, $condition:expr) => {
        if $condition {
            $crate::probe!($name)
        }
    };
}

/// The correct code, and faults that the simulator can put in its place:
/// `planted!(history.durable(), acks_before_sync => history.last())`. Either side may be a block. A fault that only
/// adds something stands alone: `planted!(sends_commit_twice => send(commit))`.
#[cfg(not(gometa_instrumented))]
#[macro_export]
macro_rules! planted {
    ($name:ident => $wrong:expr) => {{}};
    ($right:expr, $($name:ident => $wrong:expr),+ $(,)?) => {
        $right
    };
}

/// The correct code, and faults that the simulator can put in its place:
/// `planted!(history.durable(), acks_before_sync => history.last())`. Either side may be a block. A fault that only
/// adds something stands alone: `planted!(sends_commit_twice => send(commit))`.
#[cfg(gometa_instrumented)]
#[macro_export]
macro_rules! planted {
    ($name:ident => $wrong:expr) => {
        $crate::planted!({}, $name => $wrong)
    };
    ($right:expr, $($name:ident => $wrong:expr),+ $(,)?) => {
        $(if $crate::is_chosen(const { $crate::mutant(stringify!($name)) }) { $wrong } else)+ { $right }
    };
}
