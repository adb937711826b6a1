//! Randomness that a seed repeats.

use std::env;

use crate::say;

/// Names the seed to repeat a run with.
const VARIABLE: &str = "GOMETA_TEST_SEED";

/// A small generator (SplitMix64): the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator whose seed is in the environment as `GOMETA_TEST_SEED`, or new if that is empty or not set. Says which.
    ///
    /// # Panics
    /// If that variable is no number, or the system has no random numbers.
    pub fn of_this_run(test: &str) -> Random {
        let seed = match env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => {
                text.parse().unwrap_or_else(|error| panic!("{VARIABLE}={text}: {error}"))
            }
            _ => getrandom::u64().unwrap_or_else(|error| panic!("no random numbers: {error}")),
        };
        say(&format!("{test}: {VARIABLE}={seed}"));
        Random::new(seed)
    }

    /// A generator with this seed.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// Whether something happens that happens so many times in a hundred.
    pub fn percent(&mut self, chance: u8) -> bool {
        self.below(100) < u64::from(chance)
    }

    /// That many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }
}
