//! Coverage probes and mutants (planted faults) for the simulator.
//!
//! A probe counts how often a rare path runs. A mutant replaces correct code by wrong code, to test that the simulator
//! detects the fault; at most one is active in a process.
//!
//! Only the instrumented build (`--cfg gometa_instrumented`; `make sim` and `make mutants`, in a target directory of
//! their own) contains them. In all other builds `probe!` expands to nothing and `planted!` to the correct code. This
//! is a `cfg` and not a cargo feature because feature unification would enable the simulator's feature in the server.
//!
//! [`PROBES`], [`MUTANTS`] and [`LOG_MUTANTS`] list all names. In the instrumented build a name that is not listed is a compile error;
//! a test finds names that no code uses.
#![no_std]
#![forbid(unsafe_code)]

mod names;

#[cfg(gometa_instrumented)]
mod instrumented;

#[cfg(gometa_instrumented)]
pub use instrumented::{activate, hit, hits, is_active, mutant, probe};
pub use names::{LOG_MUTANTS, MUTANTS, PROBES};

/// A byte sequence that only instrumented executables contain. A test searches the released executables for it.
pub const MARKER: [u8; 32] = *b"this program has gometa's marks!";

/// Counts one hit of a probe, if the optional condition is true: `probe!("sync.trunc")`,
/// `probe!("sync.trunc-everything", base == Zxid::ZERO)`. The condition must have no side effects: only the
/// instrumented build evaluates it.
#[cfg(not(gometa_instrumented))]
#[macro_export]
macro_rules! probe {
    ($name:literal $(, $condition:expr)?) => {{}};
}

/// Counts one hit of a probe, if the optional condition is true: `probe!("sync.trunc")`,
/// `probe!("sync.trunc-everything", base == Zxid::ZERO)`. The condition must have no side effects: only the
/// instrumented build evaluates it.
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

/// Evaluates the correct expression, or that of the active mutant:
/// `planted!(history.durable(), acks_before_sync => history.last())`. Expressions may be blocks. A mutant that only
/// adds code has no correct expression: `planted!(sends_commit_twice => send(commit))`.
#[cfg(not(gometa_instrumented))]
#[macro_export]
macro_rules! planted {
    ($name:ident => $wrong:expr) => {{}};
    ($right:expr, $($name:ident => $wrong:expr),+ $(,)?) => {
        $right
    };
}

/// Evaluates the correct expression, or that of the active mutant:
/// `planted!(history.durable(), acks_before_sync => history.last())`. Expressions may be blocks. A mutant that only
/// adds code has no correct expression: `planted!(sends_commit_twice => send(commit))`.
#[cfg(gometa_instrumented)]
#[macro_export]
macro_rules! planted {
    ($name:ident => $wrong:expr) => {
        $crate::planted!({}, $name => $wrong)
    };
    ($right:expr, $($name:ident => $wrong:expr),+ $(,)?) => {
        $(if $crate::is_active(const { $crate::mutant(stringify!($name)) }) { $wrong } else)+ { $right }
    };
}
