//! Planted faults, to see whether the simulator has teeth.
//!
//! `mutant!(M07)` stands where one of them would show. It is `false`, and leaves no trace, in every build but the
//! one with `--cfg gometa_instrumented`, which only `make sim` and `make mutants` make, in a target directory of their
//! own. There it says
//! whether this is the mutant under test, which the simulator chooses with `choose`; its table says what each of
//! them does wrong and who ought to notice.
//!
//! A `cfg` and not a feature, because a feature that the simulator asks for would be unified into the server.
//! `store` shares this file and not this crate; each has a choice of its own.

/// Whether this planted fault is the one under test.
#[cfg(not(gometa_instrumented))]
#[macro_export]
macro_rules! mutant {
    ($id:ident) => {
        false
    };
}

/// Whether this planted fault is the one under test.
#[cfg(gometa_instrumented)]
#[macro_export]
macro_rules! mutant {
    ($id:ident) => {{
        const NUMBER: u32 = $crate::mutant::number(stringify!($id));
        $crate::mutant::is_chosen(NUMBER)
    }};
}

#[cfg(gometa_instrumented)]
mod chosen {
    use core::sync::atomic::{AtomicU32, Ordering};

    /// What a program with mutants has in it, byte for byte.
    pub const MARKER: [u8; 32] = *b"this program has gometa mutants!";

    struct Chosen {
        // Only looked for in the finished program.
        #[allow(dead_code)]
        marker: [u8; 32],
        number: AtomicU32,
    }

    #[used]
    static CHOSEN: Chosen = Chosen { marker: MARKER, number: AtomicU32::new(0) };

    /// The number of a mutant's name: a letter and digits.
    pub const fn number(name: &str) -> u32 {
        let bytes = name.as_bytes();
        let mut number = bytes[0] as u32;
        let mut at = 1;
        while at < bytes.len() {
            assert!(bytes[at].is_ascii_digit(), "a mutant is a letter and digits");
            number = number * 10 + (bytes[at] - b'0') as u32;
            at += 1;
        }
        number
    }

    /// Puts this mutant under test, in the whole process; none, if there is none of this number.
    pub fn choose(number: u32) {
        CHOSEN.number.store(number, Ordering::Relaxed);
    }

    /// Whether this mutant is under test.
    pub fn is_chosen(number: u32) -> bool {
        CHOSEN.number.load(Ordering::Relaxed) == number
    }
}

#[cfg(gometa_instrumented)]
pub use chosen::{MARKER, choose, is_chosen, number};
