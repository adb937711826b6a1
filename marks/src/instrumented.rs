//! The counters of probes and the choice of a planted fault, both of the whole process.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::{MARKER, MUTANTS, PROBES};

struct Marks {
    #[expect(dead_code, reason = "found in the finished program by its bytes")]
    marker: [u8; 32],
    /// The chosen fault's place in `MUTANTS`.
    chosen: AtomicUsize,
    hits: [AtomicU64; PROBES.len()],
}

#[used]
static MARKS: Marks = Marks {
    marker: MARKER,
    chosen: AtomicUsize::new(usize::MAX),
    hits: [const { AtomicU64::new(0) }; PROBES.len()],
};

/// The place of a name in [`PROBES`]. Panics, at compile time in `probe!`, if it is missing.
pub const fn probe(name: &str) -> usize {
    place(PROBES, name)
}

/// The place of a name in [`MUTANTS`]. Panics, at compile time in `planted!`, if it is missing.
pub const fn mutant(name: &str) -> usize {
    place(MUTANTS, name)
}

const fn place(names: &[&str], name: &str) -> usize {
    let mut at = 0;
    while at < names.len() {
        if equal(names[at].as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("the name is missing in marks/src/names.rs")
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Counts one execution of the path of the probe at this place.
pub fn hit(probe: usize) {
    MARKS.hits[probe].fetch_add(1, Ordering::Relaxed);
}

/// The number of executions of the path of the probe at this place.
pub fn hits(probe: usize) -> u64 {
    MARKS.hits[probe].load(Ordering::Relaxed)
}

/// Activates the planted fault at this place, or none.
pub fn choose(mutant: Option<usize>) {
    MARKS.chosen.store(mutant.unwrap_or(usize::MAX), Ordering::Relaxed);
}

/// Whether the planted fault at this place is active.
pub fn is_chosen(mutant: usize) -> bool {
    MARKS.chosen.load(Ordering::Relaxed) == mutant
}
