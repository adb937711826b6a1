//! The simulator's random numbers, with a seed that repeats a test.

use std::env;

pub use gometa_sim::random::Random;
use gometa_sim::random::Stream;

use crate::say;

/// The environment variable with the seed of a run to repeat.
const VARIABLE: &str = "GOMETA_TEST_SEED";

/// A generator with this seed.
pub fn seeded(seed: u64) -> Random {
    Random::new(seed, Stream::Tests)
}

/// A generator whose seed is in the environment as `GOMETA_TEST_SEED`, or new if that is empty or not set. Prints it.
pub fn of_this_run(test: &str) -> Random {
    let seed = match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|error| panic!("{VARIABLE}={text}: {error}"))
        }
        _ => getrandom::u64().unwrap_or_else(|error| panic!("no random numbers: {error}")),
    };
    say(&format!("{test}: {VARIABLE}={seed}"));
    seeded(seed)
}
