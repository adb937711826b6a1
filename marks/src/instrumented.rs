//! The hit counters of the probes and the active mutant, both global to the process.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::{LOG_MUTANTS, MARKER, MUTANTS, PROBES};

/// `active` if there is no active mutant.
const NONE: usize = usize::MAX;

struct Marks {
    #[expect(dead_code, reason = "tests search the executable for these bytes")]
    marker: [u8; 32],
    /// Index of the active mutant in [`MUTANTS`], then [`LOG_MUTANTS`], or [`NONE`].
    active: AtomicUsize,
    /// The number of hits of each probe, in the order of [`PROBES`].
    hits: [AtomicU64; PROBES.len()],
}

#[used]
static MARKS: Marks = Marks {
    marker: MARKER,
    active: AtomicUsize::new(NONE),
    hits: [const { AtomicU64::new(0) }; PROBES.len()],
};

/// The index of a probe in [`PROBES`].
///
/// # Panics
/// If it is missing; in `probe!` that is a compile error.
pub const fn probe(name: &str) -> usize {
    let mut index = 0;
    while index < PROBES.len() {
        if equal(PROBES[index].0, name) {
            return index;
        }
        index += 1;
    }
    panic!("the probe is missing in marks/src/names.rs")
}

/// The index of a mutant in [`MUTANTS`], then [`LOG_MUTANTS`].
///
/// # Panics
/// If it is missing; in `planted!` that is a compile error.
pub const fn mutant(name: &str) -> usize {
    let mut index = 0;
    while index < MUTANTS.len() {
        if equal(MUTANTS[index], name) {
            return index;
        }
        index += 1;
    }
    index = 0;
    while index < LOG_MUTANTS.len() {
        if equal(LOG_MUTANTS[index], name) {
            return MUTANTS.len() + index;
        }
        index += 1;
    }
    panic!("the mutant is missing in marks/src/names.rs")
}

/// Whether two strings are equal; `==` is not usable in a `const fn`.
const fn equal(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

/// Counts one hit of a probe.
pub fn hit(probe: usize) {
    MARKS.hits[probe].fetch_add(1, Ordering::Relaxed);
}

/// The number of hits of a probe since the start of the process.
pub fn hits(probe: usize) -> u64 {
    MARKS.hits[probe].load(Ordering::Relaxed)
}

/// Activates a mutant and deactivates the previous one; `None` deactivates only.
pub fn activate(mutant: Option<usize>) {
    MARKS.active.store(mutant.unwrap_or(NONE), Ordering::Relaxed);
}

/// Whether a mutant is active.
pub fn is_active(mutant: usize) -> bool {
    MARKS.active.load(Ordering::Relaxed) == mutant
}
